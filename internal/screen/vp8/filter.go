package vp8

// filter smooths the edges of blocks over the whole frame (section 15).
func (d *Decoder) filter() {
	planes := d.frame.planes()
	for row := range d.rows {
		for col := range d.cols {
			mb := d.at(col, row)
			level := d.filterLevel(mb)
			if level == 0 {
				continue
			}
			e := d.limits(level)
			inner := mb.coded || mb.yMode == bPred || mb.yMode == mvSplit
			for i, p := range planes {
				size := 16
				if i > 0 {
					if d.head.simpleFilter {
						break
					}
					size = 8
				}
				e.filterBlock(p, col*size, row*size, size, inner, d.head.simpleFilter)
			}
		}
	}
}

// filterLevel is how strongly a macroblock is filtered, 0 to 63.
func (d *Decoder) filterLevel(mb *macroblock) int32 {
	p, level := &d.persist, d.head.filterLevel
	if p.segmented {
		if s := p.segmentFilter[mb.segment]; p.absolute {
			level = s
		} else {
			level += s
		}
		level = min(max(level, 0), 63)
	}
	if !p.deltas {
		return level
	}
	level += p.refDelta[mb.ref]
	switch {
	case mb.ref == refIntra:
		if mb.yMode == bPred {
			level += p.modeDelta[0]
		}
	case mb.yMode == mvZero:
		level += p.modeDelta[1]
	case mb.yMode == mvSplit:
		level += p.modeDelta[3]
	default:
		level += p.modeDelta[2]
	}
	return min(max(level, 0), 63)
}

// edgeLimits say which edges are taken for the codec's and which for the picture's.
type edgeLimits struct{ outer, inner, interior, variance int32 }

func (d *Decoder) limits(level int32) edgeLimits {
	interior := level
	if s := d.head.sharpness; s > 0 {
		interior >>= 1
		if s > 4 {
			interior >>= 1
		}
		interior = min(interior, 9-s)
	}
	interior = max(interior, 1)
	e := edgeLimits{outer: (level+2)*2 + interior, inner: level*2 + interior, interior: interior}
	switch {
	case level >= 40:
		e.variance = 2
	case level >= 15:
		e.variance = 1
	}
	if !d.head.key {
		switch {
		case level >= 40:
			e.variance = 3
		case level >= 20:
			e.variance = 2
		}
	}
	return e
}

// filterBlock filters the left edge, inner vertical, top and inner horizontal edges.
func (e *edgeLimits) filterBlock(p plane, x, y, size int, inner, simple bool) {
	at := y*p.stride + x
	for _, way := range [2]struct {
		edge          bool
		across, along int
	}{{x > 0, 1, p.stride}, {y > 0, p.stride, 1}} {
		if way.edge {
			if simple {
				e.simple(p.pix, at, way.across, way.along, size, e.outer)
			} else {
				e.outerEdge(p.pix, at, way.across, way.along, size)
			}
		}
		for i := 4; inner && i < size; i += 4 {
			if simple {
				e.simple(p.pix, at+i*way.across, way.across, way.along, size, e.inner)
			} else {
				e.innerEdge(p.pix, at+i*way.across, way.across, way.along, size)
			}
		}
	}
}

func abs(v int32) int32 {
	if v < 0 {
		return -v
	}
	return v
}

// c keeps a value to that of a signed byte.
func c(v int32) int32 { return min(max(v, -128), 127) }

// adjust moves the two pixels at an edge towards each other (common_adjust).
func adjust(pix []byte, at, step int, outerTaps bool) int32 {
	p1, p0 := int32(pix[at-2*step])-128, int32(pix[at-step])-128
	q0, q1 := int32(pix[at])-128, int32(pix[at+step])-128
	a := 3 * (q0 - p0)
	if outerTaps {
		a += c(p1 - q1)
	}
	a = c(a)
	b := c(a+3) >> 3
	a = c(a+4) >> 3
	pix[at], pix[at-step] = byte(c(q0-a)+128), byte(c(p0+b)+128)
	return a
}

func (e *edgeLimits) simple(pix []byte, at, step, along, n int, limit int32) {
	for range n {
		p1, p0 := int32(pix[at-2*step]), int32(pix[at-step])
		q0, q1 := int32(pix[at]), int32(pix[at+step])
		if 2*abs(p0-q0)+abs(p1-q1)>>1 <= limit {
			adjust(pix, at, step, true)
		}
		at += along
	}
}

// wanted reports whether an edge is to be filtered, and whether its sides vary
// so much that only the pixels next to it are.
func (e *edgeLimits) wanted(pix []byte, at, step int, limit int32) (filter, varies bool) {
	p3, p2, p1, p0 := int32(pix[at-4*step]), int32(pix[at-3*step]), int32(pix[at-2*step]), int32(pix[at-step])
	q0, q1, q2, q3 := int32(pix[at]), int32(pix[at+step]), int32(pix[at+2*step]), int32(pix[at+3*step])
	if 2*abs(p0-q0)+abs(p1-q1)>>1 > limit {
		return false, false
	}
	i := e.interior
	if abs(p3-p2) > i || abs(p2-p1) > i || abs(p1-p0) > i || abs(q1-q0) > i || abs(q2-q1) > i || abs(q3-q2) > i {
		return false, false
	}
	return true, abs(p1-p0) > e.variance || abs(q1-q0) > e.variance
}

func (e *edgeLimits) innerEdge(pix []byte, at, step, along, n int) {
	for ; n > 0; n, at = n-1, at+along {
		filter, varies := e.wanted(pix, at, step, e.inner)
		if !filter {
			continue
		}
		p1, q1 := int32(pix[at-2*step])-128, int32(pix[at+step])-128
		a := (adjust(pix, at, step, varies) + 1) >> 1
		if !varies {
			pix[at+step], pix[at-2*step] = byte(c(q1-a)+128), byte(c(p1+a)+128)
		}
	}
}

func (e *edgeLimits) outerEdge(pix []byte, at, step, along, n int) {
	for ; n > 0; n, at = n-1, at+along {
		filter, varies := e.wanted(pix, at, step, e.outer)
		if !filter {
			continue
		}
		if varies {
			adjust(pix, at, step, true)
			continue
		}
		p1, p0 := int32(pix[at-2*step])-128, int32(pix[at-step])-128
		q0, q1 := int32(pix[at])-128, int32(pix[at+step])-128
		w := c(c(p1-q1) + 3*(q0-p0))
		for i, weight := range [3]int32{27, 18, 9} {
			a := c((weight*w + 63) >> 7)
			q, p := at+i*step, at-(i+1)*step
			pix[q], pix[p] = byte(c(int32(pix[q])-128-a)+128), byte(c(int32(pix[p])-128+a)+128)
		}
	}
}
