package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// unsteady takes messages, alone or together, and fails as it likes: before it
// has a message, or after, so that its word is lost.
type unsteady struct {
	t   *testing.T
	mu  sync.Mutex
	rng *rand.Rand
	got map[string][]uint64 // by address and meeting, without what came again
	// bad is how many of a hundred fail.
	bad, again, requests, messages int
}

func (u *unsteady) BatchSize() int { return 10 }

func (u *unsteady) Send(ctx context.Context, address string, m Message) error {
	return u.SendBatch(ctx, address, []Message{m})[0]
}

func (u *unsteady) SendBatch(ctx context.Context, address string, list []Message) []error {
	u.mu.Lock()
	took := time.Duration(u.rng.IntN(50)) * time.Millisecond
	u.requests++
	u.messages += len(list)
	u.mu.Unlock()
	time.Sleep(took)
	u.mu.Lock()
	defer u.mu.Unlock()
	errs := make([]error, len(list))
	if u.rng.IntN(100) < u.bad {
		return all(len(list), errors.New("away"))
	}
	seen := map[string]bool{}
	for i, m := range list {
		if seen[m.Event.MeetingID] {
			u.t.Errorf("one request has two messages of %s", m.Event.MeetingID)
		}
		seen[m.Event.MeetingID] = true
		chance := u.rng.IntN(100)
		if chance < u.bad/2 {
			errs[i] = errors.New("not this one")
			continue
		}
		if chance < u.bad {
			errs[i] = errors.New("the word of it is lost")
		}
		key := address + " " + m.Event.MeetingID
		have := u.got[key]
		switch last := uint64(len(have)); {
		case m.Event.Number == last+1:
			u.got[key] = append(have, m.Event.Number)
		case m.Event.Number <= last:
			u.again++
		default:
			u.t.Errorf("%s: event %d after %d", key, m.Event.Number, last)
		}
	}
	return errs
}

// Whatever fails, a meeting's events come in order and none is lost, alone and in
// requests with those of other meetings, over restarts as well.
func TestOrderOverFailures(t *testing.T) {
	for seed := range uint64(9) {
		synctest.Test(t, func(t *testing.T) {
			store := memory.New()
			u := &unsteady{t: t, rng: rand.New(rand.NewPCG(seed, 1)), got: map[string][]uint64{}, bad: int(seed % 3 * 20)}
			mine := rand.New(rand.NewPCG(seed, 2))
			begin := func() *Notifier {
				n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{meeting.TargetSQS: u, meeting.TargetSNS: u}})
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			n := begin()
			want := map[string]int{}
			for i := range 30 {
				create(t, store, fmt.Sprint("m", i), 0, queueA, queueB)
			}
			for range 60 {
				id := fmt.Sprint("m", mine.IntN(30))
				more := mine.IntN(40)
				emit(t, store, id, more)
				for _, q := range []string{queueA, queueB} {
					want[q+" "+id] += more
				}
				time.Sleep(time.Duration(mine.IntN(2000)) * time.Millisecond)
				if mine.IntN(20) == 0 {
					stop(t, n)
					n = begin()
				}
			}
			for range 600 { // hours, if need be
				if len(undelivered(t, store)) == 0 {
					break
				}
				time.Sleep(time.Minute)
			}
			stop(t, n)
			got := map[string]int{}
			for key, list := range u.got {
				got[key] = len(list)
			}
			for key, n := range want {
				if n == 0 {
					delete(want, key)
				}
			}
			same(t, fmt.Sprint("events by target and meeting, seed ", seed), got, want)
			if u.bad == 0 && u.again > 0 {
				t.Errorf("seed %d: %d came again though nothing failed", seed, u.again)
			}
		})
	}
}

// Many meetings share requests to a queue.
func TestManyMeetingsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		u := &unsteady{t: t, rng: rand.New(rand.NewPCG(1, 1)), got: map[string][]uint64{}}
		for i := range 100 {
			create(t, store, fmt.Sprint("m", i), 5, queueA, "")
		}
		n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{meeting.TargetSQS: u}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		stop(t, n)
		if u.messages != 500 || u.requests > 60 {
			t.Errorf("%d messages in %d requests", u.messages, u.requests)
		}
	})
}

// A target that is away for an hour gets all that happened meanwhile, in order,
// soon after it is back.
func TestAwayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		s.setDo(func(ctx context.Context, _ string, _ Message) error { <-ctx.Done(); return ctx.Err() })
		n := start(t, store, s)
		defer stop(t, n)
		const meetings, minutes, each = 200, 60, 3
		for i := range meetings {
			create(t, store, fmt.Sprint("m", i), 0, queueA, "")
		}
		for range minutes {
			for i := range meetings {
				emit(t, store, fmt.Sprint("m", i), each)
			}
			time.Sleep(time.Minute)
		}
		same(t, "while away", len(s.at(queueA)), 0)
		s.setDo(nil)
		time.Sleep(2 * time.Minute)
		by := map[string][]string{}
		for _, got := range s.at(queueA) {
			var id string
			var number int
			fmt.Sscan(got, &id, &number)
			by[id] = append(by[id], got)
		}
		same(t, "meetings", len(by), meetings)
		for id, got := range by {
			same(t, id, got, numbers(id, 1, minutes*each))
		}
		same(t, "left in the store", undelivered(t, store), []string(nil))
	})
}
