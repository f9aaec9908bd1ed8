package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"belfry/internal/meeting"
)

const fewMessages = 10

// fill writes until so many snapshots were taken, and waits for the last.
func fill(t *testing.T, s *Store, snapshots int) (writes int) {
	t.Helper()
	for n := range snapshots {
		for range fewMessages {
			writes++
			put(t, s, fmt.Sprint("key-", writes), fmt.Sprint("value-", writes))
		}
		eventually(t, func() string {
			if base := s.base.Load(); s.snapshotting.Load() || base.Applied < uint64((n+1)*fewMessages) {
				return fmt.Sprintf("snapshot %d: the last one is at %d", n+1, base.Applied)
			}
			return ""
		})
	}
	for range 3 { // the log has something of its own
		writes++
		put(t, s, fmt.Sprint("key-", writes), fmt.Sprint("value-", writes))
	}
	return writes
}

func expectAll(t *testing.T, s *Store, writes int) {
	t.Helper()
	for n := 1; n <= writes; n++ {
		expect(t, s, fmt.Sprint("key-", n), fmt.Sprint("value-", n))
	}
}

func TestSnapshots(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), SnapshotMessages: fewMessages})
	writes := fill(t, s, 4)
	info, err := s.commits.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 3*fewMessages {
		t.Errorf("the log begins at %d, want it to begin with the snapshot before the last", info.State.FirstSeq)
	}
	ends, err := s.endMarkers(context.Background())
	if err != nil || len(ends) != snapshotSlots {
		t.Errorf("%d snapshots are kept (%v), want %d", len(ends), err, snapshotSlots)
	}
	s = reopen(t, s)
	expectAll(t, s, writes)
	if s.since != 3 {
		t.Errorf("the start replayed %d messages, want 3", s.since)
	}
}

// flip changes a byte in the middle of what lies after a mark in a file.
func flip(t *testing.T, path, mark string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.LastIndex(data, []byte(mark))
	if i < 0 {
		t.Fatalf("%s is not in %s", mark, path)
	}
	data[i+len(mark)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func streamDir(s *Store, stream string) string {
	return filepath.Join(s.cfg.Dir, "store", "jetstream", "$G", "streams", stream)
}

func block(t *testing.T, s *Store, stream string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(streamDir(s, stream), "msgs", "*.blk"))
	if err != nil || len(found) != 1 {
		t.Fatalf("blocks of %s: %v, %v", stream, found, err)
	}
	return found[0]
}

// TestDamagedSnapshot damages the newest snapshot in several ways; the start
// takes the one before, and the log since.
func TestDamagedSnapshot(t *testing.T) {
	ctx := context.Background()
	newest := func(t *testing.T, s *Store) endMarker {
		ends, err := s.endMarkers(ctx)
		if err != nil || len(ends) == 0 {
			t.Fatalf("ends: %v, %v", ends, err)
		}
		return ends[len(ends)-1]
	}
	free := func(s *Store) int { // there is one as long as there were only two snapshots
		ends, _ := s.endMarkers(ctx)
		to, _ := s.target(ends)
		return to
	}
	publish := func(t *testing.T, s *Store, subject, data string) {
		if _, err := s.js.Publish(ctx, subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		open, closed func(*testing.T, *Store) // damage while it is open, and after
		snapshots    int
		replayed     int // by the start
	}{
		"no end": {snapshots: 2, replayed: fewMessages + 3, open: func(t *testing.T, s *Store) {
			end := newest(t, s)
			if err := s.slots[end.slot].stream.DeleteMsg(ctx, end.First+uint64(end.Chunks)); err != nil {
				t.Fatal(err)
			}
		}},
		"no chunk": {snapshots: 2, replayed: fewMessages + 3, open: func(t *testing.T, s *Store) {
			end := newest(t, s)
			if err := s.slots[end.slot].stream.DeleteMsg(ctx, end.First); err != nil {
				t.Fatal(err)
			}
		}},
		"the only one": {snapshots: 1, replayed: fewMessages + 3, open: func(t *testing.T, s *Store) {
			end := newest(t, s)
			if err := s.slots[end.slot].stream.DeleteMsg(ctx, end.First); err != nil {
				t.Fatal(err)
			}
		}},
		"half written": {snapshots: 2, replayed: 3, open: func(t *testing.T, s *Store) {
			publish(t, s, s.slots[free(s)].chunk, `{"v":1,"c":[[{"s":{"k":"key-1","v":"AA=="}}]]}`)
		}},
		"end that is none": {snapshots: 2, replayed: 3, open: func(t *testing.T, s *Store) {
			publish(t, s, s.slots[free(s)].end, `{"v":1,"first":1,"chu`)
		}},
		"end without chunks": {snapshots: 2, replayed: 3, open: func(t *testing.T, s *Store) {
			publish(t, s, s.slots[free(s)].end, `{"v":1,"first":1,"chunks":3,"applied":9000}`)
		}},
		"wrong sum": {snapshots: 2, replayed: 3, open: func(t *testing.T, s *Store) {
			to := s.slots[free(s)]
			publish(t, s, to.chunk, `{"v":1,"c":[[{"s":{"k":"key-1","v":"AA=="}}]]}`)
			publish(t, s, to.end, fmt.Sprintf(`{"v":1,"id":"x","first":1,"chunks":1,"applied":%d,"sum":"AA=="}`, s.applied))
		}},
		"byte on disk": {snapshots: 2, replayed: fewMessages + 3, closed: func(t *testing.T, s *Store) {
			flip(t, block(t, s, s.slots[s.base.Load().slot].name), `"key-1"`)
		}},
		"byte on disk, after a crash": {snapshots: 2, replayed: fewMessages + 3, closed: func(t *testing.T, s *Store) {
			name := s.slots[s.base.Load().slot].name
			os.Remove(filepath.Join(streamDir(s, name), "msgs", "index.db"))
			flip(t, block(t, s, name), `"key-1"`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Dir: t.TempDir(), SnapshotMessages: fewMessages})
			writes := fill(t, s, c.snapshots)
			if c.open != nil {
				c.open(t, s)
			}
			s.Close()
			if c.closed != nil {
				c.closed(t, s)
			}
			s = open(t, s.cfg)
			expectAll(t, s, writes)
			if s.since != c.replayed {
				t.Errorf("the start replayed %d messages, want %d", s.since, c.replayed)
			}
			// The next snapshots are whole again.
			s.cfg.SnapshotMessages = 1
			for range 2 * snapshotSlots {
				was := s.base.Load().Applied
				put(t, s, "more", "1")
				eventually(t, func() string {
					if s.snapshotting.Load() || s.base.Load().Applied == was {
						return "a snapshot after the damage"
					}
					return ""
				})
			}
			s = reopen(t, s)
			expectAll(t, s, writes)
			if s.since > 1 {
				t.Errorf("after more snapshots the start replayed %d messages", s.since)
			}
		})
	}
}

// TestDamagedDirectory damages what cannot be made good: the start says what is
// wrong and where, and does not go on with less than there was.
func TestDamagedDirectory(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, path string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		damage func(*testing.T, *Store)
		says   []string
	}{
		"description of the log": {func(t *testing.T, s *Store) {
			write(t, filepath.Join(streamDir(s, s.names.commits), "meta.inf"), "{")
		}, []string{"BELFRY_COMMITS", "damaged", "checksums"}},
		"no description of the log": {func(t *testing.T, s *Store) {
			remove(t, filepath.Join(streamDir(s, s.names.commits), "meta.inf"))
		}, []string{"BELFRY_COMMITS", "damaged"}},
		"no log": {func(t *testing.T, s *Store) {
			remove(t, streamDir(s, s.names.commits))
		}, []string{"data was lost"}},
		"no messages": {func(t *testing.T, s *Store) {
			remove(t, filepath.Join(streamDir(s, s.names.commits), "msgs"))
		}, []string{"read log"}},
		"no snapshots": {func(t *testing.T, s *Store) {
			for _, slot := range s.slots {
				remove(t, streamDir(s, slot.name))
			}
		}, []string{"read log", "begins at"}},
		"every snapshot": {func(t *testing.T, s *Store) {
			for _, slot := range s.slots {
				flip(t, block(t, s, slot.name), `"key-1"`)
			}
		}, []string{"read log", "begins at 20", "damaged", "read snapshot: chunk 1 of 1"}},
		"description of a snapshot": {func(t *testing.T, s *Store) {
			write(t, filepath.Join(streamDir(s, s.slots[0].name), "meta.inf"), "{")
		}, []string{"BELFRY_SNAPSHOT_1", "damaged"}},
		"a byte of the log": {func(t *testing.T, s *Store) {
			flip(t, block(t, s, s.names.commits), `"key-32"`)
		}, []string{"read log: message 32"}},
		"a byte of the log, after a crash": {func(t *testing.T, s *Store) {
			remove(t, filepath.Join(streamDir(s, s.names.commits), "msgs", "index.db"))
			flip(t, block(t, s, s.names.commits), `"key-32"`)
		}, []string{"data was lost"}},
		"a log cut off": {func(t *testing.T, s *Store) {
			path := block(t, s, s.names.commits)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, string(data[:len(data)-10]))
		}, []string{"read log: message 33 of 33 is missing or damaged"}},
		"a log cut off, after a crash": {func(t *testing.T, s *Store) {
			remove(t, filepath.Join(streamDir(s, s.names.commits), "msgs", "index.db"))
			path := block(t, s, s.names.commits)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, string(data[:len(data)-10]))
		}, []string{"data was lost"}},
		"a file for a directory": {func(t *testing.T, s *Store) {
			remove(t, filepath.Join(s.cfg.Dir, "store"))
			write(t, filepath.Join(s.cfg.Dir, "store"), "")
		}, []string{"store"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Dir: t.TempDir(), SnapshotMessages: fewMessages})
			fill(t, s, 3)
			s.Close()
			c.damage(t, s)
			again, err := tryOpen(t, s.cfg)
			if err == nil {
				t.Fatalf("a damaged directory was opened, at %d", again.applied)
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			t.Log(err)
		})
	}
}

// TestNewerData leaves what a newer version wrote alone.
func TestNewerData(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	put(t, s, "key", "value")
	if _, err := s.js.Publish(context.Background(), s.names.commit, []byte(`{"v":2,"id":"x","c":[]}`)); err != nil {
		t.Fatal(err)
	}
	// The writer finds it where its own commit should have gone.
	if err := tryPut(s, "key", "other"); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("update: %v, want CodeUnavailable", err)
	}
	if err := s.View(context.Background(), func(meeting.Reader) error { return nil }); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("view: %v, want CodeUnavailable", err)
	}
	s.Close()
	if _, err := tryOpen(t, s.cfg); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("open: %v", err)
	}
}
