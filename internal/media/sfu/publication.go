package sfu

import (
	"cmp"
	"slices"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// PublishConfig describes what an attendee sends.
type PublishConfig struct {
	AttendeeID string // with meeting.ContentSuffix for a content share
	Up         Sender // to the publisher: PLI, NACK, reports, feedback
	Layers     []Layer
	Codecs     []Codec    // payload types of the section
	Extensions Extensions // ids of the section
	// NACK says that generic NACK was negotiated, so that losses are asked for.
	NACK bool
	// REMB says that goog-remb was negotiated. Without TransportCC the publisher
	// is then told that it may send what its layers announce.
	REMB bool
	// TransportCC records arrivals and makes transport-wide feedback; nil when it
	// was not negotiated. It belongs to the client's transport, whose numbers
	// run through all its sections, and so it is given and may be fed from
	// elsewhere too; the publication records its own packets and sends the
	// feedback.
	TransportCC *rtp.TWCCRecorder
	// Uplink is the way of the client's transport to us; nil for one of its own.
	Uplink *Uplink
	// MaxPicture bounds the coded size: a layer whose pictures are larger, or do
	// not tell their size, is received and not forwarded, and is no source. The
	// zero value is no bound.
	MaxPicture meeting.Resolution
	// OnTooLarge is called, from within Push, when a layer is first held back for
	// that. It must not call back; nil is allowed.
	OnTooLarge func(width, height uint32)
}

// Layer is one encoding, announced by an entry of send_streams.
type Layer struct {
	RID            string // "" when there is only one
	Label          string
	MaxBitrateKbps uint32 // 0: switched off
	Framerate      uint32
	// SSRC and RTX are those of the offer; 0 when it names none, as with
	// simulcast. They are learnt from the packets then.
	SSRC, RTX uint32
}

// Publication is one attendee's camera or content stream.
type Publication struct {
	r       *Router
	cfg     PublishConfig
	groupID uint32
	layers  []*layer
	codecs  [128]codecEntry // by payload type
	stalled bool
	closed  bool
	refused bool // OnTooLarge was called

	// What to add to the publisher's clock to have ours; the quickest sender
	// report so far decides, so that it holds the least transport delay.
	clockOffset int64
	clockKnown  bool

	nextReport   int64
	nextFeedback int64
	up           *Uplink
}

const (
	reportInterval   = 1 * second
	feedbackInterval = 50 * millisecond
)

// codecEntry tells what a payload type means on a section.
type codecEntry struct {
	codec meeting.VideoCodec // 0: unknown payload type
	mode  uint8
	apt   uint8 // of a retransmission: the payload type that it repairs
	rtx   bool
}

// item is a packet of the run being pushed, with what is known of it.
type item struct {
	p     *rtp.Packet
	layer *layer
	ext   uint64
	epoch uint32
	codec *codecEntry
	key   bool // decoding can begin here
	h     rtp.VideoHeader

	orientation, dependency []byte
	dep                     rtp.Dependency // parsed, when there is one
	structures              uint32         // of the layer, when this came
	spatial, temporal       uint8          // layer of the frame
	end                     bool           // of a frame of one spatial layer
}

// Publish begins a publication and gives it its ids. It becomes a source with
// its first packet.
func (r *Router) Publish(cfg PublishConfig) *Publication {
	p := &Publication{r: r, groupID: r.newID(), up: cmp.Or(cfg.Uplink, new(Uplink))}
	p.configure(cfg)
	for i, lc := range cfg.Layers {
		l := newLayer(p, i, r.newID(), lc)
		p.layers = append(p.layers, l)
		r.layers[l.streamID] = l
	}
	r.pubs = append(r.pubs, p)
	return p
}

func (p *Publication) configure(cfg PublishConfig) {
	cfg.Codecs = slices.Clone(cfg.Codecs)
	cfg.Layers = slices.Clone(cfg.Layers)
	p.cfg = cfg
	p.codecs = [128]codecEntry{}
	for _, c := range cfg.Codecs {
		p.codecs[c.PayloadType&0x7F] = codecEntry{codec: c.Codec, mode: c.PacketizationMode}
		if c.RTX != 0 {
			p.codecs[c.RTX&0x7F] = codecEntry{codec: c.Codec, apt: c.PayloadType & 0x7F, rtx: true}
		}
	}
}

// GroupID is the group that all layers share.
func (p *Publication) GroupID() uint32 { return p.groupID }

// StreamIDs lists the id of each layer, low to high.
func (p *Publication) StreamIDs() []uint32 {
	ids := make([]uint32, len(p.layers))
	for i, l := range p.layers {
		ids[i] = l.streamID
	}
	return ids
}

// Update takes what a later offer says of the same sending: other bit rates,
// labels, payload types, SSRCs. The ids stay. ok is false, and nothing changed,
// when the layers are not the same in number and RID: that is another
// publication, so close this one and publish anew.
func (p *Publication) Update(cfg PublishConfig, now int64) (ok bool) {
	if p.closed || cfg.AttendeeID != p.cfg.AttendeeID || len(cfg.Layers) != len(p.layers) {
		return false
	}
	for i, l := range p.layers {
		if cfg.Layers[i].RID != l.cfg.RID {
			return false
		}
	}
	changed := false
	renumbered := cfg.Extensions != p.cfg.Extensions || !slices.Equal(cfg.Codecs, p.cfg.Codecs)
	p.configure(cfg)
	for i, l := range p.layers {
		was, is := l.cfg, cfg.Layers[i]
		l.cfg = is
		if was.MaxBitrateKbps == 0 {
			l.lastPacket = 0 // switched on: a source with its first packet
		}
		if is.SSRC != 0 && is.SSRC != was.SSRC && is.SSRC != l.ssrc {
			l.bind(is.SSRC, now)
		}
		if is.RTX != 0 {
			l.rtx = is.RTX
		}
		if renumbered && l.cache != nil {
			l.cache.Reset() // they would be read by other ids now
		}
		was.SSRC, was.RTX = is.SSRC, is.RTX
		changed = changed || l.listed && was != is
	}
	if p.list(now) || changed {
		p.r.changed()
	}
	return true
}

// Close ends the publication. Its subscriptions stay and carry nothing until
// they are switched to another stream.
func (p *Publication) Close() {
	if p.closed {
		return
	}
	p.closed = true
	r := p.r
	listed := false
	for _, l := range p.layers {
		listed = listed || l.listed
		l.listed = false
		delete(r.layers, l.streamID)
		l.cache = nil
		l.subs = nil
	}
	for _, s := range r.subs {
		s.sourceClosed(p)
	}
	if i := slices.Index(r.pubs, p); i >= 0 {
		r.pubs = slices.Delete(r.pubs, i, i+1)
	}
	if listed {
		r.changed()
	}
}

// lowest is the lowest layer that is really sent, nil when none is.
func (p *Publication) lowest(now int64) *layer {
	for _, l := range p.layers {
		if l.enabled() && !l.tooLarge && l.lastPacket != 0 && now-l.lastPacket < quietAfter && !l.stopped(now) {
			return l
		}
	}
	return nil
}

// Owns reports whether packets of this SSRC are known to belong here.
func (p *Publication) Owns(ssrc uint32) bool {
	for _, l := range p.layers {
		if ssrc != 0 && (l.ssrc == ssrc || l.rtx == ssrc) {
			return true
		}
	}
	return false
}

// SetRTT tells the round trip to the publisher in ns: lost packets are not asked
// for again before an answer can have come.
func (p *Publication) SetRTT(rtt int64) {

	for _, l := range p.layers {
		l.nacks.RTT = rtt
	}
}

// find tells which layer a packet is of, whether it is a retransmission, and
// whether its SSRC is new.
func (p *Publication) find(pkt *rtp.Packet) (l *layer, rtx, unbound bool) {
	if pkt.SSRC == 0 {
		return nil, false, false
	}
	for _, l := range p.layers {
		switch pkt.SSRC {
		case l.ssrc:
			return l, false, false
		case l.rtx:
			return l, true, false
		case l.left:
			return nil, false, false
		}
	}
	e := &p.codecs[pkt.PayloadType]
	if e.codec == 0 {
		return nil, false, false
	}
	if e.rtx {
		if rid := pkt.Text(p.cfg.Extensions.RepairedRID); rid != nil {
			return p.byRID(rid), true, true
		}
	} else if rid := pkt.Text(p.cfg.Extensions.RID); rid != nil {
		return p.byRID(rid), false, true
	}
	if len(p.layers) == 1 {
		return p.layers[0], e.rtx, true
	}
	return nil, false, false
}

func (p *Publication) byRID(rid []byte) *layer {
	for _, l := range p.layers {
		if l.cfg.RID != "" && l.cfg.RID == string(rid) {
			return l
		}
	}
	if len(p.layers) == 1 && p.layers[0].cfg.RID == "" {
		return p.layers[0]
	}
	return nil
}

// Push takes the packets of one read that belong to this publication, in the
// order of arrival, and forwards them subscription by subscription. Packets
// that it cannot place are counted and dropped. The packets are changed.
func (p *Publication) Push(run []*rtp.Packet, now int64) {
	if p.closed {
		return
	}
	r := p.r
	r.now = now
	r.items = r.items[:0]
	for _, l := range p.layers {
		l.inRun = 0
	}
	for _, pkt := range run {
		p.admit(pkt, now)
	}
	for _, l := range p.layers {
		if l.inRun == 0 {
			continue
		}
		for _, s := range l.subs {
			for i := range r.items {
				if r.items[i].layer == l {
					s.forward(&r.items[i])
				}
			}
		}
		l.askMissing(now)
	}
	clear(r.items) // the packets are the caller's again
}

// admit does for one packet what is done once whoever receives it, and adds it
// to the items to forward.
func (p *Publication) admit(pkt *rtp.Packet, now int64) {
	r := p.r
	r.stats.PacketsIn++
	if pkt.Arrival == 0 {
		pkt.Arrival = now
	}
	if t := p.cfg.TransportCC; t != nil {
		if seq, ok := pkt.TransportSequence(p.cfg.Extensions.TransportCC); ok {
			t.Record(seq, cmp.Or(pkt.Received, pkt.Arrival))
		}
	}
	p.up.count(len(pkt.Raw), cmp.Or(pkt.Received, pkt.Arrival))
	l, rtx, unbound := p.find(pkt)
	if l == nil {
		r.stats.Unknown++
		return
	}
	if unbound {
		if rtx {
			l.rtx = pkt.SSRC
		} else {
			l.bind(pkt.SSRC, now)
		}
	}
	size := len(pkt.Raw)
	if rtx {
		e := &p.codecs[pkt.PayloadType]
		if !e.rtx || l.ssrc == 0 || !pkt.UnwrapRTX(e.apt, l.ssrc) {
			return // padding that probes for bandwidth, mostly
		}
	}
	codec := &p.codecs[pkt.PayloadType]
	if codec.codec == 0 || codec.rtx {
		r.stats.Unknown++
		return
	}

	var ext uint64
	if rtx {
		// Not for the statistics: what was lost stays lost in them.
		var ok bool
		if ext, ok = l.repaired(pkt.Seq); !ok {
			r.stats.Duplicate++
			return
		}
	} else {
		before := l.recv.Max()
		var arrival rtp.Arrival
		ext, arrival = l.recv.Push(pkt.Seq, pkt.Timestamp, pkt.Arrival)
		switch arrival {
		case rtp.Jumped:
			r.stats.Malformed++
			return
		case rtp.Restarted:
			l.restart(now)
		case rtp.Late:
			if !l.nacks.Received(ext) {
				r.stats.Duplicate++
				return
			}
		case rtp.InOrder:
			if before != 0 && ext > before+1 {
				if l.cache != nil {
					l.cache.Forget(uint16(before+1), uint16(ext-1))
				}
				if !l.nacks.Gap(before+1, ext-1, now) && len(l.subs) > 0 {
					l.requestKeyFrame(now)
				}
			}
			if l.index == 0 && pkt.Timestamp != l.lastTimestamp {
				for _, upper := range p.layers[1:] {
					upper.behind++
				}
			}
			l.lastTimestamp = pkt.Timestamp
		}
	}
	l.asks.add(1)
	l.rate.add(size, now)
	if l.lastPacket == 0 || now-l.lastPacket >= quietAfter || l.stopped(now) {
		l.liveSince = now
	}
	l.lastPacket, l.behind = max(now, 1), 0

	r.items = append(r.items, item{p: pkt, layer: l, ext: ext, epoch: l.epoch, codec: codec})
	it := &r.items[len(r.items)-1]
	if payload := pkt.Payload(); len(payload) > 0 {
		if !parse(codec.codec, payload, &it.h) {
			// The number was used, so what follows it must not be renumbered:
			// subscribers see a loss.
			r.stats.Malformed++
			r.items = r.items[:len(r.items)-1]
			if l.cache != nil {
				l.cache.Forget(pkt.Seq, pkt.Seq)
			}
			return
		}
		it.key = it.h.KeyFrame || it.h.IDR && !l.parameterSets
	}
	if it.key || it.h.CodedWidth != 0 {
		p.measure(it, now)
	}
	if l.tooLarge {
		r.stats.TooLarge++
		r.items = r.items[:len(r.items)-1]
		return
	}
	l.inRun++
	if x := p.cfg.Extensions.Orientation; x != 0 {
		it.orientation = pkt.Extension(x)
	}
	if l.codec != codec {
		l.codec = codec
		l.forgetParts()
	}
	it.spatial, it.temporal, it.end = it.h.Spatial, it.h.Temporal, it.h.End
	if x := p.cfg.Extensions.DependencyDescriptor; x != 0 {
		if it.dependency = pkt.Extension(x); it.dependency != nil {
			l.describe(it)
		}
	}
	l.part(it, size, now)
	if it.key && (pkt.Timestamp != l.burstStamp || now-l.burstAt > burstTime) {
		l.burstAt, l.burstStamp, l.keyBytes = now, pkt.Timestamp, 0
	}
	if now-l.burstAt <= burstTime {
		l.keyBytes += size
	}
	sized := false
	if it.key {
		l.keys.gotKeyFrame()
		if it.epoch != l.keyEpoch || ext > l.keyExt {
			l.keyExt, l.keyEpoch, l.keyAt = ext, it.epoch, now
		}
		l.parameterSets = l.parameterSets || codec.codec == meeting.CodecH264CBP && it.h.KeyFrame
		if it.h.Width != 0 {
			sized = l.width == 0 && l.listed
			l.width, l.height = it.h.Width, it.h.Height
		}
	}
	if l.cache != nil {
		l.cache.Put(pkt)
	}
	if !l.listed || p.stalled || sized {
		if p.list(now) || sized {
			r.changed()
		}
	}
}

// describe reads the dependency descriptor of a packet. One that cannot be read is
// not passed on.
func (l *layer) describe(it *item) {
	st := l.structure
	switch {
	case st == nil:
		st = new(rtp.DependencyStructure)
		l.structure = st
		fallthrough
	case it.ext >= l.structured:
		if rtp.AttachesStructure(it.dependency) {
			l.structures++
			l.structured = it.ext
		}
	default:
		// From before the structure in force, which it must not replace.
		l.pub.r.structure = *st
		st = &l.pub.r.structure
	}
	if !rtp.ParseDependency(it.dependency, st, &it.dep) {
		it.dependency = nil
		return
	}
	it.structures = l.structures
	if it.targeted() {
		it.spatial, it.temporal, it.end = it.dep.Spatial, it.dep.Temporal, it.dep.End
	}
}

// measure holds the layer back from a picture on that is larger than allowed, and
// lets it go on at a key frame that is not.
func (p *Publication) measure(it *item, now int64) {
	if p.cfg.MaxPicture == (meeting.Resolution{}) {
		return
	}
	l, w, h := it.layer, it.h.CodedWidth, it.h.CodedHeight
	fits := w != 0 && h != 0 && p.cfg.MaxPicture.Fits(w, h)
	if fits != l.tooLarge || fits && !it.key {
		return
	}
	l.tooLarge = !fits
	if fits {
		l.liveSince = now
		return
	}
	l.keys.last = now
	for _, s := range l.subs {
		s.held(l)
	}
	if p.list(now) {
		p.r.changed()
	}
	if !p.refused && p.cfg.OnTooLarge != nil {
		p.refused = true
		p.cfg.OnTooLarge(w, h)
	}
}

// repaired finds the extended number of a packet that came by retransmission;
// ok is false when it is not missing.
func (l *layer) repaired(seq uint16) (ext uint64, ok bool) {
	top := l.recv.Max()
	d := rtp.SeqDiff(seq, uint16(top))
	if top == 0 || d >= 0 || uint64(-d) > top {
		return 0, false
	}
	ext = top - uint64(-d)
	return ext, l.nacks.Received(ext)
}

// list decides which layers are sources, and says whether that changed.
func (p *Publication) list(now int64) (changed bool) {
	flowing := false
	for _, l := range p.layers {
		flowing = flowing || l.flows(now)
	}
	started := false
	for _, l := range p.layers {
		begun := l.enabled() && l.lastPacket != 0 && !l.tooLarge
		started = started || begun
		listed := begun && (!flowing || l.flows(now))
		changed = changed || listed != l.listed
		l.listed = listed
	}
	stalled := started && !flowing
	changed = changed || stalled != p.stalled
	p.stalled = stalled
	return changed
}

func (l *layer) flows(now int64) bool {
	return l.enabled() && !l.tooLarge && l.lastPacket != 0 && now-l.lastPacket < stalledAfter
}

func (p *Publication) tick(now int64) {
	for _, l := range p.layers {
		if l.lastPacket != 0 {
			l.rate.advance(now)
		}
		if l.parts != nil {
			l.parts.tick(now)
		}
		if now-l.leftAt > leftFor {
			l.left = 0
		}
		l.askKeyFrame(now)
		l.askMissing(now)
		if l.tooLarge && p.cfg.Up != nil && now-l.keys.last >= measureEvery && now-l.lastPacket < quietAfter {
			l.sendPLI(now) // what lets it go on may have been lost
		}
	}
	if p.list(now) {
		p.r.changed()
	}
	if p.cfg.Up == nil {
		return
	}
	if now >= p.nextFeedback {
		p.nextFeedback = now + feedbackInterval
		p.sendFeedback()
		p.up.look(int64(p.announced())*1000, now)
	}
	if now >= p.nextReport || p.limits(now) {
		p.nextReport = now + reportInterval
		p.sendReport(now)
	}
}

// limits says that the publisher must be told of another limit at once: one that
// is lower, or that is much higher or gone.
func (p *Publication) limits(now int64) bool {
	if !p.cfg.REMB {
		return false
	}
	limit := p.asked()
	if up := p.up.limit; up != 0 && (limit == 0 || up < limit) {
		limit = up
	}
	was := p.up.told
	switch {
	case limit == was:
		return false
	case limit != 0 && (was == 0 || limit < was*9/10):
	case limit == 0 || limit > was*11/10:
		if now-p.up.toldAt < 200*millisecond {
			return false
		}
	default:
		return false
	}
	p.up.told, p.up.toldAt = limit, now
	return true
}

func (p *Publication) sendFeedback() {
	t := p.cfg.TransportCC
	if t == nil || len(p.layers) == 0 {
		return
	}
	r := p.r
	for range 4 { // bounded; the rest goes with the next tick
		if t.Pending() == 0 {
			return
		}
		r.rtcp = t.AppendFeedback(r.rtcp[:0], r.cfg.SSRC, p.layers[0].ssrc)
		if len(r.rtcp) == 0 {
			return
		}
		p.cfg.Up.SendRTCP(r.rtcp)
	}
}

// announced is the sum of what the layers may send, in kbit/s.
func (p *Publication) announced() (kbps uint64) {
	for _, l := range p.layers {
		kbps += uint64(l.cfg.MaxBitrateKbps)
	}
	return kbps
}

// sendReport sends one compound packet: how each layer is received and, where
// nothing better was negotiated, how much may be sent.
func (p *Publication) sendReport(now int64) {
	r := p.r
	var reports [8]rtp.ReportBlock
	var ssrcs [8]uint32
	n := 0
	kbps := p.announced()
	for _, l := range p.layers {
		if l.ssrc != 0 && l.lastPacket != 0 && n < len(reports) {
			reports[n] = l.recv.Report(l.ssrc, now)
			ssrcs[n] = l.ssrc
			n++
		}
	}
	if n == 0 {
		return
	}
	r.rtcp = rtp.AppendRR(r.rtcp[:0], r.cfg.SSRC, reports[:n]...)
	switch {
	case !p.cfg.REMB || kbps == 0:
	case p.up.told > 0:
		r.rtcp = rtp.AppendREMB(r.rtcp, r.cfg.SSRC, uint64(p.up.told), ssrcs[:n]...)
	case p.cfg.TransportCC == nil || p.up.toldAt != 0:
		// Headroom for retransmissions and probes over what was announced.
		r.rtcp = rtp.AppendREMB(r.rtcp, r.cfg.SSRC, kbps*1500, ssrcs[:n]...)
	}
	p.cfg.Up.SendRTCP(r.rtcp)
}

// HandleSenderReport takes a sender report of the publisher, from which those
// of the subscriptions are made.
func (p *Publication) HandleSenderReport(ssrc uint32, s rtp.SenderInfo, now int64) {
	for _, l := range p.layers {
		if l.ssrc != ssrc || ssrc == 0 {
			continue
		}
		l.recv.SenderReport(s.NTP, now)
		if s.NTP == 0 {
			return // a sender without a wall clock (RFC 3550 6.4.1)
		}
		l.srWall, l.srTimestamp, l.srKnown = rtp.UnixNano(s.NTP), s.Timestamp, true
		offset := p.r.cfg.Epoch + now - l.srWall
		d := offset - p.clockOffset
		switch {
		case !p.clockKnown || d < 0 || d > 10*second:
			p.clockOffset, p.clockKnown = offset, true
		default:
			p.clockOffset += d / 64 // clocks drift apart
		}
		return
	}
}
