package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/coder/websocket"

	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// logged is a log that a test reads while the server writes.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func settings(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.TURNListen, cfg.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.TURN, cfg.RequestRate = "always", 0
	cfg.Shedding = "off" // nobody is sent away because the machine is slow
	return cfg
}

func start(t *testing.T, cfg config.Config, log io.Writer) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg, observe.NewLogger(log, "debug", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopServer(t, s) })
	return s
}

func stopServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Shutdown(kit.Within(t)); err != nil {
		t.Error(err)
	}
}

func sdk(t *testing.T, s *Server) *chimesdkmeetings.Client {
	t.Helper()
	idle := &http.Transport{}
	t.Cleanup(idle.CloseIdleConnections)
	return chimesdkmeetings.New(chimesdkmeetings.Options{
		BaseEndpoint: aws.String(s.URL()), Region: "us-east-1", HTTPClient: &http.Client{Transport: idle},
		Credentials: credentials.NewStaticCredentialsProvider(s.key.ID, s.key.Secret.Reveal(), ""),
	})
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return http.StatusText(r.StatusCode) + "\n" + string(body)
}

// populate makes a meeting with an attendee.
func populate(t *testing.T, s *Server) (meetingID, signalingURL string, token meeting.Secret) {
	t.Helper()
	client := sdk(t, s)
	m, err := client.CreateMeeting(t.Context(), &chimesdkmeetings.CreateMeetingInput{
		ClientRequestToken: aws.String("room"), ExternalMeetingId: aws.String("room"), MediaRegion: aws.String("us-east-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.CreateAttendee(t.Context(), &chimesdkmeetings.CreateAttendeeInput{
		MeetingId: m.Meeting.MeetingId, ExternalUserId: aws.String("ann"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *m.Meeting.MeetingId, *m.Meeting.MediaPlacement.SignalingUrl, meeting.Secret(*a.Attendee.JoinToken)
}

func dial(t *testing.T, url, token string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), url+"?X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1",
		&websocket.DialOptions{Subprotocols: []string{"_aws_wt_session", token}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// State, the generated key pair and join tokens are there after a restart.
func TestRestartKeepsState(t *testing.T) {
	cfg := settings(t)
	first := start(t, cfg, io.Discard)
	id, _, token := populate(t, first)
	key := first.key
	stopServer(t, first)

	second := start(t, cfg, io.Discard)
	if second.key.ID != key.ID || second.key.Secret != key.Secret {
		t.Error("the restart made another key pair")
	}
	page, err := sdk(t, second).ListAttendees(t.Context(), &chimesdkmeetings.ListAttendeesInput{MeetingId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Attendees) != 1 || *page.Attendees[0].JoinToken != token.Reveal() {
		t.Errorf("the attendee is not what it was: %d of them", len(page.Attendees))
	}
}

// Every client that is connected is told of the end, by the code that makes it
// come back to the next server.
func TestCloseTellsClients(t *testing.T) {
	s := start(t, settings(t), io.Discard)
	_, url, token := populate(t, s)
	c := dial(t, url, token.Reveal())
	told := make(chan websocket.StatusCode, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		told <- websocket.CloseStatus(err)
	}()
	stopServer(t, s)
	select {
	case code := <-told:
		if code != 4503 {
			t.Errorf("the socket was closed with %d, want 4503", code)
		}
	case <-time.After(kit.Patience):
		t.Error("the client was not told")
	}
}

// Nothing that lets someone in is found in what an operator reads or a visitor
// gets, at the most talkative level, after good and bad use of it.
func TestSecretsStaySecret(t *testing.T) {
	var log logged
	s := start(t, settings(t), &log)
	id, url, token := populate(t, s)

	dial(t, url, token.Reveal()).CloseNow()
	dial(t, url, "forged-"+token.Reveal()).CloseNow()
	wrong := sdk(t, s)
	if _, err := wrong.GetMeeting(t.Context(), &chimesdkmeetings.GetMeetingInput{MeetingId: aws.String(token.Reveal())}); err == nil {
		t.Error("a token is no meeting id")
	}
	var password string
	for _, given := range []string{token.Reveal(), "forged"} {
		req, err := http.NewRequest(http.MethodPost, s.URL()+"/v2/turn_sessions", strings.NewReader(`{"meetingId":"`+id+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Chime-Auth-Token", "_aws_wt_session="+given)
		r, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if _, after, ok := strings.Cut(string(body), `"password":"`); ok {
			password, _, _ = strings.Cut(after, `"`)
		}
	}
	if password == "" {
		t.Error("no TURN password was handed out")
	}
	seen := map[string]string{
		"metrics": get(t, s.URL()+"/metrics"), "page": get(t, s.URL()+"/meet/"), "health": get(t, s.URL()+"/healthz"),
		"an unknown path": get(t, s.URL()+"/"+token.Reveal()[:8]),
	}
	stopServer(t, s)
	seen["log"] = log.String()
	if !strings.Contains(seen["log"], "GetMeeting") {
		t.Error("the log has no line for a request")
	}
	for where, text := range seen {
		for what, secret := range map[string]string{"secret access key": s.key.Secret.Reveal(), "join token": token.Reveal(), "TURN password": password} {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("the %s is in %s", what, where)
			}
		}
	}
}

// A port or directory that cannot be had is told with the setting to change, and
// what had been started is stopped again.
func TestStartRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		change     func(*config.Config)
	}{
		{"listen", "BELFRY_LISTEN", func(c *config.Config) { c.Listen = taken.Addr().String() }},
		{"media", "BELFRY_MEDIA_LISTEN", func(c *config.Config) { c.MediaListen = "192.0.2.1:7100" }},
		{"data", "data_dir", func(c *config.Config) { c.DataDir = filepath.Join(file, "below") }},
		{"relay everywhere", "turn_advertise", func(c *config.Config) { c.Listen, c.TURNListen = "0.0.0.0:0", "" }},
		{"store", "NATS", func(c *config.Config) { c.StoreURL = "nats://user:hunter2%zz@127.0.0.1:1" }},
		{"advertise", "media_advertise", func(c *config.Config) { c.MediaAdvertise = []string{"meet.example.org"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, log := settings(t), &logged{}
			c.change(&cfg)
			s, err := Start(t.Context(), cfg, observe.NewLogger(log, "warn", "text"))
			if err == nil {
				stopServer(t, s)
				t.Fatal("it started")
			}
			if log.String() != "" {
				t.Errorf("beside the refusal it said: %s", log)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not name %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells a password: %v", err)
			}
		})
	}
}

// The page lets anyone create meetings, so it is off where others can come.
func TestPageIsOffInPublic(t *testing.T) {
	cfg := settings(t)
	cfg.PublicURL = "https://meet.example.org"
	s := start(t, cfg, io.Discard)
	if got := get(t, s.selfURL()+"/meet/"); strings.HasPrefix(got, "OK\n") {
		t.Errorf("the page is served: %.80s", got)
	}
	if got := get(t, start(t, settings(t), io.Discard).URL()+"/meet/"); !strings.HasPrefix(got, "OK\n") {
		t.Errorf("the page is not served on loopback: %.80s", got)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	s := start(t, settings(t), io.Discard)
	if got := get(t, s.URL()+"/healthz"); got != "OK\nok\n" {
		t.Errorf("health says %q", got)
	}
	populate(t, s)
	text := get(t, s.URL()+"/metrics")
	for _, name := range []string{"belfry_media_packets_in_total", "belfry_turn_allocations", "belfry_api_", "belfry_signaling_", "process_cpu_seconds_total"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("there is no metric %s", name)
		}
	}
}
