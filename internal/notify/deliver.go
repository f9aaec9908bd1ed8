package notify

import (
	"context"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// term is a time of delivering: from Start to Close, or where several nodes share
// a store, for as long as this one is the owner of delivery. Its lanes and
// targets begin with what the store says and end with it.
type term struct {
	*Notifier
	progress *progress

	mu      sync.Mutex
	dirty   map[string]struct{} // meetings with something new
	settled []settlement        // progress that is in the store
	targets map[meeting.Target]*target

	wake    chan struct{} // dirty or settled has something
	ctx     context.Context
	cancel  context.CancelFunc
	expiry  *time.Timer    // nil: it has none
	running sync.WaitGroup // the dispatcher, the writer of progress, the workers
	unwatch func()
}

// settlement says that a lane's progress is in the store.
type settlement struct {
	key     laneKey
	through uint64
}

type laneKey struct {
	target    meeting.Target
	meetingID string
}

// viewChunk is how many meetings are looked up in one View.
const viewChunk = 256

// begin starts a term with what is undelivered. It ends by itself after expires,
// unless that is put off; 0: never.
func (n *Notifier) begin(ctx context.Context, expires time.Duration) (*term, error) {
	t := &term{Notifier: n, dirty: map[string]struct{}{}, targets: map[meeting.Target]*target{}, wake: make(chan struct{}, 1)}
	t.progress = newProgress(t)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if expires > 0 {
		t.expiry = time.AfterFunc(expires, t.cancel)
	}
	// Watched before it is looked: what comes between is seen twice, not never.
	t.unwatch = n.cfg.Store.Watch(t.committed)
	err := n.cfg.Store.View(ctx, func(r meeting.Reader) error {
		left := r.Undelivered()
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, id := range left {
			t.dirty[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		t.unwatch()
		t.cancel()
		return nil, err
	}
	t.signal()
	t.running.Add(2)
	go t.dispatch()
	go t.progress.run()
	return t, nil
}

// end ends the deliveries that are under way, and writes how far they are.
func (t *term) end(ctx context.Context) error {
	t.unwatch()
	t.cancel()
	if t.expiry != nil {
		t.expiry.Stop()
	}
	t.running.Wait()
	return t.progress.flush(ctx)
}

func (t *term) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// committed is called by the store for each commit.
func (t *term) committed(c meeting.Commit) {
	any := false
	for _, ch := range c.Changes {
		if ch.Event == nil {
			continue
		}
		if !any {
			any = true
			t.mu.Lock()
			defer t.mu.Unlock()
		}
		t.dirty[ch.Event.MeetingID] = struct{}{}
	}
	if any {
		t.signal()
	}
}

// dispatch gives meetings with something new to their targets, and forgets
// lanes and targets that are done. Both happen on this goroutine, so that what
// was read before a lane was forgotten cannot bring it back with old progress.
func (t *term) dispatch() {
	defer t.running.Done()
	for {
		select {
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		t.mu.Lock()
		settled, dirty := t.settled, t.dirty
		t.settled, t.dirty = nil, map[string]struct{}{}
		t.mu.Unlock()
		for _, s := range settled {
			t.forget(s)
		}
		ids := make([]string, 0, len(dirty))
		for id := range dirty {
			ids = append(ids, id)
		}
		for len(ids) > 0 {
			chunk := ids[:min(viewChunk, len(ids))]
			if err := t.deal(chunk); err != nil {
				return // the store is closed, or cannot be read any more
			}
			ids = ids[len(chunk):]
		}
	}
}

func (t *term) deal(ids []string) error {
	type work struct {
		key     laneKey
		through uint64
	}
	var list []work
	err := t.cfg.Store.View(t.ctx, func(r meeting.Reader) error {
		for _, id := range ids {
			for _, d := range r.Deliveries(id) {
				list = append(list, work{laneKey{d.Target, id}, d.Through})
			}
		}
		return nil
	})
	for _, w := range list {
		t.targetOf(w.key.target).add(w.key.meetingID, w.through)
	}
	return err
}

// targetOf finds a target or makes it; for the dispatcher alone.
func (t *term) targetOf(id meeting.Target) *target {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.targets[id]
	if one == nil {
		one = newTarget(t, id)
		t.targets[id] = one
	}
	return one
}

// forget drops a lane whose progress is in the store, and its target when that
// was the last.
func (t *term) forget(s settlement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.targets[s.key.target]; one != nil && one.forget(s.key.meetingID, s.through) {
		delete(t.targets, s.key.target)
	}
}

// settle hands settlements to the dispatcher.
func (t *term) settle(list ...settlement) {
	t.mu.Lock()
	t.settled = append(t.settled, list...)
	t.mu.Unlock()
	t.signal()
}
