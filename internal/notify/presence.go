package notify

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"belfry/internal/meeting"
)

const (
	// recordBatch is how many events one write has, maxRecords how many may wait
	// while the store does not take them; more are dropped and said to be.
	recordBatch = 256
	maxRecords  = 100_000
	recordRetry = time.Second
)

// Recorder writes what attendees did into the store, as events of their
// meetings. Nobody waits for it: what was told in the last moments before a
// kill is not in the store.
type Recorder struct {
	store meeting.Store
	log   *slog.Logger

	mu      sync.Mutex
	waiting []meeting.Event
	dropped int // since it was last said

	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// NewRecorder begins to write to a store. logger may be nil.
func NewRecorder(store meeting.Store, logger *slog.Logger) *Recorder {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{store: store, log: logger, wake: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.run(ctx)
	return r
}

// Record takes one event and returns at once. Calls for one meeting are written
// in their order. Meetings whose events nobody gets are passed over.
func (r *Recorder) Record(t meeting.EventType, at time.Time, m *meeting.Meeting, a *meeting.Attendee) {
	if len(m.Notifications.Targets()) == 0 {
		return
	}
	e := meeting.Event{
		ID: newID(), Type: t, At: at,
		Account: m.Account, Region: m.ControlRegion,
		MeetingID: m.ID, ExternalMeetingID: m.ExternalMeetingID, MediaRegion: m.MediaRegion,
		AttendeeID: a.ID, ExternalUserID: a.ExternalUserID, NetworkType: networkType(t),
	}
	if isContent(t) {
		e.AttendeeID = a.ID + meeting.ContentSuffix
	}
	r.mu.Lock()
	if len(r.waiting) < maxRecords {
		r.waiting = append(r.waiting, e)
	} else {
		r.dropped++
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// networkType is the networkType of the events that have one.
func networkType(t meeting.EventType) string {
	switch t {
	case meeting.EventAttendeeJoined, meeting.EventAttendeeLeft, meeting.EventAttendeeDropped,
		meeting.EventAttendeeContentJoined, meeting.EventAttendeeContentLeft, meeting.EventAttendeeContentDropped:
		return "Voip"
	}
	return ""
}

func isContent(t meeting.EventType) bool {
	switch t {
	case meeting.EventAttendeeContentJoined, meeting.EventAttendeeContentLeft, meeting.EventAttendeeContentDropped,
		meeting.EventAttendeeContentVideoStarted, meeting.EventAttendeeContentVideoStopped:
		return true
	}
	return false
}

// newID makes a random GUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Close writes what waits and ends the Recorder.
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
	for {
		select {
		case <-r.wake:
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
				r.log.Warn("events of attendees could not be written; they wait", "error", err)
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
	batch, dropped := r.waiting[:min(recordBatch, len(r.waiting))], r.dropped
	r.dropped = 0
	r.mu.Unlock()
	if dropped > 0 {
		r.log.Error("events of attendees were dropped: the store took none for too long", "dropped", dropped)
	}
	if len(batch) == 0 {
		return false, nil
	}
	err = r.store.Update(ctx, func(tx meeting.Tx) error {
		for _, e := range batch {
			tx.Emit(e)
		}
		return nil
	})
	if err != nil {
		return true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = r.waiting[len(batch):]
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	return r.waiting != nil, nil
}
