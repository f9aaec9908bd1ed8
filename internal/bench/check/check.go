// Package check tells whether media arrived as it was sent. Senders of the load
// generator stamp each video packet at its end with who sent it, a number and the
// time, under a checksum; a Video reads the stamps of one sender's packets at one
// receiver and counts what was lost, came twice, out of order or damaged, and how
// long it took. An Audio does the same for sound, which a mixer makes anew, by the
// numbers and timestamps of its packets, and notices silence in place of speech.
// Nothing here allocates per packet, and nothing has a clock of its own.
package check

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"sync/atomic"
)

// StampSize is how many bytes Stamp writes.
const StampSize = 26

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Stamp writes the stamp into the last StampSize bytes of a payload: who sends
// it, its number and the time in ns. covered is how many bytes before the
// checksum are under it; those before may be rewritten on the way.
func Stamp(payload []byte, covered int, sender uint32, number uint64, at int64) {
	b := payload[len(payload)-StampSize:]
	binary.BigEndian.PutUint16(b, uint16(covered))
	binary.BigEndian.PutUint32(b[2:], sender)
	binary.BigEndian.PutUint64(b[6:], number)
	binary.BigEndian.PutUint64(b[14:], uint64(at))
	end := len(payload) - 4
	binary.BigEndian.PutUint32(b[22:], crc32.Checksum(payload[end-covered:end], castagnoli))
}

// ReadStamp reads it back; ok is false when the payload is not what was sent.
func ReadStamp(payload []byte) (sender uint32, number uint64, at int64, ok bool) {
	if len(payload) < StampSize {
		return 0, 0, 0, false
	}
	b := payload[len(payload)-StampSize:]
	covered, end := int(binary.BigEndian.Uint16(b)), len(payload)-4
	if covered < StampSize-4 || covered > end ||
		crc32.Checksum(payload[end-covered:end], castagnoli) != binary.BigEndian.Uint32(b[22:]) {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint64(b[6:]), int64(binary.BigEndian.Uint64(b[14:])), true
}

// Window is which numbers of one sender count: from First to before Last. The
// sender moves it, receivers read it.
type Window struct{ First, Last atomic.Uint64 }

// NewWindow makes a Window in which nothing counts yet.
func NewWindow() *Window {
	w := &Window{}
	w.First.Store(math.MaxUint64)
	w.Last.Store(math.MaxUint64)
	return w
}

// Sent is how many packets count, once First and Last are set.
func (w *Window) Sent() uint64 {
	first, last := w.First.Load(), w.Last.Load()
	if first == math.MaxUint64 || last < first {
		return 0
	}
	return last - first
}

func (w *Window) has(number uint64) bool { return number >= w.First.Load() && number < w.Last.Load() }

// memory is how many numbers back a packet can be told from one that came before.
const memory = 1 << 14

// seen remembers which of the last numbers came.
type seen struct {
	bits [memory / 64]uint64
	max  uint64
	any  bool
}

// fate is what became of a packet.
type fate int

const (
	first     fate = iota // later than all before it
	reordered             // not, but new
	duplicate             // it came before
	stale                 // so old that this cannot be told
)

func (s *seen) push(n uint64) fate {
	f := first
	switch {
	case !s.any:
		s.any, s.max = true, n
	case n > s.max:
		for k := max(s.max+1, n-min(n, memory-1)); k < n; k++ {
			s.bits[k%memory/64] &^= 1 << (k % 64)
		}
		s.max = n
	case s.max-n >= memory:
		return stale
	case s.bits[n%memory/64]&(1<<(n%64)) != 0:
		return duplicate
	default:
		f = reordered
	}
	s.bits[n%memory/64] |= 1 << (n % 64)
	return f
}

// Counts is what receivers counted, of one stream or of many together.
type Counts struct {
	Expected   uint64 `json:"expected"`   // packets that should have come
	Received   uint64 `json:"received"`   // different ones that did
	Duplicates uint64 `json:"duplicates"` // came again
	Reordered  uint64 `json:"reordered"`  // came after a later one, not by a repair
	Repaired   uint64 `json:"repaired"`   // came by a retransmission
	Corrupt    uint64 `json:"corrupt"`    // are not what was sent
	Stale      uint64 `json:"stale"`      // too old to tell
	Late       uint64 `json:"late"`       // sound more than LateAfter behind the earliest of its stream
	Silent     uint64 `json:"silent"`     // silence while somebody talked
}

// Lost is how many did not come.
func (c *Counts) Lost() uint64 { return c.Expected - min(c.Expected, c.Received) }

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	c.Expected += o.Expected
	c.Received += o.Received
	c.Duplicates += o.Duplicates
	c.Reordered += o.Reordered
	c.Repaired += o.Repaired
	c.Corrupt += o.Corrupt
	c.Stale += o.Stale
	c.Late += o.Late
	c.Silent += o.Silent
}

// Video checks the packets of one sender at one receiver. It belongs to one
// goroutine.
type Video struct {
	Window  *Window
	Counts  Counts
	Latency Histogram
	seen    seen
}

// Push takes a packet's number and the times in ns of its sending and arrival.
// repaired says that it came by a retransmission.
func (v *Video) Push(number uint64, sent, arrived int64, repaired bool) {
	f := v.seen.push(number)
	if !v.Window.has(number) {
		return
	}
	switch f {
	case duplicate:
		v.Counts.Duplicates++
		return
	case stale:
		v.Counts.Stale++
		return
	}
	v.Counts.Received++
	switch {
	case repaired:
		v.Counts.Repaired++
	case f == reordered:
		v.Counts.Reordered++
	}
	v.Latency.Add(arrived - sent)
}

// Result is the counts with what was expected filled in.
func (v *Video) Result() Counts {
	c := v.Counts
	c.Expected = v.Window.Sent()
	return c
}
