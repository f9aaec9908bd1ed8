package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/storetest"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// testLog shows what a store says when its test fails.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func tryOpen(t testing.TB, cfg Config) (*Store, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	}
	s, err := Open(context.Background(), cfg)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := tryOpen(t, cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return open(t, s.cfg)
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Opener{
		Open: func(tb testing.TB) meeting.Store { return open(tb, Config{Dir: tb.TempDir()}) },
		Reopen: func(tb testing.TB, s meeting.Store) meeting.Store {
			return reopen(tb, s.(*Store))
		},
	})
}

// TestStoreWithSnapshots is the suite with a snapshot after every few commits,
// all of it sealed.
func TestStoreWithSnapshots(t *testing.T) {
	storetest.Run(t, storetest.Opener{
		Open: func(tb testing.TB) meeting.Store {
			return open(tb, Config{Dir: tb.TempDir(), SnapshotMessages: 5, Seal: ring(tb, 1)})
		},
		Reopen: func(tb testing.TB, s meeting.Store) meeting.Store { return reopen(tb, s.(*Store)) },
	})
}

// put writes a setting, the smallest thing there is to write.
func put(t testing.TB, s meeting.Store, name, value string) {
	t.Helper()
	if err := tryPut(s, name, value); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func tryPut(s meeting.Store, name, value string) error {
	return s.Update(context.Background(), func(tx meeting.Tx) error {
		tx.PutSetting(name, []byte(value))
		return nil
	})
}

func get(t testing.TB, s meeting.Store, name string) (value string, ok bool) {
	t.Helper()
	err := s.View(context.Background(), func(r meeting.Reader) error {
		var v []byte
		v, ok = r.Setting(name)
		value = string(v)
		return nil
	})
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return value, ok
}

func expect(t testing.TB, s meeting.Store, name, want string) {
	t.Helper()
	if got, ok := get(t, s, name); !ok || got != want {
		t.Errorf("%s = %.40q (there: %v), want %.40q", name, got, ok, want)
	}
}

var eventually = kit.EventuallyNone

func newMeeting(n int) *meeting.Meeting {
	return &meeting.Meeting{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Account: "123456789012",
		ClientRequestToken: fmt.Sprint("token-", n), MediaRegion: "eu-west-1", CreatedAt: time.Now(),
	}
}

// TestGroupCommit counts the messages that many concurrent updates become.
func TestGroupCommit(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	before := s.messages()
	const clients, each = 64, 20
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for k := range each {
				if err := tryPut(s, fmt.Sprint(c), fmt.Sprint(k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.messages() - before; n > clients*each/4 {
		t.Errorf("%d updates of %d clients made %d messages: they do not share syncs", clients*each, clients, n)
	}
}

func TestBatchIsOneMessage(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	svc := meeting.NewService(s, meeting.ServiceOptions{})
	m, err := svc.CreateMeeting(context.Background(), benchAccount, meeting.NewMeeting{ClientRequestToken: "t"})
	if err != nil {
		t.Fatal(err)
	}
	var in []meeting.NewAttendee
	for i := range 100 {
		in = append(in, meeting.NewAttendee{ExternalUserID: fmt.Sprint("user-", i)})
	}
	before := s.messages()
	made, failed, err := svc.BatchCreateAttendee(context.Background(), benchAccount, m.ID, in)
	if err != nil || len(made) != 100 {
		t.Fatalf("made %d, failed %v, error %v", len(made), failed, err)
	}
	if n := s.messages() - before; n != 1 {
		t.Errorf("a batch of 100 attendees is %d messages, want 1", n)
	}
}

// TestReadsWithoutEngine takes the engine away: reading goes on, and writing
// says within its time that it cannot.
func TestReadsWithoutEngine(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	put(t, s, "key", "value")
	s.engine.server.Shutdown()
	s.cfg.CommitTimeout = 200 * time.Millisecond
	expect(t, s, "key", "value")
	if err := tryPut(s, "key", "other"); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("an update without an engine: %v, want CodeUnavailable", err)
	}
	expect(t, s, "key", "value")
}

// TestContext ends an update's context while it waits for another, and while it
// runs.
func TestContext(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	entered, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error, 1)
	go func() {
		running <- s.Update(ctx, func(tx meeting.Tx) error {
			close(entered)
			<-release
			tx.PutSetting("running", []byte("yes"))
			return nil
		})
	}()
	<-entered
	waiting := make(chan error, 1)
	go func() {
		waiting <- s.Update(ctx, func(meeting.Tx) error {
			t.Error("an update ran after its caller was told that it would not")
			return nil
		})
	}()
	cancel()
	err := <-waiting
	if meeting.CodeOf(err) != meeting.CodeUnavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("the update that waited: %v, want CodeUnavailable for context.Canceled", err)
	}
	close(release)
	if err := <-running; err != nil {
		t.Errorf("the update that ran: %v, want its outcome", err)
	}
	expect(t, s, "running", "yes")
}

// TestOversized writes more than a message may hold.
func TestOversized(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	before := s.messages()
	err := tryPut(s, "big", strings.Repeat("x", embeddedPayload))
	if meeting.CodeOf(err) != meeting.CodeUnprocessable {
		t.Errorf("an update of more than a message: %v, want CodeUnprocessable", err)
	}
	if n := s.messages() - before; n != 0 {
		t.Errorf("it left %d messages", n)
	}
	if _, ok := get(t, s, "big"); ok {
		t.Error("it is visible")
	}
	// Together they are more than a batch, and each has its place.
	part := strings.Repeat("x", batchBytes*2/3)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := tryPut(s, fmt.Sprint(i), part); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s = reopen(t, s)
	for i := range 8 {
		expect(t, s, fmt.Sprint(i), part)
	}
}

// TestCloseWhileWriting closes under load: what was acknowledged is there
// afterwards, and nobody waits for ever.
func TestCloseWhileWriting(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	var wg sync.WaitGroup
	last := make([]int, 16)
	started := make(chan struct{}, len(last))
	for c := range last {
		wg.Go(func() {
			for k := 1; ; k++ {
				err := tryPut(s, fmt.Sprint(c), fmt.Sprint(k))
				if err != nil {
					if meeting.CodeOf(err) != meeting.CodeUnavailable {
						t.Errorf("an update of a closing store: %v", err)
					}
					return
				}
				last[c] = k
				if k == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range last {
		<-started
	}
	s.Close()
	wg.Wait()
	s = open(t, s.cfg)
	for c, k := range last {
		got, _ := get(t, s, fmt.Sprint(c))
		if got != fmt.Sprint(k) && got != fmt.Sprint(k+1) {
			t.Errorf("client %d: %s is there, %d was acknowledged", c, got, k)
		}
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := tryOpen(t, Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("the second store on a directory: %v", err)
	}
	put(t, s, "still", "works")
	reopen(t, s)
}

func TestOpenNeedsAPlace(t *testing.T) {
	if _, err := tryOpen(t, Config{}); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("opened nowhere: %v", err)
	}
}

// TestSyncsBeforeItAnswers looks at what no kill can show: that the engine
// takes a write for written only when the disk has it.
func TestSyncsBeforeItAnswers(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	if c := s.engine.server.JetStreamConfig(); c == nil || !c.SyncAlways {
		t.Errorf("the embedded engine does not sync each write: %+v", c)
	}
	if a := s.engine.server.Addr(); a != nil {
		t.Errorf("the embedded engine listens on %v", a)
	}
}
