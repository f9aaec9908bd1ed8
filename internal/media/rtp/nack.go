package rtp

// The bounds of a NackList.
const (
	maxMissing   = 256
	nackTries    = 10
	nackGiveUp   = int64(1e9)
	nackInterval = int64(40e6) // while the round trip is not known
	nackLeast    = int64(20e6)
)

// NackList keeps the packets that are missing on one SSRC and says when to ask
// for them: at once, then at growing intervals, until they come or it is too
// late. It is bounded; the zero value is ready.
type NackList struct {
	missing [maxMissing]missing // by number
	n       int
	// RTT is the time in ns that an answer takes at least, 0 when not known. A
	// packet is not asked for again before it.
	RTT int64
	// GiveUp is for how long, in ns, a packet is of use; 0: a second.
	GiveUp int64
}

type missing struct {
	ext   uint64
	since int64
	next  int64
	tries uint8
}

// Len is how many packets are missing.
func (l *NackList) Len() int { return l.n }

// Gap notes that the packets from first to last (extended numbers, both
// included) were skipped. ok is false when that is more than can be repaired:
// the list is empty then, and a key frame is what helps.
func (l *NackList) Gap(first, last uint64, now int64) (ok bool) {
	if last < first {
		return true
	}
	if last-first+1 > maxMissing-uint64(l.n) {
		l.n = 0
		return false
	}
	for x := first; x <= last; x++ {
		l.missing[l.n] = missing{ext: x, since: now, next: now}
		l.n++
	}
	return true
}

// Received takes a packet off the list, and says whether it was on it.
func (l *NackList) Received(ext uint64) bool {
	for i := range l.missing[:l.n] {
		if l.missing[i].ext == ext {
			copy(l.missing[i:l.n], l.missing[i+1:l.n])
			l.n--
			return true
		}
	}
	return false
}

// Missing says that a packet is being asked for.
func (l *NackList) Missing(ext uint64) bool {
	for i := range l.missing[:l.n] {
		if l.missing[i].ext == ext {
			return true
		}
	}
	return false
}

// Reset empties the list.
func (l *NackList) Reset() { l.n = 0 }

// patience is how long an answer may take.
func (l *NackList) patience() int64 {
	if l.RTT == 0 {
		return nackInterval
	}
	return min(max(l.RTT+l.RTT/4, nackLeast), nackGiveUp)
}

// Due appends to seqs the numbers to ask for now, oldest first, and counts the
// request. Packets that were asked for too often or are too old leave the list;
// lost is how many.
func (l *NackList) Due(seqs []uint16, now int64) (due []uint16, lost int) {
	keep, patience := 0, nackGiveUp
	if l.GiveUp != 0 {
		patience = l.GiveUp
	}
	for i := range l.missing[:l.n] {
		m := l.missing[i]
		if m.next <= now {
			if m.tries == nackTries || now-m.since > patience {
				lost++
				continue
			}
			m.tries++
			m.next = now + l.patience()*int64(m.tries+1)/2
			seqs = append(seqs, uint16(m.ext))
		}
		l.missing[keep] = m
		keep++
	}
	l.n = keep
	return seqs, lost
}
