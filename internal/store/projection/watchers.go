package projection

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"belfry/internal/meeting"
)

// ErrClosed is what a closed store answers.
var ErrClosed error = meeting.Errorf(meeting.CodeUnavailable, "the store is closed")

// Ended is CodeUnavailable around the context's error when it has ended, else nil.
func Ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &meeting.Error{Code: meeting.CodeUnavailable, Message: "the request ended before the store took it", Err: err}
	}
	return nil
}

// Watchers is who is told of commits. The zero value is ready.
type Watchers struct {
	mu   sync.Mutex
	list []*watcher // replaced, never changed in place
}

type watcher struct {
	fn      func(meeting.Commit)
	stopped atomic.Bool
}

// Add begins calls to fn; stop ends them. stop may be called from fn.
func (w *Watchers) Add(fn func(meeting.Commit)) (stop func()) {
	one := &watcher{fn: fn}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(slices.Clone(w.list), one)
	return func() {
		one.stopped.Store(true)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(slices.Clone(w.list), func(x *watcher) bool { return x == one })
	}
}

// Call tells everyone of one commit. Its callers must serialise.
func (w *Watchers) Call(c meeting.Commit) {
	if len(c.Changes) == 0 {
		return
	}
	w.mu.Lock()
	list := w.list
	w.mu.Unlock()
	for _, one := range list {
		if !one.stopped.Load() {
			one.fn(c)
		}
	}
}
