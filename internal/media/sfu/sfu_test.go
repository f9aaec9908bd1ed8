package sfu

import (
	"encoding/binary"
	"testing"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
	"github.com/google/go-cmp/cmp"
	pionrtcp "github.com/pion/rtcp"
	"pgregory.net/rapid"
)

const ms = millisecond

// The payload types and extension ids of publishers and subscribers differ, so
// that a mix-up shows.
var (
	upCodecs = []Codec{
		{Codec: meeting.CodecVP8, PayloadType: 96, RTX: 97},
		{Codec: meeting.CodecH264CBP, PayloadType: 102, RTX: 103, PacketizationMode: 1},
		{Codec: meeting.CodecVP9, PayloadType: 98, RTX: 99},
		{Codec: meeting.CodecAV1, PayloadType: 45, RTX: 46},
	}
	downCodecs = []Codec{
		{Codec: meeting.CodecVP8, PayloadType: 120, RTX: 121},
		{Codec: meeting.CodecH264CBP, PayloadType: 122, RTX: 123, PacketizationMode: 1},
		{Codec: meeting.CodecVP9, PayloadType: 124, RTX: 125},
		{Codec: meeting.CodecAV1, PayloadType: 126, RTX: 127},
	}
	upExtensions   = Extensions{MID: 1, RID: 2, RepairedRID: 3, TransportCC: 4}
	downExtensions = Extensions{AbsSendTime: 5}
)

// wire is a Sender that keeps what was sent.
type wire struct {
	rtp  []*rtp.Packet
	rtcp []pionrtcp.Packet
	t    testing.TB
}

func (w *wire) SendRTP(header, payload []byte) {
	raw := append(append([]byte(nil), header...), payload...)
	p := new(rtp.Packet)
	if err := p.Parse(raw); err != nil {
		w.t.Fatalf("sent a packet that cannot be read: %v", err)
	}
	w.rtp = append(w.rtp, p)
}

func (w *wire) SendRTCP(pkt []byte) {
	got, err := pionrtcp.Unmarshal(pkt)
	if err != nil {
		w.t.Fatalf("sent RTCP that cannot be read: %v", err)
	}
	w.rtcp = append(w.rtcp, got...)
}

// take returns the media sent on ssrc since the last call, and forgets the rest.
func (w *wire) take(ssrc uint32) (out []*rtp.Packet) {
	for _, p := range w.rtp {
		if p.SSRC == ssrc {
			out = append(out, p)
		}
	}
	w.rtp = nil
	return out
}

// plis counts the key frame requests sent to ssrc since the last call.
func (w *wire) plis(ssrc uint32) (n int) {
	for _, p := range w.rtcp {
		if pli, ok := p.(*pionrtcp.PictureLossIndication); ok && pli.MediaSSRC == ssrc {
			n++
		}
	}
	w.rtcp = nil
	return n
}

// encoder makes the packets of one VP8 or H.264 layer as a browser does.
type encoder struct {
	ssrc    uint32
	rid     string
	h264    bool
	seq     uint16
	ts      uint32
	picture uint16
	tl0     uint8
	size    [2]uint16 // of key frames; 640×360 when zero
}

// frame returns a frame of n packets and moves on to the next at 30 fps.
func (e *encoder) frame(key bool, n int, now int64) []*rtp.Packet {
	var out []*rtp.Packet
	for i := range n {
		out = append(out, e.packet(key, i == 0, i == n-1, now))
	}
	e.ts += 3000
	e.picture = (e.picture + 1) & 0x7FFF
	e.tl0++
	return out
}

func (e *encoder) packet(key, first, last bool, now int64) *rtp.Packet {
	buf := make([]byte, rtp.MaxHeader)
	var w rtp.HeaderWriter
	pt := uint8(96)
	if e.h264 {
		pt = 102
	}
	w.Begin(buf, pt, last, e.seq, e.ts, e.ssrc)
	w.String(upExtensions.RID, e.rid)
	w.TransportSequence(upExtensions.TransportCC, e.seq)
	if e.h264 {
		payload := []byte{0x41, 0x9A, 0, 0} // a slice
		switch {
		case key && first: // STAP-A of SPS and PPS
			payload = []byte{0x78, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 0, 4, 0x68, 0xCE, 0, 0}
		case key: // FU-A of an IDR slice
			payload = []byte{0x7C, 0x05, 0x88, 0, 0}
		}
		binary.BigEndian.PutUint16(payload[len(payload)-2:], e.seq)
		e.seq++
		return parsed(append(w.Bytes(), payload...), now)
	}
	payload := []byte{0x80, 0xE0, 0x80 | byte(e.picture>>8), byte(e.picture), e.tl0, 0, 1, 0, 0, 0x9D, 1, 0x2A, 0x80, 2, 0x68, 1, 0, 0}
	if first {
		payload[0] |= 0x10
		if key {
			payload[6] = 0
		}
	}
	if e.size != [2]uint16{} {
		binary.LittleEndian.PutUint16(payload[12:], e.size[0])
		binary.LittleEndian.PutUint16(payload[14:], e.size[1])
	}
	binary.BigEndian.PutUint16(payload[len(payload)-2:], e.seq) // tells packets apart
	e.seq++
	return parsed(append(w.Bytes(), payload...), now)
}

func parsed(raw []byte, now int64) *rtp.Packet {
	p := &rtp.Packet{Arrival: now}
	if err := p.Parse(raw); err != nil {
		panic(err)
	}
	return p
}

// asRTX wraps a packet as the browser's retransmission of it.
func asRTX(p *rtp.Packet, ssrc uint32, seq uint16, rrid string) *rtp.Packet {
	buf := make([]byte, rtp.MaxHeader)
	var w rtp.HeaderWriter
	w.Begin(buf, p.PayloadType+1, p.Marker, seq, p.Timestamp, ssrc)
	w.String(upExtensions.RepairedRID, rrid)
	raw := append(w.Bytes(), byte(p.Seq>>8), byte(p.Seq))
	return parsed(append(raw, p.Payload()...), p.Arrival)
}

// room is a Router with one camera and its wire.
type room struct {
	*Router
	t       testing.TB
	now     int64
	changes int
	up      *wire
	pub     *Publication
}

func newRoom(t testing.TB, layers ...Layer) *room {
	r := &room{t: t, now: 10 * second, up: &wire{t: t}}
	r.Router = New(Config{FirstID: 100, OnChange: func() { r.changes++ }, CNAME: "video", Epoch: 1_900_000_000 * second})
	if len(layers) > 0 {
		r.pub = r.publish("anna", layers...)
	}
	return r
}

func (r *room) publish(attendee string, layers ...Layer) *Publication {
	return r.Publish(PublishConfig{AttendeeID: attendee, Up: r.up, Layers: layers, Codecs: upCodecs,
		Extensions: upExtensions, NACK: true, TransportCC: new(rtp.TWCCRecorder)})
}

func (r *room) subscribe(ssrc, stream uint32) (*Subscription, *wire) {
	w := &wire{t: r.t}
	return r.Subscribe(SubscribeConfig{MID: "5", Down: w, SSRC: ssrc, RTX: ssrc + 1, Codecs: downCodecs,
		Extensions: downExtensions, NACK: true, StreamID: stream}, r.now), w
}

func (r *room) push(pub *Publication, run ...*rtp.Packet) { pub.Push(run, r.now) }

// wait lets time pass in ticks.
func (r *room) wait(d int64) {
	for end := r.now + d; r.now < end; {
		r.now += 20 * ms
		r.Tick(r.now)
	}
}

var single = Layer{Label: "cam", MaxBitrateKbps: 1400, Framerate: 15, SSRC: 11, RTX: 12}

func twoLayers() []Layer {
	return []Layer{{RID: "low", MaxBitrateKbps: 300}, {RID: "hi", MaxBitrateKbps: 1200}}
}

func vp8(t rapid.TB, p *rtp.Packet) (h rtp.VideoHeader) {
	t.Helper()
	if !rtp.ParseVP8(p.Payload(), &h) {
		t.Fatalf("packet %d is not VP8: %x", p.Seq, p.Payload())
	}
	return h
}

func TestFlowBeginsWithAKeyFrame(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, r.pub.StreamIDs()[0])
	if n := r.up.plis(11); n != 1 {
		t.Fatalf("%d PLIs at subscribe, want 1", n)
	}
	e := &encoder{ssrc: 11, seq: 65530, ts: 5, picture: 0x7FFE, tl0: 250}
	r.push(r.pub, e.frame(false, 3, r.now)...)
	if len(w.rtp) != 0 || sub.Flowing() != 0 {
		t.Fatal("something flowed before a key frame")
	}
	// Two packets of the key frame in one read, the rest later.
	key := e.frame(true, 3, r.now)
	r.push(r.pub, key[:2]...)
	r.push(r.pub, key[2])
	for range 8 {
		r.push(r.pub, e.frame(false, 2, r.now)...)
	}
	got := w.take(1000)
	if len(got) != 3+16 {
		t.Fatalf("%d packets came, want 19", len(got))
	}
	if sub.Flowing() != r.pub.StreamIDs()[0] {
		t.Error("Flowing does not say so")
	}
	first := vp8(t, got[0])
	if !first.KeyFrame || first.Width != 640 {
		t.Errorf("begins with %+v", first)
	}
	for i, p := range got {
		if p.PayloadType != 120 {
			t.Fatalf("payload type %d", p.PayloadType)
		}
		if p.Seq != got[0].Seq+uint16(i) {
			t.Fatalf("packet %d has number %d after %d", i, p.Seq, got[0].Seq)
		}
		if v, ok := p.AbsSendTime(5); !ok || v != rtp.AbsSendTime(r.now) {
			t.Fatalf("abs-send-time %d %v", v, ok)
		}
		if p.Extension(2) != nil || p.Extension(4) != nil {
			t.Fatal("the publisher's extensions leaked")
		}
	}
	src := r.Sources()
	want := []meeting.VideoSource{{AttendeeID: "anna", GroupID: 100, StreamID: 101, Label: "cam", Framerate: 15, MaxBitrateKbps: 1400,
		AvgBitrateBps: src[0].AvgBitrateBps, Width: 640, Height: 360}}
	if d := cmp.Diff(want, src); d != "" {
		t.Errorf("sources (-want +got):\n%s", d)
	}
}

func TestLossStaysAGap(t *testing.T) {
	r := newRoom(t, single)
	_, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	run := e.frame(false, 5, r.now)
	r.push(r.pub, run[0], run[1], run[4])
	r.push(r.pub, run[3]) // reordered
	got := w.take(1000)
	base := got[0].Seq
	var seqs []uint16
	for _, p := range got {
		seqs = append(seqs, p.Seq-base)
	}
	if d := cmp.Diff([]uint16{0, 1, 2, 5, 4}, seqs); d != "" {
		t.Errorf("numbers (-want +got):\n%s", d)
	}
	r.push(r.pub, run[3], run[4]) // duplicates
	if n := len(w.take(1000)); n != 0 {
		t.Errorf("%d duplicates were forwarded", n)
	}
	if r.Stats().Duplicate != 2 {
		t.Errorf("%d duplicates counted", r.Stats().Duplicate)
	}
}

// peer has one publication and one subscription, of any SSRC.
type peer struct {
	pub  *Publication
	sub  *Subscription
	down *Downlink
}

func (p peer) PublicationBySSRC(uint32) *Publication { return p.pub }
func (p peer) Downlink() *Downlink                   { return p.down }
func (p peer) SubscriptionBySSRC(ssrc uint32) *Subscription {
	if p.sub != nil && p.sub.SSRC() == ssrc {
		return p.sub
	}
	return nil
}

func TestKeyFrameRequestsAreGathered(t *testing.T) {
	r := newRoom(t, single)
	var subs []*Subscription
	for i := range 50 {
		s, _ := r.subscribe(uint32(1000+2*i), 101)
		subs = append(subs, s)
	}
	if n := r.up.plis(11); n != 1 {
		t.Fatalf("%d PLIs for 50 newcomers, want 1", n)
	}
	r.wait(5 * second)
	n := r.up.plis(11)
	if n < 4 || n > 17 {
		t.Errorf("%d PLIs in 5 s without a key frame", n)
	}
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	r.wait(5 * second)
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d PLIs after the key frame came", n)
	}
	// Everyone loses it, by PLI or FIR, at the same time and again.
	for i, s := range subs {
		pkt := rtp.AppendPLI(nil, 1, s.SSRC())
		if i%2 == 0 {
			pkt = rtp.AppendFIR(nil, 1, s.SSRC(), 1)
		}
		for range 3 {
			if err := r.HandleRTCP(pkt, peer{sub: s}, r.now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d PLIs at once, want 1", n)
	}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	// A late wish just after: the trailing request.
	late, _ := r.subscribe(9000, 101)
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d PLIs right after another", n)
	}
	r.wait(400 * ms)
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d trailing PLIs, want 1", n)
	}
	late.Close()
	r.wait(2 * second)
	r.push(r.pub, e.frame(true, 1, r.now)...)
	r.up.rtcp = nil
	// One receiver cannot make everybody's stream a row of key frames.
	total := 0
	for range 50 {
		subs[0].HandleKeyFrameRequest(r.now)
		r.wait(200 * ms)
		total += r.up.plis(11)
		r.push(r.pub, e.frame(true, 1, r.now)...)
	}
	if total > 10 {
		t.Errorf("one receiver got %d key frames in 10 s", total)
	}
}

func TestNoRequestsWhileNobodyWatches(t *testing.T) {
	r := newRoom(t, single)
	s, _ := r.subscribe(1000, 101)
	s.Pause()
	r.up.rtcp = nil
	r.wait(2 * second)
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d PLIs while paused", n)
	}
	s.Resume(r.now)
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d PLIs at resume", n)
	}
	s.Close()
	s.Close()
	r.wait(2 * second)
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d PLIs after close", n)
	}
	r.push(r.pub, (&encoder{ssrc: 11}).frame(true, 1, r.now)...)
	if r.Stats().PacketsOut != 0 {
		t.Error("a closed subscription got a packet")
	}
}

func TestPublisherChangesSSRC(t *testing.T) {
	r := newRoom(t, single)
	_, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, seq: 100, ts: 1000, picture: 7}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	r.now += 33 * ms
	r.push(r.pub, e.frame(false, 2, r.now)...)
	r.now += 66 * ms
	e2 := &encoder{ssrc: 13, seq: 60000, ts: 1 << 31, picture: 9000}
	r.push(r.pub, e2.frame(false, 2, r.now)...)
	if n := r.up.plis(13); n == 0 {
		t.Error("no key frame asked of the new SSRC")
	}
	r.push(r.pub, e2.frame(true, 2, r.now)...)
	got := w.take(1000)
	if len(got) != 6 {
		t.Fatalf("%d packets", len(got))
	}
	for i := 1; i < len(got); i++ {
		if got[i].Seq != got[i-1].Seq+1 {
			t.Errorf("number %d after %d", got[i].Seq, got[i-1].Seq)
		}
	}
	if d := rtp.TimestampDiff(got[4].Timestamp, got[2].Timestamp); d != 66*90 {
		t.Errorf("timestamp moved by %d, want %d", d, 66*90)
	}
	if d := vp8(t, got[4]).PictureID - vp8(t, got[2]).PictureID; d != 1 {
		t.Errorf("picture id moved by %d", d)
	}
}

func TestPacketsOfTheSSRCBefore(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	old, e := &encoder{ssrc: 11}, &encoder{ssrc: 13, seq: 500}
	r.push(r.pub, old.frame(true, 1, r.now)...)
	r.push(r.pub, e.frame(true, 1, r.now)...)
	r.push(r.pub, old.frame(false, 1, r.now)...) // was longer on its way
	r.push(r.pub, e.frame(false, 1, r.now)...)
	if got := w.take(1000); len(got) != 3 || sub.Flowing() != 101 {
		t.Errorf("%d packets, want 3: a packet of the SSRC before broke the stream", len(got))
	}
	// An offer that still names the old one changes nothing; one that names
	// another does.
	cfg := r.pub.cfg
	r.pub.Update(cfg, r.now)
	r.push(r.pub, e.frame(false, 1, r.now)...)
	if got := w.take(1000); len(got) != 1 {
		t.Errorf("%d packets after an offer that says the same, want 1", len(got))
	}
	cfg.Layers = []Layer{{Label: "cam", MaxBitrateKbps: 1400, SSRC: 15}}
	r.pub.Update(cfg, r.now)
	if n := r.up.plis(15); n != 1 {
		t.Errorf("%d PLIs to the SSRC of the new offer, want 1", n)
	}
	// In the end whatever comes is believed.
	r.wait(3 * second)
	r.push(r.pub, e.frame(true, 1, r.now)...)
	if got := w.take(1000); len(got) != 1 {
		t.Errorf("%d packets of the SSRC that the sender kept, want 1", len(got))
	}
}

func TestPauseLeavesNoGap(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	sub.Pause()
	for range 30 {
		r.now += 33 * ms
		r.push(r.pub, e.frame(false, 2, r.now)...)
	}
	sub.Resume(r.now)
	r.push(r.pub, e.frame(false, 2, r.now)...)
	r.push(r.pub, e.frame(true, 2, r.now)...)
	got := w.take(1000)
	if len(got) != 4 || got[2].Seq != got[1].Seq+1 {
		t.Fatalf("%d packets", len(got))
	}
	if d := rtp.TimestampDiff(got[2].Timestamp, got[1].Timestamp); d != 32*3000 {
		t.Errorf("timestamp moved by %d, want %d", d, 32*3000)
	}
	if d := vp8(t, got[2]).PictureID - vp8(t, got[1]).PictureID; d != 1 {
		t.Errorf("picture id moved by %d", d)
	}
}

func TestIDsAreNeverReused(t *testing.T) {
	r := newRoom(t)
	seen := map[uint32]bool{}
	group := uint32(0)
	for range 50 {
		p := r.publish("anna", twoLayers()...)
		if p.GroupID() <= group {
			t.Fatalf("group %d after %d", p.GroupID(), group)
		}
		group = p.GroupID()
		for _, id := range append(p.StreamIDs(), p.GroupID()) {
			if seen[id] || id < 100 {
				t.Fatalf("id %d was used before", id)
			}
			seen[id] = true
			if id >= r.NextID() {
				t.Fatalf("NextID %d is behind %d", r.NextID(), id)
			}
		}
		p.Close()
	}
}

func TestCameraOffAndOn(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	if r.changes != 1 || len(r.Sources()) != 1 {
		t.Fatalf("%d changes, %d sources", r.changes, len(r.Sources()))
	}
	r.pub.Close()
	r.pub.Close()
	if r.changes != 2 || len(r.Sources()) != 0 || sub.StreamID() != 0 || sub.Flowing() != 0 {
		t.Errorf("after close: %d changes, %d sources, stream %d", r.changes, len(r.Sources()), sub.StreamID())
	}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	again := r.publish("anna", single)
	r.push(again, e.frame(true, 1, r.now)...)
	if len(r.Sources()) != 1 || r.Sources()[0].GroupID <= 100 {
		t.Errorf("sources %v", r.Sources())
	}
	if sub.Switch(101, r.now) {
		t.Error("switched to a stream that has ended")
	}
	if !sub.Switch(again.StreamIDs()[0], r.now) {
		t.Error("not switched")
	}
	r.push(again, e.frame(true, 1, r.now)...)
	if got := w.take(1000); len(got) != 2 || got[1].Seq != got[0].Seq+1 {
		t.Errorf("%d packets over both publications", len(got))
	}
}

func TestUpdate(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	lo, hi := &encoder{ssrc: 20, rid: "low"}, &encoder{ssrc: 21, rid: "hi"}
	r.push(r.pub, lo.frame(true, 1, r.now)...)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	ids := r.pub.StreamIDs()
	cfg := r.pub.cfg
	cfg.Layers = []Layer{{RID: "low", MaxBitrateKbps: 300}, {RID: "hi", MaxBitrateKbps: 0}}
	changes := r.changes
	if !r.pub.Update(cfg, r.now) {
		t.Fatal("refused")
	}
	if d := cmp.Diff(ids, r.pub.StreamIDs()); d != "" {
		t.Errorf("ids changed:\n%s", d)
	}
	if s := r.Sources(); len(s) != 1 || s[0].StreamID != ids[0] || r.changes != changes+1 {
		t.Errorf("%v after the high layer was switched off, %d changes", s, r.changes-changes)
	}
	cfg.Layers = []Layer{{RID: "low", MaxBitrateKbps: 500}, {RID: "hi", MaxBitrateKbps: 1200}}
	r.pub.Update(cfg, r.now)
	if s := r.Sources(); len(s) != 1 || s[0].MaxBitrateKbps != 500 {
		t.Errorf("%v: the high layer is a source before its first packet", s)
	}
	r.push(r.pub, hi.frame(false, 1, r.now)...)
	if s := r.Sources(); len(s) != 2 {
		t.Errorf("%v", s)
	}
	cfg.Layers = cfg.Layers[:1]
	if r.pub.Update(cfg, r.now) {
		t.Error("another number of layers was taken as the same publication")
	}
}

func TestStalled(t *testing.T) {
	r := newRoom(t, single)
	e := &encoder{ssrc: 11}
	r.wait(5 * second)
	if len(r.Sources()) != 0 || r.changes != 0 {
		t.Error("a source before its first packet")
	}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	r.wait(2 * second)
	if s := r.Sources(); s[0].Stalled {
		t.Error("stalled after 2 s")
	}
	r.wait(1 * second)
	if s := r.Sources(); !s[0].Stalled || s[0].AvgBitrateBps == 0 && r.changes != 2 {
		t.Errorf("%v, %d changes", s, r.changes)
	}
	r.push(r.pub, e.frame(false, 1, r.now)...)
	if s := r.Sources(); s[0].Stalled || r.changes != 3 {
		t.Errorf("%v, %d changes", s, r.changes)
	}
}

func TestAverageBitrate(t *testing.T) {
	r := newRoom(t, single)
	e := &encoder{ssrc: 11}
	size := len(e.frame(true, 1, r.now)[0].Raw)
	for range 250 {
		r.push(r.pub, e.frame(false, 2, r.now)...)
		r.wait(20 * ms)
	}
	want := uint32(size * 2 * 50 * 8)
	if got := r.Sources()[0].AvgBitrateBps; got < want*95/100 || got > want*105/100 {
		t.Errorf("%d bit/s, want %d", got, want)
	}
	r.wait(4 * second)
	if got := r.Sources()[0].AvgBitrateBps; got != 0 {
		t.Errorf("%d bit/s after 4 s of nothing", got)
	}
}

func TestRoundTripSlowsRequests(t *testing.T) {
	r := newRoom(t, single)
	r.subscribe(1000, 101)
	r.pub.SetRTT(400 * ms)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	run := e.frame(false, 3, r.now)
	r.push(r.pub, run[0], run[2])
	if n := len(r.up.nacked(11)); n != 1 {
		t.Fatalf("%d packets asked for at once, want 1", n)
	}
	r.wait(400 * ms)
	if n := len(r.up.nacked(11)); n != 0 {
		t.Errorf("asked again %d times before an answer can have come", n)
	}
	r.wait(200 * ms)
	if n := len(r.up.nacked(11)); n != 1 {
		t.Errorf("asked again %d times after that, want 1", n)
	}
}
