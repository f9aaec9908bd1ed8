package notify

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// node is one of several Notifiers on a store, which can be cut off from it.
type node struct {
	*Notifier
	name  string
	store *severed
}

// severed is a store that a node may be cut off from: what asks it then hangs.
type severed struct {
	meeting.Store
	mu  sync.Mutex
	cut bool
}

func (s *severed) set(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
}

func (s *severed) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	s.mu.Lock()
	cut := s.cut
	s.mu.Unlock()
	if cut {
		<-ctx.Done()
		return meeting.Errorf(meeting.CodeUnavailable, "cut off")
	}
	return s.Store.Update(ctx, fn)
}

// journal is what targets got, from whom and when, in order.
type journal struct {
	mu   sync.Mutex
	list []entry
	slow time.Duration
}

type entry struct {
	from, what string
	at         time.Time
}

func (j *journal) sender(from string) Sender { return journalSender{j, from} }

type journalSender struct {
	*journal
	from string
}

func (s journalSender) Send(ctx context.Context, _ string, m Message) error {
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, entry{s.from, fmt.Sprint(m.Event.MeetingID, " ", m.Event.Number), time.Now()})
	return nil
}

// first is what came, without repetitions; again counts those.
func (j *journal) first() (list []string, again int, from map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seen := map[string]bool{}
	from = map[string]int{}
	for _, e := range j.list {
		from[e.from]++
		if seen[e.what] {
			again++
			continue
		}
		seen[e.what] = true
		list = append(list, e.what)
	}
	return list, again, from
}

func startNode(t *testing.T, name string, store meeting.Store, j *journal) *node {
	t.Helper()
	n := &node{name: name, store: &severed{Store: store}}
	var err error
	n.Notifier, err = Start(t.Context(), Config{Store: n.store, Shared: true,
		Senders: map[meeting.TargetKind]Sender{meeting.TargetSQS: j.sender(name)}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Of two nodes one delivers; the other begins when the first is closed.
func TestOneNodeDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, j := memory.New(), &journal{}
		create(t, store, "m", 5, queueA, "")
		a := startNode(t, "a", store, j)
		synctest.Wait()
		b := startNode(t, "b", store, j)
		for range 100 {
			emit(t, store, "m", 1)
			time.Sleep(10 * time.Second)
		}
		list, again, from := j.first()
		same(t, "delivered", list, numbers("m", 1, 105))
		same(t, "again", again, 0)
		same(t, "by", from, map[string]int{"a": 105})

		stop(t, a.Notifier)
		emit(t, store, "m", 5)
		time.Sleep(3 * time.Second) // the lease was given back: nobody waits for its end
		list, again, from = j.first()
		same(t, "after a was closed", list, numbers("m", 1, 110))
		same(t, "again", again, 0)
		same(t, "by", from, map[string]int{"a": 105, "b": 5})
		stop(t, b.Notifier)
		same(t, "left in the store", undelivered(t, store), []string(nil))
	})
}

// A node that loses the store stops before another begins, and then stays back.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, j := memory.New(), &journal{slow: 300 * time.Millisecond}
		create(t, store, "m", 500, queueA, "")
		a := startNode(t, "a", store, j)
		synctest.Wait()
		b := startNode(t, "b", store, j)
		time.Sleep(20 * time.Second)
		a.store.set(true)
		time.Sleep(3 * time.Minute)
		j.mu.Lock()
		var lastOfA, firstOfB time.Time
		for _, e := range j.list {
			if e.from == "a" {
				lastOfA = e.at
			} else if firstOfB.IsZero() {
				firstOfB = e.at
			}
		}
		j.mu.Unlock()
		if firstOfB.IsZero() || !lastOfA.Before(firstOfB) {
			t.Errorf("a sent until %v, b from %v", lastOfA, firstOfB)
		}
		list, again, _ := j.first()
		same(t, "delivered", list, numbers("m", 1, 500))
		// What a sent and could not note any more, b sent again: no more than it
		// can send while its lease lasts.
		if again == 0 || again > 40 {
			t.Errorf("%d were sent again", again)
		}
		a.store.set(false)
		emit(t, store, "m", 10)
		time.Sleep(time.Minute)
		list, _, from := j.first()
		same(t, "with a back", list, numbers("m", 1, 510))
		if from["a"] > 500 || from["b"] < 10 {
			t.Errorf("by %v", from)
		}
		stop(t, b.Notifier)
		time.Sleep(5 * time.Second)
		emit(t, store, "m", 3)
		time.Sleep(5 * time.Second)
		list, _, _ = j.first()
		same(t, "by a again", list, numbers("m", 1, 513))
		stop(t, a.Notifier)
		same(t, "left in the store", undelivered(t, store), []string(nil))
	})
}

// Two nodes that give an event up both leave one dead letter.
func TestOneDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		create(t, store, "m", 2, queueA, "")
		var cfg Config
		to := meeting.Target{Kind: meeting.TargetSQS, Address: queueA}
		for range 2 {
			update(t, store, func(tx meeting.Tx) {
				cfg.bury(tx, laneKey{to, "m"}, []meeting.DeadLetter{{Target: to, Event: meeting.Event{MeetingID: "m", Number: 1}}})
				tx.SetDelivered("m", to, 1)
			})
		}
		_ = store.View(t.Context(), func(r meeting.Reader) error {
			same(t, "dead letters", r.DeadLetterCount(), 1)
			return nil
		})
	})
}
