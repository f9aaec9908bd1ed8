// Package readme runs the lines that the README gives a newcomer to paste.
package readme

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var block = regexp.MustCompile("(?s)<!-- run: (\\w+) -->\n```\\w+\n(.*?)```")

// export finds the lines that the server prints for a shell.
var export = regexp.MustCompile(`^\s*export (\w+)=(\S+)$`)

// serve builds the program as the README says, runs it with nothing configured
// but free ports and a directory of its own, and returns what it printed.
func serve(t *testing.T) (endpoint string, env []string, stop func() time.Duration) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "belfry")
	build := exec.Command("go", "build", "-o", binary, "./cmd/belfry")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/belfry: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, "serve")
	cmd.Env = []string{"HOME=" + t.TempDir(), "BELFRY_LISTEN=127.0.0.1:0", "BELFRY_TURN_LISTEN=127.0.0.1:0"}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() time.Duration {
		begun := time.Now()
		_ = cmd.Process.Signal(syscall.SIGINT)
		err := cmd.Wait()
		// What takes longer than a person waits is left behind, with an error.
		if took := time.Since(begun); err != nil && took < time.Second {
			t.Errorf("ended by Ctrl-C after %v: %v", took, err)
		}
		return time.Since(begun)
	}
	env = append(os.Environ(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if _, after, found := strings.Cut(line, "Endpoint"); found {
			endpoint = strings.TrimSpace(after)
		}
		if match := export.FindStringSubmatch(line); match != nil {
			env = append(env, match[1]+"="+match[2])
		}
		if strings.Contains(line, "Ctrl-C") {
			break
		}
	}
	if endpoint == "" {
		t.Fatal("the server printed no endpoint")
	}
	return endpoint, env, stop
}

func TestTheFirstCall(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := block.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("the README has %d blocks to run, want the AWS CLI's and an SDK's", len(blocks))
	}
	endpoint, env, stop := serve(t)
	for _, b := range blocks {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		// Debian's own Python, for which boto3 is packaged.
		program := map[string][]string{"sh": {"/bin/sh", "-c"}, "python": {"/usr/bin/python3", "-c"}}[b[1]]
		lines := strings.ReplaceAll(b[2], "http://127.0.0.1:7100", endpoint)
		cmd := exec.CommandContext(ctx, program[0], program[1], lines)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil || !strings.Contains(string(out), strings.Replace(endpoint, "http", "ws", 1)+"/control/") {
			t.Errorf("%s: %v\n%s", b[1], err, out)
		}
	}
	t.Logf("Ctrl-C took %v", stop())
}
