// Package hostile attacks the whole server at every edge that a stranger
// reaches, signaling, media, TURN and HTTP, while two honest people talk. After
// each attack they must still hear each other, the attack must stand in
// /metrics, and memory and goroutines must be what they were.
package hostile

import (
	"bufio"
	"crypto/rand"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	awsv2 "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const patience = kit.Patience

var (
	eventually = kit.Eventually
	within     = kit.Within
)

// world is a server, a meeting in it and the two who talk there.
type world struct {
	url, host string
	api       *chimesdkmeetings.Client
	http      *http.Client
	meeting   *types.Meeting
	a, b      *person

	goroutines int // when only these two were there
	heap       uint64
}

const keyID, secretKey = "AKIDHOSTILE", "hostile/secret+key"

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.TURNListen, cfg.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.AccessKeyID, cfg.SecretAccessKey = keyID, meeting.Secret(secretKey)
	cfg.TURN, cfg.DropAfter, cfg.RequestRate = "always", time.Second, 0
	server, err := app.Start(t.Context(), cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(kit.Within(t)); err != nil {
			t.Error(err)
		}
	})
	w := &world{
		url: server.URL(), host: server.Addr().String(),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	url := w.url
	w.api = chimesdkmeetings.New(chimesdkmeetings.Options{
		BaseEndpoint: &url, Region: "us-east-1", RetryMaxAttempts: 1, HTTPClient: w.http,
		Credentials: credentials.NewStaticCredentialsProvider(keyID, secretKey, ""),
	})
	w.meeting = w.newMeeting(t)
	w.a, w.b = w.join(t, "alice"), w.join(t, "bob")
	w.a.talk()
	eventually(t, "alice's voice at bob", func() bool { return w.b.heard.Load() > 20 })
	w.base(t)
	return w
}

func (w *world) newMeeting(t *testing.T) *types.Meeting {
	t.Helper()
	out, err := w.api.CreateMeeting(t.Context(), &chimesdkmeetings.CreateMeetingInput{
		ClientRequestToken: awsv2.String(rand.Text()), ExternalMeetingId: awsv2.String("hostile"), MediaRegion: awsv2.String("us-east-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Meeting
}

func (w *world) attendee(t *testing.T, m *types.Meeting, name string) *types.Attendee {
	t.Helper()
	out, err := w.api.CreateAttendee(t.Context(), &chimesdkmeetings.CreateAttendeeInput{MeetingId: m.MeetingId, ExternalUserId: &name})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attendee
}

func (w *world) deleteAttendee(t *testing.T, m *types.Meeting, a *types.Attendee) {
	t.Helper()
	if _, err := w.api.DeleteAttendee(t.Context(), &chimesdkmeetings.DeleteAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) signalingURL() string { return *w.meeting.MediaPlacement.SignalingUrl }

// metrics are the samples of /metrics by their name with labels.
func (w *world) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	resp, err := w.http.Get(w.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		all[line[:at]] = v
	}
	return all
}

// level counts the goroutines and the bytes in use, without what is garbage.
func level() (goroutines int, heap uint64) {
	runtime.GC()
	runtime.GC() // what pools kept the first time
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// What may be there more than before an attack: connections of a test that end
// by themselves, and caches of the server that stay filled.
const (
	spareGoroutines = 4
	spareHeap       = 12 << 20
)

func (w *world) base(t *testing.T) {
	// What has started is not all at rest yet.
	var last int
	eventually(t, "a steady number of goroutines", func() bool {
		n, heap := level()
		time.Sleep(100 * time.Millisecond)
		same := n == last
		last, w.goroutines, w.heap = n, n, heap
		return same
	})
}

// attack runs one attack and looks at what is left. counters are the beginnings
// of metrics, of which each must have risen.
func (w *world) attack(t *testing.T, name string, counters []string, run func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		before := w.metrics(t)
		said := w.a.said.Load()
		// Inside, so that what it leaves to Cleanup is closed before the look around.
		attacked := t.Run("attack", func(t *testing.T) {
			run(t)
			// Before it is closed: what the server has not read by then is nobody's.
			for _, c := range counters {
				eventually(t, "a rise of "+c, func() bool { return sum(w.metrics(t), c) > sum(before, c) })
			}
		})
		if !attacked {
			return
		}
		w.unharmed(t, said)
		w.settled(t)
	})
}

func sum(samples map[string]float64, beginning string) (total float64) {
	for name, v := range samples {
		if strings.HasPrefix(name, beginning) {
			total += v
		}
	}
	return total
}

// unharmed checks that the two still talk, were never apart, and that the server
// had no fault of its own.
func (w *world) unharmed(t *testing.T, since int64) {
	t.Helper()
	now := w.a.said.Load()
	if heard := w.b.last.Load(); now-since > 100 && heard < since {
		t.Errorf("of what alice said during the attack (%d to %d) bob heard nothing; the last was %d", since, now, heard)
	}
	eventually(t, "alice's voice at bob after the attack", func() bool { return w.b.last.Load() > now+10 })
	for _, p := range []*person{w.a, w.b} {
		if err := p.client.Ping(within(t)); err != nil {
			t.Errorf("%s's signaling: %v", p.name, err)
		}
		p.check(t)
	}
	if m := w.metrics(t); m["belfry_media_faults_total"] != 0 {
		t.Errorf("the server had %v faults", m["belfry_media_faults_total"])
	}
}

// settled waits until the attack has left nothing behind.
func (w *world) settled(t *testing.T) {
	t.Helper()
	var goroutines int
	var heap uint64
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		goroutines, heap = level()
		if goroutines <= w.goroutines+spareGoroutines && heap <= w.heap+spareHeap {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	if goroutines > w.goroutines+spareGoroutines {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // the most frequent first
		t.Logf("%.6000s", stacks.String())
	}
	t.Fatalf("%d goroutines and %d KiB are in use, before it were %d and %d KiB", goroutines, heap>>10, w.goroutines, w.heap>>10)
}

func TestHostile(t *testing.T) {
	w := newWorld(t)
	t.Run("signaling", func(t *testing.T) { attackSignaling(t, w) })
	t.Run("media", func(t *testing.T) { attackMedia(t, w) })
	t.Run("turn", func(t *testing.T) { attackTURN(t, w) })
	t.Run("http", func(t *testing.T) { attackHTTP(t, w) })
}
