package events

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"

	"belfry/internal/config"
	"belfry/internal/notify"
)

// documented is the blocks of docs/events.md that say they can be run, by their
// words.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, b := range regexp.MustCompile("(?s)<!-- run: ([^\n]+) -->\n```\\w+\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks[b[1]] = b[2]
	}
	if len(blocks) != 3 {
		t.Fatalf("docs/events.md has %d blocks to run, want 3", len(blocks))
	}
	return blocks
}

// The receiver of the documents believes the server and nobody else.
func TestDocumentedReceiver(t *testing.T) {
	script := filepath.Join(t.TempDir(), "receiver.mjs")
	if err := os.WriteFile(script, []byte(documented(t)["receiver"]), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", script)
	cmd.Env = append(os.Environ(), "SECRET=shared", "PORT=0")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		deadline.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the receiver did not start")
	}
	at := "http://127.0.0.1:" + strings.TrimPrefix(lines.Text(), "on port ") + "/"
	e := &emulator{URL: at} // nothing is sent to queues
	c := server(t, e, func(cfg *config.Config) { cfg.EventWebhooks, cfg.EventWebhookSecret = []string{at}, "shared" })
	m, err := c.CreateMeeting(t.Context(), &meetings.CreateMeetingInput{ClientRequestToken: aws.String("token"), MediaRegion: aws.String(region), ExternalMeetingId: aws.String("external")})
	if err != nil {
		t.Fatal(err)
	}
	want := "chime:MeetingStarted " + *m.Meeting.MeetingId
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("the receiver printed %q, want %q", lines.Text(), want)
	}

	post := func(signature, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if signature != "" {
			req.Header.Set(notify.HeaderSignature, signature)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	defer http.DefaultClient.CloseIdleConnections()
	body := `{"id":"x","detail":{}}`
	now := time.Now()
	for name, c := range map[string]struct {
		signature string
		want      int
	}{
		"genuine":          {notify.Sign("shared", now, []byte(body)), 204},
		"none":             {"", 401},
		"nonsense":         {"v1=,t=,=", 401},
		"of another body":  {notify.Sign("shared", now, []byte(body+" ")), 401},
		"of other secrets": {notify.Sign("other", now, []byte(body)), 401},
		"kept for an hour": {notify.Sign("shared", now.Add(-time.Hour), []byte(body)), 401},
		"another time":     {strings.Replace(notify.Sign("shared", now.Add(-time.Hour), []byte(body)), "t=", "t=9", 1), 401},
	} {
		if got := post(c.signature, body); got != c.want {
			t.Errorf("a signature that is %s: %d, want %d", name, got, c.want)
		}
	}
}

// The lines of the documents for queues and topics do what they say.
func TestDocumentedCommands(t *testing.T) {
	blocks := documented(t)
	e := startEmulator(t)
	var endpoint string
	c := server(t, e, nil)
	endpoint = *c.Options().BaseEndpoint
	for words, lines := range blocks {
		want, ok := strings.CutPrefix(words, "sh ")
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		lines = strings.NewReplacer("http://127.0.0.1:7100", endpoint, "http://127.0.0.1:4566", e.URL).Replace(lines)
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", lines)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION="+region, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
		out, err := cmd.CombinedOutput()
		cancel()
		_, received, _ := strings.Cut(string(out), `"Messages"`)
		if err != nil || !strings.Contains(received, want) || !strings.Contains(received, "aws.chime") {
			t.Errorf("%s: %v\n%s", words, err, out)
		}
	}
}
