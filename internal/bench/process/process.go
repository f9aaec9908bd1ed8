// Package process runs the servers that are measured, on a processor of their own
// if asked, and asks the kernel what they used. None outlives the program that
// started it.
package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process has used, as the kernel tells it.
type Usage struct {
	CPU    time.Duration // user and system together, of all threads
	System float64       // share of it spent in the kernel
	RSS    int64         // bytes
}

// ReadUsage asks the kernel about a process (/proc). The time is the scheduler's
// run time of each thread, which is exact; where the kernel does not keep it, the
// ticks of stat.
func ReadUsage(pid int) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read the server's CPU time: %w", err)
	}
	// The name, in brackets, may have anything in it.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 22 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	u.RSS = pages * int64(os.Getpagesize())
	u.CPU = time.Duration(user+system) * 10 * time.Millisecond
	if user+system > 0 {
		u.System = float64(system) / float64(user+system)
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum int64
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += ns
	}
	if sum > 0 {
		u.CPU = time.Duration(sum)
	}
	return u, nil
}

// Ticks is user and system time in ticks of 10 ms, for the share of the kernel
// between two moments.
func Ticks(pid int) (user, system int64) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 12 {
		user, _ = strconv.ParseInt(f[11], 10, 64)
		system, _ = strconv.ParseInt(f[12], 10, 64)
	}
	return user, system
}

// Process is a server that was started.
type Process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan error
}

// Start runs a program, on one processor when cpu is 0 or more; its words go to a
// file in dir.
func Start(dir string, cpu int, env []string, program string, args ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, fmt.Errorf("make the server's log: %w", err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if cpu >= 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	endWithUs(cmd)
	if err := startOn(cpu, cmd); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	allow(cmd.Process.Pid)
	p := &Process{cmd: cmd, log: log, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// PID is its number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail is the end of what the process wrote.
func (p *Process) Tail() string {
	text, _ := os.ReadFile(p.log.Name())
	return string(text[max(0, len(text)-2000):])
}

// Ready waits until a URL answers.
func (p *Process) Ready(ctx context.Context, url string) error {
	return p.Until(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	})
}

// Until tries again and again until try succeeds, the process ends or ctx does.
func (p *Process) Until(ctx context.Context, try func() error) error {
	for {
		failed := try()
		if failed == nil {
			return nil
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("the server ended before it was ready (%v): %s", err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer (%w): %w: %s", failed, ctx.Err(), p.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop asks it to end and waits; who does not listen is killed.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.log.Close()
}
