// Package pipe is the end of a datagram connection that DTLS runs on where the
// datagrams come by another way than a socket of its own: whoever reads the port
// pushes them in.
package pipe

import (
	"net"
	"os"
	"sync"
	"time"
)

// Depth bounds the datagrams that wait to be read; a flight of a browser is a
// handful.
const Depth = 32

// Pipe is a net.PacketConn: datagrams are pushed in, and what is written is
// handed to a function, which knows the peer's address of the moment.
type Pipe struct {
	in     chan []byte
	write  func([]byte)
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{} // closed when the read deadline has passed
}

// New returns a Pipe that writes by a function, which must not keep what it gets.
func New(write func([]byte)) *Pipe {
	return &Pipe{
		in:     make(chan []byte, Depth),
		write:  write,
		closed: make(chan struct{}),
		late:   make(chan struct{}),
	}
}

// Push queues a datagram, which it keeps. It says false when the queue is full.
func (p *Pipe) Push(b []byte) bool {
	select {
	case p.in <- b:
		return true
	default:
		return false
	}
}

// Waiting is how many datagrams were pushed and not read.
func (p *Pipe) Waiting() int { return len(p.in) }

// ReadFrom implements net.PacketConn.
func (p *Pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	late := p.late
	p.mu.Unlock()
	select { // a passed deadline and a close come before what is queued
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-late:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case d := <-p.in:
		return copy(b, d), addr{}, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-late:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo implements net.PacketConn.
func (p *Pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	p.write(b) // what does not arrive is sent again by DTLS
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *Pipe) LocalAddr() net.Addr { return addr{} }

// Peer stands for the other side, wherever it is.
func (p *Pipe) Peer() net.Addr { return addr{} }

// SetDeadline implements net.PacketConn.
func (p *Pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn and changes nothing: writes do not
// wait.
func (p *Pipe) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (p *Pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fired := false
	if p.timer != nil {
		fired = !p.timer.Stop()
		p.timer = nil
	}
	select {
	case <-p.late:
		fired = true
	default:
	}
	if fired {
		// Closed, or about to be by the timer that could not be stopped.
		p.late = make(chan struct{})
	}
	if t.IsZero() {
		return nil
	}
	late := p.late
	if d := time.Until(t); d > 0 {
		p.timer = time.AfterFunc(d, func() { close(late) })
	} else {
		close(late)
	}
	return nil
}

// addr stands for the peer, whose address may change.
type addr struct{}

func (addr) Network() string { return "udp" }
func (addr) String() string  { return "peer" }
