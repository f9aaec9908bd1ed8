package vp8

// predictInter predicts a macroblock from another frame (section 18) and adds
// the coefficients.
func (d *Decoder) predictInter(mb *macroblock, col, row int) {
	from, to := d.refs[mb.ref].planes(), d.frame.planes()
	if mb.yMode == mvSplit {
		d.predictSplit(mb, from, to, col, row)
	} else {
		mv := mb.mv()
		d.move(from[0], to[0], col*16, row*16, 16, int(mv.x), int(mv.y))
		x, y := d.chroma(int(mv.x)/2, int(mv.y)/2)
		for i := 1; i < 3; i++ {
			d.move(from[i], to[i], col*8, row*8, 8, x, y)
		}
	}
	for i := range to {
		d.addResidual(mb, i, to[i], col, row)
	}
}

// chroma is a vector of chroma, in its whole pixels where the version wants it.
func (d *Decoder) chroma(x, y int) (int, int) {
	if d.head.version == 3 {
		return x &^ 7, y &^ 7
	}
	return x, y
}

func (d *Decoder) predictSplit(mb *macroblock, from, to [3]plane, col, row int) {
	for i, mv := range mb.mvs {
		d.move(from[0], to[0], col*16+i&3*4, row*16+i>>2*4, 4, int(mv.x), int(mv.y))
	}
	for i := range 4 { // a block of chroma has the mean of four vectors
		k := i>>1*8 + i&1*2
		x, y := 0, 0
		for _, j := range [4]int{k, k + 1, k + 4, k + 5} {
			x += int(mb.mvs[j].x)
			y += int(mb.mvs[j].y)
		}
		x, y = d.chroma(mean(x), mean(y))
		for p := 1; p < 3; p++ {
			d.move(from[p], to[p], col*8+i&1*4, row*8+i>>1*4, 4, x, y)
		}
	}
}

// mean of four vectors of luma, as one of chroma, rounded away from 0.
func mean(sum int) int {
	if sum < 0 {
		return (sum - 4) / 8
	}
	return (sum + 4) / 8
}

// move copies a square from where a vector points to, in eighths of a pixel.
func (d *Decoder) move(from, to plane, x, y, size, mvx, mvy int) {
	srcX, srcY, fx, fy := x+mvx>>3, y+mvy>>3, mvx&7, mvy&7
	// The taps reach two pixels before the square and three beyond.
	src, stride := from.pix, from.stride
	at := srcY*stride + srcX
	if srcX < 2 || srcY < 2 || srcX+size+3 > from.width || srcY+size+3 > from.height {
		at = d.outside(from, srcX-2, srcY-2, size+5)
		src, stride = d.block[:], 21
	}
	out := to.pix[y*to.stride+x:]
	if fx|fy == 0 {
		for r := range size {
			copy(out[r*to.stride:r*to.stride+size], src[at+r*stride:at+r*stride+size])
		}
		return
	}
	taps := &sixTaps
	if d.head.version != 0 {
		taps = &twoTaps
	}
	// Across first, for two rows more above and three below.
	t, rows := &taps[fx], size+5
	for r := range rows {
		line := src[at+(r-2)*stride-2:][:size+5]
		row := d.scratch[r*16 : r*16+size]
		if fx == 0 {
			for c := range row {
				row[c] = int32(line[c+2])
			}
			continue
		}
		for c := range row {
			w := line[c : c+6]
			v := int32(w[0])*t[0] + int32(w[1])*t[1] + int32(w[2])*t[2] + int32(w[3])*t[3] + int32(w[4])*t[4] + int32(w[5])*t[5]
			row[c] = int32(clampByte((v + 64) >> 7))
		}
	}
	t = &taps[fy]
	for r := range size {
		line := out[r*to.stride : r*to.stride+size]
		in := d.scratch[r*16 : r*16+5*16+size]
		for c := range line {
			if fy == 0 {
				line[c] = byte(in[c+32])
				continue
			}
			v := in[c]*t[0] + in[c+16]*t[1] + in[c+32]*t[2] + in[c+48]*t[3] + in[c+64]*t[4] + in[c+80]*t[5]
			line[c] = clampByte((v + 64) >> 7)
		}
	}
}

// outside copies a square that may lie out of the frame, whose edges go on
// without end, and answers where in the copy the pixel is that move starts at.
func (d *Decoder) outside(p plane, x, y, size int) int {
	for r := range size {
		line := p.pix[min(max(y+r, 0), p.height-1)*p.stride:][:p.width]
		for c := range size {
			d.block[r*21+c] = line[min(max(x+c, 0), p.width-1)]
		}
	}
	return 2*21 + 2
}
