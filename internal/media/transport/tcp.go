package transport

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// What strangers may take of the TCP side. Whoever comes beyond it takes the place
// of the one that has been there for longest without a right check: a client sends
// one as soon as it is connected, so those who wait are not clients.
const (
	maxUnproved     = 512
	maxUnprovedFrom = 64 // of one address, behind which may be a whole office
	// proveWithin is for how long a stream may be without a right check, and
	// unprovedBytes how much it may bring.
	proveWithin   = 10 * time.Second
	unprovedBytes = 16 << 10
)

// tcpSide is what a Mux has of TCP.
type tcpSide struct {
	listener net.Listener   // nil when there is none, or it is somebody else's
	addr     netip.AddrPort // invalid when there is no TCP

	mu       sync.Mutex
	streams  map[*stream]struct{}
	unproved list.List // of *stream, oldest first
	closed   bool
	running  sync.WaitGroup // goroutines of streams
}

// openTCP listens, or takes note that somebody else does.
func (m *Mux) openTCP() error {
	t := &m.tcp
	t.streams = make(map[*stream]struct{})
	if m.cfg.ListenTCP == "" {
		t.addr = m.cfg.SharedTCP
		return nil
	}
	host, port, err := net.SplitHostPort(m.cfg.ListenTCP)
	if err != nil {
		return fmt.Errorf("listen on tcp %s: %w", m.cfg.ListenTCP, err)
	}
	if port == "0" {
		t.listener, err = net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(m.port.Addr().Port())))
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	if t.listener == nil {
		if t.listener, err = net.Listen("tcp", m.cfg.ListenTCP); err != nil {
			return err
		}
	}
	t.addr = t.listener.Addr().(*net.TCPAddr).AddrPort()
	return nil
}

// AddrTCP is the address of streams; the zero AddrPort when there is none.
func (m *Mux) AddrTCP() netip.AddrPort { return m.tcp.addr }

// acceptStreams is the goroutine of the listener.
func (m *Mux) acceptStreams() {
	for failures := 0; ; {
		conn, err := m.tcp.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // mostly too many open files: a lasting failure must not spin
			if failures++; failures == 1 {
				m.log.Error("accept on the media's TCP port", "error", err)
			}
			select {
			case <-m.stop:
			case <-time.After(time.Duration(min(failures, 100)) * 10 * time.Millisecond):
			}
		default:
			failures = 0
			m.Stream(conn, nil)
		}
	}
}

// Stream takes over a TCP connection that a client made to us. head is what has
// been read of it already.
func (m *Mux) Stream(conn net.Conn, head []byte) {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		_ = conn.Close()
		return
	}
	addr := tcp.AddrPort()
	s := newStream(m, conn, netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()))
	t := &m.tcp
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		_ = conn.Close()
		return
	}
	m.stats.StreamsAccepted.Add(1)
	m.stats.StreamsOpen.Add(1)
	m.stats.StreamsUnproved.Add(1)
	crowded := t.makeRoom(s.remote.Addr())
	t.streams[s] = struct{}{}
	s.waiting = t.unproved.PushBack(s)
	_ = conn.SetReadDeadline(time.Now().Add(proveWithin))
	t.running.Go(s.writeLoop)
	t.running.Go(func() { s.readLoop(head) })
	t.mu.Unlock()
	if crowded != nil {
		m.stats.StreamsCrowded.Add(1)
		crowded.kill()
	}
}

// makeRoom takes a stream out of those that wait when there are too many of them,
// in all or of the address of the one that comes. The caller holds mu and ends it.
func (t *tcpSide) makeRoom(from netip.Addr) *stream {
	var first *list.Element
	n := 0
	for e := t.unproved.Front(); e != nil; e = e.Next() {
		if e.Value.(*stream).remote.Addr() == from {
			if n++; first == nil {
				first = e
			}
		}
	}
	switch {
	case n >= maxUnprovedFrom:
	case t.unproved.Len() >= maxUnproved:
		first = t.unproved.Front()
	default:
		return nil
	}
	s := first.Value.(*stream)
	t.admit(s)
	return s
}

// admit takes a stream out of those that wait. It says false when it was none. The
// caller holds mu.
func (t *tcpSide) admit(s *stream) bool {
	if s.waiting == nil {
		return false
	}
	t.unproved.Remove(s.waiting)
	s.waiting = nil
	s.mux.stats.StreamsUnproved.Add(-1)
	return true
}

// bindStream gives a stream to the Conn whose check came by it, for good.
func (m *Mux) bindStream(c *Conn, s *stream) bool {
	if owner := s.owner.Load(); owner != nil {
		return owner == c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byUfrag[c.local.Ufrag] != c {
		return false
	}
	m.tcp.mu.Lock()
	open := m.tcp.admit(s)
	m.tcp.mu.Unlock()
	if !open { // its time is over
		return false
	}
	if len(c.streams) == maxPaths {
		for i, old := range c.streams {
			if !c.uses(origin{addr: old.remote, stream: old}) {
				c.streams = append(c.streams[:i], c.streams[i+1:]...)
				old.end()
				break
			}
		}
	}
	c.streams = append(c.streams, s)
	s.owner.Store(c)
	return true
}

// forgetStream is the last of a stream, which has ended.
func (m *Mux) forgetStream(s *stream) {
	m.mu.Lock()
	if c := s.owner.Load(); c != nil {
		for i, other := range c.streams {
			if other == s {
				c.streams = append(c.streams[:i], c.streams[i+1:]...)
				break
			}
		}
	}
	m.mu.Unlock()
	m.tcp.mu.Lock()
	m.tcp.admit(s)
	delete(m.tcp.streams, s)
	m.tcp.mu.Unlock()
	m.stats.StreamsOpen.Add(-1)
}

// close ends the listener and all streams, and waits for their goroutines.
func (t *tcpSide) close() {
	t.mu.Lock()
	t.closed = true
	for s := range t.streams {
		s.end()
	}
	t.mu.Unlock()
	if t.listener != nil {
		_ = t.listener.Close()
	}
	t.running.Wait()
}
