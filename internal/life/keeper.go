package life

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

const (
	// endBatch is how many meetings are ended in one step at most.
	endBatch = 64
	// endRetry is the pause after a step that ended nothing, endTooLarge after one
	// that the store has no room for in one message.
	endRetry    = time.Second
	endTooLarge = time.Minute
	// longestWait bounds the sleep, since the clock of the day may be set.
	longestWait = time.Minute
)

// KeeperConfig is what a Keeper is made of. Store and Service are required.
type KeeperConfig struct {
	Store   meeting.Store
	Service *meeting.Service
	Rules   meeting.Lifetime
	// Spare keeps a meeting for now though it looks empty; nil: none.
	Spare   func(meetingID string) bool
	Logger  *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics
	// Return is how long after the start no meeting is ended for having too few in
	// it, as people are on their way back. 0: 30 s.
	Return time.Duration
}

// Keeper ends meetings whose time has come. It has one goroutine and one timer.
type Keeper struct {
	cfg   KeeperConfig
	log   *slog.Logger
	begun time.Time

	ended   *prometheus.CounterVec
	watched atomic.Int64

	mu    sync.Mutex
	dirty map[string]struct{} // meetings that have changed

	// Of the goroutine alone.
	due   queue
	items map[string]*item

	wake    chan struct{}
	unwatch func()
	cancel  context.CancelFunc
	done    chan struct{}
}

// item is one meeting that will end by itself.
type item struct {
	id    string
	at    int64 // Unix nanoseconds
	index int
}

// queue is a heap, the next to end first.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }
func (q *queue) Push(x any)        { one := x.(*item); one.index = len(*q); *q = append(*q, one) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return one
}

// NewKeeper begins to watch all meetings. ctx bounds the start.
func NewKeeper(ctx context.Context, cfg KeeperConfig) (*Keeper, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Return <= 0 {
		cfg.Return = returnTime
	}
	if cfg.Spare == nil {
		cfg.Spare = func(string) bool { return false }
	}
	k := &Keeper{
		cfg: cfg, log: cfg.Logger, begun: time.Now(),
		dirty: map[string]struct{}{}, items: map[string]*item{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "life", Name: "ended_total",
			Help: "Meetings that ended by themselves, by reason."}, []string{"reason"}),
	}
	// Watched before it is looked: what comes between is seen twice, not never.
	k.unwatch = cfg.Store.Watch(k.committed)
	if err := eachMeeting(ctx, cfg.Store, k.look); err != nil {
		k.unwatch()
		return nil, err
	}
	for _, reason := range []meeting.EndReason{meeting.EndIdle, meeting.EndLone, meeting.EndMax, meeting.EndPrimary} {
		k.ended.WithLabelValues(string(reason))
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(k.ended, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "life",
			Name: "countdowns", Help: "Meetings that will end by themselves if nothing changes."},
			func() float64 { return float64(k.watched.Load()) }))
	}
	run, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go k.run(run)
	return k, nil
}

// Close ends the Keeper. It ends no meeting from then on.
func (k *Keeper) Close(context.Context) error {
	k.unwatch()
	k.cancel()
	<-k.done
	return nil
}

// committed is called by the store for each commit.
func (k *Keeper) committed(c meeting.Commit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ch := range c.Changes {
		switch {
		case ch.MeetingPut != nil:
			k.dirty[ch.MeetingPut.ID] = struct{}{}
		case ch.MeetingDeleted != nil:
			k.dirty[ch.MeetingDeleted.ID] = struct{}{}
		case ch.PresencePut != nil:
			k.dirty[ch.PresencePut.MeetingID] = struct{}{}
		case ch.PresenceDeleted != nil:
			k.dirty[ch.PresenceDeleted.MeetingID] = struct{}{}
		default:
			continue
		}
		k.signal()
	}
}

func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) run(ctx context.Context) {
	defer close(k.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if err := k.catchUp(ctx); err != nil {
			return // the store is closed, or cannot be read any more
		}
		timer.Reset(k.end(ctx))
	}
}

// catchUp looks at the meetings that have changed.
func (k *Keeper) catchUp(ctx context.Context) error {
	k.mu.Lock()
	dirty := k.dirty
	k.dirty = map[string]struct{}{}
	k.mu.Unlock()
	ids := make([]string, 0, len(dirty))
	for id := range dirty {
		ids = append(ids, id)
	}
	return k.lookAt(ctx, ids)
}

func (k *Keeper) lookAt(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		chunk := ids[:min(viewChunk, len(ids))]
		ids = ids[len(chunk):]
		err := k.cfg.Store.View(ctx, func(r meeting.Reader) error {
			for _, id := range chunk {
				k.look(r, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// look finds out when a meeting will end.
func (k *Keeper) look(r meeting.Reader, id string) {
	m, ok := r.Meeting(id)
	if !ok {
		k.put(id, time.Time{})
		return
	}
	a, _ := r.Attendance(id)
	at, _ := k.cfg.Rules.Due(m, a)
	if first := k.begun.Add(k.cfg.Return); !at.IsZero() && at.Before(first) {
		// Too few in it is no reason yet; its age may be.
		at, _ = meeting.Lifetime{Max: k.cfg.Rules.Max}.Due(m, a)
		if at.IsZero() || at.After(first) {
			at = first
		}
	}
	k.put(id, at)
}

// put has a meeting end at a time, the zero time for never.
func (k *Keeper) put(id string, at time.Time) {
	one := k.items[id]
	switch {
	case at.IsZero() && one == nil:
	case at.IsZero():
		heap.Remove(&k.due, one.index)
		delete(k.items, id)
	case one == nil:
		one = &item{id: id, at: at.UnixNano()}
		k.items[id] = one
		heap.Push(&k.due, one)
	default:
		one.at = at.UnixNano()
		heap.Fix(&k.due, one.index)
	}
	k.watched.Store(int64(len(k.items)))
}

// end ends what is due and says how long there is nothing more to do.
func (k *Keeper) end(ctx context.Context) time.Duration {
	now := time.Now()
	var ids []string
	for len(k.due) > 0 && len(ids) < endBatch && k.due[0].at <= now.UnixNano() {
		one := heap.Pop(&k.due).(*item)
		delete(k.items, one.id)
		ids = append(ids, one.id)
	}
	if len(ids) > 0 {
		k.endAll(ctx, ids)
	}
	k.watched.Store(int64(len(k.items)))
	if len(k.due) == 0 {
		return longestWait
	}
	return min(max(time.Until(time.Unix(0, k.due[0].at)), 0), longestWait)
}

// endAll ends meetings; those that it does not end have another turn.
func (k *Keeper) endAll(ctx context.Context, ids []string) {
	ended, err := k.cfg.Service.EndDue(ctx, ids, k.cfg.Rules, k.cfg.Spare)
	switch {
	case ctx.Err() != nil && err != nil:
		return
	case meeting.CodeOf(err) == meeting.CodeUnprocessable && len(ids) > 1:
		for _, id := range ids {
			k.endAll(ctx, []string{id})
		}
		return
	case err != nil:
		pause := endRetry
		if meeting.CodeOf(err) == meeting.CodeUnprocessable {
			pause = endTooLarge
		}
		k.log.Warn("meetings could not be ended; they are tried again", "meetings", len(ids), "error", err)
		for _, id := range ids {
			k.put(id, time.Now().Add(pause))
		}
		// The others would fare no better.
		select {
		case <-time.After(endRetry):
		case <-ctx.Done():
		}
		return
	}
	for _, e := range ended {
		k.ended.WithLabelValues(string(e.Reason)).Inc()
		k.log.Info("meeting ended by itself", "meeting", e.Meeting.ID, "reason", string(e.Reason),
			"age", time.Since(e.Meeting.CreatedAt).Round(time.Second))
	}
	if k.lookAt(ctx, ids) != nil || len(ended) > 0 {
		return
	}
	// Somebody came in the last moment, or is about to be written.
	soon := time.Now().Add(endRetry)
	for _, id := range ids {
		if one := k.items[id]; one != nil && one.at < soon.UnixNano() {
			k.put(id, soon)
		}
	}
}
