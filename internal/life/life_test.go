package life

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const account = "111122223333"

// rules are AWS's of today.
var rules = meeting.Lifetime{Idle: 5 * time.Minute, Max: 24 * time.Hour}

// world is a store with the rules over it, and what lives in one process.
type world struct {
	t       *testing.T
	store   meeting.Store
	service *meeting.Service
	rules   meeting.Lifetime
	begun   time.Time
	metrics *prometheus.Registry
	log     bytes.Buffer
	names   map[string]string // of meetings, by id
	people  map[string]string // ids of attendees, by "meeting/name"

	recorder *Recorder
	keeper   *Keeper

	mu     sync.Mutex
	ends   []string // when meetings ended
	events []string // all, in the order of their commits
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, rules meeting.Lifetime, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: memory.New(), rules: rules, begun: time.Now(),
			names: map[string]string{}, people: map[string]string{}}
		w.service = meeting.NewService(w.store, meeting.ServiceOptions{Webhooks: []string{"http://somewhere"}})
		defer w.store.Watch(w.committed)()
		w.start()
		test(w)
		w.stop()
	})
}

func (w *world) committed(c meeting.Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range c.Changes {
		if m := ch.MeetingDeleted; m != nil {
			w.ends = append(w.ends, w.names[m.ID]+" "+time.Since(w.begun).String())
		}
		if e := ch.Event; e != nil {
			who := ""
			for name, id := range w.people {
				if id == strings.TrimSuffix(e.AttendeeID, meeting.ContentSuffix) {
					who = " " + strings.TrimPrefix(name, w.names[e.MeetingID]+"/")
				}
			}
			w.events = append(w.events, w.names[e.MeetingID]+" "+strings.TrimPrefix(string(e.Type), "chime:")+who)
		}
	}
}

// start begins a process, stop ends it as a kill does: nothing is written.
func (w *world) start() {
	w.t.Helper()
	var err error
	logger := slog.New(slog.NewTextHandler(&w.log, nil))
	if w.recorder, err = NewRecorder(w.t.Context(), RecorderConfig{Store: w.store, Service: w.service, Logger: logger}); err != nil {
		w.t.Fatal(err)
	}
	w.metrics = prometheus.NewRegistry()
	w.keeper, err = NewKeeper(w.t.Context(), KeeperConfig{Store: w.store, Service: w.service, Rules: w.rules,
		Spare: w.recorder.Waits, Logger: logger, Metrics: w.metrics})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	synctest.Wait()
	if err := w.keeper.Close(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	w.recorder.cancel()
	<-w.recorder.done
}

func (w *world) create(name, primary string) *meeting.Meeting {
	w.t.Helper()
	in := meeting.NewMeeting{ControlRegion: "us-east-1", ClientRequestToken: name, ExternalMeetingID: name}
	if primary != "" {
		in.PrimaryMeetingID = w.id(primary)
	}
	m, err := w.service.CreateMeeting(w.t.Context(), account, in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.names[m.ID] = name
	w.mu.Unlock()
	return m
}

func (w *world) id(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.names {
		if n == name {
			return id
		}
	}
	w.t.Fatalf("no meeting %s", name)
	return ""
}

// does has an attendee, made when it is not there, do something: "Joined" is
// EventAttendeeJoined.
func (w *world) does(room, who string, what ...string) {
	w.t.Helper()
	a, err := w.service.CreateAttendee(w.t.Context(), account, w.id(room), meeting.NewAttendee{ExternalUserID: who})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.people[room+"/"+who] = a.ID
	w.mu.Unlock()
	for _, t := range what {
		one := meeting.Sighting{Type: meeting.EventType("chime:Attendee" + t), At: time.Now(), MeetingID: a.MeetingID, AttendeeID: a.ID}
		if one.Type.Content() {
			one.AttendeeID += meeting.ContentSuffix
		}
		w.recorder.Record(one)
	}
	synctest.Wait()
}

func (w *world) deletes(room, who string) {
	w.t.Helper()
	if err := w.service.DeleteAttendee(w.t.Context(), account, w.id(room), w.people[room+"/"+who]); err != nil {
		w.t.Fatal(err)
	}
}

// wantEnds compares all ends so far; those of one moment are in any order.
func (w *world) wantEnds(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(want)
	got := slices.Sorted(slices.Values(w.ends))
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("ends (-want +got):\n%s", d)
	}
}

// wantEvents compares the events since it was last called, but those of
// meetings and attendees that are made.
func (w *world) wantEvents(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, e := range w.events {
		if !strings.Contains(e, "MeetingStarted") && !strings.Contains(e, "AttendeeAdded") {
			got = append(got, strings.Replace(e, "Attendee", "", 1))
		}
	}
	w.events = nil
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("events (-want +got):\n%s", d)
	}
}

func (w *world) ended() map[string]float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "belfry_life_ended_total" && m.GetCounter().GetValue() > 0 {
				out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return out
}

func TestMeetingsEnd(t *testing.T) {
	lone := rules
	lone.Lone = 30 * time.Minute
	tests := []struct {
		name    string
		rules   meeting.Lifetime
		happens func(w *world)
		ends    []string // by when all has been waited for
		reasons map[string]float64
	}{
		{"nobody comes", rules, func(w *world) {}, []string{"m 5m0s"}, map[string]float64{"idle": 1}},
		{"an attendee that does not join is nobody", rules, func(w *world) {
			w.does("m", "a", "Authorized")
		}, []string{"m 5m0s"}, map[string]float64{"idle": 1}},
		{"a content share is nobody", rules, func(w *world) {
			w.does("m", "a", "ContentJoined")
		}, []string{"m 5m0s"}, map[string]float64{"idle": 1}},
		{"somebody in the last moment", rules, func(w *world) {
			time.Sleep(5*time.Minute - 1)
			w.does("m", "a", "Joined")
			time.Sleep(10 * time.Minute)
			w.wantEnds()
			w.does("m", "a", "Left")
		}, []string{"m 19m59.999999999s"}, map[string]float64{"idle": 1}},
		{"five minutes must be continuous", rules, func(w *world) {
			for range 4 {
				time.Sleep(4 * time.Minute)
				w.does("m", "a", "Joined", "Dropped")
			}
		}, []string{"m 21m0s"}, map[string]float64{"idle": 1}},
		{"a deleted attendee has gone", rules, func(w *world) {
			w.does("m", "a", "Joined")
			time.Sleep(time.Hour)
			w.deletes("m", "a")
		}, []string{"m 1h5m0s"}, map[string]float64{"idle": 1}},
		{"one stays all day", rules, func(w *world) {
			w.does("m", "a", "Joined")
			time.Sleep(24*time.Hour - 1)
			w.wantEnds()
		}, []string{"m 24h0m0s"}, map[string]float64{"duration": 1}},
		{"one alone, by today's rules", rules, func(w *world) {
			w.does("m", "a", "Joined")
		}, []string{"m 24h0m0s"}, map[string]float64{"duration": 1}},
		{"one alone, by those of the launch", lone, func(w *world) {
			w.does("m", "a", "Joined")
		}, []string{"m 30m0s"}, map[string]float64{"lone": 1}},
		{"two, then one, by those of the launch", lone, func(w *world) {
			w.does("m", "a", "Joined")
			w.does("m", "b", "Joined", "ContentJoined")
			time.Sleep(2 * time.Hour)
			w.does("m", "a", "Left")
		}, []string{"m 2h30m0s"}, map[string]float64{"lone": 1}},
		{"nobody, by those of the launch", lone, func(w *world) {}, []string{"m 5m0s"}, map[string]float64{"idle": 1}},
		{"never for being empty", meeting.Lifetime{Max: 24 * time.Hour}, func(w *world) {}, []string{"m 24h0m0s"}, map[string]float64{"duration": 1}},
		{"never", meeting.Lifetime{}, func(w *world) { time.Sleep(1000 * time.Hour) }, nil, map[string]float64{}},
		{"a replica ends with its primary", rules, func(w *world) {
			w.does("m", "a", "Joined")
			w.create("r", "m")
			time.Sleep(time.Hour)
			w.wantEnds()
			w.does("m", "a", "Left")
		}, []string{"r 1h5m0s", "m 1h5m0s"}, map[string]float64{"idle": 1, "primary": 1}},
		{"a replica that is full does not keep its primary", rules, func(w *world) {
			w.create("r", "m")
			w.does("r", "a", "Joined")
		}, []string{"r 5m0s", "m 5m0s"}, map[string]float64{"idle": 1, "primary": 1}},
		{"a replica that is old ends alone", rules, func(w *world) {
			w.does("m", "a", "Joined")
			r := *w.create("r", "m")
			r.CreatedAt = r.CreatedAt.Add(-23 * time.Hour)
			_ = w.store.Update(w.t.Context(), func(tx meeting.Tx) error { tx.PutMeeting(&r); return nil })
			time.Sleep(2 * time.Hour)
		}, []string{"r 1h0m0s", "m 24h0m0s"}, map[string]float64{"duration": 2}},
		{"what is deleted does not end again", rules, func(w *world) {
			if err := w.service.DeleteMeeting(w.t.Context(), account, w.id("m")); err != nil {
				t.Error(err)
			}
		}, []string{"m 0s"}, map[string]float64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.rules, func(w *world) {
				w.create("m", "")
				tt.happens(w)
				time.Sleep(25 * time.Hour)
				w.wantEnds(tt.ends...)
				if d := cmp.Diff(tt.reasons, w.ended()); d != "" {
					t.Errorf("reasons (-want +got):\n%s", d)
				}
				started := 0
				for _, e := range w.events {
					if strings.HasSuffix(e, " MeetingEnded") {
						started++
					}
				}
				if started != len(tt.ends) {
					t.Errorf("%d meetings ended, and %d MeetingEnded were written", len(tt.ends), started)
				}
				for reason := range maps.Keys(tt.reasons) {
					if !strings.Contains(w.log.String(), "meeting ended by itself") || !strings.Contains(w.log.String(), "reason="+reason) {
						t.Errorf("the log does not say so: %s", &w.log)
					}
				}
			})
		})
	}
}

// The countdown goes on where it was.
func TestRestart(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		w.create("idle", "")
		w.create("busy", "")
		w.create("old", "")
		w.does("busy", "a", "Joined")
		w.does("old", "b", "Joined")
		w.does("old", "b", "Left")
		time.Sleep(4 * time.Minute)
		w.create("young", "")
		w.does("old", "b", "Joined")
		w.stop()
		w.start() // after 4 min
		time.Sleep(time.Minute)
		w.wantEnds("idle 5m0s")

		// b came back; a was given up after 30 s, and that is when nobody was left.
		w.stop()
		w.start()
		w.does("old", "b", "Joined")
		w.stop()
		time.Sleep(10 * time.Minute) // nobody can come meanwhile
		w.start()                    // after 15 min
		w.does("old", "b", "Joined")
		w.wantEnds("idle 5m0s")
		time.Sleep(time.Minute)
		w.wantEnds("idle 5m0s", "busy 15m30s", "young 15m30s")
		time.Sleep(25 * time.Hour)
		w.wantEnds("idle 5m0s", "busy 15m30s", "young 15m30s", "old 24h0m0s")
	})
}

// A day that ends while the server is down ends the meeting when it is up again.
func TestTheDayEndsWhileDown(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		w.create("m", "")
		w.does("m", "a", "Joined", "VideoStarted")
		w.stop()
		w.create("empty", "")
		time.Sleep(30 * time.Hour)
		w.start()
		w.wantEnds("empty 30h0m0s", "m 30h0m0s")
		w.events = slices.DeleteFunc(w.events, func(e string) bool { return strings.HasPrefix(e, "empty") })
		w.wantEvents("m Joined a", "m VideoStarted a", "m VideoStopped a", "m Left a", "m MeetingEnded")
		// Who comes after the end comes to nothing.
		for _, what := range []meeting.EventType{meeting.EventAttendeeLeft, meeting.EventAttendeeJoined, meeting.EventAttendeeDropped} {
			w.recorder.Record(meeting.Sighting{Type: what, At: time.Now(), MeetingID: w.id("m"), AttendeeID: w.people["m/a"]})
		}
		time.Sleep(time.Minute)
		w.wantEvents()
	})
}

// Who was joined when the process was killed is back in time, or has dropped.
func TestPresenceAfterAKill(t *testing.T) {
	inWorld(t, meeting.Lifetime{}, func(w *world) {
		w.create("m", "")
		for _, who := range []string{"back", "without video", "gone"} {
			w.does("m", who, "Authorized", "Joined", "VideoStarted", "ContentJoined", "ContentVideoStarted")
		}
		w.does("m", "left", "Joined", "Left")
		w.wantEvents(
			"m Authorized back", "m Joined back", "m VideoStarted back", "m ContentJoined back", "m ContentVideoStarted back",
			"m Authorized without video", "m Joined without video", "m VideoStarted without video", "m ContentJoined without video", "m ContentVideoStarted without video",
			"m Authorized gone", "m Joined gone", "m VideoStarted gone", "m ContentJoined gone", "m ContentVideoStarted gone",
			"m Joined left", "m Left left")
		w.stop()
		w.start()
		w.does("m", "back", "Authorized", "Joined", "VideoStarted", "ContentJoined", "ContentVideoStarted")
		w.does("m", "new", "Authorized", "Joined", "VideoStarted")
		time.Sleep(29 * time.Second)
		w.does("m", "without video", "Authorized", "Joined")
		w.wantEvents("m Authorized back", "m Authorized new", "m Joined new", "m VideoStarted new", "m Authorized without video")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.mu.Lock()
		got := map[string]int{}
		for _, e := range w.events {
			got[e]++
		}
		last := ""
		for _, e := range w.events {
			if strings.HasSuffix(e, "AttendeeVideoStopped gone") || strings.HasSuffix(e, "AttendeeDropped gone") {
				last += e + ";"
			}
		}
		w.events = nil
		w.mu.Unlock()
		want := map[string]int{
			"m AttendeeVideoStopped gone": 1, "m AttendeeDropped gone": 1,
			"m AttendeeContentVideoStopped gone": 1, "m AttendeeContentDropped gone": 1,
			"m AttendeeContentVideoStopped without video": 1, "m AttendeeContentDropped without video": 1,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after the time to come back (-want +got):\n%s", d)
		}
		if last != "m AttendeeVideoStopped gone;m AttendeeDropped gone;" {
			t.Errorf("the end of the one who is gone: %s", last)
		}
		time.Sleep(time.Hour)
		w.wantEvents("m VideoStopped without video")
		w.does("m", "gone", "Authorized", "Joined")
		w.does("m", "back", "VideoStopped", "Left")
		w.wantEvents("m Authorized gone", "m Joined gone", "m VideoStopped back", "m Left back")
		// A process that ends in good order leaves them joined as well.
		if err := w.recorder.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.wantEvents()
		w.stop()
		w.start()
	})
}

// What is told twice, out of turn or of somebody deleted has no effect.
func TestSightingsInTurn(t *testing.T) {
	inWorld(t, meeting.Lifetime{}, func(w *world) {
		w.create("m", "")
		w.does("m", "a", "Left", "VideoStarted", "Dropped", "Joined", "Joined", "VideoStopped", "VideoStarted", "VideoStarted", "Dropped", "Left")
		w.wantEvents("m Joined a", "m VideoStarted a", "m VideoStopped a", "m Dropped a")
		w.does("m", "a", "Joined", "ContentJoined", "ContentVideoStarted")
		w.deletes("m", "a")
		gone := w.people["m/a"]
		w.recorder.Record(meeting.Sighting{Type: meeting.EventAttendeeLeft, At: time.Now(), MeetingID: w.id("m"), AttendeeID: gone})
		w.wantEvents("m Joined a", "m ContentJoined a", "m ContentVideoStarted a",
			"m ContentVideoStopped a", "m ContentLeft a", "m Left a", "m Deleted a")
		w.does("m", "b", "Joined", "ContentJoined")
		w.does("m", "c", "Joined", "VideoStarted")
		if err := w.service.DeleteMeeting(t.Context(), account, w.id("m")); err != nil {
			t.Fatal(err)
		}
		w.recorder.Record(meeting.Sighting{Type: meeting.EventAttendeeLeft, At: time.Now(), MeetingID: w.id("m"), AttendeeID: w.people["m/b"]})
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.events); n < 5 || w.events[n-1] != "m MeetingEnded" {
			t.Errorf("the end of the meeting is not the last of it: %q", w.events)
		}
		joined := 0
		for _, e := range w.events {
			switch {
			case strings.Contains(e, "Joined"), strings.Contains(e, "VideoStarted"):
				joined++
			case strings.Contains(e, "Left"), strings.Contains(e, "VideoStopped"):
				joined--
			}
		}
		if joined != 0 {
			t.Errorf("what began and what ended differ by %d: %q", joined, w.events)
		}
	})
}

// Of two servers on one store each looks after its own people.
func TestNodes(t *testing.T) {
	inWorld(t, meeting.Lifetime{}, func(w *world) {
		w.create("m", "")
		other, err := NewRecorder(t.Context(), RecorderConfig{Store: w.store, Service: w.service, Node: "other"})
		if err != nil {
			t.Fatal(err)
		}
		here := w.recorder
		w.recorder = other
		w.does("m", "a", "Joined", "VideoStarted")
		w.does("m", "b", "Joined")
		w.recorder = here
		w.stop()
		w.start()
		time.Sleep(time.Hour)
		w.does("m", "a", "VideoStopped", "Left") // it was never here
		w.wantEvents("m Joined a", "m VideoStarted a", "m Joined b")
		w.does("m", "b", "Authorized", "Joined") // it comes over
		other.Record(meeting.Sighting{Type: meeting.EventAttendeeDropped, At: time.Now(), MeetingID: w.id("m"), AttendeeID: w.people["m/b"]})
		w.wantEvents("m Authorized b")
		w.does("m", "b", "Left")
		w.wantEvents("m Left b")
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if other, err = NewRecorder(t.Context(), RecorderConfig{Store: w.store, Service: w.service, Node: "other"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.wantEvents("m VideoStopped a", "m Dropped a")
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Meetings that tell nobody keep presence and no events.
func TestQuietMeeting(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		w.service = meeting.NewService(w.store, meeting.ServiceOptions{})
		w.create("m", "")
		w.does("m", "a", "Authorized", "Joined", "VideoStarted")
		w.wantEvents()
		time.Sleep(time.Hour)
		w.wantEnds()
		w.does("m", "a", "Left")
		time.Sleep(time.Hour)
		w.wantEnds("m 1h5m0s")
	})
}

// Somebody joins while the store takes no writes: the meeting does not end
// before that is written.
func TestJoinWaitsToBeWritten(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		w.create("m", "")
		time.Sleep(4 * time.Minute)
		w.recorder.cancel() // it takes, and writes nothing
		<-w.recorder.done
		w.does("m", "a", "Joined")
		time.Sleep(time.Hour)
		w.wantEnds()
		for {
			more, err := w.recorder.write(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
		}
		time.Sleep(time.Hour)
		w.wantEnds()
	})
}

// shaky is a store that does not take writes for a while.
type shaky struct {
	meeting.Store
	mu    sync.Mutex
	fails bool
	tries int
}

func (s *shaky) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	s.mu.Lock()
	fails := s.fails
	s.tries++
	s.mu.Unlock()
	if fails {
		return meeting.Errorf(meeting.CodeUnavailable, "not now")
	}
	return s.Store.Update(ctx, fn)
}

func TestStoreIsAway(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		for n := range 300 {
			w.create(fmt.Sprint(n), "")
		}
		w.does("0", "a", "Joined", "VideoStarted")
		w.does("1", "b", "Joined")
		w.wantEvents("0 Joined a", "0 VideoStarted a", "1 Joined b")
		w.stop()
		s := &shaky{Store: w.store, fails: true}
		w.store = s
		w.service = meeting.NewService(s, meeting.ServiceOptions{})
		w.start()
		w.recorder.mu.Lock()
		w.recorder.waiting = make([]meeting.Sighting, maxRecords) // of nobody
		w.recorder.mu.Unlock()
		see := func(room, who string, what ...meeting.EventType) {
			for _, one := range what {
				w.recorder.Record(meeting.Sighting{Type: one, At: time.Now(), MeetingID: w.id(room), AttendeeID: w.people[room+"/"+who]})
			}
		}
		see("0", "a", meeting.EventAttendeeAuthorized, meeting.EventAttendeeLeft, meeting.EventAttendeeAuthorized, meeting.EventAttendeeJoined, meeting.EventAttendeeVideoStopped)
		see("1", "b", meeting.EventAttendeeVideoStarted, meeting.EventAttendeeVideoStopped, meeting.EventAttendeeDropped)
		time.Sleep(10 * time.Minute)
		w.wantEnds()
		if s.tries > 3*600 {
			t.Errorf("%d tries in ten minutes", s.tries)
		}
		if !strings.Contains(w.log.String(), "could not be ended") {
			t.Error("the log does not say why meetings do not end")
		}
		s.mu.Lock()
		s.fails = false
		s.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.ends) != 299 {
			t.Errorf("%d meetings ended, want all but one", len(w.ends))
		}
		var own []string
		for _, e := range w.events {
			if strings.Contains(e, "Attendee") {
				own = append(own, e)
			}
		}
		slices.Sort(own)
		if d := cmp.Diff([]string{"0 AttendeeVideoStopped a", "1 AttendeeDropped b"}, own); d != "" {
			t.Errorf("what it came to (-want +got):\n%s", d)
		}
	})
}

// TestClose ends a Keeper that has much to do.
func TestClose(t *testing.T) {
	inWorld(t, rules, func(w *world) {
		w.create("m", "")
		w.stop()
		time.Sleep(time.Hour)
		w.start()
		if err := w.keeper.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		w.wantEnds()
		w.recorder.cancel()
		<-w.recorder.done
		w.start()
		time.Sleep(time.Hour)
		w.wantEnds("m 2h0m30s")
	})
}
