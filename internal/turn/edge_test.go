package turn

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"belfry/test/kit"
)

var eventually = kit.Eventually

// A connection that says nothing, or half of something, ends with the server.
func TestCloseEndsHalfOpenConnections(t *testing.T) {
	s := start(t, Config{Mode: Always})
	var conns []net.Conn
	for _, said := range []string{"", "\x00", "GET / HTTP/1.1\r\n\r\n"} {
		conn, err := net.Dial("tcp4", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, said)
		conns = append(conns, conn)
	}
	if _, err := client(t, s, "tcp", "x", "y"); err == nil { // by now all are accepted
		t.Fatal("a relay for nobody")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(kit.Patience))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, errTimeout(err)) {
			t.Errorf("a connection outlives the server: %v", err)
		}
	}
	s.server = nil // closed already
}

// errTimeout is err when it is a timeout, else an error that nothing is.
func errTimeout(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

func TestConnectionsHaveToProveThemselves(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	l := newEdgeListener(inner, func() { refused.Add(1) })
	defer l.Close()
	l.within = 20 * time.Millisecond
	dial := func() net.Conn {
		conn, err := net.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	idle, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Read(make([]byte, 1)); errTimeout(err) != err {
		t.Errorf("a silent connection: %v", err)
	}
	idle.Close()

	far := dial()
	busy, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.proved(busy.RemoteAddr(), true)
	time.AfterFunc(3*l.within, func() { _, _ = far.Write([]byte{7}) })
	if _, err := busy.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection with a relay: %v", err)
	}
	l.proved(busy.RemoteAddr(), false)
	if _, err := busy.Read(make([]byte, 1)); errTimeout(err) != err {
		t.Errorf("a connection whose relay has ended: %v", err)
	}
	busy.Close()

	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	for range maxTCPFrom + 5 {
		dial()
	}
	eventually(t, "the refusal of those too many", func() bool { return refused.Load() == 5 })
	l.Close()
	<-accepting
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) != 0 || len(l.from) != 0 {
		t.Errorf("%d connections of %d addresses are kept after Close", len(l.conns), len(l.from))
	}
}

// Errors go to addresses that may be forged, so there are not too many of them.
func TestErrorsAreLimited(t *testing.T) {
	s := start(t, Config{Mode: Always})
	conn, err := net.Dial("udp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw
	before := s.Stats.Refused.Load()
	eventually(t, "a refusal", func() bool {
		for range 200 {
			_, _ = conn.Write(ask)
		}
		return s.Stats.Refused.Load() > before
	})
	if isError(stun.MustBuild(stun.TransactionID, stun.BindingSuccess).Raw) || !isError(stun.MustBuild(stun.TransactionID, stun.BindingError).Raw) ||
		isError([]byte{0x41, 0x10, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Error("errors are not told from other messages")
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	s := start(t, Config{Mode: Always})
	conn, err := net.Dial("udp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, b := range [][]byte{[]byte("no STUN"), stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw[:19], make([]byte, 20)} {
		_, _ = conn.Write(b)
		eventually(t, "a refusal", func() bool { return s.Stats.Refused.Load() == int64(i)+1 })
	}
	c := s.Credentials("attendee", netip.Addr{}, false)
	if _, err := client(t, s, "udp", c.Username, "wrong"); err == nil {
		t.Fatal("a relay for a wrong password")
	}
	eventually(t, "a refusal for the wrong password", func() bool { return s.Stats.Refused.Load() >= 4 }) // it may have asked again
}
