package media

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"belfry/internal/meeting"
	"belfry/test/kit"
)

// mediaClosed waits for the one MediaClosed.
func (c *client) mediaClosed() string {
	c.t.Helper()
	select {
	case reason := <-c.events.closed:
		return reason
	case <-time.After(patience):
		c.t.Fatalf("still missing after %v: %s's MediaClosed", patience, c.id)
		return ""
	}
}

// ended waits until the client knows that the server has closed DTLS.
func (c *client) ended() {
	c.t.Helper()
	select {
	case <-c.over:
	case <-time.After(patience):
		c.t.Fatalf("still missing after %v: the end of %s's DTLS", patience, c.id)
	}
}

func TestClientCloses(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	if err := a.dtls.Close(); err != nil {
		t.Fatal(err)
	}
	if reason := a.mediaClosed(); reason == "" {
		t.Error("MediaClosed gives no reason")
	}
	b.talk(20, spoken("b"))
	c := r.join("c")
	hears(t, c, "b", true)
	a.peer.Close()
	if n := len(a.events.closed); n != 0 {
		t.Errorf("MediaClosed came %d times more", n)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{IdleTimeout: 2 * time.Second})
	never := r.enter("never")
	never.negotiate()
	if reason := never.mediaClosed(); !strings.Contains(reason, "nothing was received") {
		t.Errorf("the reason for one who never came is %q", reason)
	}
	// Whoever sends stays. On a machine that stands still for two seconds even b falls
	// silent, but not again and again.
	for try := range 10 {
		b := r.join(fmt.Sprint("b", try))
		b.talk(20, spoken("b"))
		a := r.join(fmt.Sprint("a", try))
		if last := a.peer.LastReceived(); last.IsZero() || time.Since(last) > patience {
			t.Errorf("something came last at %v", last)
		}
		if reason := a.mediaClosed(); !strings.Contains(reason, "nothing was received") {
			t.Errorf("the reason is %q", reason)
		}
		if len(b.events.closed) == 0 {
			return
		}
	}
	t.Error("who talks is closed as well, every time")
}

func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.enter("a")
	a.fingerprint = "sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	a.negotiate()
	_ = a.tryConnect()
	if reason := a.mediaClosed(); !strings.Contains(reason, "DTLS") {
		t.Errorf("the reason is %q", reason)
	}
	if n := a.events.connected.Load(); n != 0 {
		t.Error("it is connected")
	}
}

func TestPeerClose(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	a.peer.Close()
	a.ended()
	if got := r.conf.Sources(); len(got) != 0 {
		t.Errorf("sources %v of one who has left", got)
	}
	r.isTold("one who has left", func(sources []meeting.VideoSource, _ []meeting.VideoCodec) bool { return len(sources) == 0 })
	hears(t, b, "a", false)
	b.stops(ssrc)
	// Everything after it is harmless.
	if _, err := a.peer.Negotiate(a.offer()); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("Negotiate after Close: %v", err)
	}
	a.peer.SetMuted(true)
	a.peer.SetMuted(false)
	a.peer.SetCapabilities(everything)
	a.peer.Pause([]uint32{1})
	a.peer.Resume([]uint32{1})
	a.peer.Switch("2", 1)
	a.peer.LastReceived()
	a.peer.Close()
	if n := len(a.events.closed); n != 0 {
		t.Errorf("MediaClosed came %d times after Close", n)
	}
	// The attendee may come again.
	again := r.join("a")
	again.talk(20, spoken("a"))
	hears(t, b, "a", true)
	if s := r.server.Stats(); s.Peers != 2 || s.Conferences != 1 || s.Panics != 0 {
		t.Errorf("%d peers, %d conferences, %d panics", s.Peers, s.Conferences, s.Panics)
	}
}

func TestConferenceClose(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	watches(t, b, a)
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	if _, err := r.server.OpenConference(meeting.ConferenceSpec{MeetingID: "m"}, r); meeting.CodeOf(err) != meeting.CodeConflict {
		t.Errorf("a second conference of one meeting: %v", err)
	}
	passed := r.server.Stats().Audio.Passed
	r.conf.Close()
	a.ended()
	b.ended()
	if _, err := r.conf.Join(meeting.PeerSpec{AttendeeID: "c"}, &events{}); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("Join after Close: %v", err)
	}
	r.conf.Close()
	a.peer.Close()
	if s := r.server.Stats(); s.Conferences != 0 || s.Peers != 0 || s.Audio.Passed < passed {
		t.Errorf("%d conferences and %d peers are open, %d packets passed after %d", s.Conferences, s.Peers, s.Audio.Passed, passed)
	}
	// The meeting can be opened anew.
	r.open(meeting.ConferenceSpec{MeetingID: "m", FirstID: 1000}, r)
	c := r.published("c")
	if id := c.answer.Allocations[0].StreamID; id < 1000 {
		t.Errorf("stream id %d", id)
	}
}

func TestServerClose(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{Listen: netip.AddrPortFrom(kit.Host(), 0).String()}) // whose port nobody else takes
	a, b := r.join("a"), r.join("b")
	unconnected := r.enter("c")
	unconnected.negotiate()
	stop := a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	a.ended()
	b.ended()
	stop()
	if _, err := r.server.OpenConference(meeting.ConferenceSpec{MeetingID: "n"}, r); meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("OpenConference after Close: %v", err)
	}
	if err := r.server.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	// The port is free.
	port, err := net.ListenPacket("udp4", r.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	if s, err := NewServer(Config{Listen: "127.0.0.1:notaport"}); err == nil {
		s.Close()
		t.Error("a server without a port")
	}
}

// Clients come and go while others talk and film.
func TestComingAndGoing(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	a.talk(20, spoken("a"))
	b := r.join("b")
	b.talk(15, spoken("b"))
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			for range 3 {
				c := r.enter("guest" + string(rune('0'+i)))
				c.version++
				got, err := c.peer.Negotiate(c.offer())
				if err != nil {
					t.Error(err)
					return
				}
				c.answer = parseAnswer(t, got)
				if err := c.tryConnect(); err != nil {
					t.Error(err)
					return
				}
				c.say(spoken("guest")(0), 10)
				c.peer.Close()
				c.leave()
			}
		})
	}
	all.Wait()
	ssrc, _ := b.track(watches(t, b, a))
	flows(t, a, b, ssrc)
	if s := r.server.Stats(); s.Peers != 2 || s.Panics != 0 {
		t.Errorf("%d peers, %d panics", s.Peers, s.Panics)
	}
	if open := r.server.Stats().Transport.ConnsOpen.Load(); open != 2 {
		t.Errorf("%d connections are open", open)
	}
}

// caller calls down from within every callback.
type caller struct {
	mu    sync.Mutex
	conf  meeting.Conference
	peer  meeting.Peer
	calls map[string]int
}

func (c *caller) called(what string) {
	c.mu.Lock()
	c.calls[what]++
	conf, peer := c.conf, c.peer
	c.mu.Unlock()
	if conf != nil {
		conf.Sources()
		conf.ReceiveCodecs()
	}
	if peer != nil {
		peer.SetMuted(false)
		peer.Pause(nil)
		peer.SetCapabilities(everything)
		peer.LastReceived()
	}
}

func (c *caller) SourcesChanged()                         { c.called("SourcesChanged") }
func (c *caller) Levels([]meeting.AudioLevel)             { c.called("Levels") }
func (c *caller) SignalStrength([]meeting.SignalStrength) { c.called("SignalStrength") }
func (c *caller) MediaConnected()                         { c.called("MediaConnected") }
func (c *caller) AudioArrived()                           { c.called("AudioArrived") }
func (c *caller) MediaClosed(string)                      { c.called("MediaClosed") }
func (c *caller) VideoPaused([]uint32, bool) {
	c.called("PictureTooLarge")
}

func (c *caller) PictureTooLarge(uint32, uint32, meeting.Resolution) {
	c.called("PictureTooLarge")
}

func TestCallbacksMayCallDown(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	c := &caller{calls: make(map[string]int)}
	r.open(meeting.ConferenceSpec{MeetingID: "n", FirstID: 1}, c)
	conf := r.conf
	a := r.enter("a")
	a.peer.Close() // the client speaks for the one that joins here
	peer, err := conf.Join(meeting.PeerSpec{AttendeeID: "a", Capabilities: everything}, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Close)
	c.mu.Lock()
	c.conf, c.peer = conf, peer
	c.mu.Unlock()
	a.peer = peer
	a.camera()
	if err := a.tryConnect(); err != nil {
		t.Fatal(err)
	}
	seen := func(what string) {
		t.Helper()
		eventually(t, what, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.calls[what] > 0
		})
	}
	seen("MediaConnected")
	a.talk(20, spoken("a"))
	a.film(true)
	seen("AudioArrived")
	seen("Levels")
	seen("SourcesChanged")
	for range 4 {
		a.feedback(&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: a.audio(), FractionLost: 200}}})
	}
	seen("SignalStrength")
	_ = a.dtls.Close()
	seen("MediaClosed")
}

func TestSignalStrength(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	share := r.share("b") // says nothing all the time, and is no attendee
	listener := r.enter("listener")
	listener.sections[0].direction = "recvonly" // has nothing to say
	listener.negotiate()
	listener.connect()
	a.talk(90, spoken("a"))
	stop := b.talk(90, spoken("b"))
	last := func(want ...meeting.SignalStrength) func() bool {
		return func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.weak) > 0 && slices.Equal(r.weak[len(r.weak)-1], want)
		}
	}
	// had is whether a report has had it: the next one may come before anybody looks,
	// and on a machine that stands still everybody is weak for a moment.
	had := func(want meeting.SignalStrength) func() bool {
		return func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.ContainsFunc(r.weak, func(report []meeting.SignalStrength) bool { return slices.Contains(report, want) })
		}
	}
	stop()
	eventually(t, "b to be weak", had(meeting.SignalStrength{AttendeeID: "b", Strength: strengthWeak}))
	eventually(t, "b alone to be gone", last(meeting.SignalStrength{AttendeeID: "b", Strength: strengthNone}))
	stop = b.talk(90, spoken("b"))
	eventually(t, "b to be back", last())
	for range 4 {
		a.feedback(&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: a.audio(), FractionLost: 200}}})
	}
	eventually(t, "a alone to be weak", last(meeting.SignalStrength{AttendeeID: "a", Strength: strengthWeak}))
	a.peer.Close()
	eventually(t, "nobody to be weak", last())
	stop()
	share.peer.Close()
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip(err)
	} else {
		c.Close()
	}
	for _, listen := range []string{"[::1]:0", "[::]:0"} {
		r := newRoom(t, Config{Listen: listen, Advertise: []netip.AddrPort{netip.MustParseAddrPort("[::1]:0")}})
		a, b := r.published("a"), r.join("b")
		watches(t, b, a)
		a.talk(20, spoken("a"))
		hears(t, b, "a", true)
	}
}
