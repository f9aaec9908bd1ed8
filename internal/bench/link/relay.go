package link

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Relay is a Link before a UDP server: who writes to Addr is before the server at the
// far end of a bad network, and the server sees the address of the Relay. It serves
// one client, the first that writes, until Move.
type Relay struct {
	*Link
	front *net.UDPConn // the client's side

	mu     sync.Mutex
	client netip.AddrPort
	back   *net.UDPConn // the server's side
	target *net.UDPAddr
	closed bool
	wait   sync.WaitGroup
}

// NewRelay starts a Relay on a free port of the loopback interface.
func NewRelay(seed uint64, c Both, server netip.AddrPort) (*Relay, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open the client's side: %w", err)
	}
	r := &Relay{front: front, target: net.UDPAddrFromAddrPort(server)}
	r.Link = Start(seed, c, r.up, r.down)
	if err := r.Move(); err != nil {
		_ = front.Close()
		r.Link.Close()
		return nil, err
	}
	r.wait.Go(r.readFront)
	return r, nil
}

// Addr is where the client writes to.
func (r *Relay) Addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Move gives the client another address, as far as the server sees: what a NAT does
// that forgets.
func (r *Relay) Move() error {
	back, err := net.DialUDP("udp4", nil, r.target)
	if err != nil {
		return fmt.Errorf("open the server's side: %w", err)
	}
	r.mu.Lock()
	old := r.back
	r.back = back
	if r.closed {
		old, r.back = back, nil
	} else {
		r.wait.Go(func() { r.readBack(back) })
	}
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return nil
}

func (r *Relay) readFront() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		if !r.client.IsValid() {
			r.client = from
		}
		known := r.client == from
		r.mu.Unlock()
		if known {
			r.Send(Up, bytes.Clone(buf[:n]))
		}
	}
}

func (r *Relay) readBack(back *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, err := back.Read(buf)
		if n > 0 {
			r.Send(Down, bytes.Clone(buf[:n]))
		}
		// An error that is not the end says that nobody listened at the server just then.
		if err != nil {
			r.mu.Lock()
			over := r.closed || r.back != back
			r.mu.Unlock()
			if over {
				return
			}
		}
	}
}

func (r *Relay) up(p []byte) {
	r.mu.Lock()
	back := r.back
	r.mu.Unlock()
	if back != nil {
		_, _ = back.Write(p) // what does not get through is lost, as on any network
	}
}

func (r *Relay) down(p []byte) {
	r.mu.Lock()
	client := r.client
	r.mu.Unlock()
	if client.IsValid() {
		_, _ = r.front.WriteToUDPAddrPort(p, client)
	}
}

// Close ends it.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	back := r.back
	r.mu.Unlock()
	_ = r.front.Close()
	if back != nil {
		_ = back.Close()
	}
	r.wait.Wait()
	r.Link.Close()
}
