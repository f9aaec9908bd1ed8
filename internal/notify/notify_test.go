package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
	"belfry/test/kit"
)

func TestMain(m *testing.M) {
	if os.Getenv(doubleVariable) != "" {
		double()
		return
	}
	kit.Main(m)
}

const (
	queueA = "arn:aws:sqs:us-east-1:000000000000:a"
	queueB = "arn:aws:sqs:us-east-1:000000000000:b"
)

// sink is a Sender whose targets do what a test says.
type sink struct {
	mu    sync.Mutex
	got   map[string][]string // by address: "<meeting> <number>"
	tries []time.Time
	do    func(ctx context.Context, address string, m Message) error // nil: takes it
}

func (s *sink) Send(ctx context.Context, address string, m Message) error {
	s.mu.Lock()
	s.tries = append(s.tries, time.Now())
	do := s.do
	s.mu.Unlock()
	if do != nil {
		if err := do(ctx, address, m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got == nil {
		s.got = map[string][]string{}
	}
	s.got[address] = append(s.got[address], fmt.Sprint(m.Event.MeetingID, " ", m.Event.Number))
	return nil
}

func (s *sink) at(address string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got[address]...)
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tries)
}

func (s *sink) setDo(do func(context.Context, string, Message) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func start(t *testing.T, store meeting.Store, s Sender) *Notifier {
	t.Helper()
	n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{meeting.TargetSQS: s, meeting.TargetSNS: s}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func stop(t *testing.T, n *Notifier) {
	t.Helper()
	if err := n.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func update(t *testing.T, store meeting.Store, fn func(meeting.Tx)) {
	t.Helper()
	if err := store.Update(context.Background(), func(tx meeting.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// create makes a meeting whose events go to these queues.
func create(t *testing.T, store meeting.Store, id string, events int, queue, topic string) {
	t.Helper()
	update(t, store, func(tx meeting.Tx) {
		tx.PutMeeting(&meeting.Meeting{ID: id, Account: "a", ClientRequestToken: id,
			Notifications: meeting.Notifications{SQSQueueARN: queue, SNSTopicARN: topic}})
	})
	emit(t, store, id, events)
}

func emit(t *testing.T, store meeting.Store, id string, events int) {
	t.Helper()
	update(t, store, func(tx meeting.Tx) {
		for range events {
			tx.Emit(meeting.Event{ID: rand.Text(), MeetingID: id, At: time.Now(), Type: meeting.EventMeetingStarted})
		}
	})
}

func numbers(id string, from, to int) (list []string) {
	for n := from; n <= to; n++ {
		list = append(list, fmt.Sprint(id, " ", n))
	}
	return list
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// undelivered is what is left in the store, which must be nothing at the end.
func undelivered(t *testing.T, store meeting.Store) (left []string) {
	t.Helper()
	if err := store.View(context.Background(), func(r meeting.Reader) error {
		for _, id := range r.Undelivered() {
			for _, e := range r.Events(id, 0, 1000) {
				left = append(left, fmt.Sprint(id, " ", e.Number))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return left
}

func TestInOrderToEachTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		create(t, store, "m1", 3, queueA, queueB) // before the start
		n := start(t, store, s)
		defer stop(t, n)
		emit(t, store, "m1", 200)
		create(t, store, "quiet", 2, "", "")
		synctest.Wait()
		emit(t, store, "m1", 1)
		update(t, store, func(tx meeting.Tx) { tx.DeleteMeeting("m1") })
		emit(t, store, "m1", 1)
		time.Sleep(time.Second)
		for _, address := range []string{queueA, queueB} {
			same(t, address, s.at(address), numbers("m1", 1, 205))
		}
		same(t, "left in the store", undelivered(t, store), []string(nil))
		n.term.mu.Lock()
		defer n.term.mu.Unlock()
		if len(n.term.targets) != 0 {
			t.Errorf("%d targets are remembered when all is delivered", len(n.term.targets))
		}
	})
}

func TestRetriesBackOffAndKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		begun := time.Now()
		s.setDo(func(context.Context, string, Message) error {
			if time.Since(begun) < time.Hour {
				return errors.New("away")
			}
			return nil
		})
		n := start(t, store, s)
		defer stop(t, n)
		create(t, store, "m1", 3, queueA, "")
		synctest.Wait() // m2 comes to a target that is known to fail
		create(t, store, "m2", 3, queueA, "")
		time.Sleep(time.Hour + 2*time.Minute)
		var of1, of2 []string
		for _, got := range s.at(queueA) {
			if got[:2] == "m1" {
				of1 = append(of1, got)
			} else {
				of2 = append(of2, got)
			}
		}
		same(t, "of m1 after an hour away", of1, numbers("m1", 1, 3))
		same(t, "of m2", of2, numbers("m2", 1, 3))
		if tries := len(s.tries); tries < 50 || tries > 100 {
			t.Errorf("%d tries in an hour, want about one a minute", tries)
		}
		for i := 1; i < 4; i++ {
			if pause := s.tries[i].Sub(s.tries[i-1]); pause < time.Second<<(i-1) || pause > time.Second<<i {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
		same(t, "left in the store", undelivered(t, store), []string(nil))
	})
}

// Many failures at one time are one failure: a moment's trouble does not cost
// the longest pause.
func TestFailuresTogetherCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		begun := time.Now()
		s.setDo(func(context.Context, string, Message) error {
			time.Sleep(100 * time.Millisecond)
			if time.Since(begun) < time.Second {
				return errors.New("away")
			}
			return nil
		})
		for i := range 20 {
			create(t, store, fmt.Sprint("m", i), 1, queueA, "")
		}
		n := start(t, store, s)
		defer stop(t, n)
		time.Sleep(8 * time.Second)
		if got := len(s.at(queueA)); got != 20 {
			t.Errorf("%d of 20 were delivered soon after", got)
		}
	})
}

// A target that hangs, and a meeting whose event is refused, hold up nobody.
func TestOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		s.setDo(func(ctx context.Context, address string, m Message) error {
			if address == queueB {
				<-ctx.Done()
				return ctx.Err()
			}
			if m.Event.MeetingID == "poison" {
				return errors.New("not this one")
			}
			return nil
		})
		n := start(t, store, s)
		defer stop(t, n)
		create(t, store, "poison", 1, queueA, "")
		create(t, store, "good", 5, queueA, queueB)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		same(t, "beside a hanging target", s.at(queueA), numbers("good", 1, 5))
		for i := range 100 {
			create(t, store, fmt.Sprint("late", i), 1, queueA, "")
		}
		time.Sleep(3 * time.Second)
		if got := len(s.at(queueA)); got != 105 {
			t.Errorf("%d events beside a refused one, want 105", got)
		}
		same(t, "of the hanging target", s.at(queueB), []string(nil))
	})
}

func TestDeadAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		s.setDo(func(_ context.Context, _ string, m Message) error {
			if m.Event.Number == 1 {
				return errors.New("no such queue as " + queueA)
			}
			return nil
		})
		n := start(t, store, s)
		defer stop(t, n)
		create(t, store, "m", 2, queueA, "")
		time.Sleep(24*time.Hour - 2*time.Minute)
		same(t, "within a day", s.at(queueA), []string(nil))
		time.Sleep(4 * time.Minute)
		same(t, "after a day", s.at(queueA), numbers("m", 2, 2))
		same(t, "left in the store", undelivered(t, store), []string(nil))
		var dead []meeting.DeadLetter
		_ = store.View(context.Background(), func(r meeting.Reader) error { dead = r.DeadLetters(0, 10); return nil })
		if len(dead) != 1 || dead[0].Event.Number != 1 || dead[0].Attempts < 1000 || dead[0].Reason != "no such queue as sqs a" {
			t.Fatalf("dead letters: %+v", dead)
		}
		if err := n.Replay(t.Context(), dead[0].Seq+1); !errors.Is(err, ErrNoDeadLetter) {
			t.Errorf("replaying none: %v", err)
		}
		if err := n.Replay(t.Context(), dead[0].Seq); err == nil || err.Error() != "no such queue as sqs a" {
			t.Errorf("replaying to a target that refuses: %v", err)
		}
		s.setDo(nil)
		if err := n.Replay(t.Context(), dead[0].Seq); err != nil {
			t.Errorf("replaying: %v", err)
		}
		same(t, "after replaying", s.at(queueA), []string{"m 2", "m 1"})
		if err := n.Replay(t.Context(), dead[0].Seq); !errors.Is(err, ErrNoDeadLetter) {
			t.Errorf("replaying again: %v", err)
		}
	})
}

// A process that ends lets the next one go on where it was, and what it could
// not write is sent again with the same id.
func TestGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		create(t, store, "m", 10, queueA, "")
		var ids []string
		hold := make(chan struct{})
		s.setDo(func(ctx context.Context, _ string, m Message) error {
			ids = append(ids, m.Event.ID)
			if m.Event.Number == 5 {
				select {
				case <-hold:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		n := start(t, store, s)
		synctest.Wait()
		stop(t, n)
		same(t, "before", s.at(queueA), numbers("m", 1, 4))
		close(hold)
		n = start(t, store, s)
		time.Sleep(time.Second)
		stop(t, n)
		same(t, "in all", s.at(queueA), numbers("m", 1, 10))
		if len(ids) != 11 || ids[4] != ids[5] {
			t.Errorf("the event under way was not sent again with its id: %v", ids)
		}
	})
}

// shaky is a store whose updates fail for a while.
type shaky struct {
	meeting.Store
	mu   sync.Mutex
	fail bool
}

func (s *shaky) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail {
		return meeting.Errorf(meeting.CodeUnavailable, "no disk")
	}
	return s.Store.Update(ctx, fn)
}

// While progress cannot be written nothing is sent twice.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, s := memory.New(), &sink{}
		store := &shaky{Store: inner, fail: true}
		n := start(t, store, s)
		defer stop(t, n)
		create(t, inner, "m", 3, queueA, "")
		time.Sleep(10 * time.Second)
		emit(t, inner, "m", 3)
		time.Sleep(10 * time.Second)
		same(t, "sent", s.at(queueA), numbers("m", 1, 6))
		same(t, "not written", len(undelivered(t, inner)), 6)
		store.mu.Lock()
		store.fail = false
		store.mu.Unlock()
		time.Sleep(2 * time.Second)
		same(t, "written", undelivered(t, inner), []string(nil))
	})
}

func TestEnvelope(t *testing.T) {
	e := meeting.Event{ID: "i", Number: 7, Type: meeting.EventAttendeeJoined, At: time.UnixMilli(1722953734123), Account: "123456789012",
		Region: "eu-central-1", MeetingID: "m", MediaRegion: "eu-west-1", AttendeeID: "a", ExternalUserID: "u", NetworkType: "Voip"}
	got, err := Envelope(e)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "envelope", string(got), `{"version":"0","id":"i","detail-type":"Chime Meeting State Change","source":"aws.chime",`+
		`"account":"123456789012","time":"2024-08-06T14:15:34Z","region":"eu-central-1","resources":[],"detail":{"version":"0",`+
		`"eventType":"chime:AttendeeJoined","timestamp":1722953734123,"meetingId":"m","externalMeetingId":null,`+
		`"mediaRegion":"eu-west-1","attendeeId":"a","externalUserId":"u","networkType":"Voip"}}`)
}

func TestEnvelopeOfCapabilities(t *testing.T) {
	got, err := Envelope(meeting.Event{Type: meeting.EventAttendeeCapabilitiesUpdated, At: time.UnixMilli(0), ExternalMeetingID: "x", AttendeeID: "a",
		Capabilities: &meeting.Capabilities{Audio: meeting.Send, Video: meeting.Receive, Content: meeting.NoMedia}})
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(got), `"timestamp"`)
	same(t, "detail", tail, `:0,"meetingId":"","externalMeetingId":"x","mediaRegion":"","attendeeId":"a",`+
		`"success":"1","attendeeCapabilities":{"audio":"Send","video":"Receive","content":"None"}}}`)
}
