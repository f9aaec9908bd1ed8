package ingest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"belfry/internal/meeting"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// tokenOf makes a join token that only its form speaks for.
func tokenOf(n int) meeting.Secret {
	return meeting.Secret(base64.RawStdEncoding.EncodeToString(fmt.Appendf(nil, "00000000-0000-4000-8000-%012d:00000000-0000-4000-8000-000000000001", n)))
}

// idOf is the n-th of the ids of meetings or attendees.
func idOf(n int) string { return fmt.Sprintf("10000000-0000-4000-8000-%012d", n) }

// nobodys has the form of a join token, and nobody has it.
var nobodys = tokenOf(0).Reveal()

// fakeAuth knows the attendees by their tokens.
type fakeAuth map[string]meeting.Identity

func (f fakeAuth) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	if who, ok := f[token.Reveal()]; ok {
		return who, nil
	}
	if token == tokenWhileAway {
		return meeting.Identity{}, errors.New("the store is away")
	}
	return meeting.Identity{}, meeting.Errorf(meeting.CodeForbidden, "no")
}

// tokenWhileAway is one that cannot be looked up.
const tokenWhileAway = "away"

// one knows attendee 7 of meeting 1 by a token.
func one(token string) fakeAuth {
	return fakeAuth{token: {Meeting: &meeting.Meeting{ID: idOf(1), ExternalMeetingID: "room 1"}, Attendee: &meeting.Attendee{ID: idOf(7), MeetingID: idOf(1)}}}
}

func TestPosts(t *testing.T) {
	const events = `"events":[{"type":"Meet","v":1,"payloads":[{"name":"meetingStartSucceeded","ts":1},{"name":"odd name"}]}]`
	for name, test := range map[string]struct {
		method, token, body string
		want                int
		counted             float64
	}{
		"header":       {"POST", "Bearer good", `{"metadata":{},` + events + `}`, 200, 1},
		"beacon":       {"POST", "", `{"authorization":"good",` + events + `}`, 200, 1},
		"content":      {"POST", "Bearer good#content", `{` + events + `}`, 200, 1},
		"after end":    {"POST", "Bearer " + nobodys, `{` + events + `}`, 200, 0},
		"no token":     {"POST", "", `{` + events + `}`, 403, 0},
		"bad token":    {"POST", "Bearer bad", `{` + events + `}`, 403, 0},
		"store away":   {"POST", "Bearer " + tokenWhileAway, `{` + events + `}`, 503, 0},
		"not JSON":     {"POST", "Bearer good", `x`, 400, 0},
		"wrong type":   {"POST", "Bearer good", `{"events":7}`, 400, 0},
		"too large":    {"POST", "Bearer good", `{"x":"` + strings.Repeat("y", maxBody) + `"}`, 413, 0},
		"preflight":    {"OPTIONS", "", "", 204, 0},
		"wrong method": {"GET", "", "", 405, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := New(one("good"), nil, prometheus.NewRegistry())
			r := httptest.NewRequest(test.method, "/v1/client-events", strings.NewReader(test.body))
			if test.token != "" {
				r.Header.Set("Authorization", test.token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.want || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			refused := 0.0
			if test.want >= 400 {
				refused = 1
			}
			if got := testutil.ToFloat64(h.refused.WithLabelValues(strconv.Itoa(test.want))); got != refused {
				t.Errorf("%v refusals were counted, want %v", got, refused)
			}
			if w.Code != 204 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("the body is not JSON: %q", w.Body)
			}
			if got := testutil.ToFloat64(h.events.WithLabelValues("meetingStartSucceeded")); got != test.counted {
				t.Errorf("counted %v, want %v", got, test.counted)
			}
			if got := testutil.ToFloat64(h.events.WithLabelValues("other")); got != test.counted {
				t.Errorf("other counted %v, want %v", got, test.counted)
			}
		})
	}
}

func TestNamesAreBounded(t *testing.T) {
	h := New(one("good"), nil, prometheus.NewRegistry())
	for i := range 10 * maxNames {
		h.label(fmt.Sprintf("name%d", i))
	}
	if len(h.names) != maxNames {
		t.Errorf("keeps %d names, want %d", len(h.names), maxNames)
	}
}

// A body that does not come ends the request, not only its connection's patience.
func TestSlowBody(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	New(one("good"), nil, prometheus.NewRegistry()).ServeHTTP(w, httptest.NewRequest("POST", "/v1/client-events", strings.NewReader("{}")))
	if left := time.Until(w.read); left <= 0 || left > bodyTime {
		t.Errorf("the body may take %v", left)
	}
}

type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = at
	return nil
}
