package bwe

import (
	"math/rand/v2"
	"testing"
)

// A link that becomes much narrower is noticed before its queue is full, which then
// empties, and the estimate is what the link carries now and not what came while next to
// nothing was sent.
func TestAQueueThatFillsAtOnceEmpties(t *testing.T) {
	for _, rate := range []int64{100_000, 300_000, 800_000} {
		n := newNetwork(t, 10_000_000)
		n.layers, n.want = []int64{2_000_000}, 2_000_000
		n.run(5 * second)
		n.rate, n.limit = rate, 600*millisecond
		begun := n.now
		for !n.e.Draining(n.now) {
			if n.run(10 * millisecond); n.now-begun > second {
				t.Fatalf("at %d nothing was noticed", rate)
			}
		}
		t.Logf("at %d noticed after %d ms", rate, (n.now-begun)/millisecond)
		n.layers, n.hush = nil, true // the sender does as it is told
		for n.e.Draining(n.now) {
			n.run(10 * millisecond)
		}
		within(t, "draining", n.now-begun, 0, 1400*millisecond)
		within(t, "queue left", max(n.free-n.now, 0), 0, drainTo+20*millisecond)
		within(t, "estimate", n.e.Target(), rate*8/10, rate*105/100)
	}
}

// Packets that are told of no more while a queue was there are no silence of the
// network: the queue is so full that nothing gets in.
func TestNothingIsToldOfAFullQueue(t *testing.T) {
	n := newNetwork(t, 10_000_000)
	n.layers, n.want = []int64{2_000_000}, 2_000_000
	n.run(5 * second)
	n.e.queue.delay, n.e.queue.quick = 80*millisecond, [2]int64{80 * millisecond, 80 * millisecond}
	n.cut = true
	begun := n.now
	for !n.e.Draining(n.now) {
		if n.run(10 * millisecond); n.now-begun > second {
			t.Fatal("it is sent on as before")
		}
	}
	within(t, "time", n.now-begun, 0, 500*millisecond)
}

// One packet that is held up, with all that is behind it, is no queue.
func TestAHoldUpIsNoQueue(t *testing.T) {
	n := newNetwork(t, 10_000_000)
	n.layers, n.want = []int64{800_000}, 800_000
	n.run(5 * second)
	for i := range int64(40) {
		n.free = n.now + (40+5*i)*millisecond // nothing comes for so long, and then all
		n.run(500 * millisecond)
		if n.e.queue.rise.rate() != 0 && n.e.fills() || n.e.Target() < 800_000 {
			t.Fatalf("the estimate is %d", n.e.Target())
		}
	}
}

// A wide link that loses much, feedback too, and that delays each packet differently, has
// no queue: nothing is held back for one.
func TestJitterAndLossAreNoQueue(t *testing.T) {
	for _, each := range []int64{50 * millisecond, 100 * millisecond, 250 * millisecond} {
		for _, loss := range []float64{0.05, 0.1, 0.2} {
			drained, clogged := 0, 0
			for seed := range uint64(10) {
				n := newNetwork(t, 20_000_000)
				n.rng = rand.New(rand.NewPCG(seed, 5))
				n.layers, n.want = []int64{150_000, 800_000}, 900_000
				n.run(10 * second)
				n.jitter, n.loss, n.silent, n.each = 80*millisecond, loss, loss, each
				for range 3000 {
					n.run(20 * millisecond)
					if n.e.Draining(n.now) {
						drained++
					}
					if n.e.Clogged(n.now) {
						clogged++
					}
				}
			}
			if drained != 0 || clogged != 0 {
				t.Errorf("at %.0f %% loss, told of each %d ms, a queue was seen for %d ms and left to empty for %d ms of 600 s",
					100*loss, each/millisecond, 20*clogged, 20*drained)
			}
		}
	}
}
