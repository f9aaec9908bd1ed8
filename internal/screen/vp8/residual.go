package vp8

// Blocks of a macroblock in d.coefficients: 16 of luma, 4 of U, 4 of V, and the
// one that holds the DC of the luma blocks, coded first.
const blockY2 = 24

// Kinds of blocks, the first index of coefficientProbs.
const (
	kindYAfterY2 = iota
	kindY2
	kindUV
	kindY
)

// readResidual reads a macroblock's coefficients (section 13), multiplies them
// with their steps and spreads the block of DCs.
func (d *Decoder) readResidual(b *boolDecoder, mb *macroblock, col int) {
	above, left := &d.above[col], &d.left
	hasY2 := mb.yMode != bPred && mb.yMode != mvSplit
	mb.coded = false
	if mb.skipped {
		y2a, y2l := above[8], left[8]
		*above, *left = [9]uint8{}, [9]uint8{}
		if !hasY2 {
			above[8], left[8] = y2a, y2l
		}
		return
	}
	d.coefficients = [25][16]int32{}
	quant := &d.head.quant[mb.segment]
	read := func(block, kind, first int, steps *[2]int32, a, l *uint8) {
		n := d.readBlock(b, &d.persist.coefficients[kind], int(*a+*l), first, steps, &d.coefficients[block])
		*a, *l = 0, 0
		if n {
			*a, *l, mb.coded = 1, 1, true
		}
	}
	kind, first := kindY, 0
	if hasY2 {
		kind, first = kindYAfterY2, 1
		read(blockY2, kindY2, 0, &quant.y2, &above[8], &left[8])
	}
	for i := range 16 {
		read(i, kind, first, &quant.y, &above[i&3], &left[i>>2])
	}
	for i := range 8 { // contexts 4 and 5 are of U, 6 and 7 of V
		plane := 4 + i>>2*2
		read(16+i, kindUV, 0, &quant.uv, &above[plane+i&1], &left[plane+i>>1&1])
	}
	if hasY2 {
		d.spreadDC()
	}
}

// readBlock reads the tokens of one block and tells whether there was any.
func (d *Decoder) readBlock(b *boolDecoder, probs *[8][3][11]uint8, context, first int, steps *[2]int32, out *[16]int32) bool {
	p := &probs[bands[first]][context]
	if !b.bool(p[0]) {
		return false
	}
	for i := first; i < 16; {
		if !b.bool(p[1]) { // a zero, after which the block cannot end
			i++
			p = &probs[bands[i]][0]
			continue
		}
		var v int32
		context = 2
		switch {
		case !b.bool(p[2]):
			v, context = 1, 1
		case !b.bool(p[3]):
			v = 2
			if b.bool(p[4]) {
				v = 3
				if b.bool(p[5]) {
					v = 4
				}
			}
		default:
			v = readLarge(b, p)
		}
		if b.flag() {
			v = -v
		}
		out[zigzag[i]] = v * steps[min(i, 1)]
		i++
		p = &probs[bands[i]][context]
		if i < 16 && !b.bool(p[0]) {
			break
		}
	}
	return true
}

// readLarge reads a value above 4: its category, then its bits.
func readLarge(b *boolDecoder, p *[11]uint8) int32 {
	category := 0
	if !b.bool(p[6]) {
		if b.bool(p[7]) {
			category = 1
		}
	} else {
		category = 2
		high := 0
		if b.bool(p[8]) {
			category, high = 4, 1
		}
		if b.bool(p[9+high]) {
			category++
		}
	}
	var v int32
	for _, prob := range extraBits[category] {
		v <<= 1
		if b.bool(prob) {
			v |= 1
		}
	}
	return v + extraBase[category]
}

// spreadDC undoes the transform of the DCs (section 14.3).
func (d *Decoder) spreadDC() {
	in := &d.coefficients[blockY2]
	var t [16]int32
	for i := range 4 {
		a, b := in[i]+in[12+i], in[4+i]+in[8+i]
		c, e := in[4+i]-in[8+i], in[i]-in[12+i]
		t[i], t[4+i], t[8+i], t[12+i] = a+b, c+e, a-b, e-c
	}
	for i := 0; i < 16; i += 4 {
		a, b := t[i]+t[i+3], t[i+1]+t[i+2]
		c, e := t[i+1]-t[i+2], t[i]-t[i+3]
		d.coefficients[i][0] = (a + b + 3) >> 3
		d.coefficients[i+1][0] = (c + e + 3) >> 3
		d.coefficients[i+2][0] = (a - b + 3) >> 3
		d.coefficients[i+3][0] = (e - c + 3) >> 3
	}
}

// addBlock undoes a block's transform (section 14.4) and adds it to the prediction.
func addBlock(pix []byte, stride int, in *[16]int32) {
	const sine, cosine = 35468, 20091 // sqrt(2)*sin(pi/8), sqrt(2)*cos(pi/8)-1, by 65536
	if *in == ([16]int32{}) {
		return
	}
	var t [16]int32
	for i := range 4 {
		a, b := in[i]+in[8+i], in[i]-in[8+i]
		c := in[4+i]*sine>>16 - (in[12+i] + in[12+i]*cosine>>16)
		e := in[4+i] + in[4+i]*cosine>>16 + in[12+i]*sine>>16
		t[i], t[12+i], t[4+i], t[8+i] = a+e, a-e, b+c, b-c
	}
	for i := range 4 {
		r := t[4*i : 4*i+4]
		a, b := r[0]+r[2], r[0]-r[2]
		c := r[1]*sine>>16 - (r[3] + r[3]*cosine>>16)
		e := r[1] + r[1]*cosine>>16 + r[3]*sine>>16
		row := pix[i*stride : i*stride+4]
		row[0] = clampByte(int32(row[0]) + (a+e+4)>>3)
		row[1] = clampByte(int32(row[1]) + (b+c+4)>>3)
		row[2] = clampByte(int32(row[2]) + (b-c+4)>>3)
		row[3] = clampByte(int32(row[3]) + (a-e+4)>>3)
	}
}

func clampByte(v int32) byte {
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}
