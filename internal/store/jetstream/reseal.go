package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"belfry/internal/seal"
	"belfry/internal/store/projection"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// What is sealed: each kind can be opened in its own place alone.
const (
	kindCommit   = "commit"
	kindSnapshot = "snapshot"
)

// hopeless is an error of reading that another snapshot or another try does not
// help against.
func hopeless(err error) bool {
	return errors.Is(err, projection.ErrNewer) || errors.Is(err, seal.ErrKey)
}

// unseal opens one message, and notes when it is not sealed as it would be now.
func (s *Store) unseal(kind string, data []byte) ([]byte, error) {
	plain, err := s.cfg.Seal.Open(kind, data)
	if errors.Is(err, seal.ErrKey) {
		return nil, fmt.Errorf("%w. Set the master key that it was sealed with (BELFRY_MASTER_KEY or BELFRY_MASTER_KEY_FILE); "+
			"to go over to a new one give the old one as BELFRY_MASTER_KEY_OLD. Nothing was changed", err)
	}
	if err == nil && seal.SealedBy(data) != s.cfg.Seal.ID() {
		s.stale = true
	}
	return plain, err
}

// record decodes one message of the log.
func (s *Store) record(data []byte) (projection.Record, error) {
	plain, err := s.unseal(kindCommit, data)
	if err != nil {
		return projection.Record{}, err
	}
	return projection.DecodeRecord(plain)
}

// reseal writes everything anew when something of it is not sealed as it would
// be now: because there was no master key before, or another, or because there
// is none any more. It ends with all that was written the old way gone from the
// streams. Wherever it is interrupted, the streams hold the whole state, and the
// next start goes on: what was read this time stays until two new snapshots are
// there, and is what tells that something is still to do.
//
// In an outside cluster other nodes may do the same at the same time, so nothing
// is dropped there beyond what every snapshot drops.
func (s *Store) reseal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*snapshotTimeout)
	defer cancel()
	ends, err := s.endMarkers(ctx)
	if err != nil {
		return err
	}
	stale, err := s.isStale(ctx, ends)
	if err != nil || !stale {
		return err
	}
	if !s.engine.embedded() {
		s.log.Warn("store holds what is not sealed with this master key; it goes as snapshots take its place, and the old key is needed until then")
		return nil
	}
	begun := time.Now()
	if err := s.writeAnew(ctx, ends); err != nil {
		return fmt.Errorf("writing the state anew under its master key: %w", err)
	}
	s.log.Info("store wrote its state anew", "sealed", s.cfg.Seal.ID() != "", "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// isStale reports whether a snapshot, what was read of the log, or the log's
// beginning is not sealed as it would be now.
func (s *Store) isStale(ctx context.Context, ends []endMarker) (bool, error) {
	if s.stale || slices.ContainsFunc(ends, func(end endMarker) bool { return end.Key != s.cfg.Seal.ID() }) {
		return true, nil
	}
	info, err := s.commits.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	if info.State.Msgs == 0 {
		return false, nil
	}
	first, err := s.commits.GetMsg(ctx, info.State.FirstSeq)
	if errors.Is(err, jetstream.ErrMsgNotFound) && !s.engine.embedded() {
		return false, nil // another node dropped it meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("read log: message %d: %w", info.State.FirstSeq, err)
	}
	return seal.SealedBy(first.Data) != s.cfg.Seal.ID(), nil
}

func (s *Store) writeAnew(ctx context.Context, ends []endMarker) error {
	read := s.base.Load().ID // "" when the whole log is what was read
	var old, free []slot
	for i, slot := range s.slots {
		if slices.ContainsFunc(ends, func(end endMarker) bool { return end.slot == i && end.ID == read }) {
			old = append(old, slot)
		} else {
			free = append(free, slot)
		}
	}
	// The new snapshots must be newer than what is there, so each follows a commit
	// that says nothing.
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return empty(ctx, free) },
		s.sayNothing,
		s.snapshotNow,
		// A purge to beyond the end drops the files of the log and not just what they
		// say, and the engine remembers where the log was.
		func(ctx context.Context) error {
			return s.commits.Purge(ctx, jetstream.WithPurgeSequence(s.applied+1))
		},
		s.sayNothing,
		s.snapshotNow,
		func(ctx context.Context) error { return empty(ctx, old) },
	} {
		if s.cfg.anew != nil {
			s.cfg.anew()
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.since, s.sinceLen, s.stale = 0, 0, false
	return nil
}

func empty(ctx context.Context, slots []slot) error {
	for _, slot := range slots {
		if err := slot.stream.Purge(ctx); err != nil {
			return fmt.Errorf("empty %s: %w", slot.name, err)
		}
	}
	return nil
}

func (s *Store) snapshotNow(ctx context.Context) error {
	_, err := s.writeSnapshot(ctx, s.state.Snapshot(), s.applied)
	return err
}

// sayNothing appends a commit without a change.
func (s *Store) sayNothing(ctx context.Context) error {
	data, err := projection.EncodeRecord(nuid.Next(), nil)
	if err != nil {
		return err
	}
	ack, err := s.js.Publish(ctx, s.names.commit, s.cfg.Seal.Seal(kindCommit, data),
		jetstream.WithExpectLastSequence(s.applied), jetstream.WithExpectStream(s.names.commits))
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	s.applied = ack.Sequence
	return nil
}
