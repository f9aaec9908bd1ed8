// Package udp owns the one UDP port that carries all media. A Port is one or
// more sockets bound to the same address; each is read by a goroutine of the
// caller, many datagrams a call, and datagrams leave through a Batch, which
// collects them in one stretch of memory and hands them to the kernel together.
// Neighbouring datagrams of equal size to one address leave as one segmented
// send, which the kernel cuts up after it has walked its stack once.
//
// On Linux this is recvmmsg, sendmmsg and UDP_SEGMENT on sockets that share the
// port by SO_REUSEPORT, so that the kernel spreads clients over processors. On
// other systems there is one socket and a call for each datagram. Nothing here
// allocates per datagram, and addresses are always in their unmapped form.
package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// InboxSize is how many datagrams one Read returns at most.
	InboxSize = 64
	// MaxReceive is the largest datagram that Read keeps whole, in bytes; a longer
	// one is dropped and counted. WebRTC stays below 1,500.
	MaxReceive = 2048
	// MaxSend is the largest room that Reserve gives, in bytes.
	MaxSend = 2048

	socketBuffer = 4 << 20 // asked of the kernel, which may give less
)

// Packet is one received datagram. Data is overwritten by the next Read.
type Packet struct {
	Data   []byte
	Addr   netip.AddrPort
	Waited time.Duration // how long the system had it before Read returned; 0 where that is not known
}

// Inbox holds what one Read received, and the memory for it. It belongs to one
// goroutine.
type Inbox struct {
	// Packets has InboxSize entries; Read fills the first n.
	Packets []Packet

	sys inboxSys
}

// NewInbox makes an Inbox with room for InboxSize datagrams.
func NewInbox() *Inbox {
	in := &Inbox{Packets: make([]Packet, InboxSize)}
	in.sys.init()
	return in
}

// Stats counts what a Port has done since it was opened. Bytes are of UDP
// payload.
type Stats struct {
	PacketsIn, BytesIn   atomic.Uint64
	PacketsOut, BytesOut atomic.Uint64
	// SegmentedSends counts the segmented sends, each of two datagrams or more.
	SegmentedSends atomic.Uint64
	// SendCalls counts system calls that sent.
	SendCalls atomic.Uint64
	// SendErrors counts datagrams that the kernel refused, for their destination
	// or their size.
	SendErrors atomic.Uint64
	// SendDrops counts datagrams dropped because the kernel's buffer stayed full.
	SendDrops atomic.Uint64
	// Truncated counts received datagrams longer than MaxReceive.
	Truncated atomic.Uint64
}

// Port is one UDP address, bound by one or more sockets.
type Port struct {
	// Sockets are to be read by one goroutine each.
	Sockets []*Socket

	addr      netip.AddrPort
	stats     Stats
	segmented atomic.Bool // the kernel takes UDP_SEGMENT

	closeOnce sync.Once
	closeErr  error
}

// Socket is one of a Port's sockets. Read is for one goroutine; the rest is safe
// for concurrent use.
type Socket struct {
	port *Port
	conn *net.UDPConn // nil with gathering
	raw  syscall.RawConn
	v6   bool // the kernel wants IPv6 socket addresses, IPv4 in mapped form

	gathering *gathering // nil: it is read as soon as something came

	slow sync.Mutex // held while a batch waits for room in the kernel's buffer
}

// Listen binds addr ("host:port"; an empty host is every address, of both
// families where the system has both; port 0 is any free port) with that many
// sockets; 0 or less is one per processor. Systems that cannot spread one port
// over sockets get one.
func Listen(addr string, sockets int) (*Port, error) {
	if sockets <= 0 {
		sockets = runtime.GOMAXPROCS(0)
	}
	if !canShare {
		sockets = 1
	}
	p := &Port{}
	var lc net.ListenConfig
	for i := range sockets {
		if i > 0 {
			lc.Control = share
		}
		pc, err := lc.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("listen on udp %s: %w", addr, err)
		}
		conn := pc.(*net.UDPConn)
		_ = conn.SetReadBuffer(socketBuffer)
		_ = conn.SetWriteBuffer(socketBuffer)
		s := &Socket{port: p, conn: conn}
		p.Sockets = append(p.Sockets, s)
		if s.raw, err = conn.SyscallConn(); err == nil {
			err = s.probe()
		}
		if err == nil && i == 0 && sockets > 1 {
			err = share("", "", s.raw)
		}
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("set up udp socket on %s: %w", addr, err)
		}
		if i == 0 {
			a := conn.LocalAddr().(*net.UDPAddr).AddrPort()
			p.addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				p.Close()
				return nil, fmt.Errorf("listen on udp %s: %w", addr, err)
			}
			addr = net.JoinHostPort(host, fmt.Sprint(a.Port()))
		}
	}
	return p, nil
}

// Gather has each socket to which much comes read once in so long a time, instead of
// whenever something came, so that a datagram waits half of it on average: each time
// that a thread is woken costs several µs. A socket to which little comes, as from a
// call of two or three people, is read as before. Call it before anything else; where
// the system does not have what it takes, nothing changes.
func (p *Port) Gather(every time.Duration) error {
	for _, s := range p.Sockets {
		if err := s.gather(every); err != nil {
			return fmt.Errorf("set up the reading of %v: %w", p.addr, err)
		}
	}
	return nil
}

// Addr is the bound address, with the port that was chosen for port 0.
func (p *Port) Addr() netip.AddrPort { return p.addr }

// Stats are the live counters.
func (p *Port) Stats() *Stats { return &p.stats }

// Segmented says whether the kernel takes segmented sends. It can turn false
// while running, when a network device refuses them.
func (p *Port) Segmented() bool { return p.segmented.Load() }

// Close closes the sockets; a Read that waits returns net.ErrClosed.
func (p *Port) Close() error {
	p.closeOnce.Do(func() {
		var errs []error
		for _, s := range p.Sockets {
			if s.gathering != nil {
				errs = append(errs, s.gathering.close())
			} else {
				errs = append(errs, s.conn.Close())
			}
		}
		p.closeErr = errors.Join(errs...)
	})
	return p.closeErr
}

// Read waits for datagrams and takes as many as there are, InboxSize at most. n
// can be 0 without an error, when all were too long. After Close it returns
// net.ErrClosed.
func (s *Socket) Read(in *Inbox) (n int, err error) {
	n, err = s.read(in)
	if n > 0 {
		bytes := 0
		for i := range in.Packets[:n] {
			bytes += len(in.Packets[i].Data)
		}
		s.port.stats.PacketsIn.Add(uint64(n))
		s.port.stats.BytesIn.Add(uint64(bytes))
	}
	return n, err
}

// WriteTo sends one datagram by itself. It may be called by any goroutine; it is
// for the few packets that belong to no batch.
func (s *Socket) WriteTo(b []byte, to netip.AddrPort) error {
	var err error
	if s.gathering != nil {
		err = s.writeTo(b, to)
	} else {
		_, err = s.conn.WriteToUDPAddrPort(b, to)
	}
	if err != nil {
		s.port.stats.SendErrors.Add(1)
		return err
	}
	s.port.stats.SendCalls.Add(1)
	s.port.stats.PacketsOut.Add(1)
	s.port.stats.BytesOut.Add(uint64(len(b)))
	return nil
}
