//go:build linux

package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const canShare = true

// sendWait bounds how long one Flush waits for room in the kernel's buffer. It
// is below the 20 ms between two ticks of the media.
const sendWait = 10 * time.Millisecond

// mmsghdr is struct mmsghdr of the kernel.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// share sets SO_REUSEPORT, so that the sockets of one port can share it. The
// first one gets it after its bind and the others before theirs: the bind of the
// first then fails when another program has the port, even one of the same kind.
func share(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// probe learns the socket's family and whether the kernel knows UDP_SEGMENT, and
// takes back the permission to broadcast that package net gives every socket: an
// address to send to is what some packet claimed to come from.
func (s *Socket) probe() error {
	var err error
	if e := s.raw.Control(func(fd uintptr) {
		var domain int
		if domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			return
		}
		s.v6 = domain == unix.AF_INET6
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0); err != nil {
			return
		}
		// Without it all of one read seem to have come at once, and late when we are held up.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		// Setting it to 0 changes nothing and fails where it is unknown.
		s.port.segmented.Store(unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	}); e != nil {
		return e
	}
	return err
}

// stamp is the control message with the time at which a datagram came.
type stamp struct {
	header unix.Cmsghdr
	at     unix.Timespec
}

// waited is how long before now the stamp was made, on the system's clock, which may
// have been set meanwhile.
func (s *stamp) waited(length uint64, now time.Time) time.Duration {
	if length < uint64(unsafe.Sizeof(*s)) || s.header.Level != unix.SOL_SOCKET || s.header.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	if d := now.Sub(time.Unix(s.at.Unix())); d > 0 && d < maxWaited {
		return d
	}
	return 0
}

// maxWaited bounds what is believed of the system's clock.
const maxWaited = time.Second

// inboxSys is the memory that recvmmsg fills.
type inboxSys struct {
	stamps [InboxSize]stamp
	msgs   [InboxSize]mmsghdr
	iovs   [InboxSize]unix.Iovec
	names  [InboxSize]unix.RawSockaddrInet6
	bufs   []byte

	// The system call and its result, in a method value made once: a closure made
	// for each Read would be allocated.
	f     func(fd uintptr) bool
	n     int
	errno syscall.Errno
	empty bool // there was nothing
	polls bool // then the poller waits
}

func (in *inboxSys) init() {
	in.bufs = make([]byte, InboxSize*MaxReceive)
	for i := range in.msgs {
		in.iovs[i].Base = &in.bufs[i*MaxReceive]
		in.iovs[i].SetLen(MaxReceive)
		h := &in.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
	}
	in.f = in.receive
}

// receive makes one system call, of which the scheduler is not told, as in call:
// it never waits, and to be told of one wakes a thread that watches over those that do.
func (in *inboxSys) receive(fd uintptr) bool {
	in.empty = false
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.msgs[0])), InboxSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			in.n, in.errno = int(n), 0
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			in.n, in.errno, in.empty = 0, 0, true
			return !in.polls
		default:
			in.n, in.errno = 0, errno
			return true
		}
	}
}

func (s *Socket) read(in *Inbox) (int, error) {
	sys := &in.sys
	for i := range sys.msgs {
		h := &sys.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = (*byte)(unsafe.Pointer(&sys.stamps[i]))
		h.SetControllen(int(unsafe.Sizeof(sys.stamps[i])))
	}
	sys.n, sys.errno, sys.polls = 0, 0, s.gathering == nil
	if s.gathering != nil {
		if err := s.readGathered(in); err != nil {
			return 0, err
		}
	} else if err := s.raw.Read(sys.f); err != nil {
		return 0, err
	}
	if sys.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", sys.errno)
	}
	n, now := 0, time.Now()
	for i := range sys.n {
		m := &sys.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			s.port.stats.Truncated.Add(1)
			continue
		}
		addr, ok := fromSockaddr(&sys.names[i])
		if !ok {
			continue
		}
		at := i * MaxReceive
		in.Packets[n] = Packet{Data: sys.bufs[at : at+int(m.n) : at+int(m.n)], Addr: addr, Waited: sys.stamps[i].waited(uint64(m.hdr.Controllen), now)}
		n++
	}
	return n, nil
}

func fromSockaddr(sa *unix.RawSockaddrInet6) (netip.AddrPort, bool) {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port), true
	case unix.AF_INET6:
		// The zone of a link-local address is left out: interning its name would
		// cost, and candidates are never link-local.
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port), true
	}
	return netip.AddrPort{}, false
}

func (s *Socket) toSockaddr(sa *unix.RawSockaddrInet6, to netip.AddrPort) (size uint32, ok bool) {
	if !to.IsValid() {
		return 0, false
	}
	if s.v6 {
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
		return unix.SizeofSockaddrInet6, true
	}
	a := to.Addr().Unmap()
	if !a.Is4() {
		return 0, false
	}
	sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
	*sa4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa4.Port))[:], to.Port())
	return unix.SizeofSockaddrInet4, true
}

// segmentControl is the control message that asks for a segmented send.
type segmentControl struct {
	hdr  unix.Cmsghdr
	size uint16
	_    [6]byte // up to the alignment of control messages
}

// batchSys is the memory that sendmmsg reads.
type batchSys struct {
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6
	ctrls []segmentControl
	of    []int // which of Batch.msgs each message is

	f     func(fd uintptr) bool
	next  int // the first message not sent yet
	count int
	wait  bool // let the poller wait when the kernel's buffer is full
	again bool // it was full
	sent  int  // result of the last call
	errno syscall.Errno
	calls uint64
}

func (y *batchSys) init(b *Batch) {
	// A message that the kernel refuses to segment is sent in pieces, which may
	// be more than there are messages: room for one message in pieces.
	y.msgs = make([]mmsghdr, max(batchSize, maxSegments))
	y.iovs = make([]unix.Iovec, len(y.msgs))
	y.names = make([]unix.RawSockaddrInet6, len(y.msgs))
	y.ctrls = make([]segmentControl, len(y.msgs))
	y.of = make([]int, len(y.msgs))
	for i := range y.msgs {
		h := &y.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&y.names[i]))
		h.Iov = &y.iovs[i]
		h.SetIovlen(1)
		c := &y.ctrls[i]
		c.hdr.Level = unix.IPPROTO_UDP
		c.hdr.Type = unix.UDP_SEGMENT
		c.hdr.SetLen(unix.CmsgLen(2))
	}
	y.f = y.call
}

// call makes one system call; it is the method value given to the RawConn.
func (y *batchSys) call(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&y.msgs[y.next])), uintptr(y.count-y.next), unix.MSG_DONTWAIT, 0, 0)
		y.calls++
		y.again = false
		switch errno {
		case 0:
			y.sent, y.errno = int(n), 0
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			y.again = true
			y.sent, y.errno = 0, 0
			return !y.wait
		default:
			y.sent, y.errno = 0, errno
			return true
		}
	}
}

// fill writes one message for the kernel.
func (b *Batch) fill(slot, of, start, size, segment int) bool {
	y := &b.sys
	m := &y.msgs[slot]
	n, ok := b.socket.toSockaddr(&y.names[slot], b.msgs[of].to)
	if !ok {
		return false
	}
	m.hdr.Namelen = n
	y.iovs[slot].Base = &b.arena[start]
	y.iovs[slot].SetLen(size)
	y.of[slot] = of
	if size > segment {
		y.ctrls[slot].size = uint16(segment)
		m.hdr.Control = (*byte)(unsafe.Pointer(&y.ctrls[slot]))
		m.hdr.SetControllen(unix.CmsgSpace(2))
	} else {
		m.hdr.Control = nil
		m.hdr.SetControllen(0)
	}
	return true
}

func (b *Batch) send() error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	y := &b.sys
	st := &b.socket.port.stats
	y.calls = 0
	deadline := time.Time{}

	for from := 0; from < len(b.msgs); {
		// As many messages as fit; with segmentation off one of them can take up
		// to maxSegments slots.
		y.next, y.count = 0, 0
		segmented := b.socket.port.segmented.Load()
		for from < len(b.msgs) {
			m := &b.msgs[from]
			if m.count == 1 || segmented {
				if y.count == len(y.msgs) {
					break
				}
				if !b.fill(y.count, from, m.start, m.size, m.segment) {
					st.SendErrors.Add(uint64(m.count))
					note(unix.EAFNOSUPPORT)
				} else {
					y.count++
				}
			} else {
				if y.count+m.count > len(y.msgs) {
					break
				}
				if !b.pieces(from) {
					st.SendErrors.Add(uint64(m.count))
					note(unix.EAFNOSUPPORT)
				}
			}
			from++
		}
		if err := b.flushFilled(&deadline); err != nil {
			note(err)
		}
	}
	st.SendCalls.Add(y.calls)
	return first
}

// pieces fills one slot for each datagram of a message.
func (b *Batch) pieces(of int) bool {
	m := &b.msgs[of]
	y := &b.sys
	for at, end := m.start, m.start+m.size; at < end; at += m.segment {
		size := min(m.segment, end-at)
		if !b.fill(y.count, of, at, size, size) {
			return false
		}
		y.count++
	}
	return true
}

// flushFilled sends the filled messages. One that is refused is dropped, or sent
// datagram by datagram when it was the segmentation that was refused.
func (b *Batch) flushFilled(deadline *time.Time) (first error) {
	y := &b.sys
	st := &b.socket.port.stats
	for y.next < y.count {
		if err := b.push(deadline); err != nil {
			// Closed, or no room in time: the rest is lost.
			for ; y.next < y.count; y.next++ {
				st.SendDrops.Add(uint64(b.datagrams(y.next)))
			}
			return err
		}
		for range y.sent {
			b.count(y.next)
			y.next++
		}
		if y.errno == 0 {
			continue
		}
		if y.msgs[y.next].hdr.Control != nil && refusesSegments(y.errno) {
			if y.errno == unix.EIO || y.errno == unix.ENOPROTOOPT || y.errno == unix.EOPNOTSUPP {
				b.socket.port.segmented.Store(false) // the device cannot; do not ask again
			}
			if err := b.writePieces(y.of[y.next]); first == nil {
				first = err
			}
		} else {
			st.SendErrors.Add(uint64(b.datagrams(y.next)))
			if first == nil {
				first = os.NewSyscallError("sendmmsg", y.errno)
			}
		}
		y.next++
	}
	return first
}

// refusesSegments: EIO is a device without checksum offload, EINVAL and EMSGSIZE
// are segments above the path's MTU, which go as fragments when sent singly.
func refusesSegments(e syscall.Errno) bool {
	switch e {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.ENOPROTOOPT, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// writePieces sends a message datagram by datagram, outside the slots, which are
// in use. It is the rare path.
func (b *Batch) writePieces(of int) (first error) {
	m := &b.msgs[of]
	for at, end := m.start, m.start+m.size; at < end; at += m.segment {
		// What is refused is counted there.
		if err := b.socket.WriteTo(b.arena[at:min(at+m.segment, end)], m.to); first == nil {
			first = err
		}
	}
	return first
}

// push makes one call; when the kernel's buffer is full it waits for room until
// the deadline, which the first wait of a Flush sets.
func (b *Batch) push(deadline *time.Time) error {
	y := &b.sys
	y.wait, y.sent, y.errno = false, 0, 0
	err := b.socket.raw.Write(y.f)
	if err == nil && !y.again {
		return nil
	}
	if b.socket.gathering != nil {
		return b.pushGathered(err, deadline)
	}
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	// Another batch's expired deadline looks like a full buffer and is handled
	// like one.
	s := b.socket
	s.slow.Lock()
	defer s.slow.Unlock()
	if deadline.IsZero() {
		*deadline = time.Now().Add(sendWait)
	}
	if err := s.conn.SetWriteDeadline(*deadline); err != nil {
		return err
	}
	y.wait = true
	err = s.raw.Write(y.f)
	if e := s.conn.SetWriteDeadline(time.Time{}); err == nil {
		err = e
	}
	return err
}

// pushGathered is the rest of push for a socket that the poller does not have.
func (b *Batch) pushGathered(err error, deadline *time.Time) error {
	y, s := &b.sys, b.socket
	if deadline.IsZero() {
		*deadline = time.Now().Add(sendWait)
	}
	for err == nil && y.again {
		room, e := s.waitForRoom(*deadline)
		switch {
		case e != nil:
			return e
		case !room:
			return os.ErrDeadlineExceeded
		}
		err = s.raw.Write(y.f)
	}
	if err != nil {
		return net.ErrClosed
	}
	return nil
}

// datagrams is how many datagrams a filled message stands for.
func (b *Batch) datagrams(slot int) int {
	if b.sys.msgs[slot].hdr.Control == nil {
		return 1
	}
	return b.msgs[b.sys.of[slot]].count
}

// count adds a filled message that was sent to the counters.
func (b *Batch) count(slot int) {
	st := &b.socket.port.stats
	n := b.datagrams(slot)
	st.PacketsOut.Add(uint64(n))
	st.BytesOut.Add(uint64(b.sys.iovs[slot].Len))
	if n > 1 {
		st.SegmentedSends.Add(1)
	}
}
