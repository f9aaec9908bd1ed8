package client

import (
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	mostSeats   = 64
	seatBuffer  = 128 << 10 // of a trunk's receive buffer, which is bytes of the kernel's memory, for each seat
	trunkBuffer = 8 << 20
	rounds      = 8 // full reads of a trunk, before the others and what is to be sent have their turn
)

// trunk is one socket that many Clients share, each with an address of its own: every
// address that begins with 127 is this machine's, and a control message says of each
// datagram which it came to or is to come from. So one system call reads for all of them
// and another sends. Where there is one address only, a trunk has one seat.
//
// It is in no poller: its Pace reads it at fixed times. UDP_GRO is left off, so that it is the
// sender who pays for cutting a segmented send up, as it does where there is a real network.
type trunk struct {
	file  *os.File
	raw   syscall.RawConn
	first netip.Addr // of seat 0
	port  uint16
	seats []atomic.Pointer[Client]

	taken int // seats given out, guarded by trunks.mu
	left  int // seats given back
}

// trunks are those of one Pace.
type trunks struct {
	mu   sync.Mutex
	list []*trunk

	// Of the goroutine that reads and drives.
	reading []*trunk
	in      *inbox
	out     *outbox
}

func newTrunks() *trunks { return &trunks{in: newInbox(), out: newOutbox(outboxSize)} }

// trunkSeat is a wire on a trunk.
type trunkSeat struct {
	all    *trunks
	trunk  *trunk
	number int
	addr   netip.AddrPort
}

// seat gives a Client a place on a trunk; nil: there is none for such an address.
func (t *trunks) seat(ip string, c *Client) (wire, error) {
	at, err := netip.ParseAddr(ip)
	if err != nil || !at.Is4() {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var k *trunk
	for _, o := range t.list {
		if o.first == at && o.taken < len(o.seats) {
			k = o
		}
	}
	if k == nil {
		if k, err = openTrunk(at); err != nil {
			return nil, err
		}
		t.list = append(t.list, k)
	}
	s := &trunkSeat{all: t, trunk: k, number: k.taken}
	b := at.As4()
	b[3] += byte(s.number)
	s.addr = netip.AddrPortFrom(netip.AddrFrom4(b), k.port)
	k.seats[s.number].Store(c)
	k.taken++
	return s, nil
}

func openTrunk(at netip.Addr) (_ *trunk, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Package os polls only what does not block. All calls of ours say themselves that they do not wait.
	k := &trunk{file: os.NewFile(uintptr(fd), "load generator's socket"), first: at}
	defer func() {
		if err != nil {
			_ = k.file.Close()
		}
	}()
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, trunkBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, trunkBuffer)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, trunkBuffer)
	bound, seats := at.As4(), 1
	if at == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil {
			return nil, os.NewSyscallError("getsockopt", err)
		}
		seats, bound = min(max(size/seatBuffer, 1), mostSeats), [4]byte{}
		_ = unix.BindToDevice(fd, "lo") // nobody else shall reach it; what comes to no seat is dropped anyway
	}
	k.seats = make([]atomic.Pointer[Client], seats)
	for _, option := range []struct{ level, name int }{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}, {unix.IPPROTO_IP, unix.IP_PKTINFO}} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: bound}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	k.port = uint16(name.(*unix.SockaddrInet4).Port)
	k.raw, err = k.file.SyscallConn()
	return k, err
}

func (s *trunkSeat) local() netip.AddrPort { return s.addr }

func (s *trunkSeat) close() {
	k := s.trunk
	k.seats[s.number].Store(nil)
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	// Seats are not given out again: what was on its way to one is not for another.
	if k.left++; k.left < k.taken {
		return
	}
	for i, o := range s.all.list {
		if o == k {
			s.all.list = append(s.all.list[:i:i], s.all.list[i+1:]...)
			break
		}
	}
	_ = k.file.Close()
}

// post implements wire.
func (s *trunkSeat) post(b []byte, to netip.AddrPort) {
	o := newOutbox(1)
	if o.reserve(s, to, len(b)) == nil {
		return
	}
	copy(o.arena, b)
	o.commit(len(b))
	o.flush()
}

func (s *trunkSeat) reserve(to netip.AddrPort, size int) []byte {
	return s.all.out.reserve(s, to, size)
}
func (s *trunkSeat) commit(n int) { s.all.out.commit(n) }
func (s *trunkSeat) flush()       {} // its Pace does that for all

// flush sends what all have written.
func (t *trunks) flush() { t.out.flush() }

// read gives everybody what came for them, and reports whether there is more.
func (t *trunks) read() (more bool) {
	t.mu.Lock()
	t.reading = append(t.reading[:0], t.list...)
	t.mu.Unlock()
	for _, k := range t.reading {
		for round := 1; ; round++ {
			n := t.in.read(k.raw)
			t.deliver(k, n, Now())
			if n < inboxSize {
				break
			}
			if round == rounds {
				more = true
				break
			}
		}
	}
	return more
}

// deliver hands datagrams to those they came for. Neighbours are mostly of one.
func (t *trunks) deliver(k *trunk, n int, now int64) {
	var held *Client
	for i := range n {
		data, from, to, waited := t.in.datagram(i)
		number := int(to[3]) - int(k.first.As4()[3])
		if number < 0 || number >= len(k.seats) || to[0] != k.first.As4()[0] || data == nil {
			continue
		}
		c := k.seats[number].Load()
		if c != held {
			if held != nil {
				held.mu.Unlock()
			}
			if held = c; c != nil {
				c.mu.Lock()
			}
		}
		if c != nil {
			c.datagram(data, from, now-waited)
		}
	}
	if held != nil {
		held.mu.Unlock()
	}
}
