package sfu

import (
	"slices"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// SubscribeConfig describes one received section of one client. Everything in
// it holds for the section's life; Update changes what an answer may change.
type SubscribeConfig struct {
	MID  string // of the section, for the owner's bookkeeping
	Down Sender
	// SSRC is that of the media, RTX that of the retransmissions, 0 when not
	// negotiated. Both must be new to the receiver's connection: numbers begin at
	// a place that depends on the SSRC alone, and a cipher must not meet the same
	// number twice.
	SSRC, RTX uint32
	Codecs    []Codec
	// Extensions are the section's ids. MID is sent only if its id is set.
	Extensions Extensions
	// NACK says that the receiver may ask for packets.
	NACK     bool
	StreamID uint32 // the stream wanted first, 0 for none
	// Paused begins as if Pause had been called, and so without asking for a key
	// frame that nobody could see yet.
	Paused bool
}

// Subscription carries one stream to one receiver.
type Subscription struct {
	r       *Router
	cfg     SubscribeConfig
	twoByte bool
	closed  bool
	paused  bool

	want   *layer // what the client chose
	target *layer // what shall flow: want, or its stand-in while it is quiet
	cur    *layer // what flows, or flowed last
	live   bool   // a key frame of cur was sent, and nothing since then broke off

	seg  segment            // the mapping in use
	past [segments]segment  // those before, for retransmission; newest first
	out  output             // where the outgoing stream is
	rtx  uint16             // next number on the RTX SSRC
	void uint64             // up to here numbers are not sent again: headers would differ
	hdr  rtp.HeaderWriter   // here so that it is not allocated
	rr   rtp.ReportBlock    // the last report of the receiver
	rtt  int64              // ns, 0 when not known
	pli  bucket             // key frame requests that are honoured
	back bucket             // retransmissions that are honoured, in halves of a packet
	sr   int64              // when the next sender report is due
	seen meeting.VideoCodec // last codec that the receiver cannot take, 0 for none
}

// segment maps one unbroken stretch of a layer onto the outgoing stream.
type segment struct {
	layer       *layer
	epoch       uint32
	first       uint64 // extended number in the layer where it begins
	outFirst    uint64 // the same packet's outgoing one
	timestamp   uint32 // subtract from the layer's
	picture     uint16 // subtract from VP8 and VP9 picture ids
	tl0         uint8  // subtract from TL0PICIDX
	in          uint8  // payload type of the publisher
	payloadType uint8
	rtx         uint8
	codec       meeting.VideoCodec
}

// segments is how many past mappings are kept for retransmission.
const segments = 4

// output is the state that makes the outgoing stream one.
type output struct {
	started   bool
	seq       uint64 // highest sent, extended
	timestamp uint32 // highest sent
	arrival   int64  // of the packet that had it
	picture   uint16 // highest sent
	hasPic    bool
	tl0       uint8
	hasTL0    bool
	packets   uint32
	bytes     uint32
}

// Subscribe begins a subscription and asks for a key frame. A stream id that
// does not exist (any more) is not an error: nothing flows until Switch names
// one that does.
func (r *Router) Subscribe(cfg SubscribeConfig, now int64) *Subscription {
	s := &Subscription{r: r}
	s.configure(cfg)
	// Numbers begin anywhere in the lower half, so that they cannot wrap before
	// the receiver knows where they began (RFC 3711 3.3.1).
	s.out.seq = 1<<16 + uint64(cfg.SSRC*2654435761>>17)
	s.out.timestamp = cfg.SSRC * 2246822519
	s.rtx = uint16(cfg.SSRC * 3266489917 >> 17)
	s.pli = bucket{tokens: pliBurst, burst: pliBurst}
	s.back = bucket{tokens: resendBurst, burst: resendBurst}
	s.paused = cfg.Paused
	r.subs = append(r.subs, s)
	s.Switch(cfg.StreamID, now)
	return s
}

func (s *Subscription) configure(cfg SubscribeConfig) {
	cfg.Codecs = slices.Clone(cfg.Codecs)
	s.cfg = cfg
	x := cfg.Extensions
	s.twoByte = max(x.MID, x.AbsSendTime, x.TransportCC, x.Orientation, x.DependencyDescriptor) > 14
}

// MID names the section.
func (s *Subscription) MID() string { return s.cfg.MID }

// SSRC is that of the media.
func (s *Subscription) SSRC() uint32 { return s.cfg.SSRC }

// StreamID is the stream that was asked for, 0 when it does not exist any more.
func (s *Subscription) StreamID() uint32 {
	if s.want == nil {
		return 0
	}
	return s.want.streamID
}

// Flowing is the stream that is being forwarded, 0 while none is.
func (s *Subscription) Flowing() uint32 {
	if !s.live || s.paused {
		return 0
	}
	return s.cur.streamID
}

// Undecodable is the codec that the stream comes in and the receiver did not
// negotiate, 0 while there is none.
func (s *Subscription) Undecodable() meeting.VideoCodec { return s.seen }

// Reception is what the receiver last reported: the fraction lost in 256ths,
// and the round trip in ns, 0 while not known.
func (s *Subscription) Reception() (lost uint8, rtt int64) { return s.rr.FractionLost, s.rtt }

// Update takes the codecs and extensions of a later answer.
func (s *Subscription) Update(codecs []Codec, x Extensions, nack bool, now int64) {
	if x != s.cfg.Extensions {
		s.void = s.out.seq
	}
	cfg := s.cfg
	cfg.Codecs, cfg.Extensions, cfg.NACK = codecs, x, nack
	s.configure(cfg)
	// Payload types of what flows are looked up again at the next key frame;
	// they do not change between answers unless a codec went.
	if s.live {
		if pt, rtx, ok := s.payloadType(s.seg.codec, s.cur.pub.codecs[s.seg.in].mode); !ok || pt != s.seg.payloadType || rtx != s.seg.rtx {
			s.interrupt(now)
		}
	}
}

// Switch moves on to another stream: at its next key frame, which is asked for;
// until then the old one goes on. An unknown id stops the subscription and
// reports false.
func (s *Subscription) Switch(streamID uint32, now int64) (ok bool) {
	if s.closed {
		return false
	}
	l := s.r.layers[streamID]
	s.want = l
	if l == nil {
		s.detach()
		return false
	}
	if s.cur != nil && s.cur.pub != l.pub {
		// Another sender's picture must not stay when this one was chosen.
		s.detach()
		s.want = l
	}
	s.aim(l, now)
	return true
}

// Pause stops forwarding; the outgoing stream has no gap when it goes on.
func (s *Subscription) Pause() {
	s.paused = true
	s.live = false
}

// Resume goes on with a key frame, which is asked for.
func (s *Subscription) Resume(now int64) {
	if !s.paused {
		return
	}
	s.paused = false
	if s.target != nil {
		s.target.requestKeyFrame(now)
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	if s.closed {
		return
	}
	s.detach()
	s.closed = true
	if i := slices.Index(s.r.subs, s); i >= 0 {
		s.r.subs = slices.Delete(s.r.subs, i, i+1)
	}
}

// aim makes l the layer that shall flow.
func (s *Subscription) aim(l *layer, now int64) {
	if s.target == l {
		if !s.live && !s.paused {
			l.requestKeyFrame(now)
		}
		return
	}
	if s.target != nil && s.target != s.cur {
		s.target.removeSub(s)
	}
	s.target = l
	if l != s.cur {
		l.subs = append(l.subs, s)
	}
	if s.cfg.NACK && l.cache == nil {
		l.cache = rtp.NewCache(cachePackets, cacheBytes, cacheKeep)
	}
	if !s.paused && (l != s.cur || !s.live) {
		l.requestKeyFrame(now)
	}
}

// detach takes the subscription off its layers.
func (s *Subscription) detach() {
	if s.cur != nil {
		s.cur.removeSub(s)
	}
	if s.target != nil {
		s.target.removeSub(s)
	}
	s.cur, s.target, s.want, s.live = nil, nil, nil, false
}

// sourceClosed is told that a publication has ended.
func (s *Subscription) sourceClosed(p *Publication) {
	if s.cur != nil && s.cur.pub == p {
		s.cur, s.live = nil, false
	}
	if s.target != nil && s.target.pub == p {
		s.target, s.want = nil, nil
	}
}

// held ends what flows of a layer that is held back, until a key frame of it, or
// of its stand-in, may go on.
func (s *Subscription) held(l *layer) {
	if s.cur == l {
		s.live = false
	}
}

// interrupt makes the stream wait for a key frame.
func (s *Subscription) interrupt(now int64) {
	s.live = false
	if s.target != nil && !s.paused {
		s.target.requestKeyFrame(now)
	}
}

func (s *Subscription) payloadType(codec meeting.VideoCodec, mode uint8) (pt, rtx uint8, ok bool) {
	for _, c := range s.cfg.Codecs {
		if c.Codec == codec && c.PacketizationMode == mode {
			return c.PayloadType, c.RTX, true
		}
	}
	for _, c := range s.cfg.Codecs {
		if c.Codec == codec && c.PacketizationMode > mode {
			return c.PayloadType, c.RTX, true
		}
	}
	return 0, 0, false
}

// forward sends one packet on if it belongs to what flows, and begins to flow
// if it begins a key frame of what shall flow.
func (s *Subscription) forward(it *item) {
	if s.paused {
		return
	}
	if !s.live || it.layer != s.cur || it.epoch != s.seg.epoch || it.p.PayloadType != s.seg.in || it.codec.codec != s.seg.codec {
		if it.layer != s.target || !it.key || !s.begin(it) {
			return
		}
	}
	if it.ext < s.seg.first {
		return // late, from before the key frame
	}
	out := it.ext - s.seg.first + s.seg.outFirst
	timestamp := it.p.Timestamp - s.seg.timestamp
	picture := it.h.PictureID - s.seg.picture
	tl0 := it.h.TL0PicIdx - s.seg.tl0
	s.note(it, out, timestamp, picture, tl0)

	header := s.header(it.p, s.seg.payloadType, s.cfg.SSRC, uint16(out), timestamp, it.orientation, it.dependency)
	payload := it.p.Payload()
	it.h.Patch(payload, picture, tl0)
	s.out.packets++
	s.out.bytes += uint32(len(payload))
	s.r.stats.PacketsOut++
	s.back.add(1)
	s.cfg.Down.SendRTP(header, payload)
}

// note keeps the highest of everything sent.
func (s *Subscription) note(it *item, out uint64, timestamp uint32, picture uint16, tl0 uint8) {
	o := &s.out
	if o.started && out <= o.seq {
		return
	}
	o.seq = out
	if !o.started || rtp.TimestampDiff(timestamp, o.timestamp) > 0 {
		o.timestamp, o.arrival = timestamp, it.p.Arrival
	}
	o.started = true
	if it.h.PictureIDBits != 0 {
		o.picture, o.hasPic = picture, true
	}
	if it.h.HasTL0PicIdx {
		o.tl0, o.hasTL0 = tl0, true
	}
}

// begin maps the layer onto the outgoing stream from this packet on: the next
// number, a timestamp that fits the time passed, the next picture.
func (s *Subscription) begin(it *item) bool {
	pt, rtx, ok := s.payloadType(it.codec.codec, it.codec.mode)
	if !ok {
		s.seen = it.codec.codec
		return false
	}
	s.seen = 0
	old := s.seg
	seg := segment{
		layer: it.layer, epoch: it.epoch, first: it.ext, outFirst: s.out.seq + 1,
		in: it.p.PayloadType, payloadType: pt, rtx: rtx, codec: it.codec.codec,
	}
	switch {
	case !s.out.started:
		seg.timestamp = it.p.Timestamp - s.out.timestamp
	case old.layer == it.layer && old.epoch == it.epoch &&
		rtp.TimestampDiff(it.p.Timestamp-old.timestamp, s.out.timestamp) > 0:
		seg.timestamp = old.timestamp // the same clock goes on
	default:
		seg.timestamp = it.p.Timestamp - s.out.timestamp - s.passed(it, &old)
	}
	if s.out.hasPic {
		seg.picture = it.h.PictureID - s.out.picture - 1
	}
	if s.out.hasTL0 {
		seg.tl0 = it.h.TL0PicIdx - s.out.tl0 - 1
	}
	if s.cur != it.layer {
		if s.cur != nil {
			s.cur.removeSub(s)
		}
		s.cur = it.layer
	}
	if old.layer != nil {
		copy(s.past[1:], s.past[:])
		s.past[0] = old
	}
	s.seg, s.live = seg, true
	return true
}

// passed is the time between the newest frame sent and the one in it, in units
// of the RTP clock, at least 1: by when they were taken if both senders' clocks
// are known and agree with when they came, else by when they came.
func (s *Subscription) passed(it *item, old *segment) uint32 {
	ns := it.p.Arrival - s.out.arrival
	if old.layer != nil && old.layer.pub == it.layer.pub && old.epoch == old.layer.epoch {
		was, ok1 := old.layer.capturedAt(s.out.timestamp + old.timestamp)
		is, ok2 := it.layer.capturedAt(it.p.Timestamp)
		if d := is - was - ns; ok1 && ok2 && d > -second && d < second {
			ns = is - was
		}
	}
	if ns <= 0 {
		return 1
	}
	return max(ticks(ns), 1)
}

// header writes the outgoing header. It must come out the same when a packet is
// sent again under the same number: a cipher's nonce is made of that.
func (s *Subscription) header(p *rtp.Packet, pt uint8, ssrc uint32, seq uint16, timestamp uint32, orientation, dependency []byte) []byte {
	x := &s.cfg.Extensions
	w := &s.hdr
	w.TwoByte = s.twoByte || len(dependency) > 16
	w.Begin(s.r.header[:], pt, p.Marker, seq, timestamp, ssrc)
	if x.AbsSendTime != 0 {
		w.AbsSendTime(x.AbsSendTime, p.Arrival)
	}
	if x.MID != 0 {
		w.String(x.MID, s.cfg.MID)
	}
	if len(orientation) > 0 {
		w.Copy(x.Orientation, orientation)
	}
	if len(dependency) > 0 {
		w.Copy(x.DependencyDescriptor, dependency)
	}
	return w.Bytes()
}

func (s *Subscription) tick(now int64) {
	s.pli.refill(now, pliEvery)
	s.back.refill(now, resendEvery)
	s.fallBack(now)
	if now >= s.sr {
		s.sr = now + reportInterval
		s.sendReport(now)
	}
}

// fallBack lets another layer of the same sender stand in while the chosen one
// is quiet: a browser short of uplink drops its highest layer.
func (s *Subscription) fallBack(now int64) {
	if s.want == nil || s.paused || len(s.want.pub.layers) < 2 {
		return
	}
	best := s.want
	quiet := !best.enabled() || best.tooLarge || now-best.lastPacket >= quietAfter
	if quiet || s.target != best && !best.live(now) {
		layers := best.pub.layers
		for i := best.index - 1; i >= 0 && best == s.want; i-- {
			if layers[i].live(now) {
				best = layers[i]
			}
		}
		for i := s.want.index + 1; i < len(layers) && best == s.want; i++ {
			if layers[i].live(now) {
				best = layers[i]
			}
		}
	}
	if best != s.target {
		s.aim(best, now)
	}
}

// sendReport sends a sender report: now on our clock, and on the outgoing
// stream's, so that the receiver can bring sound and picture together.
func (s *Subscription) sendReport(now int64) {
	if !s.live || s.paused || now-s.cur.lastPacket > 5*second {
		return
	}
	r := s.r
	r.rtcp = rtp.AppendSR(r.rtcp[:0], s.cfg.SSRC, rtp.SenderInfo{
		NTP:       rtp.NTP(r.cfg.Epoch + now),
		Timestamp: s.cur.timestampAt(now) - s.seg.timestamp,
		Packets:   s.out.packets,
		Bytes:     s.out.bytes,
	})
	r.rtcp = rtp.AppendSDES(r.rtcp, s.cfg.SSRC, r.cfg.CNAME)
	s.cfg.Down.SendRTCP(r.rtcp)
}
