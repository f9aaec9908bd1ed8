package client

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernelClock is a timer of the kernel's. Go's wakes twice for each tick, having whole
// milliseconds only.
type kernelClock struct {
	file  *os.File
	raw   syscall.RawConn
	ticks [8]byte
}

// newClock makes a clock that ticks so often.
func newClock(every time.Duration) clock {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return newTicker(every)
	}
	c := &kernelClock{file: os.NewFile(uintptr(fd), "clock")}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		_ = c.file.Close()
		return newTicker(every)
	}
	c.set(every)
	return c
}

func (c *kernelClock) set(every time.Duration) {
	t := unix.NsecToTimespec(int64(every))
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Interval: t, Value: t}, nil)
	})
}

func (c *kernelClock) wait() bool {
	_, err := c.file.Read(c.ticks[:])
	return err == nil
}

func (c *kernelClock) stop() { _ = c.file.Close() }
