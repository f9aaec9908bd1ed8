package vp8

// boolDecoder reads the arithmetically coded bits of a partition (RFC 6386,
// section 7). Past its end it reads zeros, as the reference does.
type boolDecoder struct {
	data  []byte
	value uint32 // the window: two bytes, of which the upper is compared
	width uint32 // of the current range, 128 to 255
	count int    // bits shifted out of the lower byte
}

func newBoolDecoder(data []byte) boolDecoder {
	d := boolDecoder{data: data, width: 255}
	d.value = uint32(d.next())<<8 | uint32(d.next())
	return d
}

func (d *boolDecoder) next() byte {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

// bool reads one bit that is 0 with probability p/256.
func (d *boolDecoder) bool(p uint8) bool {
	split := 1 + (d.width-1)*uint32(p)>>8
	one := d.value >= split<<8
	if one {
		d.width -= split
		d.value -= split << 8
	} else {
		d.width = split
	}
	for d.width < 128 {
		d.value <<= 1
		d.width <<= 1
		if d.count++; d.count == 8 {
			d.count = 0
			d.value |= uint32(d.next())
		}
	}
	return one
}

func (d *boolDecoder) flag() bool { return d.bool(128) }

// literal reads n bits, the highest first.
func (d *boolDecoder) literal(n int) int32 {
	var v int32
	for range n {
		v <<= 1
		if d.flag() {
			v |= 1
		}
	}
	return v
}

// signed reads a magnitude of n bits and its sign.
func (d *boolDecoder) signed(n int) int32 {
	v := d.literal(n)
	if d.flag() {
		return -v
	}
	return v
}

// optional is signed behind a flag; without it, 0.
func (d *boolDecoder) optional(n int) int32 {
	if d.flag() {
		return d.signed(n)
	}
	return 0
}

func (d *boolDecoder) tree(tree []int8, probs []uint8) int {
	i := 0
	for {
		branch := 0
		if d.bool(probs[i>>1]) {
			branch = 1
		}
		next := int(tree[i+branch])
		if next <= 0 {
			return -next
		}
		i = next
	}
}
