package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"belfry/test/kit"
)

// gathered is a port that gathers, with spans so long that a slow machine keeps to them.
func gathered(t *testing.T) (*Port, *Socket) {
	t.Helper()
	p := listen(t, "127.0.0.1:0", 1)
	if err := p.Gather(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	return p, p.Sockets[0]
}

// send has a goroutine send datagrams numbered from first on, some at once and then a pause, until
// it is stopped.
func send(t *testing.T, to *Port, first uint64, some int, pause time.Duration) (stop func()) {
	t.Helper()
	c, _ := peer(t, "udp", "127.0.0.1:0")
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := first; ; {
			for range some {
				_, _ = c.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), to.Addr())
				n++
			}
			select {
			case <-quit:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// beBusy makes a socket busy, as if much had come.
func beBusy(t *testing.T, s *Socket) {
	t.Helper()
	g := s.gathering
	g.since, g.last = time.Now().Add(-2*busySpan), time.Now()
	if g.judge(1000); !g.busy {
		t.Fatal("it is not busy")
	}
}

// A socket to which much comes becomes busy and is read by the clock then, and is read
// at once again when little comes.
func TestGather(t *testing.T) {
	p, s := gathered(t)
	in := NewInbox()
	next := uint64(0)
	read := func() {
		t.Helper()
		n, err := s.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, pkt := range in.Packets[:n] { // some may be lost on a slow machine
			got := binary.BigEndian.Uint64(pkt.Data)
			if got < next {
				t.Fatalf("datagram %d came where %d was due", got, next)
			}
			next = got + 1
		}
	}
	deadline := time.Now().Add(kit.Patience)
	stop := send(t, p, 0, 10, time.Millisecond)
	for !s.gathering.busy || s.gathering.beats == 0 {
		if read(); time.Now().After(deadline) {
			t.Fatal("it is never read by the clock")
		}
	}
	for until := next + 300; next < until; {
		read()
	}
	stop()
	stop = send(t, p, 1<<40, 1, 200*time.Millisecond)
	defer stop()
	for s.gathering.busy {
		if read(); time.Now().After(deadline) {
			t.Fatal("it stays busy")
		}
	}
	for next < 1<<40 {
		read()
	}
}

// What is more than one read takes is read on at once: the clock bounds how often
// there is a look, not how much comes in.
func TestGatherFull(t *testing.T) {
	p, s := gathered(t)
	c, _ := peer(t, "udp", "127.0.0.1:0")
	beBusy(t, s)
	const sent = 2*InboxSize + 1
	for range sent {
		if _, err := c.WriteToUDPAddrPort([]byte("some"), p.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	in := NewInbox()
	full := false
	for got := 0; got < sent; {
		beats := s.gathering.beats
		n, err := s.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		if full && s.gathering.beats != beats {
			t.Error("it waited for the clock while there was more")
		}
		got += n
		full = n == InboxSize
	}
}

// Close ends a Read, whichever way it waits.
func TestGatherClose(t *testing.T) {
	for _, busy := range []bool{false, true} {
		p, s := gathered(t)
		if busy {
			beBusy(t, s)
		}
		ended := make(chan error)
		go func() {
			_, err := s.Read(NewInbox())
			ended <- err
		}()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("busy %v: Read ended with %v", busy, err)
		}
		b := s.NewBatch()
		put(t, b, p.Addr(), pattern(100, 1))
		if err := b.Flush(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Flush after Close: %v", err)
		}
		if err := s.WriteTo([]byte("x"), p.Addr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo after Close: %v", err)
		}
	}
}

// Sending works as from any socket, also when the kernel's buffer is full.
func TestGatherSends(t *testing.T) {
	p, s := gathered(t)
	c, to := peer(t, "udp", "127.0.0.1:0")
	if err := s.WriteTo([]byte("alone"), to); err != nil || !bytes.Equal(receive(t, c), []byte("alone")) {
		t.Fatal("a datagram by itself did not arrive", err)
	}
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 2048) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	b := s.NewBatch()
	_, deaf := peer(t, "udp", "127.0.0.1:0")
	const n = 600
	for i := range n {
		put(t, b, deaf, pattern(1200+i%2, i)) // of changing size, so not merged
	}
	_ = b.Flush()
	st := p.Stats()
	if got := st.PacketsOut.Load() + st.SendDrops.Load() + st.SendErrors.Load(); got != n+1 {
		t.Errorf("%d of %d datagrams are accounted for", got, n+1)
	}
}

// Reading by the clock allocates nothing.
func TestGatherAllocates(t *testing.T) {
	p, s := gathered(t)
	c, _ := peer(t, "udp", "127.0.0.1:0")
	beBusy(t, s)
	in, some := NewInbox(), []byte("some")
	if n := testing.AllocsPerRun(20, func() {
		if _, err := c.WriteToUDPAddrPort(some, p.Addr()); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(in); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a read", n)
	}
}
