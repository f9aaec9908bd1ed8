package rtp

import "encoding/binary"

// twccWindow is how many transport-wide numbers are kept for one feedback; a
// power of two.
const twccWindow = 1024

// TWCCRecorder notes when the packets of one transport came and makes the
// feedback that a send-side bandwidth estimator lives on
// (draft-holmer-rmcat-transport-wide-cc-extensions-01). It is bounded; the zero
// value is ready.
type TWCCRecorder struct {
	ext     Extender
	arrival [twccWindow]int64  // by number modulo the window
	number  [twccWindow]uint64 // extended number in that place
	next    uint64             // the next feedback begins here
	top     uint64             // one past the highest number; 0 before the first
	pending int
	count   uint8
}

// Record notes that the packet with this transport-wide number came at arrival
// (ns). A number from before the last feedback, up to half the window back,
// makes the next feedback begin there; older ones are not told.
func (t *TWCCRecorder) Record(seq uint16, arrival int64) {
	x := t.ext.Extend(seq)
	if t.top == 0 {
		t.next, t.top = x, x
	}
	if x < t.next && t.next-x < twccWindow/2 {
		// Reordered over a feedback: begin the next one there, so that the sender
		// learns it was not lost. What came since then is told again.
		for y := x + 1; y < t.next; y++ {
			if t.number[y&(twccWindow-1)] == y {
				t.pending++
			}
		}
		t.next = x
	}
	if x < t.next {
		return
	}
	i := x & (twccWindow - 1)
	if t.number[i] == x {
		return // a duplicate
	}
	t.number[i], t.arrival[i] = x, arrival
	t.top = max(t.top, x+1)
	if t.top-t.next > twccWindow {
		t.next = t.top - twccWindow
	}
	t.pending++
}

// Pending is how many packets wait to be reported.
func (t *TWCCRecorder) Pending() int { return t.pending }

// The symbols of a status (section 3.1.1).
const (
	twccLost  = 0
	twccSmall = 1
	twccLarge = 2
)

// twccTick is the unit of arrival deltas: 250 µs.
const twccTick = 250_000

// twccPerFeedback bounds one packet: 400 statuses and 800 bytes of deltas.
const twccPerFeedback = 400

// AppendFeedback appends one feedback packet with what came since the last, as
// much as one packet takes, and nothing when nothing came. Call it until
// Pending is 0.
func (t *TWCCRecorder) AppendFeedback(dst []byte, sender, media uint32) []byte {
	if t.pending == 0 {
		return dst
	}
	// Skip what is missing before the first that came: it may be late still, but
	// a feedback needs a first arrival to count from. The base keeps the gap, so
	// that losses are told.
	var first uint64
	for x := t.next; ; x++ {
		if x == t.top {
			t.pending = 0
			return dst
		}
		if t.number[x&(twccWindow-1)] == x {
			first = x
			break
		}
	}
	base := t.next
	if first-base >= twccPerFeedback/2 {
		base = first
	}
	reference := t.arrival[first&(twccWindow-1)] / (64 * 1_000_000)
	last := reference * 64 * 1_000_000 / twccTick

	var symbols [twccPerFeedback]uint8
	var deltas [twccPerFeedback]int16
	n, used := 0, 0
	for x := base; x < t.top && n < twccPerFeedback; x++ {
		i := x & (twccWindow - 1)
		if t.number[i] != x {
			symbols[n] = twccLost
			n++
			continue
		}
		at := t.arrival[i] / twccTick
		d := at - last
		if d != int64(int16(d)) {
			break // too far apart for one feedback
		}
		if d >= 0 && d <= 255 {
			symbols[n] = twccSmall
		} else {
			symbols[n] = twccLarge
		}
		deltas[n] = int16(d)
		last = at
		used = n + 1
		n++
	}
	// What is missing at the end may still come.
	n = used
	for i := range n {
		if symbols[i] != twccLost {
			t.pending--
		}
	}
	t.next = base + uint64(n)
	if t.next == t.top {
		t.pending = 0
	}

	start := len(dst)
	dst = appendRTCPHeader(dst, FormatTWCC, TypeRTPFB, 0)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, media)
	dst = binary.BigEndian.AppendUint16(dst, uint16(base))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = append(dst, byte(reference>>16), byte(reference>>8), byte(reference), t.count)
	t.count++
	dst = appendTWCCChunks(dst, symbols[:n])
	for i := range n {
		switch symbols[i] {
		case twccSmall:
			dst = append(dst, byte(deltas[i]))
		case twccLarge:
			dst = binary.BigEndian.AppendUint16(dst, uint16(deltas[i]))
		}
	}
	if pad := -(len(dst) - start) & 3; pad != 0 {
		dst[start] |= 0x20
		for i := 1; i < pad; i++ {
			dst = append(dst, 0)
		}
		dst = append(dst, byte(pad))
	}
	setRTCPLength(dst, start)
	return dst
}

// appendTWCCChunks packs statuses: runs of more than 7 alike as a run length,
// 14 without a large delta as one bit each, else 7 of two bits each.
func appendTWCCChunks(dst []byte, s []uint8) []byte {
	for len(s) > 0 {
		run := 1
		for run < len(s) && s[run] == s[0] {
			run++
		}
		if run > 7 || run == len(s) {
			run = min(run, 0x1FFF)
			dst = binary.BigEndian.AppendUint16(dst, uint16(s[0])<<13|uint16(run))
			s = s[run:]
			continue
		}
		small := true
		for _, v := range s[:min(len(s), 14)] {
			small = small && v != twccLarge
		}
		var chunk uint16
		n := min(len(s), 7)
		if small {
			n = min(len(s), 14)
			chunk = 0x8000
			for i, v := range s[:n] {
				chunk |= uint16(v) << (13 - i)
			}
		} else {
			chunk = 0xC000
			for i, v := range s[:n] {
				chunk |= uint16(v) << (12 - 2*i)
			}
		}
		dst = binary.BigEndian.AppendUint16(dst, chunk)
		s = s[n:]
	}
	return dst
}

// ParseTWCC reads the Body of a transport-wide feedback and calls visit for
// each packet that it tells of, in order: received, and when, in µs on the
// receiver's clock (only differences mean something). It returns false for a
// malformed one, having visited what came before the fault. At most 65,535
// packets are visited.
func ParseTWCC(body []byte, visit func(seq uint16, received bool, atMicros int64)) bool {
	if len(body) < 8 {
		return false
	}
	base, count := binary.BigEndian.Uint16(body), int(binary.BigEndian.Uint16(body[2:]))
	reference := int64(int32(uint32(body[4])<<24|uint32(body[5])<<16|uint32(body[6])<<8) >> 8)
	at := reference * 64_000
	chunks := body[8:]

	// Once over the chunks to find where the deltas begin.
	end, seen := 0, 0
	for seen < count {
		if len(chunks) < end+2 {
			return false
		}
		seen += twccChunkLen(binary.BigEndian.Uint16(chunks[end:]))
		end += 2
	}
	deltas := chunks[end:]
	i := 0
	for ; end > 0 && i < count; end -= 2 {
		c := binary.BigEndian.Uint16(chunks)
		chunks = chunks[2:]
		for k := range twccChunkLen(c) {
			if i == count {
				break
			}
			seq := base + uint16(i)
			i++
			switch twccSymbol(c, k) {
			case twccLost:
				visit(seq, false, 0)
				continue
			case twccSmall:
				if len(deltas) < 1 {
					return false
				}
				at += int64(deltas[0]) * 250
				deltas = deltas[1:]
			case twccLarge:
				if len(deltas) < 2 {
					return false
				}
				at += int64(int16(binary.BigEndian.Uint16(deltas))) * 250
				deltas = deltas[2:]
			default:
				return false
			}
			visit(seq, true, at)
		}
	}
	return true
}

func twccChunkLen(c uint16) int {
	switch {
	case c&0x8000 == 0:
		return int(c & 0x1FFF)
	case c&0x4000 == 0:
		return 14
	}
	return 7
}

func twccSymbol(c uint16, i int) uint8 {
	switch {
	case c&0x8000 == 0:
		return uint8(c >> 13 & 3)
	case c&0x4000 == 0:
		return uint8(c >> (13 - i) & 1)
	}
	return uint8(c >> (12 - 2*i) & 3)
}
