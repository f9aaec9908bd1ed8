package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/notify"
	"belfry/internal/store/memory"
)

// Dead letters are listed and replayed from outside the process of the server.
func TestDeadLettersByCommand(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer hook.Close()
	store := memory.New()
	err := store.Update(t.Context(), func(tx meeting.Tx) error {
		for range 3 {
			tx.PutDeadLetter(meeting.DeadLetter{Target: meeting.Target{Kind: meeting.TargetWebhook, Address: hook.URL}, At: time.Now(),
				Reason: "it was away", Event: meeting.Event{ID: "id", Number: 4, Type: meeting.EventMeetingEnded, At: time.Now(), MeetingID: "m"}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := notify.Start(t.Context(), notify.Config{Store: store, Senders: map[meeting.TargetKind]notify.Sender{
		meeting.TargetWebhook: notify.Webhooks{URLs: []string{hook.URL}, Secret: "s"}.Sender()}})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "b") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(controlSocket(dir), nil, 0o600); err != nil { // left by a killed server
		t.Fatal(err)
	}
	s := &Server{cfg: config.Config{DataDir: dir}, logger: slog.New(slog.DiscardHandler)}
	s.started("events", n.Close)
	s.startControl(deadLetterCommands(n))
	said := func(fn func(out *strings.Builder) error) string {
		var out strings.Builder
		if err := fn(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	replay := func(which ...string) string {
		return said(func(out *strings.Builder) error { return ReplayDeadLetters(context.Background(), dir, which, out) })
	}
	list := said(func(out *strings.Builder) error { return DeadLetters(context.Background(), dir, out) })
	if !strings.Contains(list, "3 dead letters\n") || strings.Count(list, "it was away") != 3 || !strings.Contains(list, "chime:MeetingEnded") {
		t.Errorf("the list is %q", list)
	}
	if got := replay("1", "9", "x"); got != "1: the webhook answered 418\n9: there is no such dead letter\n\"x\" is not the number of a dead letter\n0 sent, 3 not\n" {
		t.Errorf("replaying to one that refuses: %q", got)
	}
	refuse.Store(false)
	if got := replay("2"); got != "1 sent, 0 not\n" {
		t.Errorf("replaying one: %q", got)
	}
	if got := replay("all"); got != "2 sent, 0 not\n" {
		t.Errorf("replaying all: %q", got)
	}
	if list := said(func(out *strings.Builder) error { return DeadLetters(context.Background(), dir, out) }); list != "0 dead letters\n" {
		t.Errorf("left: %q", list)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := DeadLetters(context.Background(), dir, &strings.Builder{}); err == nil {
		t.Error("a server that ended answers")
	}
}
