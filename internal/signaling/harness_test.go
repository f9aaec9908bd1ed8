package signaling

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const (
	meetingID = "11111111-2222-3333-4444-555555552713"
	replicaID = "66666666-2222-3333-4444-555555552713"
)

// fakeService knows tokens.
type fakeService struct {
	mu   sync.Mutex
	ids  map[meeting.Secret]meeting.Identity
	fail error
}

func (f *fakeService) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return meeting.Identity{}, f.fail
	}
	id, ok := f.ids[token]
	if !ok {
		return id, meeting.Errorf(meeting.CodeUnauthorized, "join token is not valid")
	}
	return id, nil
}

func (f *fakeService) revoke(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, meeting.Secret(token))
}

type recorder struct {
	mu  sync.Mutex
	got []string
}

func (r *recorder) Presence(p Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word := strings.TrimPrefix(string(p.Type), "chime:Attendee") + " " + p.Attendee.ID
	if p.Meeting.ID == replicaID {
		word += " of the replica"
	}
	r.got = append(r.got, word)
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

// world is a server in a bubble of virtual time, with everything around it fake.
type world struct {
	t       *testing.T
	srv     *Server
	svc     *fakeService
	confs   *signaltest.Conferences
	relays  *signaltest.Relays
	events  *recorder
	metrics *prometheus.Registry
	http    *http.Client
	meeting *meeting.Meeting
	replica *meeting.Meeting // of meeting; "x" and "y" are its attendees
	quotas  atomic.Pointer[meeting.Quotas]
	clients []*signaltest.Client
}

// inWorld runs a test in virtual time and checks that nothing is left over.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := signaltest.NewPipeListener()
		w.http = l.HTTPClient()
		hs := &http.Server{Handler: w.srv}
		go func() { _ = hs.Serve(l) }()
		defer func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := w.srv.Shutdown(ctx); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			for _, c := range w.clients {
				c.Cut()
			}
			_ = hs.Close()
			for _, conf := range w.confs.All() {
				if !conf.Closed() {
					t.Error("a conference was left open")
				}
			}
		}()
		test(w)
	})
}

func newWorld(t *testing.T) *world {
	w := &world{
		t:       t,
		confs:   &signaltest.Conferences{},
		relays:  &signaltest.Relays{URIs: []string{"turn:127.0.0.1:3478?transport=udp"}},
		events:  &recorder{},
		metrics: prometheus.NewRegistry(),
		meeting: &meeting.Meeting{ID: meetingID, CreatedAt: time.Now().Add(-10 * time.Second)},
		replica: &meeting.Meeting{ID: replicaID, PrimaryMeetingID: meetingID, CreatedAt: time.Now().Add(-5 * time.Second)},
		svc:     &fakeService{ids: map[meeting.Secret]meeting.Identity{}},
	}
	for _, name := range []string{"x", "y"} {
		w.addListener(name, meeting.DefaultCapabilities)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		w.addAttendee(name, meeting.DefaultCapabilities)
	}
	w.setQuotas(func(*meeting.Quotas) {})
	w.srv = New(Config{
		Service: w.svc, Conferences: w.confs, Relays: w.relays, Events: w.events, Metrics: w.metrics,
		Quotas: func(string) meeting.Quotas { return *w.quotas.Load() },
	})
	return w
}

// setQuotas changes AWS's defaults.
func (w *world) setQuotas(change func(*meeting.Quotas)) {
	q := meeting.DefaultQuotas
	change(&q)
	w.quotas.Store(&q)
}

func (w *world) addAttendee(name string, caps meeting.Capabilities) *meeting.Attendee {
	a := &meeting.Attendee{ID: "id-" + name, MeetingID: meetingID, ExternalUserID: "ext-" + name, Capabilities: caps}
	w.svc.mu.Lock()
	defer w.svc.mu.Unlock()
	w.svc.ids[meeting.Secret("tok-"+name)] = meeting.Identity{Meeting: w.meeting, Attendee: a}
	return a
}

// addListener adds an attendee of the replica.
func (w *world) addListener(name string, caps meeting.Capabilities) *meeting.Attendee {
	a := &meeting.Attendee{ID: "id-" + name, MeetingID: replicaID, ExternalUserID: "ext-" + name, Capabilities: caps}
	w.svc.mu.Lock()
	defer w.svc.mu.Unlock()
	w.svc.ids[meeting.Secret("tok-"+name)] = meeting.Identity{Meeting: w.replica, Attendee: a, Primary: w.meeting}
	return a
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// dial opens a socket with the token of "a", "b", "a#content" …
func (w *world) dial(name string, opt signaltest.Options) *signaltest.Client {
	w.t.Helper()
	opt.HTTPClient = w.http
	at := meetingID
	base, _ := strings.CutSuffix(name, meeting.ContentSuffix)
	w.svc.mu.Lock()
	if id, ok := w.svc.ids[meeting.Secret("tok-"+base)]; ok {
		at = id.Meeting.ID
	}
	w.svc.mu.Unlock()
	c, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+at, "tok-"+name, opt)
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	w.clients = append(w.clients, c)
	return c
}

// join opens a socket and joins.
func (w *world) join(name string, audioSession uint64) *signaltest.Client {
	w.t.Helper()
	c := w.dial(name, signaltest.Options{})
	if _, _, err := c.Join(w.ctx(), audioSession); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return c
}

const audioOffer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=inactive\r\n"

// enter joins, subscribes and lets audio arrive: the attendee is present.
func (w *world) enter(name string, audioSession uint64) *signaltest.Client {
	w.t.Helper()
	c := w.join(name, audioSession)
	w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
	p := w.peer(name)
	p.Flow(true)
	p.Events.MediaConnected()
	p.Events.AudioArrived()
	return c
}

func (w *world) subscribe(c *signaltest.Client, sub *signalpb.SdkSubscribeFrame) *signaltest.Frame {
	w.t.Helper()
	ack, err := c.Subscribe(w.ctx(), sub)
	if err != nil {
		w.t.Fatal(err)
	}
	if ack.GetError().GetStatus() != 0 {
		w.t.Fatalf("SUBSCRIBE_ACK with error %v", ack.GetError())
	}
	return ack
}

// peer is the newest media connection of an attendee.
func (w *world) peer(name string) *signaltest.Peer {
	w.t.Helper()
	peers := w.confs.Last().Peers("id-" + name)
	if len(peers) == 0 {
		w.t.Fatalf("%s has no media connection", name)
	}
	return peers[len(peers)-1]
}

// rosterOf takes what a client has been told by AUDIO_STREAM_ID_INFO, in words,
// one string for each frame.
func rosterOf(c *signaltest.Client) []string {
	synctest.Wait()
	var out []string
	for _, f := range c.Take(signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO) {
		var words []string
		for _, e := range f.GetAudioStreamIdInfo().GetStreams() {
			word := fmt.Sprint(e.GetAudioStreamId())
			switch {
			case e.AttendeeId != nil:
				word += "=" + e.GetAttendeeId() + "/" + e.GetExternalUserId() + mark(e.GetMuted(), " muted")
				if e.Muted == nil {
					word += " NO MUTED"
				}
			case e.Muted != nil:
				word += fmt.Sprintf(" muted=%t", e.GetMuted())
			default:
				word += " left" + mark(e.GetDropped(), " dropped")
			}
			words = append(words, word)
		}
		out = append(out, strings.Join(words, ", "))
	}
	return out
}

// newsOfMeters takes what a client has been told by AUDIO_METADATA, but for how
// things are, which is told at every join.
func newsOfMeters(c *signaltest.Client) []*signaltest.Frame {
	return slices.DeleteFunc(c.Take(signalpb.SdkSignalFrame_AUDIO_METADATA), func(f *signaltest.Frame) bool {
		states := f.GetAudioMetadata().GetAttendeeStates()
		return len(states) > 0 && states[len(states)-1].Volume != nil && states[len(states)-1].SignalStrength != nil
	})
}

func mark(on bool, word string) string {
	if on {
		return word
	}
	return ""
}

// statusOf waits for AUDIO_STATUS.
func (w *world) audioStatus(c *signaltest.Client) uint32 {
	w.t.Helper()
	f, err := c.AwaitType(w.ctx(), signalpb.SdkSignalFrame_AUDIO_STATUS)
	if err != nil {
		w.t.Fatal(err)
	}
	return f.GetAudioStatus().GetAudioStatus()
}

func (w *world) closeCode(c *signaltest.Client) int {
	w.t.Helper()
	code, _, err := c.Closed(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// keepAlive pings for a while, as a client does.
func (w *world) keepAlive(d time.Duration, clients ...*signaltest.Client) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(10*time.Second, time.Until(end)))
		for _, c := range clients {
			if err := c.Ping(w.ctx()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// counter reads one metric.
func (w *world) counter(name, label string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "belfry_signaling_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

var protoTransform = protocmp.Transform()

// authFunc is a Service that counts its calls.
func authFunc(fn func(n int, token meeting.Secret) (meeting.Identity, error)) Service {
	return &countingService{fn: fn}
}

type countingService struct {
	n  atomic.Int32
	fn func(n int, token meeting.Secret) (meeting.Identity, error)
}

func (c *countingService) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	return c.fn(int(c.n.Add(1)-1), token)
}

// logTo is a logger that writes everything to w.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
