package check

import "sync/atomic"

const (
	// LateAfter is by how much sound may come behind the earliest packet that its
	// stream had in the last second or two, in ns.
	LateAfter = 60e6
	// SilenceSize is the largest Opus packet, in bytes, that is taken for silence.
	SilenceSize = 16
	// settle is how long after a change of who talks, in ns, silence is no fault.
	settle = 400e6
)

// Speech is what the talkers of one meeting do, told to those who listen.
type Speech struct {
	since atomic.Int64 // when the talking began, in ns; 0: nobody talks
	ended atomic.Int64
}

// Begin and End say when the first talker begins and the last one ends.
func (s *Speech) Begin(now int64) { s.since.Store(now) }
func (s *Speech) End(now int64)   { s.ended.Store(now); s.since.Store(0) }

// Since is when the talking began, in ns; 0: nobody talks.
func (s *Speech) Since() int64 { return s.since.Load() }

// Audio checks the sound that one receiver hears. It belongs to one goroutine,
// but for the window.
type Audio struct {
	Speech  *Speech
	Counts  Counts
	Latency Histogram // from the first packet of speech after a pause to the first that is no silence
	Behind  Histogram // each packet behind the earliest of its stream in the last second or two

	From, Until atomic.Int64 // the window, by arrival; 0: none

	seen     seen
	extended uint64
	begun    bool
	inside   bool
	low      uint64 // lowest number in the window
	ahead    int64  // least arrival minus timestamp, of the last second or two
	recent   int64  // and of the second that goes on
	turn     int64  // when that began
	loud     bool
	heard    int64 // the beginning of speech that was last heard
}

// Push takes a packet's number, timestamp (48 kHz), payload size and arrival.
func (a *Audio) Push(seq uint16, timestamp uint32, size int, arrived int64) {
	if !a.begun {
		a.begun, a.extended = true, 1<<16|uint64(seq)
	}
	n := a.extended + uint64(int64(int16(seq-uint16(a.extended))))
	a.extended = max(a.extended, n)
	f := a.seen.push(n)
	a.onset(size, arrived)
	if from := a.From.Load(); from == 0 || arrived < from || arrived >= a.Until.Load() {
		return
	}
	switch f {
	case duplicate:
		a.Counts.Duplicates++
		return
	case stale:
		a.Counts.Stale++
		return
	case reordered:
		a.Counts.Reordered++
	}
	// Timestamps wrap after a day: a window is shorter.
	behind := arrived - int64(timestamp)*1_000_000/48
	if !a.inside {
		a.inside, a.low, a.ahead, a.recent, a.turn = true, n, behind, behind, arrived
	}
	if n < a.low {
		return // sent before the window
	}
	// A mixer that was held up goes on from there: what stays so is no lateness.
	if arrived-a.turn > 1e9 {
		a.ahead, a.recent, a.turn = a.recent, behind, arrived
	}
	a.recent = min(a.recent, behind)
	a.ahead = min(a.ahead, behind)
	a.Behind.Add(behind - a.ahead)
	if behind > a.ahead+LateAfter {
		a.Counts.Late++
	}
	a.Counts.Received++
	a.Counts.Expected = max(a.Counts.Expected, a.extended-a.low+1)
	if a.Speech != nil && size <= SilenceSize {
		if since := a.Speech.since.Load(); since != 0 && arrived-since > settle {
			a.Counts.Silent++
		}
	}
}

// onset takes the time of the first loud packet after a beginning of speech.
func (a *Audio) onset(size int, arrived int64) {
	was := a.loud
	a.loud = size > SilenceSize
	if a.Speech == nil || was || !a.loud {
		return
	}
	since := a.Speech.since.Load()
	if since == 0 || since == a.heard {
		return
	}
	a.heard = since
	if from := a.From.Load(); from != 0 && since >= from && arrived < a.Until.Load() {
		a.Latency.Add(arrived - since)
	}
}
