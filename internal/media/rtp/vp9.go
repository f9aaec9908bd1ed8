package rtp

import "encoding/binary"

// ParseVP9 reads the payload descriptor (RFC 9628 4.2), flexible or not: picture
// id, layer indices, how the frame is predicted, key frames, and the size, from
// the scalability structure and from the frame header that begins here, if one
// does.
func ParseVP9(b []byte, h *VideoHeader) bool {
	*h = VideoHeader{}
	if len(b) == 0 {
		return false
	}
	const (
		flagI, flagP, flagL, flagF = 0x80, 0x40, 0x20, 0x10
		flagB, flagE, flagV        = 0x08, 0x04, 0x02
	)
	f := b[0]
	h.Start, h.End, h.InterPicture = f&flagB != 0, f&flagE != 0, f&flagP != 0
	n := 1
	if f&flagI != 0 {
		if n = h.picture(b, n); n == 0 {
			return false
		}
	}
	if f&flagL != 0 {
		if len(b) <= n {
			*h = VideoHeader{}
			return false
		}
		h.Temporal, h.Spatial = min(b[n]>>5, MaxTemporal-1), min(b[n]>>1&7, MaxSpatial-1)
		h.Sync, h.InterLayer = b[n]&0x10 != 0, b[n]&1 != 0
		n++
		if f&flagF == 0 {
			if n = h.tl0(b, n); n == 0 {
				return false
			}
		}
	}
	if f&flagF != 0 && f&flagP != 0 {
		for i := 0; ; i++ { // P_DIFF, at most 3
			if len(b) <= n || i == 3 {
				*h = VideoHeader{}
				return false
			}
			n++
			if b[n-1]&1 == 0 {
				break
			}
		}
	}
	h.KeyFrame = f&flagP == 0 && f&flagB != 0 && h.Spatial == 0
	if f&flagV != 0 {
		if n = h.scalability(b, n); n == 0 {
			*h = VideoHeader{}
			return false
		}
	}
	if len(b) <= n {
		*h = VideoHeader{}
		return false
	}
	if f&flagB != 0 {
		h.vp9Frame(b[n:])
	}
	return true
}

// scalability reads the scalability structure at b[n:] (RFC 9628 4.2.1) and
// returns what follows it, 0 when there is no room.
func (h *VideoHeader) scalability(b []byte, n int) int {
	if len(b) <= n {
		return 0
	}
	layers, sizes, groups := int(b[n]>>5)+1, b[n]&0x10 != 0, b[n]&0x08 != 0
	n++
	if sizes {
		if len(b) < n+4*layers {
			return 0
		}
		h.sizesAt, h.sizes = uint16(n), uint8(layers)
		for range layers {
			h.size(uint32(binary.BigEndian.Uint16(b[n:])), uint32(binary.BigEndian.Uint16(b[n+2:])))
			n += 4
		}
	}
	if groups {
		if len(b) <= n {
			return 0
		}
		pictures := int(b[n])
		n++
		for range pictures {
			if len(b) <= n {
				return 0
			}
			n += 1 + int(b[n]>>2&3) // P_DIFFs
		}
	}
	return n
}

// vp9Frame reads the size from an uncompressed header (VP9 bitstream
// specification 6.2), where it is written out: in key frames, and where others
// do not take that of a frame before.
func (h *VideoHeader) vp9Frame(b []byte) {
	const keyFrame, sync = 0, 0x498342
	r := bitReader{b: b, plain: true}
	if r.u(2) != 2 { // frame_marker
		return
	}
	profile := r.u(1) | r.u(1)<<1
	if profile == 3 {
		r.u(1)
	}
	if r.u(1) == 1 { // show_existing_frame
		return
	}
	kind, shown, resilient := r.u(1), r.u(1), r.u(1)
	switch {
	case kind == keyFrame:
		if r.u(24) != sync {
			return
		}
		r.vp9Colour(profile)
	default:
		intra := uint32(0)
		if shown == 0 {
			intra = r.u(1)
		}
		if resilient == 0 {
			r.u(2) // reset_frame_context
		}
		if intra == 1 {
			if r.u(24) != sync {
				return
			}
			if profile > 0 {
				r.vp9Colour(profile)
			}
			r.u(8) // refresh_frame_flags
			break
		}
		r.u(8 + 3*4) // and the references
		for range 3 {
			if r.u(1) == 1 {
				return // the size of a reference
			}
		}
	}
	width, height := r.u(16)+1, r.u(16)+1
	if !r.bad {
		h.size(width, height)
	}
}

// vp9Colour skips color_config.
func (r *bitReader) vp9Colour(profile uint32) {
	const rgb = 7
	if profile >= 2 {
		r.u(1)
	}
	if r.u(3) != rgb {
		r.u(1)
		if profile&1 == 1 {
			r.u(3)
		}
	} else if profile&1 == 1 {
		r.u(1)
	}
}
