// Package capacity tells how full the server is, and what it leaves out while it
// is too full to do everything in time.
//
// A [Judge] is the rule, a plain state machine: it is given a [Sample] of each
// second and names a [Level]. A [Keeper] asks a meter for the samples, says in
// the log when the level changes, and answers those who have to know it: media
// leaves out video, signaling and the API send who comes new away for a while.
// Nobody's sound is left out; so that it need not be, no more people are let in
// within a second than there is room for (Keeper.Admit).
package capacity

import (
	"fmt"
	"strings"
	"time"
)

// Level is how much is left out. Each does what those before it do.
type Level int32

// The levels.
const (
	Free     Level = iota // nothing is left out
	Lower                 // of each camera the lowest layer is sent on
	NoCamera              // cameras are paused, and sound has no error correction of its own
	Full                  // who comes new is told to try again
	Sound                 // content shares are paused too
)

var names = [...]string{"free", "lower", "no-camera", "full", "sound"}

// String is the level's name, as in the log and the metrics.
func (l Level) String() string {
	if l < 0 || int(l) >= len(names) {
		return fmt.Sprintf("Level(%d)", int32(l))
	}
	return names[l]
}

// Parse reads a name. The error says which there are.
func Parse(name string) (Level, error) {
	for i, n := range names {
		if n == name {
			return Level(i), nil
		}
	}
	return Free, fmt.Errorf("%q is no level: they are %s", name, strings.Join(names[:], ", "))
}

// Levels lists all, from nothing left out to most.
func Levels() []Level { return []Level{Free, Lower, NoCamera, Full, Sound} }

// Sample is what was measured in one period.
type Sample struct {
	// CPU is the process's own time on processors, as a share of what it may use.
	CPU float64
	// Late is how long after it was due the work of a tick of the media was done,
	// in all but a tenth of the ticks. A tick is as long as a packet of sound.
	Late time.Duration
	// People is how many were inside at its end.
	People int
	// Turned says that somebody was told to try again for want of room.
	Turned bool
}

// Limits say what is full.
type Limits struct {
	CPU  float64       // share of the processors that it may use
	Late time.Duration // of a tick
	// Processors is how many it may use, 0: one.
	Processors float64
}

// The pace of a Judge, in samples of a second.
const (
	// upAfter is for how many in a row it is full before more is left out: a moment's
	// trouble passes by itself.
	upAfter = 3
	// downAfter is for how many it has room before less is left out. It doubles, up
	// to downMost, each time that it turned out to be too early.
	downAfter = 10
	downMost  = 160
	// room is the share of a limit below which there is some.
	room = 0.7
	// crowded is the fullness from which on the server counts as full when somebody
	// stands before the door: their sound goes before others' large pictures.
	crowded = 0.9
	// own is the share of the processors from which on its own work can be why
	// it is late. Below that, doing less would not help: others hold the machine up.
	own = 0.3
)

// Fullness is how full a sample is of what the limits allow; 1 is full.
func (l Limits) Fullness(s Sample) float64 {
	full := s.CPU / l.CPU
	if s.CPU >= own {
		full = max(full, float64(s.Late)/float64(l.Late))
	}
	return full
}

// Judge names the level that samples ask for. It goes up a level when it was full
// for a while, and down one when there was room for longer; what was given back too
// early is given back later the next time. The zero value with Limits is ready.
type Judge struct {
	Limits Limits

	level   Level
	over    int // samples in a row that were full
	calm    int // samples with room since the last that was full
	patient int // of them that a step down takes; 0: downAfter
	lowered int // samples since the last step down; 0: there was none since the last up
}

// Level is that of the last sample.
func (j *Judge) Level() Level { return j.level }

// Take judges a sample.
func (j *Judge) Take(s Sample) Level {
	if j.lowered > 0 {
		j.lowered++
	}
	switch full := j.Limits.Fullness(s); {
	case full >= 1, s.Turned && j.level == Free && full >= crowded:
		j.calm = 0
		if j.over++; j.over >= upAfter && j.level < Sound {
			j.over = 0
			j.up()
		}
	case full < room:
		j.over = 0
		if j.calm++; j.level > Free && j.calm >= j.patience() {
			j.calm, j.lowered = 0, 1
			j.level--
		}
	default: // neither full nor with room: it stays as it is
		j.over = 0
	}
	return j.level
}

// up leaves out more. When less was left out shortly before, that was too early.
func (j *Judge) up() {
	switch {
	case j.lowered == 0: // it is the same time still, or the first
	case j.lowered <= 2*j.patience():
		j.patient = min(2*j.patience(), downMost)
	case j.level == Free:
		j.patient = downAfter
	}
	j.lowered = 0
	j.level++
}

// momentary reports whether what is wrong may be over in a moment: nothing is left out yet.
func (j *Judge) momentary() bool { return j.level == Free && j.over < upAfter-1 }

func (j *Judge) patience() int {
	if j.patient == 0 {
		return downAfter
	}
	return j.patient
}
