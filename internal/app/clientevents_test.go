package app

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"

	"belfry/internal/control"
	"belfry/internal/meeting"
)

func report(t *testing.T, s *Server, token meeting.Secret, payload string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL()+"/v1/client-events",
		strings.NewReader(`{"metadata":{"browserName":"Firefox","browserVersion":"1","osName":"Hurd","sdkVersion":"3"},"events":[{"type":"Meet","payloads":[`+payload+`]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	r, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("got %s", r.Status)
	}
}

// What clients report is read while the server runs, also what comes after the
// meeting's end, and when it does not.
func TestClientEventsByCommand(t *testing.T) {
	cfg := settings(t)
	dir, err := os.MkdirTemp("", "b") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg.DataDir = dir
	s := start(t, cfg, io.Discard)
	id, _, token := populate(t, s)
	report(t, s, token, `{"name":"meetingFailed","ts":1,"why":"a \u001b[31mred\u009b word","n":3}`)
	if _, err := sdk(t, s).DeleteMeeting(t.Context(), &chimesdkmeetings.DeleteMeetingInput{MeetingId: &id}); err != nil {
		t.Fatal(err)
	}
	report(t, s, token, `{"name":"meetingEnded"},{"name":"meetingEnded"}`)

	said := func(q control.ClientEventsQuery) string {
		t.Helper()
		var out strings.Builder
		if err := control.ListClientEvents(context.Background(), dir, q, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, state := range []string{"runs", "is stopped"} {
		list := said(control.ClientEventsQuery{})
		if !strings.Contains(list, id) || !strings.Contains(list, "\n3 events of 1 meetings\n") || strings.Count(list, "\n") != 3 {
			t.Errorf("the server %s: the list is %q", state, list)
		}
		events := said(control.ClientEventsQuery{Meeting: strings.ToUpper(id)})
		for _, want := range []string{`meetingFailed  n=3 why="a \x1b[31mred\u009b word"  (Firefox 1, Hurd, SDK 3)`, "  meetingEnded  late  (Firefox", "3 events of 1 meetings\n"} {
			if !strings.Contains(events, want) {
				t.Errorf("the server %s: the events lack %q: %q", state, want, events)
			}
		}
		if got := said(control.ClientEventsQuery{Meeting: "all", Name: "meetingFailed", Since: time.Hour, JSON: true}); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"ts":1,"attributes":{`) {
			t.Errorf("the server %s: as JSON %q", state, got)
		}
		if got := said(control.ClientEventsQuery{Attendee: "nobody"}); !strings.Contains(got, "0 events of 0 meetings") {
			t.Errorf("the server %s: of nobody %q", state, got)
		}
		stopServer(t, s)
	}
}

func TestNoClientEventsAreKept(t *testing.T) {
	cfg := settings(t)
	cfg.ClientEvents = 0
	s := start(t, cfg, io.Discard)
	_, _, token := populate(t, s)
	report(t, s, token, `{"name":"meetingFailed"}`)
	if _, err := os.Stat(control.ClientEventsDir(cfg.DataDir)); err == nil {
		t.Error("there is a directory for what is not kept")
	}
	if text := get(t, s.URL()+"/metrics"); !strings.Contains(text, `belfry_client_events_total{name="meetingFailed"} 1`) {
		t.Error("the event is not counted")
	}
}
