// Package rtp reads and writes the packets that carry media: RTP headers with
// their extensions (RFC 3550, RFC 8285), the first bytes of each video codec's
// payload, RTCP compound packets, and the sequence arithmetic, retransmission
// cache, loss lists and receiver statistics that both directions need. Parsing
// never allocates, never copies and never trusts a length it did not check;
// whatever it returns points into the caller's bytes. It imports the standard
// library alone.
package rtp

import (
	"encoding/binary"
	"errors"
)

// What can be wrong with an RTP packet.
var (
	ErrShort     = errors.New("rtp: packet is too short")
	ErrVersion   = errors.New("rtp: version is not 2")
	ErrExtension = errors.New("rtp: header extension is longer than the packet")
	ErrPadding   = errors.New("rtp: padding is longer than the payload")
)

// headerSize is the fixed part of an RTP header.
const headerSize = 12

// The profiles of a header extension (RFC 8285 4.2 and 4.3).
const (
	profileOneByte     = 0xBEDE
	profileTwoByte     = 0x1000
	profileTwoByteMask = 0xFFF0
)

// Packet is one RTP packet, parsed in place. It stays valid as long as Raw does.
type Packet struct {
	Raw         []byte // the whole packet, decrypted
	HeaderLen   int    // fixed header, CSRCs and extensions
	PayloadType uint8
	Marker      bool
	Seq         uint16
	Timestamp   uint32
	SSRC        uint32
	PadLen      int   // bytes of padding at the end, its count included
	Arrival     int64 // ns on a monotonic clock; set by who read the packet, kept by Parse
	Received    int64 // when it reached this machine, on the same clock, which is what a sender is told; 0: at its Arrival
}

// Parse reads the header and the padding of a decrypted packet. It keeps raw,
// and sets every field but Arrival.
func (p *Packet) Parse(raw []byte) error {
	if err := p.ParseHeader(raw); err != nil {
		return err
	}
	if raw[0]&0x20 != 0 {
		if len(raw) == p.HeaderLen {
			return ErrPadding
		}
		pad := int(raw[len(raw)-1])
		if pad == 0 || pad > len(raw)-p.HeaderLen {
			return ErrPadding
		}
		p.PadLen = pad
	}
	return nil
}

// ParseHeader is Parse without the padding, whose length is still encrypted
// when an SRTP packet comes in; PadLen is 0 after it.
func (p *Packet) ParseHeader(raw []byte) error {
	if len(raw) < headerSize {
		return ErrShort
	}
	if raw[0]>>6 != 2 {
		return ErrVersion
	}
	n := headerSize + 4*int(raw[0]&0x0F)
	if len(raw) < n {
		return ErrShort
	}
	if raw[0]&0x10 != 0 {
		if len(raw) < n+4 {
			return ErrExtension
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(raw[n+2:]))
		if len(raw) < n {
			return ErrExtension
		}
	}
	p.Raw = raw
	p.HeaderLen = n
	p.Marker = raw[1]&0x80 != 0
	p.PayloadType = raw[1] & 0x7F
	p.Seq = binary.BigEndian.Uint16(raw[2:])
	p.Timestamp = binary.BigEndian.Uint32(raw[4:])
	p.SSRC = binary.BigEndian.Uint32(raw[8:])
	p.PadLen = 0
	return nil
}

// Payload is what lies between header and padding. It is empty for a packet
// that was sent only to probe for bandwidth.
func (p *Packet) Payload() []byte {
	return p.Raw[p.HeaderLen : len(p.Raw)-p.PadLen]
}

// Extension returns the data of the header extension element with this id
// (RFC 8285: 1–14 in the one-byte form, 1–255 in the two-byte form), or nil
// when the packet has none. An element of no data is a non-nil empty slice.
// Elements that run over the end hide themselves and those after them.
func (p *Packet) Extension(id uint8) []byte {
	if id == 0 || len(p.Raw) < headerSize || p.Raw[0]&0x10 == 0 {
		return nil
	}
	off := headerSize + 4*int(p.Raw[0]&0x0F)
	if p.HeaderLen < off+4 || p.HeaderLen > len(p.Raw) {
		return nil
	}
	profile := binary.BigEndian.Uint16(p.Raw[off:])
	b := p.Raw[off+4 : p.HeaderLen]
	switch {
	case profile == profileOneByte:
		return oneByteElement(b, id)
	case profile&profileTwoByteMask == profileTwoByte:
		return twoByteElement(b, id)
	}
	return nil
}

func oneByteElement(b []byte, id uint8) []byte {
	for len(b) > 0 {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		got, n := b[0]>>4, int(b[0]&0x0F)+1
		if got == 15 || len(b) < 1+n { // 15 ends the list (RFC 8285 4.2)
			return nil
		}
		if got == id {
			return b[1 : 1+n : 1+n]
		}
		b = b[1+n:]
	}
	return nil
}

func twoByteElement(b []byte, id uint8) []byte {
	for len(b) > 0 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return nil
		}
		n := int(b[1])
		if b[0] == id {
			return b[2 : 2+n : 2+n]
		}
		b = b[2+n:]
	}
	return nil
}
