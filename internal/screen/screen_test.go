package screen

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"
	"image/jpeg"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/time/rate"

	"belfry/internal/meeting"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// fakeAuth knows attendees by tokens that are their ids.
type fakeAuth struct {
	mu    sync.Mutex
	known map[string]meeting.Identity
}

func (f *fakeAuth) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if who, ok := f.known[token.Reveal()]; ok {
		return who, nil
	}
	return meeting.Identity{}, meeting.Errorf(meeting.CodeForbidden, "no")
}

// stage is a Server with attendees ann, ben and cat in one meeting.
type stage struct {
	*Server
	auth       *fakeAuth
	registry   *prometheus.Registry
	share, url string
}

func newStage(t *testing.T, cfg Config) *stage {
	t.Helper()
	m := &meeting.Meeting{ID: "m"}
	s := &stage{auth: &fakeAuth{known: map[string]meeting.Identity{}}, registry: prometheus.NewRegistry()}
	for _, name := range []string{"ann", "ben", "cat"} {
		s.auth.known[name] = meeting.Identity{Meeting: m, Attendee: &meeting.Attendee{ID: name, Capabilities: meeting.DefaultCapabilities}}
	}
	cfg.Auth, cfg.Logger, cfg.Metrics = s.auth, slog.New(slog.DiscardHandler), s.registry
	s.Server = New(cfg)
	share, view := httptest.NewServer(s.Share()), httptest.NewServer(s.View())
	t.Cleanup(func() {
		s.Close()
		share.Close()
		view.Close()
	})
	s.share, s.url = share.URL, view.URL
	return s
}

// client is one end of a socket of either kind.
type client struct {
	*testing.T
	conn *websocket.Conn
	ctx  context.Context
}

func dial(t *testing.T, url string, protocols ...string) *client {
	t.Helper()
	ctx := kit.Within(t)
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &client{t, conn, ctx}
}

// sharing is an attendee's socket of ScreenSharingUrl. It has been taken in when
// its heartbeat is answered.
func (s *stage) sharing(t *testing.T, who string) *client {
	t.Helper()
	c := dial(t, s.share, subprotocol, who)
	if c.conn.Subprotocol() != subprotocol {
		t.Errorf("got subprotocol %q", c.conn.Subprotocol())
	}
	c.send(local(heartbeatRequest))
	return c
}

func (s *stage) viewing(t *testing.T, who string) *client {
	t.Helper()
	return dial(t, s.url+"/?passcode=null&session_token="+who)
}

func (c *client) send(msg []byte) {
	c.Helper()
	if err := c.conn.Write(c.ctx, websocket.MessageBinary, msg); err != nil {
		c.Fatal(err)
	}
}

func (c *client) read() []byte {
	c.Helper()
	_, msg, err := c.conn.Read(c.ctx)
	if err != nil {
		c.Fatal(err)
	}
	return msg
}

// gets wants these messages, in order.
func (c *client) gets(want ...[]byte) {
	c.Helper()
	for _, w := range want {
		if diff := cmp.Diff(w, c.read()); diff != "" {
			c.Fatal(diff)
		}
	}
}

// closes wants the end, with this code.
func (c *client) closes(code websocket.StatusCode) {
	c.Helper()
	for {
		if _, _, err := c.conn.Read(c.ctx); err != nil {
			if got := websocket.CloseStatus(err); got != code {
				c.Fatalf("closed with %v, %v, want %v", got, err, code)
			}
			return
		}
	}
}

// canvas is what the client would have painted.
type canvas struct {
	*image.YCbCr
	width, height, setups, tiles int
}

// paint takes what the server sends until the sync after a change of the
// picture; it answers false when the screen has ended.
func (v *canvas) paint(c *client) bool {
	c.Helper()
	col, row, changed := 0, 0, false
	for {
		switch msg := c.read(); {
		case msg[0] == viewSetup:
			v.width, v.height = int(binary.BigEndian.Uint32(msg[1:])), int(binary.BigEndian.Uint32(msg[5:]))
			if size := binary.BigEndian.Uint32(msg[9:]); size != tileSize {
				c.Fatalf("tiles of %d", size)
			}
			v.YCbCr = image.NewYCbCr(image.Rect(0, 0, v.width, v.height), image.YCbCrSubsampleRatio444)
			v.setups++
		case msg[0] == viewDelta:
			col, row = int(msg[1]), int(msg[2])
		case msg[0] == viewSync:
			if changed {
				return true
			}
		case msg[0] == viewEndScreen || msg[0] == viewNoScreen:
			return false
		case msg[0] == 0xFF && msg[1] == 0xD8:
			img, err := jpeg.Decode(bytes.NewReader(msg))
			if err != nil || len(msg) > maxTile || img.Bounds() != image.Rect(0, 0, tileSize, tileSize) {
				c.Fatalf("a tile of %d bytes, %v, %v", len(msg), img.Bounds(), err)
			}
			changed = true
			v.tiles++
			tile := img.(*image.YCbCr)
			for y := 0; y < tileSize && row*tileSize+y < v.height; y++ {
				for x := 0; x < tileSize && col*tileSize+x < v.width; x++ {
					from, to := tile.COffset(x, y), v.COffset(col*tileSize+x, row*tileSize+y)
					v.Y[v.YOffset(col*tileSize+x, row*tileSize+y)] = tile.Y[tile.YOffset(x, y)]
					v.Cb[to], v.Cr[to] = tile.Cb[from], tile.Cr[from]
				}
			}
		default:
			c.Fatalf("got % x", msg[:min(len(msg), 16)])
		}
	}
}

// clip is a recording: WebM around the frames of a clip of the decoder's tests.
func clip(t *testing.T, name string) (slices [][]byte) {
	t.Helper()
	data, err := os.ReadFile("vp8/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	unknown := []byte{0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	head := []byte{0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67}
	head = append(head, unknown...)
	head = append(head, 0x16, 0x54, 0xAE, 0x6B, 0x80+12, 0xAE, 0x80+10, 0xD7, 0x81, 1, 0x86, 0x85)
	head = append(head, "V_VP8"...)
	head = append(head, 0x1F, 0x43, 0xB6, 0x75)
	head = append(head, unknown...)
	for data = data[32:]; len(data) > 12; {
		size := int(binary.LittleEndian.Uint32(data))
		block := append([]byte{0xA3}, 0x10, byte((size+4)>>16), byte((size+4)>>8), byte(size+4), 0x81, 0, 0, 0)
		block = append(block, data[12:12+size]...)
		slices = append(slices, append(head, block...))
		head, data = nil, data[12+size:]
	}
	return slices
}

func slice(data []byte) []byte { return append([]byte{webmSlice, flagBroadcast, 0, 0}, data...) }

// shows has a presenter send a clip, whole.
func (c *client) shows(clip [][]byte) {
	c.Helper()
	for _, data := range clip {
		c.send(slice(data))
	}
	// What came before the answer has been decoded.
	c.send(local(heartbeatRequest))
	c.gets(local(heartbeatResponse))
}

// differs is the mean difference of luma of what a viewer has and what the
// server decoded last.
func (s *stage) differs(v *canvas) float64 {
	s.mu.Lock()
	p, _ := s.rooms["m"].look()
	s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := 0
	for y := range v.height {
		for x := range v.width {
			d := int(v.Y[v.YOffset(x, y)]) - int(fullLuma[p.frame.Y[y*p.frame.YStride+x]])
			sum += max(d, -d)
		}
	}
	return float64(sum) / float64(v.width*v.height)
}

// catchesUp paints until the viewer has what the server decoded last.
func (s *stage) catchesUp(view *client, seen *canvas) {
	view.Helper()
	for {
		if !seen.paint(view) {
			view.Fatal("the screen ended")
		}
		if s.differs(seen) < 3 { // JPEG changes a little
			return
		}
	}
}

func TestSharedScreenIsSeenByAllWhoView(t *testing.T) {
	s := newStage(t, Config{})
	ann, ben, early := s.sharing(t, "ann"), s.sharing(t, "ben"), s.viewing(t, "ben")
	ann.gets(local(heartbeatResponse))
	ben.gets(local(heartbeatResponse))
	early.gets([]byte{viewNoScreen})
	ann.send(local(streamStart))
	ben.gets(about(streamStart, "ann"))
	recording := clip(t, "screen.ivf")
	ann.shows(recording[:10])
	var seen canvas
	s.catchesUp(early, &seen)
	if seen.width != 176 || seen.height != 144 {
		t.Errorf("a picture of %d by %d", seen.width, seen.height)
	}
	// A late one gets everything at once, though nothing changes.
	late, cat := s.viewing(t, "cat"), s.sharing(t, "cat")
	var whole canvas
	if !whole.paint(late) || s.differs(&whole) > 3 || whole.tiles != 4 {
		t.Errorf("the late viewer's picture is off by %v, of %d tiles", s.differs(&whole), whole.tiles)
	}
	cat.gets(about(streamStart, "ann"), local(heartbeatResponse))
	ann.shows(recording[10:])
	s.catchesUp(early, &seen)
	if seen.setups != 1 {
		t.Errorf("there were %d setups", seen.setups)
	}
	if n := testutil.ToFloat64(s.metrics.frames.WithLabelValues("decoded")); n != float64(len(recording)) {
		t.Errorf("%v frames are counted, of %d", n, len(recording))
	}
	ann.send(local(streamEnd))
	ben.gets(about(streamEnd, "ann"))
	for name, c := range map[string]*client{"early": early, "late": late} {
		for (&canvas{YCbCr: seen.YCbCr, width: 176, height: 144}).paint(c) {
			t.Logf("%s had more to paint", name)
		}
	}
}

func TestOnlyTilesThatChangedAreSent(t *testing.T) {
	s := newStage(t, Config{})
	p := newPicture(s.Server, meeting.FHD)
	recording := clip(t, "screen.ivf")
	for _, data := range recording[:2] {
		if shown, err := p.record(data); !shown || err != nil {
			t.Fatal(shown, err)
		}
	}
	all := p.since(0)
	if len(all.tiles) != 4 || all.version != 1 {
		t.Fatalf("%d tiles of version %d", len(all.tiles), all.version)
	}
	if n := p.since(all.version); len(n.tiles) != 0 {
		t.Errorf("%d tiles have changed by themselves", len(n.tiles))
	}
	p.frame.Y[p.frame.YStride*140+170] ^= 0xFF // a pixel in the last tile
	p.fresh = true
	if n := p.since(all.version); len(n.tiles) != 1 || n.tiles[0].col != 1 || n.tiles[0].row != 1 {
		t.Errorf("one pixel changed the tiles %v", n.tiles)
	}
}

func TestLargerScreensAreMadeSmaller(t *testing.T) {
	s := newStage(t, Config{})
	p := newPicture(s.Server, meeting.Resolution{Long: 96, Short: 80})
	if _, err := p.record(clip(t, "screen.ivf")[0]); err != nil {
		t.Fatal(err)
	}
	if n := p.since(0); n.width != 88 || n.height != 72 || len(n.tiles) != 1 {
		t.Errorf("the picture is %d by %d in %d tiles", n.width, n.height, len(n.tiles))
	}
	a, b := int(p.frame.Y[0])+int(p.frame.Y[1])+int(p.frame.Y[p.frame.YStride])+int(p.frame.Y[p.frame.YStride+1]), int(p.drawn[0].pix[0])
	if b != (a+2)/4 {
		t.Errorf("the first pixel is %d, of four that are %d", b, a)
	}
}

func TestOnePresentsAtATime(t *testing.T) {
	s := newStage(t, Config{})
	ann, ben, cat := s.sharing(t, "ann"), s.sharing(t, "ben"), s.sharing(t, "cat")
	for _, c := range []*client{ann, ben, cat} {
		c.gets(local(heartbeatResponse))
	}
	ann.send(local(streamStart))
	ben.gets(about(streamStart, "ann"))
	ben.send(local(streamStart))
	ann.gets(local(streamStop), about(presenterSwitch, "ben"))
	cat.gets(about(streamStart, "ann"), about(presenterSwitch, "ben"))
	// What comes late from the one before changes nothing.
	ann.send(slice(clip(t, "screen.ivf")[0]))
	ann.send(local(streamEnd))
	ben.shows(clip(t, "odd-size.ivf"))
	var seen canvas
	if view := s.viewing(t, "cat"); !seen.paint(view) || seen.width != 150 || s.differs(&seen) > 3 {
		t.Errorf("the picture is %d wide", seen.width)
	}
	// One who vanishes does not go on presenting.
	ben.conn.CloseNow()
	cat.gets(about(streamEnd, "ben"))
	if n := s.presenters(); n != 0 {
		t.Errorf("%d presenters are counted", n)
	}
}

func (s *stage) presenters() int64 { return s.Server.sharing.Load() }

func TestWhoMayNotShareIsToldToStop(t *testing.T) {
	none := &meeting.Meeting{ID: "m", Features: &meeting.Features{ContentMaxResolution: "None"}}
	replica := &meeting.Meeting{ID: "r"}
	receive := meeting.DefaultCapabilities.ReceiveOnly()
	for name, who := range map[string]meeting.Identity{
		"capability": {Meeting: &meeting.Meeting{ID: "m"}, Attendee: &meeting.Attendee{ID: "ann", Capabilities: receive}},
		"feature":    {Meeting: none, Attendee: &meeting.Attendee{ID: "ann", Capabilities: meeting.DefaultCapabilities}},
		"audience":   {Meeting: replica, Primary: &meeting.Meeting{ID: "m"}, Attendee: &meeting.Attendee{ID: "ann", Capabilities: meeting.DefaultCapabilities}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, Config{})
			s.auth.known["ann"] = who
			ann := s.sharing(t, "ann")
			ann.gets(local(heartbeatResponse))
			ann.send(local(streamStart))
			ann.gets(local(streamStop))
			if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues("capability")); n != 1 {
				t.Errorf("%v refusals are counted", n)
			}
		})
	}
}

func TestCapabilitiesHoldAtOnce(t *testing.T) {
	s := newStage(t, Config{})
	ann, ben, view := s.sharing(t, "ann"), s.sharing(t, "ben"), s.viewing(t, "ben")
	ann.gets(local(heartbeatResponse))
	ben.gets(local(heartbeatResponse))
	view.gets([]byte{viewNoScreen})
	ann.send(local(streamStart))
	ben.gets(about(streamStart, "ann"))
	ann.shows(clip(t, "screen.ivf"))
	var seen canvas
	seen.paint(view)
	change := func(who string, content meeting.Capability) {
		a := *s.auth.known[who].Attendee
		a.Capabilities.Content = content
		s.CapabilitiesChanged(&a)
	}
	change("ben", meeting.NoMedia)
	for seen.paint(view) {
		t.Log("there was more to paint")
	}
	change("ben", meeting.Receive)
	if !seen.paint(view) || seen.setups != 2 {
		t.Errorf("the screen did not come back whole: %d setups", seen.setups)
	}
	change("ann", meeting.Receive)
	ann.gets(local(streamStop))
	ben.gets(about(streamEnd, "ann"))
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*stage)
		code websocket.StatusCode
		goes bool // ann's are not the only sockets that end
	}{
		"attendee deleted": {func(s *stage) { s.AttendeeDeleted("ann") }, websocket.StatusNormalClosure, false},
		"meeting ended":    {func(s *stage) { s.MeetingEnded("m") }, websocket.StatusNormalClosure, true},
		"server stops":     {func(s *stage) { s.Close() }, websocket.StatusGoingAway, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, Config{})
			ann, ben, view := s.sharing(t, "ann"), s.sharing(t, "ben"), s.viewing(t, "ann")
			ann.gets(local(heartbeatResponse))
			ben.gets(local(heartbeatResponse))
			view.gets([]byte{viewNoScreen})
			ann.send(local(streamStart))
			ben.gets(about(streamStart, "ann"))
			done := make(chan struct{})
			go func() { defer close(done); c.end(s) }()
			ann.closes(c.code)
			view.closes(c.code)
			if c.goes {
				ben.closes(c.code)
			} else {
				ben.gets(about(streamEnd, "ann"))
			}
			<-done
		})
	}
}

func TestBadTokenIsFinal(t *testing.T) {
	s := newStage(t, Config{})
	s.viewing(t, "dan").closes(websocket.StatusNormalClosure)
	dial(t, s.share, subprotocol, "dan").closes(websocket.StatusNormalClosure)
}

// After a fault in the recording the presenter is asked to begin it anew.
func TestAsksForANewBeginning(t *testing.T) {
	s := newStage(t, Config{})
	ann := s.sharing(t, "ann")
	ann.gets(local(heartbeatResponse))
	ann.send(local(streamStart))
	recording := clip(t, "screen.ivf")
	ann.send(slice(recording[1])) // no beginning
	ann.gets(local(keyRequest))
	ann.shows(recording)
	var seen canvas
	if view := s.viewing(t, "cat"); !seen.paint(view) || s.differs(&seen) > 3 {
		t.Errorf("the picture is off by %v", s.differs(&seen))
	}
}

func TestTooLargeScreenIsStopped(t *testing.T) {
	s := newStage(t, Config{})
	ann := s.sharing(t, "ann")
	ann.gets(local(heartbeatResponse))
	ann.send(local(streamStart))
	first := clip(t, "screen.ivf")[0]
	at := bytes.Index(first, []byte{0x9d, 0x01, 0x2a}) + 3
	binary.LittleEndian.PutUint16(first[at:], 3857)
	ann.send(slice(first))
	ann.gets(local(streamStop))
	if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues("resolution")); n != 1 || s.presenters() != 0 {
		t.Errorf("%v refusals and %d presenters are counted", n, s.presenters())
	}
}

// A presenter who sends more than is decoded loses pictures, not its share.
func TestPicturesBeyondTheBudgetAreLeftOut(t *testing.T) {
	s := newStage(t, Config{})
	p := newPicture(s.Server, meeting.FHD)
	recording := clip(t, "screen.ivf")
	if _, err := p.record(recording[0]); err != nil {
		t.Fatal(err)
	}
	full := p.budget
	p.budget = rate.NewLimiter(0, 0)
	if shown, err := p.record(recording[1]); shown || err == nil {
		t.Errorf("shown %v, %v", shown, err)
	}
	p.budget = full
	if shown, err := p.record(recording[2]); shown || err == nil { // predicted from what was left out
		t.Errorf("shown %v, %v", shown, err)
	}
	if shown, err := p.record(recording[0]); !shown || err != nil {
		t.Errorf("shown %v, %v", shown, err)
	}
}

// A viewer who takes nothing does not keep the presenter or others waiting.
func TestSlowViewerHoldsUpNobody(t *testing.T) {
	s := newStage(t, Config{})
	ann := s.sharing(t, "ann")
	ann.gets(local(heartbeatResponse))
	ann.send(local(streamStart))
	s.viewing(t, "ben") // never reads
	recording := clip(t, "odd-size.ivf")
	for range 5 {
		ann.shows(recording)
	}
	var seen canvas
	if view := s.viewing(t, "cat"); !seen.paint(view) || s.differs(&seen) > 3 {
		t.Errorf("the picture is off by %v", s.differs(&seen))
	}
}

func TestSocketsAreAskedWhetherTheyAreThere(t *testing.T) {
	for name, c := range map[string]struct {
		open func(*testing.T, *stage) *client
		asks []byte
	}{
		"sharing": {func(t *testing.T, s *stage) *client { return dial(t, s.share, subprotocol, "ann") }, local(heartbeatRequest)},
		"viewing": {func(t *testing.T, s *stage) *client { return s.viewing(t, "ann") }, []byte{viewEchoRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			// On a machine that stands still the socket ends before it could be asked.
			for beat := 50 * time.Millisecond; beat < 30*time.Second; beat *= 2 {
				client := c.open(t, newStage(t, Config{Heartbeat: beat})) // which never answers
				asked := false
				for {
					_, msg, err := client.conn.Read(client.ctx)
					if err != nil {
						break
					}
					asked = asked || bytes.Equal(msg, c.asks)
				}
				if client.ctx.Err() != nil {
					t.Fatal("a silent socket stays")
				}
				if asked {
					return
				}
			}
			t.Error("a silent socket is not asked")
		})
	}
}

func TestViewerMayAskForAnEcho(t *testing.T) {
	s := newStage(t, Config{})
	view := s.viewing(t, "ann")
	view.gets([]byte{viewNoScreen})
	view.send([]byte{viewEchoRequest, 9, 8})
	view.gets([]byte{viewEchoResponse, 9, 8})
}

func TestSocketsAreBounded(t *testing.T) {
	s := newStage(t, Config{})
	s.sockets = maxSockets
	w := httptest.NewRecorder()
	s.View().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 || s.sockets != maxSockets {
		t.Errorf("answered with %d, and %d are counted", w.Code, s.sockets)
	}
	s.Server.sharing.Store(maxPresenters)
	if s.startSharing() || s.presenters() != maxPresenters {
		t.Errorf("%d present", s.presenters())
	}
}

// Whatever a client sends on the sharing socket ends in an answer or in nothing.
func FuzzShare(f *testing.F) {
	f.Add([]byte{streamStart, 2, 0, 0}, []byte{webmSlice, 1, 0, 0, 0x1A, 0x45, 0xDF, 0xA3, 0x80})
	f.Add([]byte{heartbeatRequest, 2, 0, 0}, []byte{streamEnd})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s := New(Config{Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		k := &socket{out: make(chan []byte, outQueue), ending: make(chan ending, 1)}
		k.who = meeting.Identity{Meeting: &meeting.Meeting{ID: "m"}, Attendee: &meeting.Attendee{ID: "a"}}
		content := meeting.SendReceive
		k.content.Store(&content)
		r, err := s.enter(k)
		if err != nil {
			t.Fatal(err)
		}
		list := [][]byte{local(streamStart), a, b}
		s.readShare(r, k, func(int64) {}, func() ([]byte, error) {
			if len(list) == 0 {
				return nil, context.Canceled
			}
			msg := list[0]
			list = list[1:]
			return msg, nil
		})
		s.leave(r, k)
		if len(s.rooms) != 0 || s.sharing.Load() != 0 {
			t.Errorf("%d rooms and %d presenters are left", len(s.rooms), s.sharing.Load())
		}
	})
}

func TestMetricsAreNamed(t *testing.T) {
	s := newStage(t, Config{})
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	families, _ := s.registry.Gather()
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "belfry_screen_") {
			t.Errorf("%s is not of this package", f.GetName())
		}
	}
}
