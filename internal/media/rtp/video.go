package rtp

import "encoding/binary"

// VideoHeader is what forwarding needs to know of a video payload. Each codec's
// parser fills it; parsers that return false have met a payload that is not of
// their codec, and leave the header empty.
type VideoHeader struct {
	// KeyFrame says that this packet begins a key frame: a decoder that knows
	// nothing can begin here. For H.264 that is the packet with the SPS.
	KeyFrame bool
	// IDR says that an H.264 packet begins a slice of an IDR picture, which is a
	// point to begin at for a decoder that has its parameter sets.
	IDR           bool
	Width, Height uint32 // as shown, when the payload tells, else 0
	// CodedWidth and CodedHeight are what a decoder must have room for, 0 when the
	// payload does not tell: H.264 pictures fill whole macroblocks and are cropped.
	CodedWidth, CodedHeight uint32
	// PictureID and TL0PicIdx are those of the VP8 and VP9 descriptors.
	PictureID     uint16
	PictureIDBits uint8 // 0, 7 or 15
	HasTL0PicIdx  bool
	TL0PicIdx     uint8
	// Temporal and Spatial are the layer of the frame (TID, SID), at most
	// MaxTemporal-1 and MaxSpatial-1: what lies above counts as the highest.
	Temporal, Spatial uint8
	// Start and End say that the packet begins or ends a frame, of one spatial
	// layer where there are several. End is known of VP9 alone.
	Start, End bool
	// Sync says that a receiver that had only lower temporal layers can go on with
	// this one: Y of VP8, U of VP9.
	Sync bool
	// InterPicture says that a VP9 frame is predicted from other pictures (P), and
	// InterLayer that it is from the spatial layer below (D).
	InterPicture, InterLayer bool

	pictureAt, tl0At uint16 // where they are in the payload
	sizesAt          uint16 // likewise, of the sizes of VP9's spatial layers; 0 for none
	sizes            uint8  // how many
}

// How many layers are told apart, of each kind. The codecs can number up to 8;
// what encoders make is up to 3 of each.
const (
	MaxSpatial  = 4
	MaxTemporal = 4
)

// Layered says that the payload announces the size of each spatial layer.
func (h *VideoHeader) Layered() bool { return h.sizes > 0 }

// LayerSize is the size of a spatial layer that the VP9 payload announces, 0 when
// it announces none. The payload is that which the header was parsed from.
func (h *VideoHeader) LayerSize(payload []byte, spatial int) (width, height uint32) {
	if spatial >= int(h.sizes) {
		return 0, 0
	}
	b := payload[int(h.sizesAt)+4*spatial:]
	return uint32(binary.BigEndian.Uint16(b)), uint32(binary.BigEndian.Uint16(b[2:]))
}

// Patch writes other numbers into the payload that the header was parsed from,
// as far as it has them; the picture id is cut to its width.
func (h *VideoHeader) Patch(payload []byte, pictureID uint16, tl0PicIdx uint8) {
	switch h.PictureIDBits {
	case 7:
		payload[h.pictureAt] = byte(pictureID) & 0x7F
	case 15:
		binary.BigEndian.PutUint16(payload[h.pictureAt:], pictureID|0x8000)
	}
	if h.HasTL0PicIdx {
		payload[h.tl0At] = tl0PicIdx
	}
}

// ParseVP8 reads the payload descriptor (RFC 7741 4.2) and, at the start of a
// key frame, the frame header (RFC 6386 9.1).
func ParseVP8(b []byte, h *VideoHeader) bool {
	*h = VideoHeader{}
	if len(b) == 0 {
		return false
	}
	start := b[0]&0x10 != 0 && b[0]&0x07 == 0 // S and partition 0
	h.Start = start
	n := 1
	if b[0]&0x80 != 0 {
		if len(b) < 2 {
			*h = VideoHeader{}
			return false
		}
		x := b[1]
		n = 2
		if x&0x80 != 0 {
			if n = h.picture(b, n); n == 0 {
				return false
			}
		}
		if x&0x40 != 0 {
			if n = h.tl0(b, n); n == 0 {
				return false
			}
		}
		if x&0x30 != 0 {
			if len(b) <= n {
				*h = VideoHeader{}
				return false
			}
			if x&0x20 != 0 {
				h.Temporal = b[n] >> 6
				h.Sync = b[n]&0x20 != 0
			}
			n++
		}
	}
	if len(b) <= n {
		*h = VideoHeader{}
		return false
	}
	if start && b[n]&1 == 0 {
		h.KeyFrame = true
		if f := b[n:]; len(f) >= 10 && f[3] == 0x9D && f[4] == 0x01 && f[5] == 0x2A {
			h.size(uint32(binary.LittleEndian.Uint16(f[6:])&0x3FFF), uint32(binary.LittleEndian.Uint16(f[8:])&0x3FFF))
		}
	}
	return true
}

// size notes a size that is coded as it is shown; of several it is the largest.
func (h *VideoHeader) size(width, height uint32) {
	h.Width, h.Height = max(h.Width, width), max(h.Height, height)
	h.CodedWidth, h.CodedHeight = max(h.CodedWidth, width), max(h.CodedHeight, height)
}

// picture reads a picture id of one or two bytes at b[n:] and returns what
// follows it, 0 when there is no room.
func (h *VideoHeader) picture(b []byte, n int) int {
	if len(b) <= n {
		*h = VideoHeader{}
		return 0
	}
	h.pictureAt = uint16(n)
	if b[n]&0x80 == 0 {
		h.PictureID, h.PictureIDBits = uint16(b[n]), 7
		return n + 1
	}
	if len(b) < n+2 {
		*h = VideoHeader{}
		return 0
	}
	h.PictureID, h.PictureIDBits = binary.BigEndian.Uint16(b[n:])&0x7FFF, 15
	return n + 2
}

func (h *VideoHeader) tl0(b []byte, n int) int {
	if len(b) <= n {
		*h = VideoHeader{}
		return 0
	}
	h.HasTL0PicIdx, h.TL0PicIdx, h.tl0At = true, b[n], uint16(n)
	return n + 1
}
