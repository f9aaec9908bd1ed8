//go:build !linux

package process

import (
	"errors"
	"os/exec"
	"time"
)

var errPin = errors.New("pinning to a processor needs Linux")

func endWithUs(*exec.Cmd) {}

func allow(int) {}

func startOn(cpu int, cmd *exec.Cmd) error {
	if cpu >= 0 {
		return errPin
	}
	return cmd.Start()
}

// ThreadCPU is for Linux.
func ThreadCPU() (time.Duration, error) {
	return 0, errors.New("the CPU time of a thread needs Linux")
}

// PinSelf is for Linux.
func PinSelf(int) error { return errPin }
