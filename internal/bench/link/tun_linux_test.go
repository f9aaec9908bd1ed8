package link

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"belfry/test/kit"
)

// able says whether this machine lets us make namespaces and TUN devices.
func able() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	n, err := NewNamespace()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(n.Close(), f.Close())
}

// A Cable joins two namespaces: what one sends crosses the Link, a rebinding shows as
// another port, and a cut as nothing.
func TestCable(t *testing.T) {
	if err := able(); err != nil {
		t.Skip("there are no network namespaces or TUN devices here:", err)
	}
	server, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	at := Addresses{Server: netip.MustParseAddr("198.18.0.1"), Client: netip.MustParseAddr("198.18.1.2")}
	if err := server.IP("address add 198.18.0.1/32 dev lo"); err != nil {
		t.Fatal(err)
	}
	cable, err := Connect("one", 1, Both{}, server, client, at)
	if err != nil {
		t.Fatal(err)
	}
	defer cable.Close()
	socket := func(n *Namespace, ip netip.Addr) (c *net.UDPConn) {
		t.Helper()
		err := n.Do(func() (err error) {
			c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	far, near := socket(server, at.Server), socket(client, at.Client)
	target := far.LocalAddr().(*net.UDPAddr).AddrPort()
	buf := make([]byte, 100)
	round := func() netip.AddrPort {
		t.Helper()
		if _, err := near.WriteToUDPAddrPort([]byte("there"), target); err != nil {
			t.Fatal(err)
		}
		_, from, err := far.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.WriteToUDPAddrPort([]byte("back"), from); err != nil {
			t.Fatal(err)
		}
		if n, _, err := near.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "back" {
			t.Fatalf("%q came back: %v", buf[:n], err)
		}
		return from
	}
	if from := round(); from != near.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("the server sees %v of %v", from, near.LocalAddr())
	}
	cable.Rebind(5)
	if from := round(); from.Port() != near.LocalAddr().(*net.UDPAddr).AddrPort().Port()+5 {
		t.Errorf("after a rebinding the server sees %v of %v", from, near.LocalAddr())
	}
	cable.Set(Same(Conditions{Cut: true}))
	before := cable.Counts(Up).Cut
	kit.Eventually(t, "a packet that the cut takes", func() bool {
		if _, err := near.WriteToUDPAddrPort([]byte("lost"), target); err != nil {
			t.Fatal(err)
		}
		return cable.Counts(Up).Cut > before
	})
}
