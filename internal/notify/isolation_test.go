package notify

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// network is hosts that speak HTTP over pipes, in a test's virtual time.
type network struct {
	mu    sync.Mutex
	hosts map[string]*pipes
	dials int
	stop  []func()
}

type pipes struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.ended) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (n *network) serve(host string, h http.HandlerFunc) {
	l := &pipes{conns: make(chan net.Conn), ended: make(chan struct{})}
	if n.hosts == nil {
		n.hosts = map[string]*pipes{}
	}
	n.hosts[host] = l
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	n.stop = append(n.stop, func() { server.Close(); <-done })
}

func (n *network) close() {
	for _, stop := range n.stop {
		stop()
	}
	time.Sleep(time.Minute) // handlers see that their connection is gone, and end
}

// client reaches the hosts; others do not resolve.
func (n *network) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		n.mu.Lock()
		n.dials++
		n.mu.Unlock()
		host, _, _ := net.SplitHostPort(address)
		to := n.hosts[host]
		if to == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		ours, theirs := net.Pipe()
		select {
		case to.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
}

// TestBadTargetsHoldUpThemselvesAlone has targets of every sort of trouble beside
// a good one, which must not notice.
func TestBadTargetsHoldUpThemselvesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nw network
		defer nw.close()
		var mu sync.Mutex
		arrived := map[string]time.Duration{}
		hits := map[string]int{}
		begun := time.Now()
		count := func(r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // a server sees the end of a client after its body alone
			mu.Lock()
			defer mu.Unlock()
			hits[r.Host]++
		}
		nw.serve("good", func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			arrived[r.Header.Get(HeaderEventID)] = time.Since(begun)
		})
		nw.serve("silent", func(w http.ResponseWriter, r *http.Request) { count(r); <-r.Context().Done() })
		nw.serve("broken", func(w http.ResponseWriter, r *http.Request) { count(r); w.WriteHeader(http.StatusInternalServerError) })
		nw.serve("trickle", func(w http.ResponseWriter, r *http.Request) {
			count(r)
			w.WriteHeader(http.StatusInternalServerError)
			for r.Context().Err() == nil {
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(time.Second)
			}
		})
		urls := []string{"http://silent/", "http://broken/", "http://trickle/", "http://nowhere.invalid/", "http://good/"}
		client := nw.client()
		defer client.CloseIdleConnections()
		store := memory.New()
		away := "arn:aws:sqs:us-east-1:000000000000:away" // a queue that SDKs retry is no other
		n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{
			meeting.TargetWebhook: Webhooks{URLs: urls, Secret: "s", HTTP: client}.Sender(),
			meeting.TargetSQS: Queues(AWS{Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), HTTP: client,
				Endpoints: Endpoints{Getenv: env("AWS_ENDPOINT_URL", "http://silent")}}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
		const meetings, each = 50, 4
		for i := range meetings {
			id := fmt.Sprint("m", i)
			update(t, store, func(tx meeting.Tx) {
				tx.PutMeeting(&meeting.Meeting{ID: id, Account: "a", ClientRequestToken: id, Notifications: meeting.Notifications{SQSQueueARN: away, Webhooks: urls}})
			})
			emit(t, store, id, each)
		}
		time.Sleep(time.Second)
		mu.Lock()
		if len(arrived) != meetings*each {
			t.Errorf("the good target has %d of %d events after a second", len(arrived), meetings*each)
		}
		mu.Unlock()
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		for host, n := range hits {
			// 8 at first, then one a minute and a bit; silent is a webhook and a queue.
			if most := 90 * (1 + strings.Count(host, "silent")); n > most || n < 20 {
				t.Errorf("%s was asked %d times in an hour", host, n)
			}
		}
		if len(hits) != 3 {
			t.Errorf("asked were %v", hits)
		}
	})
}

// With thousands of meetings and a dead target there are few tries, few lines of
// log, and no more memory a meeting than a lane takes; after a day everything is
// a dead letter or delivered, though hardly any lane had a try of its own.
func TestThousandsOfMeetingsWithADeadTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const meetings, each = 1000, 12
		store, s, lines := memory.New(), &sink{}, &counter{}
		s.setDo(func(_ context.Context, address string, _ Message) error {
			if address == queueA {
				return fmt.Errorf("no such queue")
			}
			return nil
		})
		registry := prometheus.NewRegistry()
		n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{meeting.TargetSQS: s, meeting.TargetSNS: s},
			Logger: slog.New(slog.NewTextHandler(lines, nil)), Metrics: registry, MaxDead: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
		var before, after runtime.MemStats
		for i := range meetings {
			create(t, store, fmt.Sprint("m", i), each, queueA, queueB)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		time.Sleep(time.Hour)
		same(t, "events of the good target", len(s.at(queueB)), meetings*each)
		tries := s.count() - meetings*each
		if tries > 100 {
			t.Errorf("%d tries in an hour", tries)
		}
		if n := int(lines.n.Load()); n > tries+1 {
			t.Errorf("%d lines of log for %d tries", n, tries)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / meetings; grown > 4096 {
			t.Errorf("%d bytes a meeting", grown)
		} else {
			t.Logf("%d bytes a meeting", grown)
		}
		time.Sleep(24 * time.Hour)
		same(t, "left in the store", len(undelivered(t, store)), 0)
		_ = store.View(t.Context(), func(r meeting.Reader) error {
			same(t, "dead letters", r.DeadLetterCount(), 10_000)
			return nil
		})
		same(t, "dead letters in all", value(t, registry, "belfry_events_dead_total"), float64(meetings*each))
		same(t, "dead letters dropped", value(t, registry, "belfry_events_dead_dropped_total"), float64(meetings*each-10_000))
		if tries := s.count() - meetings*each; tries > 100*25 {
			t.Errorf("%d tries in a day and an hour", tries)
		}
		n.term.mu.Lock()
		defer n.term.mu.Unlock()
		same(t, "targets remembered", len(n.term.targets), 0)
	})
}

// counter counts lines of log.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) { c.n.Add(1); return len(p), nil }

func value(t *testing.T, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// Events that were already old when the server started have some time to be
// taken, not one try.
func TestOldEventsGetTheirChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := memory.New(), &sink{}
		create(t, store, "m", 5, queueA, "")
		time.Sleep(30 * time.Hour) // the server is off
		begun := time.Now()
		s.setDo(func(context.Context, string, Message) error {
			if time.Since(begun) < 10*time.Minute {
				return fmt.Errorf("starting too")
			}
			return nil
		})
		n := start(t, store, s)
		defer stop(t, n)
		time.Sleep(15 * time.Minute)
		same(t, "delivered", s.at(queueA), numbers("m", 1, 5))
	})
}

// Nothing is sent, looked up or connected to when nobody asked for events.
func TestSilentWithoutTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nw network
		store, client := memory.New(), nw.client()
		a := AWS{Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), HTTP: client, Endpoints: Endpoints{AWS: true}}
		n, err := Start(t.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{
			meeting.TargetWebhook: Webhooks{Secret: "s", HTTP: client}.Sender(),
			meeting.TargetSQS:     Queues(a), meeting.TargetSNS: Topics(a), meeting.TargetLambda: Functions(a),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
		quiet := &meeting.Meeting{ID: "m", Account: "a", ClientRequestToken: "m"}
		update(t, store, func(tx meeting.Tx) { tx.PutMeeting(quiet) })
		emit(t, store, "m", 10)
		time.Sleep(time.Hour)
		same(t, "connections", nw.dials, 0)
	})
}

// tight is a store whose commits hold few dead letters.
type tight struct{ meeting.Store }

type tightTx struct {
	meeting.Tx
	letters *int
}

func (x tightTx) PutDeadLetter(d meeting.DeadLetter) { *x.letters++; x.Tx.PutDeadLetter(d) }

func (s tight) Update(ctx context.Context, fn func(meeting.Tx) error) error {
	return s.Store.Update(ctx, func(tx meeting.Tx) error {
		letters := 0
		err := fn(tightTx{tx, &letters})
		if letters > 3 {
			return meeting.Errorf(meeting.CodeUnprocessable, "the change is too large")
		}
		return err
	})
}

// What a commit has no room for goes in several.
func TestProgressThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, s := memory.New(), &sink{}
		s.setDo(func(context.Context, string, Message) error { return fmt.Errorf("no such queue") })
		create(t, inner, "m1", 150, queueA, "")
		create(t, inner, "m2", 20, queueA, "")
		n := start(t, tight{inner}, s)
		time.Sleep(30 * time.Hour)
		stop(t, n)
		same(t, "left in the store", undelivered(t, inner), []string(nil))
		_ = inner.View(t.Context(), func(r meeting.Reader) error {
			var of []string
			for _, d := range r.DeadLetters(0, 1000) {
				if d.Event.MeetingID == "m1" {
					of = append(of, fmt.Sprint("m1 ", d.Event.Number))
				}
			}
			same(t, "dead letters of m1", of, numbers("m1", 1, 150))
			same(t, "dead letters", r.DeadLetterCount(), 170)
			return nil
		})
	})
}
