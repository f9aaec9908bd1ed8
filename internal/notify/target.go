package notify

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// target is one queue, topic, function or webhook with the meetings that have
// something for it.
type target struct {
	term *term
	id   meeting.Target
	// together is how many meetings one request may tell of.
	together int

	mu       sync.Mutex
	lanes    map[string]*lane
	ready    []*lane // in the order of their turns
	delayed  delayed
	workers  int
	busy     int  // workers that have lanes
	waiting  bool // one worker waits for time to pass
	kick     chan struct{}
	failures int       // in a row
	since    time.Time // of the first of them
	until    time.Time // nothing is sent before
	swept    time.Time // when sweep was last begun
}

// lane is one meeting's way to one target. through, next, failures and since
// belong to the worker that has the lane.
type lane struct {
	meetingID string
	through   uint64
	next      time.Time // when the next event happened, as far as that is known
	failures  int       // of the next event
	since     time.Time // of the first of them

	// Guarded by the target's mu.
	due     time.Time
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

func newTarget(t *term, id meeting.Target) *target {
	one := &target{term: t, id: id, together: 1, lanes: map[string]*lane{}, kick: make(chan struct{}, 1)}
	if b, ok := t.cfg.Senders[id.Kind].(BatchSender); ok {
		one.together = b.BatchSize()
	}
	return one
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
	if t.workers < maxWorkers && t.term.ctx.Err() == nil {
		t.workers++
		t.term.running.Add(1)
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
	defer t.term.running.Done()
	for {
		lanes, wait := t.next()
		switch {
		case lanes != nil:
			t.run(lanes)
			t.done()
		case wait > 0:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-t.kick:
			case <-t.term.ctx.Done():
			}
			timer.Stop()
			t.mu.Lock()
			t.waiting = false
			t.mu.Unlock()
		default:
			// Perhaps the target's last; the dispatcher looks.
			t.term.settle(settlement{key: laneKey{target: t.id}})
			return
		}
	}
}

// next is the lanes for a worker to take, or how long to wait for one; neither
// ends the worker. While the target fails it is one lane.
func (t *target) next() ([]*lane, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.term.ctx.Err() != nil {
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
		n := 1
		if t.failures == 0 {
			n = min(t.together, len(t.ready))
		}
		lanes := append([]*lane(nil), t.ready[:n]...)
		clear(t.ready[:n])
		t.ready = t.ready[n:]
		for _, l := range lanes {
			l.state, l.more = laneBusy, false
		}
		t.busy++
		if len(t.ready) > 0 && t.failures == 0 {
			t.hire()
		}
		return lanes, 0
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

// done says that a worker has put back what it had.
func (t *target) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
}

func (t *target) succeeded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.until = 0, time.Time{}
}

// failed notes a failure, and reports whether it is the first of those that were
// under way together, which fail as one.
func (t *target) failed() (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.until.After(now) {
		return false
	}
	if t.failures == 0 {
		t.since = now
	}
	t.failures++
	t.until = now.Add(t.term.pause(t.failures))
	return true
}

// failing is since when the target has taken nothing, or zero.
func (t *target) failing() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failures == 0 {
		return time.Time{}
	}
	return t.since
}

// finish puts a lane back after a run.
func (t *target) finish(l *lane, out outcome) {
	if t.putBack(l, out) {
		t.term.settle(settlement{laneKey{t.id, l.meetingID}, l.through})
	}
}

// putBack reports whether the lane is done and its progress in the store: when
// the store was faster than the worker, nobody else would tell the dispatcher.
func (t *target) putBack(l *lane, out outcome) (done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case out == failed:
		l.due, l.state = time.Now().Add(t.term.pause(l.failures)), laneDelayed
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
