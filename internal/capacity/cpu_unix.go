//go:build unix

package capacity

import (
	"syscall"
	"time"
)

// processTime is what the process has used of processors since it began.
func processTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
