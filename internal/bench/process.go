package bench

import (
	"bytes"
	"fmt"
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

// ticks is user and system time in ticks of 10 ms, for the share of the kernel
// between two moments.
func ticks(pid int) (user, system int64) {
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

// process is a server that the bench started.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan error
}

// start runs a program, on one processor when cpu is 0 or more; its words go to a
// file in dir.
func start(dir string, cpu int, env []string, program string, args ...string) (*process, error) {
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
	if err := startOn(cpu, cmd); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &process{cmd: cmd, log: log, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// tail is the end of what the process wrote.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log.Name())
	return string(text[max(0, len(text)-2000):])
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.log.Close()
}
