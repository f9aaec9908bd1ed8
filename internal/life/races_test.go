package life

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/jetstream"
	"belfry/test/kit"
)

// TestRaces has meetings made, joined, left, deleted and ended by themselves at
// the same time, on a store that syncs to a disk, and reads what was written.
func TestRaces(t *testing.T) {
	dir := t.TempDir()
	open := func() *jetstream.Store {
		s, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir, SnapshotMessages: 200})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	store := open()
	ctx := context.Background()
	service := meeting.NewService(store, meeting.ServiceOptions{Webhooks: []string{"http://somewhere"}})
	h := &history{ended: map[string]int{}, joined: map[string]bool{}, deleted: map[string]bool{}}
	defer store.Watch(h.committed(t))()
	logger := slog.New(slog.DiscardHandler)
	r, err := NewRecorder(ctx, RecorderConfig{Store: store, Service: service, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKeeper(ctx, KeeperConfig{Store: store, Service: service, Spare: r.Waits, Logger: logger,
		Rules: meeting.Lifetime{Idle: 2 * time.Millisecond}, Return: 1})
	if err != nil {
		t.Fatal(err)
	}

	const tokens, workers, steps = 6, 6, 150
	var all sync.WaitGroup
	for w := range workers {
		rnd := rand.New(rand.NewPCG(uint64(w), 7))
		all.Go(func() {
			for range steps {
				token := fmt.Sprint("token-", rnd.IntN(tokens))
				m, err := service.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: token, ExternalMeetingID: "x"})
				if err != nil {
					t.Error(err)
					return
				}
				a, err := service.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: fmt.Sprint(rnd.IntN(3))})
				if err != nil {
					continue // it ended meanwhile
				}
				see := func(what ...meeting.EventType) {
					for _, one := range what {
						r.Record(meeting.Sighting{Type: one, At: time.Now(), MeetingID: m.ID, AttendeeID: a.ID})
					}
				}
				switch rnd.IntN(6) {
				case 0, 1:
					see(meeting.EventAttendeeAuthorized, meeting.EventAttendeeJoined, meeting.EventAttendeeVideoStarted)
				case 2:
					see(meeting.EventAttendeeJoined, meeting.EventAttendeeLeft)
				case 3:
					see(meeting.EventAttendeeDropped)
				case 4:
					_ = service.DeleteAttendee(ctx, account, m.ID, a.ID)
				case 5:
					h.deletes(m.ID)
					if err := service.DeleteMeeting(ctx, account, m.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	kit.EventuallyNone(t, func() string {
		n := 0
		_ = store.View(ctx, func(r meeting.Reader) error {
			for _, id := range r.MeetingIDs() {
				if a, _ := r.Attendance(id); a.Joined == 0 {
					n++
				}
			}
			return nil
		})
		if n > 0 {
			return fmt.Sprintf("the end of %d meetings with nobody in them", n)
		}
		return ""
	})
	if err := k.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	store = open()
	defer store.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = store.View(ctx, func(r meeting.Reader) error {
		for _, id := range r.MeetingIDs() {
			if h.ended[id] != 0 {
				t.Errorf("meeting %s has ended, and is there", id)
			}
			for _, p := range r.Presences(id) {
				if !h.joined[p.AttendeeID] {
					t.Errorf("%s is joined, and no event says so", p.AttendeeID)
				}
			}
		}
		return nil
	})
	byTime := 0
	for id, n := range h.ended {
		if n != 1 {
			t.Errorf("meeting %s ended %d times", id, n)
		}
		if !h.deleted[id] {
			byTime++
		}
	}
	t.Logf("%d meetings ended, %d of them by themselves", len(h.ended), byTime)
	if byTime == 0 || byTime == len(h.ended) {
		t.Error("the test proves little")
	}
}

// history is what the events told.
type history struct {
	mu      sync.Mutex
	ended   map[string]int
	joined  map[string]bool // attendees
	deleted map[string]bool // meetings that the API was asked to delete
}

func (h *history) deletes(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deleted[id] = true
}

// committed looks at each commit as it is made.
func (h *history) committed(t *testing.T) func(meeting.Commit) {
	return func(c meeting.Commit) {
		h.mu.Lock()
		defer h.mu.Unlock()
		left := ""
		for _, ch := range c.Changes {
			e := ch.Event
			if e == nil {
				continue
			}
			if h.ended[e.MeetingID] != 0 {
				t.Errorf("%s of meeting %s after its end", e.Type, e.MeetingID)
			}
			switch e.Type {
			case meeting.EventAttendeeJoined:
				if h.joined[e.AttendeeID] {
					t.Errorf("%s joined twice", e.AttendeeID)
				}
				h.joined[e.AttendeeID] = true
			case meeting.EventAttendeeLeft, meeting.EventAttendeeDropped:
				if !h.joined[e.AttendeeID] {
					t.Errorf("%s of %s, who was not joined", e.Type, e.AttendeeID)
				}
				delete(h.joined, e.AttendeeID)
				left = e.AttendeeID
			case meeting.EventMeetingEnded:
				h.ended[e.MeetingID]++
				if left != "" && !h.deleted[e.MeetingID] {
					t.Errorf("meeting %s ended by itself with %s in it", e.MeetingID, left)
				}
			}
		}
	}
}
