// Package notify delivers what happened in meetings to those who asked for it:
// the SQS queue, SNS topic and Lambda function of its NotificationsConfiguration, and
// the webhooks of the settings. The events themselves are in the store, written
// in the same step as what they tell of; the store is the queue, and also keeps
// how far each target is with each meeting, so nothing is lost when the process
// is killed. An event may be sent twice then, with the same id.
//
// A [Notifier] hears from the store that a meeting has something new and gives
// it to the meeting's targets. A target has up to a few workers while it has
// work; each takes one meeting (a lane), sends its events one after the other,
// and lets it go. So a meeting's events reach a target in order, and a target
// that fails or hangs holds up itself alone. A failing lane and a failing target
// wait with growing pauses; an event that was refused for a day becomes a dead
// letter, and the next one has its turn.
package notify

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

// Message is one event as a Sender gets it.
type Message struct {
	Event meeting.Event
	Body  []byte // the envelope
}

// Sender brings messages to targets of one kind. Send returns when the target
// has the message, or with an error when it may not; it ends when ctx does. It
// is called by many goroutines.
type Sender interface {
	Send(ctx context.Context, address string, m Message) error
}

// Config is what a Notifier is made of. Store and Senders are required.
type Config struct {
	Store   meeting.Store
	Senders map[meeting.TargetKind]Sender
	Logger  *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics

	// A zero value means the default.
	Attempt    time.Duration // how long one try may take: 10 s
	FirstRetry time.Duration // the pause after a first failure, doubled from then on: 1 s
	MaxRetry   time.Duration // the longest pause: 1 min
	GiveUp     time.Duration // the age at which an event that fails is given up: 24 h
	MaxDead    int           // dead letters that are kept, the newest: 50 000
}

// Workers of one target, and the events that one sends of a meeting before
// another meeting has its turn.
const (
	maxWorkers = 8
	runLength  = 64
)

// viewChunk is how many meetings are looked up in one View.
const viewChunk = 256

// Notifier delivers events. Make one with Start.
type Notifier struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	progress *progress

	mu      sync.Mutex
	dirty   map[string]struct{} // meetings with something new
	settled []settlement        // progress that is in the store
	targets map[meeting.Target]*target

	wake    chan struct{} // dirty or settled has something
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // the dispatcher, the workers
	unwatch func()
}

// settlement says that a lane's progress is in the store.
type settlement struct {
	key     laneKey
	through uint64
}

type laneKey struct {
	target    meeting.Target
	meetingID string
}

// Start begins to deliver, with what was left undelivered first.
func Start(ctx context.Context, cfg Config) (*Notifier, error) {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&cfg.Attempt, 10*time.Second)
	set(&cfg.FirstRetry, time.Second)
	set(&cfg.MaxRetry, time.Minute)
	set(&cfg.GiveUp, 24*time.Hour)
	if cfg.MaxDead <= 0 {
		cfg.MaxDead = 50_000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{
		cfg: cfg, log: cfg.Logger,
		dirty: map[string]struct{}{}, targets: map[meeting.Target]*target{}, wake: make(chan struct{}, 1),
	}
	n.metrics = newMetrics(cfg.Metrics, cfg.Store)
	n.progress = newProgress(n)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	// Watched before it is looked: what comes between is seen twice, not never.
	n.unwatch = cfg.Store.Watch(n.committed)
	err := cfg.Store.View(ctx, func(r meeting.Reader) error {
		left := r.Undelivered()
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, id := range left {
			n.dirty[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		n.unwatch()
		n.cancel()
		return nil, err
	}
	n.signal()
	n.running.Add(2)
	go n.dispatch()
	go n.progress.run()
	return n, nil
}

// Close ends the deliveries that are under way, and writes how far they are.
func (n *Notifier) Close(ctx context.Context) error {
	n.unwatch()
	n.cancel()
	n.running.Wait()
	n.metrics.unregister()
	return n.progress.flush(ctx)
}

func (n *Notifier) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// committed is called by the store for each commit.
func (n *Notifier) committed(c meeting.Commit) {
	any := false
	for _, ch := range c.Changes {
		if ch.Event == nil {
			continue
		}
		if !any {
			any = true
			n.mu.Lock()
			defer n.mu.Unlock()
		}
		n.dirty[ch.Event.MeetingID] = struct{}{}
	}
	if any {
		n.signal()
	}
}

// dispatch gives meetings with something new to their targets, and forgets
// lanes and targets that are done. Both happen on this goroutine, so that what
// was read before a lane was forgotten cannot bring it back with old progress.
func (n *Notifier) dispatch() {
	defer n.running.Done()
	for {
		select {
		case <-n.wake:
		case <-n.ctx.Done():
			return
		}
		n.mu.Lock()
		settled, dirty := n.settled, n.dirty
		n.settled, n.dirty = nil, map[string]struct{}{}
		n.mu.Unlock()
		for _, s := range settled {
			n.forget(s)
		}
		ids := make([]string, 0, len(dirty))
		for id := range dirty {
			ids = append(ids, id)
		}
		for len(ids) > 0 {
			chunk := ids[:min(viewChunk, len(ids))]
			if err := n.deal(chunk); err != nil {
				return // the store is closed, or cannot be read any more
			}
			ids = ids[len(chunk):]
		}
	}
}

func (n *Notifier) deal(ids []string) error {
	type work struct {
		key     laneKey
		through uint64
	}
	var list []work
	err := n.cfg.Store.View(n.ctx, func(r meeting.Reader) error {
		for _, id := range ids {
			for _, d := range r.Deliveries(id) {
				list = append(list, work{laneKey{d.Target, id}, d.Through})
			}
		}
		return nil
	})
	for _, w := range list {
		n.targetOf(w.key.target).add(w.key.meetingID, w.through)
	}
	return err
}

// targetOf finds a target or makes it; for the dispatcher alone.
func (n *Notifier) targetOf(t meeting.Target) *target {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.targets[t]
	if one == nil {
		one = newTarget(n, t)
		n.targets[t] = one
	}
	return one
}

// forget drops a lane whose progress is in the store, and its target when that
// was the last.
func (n *Notifier) forget(s settlement) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.targets[s.key.target]; t != nil && t.forget(s.key.meetingID, s.through) {
		delete(n.targets, s.key.target)
	}
}

// settle hands settlements to the dispatcher.
func (n *Notifier) settle(list ...settlement) {
	n.mu.Lock()
	n.settled = append(n.settled, list...)
	n.mu.Unlock()
	n.signal()
}

// label names a target in logs, where ARNs and URLs have no place: by the queue,
// the topic or the host.
func label(t meeting.Target) string {
	name := t.Address
	if t.Kind == meeting.TargetWebhook {
		return string(t.Kind) + " " + hostOf(name)
	}
	return string(t.Kind) + " " + name[strings.LastIndexByte(name, ':')+1:]
}
