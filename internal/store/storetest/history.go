package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"

	"github.com/anishathalye/porcupine"
)

// Step is what a caller asks of a store about one thing: an attendee of one
// meeting by its user, or a meeting by its ClientRequestToken ("token…").
type Step struct {
	Kind string // make, join, leave, delete, read; find and make are one, as they are for idempotent creation
	Who  string
	ID   string // that make proposes
}

func (s Step) ofMeeting() bool { return strings.HasPrefix(s.Who, "token") }

// Outcome is what was there, or what was made.
type Outcome struct {
	ID     string // "" for nothing
	Joined bool   // as it was found
}

// history is what may be: each thing is judged by itself. An output that is nil
// is not known; the step may have happened or not.
var history = (&porcupine.NondeterministicModel{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range ops {
			by[o.Input.(Step).Who] = append(by[o.Input.(Step).Who], o)
		}
		var out [][]porcupine.Operation
		for _, part := range by {
			out = append(out, part)
		}
		return out
	},
	Init: func() []any { return []any{Outcome{}} },
	Step: func(state, input, output any) []any {
		now, in := state.(Outcome), input.(Step)
		after, said := now, now // said is what the caller must have been told
		switch {
		case in.Kind == "make" && now.ID == "":
			after = Outcome{ID: in.ID}
			said = after
		case in.Kind == "join":
			after.Joined = now.ID != ""
		case in.Kind == "leave":
			after.Joined = false
		case in.Kind == "delete":
			after = Outcome{}
		}
		switch {
		case output == nil && after != now:
			return []any{now, after}
		case output == nil || output.(Outcome) == said:
			return []any{after}
		}
		return nil
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}).ToModel()

// History is what concurrent callers of one state did and saw. Its clock counts
// calls and returns, so it needs no other.
type History struct {
	mu      sync.Mutex
	clock   int64
	ops     []porcupine.Operation
	pending map[string]porcupine.Operation // called and not returned
}

// Call notes that a step begins, before it does. call names it for Return.
func (h *History) Call(call string, in Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending == nil {
		h.pending = map[string]porcupine.Operation{}
	}
	h.clock++
	h.pending[call] = porcupine.Operation{ClientId: len(h.pending), Input: in, Call: h.clock}
}

// Return notes that a step has ended; out is nil when it is not known how.
func (h *History) Return(call string, out *Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(call, out)
}

func (h *History) end(call string, out *Outcome) {
	o, ok := h.pending[call]
	if !ok {
		return
	}
	delete(h.pending, call)
	h.clock++
	if o.Return = h.clock; out != nil {
		o.Output = *out
	}
	if out != nil || o.Input.(Step).Kind != "read" { // a read that nobody saw says nothing
		h.ops = append(h.ops, o)
	}
}

// Restarted notes that the store was opened again after an end of whatever
// sort: what had not returned has happened by now, or never will.
func (h *History) Restarted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for call := range h.pending {
		h.end(call, nil)
	}
}

// Len is how many steps have ended.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// Check fails unless there is an order of single steps that explains the
// history.
func (h *History) Check(t *testing.T) {
	t.Helper()
	h.Restarted()
	h.mu.Lock()
	defer h.mu.Unlock()
	unknown := 0
	for _, o := range h.ops {
		if o.Output == nil {
			unknown++
		}
	}
	if result, _ := porcupine.CheckOperationsVerbose(history, h.ops, 10*time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable: %s", len(h.ops), result)
	}
	t.Logf("a history of %d operations, %d of unknown outcome", len(h.ops), unknown)
}

// historyRoom is the meeting of the attendees in a History.
var historyRoom = id('m', 7000)

// MakeRoom makes the meeting that a History's attendees are of, if it is not
// there.
func MakeRoom(s meeting.Store) error {
	return s.Update(context.Background(), func(tx meeting.Tx) error {
		if _, ok := tx.Meeting(historyRoom); !ok {
			tx.PutMeeting(newMeeting(7000))
		}
		return nil
	})
}

// RandomStep draws a step for one of a few attendees and meetings. What it
// proposes is unique.
func RandomStep(rnd *rand.Rand) Step {
	in := Step{Kind: "make", Who: fmt.Sprint("u", rnd.IntN(3)), ID: fmt.Sprintf("aa000000-0000-4000-8000-%012x", rnd.Uint64()>>16)}
	switch rnd.IntN(6) {
	case 0:
		in.Kind = "delete"
	case 1, 2:
		in.Kind = "read"
	case 3:
		in.Kind = "join"
	case 4:
		in.Kind = "leave"
	}
	if rnd.IntN(3) == 0 {
		in.Who = fmt.Sprint("token", rnd.IntN(2))
		if in.Kind == "join" || in.Kind == "leave" {
			in.Kind = "make"
		}
	}
	return in
}

// Do does one step. mayView is for a store whose views are not behind others.
func Do(s meeting.Store, in Step, mayView bool) (out Outcome, err error) {
	look := func(r meeting.Reader) error {
		out = Outcome{}
		if in.ofMeeting() {
			if m, ok := r.MeetingByToken(account, in.Who); ok {
				out.ID = m.ID
			}
		} else if a, ok := r.AttendeeByUser(historyRoom, in.Who); ok {
			out.ID = a.ID
			_, out.Joined = r.Presence(historyRoom, a.ID)
		}
		return nil
	}
	if in.Kind == "read" && mayView {
		err = s.View(context.Background(), look)
		return out, err
	}
	err = s.Update(context.Background(), func(tx meeting.Tx) error {
		_ = look(tx)
		switch {
		case in.Kind == "delete" && in.ofMeeting():
			tx.DeleteMeeting(out.ID)
		case in.Kind == "delete":
			tx.DeletePresence(historyRoom, out.ID, epoch)
			tx.DeleteAttendee(historyRoom, out.ID)
		case in.Kind == "leave":
			tx.DeletePresence(historyRoom, out.ID, epoch)
		case in.Kind == "join" && out.ID != "":
			tx.PutPresence(meeting.Presence{MeetingID: historyRoom, AttendeeID: out.ID, Since: epoch})
		case in.Kind == "make" && out.ID == "" && in.ofMeeting():
			out.ID = tx.PutMeeting(&meeting.Meeting{ID: in.ID, Account: account, ClientRequestToken: in.Who, CreatedAt: epoch}).ID
		case in.Kind == "make" && out.ID == "":
			out.ID = tx.PutAttendee(&meeting.Attendee{ID: in.ID, MeetingID: historyRoom, ExternalUserID: in.Who, CreatedAt: epoch}).ID
		}
		return nil
	})
	return out, err
}

const (
	historyClients = 8
	historySteps   = 50 // of each client
)

// testLinearizable records what concurrent callers did and saw, and checks that
// there is an order of single steps that explains it.
func testLinearizable(t *testing.T, o Opener) {
	Linearizable(t, open(t, o))
}

// Linearizable checks a history over one or more stores that share their state.
func Linearizable(t *testing.T, stores ...meeting.Store) {
	t.Helper()
	if err := MakeRoom(stores[0]); err != nil {
		t.Fatal(err)
	}
	var h History
	var wg sync.WaitGroup
	for c := range historyClients {
		// A view of another node's store may lag, so only updates are held to one
		// order there.
		s, mayView := stores[c%len(stores)], len(stores) == 1
		rnd := rand.New(rand.NewPCG(uint64(c), 1))
		wg.Go(func() {
			for k := range historySteps {
				call, in := fmt.Sprint(c, "/", k), RandomStep(rnd)
				h.Call(call, in)
				out, err := Do(s, in, mayView)
				if err != nil {
					t.Error(err)
					return
				}
				h.Return(call, &out)
			}
		})
	}
	wg.Wait()
	h.Check(t)
}

// testLinearizableOverRestarts closes the store under the callers and opens it
// again. An update that is not answered then may have happened.
func testLinearizableOverRestarts(t *testing.T, o Opener) {
	if o.Reopen == nil {
		t.Skip("this store keeps nothing")
	}
	s := open(t, o)
	if err := MakeRoom(s); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	opened := sync.NewCond(&mu)
	life := 0
	current := func(after int) (meeting.Store, int) {
		mu.Lock()
		defer mu.Unlock()
		for life < after {
			opened.Wait()
		}
		return s, life
	}
	const restarts = 3
	var h History
	var wg sync.WaitGroup
	for c := range historyClients {
		rnd := rand.New(rand.NewPCG(uint64(c), 2))
		wg.Go(func() {
			store, of := current(0)
			for k := range historySteps {
				call, in := fmt.Sprint(c, "/", k), RandomStep(rnd)
				h.Call(call, in)
				out, err := Do(store, in, true)
				switch {
				case err == nil:
					h.Return(call, &out)
				case meeting.CodeOf(err) == meeting.CodeUnavailable && of < restarts:
					store, of = current(of + 1) // it never returns: a store elsewhere may still do it
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range restarts {
		goal := (n + 1) * historyClients * historySteps / (restarts + 2)
		for deadline := time.Now().Add(5 * time.Minute); h.Len() < goal; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d steps of %d ended in five minutes", h.Len(), goal)
				break
			}
		}
		again := o.Reopen(t, s)
		mu.Lock()
		s = again
		life++
		opened.Broadcast()
		mu.Unlock()
	}
	wg.Wait()
	h.Check(t)
}

// A page of a list, as a step: it must be what one moment's list has after a
// Seq.
type pageStep struct {
	kind  string // add, remove, page
	id    string // of add and remove
	after uint64
}

type pageOutcome struct {
	seq  uint64 // of add
	list string // of page: "seq id " for each
}

const pageSize = 3

// paging has as its state the list, as pageOutcome has it.
var paging = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(string), input.(pageStep), output.(pageOutcome)
		items := strings.SplitAfter(now, ";")
		items = items[:len(items)-1]
		seqOf := func(item string) (seq uint64) { _, _ = fmt.Sscan(item, &seq); return seq }
		switch in.kind {
		case "add":
			if n := len(items); n > 0 && seqOf(items[n-1]) >= out.seq {
				return false, now
			}
			return true, now + fmt.Sprintf("%d %s;", out.seq, in.id)
		case "remove":
			left := ""
			for _, item := range items {
				if !strings.HasSuffix(item, " "+in.id+";") {
					left += item
				}
			}
			return true, left
		default:
			page, n := "", 0
			for _, item := range items {
				if seqOf(item) > in.after && n < pageSize {
					page += item
					n++
				}
			}
			return page == out.list, now
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// testLinearizablePages lists page by page while others add and remove.
func testLinearizablePages(t *testing.T, o Opener) {
	s := open(t, o)
	if err := MakeRoom(s); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var clock int64
	var ops []porcupine.Operation
	tick := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		clock++
		return clock
	}
	note := func(client int, call int64, in pageStep, out pageOutcome) {
		mu.Lock()
		defer mu.Unlock()
		clock++
		ops = append(ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: clock})
	}
	var wg sync.WaitGroup
	for c := range 3 {
		rnd := rand.New(rand.NewPCG(uint64(c), 3))
		wg.Go(func() {
			var mine []string
			for k := range 20 {
				if len(mine) > 0 && rnd.IntN(3) == 0 {
					i := rnd.IntN(len(mine))
					in, call := pageStep{kind: "remove", id: mine[i]}, tick()
					if err := s.Update(context.Background(), func(tx meeting.Tx) error { tx.DeleteAttendee(historyRoom, in.id); return nil }); err != nil {
						t.Error(err)
						return
					}
					note(c, call, in, pageOutcome{})
					mine = append(mine[:i], mine[i+1:]...)
					continue
				}
				var out pageOutcome
				in, call := pageStep{kind: "add", id: id('p', c*100+k)}, tick()
				err := s.Update(context.Background(), func(tx meeting.Tx) error {
					out.seq = tx.PutAttendee(&meeting.Attendee{ID: in.id, MeetingID: historyRoom, ExternalUserID: in.id, CreatedAt: epoch}).Seq
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				note(c, call, in, out)
				mine = append(mine, in.id)
			}
		})
	}
	for c := range 2 {
		wg.Go(func() {
			after := uint64(0)
			for range 25 {
				var out pageOutcome
				in, call := pageStep{kind: "page", after: after}, tick()
				after = math.MaxUint64
				err := s.View(context.Background(), func(r meeting.Reader) error {
					list := r.Attendees(historyRoom, in.after, pageSize)
					for _, a := range list {
						out.list += fmt.Sprintf("%d %s;", a.Seq, a.ID)
						after = a.Seq
					}
					if len(list) < pageSize {
						after = 0 // from the beginning
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				note(3+c, call, in, out)
				time.Sleep(time.Millisecond) // readers are faster than writers
			}
		})
	}
	wg.Wait()
	if result, _ := porcupine.CheckOperationsVerbose(paging, ops, 2*time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d pages and changes is not linearizable: %s", len(ops), result)
	}
}
