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
	down    *Downlink // nil when nobody measures the way
	share   *Share    // of it
	cfg     SubscribeConfig
	twoByte bool
	closed  bool
	paused  bool

	want   *layer // what the client chose
	target *layer // what shall flow: want, or its stand-in while it is quiet
	cur    *layer // what flows, or flowed last
	live   bool   // a key frame of cur was sent, and nothing since then broke off
	limit  limit  // of what shall flow
	sieve  sieve  // what passes of cur
	raised int64  // when more was chosen than passes, 0 when it does

	seg    segment            // the mapping in use
	past   segments           // those before, for retransmission
	cut    cut                // what was left out last
	top    uint64             // the highest number of the layer that was looked at
	keyed  uint64             // the number with which the last key frame began
	keyAt  int64              // when that was sent
	out    output             // where the outgoing stream is
	fill   fillers            // numbers that went to packets of nothing
	rtx    uint16             // next number on the RTX SSRC
	void   uint64             // up to here numbers are not sent again: headers would differ
	hdr    rtp.HeaderWriter   // here so that it is not allocated
	number int                // where in the header written last the transport-wide number has its place, 0 for nowhere
	rr     rtp.ReportBlock    // the last report of the receiver
	rtt    int64              // ns, 0 when not known
	pli    bucket             // key frame requests that are honoured
	back   bucket             // retransmissions that are honoured, in halves of a packet
	sr     int64              // when the next sender report is due
	seen   meeting.VideoCodec // last codec that the receiver cannot take, 0 for none
}

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
	frame     uint16 // likewise, of the dependency descriptor
	hasFrame  bool
	packets   uint32
	bytes     uint32
}

// Subscribe begins a subscription and asks for a key frame. A stream id that
// does not exist (any more) is not an error: nothing flows until Switch names
// one that does.
func (r *Router) Subscribe(cfg SubscribeConfig, now int64) *Subscription {
	return r.subscribe(cfg, nil, now)
}

func (r *Router) subscribe(cfg SubscribeConfig, down *Downlink, now int64) *Subscription {
	s := &Subscription{r: r, down: down}
	s.configure(cfg)
	// Numbers begin anywhere in the lower half, so that they cannot wrap before
	// the receiver knows where they began (RFC 3711 3.3.1).
	s.out.seq = 1<<16 + uint64(cfg.SSRC*2654435761>>17)
	s.out.timestamp = cfg.SSRC * 2246822519
	s.rtx = uint16(cfg.SSRC * 3266489917 >> 17)
	s.pli = bucket{tokens: pliBurst, burst: pliBurst}
	s.back = bucket{tokens: resendBurst, burst: resendBurst}
	s.paused = cfg.Paused
	s.limit = unlimited
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
	if s.target != l {
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
	}
	s.raised = 0
	key := l != s.cur || !s.live
	if !key {
		s.sieve.choose(s.limitOf(l.codec), l)
		spatial, temporal := s.sieve.waits(l)
		if spatial || temporal {
			s.raised = now
		}
		key = spatial
	}
	if key && !s.paused {
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
	seg, fill := &s.seg, false
	if !s.sieve.open() || s.cut.open || it.ext <= s.top || it.dep.Attached {
		if seg, fill = s.place(it); seg == nil {
			return
		}
	} else {
		s.top = max(s.top, it.ext)
	}
	out := it.ext - seg.first + seg.outFirst
	timestamp := it.p.Timestamp - seg.timestamp
	if fill {
		s.sendFiller(it.p, seg, out, timestamp)
		return
	}
	picture := it.h.PictureID - seg.picture
	tl0 := it.h.TL0PicIdx - seg.tl0
	s.note(it, out, timestamp, picture, tl0)

	if it.key {
		if out >= s.keyed {
			s.keyed, s.keyAt = out, s.r.now
		}
	}
	header := s.header(it, seg, seg.payloadType, s.cfg.SSRC, uint16(out), timestamp)
	payload := it.p.Payload()
	it.h.Patch(payload, picture, tl0)
	s.out.packets++
	s.out.bytes += uint32(len(payload))
	s.r.stats.PacketsOut++
	s.back.add(1)
	s.send(header, payload, false)
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
	if it.dependency != nil {
		o.frame, o.hasFrame = it.dep.Frame-s.seg.frame, true
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
	if s.down != nil && len(s.down.pace.waiting) > 0 {
		s.down.purge(s) // a key frame makes up for it
	}
	old := s.seg
	seg := segment{
		layer: it.layer, epoch: it.epoch, first: it.ext, last: toTheEnd, outFirst: s.out.seq + 1, spatial: All,
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
	if s.out.hasFrame {
		seg.frame = it.dep.Frame - s.out.frame - 1
	}
	if s.cur != it.layer {
		if s.cur != nil {
			s.cur.removeSub(s)
		}
		s.cur = it.layer
	}
	if old.layer != nil {
		if old.last == toTheEnd {
			old.last = max(s.top, old.first)
		}
		s.past.push(&old)
	}
	s.seg, s.live = seg, true
	s.top, s.cut, s.raised = it.ext-1, cut{}, 0
	s.sieve.reset(s.limitOf(it.codec))
	return true
}

// limitOf is the limit for a stream of the codec. The spatial layers of AV1 are
// frames of their own, which a receiver cannot put together without the dependency
// descriptor: it gets the lowest.
func (s *Subscription) limitOf(codec *codecEntry) limit {
	if codec != nil && codec.codec == meeting.CodecAV1 && s.cfg.Extensions.DependencyDescriptor == 0 {
		return limit{0, s.limit.temporal}
	}
	return s.limit
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
// sent again under the same number: a cipher's nonce is made of that. Where it
// cannot, for a transport-wide number, that is not done.
func (s *Subscription) header(it *item, seg *segment, pt uint8, ssrc uint32, seq uint16, timestamp uint32) []byte {
	x := &s.cfg.Extensions
	w := &s.hdr
	dependency := it.dependency
	if x.DependencyDescriptor == 0 {
		dependency = nil
	} else if dependency != nil {
		dependency = it.dep.Rewrite(s.r.dep[:], dependency, it.dep.Frame-seg.frame, seg.active, seg.targets)
	}
	w.TwoByte = s.twoByte || len(dependency) > 16
	w.Begin(s.r.header[:], pt, it.p.Marker || it.end && it.spatial == seg.spatial, seq, timestamp, ssrc)
	s.number = 0
	if s.down != nil && x.TransportCC != 0 {
		w.TransportSequence(x.TransportCC, 0) // which it gets when it goes out
		s.number = firstExtension
		if w.TwoByte {
			s.number++
		}
	}
	if x.AbsSendTime != 0 {
		w.AbsSendTime(x.AbsSendTime, it.p.Arrival)
	}
	if x.MID != 0 {
		w.String(x.MID, s.cfg.MID)
	}
	if len(it.orientation) > 0 {
		w.Copy(x.Orientation, it.orientation)
	}
	if len(dependency) > 0 {
		w.Copy(x.DependencyDescriptor, dependency)
	}
	return w.Bytes()
}

// firstExtension is where the content of the first extension is in a header with
// elements of one byte's head (RFC 8285 4.2).
const firstExtension = 12 + 4 + 1

func (s *Subscription) tick(now int64) {
	s.pli.refill(now, pliEvery)
	s.back.refill(now, resendEvery)
	s.fallBack(now)
	s.raise(now)
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
	quiet := !best.enabled() || best.tooLarge || now-best.lastPacket >= quietAfter || best.stopped(now)
	if low := best.pub.lowest(now); low != nil && low.index < best.index && best.pub.up.stays(now) {
		best = low
	} else if quiet || s.target != best && !best.live(now) {
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

// raise asks for a key frame when what was chosen does not come without.
func (s *Subscription) raise(now int64) {
	if s.paused || !s.live || s.target != s.cur || s.sieve.open() {
		return
	}
	spatial, temporal := s.sieve.waits(s.cur)
	switch {
	case !spatial && !temporal:
		s.raised = 0
	case s.raised == 0: // its sender has switched off what passed
		s.raised = now
		if spatial {
			s.cur.requestKeyFrame(now)
		}
	case now-s.raised >= raiseAfter:
		s.raised = now
		s.cur.requestKeyFrame(now)
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
