package signaling

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signaltest"
	storemem "belfry/internal/store/memory"
)

// With the real rules and a real store behind it: a deletion has ended every
// session by the time that the call which made it returns, and the token works
// no more.
func TestDeletionTakesEffectAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		delete func(ctx context.Context, svc *meeting.Service, m *meeting.Meeting, a *meeting.Attendee) error
		status uint32
		code   int
		spares bool
	}{
		{"attendee", func(ctx context.Context, svc *meeting.Service, m *meeting.Meeting, a *meeting.Attendee) error {
			return svc.DeleteAttendee(ctx, "111122223333", m.ID, a.ID)
		}, 411, 4403, true},
		{"meeting", func(ctx context.Context, svc *meeting.Service, m *meeting.Meeting, _ *meeting.Attendee) error {
			return svc.DeleteMeeting(ctx, "111122223333", m.ID)
		}, 410, 4410, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				store := storemem.New()
				defer func() { _ = store.Close() }()
				svc := meeting.NewService(store, meeting.ServiceOptions{})
				w.srv.cfg.Service = svc
				w.srv.cfg.MeetingExists = func(ctx context.Context, id string) (ok bool) {
					_ = store.View(ctx, func(r meeting.Reader) error { _, ok = r.Meeting(id); return nil })
					return ok
				}
				stop := store.Watch(func(c meeting.Commit) {
					for _, change := range c.Changes {
						if m := change.MeetingDeleted; m != nil {
							w.srv.MeetingEnded(m.ID)
						}
						if a := change.AttendeeDeleted; a != nil {
							w.srv.AttendeeDeleted(a.MeetingID, a.ID)
						}
					}
				})
				defer stop()
				m, err := svc.CreateMeeting(w.ctx(), "111122223333", meeting.NewMeeting{ControlRegion: "us-east-1"})
				if err != nil {
					t.Fatal(err)
				}
				dial := func(token string) *signaltest.Client {
					c, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+m.ID, token, signaltest.Options{HTTPClient: w.http})
					if err != nil {
						t.Fatal(err)
					}
					w.clients = append(w.clients, c)
					return c
				}
				join := func(token string) *signaltest.Client {
					c := dial(token)
					if _, _, err := c.Join(w.ctx(), 1); err != nil {
						t.Fatal(err)
					}
					return c
				}
				one, err := svc.CreateAttendee(w.ctx(), "111122223333", m.ID, meeting.NewAttendee{ExternalUserID: "one"})
				if err != nil {
					t.Fatal(err)
				}
				two, err := svc.CreateAttendee(w.ctx(), "111122223333", m.ID, meeting.NewAttendee{ExternalUserID: "two"})
				if err != nil {
					t.Fatal(err)
				}
				base, share, other := join(one.JoinToken.Reveal()), join(one.JoinToken.Reveal()+"#content"), join(two.JoinToken.Reveal())
				waiting := dial(one.JoinToken.Reveal())
				if err := tt.delete(w.ctx(), svc, m, one); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // no time passes
				for name, c := range map[string]*signaltest.Client{"base": base, "share": share} {
					if got := w.audioStatus(c); got != tt.status {
						t.Errorf("%s: AUDIO_STATUS %d", name, got)
					}
				}
				if code := w.closeCode(waiting); code != tt.code {
					t.Errorf("the one before JOIN was closed with %d", code)
				}
				if tt.spares {
					if err := other.Ping(w.ctx()); err != nil {
						t.Errorf("the other one: %v", err)
					}
				} else if got := w.audioStatus(other); got != tt.status {
					t.Errorf("the other one: AUDIO_STATUS %d", got)
				}
				if code := w.closeCode(dial(one.JoinToken.Reveal())); code != tt.code {
					t.Errorf("the token after the deletion: closed with %d", code)
				}
			})
		})
	}
}

// A refusal must be seen by a browser, so it is a close, and never holds up an
// HTTP answer to anything that is no WebSocket.
func TestPlainRequestIsAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		resp, err := w.http.Get("http://belfry.test/control/" + meetingID)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUpgradeRequired && !strings.HasPrefix(resp.Status, "4") {
			t.Errorf("status %s", resp.Status)
		}
		if len(w.srv.sources) != 0 {
			t.Error("still counted")
		}
	})
}
