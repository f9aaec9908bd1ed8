package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/account"
	"belfry/internal/meeting"
	"belfry/internal/store/memory"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

var (
	testKey  = account.Key{ID: "AKIDEXAMPLE", Secret: "wJalrXUtnFEMIexample", Account: "111122223333"}
	otherKey = account.Key{ID: "AKIDOTHER", Secret: "otherSecretExample", Account: "444455556666"}
)

// server is a Handler over the real domain and a store in memory, behind a real
// HTTP server.
type server struct {
	t       testing.TB
	url     string
	opt     Options
	handler http.Handler
	service *meeting.Service
	metrics *prometheus.Registry
	log     *syncBuffer
	client  *http.Client
}

// ring is a keyring that was given some keys.
func ring(t testing.TB, store meeting.Store, keys ...account.Key) account.Keyring {
	t.Helper()
	var given []account.Given
	for _, k := range keys {
		given = append(given, account.Given{Key: k, From: account.FromSettings})
	}
	book, err := account.NewBook(store, Operations(), nil, given...)
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// start serves until the test ends. change, when not nil, sets options.
func start(t testing.TB, change func(*Options)) *server {
	t.Helper()
	store := memory.New()
	t.Cleanup(func() { _ = store.Close() })
	keys := ring(t, store, testKey, otherKey)
	s := &server{t: t, service: meeting.NewService(store, meeting.ServiceOptions{}), metrics: prometheus.NewRegistry(), log: &syncBuffer{}}
	s.opt = Options{
		Meetings: s.service,
		Keys:     keys,
		Endpoints: FixedEndpoints(Endpoints{
			HTTP: "https://meet.example.org/", WS: "wss://meet.example.org/", AudioHost: "media.example.org:3478"}),
		Log:     slog.New(slog.NewTextHandler(s.log, nil)),
		Metrics: s.metrics,
	}
	if change != nil {
		change(&s.opt)
	}
	h, err := New(s.opt)
	if err != nil {
		t.Fatal(err)
	}
	s.handler = h
	web := httptest.NewServer(h)
	s.url = web.URL
	s.client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		web.Close()
	})
	return s
}

// answer is what came back, with the body as sent and as read.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// request is one signed request as the table tests write it.
type request struct {
	method, path, body string
	header             map[string]string
	host               string
	key                account.Key // zero: testKey
	unsigned           bool
}

func (s *server) do(in request) answer {
	s.t.Helper()
	r, err := http.NewRequest(in.method, s.url+in.path, strings.NewReader(in.body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range in.header {
		r.Header.Set(name, value)
	}
	if in.host != "" {
		r.Host = in.host
	}
	if !in.unsigned {
		key := in.key
		if key.ID == "" {
			key = testKey
		}
		sign(s.t, r, in.body, key)
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", in.method, in.path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", in.method, in.path, err)
	}
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if _, err := uuid.Parse(res.Header.Get("X-Amzn-RequestId")); err != nil {
		s.t.Errorf("%s %s: x-amzn-RequestId %q is not a UUID", in.method, in.path, res.Header.Get("X-Amzn-RequestId"))
	}
	if res.Header.Get("Date") == "" {
		s.t.Errorf("%s %s: no Date", in.method, in.path)
	}
	if len(raw) == 0 {
		return a
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		s.t.Errorf("%s %s: Content-Type = %q", in.method, in.path, got)
	}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		s.t.Errorf("%s %s: body is not a JSON object: %q", in.method, in.path, raw)
	}
	return a
}

func sign(t testing.TB, r *http.Request, body string, key account.Key) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret.Reveal()}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), "chime", "us-east-1", time.Now()); err != nil {
		t.Fatalf("signing: %v", err)
	}
}

// refused checks that an answer is the error, in the right form.
func (s *server) refused(a answer, status int, name string, says string) {
	s.t.Helper()
	if a.status != status || a.header.Get("X-Amzn-ErrorType") != name {
		s.t.Errorf("answered %d %s %s, want %d %s", a.status, a.header.Get("X-Amzn-ErrorType"), a.raw, status, name)
		return
	}
	message, _ := a.body["message"].(string)
	if code, modelled := a.body["Code"]; modelled {
		message, _ = a.body["Message"].(string)
		if code == "" || a.body["RequestId"] != a.header.Get("X-Amzn-RequestId") || len(a.body) != 4 {
			s.t.Errorf("body = %s", a.raw)
		}
	} else if len(a.body) != 1 {
		s.t.Errorf("body = %s", a.raw)
	}
	if message == "" || !strings.Contains(message, says) {
		s.t.Errorf("message %q does not say %q", message, says)
	}
}

// meeting makes a meeting and returns its id.
func (s *server) meeting(members string) string {
	s.t.Helper()
	if members != "" {
		members = "," + members
	}
	a := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"` + uuid.NewString() + `"` + members + `}`})
	if a.status/100 != 2 {
		s.t.Fatalf("CreateMeeting answered %d %s", a.status, a.raw)
	}
	return a.body["Meeting"].(map[string]any)["MeetingId"].(string)
}

// attendee makes an attendee and returns it.
func (s *server) attendee(meetingID, user string) map[string]any {
	s.t.Helper()
	a := s.do(request{method: "POST", path: "/meetings/" + meetingID + "/attendees", body: `{"ExternalUserId":"` + user + `"}`})
	if a.status/100 != 2 {
		s.t.Fatalf("CreateAttendee answered %d %s", a.status, a.raw)
	}
	return a.body["Attendee"].(map[string]any)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
