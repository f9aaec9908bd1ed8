// Package transcribe has the speech of meetings turned into text by an engine of
// the operator's: a program that takes a WebSocket for each meeting, gets what
// each attendee says as plain samples, and sends back text. docs/transcription.md
// describes what is said on it.
//
// A [Transcriber] watches the store. Each meeting that has a transcription has a
// session here, which keeps a connection to the engine for as long as that is
// so, also while nobody is in the meeting. What becomes of it (started,
// interrupted, resumed, failed) is written into the store with its event, and
// told to the attendees; results go to the attendees alone. Nothing here is
// waited for by a meeting: its speech comes by meeting.Ears and is dropped when
// the engine does not keep up.
package transcribe

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

// Reports writes what becomes of a transcription; meeting.Service does.
type Reports interface {
	ReportTranscription(ctx context.Context, meetingID, id string, kind meeting.EventType, message string) (at time.Time, ok bool, err error)
}

// Audience is told of transcriptions; signaling.Server is. It must not block.
type Audience interface {
	Transcribed(meetingID string, e meeting.TranscriptEvent)
}

// Config is what a Transcriber is made of. Logger, Metrics and Timings may be
// left out.
type Config struct {
	Engine   meeting.Secret // ws or wss URL, which may hold a password
	Store    meeting.Store
	Reports  Reports
	Ears     meeting.Ears
	Audience Audience
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
	Timings  Timings
}

// Timings are the waits. A zero value means the default.
type Timings struct {
	// Start is for how long a transcription that has not started may wait for an
	// engine that cannot be reached. Default 30 s.
	Start time.Duration
	// Answer bounds the way to the engine's ready, and one write. Default 10 s.
	Answer time.Duration
	// Backoff is the first wait before another try; it doubles up to MaxBackoff.
	// Default 1 s and 30 s.
	Backoff, MaxBackoff time.Duration
	// Ping is how often the engine is asked whether it is there. Default 15 s.
	Ping time.Duration
}

func (t Timings) withDefaults() Timings {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Start, 30*time.Second)
	set(&t.Answer, 10*time.Second)
	set(&t.Backoff, time.Second)
	set(&t.MaxBackoff, 30*time.Second)
	set(&t.Ping, 15*time.Second)
	return t
}

// Transcriber has the meetings transcribed for which that is asked.
type Transcriber struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	cancel  context.CancelFunc
	ctx     context.Context
	unwatch func()
	work    sync.WaitGroup // one for each session

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session // by meeting id
}

// Start begins with what the store has, and follows it.
func Start(ctx context.Context, cfg Config) (*Transcriber, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Timings = cfg.Timings.withDefaults()
	t := &Transcriber{cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Metrics), sessions: map[string]*session{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.unwatch = cfg.Store.Watch(func(c meeting.Commit) {
		for _, ch := range c.Changes {
			switch {
			case ch.MeetingPut != nil:
				t.see(ch.MeetingPut)
			case ch.MeetingDeleted != nil:
				t.gone(ch.MeetingDeleted.ID)
			}
		}
	})
	err := cfg.Store.View(ctx, func(r meeting.Reader) error {
		for _, id := range r.MeetingIDs() {
			if m, ok := r.Meeting(id); ok && m.Transcribing != nil {
				t.see(m) // what a watcher was told of meanwhile is the same, or newer
			}
		}
		return nil
	})
	if err != nil {
		_ = t.Close(ctx)
		return nil, err
	}
	return t, nil
}

// see takes a meeting as it is now.
func (t *Transcriber) see(m *meeting.Meeting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cur := t.sessions[m.ID]
	want := m.Transcribing
	switch {
	case t.closed, cur == nil && want == nil, cur != nil && want != nil && cur.id == want.ID:
		return
	case want == nil:
		delete(t.sessions, m.ID)
		cur.end(errStopped)
		return
	}
	s := newSession(t, m)
	if cur != nil {
		cur.end(errReplaced)
		s.after = cur.done
	}
	t.sessions[m.ID] = s
	t.work.Go(s.run)
}

// gone takes the end of a meeting.
func (t *Transcriber) gone(meetingID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cur := t.sessions[meetingID]; cur != nil {
		delete(t.sessions, meetingID)
		cur.end(errReplaced)
	}
}

// Close ends every connection to the engine. What was transcribed goes on with
// the next Start.
func (t *Transcriber) Close(ctx context.Context) error {
	t.unwatch()
	t.mu.Lock()
	t.closed = true
	for _, s := range t.sessions {
		s.end(errReplaced)
	}
	t.mu.Unlock()
	t.cancel()
	done := make(chan struct{})
	go func() {
		t.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
