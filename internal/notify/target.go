package notify

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// errNoSender is what a target of a kind that nobody sends to fails with.
var errNoSender = errors.New("the server sends to no targets of this kind")

// target is one queue, topic or webhook with the meetings that have something
// for it.
type target struct {
	n  *Notifier
	id meeting.Target

	mu       sync.Mutex
	lanes    map[string]*lane
	ready    []*lane // in the order of their turns
	delayed  delayed
	workers  int
	busy     int  // workers that have a lane
	waiting  bool // one worker waits for time to pass
	kick     chan struct{}
	failures int       // in a row
	until    time.Time // nothing is sent before
}

// lane is one meeting's way to one target. through and failures belong to the
// worker that has the lane.
type lane struct {
	meetingID string
	through   uint64
	failures  int // of the next event
	due       time.Time

	// Guarded by the target's mu.
	state   laneState
	more    bool   // something new came while a worker had it
	inStore uint64 // the progress that is known to be in the store
}

type laneState int

const (
	laneIdle laneState = iota
	laneReady
	laneDelayed
	laneBusy
)

func newTarget(n *Notifier, id meeting.Target) *target {
	return &target{n: n, id: id, lanes: map[string]*lane{}, kick: make(chan struct{}, 1)}
}

// add says that a meeting has something after through.
func (t *target) add(meetingID string, through uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lanes[meetingID]
	if l == nil {
		l = &lane{meetingID: meetingID, through: through, inStore: through}
		t.lanes[meetingID] = l
	}
	switch l.state {
	case laneBusy:
		l.more = true
	case laneIdle:
		t.push(l)
		t.hire()
	}
}

// push gives the lane its turn after the others. The caller holds mu.
func (t *target) push(l *lane) {
	l.state = laneReady
	t.ready = append(t.ready, l)
}

// hire sees to it that somebody takes what is ready. The caller holds mu.
func (t *target) hire() {
	if t.waiting {
		select {
		case t.kick <- struct{}{}:
		default:
		}
		return
	}
	if t.workers < maxWorkers && t.n.ctx.Err() == nil {
		t.workers++
		t.n.running.Add(1)
		go t.work()
	}
}

// forget drops an idle lane with this progress, and reports whether the target
// has none left.
func (t *target) forget(meetingID string, through uint64) (empty bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lanes[meetingID]; l != nil {
		l.inStore = max(l.inStore, through)
		if l.state == laneIdle && l.through <= through {
			delete(t.lanes, meetingID)
		}
	}
	return len(t.lanes) == 0 && t.workers == 0
}

// work is the goroutine of a worker. It ends when there is nothing for it.
func (t *target) work() {
	defer t.n.running.Done()
	for {
		l, wait := t.next()
		switch {
		case l != nil:
			t.finish(l, t.run(l))
		case wait > 0:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-t.kick:
			case <-t.n.ctx.Done():
			}
			timer.Stop()
			t.mu.Lock()
			t.waiting = false
			t.mu.Unlock()
		default:
			// Perhaps the target's last; the dispatcher looks.
			t.n.settle(settlement{key: laneKey{target: t.id}})
			return
		}
	}
}

// next is the lane for a worker to take, or how long to wait for one; neither
// ends the worker.
func (t *target) next() (*lane, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n.ctx.Err() != nil {
		t.workers--
		return nil, 0
	}
	now := time.Now()
	for len(t.delayed) > 0 && !t.delayed[0].due.After(now) {
		t.push(heap.Pop(&t.delayed).(*lane))
	}
	wait := time.Duration(0)
	switch {
	case t.failures > 0 && t.busy > 0: // one tries; the others wait for its outcome
	case len(t.ready) > 0 && !t.until.After(now):
		l := t.ready[0]
		t.ready[0] = nil
		t.ready = t.ready[1:]
		l.state, l.more = laneBusy, false
		t.busy++
		if len(t.ready) > 0 && t.failures == 0 {
			t.hire()
		}
		return l, 0
	case t.waiting:
	case len(t.ready) > 0:
		wait = t.until.Sub(now)
	case len(t.delayed) > 0:
		wait = t.delayed[0].due.Sub(now)
	}
	if wait <= 0 {
		t.workers--
		return nil, 0
	}
	t.waiting = true
	return nil, wait
}

// outcome is how the run of a lane ended.
type outcome int

const (
	drained outcome = iota // nothing was left
	paused                 // there may be more
	failed
)

// run sends a lane's events, some of them. It hands on what was reached.
func (t *target) run(l *lane) outcome {
	before := l.through
	out, letters := t.send(l)
	if l.through > before {
		t.n.progress.note(laneKey{t.id, l.meetingID}, l.through, letters)
	}
	return out
}

func (t *target) send(l *lane) (out outcome, letters []meeting.DeadLetter) {
	var events []meeting.Event
	err := t.n.cfg.Store.View(t.n.ctx, func(r meeting.Reader) error {
		events = r.Events(l.meetingID, l.through, runLength)
		return nil
	})
	if err != nil {
		return failed, nil
	}
	for _, e := range events {
		err := t.attempt(e)
		if t.n.ctx.Err() != nil {
			return failed, letters // stopped: it may be there or not
		}
		if err == nil {
			t.succeeded()
			t.n.metrics.delivered(t.id.Kind, time.Since(e.At))
			l.through, l.failures = e.Number, 0
			continue
		}
		l.failures++
		t.n.metrics.failed(t.id.Kind)
		reason := reasonOf(err, t.id)
		if age := time.Since(e.At); age < t.n.cfg.GiveUp {
			t.n.log.Warn("an event could not be delivered; it will be tried again", "target", label(t.id),
				"meeting", e.MeetingID, "event", e.ID, "attempt", l.failures, "error", reason)
			return failed, letters
		}
		t.n.log.Error("an event could not be delivered for too long and is a dead letter now", "target", label(t.id),
			"meeting", e.MeetingID, "event", e.ID, "error", reason)
		t.n.metrics.dead(t.id.Kind)
		letters = append(letters, meeting.DeadLetter{Target: t.id, Event: e, At: time.Now(), Attempts: l.failures, Reason: reason})
		l.through, l.failures = e.Number, 0
	}
	if len(events) < runLength {
		return drained, letters
	}
	return paused, letters
}

// attempt is one try with one event.
func (t *target) attempt(e meeting.Event) (err error) {
	ctx, cancel := context.WithTimeout(t.n.ctx, t.n.cfg.Attempt)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return t.n.sendTo(ctx, t.id, e)
}

// sendTo sends one event to one target.
func (n *Notifier) sendTo(ctx context.Context, to meeting.Target, e meeting.Event) error {
	s := n.cfg.Senders[to.Kind]
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

func (t *target) succeeded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.until = 0, time.Time{}
}

// finish puts a lane back after a run.
func (t *target) finish(l *lane, out outcome) {
	if t.putBack(l, out) {
		t.n.settle(settlement{laneKey{t.id, l.meetingID}, l.through})
	}
}

// putBack reports whether the lane is done and its progress in the store: when
// the store was faster than the worker, nobody else would tell the dispatcher.
func (t *target) putBack(l *lane, out outcome) (done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	switch {
	case out == failed:
		now := time.Now()
		if !t.until.After(now) { // those that were under way together fail as one
			t.failures++
			t.until = now.Add(t.n.pause(t.failures))
		}
		l.due, l.state = now.Add(t.n.pause(l.failures)), laneDelayed
		heap.Push(&t.delayed, l)
	case out == paused || l.more:
		t.push(l)
	default:
		l.state = laneIdle
		return l.inStore >= l.through
	}
	return false
}

// pause is the time to wait after so many failures in a row, and a bit, so that
// many do not come back at once.
func (n *Notifier) pause(failures int) time.Duration {
	d := n.cfg.FirstRetry
	for i := 1; i < failures && d < n.cfg.MaxRetry; i++ {
		d *= 2
	}
	d = min(d, n.cfg.MaxRetry)
	return d + rand.N(d/5+1)
}

// delayed is a heap of the lanes that wait, by their time.
type delayed []*lane

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(*lane)) }
func (d *delayed) Pop() any {
	old := *d
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return l
}
