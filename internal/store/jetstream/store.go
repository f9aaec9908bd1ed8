// Package jetstream keeps meetings in a log on disk. The log is a JetStream
// stream of commits, in a NATS server inside the process or in a cluster
// outside; what it adds up to is held in memory by package projection, so
// reading never touches the disk.
//
// One goroutine, the writer, owns the projection. It gathers the updates that
// are waiting, runs them one after the other, and appends what they wrote as
// one message, which is synced before it is acknowledged. Each append names the
// sequence it must follow, so writers on several nodes cannot miss each other's
// commits. From time to time the projection is written to a stream of its own as
// a snapshot, and the log before the last but one is dropped.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/seal"
	"belfry/internal/store/projection"

	"github.com/nats-io/nats.go/jetstream"
)

// Config says where the streams are and how they are kept.
type Config struct {
	// Dir is the data directory of the embedded engine. One process may use it at
	// a time.
	Dir string
	// URL is the address of a NATS cluster to use instead, and Creds the path of
	// the credentials file for it, "" for none.
	URL, Creds string
	// Name begins the names of the streams; "": "belfry".
	Name string
	// Replicas is how many servers of an outside cluster keep each stream; 0: 1.
	Replicas int
	// SnapshotMessages and SnapshotBytes say after how much log a snapshot is
	// taken; 0: 20,000 and 32 MiB.
	SnapshotMessages int
	SnapshotBytes    int64
	// CommitTimeout bounds how long an Update waits for the disk; 0: 10 s.
	CommitTimeout time.Duration
	// Seal seals what is written: the log and the snapshots. What lies in Dir plain,
	// or under one of its old keys, is written anew by Open; in an outside cluster
	// it goes when snapshots have taken its place. nil: nothing is sealed.
	Seal   *seal.Ring
	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now

	anew        func()        // called before each step of writing everything anew; nil: nothing
	room        func() error  // whether the disk takes writes; nil: tried in Dir
	mendEvery   time.Duration // how often a store that cannot write looks whether it can; 0: 1 s
	followEvery time.Duration // how often a node looks for commits it was not told of; 0: 5 s
}

// Store is a meeting.Store in JetStream. Make one with Open.
type Store struct {
	cfg    Config
	log    *slog.Logger
	engine *engine
	js     jetstream.JetStream

	commits jetstream.Stream // the log
	slots   [snapshotSlots]slot
	names   names

	state    *projection.State
	watchers projection.Watchers

	updates chan *update  // unbuffered: who is not received from did not happen
	remote  chan struct{} // commits of other nodes have arrived

	following jetstream.ConsumeContext // nil when embedded

	// Of the writer alone.
	applied  uint64 // sequence of the last message that state contains
	since    int    // messages since the last snapshot
	sinceLen int64
	lastSize int // of the last batch
	reloads  int
	stale    bool // something that was read is not sealed as it would be now

	stats Stats

	snapshotting atomic.Bool
	snapshots    sync.WaitGroup                // the snapshot that is being written
	base         atomic.Pointer[endMarker]     // the last snapshot known to be whole; zero: none
	broken       atomic.Pointer[meeting.Error] // why it cannot be used any more
	refusing     atomic.Pointer[meeting.Error] // why it cannot write for now

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the writer, the follower, a snapshot
	done    chan struct{}  // the writer has ended
	close   sync.Once
}

var _ meeting.Store = (*Store)(nil)

// names are what the log is called.
type names struct{ commits, commit string } // stream and subject

func namesFor(name string) names {
	return names{commits: strings.ToUpper(name) + "_COMMITS", commit: strings.ToLower(name) + ".commits"}
}

// Open starts the engine, or connects to it, and reads the state. ctx bounds
// the opening, not the Store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Name == "" {
		cfg.Name = "belfry"
	}
	if cfg.SnapshotMessages <= 0 {
		cfg.SnapshotMessages = 20_000
	}
	if cfg.SnapshotBytes <= 0 {
		cfg.SnapshotBytes = 32 << 20
	}
	if cfg.CommitTimeout <= 0 {
		cfg.CommitTimeout = 10 * time.Second
	}
	if cfg.room == nil {
		cfg.room = func() error { return tryRoom(cfg.Dir) }
	}
	if cfg.mendEvery <= 0 {
		cfg.mendEvery = time.Second
	}
	if cfg.followEvery <= 0 {
		cfg.followEvery = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Dir == "" && cfg.URL == "" {
		return nil, errors.New("open store: neither a data directory nor a NATS URL is set")
	}
	e, err := startEngine(cfg, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		cfg: cfg, log: cfg.Logger, engine: e, names: namesFor(cfg.Name),
		state:   projection.New(),
		updates: make(chan *update), remote: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		s.cancel()
		s.running.Wait()
		s.unfollow()
		e.stop(context.Background())
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.running.Add(1)
	go s.write()
	s.guard(e)
	return s, nil
}

func (s *Store) open(opening context.Context) error {
	ctx, cancel := context.WithTimeout(opening, startTimeout)
	defer cancel()
	if err := s.openStreams(ctx); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	if noted := s.notedSequence(); s.applied < noted {
		return fmt.Errorf("the log in %s ends at %d, it was at %d when it was last closed: data was lost", s.cfg.Dir, s.applied, noted)
	}
	if err := s.reseal(opening); err != nil {
		return err
	}
	if !s.engine.embedded() {
		return s.follow(ctx)
	}
	return nil
}

// openStreams finds the streams in the engine, or makes them.
func (s *Store) openStreams(ctx context.Context) (err error) {
	if s.js, err = jetstream.New(s.engine.nc, jetstream.WithDefaultTimeout(s.cfg.CommitTimeout)); err != nil {
		return err
	}
	if s.commits, err = s.stream(ctx, s.names.commits, s.names.commit); err != nil {
		return err
	}
	return s.openSlots(ctx)
}

// stream finds a stream or makes it.
func (s *Store) stream(ctx context.Context, name string, subjects ...string) (jetstream.Stream, error) {
	st, err := s.js.Stream(ctx, name)
	if err == nil {
		return st, nil
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("look for stream %s: %w", name, err)
	}
	// The engine passes over a stream that it cannot read. A new one in its place
	// would look like a store in which nothing ever was.
	if s.engine.hadStream(name) {
		return nil, fmt.Errorf("stream %s in %s cannot be read: the directory is damaged%s", name, s.cfg.Dir, s.engine.said.text())
	}
	st, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:     name,
		Subjects: subjects,
		Storage:  jetstream.FileStorage,
		Replicas: max(s.cfg.Replicas, 1),
		// A direct read may be answered by a replica that lags.
		AllowDirect: false,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was first
		st, err = s.js.Stream(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("make stream %s: %w", name, err)
	}
	return st, nil
}

// Stats counts what the store did since it was opened.
type Stats struct {
	Changes   atomic.Uint64 // updates that wrote something
	Appends   atomic.Uint64 // messages that they were written in, each with one sync when embedded
	Snapshots atomic.Uint64
	Paused    atomic.Uint64 // ns that updates stood still for snapshots to be taken
}

// Stats is live: its members go on counting.
func (s *Store) Stats() *Stats { return &s.stats }

// View implements meeting.Store.
func (s *Store) View(ctx context.Context, fn func(meeting.Reader) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.state.View(fn)
}

func (s *Store) usable(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return projection.ErrClosed
	}
	if err := s.broken.Load(); err != nil {
		return err
	}
	return projection.Ended(ctx)
}

// Update implements meeting.Store.
func (s *Store) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.refusing.Load(); err != nil {
		return err
	}
	u := &update{fn: fn, result: make(chan error, 1)}
	select {
	case s.updates <- u:
	case <-ctx.Done():
		return projection.Ended(ctx)
	case <-s.done:
		return projection.ErrClosed
	}
	select {
	case err := <-u.result:
		return err
	case <-ctx.Done():
		if u.abandon() {
			return projection.Ended(ctx)
		}
		return <-u.result // it runs; its outcome is near and worth knowing
	}
}

// Watch implements meeting.Store.
func (s *Store) Watch(fn func(meeting.Commit)) (stop func()) { return s.watchers.Add(fn) }

// Close implements meeting.Store. Updates that are under way end with their
// outcome if it comes at once, else with CodeUnavailable.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.cancel()
		s.running.Wait()
		s.unfollow()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.engine.stop(ctx)
		if s.engine.embedded() {
			s.noteSequence()
		}
	})
	return nil
}
