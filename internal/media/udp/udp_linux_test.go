package udp

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/sys/unix"
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
