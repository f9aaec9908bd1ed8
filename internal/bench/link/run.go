package link

import (
	"sync"
	"time"
)

// Way is a direction's name.
type Way int

// The two ways. Up is from the client to the server.
const (
	Up Way = iota
	Down
)

// Both are the conditions of a link.
type Both struct{ Up, Down Conditions }

// Same is a link that is alike both ways.
func Same(c Conditions) Both { return Both{c, c} }

// Link carries packets both ways in time. Its packets come by Send and leave by the
// functions that it was made with, each called by one goroutine at a time.
type Link struct {
	lanes [2]*lane
	wait  sync.WaitGroup
}

type lane struct {
	start time.Time
	out   func(packet []byte)
	wake  chan struct{} // buffered: something earlier came, or the end

	mu     sync.Mutex
	d      *Direction
	closed bool
}

// Start makes a Link: up takes what reaches the server, down what reaches the client.
func Start(seed uint64, c Both, up, down func(packet []byte)) *Link {
	l := &Link{}
	start := time.Now()
	for way, out := range []func([]byte){up, down} {
		conditions := c.Up
		if Way(way) == Down {
			conditions = c.Down
		}
		n := &lane{start: start, out: out, wake: make(chan struct{}, 1), d: NewDirection(seed+uint64(way), conditions)}
		l.lanes[way] = n
		l.wait.Go(n.run)
	}
	return l
}

// Send takes a packet, which is the Link's from now on.
func (l *Link) Send(way Way, packet []byte) {
	n := l.lanes[way]
	n.mu.Lock()
	sent := !n.closed && n.d.Push(n.now(), packet)
	n.mu.Unlock()
	if sent {
		n.stir()
	}
}

// Set changes the conditions.
func (l *Link) Set(c Both) {
	for way, n := range l.lanes {
		n.mu.Lock()
		if Way(way) == Up {
			n.d.Set(n.now(), c.Up)
		} else {
			n.d.Set(n.now(), c.Down)
		}
		n.mu.Unlock()
		n.stir()
	}
}

// Counts tells what became of the packets of one way.
func (l *Link) Counts(way Way) Counts {
	n := l.lanes[way]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.d.Counts()
}

// Close ends it; what is on its way is lost. It waits for the functions of Start.
func (l *Link) Close() {
	for _, n := range l.lanes {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.stir()
	}
	l.wait.Wait()
}

func (n *lane) now() int64 { return int64(time.Since(n.start)) }

func (n *lane) stir() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *lane) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return
		}
		now := n.now()
		packet := n.d.Pop(now)
		at, more := n.d.Next()
		n.mu.Unlock()
		if packet != nil {
			n.out(packet)
			continue
		}
		sleep := time.Hour
		if more {
			sleep = time.Duration(at - now)
		}
		timer.Reset(sleep)
		select {
		case <-timer.C:
		case <-n.wake:
		}
	}
}
