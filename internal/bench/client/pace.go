package client

import (
	"sync"
	"time"

	"belfry/internal/bench/check"
)

const (
	beat  = 2 * time.Millisecond
	slots = 10 // beats of 20 ms
)

// Pace is the goroutine that drives Clients: every 20 ms each sends its sound and
// the RTCP that is due, spread over that time as people are, and each camera its
// frames. It notes how far behind it is, for a load generator that is late
// measures itself.
type Pace struct {
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	people  []*seat
	cameras []*camera
	lag     check.Histogram
}

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
	p := &Pace{quit: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// Add begins to drive a connected Client. sound says whether it has a microphone.
func (p *Pace) Add(c *Client, sound bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := int64(len(p.people) * 7 % slots) // neighbours far from one another
	p.people = append(p.people, &seat{c: c, sound: sound, next: Now() + slot*int64(beat)})
	if c.cfg.VideoRate > 0 {
		// Cameras are not in step either.
		interval := int64(time.Second) / int64(c.cfg.Frames)
		p.cameras = append(p.cameras, &camera{c: c, next: Now() + int64(len(p.cameras))*7e6%interval})
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
	close(p.quit)
	<-p.done
}

func (p *Pace) run() {
	defer close(p.done)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		now := Now()
		for _, s := range p.people {
			p.drive(s, now)
		}
		for _, v := range p.cameras {
			p.roll(v, now)
		}
		p.mu.Unlock()
	}
}

func (p *Pace) drive(s *seat, now int64) {
	if now < s.next || !s.c.up.Load() {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for ; s.next <= now; s.next += int64(slots * beat) {
		p.lag.Add(now - s.next)
		if s.sound {
			s.c.speak(now)
		}
	}
	s.c.housekeep(now)
}

func (p *Pace) roll(v *camera, now int64) {
	if now < v.next || !v.c.up.Load() {
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
