//go:build !linux

package udp

import (
	"net/netip"
	"syscall"
	"time"
)

// canShare: SO_REUSEPORT of other systems does not spread datagrams.
const canShare = false

func share(_, _ string, _ syscall.RawConn) error { return nil }

func (s *Socket) probe() error { return nil }

// gathering is Linux's alone.
type gathering struct{}

func (*gathering) close() error { return nil }

func (s *Socket) gather(time.Duration) error { return nil }

func (s *Socket) writeTo([]byte, netip.AddrPort) error { return syscall.ENOSYS }

type inboxSys struct{ buf [MaxReceive + 1]byte }

func (*inboxSys) init() {}

type batchSys struct{}

func (*batchSys) init(*Batch) {}

func (s *Socket) read(in *Inbox) (int, error) {
	n, from, err := s.conn.ReadFromUDPAddrPort(in.sys.buf[:])
	if err != nil {
		return 0, err
	}
	if n > MaxReceive {
		s.port.stats.Truncated.Add(1)
		return 0, nil
	}
	in.Packets[0] = Packet{
		Data: in.sys.buf[:n:n],
		Addr: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
	}
	return 1, nil
}

func (b *Batch) send() error {
	var first error
	for i := range b.msgs {
		m := &b.msgs[i]
		for at, end := m.start, m.start+m.size; at < end; at += m.segment {
			if err := b.socket.WriteTo(b.arena[at:min(at+m.segment, end)], m.to); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
