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
// letter, and the next one has its turn. Of several nodes on one store one
// delivers, for as long as it renews its lease.
package notify

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
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

	// Shared says that other nodes deliver from the same store. One of them does,
	// by a lease that this much after its last renewal another may take: 15 s.
	Shared bool
	Lease  time.Duration
}

// Workers of one target, and the events that one sends of a meeting before
// another meeting has its turn.
const (
	maxWorkers = 8
	runLength  = 64
)

// Notifier delivers events. Make one with Start.
type Notifier struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	term   *term              // where there is no lease: the only one
	cancel context.CancelFunc // ends hold, and is nil without a lease
	held   chan struct{}      // closed when hold has ended
	holder string             // this Notifier in the lease
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
	set(&cfg.Lease, 15*time.Second)
	if cfg.MaxDead <= 0 {
		cfg.MaxDead = 50_000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{cfg: cfg, log: cfg.Logger, holder: rand.Text()}
	n.metrics = newMetrics(cfg.Metrics, cfg.Store)
	if cfg.Shared {
		ctx, cancel := context.WithCancel(context.Background())
		n.cancel, n.held = cancel, make(chan struct{})
		go n.hold(ctx)
		return n, nil
	}
	var err error
	if n.term, err = n.begin(ctx, 0); err != nil {
		n.metrics.unregister()
		return nil, err
	}
	n.metrics.owner.Set(1)
	return n, nil
}

// Close ends the deliveries that are under way, writes how far they are, and
// gives the lease back.
func (n *Notifier) Close(ctx context.Context) (err error) {
	if n.cfg.Shared {
		n.cancel()
		<-n.held
	}
	if n.term != nil {
		err = n.term.end(ctx)
	}
	if n.cfg.Shared && err == nil {
		err = n.release(ctx)
	}
	n.metrics.unregister()
	return err
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
