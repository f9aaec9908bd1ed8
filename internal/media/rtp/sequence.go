package rtp

// SeqDiff is how far sequence number a is ahead of b, modulo 2^16: negative
// when a is older.
func SeqDiff(a, b uint16) int { return int(int16(a - b)) }

// SeqLess reports whether a comes before b, modulo 2^16.
func SeqLess(a, b uint16) bool { return int16(a-b) < 0 }

// TimestampDiff is how far timestamp a is ahead of b, modulo 2^32.
func TimestampDiff(a, b uint32) int64 { return int64(int32(a - b)) }

// Extender turns 16-bit sequence numbers into ones that do not wrap. The zero
// value is ready; the first number comes out with 2^16 added, so that packets
// from before it have room.
type Extender struct {
	max     uint64
	started bool
}

// Extend returns the extended form of seq that is nearest to the highest one
// seen, and moves that on.
func (e *Extender) Extend(seq uint16) uint64 {
	if !e.started {
		e.started = true
		e.max = 1<<16 + uint64(seq)
		return e.max
	}
	x := e.Peek(seq)
	if x > e.max {
		e.max = x
	}
	return x
}

// Peek is Extend that remembers nothing.
func (e *Extender) Peek(seq uint16) uint64 {
	if !e.started {
		return 1<<16 + uint64(seq)
	}
	d := SeqDiff(seq, uint16(e.max))
	if d < 0 && uint64(-d) > e.max {
		return 0
	}
	return e.max + uint64(d)
}

// Max is the highest extended number seen, 0 before the first.
func (e *Extender) Max() uint64 { return e.max }
