package link

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Pair is a virtual network: what is written to one end is read at the other, after
// the link. Closing either end closes the link.
func Pair(seed uint64, c Both) (client, server net.PacketConn, l *Link) {
	a, b := newEnd(netip.MustParseAddrPort("192.0.2.1:1")), newEnd(netip.MustParseAddrPort("192.0.2.2:2"))
	l = Start(seed, c, func(p []byte) { b.arrive(p) }, func(p []byte) { a.arrive(p) })
	a.link, b.link, a.way, b.way, a.peer, b.peer = l, l, Up, Down, b, a
	return a, b, l
}

// end is one of a Pair.
type end struct {
	addr   *net.UDPAddr
	peer   *end
	link   *Link
	way    Way
	in     chan []byte
	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline changes
}

func newEnd(addr netip.AddrPort) *end {
	return &end{addr: net.UDPAddrFromAddrPort(addr), in: make(chan []byte, 1024), closed: make(chan struct{}), moved: make(chan struct{})}
}

// arrive drops what nobody reads, as a socket's buffer does.
func (e *end) arrive(p []byte) {
	select {
	case e.in <- p:
	default:
	}
}

// ReadFrom implements net.PacketConn.
func (e *end) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		e.mu.Lock()
		deadline, moved := e.deadline, e.moved
		e.mu.Unlock()
		var late <-chan time.Time
		var timer *time.Timer
		if !deadline.IsZero() {
			timer = time.NewTimer(time.Until(deadline))
			late = timer.C
		}
		n, err, again := e.read(p, late, moved)
		if timer != nil {
			timer.Stop()
		}
		if !again {
			return n, e.peer.addr, err
		}
	}
}

func (e *end) read(p []byte, late <-chan time.Time, moved <-chan struct{}) (n int, err error, again bool) {
	select {
	case <-e.closed:
		return 0, net.ErrClosed, false
	default:
	}
	select {
	case <-late:
		return 0, os.ErrDeadlineExceeded, false
	case packet := <-e.in:
		return copy(p, packet), nil, false
	case <-e.closed:
		return 0, net.ErrClosed, false
	case <-moved:
		return 0, nil, true
	}
}

// WriteTo implements net.PacketConn. There is one place to write to.
func (e *end) WriteTo(p []byte, to net.Addr) (int, error) {
	if to != nil && to.String() != e.peer.addr.String() {
		return 0, fmt.Errorf("there is no %v on this network, only %v", to, e.peer.addr)
	}
	select {
	case <-e.closed:
		return 0, net.ErrClosed
	default:
	}
	e.link.Send(e.way, bytes.Clone(p))
	return len(p), nil
}

// Close implements net.PacketConn.
func (e *end) Close() error {
	e.once.Do(func() { close(e.closed) })
	e.peer.once.Do(func() { close(e.peer.closed) })
	e.link.Close()
	return nil
}

// LocalAddr implements net.PacketConn.
func (e *end) LocalAddr() net.Addr { return e.addr }

// SetDeadline implements net.PacketConn. Writes never wait.
func (e *end) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadline = t
	close(e.moved)
	e.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn.
func (e *end) SetWriteDeadline(time.Time) error { return nil }
