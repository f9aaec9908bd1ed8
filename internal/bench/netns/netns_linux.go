// Package netns runs this program anew in a network namespace of its own, with a
// veth beside the loopback interface. Servers that do not use loopback, such as
// Janus, can be measured there, nothing of the traffic reaches a real network, and
// the namespace is gone with the last process in it.
//
//	if !netns.Inside() {
//		code, err := netns.Run(ctx) // the same arguments; returns when that program ends
//		…
//	}
//	err := netns.Prepare(ctx)
//
// It needs Linux, iproute2, and root or user namespaces for everybody.
package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Address is that of the veth, from the range for benchmarks (RFC 2544). What is
// sent to it from within goes the same way through the kernel as over 127.0.0.1.
const Address = "198.18.0.1"

// mark is in the environment of the program within.
const mark = "BELFRY_BENCH_NETNS"

// Inside reports whether this program was started by Run.
func Inside() bool { return os.Getenv(mark) != "" }

// Run starts this program in a new namespace, with the same arguments, and returns
// its exit code when it ends. When ctx ends it is asked to end, and killed 30 s
// later. It does not outlive this one.
func Run(ctx context.Context) (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("make a network namespace (this needs root, or user namespaces): %w", err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("in the network namespace: %w", err)
	}
	return 0, nil
}

// Prepare brings the interfaces of the namespace up. It is called within.
func Prepare(ctx context.Context) error {
	if !Inside() {
		return errors.New("this is not a network namespace of the bench")
	}
	for _, words := range []string{
		"link set lo up",
		"link add bench0 type veth peer name bench1",
		"addr add " + Address + "/24 dev bench0",
		"link set bench0 up",
		"link set bench1 up",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(words)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", words, err, out)
		}
	}
	return nil
}
