package notify

import (
	"context"
	"time"

	"belfry/internal/meeting"
)

const (
	// progressDelay gathers the progress of many lanes into one write. What was
	// sent in that time and not written is sent again after a kill.
	progressDelay = 50 * time.Millisecond
	// progressBatch is how many lanes one write tells of, letterBatch how many
	// dead letters, which are larger.
	progressBatch = 512
	letterBatch   = 128
	progressRetry = time.Second
)

// progress writes to the store how far the lanes are. One goroutine writes; what
// is noted meanwhile is merged, so it holds no more than there are lanes, and
// the dead letters of a write that fails.
type progress struct {
	of      *term
	wake    chan struct{}
	pending map[laneKey]*advance // guarded by of.mu
	parts   int                  // a write has one of so many parts of what it might; 1 but after one that was too large
}

// advance is what a lane has to tell.
type advance struct {
	through uint64
	letters []meeting.DeadLetter
}

func newProgress(t *term) *progress {
	return &progress{of: t, wake: make(chan struct{}, 1), pending: map[laneKey]*advance{}, parts: 1}
}

// note has it written that a lane is at through, and these on the way there
// were given up.
func (p *progress) note(key laneKey, through uint64, letters []meeting.DeadLetter) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	a := p.pending[key]
	if a == nil {
		a = &advance{}
		p.pending[key] = a
	}
	a.through = max(a.through, through)
	a.letters = append(a.letters, letters...)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// batch takes some of what is pending; more reports whether something is left.
func (p *progress) batch() (out map[laneKey]*advance, more bool) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	out = map[laneKey]*advance{}
	lanes, letters := max(1, progressBatch/p.parts), max(1, letterBatch/p.parts)
	for key, a := range p.pending {
		if len(out) >= lanes || letters <= 0 {
			return out, true
		}
		if len(a.letters) > letters {
			// The first of them, and the progress past those alone.
			out[key] = &advance{through: a.letters[letters-1].Event.Number, letters: a.letters[:letters:letters]}
			a.letters = a.letters[letters:]
			return out, true
		}
		letters -= len(a.letters)
		out[key] = a
		delete(p.pending, key)
	}
	return out, false
}

// giveBack makes pending again what could not be written.
func (p *progress) giveBack(batch map[laneKey]*advance) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	for key, a := range batch {
		if later := p.pending[key]; later != nil {
			a.through = max(a.through, later.through)
			a.letters = append(a.letters, later.letters...)
		}
		p.pending[key] = a
	}
}

// run is the goroutine that writes.
func (p *progress) run() {
	defer p.of.running.Done()
	for {
		select {
		case <-p.wake:
		case <-p.of.ctx.Done():
			return
		}
		wait := progressDelay
		for {
			select {
			case <-time.After(wait):
			case <-p.of.ctx.Done():
				return
			}
			more, err := p.write(p.of.ctx)
			if err != nil {
				if p.of.ctx.Err() == nil {
					p.of.log.Warn("the progress of event delivery could not be written", "error", err)
				}
				wait = progressRetry
				continue
			}
			if !more {
				break
			}
			wait = 0
		}
	}
}

// write writes one batch.
func (p *progress) write(ctx context.Context) (more bool, err error) {
	batch, more := p.batch()
	if len(batch) == 0 {
		return more, nil
	}
	dropped := 0
	err = p.of.cfg.Store.Update(ctx, func(tx meeting.Tx) error {
		dropped = 0
		for key, a := range batch {
			if len(a.letters) > 0 {
				p.of.cfg.bury(tx, key, a.letters)
			}
			tx.SetDelivered(key.meetingID, key.target, a.through)
		}
		if over := tx.DeadLetterCount() - p.of.cfg.MaxDead; over > 0 {
			for _, d := range tx.DeadLetters(0, over) {
				tx.DeleteDeadLetter(d.Seq)
				dropped++
			}
		}
		return nil
	})
	if err != nil {
		p.giveBack(batch)
		if meeting.CodeOf(err) == meeting.CodeUnprocessable && p.parts < progressBatch {
			p.parts *= 2
		}
		return more, err
	}
	if !more {
		p.parts = 1
	}
	if dropped > 0 {
		p.of.metrics.dropped.Add(float64(dropped))
		p.of.log.Error("there were too many dead letters; the oldest are gone", "dropped", dropped, "kept", p.of.cfg.MaxDead)
	}
	list := make([]settlement, 0, len(batch))
	for key, a := range batch {
		list = append(list, settlement{key, a.through})
	}
	p.of.settle(list...)
	return more, nil
}

// bury keeps dead letters of a lane but those that the store knows to be dealt
// with: another node may have given them up as well.
func (c *Config) bury(tx meeting.Tx, key laneKey, letters []meeting.DeadLetter) {
	for _, d := range tx.Deliveries(key.meetingID) {
		if d.Target != key.target {
			continue
		}
		for _, letter := range letters {
			if letter.Event.Number > d.Through {
				tx.PutDeadLetter(letter)
			}
		}
	}
}

// flush writes all that is pending; for the end, when nothing is noted any more.
func (p *progress) flush(ctx context.Context) error {
	for {
		parts := p.parts
		more, err := p.write(ctx)
		if p.parts > parts {
			continue // it was too large
		}
		if err != nil || !more {
			return err
		}
	}
}
