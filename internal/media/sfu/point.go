package sfu

import "belfry/internal/media/rtp"

// All as the Spatial or Temporal of a Point stands for every layer there is.
const All = 255

// Point is an operating point: one way in which what a publication sends can be
// received. Layers of simulcast are streams with ids of their own, and a stream
// may hold spatial layers (SVC) and temporal layers; a point names one stream
// and the highest of each layer in it, whatever the codec. What lies above is not
// forwarded.
type Point struct {
	StreamID          uint32
	Spatial, Temporal uint8 // the highest that is received, from 0; All for no limit

	// What Publication.Points knows of it: the size, 0 when not known, and what it
	// measured over the last seconds of everything that has to be sent for it.
	Width, Height uint32
	Bps           uint32
}

// Points appends the points that the publication can be received at now: of each
// stream that flows, in the order of Sources, those of the lower spatial layer
// first and within it those of the lower temporal one. A stream without layers is
// one point of spatial and temporal layer 0.
func (p *Publication) Points(to []Point) []Point {
	for _, l := range p.layers {
		if l.listed {
			to = l.points(to)
		}
	}
	return to
}

// Points appends those of the publication whose stream was chosen.
func (s *Subscription) Points(to []Point) []Point {
	if s.want == nil {
		return to
	}
	return s.want.pub.Points(to)
}

// Choose makes a point what shall flow. A lower one of the same stream flows from
// the next picture on. A higher temporal layer comes as soon as a picture can be
// decoded by who did not have that layer, and a higher spatial layer or another
// stream at the next key frame, which is asked for; until then what flowed goes
// on. The receiver sees one unbroken stream. An id that does not exist stops the
// subscription and reports false.
func (s *Subscription) Choose(p Point, now int64) (ok bool) {
	if s.closed {
		return false
	}
	s.limit = limit{p.Spatial, p.Temporal}
	l := s.r.layers[p.StreamID]
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

// Switch is Choose without a limit on the layers of the stream.
func (s *Subscription) Switch(streamID uint32, now int64) (ok bool) {
	return s.Choose(Point{StreamID: streamID, Spatial: All, Temporal: All}, now)
}

// Chosen is the point that was chosen last; its StreamID is 0 when that does not
// exist any more.
func (s *Subscription) Chosen() Point {
	return Point{StreamID: s.StreamID(), Spatial: s.limit.spatial, Temporal: s.limit.temporal}
}

// FlowingPoint is the point that is being forwarded; ok is false while none is.
func (s *Subscription) FlowingPoint() (p Point, ok bool) {
	if !s.live || s.paused {
		return p, false
	}
	p = Point{StreamID: s.cur.streamID, Spatial: s.sieve.spatial, Temporal: s.sieve.temporal}
	return p, true
}

// parts is what is known of the spatial and temporal layers of one stream.
type parts struct {
	rates             [rtp.MaxSpatial][rtp.MaxTemporal]rate
	last              [rtp.MaxSpatial][rtp.MaxTemporal]int64 // when a packet came, 0 for never
	width, height     [rtp.MaxSpatial]uint32
	spatial, temporal uint8 // the highest that come
}

// partGone is how long a spatial or temporal layer may be silent before it counts
// as switched off.
const partGone = 2 * second

// measure notes a packet of a layer with spatial or temporal layers.
func (l *layer) part(it *item, size int, now int64) {
	if l.parts == nil {
		if it.spatial == 0 && it.temporal == 0 {
			return
		}
		l.parts = new(parts)
	}
	t := l.parts
	t.rates[it.spatial][it.temporal].add(size, now)
	t.last[it.spatial][it.temporal] = max(now, 1)
	t.spatial, t.temporal = max(t.spatial, it.spatial), max(t.temporal, it.temporal)
	switch {
	case it.dep.Attached && l.structure != nil:
		t.width, t.height = l.structure.Width, l.structure.Height
	case it.h.Layered():
		for i := range t.width {
			t.width[i], t.height[i] = it.h.LayerSize(it.p.Payload(), i)
		}
	}
}

// tick forgets what does not come any more.
func (t *parts) tick(now int64) {
	t.spatial, t.temporal = 0, 0
	for s := range t.rates {
		for k := range t.rates[s] {
			if last := t.last[s][k]; last == 0 || now-last > partGone {
				continue
			}
			t.rates[s][k].advance(now)
			t.spatial, t.temporal = max(t.spatial, uint8(s)), max(t.temporal, uint8(k))
		}
	}
}

func (l *layer) points(to []Point) []Point {
	t := l.parts
	if t == nil || t.spatial == 0 && t.temporal == 0 {
		return append(to, Point{StreamID: l.streamID, Width: l.width, Height: l.height, Bps: l.rate.bps()})
	}
	for s := range t.spatial + 1 {
		for k := range t.temporal + 1 {
			p := Point{StreamID: l.streamID, Spatial: s, Temporal: k, Width: t.width[s], Height: t.height[s]}
			if p.Width == 0 && s == t.spatial {
				p.Width, p.Height = l.width, l.height
			}
			for i := range s + 1 {
				for j := range k + 1 {
					if i < s && l.targeted() && !l.structure.Needs(l.structure.Target(s, k), i, j) {
						continue // its key frames alone, which are few
					}
					p.Bps += t.rates[i][j].bps()
				}
			}
			to = append(to, p)
		}
	}
	return to
}

// highest are the highest layers of the stream.
func (l *layer) highest() (spatial, temporal uint8) {
	if l.parts == nil {
		return 0, 0
	}
	return l.parts.spatial, l.parts.temporal
}
