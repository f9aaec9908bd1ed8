package rtp

import "encoding/binary"

// The H.264 NAL unit types that matter here (RFC 6184 5.2).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalFUA   = 28
)

// ParseH264 looks for parameter sets and IDR slices in a payload of single NAL
// units, STAP-A or FU-A (RFC 6184 5.6, 5.7.1, 5.8).
func ParseH264(b []byte, h *VideoHeader) bool {
	*h = VideoHeader{}
	if len(b) == 0 || b[0]&0x80 != 0 {
		return false
	}
	switch kind := b[0] & 0x1F; {
	case kind >= 1 && kind <= 23:
		h.nal(b)
	case kind == nalSTAPA:
		b = b[1:]
		if len(b) < 3 {
			return false
		}
		for len(b) >= 2 {
			n := int(binary.BigEndian.Uint16(b))
			if n == 0 || len(b) < 2+n {
				return false
			}
			h.nal(b[2 : 2+n])
			b = b[2+n:]
		}
	case kind == nalFUA:
		if len(b) < 2 {
			return false
		}
		if b[1]&0x80 != 0 { // start
			switch b[1] & 0x1F {
			case nalIDR:
				h.IDR = true
			case nalSPS:
				h.KeyFrame = true
			}
		}
	default:
		return false
	}
	return true
}

func (h *VideoHeader) nal(b []byte) {
	switch b[0] & 0x1F {
	case nalIDR:
		h.IDR = true
	case nalSPS:
		h.KeyFrame = true
		h.sps(b[1:])
	}
}

// bitReader reads bits and Exp-Golomb codes, skipping emulation prevention bytes
// unless the text is plain. Past the end it reads zeros and sets bad.
type bitReader struct {
	b     []byte
	plain bool
	pos   int // in bytes
	bit   int // 0–7 within the byte
	zeros int
	bad   bool
}

func (r *bitReader) u(n int) (v uint32) {
	for range n {
		if r.pos >= len(r.b) {
			r.bad = true
			return 0
		}
		if r.bit == 0 {
			if !r.plain && r.zeros >= 2 && r.b[r.pos] == 3 { // emulation prevention
				r.pos++
				r.zeros = 0
				if r.pos >= len(r.b) {
					r.bad = true
					return 0
				}
			}
			if r.b[r.pos] == 0 {
				r.zeros++
			} else {
				r.zeros = 0
			}
		}
		v = v<<1 | uint32(r.b[r.pos]>>(7-r.bit)&1)
		if r.bit++; r.bit == 8 {
			r.bit = 0
			r.pos++
		}
	}
	return v
}

func (r *bitReader) ue() uint32 {
	n := 0
	for r.u(1) == 0 {
		if n++; n > 31 || r.bad {
			r.bad = true
			return 0
		}
	}
	return 1<<n - 1 + r.u(n)
}

func (r *bitReader) se() int32 {
	v := r.ue()
	if v&1 == 1 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}

// sps reads the size from a sequence parameter set without its NAL header
// (H.264 7.3.2.1.1). Of several sets, as a packet may hold, the largest counts.
func (h *VideoHeader) sps(sps []byte) {
	r := bitReader{b: sps}
	profile := r.u(8)
	r.u(16) // constraints, level
	r.ue()  // seq_parameter_set_id
	chroma := uint32(1)
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = r.ue()
		if chroma == 3 {
			r.u(1)
		}
		r.ue()           // bit_depth_luma
		r.ue()           // bit_depth_chroma
		r.u(1)           // qpprime_y_zero_transform_bypass
		if r.u(1) == 1 { // scaling matrix
			lists := 8
			if chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.u(1) == 0 {
					continue
				}
				size := 16
				if i >= 6 {
					size = 64
				}
				last, next := int32(8), int32(8)
				for range size {
					if next != 0 {
						next = (last + r.se() + 256) % 256
					}
					if next != 0 {
						last = next
					}
				}
			}
		}
	}
	r.ue() // log2_max_frame_num
	switch r.ue() {
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb
	case 1:
		r.u(1)
		r.se()
		r.se()
		n := r.ue()
		if n > 255 {
			return
		}
		for range n {
			r.se()
		}
	}
	r.ue() // max_num_ref_frames
	r.u(1) // gaps_in_frame_num_value_allowed
	columns, rows := r.ue(), r.ue()
	frames := r.u(1) // frame_mbs_only
	if frames == 0 {
		r.u(1)
	}
	if r.bad || columns >= maxMacroblocks || rows >= maxMacroblocks {
		return
	}
	codedWidth, codedHeight := (columns+1)*16, (2-frames)*(rows+1)*16
	width, height := codedWidth, codedHeight
	r.u(1)           // direct_8x8_inference
	if r.u(1) == 1 { // cropping
		left, right, top, bottom := r.ue(), r.ue(), r.ue(), r.ue()
		unitX, unitY := uint32(1), 2-frames
		if chroma == 1 || chroma == 2 {
			unitX = 2
		}
		if chroma == 1 {
			unitY *= 2
		}
		width -= (left + right) * unitX
		height -= (top + bottom) * unitY
	}
	if r.bad || width == 0 || height == 0 || width > codedWidth || height > codedHeight {
		return
	}
	h.Width, h.Height = max(h.Width, width), max(h.Height, height)
	h.CodedWidth, h.CodedHeight = max(h.CodedWidth, codedWidth), max(h.CodedHeight, codedHeight)
}

// maxMacroblocks bounds a side: 16,384 pixels.
const maxMacroblocks = 1024
