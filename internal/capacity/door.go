package capacity

// A Judge is slow, since what it leaves out is seen, and many people come within its
// time. Their sound cannot be left out again. So who comes new is counted: in each
// period as many may come in as the last one had room for, by what a person cost in it.
const (
	// cautious is the fullness from which on a quarter of the room is given in one
	// period: who came in costs more a moment later.
	cautious = 0.5
	// few people cost what the server costs anyway.
	few = 20
	// momentary and momentaryShare are how many may come in when it is full, and which
	// share of the processors they may cost, while that may be a moment's trouble. Who is
	// turned away takes five seconds to come again.
	momentary      = 5
	momentaryShare = 0.02
	// firstCost is what one of them is taken to cost, as a share of a processor.
	firstCost = 0.001
)

// aims are the fullness that new people may bring the server to at each level. They may
// have cameras made smaller, but not paused: one second is fuller than another, and three
// full ones pause them. Cameras that are paused come back first.
var aims = [...]float64{Free: 1, Lower: 0.9, NoCamera: room - 0.05, Full: 0, Sound: 0}

// places is how many may come in after a sample that was judged. came is how many did
// just before it, of whom it does not show much yet.
func (j *Judge) places(s Sample, came int) int {
	aim, cost := aims[j.level], firstCost/max(j.Limits.Processors, 1)
	if settled := s.People - came; settled >= few {
		cost = max(s.CPU/j.Limits.CPU/float64(settled), cost/10)
	}
	full := j.Limits.Fullness(s) + float64(came)*cost
	switch {
	case full >= aim && j.momentary():
		return min(momentary, int(momentaryShare/cost))
	case full >= aim:
		return 0
	}
	n := (aim - full) / cost
	if full >= cautious {
		n /= 4
	}
	if j.level == Free {
		n = max(n, 1) // then cameras are made smaller
	}
	return int(n)
}
