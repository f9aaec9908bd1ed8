package turn

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What strangers may take of the server before they have proved anything.
const (
	// maxTCP bounds connections over TCP, maxTCPFrom those of one address, behind
	// which may be a whole office.
	maxTCP     = 4096
	maxTCPFrom = 256
	// proveWithin is for how long a connection over TCP may be without a relay.
	proveWithin = 15 * time.Second
	// Errors a second over UDP, whose source may be forged, and how many at once.
	errorRate  = 200
	errorBurst = 500
)

// edgeListener accepts TCP within bounds and ends what it has accepted when it is
// closed, which the library does not.
type edgeListener struct {
	net.Listener
	refused func()
	within  time.Duration // proveWithin

	mu     sync.Mutex
	conns  map[string]*edgeConn // by remote address
	from   map[netip.Addr]int
	closed bool
}

type edgeConn struct {
	net.Conn
	listener *edgeListener
	once     sync.Once
}

func newEdgeListener(l net.Listener, refused func()) *edgeListener {
	return &edgeListener{Listener: l, refused: refused, within: proveWithin, conns: map[string]*edgeConn{}, from: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (l *edgeListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &edgeConn{Conn: conn, listener: l}
		if !l.admit(c) {
			l.refused()
			_ = conn.Close()
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(l.within))
		return c, nil
	}
}

func (l *edgeListener) admit(c *edgeConn) bool {
	from := tcpAddr(c.RemoteAddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= maxTCP || l.from[from] >= maxTCPFrom {
		return false
	}
	l.conns[c.RemoteAddr().String()] = c
	l.from[from]++
	return true
}

// proved is told that a client has a relay now, or has none any more. With one
// the library sees to the end of its life.
func (l *edgeListener) proved(client net.Addr, relay bool) {
	if _, ok := client.(*net.TCPAddr); !ok {
		return
	}
	l.mu.Lock()
	c := l.conns[client.String()]
	l.mu.Unlock()
	if c == nil {
		return
	}
	var deadline time.Time
	if !relay {
		deadline = time.Now().Add(l.within)
	}
	_ = c.SetDeadline(deadline)
}

// Close implements net.Listener.
func (l *edgeListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	var conns []*edgeConn
	for _, c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	return err
}

// Close implements net.Conn.
func (c *edgeConn) Close() error {
	c.once.Do(func() {
		from := tcpAddr(c.RemoteAddr())
		c.listener.mu.Lock()
		defer c.listener.mu.Unlock()
		delete(c.listener.conns, c.RemoteAddr().String())
		if c.listener.from[from]--; c.listener.from[from] <= 0 {
			delete(c.listener.from, from)
		}
	})
	return c.Conn.Close()
}

func tcpAddr(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// edgePacketConn bounds the errors that go out over UDP, so that the server is
// not worth forging requests for.
type edgePacketConn struct {
	net.PacketConn
	errors  *rate.Limiter
	refused func()
}

func newEdgePacketConn(c net.PacketConn, refused func()) *edgePacketConn {
	return &edgePacketConn{PacketConn: c, errors: rate.NewLimiter(errorRate, errorBurst), refused: refused}
}

// WriteTo implements net.PacketConn.
func (c *edgePacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if isError(b) && !c.errors.Allow() {
		c.refused()
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// isError tells a STUN error response (RFC 8489 5) from everything else.
func isError(b []byte) bool {
	const class = 0x0110
	return len(b) >= 20 && binary.BigEndian.Uint16(b)&0xC000 == 0 && binary.BigEndian.Uint16(b)&class == class
}
