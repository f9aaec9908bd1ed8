package sfu

import "belfry/internal/media/rtp"

// What one subscriber may cost the others and the link.
const (
	pliBurst = 3
	pliEvery = 2 * second // refill of one key frame request

	resendBurst = 400 // halves of a packet: 200 at once, then half of what is sent
	askBurst    = 40  // halves of a packet: 20 asked for at once, then one for each two that come

	resendEvery = 20 * millisecond
)

// maxNACK bounds the numbers taken from one NACK.
const maxNACK = 256

// bucket is a budget that refills.
type bucket struct {
	tokens, burst int
	last          int64
}

func (b *bucket) add(n int) { b.tokens = min(b.tokens+n, b.burst) }

func (b *bucket) refill(now, every int64) {
	if b.last == 0 || b.tokens >= b.burst {
		b.last = now
		return
	}
	if n := (now - b.last) / every; n > 0 {
		b.add(int(min(n, int64(b.burst))))
		b.last += n * every
	}
}

func (b *bucket) take(n int) bool {
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// HandleNACK sends packets again that the receiver misses: on the RTX SSRC when
// that was negotiated, else under their own number. What would cost more than a share
// of the stream is left. What cannot be had any more, as after a cut of the network, is
// a wish for a key frame: browsers wait up to three seconds before they ask for one.
func (s *Subscription) HandleNACK(seqs []uint16) {
	if s.closed || s.paused || !s.cfg.NACK || !s.out.started {
		return
	}
	for _, seq := range seqs[:min(len(seqs), maxNACK)] {
		s.r.stats.NACKsHandled++
		d := rtp.SeqDiff(seq, uint16(s.out.seq))
		if d > 0 || uint64(-d) >= s.out.seq-s.void {
			continue
		}
		out := s.out.seq - uint64(-d)
		switch {
		case s.down != nil && s.down.est.Queued(s.r.now) && (!s.live || out < s.keyed):
			// A key frame comes, or came, that does without.
		case !s.gone(out):
			s.resend(out)
		case !s.target.keys.wanted:
			s.HandleKeyFrameRequest(s.r.now)
		}
	}
}

// gone says that a packet that was sent cannot be sent again, nor will be, and that
// nothing that was sent since can be decoded without it.
func (s *Subscription) gone(out uint64) bool {
	if !s.live || s.target == nil || out < s.keyed || out < s.seg.outFirst {
		return false
	}
	ext := out - s.seg.outFirst + s.seg.first
	l := s.cur
	return l.cache != nil && s.seg.epoch == l.epoch && !l.cache.Has(uint16(ext)) && !l.nacks.Missing(ext)
}

func (s *Subscription) resend(out uint64) {
	seg := &s.seg
	if out < seg.outFirst {
		seg = s.past.byOut(out)
	}
	if seg == nil || seg.layer == nil || seg.epoch != seg.layer.epoch || seg.layer.cache == nil {
		return
	}
	ext := out - seg.outFirst + seg.first
	p := &s.r.packet
	if ext > seg.last || !seg.layer.cache.Get(uint16(ext), p) || p.PayloadType != seg.in || s.down != nil && !s.down.mend(len(p.Raw), s.r.now) || !s.back.take(2) {
		return
	}
	s.r.stats.Resent++
	timestamp := p.Timestamp - seg.timestamp
	if s.fill.has(out) {
		s.sendFiller(p, seg, out, timestamp)
		return
	}
	// What is known of it was known when it came, and is read again.
	it := &s.r.again
	*it = item{p: p, layer: seg.layer}
	cfg := &seg.layer.pub.cfg
	if x := cfg.Extensions.Orientation; x != 0 {
		it.orientation = p.Extension(x)
	}
	payload := p.Payload()
	parsed := len(payload) > 0 && parse(seg.codec, payload, &it.h)
	it.spatial, it.end = it.h.Spatial, it.h.End
	if x := cfg.Extensions.DependencyDescriptor; x != 0 && seg.layer.structure != nil {
		if b := p.Extension(x); b != nil {
			s.r.structure = *seg.layer.structure // one that is attached must not come into force again
			if rtp.ParseDependency(b, &s.r.structure, &it.dep) {
				it.dependency = b
				if it.dep.Known && byTargets(seg.codec, it.dep.Apart) {
					it.spatial, it.end = it.dep.Spatial, it.dep.End
				}
			}
		}
	}
	if it.dependency != nil && s.cfg.RTX == 0 && (s.cfg.Extensions.DependencyDescriptor != 0 || seg.spatial != All) {
		return // the structure may have been another when it was sent first
	}
	if parsed {
		it.h.Patch(payload, it.h.PictureID-seg.picture, it.h.TL0PicIdx-seg.tl0)
	}
	if s.cfg.RTX != 0 && seg.rtx != 0 {
		header := s.header(it, seg, seg.rtx, s.cfg.RTX, s.rtx, timestamp)
		s.rtx++
		wrapped, undo := p.WrapRTX(uint16(out))
		s.send(header, wrapped, true)
		p.UndoRTX(undo)
	} else if s.cfg.Extensions.TransportCC == 0 {
		s.send(s.header(it, seg, seg.payloadType, s.cfg.SSRC, uint16(out), timestamp), payload, true)
	}
	if parsed {
		it.h.Patch(payload, it.h.PictureID, it.h.TL0PicIdx) // the cache is everybody's
	}
}

// HandleKeyFrameRequest takes a PLI or FIR of the receiver. One receiver's
// losses must not cost all others a flood of key frames, so only some are
// honoured at once.
func (s *Subscription) HandleKeyFrameRequest(now int64) {
	if s.closed || s.paused || s.target == nil {
		return
	}
	if s.live && (s.down != nil && s.down.keyWaits(s) || !s.pli.take(1) || s.replay(now)) {
		return
	}
	s.target.requestKeyFrame(now)
}

const (
	replayLeast   = 30 * millisecond // after a key frame was sent, a request is not yet about it
	replayPackets = 96               // is the most that is sent at once
)

// replay sends the newest key frame again, with what followed it, as new frames: to a
// receiver that asks for one just after it was sent one, as who is told of a stream a
// moment before its browser is ready for it. Encoders take no notice of requests that
// come so soon after the last.
func (s *Subscription) replay(now int64) bool {
	l := s.target
	if l != s.cur || l.cache == nil || l.keys.wanted || now-l.keyAt >= keyFrameInterval ||
		now-s.keyAt < max(replayLeast, s.rtt) || l.keyEpoch != l.epoch || s.seg.epoch != l.epoch ||
		l.structured != 0 || l.tooLarge {
		return false
	}
	last := l.recv.Max()
	if last < l.keyExt || last-l.keyExt >= replayPackets {
		return false
	}
	for ext := l.keyExt; ext <= last; ext++ {
		if !l.cache.Has(uint16(ext)) {
			return false
		}
	}
	s.live = false
	for ext := l.keyExt; ext <= last; ext++ {
		p, it := &s.r.packet, &s.r.again
		if !l.cache.Get(uint16(ext), p) {
			break
		}
		codec := &l.pub.codecs[p.PayloadType]
		*it = item{p: p, layer: l, ext: ext, epoch: l.epoch, codec: codec}
		payload := p.Payload()
		parsed := len(payload) > 0 && parse(codec.codec, payload, &it.h)
		it.key = ext == l.keyExt
		it.spatial, it.temporal, it.end = it.h.Spatial, it.h.Temporal, it.h.End
		if x := l.pub.cfg.Extensions.Orientation; x != 0 {
			it.orientation = p.Extension(x)
		}
		s.forward(it)
		if parsed {
			it.h.Patch(payload, it.h.PictureID, it.h.TL0PicIdx) // the cache is everybody's
		}
	}
	s.r.stats.Replays++
	return true
}

// HandleReport takes a report block of the receiver on the media SSRC.
func (s *Subscription) HandleReport(b rtp.ReportBlock, now int64) {
	s.rr = b
	if rtt, ok := b.RoundTrip(rtp.NTP(s.r.cfg.Epoch + now)); ok {
		s.rtt = rtt
	}
}

// Peer finds the publications and subscriptions of one client for HandleRTCP.
// Both may return nil.
type Peer interface {
	PublicationBySSRC(ssrc uint32) *Publication
	SubscriptionBySSRC(ssrc uint32) *Subscription
	// Downlink is the way to the client, whose bandwidth its feedback tells of.
	Downlink() *Downlink
}

// HandleRTCP takes a compound packet of one client and hands its parts to what
// they are about: sender reports to publications; NACK, PLI, FIR and reception
// reports to subscriptions. The parts for other SSRCs (audio) are skipped. The
// error says that the packet was malformed; what came before the fault counts.
func (r *Router) HandleRTCP(pkt []byte, from Peer, now int64) error {
	r.now = now
	c := rtp.RTCP{Data: pkt}
	for c.Next() {
		switch {
		case c.IsTWCC():
			if d := from.Downlink(); d != nil {
				d.Feedback(c.Body, now)
			}
		case c.Type == rtp.TypeSR || c.Type == rtp.TypeRR:
			if info, ok := c.SenderInfo(); ok {
				if p := from.PublicationBySSRC(c.Sender); p != nil {
					p.HandleSenderReport(c.Sender, info, now)
				}
			}
			for i := 0; ; i++ {
				b, ok := c.Report(i)
				if !ok {
					break
				}
				if s := from.SubscriptionBySSRC(b.SSRC); s != nil {
					s.HandleReport(b, now)
				}
			}
		case c.IsNACK():
			if s := from.SubscriptionBySSRC(c.Media); s != nil {
				r.seqs = c.NACK(r.seqs[:0], maxNACK)
				s.HandleNACK(r.seqs)
			}
		case c.Type == rtp.TypePSFB && c.Format == rtp.FormatAFB:
			if bps, ok := c.REMB(); ok {
				if d := from.Downlink(); d != nil {
					d.REMB(bps, now)
				}
			}
		case c.IsPLI():
			if s := from.SubscriptionBySSRC(c.Media); s != nil {
				s.HandleKeyFrameRequest(now)
			}
		case c.IsFIR():
			for i := 0; ; i++ {
				ssrc, _, ok := c.FIR(i)
				if !ok {
					break
				}
				if s := from.SubscriptionBySSRC(ssrc); s != nil {
					s.HandleKeyFrameRequest(now)
				}
			}
		}
	}
	if c.Err != nil {
		r.stats.Malformed++
	}
	return c.Err
}
