package observe

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"belfry/internal/meeting"
)

func TestHealthFollowsReadiness(t *testing.T) {
	var h Health
	for _, step := range []struct {
		ready bool
		want  int
	}{{false, 503}, {true, 200}, {false, 503}} {
		h.SetReady(step.ready)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		if w.Code != step.want {
			t.Errorf("ready=%v: got %d, want %d", step.ready, w.Code, step.want)
		}
	}
}

func TestHealthTellsTrouble(t *testing.T) {
	trouble := ""
	h := Health{Trouble: func() string { return trouble }}
	h.SetReady(true)
	for _, step := range []struct {
		trouble string
		code    int
		body    string
	}{{"", 200, "ok\n"}, {"the disk is full", 503, "the disk is full\n"}, {"", 200, "ok\n"}} {
		trouble = step.trouble
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		if w.Code != step.code || w.Body.String() != step.body {
			t.Errorf("trouble %q: got %d %q, want %d %q", step.trouble, w.Code, w.Body, step.code, step.body)
		}
	}
}

func TestFiguresAreExposed(t *testing.T) {
	r := NewRegistry()
	Register(r, Figure{Name: "packets_total", Help: "Packets.", Value: func() float64 { return 7 }},
		Figure{Name: "rooms", Help: "Rooms.", Gauge: true, Value: func() float64 { return 3 }})
	w := httptest.NewRecorder()
	MetricsHandler(r).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"belfry_packets_total 7", "# TYPE belfry_packets_total counter", "belfry_rooms 3", "# TYPE belfry_rooms gauge", "go_goroutines"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

func TestSecretsDoNotReachTheLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		attendee := &meeting.Attendee{ID: "a", JoinToken: "the-token"}
		NewLogger(&out, "debug", format).Debug("joined", "attendee", attendee, "token", attendee.JoinToken, slog.Any("value", *attendee))
		if strings.Contains(out.String(), "the-token") || !strings.Contains(out.String(), "redacted") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

func TestReadyTellsFull(t *testing.T) {
	full := ""
	h := Health{Full: func() string { return full }}
	for _, step := range []struct {
		ready       bool
		full        string
		code, alive int
	}{{false, "full", 503, 503}, {true, "", 200, 200}, {true, "full", 503, 200}, {true, "", 200, 200}} {
		h.SetReady(step.ready)
		full = step.full
		ready, alive := httptest.NewRecorder(), httptest.NewRecorder()
		h.Ready(ready, httptest.NewRequest("GET", "/readyz", nil))
		h.ServeHTTP(alive, httptest.NewRequest("GET", "/healthz", nil))
		if ready.Code != step.code || alive.Code != step.alive {
			t.Errorf("%+v: ready %d, alive %d", step, ready.Code, alive.Code)
		}
		if step.ready && step.full != "" && ready.Body.String() != "full\n" {
			t.Errorf("%q", ready.Body)
		}
	}
}
