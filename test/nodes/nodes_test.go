// Package nodes runs several servers, in processes of their own, on one NATS
// server, and looks at what they do together.
package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	nats "github.com/nats-io/nats-server/v2/server"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/test/kit"
)

const (
	region       = "us-east-1"
	storeOfNode  = "BELFRY_TEST_NODE_STORE" // set: this process is a node
	hookOfNode   = "BELFRY_TEST_NODE_HOOK"
	eventsOfEach = 3 // of a meeting that is made by life
)

func TestMain(m *testing.M) {
	if os.Getenv(storeOfNode) == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is a node until its standard input ends.
func serve() error {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.Page, cfg.TURN, cfg.TURNListen = "127.0.0.1:0", dir, "off", "never", "127.0.0.1:0"
	cfg.AccessKeyID, cfg.SecretAccessKey, cfg.RequestRate = "key", "secret", 0
	cfg.StoreURL = meeting.Secret(os.Getenv(storeOfNode))
	cfg.EventWebhooks, cfg.EventWebhookSecret = []string{os.Getenv(hookOfNode)}, "shared"
	s, err := app.Start(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

type node struct {
	*kit.Process
	url string
	api *meetings.Client
}

func start(t *testing.T, store, hook string) *node {
	t.Helper()
	n := &node{Process: kit.Start(t, storeOfNode+"="+store, hookOfNode+"="+hook)}
	n.url = n.Said
	n.api = meetings.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &n.url,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	return n
}

// delivers reports whether it is this node that delivers events.
func (n *node) delivers(t *testing.T) bool {
	t.Helper()
	res, err := http.Get(n.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "\nbelfry_events_delivering 1\n")
}

// life makes a meeting with an attendee and deletes it.
func (n *node) life(t *testing.T, token string) (meetingID string) {
	t.Helper()
	m, err := n.api.CreateMeeting(t.Context(), &meetings.CreateMeetingInput{ClientRequestToken: &token, MediaRegion: aws.String(region), ExternalMeetingId: &token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = n.api.CreateAttendee(t.Context(), &meetings.CreateAttendeeInput{MeetingId: m.Meeting.MeetingId, ExternalUserId: aws.String("user")}); err != nil {
		t.Fatal(err)
	}
	if _, err = n.api.DeleteMeeting(t.Context(), &meetings.DeleteMeetingInput{MeetingId: m.Meeting.MeetingId}); err != nil {
		t.Fatal(err)
	}
	return *m.Meeting.MeetingId
}

// hook takes events.
type hook struct {
	mu    sync.Mutex
	ids   map[string]bool
	order map[string][]string // of meetings, without what came again
	again int
}

func (h *hook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e struct {
		ID     string
		Detail struct{ EventType, MeetingID string }
	}
	if json.NewDecoder(r.Body).Decode(&e) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids[e.ID] {
		h.again++
		return
	}
	h.ids[e.ID] = true
	h.order[e.Detail.MeetingID] = append(h.order[e.Detail.MeetingID], strings.TrimPrefix(e.Detail.EventType, "chime:"))
}

func (h *hook) await(t *testing.T, events int) (again int) {
	t.Helper()
	kit.EventuallyNone(t, func() string {
		h.mu.Lock()
		defer h.mu.Unlock()
		again = h.again
		if have := len(h.ids); have < events {
			return fmt.Sprintf("%d events: %d came", events, have)
		}
		return ""
	})
	return again
}

// oneDelivers waits for a node that says it delivers: between two leases none does.
func oneDelivers(t *testing.T, nodes ...*node) (one *node) {
	t.Helper()
	kit.Eventually(t, fmt.Sprintf("one of %d nodes that says that it delivers", len(nodes)), func() bool {
		i := slices.IndexFunc(nodes, func(n *node) bool { return n.delivers(t) })
		if i >= 0 {
			one = nodes[i]
		}
		return one != nil
	})
	return one
}

// TestOneNodeDelivers has two nodes make meetings while one of them, or the other
// after it was killed, delivers for both.
func TestOneNodeDelivers(t *testing.T) {
	srv, err := nats.NewServer(&nats.Options{Host: "127.0.0.1", Port: nats.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(kit.Patience) {
		t.Fatal("the NATS server did not start")
	}
	h := &hook{ids: map[string]bool{}, order: map[string][]string{}}
	door := httptest.NewServer(h)
	t.Cleanup(door.Close)

	a, b := start(t, srv.ClientURL(), door.URL), start(t, srv.ClientURL(), door.URL)
	due := 0
	made := func(n *node, count int) {
		for range count {
			n.life(t, fmt.Sprint("token", due))
			due += eventsOfEach
		}
	}
	made(a, 10)
	made(b, 10)
	again := h.await(t, due)
	if again > due/2 {
		t.Errorf("of %d events %d came again: both nodes deliver", due, again)
	}
	owner := oneDelivers(t, a, b)
	other := a
	if owner == a {
		other = b
	}
	// Events are under way when it is killed.
	made(other, 10)
	owner.Kill()
	killed := time.Now()
	made(other, 10)
	again = h.await(t, due)
	t.Logf("%d events, %d of them again, all there %v after the kill", due, again, time.Since(killed).Round(time.Millisecond))
	oneDelivers(t, other)
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, got := range h.order {
		if want := "MeetingStarted AttendeeAdded MeetingEnded"; strings.Join(got, " ") != want {
			t.Errorf("meeting %s: %v, want %s", id, got, want)
		}
	}
}
