// Package judge tells how good sound and pictures are that went through a meeting,
// from what was sent and what was heard and seen. The sound is a code: each 20 ms of
// it is a chord that is not used again for ten seconds, so each piece that came out of
// a loudspeaker can be told, and when it was said. Pictures have the time of their
// making in them; who sees them notes that, when they came, and their size.
package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"
)

const (
	// Rate is that of all sound here, in samples a second.
	Rate = 48000
	// Frame is how many samples a chord has.
	Frame = Rate / 50
	// Chords is how many there are; after so many frames the sound repeats.
	Chords = 512

	hop       = Frame / 4 // between looks at what was heard
	bands     = 3         // a chord has a tone in each
	tones     = 8         // of each band
	spacing   = 100       // Hz between tones: all are orthogonal over a frame
	clear     = 0.5       // share of the energy that a chord has when it is heard as it was sent
	amplitude = 0.15      // of each tone; a chord peaks at about -7 dB
	longest   = 8000.0    // ms that sound is followed; it repeats after 10,240
)

var bandAt = [bands]int{400, 1300, 2200} // Hz

// order is the chord of each frame of the loop.
var order = func() (o [Chords]int) {
	for i, c := range rand.New(rand.NewPCG(20, 20)).Perm(Chords) {
		o[i] = c
	}
	return o
}()

var frameOf = func() (f [Chords]int) {
	for i, c := range order {
		f[c] = i
	}
	return f
}()

// Sound is the code, 10.24 s to be played in a loop.
func Sound() []int16 {
	pcm := make([]int16, 0, Chords*Frame)
	for _, chord := range order {
		for i := range Frame {
			// Every tone has whole periods in a frame; the edges are softened for 1 ms.
			edge := min(1, float64(i+1)/48, float64(Frame-i)/48)
			v := 0.0
			for b := range bands {
				hz := float64(bandAt[b] + chord>>(3*b)&7*spacing)
				v += math.Sin(2*math.Pi*hz*float64(i)/Rate + float64(b))
			}
			pcm = append(pcm, int16(v*edge*amplitude*32767))
		}
	}
	return pcm
}

// Clock tells when samples passed.
type Clock struct{ points [][2]float64 } // sample, ms

// NewClock makes one of pairs of a sample's number and the time in ms when it passed,
// as whole blocks of them did. Each time is replaced by what the second around it says.
func NewClock(pairs []float64) Clock {
	var c Clock
	const per = Rate / 1000.0
	offsets := make([]float64, len(pairs)/2)
	for i := range offsets {
		offsets[i] = pairs[2*i+1] - pairs[2*i]/per
	}
	for i := range offsets {
		low, high := max(0, i-23), min(len(offsets), i+24) // blocks of 1024 samples
		around := slices.Clone(offsets[low:high])
		slices.Sort(around)
		c.points = append(c.points, [2]float64{pairs[2*i], pairs[2*i]/per + around[len(around)/2]})
	}
	return c
}

// At is the time in ms when a sample passed.
func (c Clock) At(sample float64) float64 {
	if len(c.points) == 0 {
		return 0
	}
	i := sort.Search(len(c.points), func(i int) bool { return c.points[i][0] > sample })
	p := c.points[max(0, i-1)]
	return p[1] + (sample-p[0])*1000/Rate
}

// Heard is what became of the sound.
type Heard struct {
	Frames int     `json:"frames"` // of 20 ms that were said
	Share  float64 `json:"share"`  // of them that came out as they were said
	// Score is how like the spectrum of what came out is to that of what was said, frame by
	// frame, 0 to 100.
	Score   float64   `json:"score"`
	Gaps    int       `json:"gaps"`       // times of more than 60 ms in which nothing that was said came out
	When    []float64 `json:"gaps_at"`    // when each of them began, in ms on the clocks' time
	Longest float64   `json:"longest_ms"` // of the gaps; 0: none
	P50     float64   `json:"p50_ms"`     // from mouth to ear
	P95     float64   `json:"p95_ms"`
	Last    float64   `json:"-"` // ms: when the last frame had come out
	Said    float64   `json:"-"` // ms: when the last of those that came out had been said
}

// Gap is how long, in ms, sound is missing before it counts.
const Gap = 60

// arrival is one frame that came out.
type arrival struct {
	frame int
	at    float64 // ms
	score float64
}

// Hear judges what was heard between two times in ms of what was said: mouth tells when
// the samples of the sound in its loop were said, ear when those of pcm came out.
func Hear(mouth, ear Clock, pcm []int16, from, until float64) Heard {
	spectra := look(pcm)
	var first, last int
	for first = 0; mouth.At(float64(first*Frame)) < from; first++ {
	}
	for last = first; mouth.At(float64((last+1)*Frame)) <= until; last++ {
	}
	h := Heard{Frames: last - first}
	if h.Frames == 0 {
		return h
	}
	best := make([]arrival, h.Frames)
	for i, s := range spectra {
		chord, score := s.chord()
		if score < clear {
			continue
		}
		at := ear.At(float64(i * hop))
		// The latest frame with this chord that was said by then.
		said := sort.Search(last-first+Chords, func(n int) bool { return mouth.At(float64((first+n)*Frame)) > at+20 }) - 1 + first
		said -= ((said-frameOf[chord])%Chords + Chords) % Chords
		if n := said - first; n >= 0 && n < h.Frames && at-mouth.At(float64(said*Frame)) < longest && score > best[n].score {
			best[n] = arrival{said, at, score}
		}
	}
	delays := plausible(best, mouth)
	var sum float64
	came := make([]float64, 0, len(best))
	var arrived []float64
	delay, known := 0.0, false
	for n, a := range best {
		said := mouth.At(float64((first + n) * Frame))
		if a.score > 0 {
			delay, known = a.at-said, true
			came = append(came, delay)
			arrived = append(arrived, a.at)
			h.Said = said + 20
		} else if !known && len(delays) > 0 {
			delay, known = delays[0], true
		}
		if known {
			sum += like(spectra, ear, order[(first+n)%Chords], said+delay)
		}
	}
	h.Share = float64(len(came)) / float64(h.Frames)
	h.Score = 100 * sum / float64(h.Frames)
	if len(came) == 0 {
		h.Gaps, h.Longest = 1, until-from
		return h
	}
	slices.Sort(arrived)
	h.Last = arrived[len(arrived)-1] + 20
	sorted := slices.Clone(came)
	slices.Sort(sorted)
	h.P50, h.P95 = quantile(sorted, 0.5), quantile(sorted, 0.95)
	// The ends count too: what was said there is due after the usual delay.
	edges := append([]float64{from + h.P50 - 20}, arrived...)
	edges = append(edges, until+h.P50)
	for i := 1; i < len(edges); i++ {
		if gap := edges[i] - edges[i-1] - 20; gap > Gap {
			h.Gaps++
			h.When = append(h.When, edges[i-1]+20)
			h.Longest = max(h.Longest, gap)
		}
	}
	return h
}

// plausible takes out what was heard at times that its neighbours contradict, which is
// chance, and returns the delays of the rest.
func plausible(best []arrival, mouth Clock) []float64 {
	delay := func(a arrival) float64 { return a.at - mouth.At(float64(a.frame*Frame)) }
	var all []int
	for n, a := range best {
		if a.score > 0 {
			all = append(all, n)
		}
	}
	wrong := []int{}
	for i, n := range all {
		var around []float64
		for _, m := range all[max(0, i-4):min(len(all), i+5)] {
			around = append(around, delay(best[m]))
		}
		slices.Sort(around)
		if d := delay(best[n]); len(around) < 3 || math.Abs(d-around[len(around)/2]) > 250 || d < -30 {
			wrong = append(wrong, n)
		}
	}
	for _, n := range wrong {
		best[n] = arrival{}
	}
	var delays []float64
	for _, a := range best {
		if a.score > 0 {
			delays = append(delays, delay(a))
		}
	}
	return delays
}

// spectrum is one look: the share of the energy at each tone.
type spectrum struct{ energy [bands][tones]float64 }

// thin is how many samples are taken together for the tones, which are low.
const thin = 4

// look takes the spectrum of each window of a frame's length.
func look(pcm []int16) []spectrum {
	var coefficient, gain [bands][tones]float64
	for b := range bands {
		for i := range tones {
			w := 2 * math.Pi * float64(bandAt[b]+i*spacing) / Rate
			coefficient[b][i] = 2 * math.Cos(w*thin)
			mean := math.Sin(w*thin/2) / (thin * math.Sin(w/2)) // what taking the mean leaves of it
			gain[b][i] = 2 * thin / (Frame * mean * mean)
		}
	}
	squares, low := make([]float64, len(pcm)/thin), make([]float64, len(pcm)/thin)
	for i := range low {
		for _, v := range pcm[i*thin : (i+1)*thin] {
			x := float64(v) / 32768
			squares[i] += x * x
			low[i] += x / thin
		}
	}
	var out []spectrum
	for at := 0; at+Frame <= len(pcm); at += hop {
		var s spectrum
		sum := 0.0
		for _, v := range squares[at/thin : (at+Frame)/thin] {
			sum += v
		}
		if sum > 1e-6*Frame { // -60 dB: silence
			for b := range bands {
				for i := range tones {
					k, s1, s2 := coefficient[b][i], 0.0, 0.0
					for _, v := range low[at/thin : (at+Frame)/thin] {
						s1, s2 = v+k*s1-s2, s1
					}
					s.energy[b][i] = gain[b][i] * thin * (s1*s1 + s2*s2 - k*s1*s2) / sum
				}
			}
		}
		out = append(out, s)
	}
	return out
}

// chord is the most likely one, and the share of the energy that it has.
func (s *spectrum) chord() (chord int, share float64) {
	for b := range bands {
		best := 0
		for i := range tones {
			if s.energy[b][i] > s.energy[b][best] {
				best = i
			}
		}
		chord |= best << (3 * b)
		share += s.energy[b][best]
		if s.energy[b][best] < 0.08 { // a chord has all of its tones
			return 0, 0
		}
	}
	return chord, share
}

// like is how like the spectrum at a time is to a chord's: the cosine between them.
func like(spectra []spectrum, ear Clock, chord int, at float64) float64 {
	best := 0.0
	i := sort.Search(len(spectra), func(i int) bool { return ear.At(float64(i*hop)) >= at })
	for _, s := range spectra[max(0, i-1):min(len(spectra), i+2)] {
		dot, norm := 0.0, 0.0
		for b := range bands {
			for n := range tones {
				a := math.Sqrt(s.energy[b][n])
				norm += s.energy[b][n]
				if chord>>(3*b)&7 == n {
					dot += a
				}
			}
		}
		rest := max(0, 1-norm) // what is at none of the tones
		if norm > 0 {
			best = max(best, dot/math.Sqrt(bands*(norm+rest)))
		}
	}
	return best
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Milliseconds is a time as a page's clock has it.
func Milliseconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1000 }
