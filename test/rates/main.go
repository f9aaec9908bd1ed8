// Command rates measures how many requests a second the whole server takes, over
// HTTP with signatures and with every write synced to disk, while a hundred
// thousand attendees are there. It starts the server itself and prints a table:
//
//	go run ./test/rates            # -h lists what can be changed
//
// The machine's own speed is measured in the same run, since times on a shared
// machine mean little by themselves: the disk's syncs, before and after, and the
// server's CPU time.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var b bench
	flag.StringVar(&b.parent, "dir", "", "directory for the server's data, on the disk that is meant; empty: the system's for temporary files")
	flag.StringVar(&b.binary, "binary", "", "the server's program; empty: it is built")
	flag.IntVar(&b.meetings, "meetings", 1000, "meetings of 100 attendees that are there from the beginning")
	flag.IntVar(&b.clients, "clients", 64, "clients that ask at the same time")
	flag.DurationVar(&b.each, "each", 5*time.Second, "how long each operation is measured")
	flag.StringVar(&b.profile, "perf", "", "file for a profile of the server by perf, of the whole run")
	flag.StringVar(&b.only, "only", "", "measure only operations whose name begins so")
	flag.Parse()
	b.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "rates:", err)
		os.Exit(1)
	}
}

type bench struct {
	parent, binary, profile string
	only                    string
	out                     io.Writer
	meetings, clients       int
	each                    time.Duration

	dir  string
	c    *caller
	next atomic.Int64

	mu    sync.Mutex
	rooms []string // ids of meetings
	seats []int    // attendees of each
	who   []seat   // some of those who are there
}

// seat is an attendee.
type seat struct{ meeting, attendee string }

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp(b.parent, "belfry-rates"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	stop, url, err := b.serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	b.c = newCaller(url, b.clients)

	syncs, err := singleSyncs(b.dir, b.each/3)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "The disk does %.0f single syncs a second.\n\n", syncs)
	if err := b.fill(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n| Operation | clients | a second | p50 ms | p99 ms | slowest ms | server CPU ms each | changes an append | × single syncs |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, one := range []struct {
		name    string
		clients int
		op      func(context.Context, *rand.Rand) error
	}{
		{"CreateMeeting", 1, b.createMeeting},
		{"CreateMeeting", b.clients, b.createMeeting},
		{"CreateAttendee", 1, b.createAttendee},
		{"CreateAttendee", b.clients, b.createAttendee},
		{"BatchCreateAttendee(100)", 1, b.createBatch},
		{"BatchCreateAttendee(100)", 4, b.createBatch},
		{"GetAttendee", 1, b.getAttendee},
		{"GetAttendee", b.clients, b.getAttendee},
		{"ListAttendees(100)", 1, b.listAttendees},
		{"ListAttendees(100)", b.clients, b.listAttendees},
	} {
		if !strings.HasPrefix(one.name, b.only) {
			continue
		}
		if err := b.measure(ctx, one.name, one.clients, one.op); err != nil {
			return err
		}
	}
	// Batches make the log grow fastest, and with it the snapshots' number.
	if err := b.meanwhile(ctx, "CreateAttendee beside batches", b.createAttendee); err != nil {
		return err
	}
	if err := b.meanwhile(ctx, "GetAttendee beside batches", b.getAttendee); err != nil {
		return err
	}
	again, err := singleSyncs(b.dir, b.each/3)
	if err != nil {
		return err
	}
	now, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nAfterwards the disk does %.0f single syncs a second. The server holds %.0f MiB; it wrote %.0f snapshots, for which changes stood still for %.1f ms in all.\n",
		again, now.memory/(1<<20), now.snapshots, now.paused*1e3)
	return nil
}

// serve starts the server.
func (b *bench) serve(ctx context.Context) (stop func() error, url string, err error) {
	if b.binary == "" {
		b.binary = filepath.Join(b.dir, "belfry")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "belfry/cmd/belfry").CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("building the server: %w\n%s", err, text)
		}
	}
	words := []string{b.binary, "serve"}
	if b.profile != "" {
		words = append([]string{"perf", "record", "-q", "-g", "-o", b.profile, "--"}, words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "BELFRY_") {
			cmd.Env = append(cmd.Env, one)
		}
	}
	cmd.Env = append(cmd.Env, "BELFRY_LISTEN=127.0.0.1:0", "BELFRY_TURN=never", "BELFRY_PAGE=off", "BELFRY_LOG_LEVEL=warn",
		"BELFRY_DATA_DIR="+filepath.Join(b.dir, "data"), "BELFRY_ACCESS_KEY_ID="+keyID, "BELFRY_SECRET_ACCESS_KEY="+keySecret,
		"BELFRY_REQUEST_RATE=0", "BELFRY_ACTIVE_MEETINGS=0", "BELFRY_MEETING_IDLE_TIMEOUT=0")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGINT)
		return cmd.Wait()
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "Endpoint"); ok {
			go func() {
				for lines.Scan() {
				}
			}()
			return stop, strings.TrimSpace(url), nil
		}
	}
	return nil, "", errors.Join(errors.New("the server did not start"), cmd.Wait())
}

// singleSyncs measures how many small writes a second the disk syncs one after
// the other: what a store that syncs each write by itself could do.
func singleSyncs(dir string, during time.Duration) (float64, error) {
	f, err := os.CreateTemp(dir, "syncs")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 512)
	begun, n := time.Now(), 0
	for ; time.Since(begun) < during; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// fill makes the meetings that are there from the beginning.
func (b *bench) fill(ctx context.Context) error {
	begun := time.Now()
	err := b.share(ctx, 8, b.meetings, func(ctx context.Context, random *rand.Rand) error { return b.createBatch(ctx, random) })
	if err != nil {
		return fmt.Errorf("filling the server: %w", err)
	}
	now, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d meetings of 100 attendees were made in %.1f s, in %.0f appends; the server holds %.0f MiB.\n",
		b.meetings, time.Since(begun).Seconds(), now.appends, now.memory/(1<<20))
	return nil
}

// share has clients do n operations together.
func (b *bench) share(ctx context.Context, clients, n int, op func(context.Context, *rand.Rand) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				errs[i] = op(ctx, random)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (b *bench) createMeeting(ctx context.Context, _ *rand.Rand) error {
	_, err := b.newMeeting(ctx)
	return err
}

func (b *bench) newMeeting(ctx context.Context) (id string, err error) {
	n := b.next.Add(1)
	var out struct{ Meeting struct{ MeetingID string } }
	err = b.c.call(ctx, http.MethodPost, "/meetings", fmt.Sprintf(`{"ClientRequestToken":"rates-%d","ExternalMeetingId":"rates-%d","MediaRegion":"us-east-1"}`, n, n), &out)
	return out.Meeting.MeetingID, err
}

// createAttendee makes one in a meeting that has a place left.
func (b *bench) createAttendee(ctx context.Context, random *rand.Rand) error {
	id := b.place(random)
	if id == "" {
		var err error
		if id, err = b.newMeeting(ctx); err != nil {
			return err
		}
		b.mu.Lock()
		b.rooms, b.seats = append(b.rooms, id), append(b.seats, 1)
		b.mu.Unlock()
	}
	countFrom(ctx, time.Now())
	return b.c.call(ctx, http.MethodPost, "/meetings/"+id+"/attendees", fmt.Sprintf(`{"ExternalUserId":"user-%d"}`, b.next.Add(1)), nil)
}

// place takes a place in a meeting; "" when some that were looked at were full.
func (b *bench) place(random *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 20 {
		if i := random.IntN(len(b.rooms)); b.seats[i] < 250 {
			b.seats[i]++
			return b.rooms[i]
		}
	}
	return ""
}

// createBatch makes a meeting, whose time does not count, and 100 attendees.
func (b *bench) createBatch(ctx context.Context, _ *rand.Rand) error {
	id, err := b.newMeeting(ctx)
	if err != nil {
		return err
	}
	var body strings.Builder
	body.WriteString(`{"Attendees":[`)
	for i := range 100 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"ExternalUserId":"user-%d"}`, i)
	}
	body.WriteString(`]}`)
	var out struct{ Attendees []struct{ AttendeeID string } }
	begun := time.Now()
	if err := b.c.call(ctx, http.MethodPost, "/meetings/"+id+"/attendees?operation=batch-create", body.String(), &out); err != nil {
		return err
	}
	countFrom(ctx, begun)
	if len(out.Attendees) != 100 {
		return fmt.Errorf("a batch made %d attendees", len(out.Attendees))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rooms, b.seats = append(b.rooms, id), append(b.seats, 100)
	b.who = append(b.who, seat{id, out.Attendees[50].AttendeeID})
	return nil
}

func (b *bench) someone(random *rand.Rand) seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.who[random.IntN(len(b.who))]
}

func (b *bench) getAttendee(ctx context.Context, random *rand.Rand) error {
	who := b.someone(random)
	return b.c.call(ctx, http.MethodGet, "/meetings/"+who.meeting+"/attendees/"+who.attendee, "", nil)
}

func (b *bench) listAttendees(ctx context.Context, random *rand.Rand) error {
	var out struct{ Attendees []json.RawMessage }
	if err := b.c.call(ctx, http.MethodGet, "/meetings/"+b.someone(random).meeting+"/attendees?max-results=99", "", &out); err != nil {
		return err
	}
	if len(out.Attendees) != 99 {
		return fmt.Errorf("a page has %d attendees", len(out.Attendees))
	}
	return nil
}
