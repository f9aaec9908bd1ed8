package rtp

import "encoding/binary"

// MaxHeader is room enough for any header that a HeaderWriter makes of the
// extensions in this package.
const MaxHeader = 96

// HeaderWriter builds the header of an outgoing packet in a buffer of the
// caller's: Begin, then any extensions, then Bytes. It never allocates.
type HeaderWriter struct {
	// TwoByte selects the two-byte form of extension elements (RFC 8285 4.3),
	// which is needed when an id is above 14 or an element above 16 bytes, and
	// which the receiver must have offered (extmap-allow-mixed).
	TwoByte bool

	b   []byte
	ext int // where the extension's own header is; 0 while there is none
}

// Begin writes the fixed header. buf needs at least 12 bytes; extensions that
// find no room in it are left out.
func (w *HeaderWriter) Begin(buf []byte, payloadType uint8, marker bool, seq uint16, timestamp, ssrc uint32) {
	b := buf[:headerSize]
	b[0] = 2 << 6
	b[1] = payloadType & 0x7F
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	w.b, w.ext = b, 0
}

// Extension opens an element of n bytes and returns them to be filled, or nil
// when id is 0, does not suit the form, or the buffer is full.
func (w *HeaderWriter) Extension(id uint8, n int) []byte {
	if id == 0 {
		return nil
	}
	head := 1
	if w.TwoByte {
		head = 2
		if n > 255 {
			return nil
		}
	} else if id > 14 || n < 1 || n > 16 {
		return nil
	}
	need := head + n
	if w.ext == 0 {
		need += 4
	}
	if (len(w.b)+need+3)&^3 > cap(w.b) {
		return nil
	}
	if w.ext == 0 {
		w.ext = len(w.b)
		w.b[0] |= 0x10
		profile := uint16(profileOneByte)
		if w.TwoByte {
			profile = profileTwoByte
		}
		w.b = append(w.b, byte(profile>>8), byte(profile), 0, 0)
	}
	if w.TwoByte {
		w.b = append(w.b, id, byte(n))
	} else {
		w.b = append(w.b, id<<4|byte(n-1))
	}
	off := len(w.b)
	w.b = w.b[:off+n]
	return w.b[off:]
}

// Bytes pads the extensions, fills in their length and returns the header.
func (w *HeaderWriter) Bytes() []byte {
	if w.ext == 0 {
		return w.b
	}
	for len(w.b)&3 != 0 {
		w.b = append(w.b, 0)
	}
	binary.BigEndian.PutUint16(w.b[w.ext+2:], uint16((len(w.b)-w.ext-4)/4))
	return w.b
}

// String writes a text element, as MID and RID are (RFC 8852, RFC 9143).
func (w *HeaderWriter) String(id uint8, s string) {
	if b := w.Extension(id, len(s)); b != nil {
		copy(b, s)
	}
}

// Copy writes an element as it came.
func (w *HeaderWriter) Copy(id uint8, data []byte) {
	if b := w.Extension(id, len(data)); b != nil {
		copy(b, data)
	}
}

// AbsSendTime writes the abs-send-time element for a monotonic time in ns.
func (w *HeaderWriter) AbsSendTime(id uint8, ns int64) {
	if b := w.Extension(id, 3); b != nil {
		v := AbsSendTime(ns)
		b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v)
	}
}

// TransportSequence writes the transport-wide sequence number.
func (w *HeaderWriter) TransportSequence(id uint8, seq uint16) {
	if b := w.Extension(id, 2); b != nil {
		binary.BigEndian.PutUint16(b, seq)
	}
}

// AudioLevel writes a client-to-mixer level (RFC 6464): 0 is loudest, 127 is
// silence.
func (w *HeaderWriter) AudioLevel(id uint8, level uint8, voice bool) {
	if b := w.Extension(id, 1); b != nil {
		b[0] = level & 0x7F
		if voice {
			b[0] |= 0x80
		}
	}
}

// AbsSendTime is the 24-bit fixed point form (6.18 bits of seconds) of a time
// in ns, as the abs-send-time extension carries it.
func AbsSendTime(ns int64) uint32 {
	sec, frac := uint64(ns)/1e9, uint64(ns)%1e9
	return uint32(sec<<18+frac<<18/1e9) & 0xFFFFFF
}

// AudioLevel reads the level (RFC 6464) with that extension id: volume in
// −dBov, 0 loudest and 127 silence, and whether the sender takes it for speech.
func (p *Packet) AudioLevel(id uint8) (volume uint8, voice, ok bool) {
	b := p.Extension(id)
	if len(b) < 1 {
		return 0, false, false
	}
	return b[0] & 0x7F, b[0]&0x80 != 0, true
}

// AbsSendTime reads the 24 bits of the abs-send-time extension.
func (p *Packet) AbsSendTime(id uint8) (v uint32, ok bool) {
	b := p.Extension(id)
	if len(b) < 3 {
		return 0, false
	}
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), true
}

// TransportSequence reads the transport-wide sequence number.
func (p *Packet) TransportSequence(id uint8) (seq uint16, ok bool) {
	b := p.Extension(id)
	if len(b) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// Text reads a text element such as MID, RID or repaired RID. Comparing or
// looking up string(p.Text(id)) does not allocate.
func (p *Packet) Text(id uint8) []byte { return p.Extension(id) }
