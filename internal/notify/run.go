package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// BatchSender is a Sender that brings several messages with one request.
type BatchSender interface {
	Sender
	// BatchSize is how many those are at most.
	BatchSize() int
	// SendBatch sends messages, each of another meeting, so that one may fail
	// without the others. It returns an error for each, nil where the target has it.
	SendBatch(ctx context.Context, address string, list []Message) []error
}

// errNoSender is what a target of a kind that nobody sends to fails with.
var errNoSender = errors.New("the server sends to no targets of this kind")

// outcome is how the run of a lane ended.
type outcome int

const (
	drained outcome = iota // nothing was left
	paused                 // there may be more
	failed
)

// run is what a worker does with a lane for one turn.
type run struct {
	*lane
	events  []meeting.Event // those to send
	whole   bool            // there may be more than these
	letters []meeting.DeadLetter
	before  uint64
}

// run sends what lanes have, some of it: the next event of each of them, until
// each has nothing left or fails. Lanes are put back as they end, and it is
// handed on what they reached.
func (t *target) run(lanes []*lane) {
	runs := make([]*run, 0, len(lanes))
	for _, l := range lanes {
		runs = append(runs, &run{lane: l, before: l.through})
	}
	if err := t.load(runs); err != nil {
		for _, r := range runs {
			r.failures++
			t.end(r, failed)
		}
		return
	}
	for {
		live := runs[:0]
		for _, r := range runs {
			switch {
			case len(r.events) > 0:
				live = append(live, r)
			case r.whole:
				t.end(r, paused)
			default:
				t.end(r, drained)
			}
		}
		if runs = live; len(runs) == 0 {
			return
		}
		runs = t.round(runs)
	}
}

func (t *target) load(runs []*run) error {
	return t.term.cfg.Store.View(t.term.ctx, func(r meeting.Reader) error {
		for _, one := range runs {
			one.events = r.Events(one.meetingID, one.through, runLength)
			one.whole = len(one.events) == runLength
		}
		return nil
	})
}

// round sends the next event of each run, and returns the runs that go on.
func (t *target) round(runs []*run) []*run {
	heads := make([]meeting.Event, len(runs))
	for i, r := range runs {
		heads[i] = r.events[0]
	}
	errs := t.attempt(heads)
	stopped := t.term.ctx.Err() != nil // then what failed may be there or not
	taken := 0
	for i, r := range runs {
		if errs[i] == nil {
			taken++
			t.term.metrics.delivered(t.id.Kind, time.Since(heads[i].At))
			r.take()
			r.failures, r.since = 0, time.Time{}
		}
	}
	loud := taken > 0
	switch {
	case taken > 0:
		t.succeeded()
	case !stopped:
		loud = t.failed()
	}
	live := runs[:0]
	for i, r := range runs {
		switch {
		case errs[i] == nil && !stopped, !stopped && t.refused(r, errs[i], loud):
			live = append(live, r)
		default:
			t.end(r, failed)
		}
	}
	if taken == 0 && !stopped {
		t.sweep(reasonOf(errs[0], t.id))
	}
	return live
}

// take counts the next event as done with.
func (r *run) take() {
	r.through, r.next = r.events[0].Number, time.Time{}
	r.events = r.events[1:]
}

// refused notes that the next event of a run was, and reports whether it is given
// up so that the one after it has its turn. loud failures are in the log.
func (t *target) refused(r *run, err error, loud bool) (goOn bool) {
	e, now := r.events[0], time.Now()
	r.failures++
	if r.since.IsZero() {
		r.since = now
	}
	t.term.metrics.failed(t.id.Kind)
	since := r.since
	if of := t.failing(); !of.IsZero() && of.Before(since) {
		since = of
	}
	reason := reasonOf(err, t.id)
	if !t.tooOld(e, since) {
		if loud {
			t.term.log.Warn("an event could not be delivered; it will be tried again", "target", label(t.id),
				"meeting", e.MeetingID, "event", e.ID, "attempt", r.failures, "error", reason)
		}
		return false
	}
	t.term.log.Error("an event could not be delivered for too long and is a dead letter now", "target", label(t.id),
		"meeting", e.MeetingID, "event", e.ID, "error", reason)
	t.term.metrics.dead(t.id.Kind, 1)
	r.letters = append(r.letters, meeting.DeadLetter{Target: t.id, Event: e, At: now, Attempts: r.failures, Reason: reason})
	r.take()
	r.failures = 0
	return true
}

// tooOld reports whether an event is to be given up, which was refused since some
// time. One that was old when it was first tried, since the server was off, has
// some time too, unless it is very old.
func (t *target) tooOld(e meeting.Event, since time.Time) bool {
	limit, age := t.term.cfg.GiveUp, time.Since(e.At)
	return age >= limit && (time.Since(since) >= limit/24 || age >= 2*limit)
}

// end has the progress of a run written and puts its lane back.
func (t *target) end(r *run, out outcome) {
	if r.through > r.before {
		t.term.progress.note(laneKey{t.id, r.meetingID}, r.through, r.letters)
	}
	t.finish(r.lane, out)
}

// attempt is one try with some events, each of another meeting.
func (t *target) attempt(list []meeting.Event) (errs []error) {
	ctx, cancel := context.WithTimeout(t.term.ctx, t.term.cfg.Attempt)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			errs = all(len(list), fmt.Errorf("panic: %v", p))
		}
	}()
	if len(list) == 1 {
		return []error{t.term.cfg.send(ctx, t.id, list[0])}
	}
	messages := make([]Message, 0, len(list))
	for _, e := range list {
		body, err := Envelope(e)
		if err != nil {
			return all(len(list), err)
		}
		messages = append(messages, Message{Event: e, Body: body})
	}
	return t.term.cfg.Senders[t.id.Kind].(BatchSender).SendBatch(ctx, t.id.Address, messages)
}

func all(n int, err error) (errs []error) {
	for range n {
		errs = append(errs, err)
	}
	return errs
}

// send sends one event to one target.
func (c *Config) send(ctx context.Context, to meeting.Target, e meeting.Event) error {
	s := c.Senders[to.Kind]
	if s == nil {
		return errNoSender
	}
	body, err := Envelope(e)
	if err != nil {
		return err
	}
	return s.Send(ctx, to.Address, Message{Event: e, Body: body})
}

// reasonOf is an error's text, bounded and without the target's address.
func reasonOf(err error, t meeting.Target) string {
	text := strings.ReplaceAll(err.Error(), t.Address, label(t))
	if len(text) > 400 {
		text = strings.ToValidUTF8(text[:400], "") + "…"
	}
	return text
}
