package vp8

// predictIntra predicts a macroblock from its own frame (section 12) and adds
// the coefficients.
func (d *Decoder) predictIntra(mb *macroblock, col, row int) {
	planes := d.frame.planes()
	for i, p := range planes {
		size, mode := 8, mb.uvMode
		if i == 0 {
			if size, mode = 16, mb.yMode; mode == bPred {
				d.predictSubblocks(mb, p, col, row)
				continue
			}
		}
		predictBlock(p, col*size, row*size, size, mode)
		d.addResidual(mb, i, p, col, row)
	}
}

// addResidual adds the blocks of one plane.
func (d *Decoder) addResidual(mb *macroblock, i int, p plane, col, row int) {
	if mb.skipped {
		return
	}
	size, first := 4, 0
	if i > 0 {
		size, first = 2, 12+4*i
	}
	for y := range size {
		for x := range size {
			addBlock(p.pix[((row*size+y)*p.stride+(col*size+x))*4:][0:], p.stride, &d.coefficients[first+y*size+x])
		}
	}
}

// Pixels outside of the frame: above it, and to its left.
const outsideAbove, outsideLeft = 127, 129

// edges collects the pixels above (with those above to the right that fit into
// the slice), to the left, and at the corner of a block.
func edges(p plane, x, y int, above, left []byte) (corner byte) {
	if y > 0 {
		copy(above, p.pix[(y-1)*p.stride+x:(y-1)*p.stride+p.width])
	} else {
		for i := range above {
			above[i] = outsideAbove
		}
	}
	for i := range left {
		left[i] = outsideLeft
		if x > 0 {
			left[i] = p.pix[(y+i)*p.stride+x-1]
		}
	}
	switch {
	case y == 0:
		return outsideAbove
	case x == 0:
		return outsideLeft
	}
	return p.pix[(y-1)*p.stride+x-1]
}

// predictBlock fills a whole block of luma or chroma.
func predictBlock(p plane, x, y, size int, mode uint8) {
	var edge [32]byte
	above, left := edge[:size], edge[16:16+size]
	corner := int32(edges(p, x, y, above, left))
	dc := byte(128)
	if mode == dcPred && (x > 0 || y > 0) {
		sum, n := 0, 0
		if y > 0 {
			for _, v := range above {
				sum += int(v)
			}
			n += size
		}
		if x > 0 {
			for _, v := range left {
				sum += int(v)
			}
			n += size
		}
		dc = byte((sum + n/2) / n)
	}
	for r := range size {
		line := p.pix[(y+r)*p.stride+x:][:size]
		switch mode {
		case vPred:
			copy(line, above)
		case tmPred:
			for c := range line {
				line[c] = clampByte(int32(left[r]) + int32(above[c]) - corner)
			}
		default:
			v := dc
			if mode == hPred {
				v = left[r]
			}
			for c := range line {
				line[c] = v
			}
		}
	}
}

// predictSubblocks predicts and completes the luma of a macroblock block by
// block, since each is predicted from the ones before.
func (d *Decoder) predictSubblocks(mb *macroblock, p plane, col, row int) {
	// What is above to the right of the macroblock serves all four rows.
	var right [4]byte
	for i := range right {
		switch x := col*16 + 16 + i; {
		case row == 0:
			right[i] = outsideAbove
		case x < p.width:
			right[i] = p.pix[(row*16-1)*p.stride+x]
		default:
			right[i] = p.pix[(row*16-1)*p.stride+p.width-1]
		}
	}
	for i := range 16 {
		x, y := col*16+i&3*4, row*16+i>>2*4
		var above [8]byte
		var left [4]byte
		corner := edges(p, x, y, above[:], left[:])
		if i&3 == 3 {
			copy(above[4:], right[:])
		}
		// e runs from the bottom left over the corner to the top right.
		e := [13]byte{left[3], left[2], left[1], left[0], corner}
		copy(e[5:], above[:])
		at := y*p.stride + x
		predictSubblock(p.pix[at:], p.stride, mb.modes[i], &e)
		if !mb.skipped {
			addBlock(p.pix[at:], p.stride, &d.coefficients[i])
		}
	}
}

func predictSubblock(out []byte, stride int, mode uint8, e *[13]byte) {
	at := func(i int) int32 { return int32(e[i]) }
	avg2 := func(i int) byte { return byte((at(i) + at(i+1) + 1) >> 1) }
	avg3 := func(i int) byte { return byte((at(i-1) + 2*at(i) + at(i+1) + 2) >> 2) }
	last := func(i, j int) byte { return byte((at(i) + 3*at(j) + 2) >> 2) } // the last one counts twice more
	put := func(v byte, places ...int) {                                    // a place is row*4+column
		for _, k := range places {
			out[k>>2*stride+k&3] = v
		}
	}
	row := func(r int, a, b, c, f byte) {
		line := out[r*stride : r*stride+4]
		line[0], line[1], line[2], line[3] = a, b, c, f
	}
	switch mode {
	case bDC:
		sum := int32(4)
		for i := range 4 {
			sum += at(i) + at(5+i)
		}
		v := byte(sum >> 3)
		for r := range 4 {
			row(r, v, v, v, v)
		}
	case bTM:
		for r := range 4 {
			l := at(3-r) - at(4)
			row(r, clampByte(l+at(5)), clampByte(l+at(6)), clampByte(l+at(7)), clampByte(l+at(8)))
		}
	case bVE:
		for r := range 4 {
			row(r, avg3(5), avg3(6), avg3(7), avg3(8))
		}
	case bHE:
		for r := range 3 {
			v := avg3(3 - r)
			row(r, v, v, v, v)
		}
		v := last(1, 0)
		row(3, v, v, v, v)
	case bLD:
		put(avg3(6), 0)
		put(avg3(7), 1, 4)
		put(avg3(8), 2, 5, 8)
		put(avg3(9), 3, 6, 9, 12)
		put(avg3(10), 7, 10, 13)
		put(avg3(11), 11, 14)
		put(last(11, 12), 15)
	case bRD:
		put(avg3(1), 12)
		put(avg3(2), 13, 8)
		put(avg3(3), 14, 9, 4)
		put(avg3(4), 15, 10, 5, 0)
		put(avg3(5), 11, 6, 1)
		put(avg3(6), 7, 2)
		put(avg3(7), 3)
	case bVR:
		put(avg3(2), 12)
		put(avg3(3), 8)
		put(avg3(4), 13, 4)
		put(avg2(4), 9, 0)
		put(avg3(5), 14, 5)
		put(avg2(5), 10, 1)
		put(avg3(6), 15, 6)
		put(avg2(6), 11, 2)
		put(avg3(7), 7)
		put(avg2(7), 3)
	case bVL:
		put(avg2(5), 0)
		put(avg3(6), 4)
		put(avg2(6), 8, 1)
		put(avg3(7), 5, 12)
		put(avg2(7), 9, 2)
		put(avg3(8), 13, 6)
		put(avg2(8), 10, 3)
		put(avg3(9), 14, 7)
		put(avg3(10), 11)
		put(avg3(11), 15)
	case bHD:
		put(avg2(0), 12)
		put(avg3(1), 13)
		put(avg2(1), 8, 14)
		put(avg3(2), 9, 15)
		put(avg2(2), 10, 4)
		put(avg3(3), 11, 5)
		put(avg2(3), 6, 0)
		put(avg3(4), 7, 1)
		put(avg3(5), 2)
		put(avg3(6), 3)
	case bHU:
		put(avg2(2), 0)
		put(avg3(2), 1)
		put(avg2(1), 2, 4)
		put(avg3(1), 3, 5)
		put(avg2(0), 6, 8)
		put(last(1, 0), 7, 9)
		put(e[0], 10, 11, 12, 13, 14, 15)
	}
}
