// Package life takes meetings through their life with people in them: real
// signaling, real media, the API, and a webhook that counts what is told. The
// server is a process of its own where it is to be killed.
package life

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/test/kit"
)

// dirVariable holds the data directory of a process that is the server.
const dirVariable = "BELFRY_LIFE_DIR"

func TestMain(m *testing.M) {
	if os.Getenv(dirVariable) == "" {
		kit.Main(m)
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is the process to be killed. Its settings come in the usual variables.
func serve() error {
	cfg := settings(os.Getenv(dirVariable), os.Getenv("BELFRY_EVENT_WEBHOOKS"))
	if text := os.Getenv("BELFRY_MEETING_MAX_DURATION"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		cfg.MeetingMaxDuration = d
	}
	s, err := app.Start(context.Background(), cfg, observe.NewLogger(os.Stderr, "warn", "text"))
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // until nobody listens
	return s.Close()
}

const keyID, secretKey = "AKIDLIFE", "life/secret+key"

func settings(dir, webhook string) config.Config {
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.TURN = "127.0.0.1:0", dir, "never"
	cfg.AccessKeyID, cfg.SecretAccessKey = keyID, secretKey
	cfg.EventWebhooks, cfg.EventWebhookSecret = []string{webhook}, "told"
	cfg.RequestRate, cfg.ActiveMeetings = 0, 0
	return cfg
}

const patience = kit.Patience

var (
	eventually = kit.Eventually
	within     = kit.Within
)

// inProcess starts a server here.
func inProcess(t testing.TB, webhook string, change func(*config.Config)) *meetings.Client {
	t.Helper()
	cfg := settings(t.TempDir(), webhook)
	if change != nil {
		change(&cfg)
	}
	s, err := app.Start(t.Context(), cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(kit.Within(t)); err != nil {
			t.Error(err)
		}
	})
	return client(t, s.URL())
}

func client(t testing.TB, url string) *meetings.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return meetings.New(meetings.Options{
		BaseEndpoint: &url, Region: "us-east-1", RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Timeout: patience, Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(keyID, secretKey, ""),
	})
}

// process is a server in a process of its own, on one data directory however
// often it is started, and on another free port each time: what was free a moment
// ago may be somebody else's.
type process struct {
	*kit.Process
	t   testing.TB
	env []string
	url string // since the last start
}

func newProcess(t testing.TB, webhook string, env ...string) *process {
	t.Helper()
	return &process{t: t, env: append(env, dirVariable+"="+t.TempDir(), "BELFRY_EVENT_WEBHOOKS="+webhook)}
}

func (p *process) start() {
	p.t.Helper()
	p.Process = kit.Start(p.t, p.env...)
	p.url = p.Said
}

// told is a webhook that keeps what it is told, each event once and in order.
type told struct {
	url string
	mu  sync.Mutex
	got map[string][]event // by meeting
	ids map[string]bool
	bad []string
}

type event struct {
	ID     string `json:"id"`
	Number int
	Detail struct {
		EventType      string `json:"eventType"`
		Timestamp      int64  `json:"timestamp"`
		MeetingID      string `json:"meetingId"`
		AttendeeID     string `json:"attendeeId"`
		ExternalUserID string `json:"externalUserId"`
		NetworkType    string `json:"networkType"`
	} `json:"detail"`
}

func listen(t testing.TB) *told {
	w := &told{got: map[string][]event{}, ids: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e event
		err := json.NewDecoder(r.Body).Decode(&e)
		e.Number, _ = strconv.Atoi(r.Header.Get("Belfry-Event-Number"))
		w.mu.Lock()
		defer w.mu.Unlock()
		switch list := w.got[e.Detail.MeetingID]; {
		case err != nil || e.ID == "":
			w.bad = append(w.bad, fmt.Sprint("not an event: ", err))
		case w.ids[e.ID]: // again, as may be
		case e.Number != len(list)+1:
			w.bad = append(w.bad, fmt.Sprintf("%s: number %d after %d events", e.Detail.MeetingID, e.Number, len(list)))
		default:
			w.ids[e.ID] = true
			w.got[e.Detail.MeetingID] = append(list, e)
		}
	}))
	w.url = s.URL
	t.Cleanup(s.Close)
	return w
}

// of lists what was told of a meeting.
func (w *told) of(meetingID string) []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got[meetingID])
}

func (w *told) has(meetingID, short string) bool {
	return slices.ContainsFunc(w.of(meetingID), func(e event) bool { return e.short() == short })
}

// short is an event in words: "Joined alice Voip", with a * for a content share.
func (e event) short() string {
	words := []string{strings.TrimPrefix(strings.TrimPrefix(e.Detail.EventType, "chime:"), "Attendee")}
	if e.Detail.ExternalUserID != "" {
		name := e.Detail.ExternalUserID
		if strings.HasSuffix(e.Detail.AttendeeID, meeting.ContentSuffix) {
			name += "*"
		}
		words = append(words, name)
	}
	return strings.TrimSpace(strings.Join(append(words, e.Detail.NetworkType), " "))
}

// await waits for the events that a meeting must have in all, in their order.
func (w *told) await(t *testing.T, meetingID string, want ...string) []event {
	t.Helper()
	var got []string
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		over := time.Now().After(end)
		got = nil
		for _, e := range w.of(meetingID) {
			got = append(got, e.short())
		}
		if slices.Equal(got, want) {
			return w.of(meetingID)
		}
		// More than is wanted, or something else, is not waited for.
		if len(got) >= len(want) || !slices.Equal(got, want[:len(got)]) || over {
			t.Fatalf("told:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
}

// inTurns checks that everybody joins and ends in turns, video likewise, that
// the meeting ends at most once, and that nothing is told after its end.
func inTurns(t *testing.T, list []event, ended bool) {
	t.Helper()
	on := map[string]bool{}
	var said []string
	for i, e := range list {
		said = append(said, e.short())
		kind := strings.NewReplacer("chime:Attendee", "", "Content", "").Replace(e.Detail.EventType)
		who := e.Detail.AttendeeID
		begins, ends := "", ""
		switch kind {
		case "Joined":
			begins = who
		case "Left", "Dropped":
			ends = who
			if on["video "+who] {
				t.Errorf("the video of %s does not end before it", e.short())
			}
		case "VideoStarted":
			begins = "video " + who
			if !on[who] {
				t.Errorf("%s before it joined", e.short())
			}
		case "VideoStopped":
			ends = "video " + who
		case "chime:MeetingEnded":
			if i != len(list)-1 {
				t.Errorf("after the end of the meeting comes %s", list[i+1].short())
			}
			if !ended {
				t.Error("the meeting ended")
			}
			ended = false
		}
		if begins != "" && on[begins] || ends != "" && !on[ends] {
			t.Errorf("%s out of turn", e.short())
		}
		if begins != "" {
			on[begins] = true
		}
		delete(on, ends)
	}
	if ended {
		t.Error("the meeting did not end")
	}
	if n := len(list); n > 0 && strings.HasSuffix(list[n-1].Detail.EventType, "MeetingEnded") && len(on) > 0 {
		t.Errorf("at the end of the meeting there are still %v", on)
	}
	if t.Failed() {
		t.Logf("told:\n  %s", strings.Join(said, "\n  "))
	}
}

func create(t testing.TB, c *meetings.Client, primary string) *types.Meeting {
	t.Helper()
	in := &meetings.CreateMeetingInput{ClientRequestToken: aws.String(rand.Text()),
		ExternalMeetingId: aws.String("life"), MediaRegion: aws.String("us-east-1")}
	if primary != "" {
		in.PrimaryMeetingId = &primary
	}
	out, err := c.CreateMeeting(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out.Meeting
}

// again is a meeting as the server tells of it now: where a meeting is changes
// with the address of the server.
func again(t testing.TB, c *meetings.Client, m *types.Meeting) *types.Meeting {
	t.Helper()
	out, err := c.GetMeeting(t.Context(), &meetings.GetMeetingInput{MeetingId: m.MeetingId})
	if err != nil {
		t.Fatal(err)
	}
	return out.Meeting
}

func attendee(t testing.TB, c *meetings.Client, m *types.Meeting, name string) *types.Attendee {
	t.Helper()
	out, err := c.CreateAttendee(t.Context(), &meetings.CreateAttendeeInput{MeetingId: m.MeetingId, ExternalUserId: &name})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attendee
}

func remove(t testing.TB, c *meetings.Client, m *types.Meeting) {
	t.Helper()
	if _, err := c.DeleteMeeting(t.Context(), &meetings.DeleteMeetingInput{MeetingId: m.MeetingId}); err != nil {
		t.Fatal(err)
	}
}

// gone reports whether GetMeeting answers 404.
func gone(t testing.TB, c *meetings.Client, id string) bool {
	t.Helper()
	_, err := c.GetMeeting(t.Context(), &meetings.GetMeetingInput{MeetingId: &id})
	var missing *types.NotFoundException
	if err != nil && !errors.As(err, &missing) {
		t.Fatal(err)
	}
	return err != nil
}
