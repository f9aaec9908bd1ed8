package rtp

// ParseAV1 reads the aggregation header (AV1 RTP specification 4.4): N marks
// the first packet of a coded video sequence. The size is that of the sequence
// header, which no frame of the sequence exceeds.
func ParseAV1(b []byte, h *VideoHeader) bool {
	*h = VideoHeader{}
	if len(b) < 2 {
		return false
	}
	const flagZ, flagN = 0x80, 0x08
	if b[0]&flagZ != 0 && b[0]&flagN != 0 { // a sequence cannot begin with a continuation
		return false
	}
	h.KeyFrame = b[0]&flagN != 0
	elements, continued := int(b[0]>>4&3), b[0]&flagZ != 0
	b = b[1:]
	for i := 1; len(b) > 0; i++ {
		n := len(b)
		if i != elements { // the last of a known number has no length
			size, used := leb128(b)
			if used == 0 || size > len(b)-used {
				break
			}
			b, n = b[used:], size
		}
		if !continued || i > 1 {
			h.obu(b[:n])
		}
		b = b[n:]
	}
	return true
}

// obu looks for a sequence header (AV1 specification 5.3.2).
func (h *VideoHeader) obu(b []byte) {
	const sequenceHeader = 1
	if len(b) < 2 || b[0]>>3&0xF != sequenceHeader {
		return
	}
	n := 1
	if b[0]&4 != 0 { // extension
		n++
	}
	if b[0]&2 != 0 { // a size of its own
		if len(b) <= n {
			return
		}
		_, used := leb128(b[n:])
		if used == 0 {
			return
		}
		n += used
	}
	if len(b) > n {
		h.sequence(b[n:])
	}
}

// sequence reads a sequence header up to its size (AV1 specification 5.5.1).
func (h *VideoHeader) sequence(b []byte) {
	r := bitReader{b: b, plain: true}
	r.u(3 + 1)       // profile, still_picture
	if r.u(1) == 1 { // reduced_still_picture_header
		r.u(5)
	} else {
		r.operatingPoints()
	}
	bitsW, bitsH := int(r.u(4))+1, int(r.u(4))+1
	width, height := r.u(bitsW)+1, r.u(bitsH)+1
	if !r.bad {
		h.size(width, height)
	}
}

func (r *bitReader) operatingPoints() {
	model, delayBits := false, 0
	if r.u(1) == 1 { // timing_info
		r.u(32)
		r.u(32)
		if r.u(1) == 1 {
			r.ue() // uvlc is coded alike
		}
		if model = r.u(1) == 1; model {
			delayBits = int(r.u(5)) + 1
			r.u(32)
			r.u(5 + 5)
		}
	}
	displayDelay := r.u(1) == 1
	for range r.u(5) + 1 {
		r.u(12)
		if r.u(5) > 7 { // seq_level_idx
			r.u(1)
		}
		if model && r.u(1) == 1 {
			r.u(delayBits)
			r.u(delayBits)
			r.u(1)
		}
		if displayDelay && r.u(1) == 1 {
			r.u(4)
		}
	}
}

// leb128 reads a length and how many bytes it took, 0 when it is none.
func leb128(b []byte) (value, used int) {
	for i := 0; i < min(len(b), 4); i++ {
		value |= int(b[i]&0x7F) << (7 * i)
		if b[i]&0x80 == 0 {
			return value, i + 1
		}
	}
	return 0, 0
}
