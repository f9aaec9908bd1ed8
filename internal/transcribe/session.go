package transcribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// Why a session ends.
var (
	errStopped  = errors.New("the transcription was stopped")
	errReplaced = errors.New("another transcription, the end of the meeting, or of the server")
)

// session is the transcription of one meeting by one start. Its goroutine owns
// everything but end.
type session struct {
	t       *Transcriber
	log     *slog.Logger
	meeting *meeting.Meeting
	id      string
	region  string
	config  string

	ctx    context.Context
	cancel context.CancelCauseFunc
	after  <-chan struct{} // the session before this one is over
	done   chan struct{}
	once   sync.Once

	status meeting.TranscribingStatus
	conns  int // so far
}

func newSession(t *Transcriber, m *meeting.Meeting) *session {
	s := &session{
		t: t, log: t.log.With("meeting", m.ID), meeting: m, id: m.Transcribing.ID,
		region: m.Transcribing.Region, config: m.Transcribing.Configuration,
		done: make(chan struct{}), status: m.Transcribing.Status,
	}
	s.ctx, s.cancel = context.WithCancelCause(t.ctx)
	return s
}

// end has the session end, and does not wait for it.
func (s *session) end(why error) { s.once.Do(func() { s.cancel(why) }) }

// refusal is an engine's no, which another try would not change.
type refusal struct{ why string }

func (r refusal) Error() string { return r.why }

func (s *session) run() {
	defer close(s.done)
	if s.after != nil {
		<-s.after
	}
	s.transcribe()
	if errors.Is(context.Cause(s.ctx), errStopped) && s.status != meeting.TranscribingStarting {
		s.tell(meeting.EventTranscriptionStopped, time.Now(), "")
	}
}

// transcribe keeps up a connection until the session ends or the engine refuses.
func (s *session) transcribe() {
	if s.status == meeting.TranscribingStarted {
		s.report(meeting.EventTranscriptionInterrupted, "the server was restarted")
	}
	began, wait := time.Now(), s.t.cfg.Timings.Backoff
	for s.ctx.Err() == nil {
		c, err := s.connect()
		if err == nil {
			if s.status == meeting.TranscribingStarting {
				s.report(meeting.EventTranscriptionStarted, "")
			} else {
				s.report(meeting.EventTranscriptionResumed, "")
			}
			since := time.Now()
			err = c.run(s.ctx)
			if time.Since(since) > s.t.cfg.Timings.MaxBackoff {
				wait = s.t.cfg.Timings.Backoff
			}
		}
		var no refusal
		switch {
		case s.ctx.Err() != nil:
			s.t.metrics.ends.WithLabelValues("closed").Inc()
			return
		case errors.As(err, &no):
			s.t.metrics.ends.WithLabelValues("refused").Inc()
			s.log.Warn("the transcription engine refuses", "reason", no.why)
			s.fail(no.why)
			return
		}
		s.t.metrics.ends.WithLabelValues("lost").Inc()
		s.log.Warn("the transcription engine is away", "error", err)
		switch s.status {
		case meeting.TranscribingStarted:
			s.report(meeting.EventTranscriptionInterrupted, "the connection to the transcription engine was lost")
		case meeting.TranscribingStarting:
			if time.Since(began) >= s.t.cfg.Timings.Start {
				s.fail("the transcription engine cannot be reached")
				return
			}
		}
		s.pause(wait)
		wait = min(2*wait, s.t.cfg.Timings.MaxBackoff)
	}
}

func (s *session) fail(why string) {
	s.report(meeting.EventTranscriptionFailed, why)
	s.status = meeting.TranscribingStarting // nothing is left to be stopped
}

// report writes another status, and tells the attendees once it is written.
func (s *session) report(kind meeting.EventType, message string) {
	for {
		// An end that comes meanwhile does not keep what is being written from
		// being told.
		at, ok, err := s.t.cfg.Reports.ReportTranscription(context.WithoutCancel(s.ctx), s.meeting.ID, s.id, kind, message)
		if err == nil {
			if ok {
				s.took(kind)
				s.tell(kind, at, message)
			}
			return
		}
		s.log.Warn("the status of a transcription cannot be written", "error", err)
		if !s.pause(time.Second) {
			return
		}
	}
}

func (s *session) took(kind meeting.EventType) {
	s.status = meeting.TranscribingStarted
	if kind == meeting.EventTranscriptionInterrupted {
		s.status = meeting.TranscribingInterrupted
	}
}

func (s *session) tell(kind meeting.EventType, at time.Time, message string) {
	s.t.cfg.Audience.Transcribed(s.meeting.ID, meeting.TranscriptEvent{
		Status: kind, At: at, Region: s.region, Configuration: s.config, Message: message,
	})
}

// pause waits, unless the session ends first.
func (s *session) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// externalUserID is whose attendee this is.
func (s *session) externalUserID(attendeeID string) (user string) {
	_ = s.t.cfg.Store.View(s.ctx, func(r meeting.Reader) error {
		if a, ok := r.Attendee(s.meeting.ID, base(attendeeID)); ok {
			user = a.ExternalUserID
		}
		return nil
	})
	return user
}

// resultPrefix makes ids of results unlike those of other connections.
func (s *session) resultPrefix() string {
	s.conns++
	return fmt.Sprintf("%.8s-%d-", s.id, s.conns)
}
