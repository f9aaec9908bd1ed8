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
	// firstCost is what one of them is taken to cost, as a share of a processor.
	firstCost = 0.001
)

// aims are the fullness that new people may bring the server to at each level. They may
// have cameras made smaller, but not paused; and cameras that are paused come back first.
var aims = [...]float64{Free: 1, Lower: 0.95, NoCamera: room - 0.05, Full: 0, Sound: 0}

// places is how many may come in after a sample, at a level. came is how many did just
// before it, of whom it does not show much yet.
func (l Limits) places(s Sample, at Level, came int) int {
	aim := aims[at]
	cost := firstCost / max(l.Processors, 1)
	if settled := s.People - came; settled >= few {
		cost = max(s.CPU/l.CPU/float64(settled), cost/10)
	}
	full := l.Fullness(s) + float64(came)*cost
	if full >= aim {
		return 0
	}
	n := (aim - full) / cost
	if full >= cautious {
		n /= 4
	}
	return max(int(n), 1)
}
