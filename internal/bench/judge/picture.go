package judge

import (
	"math"
	"slices"
)

// Picture is one that was seen.
type Picture struct {
	At            float64 // ms: when it came
	Stamp         float64 // ms modulo 2^27, when it was made; negative: it could not be read
	Width, Height int
}

// Freeze is how long, in ms, no new picture comes before it counts.
const Freeze = 200

// Seen is what became of the pictures.
type Seen struct {
	Pictures   int     `json:"pictures"`
	PerSecond  float64 `json:"fps"`
	Freezes    int     `json:"freezes"`   // times of more than 200 ms without a new picture
	Frozen     float64 `json:"frozen_ms"` // all of them together
	Longest    float64 `json:"longest_ms"`
	P50        float64 `json:"p50_ms"` // glass to glass
	P95        float64 `json:"p95_ms"`
	Height     int     `json:"height"`     // the largest that was reached
	Reached    float64 `json:"reached_ms"` // and when it came first, from the first picture at all
	Unreadable int     `json:"unreadable"`
}

// See judges pictures that came from one time to another, in ms. Those before count for
// the resolution alone.
func See(all []Picture, from, until float64) Seen {
	var s Seen
	var delays []float64
	last := from
	end := func(at float64) {
		if gap := at - last; gap > Freeze {
			s.Freezes++
			s.Frozen += gap
			s.Longest = max(s.Longest, gap)
		}
		last = at
	}
	for i, p := range all {
		if p.At > until {
			break
		}
		if p.Height > s.Height {
			s.Height, s.Reached = p.Height, p.At-all[0].At
		}
		if p.At < from {
			continue
		}
		if i > 0 && p.Stamp >= 0 && p.Stamp == all[i-1].Stamp {
			continue // the same once more
		}
		s.Pictures++
		end(p.At)
		if p.Stamp < 0 {
			s.Unreadable++
			continue
		}
		delays = append(delays, Delay(p))
	}
	end(until)
	if until > from {
		s.PerSecond = float64(s.Pictures) / (until - from) * 1000
	}
	slices.Sort(delays)
	s.P50, s.P95 = quantile(delays, 0.5), quantile(delays, 0.95)
	return s
}

// Delay is how old a picture was when it came, in ms.
func Delay(p Picture) float64 {
	const turn = 1 << 27
	d := math.Mod(p.At, turn) - p.Stamp
	if d < -turn/2 {
		d += turn
	}
	return d
}

// FirstOf is when the first picture came at or after a time that ok holds for, as ms
// from that time; negative: none.
func FirstOf(all []Picture, from float64, ok func(Picture) bool) float64 {
	for _, p := range all {
		if p.At >= from && ok(p) {
			return p.At - from
		}
	}
	return -1
}
