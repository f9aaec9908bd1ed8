package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/notify"
	"belfry/internal/store/memory"
)

// Dead letters are listed and replayed from outside the process of the server.
func TestDeadLettersByCommand(t *testing.T) {
	var refuse atomic.Bool
	var posts atomic.Int32
	refuse.Store(true)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		posts.Add(1)
		if refuse.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer hook.Close()
	store := memory.New()
	err := store.Update(t.Context(), func(tx meeting.Tx) error {
		for range 5 {
			tx.PutDeadLetter(meeting.DeadLetter{Target: meeting.Target{Kind: meeting.TargetSQS, Address: "arn:aws:sqs:us-east-1:1:gone"}, At: time.Now(),
				Reason: "no such queue", Event: meeting.Event{ID: "other", Number: 1, Type: meeting.EventMeetingStarted, At: time.Now(), MeetingID: "m2"}})
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
	if err := os.WriteFile(Socket(dir), nil, 0o600); err != nil { // left by a killed server
		t.Fatal(err)
	}
	stop, err := Serve(dir, DeadLetters(n))
	if err != nil {
		t.Fatal(err)
	}
	said := func(fn func(out *strings.Builder) error) string {
		t.Helper()
		var out strings.Builder
		err := fn(&out)
		text := out.String()
		last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]
		undone := strings.Contains(last, " not\n") && !strings.Contains(last, " 0 not\n") || strings.Contains(text, "there is no such") || strings.Contains(text, "is not the number")
		if errors.Is(err, errUndone) != undone || err != nil && !undone {
			t.Errorf("%q ends with the error %v", text, err)
		}
		return text
	}
	replay := func(which ...string) string {
		return said(func(out *strings.Builder) error {
			return ReplayDeadLetters(context.Background(), dir, which, DeadLetterFilter{}, out)
		})
	}
	hooks := DeadLetterFilter{Target: strings.TrimPrefix(hook.URL, "http://")}
	listed := func(f DeadLetterFilter, asJSON bool) string {
		return said(func(out *strings.Builder) error { return ListDeadLetters(context.Background(), dir, f, asJSON, out) })
	}
	list := listed(hooks, false)
	if !strings.Contains(list, "5 dead letters\n") || strings.Count(list, "\n") != 6 || strings.Count(list, "it was away") != 5 || !strings.Contains(list, "chime:MeetingEnded") {
		t.Errorf("the list is %q", list)
	}
	for filter, want := range map[DeadLetterFilter]string{{}: "10", {MeetingID: "M2"}: "5", {Target: "sqs"}: "5", {Target: "sqs", MeetingID: "m"}: "0"} {
		if got := listed(filter, false); !strings.HasSuffix(got, "\n"+want+" dead letters\n") && got != want+" dead letters\n" {
			t.Errorf("listed by %+v: %q, want %s", filter, got, want)
		}
	}
	for i, line := range strings.Split(strings.TrimSpace(listed(hooks, true)), "\n") {
		var d deadLetterJSON
		var event struct {
			Detail struct{ EventType, MeetingID string }
		}
		if err := errors.Join(json.Unmarshal([]byte(line), &d), json.Unmarshal(d.Event, &event)); err != nil ||
			d.Kind != "webhook" || d.Reason != "it was away" || event.Detail.EventType != "chime:MeetingEnded" || event.Detail.MeetingID != "m" {
			t.Errorf("line %d: %v: %s", i+1, err, line)
		}
	}
	// 1, 3, 5 … are of the queue, 2, 4, 6 … of the webhook.
	if got := replay("2", "99", "x"); got != "2: the webhook answered 418\n99: there is no such dead letter\n\"x\" is not the number of a dead letter\n0 sent, 3 not\n" {
		t.Errorf("replaying to one that refuses: %q", got)
	}
	posts.Store(0)
	if got := said(func(out *strings.Builder) error {
		return ReplayDeadLetters(context.Background(), dir, []string{"all"}, hooks, out)
	}); !strings.HasSuffix(got, "nothing more is sent to webhook "+hooks.Target+" now\n0 sent, 5 not\n") || posts.Load() != 3 {
		t.Errorf("replaying all to one that refuses, %d times: %q", posts.Load(), got)
	}
	refuse.Store(false)
	if got := replay("4"); got != "1 sent, 0 not\n" {
		t.Errorf("replaying one: %q", got)
	}
	if got := replay("all"); !strings.HasSuffix(got, "4 sent, 5 not\n") {
		t.Errorf("replaying all: %q", got)
	}
	if got := said(func(out *strings.Builder) error {
		return DiscardDeadLetters(context.Background(), dir, []string{"all"}, DeadLetterFilter{MeetingID: "m2"}, out)
	}); got != "5 forgotten\n" {
		t.Errorf("discarding: %q", got)
	}
	if got := said(func(out *strings.Builder) error {
		return DiscardDeadLetters(context.Background(), dir, []string{"99"}, DeadLetterFilter{}, out)
	}); got != "99: there is no such dead letter\n0 forgotten\n" {
		t.Errorf("discarding one that is not there: %q", got)
	}
	if list := listed(DeadLetterFilter{}, false); list != "0 dead letters\n" {
		t.Errorf("left: %q", list)
	}
	if err := errors.Join(stop(context.Background()), n.Close(context.Background())); err != nil {
		t.Error(err)
	}
	if err := ListDeadLetters(context.Background(), dir, DeadLetterFilter{}, false, &strings.Builder{}); err == nil {
		t.Error("a server that ended answers")
	}
}
