package client

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	inboxSize  = 64   // datagrams read in a call
	outboxSize = 32   // messages sent in a call
	roomSize   = 2048 // of one datagram, at most
	mostPieces = 32   // datagrams of one segmented message
	mostBytes  = 60_000
)

// mmsghdr is struct mmsghdr of the kernel.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// inbox is what one recvmmsg fills.
type inbox struct {
	msgs     [inboxSize]mmsghdr
	iovs     [inboxSize]unix.Iovec
	names    [inboxSize]unix.RawSockaddrInet4
	controls [inboxSize][8]uint64 // a time and an address, with their headers
	rooms    []byte
	n        int
	at       time.Time // of the last call
	call     func(fd uintptr) bool
}

func newInbox() *inbox {
	in := &inbox{rooms: make([]byte, inboxSize*roomSize)}
	for i := range in.msgs {
		in.iovs[i].Base = &in.rooms[i*roomSize]
		in.iovs[i].SetLen(roomSize)
		h := &in.msgs[i].header
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&in.controls[i]))
	}
	in.call = in.receive
	return in
}

// read takes what there is, without waiting.
func (in *inbox) read(raw syscall.RawConn) int {
	for i := range in.msgs {
		h := &in.msgs[i].header
		h.Namelen = unix.SizeofSockaddrInet4
		h.SetControllen(int(unsafe.Sizeof(in.controls[i])))
	}
	in.n = 0
	_ = raw.Read(in.call) // it fails where the socket is closed
	in.at = time.Now()
	return in.n
}

// receive makes the system call, of which the scheduler is not told, for it never waits.
func (in *inbox) receive(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.msgs[0])), inboxSize, unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno == 0 {
			in.n = int(n)
		}
		return true
	}
}

// datagram is one that was read: what it says, where it came from and to, and for how long,
// in ns, the kernel had it. What did not fit is nil.
func (in *inbox) datagram(i int) (data []byte, from netip.AddrPort, to [4]byte, waited int64) {
	m, name := &in.msgs[i], &in.names[i]
	if m.header.Flags&unix.MSG_TRUNC != 0 {
		return nil, from, to, 0
	}
	at := i * roomSize
	data = in.rooms[at : at+int(m.n) : at+int(m.n)]
	from = netip.AddrPortFrom(netip.AddrFrom4(name.Addr), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:]))
	control := unsafe.Slice((*byte)(unsafe.Pointer(&in.controls[i])), int(min(uint64(m.header.Controllen), uint64(unsafe.Sizeof(in.controls[i])))))
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if h.Len < unix.SizeofCmsghdr || int(h.Len) > len(control) {
			break
		}
		body := control[unix.SizeofCmsghdr:h.Len]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(body) >= int(unsafe.Sizeof(unix.Timespec{})):
			t := (*unix.Timespec)(unsafe.Pointer(&body[0]))
			if d := in.at.UnixNano() - t.Nano(); d > 0 && d < mostWaited { // the clock may have been set
				waited = d
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(body) >= unix.SizeofInet4Pktinfo:
			to = (*unix.Inet4Pktinfo)(unsafe.Pointer(&body[0])).Addr
		}
		control = control[min(len(control), unix.CmsgSpace(len(body))):]
	}
	return data, from, to, waited
}

// mostWaited bounds what is believed of the system's clock, in ns.
const mostWaited = 10e9

// envelope is what a message says beside its bytes: which address it comes from, and how
// long the datagrams are that it is cut into.
type envelope struct {
	from    unix.Cmsghdr
	address unix.Inet4Pktinfo
	_       [4]byte // up to the alignment of control messages
	cut     unix.Cmsghdr
	size    uint16
	_       [6]byte
}

// outbox gathers datagrams of Clients on one trunk and sends them together; neighbours of
// equal size, of and to one address, as one segmented message.
type outbox struct {
	msgs      []mmsghdr
	iovs      []unix.Iovec
	names     []unix.RawSockaddrInet4
	envelopes []envelope
	arena     []byte
	used      int

	trunk    *trunk
	seat     *trunkSeat // of the last message
	to       netip.AddrPort
	segment  int // size of its datagrams
	pieces   int
	shorter  bool // the last of them is, so that none may follow
	n        int
	reserved *trunkSeat // whom room was given out to, and
	dest     netip.AddrPort

	next, sent int
	errno      syscall.Errno
	call       func(fd uintptr) bool
}

func newOutbox(messages int) *outbox {
	o := &outbox{msgs: make([]mmsghdr, messages), iovs: make([]unix.Iovec, messages), names: make([]unix.RawSockaddrInet4, messages),
		envelopes: make([]envelope, messages), arena: make([]byte, messages*roomSize)}
	for i := range o.msgs {
		h, e := &o.msgs[i].header, &o.envelopes[i]
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.names[i])), unix.SizeofSockaddrInet4
		h.Iov = &o.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(e))
		e.from.Level, e.from.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		e.from.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		e.cut.Level, e.cut.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		e.cut.SetLen(unix.CmsgLen(2))
		o.names[i].Family = unix.AF_INET
	}
	o.call = o.send
	return o
}

// reserve gives room for a datagram, which is good until the next call; nil where it is too
// long or cannot be sent to such an address.
func (o *outbox) reserve(from *trunkSeat, to netip.AddrPort, size int) []byte {
	o.reserved = nil
	if size > roomSize || !to.Addr().Unmap().Is4() {
		return nil
	}
	if o.trunk != from.trunk || o.n == len(o.msgs) || o.used+size > len(o.arena) {
		o.flush()
		o.trunk = from.trunk
	}
	o.reserved, o.dest = from, to
	return o.arena[o.used : o.used+size : o.used+size]
}

func (o *outbox) commit(size int) {
	from := o.reserved
	o.reserved = nil
	if from == nil || size <= 0 {
		return
	}
	at := o.used
	o.used += size
	if i := o.n - 1; i >= 0 && o.seat == from && o.to == o.dest && !o.shorter && size <= o.segment && o.pieces < mostPieces && int(o.iovs[i].Len)+size <= mostBytes {
		o.pieces++
		o.shorter = size < o.segment
		o.iovs[i].SetLen(int(o.iovs[i].Len) + size)
		o.envelopes[i].size = uint16(o.segment)
		o.msgs[i].header.SetControllen(int(unsafe.Sizeof(envelope{})))
		return
	}
	i := o.n
	o.n++
	o.seat, o.to, o.segment, o.pieces, o.shorter = from, o.dest, size, 1, false
	o.iovs[i].Base = &o.arena[at]
	o.iovs[i].SetLen(size)
	o.names[i].Addr = o.dest.Addr().Unmap().As4()
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&o.names[i].Port))[:], o.dest.Port())
	o.envelopes[i].address.Spec_dst = from.addr.Addr().As4()
	o.msgs[i].header.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
}

// flush sends all. What the kernel refuses is lost, as on any network.
func (o *outbox) flush() {
	for o.next = 0; o.next < o.n; {
		o.sent, o.errno = 0, 0
		if o.trunk.raw.Write(o.call) != nil {
			break // closed
		}
		o.next += o.sent
		if o.errno != 0 {
			o.singly(o.next)
			o.next++
		}
	}
	o.n, o.used = 0, 0
}

func (o *outbox) send(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.msgs[o.next])), uintptr(o.n-o.next), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if o.errno = errno; errno == 0 {
			o.sent = int(n)
		}
		return true
	}
}

// singly sends the datagrams of a message that was refused one by one, where it was one
// that is to be cut: a kernel or a device may not know how.
func (o *outbox) singly(i int) {
	h := &o.msgs[i].header
	if int(h.Controllen) < int(unsafe.Sizeof(envelope{})) {
		return
	}
	h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	first, left, each := o.iovs[i].Base, int(o.iovs[i].Len), int(o.envelopes[i].size)
	bytes := unsafe.Slice(first, left)
	for ; len(bytes) > 0; bytes = bytes[min(each, len(bytes)):] {
		o.iovs[i].Base = &bytes[0]
		o.iovs[i].SetLen(min(each, len(bytes)))
		_ = o.trunk.raw.Write(func(fd uintptr) bool {
			_, _, _ = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(h)), unix.MSG_DONTWAIT)
			return true
		})
	}
}
