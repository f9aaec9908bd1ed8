package client

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// Those who share a socket have addresses of their own: what is sent comes from the one
// whose it is, and what comes goes to the one it is for.
func TestManyShareASocket(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	pace := NewPace()
	defer pace.Stop()
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := far.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	to := far.LocalAddr().(*net.UDPAddr).AddrPort()

	people := make([]*Client, mostSeats+3)
	addresses, ports := map[netip.AddrPort]int{}, map[uint16]int{}
	for i := range people {
		if people[i], err = New(Config{IP: "127.0.0.1", Identity: id, Pace: pace}); err != nil {
			t.Fatal(err)
		}
		defer people[i].Close()
		at := people[i].wire.local()
		addresses[at] = i
		ports[at.Port()]++
	}
	if len(addresses) != len(people) || len(ports) < 2 {
		t.Fatalf("%d people have %d addresses on %d ports", len(people), len(addresses), len(ports))
	}

	// Each sends three of one size, a shorter one and one more, and one by itself; eight at a
	// time, since there is not room for many. The test drives them in place of the Pace.
	sizes := []int{500, 500, 500, 60, 500}
	came := map[string]int{}
	buf := make([]byte, 2048)
	for some := range slices.Chunk(people, 8) {
		pace.mu.Lock()
		for _, c := range some {
			for n, size := range sizes {
				room := c.wire.reserve(to, size+9)
				c.wire.commit(copy(room, bytes.Repeat([]byte{byte(addresses[c.wire.local()]), byte(n)}, size/2)))
			}
		}
		pace.trunks.flush()
		pace.mu.Unlock()
		for _, c := range some {
			c.wire.post([]byte{byte(addresses[c.wire.local()]), byte(len(sizes))}, to)
		}
		for range len(some) * (len(sizes) + 1) {
			n, from, err := far.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("after %d: %v", len(came), err)
			}
			i, ok := addresses[from]
			if !ok || n < 2 || int(buf[0]) != i {
				t.Fatalf("%d bytes of %d came from %v", n, buf[0], from)
			}
			want := 2
			if int(buf[1]) < len(sizes) {
				want = sizes[buf[1]]
			}
			if n != want {
				t.Errorf("number %d has %d bytes, want %d", buf[1], n, want)
			}
			came[fmt.Sprint(i, " ", buf[1])]++
		}
	}
	if len(came) != len(people)*(len(sizes)+1) {
		t.Errorf("%d different ones came", len(came))
	}

	// One in two gets an answer to its check.
	answer, err := stun.Build(stun.TransactionID, stun.BindingSuccess)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(people); i += 2 {
		if _, err := far.WriteToUDPAddrPort(answer.Raw, people[i].wire.local()); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(people); i += 2 {
		select {
		case <-people[i].checked:
		case <-time.After(patience):
			t.Fatalf("%d got no answer", i)
		}
	}
	for i := 1; i < len(people); i += 2 {
		select {
		case <-people[i].checked:
			t.Errorf("%d got one that was not for it", i)
		default:
		}
	}
}

// What the kernel has had for a while came when it came.
func TestArrivalIsTheKernels(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	pace := NewPace()
	defer pace.Stop()
	c, err := New(Config{IP: "127.0.0.1", Identity: id, Pace: pace})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(c.wire.local()))
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	pace.mu.Lock() // it does not read now
	defer pace.mu.Unlock()
	in := pace.trunks.in
	before := time.Now()
	if _, err := far.Write(make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	for time.Since(sent) < 20*time.Millisecond {
		time.Sleep(time.Millisecond)
	}
	if n := in.read(pace.trunks.list[0].raw); n != 1 {
		t.Fatalf("%d came", n)
	}
	_, _, _, waited := in.datagram(0)
	if d := time.Duration(waited); d < 10*time.Millisecond || d > time.Since(before)+time.Second {
		t.Errorf("it waited for %v", d)
	}
}
