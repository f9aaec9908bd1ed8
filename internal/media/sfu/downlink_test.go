package sfu

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// world is a meeting in virtual time: cameras, and one viewer behind a link with a
// rate, a queue, a delay and losses, which tells what came as a browser does. Audio
// goes over the same link.
type world struct {
	t    *testing.T
	r    *Router
	now  int64
	rng  *rand.Rand
	cams []*cam
	view *viewer
}

// cam is a camera, or a content share, that makes key frames when asked to and
// keeps to what it is told.
type cam struct {
	w        *world
	pub      *Publication
	layers   []*camLayer
	limit    int64 // by REMB
	keyTimes int64 // how much larger a key frame is than others; 0: 6
	up       *upway
	told     []uint64
}

type camLayer struct {
	e      *encoder
	bps    int64
	on     bool
	key    bool
	frames int
}

func (c *cam) SendRTP(_, _ []byte) { c.w.t.Fatal("RTP to a publisher") }
func (c *cam) SendRTCP(pkt []byte) {
	for p := (rtp.RTCP{Data: pkt}); p.Next(); {
		if p.IsPLI() {
			for _, l := range c.layers {
				l.key = l.key || l.e.ssrc == p.Media || c.up != nil
			}
		}
		if bps, ok := p.REMB(); ok {
			c.limit = int64(bps)
			c.told = append(c.told, bps)
		}
	}
}

type viewer struct {
	w      *world
	down   *Downlink
	shares []*Share
	paused map[uint32]bool
	pauses int
	narrow bool

	rate, limit, delay int64
	jitter             int64 // by which a packet is later, at most
	loss               float64
	free               int64
	flying             []arriving
	recorder           rtp.TWCCRecorder
	tellAt             int64
	feedback           []telling
	remb               int64 // > 0: it estimates by itself

	frames   map[uint32]int   // by SSRC
	lastSeen map[uint32]int64 // when a frame came
	longest  map[uint32]int64 // between frames, since it was cleared
	audio    int64            // when the last audio packet came
	silence  int64            // the longest between two
	late     int64            // the longest on the way
	numbers  map[uint16]bool  // transport-wide numbers sent, of the last 2^16
	next     int
	padding  int
	repairs  int // packets sent on RTX
}

type arriving struct {
	seq, sent, at int64
	ssrc          uint32
	timestamp     uint32
	marker        bool
}

type telling struct {
	at   int64
	body []byte
}

const viewerTransport = 6

func newWorld(t *testing.T) *world {
	return &world{t: t, r: New(Config{FirstID: 100, CNAME: "c", Epoch: 1_900_000_000 * second}), now: 1000 * second, rng: rand.New(rand.NewPCG(3, 4))}
}

// camera adds one whose layers have these bit rates, low to high.
func (w *world) camera(id string, bps ...int64) *cam {
	c := &cam{w: w, limit: 1 << 40}
	var layers []Layer
	for i, b := range bps {
		n := len(w.cams)
		e := &encoder{ssrc: uint32(10*(n+1) + i), size: [2]uint16{uint16(320 << i), uint16(180 << i)}}
		if len(bps) > 1 {
			e.rid = fmt.Sprint("r", i)
		}
		c.layers = append(c.layers, &camLayer{e: e, bps: b, on: true, key: true})
		layers = append(layers, Layer{RID: e.rid, MaxBitrateKbps: uint32(b / 1000), Framerate: 30})
	}
	c.pub = w.r.Publish(PublishConfig{AttendeeID: id, Up: c, Layers: layers, Codecs: upCodecs, Extensions: upExtensions,
		NACK: true, REMB: true, TransportCC: new(rtp.TWCCRecorder)})
	w.cams = append(w.cams, c)
	return c
}

// best is the id of the highest layer.
func (c *cam) best() uint32 { return c.layerID(len(c.layers) - 1) }

func (c *cam) layerID(i int) uint32 { return c.pub.StreamIDs()[i] }

func (c *cam) frame() {
	limit := c.limit
	if c.up != nil && c.up.deaf {
		limit = 1 << 40
	}
	var below int64
	for _, l := range c.layers {
		if !l.on || c.up != nil && l.bps+below > limit && below > 0 {
			continue
		}
		below += l.bps
		size := min(l.bps, limit) / 30 / 8
		if l.key {
			size *= cmp.Or(c.keyTimes, 6)
		}
		n := int(size/1100) + 1
		packets := l.e.frame(l.key, n, c.w.now)
		l.key = false
		l.frames++
		for _, p := range packets {
			p.Raw = append(p.Raw, make([]byte, int(size)/n)...)
			if err := p.Parse(p.Raw); err != nil {
				c.w.t.Fatal(err)
			}
			p.Arrival = c.w.now
		}
		if c.up != nil {
			c.up.send(packets, c.w.now)
			continue
		}
		c.pub.Push(packets, c.w.now)
	}
}

// watch makes the viewer, behind a link of so many bit/s.
func (w *world) watch(rate int64, streams ...uint32) *viewer {
	v := &viewer{w: w, rate: rate, limit: 800 * ms, delay: 20 * ms, paused: map[uint32]bool{},
		frames: map[uint32]int{}, lastSeen: map[uint32]int64{}, longest: map[uint32]int64{}, numbers: map[uint16]bool{}}
	v.down = w.r.NewDownlink(DownlinkConfig{OnNarrow: func(narrow bool) { v.narrow = narrow }, OnPause: func(groups []uint32, paused bool) {
		for _, g := range groups {
			if v.paused[g] == paused {
				w.t.Errorf("told twice that group %d is paused: %t", g, paused)
			}
			v.paused[g] = paused
		}
		if paused {
			v.pauses++
		}
	}})
	w.view = v
	for _, id := range streams {
		v.add(id)
	}
	return v
}

func (v *viewer) add(id uint32) *Share {
	ssrc := uint32(1000 + 2*len(v.shares))
	s := v.down.Subscribe(SubscribeConfig{Down: v, SSRC: ssrc, RTX: ssrc + 1, Codecs: downCodecs,
		Extensions: Extensions{AbsSendTime: 5, TransportCC: viewerTransport}, NACK: true, StreamID: id}, v.w.now)
	v.shares = append(v.shares, s)
	return s
}

func (v *viewer) SendRTCP([]byte) {}
func (v *viewer) SendRTP(header, payload []byte) {
	var p rtp.Packet
	raw := slices.Concat(header, payload)
	if err := p.Parse(raw); err != nil {
		v.w.t.Fatalf("sent a packet that cannot be read: %v", err)
	}
	seq, ok := p.TransportSequence(viewerTransport)
	if !ok || int(seq) != (v.next+1)&0xFFFF {
		v.w.t.Fatalf("transport-wide number %d after %d", seq, v.next)
	}
	v.next = int(seq)
	if p.SSRC%2 == 1 {
		if v.repairs++; p.PadLen > 0 {
			v.padding++
		}
	}
	v.carry(arriving{seq: int64(seq), ssrc: p.SSRC, timestamp: p.Timestamp, marker: p.Marker}, len(raw)+40)
}

func (v *viewer) carry(a arriving, size int) {
	now := v.w.now
	if v.w.rng.Float64() < v.loss {
		return
	}
	begin := max(v.free, now)
	end := begin + int64(size)*8*second/v.rate
	// A queue with room for so many bytes, as of routers and of the links of test/networks,
	// has none for a large packet while it has for one of sound. Where the packets are
	// counted that wait, sound would lose more.
	if end-now > v.limit {
		return
	}
	v.free = end
	a.sent, a.at = now, v.free+v.delay
	i := len(v.flying)
	if v.jitter > 0 {
		a.at += v.w.rng.Int64N(v.jitter)
		i, _ = slices.BinarySearchFunc(v.flying, a.at+1, func(f arriving, at int64) int { return cmp.Compare(f.at, at) })
	}
	v.flying = slices.Insert(v.flying, i, a)
}

func (v *viewer) step() {
	now := v.w.now
	for len(v.flying) > 0 && v.flying[0].at <= now {
		a := v.flying[0]
		v.flying = v.flying[1:]
		if a.ssrc == 0 {
			if v.audio != 0 {
				v.silence = max(v.silence, now-v.audio)
			}
			v.audio, v.late = now, max(v.late, a.at-a.sent)
			continue
		}
		v.recorder.Record(uint16(a.seq), a.at)
		if a.marker && a.ssrc%2 == 0 {
			v.frames[a.ssrc]++
			if last := v.lastSeen[a.ssrc]; last != 0 {
				v.longest[a.ssrc] = max(v.longest[a.ssrc], now-last)
			}
			v.lastSeen[a.ssrc] = now
		}
	}
	if now >= v.tellAt {
		v.tellAt = now + 100*ms
		if v.remb > 0 {
			b := rtp.AppendREMB(nil, 9, uint64(v.remb), 1000)
			v.feedback = append(v.feedback, telling{now + v.delay, b})
		}
		for v.remb == 0 && v.recorder.Pending() > 0 {
			b := v.recorder.AppendFeedback(nil, 9, 1000)
			if len(b) == 0 {
				break
			}
			v.feedback = append(v.feedback, telling{now + v.delay, b})
		}
	}
	for len(v.feedback) > 0 && v.feedback[0].at <= now {
		if err := v.w.r.HandleRTCP(v.feedback[0].body, peer{down: v.down}, now); err != nil {
			v.w.t.Fatal(err)
		}
		v.feedback = v.feedback[1:]
	}
}

func (w *world) run(d int64) {
	for end := w.now + d; w.now < end; w.now += ms {
		step := w.now / ms
		for i, c := range w.cams {
			if step%33 == int64(i*7%33) {
				c.frame()
			}
			if c.up != nil {
				if step%20 == 5 {
					c.up.say(w.t, w.now)
				}
				c.up.deliver(c, w.now)
			}
		}
		if step%20 == 0 {
			if w.view != nil {
				w.view.carry(arriving{}, 140)
			}
			w.r.Tick(w.now)
		}
		if w.view != nil {
			w.view.step()
		}
	}
}

// flows is the index of the layer of c that reaches section i, −1 for none.
func (v *viewer) flows(i int, c *cam) int {
	return slices.Index(c.pub.StreamIDs(), v.shares[i].sub.Flowing())
}

// wait passes time until ok, and returns how much.
func (w *world) wait(what string, most int64, ok func() bool) int64 {
	w.t.Helper()
	begun := w.now
	for !ok() {
		if w.now-begun > most {
			w.t.Fatalf("%d ms passed without %s; the estimate is %d", most/ms, what, w.view.down.Estimate())
		}
		w.run(10 * ms)
	}
	return w.now - begun
}

func (v *viewer) clear() {
	clear(v.longest)
	v.silence, v.late = 0, 0
}

func TestDownlinkNarrowsAndWidens(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 150_000, 600_000)
	v := w.watch(1_000_000, c.best())
	w.wait("the best layer", 2*second, func() bool { return v.flows(0, c) == 1 })
	w.run(10 * second)
	if v.flows(0, c) != 1 {
		t.Fatalf("layer %d at 1 Mbit/s", v.flows(0, c))
	}
	v.clear()
	v.rate = 300_000
	took := w.wait("a lower layer", 2*second, func() bool { return v.flows(0, c) == 0 })
	t.Logf("lower after %d ms", took/ms)
	w.run(5 * second)
	// The queue takes 0.8 s of what is sent too much; it must not fill.
	if v.late > 750*ms || v.silence > 250*ms {
		t.Errorf("audio was up to %d ms late, and silent for %d ms", v.late/ms, v.silence/ms)
	}
	if v.longest[1000] > second {
		t.Errorf("the picture froze for %d ms", v.longest[1000]/ms)
	}
	if !v.narrow || !v.down.Narrow() {
		t.Error("nobody was told that the way is narrow")
	}
	before := w.r.Stats()
	v.clear()
	w.run(30 * second)
	if s := w.r.Stats(); s.Raised != before.Raised || s.Lowered != before.Lowered {
		t.Errorf("on the narrow link the layer went up %d and down %d times", s.Raised-before.Raised, s.Lowered-before.Lowered)
	}
	if v.late > 350*ms || v.longest[1000] > 500*ms {
		t.Errorf("audio up to %d ms late, picture still for %d ms", v.late/ms, v.longest[1000]/ms)
	}
	v.rate = 1_000_000
	took = w.wait("the best layer again", 10*second, func() bool { return v.flows(0, c) == 1 })
	t.Logf("back after %d ms", took/ms)
	before = w.r.Stats()
	w.run(30 * second)
	if s := w.r.Stats(); s.Raised != before.Raised || s.Lowered != before.Lowered {
		t.Errorf("then it went up %d and down %d times", s.Raised-before.Raised, s.Lowered-before.Lowered)
	}
	if v.padding == 0 {
		t.Error("nothing was probed for")
	}
	if v.narrow {
		t.Error("nobody was told that the way is wide again")
	}
}

// A stream of one quality, watched by one: its sender comes down to what fits.
func TestOneQualityComesDown(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 900_000)
	v := w.watch(2_000_000, c.best())
	w.run(10 * second)
	if len(c.told) != 0 {
		t.Fatalf("told %v although all is well", c.told)
	}
	v.rate = 300_000
	w.wait("a limit below the link's", 2*second, func() bool { return c.limit < 300_000 })
	w.run(5 * second)
	v.clear()
	w.run(20 * second)
	if v.longest[1000] > 300*ms || v.late > 500*ms {
		t.Errorf("picture still for %d ms, audio up to %d ms late", v.longest[1000]/ms, v.late/ms)
	}
	v.rate = 2_000_000
	w.wait("no limit", 10*second, func() bool { return c.limit > 900_000 })
	w.run(5 * second)
	if v.pauses != 0 {
		t.Error("it was paused")
	}
}

// With another viewer who can take it all, the sender stays, and the narrow one
// gets nothing rather than a broken stream; later it gets it back.
func TestOneQualityThatCannotComeDownIsPaused(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 900_000)
	c2 := w.camera("b", 80_000, 400_000)
	v := w.watch(3_000_000, c.best(), c2.best())
	w.r.Subscribe(SubscribeConfig{Down: &wire{t: t}, SSRC: 5, Codecs: downCodecs, StreamID: c.best()}, w.now)
	w.run(5 * second)
	v.rate = 400_000
	w.wait("a pause", 6*second, func() bool { return v.paused[c.pub.GroupID()] })
	w.run(5 * second)
	v.clear()
	w.run(20 * second)
	if len(c.told) != 0 {
		t.Errorf("the sender was told %v for one of two viewers", c.told)
	}
	if v.flows(1, c2) < 0 || v.longest[1002] > 500*ms || v.late > 400*ms {
		t.Errorf("the other: layer %d, still for %d ms; audio %d ms late", v.flows(1, c2), v.longest[1002]/ms, v.late/ms)
	}
	if v.pauses > 2 {
		t.Errorf("paused %d times", v.pauses)
	}
	v.rate = 3_000_000
	w.wait("its picture", 12*second, func() bool { return v.flows(0, c) == 0 && !v.paused[c.pub.GroupID()] })
	w.wait("the best of the other", 10*second, func() bool { return v.flows(1, c2) == 1 })
}

func TestWhoGetsWhat(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  int64
		setup func(w *world, v *viewer)
		want  []int // the layers of a, b, c and the content share
	}{
		{"all of everything", 20_000_000, func(*world, *viewer) {}, []int{1, 1, 1, 1}},
		{"content share first", 1_400_000, func(*world, *viewer) {}, []int{0, 0, 0, 1}},
		{"then who speaks", 1_900_000, func(w *world, _ *viewer) {
			for range 20 {
				w.r.Speaking([]meeting.AudioLevel{{AttendeeID: "b", Volume: 20}})
			}
		}, []int{0, 1, 0, 1}},
		{"the client's priority before all", 1_100_000, func(_ *world, v *viewer) {
			v.shares[2].Prefer(meeting.VideoPreference{Priority: 9})
			for _, i := range []int{0, 1, 3} {
				v.shares[i].Prefer(meeting.VideoPreference{Priority: 8})
			}
		}, []int{0, 0, 1, 0}},
		{"no larger than on the screen", 20_000_000, func(_ *world, v *viewer) {
			v.shares[0].Prefer(meeting.VideoPreference{Priority: 8, TargetBitrateKbps: 300})
		}, []int{0, 1, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			cams := []*cam{w.camera("a", 100_000, 500_000), w.camera("b", 100_000, 500_000), w.camera("c", 100_000, 500_000), w.camera("a#content", 150_000, 700_000)}
			v := w.watch(tt.rate)
			for _, c := range cams {
				v.add(c.best())
			}
			tt.setup(w, v)
			w.run(40 * second)
			got := make([]int, len(cams))
			same := 0
			for range 200 {
				w.run(100 * ms)
				for i, c := range cams {
					got[i] = v.flows(i, c)
				}
				if slices.Equal(got, tt.want) {
					same++
				}
			}
			if same < 180 {
				t.Errorf("layers %v, wanted %v, which held %d of 200 times; estimate %d, %+v", got, tt.want, same, v.down.Estimate(), w.r.Bandwidth())
			}
		})
	}
}

func TestLossAloneChangesNothing(t *testing.T) {
	for _, loss := range []float64{0.02, 0.05, 0.10} {
		w := newWorld(t)
		c := w.camera("a", 150_000, 600_000)
		v := w.watch(5_000_000, c.best())
		v.loss = loss
		w.run(15 * second)
		before := w.r.Stats()
		best := 0
		for range 600 {
			w.run(100 * ms)
			if v.flows(0, c) == 1 {
				best++
			}
		}
		if best < 540 {
			t.Errorf("with %.0f %% loss the best layer flowed %d of 600 times", 100*loss, best)
		}
		if s := w.r.Stats(); s.Lowered-before.Lowered > 2 {
			t.Errorf("with %.0f %% loss it went down %d times", 100*loss, s.Lowered-before.Lowered)
		}
	}
}

// Jitter is no reason to take the redundancy of sound away, least of all where much is lost.
func TestSoundKeepsItsRedundancyWhereMuchIsLost(t *testing.T) {
	for _, loss := range []float64{0, 0.1, 0.2} {
		w := newWorld(t)
		c := w.camera("a", 150_000, 600_000)
		v := w.watch(20_000_000, c.best())
		w.run(5 * second)
		v.loss, v.jitter = loss, 80*ms
		narrow := 0
		for range 6000 {
			if w.run(20 * ms); v.narrow {
				narrow++
			}
		}
		if narrow > 0 {
			t.Errorf("at %.0f %% loss the way was called narrow for %d ms of 120 s", 100*loss, 20*narrow)
		}
	}
}

// A client that makes its own estimate and tells that alone.
func TestOwnEstimateOfTheClient(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 150_000, 600_000)
	v := w.watch(5_000_000, c.best())
	v.remb = 900_000
	w.run(10 * second)
	if v.flows(0, c) != 1 {
		t.Fatal("not the best layer")
	}
	v.remb = 280_000
	w.wait("a lower layer", 2*second, func() bool { return v.flows(0, c) == 0 })
	w.run(2 * second)
	v.remb = 300_000 // which rises slowly, and not above what comes
	w.wait("the best layer, to try", 20*second, func() bool { return v.flows(0, c) == 1 })
	if v.padding != 0 {
		t.Error("probed with padding, which nobody tells of")
	}
}

// A client that decides for itself is left alone.
func TestTheClientDecides(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 150_000, 600_000)
	v := w.watch(1_000_000, c.best())
	v.down.Follow(true)
	w.run(5 * second)
	v.rate = 300_000
	w.run(10 * second)
	if v.flows(0, c) != 1 {
		t.Errorf("layer %d flows, not what was asked for", v.flows(0, c))
	}
	if e := v.down.Estimate(); e > 400_000 {
		t.Errorf("the estimate is %d", e)
	}
	v.shares[0].Want(c.layerID(0), w.now)
	w.wait("the layer asked for", 2*second, func() bool { return v.flows(0, c) == 0 })
	v.rate = 2_000_000
	w.wait("an estimate that would allow the best", 12*second, func() bool { return v.down.Estimate() > 700_000 })
}

func TestALayerThatStopsHasAStandIn(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 150_000, 600_000)
	v := w.watch(5_000_000, c.best())
	w.run(5 * second)
	c.layers[1].on = false
	w.wait("the lower layer", 500*millisecond, func() bool { return v.flows(0, c) == 0 })
	w.run(5 * second)
	c.layers[1].on = true
	w.wait("the higher one again", 5*second, func() bool { return v.flows(0, c) == 1 })
}

// A client that leaves the layers to us asks for a sender once, by what there is then.
func TestABetterLayerThatComesLater(t *testing.T) {
	for _, tells := range []bool{true, false} {
		w := newWorld(t)
		c := w.camera("a", 150_000, 600_000)
		c.layers[1].on = false
		v := w.watch(5_000_000)
		v.down.cfg.Whole = true
		if !tells {
			v.tellAt = 1 << 62
		}
		v.add(c.layerID(0))
		w.run(3 * second)
		if v.flows(0, c) != 0 {
			t.Fatal("the only layer does not flow")
		}
		c.layers[1].on = true
		w.wait("the better layer", 5*second, func() bool { return v.flows(0, c) == 1 })
		v.shares[0].Want(c.layerID(0), w.now)
		v.shares[0].Want(c.layerID(1), w.now)
		w.run(second)
		if v.flows(0, c) != 1 {
			t.Error("naming another stream of the same sender changed what flows")
		}
	}
}

func TestADownlinkThatEnds(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 900_000)
	v := w.watch(200_000, c.best())
	w.r.Subscribe(SubscribeConfig{Down: &wire{t: t}, SSRC: 5, Codecs: downCodecs, StreamID: c.best()}, w.now)
	w.wait("a pause", 10*second, func() bool { return v.paused[c.pub.GroupID()] })
	if got := v.down.PausedStreams(nil); !slices.Equal(got, []uint32{c.best()}) {
		t.Errorf("paused streams %v", got)
	}
	v.shares[0].Close()
	if v.paused[c.pub.GroupID()] {
		t.Error("what is not received any more still counts as paused")
	}
	v.down.Close()
	v.down.Close()
	w.view = nil
	w.run(second)
	if n := len(w.r.downs); n != 0 {
		t.Errorf("%d downlinks are left", n)
	}
	if w.r.Bandwidth().Feedbacks == 0 {
		t.Error("its counts are gone")
	}
}
