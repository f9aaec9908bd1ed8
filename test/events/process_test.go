package events

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program builds the server.
func program(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "belfry")
	cmd := exec.Command("go", "build", "-o", out, "belfry/cmd/belfry")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, text)
	}
	return out
}

// process is the real server, which is killed and started again on the same data
// directory. Clients ask it for the endpoint of the server that runs.
type process struct {
	binary string
	env    []string

	mu      sync.Mutex
	changed *sync.Cond
	url     string // "" while none runs
	life    int    // how many were started
	over    bool

	cmd    *exec.Cmd
	stderr *strings.Builder
	ended  chan struct{} // closed when cmd ended
}

func newProcess(t *testing.T, dir string, env ...string) *process {
	p := &process{binary: program(t)}
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "BELFRY_") && !strings.HasPrefix(one, "AWS_") {
			p.env = append(p.env, one)
		}
	}
	p.env = append(p.env, "BELFRY_LISTEN=127.0.0.1:0", "BELFRY_TURN=never", "BELFRY_PAGE=off", "BELFRY_DATA_DIR="+dir,
		"BELFRY_ACCESS_KEY_ID=key", "BELFRY_SECRET_ACCESS_KEY=secret", "BELFRY_LOG_LEVEL=warn",
		"BELFRY_REQUEST_RATE=0", "BELFRY_ACTIVE_MEETINGS=0", "BELFRY_MEETING_IDLE_TIMEOUT=0")
	p.env = append(p.env, env...)
	p.changed = sync.NewCond(&p.mu)
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	return p
}

// start starts the server and returns at once. ready is closed when it takes
// requests, or when it has ended without.
func (p *process) start(t *testing.T) (ready chan struct{}) {
	t.Helper()
	p.cmd = exec.Command(p.binary, "serve")
	p.cmd.Env = p.env
	p.stderr = &strings.Builder{}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.life++
	p.mu.Unlock()
	ready, p.ended = make(chan struct{}), make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		lines, said := bufio.NewScanner(stdout), false
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "Endpoint"); ok && !said {
				said = true
				p.set(strings.TrimSpace(url))
				close(ready)
			}
		}
		_ = cmd.Wait()
		p.set("")
		if !said {
			close(ready)
		}
		close(ended)
	}(p.cmd, p.ended)
	return ready
}

func (p *process) set(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.url = url
	p.changed.Broadcast()
}

// stop ends the server by a signal and waits for its end.
func (p *process) stop(signal syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	<-p.ended
}

// finish has endpoint answer that there will be none any more.
func (p *process) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.changed.Broadcast()
}

// endpoint waits for a server that runs.
func (p *process) endpoint() (url string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.url == "" && !p.over {
		p.changed.Wait()
	}
	return p.url, !p.over
}

// runs tells whether a server takes requests.
func (p *process) runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url != ""
}

// metric is one figure of the server that runs.
func (p *process) metric(ctx context.Context, name string) (value string, err error) {
	url, _ := p.endpoint()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return "", err
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("there is no metric %s", name)
}

// awaitDelivered waits until every target has every event.
func (p *process) awaitDelivered(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		value, err := p.metric(t.Context(), "belfry_events_waiting_meetings")
		if err == nil && value == "0" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("events of %s meetings are undelivered after five minutes (%v)", value, err)
		}
	}
}
