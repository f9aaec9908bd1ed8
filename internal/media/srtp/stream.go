package srtp

// stream is the state of one SSRC: where its sequence numbers are, with the
// rollovers counted, and which were used.
type stream struct {
	ssrc    uint32
	started bool
	highest uint64 // 48 bits: rollover counter and sequence number
	seen    window
}

// estimate finds the packet index of a sequence number: the one with that low
// part that is nearest to the highest so far (RFC 3711 3.3.1 and appendix A). It
// fails when the 48 bits are used up.
func (s *stream) estimate(seq uint16) (index uint64, ok bool) {
	if !s.started {
		return uint64(seq), true
	}
	roc := s.highest >> 16
	last := uint16(s.highest)
	if last < 1<<15 {
		if int(seq)-int(last) > 1<<15 && roc > 0 {
			roc--
		}
	} else if int(last)-1<<15 > int(seq) {
		roc++
	}
	return roc<<16 | uint64(seq), roc < 1<<32
}

// accept notes that the packet with this index is authentic.
func (s *stream) accept(index uint64) {
	s.seen.accept(index)
	if !s.started || index > s.highest {
		s.highest = index
		s.started = true
	}
}

// windowSize is how far behind the newest a packet may be, in packets. Half a
// second of the fastest video, well above the 64 that RFC 3711 3.3.2 asks for.
const windowSize = 1024

// window remembers which of the last windowSize indexes were used. It is a ring
// of bits addressed by the index itself.
type window struct {
	started bool
	highest uint64
	bits    [windowSize / 64]uint64
}

// fresh says whether an index is new and not too old.
func (w *window) fresh(index uint64) bool {
	if !w.started || index > w.highest {
		return true
	}
	if w.highest-index >= windowSize {
		return false
	}
	return w.bits[index/64%uint64(len(w.bits))]&(1<<(index%64)) == 0
}

// accept marks an index for which fresh was true.
func (w *window) accept(index uint64) {
	if !w.started {
		w.started = true
		w.highest = index
	} else if index > w.highest {
		if index-w.highest >= windowSize {
			clear(w.bits[:])
		} else {
			// Forget what was in the places of the indexes skipped over.
			for i := w.highest + 1; i < index; i++ {
				w.bits[i/64%uint64(len(w.bits))] &^= 1 << (i % 64)
			}
		}
		w.highest = index
	}
	w.bits[index/64%uint64(len(w.bits))] |= 1 << (index % 64)
}
