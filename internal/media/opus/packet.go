package opus

// Silence is a packet of 20 ms of digital silence (full band, mono), the one
// that a muted browser microphone sends 50 times a second. Never modify it.
var Silence = []byte{0xf8, 0xff, 0xfe}

// Info is what the first bytes of a packet say (RFC 6716 section 3).
type Info struct {
	Config       uint8 // 0–31: mode, bandwidth and frame size
	Stereo       bool
	Frames       int // 1–48
	FrameSamples int // of one frame, at 48 kHz, per channel
	Silent       bool
}

// Samples is how long the packet is, at 48 kHz, per channel: 120 to 5760.
func (i Info) Samples() int { return i.Frames * i.FrameSamples }

// SILK reports whether the packet has a SILK layer, which is where in-band
// error correction can be.
func (i Info) SILK() bool { return i.Config < 16 }

// Parse reads a packet's table of contents and checks its length fields
// against RFC 6716 section 3.4. It does not allocate and never reads past p.
func Parse(p []byte) (Info, error) {
	if len(p) == 0 {
		return Info{}, ErrInvalidPacket
	}
	toc := p[0]
	in := Info{Config: toc >> 3, Stereo: toc&4 != 0, FrameSamples: frameSamples(toc)}
	body := p[1:]
	switch toc & 3 {
	case 0:
		in.Frames = 1
		if len(body) > maxFrame {
			return Info{}, ErrInvalidPacket
		}
	case 1:
		in.Frames = 2
		if len(body)%2 != 0 || len(body)/2 > maxFrame {
			return Info{}, ErrInvalidPacket
		}
	case 2:
		in.Frames = 2
		first, n := frameLength(body)
		if n == 0 || first > len(body)-n || len(body)-n-first > maxFrame {
			return Info{}, ErrInvalidPacket
		}
	case 3:
		if len(body) == 0 {
			return Info{}, ErrInvalidPacket
		}
		in.Frames = int(body[0] & 0x3f)
		if in.Frames == 0 || in.Samples() > MaxFrameSamples || !manyFramesFit(body, in.Frames) {
			return Info{}, ErrInvalidPacket
		}
	}
	// Silence and comfort noise under DTX are nothing but the table of contents
	// and at most two bytes.
	in.Silent = len(p) <= 3
	return in, nil
}

// HasFEC reports whether the packet may carry in-band error correction for the
// one before it. It is a cheap upper bound: the flag itself is inside the
// entropy-coded SILK header for all but the first bits.
func HasFEC(p []byte) bool {
	if len(p) < 2 || p[0]>>3 >= 16 {
		return false
	}
	if p[0]&3 != 0 {
		return true
	}
	// The header bits of SILK open the frame (RFC 6716 section 4.2.3): a voice
	// activity flag for each 20 ms, then the LBRR flag, per channel.
	frames := max(1, frameSamples(p[0])/FrameSamples)
	stereo := p[0]&4 != 0
	return p[1]>>(7-frames)&1 != 0 || stereo && p[1]>>(6-2*frames)&1 != 0
}

const maxFrame = 1275

// frameSamples is the frame size of RFC 6716 table 2 at 48 kHz.
func frameSamples(toc byte) int {
	config := toc >> 3
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		return [2]int{480, 960}[config&1]
	default: // CELT: 2.5, 5, 10, 20 ms
		return 120 << (config & 3)
	}
}

// frameLength reads a length of RFC 6716 section 3.2.1 and how many bytes it
// took, 0 when there are too few.
func frameLength(b []byte) (length, n int) {
	switch {
	case len(b) == 0:
		return 0, 0
	case b[0] < 252:
		return int(b[0]), 1
	case len(b) < 2:
		return 0, 0
	}
	return int(b[0]) + 4*int(b[1]), 2
}

// manyFramesFit checks the lengths of a code 3 packet (RFC 6716 section 3.2.5).
func manyFramesFit(b []byte, frames int) bool {
	vbr, padded := b[0]&0x80 != 0, b[0]&0x40 != 0
	b = b[1:]
	if padded {
		pad := 0
		for {
			if len(b) == 0 {
				return false
			}
			v := int(b[0])
			b = b[1:]
			if v < 255 {
				pad += v
				break
			}
			pad += 254
		}
		if pad > len(b) {
			return false
		}
		b = b[:len(b)-pad]
	}
	if !vbr {
		return len(b)%frames == 0 && len(b)/frames <= maxFrame
	}
	sum := 0 // all lengths come before all frames
	for range frames - 1 {
		length, n := frameLength(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		sum += length
	}
	return sum <= len(b) && len(b)-sum <= maxFrame
}
