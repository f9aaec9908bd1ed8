package check

import (
	"math"
	"math/bits"
)

// perOctave is how finely a Histogram divides: its figures are right to 6 %.
const perOctave = 16

// Histogram counts durations in ns, in buckets that grow with them.
type Histogram struct {
	buckets [perOctave * 44]uint32
	n       uint64
}

// Add counts one duration; below 0 is 0.
func (h *Histogram) Add(ns int64) {
	h.buckets[bucket(ns)]++
	h.n++
}

// Merge adds another histogram.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.n += o.n
}

// Count is how many were added.
func (h *Histogram) Count() uint64 { return h.n }

// Quantile is the duration in ns that the share q (0 to 1) does not exceed,
// rounded up to the end of its bucket; 0 when nothing was added.
func (h *Histogram) Quantile(q float64) int64 {
	rank := uint64(math.Ceil(q * float64(h.n)))
	var sum uint64
	for i, n := range h.buckets {
		if sum += uint64(n); n > 0 && sum >= rank {
			return edge(i + 1)
		}
	}
	return 0
}

func bucket(ns int64) int {
	if ns < perOctave {
		return int(max(ns, 0))
	}
	shift := bits.Len64(uint64(ns)) - 5
	return min((shift+1)*perOctave+int(ns>>shift)-perOctave, len(Histogram{}.buckets)-1)
}

// edge is where bucket i begins.
func edge(i int) int64 {
	if i < 2*perOctave {
		return int64(i)
	}
	shift := i/perOctave - 1
	return int64(perOctave+i%perOctave) << shift
}
