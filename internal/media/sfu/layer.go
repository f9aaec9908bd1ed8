package sfu

import (
	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// clockRate is that of every video payload format (RFC 7741, 6184, 9628).
const clockRate = 90000

// Times in ns.
const (
	millisecond = int64(1e6)
	second      = int64(1e9)

	keyFrameInterval = 300 * millisecond  // between two requests for the same layer
	keyFrameRetry    = 150 * millisecond  // until a request counts as lost, on a short way that has just lost something
	keyFrameNarrow   = 1500 * millisecond // likewise, on a way that is being kept from being full
	shortWay         = 100 * millisecond
	lossyFor         = 2 * second
	liveAfter        = 1 * second        // a layer that paused is trusted again after flowing so long
	quietAfter       = 1 * second        // a layer without packets for so long gets a stand-in
	stoppedAfter     = 300 * millisecond // likewise, when meanwhile the lowest layer brought stoppedPictures
	stoppedPictures  = 5
	stalledAfter     = 2500 * millisecond
	measureEvery     = 10 * second // between key frames asked of a layer that is held back
	raiseAfter       = 2 * second  // so long a higher temporal layer may take to come by itself
	leftFor          = 2 * second  // packets of the SSRC before are dropped, not followed
	cacheKeep        = 1 * second
	burstTime        = 600 * millisecond // after which a sender is back at its bit rate when it made a key frame
)

// The bounds of a layer's packet cache, shared by all its subscriptions.
const (
	cachePackets = 1024
	cacheBytes   = 1 << 20
)

// layer is one encoding of a publication: an SSRC at a time, and what is known
// of it.
type layer struct {
	pub      *Publication
	index    int
	streamID uint32
	cfg      Layer

	ssrc, rtx uint32
	left      uint32 // the SSRC before, for as long as its packets may still come
	leftAt    int64
	epoch     uint32 // grows when sequence numbers and timestamps begin anew
	recv      rtp.Receiver
	nacks     rtp.NackList
	asks      bucket     // numbers that may be asked for, in halves
	cache     *rtp.Cache // nil until a subscription can ask for packets
	rate      rate
	inRun     int // packets of the run being pushed

	codec      *codecEntry              // of the newest packet; nil before the first
	structure  *rtp.DependencyStructure // in force; nil before the first
	structures uint32                   // how many came
	structured uint64                   // the number of the packet that brought it
	parts      *parts                   // its spatial and temporal layers; nil while it has none

	parameterSets bool   // an SPS was seen in the stream
	burstAt       int64  // when the newest key frame began to come
	burstStamp    uint32 // its timestamp
	keyBytes      int    // how much came from then on, for burstTime
	width, height uint32
	tooLarge      bool // held back: see Publication.measure
	listed        bool
	lastPacket    int64 // 0: none yet
	liveSince     int64
	behind        int // pictures that the lowest layer brought since

	// The newest packet, and the publisher's last sender report on this epoch.
	lastTimestamp uint32
	srTimestamp   uint32
	srWall        int64 // Unix ns on the publisher's clock
	srKnown       bool

	keys keyFrameRequest
	// Where the newest key frame begins, in which epoch, and when it came.
	keyExt   uint64
	keyEpoch uint32
	keyAt    int64
	lostAt   int64           // when packets of it were last asked for
	subs     []*Subscription // those that carry this layer or wait to
}

func newLayer(p *Publication, index int, id uint32, cfg Layer) *layer {
	l := &layer{asks: bucket{tokens: askBurst, burst: askBurst}, pub: p, index: index, streamID: id, cfg: cfg, ssrc: cfg.SSRC, rtx: cfg.RTX}
	l.recv.ClockRate = clockRate
	return l
}

func (l *layer) enabled() bool { return l.cfg.MaxBitrateKbps > 0 }

// bind gives the layer another SSRC: nothing known about numbers and times
// holds any longer.
func (l *layer) bind(ssrc uint32, now int64) {
	was := l.ssrc
	l.ssrc = ssrc
	l.left, l.leftAt = was, now
	if was == 0 {
		l.askKeyFrame(now) // for those who came before the SSRC was known
		return
	}
	l.recv = rtp.Receiver{ClockRate: clockRate}
	l.keys = keyFrameRequest{} // what the old SSRC was asked is no answer from the new one
	l.restart(now)
}

// restart voids the numbers: subscriptions go on at the next key frame.
func (l *layer) restart(now int64) {
	l.epoch++
	l.nacks.Reset()
	if l.cache != nil {
		l.cache.Reset()
	}
	l.srKnown = false
	l.forgetParts()
	if len(l.subs) > 0 {
		l.requestKeyFrame(now)
	}
}

// forgetParts forgets the layers within the stream. Packets of the run being pushed
// may still refer to the structure, so it stays where it is.
func (l *layer) forgetParts() {
	if l.structure != nil {
		*l.structure = rtp.DependencyStructure{}
	}
	l.structured, l.parts = 0, nil
}

// live reports whether packets come, and have for long enough to be trusted.
func (l *layer) live(now int64) bool {
	return l.enabled() && !l.tooLarge && l.lastPacket != 0 && now-l.lastPacket < quietAfter && !l.stopped(now) && now-l.liveSince >= liveAfter
}

// stopped reports that nothing comes while the lowest layer goes on: its sender has
// left this one out, as browsers do that believe their up-link to be full.
func (l *layer) stopped(now int64) bool {
	return l.behind >= stoppedPictures && now-l.lastPacket >= stoppedAfter
}

// capturedAt is when a frame was taken, in Unix ns on our clock, when the
// publisher has told its clock.
func (l *layer) capturedAt(timestamp uint32) (unix int64, ok bool) {
	if !l.srKnown {
		return 0, false
	}
	return l.srWall + l.pub.clockOffset + rtp.TimestampDiff(timestamp, l.srTimestamp)*second/clockRate, true
}

// timestampAt is the RTP timestamp of now on the publisher's clock.
func (l *layer) timestampAt(now int64) uint32 {
	if l.srKnown {
		since := l.pub.r.cfg.Epoch + now - l.srWall - l.pub.clockOffset
		return l.srTimestamp + ticks(since)
	}
	return l.lastTimestamp + ticks(now-l.lastPacket)
}

// ticks turns a duration in ns into units of the RTP clock.
func ticks(ns int64) uint32 {
	return uint32(ns/second*clockRate + ns%second*clockRate/second)
}

// keyFrameRequest gathers the wishes for a key frame of one layer into one
// request at a time, repeated until a key frame comes.
type keyFrameRequest struct {
	wanted bool
	asked  bool // ever
	last   int64
	tries  int
}

// requestKeyFrame asks the publisher for a key frame, at once when the last
// request was long enough ago, else when it is.
func (l *layer) requestKeyFrame(now int64) {
	l.keys.wanted = true
	l.askKeyFrame(now)
}

func (l *layer) askKeyFrame(now int64) {
	k := &l.keys
	if !k.wanted || l.ssrc == 0 || l.pub.cfg.Up == nil || l.pub.closed {
		return
	}
	if low := l.pub.lowest(now); l.pub.up.withholds(low == nil || low == l, now) {
		return
	}
	// Unanswered requests slow down to one in about 2.4 s.
	interval := keyFrameInterval << min(max(k.tries-4, 0), 3)
	if k.tries > 0 && k.tries < 3 && l.lostAt != 0 && now-l.lostAt < lossyFor && l.nacks.RTT < shortWay {
		interval = keyFrameRetry
	}
	if k.tries > 0 && l.pub.up.limit != 0 {
		interval = max(interval, keyFrameNarrow) // it is on its way, and a second one would be behind it
	}
	if k.asked && now-k.last < interval {
		return
	}
	waiting := false
	for _, s := range l.subs {
		waiting = waiting || !s.paused
	}
	if !waiting || l.tooLarge {
		k.wanted = false
		return
	}
	l.sendPLI(now)
}

// sendPLI asks for a key frame.
func (l *layer) sendPLI(now int64) {
	k := &l.keys
	k.asked, k.last = true, now
	k.tries++
	r := l.pub.r
	r.stats.KeyFrameRequests++
	r.rtcp = rtp.AppendPLI(r.rtcp[:0], r.cfg.SSRC, l.ssrc)
	l.pub.cfg.Up.SendRTCP(r.rtcp)
}

// gotKeyFrame ends the wish.
func (k *keyFrameRequest) gotKeyFrame() { k.wanted, k.tries = false, 0 }

// askMissing sends the NACKs that are due.
func (l *layer) askMissing(now int64) {
	if l.nacks.Len() == 0 {
		return
	}
	r := l.pub.r
	// What is given up needs no action: receivers that cannot go on without it
	// ask for a key frame.
	r.seqs, _ = l.nacks.Due(r.seqs[:0], now)
	// Of a sender whose way is full most is lost for want of room. Its repairs would take
	// what room there is from all that is new, the lower layers as well, for seconds.
	n := min(len(r.seqs), l.asks.tokens/2)
	r.seqs = r.seqs[len(r.seqs)-n:]
	if l.asks.take(2 * n); len(r.seqs) == 0 || !l.pub.cfg.NACK || l.pub.cfg.Up == nil || len(l.subs) == 0 {
		return
	}
	l.lostAt = now
	r.stats.NACKsSent += uint64(len(r.seqs))
	r.rtcp = rtp.AppendNACK(r.rtcp[:0], r.cfg.SSRC, l.ssrc, r.seqs)
	l.pub.cfg.Up.SendRTCP(r.rtcp)
}

func (l *layer) removeSub(s *Subscription) {
	for i, x := range l.subs {
		if x == s {
			n := len(l.subs) - 1
			l.subs[i] = l.subs[n]
			l.subs[n] = nil
			l.subs = l.subs[:n]
			return
		}
	}
}

// rate measures bits per second over the last few seconds.
type rate struct {
	buckets [rateBuckets]uint32 // bytes
	slot    int64               // number of the bucket being filled; 0 before the first packet
	first   int64
}

const (
	rateBuckets = 8
	rateBucket  = 500 * millisecond
)

func (r *rate) advance(now int64) {
	slot := now/rateBucket + 1
	if r.slot == 0 || slot-r.slot > rateBuckets {
		*r = rate{slot: slot, first: slot}
		return
	}
	for r.slot < slot {
		r.slot++
		r.buckets[r.slot%rateBuckets] = 0
	}
}

func (r *rate) add(bytes int, now int64) {
	r.advance(now)
	r.buckets[r.slot%rateBuckets] += uint32(bytes)
}

// bps is the average over the whole buckets, or over the one begun when there
// is no other.
func (r *rate) bps() uint32 {
	if r.slot == 0 {
		return 0
	}
	var sum uint64
	n := min(r.slot-r.first, rateBuckets-1)
	if n == 0 {
		return uint32(min(uint64(r.buckets[r.slot%rateBuckets])*8*uint64(second/rateBucket), 1<<32-1))
	}
	for i := int64(1); i <= n; i++ {
		sum += uint64(r.buckets[(r.slot-i)%rateBuckets])
	}
	return uint32(min(sum*8*uint64(second/rateBucket)/uint64(n), 1<<32-1))
}

// recent is the average over the last whole second, which follows a sender that
// has changed its mind.
func (r *rate) recent() uint32 {
	if r.slot-r.first < 2 {
		return r.bps()
	}
	var sum uint64
	for i := int64(1); i <= 2; i++ {
		sum += uint64(r.buckets[(r.slot-i)%rateBuckets])
	}
	return uint32(min(sum*8*uint64(second/rateBucket)/2, 1<<32-1))
}

// parse reads a payload of the codec.
func parse(codec meeting.VideoCodec, payload []byte, h *rtp.VideoHeader) bool {
	switch codec {
	case meeting.CodecVP8:
		return rtp.ParseVP8(payload, h)
	case meeting.CodecH264CBP:
		return rtp.ParseH264(payload, h)
	case meeting.CodecVP9:
		return rtp.ParseVP9(payload, h)
	case meeting.CodecAV1:
		return rtp.ParseAV1(payload, h)
	}
	return false
}
