package rtp

import (
	"encoding/binary"
	"errors"
)

// The RTCP packet types (RFC 3550 12.1, RFC 4585 6.1, RFC 3611).
const (
	TypeSR    = 200
	TypeRR    = 201
	TypeSDES  = 202
	TypeBYE   = 203
	TypeAPP   = 204
	TypeRTPFB = 205
	TypePSFB  = 206
	TypeXR    = 207
)

// The formats of feedback that are read here.
const (
	FormatNACK = 1  // RTPFB (RFC 4585 6.2.1)
	FormatTWCC = 15 // RTPFB, transport-wide congestion control
	FormatPLI  = 1  // PSFB (RFC 4585 6.3.1)
	FormatFIR  = 4  // PSFB (RFC 5104 4.3.1)
	FormatAFB  = 15 // PSFB, application layer: REMB
)

// ErrRTCP is that a compound packet is cut short or not RTCP at all.
var ErrRTCP = errors.New("rtp: malformed RTCP")

// RTCP walks through a compound packet without allocating:
//
//	c := rtp.RTCP{Data: pkt}
//	for c.Next() {
//		switch { case c.IsPLI(): … c.Media … }
//	}
//	if c.Err != nil …
//
// Fields that a type does not have are 0.
type RTCP struct {
	Data []byte // what is still to be read
	Err  error  // why Next said false, nil at the end

	Type   uint8
	Format uint8  // the count, for types that count
	Sender uint32 // SSRC of who sent it
	Media  uint32 // SSRC that feedback is about
	Body   []byte // what follows those, padding removed
}

// Next moves on to the next packet of the compound.
func (c *RTCP) Next() bool {
	if len(c.Data) == 0 || c.Err != nil {
		return false
	}
	b := c.Data
	if len(b) < 4 || b[0]>>6 != 2 {
		c.Err = ErrRTCP
		return false
	}
	n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
	if len(b) < n {
		c.Err = ErrRTCP
		return false
	}
	c.Data = b[n:]
	padded := b[0]&0x20 != 0
	c.Format, c.Type = b[0]&0x1F, b[1]
	b = b[4:n]
	if padded {
		if len(b) == 0 || int(b[len(b)-1]) > len(b) || b[len(b)-1] == 0 {
			c.Err = ErrRTCP
			return false
		}
		b = b[:len(b)-int(b[len(b)-1])]
	}
	c.Sender, c.Media = 0, 0
	switch c.Type {
	case TypeSDES, TypeBYE:
	case TypeRTPFB, TypePSFB:
		if len(b) < 8 {
			c.Err = ErrRTCP
			return false
		}
		c.Sender, c.Media = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		b = b[8:]
	default:
		if len(b) < 4 {
			c.Err = ErrRTCP
			return false
		}
		c.Sender = binary.BigEndian.Uint32(b)
		b = b[4:]
	}
	c.Body = b
	return true
}

// SenderInfo is the middle of a sender report (RFC 3550 6.4.1).
type SenderInfo struct {
	NTP       uint64 // 32.32 seconds since 1900
	Timestamp uint32 // the same instant on the stream's RTP clock
	Packets   uint32
	Bytes     uint32
}

// ReportBlock tells how one SSRC was received (RFC 3550 6.4.1).
type ReportBlock struct {
	SSRC         uint32
	FractionLost uint8 // of 256, since the report before
	TotalLost    int32 // 24 bits
	HighestSeq   uint32
	Jitter       uint32 // timestamp units
	LastSR       uint32 // middle 32 bits of the NTP time of the last sender report
	Delay        uint32 // since it came, in 1/65536 s
}

// RoundTrip is the time in ns that a sender report of ours and this report took
// together, where ntp is the time now on the clock of the sender reports (RFC 3550
// 6.4.1). ok is false when none of ours had come, and for what cannot be true.
func (b *ReportBlock) RoundTrip(ntp uint64) (ns int64, ok bool) {
	rtt := uint32(ntp>>16) - b.LastSR - b.Delay
	if b.LastSR == 0 || rtt >= 60<<16 { // a minute: anything longer is a lie or a mistake
		return 0, false
	}
	return int64(rtt) * 1e9 >> 16, true
}

const (
	senderInfoSize  = 20
	reportBlockSize = 24
)

// SenderInfo reads the middle of a sender report.
func (c *RTCP) SenderInfo() (s SenderInfo, ok bool) {
	if c.Type != TypeSR || len(c.Body) < senderInfoSize {
		return s, false
	}
	b := c.Body
	return SenderInfo{
		NTP:       binary.BigEndian.Uint64(b),
		Timestamp: binary.BigEndian.Uint32(b[8:]),
		Packets:   binary.BigEndian.Uint32(b[12:]),
		Bytes:     binary.BigEndian.Uint32(b[16:]),
	}, true
}

// Report reads the i-th report block of a sender or receiver report; ok is
// false past the last.
func (c *RTCP) Report(i int) (r ReportBlock, ok bool) {
	b := c.Body
	switch c.Type {
	case TypeSR:
		if len(b) < senderInfoSize {
			return r, false
		}
		b = b[senderInfoSize:]
	case TypeRR:
	default:
		return r, false
	}
	if i < 0 || i >= int(c.Format) || len(b) < (i+1)*reportBlockSize {
		return r, false
	}
	b = b[i*reportBlockSize:]
	lost := int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8
	return ReportBlock{
		SSRC:         binary.BigEndian.Uint32(b),
		FractionLost: b[4],
		TotalLost:    lost,
		HighestSeq:   binary.BigEndian.Uint32(b[8:]),
		Jitter:       binary.BigEndian.Uint32(b[12:]),
		LastSR:       binary.BigEndian.Uint32(b[16:]),
		Delay:        binary.BigEndian.Uint32(b[20:]),
	}, true
}

// Bye returns the i-th SSRC of a BYE.
func (c *RTCP) Bye(i int) (ssrc uint32, ok bool) {
	if c.Type != TypeBYE || i < 0 || i >= int(c.Format) || len(c.Body) < 4*(i+1) {
		return 0, false
	}
	return binary.BigEndian.Uint32(c.Body[4*i:]), true
}

// IsNACK reports generic NACK: Media lost packets, read them with NACK.
func (c *RTCP) IsNACK() bool { return c.Type == TypeRTPFB && c.Format == FormatNACK }

// IsTWCC reports transport-wide feedback; its Body goes to ParseTWCC.
func (c *RTCP) IsTWCC() bool { return c.Type == TypeRTPFB && c.Format == FormatTWCC }

// IsPLI reports a picture loss indication for Media.
func (c *RTCP) IsPLI() bool { return c.Type == TypePSFB && c.Format == FormatPLI }

// IsFIR reports a full intra request; FIR lists the streams.
func (c *RTCP) IsFIR() bool { return c.Type == TypePSFB && c.Format == FormatFIR }

// NACK appends to seqs the packets that a generic NACK asks for, in its order,
// at most limit of them.
func (c *RTCP) NACK(seqs []uint16, limit int) []uint16 {
	for b := c.Body; len(b) >= 4; b = b[4:] {
		pid, mask := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		for i := -1; i < 16; i++ {
			if i >= 0 && mask>>i&1 == 0 {
				continue
			}
			if limit == 0 {
				return seqs
			}
			limit--
			seqs = append(seqs, pid+uint16(i+1))
		}
	}
	return seqs
}

// FIR returns the i-th stream that a full intra request asks for and the number
// of the command: the same number again is a repetition.
func (c *RTCP) FIR(i int) (ssrc uint32, command uint8, ok bool) {
	if !c.IsFIR() || i < 0 || len(c.Body) < 8*(i+1) {
		return 0, 0, false
	}
	b := c.Body[8*i:]
	return binary.BigEndian.Uint32(b), b[4], true
}

// REMB reads a receiver's estimate of what may be sent to it, in bit/s, for all
// its streams together (draft-alvestrand-rmcat-remb).
func (c *RTCP) REMB() (bps uint64, ok bool) {
	b := c.Body
	if c.Type != TypePSFB || c.Format != FormatAFB || len(b) < 8 || string(b[:4]) != "REMB" {
		return 0, false
	}
	exp, mantissa := b[5]>>2, uint64(b[5]&3)<<16|uint64(b[6])<<8|uint64(b[7])
	if exp > 46 { // 18 bits of mantissa end at 64
		return 0, false
	}
	return mantissa << exp, true
}
