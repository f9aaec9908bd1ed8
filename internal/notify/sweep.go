package notify

import (
	"container/heap"
	"fmt"
	"time"

	"belfry/internal/meeting"
)

// sweepMost is how many events one sweep gives up at most.
const sweepMost = 4096

// sweep gives up what is too old in all lanes of a target that fails. Only one
// lane is tried at a time then, and with many meetings most of their events
// would be kept for ever without a try of their own.
func (t *target) sweep(reason string) {
	lanes, since := t.borrow()
	if len(lanes) == 0 {
		return
	}
	reason = fmt.Sprintf("the target has taken nothing since %s; of another event: %s", since.UTC().Format(time.RFC3339), reason)
	buried := 0
	for left := lanes; len(left) > 0 && buried < sweepMost; {
		chunk := left[:min(viewChunk, len(left))]
		left = left[len(chunk):]
		buried += t.bury(chunk, since, reason)
	}
	t.giveBack(lanes)
	if buried > 0 {
		t.term.metrics.dead(t.id.Kind, buried)
		t.term.log.Error("events could not be delivered for too long and are dead letters now", "target", label(t.id), "events", buried, "error", reason)
	}
}

// borrow takes the lanes that wait, when it is time to look at them.
func (t *target) borrow() (lanes []*lane, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, cfg := time.Now(), &t.term.cfg
	if t.failures == 0 || now.Sub(t.since) < cfg.GiveUp/24 || now.Sub(t.swept) < cfg.MaxRetry {
		return nil, t.since
	}
	t.swept = now
	lanes = append(t.ready, t.delayed...)
	t.ready, t.delayed = nil, nil
	for _, l := range lanes {
		l.state, l.more = laneBusy, false
	}
	return lanes, t.since
}

// giveBack puts lanes back where they were. Some may have nothing left: the
// worker that takes them finds out.
func (t *target) giveBack(lanes []*lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, l := range lanes {
		if l.due.After(now) {
			l.state = laneDelayed
			heap.Push(&t.delayed, l)
		} else {
			t.push(l)
		}
	}
}

// bury gives up the old events of some lanes.
func (t *target) bury(lanes []*lane, since time.Time, reason string) (buried int) {
	runs := make([]*run, 0, len(lanes))
	for _, l := range lanes {
		if l.next.IsZero() || time.Since(l.next) >= t.term.cfg.GiveUp {
			runs = append(runs, &run{lane: l, before: l.through})
		}
	}
	if len(runs) == 0 {
		return 0
	}
	if err := t.load(runs); err != nil {
		return 0 // the store is closed
	}
	for _, r := range runs {
		for len(r.events) > 0 && t.tooOld(r.events[0], since) {
			r.letters = append(r.letters, meeting.DeadLetter{Target: t.id, Event: r.events[0], At: time.Now(), Attempts: r.failures, Reason: reason})
			r.take()
			r.failures = 0
		}
		if len(r.events) > 0 {
			r.next = r.events[0].At
		}
		if buried += len(r.letters); len(r.letters) > 0 {
			t.term.progress.note(laneKey{t.id, r.meetingID}, r.through, r.letters)
		}
	}
	return buried
}
