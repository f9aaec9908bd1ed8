//go:build !linux

package metronome

import (
	"net"
	"sync"
	"time"
)

// sys is a timer of Go's.
type sys struct {
	timer *time.Timer
	quit  chan struct{}
	once  sync.Once
}

func (s *sys) open() error {
	s.quit = make(chan struct{})
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	return nil
}

func (s *sys) until(_, left time.Duration) error {
	s.timer.Reset(left)
	select {
	case <-s.quit:
		s.timer.Stop()
		return net.ErrClosed
	case <-s.timer.C:
		return nil
	}
}

func (s *sys) close() error {
	s.once.Do(func() { close(s.quit) })
	return nil
}

var began = time.Now()

func monotonic() time.Duration { return time.Since(began) + time.Hour }
