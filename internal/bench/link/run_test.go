package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// In virtual time a Link is exact.
func TestLinkInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var up, down []time.Duration
		l := Start(1, Both{Up: Conditions{Delay: 50 * time.Millisecond}, Down: Conditions{Rate: 80_000}},
			func([]byte) { up = append(up, time.Since(start)) }, func([]byte) { down = append(down, time.Since(start)) })
		defer l.Close()
		for range 3 {
			l.Send(Up, make([]byte, 100))
			l.Send(Down, make([]byte, 100))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 3 {
			if len(up) != 3 || len(down) != 3 || up[i] != 50*time.Millisecond || down[i] != time.Duration(i+1)*10*time.Millisecond {
				t.Fatalf("up at %v, down at %v", up, down)
			}
		}
		l.Set(Same(Conditions{Cut: true}))
		l.Send(Up, make([]byte, 100))
		time.Sleep(time.Second)
		synctest.Wait()
		if len(up) != 3 || l.Counts(Up).Cut != 1 || l.Counts(Down).Out != 3 {
			t.Errorf("after a cut: %+v, %+v", l.Counts(Up), l.Counts(Down))
		}
	})
}

func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, l := Pair(1, Same(Conditions{Delay: 20 * time.Millisecond}))
		start := time.Now()
		if _, err := client.WriteTo([]byte("question"), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, from, err := server.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "question" || from.String() != client.LocalAddr().String() || time.Since(start) != 20*time.Millisecond {
			t.Fatalf("read %q from %v after %v: %v", buf[:n], from, time.Since(start), err)
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := server.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nothing comes: %v", err)
		}
		_ = server.SetReadDeadline(time.Time{})
		if _, err := client.WriteTo(nil, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 1}); err == nil {
			t.Error("another address can be written to")
		}
		done := make(chan error)
		go func() {
			_, _, err := server.ReadFrom(buf)
			done <- err
		}()
		synctest.Wait()
		_ = client.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read ends with %v", err)
		}
		l.Close()
	})
}

// A Relay stands before a UDP server, which answers through it, also after a move.
func TestRelay(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan netip.AddrPort, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			seen <- from
			_, _ = server.WriteToUDPAddrPort(bytes.ToUpper(buf[:n]), from)
		}
	}()
	defer func() { <-done }()
	defer server.Close()
	r, err := NewRelay(1, Same(Conditions{Delay: time.Millisecond}), server.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func() netip.AddrPort {
		t.Helper()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_ = client.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := client.Read(buf)
		if err != nil || string(buf[:n]) != "HELLO" {
			t.Fatalf("got %q: %v", buf[:n], err)
		}
		return <-seen
	}
	first := ask()
	if err := r.Move(); err != nil {
		t.Fatal(err)
	}
	if second := ask(); second == first {
		t.Error("after the move the server sees the same address")
	}
	if up, down := r.Counts(Up), r.Counts(Down); up.Out != 2 || down.Out != 2 {
		t.Errorf("counts are %+v and %+v", up, down)
	}
}

// checksum is that of RFC 768 over a packet of IPv4.
func checksum(p []byte) uint16 {
	udp := p[20:]
	sum := uint32(17) + uint32(len(udp))
	for _, part := range [][]byte{p[12:20], udp} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 > 0 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum > 0xFFFF {
		sum = sum&0xFFFF + sum>>16
	}
	return uint16(sum)
}

func udpPacket(payload []byte) []byte {
	p := append([]byte{0x45, 0, 0, byte(28 + len(payload)), 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
		0x9C, 0x40, 0x0D, 0x96, 0, byte(8 + len(payload)), 0, 0}, payload...)
	binary.BigEndian.PutUint16(p[26:], ^checksum(p))
	return p
}

func TestRebindKeepsTheChecksum(t *testing.T) {
	for n := range 64 {
		p := udpPacket(bytes.Repeat([]byte{byte(n * 7)}, n))
		was := bytes.Clone(p)
		r := rebinding{uint16(n*1021 + 1)}
		r.rewrite(p, Up)
		if binary.BigEndian.Uint16(p[20:]) != 0x9C40+r.by || checksum(p) != 0xFFFF {
			t.Fatalf("rewritten to % x, sum %x", p, checksum(p))
		}
		// The answer goes to that port, and comes to the first one.
		copy(p[20:22], was[22:24])
		binary.BigEndian.PutUint16(p[22:], 0x9C40+r.by)
		r.rewrite(p, Down)
		if binary.BigEndian.Uint16(p[22:]) != 0x9C40 || checksum(p) != 0xFFFF {
			t.Fatalf("the answer is rewritten to % x, sum %x", p, checksum(p))
		}
	}
}

func FuzzRebind(f *testing.F) {
	f.Add(udpPacket([]byte("hello")), uint16(7))
	f.Add([]byte{0x4F, 17}, uint16(1))
	f.Fuzz(func(t *testing.T, p []byte, by uint16) {
		was := bytes.Clone(p)
		r := rebinding{by}
		r.rewrite(p, Up)
		if len(p) != len(was) {
			t.Fatal("the length changed")
		}
		r.rewrite(p, Down)
	})
}
