// Package life is what time and people do to meetings. A [Recorder] takes what
// signaling saw, who joined, left, dropped, and started or stopped video, and
// writes it into the store: the presence and the event that tells of it, in one
// step. A [Keeper] watches how long each meeting has had nobody in it and how
// old it is, and ends those whose time has come.
//
// The rules themselves are package meeting's. What is here is the patience:
// nobody waits for the Recorder, and all meetings together have one timer.
//
// The store remembers who was joined when a server was killed. They have some
// time to come back before the Recorder says that they dropped, and for as long
// no meeting is ended for having nobody in it.
package life

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"belfry/internal/meeting"
)

const (
	// recordBatch is how many sightings one write has, maxRecords how many may
	// wait in their order while the store does not take them; of more, only what
	// they come to is kept.
	recordBatch = 256
	maxRecords  = 100_000
	recordRetry = time.Second
	// returnTime is the default of RecorderConfig.Return: clients see at once that
	// a server is gone, and try every few seconds.
	returnTime  = 30 * time.Second
	returnCheck = time.Second
)

// RecorderConfig is what a Recorder is made of. Store and Service are required.
type RecorderConfig struct {
	Store   meeting.Store
	Service *meeting.Service
	// Node is this server among those that share the store; "" when it is alone.
	Node   string
	Logger *slog.Logger // nil: no log
	// Return is how long those who were joined when the last process of this node
	// ended may take to come back. 0: 30 s.
	Return time.Duration
}

// Recorder writes what attendees do into the store. Nobody waits for it.
type Recorder struct {
	cfg RecorderConfig
	log *slog.Logger

	mu      sync.Mutex
	waiting []meeting.Sighting
	folded  map[attendeeKey]*fold
	pending map[string]int // of both, by meeting
	awaited map[attendeeKey]*awaited

	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

type attendeeKey struct{ meetingID, attendeeID string }

// fold is what sightings of one attendee come to: the last of each kind.
type fold struct{ place, video *meeting.Sighting }

// awaited is somebody who was joined in the process before this one.
type awaited struct {
	video    bool // its video ran and was not seen since
	back     bool
	deadline time.Time
}

// NewRecorder begins to write, and to wait for those who were joined. ctx bounds
// the start.
func NewRecorder(ctx context.Context, cfg RecorderConfig) (*Recorder, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Return <= 0 {
		cfg.Return = returnTime
	}
	r := &Recorder{
		cfg: cfg, log: cfg.Logger,
		folded: map[attendeeKey]*fold{}, pending: map[string]int{}, awaited: map[attendeeKey]*awaited{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	deadline := time.Now().Add(cfg.Return)
	err := eachMeeting(ctx, cfg.Store, func(reader meeting.Reader, id string) {
		for _, p := range reader.Presences(id) {
			if p.Node == cfg.Node {
				r.awaited[attendeeKey{id, p.AttendeeID}] = &awaited{video: p.Video, deadline: deadline}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if n := len(r.awaited); n > 0 {
		r.log.Info("attendees were joined when the server ended", "attendees", n, "wait", cfg.Return)
	}
	run, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.run(run)
	return r, nil
}

// viewChunk is how many meetings are looked at in one View, during which
// nothing is written.
const viewChunk = 256

// eachMeeting looks at all live meetings.
func eachMeeting(ctx context.Context, store meeting.Store, fn func(r meeting.Reader, id string)) error {
	var ids []string
	err := store.View(ctx, func(r meeting.Reader) error { ids = r.MeetingIDs(); return nil })
	for err == nil && len(ids) > 0 {
		chunk := ids[:min(viewChunk, len(ids))]
		ids = ids[len(chunk):]
		err = store.View(ctx, func(r meeting.Reader) error {
			for _, id := range chunk {
				fn(r, id)
			}
			return nil
		})
	}
	return err
}

// Record takes one sighting and returns at once. What is told of one meeting is
// written in its order.
func (r *Recorder) Record(one meeting.Sighting) {
	r.mu.Lock()
	r.meet(one)
	r.queue(one)
	r.mu.Unlock()
	r.signal()
}

func (r *Recorder) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Waits reports whether something that was seen in a meeting is not written yet.
func (r *Recorder) Waits(meetingID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending[meetingID] > 0
}

// meet notes that somebody who is awaited has been seen. The caller holds mu.
func (r *Recorder) meet(one meeting.Sighting) {
	key := attendeeKey{one.MeetingID, one.AttendeeID}
	w := r.awaited[key]
	if w == nil {
		return
	}
	switch one.Type {
	case meeting.EventAttendeeJoined, meeting.EventAttendeeContentJoined:
		w.back, w.deadline = true, time.Now().Add(r.cfg.Return) // for its video
	case meeting.EventAttendeeVideoStarted, meeting.EventAttendeeContentVideoStarted:
		w.video = false
	case meeting.EventAttendeeLeft, meeting.EventAttendeeDropped, meeting.EventAttendeeContentLeft, meeting.EventAttendeeContentDropped:
		delete(r.awaited, key)
	}
	if w.back && !w.video {
		delete(r.awaited, key)
	}
}

// queue puts a sighting behind those that wait. The caller holds mu.
func (r *Recorder) queue(one meeting.Sighting) {
	if len(r.waiting) < maxRecords && len(r.folded) == 0 {
		r.waiting = append(r.waiting, one)
		r.pending[one.MeetingID]++
		return
	}
	key := attendeeKey{one.MeetingID, one.AttendeeID}
	f := r.folded[key]
	if f == nil {
		f = &fold{}
		r.folded[key] = f
		r.pending[one.MeetingID]++
	}
	switch one.Type {
	case meeting.EventAttendeeAuthorized:
	case meeting.EventAttendeeVideoStarted, meeting.EventAttendeeVideoStopped,
		meeting.EventAttendeeContentVideoStarted, meeting.EventAttendeeContentVideoStopped:
		f.video = &one
	default:
		f.place = &one
	}
}

// unfold queues what was folded when nothing else waits any more. The caller
// holds mu.
func (r *Recorder) unfold() {
	if len(r.waiting) > 0 || len(r.folded) == 0 {
		return
	}
	r.log.Error("events of attendees were left out: the store took none for too long", "attendees", len(r.folded))
	folded := r.folded
	r.folded = map[attendeeKey]*fold{}
	clear(r.pending)
	for _, f := range folded {
		for _, one := range []*meeting.Sighting{f.place, f.video} {
			if one != nil {
				r.waiting = append(r.waiting, *one)
				r.pending[one.MeetingID]++
			}
		}
	}
}

// expire gives up those who are not back in time.
func (r *Recorder) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, w := range r.awaited {
		if now.Before(w.deadline) {
			continue
		}
		delete(r.awaited, key)
		dropped, stopped := meeting.EventAttendeeDropped, meeting.EventAttendeeVideoStopped
		if strings.HasSuffix(key.attendeeID, meeting.ContentSuffix) {
			dropped, stopped = meeting.EventAttendeeContentDropped, meeting.EventAttendeeContentVideoStopped
		}
		one := meeting.Sighting{Type: dropped, At: now, MeetingID: key.meetingID, AttendeeID: key.attendeeID}
		if w.back {
			one.Type = stopped
		}
		r.queue(one)
	}
}

func (r *Recorder) awaits() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.awaited) > 0
}

// Close writes what waits and ends the Recorder. Whoever is awaited still is
// awaited by the next one.
func (r *Recorder) Close(ctx context.Context) error {
	r.cancel()
	<-r.done
	for {
		if more, err := r.write(ctx); !more || err != nil {
			return err
		}
	}
}

func (r *Recorder) run(ctx context.Context) {
	defer close(r.done)
	check := time.NewTicker(returnCheck)
	defer check.Stop()
	for {
		if !r.awaits() {
			check.Stop()
		}
		select {
		case <-r.wake:
		case now := <-check.C:
			r.expire(now)
		case <-ctx.Done():
			return
		}
		for {
			more, err := r.write(ctx)
			if err == nil && !more {
				break
			}
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				r.log.Warn("what attendees did could not be written; it waits", "error", err)
				select {
				case <-time.After(recordRetry):
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// write writes one batch; more reports whether there may be another.
func (r *Recorder) write(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	r.unfold()
	batch := r.waiting[:min(recordBatch, len(r.waiting))]
	r.mu.Unlock()
	if len(batch) == 0 {
		return false, nil
	}
	if err := r.cfg.Service.Sight(ctx, r.cfg.Node, batch); err != nil {
		return true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range batch {
		if r.pending[one.MeetingID]--; r.pending[one.MeetingID] <= 0 {
			delete(r.pending, one.MeetingID)
		}
	}
	if r.waiting = r.waiting[len(batch):]; len(r.waiting) == 0 {
		r.waiting = nil
	}
	return len(r.waiting) > 0 || len(r.folded) > 0, nil
}
