package vp8

// vector is one of motion, in eighths of a luma pixel (always even).
type vector struct{ x, y int16 }

// macroblock is what is known of one of 16 by 16 pixels.
type macroblock struct {
	ref     uint8
	yMode   uint8
	uvMode  uint8
	segment uint8
	// skipped: no coefficients follow; coded: at least one block has some.
	skipped, coded bool
	modes          [16]uint8  // of subblocks, with bPred
	mvs            [16]vector // of subblocks; all zero in one that is predicted from its own frame
}

// mv is the vector that neighbours see.
func (m *macroblock) mv() vector { return m.mvs[15] }

// readModes reads how a macroblock is predicted (sections 10, 11 and 16).
func (d *Decoder) readModes(b *boolDecoder, mb *macroblock, col, row int) {
	h := &d.head
	if h.updateMap {
		mb.segment = uint8(b.tree(segmentTree, h.segmentProbs[:]))
	} else if h.key {
		mb.segment = 0
	}
	mb.skipped = h.skipCoded && b.bool(h.skipProb)
	if !h.key && b.bool(h.intraProb) {
		d.readInter(b, mb, col, row)
		return
	}
	mb.ref = refIntra
	mb.mvs = [16]vector{}
	if h.key {
		mb.yMode = uint8(b.tree(keyYModeTree, keyYModeProbs))
		d.readKeySubblocks(b, mb, col)
		mb.uvMode = uint8(b.tree(uvModeTree, keyUVModeProbs))
		return
	}
	mb.yMode = uint8(b.tree(yModeTree, d.persist.yModes[:]))
	if mb.yMode == bPred {
		for i := range mb.modes {
			mb.modes[i] = uint8(b.tree(subblockTree, interSubblockMode))
		}
	}
	mb.uvMode = uint8(b.tree(uvModeTree, d.persist.uvModes[:]))
}

// readKeySubblocks reads the modes of subblocks in the context of their
// neighbours, for which a macroblock of another mode counts as all of one.
func (d *Decoder) readKeySubblocks(b *boolDecoder, mb *macroblock, col int) {
	above, left := &d.aboveMode[col], &d.leftMode
	if mb.yMode != bPred {
		implied := [4]uint8{dcPred: bDC, vPred: bVE, hPred: bHE, tmPred: bTM}[mb.yMode]
		*above = [4]uint8{implied, implied, implied, implied}
		*left = *above
		return
	}
	for i := range mb.modes {
		x, y := i&3, i>>2
		mode := uint8(b.tree(subblockTree, keySubblockModes[above[x]][left[y]][:]))
		mb.modes[i], above[x], left[y] = mode, mode, mode
	}
}

func (d *Decoder) readInter(b *boolDecoder, mb *macroblock, col, row int) {
	h := &d.head
	mb.ref = refLast
	if b.bool(h.lastProb) {
		mb.ref = refGolden
		if b.bool(h.goldenProb) {
			mb.ref = refAlt
		}
	}
	above, left, corner := d.at(col, row-1), d.at(col-1, row), d.at(col-1, row-1)
	near, counts := d.survey(mb.ref, above, left, corner)
	var probs [4]uint8
	for i := range probs {
		probs[i] = mvRefProbs[counts[i]][i]
	}
	for i := range near {
		near[i] = d.clamp(near[i], col, row)
	}
	mb.yMode = uint8(b.tree(mvRefTree, probs[:]))
	var mv vector
	switch mb.yMode {
	case mvNearest:
		mv = near[1]
	case mvNear:
		mv = near[2]
	case mvNew:
		mv = d.readVector(b, near[0])
	case mvSplit:
		d.readSplit(b, mb, above, left, near[0])
		return
	}
	for i := range mb.mvs {
		mb.mvs[i] = mv
	}
}

// survey looks at three neighbours for vectors (section 16.3): the best to start
// a new one from, the nearest and the near, and how often each kind was seen.
func (d *Decoder) survey(ref uint8, above, left, corner *macroblock) (near [3]vector, counts [4]int) {
	var found [4]vector // [0] is the zero vector
	n := 0
	for i, mb := range [3]*macroblock{above, left, corner} {
		if mb.ref == refIntra {
			continue
		}
		weight := [3]int{2, 2, 1}[i]
		mv := mb.mv()
		if mv == (vector{}) {
			counts[0] += weight
			continue
		}
		if d.persist.signBias[mb.ref] != d.persist.signBias[ref] {
			mv = vector{-mv.x, -mv.y}
		}
		if n == 0 || mv != found[n] {
			n++
			found[n] = mv
		}
		counts[n] += weight
	}
	if counts[3] > 0 && found[3] == found[1] {
		counts[1]++
	}
	counts[3] = 0
	for i, mb := range [3]*macroblock{above, left, corner} {
		if mb.ref != refIntra && mb.yMode == mvSplit {
			counts[3] += [3]int{2, 2, 1}[i]
		}
	}
	if counts[2] > counts[1] {
		counts[1], counts[2] = counts[2], counts[1]
		found[1], found[2] = found[2], found[1]
	}
	if counts[1] >= counts[0] {
		found[0] = found[1]
	}
	return [3]vector{found[0], found[1], found[2]}, counts
}

// clamp keeps a vector from pointing further than one macroblock out of the frame.
func (d *Decoder) clamp(v vector, col, row int) vector {
	bound := func(v int16, at, of int) int16 {
		return int16(min(max(int(v), -(at+1)<<7), (of-at)<<7))
	}
	return vector{bound(v.x, col, d.cols), bound(v.y, row, d.rows)}
}

func (d *Decoder) readVector(b *boolDecoder, from vector) vector {
	y := d.readComponent(b, &d.persist.mv[0])
	x := d.readComponent(b, &d.persist.mv[1])
	return vector{from.x + x, from.y + y}
}

func (d *Decoder) readComponent(b *boolDecoder, p *[19]uint8) int16 {
	v := 0
	if b.bool(p[mvIsLong]) {
		bit := func(i int) {
			if b.bool(p[mvLong+i]) {
				v += 1 << i
			}
		}
		for i := range 3 {
			bit(i)
		}
		for i := mvLongBits - 1; i > 3; i-- {
			bit(i)
		}
		if v&0xfff0 == 0 {
			v += 8 // else it would have been coded short
		} else {
			bit(3)
		}
	} else {
		v = b.tree(smallMVTree, p[mvShort:mvLong])
	}
	if v != 0 && b.bool(p[mvSign]) {
		v = -v
	}
	return int16(2 * v)
}

// readSplit reads the vectors of parts of a macroblock (section 16.4).
func (d *Decoder) readSplit(b *boolDecoder, mb, above, left *macroblock, best vector) {
	parts := &splitParts[b.tree(splitTree, splitProbs)]
	done := -1
	var vectors [16]vector
	for i, part := range parts {
		if int(part) <= done {
			mb.mvs[i] = vectors[part]
			continue
		}
		done = int(part)
		l, a := left.mvs[i|3], above.mvs[12|i&3]
		if i&3 != 0 {
			l = mb.mvs[i-1]
		}
		if i>>2 != 0 {
			a = mb.mvs[i-4]
		}
		context := 0
		switch zero := (vector{}); {
		case l == a && l == zero:
			context = 4
		case l == a:
			context = 3
		case a == zero:
			context = 2
		case l == zero:
			context = 1
		}
		switch b.tree(subMVTree, subMVProbs[context]) {
		case 0:
			vectors[part] = l
		case 1:
			vectors[part] = a
		case 3:
			vectors[part] = d.readVector(b, best)
		}
		mb.mvs[i] = vectors[part]
	}
}
