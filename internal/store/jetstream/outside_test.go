package jetstream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/storetest"
	"belfry/test/kit"

	"github.com/nats-io/nats-server/v2/server"
)

// outside starts a NATS server on a loopback port, 0 for any, as one that is
// not part of this program would be.
func outside(t testing.TB, dir string, port int, payload int32) (*server.Server, string) {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&server.Options{
		Host: kit.Host().String(), Port: port, JetStream: true, StoreDir: dir, SyncAlways: true,
		MaxPayload: payload, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(kit.Patience) {
		t.Fatal("the NATS server did not start")
	}
	return srv, srv.ClientURL()
}

// pair opens two stores on the same outside server.
func pair(t *testing.T, cfg Config) (a, b *Store) {
	t.Helper()
	_, cfg.URL = outside(t, t.TempDir(), 0, 1<<20)
	return open(t, cfg), open(t, cfg)
}

func TestOutside(t *testing.T) {
	_, url := outside(t, t.TempDir(), 0, 1<<20)
	var mu sync.Mutex
	n := 0
	storetest.Run(t, storetest.Opener{
		Open: func(tb testing.TB) meeting.Store {
			mu.Lock()
			defer mu.Unlock()
			n++
			return open(tb, Config{URL: url, Name: fmt.Sprint("suite", n)})
		},
		Reopen: func(tb testing.TB, s meeting.Store) meeting.Store { return reopen(tb, s.(*Store)) },
	})
}

func TestTwoNodesAreOneStore(t *testing.T) {
	a, b := pair(t, Config{})
	storetest.Linearizable(t, a, b)
	for _, s := range []*Store{a, b} {
		s.Close()
		if s.reloads != 0 {
			t.Error("a node that only had to read on began again from a snapshot")
		}
	}
}

// TestUpdateSeesOtherNodes reads inside updates of a node that nobody tells of
// the other's commits.
func TestUpdateSeesOtherNodes(t *testing.T) {
	a, b := pair(t, Config{})
	b.following.Stop()
	<-b.following.Closed()
	for n := range 20 {
		put(t, a, "n", fmt.Sprint(n))
		var seen []byte // by the run that counts, the last
		err := b.Update(context.Background(), func(tx meeting.Tx) error { seen, _ = tx.Setting("n"); return nil })
		if err != nil || string(seen) != fmt.Sprint(n) {
			t.Fatalf("an update that writes nothing saw %s, %v; want %d", seen, err, n)
		}
	}
}

// TestTwoNodesSeeEachOther has each node see and be told of the other's writes,
// because it is told or because it looks.
func TestTwoNodesSeeEachOther(t *testing.T) {
	t.Run("told", func(t *testing.T) {
		a, b := pair(t, Config{followEvery: time.Hour})
		seeEachOther(t, a, b)
	})
	t.Run("looks", func(t *testing.T) {
		a, b := pair(t, Config{followEvery: 10 * time.Millisecond})
		for _, s := range []*Store{a, b} {
			s.following.Stop()
			<-s.following.Closed()
		}
		seeEachOther(t, a, b)
	})
}

func seeEachOther(t *testing.T, a, b *Store) {
	for n, pair := range [][2]*Store{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		seen := make(chan string, 100)
		stop := to.Watch(func(c meeting.Commit) {
			for _, ch := range c.Changes {
				if ch.MeetingPut != nil {
					seen <- ch.MeetingPut.ID
				}
			}
		})
		m := newMeeting(n)
		if err := from.Update(context.Background(), func(tx meeting.Tx) error { tx.PutMeeting(m); return nil }); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-seen:
			if got != m.ID {
				t.Errorf("the other node was told of %s, want %s", got, m.ID)
			}
		case <-time.After(kit.Patience):
			t.Fatal("the other node was not told")
		}
		stop()
		err := to.View(context.Background(), func(r meeting.Reader) error {
			if _, ok := r.Meeting(m.ID); !ok {
				t.Error("the other node was told, but does not show it")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoNodesOneToken races callers on both nodes for one meeting.
func TestTwoNodesOneToken(t *testing.T) {
	a, b := pair(t, Config{})
	services := []*meeting.Service{
		meeting.NewService(a, meeting.ServiceOptions{}), meeting.NewService(b, meeting.ServiceOptions{}),
	}
	for round := range 10 {
		var mu sync.Mutex
		ids := map[string]int{}
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				m, err := services[c%2].CreateMeeting(context.Background(), benchAccount,
					meeting.NewMeeting{ClientRequestToken: fmt.Sprint("round-", round)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[m.ID]++
			})
		}
		wg.Wait()
		if len(ids) != 1 {
			t.Fatalf("round %d: one token made meetings %v", round, ids)
		}
	}
}

// TestTwoNodesCount adds to one number from both nodes: a lost update shows.
func TestTwoNodesCount(t *testing.T) {
	a, b := pair(t, Config{SnapshotMessages: 7})
	const each = 50
	var wg sync.WaitGroup
	for _, s := range []*Store{a, b} {
		for range 2 {
			wg.Go(func() {
				for range each {
					err := s.Update(context.Background(), func(tx meeting.Tx) error {
						v, _ := tx.Setting("sum")
						tx.PutSetting("sum", append(append([]byte(nil), v...), 'x'))
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	want := strings.Repeat("x", 4*each)
	for _, s := range []*Store{a, b} {
		eventually(t, func() string {
			if got, _ := get(t, s, "sum"); got != want {
				return fmt.Sprintf("a node counts %d, want %d", len(got), len(want))
			}
			return ""
		})
	}
	expect(t, reopen(t, a), "sum", want)
}

// TestAwayTooLong holds one node up until the log that it missed is gone.
func TestAwayTooLong(t *testing.T) {
	a, b := pair(t, Config{SnapshotMessages: fewMessages})
	if err := a.Update(context.Background(), func(tx meeting.Tx) error { tx.PutMeeting(newMeeting(1)); return nil }); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	live := map[string]bool{newMeeting(1).ID: true}
	defer b.Watch(func(c meeting.Commit) {
		once.Do(func() { close(held); <-release })
		mu.Lock()
		defer mu.Unlock()
		for _, ch := range c.Changes {
			if ch.MeetingPut != nil {
				live[ch.MeetingPut.ID] = true
			}
			if ch.MeetingDeleted != nil {
				delete(live, ch.MeetingDeleted.ID)
			}
		}
	})()
	put(t, a, "start", "1")
	if err := a.Update(context.Background(), func(tx meeting.Tx) error { tx.PutMeeting(newMeeting(2)); return nil }); err != nil {
		t.Fatal(err)
	}
	<-held
	if err := a.Update(context.Background(), func(tx meeting.Tx) error {
		tx.DeleteMeeting(newMeeting(1).ID)
		tx.PutMeeting(newMeeting(3))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	writes := fill(t, a, 4)
	close(release)
	put(t, b, "after", "2")
	expectAll(t, b, writes)
	if b.reloads == 0 {
		t.Error("the node found the log that it missed: the test proves nothing")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(live) != 2 || !live[newMeeting(2).ID] || !live[newMeeting(3).ID] {
		t.Errorf("what the watcher was told adds up to %v", live)
	}
	eventually(t, func() string {
		if v, _ := get(t, a, "after"); v != "2" {
			return "the other node's write"
		}
		return ""
	})
}

// TestServerRestarts takes the outside server away and gives it back.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	srv, url := outside(t, dir, 0, 1<<20)
	s := open(t, Config{URL: url, CommitTimeout: 5 * time.Second}) // the update between waits for so long
	put(t, s, "before", "1")
	srv.Shutdown()
	srv.WaitForShutdown()
	expect(t, s, "before", "1")
	if err := tryPut(s, "between", "1"); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("an update without a server: %v, want CodeUnavailable", err)
	}
	var port int
	if _, err := fmt.Sscanf(url[strings.LastIndex(url, ":")+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	outside(t, dir, port, 1<<20)
	eventually(t, func() string {
		if err := tryPut(s, "after", "1"); err != nil {
			return fmt.Sprint("an update after the restart: ", err)
		}
		return ""
	})
	s = reopen(t, s)
	expect(t, s, "before", "1")
	expect(t, s, "after", "1")
}

// TestSmallPayload is bounded by what the outside server takes.
func TestSmallPayload(t *testing.T) {
	_, url := outside(t, t.TempDir(), 0, 32<<10)
	s := open(t, Config{URL: url, SnapshotMessages: 3})
	if err := tryPut(s, "big", strings.Repeat("x", 32<<10)); meeting.CodeOf(err) != meeting.CodeUnprocessable {
		t.Errorf("an update of more than a message: %v, want CodeUnprocessable", err)
	}
	part := strings.Repeat("x", 10<<10)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := tryPut(s, fmt.Sprint(i), part); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s = reopen(t, s)
	for i := range 20 {
		expect(t, s, fmt.Sprint(i), part)
	}
}

func TestNoServer(t *testing.T) {
	if _, err := tryOpen(t, Config{URL: "nats://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "connect to NATS") {
		t.Errorf("opened without a server: %v", err)
	}
}
