package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

func listen(t testing.TB, addr string, sockets int) *Port {
	t.Helper()
	p, err := Listen(addr, sockets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// peer is a plain socket of the standard library at the other end.
func peer(t testing.TB, network, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Skipf("no %s here: %v", addr, err)
	}
	t.Cleanup(func() { pc.Close() })
	c := pc.(*net.UDPConn)
	_ = c.SetReadBuffer(4 << 20)
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return c, netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func receive(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(kit.Patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatalf("the datagram did not come: %v", err)
	}
	return buf[:n]
}

func put(t testing.TB, b *Batch, to netip.AddrPort, data []byte) {
	t.Helper()
	room := b.Reserve(to, len(data)+16)
	if len(room) != len(data)+16 {
		t.Fatalf("%d bytes of room, not %d", len(room), len(data)+16)
	}
	b.Commit(copy(room, data))
}

func pattern(n int, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + seed)
	}
	return b
}

// Datagrams of many sizes to several addresses arrive whole, in order, at whom
// they are for, with and without segmentation.
func TestBatch(t *testing.T) {
	for _, segmented := range []bool{true, false} {
		t.Run(fmt.Sprintf("segmented=%v", segmented), func(t *testing.T) {
			p := listen(t, "127.0.0.1:0", 1)
			if segmented && !p.Segmented() {
				t.Skip("the system has no segmented sends")
			}
			p.segmented.Store(segmented)
			b := p.Sockets[0].NewBatch()
			const peers = 5
			var conns [peers]*net.UDPConn
			var want [peers][][]byte
			var addrs [peers]netip.AddrPort
			for i := range conns {
				conns[i], addrs[i] = peer(t, "udp", "127.0.0.1:0")
			}
			// Frames: equal sizes and a shorter last, a longer one behind a shorter,
			// more than one segmented send holds, more than the arena holds.
			frames := [][]int{{1000, 1000, 1000, 300}, {500, 501, 500, 1}, {1200}, {7, 7, 7, 7, 7}, nil, {1, 2, 3}, nil}
			for range 150 {
				frames[4] = append(frames[4], 100)
			}
			for range 80 {
				frames[6] = append(frames[6], 1400)
			}
			total := 0
			for f, frame := range frames {
				for i := range conns {
					for k, n := range frame {
						data := pattern(n, f*31+i*7+k)
						want[i] = append(want[i], data)
						put(t, b, addrs[i], data)
						total++
					}
				}
				if f%2 == 1 {
					if err := b.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			if b.Pending() != 0 {
				t.Errorf("%d bytes are left", b.Pending())
			}
			for i, c := range conns {
				for k, w := range want[i] {
					if got := receive(t, c); !bytes.Equal(got, w) {
						t.Fatalf("peer %d, datagram %d: %d bytes, not the %d expected", i, k, len(got), len(w))
					}
				}
			}
			st := p.Stats()
			if got := st.PacketsOut.Load(); got != uint64(total) {
				t.Errorf("%d packets counted, not %d", got, total)
			}
			if got := st.SegmentedSends.Load(); (got > 0) != segmented {
				t.Errorf("%d segmented sends", got)
			}
			if segmented && st.SegmentedSends.Load() > uint64(total/10) {
				t.Errorf("%d segmented sends for %d datagrams: they are not merged", st.SegmentedSends.Load(), total)
			}
			if st.SendErrors.Load()+st.SendDrops.Load() > 0 {
				t.Errorf("%d errors, %d drops", st.SendErrors.Load(), st.SendDrops.Load())
			}
		})
	}
}

// What the kernel refuses for one destination does not take others with it.
func TestRefusedDestination(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	b := p.Sockets[0].NewBatch()
	c, good := peer(t, "udp", "127.0.0.1:0")
	bad := []netip.AddrPort{
		netip.MustParseAddrPort("255.255.255.255:9"), // broadcast, not permitted
		netip.MustParseAddrPort("[2001:db8::1]:9"),   // not of the socket's family
		{},                                 // nothing
		netip.AddrPortFrom(good.Addr(), 0), // no port
	}
	for i, to := range bad {
		put(t, b, to, pattern(50, i))
		put(t, b, good, pattern(60, i))
		put(t, b, good, pattern(60, i+100))
		put(t, b, to, pattern(60, i))
		put(t, b, to, pattern(60, i))
	}
	if err := b.Flush(); err == nil {
		t.Error("the refusal is not told")
	}
	for i := range bad {
		for _, seed := range []int{i, i + 100} {
			if got := receive(t, c); !bytes.Equal(got, pattern(60, seed)) {
				t.Fatalf("the datagram beside the refused %v was changed", bad[i])
			}
		}
	}
	if got := p.Stats().SendErrors.Load(); got != uint64(3*len(bad)) {
		t.Errorf("%d errors counted, not %d", got, 3*len(bad))
	}
	if err := b.Flush(); err != nil {
		t.Errorf("the next flush: %v", err)
	}
}

// A closed port at the other end answers with an ICMP error; the rest still goes.
func TestUnreachableDestination(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	b := p.Sockets[0].NewBatch()
	gone, closed := peer(t, "udp", "127.0.0.1:0")
	gone.Close()
	c, good := peer(t, "udp", "127.0.0.1:0")
	for i := range 20 {
		put(t, b, closed, pattern(100, i))
		put(t, b, good, pattern(100, i))
		_ = b.Flush()
		if got := receive(t, c); !bytes.Equal(got, pattern(100, i)) {
			t.Fatalf("datagram %d was changed", i)
		}
	}
}

func TestReserve(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	b := p.Sockets[0].NewBatch()
	c, to := peer(t, "udp", "127.0.0.1:0")
	if b.Reserve(to, MaxSend+1) != nil || b.Reserve(to, -1) != nil {
		t.Error("an impossible size gets room")
	}
	b.Commit(5) // of nothing
	b.Reserve(to, 100)
	b.Commit(0)
	b.Reserve(to, 100) // and never committed
	room := b.Reserve(to, 10)
	copy(room, "0123456789")
	b.Commit(99) // more than there is
	b.Commit(3)  // twice
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); string(got) != "0123456789" {
		t.Errorf("got %q", got)
	}
	if got := p.Stats().PacketsOut.Load(); got != 1 {
		t.Errorf("%d packets were sent", got)
	}
}

func TestRead(t *testing.T) {
	for _, tt := range []struct{ name, listen, network, peer string }{
		{"IPv4", "127.0.0.1:0", "udp4", "127.0.0.1:0"},
		{"IPv6", "[::1]:0", "udp6", "[::1]:0"},
		{"IPv4 on all addresses", ":0", "udp4", "127.0.0.1:0"},
		{"IPv6 on all addresses", ":0", "udp6", "[::1]:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, from := peer(t, tt.network, tt.peer)
			p := listen(t, tt.listen, 1)
			server := netip.AddrPortFrom(from.Addr(), p.Addr().Port())
			in := NewInbox()
			for i := range 10 {
				if _, err := c.WriteToUDPAddrPort(pattern(100+i, i), server); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.WriteToUDPAddrPort(make([]byte, MaxReceive+1), server); err != nil {
				t.Fatal(err)
			}
			if _, err := c.WriteToUDPAddrPort(pattern(MaxReceive, 3), server); err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			for len(got) < 11 {
				n, err := p.Sockets[0].Read(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, pkt := range in.Packets[:n] {
					if pkt.Addr != from {
						t.Fatalf("came from %v, not %v", pkt.Addr, from)
					}
					got = append(got, bytes.Clone(pkt.Data))
				}
			}
			for i := range 10 {
				if !bytes.Equal(got[i], pattern(100+i, i)) {
					t.Errorf("datagram %d was changed", i)
				}
			}
			if !bytes.Equal(got[10], pattern(MaxReceive, 3)) {
				t.Error("the longest datagram was changed")
			}
			if n := p.Stats().Truncated.Load(); n != 1 {
				t.Errorf("%d datagrams counted as too long", n)
			}
			if n := p.Stats().PacketsIn.Load(); n != 11 {
				t.Errorf("%d packets counted, not 11", n)
			}
			// And back, both ways of sending.
			b := p.Sockets[0].NewBatch()
			put(t, b, from, []byte("batch"))
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := p.Sockets[0].WriteTo([]byte("single"), from); err != nil {
				t.Fatal(err)
			}
			if a, b := receive(t, c), receive(t, c); string(a) != "batch" || string(b) != "single" {
				t.Errorf("came back as %q and %q", a, b)
			}
		})
	}
}

// Several sockets share the port and all clients are heard.
func TestSockets(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 3)
	type got struct {
		n   uint32
		err error
	}
	ch := make(chan got, 100)
	for _, s := range p.Sockets {
		go func() {
			in := NewInbox()
			for {
				n, err := s.Read(in)
				if err != nil {
					ch <- got{err: err}
					return
				}
				for _, pkt := range in.Packets[:n] {
					ch <- got{n: binary.BigEndian.Uint32(pkt.Data)}
				}
			}
		}()
	}
	const clients = 30
	for i := range clients {
		c, _ := peer(t, "udp", "127.0.0.1:0")
		if _, err := c.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, uint32(i)), p.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	heard := map[uint32]bool{}
	timeout := time.After(kit.Patience)
	for len(heard) < clients {
		select {
		case g := <-ch:
			if g.err != nil {
				t.Fatal(g.err)
			}
			heard[g.n] = true
		case <-timeout:
			t.Fatalf("heard %d of %d clients", len(heard), clients)
		}
	}
	p.Close()
	for range p.Sockets {
		select {
		case g := <-ch:
			if !errors.Is(g.err, net.ErrClosed) {
				t.Errorf("a reader ended with %v", g.err)
			}
		case <-timeout:
			t.Fatal("Close does not wake the readers")
		}
	}
	b := p.Sockets[0].NewBatch()
	put(t, b, p.Addr(), []byte("late"))
	if err := b.Flush(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Flush after Close gives %v", err)
	}
	if p.Stats().SendDrops.Load() == 0 {
		t.Error("a send after Close is not counted as dropped")
	}
}

func TestListenRefused(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	shared := listen(t, "127.0.0.1:0", 2)
	for _, addr := range []string{p.Addr().String(), shared.Addr().String(), "nonsense", "127.0.0.1:99999"} {
		for _, sockets := range []int{1, 2} {
			if q, err := Listen(addr, sockets); err == nil {
				q.Close()
				t.Errorf("%s was bound with %d sockets", addr, sockets)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := listen(t, "127.0.0.1:0", 1)
	q := listen(t, "127.0.0.1:0", 1)
	b, in := p.Sockets[0].NewBatch(), NewInbox()
	if n := testing.AllocsPerRun(200, func() {
		for i := range 8 {
			room := b.Reserve(q.Addr(), 1200)
			b.Commit(len(room) - i/7)
		}
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		for left := 8; left > 0; {
			n, err := q.Sockets[0].Read(in)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch", n)
	}
}

func BenchmarkFlush(b *testing.B) {
	for _, segments := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("50 peers, %d each", segments), func(b *testing.B) {
			p := listen(b, "127.0.0.1:0", 1)
			var addrs []netip.AddrPort
			for range 50 {
				q := listen(b, "127.0.0.1:0", 1)
				addrs = append(addrs, q.Addr())
				go func() {
					in := NewInbox()
					for {
						if _, err := q.Sockets[0].Read(in); err != nil {
							return
						}
					}
				}()
			}
			batch := p.Sockets[0].NewBatch()
			b.ReportAllocs()
			for b.Loop() {
				for _, to := range addrs {
					for range segments {
						batch.Commit(len(batch.Reserve(to, 1216)))
					}
				}
				if err := batch.Flush(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*50*segments), "ns/packet")
		})
	}
}
