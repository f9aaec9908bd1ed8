package media

import (
	"sync"
	"time"
)

// lateness gathers how long after it was due the work of each tick was done. It is
// what a full server shows first: a tick makes the next packet of sound of
// everybody, and its goroutines wait for the processors like those of packets.
type lateness struct {
	mu    sync.Mutex
	ticks [len(lateSteps) + 1]int
	n     int
	last  time.Time // when work was last done
}

// lateSteps are the bounds of what is told apart.
var lateSteps = [...]time.Duration{
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 8 * time.Millisecond, 10 * time.Millisecond, 12 * time.Millisecond, 15 * time.Millisecond,
	18 * time.Millisecond, 20 * time.Millisecond, 25 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond,
	80 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond,
}

// note takes a tick whose work is done.
func (l *lateness) note(due, now time.Time) {
	late := now.Sub(due)
	i := 0
	for i < len(lateSteps) && late > lateSteps[i] {
		i++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticks[i]++
	l.n++
	l.last = now
}

// take is the lateness that nine of ten ticks kept within since it was taken last,
// up to a second. busy says that there is work at every tick: when none was done,
// it is as late as the time since.
func (l *lateness) take(now time.Time, busy bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	ticks, n := l.ticks, l.n
	l.ticks, l.n = [len(lateSteps) + 1]int{}, 0
	if n == 0 {
		if !busy || l.last.IsZero() {
			return 0
		}
		return min(now.Sub(l.last), time.Second)
	}
	rest := n / 10 // that may be later
	for i := len(ticks) - 1; i >= 0; i-- {
		if rest -= ticks[i]; rest < 0 {
			if i == len(lateSteps) {
				return time.Second
			}
			return lateSteps[i]
		}
	}
	return 0
}
