package metronome

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys is a timer of the kernel's that Go's poller watches.
type sys struct {
	file  *os.File
	raw   syscall.RawConn
	spec  unix.ItimerSpec
	wound bool // since Wait was called
	err   error
	f     func(uintptr) bool // a method value, made once
}

func (s *sys) open() error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	s.file = os.NewFile(uintptr(fd), "metronome")
	s.f = s.windOnce
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
	}
	return err
}

// until waits until the monotonic clock says when. The time that is left is not needed.
func (s *sys) until(when, _ time.Duration) error {
	s.spec.Value = unix.NsecToTimespec(int64(when))
	s.wound, s.err = false, nil
	if err := s.raw.Read(s.f); err != nil {
		return net.ErrClosed
	}
	return s.err
}

// windOnce sets the timer and has the poller wait for it; called again, it has fired.
// It is never read: to be set anew takes its state back. The scheduler is not told of the
// system call, which never waits.
func (s *sys) windOnce(fd uintptr) bool {
	if s.wound {
		return true
	}
	s.wound = true
	if _, _, e := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME, uintptr(unsafe.Pointer(&s.spec)), 0, 0, 0); e != 0 {
		s.err = os.NewSyscallError("timerfd_settime", e)
		return true
	}
	return false
}

func (s *sys) close() error { return s.file.Close() }

func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return time.Duration(t.Nano())
}
