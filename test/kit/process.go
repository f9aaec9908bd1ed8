package kit

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Process is this test program once more, as something else: its TestMain looks at a
// variable. It says one line when it is ready, and ends when its standard input does,
// so that it does not outlive the tests.
type Process struct {
	Said string // the line, without its end
	cmd  *exec.Cmd
	in   io.Closer
}

// Start starts the program with more variables ("NAME=value") and waits until it is
// ready. What it complains of is in the test's output. It ends with the test.
func Start(t testing.TB, env ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), env...), t.Output()
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	defer time.AfterFunc(Patience, func() { _ = p.cmd.Process.Kill() }).Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the process did not get ready: %q, %v", line, err)
	}
	p.Said = strings.TrimSpace(line)
	return p
}

// Kill is kill -9. It returns when the process is gone.
func (p *Process) Kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = p.in.Close()
	}
}

// Stop has the process end by itself, and returns when it is gone.
func (p *Process) Stop() {
	if p.cmd.ProcessState == nil {
		_ = p.in.Close()
		defer time.AfterFunc(Patience, func() { _ = p.cmd.Process.Kill() }).Stop()
		_ = p.cmd.Wait()
	}
}
