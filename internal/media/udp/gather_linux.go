package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"belfry/internal/media/metronome"
)

const (
	// A socket is busy from so many datagrams between two reads on, and until there
	// are fewer than half of that.
	busyFrom = 3
	// busySpan is for how long datagrams are counted before it is decided anew.
	busySpan = 50 * time.Millisecond
)

// gathering has a busy socket read at fixed times instead of whenever something
// came. Waking for each of a thousand datagrams a second costs more than all that
// is done for most of them.
//
// The socket is kept out of the scheduler's poller, which would be woken by each
// datagram even while nobody waits for one. In its place the poller has watch, an
// epoll set of this one socket that is told to look away while the socket is busy,
// and a metronome that beats once for each read.
type gathering struct {
	every    time.Duration
	file     *os.File // the socket
	watch    *os.File
	watchRaw syscall.RawConn
	watchFD  int
	socketFD int
	clock    *metronome.Metronome

	busy  bool
	full  bool      // the last read took as much as it can
	last  time.Time // when the last read came back
	since time.Time // of the count
	count int

	in    *Inbox             // of the Read under way
	err   error              // that it met
	beats uint64             // of the clock that were waited for
	try   func(uintptr) bool // a method value, made once
}

// gather moves the socket out of the scheduler's poller. Nobody may be using it.
func (s *Socket) gather(every time.Duration) (err error) {
	g := &gathering{every: every, since: time.Now()}
	g.try = s.tryRead
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	fd := -1
	if e := s.raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return e
	}
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	// Package os polls only what does not block. All calls of ours say themselves
	// that they do not wait.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	g.socketFD, g.file = fd, os.NewFile(uintptr(fd), "media port")
	if g.watchFD, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(g.watchFD, true)
	g.watch = os.NewFile(uintptr(g.watchFD), "media port's readiness")
	if g.clock, err = metronome.New(every); err != nil {
		return err
	}
	if err := unix.EpollCtl(g.watchFD, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	if g.watchRaw, err = g.watch.SyscallConn(); err != nil {
		return err
	}
	raw, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("take the socket over: %w", err)
	}
	s.conn, s.raw, s.gathering = nil, raw, g
	return nil
}

func (g *gathering) close() error {
	var errs []error
	for _, f := range []*os.File{g.watch, g.file} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if g.clock != nil {
		errs = append(errs, g.clock.Close())
	}
	return errors.Join(errs...)
}

// readGathered is read for a socket that gathers.
func (s *Socket) readGathered(in *Inbox) error {
	g := s.gathering
	g.in, g.err = in, nil
	for {
		var err error
		if g.busy && !g.full && time.Since(g.last) < g.every/2 {
			// Who is held up for longer than that does not wait as well, nor while there
			// is more than one read takes.
			g.beats++
			g.clock.Skip()
			_, err = g.clock.Wait()
		}
		if err == nil && g.busy {
			s.tryRead(0)
		} else if err == nil {
			err = g.watchRaw.Read(g.try)
		}
		if err != nil || g.err != nil {
			return net.ErrClosed
		}
		g.last, g.full = time.Now(), in.sys.n == InboxSize
		g.judge(in.sys.n)
		if in.sys.n > 0 || in.sys.errno != 0 {
			return nil
		}
	}
}

// tryRead takes what there is; false: nothing.
func (s *Socket) tryRead(uintptr) bool {
	g := s.gathering
	g.err = s.raw.Read(g.in.sys.f)
	return g.err != nil || !g.in.sys.empty
}

// judge counts what came, and decides now and then whether that is much. Where the
// kernel refuses, it stays as it is.
func (g *gathering) judge(n int) {
	g.count += n
	span := g.last.Sub(g.since)
	if span < busySpan {
		return
	}
	each := float64(g.count) * float64(g.every) / float64(span)
	g.count, g.since = 0, g.last
	if busy := each >= busyFrom; busy && !g.busy {
		g.busy = unix.EpollCtl(g.watchFD, unix.EPOLL_CTL_MOD, g.socketFD, &unix.EpollEvent{}) == nil
	} else if each < busyFrom/2 && g.busy {
		g.busy = unix.EpollCtl(g.watchFD, unix.EPOLL_CTL_MOD, g.socketFD, &unix.EpollEvent{Events: unix.EPOLLIN}) != nil
	}
}

// writeTo is WriteTo for a socket that gathers. It waits where there is no room.
func (s *Socket) writeTo(b []byte, to netip.AddrPort) error {
	var sa unix.RawSockaddrInet6
	size, ok := s.toSockaddr(&sa, to)
	if !ok {
		return unix.EAFNOSUPPORT
	}
	var errno syscall.Errno
	err := s.raw.Write(func(fd uintptr) bool {
		for {
			_, _, errno = unix.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
				uintptr(unsafe.Pointer(&sa)), uintptr(size))
			if errno != unix.EINTR {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return net.ErrClosed
	case errno != 0:
		return os.NewSyscallError("sendto", errno)
	}
	return nil
}

// waitForRoom waits until the kernel's buffer has room, or a deadline has passed.
func (s *Socket) waitForRoom(deadline time.Time) (room bool, err error) {
	err = s.raw.Write(func(fd uintptr) bool {
		left := time.Until(deadline)
		if left <= 0 {
			return true
		}
		n, e := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(left/time.Millisecond)+1)
		room = n > 0 || e == unix.EINTR
		return true
	})
	if err != nil {
		return false, net.ErrClosed
	}
	return room, nil
}
