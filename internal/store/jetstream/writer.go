package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/projection"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// A batch ends when it has so many updates or so many bytes.
	batchUpdates = 1024
	batchBytes   = 512 << 10
	// recordOverhead is what a message has beyond its commits.
	recordOverhead = 4 << 10
	// closeGrace is how long Close waits for the commit that is under way.
	closeGrace = time.Second
)

// update is one call of Update.
type update struct {
	fn     func(meeting.Tx) error
	result chan error // buffered
	taken  atomic.Int32
}

const (
	updateRuns      = 1
	updateAbandoned = 2
)

// abandon reports whether fn has not run and never will.
func (u *update) abandon() bool { return u.taken.CompareAndSwap(0, updateAbandoned) }

func (u *update) start() bool {
	return u.taken.CompareAndSwap(0, updateRuns) || u.taken.Load() == updateRuns
}

// write is the writer's goroutine.
func (s *Store) write() {
	defer s.running.Done()
	defer close(s.done)
	var tick <-chan time.Time
	if !s.engine.embedded() {
		t := time.NewTicker(s.cfg.followEvery)
		defer t.Stop()
		tick = t.C
	}
	var waiting []*update // left over from a batch that was full
	for {
		if len(waiting) == 0 {
			select {
			case u := <-s.updates:
				waiting = append(waiting, u)
			case <-s.remote:
				s.catchUpIdle()
			case <-tick:
				s.catchUpIdle()
			case <-s.engine.sick.Done():
			case <-s.ctx.Done():
				return
			}
		}
		if s.ctx.Err() != nil {
			answer(waiting, projection.ErrClosed)
			return
		}
		if s.engine.sick.Err() != nil {
			answer(waiting, s.refusing.Load())
			waiting = nil
			s.mend()
			continue
		}
		waiting = s.gather(waiting)
		if err := s.broken.Load(); err != nil {
			answer(waiting, err)
			waiting = nil
			continue
		}
		n := s.commit(waiting)
		waiting = append(waiting[:0:0], waiting[n:]...)
		s.maybeSnapshot()
	}
}

// gather adds the updates that wait. Those that the last batch let go come back
// one by one as their goroutines get to run; without giving them that moment
// every other batch would hold a single update.
func (s *Store) gather(batch []*update) []*update {
	expected := min(s.lastSize, batchUpdates)
	for idle := 0; len(batch) < batchUpdates; {
		select {
		case u := <-s.updates:
			batch = append(batch, u)
			idle = 0
			continue
		default:
		}
		if len(batch) >= expected || idle >= 3 {
			break
		}
		idle++
		runtime.Gosched()
	}
	s.lastSize = len(batch)
	return batch
}

func answer(us []*update, err error) {
	for _, u := range us {
		u.result <- err
	}
}

// attempt is a run of the first updates of a batch.
type attempt struct {
	id      string
	expect  uint64 // the sequence that it follows
	updates []*update
	results []error           // as updates
	ops     [][]projection.Op // of those that wrote
	encoded []json.RawMessage // as ops
}

func (a *attempt) answer() {
	for i, u := range a.updates {
		u.result <- a.results[i]
	}
}

// run stages the updates of a batch, as many as one message holds.
func (s *Store) run(batch []*update) *attempt {
	a := &attempt{id: nuid.Next(), expect: s.applied}
	limit := int(s.engine.nc.MaxPayload()) - recordOverhead
	overlay := projection.Stage(s.state)
	total := 0
	for _, u := range batch {
		var ops json.RawMessage
		var err error
		if !u.start() {
			err = context.Canceled // nobody waits for it
		} else {
			var wrote []projection.Op
			wrote, err = overlay.Run(u.fn, func(w []projection.Op) (err error) {
				if len(w) == 0 {
					return nil
				}
				if ops, err = projection.EncodeOps(w); err != nil {
					return err
				}
				if len(ops) > limit {
					return meeting.Errorf(meeting.CodeUnprocessable, "the change is too large: %d bytes of %d", len(ops), limit)
				}
				return nil
			})
			if err == nil && len(wrote) > 0 {
				if total > 0 && total+len(ops) > min(batchBytes, limit) {
					return a // it runs again in the next batch
				}
				total += len(ops) + 1
				a.ops, a.encoded = append(a.ops, wrote), append(a.encoded, ops)
			}
		}
		a.updates, a.results = append(a.updates, u), append(a.results, err)
	}
	return a
}

// commit brings the first updates of a batch to their end and says how many.
func (s *Store) commit(batch []*update) int {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.CommitTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, func() { time.AfterFunc(closeGrace, cancel) })()
	defer context.AfterFunc(s.engine.sick, cancel)()
	for {
		a := s.run(batch)
		settled, err := s.settle(ctx, a)
		if err != nil {
			s.nudge()
			if s.engine.sick.Err() == nil { // else it is said already
				s.log.Error("store could not commit", "error", err, "updates", len(a.updates))
			}
			message := "the store could not confirm the change"
			if sick := s.refusing.Load(); sick != nil {
				message, err = message+": "+sick.Message, sick.Err
			}
			answer(a.updates, &meeting.Error{Code: meeting.CodeUnavailable, Message: message, Err: err})
			return len(a.updates)
		}
		if settled {
			a.answer()
			return len(a.updates)
		}
	}
}

// settle commits an attempt. False says that another node's commit came first
// and the updates must run again. An error leaves the outcome open: the attempt
// may still turn up in the log, and is then taken as any other node's.
func (s *Store) settle(ctx context.Context, a *attempt) (bool, error) {
	if len(a.ops) == 0 {
		return s.current(ctx)
	}
	data, err := projection.EncodeRecord(a.id, a.encoded)
	if err != nil {
		return false, err
	}
	data = s.cfg.Seal.Seal(kindCommit, data)
	unsure := false // whether an earlier try was written
	for {
		ack, err := s.js.Publish(ctx, s.names.commit, data,
			jetstream.WithExpectLastSequence(a.expect), jetstream.WithExpectStream(s.names.commits))
		if err == nil && ack.Sequence == a.expect+1 {
			for _, ops := range a.ops {
				s.watchers.Call(s.state.Apply(ops))
			}
			s.stats.Appends.Add(1)
			s.stats.Changes.Add(uint64(len(a.ops)))
			s.advance(ack.Sequence, len(data))
			return true, nil
		}
		var refusal *jetstream.APIError
		switch refused := errors.As(err, &refusal); {
		case refused && !wrongSequence(refusal):
			return false, err
		case !refused:
			unsure = true
		}
		s.nudge()
		// Something else follows a.expect, or it is not known what does. When an
		// earlier try of the same message may have been written, the log decides.
		// Until something is there the very same message is sent again, because a
		// new run could return other values to the callers than were written.
		reloads := s.reloads
		mine, caughtUp := s.catchUp(ctx, a.id)
		switch {
		case mine:
			return true, nil
		case unsure && s.reloads != reloads:
			return false, errors.New("the log moved on too far to say whether the change is in it")
		case s.broken.Load() != nil:
			return false, s.broken.Load()
		case caughtUp == nil && s.applied > a.expect:
			return false, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return false, errors.Join(err, ctx.Err())
		}
	}
}

func wrongSequence(e *jetstream.APIError) bool {
	return e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// current makes sure that updates that wrote nothing saw every commit.
func (s *Store) current(ctx context.Context) (bool, error) {
	if s.engine.embedded() {
		return true, nil
	}
	info, err := s.commits.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("look for other nodes' commits: %w", err)
	}
	if info.State.LastSeq <= s.applied {
		return true, nil
	}
	_, err = s.catchUp(ctx, "")
	return false, err
}

func isWrongSequence(err error) bool {
	var refusal *jetstream.APIError
	return errors.As(err, &refusal) && wrongSequence(refusal)
}

func (s *Store) advance(seq uint64, size int) {
	s.applied = seq
	s.since++
	s.sinceLen += int64(size)
}

func (s *Store) catchUpIdle() {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.CommitTimeout)
	defer cancel()
	if _, err := s.catchUp(ctx, ""); err != nil && s.ctx.Err() == nil {
		s.log.Warn("store could not read other nodes' commits", "error", err)
	}
	s.maybeSnapshot()
}

// catchUp applies what the log has beyond the projection, and says whether the
// record with this id was in it.
func (s *Store) catchUp(ctx context.Context, id string) (found bool, err error) {
	for missing := false; ; {
		msg, err := s.commits.GetMsg(ctx, s.applied+1)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			info, err := s.commits.Info(ctx)
			switch {
			case err != nil:
				return found, err
			case info.State.LastSeq <= s.applied:
				return found, nil
			case info.State.FirstSeq > s.applied+1:
				return found, s.reload(ctx)
			case missing:
				return found, s.fail(fmt.Errorf("message %d is missing from the log", s.applied+1))
			}
			missing = true // or written since: look again
			continue
		}
		if err != nil {
			return found, err
		}
		record, err := s.record(msg.Data)
		if err != nil {
			return found, s.fail(fmt.Errorf("message %d: %w", msg.Sequence, err))
		}
		found = found || id != "" && record.ID == id
		for _, ops := range record.Commits {
			s.watchers.Call(s.state.Apply(ops))
		}
		s.advance(msg.Sequence, len(msg.Data))
		missing = false
	}
}

// reload begins again from the snapshot: this node was away for so long that
// the log it missed was dropped. Its watchers are told of the difference.
func (s *Store) reload(ctx context.Context) error {
	fresh, seq, err := s.read(ctx)
	if hopeless(err) {
		return s.fail(fmt.Errorf("reload: %w", err))
	}
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	s.log.Warn("store was away too long and reloaded", "from", s.applied, "to", seq)
	diff := projection.Diff(s.state, fresh)
	s.state.Replace(fresh)
	s.applied = seq
	s.reloads++
	s.watchers.Call(diff)
	return nil
}

// fail ends the use of the store: what the log says cannot be followed.
func (s *Store) fail(err error) error {
	s.log.Error("store cannot follow its log and stops", "error", err)
	s.broken.Store(&meeting.Error{Code: meeting.CodeUnavailable, Message: "the store cannot read its log", Err: err})
	return err
}
