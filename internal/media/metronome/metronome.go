// Package metronome wakes a goroutine at the multiples of a duration on the
// system's monotonic clock. All metronomes whose durations divide one another beat
// at the same moments, so that a process that waits for several of them is woken once.
//
// A time.Ticker is no help where beats are many: its goroutine is woken twice for
// most of them, as Go's poller has whole milliseconds only, and with each the
// thread that watches over the scheduler.
package metronome

import (
	"time"
)

// Metronome is for one goroutine, but for Close.
type Metronome struct {
	every time.Duration
	start time.Time     // some moment,
	at    time.Duration // and what the system's monotonic clock said then
	last  time.Duration // the beat of the last Wait, of that clock
	sys   sys
}

// New makes a Metronome, which must be closed. Nothing wakes before Wait is called.
func New(every time.Duration) (*Metronome, error) {
	m := &Metronome{every: every}
	if err := m.sys.open(); err != nil {
		return nil, err
	}
	m.start, m.at = time.Now(), monotonic()
	m.last = m.at.Truncate(every)
	return m, nil
}

// Wait waits for the beat that follows the one before, and says when that was due. Where
// that has passed it returns at once, and the beats that passed as well are left
// out. After Close it returns net.ErrClosed.
func (m *Metronome) Wait() (due time.Time, err error) {
	now := m.at + time.Since(m.start)
	next := m.last + m.every
	if now < next {
		err = m.sys.until(next, next-now)
		m.last = next
	} else {
		m.last = now.Truncate(m.every)
	}
	return m.start.Add(next - m.at), err
}

// Skip leaves out the beats that have passed, so that the next Wait waits.
func (m *Metronome) Skip() {
	m.last = (m.at + time.Since(m.start)).Truncate(m.every)
}

// Close ends a Wait that is under way.
func (m *Metronome) Close() error { return m.sys.close() }
