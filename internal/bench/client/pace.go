package client

import (
	"sync"
	"time"

	"belfry/internal/bench/check"
)

const (
	beat    = 2 * time.Millisecond
	quick   = beat / 4 // while somebody connects, so that this takes no longer than the server does
	slots   = 10       // beats of 20 ms
	turning = int64(slots * beat)
)

// Pace is the goroutine that drives Clients: every 20 ms each sends its sound and
// the RTCP that is due, spread over that time as people are, and each camera its
// frames. It notes how far behind it is, for a load generator that is late
// measures itself. For Clients that are made with it (Config.Pace) it also reads,
// every 2 ms, what the kernel has noted the arrival of: to be woken by each packet costs
// several times what checking it does.
type Pace struct {
	clock   clock
	done    chan struct{}
	trunks  *trunks
	scratch scratch

	hurry      sync.Mutex
	connecting int // guarded by hurry

	mu      sync.Mutex
	people  [slots][]seat // by when in 20 ms it is their turn
	count   int
	cameras []camera
	lag     check.Histogram
}

// clock ticks at even times.
type clock interface {
	set(every time.Duration)
	wait() bool // for the next tick; false: it was stopped
	stop()
}

// ticker is a clock by Go's timers.
type ticker struct {
	*time.Ticker
	quit chan struct{}
}

func newTicker(every time.Duration) clock { return &ticker{time.NewTicker(every), make(chan struct{})} }

func (t *ticker) set(every time.Duration) { t.Reset(every) }

func (t *ticker) wait() bool {
	select {
	case <-t.quit:
		return false
	case <-t.C:
		return true
	}
}

func (t *ticker) stop() {
	t.Stop()
	close(t.quit)
}

// scratch is memory for what is being made.
type scratch struct{ header, plain, packet [2048]byte }

// seat is when a Client's next sound is due.
type seat struct {
	c     *Client
	next  int64
	sound bool
}

type camera struct {
	c    *Client
	next int64
}

// NewPace starts the goroutine.
func NewPace() *Pace {
	p := &Pace{clock: newClock(beat), done: make(chan struct{}), trunks: newTrunks()}
	go p.run()
	return p
}

// Add begins to drive a connected Client. sound says whether it has a microphone.
func (p *Pace) Add(c *Client, sound bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := p.count * 7 % slots // neighbours far from one another
	p.count++
	p.people[slot] = append(p.people[slot], seat{c: c, sound: sound, next: Now() + int64(slot)*int64(beat)})
	if c.cfg.VideoRate > 0 {
		// Cameras are not in step either.
		interval := int64(time.Second) / int64(c.cfg.Frames)
		p.cameras = append(p.cameras, camera{c: c, next: Now() + int64(len(p.cameras))*7e6%interval})
	}
}

// Lag is how late sound and frames were sent, and begins anew.
func (p *Pace) Lag() check.Histogram {
	p.mu.Lock()
	defer p.mu.Unlock()
	lag := p.lag
	p.lag = check.Histogram{}
	return lag
}

// Stop ends the goroutine.
func (p *Pace) Stop() {
	p.clock.stop()
	<-p.done
}

// hasten has the clock tick faster until the returned function is called.
func (p *Pace) hasten() (done func()) {
	change := func(by int, from int, every time.Duration) {
		p.hurry.Lock()
		defer p.hurry.Unlock()
		if p.connecting += by; p.connecting == from {
			p.clock.set(every)
		}
	}
	change(1, 1, quick)
	return func() { change(-1, 0, beat) }
}

func (p *Pace) run() {
	defer close(p.done)
	for p.clock.wait() {
		for p.turn() {
		}
	}
}

// turn does what is due, and reports whether not all was read.
func (p *Pace) turn() (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	more = p.trunks.read()
	now := Now()
	for _, people := range p.people {
		for i := range people {
			if s := &people[i]; now >= s.next {
				p.drive(s, now)
			}
		}
	}
	for i := range p.cameras {
		if v := &p.cameras[i]; now >= v.next {
			p.roll(v, now)
		}
	}
	p.trunks.flush()
	return more
}

func (p *Pace) drive(s *seat, now int64) {
	if !s.c.up.Load() {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for ; s.next <= now; s.next += turning {
		p.lag.Add(now - s.next)
		if s.sound {
			s.c.speak(now)
		}
	}
	s.c.housekeep(now)
	s.c.wire.flush()
}

func (p *Pace) roll(v *camera, now int64) {
	if !v.c.up.Load() {
		return
	}
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	p.lag.Add(now - v.next)
	v.c.film(now)
	// Frames that were missed are left out, as a camera does: a burst of them would
	// be cheaper for the server than the load that was asked for.
	for v.next <= now {
		v.next += int64(time.Second) / int64(v.c.cfg.Frames)
	}
}
