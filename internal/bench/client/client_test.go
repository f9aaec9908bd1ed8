package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/bench/check"
	"belfry/internal/media/rtp"
	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const patience = kit.Patience

var eventually = kit.Eventually

// forwarder is a server that sends what one Client sends to another, with faults.
type forwarder struct {
	fault func(f *forwarder, n int, payload []byte)

	mu       sync.Mutex
	to       *transport.Conn
	n        int
	seq      uint16
	out      *udp.Batch
	packet   *rtp.Packet
	feedback map[string]int // what the receiver said
}

func (f *forwarder) Connected()              {}
func (f *forwarder) Closed(string)           {}
func (f *forwarder) RTCP([]byte, *udp.Batch) {}

func (f *forwarder) RTP(run []*rtp.Packet, out *udp.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = out
	for _, p := range run {
		f.n++
		f.packet = p
		f.fault(f, f.n, p.Payload())
	}
}

// send sends a payload on under the forwarder's next number.
func (f *forwarder) send(payload []byte) {
	var w rtp.HeaderWriter
	var buf [rtp.MaxHeader]byte
	f.seq++
	w.Begin(buf[:], ours.vp8, f.packet.Marker, f.seq, f.packet.Timestamp, 4711)
	w.TransportSequence(ours.twcc, f.seq)
	f.to.SendRTP(f.out, w.Bytes(), payload)
}

// listener is the forwarder's other side.
type listener struct {
	*forwarder
	up chan struct{}
}

func (l listener) Connected()                    { close(l.up) }
func (l listener) RTP([]*rtp.Packet, *udp.Batch) {}
func (l listener) RTCP(pkt []byte, out *udp.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := (rtp.RTCP{Data: pkt}); r.Next(); {
		switch {
		case r.IsNACK():
			l.feedback["nack"]++
		case r.IsTWCC():
			l.feedback["twcc"]++
		case r.Type == rtp.TypeRR:
			l.feedback["rr"]++
		}
	}
}

// connect joins a Client to a Conn.
func connect(t *testing.T, m *transport.Mux, c *Client, h transport.Handler, s Section) *transport.Conn {
	t.Helper()
	conn, err := m.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	offer := c.Offer([]Section{s})
	value := func(name string) string {
		_, rest, _ := strings.Cut(offer, "\r\na="+name+":")
		v, _, _ := strings.Cut(rest, "\r\n")
		return v
	}
	if err := conn.SetRemote(transport.Parameters{Ufrag: value("ice-ufrag"), Pwd: value("ice-pwd"), Fingerprint: value("fingerprint"), Setup: value("setup")}); err != nil {
		t.Fatal(err)
	}
	l := conn.Local()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Connect(ctx, fmt.Sprintf("v=0\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s\r\na=setup:%s\r\na=candidate:1 1 udp 1 %s %d typ host\r\n",
		l.Ufrag, l.Pwd, l.Fingerprint, l.Setup, l.Candidates[0].Addr.Addr(), l.Candidates[0].Addr.Port())); err != nil {
		t.Fatal(err)
	}
	return conn
}

// forward has a camera seen through a forwarder until it has sent enough and the
// feedback that is wanted came, and returns what was counted.
func forward(t *testing.T, fault func(f *forwarder, n int, payload []byte), wants ...string) check.Counts {
	t.Helper()
	m, err := transport.NewMux(transport.Config{Listen: "127.0.0.1:0", Sockets: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	window := check.NewWindow()
	windows := func(sender uint32) *check.Window {
		if sender == 9 {
			return window
		}
		return nil
	}
	pace := NewPace()
	t.Cleanup(pace.Stop) // after those of the Clients
	person := func(cfg Config) *Client {
		cfg.IP, cfg.Identity, cfg.Windows, cfg.Pace = "127.0.0.1", id, windows, pace
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	camera, viewer := person(Config{VideoRate: 1_000_000, Window: window, Sender: 9}), person(Config{})
	f := &forwarder{fault: fault, feedback: map[string]int{}}
	l := listener{f, make(chan struct{})}
	f.to = connect(t, m, viewer, l, Section{Kind: "video", MID: "0", Direction: "recvonly"})
	select {
	case <-l.up:
	case <-time.After(patience):
		t.Fatal("the viewer does not connect")
	}
	connect(t, m, camera, f, Section{Kind: "video", MID: "0", Direction: "sendonly"})
	pace.Add(viewer, false)
	pace.Add(camera, false)
	camera.CameraWindow(true)
	seen := func(n int) func() bool {
		return func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.n >= n
		}
	}
	eventually(t, "200 packets", seen(200))
	camera.CameraWindow(false)
	eventually(t, "those that were sent", seen(int(window.Sent())+20))
	for _, kind := range append(wants, "rr", "twcc") {
		eventually(t, kind, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.feedback[kind] > 0
		})
	}
	f.mu.Lock()
	sent := uint64(f.seq)
	f.mu.Unlock()
	eventually(t, "what was sent on", func() bool { return viewer.Result().Stats.VideoPackets >= sent })
	r := viewer.Result()
	if r.Stats.Refused != 0 {
		t.Errorf("%d packets did not decrypt", r.Stats.Refused)
	}
	return r.Video
}

// Faults are of the first 200 packets, which all are in the window.
func TestFaultsOfAServerAreNoticed(t *testing.T) {
	var held []byte
	for name, c := range map[string]struct {
		fault func(f *forwarder, n int, payload []byte)
		want  check.Counts // but for Expected and Received
		lost  uint64
	}{
		"none": {fault: func(f *forwarder, _ int, p []byte) { f.send(p) }},
		"drops": {lost: 4, fault: func(f *forwarder, n int, p []byte) {
			if n%50 != 0 || n > 200 {
				f.send(p)
			}
		}},
		"sends twice": {want: check.Counts{Duplicates: 4}, fault: func(f *forwarder, n int, p []byte) {
			f.send(p)
			if n%50 == 0 && n <= 200 {
				f.send(p)
			}
		}},
		"swaps": {want: check.Counts{Reordered: 4}, fault: func(f *forwarder, n int, p []byte) {
			if n%50 == 0 && n <= 200 {
				held = append([]byte(nil), p...)
				return
			}
			f.send(p)
			if held != nil {
				f.send(held)
				held = nil
			}
		}},
		"damages": {want: check.Counts{Corrupt: 4}, lost: 4, fault: func(f *forwarder, n int, p []byte) {
			if n%50 == 0 && n <= 200 {
				p[len(p)-40] ^= 1
			}
			f.send(p)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := forward(t, c.fault)
			if got.Lost() != c.lost || got.Expected < 200 {
				t.Errorf("lost %d of %d, want %d", got.Lost(), got.Expected, c.lost)
			}
			got.Expected, got.Received = 0, 0
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// What is missing in a server's own numbering is asked for.
func TestGapsAreAskedFor(t *testing.T) {
	forward(t, func(f *forwarder, n int, p []byte) {
		if n == 100 {
			f.seq++ // a number that nobody gets
		}
		f.send(p)
	}, "nack")
}

func TestFeedbackIsAtChromesPace(t *testing.T) {
	for rate, want := range map[float64]time.Duration{0: 250 * time.Millisecond, 27e3: 250 * time.Millisecond, 1e5: 108800 * time.Microsecond, 1e6: 50 * time.Millisecond} {
		if got := time.Duration(feedbackInterval(rate)); got != want {
			t.Errorf("at %.0f bit/s: %v, want %v", rate, got, want)
		}
	}
}

func TestReadRemoteWantsEverything(t *testing.T) {
	lines := []string{"v=0", "a=ice-ufrag:u", "a=ice-pwd:p", "a=fingerprint:sha-256 AA", "a=setup:active", "a=candidate:1 1 UDP 1 192.0.2.1 5000 typ host"}
	r, err := readRemote(strings.Join(lines, "\r\n"))
	if err != nil || r.addr.String() != "192.0.2.1:5000" || r.ufrag != "u" || r.pwd != "p" || r.setup != "active" {
		t.Errorf("got %+v, %v", r, err)
	}
	for i := 1; i < len(lines); i++ {
		if _, err := readRemote(strings.Join(append(lines[:i:i], lines[i+1:]...), "\r\n")); err == nil {
			t.Errorf("a description without %q is taken", lines[i])
		}
	}
}

// What comes out of order lately is waited for that long before it is asked for.
func TestOvertakenPacketsAreWaitedFor(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{IP: "127.0.0.1", Identity: id, Windows: func(uint32) *check.Window { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const ms = int64(time.Millisecond)
	push := func(seq uint16, at int64) {
		var w rtp.HeaderWriter
		var p rtp.Packet
		w.Begin(make([]byte, rtp.MaxHeader), ours.vp8, false, seq, uint32(seq)*3000, 4711)
		if err := p.Parse(append(w.Bytes(), make([]byte, 100)...)); err != nil {
			t.Fatal(err)
		}
		p.Arrival = at
		c.packet(&p)
	}
	asked := func(at int64, want ...uint16) {
		t.Helper()
		if got, _ := c.in[0].missing.Due(nil, at); !slices.Equal(got, want) {
			t.Errorf("after %d ms %d are asked for, want %d", at/ms, got, want)
		}
	}
	push(1, 1000*ms)
	push(2, 1020*ms)
	push(4, 1060*ms)
	asked(1060*ms, 3)
	push(3, 1100*ms)
	push(6, 1120*ms)
	asked(1150 * ms)
	asked(1161*ms, 5)
}
