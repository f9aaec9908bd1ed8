package jetstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"belfry/internal/store/projection"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	chunkBytes      = 256 << 10
	snapshotTimeout = 2 * time.Minute
	// snapshotSlots is how many streams snapshots take turns in: one for the last,
	// one for the one before, and one to write the next into. Each is emptied
	// before it is written again, so damage in one cannot spread.
	snapshotSlots = 3
	// loadTries is for another node that snapshots while this one reads.
	loadTries = 5
)

// slot is a stream that holds one snapshot.
type slot struct {
	stream     jetstream.Stream
	name       string // of the stream
	chunk, end string // subjects
}

func (s *Store) openSlots(ctx context.Context) (err error) {
	for i := range s.slots {
		subject := fmt.Sprintf("%s.snapshots.%d", strings.ToLower(s.cfg.Name), i+1)
		one := slot{name: fmt.Sprintf("%s_SNAPSHOT_%d", strings.ToUpper(s.cfg.Name), i+1),
			chunk: subject + ".chunk", end: subject + ".end"}
		if one.stream, err = s.stream(ctx, one.name, one.chunk, one.end); err != nil {
			return err
		}
		s.slots[i] = one
	}
	return nil
}

// endMarker closes a snapshot. Its chunks lie between First and itself.
type endMarker struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
	First   uint64 `json:"first"`   // sequence of the first chunk
	Chunks  int    `json:"chunks"`  // how many there are
	Applied uint64 `json:"applied"` // the commit that it includes
	Sum     []byte `json:"sum"`     // SHA-256 of the chunks, joined, as they are stored
	Key     string `json:"key"`     // id of the master key that sealed them, "" for none
	slot    int
}

// load makes the state what the streams say.
func (s *Store) load(ctx context.Context) error {
	for try := 1; ; try++ {
		begun := time.Now()
		state, seq, err := s.read(ctx)
		if err == nil {
			s.state, s.applied = state, seq
			meetings, attendees := state.Len()
			s.log.Info("store opened", "meetings", meetings, "attendees", attendees, "sequence", seq,
				"replayed", s.since, "took", time.Since(begun).Round(time.Millisecond))
			return nil
		}
		if try == loadTries || s.engine.embedded() || !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
	}
}

// read reads the newest snapshot that is whole, and the log after it. When no
// snapshot is, the log must begin at its beginning.
func (s *Store) read(ctx context.Context) (*projection.State, uint64, error) {
	ends, err := s.endMarkers(ctx)
	if err != nil {
		return nil, 0, err
	}
	state, base, damage := projection.New(), endMarker{}, error(nil)
	for _, end := range slices.Backward(ends) {
		loaded, err := s.readSnapshot(ctx, end)
		if err == nil {
			state, base = loaded, end
			break
		}
		if ctx.Err() != nil || hopeless(err) {
			return nil, 0, err
		}
		s.log.Warn("store passes over a damaged snapshot", "sequence", end.Applied, "error", err)
		damage = errors.Join(damage, err)
	}
	info, err := s.commits.Info(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read log: %w", err)
	}
	first, last := info.State.FirstSeq, info.State.LastSeq
	switch {
	case last < base.Applied:
		return nil, 0, fmt.Errorf("read log: it ends at %d, before the snapshot at %d: data was lost", last, base.Applied)
	case first > base.Applied+1 && damage != nil:
		return nil, 0, fmt.Errorf("read log: it begins at %d and the snapshot before it is damaged: %w", first, damage)
	case first > base.Applied+1:
		return nil, 0, fmt.Errorf("read log: it begins at %d, the snapshot ends at %d: %w", first, base.Applied, jetstream.ErrMsgNotFound)
	}
	applied := base.Applied
	s.since, s.sinceLen = 0, 0
	for applied < last {
		msg, err := s.commits.GetMsg(ctx, applied+1)
		if err != nil {
			return nil, 0, fmt.Errorf("read log: message %d of %d is missing or damaged: %w", applied+1, last, err)
		}
		record, err := s.record(msg.Data)
		if err != nil {
			return nil, 0, fmt.Errorf("read log: message %d: %w", applied+1, err)
		}
		for _, ops := range record.Commits {
			state.Apply(ops)
		}
		applied++
		s.since++
		s.sinceLen += int64(len(msg.Data))
	}
	s.base.Store(&base)
	return state, applied, nil
}

func (s *Store) readSnapshot(ctx context.Context, end endMarker) (*projection.State, error) {
	state := projection.New()
	return state, s.checkSnapshot(ctx, end, func(chunk []byte) error {
		plain, err := s.unseal(kindSnapshot, chunk)
		if err != nil {
			return err
		}
		return state.LoadChunk(plain)
	})
}

// checkSnapshot reads a snapshot, gives its chunks to fn and compares its sum.
func (s *Store) checkSnapshot(ctx context.Context, end endMarker, fn func(chunk []byte) error) error {
	sum := sha256.New()
	for i := range end.Chunks {
		msg, err := s.slots[end.slot].stream.GetMsg(ctx, end.First+uint64(i))
		if err != nil {
			return fmt.Errorf("read snapshot: chunk %d of %d: %w", i+1, end.Chunks, err)
		}
		if err := fn(msg.Data); err != nil {
			return fmt.Errorf("read snapshot: chunk %d of %d: %w", i+1, end.Chunks, err)
		}
		sum.Write(msg.Data)
	}
	if !bytes.Equal(sum.Sum(nil), end.Sum) {
		return fmt.Errorf("read snapshot: its %d chunks do not have the checksum that was written", end.Chunks)
	}
	return nil
}

// endMarkers lists the snapshots that have an end, oldest first. An end that
// cannot be read counts as none.
func (s *Store) endMarkers(ctx context.Context) (ends []endMarker, err error) {
	for i, slot := range s.slots {
		msg, err := slot.stream.GetLastMsgForSubject(ctx, slot.end)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
		end := endMarker{slot: i}
		if err := json.Unmarshal(msg.Data, &end); err != nil {
			s.log.Warn("store passes over a damaged snapshot", "stream", slot.name, "error", err)
			continue
		}
		if end.Version > projection.Version {
			return nil, fmt.Errorf("read snapshot: %w", projection.ErrNewer)
		}
		if end.Chunks < 0 || end.First+uint64(end.Chunks) != msg.Sequence {
			s.log.Warn("store passes over a damaged snapshot", "stream", slot.name, "error", "its end does not fit its chunks")
			continue
		}
		ends = append(ends, end)
	}
	slices.SortFunc(ends, func(a, b endMarker) int { return cmp.Compare(a.Applied, b.Applied) })
	return ends, nil
}

// target chooses the slot for the next snapshot, and the snapshot that stays
// meanwhile: the one that this store knows to be whole or, when other nodes
// have dropped it, the newest. ends is oldest first.
func (s *Store) target(ends []endMarker) (free int, keep endMarker) {
	base := s.base.Load()
	if n := len(ends); n > 0 {
		keep = ends[n-1]
	}
	used := map[int]bool{}
	for _, end := range ends {
		used[end.slot] = true
		if end.ID == base.ID {
			keep = end
		}
	}
	for i := range s.slots {
		if !used[i] {
			return i, keep
		}
	}
	for _, end := range ends {
		if end.ID != keep.ID {
			return end.slot, keep
		}
	}
	return 0, keep // not reached: there are more slots than one
}

// maybeSnapshot begins a snapshot when the log has grown long. The writer calls
// it between commits.
func (s *Store) maybeSnapshot() {
	if s.since < s.cfg.SnapshotMessages && s.sinceLen < s.cfg.SnapshotBytes {
		return
	}
	if s.broken.Load() != nil || !s.snapshotting.CompareAndSwap(false, true) {
		return
	}
	taken := time.Now()
	s.state.Prune(s.cfg.Now())
	snapshot, applied := s.state.Snapshot(), s.applied
	s.stats.Paused.Add(uint64(time.Since(taken)))
	s.since, s.sinceLen = 0, 0
	sick := s.engine.sick
	s.running.Add(1)
	s.snapshots.Add(1)
	go func() {
		defer s.running.Done()
		defer s.snapshots.Done()
		defer s.snapshotting.Store(false)
		ctx, cancel := context.WithTimeout(s.ctx, snapshotTimeout)
		defer cancel()
		defer context.AfterFunc(sick, cancel)()
		begun := time.Now()
		chunks, err := s.writeSnapshot(ctx, snapshot, applied)
		switch {
		case s.ctx.Err() != nil:
		case sick.Err() != nil:
			s.log.Debug("store gave up a snapshot", "error", err)
		case isWrongSequence(err):
			s.log.Debug("store leaves the snapshot to another node")
		case err != nil:
			s.log.Warn("store could not write a snapshot and will try again", "error", err)
		default:
			s.stats.Snapshots.Add(1)
			s.log.Debug("store wrote a snapshot", "sequence", applied, "chunks", chunks,
				"took", time.Since(begun).Round(time.Millisecond))
		}
	}()
}

// writeSnapshot writes a snapshot that includes the log up to applied, then
// drops the log that it makes superfluous. Each message names the one it must
// follow, so that of two nodes' snapshots one stops; and before any log is
// dropped the snapshot is read again, and must be whole. The one before stays,
// with the log since it, for a start that finds this one damaged.
func (s *Store) writeSnapshot(ctx context.Context, snapshot *projection.Snapshot, applied uint64) (int, error) {
	ends, err := s.endMarkers(ctx)
	if n := len(ends); err != nil || n > 0 && ends[n-1].Applied >= applied {
		return 0, err // another node has a newer one
	}
	free, keep := s.target(ends)
	slot := s.slots[free]
	info, err := slot.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	last := info.State.LastSeq
	end, sum := endMarker{Version: projection.Version, ID: nuid.Next(), Applied: applied, Key: s.cfg.Seal.ID(), slot: free}, sha256.New()
	put := func(subject string, data []byte) error {
		ack, err := s.js.Publish(ctx, subject, data, jetstream.WithExpectLastSequence(last), jetstream.WithExpectStream(slot.name))
		if err != nil {
			return err
		}
		last = ack.Sequence
		return nil
	}
	if err := put(slot.chunk, nil); err != nil { // the slot is this node's
		return 0, fmt.Errorf("claim %s: %w", slot.name, err)
	}
	if err := slot.stream.Purge(ctx, jetstream.WithPurgeSequence(last+1)); err != nil {
		return 0, fmt.Errorf("empty %s: %w", slot.name, err)
	}
	end.First = last + 1
	for chunk, err := range snapshot.Chunks(min(chunkBytes, int(s.engine.nc.MaxPayload())-recordOverhead)) {
		if err != nil {
			return end.Chunks, err
		}
		chunk = s.cfg.Seal.Seal(kindSnapshot, chunk)
		if err := put(slot.chunk, chunk); err != nil {
			return end.Chunks, fmt.Errorf("chunk %d: %w", end.Chunks+1, err)
		}
		sum.Write(chunk)
		end.Chunks++
	}
	end.Sum = sum.Sum(nil)
	marker, err := json.Marshal(end)
	if err != nil {
		return end.Chunks, err
	}
	if err := put(slot.end, marker); err != nil {
		return end.Chunks, fmt.Errorf("end marker: %w", err)
	}
	if err := s.checkSnapshot(ctx, end, func([]byte) error { return nil }); err != nil {
		return end.Chunks, err
	}
	s.base.Store(&end)
	// The log keeps at least the message that a snapshot ends with, and so its
	// sequence numbers, whatever the engine remembers of an empty stream. Without
	// a snapshot before, the whole log is what there is to fall back on.
	if keep.Applied > 0 {
		if err := s.commits.Purge(ctx, jetstream.WithPurgeSequence(keep.Applied)); err != nil {
			return end.Chunks, fmt.Errorf("drop log: %w", err)
		}
	}
	return end.Chunks, nil
}
