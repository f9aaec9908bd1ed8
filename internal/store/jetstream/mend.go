package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"belfry/internal/meeting"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// roomBytes is what must fit on the disk before a store that could not write
	// tries again: two full batches.
	roomBytes = 2 * batchBytes
	// mendAtMost is the longest between two tries to start the engine again.
	mendAtMost = 30 * time.Second
	// healthTries is how often an engine that cannot be looked at is tried.
	healthTries = 100
	healthAgain = 10 * time.Millisecond
)

// Writable is nil, or why the store takes no changes at this moment: an
// *meeting.Error with CodeUnavailable. Reading may go on nevertheless.
func (s *Store) Writable() error {
	if err := s.broken.Load(); err != nil {
		return err
	}
	if err := s.refusing.Load(); err != nil {
		return err
	}
	return nil
}

// The embedded engine never writes to a stream again once a write to it failed,
// and does not answer either. So each complaint of the engine, and each commit
// without an answer, is a reason to ask it for its health; when it cannot write,
// changes are refused until there is room and another engine has taken over.

// guard looks after an engine until it is sick.
func (s *Store) guard(e *engine) {
	if !e.embedded() {
		return
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		for tries := 1; ; tries++ {
			select {
			case <-e.said.nudges:
			case <-s.ctx.Done():
				return
			}
			cause, busy := e.health(s.streamNames())
			if busy && tries < healthTries {
				e.said.nudge()
				select {
				case <-time.After(healthAgain):
				case <-s.ctx.Done():
				}
				continue
			}
			if cause != nil {
				s.log.Error("store cannot write; changes are refused until it can, reading goes on", "error", cause)
				s.refusing.Store(cannotWrite(cause))
				e.fall()
				return
			}
			tries = 0
		}
	}()
}

func cannotWrite(cause error) *meeting.Error {
	return &meeting.Error{Code: meeting.CodeUnavailable, Message: "the store cannot write (disk full?)", Err: cause}
}

// nudge has the guard look.
func (s *Store) nudge() {
	if s.engine.embedded() {
		s.engine.said.nudge()
	}
}

func (s *Store) streamNames() []string {
	list := []string{s.names.commits}
	for _, slot := range s.slots {
		list = append(list, slot.name)
	}
	return list
}

// health is why one of the streams cannot be written, if one cannot. An engine
// that is busy for a moment, or has ended, cannot be looked at.
func (e *engine) health(streams []string) (cause error, busy bool) {
	for _, name := range streams {
		status := e.server.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: name})
		switch status.StatusCode {
		case http.StatusOK:
		case http.StatusInternalServerError:
			return errors.New(status.Error), true
		default:
			return errors.New(status.Error), false
		}
	}
	return nil, false
}

// mend refuses changes until another engine has taken over, or the store is
// closed. The writer runs it.
func (s *Store) mend() {
	taken := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		taken <- s.replaceEngine()
	}()
	var err error
	for waiting := true; waiting; {
		select {
		case u := <-s.updates:
			u.result <- s.refusing.Load()
		case err = <-taken:
			waiting = false
		}
	}
	if err == nil {
		s.log.Info("store can write again", "sequence", s.applied)
		s.guard(s.engine)
		s.refusing.Store(nil)
		return
	}
	for { // it is broken, or being closed
		select {
		case u := <-s.updates:
			u.result <- s.Writable()
		case <-s.ctx.Done():
			return
		}
	}
}

// replaceEngine ends the engine and starts another on the same directory, as
// soon as there is room and what lies there is what was acknowledged. While it
// runs, nothing else touches the engine or the projection.
func (s *Store) replaceEngine() error {
	s.snapshots.Wait()
	old := s.engine
	// Unless the store is closed, however long it takes: two engines on one
	// directory would spoil it.
	old.stopKeepingLock(s.ctx)
	said := ""
	for pause := s.cfg.mendEvery; ; {
		err := s.cfg.room()
		if err == nil {
			if err = s.takeOver(old); err == nil || s.broken.Load() != nil {
				return err
			}
			pause = min(2*pause, mendAtMost)
			if err.Error() != said && s.ctx.Err() == nil {
				said = err.Error()
				s.log.Error("store could not be opened again and will try on", "error", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// takeOver puts a new engine in the place of old, which has stopped, and has the
// projection catch up with the log: what was written though it was never
// acknowledged is taken as any commit whose outcome was open.
func (s *Store) takeOver(old *engine) (err error) {
	ctx, cancel := context.WithTimeout(s.ctx, startTimeout)
	defer cancel()
	e, err := embedLocked(s.cfg, s.log)
	if err != nil {
		return err
	}
	e.lock, old.lock = old.lock, nil
	s.engine = e
	defer func() {
		if err != nil {
			e.stopKeepingLock(context.Background())
			s.engine, old.lock, e.lock = old, e.lock, nil
		}
	}()
	for _, name := range s.streamNames() {
		e.streams[name] = true // none may be made anew
	}
	if err := s.openStreams(ctx); err != nil {
		return err
	}
	info, err := s.commits.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.LastSeq < s.applied {
		return fmt.Errorf("the log in %s ends at %d, it was at %d: data was lost", s.cfg.Dir, info.State.LastSeq, s.applied)
	}
	if s.applied > 0 {
		if _, err := s.commits.GetMsg(ctx, s.applied); err != nil {
			return fmt.Errorf("read log: message %d is missing or damaged: %w", s.applied, err)
		}
	}
	_, err = s.catchUp(ctx, "")
	return err
}

func roomFile(dir string) string { return filepath.Join(dir, "room") }

// tryRoom writes to dir and takes it back.
func tryRoom(dir string) error {
	name := roomFile(dir)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	_, err = f.Write(make([]byte, roomBytes))
	return errors.Join(err, f.Sync(), f.Close())
}
