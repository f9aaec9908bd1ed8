// Package memory keeps meetings in memory alone: for tests, and for a server
// whose meetings may end with the process. It behaves as the durable store does
// in everything but durability.
package memory

import (
	"context"
	"sync"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/projection"
)

// pruneEvery is after how many commits events that are too old are looked for.
const pruneEvery = 4096

// Store is a meeting.Store in memory. Make one with New.
type Store struct {
	update   sync.Mutex // serialises updates, and with them the watchers' calls
	state    *projection.State
	watchers projection.Watchers
	commits  int

	closing sync.RWMutex
	closed  bool
}

var _ meeting.Store = (*Store)(nil)

// New returns an empty Store.
func New() *Store { return &Store{state: projection.New()} }

func (s *Store) usable(ctx context.Context) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return projection.ErrClosed
	}
	return projection.Ended(ctx)
}

// View implements meeting.Store.
func (s *Store) View(ctx context.Context, fn func(meeting.Reader) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.state.View(fn)
}

// Update implements meeting.Store.
func (s *Store) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	s.update.Lock()
	defer s.update.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	ops, err := projection.Stage(s.state).Run(fn, nil)
	if err != nil || len(ops) == 0 {
		return err
	}
	s.watchers.Call(s.state.Apply(ops))
	if s.commits++; s.commits%pruneEvery == 0 {
		s.state.Prune(time.Now())
	}
	return nil
}

// Watch implements meeting.Store.
func (s *Store) Watch(fn func(meeting.Commit)) (stop func()) { return s.watchers.Add(fn) }

// Close implements meeting.Store.
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	s.closed = true
	return nil
}
