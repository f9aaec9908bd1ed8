package projection

import "sort"

// index holds values in the order of their Seq. Seqs are only ever added at the
// end, so a sorted slice with a binary search does; a removed value leaves a
// hole until the holes outnumber the values.
type index[T any] struct {
	seqs  []uint64
	vals  []*T // nil: a hole
	holes int
}

func (x *index[T]) len() int {
	if x == nil {
		return 0
	}
	return len(x.vals) - x.holes
}

// position is where the first value with a Seq above after is or would be.
func (x *index[T]) position(after uint64) int {
	return sort.Search(len(x.seqs), func(i int) bool { return x.seqs[i] > after })
}

// put adds v at the end or replaces the value with the same Seq.
func (x *index[T]) put(seq uint64, v *T) {
	if n := len(x.seqs); n == 0 || x.seqs[n-1] < seq {
		x.seqs, x.vals = append(x.seqs, seq), append(x.vals, v)
		return
	}
	i := x.position(seq - 1)
	if i < len(x.seqs) && x.seqs[i] == seq {
		if x.vals[i] == nil {
			x.holes--
		}
		x.vals[i] = v
		return
	}
	// Only a snapshot made elsewhere could come here; keep the order all the same.
	x.seqs, x.vals = append(x.seqs, 0), append(x.vals, nil)
	copy(x.seqs[i+1:], x.seqs[i:])
	copy(x.vals[i+1:], x.vals[i:])
	x.seqs[i], x.vals[i] = seq, v
}

func (x *index[T]) remove(seq uint64) {
	i := x.position(seq - 1)
	if i >= len(x.seqs) || x.seqs[i] != seq || x.vals[i] == nil {
		return
	}
	x.vals[i] = nil
	x.holes++
	if x.holes <= len(x.vals)/2+16 {
		return
	}
	seqs, vals := make([]uint64, 0, x.len()), make([]*T, 0, x.len())
	for i, v := range x.vals {
		if v != nil {
			seqs, vals = append(seqs, x.seqs[i]), append(vals, v)
		}
	}
	x.seqs, x.vals, x.holes = seqs, vals, 0
}

// each calls fn for the values after a Seq, in order, until it answers false.
func (x *index[T]) each(after uint64, fn func(seq uint64, v *T) bool) {
	if x == nil {
		return
	}
	for i := x.position(after); i < len(x.vals); i++ {
		if v := x.vals[i]; v != nil && !fn(x.seqs[i], v) {
			return
		}
	}
}

// list returns at most limit values after a Seq.
func (x *index[T]) list(after uint64, limit int) []*T {
	var out []*T
	if limit <= 0 {
		return out
	}
	x.each(after, func(_ uint64, v *T) bool {
		out = append(out, v)
		return len(out) < limit
	})
	return out
}
