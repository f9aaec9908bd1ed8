package transcribe

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const (
	account  = "123456789012"
	patience = kit.Patience
)

var eventually = kit.Eventually

// engine is a small engine, on a port that it keeps while it is away.
type engine struct {
	t    *testing.T
	addr string
	// front answers requests with another status than 0; nil: none.
	front func(*http.Request) int
	// greet answers a start; nil says ready. hear is called for each message after.
	greet func(ctx context.Context, ws *websocket.Conn, start map[string]any) error
	hear  func(ctx context.Context, ws *websocket.Conn, kind websocket.MessageType, data []byte) error

	mu     sync.Mutex
	starts []map[string]any
	server *http.Server
	listen net.Listener
	conns  map[*websocket.Conn]bool
	texts  []string
	audio  map[uint32][]int16
	times  map[uint32][]int64
}

func newEngine(t *testing.T) *engine {
	e := &engine{t: t, conns: map[*websocket.Conn]bool{}, audio: map[uint32][]int16{}, times: map[uint32][]int64{}}
	e.up()
	t.Cleanup(e.down)
	return e
}

func (e *engine) up() {
	addr := e.addr
	if addr == "" {
		addr = netip.AddrPortFrom(kit.Host(), 0).String() // nobody else takes its port while it is away
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.addr = l.Addr().String()
	server := &http.Server{Handler: e}
	e.mu.Lock()
	e.server, e.listen = server, l
	e.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// down takes the engine away with every connection that it has.
func (e *engine) down() {
	e.mu.Lock()
	server, l, conns := e.server, e.listen, e.conns
	e.server, e.conns = nil, map[*websocket.Conn]bool{}
	e.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close()
	_ = l.Close() // also before Serve has had it
	for ws := range conns {
		_ = ws.CloseNow()
	}
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.front != nil {
		if status := e.front(r); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	e.mu.Lock()
	e.conns[ws] = true
	e.mu.Unlock()
	ctx := r.Context()
	_, data, err := ws.Read(ctx)
	if err != nil {
		return
	}
	start := map[string]any{}
	if err := json.Unmarshal(data, &start); err != nil {
		e.t.Errorf("start: %v", err)
		return
	}
	e.mu.Lock()
	e.starts = append(e.starts, start)
	greet, hear := e.greet, e.hear
	e.mu.Unlock()
	if greet == nil {
		greet = func(ctx context.Context, ws *websocket.Conn, _ map[string]any) error {
			return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"ready"}`))
		}
	}
	if err := greet(ctx, ws, start); err != nil {
		return
	}
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil {
			return
		}
		e.mu.Lock()
		if kind == websocket.MessageText {
			e.texts = append(e.texts, string(data))
		} else {
			n := binary.LittleEndian.Uint32(data)
			e.times[n] = append(e.times[n], int64(binary.LittleEndian.Uint64(data[4:])))
			for b := data[12:]; len(b) > 0; b = b[2:] {
				e.audio[n] = append(e.audio[n], int16(binary.LittleEndian.Uint16(b)))
			}
		}
		e.mu.Unlock()
		if hear != nil {
			if err := hear(ctx, ws, kind, data); err != nil {
				return
			}
		}
	}
}

func (e *engine) heard(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.texts, text)
}

func (e *engine) started() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.starts)
}

// audience keeps what it is told.
type audience struct {
	mu  sync.Mutex
	got []meeting.TranscriptEvent
}

func (a *audience) Transcribed(_ string, e meeting.TranscriptEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, e)
}

// statuses are those told so far, without their common beginning.
func (a *audience) statuses() (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.got {
		if e.Status != "" {
			out = append(out, strings.TrimPrefix(string(e.Status), "chime:Transcription"))
		}
	}
	return out
}

func (a *audience) results() (out []meeting.TranscriptResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.got {
		out = append(out, e.Results...)
	}
	return out
}

// ears are those of a meeting in which the test speaks.
type ears struct {
	mu sync.Mutex
	to meeting.Listener
}

func (e *ears) Listen(_ string, to meeting.Listener) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.to = to
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.to == to {
			e.to = nil
		}
	}
}

// say speaks, and is false while nobody listens.
func (e *ears) say(what func(meeting.Listener)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.to == nil {
		return false
	}
	what(e.to)
	return true
}

// world is a meeting with an attendee, and what is around a Transcriber.
type world struct {
	t        *testing.T
	store    meeting.Store
	service  *meeting.Service
	meeting  *meeting.Meeting
	ann      *meeting.Attendee
	ears     *ears
	audience *audience
	engine   *engine
	metrics  *prometheus.Registry
	t9r      *Transcriber
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: memory.New(), ears: &ears{}, audience: &audience{}, engine: newEngine(t), metrics: prometheus.NewRegistry()}
	w.service = meeting.NewService(w.store, meeting.ServiceOptions{Transcription: true})
	var err error
	w.meeting, err = w.service.CreateMeeting(t.Context(), account, meeting.NewMeeting{
		ClientRequestToken: "t", ExternalMeetingID: "ext", MediaRegion: "eu-central-1",
		Notifications: meeting.Notifications{SQSQueueARN: "arn:aws:sqs:us-east-1:123456789012:q"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.ann, err = w.service.CreateAttendee(t.Context(), account, w.meeting.ID, meeting.NewAttendee{ExternalUserID: "ann"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.down()
		_ = w.store.Close()
	})
	w.up()
	return w
}

var quick = Timings{Start: patience, Answer: patience, Backoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}

func (w *world) up(with ...func(*Config)) {
	w.t.Helper()
	w.metrics = prometheus.NewRegistry()
	cfg := Config{
		Engine: meeting.Secret("ws://" + w.engine.addr + "/in"), Store: w.store, Reports: w.service, Ears: w.ears, Audience: w.audience,
		Metrics: w.metrics, Timings: quick,
	}
	for _, f := range with {
		f(&cfg)
	}
	var err error
	if w.t9r, err = Start(w.t.Context(), cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) down() {
	w.t.Helper()
	if w.t9r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.t9r.Close(ctx); err != nil {
		w.t.Error(err)
	}
	w.t9r = nil
}

func (w *world) start(language string) {
	w.t.Helper()
	c := meeting.Transcription{Transcribe: &meeting.TranscribeSettings{LanguageCode: language, Region: "auto", StabilizePartialResults: true}}
	if err := w.service.StartMeetingTranscription(w.t.Context(), account, w.meeting.ID, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.service.StopMeetingTranscription(w.t.Context(), account, w.meeting.ID); err != nil {
		w.t.Fatal(err)
	}
}

// events are the transcription events in the store.
func (w *world) events() (out []meeting.Event) {
	_ = w.store.View(context.Background(), func(r meeting.Reader) error {
		for _, e := range r.Events(w.meeting.ID, 0, 1000) {
			if e.Transcription != nil {
				out = append(out, e)
			}
		}
		return nil
	})
	return out
}

// told waits until attendees and store have these, in this order.
func (w *world) told(want ...string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%v", want), func() bool { return len(w.audience.statuses()) >= len(want) })
	if got := w.audience.statuses(); !slices.Equal(got, want) {
		w.t.Fatalf("attendees were told %v, want %v", got, want)
	}
	var stored []string
	for _, e := range w.events() {
		stored = append(stored, strings.TrimPrefix(string(e.Type), "chime:Transcription"))
	}
	if !slices.Equal(stored, want) {
		w.t.Fatalf("the store has %v, want %v", stored, want)
	}
}

func TestStartAndStop(t *testing.T) {
	w := newWorld(t)
	w.start("en-US")
	w.told("Started")
	const configuration = `{"EngineTranscribeSettings":{"LanguageCode":"en-US","Region":"auto","EnablePartialResultsStabilization":true}}`
	if e := w.events()[0]; e.Transcription.Configuration != configuration || e.Transcription.Region != "eu-central-1" || e.Transcription.Message != "" ||
		e.ExternalMeetingID != "ext" {
		t.Errorf("event %+v with %+v", e, e.Transcription)
	}
	w.engine.mu.Lock()
	start, _ := json.Marshal(w.engine.starts[0])
	w.engine.mu.Unlock()
	want := `{"audio":{"channels":1,"encoding":"s16le","sampleRate":16000},"configuration":` +
		strings.Replace(configuration, `"LanguageCode":"en-US","Region":"auto","EnablePartialResultsStabilization":true`,
			`"EnablePartialResultsStabilization":true,"LanguageCode":"en-US","Region":"auto"`, 1) +
		`,"externalMeetingId":"ext","meetingId":"` + w.meeting.ID + `","type":"start","version":1}`
	if string(start) != want {
		t.Errorf("the engine got %s\nwant %s", start, want)
	}
	w.stop()
	w.told("Started", "Stopped")
	eventually(t, "stop at the engine", func() bool { return w.engine.heard(`{"type":"stop"}`) })
	w.stop() // of what does not run
	w.told("Started", "Stopped")
	// The end of the meeting ends it, and is the last event.
	w.start("de-DE")
	w.told("Started", "Stopped", "Started")
	if err := w.service.DeleteMeeting(t.Context(), account, w.meeting.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the session", func() bool { return testutil.ToFloat64(w.t9r.metrics.sessions) == 0 })
	if got := w.events(); got[len(got)-1].Type != meeting.EventTranscriptionStopped {
		t.Errorf("the last event is %s", got[len(got)-1].Type)
	}
}

func TestAnotherStartReplacesTheConfiguration(t *testing.T) {
	w := newWorld(t)
	w.start("en-US")
	w.told("Started")
	w.start("fr-FR")
	w.told("Started", "Started")
	eventually(t, "the end of the first", func() bool { return w.engine.heard(`{"type":"stop"}`) })
	if got := w.events()[1].Transcription.Configuration; !strings.Contains(got, "fr-FR") {
		t.Errorf("configuration %s", got)
	}
	eventually(t, "one connection alone", func() bool { return testutil.ToFloat64(w.t9r.metrics.sessions) == 1 })
}

func TestEngineThatGoesAway(t *testing.T) {
	w := newWorld(t)
	w.start("en-US")
	w.told("Started")
	w.engine.down()
	w.told("Started", "Interrupted")
	if m := w.events()[1].Transcription.Message; m == "" || strings.Contains(m, "127.0.0.1") {
		t.Errorf("message %q", m)
	}
	w.engine.up()
	w.told("Started", "Interrupted", "Resumed")
	// It may be stopped while the engine is away.
	w.engine.down()
	w.told("Started", "Interrupted", "Resumed", "Interrupted")
	w.stop()
	w.told("Started", "Interrupted", "Resumed", "Interrupted", "Stopped")
}

func TestEngineThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.down()
	w.engine.down()
	w.up(func(c *Config) { c.Timings.Start = time.Millisecond })
	w.start("en-US")
	w.told("Failed")
	if m := w.events()[0].Transcription.Message; m != "the transcription engine cannot be reached" {
		t.Errorf("message %q", m)
	}
	// It may be asked for again.
	w.engine.up()
	w.start("en-US")
	w.told("Failed", "Started")
}

func TestEngineThatComesLate(t *testing.T) {
	w := newWorld(t)
	w.engine.down()
	w.start("en-US")
	eventually(t, "a try", func() bool { return testutil.ToFloat64(w.t9r.metrics.ends.WithLabelValues("lost")) > 0 })
	w.engine.up()
	w.told("Started")
}

func TestEngineThatRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		greet func(context.Context, *websocket.Conn, map[string]any) error
		want  string
	}{
		"error": {func(ctx context.Context, ws *websocket.Conn, _ map[string]any) error {
			return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"error","message":"no model for th-TH"}`))
		}, "the transcription engine refuses: no model for th-TH"},
		"policy": {func(_ context.Context, ws *websocket.Conn, _ map[string]any) error {
			return ws.Close(websocket.StatusPolicyViolation, "not you")
		}, "the transcription engine refuses: not you"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.engine.greet = tt.greet
			w.start("th-TH")
			w.told("Failed")
			if m := w.events()[0].Transcription.Message; m != tt.want {
				t.Errorf("message %q, want %q", m, tt.want)
			}
			w.stop() // nothing is left to be stopped
			if n := w.engine.started(); n != 1 {
				t.Errorf("it was asked %d times", n)
			}
			w.told("Failed")
		})
	}
	t.Run("status", func(t *testing.T) {
		w := newWorld(t)
		w.down()
		w.up(func(c *Config) { c.Engine = "ws://user:hush@" + meeting.Secret(w.engine.addr) + "/in" })
		w.engine.front = func(r *http.Request) int {
			if user, password, _ := r.BasicAuth(); user != "user" || password != "hush" {
				t.Errorf("it came as %q, %q", user, password)
			}
			return http.StatusForbidden
		}
		w.start("en-US")
		w.told("Failed")
		if m := w.events()[0].Transcription.Message; m != "the transcription engine answered with the HTTP status 403" {
			t.Errorf("message %q", m)
		}
	})
	t.Run("later", func(t *testing.T) {
		w := newWorld(t)
		w.engine.hear = func(ctx context.Context, ws *websocket.Conn, _ websocket.MessageType, _ []byte) error {
			return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"error","message":"out of memory"}`))
		}
		w.start("en-US")
		w.told("Started")
		eventually(t, "ears", func() bool { return w.ears.say(func(l meeting.Listener) { l.Speech(w.speech(10)) }) })
		w.told("Started", "Failed")
	})
}

func TestRestartGoesOn(t *testing.T) {
	w := newWorld(t)
	w.start("en-US")
	w.told("Started")
	w.down()
	w.told("Started") // a stop of the server is not one of the transcription
	w.up()
	w.told("Started", "Interrupted", "Resumed")
	w.down()
	w.stop() // while the server is away, as another node may
	w.up()
	if n := len(w.t9r.sessions); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func (w *world) speech(ms int) meeting.Speech {
	p := meeting.Speech{AttendeeID: w.ann.ID, At: time.UnixMilli(1_900_000_000_000)}
	for i := range ms * meeting.SpeechRate / 1000 {
		p.Samples = append(p.Samples, int16(i-800))
	}
	return p
}

func TestSpeechAndResults(t *testing.T) {
	w := newWorld(t)
	w.engine.hear = func(ctx context.Context, ws *websocket.Conn, kind websocket.MessageType, data []byte) error {
		if kind == websocket.MessageBinary {
			return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"transcript","results":[{"stream":1,"text":"hello","isPartial":true},{"stream":9,"text":"of nobody"}]}`))
		}
		if strings.Contains(string(data), "quiet") {
			if err := ws.Write(ctx, websocket.MessageText, []byte("not JSON")); err != nil {
				return err
			}
			return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"transcript","results":[{"attendeeId":"`+w.ann.ID+`","languageCode":"en-US",
				"alternatives":[{"transcript":"Hello, world.","items":[{"content":"Hello","startTime":1900000000010,"endTime":1900000000020,"confidence":0.5,"stable":true},
				{"content":",","type":"PUNCTUATION"}],"entities":[{"category":"PII","type":"NAME","content":"world","confidence":0.25}]}]}]}`))
		}
		return nil
	}
	w.start("en-US")
	w.told("Started")
	eventually(t, "ears", func() bool {
		return w.ears.say(func(l meeting.Listener) {
			l.Speech(w.speech(100))
			l.Quiet(w.ann.ID)
			l.Quiet("somebody who never spoke")
		})
	})
	eventually(t, "results", func() bool { return len(w.audience.results()) == 2 })
	if !w.engine.heard(`{"type":"stream","stream":1,"attendeeId":"`+w.ann.ID+`","externalUserId":"ann"}`) || !w.engine.heard(`{"type":"quiet","stream":1}`) {
		t.Errorf("the engine heard %v", w.engine.texts)
	}
	w.engine.mu.Lock()
	if got := w.engine.audio[1]; len(got) != 1600 || got[0] != -800 || got[1599] != 799 || w.engine.times[1][0] != 1_900_000_000_000 {
		t.Errorf("the engine got %d samples at %v", len(got), w.engine.times)
	}
	w.engine.mu.Unlock()
	half, yes := 0.5, true
	const at = 1_900_000_000_000
	got := w.audience.results()
	if got[0].ID == "" || got[0].ID != got[1].ID {
		t.Errorf("ids %q and %q of one stretch", got[0].ID, got[1].ID)
	}
	who := func(i meeting.TranscriptItem) meeting.TranscriptItem {
		i.AttendeeID, i.ExternalUserID = w.ann.ID, "ann"
		return i
	}
	want := []meeting.TranscriptResult{
		{ID: got[0].ID, Partial: true, Start: at, End: at + 100, Alternatives: []meeting.TranscriptAlternative{{
			Text: "hello", Items: []meeting.TranscriptItem{who(meeting.TranscriptItem{Content: "hello", Start: at, End: at + 100})}}}},
		{ID: got[0].ID, Start: at, End: at + 100, LanguageCode: "en-US", Alternatives: []meeting.TranscriptAlternative{{
			Text: "Hello, world.", Items: []meeting.TranscriptItem{
				who(meeting.TranscriptItem{Content: "Hello", Start: at + 10, End: at + 20, Confidence: &half, Stable: &yes}),
				who(meeting.TranscriptItem{Content: ",", Punctuation: true, Start: at, End: at + 100}),
			}, Entities: []meeting.TranscriptEntity{{Category: "PII", Type: "NAME", Content: "world", Confidence: 0.25, Start: at, End: at + 100}}}}},
	}
	if d := diff(want, got); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
	// The next stretch is another result.
	w.ears.say(func(l meeting.Listener) { l.Speech(w.speech(20)) })
	eventually(t, "another result", func() bool { return len(w.audience.results()) == 3 })
	if again := w.audience.results()[2]; again.ID == got[0].ID {
		t.Errorf("another stretch has the id %q again", again.ID)
	}
	if n := testutil.ToFloat64(w.t9r.metrics.results.WithLabelValues("refused")); n != 1 {
		t.Errorf("%v messages were refused, want 1", n)
	}
}

func TestQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	w.start("en-US")
	w.told("Started")
	s := w.t9r.sessions[w.meeting.ID]
	c := &conn{s: s, out: make(chan message, queueLength), streams: map[string]*stream{}}
	for range queueLength + 10 {
		c.Speech(w.speech(10)) // the first after the stream's announcement
	}
	c.Quiet(w.ann.ID)
	if n := testutil.ToFloat64(w.t9r.metrics.audio.WithLabelValues("dropped")); n != 11 || len(c.out) != queueLength {
		t.Errorf("%v were dropped, %d wait", n, len(c.out))
	}
}

// An engine that does not read holds up nobody, and what it misses is counted.
func TestEngineThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	w.engine.hear = func(context.Context, *websocket.Conn, websocket.MessageType, []byte) error {
		<-over
		return nil
	}
	w.start("en-US")
	w.told("Started")
	long := w.speech(100)
	eventually(t, "speech that is dropped", func() bool {
		w.ears.say(func(l meeting.Listener) {
			for range 1000 {
				l.Speech(long)
			}
		})
		return testutil.ToFloat64(w.t9r.metrics.audio.WithLabelValues("dropped")) > 0
	})
	w.stop()
	w.told("Started", "Stopped")
}
