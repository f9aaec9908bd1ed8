package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/test/kit"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lossy loses messages on their way to the log, or the log's answers.
type lossy struct {
	jetstream.JetStream
	// next takes what becomes of the next messages; it is of the writer alone.
	next []fate
	// meanwhile runs after a message was lost.
	meanwhile func()
}

type fate int

const (
	arrives fate = iota
	lost
	answerLost
)

func (l *lossy) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	what := arrives
	if len(l.next) > 0 {
		what, l.next = l.next[0], l.next[1:]
	}
	if what == lost {
		if l.meanwhile != nil {
			l.meanwhile()
		}
		return nil, nats.ErrTimeout
	}
	ack, err := l.JetStream.Publish(ctx, subject, data, opts...)
	if what == answerLost {
		return nil, nats.ErrTimeout
	}
	return ack, err
}

// TestLostMessages commits exactly once, whatever is lost, and gives the caller
// what was committed.
func TestLostMessages(t *testing.T) {
	for name, c := range map[string]struct {
		fates     []fate
		meanwhile bool // another node commits while the message is lost
		runs      int
	}{
		"nothing":                         {nil, false, 1},
		"the message":                     {[]fate{lost}, false, 1},
		"the message, again and again":    {[]fate{lost, lost, lost}, false, 1},
		"the answer":                      {[]fate{answerLost}, false, 1},
		"the message, then the answer":    {[]fate{lost, answerLost}, false, 1},
		"the message, another came first": {[]fate{lost}, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, Config{})
			put(t, a, "sum", "")
			add := func(s *Store) (value string, runs int, err error) {
				err = s.Update(context.Background(), func(tx meeting.Tx) error {
					runs++
					v, _ := tx.Setting("sum")
					value = string(v) + "x"
					tx.PutSetting("sum", []byte(value))
					return nil
				})
				return value, runs, err
			}
			link := &lossy{JetStream: a.js, next: c.fates}
			want := "x"
			if c.meanwhile {
				want = "xx"
				link.meanwhile = func() {
					if _, _, err := add(b); err != nil {
						t.Error(err)
					}
				}
			}
			a.js = link
			got, runs, err := add(a)
			if err != nil || got != want || runs != c.runs {
				t.Errorf("the update returned %q after %d runs, %v; want %q after %d", got, runs, err, want, c.runs)
			}
			expect(t, a, "sum", want)
			eventually(t, func() string {
				if v, _ := get(t, b, "sum"); v != want {
					return fmt.Sprintf("the other node has %q, want %q", v, want)
				}
				return ""
			})
		})
	}
}

// TestUnknownOutcome loses every message: the caller is told that it is not
// known whether the change was made, and the store goes on.
func TestUnknownOutcome(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	link := &lossy{JetStream: s.js}
	for range 1000 {
		link.next = append(link.next, lost)
	}
	s.js = link
	patient := s.cfg.CommitTimeout
	s.cfg.CommitTimeout = 50 * time.Millisecond
	err := tryPut(s, "key", "lost")
	if meeting.CodeOf(err) != meeting.CodeUnavailable || !strings.Contains(err.Error(), "could not confirm") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("update: %v", err)
	}
	link.next, s.cfg.CommitTimeout = nil, patient
	put(t, s, "key", "found")
	expect(t, s, "key", "found")
}

// TestAbandonedUpdate is in a batch with one that is not.
func TestAbandonedUpdate(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	gone := &update{result: make(chan error, 1), fn: func(meeting.Tx) error { t.Error("an abandoned update ran"); return nil }}
	here := &update{result: make(chan error, 1), fn: func(tx meeting.Tx) error { tx.PutSetting("x", nil); return nil }}
	if !gone.abandon() {
		t.Error("an update that did not run cannot be abandoned")
	}
	a := s.run([]*update{gone, here})
	if len(a.updates) != 2 || len(a.ops) != 1 || a.results[0] == nil || a.results[1] != nil {
		t.Errorf("the batch: %+v", a)
	}
	if here.abandon() {
		t.Error("an update that ran can be abandoned")
	}
	if !here.start() {
		t.Error("an update cannot run again")
	}
}

// TestCancelled ends the context of updates that the writer has taken, before
// and after it runs them. The test is the writer.
func TestCancelled(t *testing.T) {
	s := &Store{updates: make(chan *update), done: make(chan struct{}), ctx: context.Background()}
	ctx, cancel := context.WithCancel(context.Background())
	returned := make(chan error, 1)
	call := func(ctx context.Context) *update {
		go func() { returned <- s.Update(ctx, func(meeting.Tx) error { return nil }) }()
		return <-s.updates
	}
	u := call(ctx)
	cancel()
	select {
	case err := <-returned:
		if !errors.Is(err, context.Canceled) || meeting.CodeOf(err) != meeting.CodeUnavailable {
			t.Errorf("before it ran: %v", err)
		}
	case <-time.After(kit.Patience):
		t.Fatal("an update that has not run keeps its caller after the end of the context")
	}
	if u.start() {
		t.Error("it may still run")
	}
	ctx, cancel = context.WithCancel(context.Background())
	u = call(ctx)
	if !u.start() {
		t.Fatal("it may not run")
	}
	cancel()
	outcome := errors.New("the outcome")
	u.result <- outcome
	if err := <-returned; err != outcome {
		t.Errorf("after it ran: %v, want its outcome", err)
	}
}
