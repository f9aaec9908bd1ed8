package sfu

import "belfry/internal/media/rtp"

// What one subscriber may cost the others and the link.
const (
	pliBurst = 3
	pliEvery = 2 * second // refill of one key frame request

	resendBurst = 400 // halves of a packet: 200 at once, then half of what is sent
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
// that was negotiated, else under their own number. What is not in the cache
// any more, or would cost more than a share of the stream, is left.
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
		s.resend(s.out.seq - uint64(-d))
	}
}

func (s *Subscription) resend(out uint64) {
	seg := &s.seg
	if out < seg.outFirst {
		seg = nil
		for i := range s.past {
			if p := &s.past[i]; p.layer != nil && p.outFirst <= out {
				seg = p
				break
			}
		}
	}
	if seg == nil || seg.layer == nil || seg.epoch != seg.layer.epoch || seg.layer.cache == nil {
		return
	}
	p := &s.r.packet
	if !seg.layer.cache.Get(uint16(out-seg.outFirst+seg.first), p) || p.PayloadType != seg.in || !s.back.take(2) {
		return
	}
	s.r.stats.Resent++
	pub := seg.layer.pub
	var orientation, dependency []byte
	if x := pub.cfg.Extensions.Orientation; x != 0 {
		orientation = p.Extension(x)
	}
	if x := pub.cfg.Extensions.DependencyDescriptor; x != 0 {
		dependency = p.Extension(x)
	}
	payload := p.Payload()
	h := &s.r.video
	parsed := len(payload) > 0 && parse(seg.codec, payload, h)
	if parsed {
		h.Patch(payload, h.PictureID-seg.picture, h.TL0PicIdx-seg.tl0)
	}
	timestamp := p.Timestamp - seg.timestamp
	if s.cfg.RTX != 0 && seg.rtx != 0 {
		header := s.header(p, seg.rtx, s.cfg.RTX, s.rtx, timestamp, orientation, dependency)
		s.rtx++
		wrapped, undo := p.WrapRTX(uint16(out))
		s.cfg.Down.SendRTP(header, wrapped)
		p.UndoRTX(undo)
	} else {
		s.cfg.Down.SendRTP(s.header(p, seg.payloadType, s.cfg.SSRC, uint16(out), timestamp, orientation, dependency), payload)
	}
	if parsed {
		h.Patch(payload, h.PictureID, h.TL0PicIdx) // the cache is everybody's
	}
}

// HandleKeyFrameRequest takes a PLI or FIR of the receiver. One receiver's
// losses must not cost all others a flood of key frames, so only some are
// honoured at once.
func (s *Subscription) HandleKeyFrameRequest(now int64) {
	if s.closed || s.paused || s.target == nil {
		return
	}
	if s.live && !s.pli.take(1) {
		return
	}
	s.target.requestKeyFrame(now)
}

// HandleReport takes a report block of the receiver on the media SSRC.
func (s *Subscription) HandleReport(b rtp.ReportBlock, now int64) {
	s.rr = b
	if b.LastSR == 0 {
		return
	}
	rtt := uint32(rtp.NTP(s.r.cfg.Epoch+now)>>16) - b.LastSR - b.Delay
	if rtt < 60<<16 { // a minute: anything longer is a lie or a mistake
		s.rtt = int64(rtt) * second >> 16
	}
}

// Peer finds the publications and subscriptions of one client for HandleRTCP.
// Both may return nil.
type Peer interface {
	PublicationBySSRC(ssrc uint32) *Publication
	SubscriptionBySSRC(ssrc uint32) *Subscription
}

// HandleRTCP takes a compound packet of one client and hands its parts to what
// they are about: sender reports to publications; NACK, PLI, FIR and reception
// reports to subscriptions. The parts for other SSRCs (audio) are skipped. The
// error says that the packet was malformed; what came before the fault counts.
func (r *Router) HandleRTCP(pkt []byte, from Peer, now int64) error {
	c := rtp.RTCP{Data: pkt}
	for c.Next() {
		switch {
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
