//go:build linux

package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"belfry/internal/meeting"
)

// smallDisk mounts a file system of its own. Not everyone may.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("belfry-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs to mount a tmpfs, which is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk leaves so many bytes on the disk of dir until it is called off.
func fillDisk(t *testing.T, dir string, leave int) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	total := int64(0)
	for size := 1 << 20; size > 0; {
		n, err := f.Write(bytes.Repeat([]byte("x"), size))
		total += int64(n)
		if errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(total - int64(leave)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// numbered writes one numbered key after the other and knows which of them were
// acknowledged.
type numbered struct {
	next         int
	acknowledged []int
}

func (k *numbered) try(s *Store) error {
	k.next++
	err := tryPut(s, fmt.Sprint("key-", k.next), k.value(k.next))
	if err == nil {
		k.acknowledged = append(k.acknowledged, k.next)
	}
	return err
}

func (k *numbered) value(n int) string { return fmt.Sprint("value-", n, strings.Repeat(" ", 1<<10)) }

func (k *numbered) write(t *testing.T, s *Store, count int) {
	t.Helper()
	for range count {
		if err := k.try(s); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *numbered) expect(t *testing.T, s *Store) {
	t.Helper()
	for _, n := range k.acknowledged {
		expect(t, s, fmt.Sprint("key-", n), k.value(n))
	}
}

// writeUntilFull writes until the store says that it cannot.
func (k *numbered) writeUntilFull(t *testing.T, s *Store) {
	t.Helper()
	for range 2000 {
		begun := time.Now()
		err := k.try(s)
		if err == nil {
			continue
		}
		if meeting.CodeOf(err) != meeting.CodeUnavailable || !strings.Contains(err.Error(), "cannot write (disk full?)") {
			t.Errorf("the write that found the disk full: %v", err)
		}
		if took := time.Since(begun); took > s.cfg.CommitTimeout/2 {
			t.Errorf("it took %v: it waited for its timeout", took)
		}
		return
	}
	t.Fatal("the disk does not get full")
}

// TestFullDisk fills the disk of an embedded store twice, so that the log or a
// snapshot finds it full, and makes room again.
func TestFullDisk(t *testing.T) {
	for name, c := range map[string]struct{ snapshots, leave int }{
		"log":                 {0, 0},
		"log, a little later": {0, 10 << 10},
		"log and snapshots":   {20, 0},
		"snapshot":            {20, 150 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logged{t: t}
			s := open(t, Config{
				Dir: smallDisk(t, "24m"), SnapshotMessages: c.snapshots, mendEvery: 20 * time.Millisecond,
				CommitTimeout: time.Minute, Logger: log.logger(),
			})
			var keys numbered
			for round := 1; round <= 2; round++ {
				keys.write(t, s, 130)
				eventually(t, func() string {
					if s.snapshotting.Load() {
						return "the end of a snapshot"
					}
					return ""
				})
				if err := s.Writable(); err != nil {
					t.Fatalf("there is room, but: %v", err)
				}
				free := fillDisk(t, s.cfg.Dir, c.leave)
				keys.writeUntilFull(t, s)
				if err := s.Writable(); meeting.CodeOf(err) != meeting.CodeUnavailable {
					t.Errorf("Writable: %v", err)
				}
				for range 100 {
					if err := tryPut(s, "refused", "x"); meeting.CodeOf(err) != meeting.CodeUnavailable || !strings.Contains(err.Error(), "cannot write") {
						t.Fatalf("a write while the disk is full: %v", err)
					}
				}
				keys.expect(t, s)
				if n := log.count("changes are refused until it can"); n != round {
					t.Errorf("%d lines of error after the disk was full %d times", n, round)
				}
				free()
				eventually(t, func() string {
					if err := s.Writable(); err != nil {
						return fmt.Sprint("the store to write again: ", err)
					}
					return ""
				})
				put(t, s, "after", fmt.Sprint(round))
				if _, ok := get(t, s, "refused"); ok {
					t.Error("a refused write is there")
				}
			}
			keys.write(t, s, 50)
			before := s.state
			s = reopen(t, s)
			keys.expect(t, s)
			expect(t, s, "after", "2")
			compareStates(t, before, s.state)
		})
	}
}

// TestCloseWhileFull closes a store that cannot write, tries it while there is no
// room, and opens it when there is.
func TestCloseWhileFull(t *testing.T) {
	s := open(t, Config{Dir: smallDisk(t, "24m"), CommitTimeout: time.Minute})
	var keys numbered
	keys.write(t, s, 20)
	free := fillDisk(t, s.cfg.Dir, 0)
	keys.writeUntilFull(t, s)
	s.Close()
	if err := tryPut(s, "closed", "x"); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("a write to a closed store: %v", err)
	}
	if again, err := tryOpen(t, s.cfg); err != nil {
		t.Logf("it does not open on a full disk: %v", err)
	} else {
		keys.expect(t, again)
		again.Close()
	}
	free()
	s = open(t, s.cfg)
	keys.expect(t, s)
	keys.write(t, s, 20)
}
