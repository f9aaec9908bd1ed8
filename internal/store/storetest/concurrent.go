package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"

	"github.com/anishathalye/porcupine"
)

// testConcurrent has many writers at once, some of which fail, and readers that
// look for anything half done.
func testConcurrent(t *testing.T, o Opener) {
	s := open(t, o)
	const writers, each = 16, 20
	update(t, s, func(tx meeting.Tx) { tx.PutMeeting(newMeeting(0)) })
	var mu sync.Mutex
	var order []uint64 // Seqs as the watcher saw them
	defer s.Watch(func(c meeting.Commit) {
		mu.Lock()
		defer mu.Unlock()
		for _, ch := range c.Changes {
			if ch.AttendeePut != nil {
				order = append(order, ch.AttendeePut.Seq)
			}
		}
	})()
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			view(t, s, func(r meeting.Reader) {
				list := r.Attendees(id('m', 0), 0, writers*each*2)
				if len(list)%2 != 0 || len(list) != r.AttendeeCount(id('m', 0)) {
					t.Errorf("half a commit is visible: %d attendees, count %d", len(list), r.AttendeeCount(id('m', 0)))
				}
			})
		}
	})
	for w := range writers {
		all.Go(func() {
			for k := range each {
				n := (w*each + k) * 2
				err := s.Update(context.Background(), func(tx meeting.Tx) error {
					tx.PutAttendee(newAttendee(0, n))
					if k%5 == 4 {
						return errRefused
					}
					tx.PutAttendee(newAttendee(0, n+1))
					return nil
				})
				if (k%5 == 4) != (err == errRefused) || k%5 != 4 && err != nil {
					t.Errorf("writer %d, update %d: %v", w, k, err)
				}
				if err == nil {
					view(t, s, func(r meeting.Reader) {
						if !has(r.Attendee(id('m', 0), id('a', n))) {
							t.Error("Update returned before its write was visible")
						}
					})
				}
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	view(t, s, func(r meeting.Reader) {
		list := r.Attendees(id('m', 0), 0, writers*each*2)
		equal(t, "attendees", len(list), writers*each/5*4*2)
		var seqs []uint64
		for i, a := range list {
			seqs = append(seqs, a.Seq)
			if i > 0 && a.Seq <= list[i-1].Seq {
				t.Fatalf("not in order: Seq %d after %d", a.Seq, list[i-1].Seq)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		equal(t, "order of the watcher's calls", order, seqs)
	})
}

// testOneToken races 50 callers that each make the meeting of one token.
func testOneToken(t *testing.T, o Opener) {
	s := open(t, o)
	made := make([]string, 50)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx meeting.Tx) error {
				if m, ok := tx.MeetingByToken(account, "one"); ok {
					made[i] = m.ID
					return nil
				}
				m := newMeeting(i)
				m.ClientRequestToken = "one"
				made[i] = tx.PutMeeting(m).ID
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range made {
		if got != made[0] || got == "" {
			t.Fatalf("meetings made: %q", made)
		}
	}
	view(t, s, func(r meeting.Reader) { equal(t, "count", r.MeetingCount(account), 1) })
}

// The history that porcupine judges: users of one meeting that are found or
// made, join and leave, are deleted and read. Each user is judged by itself.
type op struct {
	kind string // make, join, leave, delete, read
	user string
	id   string // that make proposes
}

type opResult struct {
	id     string // found or made, "" for none
	joined bool   // as it was found
}

var history = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range ops {
			by[o.Input.(op).user] = append(by[o.Input.(op).user], o)
		}
		var out [][]porcupine.Operation
		for _, part := range by {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return opResult{} },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(opResult), input.(op), output.(opResult)
		switch in.kind {
		case "make":
			if now.id == "" {
				return out == opResult{id: in.id}, out
			}
			return out == now, now
		case "join":
			return out == now, opResult{now.id, now.id != ""}
		case "leave":
			return out == now, opResult{id: now.id}
		case "delete":
			return out == now, opResult{}
		default:
			return out == now, now
		}
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

// testLinearizable records what concurrent callers did and saw, and checks that
// there is an order of single steps that explains it.
func testLinearizable(t *testing.T, o Opener) {
	Linearizable(t, open(t, o))
}

// Linearizable checks a history over one or more stores that share their state.
func Linearizable(t *testing.T, stores ...meeting.Store) {
	t.Helper()
	update(t, stores[0], func(tx meeting.Tx) { tx.PutMeeting(newMeeting(7000)) })
	room := id('m', 7000)
	const clients, each = 8, 40
	var mu sync.Mutex
	var ops []porcupine.Operation
	begun := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		// A view of another node's store may lag, so only updates are held to one
		// order there.
		s, mayRead := stores[c%len(stores)], len(stores) == 1
		rnd := rand.New(rand.NewPCG(uint64(c), 1))
		wg.Go(func() {
			for k := range each {
				in := op{kind: "make", user: fmt.Sprint("u", rnd.IntN(3)), id: id('l', c*each+k)}
				switch rnd.IntN(6) {
				case 0:
					in.kind = "delete"
				case 1, 2:
					in.kind = "read"
				case 3:
					in.kind = "join"
				case 4:
					in.kind = "leave"
				}
				call := time.Since(begun).Nanoseconds()
				out, err := doOp(s, room, in, mayRead)
				ret := time.Since(begun).Nanoseconds()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: c, Input: in, Output: out, Call: call, Return: ret})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if result, _ := porcupine.CheckOperationsVerbose(history, ops, 30*time.Second); result != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable: %s", len(ops), result)
	}
}

func doOp(s meeting.Store, room string, in op, mayView bool) (out opResult, err error) {
	look := func(r meeting.Reader) error {
		out = opResult{}
		if a, ok := r.AttendeeByUser(room, in.user); ok {
			out.id = a.ID
			_, out.joined = r.Presence(room, a.ID)
		}
		return nil
	}
	switch {
	case in.kind == "read" && mayView:
		err = s.View(context.Background(), look)
	case in.kind == "read":
		err = s.Update(context.Background(), func(tx meeting.Tx) error { return look(tx) })
	case in.kind == "delete":
		err = s.Update(context.Background(), func(tx meeting.Tx) error {
			look(tx)
			tx.DeletePresence(room, out.id, epoch)
			tx.DeleteAttendee(room, out.id)
			return nil
		})
	case in.kind == "leave":
		err = s.Update(context.Background(), func(tx meeting.Tx) error {
			look(tx)
			tx.DeletePresence(room, out.id, epoch)
			return nil
		})
	case in.kind == "join":
		err = s.Update(context.Background(), func(tx meeting.Tx) error {
			if look(tx); out.id != "" {
				tx.PutPresence(meeting.Presence{MeetingID: room, AttendeeID: out.id, Since: epoch})
			}
			return nil
		})
	default:
		err = s.Update(context.Background(), func(tx meeting.Tx) error {
			if look(tx); out.id == "" {
				out.id = tx.PutAttendee(&meeting.Attendee{ID: in.id, MeetingID: room, ExternalUserID: in.user}).ID
			}
			return nil
		})
	}
	return out, err
}
