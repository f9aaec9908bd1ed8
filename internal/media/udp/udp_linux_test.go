package udp

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"belfry/test/kit"
)

// A segmented send that the kernel refuses goes datagram by datagram. Segments
// above the device's MTU are such; loopback's is made small enough by a limit of
// the socket.
func TestSegmentsRefused(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	if !p.Segmented() {
		t.Skip("the system has no segmented sends")
	}
	b := p.Sockets[0].NewBatch()
	c, to := peer(t, "udp", "127.0.0.1:0")
	put(t, b, to, pattern(1000, 1))
	put(t, b, to, pattern(1000, 2))
	put(t, b, to, pattern(10, 3))
	// Without UDP checksums the kernel refuses to segment, as it does for a
	// device that cannot compute them.
	setNoCheck(t, p.Sockets[0].conn)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{1000, 1000, 10} {
		if got := receive(t, c); !bytes.Equal(got, pattern(n, i+1)) {
			t.Fatalf("datagram %d was changed", i)
		}
	}
	st := p.Stats()
	if st.SegmentedSends.Load() != 0 || st.PacketsOut.Load() != 3 || st.SendErrors.Load() != 0 {
		t.Errorf("counted %d segmented sends, %d packets, %d errors",
			st.SegmentedSends.Load(), st.PacketsOut.Load(), st.SendErrors.Load())
	}
}

func setNoCheck(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// When the kernel's buffer is full Flush waits a little, and what finds no room
// is dropped and counted; nothing is stuck.
func TestFullBuffer(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	s := p.Sockets[0]
	if err := s.conn.SetWriteBuffer(2048); err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	_, to := peer(t, "udp", "127.0.0.1:0")
	const n = 600
	for i := range n {
		put(t, b, to, pattern(1200+i%2, i)) // of changing size, so not merged
	}
	_ = b.Flush()
	st := p.Stats()
	if got := st.PacketsOut.Load() + st.SendDrops.Load() + st.SendErrors.Load(); got != n {
		t.Errorf("%d of %d datagrams are accounted for", got, n)
	}
	t.Logf("sent %d, dropped %d", st.PacketsOut.Load(), st.SendDrops.Load())
}

// A datagram that waited in the kernel's buffer says for how long. The kernel begins to
// note it a moment after it was asked to.
func TestWaited(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	c, _ := peer(t, "udp", "127.0.0.1:0")
	in := NewInbox()
	kit.EventuallyNone(t, func() (missing string) {
		begun := time.Now()
		if _, err := c.WriteToUDPAddrPort([]byte("first"), p.Addr()); err != nil {
			t.Fatal(err)
		}
		sent := time.Now()
		time.Sleep(20 * time.Millisecond) // it waits for us
		asked := time.Now()
		if n, err := p.Sockets[0].Read(in); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		waited, least, most := in.Packets[0].Waited, asked.Sub(sent), time.Since(begun)
		if waited > most {
			t.Errorf("it waited %v, and is %v old", waited, most)
		}
		if waited < least {
			return fmt.Sprintf("a datagram that says it waited %v, not %v", least, waited)
		}
		return ""
	})
}
