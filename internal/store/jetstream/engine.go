package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	startTimeout = 30 * time.Second // replaying a large log after a crash takes time
	// embeddedPayload is the largest message of the embedded engine: NATS warns
	// above 8 MiB.
	embeddedPayload = 8 << 20
	// noLimit leaves it to the disk to say when it is full. NATS's own default is
	// a share of what is free at the start, and streams beyond it would not load.
	noLimit = 1 << 50
)

// engine is the NATS that keeps the streams: one inside this process, or a
// connection to one outside.
type engine struct {
	nc     *nats.Conn
	server *server.Server    // nil when outside
	lock   *os.File          // nil when outside
	closed chan struct{}     // when nc has ended
	hide   func(error) error // takes out of an error what of the URL is secret

	said    *warnings       // what the embedded server complained of
	streams map[string]bool // the streams that lay in the directory before the start

	sick context.Context // ends when the engine was found unable to write; never when outside
	fall context.CancelFunc
}

func newEngine() *engine {
	e := &engine{closed: make(chan struct{}), hide: func(err error) error { return err }}
	e.sick, e.fall = context.WithCancel(context.Background())
	return e
}

func (e *engine) embedded() bool { return e.server != nil }

func startEngine(cfg Config, log *slog.Logger) (*engine, error) {
	if cfg.URL != "" {
		return dial(cfg, log)
	}
	return embed(cfg, log)
}

func dial(cfg Config, log *slog.Logger) (*engine, error) {
	if err := checkURLs(cfg.URL); err != nil {
		return nil, err
	}
	e := newEngine()
	e.hide = hider(cfg.URL)
	opts := append(e.options(log), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.Timeout(5*time.Second))
	if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", e.hide(err))
	}
	e.nc = nc
	return e, nil
}

func (e *engine) options(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("belfry"),
		nats.ClosedHandler(func(*nats.Conn) { close(e.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("store lost its connection", "error", e.hide(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("store is connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("store connection", "error", e.hide(err))
		}),
	}
}

func embed(cfg Config, log *slog.Logger) (*engine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	os.Remove(roomFile(cfg.Dir)) // of a process that was killed
	e, err := embedLocked(cfg, log)
	if err != nil {
		lock.Close()
		return nil, err
	}
	e.lock = lock
	return e, nil
}

// embedLocked is embed for who has locked the directory already.
func embedLocked(cfg Config, log *slog.Logger) (_ *engine, err error) {
	e := newEngine()
	e.said = &warnings{nudges: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			e.stop(context.Background())
		}
	}()
	root := filepath.Join(cfg.Dir, "store")
	if e.streams, err = listStreams(root); err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:             "belfry",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               root,
		SyncAlways:             true,
		MaxPayload:             embeddedPayload,
		MaxPending:             8 * embeddedPayload,
		JetStreamMaxMemory:     64 << 20,
		JetStreamMaxStore:      noLimit,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the embedded store: %w", err)
	}
	e.server = srv
	srv.SetLoggerV2(natsLogger{log, e.said}, false, false, false)
	srv.Start() // returns when the streams are recovered, or when that failed
	if !srv.JetStreamEnabled() || !srv.ReadyForConnections(startTimeout) {
		return nil, fmt.Errorf("the embedded store did not start: is %s writable and whole?%s", cfg.Dir, e.said.text())
	}
	nc, err := nats.Connect("", append(e.options(log), nats.InProcessServer(srv), nats.Timeout(startTimeout))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded store: %w", err)
	}
	e.nc = nc
	return e, nil
}

// stop ends the engine and waits for it, at most until ctx ends. It can be
// called again.
func (e *engine) stop(ctx context.Context) {
	e.stopKeepingLock(ctx)
	if e.lock != nil {
		e.lock.Close()
	}
}

func (e *engine) stopKeepingLock(ctx context.Context) {
	e.fall()
	if e.nc != nil {
		e.nc.Close()
		select {
		case <-e.closed:
		case <-ctx.Done():
		}
	}
	if e.server != nil {
		e.server.Shutdown()
		ended := make(chan struct{})
		go func() { e.server.WaitForShutdown(); close(ended) }()
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
}

// listStreams names the streams that lie in the embedded engine's directory.
func listStreams(root string) (map[string]bool, error) {
	entries, err := os.ReadDir(filepath.Join(root, "jetstream", "$G", "streams"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names, nil
}

func (e *engine) hadStream(name string) bool { return e.streams[name] }

// warnings keeps the embedded server's last complaints, for the error of a
// start that fails.
type warnings struct {
	mu     sync.Mutex
	last   []string
	nudges chan struct{} // there was a complaint, or another reason to look after the engine
}

const keptWarnings = 5

func (w *warnings) add(text string) {
	w.nudge()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last = append(w.last, strings.TrimSpace(text)); len(w.last) > keptWarnings {
		w.last = w.last[1:]
	}
}

func (w *warnings) nudge() {
	select {
	case w.nudges <- struct{}{}:
	default:
	}
}

// text is ": " and the complaints, or nothing.
func (w *warnings) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.last) == 0 {
		return ""
	}
	return ": " + strings.Join(w.last, "; ")
}

// ordinary is in complaints that read like damage and are none: after a kill
// the engine counts its messages anew, and what it could not write is said by
// the store, once.
var ordinary = []string{
	"Stream state outdated", "Stream state too short", "Stream state checksum did not match",
	"Recovering stream state from index errored: prior state file",
	"Recovering stream state from index errored: corrupt state file",
	"ritical write error", "JetStream failed to store a msg",
}

// natsLogger passes the embedded server's words on. What it finds notable about
// itself is detail here.
type natsLogger struct {
	log  *slog.Logger
	said *warnings
}

func (l natsLogger) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l natsLogger) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l natsLogger) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Debugf(string, ...any)           {}
func (l natsLogger) Tracef(string, ...any)           {}

func (l natsLogger) say(level slog.Level, format string, v []any) {
	text := fmt.Sprintf(format, v...)
	if level >= slog.LevelWarn {
		l.said.add(text)
	}
	for _, part := range ordinary {
		if strings.Contains(text, part) {
			level = slog.LevelDebug
		}
	}
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "store engine", "said", text)
	}
}
