package client

import (
	"time"

	"belfry/internal/bench/check"
	"belfry/internal/media/rtp"
)

const packetSize = 1050 // bytes of a video packet, about

type audioOut struct {
	ssrc    uint32
	seq     uint16
	time    uint32
	word    int   // of the voice
	turn    int64 // when it began to speak or to pause
	talking bool
	packets uint32
	cache   *rtp.Cache // nil: nothing is sent again
}

type videoOut struct {
	ssrc, rtx   uint32
	mid         string
	seq, rtxSeq uint16
	transport   uint16 // transport-wide number
	number      uint64
	frame       uint64
	most        int // bits a second that the server asked for, 0: it did not
	keyWanted   bool
	keyAt       int64
	packets     uint32
	bytes       uint32
	cache       *rtp.Cache
}

// silence is what a muted browser sends.
var silence = []byte{0xF8, 0xFF, 0xFE}

// speak sends the packet of 20 ms.
func (c *Client) speak(now int64) {
	a := &c.audio
	if a.turn == 0 {
		a.turn, a.talking = now+int64(c.cfg.Offset), false // a pause first: the mix should know it
	}
	loud := len(c.cfg.Voice) > 0
	if loud && c.cfg.Pause > 0 {
		if length := time.Duration(now - a.turn); a.talking && length >= c.cfg.Talk || !a.talking && length >= c.cfg.Pause {
			a.turn, a.talking = now, !a.talking
			if a.talking {
				a.word = 0
			}
			switch {
			case c.cfg.Speech == nil:
			case a.talking:
				c.cfg.Speech.Begin(Now())
			default:
				c.cfg.Speech.End(now)
			}
		}
		loud = a.talking
	}
	a.seq++
	a.time += 960
	payload, level := silence, uint8(127)
	if loud {
		payload, level = c.cfg.Voice[a.word%len(c.cfg.Voice)], 25
		if c.cfg.Spoke != nil {
			c.cfg.Spoke(a.word, now)
		}
		a.word++
	} else if c.cfg.Quiet {
		return
	}
	w := &c.header
	w.Begin(c.scratch.header[:], c.numbers.opus, false, a.seq, a.time, a.ssrc)
	w.AudioLevel(c.numbers.level, level, loud)
	w.AbsSendTime(c.numbers.abs, now)
	a.packets++
	room := c.wire.reserve(c.remote.addr, len(w.Bytes())+len(payload)+c.out.Overhead())
	n, err := c.out.SealRTP(room, w.Bytes(), payload)
	if err != nil {
		return
	}
	if a.cache != nil && c.kept.Parse(room[:n]) == nil {
		c.kept.Arrival = now
		a.cache.Put(&c.kept)
	}
	c.wire.commit(n)
}

// sayAgain answers a NACK by the same packets, as they were sealed, since no number is
// sealed twice: sound has no retransmission format.
func (c *Client) sayAgain(seqs []uint16) {
	var p rtp.Packet
	for _, seq := range seqs {
		if c.audio.cache.Get(seq, &p) {
			if room := c.wire.reserve(c.remote.addr, len(p.Raw)); room != nil {
				c.wire.commit(copy(room, p.Raw))
				c.stats.Mended++
			}
		}
	}
}

// film sends one frame.
func (c *Client) film(now int64) {
	v := &c.video
	rate := c.cfg.VideoRate
	if v.most > 0 {
		rate = max(min(rate, v.most), 30_000)
	}
	size := rate / 8 / c.cfg.Frames
	packets := max(1, (size+packetSize/2)/packetSize)
	each := size / packets
	key := v.frame == 0 || v.keyWanted && now-v.keyAt > 300e6
	if key {
		v.keyWanted, v.keyAt = false, now
		packets *= 2
		c.stats.KeyFrames++
	}
	time := uint32(v.frame * uint64(90000/c.cfg.Frames))
	payload := c.scratch.plain[:max(each-check.StampSize, 64)]
	for i := range packets {
		// The VP8 descriptor with a 15-bit picture id (RFC 7741 4.2), then a frame
		// header (RFC 6386 9.1) of 640×360.
		payload[0], payload[1] = 0x80, 0x80
		payload[2], payload[3] = 0x80|byte(v.frame>>8), byte(v.frame)
		payload[4] = 0x01
		if i == 0 {
			payload[0] |= 0x10
			if key {
				copy(payload[4:], []byte{0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 640 & 0xFF, 640 >> 8, 360 & 0xFF, 360 >> 8})
			}
		}
		check.Stamp(payload, len(payload)-24, c.cfg.Sender, v.number, Now())
		w := &c.header
		w.Begin(c.scratch.header[:], c.numbers.vp8, i == packets-1, v.seq, time, v.ssrc)
		w.AbsSendTime(c.numbers.abs, now)
		w.TransportSequence(c.numbers.twcc, v.transport)
		w.String(c.numbers.mid, v.mid)
		c.put(w.Bytes(), payload)
		v.transport++
		v.seq++
		v.number++
		v.packets++
		v.bytes += uint32(len(payload))
		if c.kept.Parse(append(append(c.scratch.packet[:0], w.Bytes()...), payload...)) == nil {
			c.kept.Arrival = now
			v.cache.Put(&c.kept)
		}
	}
	v.frame++
	c.wire.flush()
}

// put seals a packet into the batch.
func (c *Client) put(header, payload []byte) {
	room := c.wire.reserve(c.remote.addr, len(header)+len(payload)+c.out.Overhead())
	if n, err := c.out.SealRTP(room, header, payload); err == nil {
		c.wire.commit(n)
	}
}

// resend answers a NACK by retransmissions (RFC 4588).
func (c *Client) resend(seqs []uint16) {
	var p rtp.Packet
	v := &c.video
	for _, seq := range seqs {
		if v.cache == nil || !v.cache.Get(seq, &p) {
			continue
		}
		w := &c.header
		w.Begin(c.scratch.header[:], c.numbers.rtx, p.Marker, v.rtxSeq, p.Timestamp, v.rtx)
		w.TransportSequence(c.numbers.twcc, v.transport)
		w.String(c.numbers.mid, v.mid)
		payload, undo := p.WrapRTX(p.Seq)
		c.put(w.Bytes(), payload)
		p.UndoRTX(undo)
		v.transport++
		v.rtxSeq++
		c.stats.Resent++
	}
}
