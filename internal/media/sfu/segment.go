package sfu

import (
	"math"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// segment maps one unbroken stretch of a layer onto the outgoing stream. Where
// another layer begins, or frames were left out, a new one does.
type segment struct {
	layer       *layer
	epoch       uint32
	first, last uint64 // extended numbers in the layer; last is toTheEnd while it goes on
	outFirst    uint64 // the outgoing number of first
	timestamp   uint32 // subtract from the layer's
	picture     uint16 // subtract from VP8 and VP9 picture ids
	frame       uint16 // subtract from frame numbers of the dependency descriptor
	tl0         uint8  // subtract from TL0PICIDX
	in          uint8  // payload type of the publisher
	payloadType uint8
	rtx         uint8
	codec       meeting.VideoCodec
	// The highest spatial layer in it, whose frames end a picture, and the decode
	// targets that the receiver is told of: no number of them, no telling.
	spatial uint8
	targets uint8
	active  uint32
	// The pictures that were left out just before and just after it: what comes
	// late of those stays left out.
	before, after       uint16
	hasBefore, hasAfter bool
}

const toTheEnd = math.MaxUint64

// segments keeps the last mappings of a subscription.
type segments struct {
	ring []segment
	n    int // how many were ever kept
}

// So many are kept of a subscription that takes all frames, and of one that leaves
// some out: each such frame ends a segment.
const (
	segmentsWhole = 4
	segmentsCut   = 64
)

func (g *segments) push(seg *segment) {
	if g.ring == nil {
		g.ring = make([]segment, segmentsWhole)
	}
	g.ring[g.n%len(g.ring)] = *seg
	g.n++
}

// widen makes room for many.
func (g *segments) widen() {
	if len(g.ring) == segmentsCut {
		return
	}
	old := *g
	*g = segments{ring: make([]segment, segmentsCut)}
	for i := max(0, old.n-len(old.ring)); i < old.n; i++ {
		g.push(&old.ring[i%len(old.ring)])
	}
}

// at returns the i-th, the newest first, nil when there are not so many.
func (g *segments) at(i int) *segment {
	if i >= min(g.n, len(g.ring)) {
		return nil
	}
	return &g.ring[(g.n-1-i)%len(g.ring)]
}

// byOut finds the segment of an outgoing number.
func (g *segments) byOut(out uint64) *segment {
	for i := 0; ; i++ {
		seg := g.at(i)
		if seg == nil || seg.outFirst <= out {
			return seg
		}
	}
}

// covering finds the segment that a number of the layer has a place in, nil when it
// was left out or is too old.
func (s *Subscription) covering(it *item) *segment {
	if it.ext >= s.seg.first {
		if it.ext <= s.seg.last {
			return &s.seg
		}
		return nil
	}
	for i := 0; ; i++ {
		seg := s.past.at(i)
		if seg == nil || seg.layer != it.layer || seg.epoch != it.epoch || seg.in != it.p.PayloadType {
			return nil
		}
		if it.ext >= seg.first {
			if it.ext <= seg.last {
				return seg
			}
			return nil
		}
	}
}

// cut is a stretch that is being left out.
type cut struct {
	open       bool
	timestamp  uint32 // of the last packet left out
	spatial    uint8
	picture    uint16 // the last one left out
	hasPicture bool
	shift      uint16 // how many pictures, since the segment ended
}

// place finds the segment that gives a packet its number; it is nil for one that is
// left out. With fill, the number was kept free for the packet, but the packet
// turned out to be one to leave out: something must go in its place, or the
// receiver would ask for it again and again.
func (s *Subscription) place(it *item) (seg *segment, fill bool) {
	if it.ext <= s.top {
		seg = s.covering(it)
		if seg == nil {
			return nil, false
		}
		if it.renumbers() && (seg.hasBefore && it.h.PictureID == seg.before || seg.hasAfter && it.h.PictureID == seg.after) {
			return seg, true
		}
		// A picture of VP8 that was missing whole has a picture id kept free.
		return seg, !it.renumbers() && s.sieve.above(it)
	}
	fresh := it.p.Timestamp-s.seg.timestamp != s.out.timestamp && !(s.cut.open && it.p.Timestamp == s.cut.timestamp)
	passes := s.sieve.pass(it, fresh)
	switch {
	case !passes && !s.cut.open:
		s.leave(it)
	case !passes:
		s.leaveMore(it)
	case s.cut.open:
		s.resume()
		s.describe(it)
	default:
		s.follow(it)
	}
	s.top = it.ext
	if !passes {
		return nil, false
	}
	return &s.seg, false
}

// renumbers says that the picture ids of the codec must have no gap where frames
// were left out. Those of VP9 must keep them: P_DIFF counts in them.
func (it *item) renumbers() bool {
	return it.codec.codec == meeting.CodecVP8 && it.h.PictureIDBits != 0
}

// leave ends the segment: it.ext is left out. What is missing before it keeps its
// numbers.
func (s *Subscription) leave(it *item) {
	s.past.widen()
	s.seg.last = it.ext - 1
	s.out.seq = max(s.out.seq, s.seg.outFirst+s.seg.last-s.seg.first)
	s.seg.after, s.seg.hasAfter = it.h.PictureID, it.renumbers()
	s.cut = cut{open: true}
	s.omit(it)
}

// leaveMore leaves out another packet after one that was. What is missing between
// them keeps its numbers, unless it is of the same frame.
func (s *Subscription) leaveMore(it *item) {
	if it.ext > s.top+1 && (it.p.Timestamp != s.cut.timestamp || it.spatial != s.cut.spatial) {
		s.resume()
		s.seg.last = it.ext - 1
		s.out.seq = s.seg.outFirst + s.seg.last - s.seg.first
		s.seg.after, s.seg.hasAfter = it.h.PictureID, it.renumbers()
		s.cut.open = true
	}
	s.omit(it)
}

// omit notes what is left out. The picture ids of VP8 close up.
func (s *Subscription) omit(it *item) {
	c := &s.cut
	if it.renumbers() && !(c.hasPicture && c.picture == it.h.PictureID) {
		c.shift++
		c.picture, c.hasPicture = it.h.PictureID, true
	}
	c.timestamp, c.spatial = it.p.Timestamp, it.spatial
}

// resume begins the segment after what was left out.
func (s *Subscription) resume() {
	s.past.push(&s.seg)
	c := &s.cut
	s.seg.first, s.seg.last = s.top+1, toTheEnd
	s.seg.outFirst = s.out.seq + 1
	s.seg.picture += c.shift
	s.seg.before, s.seg.hasBefore = c.picture, c.hasPicture
	s.seg.hasAfter = false
	c.open, c.shift = false, 0
}

// follow goes on in the segment, or begins another where what passes has changed.
func (s *Subscription) follow(it *item) {
	was := s.seg
	s.describe(it)
	if s.seg.spatial == was.spatial && s.seg.targets == was.targets && s.seg.active == was.active || it.ext == was.first {
		return
	}
	now := s.seg
	s.past.widen()
	was.last = s.top
	s.past.push(&was)
	now.outFirst += s.top + 1 - now.first
	now.first = s.top + 1
	now.hasBefore = false
	s.seg = now
}

// describe notes in the segment what passes.
func (s *Subscription) describe(it *item) {
	f := &s.sieve
	s.seg.spatial = f.spatial
	s.seg.targets, s.seg.active = 0, 0
	if it.dep.Targets == 0 || f.open() {
		return
	}
	st := it.layer.structure
	target := f.target
	if !it.targeted() {
		target = st.Target(f.spatial, f.temporal)
	}
	s.seg.targets, s.seg.active = it.dep.Targets, it.dep.Active&st.Within[target]
}

// fillers are the last numbers that were given to packets of nothing.
type fillers struct {
	at [16]uint64
	n  int
}

func (f *fillers) has(out uint64) bool {
	for _, x := range f.at {
		if x == out && out != 0 {
			return true
		}
	}
	return false
}

// sendFiller sends a packet of padding alone in place of p.
func (s *Subscription) sendFiller(p *rtp.Packet, seg *segment, out uint64, timestamp uint32) {
	f := &s.fill
	if !f.has(out) {
		slot := &f.at[f.n%len(f.at)]
		s.void = max(s.void, *slot) // it is not known any more what that was
		*slot = out
		f.n++
	}
	x := &s.cfg.Extensions
	w := &s.hdr
	w.TwoByte = s.twoByte
	w.Begin(s.r.header[:], seg.payloadType, false, uint16(out), timestamp, s.cfg.SSRC)
	if x.AbsSendTime != 0 {
		w.AbsSendTime(x.AbsSendTime, p.Arrival)
	}
	if x.MID != 0 {
		w.String(x.MID, s.cfg.MID)
	}
	header := w.Bytes()
	header[0] |= 0x20
	s.r.stats.PacketsOut++
	s.number = 0
	s.send(header, filler, false)
}

// filler is one byte of padding, which says how long it is (RFC 3550 5.1).
var filler = []byte{1}
