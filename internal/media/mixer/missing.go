package mixer

import (
	"time"

	"belfry/internal/media/rtp"
)

const (
	// repairTime is for how long a lost packet of sound is worth asking for: later
	// ones come after their turn. repairRTT is the longest round trip over which an
	// answer comes before that, and does not make everybody wait for the next.
	repairTime = int64(200 * time.Millisecond)
	repairRTT  = int64(120 * time.Millisecond)
	// deafAfter is how many packets are asked for in vain, before any came, until a
	// client is taken for one that does not answer.
	deafAfter = 40
)

// repairs is what a source is asked for.
type repairs struct {
	list            *rtp.NackList // nil while nothing was lost lately
	asked, answered int
}

// miss notes that packets of one who talks were lost.
func (s *Source) miss(first, last uint64, now int64) {
	r := &s.repairs
	if !s.talking || r.answered == 0 && r.asked >= deafAfter {
		return
	}
	if r.list == nil {
		r.list = &rtp.NackList{GiveUp: repairTime}
	}
	r.list.Gap(first, last, now)
}

// came takes a packet off the list of those that are missing.
func (r *repairs) came(ext uint64, late bool, stats *Stats) {
	if late && r.asked > 0 {
		r.answered++
	}
	if r.list != nil && r.list.Received(ext) {
		stats.Repaired++
	}
}

// Missing appends to seqs the sequence numbers that the client shall be asked to
// send again now (generic NACK, RFC 4585 6.2.1), given the round trip to it in ns,
// 0 while that is not known. What comes in answer is pushed like any packet: it goes
// on to listeners as one that is late.
func (s *Source) Missing(seqs []uint16, rtt int64, now time.Time) []uint16 {
	r := &s.repairs
	if r.list == nil || r.list.Len() == 0 {
		return seqs
	}
	if rtt > repairRTT || !s.talking {
		r.list.Reset()
		return seqs
	}
	r.list.RTT = rtt
	from := len(seqs)
	seqs, _ = r.list.Due(seqs, s.m.at(now))
	for i := range seqs[from:] {
		seqs[from+i] -= uint16(s.base) // as the client counts
	}
	r.asked += len(seqs) - from
	s.m.stats.Asked += uint64(len(seqs) - from)
	return seqs
}
