package rtp

// Arrival is what a Receiver makes of a packet's sequence number.
type Arrival uint8

const (
	// InOrder is the next number or one further on: it leaves a gap behind it.
	InOrder Arrival = iota
	// Late is a number below the highest: reordered, repaired or a duplicate.
	Late
	// Jumped is a number too far off to be believed. The packet should be
	// dropped; when the next one follows it, the sender has begun anew.
	Jumped
	// Restarted is that next one: everything known about the numbers before it
	// is void, though the extended numbers go on rising.
	Restarted
)

// The limits of RFC 3550 A.1.
const (
	maxDropout  = 3000
	maxMisorder = 1000
)

// Receiver keeps the reception statistics of one SSRC (RFC 3550 A.1, A.3 and
// A.8). Set ClockRate before use.
type Receiver struct {
	ClockRate uint32 // of the timestamps, per second

	started  bool
	base     uint64 // extended
	max      uint64 // extended
	badSeq   uint32 // the number that would confirm a jump; 1<<16 for none
	received uint64

	transit int64 // in timestamp units
	timed   bool
	jitter  uint32 // 16 times the jitter, as RFC 3550 A.8 keeps it

	expectedPrior, receivedPrior uint64

	srNTP     uint32 // middle bits of the last sender report
	srArrival int64
}

// Push takes the number, timestamp and arrival time (ns) of a packet and
// returns its extended number. The zero value's first packet begins the count.
func (r *Receiver) Push(seq uint16, timestamp uint32, arrival int64) (ext uint64, a Arrival) {
	if !r.started {
		r.started = true
		r.max = 1<<16 + uint64(seq)
		r.base = r.max
		r.badSeq = 1 << 16
		r.received = 1
		r.time(timestamp, arrival)
		return r.max, InOrder
	}
	d := SeqDiff(seq, uint16(r.max))
	switch {
	case d > 0 && d < maxDropout:
		r.max += uint64(d)
		ext, a = r.max, InOrder
	case d <= 0 && d > -maxMisorder:
		ext, a = r.max-uint64(-d), Late
	case uint32(seq) == r.badSeq:
		r.max = (r.max>>16+1)<<16 + 1<<16 + uint64(seq)
		r.base = r.max
		r.received, r.expectedPrior, r.receivedPrior = 0, 0, 0
		r.timed = false
		ext, a = r.max, Restarted
	default:
		r.badSeq = uint32(seq + 1)
		return 0, Jumped
	}
	r.badSeq = 1 << 16
	r.received++
	if a != Late {
		r.time(timestamp, arrival)
	}
	return ext, a
}

func (r *Receiver) time(timestamp uint32, arrival int64) {
	rate := int64(r.ClockRate)
	if rate == 0 {
		return
	}
	at := arrival/1e9*rate + arrival%1e9*rate/1e9
	transit := int64(uint32(at) - timestamp)
	if r.timed {
		d := int64(int32(uint32(transit) - uint32(r.transit)))
		if d < 0 {
			d = -d
		}
		// A jump of minutes is a new clock, not jitter.
		if d < 60*rate {
			r.jitter += uint32(d) - (r.jitter+8)>>4
		}
	}
	r.transit, r.timed = transit, true
}

// Max is the highest extended number, 0 before the first packet.
func (r *Receiver) Max() uint64 { return r.max }

// Received is how many packets came since the count began.
func (r *Receiver) Received() uint64 { return r.received }

// Jitter is the interarrival jitter in timestamp units.
func (r *Receiver) Jitter() uint32 { return r.jitter >> 4 }

// SenderReport notes when the last sender report came, for the delay that the
// next report block tells.
func (r *Receiver) SenderReport(ntp uint64, arrival int64) {
	r.srNTP, r.srArrival = uint32(ntp>>16), arrival
}

// Report makes the report block of this SSRC and begins a new interval for the
// fraction lost.
func (r *Receiver) Report(ssrc uint32, now int64) ReportBlock {
	if !r.started {
		return ReportBlock{SSRC: ssrc}
	}
	expected := r.max - r.base + 1
	lost := int64(expected) - int64(r.received)
	lost = min(max(lost, -0x800000), 0x7FFFFF)
	expectedInterval := expected - r.expectedPrior
	receivedInterval := r.received - r.receivedPrior
	r.expectedPrior, r.receivedPrior = expected, r.received
	var fraction uint8
	if expectedInterval > receivedInterval {
		fraction = uint8(min((expectedInterval-receivedInterval)<<8/expectedInterval, 255))
	}
	b := ReportBlock{
		SSRC:         ssrc,
		FractionLost: fraction,
		TotalLost:    int32(lost),
		HighestSeq:   uint32(r.max - 1<<16),
		Jitter:       r.jitter >> 4,
		LastSR:       r.srNTP,
	}
	if r.srNTP != 0 {
		d := now - r.srArrival
		b.Delay = uint32(d/1e9<<16 + d%1e9<<16/1e9)
	}
	return b
}
