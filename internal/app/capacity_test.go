package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"belfry/internal/control"
)

// While the server is full nobody comes in and no meeting is made, anywhere it is
// told why, and what is there goes on.
func TestFullServer(t *testing.T) {
	cfg := withCommands(t)
	cfg.Shedding = "on"
	var log logged
	s := start(t, cfg, &log)
	_, url, token := populate(t, s)
	capacity := func(command func(out io.Writer) error) string {
		t.Helper()
		return told(t, command)
	}
	show := func() string {
		return capacity(func(out io.Writer) error { return control.ShowCapacity(t.Context(), cfg.DataDir, out) })
	}
	hold := func(level string) string {
		return capacity(func(out io.Writer) error { return control.HoldCapacity(t.Context(), cfg.DataDir, level, out) })
	}
	if got := show(); !strings.Contains(got, "as measured") || !strings.Contains(got, "of the processors") {
		t.Errorf("it says %q", got)
	}
	if got := hold("full"); !strings.HasPrefix(got, "full: cameras are paused, and who comes new is told to try again (held, since") {
		t.Errorf("it says %q", got)
	}
	if got := get(t, s.URL()+"/readyz"); got != "Service Unavailable\nthe server is full\n" {
		t.Errorf("ready: %q", got)
	}
	if got := get(t, s.URL()+"/healthz"); got != "OK\nok\n" {
		t.Errorf("healthy: %q", got)
	}
	if got := get(t, s.URL()+"/metrics"); !strings.Contains(got, "\nbelfry_capacity_level 3\n") || !strings.Contains(got, "\nbelfry_capacity_changes_total 1\n") {
		t.Error("the metrics do not tell")
	}
	if !strings.Contains(log.String(), "the server is full and leaves out more") {
		t.Error("the log does not tell")
	}
	c := sdk(t, s)
	if got := errorName(askForMeeting(t.Context(), c, "another", once(s, ""))); got != "ServiceUnavailableException" {
		t.Errorf("a new meeting: %q", got)
	}
	if err := askForMeeting(t.Context(), c, "room", once(s, "")); err != nil {
		t.Errorf("the meeting that is there: %v", err)
	}
	_, res, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"_aws_wt_session", token.Reveal()}})
	if err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("who comes new: %v", err)
	}
	if err := control.HoldCapacity(t.Context(), cfg.DataDir, "bursting", io.Discard); err == nil || !strings.Contains(err.Error(), "no-camera") {
		t.Errorf("a level that there is not: %v", err)
	}
	capacity(func(out io.Writer) error { return control.ReleaseCapacity(t.Context(), cfg.DataDir, out) })
	hold("free") // a machine that is full indeed would refuse
	_ = dial(t, url, token.Reveal()).CloseNow()
	if err := askForMeeting(t.Context(), c, "another", once(s, "")); err != nil {
		t.Error(err)
	}
}

func TestSheddingCanBeOff(t *testing.T) {
	cfg := withCommands(t)
	start(t, cfg, io.Discard)
	if got := told(t, func(out io.Writer) error { return control.ShowCapacity(t.Context(), cfg.DataDir, out) }); !strings.Contains(got, "free: nothing is left out (shedding is off") {
		t.Errorf("it says %q", got)
	}
}
