package mixer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// link is a bad network between a mic and the mixer, the same one again for the
// same seed.
type link struct {
	loss   float64 // share of packets
	burst  float64 // mean length of a run of losses in packets; 0: each by itself
	jitter int     // ms, up to which a packet is later than others
	spikes float64 // share of packets that are later by up to four times that
	twice  float64 // share of packets that come twice
	drift  float64 // of the sender's clock, in parts
}

// over puts the link between a mic and the mixer.
func (k *mic) over(l link, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 77))
	losing := false
	k.drift, k.twice = l.drift, func() bool { return l.twice > 0 && rnd.Float64() < l.twice }
	k.edit = func(int) int {
		if l.burst > 0 {
			// Two states whose mean stay gives the length and the share.
			if losing {
				losing = rnd.Float64() >= 1/l.burst
			} else {
				losing = rnd.Float64() < l.loss/(1-l.loss)/l.burst
			}
		} else {
			losing = rnd.Float64() < l.loss
		}
		late := 0
		if l.jitter > 0 {
			late = rnd.IntN(l.jitter + 1)
			if rnd.Float64() < l.spikes {
				late = rnd.IntN(4*l.jitter + 1)
			}
		}
		if losing {
			return -1
		}
		return late
	}
}

// quality is how a listener fared with one talker.
type quality struct {
	frames  float64 // share of the frames that came as they were said, in their order
	gap     int     // ms, the longest time without one
	delay50 int     // ms, from the mouth
	delay95 int
	twice   int // frames that came again or out of turn
}

// follow judges what an ear heard of a talker between two moments; said is when
// each of its frames was said.
func (e *ear) follow(talker int, said []int, from, to int) quality {
	var q quality
	var delays []int
	last, lastAt, delay := -1, from, 30
	for _, f := range e.frames()[talker] {
		// Packets differ modulo tracePeak: of those it may be, it is the one whose
		// delay is most like that of the frame before.
		n, off := -1, 0
		for i := max(0, last-2*tracePeak); i < len(said) && said[i] <= f.ms; i++ {
			if d := f.ms - said[i] - delay; i%tracePeak == f.number && (n < 0 || max(d, -d) < off) {
				n, off = i, max(d, -d)
			}
		}
		if n <= last {
			q.twice++
			continue
		}
		last, delay = n, f.ms-said[n]
		if f.ms < from || f.ms >= to {
			continue
		}
		delays = append(delays, delay)
		q.gap = max(q.gap, f.ms-lastAt-20)
		lastAt = f.ms
	}
	q.gap = max(q.gap, to-lastAt-20)
	expected := 0
	for _, ms := range said {
		if ms >= from && ms < to {
			expected++
		}
	}
	q.frames = float64(len(delays)) / float64(expected)
	if len(delays) > 0 {
		slices.Sort(delays)
		q.delay50, q.delay95 = delays[len(delays)/2], delays[len(delays)*95/100]
	}
	return q
}

// TestBadNetworks has a talker behind a bad network in a mix, for a minute of
// virtual time, and holds what a listener gets of it against what can be had:
// how much came as it was said, the longest gap, and the delay, of which the
// network's own is a part.
func TestBadNetworks(t *testing.T) {
	browser, client, clientMore := []int{1}, []int{2}, []int{2, 4} // how far back their redundancy reaches
	for _, c := range []struct {
		name       string
		link       link
		redundancy []int
		frames     float64 // at least
		gap, delay int     // ms, at most; the delay is that of 95 %
	}{
		{"clean", link{}, nil, 1, 0, 30},
		{"loss of 2 %", link{loss: 0.02}, nil, 0.97, 60, 30},
		{"loss of 5 %", link{loss: 0.05}, nil, 0.93, 60, 30},
		{"loss of 10 %", link{loss: 0.1}, nil, 0.88, 80, 30},
		{"loss of 20 %", link{loss: 0.2}, nil, 0.77, 120, 30},
		{"loss of 2 %, redundant", link{loss: 0.02}, browser, 0.998, 20, 50},
		{"loss of 5 %, redundant", link{loss: 0.05}, browser, 0.99, 40, 50},
		{"loss of 10 %, redundant", link{loss: 0.1}, browser, 0.98, 60, 50},
		{"loss of 10 %, the client's redundancy", link{loss: 0.1}, client, 0.98, 40, 70},
		{"loss of 20 %, redundant", link{loss: 0.2}, browser, 0.94, 80, 50},
		{"loss of 20 %, the client's redundancy", link{loss: 0.2}, clientMore, 0.97, 60, 110},
		{"bursts of 3, 5 % in all", link{loss: 0.05, burst: 3}, nil, 0.9, 400, 50},
		{"bursts of 2, 5 % in all, the client's redundancy", link{loss: 0.05, burst: 2}, clientMore, 0.98, 200, 110},
		{"jitter of 50 ms", link{jitter: 50}, nil, 0.999, 20, 80},
		{"jitter of 200 ms", link{jitter: 200}, nil, 0.97, 60, 240},
		{"jitter of 30 ms with spikes", link{jitter: 30, spikes: 0.01}, nil, 0.99, 100, 120},
		{"every other packet twice", link{twice: 0.5, jitter: 10}, nil, 1, 0, 40},
		{"a fast clock", link{drift: 200e-6}, nil, 0.999, 0, 40},
		{"a slow clock", link{drift: -200e-6}, nil, 0.999, 0, 40},
		{"a fast clock, jitter of 50 ms, loss of 5 %, redundant", link{drift: 200e-6, jitter: 50, loss: 0.05}, browser, 0.98, 60, 110},
		{"a slow clock, jitter of 50 ms, loss of 10 %, doubles, the client's redundancy", link{drift: -200e-6, jitter: 50, loss: 0.1, twice: 0.1}, clientMore, 0.985, 60, 150},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(2) {
				r, _ := traceRoom(t, 2)
				x := r.listen("x")
				a, b := r.mics[0], r.mics[1]
				var said []int
				a.talk = func(n int) []byte { said = append(said, r.ms); return tracePacket(0, n) }
				if c.redundancy != nil {
					a.withRED(c.redundancy...)
				}
				a.over(c.link, seed)
				a.talking, b.talking = true, true
				r.run(67 * time.Second)
				q := x.follow(0, said, 6000, 66000)
				t.Logf("%.2f %% of the frames, gap of %d ms, delay %d and %d ms", 100*q.frames, q.gap, q.delay50, q.delay95)
				if q.frames < c.frames-0.0005 || q.gap > c.gap || q.delay95 > c.delay || q.twice != 0 {
					t.Errorf("seed %d: %.2f %% of the frames, want %.1f; gap of %d ms, want %d; delay of %d ms, want %d; %d out of turn",
						seed, 100*q.frames, 100*c.frames, q.gap, c.gap, q.delay95, c.delay, q.twice)
				}
				x.continuous(t, false)
				// The other is not disturbed.
				if err := checkFrames(x.frames()[1][:3000], 3000); err != nil {
					t.Errorf("seed %d: the other talker: %v", seed, err)
				}
				// Passed on is what arrived and what could be brought back.
				passed, silent := map[uint32]bool{}, 0
				for _, h := range r.ears["1"].got {
					switch {
					case len(h.payload) == 4:
						passed[h.ts] = true
					case h.ms > 6000:
						silent++
					}
				}
				if c.link.loss == 0 && silent > 5 {
					t.Errorf("seed %d: %d packets of silence in the middle of what is only late", seed, silent)
				}
				if got := float64(len(passed)) / float64(len(said)); got < c.frames-0.02 {
					t.Errorf("seed %d: %.2f %% of the frames were passed on", seed, 100*got)
				}
				r.ears["1"].continuous(t, true)
			}
		})
	}
}
