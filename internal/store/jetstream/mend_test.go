package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/projection"

	"github.com/google/go-cmp/cmp"
)

// logged keeps what a store says.
type logged struct {
	t    testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) count(part string) int { return strings.Count(l.String(), part) }

// TestMend takes the engine away under load, without any room for a while: every
// acknowledged write is there, and those in between are refused.
func TestMend(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	s := open(t, Config{
		Dir: t.TempDir(), mendEvery: 5 * time.Millisecond, CommitTimeout: 10 * time.Second, SnapshotMessages: 50,
		room: func() error {
			if full.Load() {
				return errors.New("no room")
			}
			return nil
		},
	})
	var told sync.Map // what the watchers were told adds up to the same as the state
	defer s.Watch(func(c meeting.Commit) {
		for _, ch := range c.Changes {
			if ch.MeetingPut != nil {
				told.Store(ch.MeetingPut.ID, true)
			}
		}
	})()
	svc := meeting.NewService(s, meeting.ServiceOptions{})
	var wg sync.WaitGroup
	var refused, made atomic.Int64
	done := make(chan struct{})
	acknowledged := make([][]string, 8)
	for c := range acknowledged {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-done:
					return
				default:
				}
				m, err := svc.CreateMeeting(t.Context(), benchAccount, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(c, "-", k)})
				switch {
				case err == nil:
					acknowledged[c] = append(acknowledged[c], m.ID)
					made.Add(1)
				case meeting.CodeOf(err) == meeting.CodeUnavailable:
					refused.Add(1)
					time.Sleep(time.Millisecond)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	reach := func(what string, count *atomic.Int64, n int64) {
		t.Helper()
		want := count.Load() + n
		eventually(t, func() string {
			if have := count.Load(); have < want {
				return fmt.Sprintf("%s: %d of %d", what, have, want)
			}
			return ""
		})
	}
	reach("meetings before", &made, 200)
	s.engine.server.Shutdown()
	s.engine.said.nudge()
	reach("refusals", &refused, 20)
	before := made.Load()
	reach("more refusals", &refused, 20)
	if made.Load() != before {
		t.Error("writes succeed without room")
	}
	full.Store(false)
	reach("meetings after", &made, 200)
	close(done)
	wg.Wait()
	check := func(s *Store) {
		t.Helper()
		err := s.View(t.Context(), func(r meeting.Reader) error {
			for _, ids := range acknowledged {
				for _, id := range ids {
					if _, ok := r.Meeting(id); !ok {
						t.Errorf("acknowledged meeting %s is lost", id)
					}
					if _, ok := told.Load(id); !ok {
						t.Errorf("the watcher was not told of meeting %s", id)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	check(s)
	state := s.state
	s = reopen(t, s)
	check(s)
	compareStates(t, state, s.state)
}

// compareStates holds what a store had in memory against what its log says.
func compareStates(t *testing.T, memory, disk *projection.State) {
	t.Helper()
	if diff := cmp.Diff(entries(t, memory), entries(t, disk)); diff != "" {
		t.Errorf("what was in memory is not what the log says (-memory +log):\n%s", diff)
	}
}

// entries are what a snapshot of the state has, in an order of their own.
func entries(t *testing.T, s *projection.State) (list []string) {
	t.Helper()
	for chunk, err := range s.Snapshot().Chunks(chunkBytes) {
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			C [][]json.RawMessage `json:"c"`
		}
		if err := json.Unmarshal(chunk, &record); err != nil {
			t.Fatal(err)
		}
		for _, ops := range record.C {
			for _, op := range ops {
				list = append(list, string(op))
			}
		}
	}
	if len(list) == 0 {
		t.Error("there is nothing to compare")
	}
	slices.Sort(list)
	return list
}

// TestMendLostData puts less on the disk than was acknowledged: the store does
// not write on from there, and reading goes on.
func TestMendLostData(t *testing.T) {
	for name, c := range map[string]struct{ part, says string }{
		"stream":   {"", "damaged"},
		"messages": {"msgs", "data was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logged{t: t}
			var s *Store
			s = open(t, Config{Dir: t.TempDir(), mendEvery: time.Millisecond, Logger: log.logger(), room: func() error {
				return os.RemoveAll(filepath.Join(streamDir(s, s.names.commits), c.part))
			}})
			put(t, s, "key", "value")
			s.engine.server.Shutdown()
			s.engine.said.nudge()
			eventually(t, func() string {
				if log.count("could not be opened again") == 0 {
					return "the error of the second start"
				}
				return ""
			})
			if log.count(c.says) == 0 {
				t.Errorf("the log does not say %q", c.says)
			}
			if err := tryPut(s, "key", "other"); meeting.CodeOf(err) != meeting.CodeUnavailable {
				t.Errorf("update: %v, want CodeUnavailable", err)
			}
			expect(t, s, "key", "value")
			said := map[string]bool{}
			for line := range strings.Lines(log.String()) {
				_, why, _ := strings.Cut(line, "could not be opened again") // behind the time
				if said[why] && why != "" {
					t.Errorf("the same error is in the log again: %s", why)
				}
				said[why] = true
			}
		})
	}
}

// TestQuietAfterKill starts on what a process leaves that was killed.
func TestQuietAfterKill(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	put(t, s, "key", "1")
	s.Close()
	index := filepath.Join(streamDir(s, s.names.commits), "msgs", "index.db")
	stale, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, s.cfg)
	put(t, s, "key", "2")
	s.Close()
	if err := os.WriteFile(index, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	log := &logged{t: t}
	s.cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s = open(t, s.cfg)
	expect(t, s, "key", "2")
	if log.count("Stream state outdated") == 0 {
		t.Error("the engine found nothing to say: the test proves nothing")
	}
	if log.count("level=WARN")+log.count("level=ERROR") > 0 {
		t.Error("a start after a kill reads like damage")
	}
}
