package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/seal"
)

// key is the n-th master key; the 0th is none.
func key(t testing.TB, n int) *seal.Key {
	t.Helper()
	if n == 0 {
		return nil
	}
	k, err := seal.ParseKey(strings.Repeat(fmt.Sprintf("%02x", n), seal.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ring seals with the n-th key, and opens with others.
func ring(t testing.TB, n int, old ...int) *seal.Ring {
	var olds []*seal.Key
	for _, o := range old {
		olds = append(olds, key(t, o))
	}
	return seal.NewRing(key(t, n), olds...)
}

// holding lists the files below a directory that hold a text.
func holding(t testing.TB, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the engine removes what was purged when it comes to it
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// inTheClear is what fill's values look like in the log and in snapshots.
const inTheClear = `"s":{"k":"key-`

func expectSealed(t *testing.T, dir string) {
	t.Helper()
	eventually(t, func() string {
		if files := holding(t, dir, inTheClear); len(files) > 0 {
			return fmt.Sprintf("settings lie in the clear in %s", files)
		}
		return ""
	})
}

// Turned on, changed and turned off, the master key is that of everything in
// the directory, old snapshots and log included.
func TestMasterKeyOnChangedAndOff(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SnapshotMessages: fewMessages}
	s := open(t, cfg)
	writes := fill(t, s, 4)
	if len(holding(t, cfg.Dir, inTheClear)) < 4 {
		t.Fatalf("the settings are not where they are looked for")
	}
	for i, step := range []struct {
		seal   *seal.Ring
		sealed bool
	}{
		{ring(t, 1), true},
		{ring(t, 1), true}, // nothing to do
		{ring(t, 2, 1), true},
		{ring(t, 2), true}, // the old one is not needed any more
		{ring(t, 0, 2), false},
		{ring(t, 0), false},
		{ring(t, 3), true},
	} {
		s.Close()
		before := s.applied
		cfg.Seal = step.seal
		s = open(t, cfg)
		if rewrote := s.applied != before; rewrote != (i%2 == 0) {
			t.Errorf("step %d: written anew: %v", i, rewrote)
		}
		expectAll(t, s, writes)
		put(t, s, "key-1", "value-1")
		put(t, s, fmt.Sprint("key-", writes+1), fmt.Sprint("value-", writes+1))
		writes++
		if step.sealed {
			expectSealed(t, cfg.Dir)
		} else if len(holding(t, cfg.Dir, inTheClear)) == 0 {
			t.Errorf("step %d: still sealed", i)
		}
	}
	// What came after is sealed too, and an older snapshot is still good.
	for range 2 * fewMessages {
		writes++
		put(t, s, fmt.Sprint("key-", writes), fmt.Sprint("value-", writes))
	}
	s.Close()
	expectSealed(t, cfg.Dir)
	s = open(t, cfg)
	expectAll(t, s, writes)
}

// Without the right master key a store does not open, says what to do, and loses
// nothing by it.
func TestWrongMasterKey(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SnapshotMessages: fewMessages, Seal: ring(t, 1)}
	s := open(t, cfg)
	writes := fill(t, s, 2)
	s.Close()
	for name, c := range map[string]struct {
		seal *seal.Ring
		says string
	}{
		"none":          {nil, "none is set"},
		"another":       {ring(t, 2), key(t, 2).ID()},
		"two others":    {ring(t, 2, 3), key(t, 3).ID()},
		"none, another": {ring(t, 0, 3), key(t, 3).ID()},
	} {
		wrong := cfg
		wrong.Seal = c.seal
		_, err := tryOpen(t, wrong)
		if !errors.Is(err, seal.ErrKey) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), key(t, 1).ID()) ||
			!strings.Contains(err.Error(), "BELFRY_MASTER_KEY") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s = open(t, cfg)
	expectAll(t, s, writes)
}

// A log alone, too short for a snapshot, is sealed too; and a store that is new
// has nothing to write anew.
func TestMasterKeyOnShortLog(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := open(t, cfg)
	put(t, s, "key-1", "value-1")
	s.Close()
	cfg.Seal = ring(t, 1)
	s = open(t, cfg)
	expectAll(t, s, 1)
	expectSealed(t, cfg.Dir)
	fresh := open(t, Config{Dir: t.TempDir(), Seal: ring(t, 1)})
	if fresh.applied != 0 {
		t.Errorf("a new store wrote %d messages", fresh.applied)
	}
}

// Killed at any step of writing everything anew, the directory has it all, and
// the next start brings the work to its end.
func TestKilledWhileWritingAnew(t *testing.T) {
	for name, snapshots := range map[string]int{"log alone": 0, "snapshots": 3} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir, SnapshotMessages: fewMessages})
			writes := fill(t, s, snapshots)
			s.Close()
			var copies []string
			killed := func() {
				to := filepath.Join(t.TempDir(), "copy")
				for { // the engine removes files meanwhile
					err := os.CopyFS(to, os.DirFS(dir))
					if err == nil {
						break
					}
					if !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
					os.RemoveAll(to)
				}
				copies = append(copies, to)
			}
			s = open(t, Config{Dir: dir, SnapshotMessages: fewMessages, Seal: ring(t, 1), anew: killed})
			killed()
			s.Close()
			if len(copies) != 8 {
				t.Fatalf("there were %d steps", len(copies))
			}
			for i, to := range copies {
				again := open(t, Config{Dir: to, SnapshotMessages: fewMessages, Seal: ring(t, 1)})
				expectAll(t, again, writes)
				put(t, again, "more", "more")
				expectSealed(t, to)
				again = reopen(t, again)
				expectAll(t, again, writes)
				expect(t, again, "more", "more")
				if t.Failed() {
					t.Fatalf("killed before step %d", i+1)
				}
				again.Close()
			}
		})
	}
}

// Two nodes that are given a master key at the same moment both come up, and a
// node without it stops, saying why, and takes nothing for lost.
func TestMasterKeyOfTwoNodes(t *testing.T) {
	dir := t.TempDir()
	_, url := outside(t, dir, 0, 1<<20)
	cfg := Config{URL: url, SnapshotMessages: fewMessages}
	a := open(t, cfg)
	writes := fill(t, a, 2)
	a.Close()

	cfg.Seal = ring(t, 1)
	var nodes [2]*Store
	var errs [2]error
	var both sync.WaitGroup
	for i := range nodes {
		both.Go(func() { nodes[i], errs[i] = Open(context.Background(), cfg) })
	}
	both.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		defer nodes[i].Close()
	}
	put(t, nodes[0], "from", "a")
	for i, s := range nodes {
		eventually(t, func() string {
			if value, _ := get(t, s, "from"); value != "a" {
				return fmt.Sprintf("node %d has not heard", i)
			}
			return ""
		})
		expectAll(t, s, writes)
	}
	// Snapshots take the place of what was plain, after which the key can change again.
	for range 4 * fewMessages {
		put(t, nodes[0], "from", "a")
	}
	eventually(t, func() string {
		again := Config{URL: url, Seal: ring(t, 1)}
		s := open(t, again)
		defer s.Close()
		expectAll(t, s, writes)
		ends, err := s.endMarkers(context.Background())
		if stale, _ := s.isStale(context.Background(), ends); stale || err != nil {
			put(t, nodes[0], "from", "a")
			return fmt.Sprintf("there is still something plain in %v (%v)", ends, err)
		}
		return ""
	})
	if _, err := tryOpen(t, Config{URL: url}); !errors.Is(err, seal.ErrKey) {
		t.Errorf("a node without the master key: %v", err)
	}

	// A node that runs when another goes over to a master key.
	other := Config{URL: url, Name: "other", SnapshotMessages: fewMessages, followEvery: 10 * time.Millisecond}
	plain := open(t, other)
	put(t, plain, "key-1", "value-1")
	other.Seal = ring(t, 1)
	put(t, open(t, other), "key-2", "value-2")
	eventually(t, func() string {
		if err := plain.Writable(); err == nil || !strings.Contains(err.Error(), "BELFRY_MASTER_KEY") {
			return fmt.Sprintf("the node without the master key says %v", err)
		}
		return ""
	})
}
