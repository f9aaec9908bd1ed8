package client

import (
	"time"

	"belfry/internal/media/rtp"
)

const (
	videoReports = 1e9   // ns between receiver reports, as browsers do with video
	audioReports = 5e9   // and without
	consent      = 2.5e9 // between connectivity checks
)

type schedule struct {
	report, feedback, consent, counted int64
	rate                               float64 // bits a second received
}

// control takes RTCP from the server.
func (c *Client) control(pkt []byte, now int64) {
	r := rtp.RTCP{Data: pkt}
	for r.Next() {
		switch {
		case r.IsPLI() && r.Media == c.video.ssrc:
			c.video.keyWanted = true
		case r.IsFIR():
			c.video.keyWanted = true
		case c.cfg.Adapts && c.keepTo(&r):
		case r.IsNACK() && r.Media == c.video.ssrc:
			c.seqs = r.NACK(c.seqs[:0], 256)
			c.resend(c.seqs)
		case r.IsNACK() && r.Media == c.audio.ssrc && c.audio.cache != nil:
			c.seqs = r.NACK(c.seqs[:0], 256)
			c.sayAgain(c.seqs)
		case r.Type == rtp.TypeSR || r.Type == rtp.TypeRR:
			if s, ok := r.SenderInfo(); ok {
				for _, in := range c.in {
					if in.ssrc == r.Sender {
						in.receiver.SenderReport(s.NTP, now)
					}
				}
			}
			c.tripped(&r)
		}
	}
}

// tripped takes the round trip from reports on what it sends: what is asked for again is
// not asked for once more before an answer can be there.
func (c *Client) tripped(r *rtp.RTCP) {
	for i := 0; ; i++ {
		block, ok := r.Report(i)
		if !ok {
			return
		}
		if rtt, ok := block.RoundTrip(rtp.NTP(time.Now().UnixNano())); ok && (block.SSRC == c.audio.ssrc || block.SSRC == c.video.ssrc) {
			for _, in := range c.in {
				in.missing.RTT = rtt
			}
		}
	}
}

// keepTo takes the rate that the server asks the camera for, if that is what it says.
func (c *Client) keepTo(r *rtp.RTCP) bool {
	bps, ok := r.REMB()
	if ok {
		c.video.most = int(min(bps, 1e9))
	}
	return ok
}

// feedbackInterval is how often Chrome sends transport-wide feedback: it spends 5 %
// of the rate on packets of 68 bytes, but waits 50 ms at least and 250 ms at most.
func feedbackInterval(rate float64) int64 {
	if rate <= 0 {
		return 250e6
	}
	return int64(min(max(68*8/(0.05*rate), 0.05), 0.25) * float64(time.Second))
}

// housekeep sends the RTCP and checks that are due. It is called every 20 ms.
func (c *Client) housekeep(now int64) {
	s := &c.pace
	if now >= s.consent {
		s.consent = now + consent
		_ = c.check()
	}
	if elapsed := now - s.counted; elapsed >= 500e6 {
		bytes := 0
		for _, in := range c.in {
			bytes += in.bytes
			in.bytes = 0
		}
		s.rate = float64(bytes) * 8e9 / float64(elapsed)
		s.counted = now
	}
	own := c.audio.ssrc
	if c.cfg.VideoRate > 0 {
		own = c.video.ssrc
	}
	if now >= s.feedback && c.twcc.Pending() > 0 {
		s.feedback = now + feedbackInterval(s.rate)
		media := uint32(0)
		if len(c.in) > 0 {
			media = c.in[0].ssrc
		}
		for c.twcc.Pending() > 0 {
			c.sendControl(c.twcc.AppendFeedback(c.scratch.packet[:0], own, media))
		}
	}
	for _, in := range c.in {
		if !in.video || in.missing.Len() == 0 {
			continue
		}
		c.seqs, _ = in.missing.Due(c.seqs[:0], now)
		if len(c.seqs) > 0 {
			c.sendControl(rtp.AppendNACK(c.scratch.packet[:0], own, in.ssrc, c.seqs))
		}
	}
	if now >= s.report {
		c.report(now, own)
	}
}

// report sends a sender or receiver report with all that came.
func (c *Client) report(now int64, own uint32) {
	interval := int64(audioReports)
	blocks := c.blocks[:0]
	for _, in := range c.in {
		if in.video {
			interval = videoReports
		}
		if in.receiver.Received() > 0 {
			blocks = append(blocks, in.receiver.Report(in.ssrc, now))
		}
	}
	if c.cfg.VideoRate > 0 {
		interval = videoReports
	}
	c.pace.report, c.blocks = now+interval, blocks
	blocks = blocks[:min(len(blocks), 31)]
	ntp := rtp.NTP(time.Now().UnixNano())
	b := c.scratch.packet[:0]
	switch {
	case c.video.packets > 0:
		b = rtp.AppendSR(b, own, rtp.SenderInfo{NTP: ntp, Timestamp: uint32(c.video.frame * uint64(90000/c.cfg.Frames)),
			Packets: c.video.packets, Bytes: c.video.bytes}, blocks...)
	case c.audio.packets > 0:
		b = rtp.AppendSR(b, own, rtp.SenderInfo{NTP: ntp, Timestamp: c.audio.time, Packets: c.audio.packets}, blocks...)
	default:
		b = rtp.AppendRR(b, own, blocks...)
	}
	c.sendControl(rtp.AppendSDES(b, own, "load"))
}

func (c *Client) wantKeyFrame(s *stream) {
	c.sendControl(rtp.AppendPLI(c.scratch.packet[:0], c.video.ssrc, s.ssrc))
}

func (c *Client) sendControl(pkt []byte) {
	if !c.up.Load() || len(pkt) == 0 {
		return
	}
	room := c.wire.reserve(c.remote.addr, len(pkt)+c.out.OverheadRTCP())
	if n, err := c.out.SealRTCP(room, pkt); err == nil {
		c.wire.commit(n)
		c.stats.FeedbackSent++
	}
}
