package bwe

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"belfry/internal/media/rtp"
)

// network is a link in virtual time: packets wait in a queue that empties at a
// rate, take a while, may be lost, and are told of by a receiver's feedback that
// takes as long.
type network struct {
	t   *testing.T
	rng *rand.Rand
	now int64
	e   *Estimator

	rate   int64 // bit/s, 0 for no bound
	limit  int64 // how long the queue may get, ns
	delay  int64
	jitter int64
	loss   float64
	cross  int64 // bit/s of others that share the queue
	cut    bool
	silent float64 // share of feedbacks that are lost
	each   int64   // between feedbacks, 0 for 100 ms

	free     int64 // when the queue is empty
	crossed  int64
	inFlight []flight
	recorder rtp.TWCCRecorder
	feedback []reply
	tellAt   int64

	want   int64 // what the source would send
	layers []int64
	bursty bool // a large frame each 3 s
	hush   bool // it sends nothing but what the Estimator asks for
	sent   int64
	got    int64
	worst  int64 // queue seen since it was last set to 0
	frames int
	steps  int // how often the source changed layers
	layer  int
}

type flight struct {
	seq uint16
	at  int64
}

type reply struct {
	at   int64
	body []byte
}

func newNetwork(t *testing.T, rate int64) *network {
	return &network{
		t: t, rng: rand.New(rand.NewPCG(7, 11)), now: 1000 * second, e: New(Config{}),
		rate: rate, limit: 500 * millisecond, delay: 20 * millisecond, want: 3_000_000, layer: -1,
	}
}

func (n *network) send(size int) {
	seq := n.e.Send(size, n.now)
	n.sent += int64(size)
	if n.cut || n.rng.Float64() < n.loss {
		return
	}
	at := n.now
	if n.rate > 0 {
		if n.cross > 0 { // what others put into the queue since
			bits := n.cross * (n.now - n.crossed) / second
			n.free = max(n.free, n.crossed) + bits*second/n.rate
			n.crossed = n.now
		}
		begin := max(n.free, n.now)
		if begin-n.now > n.limit {
			return
		}
		n.worst = max(n.worst, begin-n.now)
		n.free = begin + int64(size)*8*second/n.rate
		at = n.free
	}
	at += n.delay
	if n.jitter > 0 {
		at += n.rng.Int64N(n.jitter)
	}
	n.inFlight = append(n.inFlight, flight{seq, at})
}

// run passes time, in steps of a millisecond, with a source that sends 30 frames
// a second at what the estimate allows.
func (n *network) run(d int64) {
	for end := n.now + d; n.now < end; n.now += millisecond {
		ms := n.now / millisecond
		if ms%33 == 0 && !n.hush {
			n.frame()
		}
		if ms%20 == 0 {
			n.e.Want(n.want)
			for left := n.e.Padding(n.now); left > 0; left -= 1000 {
				n.send(min(left, 1000))
			}
		}
		slices.SortStableFunc(n.inFlight, func(a, b flight) int { return int(a.at - b.at) })
		for len(n.inFlight) > 0 && n.inFlight[0].at <= n.now {
			n.recorder.Record(n.inFlight[0].seq, n.inFlight[0].at)
			n.inFlight = n.inFlight[1:]
			n.got++
		}
		if n.now >= n.tellAt {
			n.tellAt = n.now + cmp.Or(n.each, 100*millisecond)
			for n.recorder.Pending() > 0 {
				b := n.recorder.AppendFeedback(nil, 1, 2)
				if len(b) == 0 {
					break
				}
				if !n.cut && (n.silent == 0 || n.rng.Float64() >= n.silent) {
					n.feedback = append(n.feedback, reply{n.now + n.delay, b})
				}
			}
		}
		for len(n.feedback) > 0 && n.feedback[0].at <= n.now {
			c := rtp.RTCP{Data: n.feedback[0].body}
			if !c.Next() || !c.IsTWCC() || !n.e.Feedback(c.Body, n.now) {
				n.t.Fatal("feedback not understood")
			}
			n.feedback = n.feedback[1:]
		}
	}
}

// frame sends one picture: of a smooth source, or of the best of the layers that
// fits.
func (n *network) frame() {
	rate := min(n.e.Target(), n.want)
	if len(n.layers) > 0 {
		best := 0
		for i, r := range n.layers {
			margin := r / 10
			if i <= n.layer {
				margin = 0
			}
			if r+margin <= n.e.Target() {
				best = i
			}
		}
		if best != n.layer {
			n.steps++
			n.layer = best
		}
		rate = n.layers[best]
	}
	size := int(rate / 30 / 8)
	n.frames++
	if n.bursty && n.frames%90 == 1 {
		size *= 8
	}
	for size > 0 {
		s := min(size, 1100)
		n.send(s + 40)
		size -= s
	}
}

// over runs for d and returns the least, mean and most of the estimate.
func (n *network) over(d int64) (least, mean, most int64) {
	least = 1 << 62
	count := int64(0)
	for range d / (100 * millisecond) {
		n.run(100 * millisecond)
		r := n.e.Target()
		least, most, mean, count = min(least, r), max(most, r), mean+r, count+1
	}
	mean /= count
	n.t.Logf("estimate %d..%d, mean %d, loss %.2f (inherent %.2f), queue up to %d ms, %+v", least, most, mean, n.e.Loss(), n.e.loss.inherent, n.worst/millisecond, n.e.Stats())
	return
}

func within(t *testing.T, what string, got, low, high int64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s is %d, want %d to %d", what, got, low, high)
	}
}

func TestConvergesOnWhatALinkCarries(t *testing.T) {
	for _, rate := range []int64{300_000, 1_000_000, 2_500_000} {
		n := newNetwork(t, rate)
		n.run(10 * second)
		n.worst = 0
		_, mean, most := n.over(30 * second)
		within(t, "mean", mean, rate*7/10, rate*11/10)
		within(t, "most", most, 0, rate*13/10)
		within(t, "queue", n.worst, 0, 250*millisecond)
	}
}

func TestAWideLinkIsFound(t *testing.T) {
	n := newNetwork(t, 100_000_000)
	n.want = 12_000_000
	n.run(5 * second)
	least, _, _ := n.over(20 * second)
	within(t, "least", least, 11_000_000, 30_000_000)
}

// A layered source must not be thought unable to send more because it sends little.
func TestDownAndUpAgainWithLayers(t *testing.T) {
	n := newNetwork(t, 1_000_000)
	n.layers, n.want, n.bursty = []int64{150_000, 700_000}, 800_000, true
	n.run(10 * second)
	if n.layer != 1 {
		t.Fatalf("at 1 Mbit/s layer %d flows", n.layer)
	}
	n.over(10 * second)
	n.rate = 300_000
	down := n.now
	for n.layer != 0 && n.now-down < 5*second {
		n.run(20 * millisecond)
	}
	within(t, "time to the lower layer", n.now-down, 0, 2*second)
	n.run(3 * second)
	n.worst = 0
	steps := n.steps
	n.over(30 * second)
	within(t, "queue on the narrow link", n.worst, 0, 300*millisecond)
	within(t, "changes of layer on the narrow link", int64(n.steps-steps), 0, 0)
	n.rate = 1_000_000
	up := n.now
	for n.layer != 1 && n.now-up < 20*second {
		n.run(20 * millisecond)
	}
	within(t, "time to the higher layer", n.now-up, 0, 10*second)
	steps = n.steps
	n.over(60 * second)
	within(t, "changes of layer afterwards", int64(n.steps-steps), 0, 2)
}

func TestRandomLossDoesNotCollapse(t *testing.T) {
	for _, loss := range []float64{0.02, 0.05, 0.10, 0.20} {
		n := newNetwork(t, 1_000_000)
		n.loss = loss
		n.run(15 * second)
		_, mean, _ := n.over(30 * second)
		within(t, "mean", mean, 600_000, 1_300_000)
	}
}

func TestLossThatBeginsSuddenly(t *testing.T) {
	n := newNetwork(t, 5_000_000)
	n.layers, n.want = []int64{150_000, 400_000, 1_000_000}, 1_100_000
	n.run(10 * second)
	n.loss = 0.10
	n.run(8 * second)
	steps := n.steps
	n.over(60 * second)
	if n.layer != 2 {
		t.Errorf("layer %d at the end", n.layer)
	}
	within(t, "changes of layer", int64(n.steps-steps), 0, 2)
}

// A queue so short that a full link shows as loss alone.
func TestShallowQueue(t *testing.T) {
	n := newNetwork(t, 1_000_000)
	n.limit = 30 * millisecond
	n.run(15 * second)
	_, mean, _ := n.over(30 * second)
	within(t, "mean", mean, 600_000, 1_400_000)
	n.rate = 300_000
	n.run(5 * second)
	_, mean, _ = n.over(20 * second)
	within(t, "mean", mean, 150_000, 450_000)
}

func TestJitterIsNoCongestion(t *testing.T) {
	n := newNetwork(t, 5_000_000)
	n.layers, n.want = []int64{150_000, 1_000_000}, 1_100_000
	n.jitter, n.delay = 30*millisecond, 100*millisecond
	n.run(10 * second)
	steps := n.steps
	n.over(60 * second)
	if n.layer != 1 {
		t.Errorf("layer %d at the end", n.layer)
	}
	within(t, "changes of layer", int64(n.steps-steps), 0, 4)
}

func TestCrossTraffic(t *testing.T) {
	n := newNetwork(t, 2_000_000)
	n.run(10 * second)
	n.cross, n.crossed = 1_200_000, n.now
	n.run(10 * second)
	_, mean, _ := n.over(20 * second)
	within(t, "mean", mean, 450_000, 1_000_000)
	n.cross = 0
	n.run(10 * second)
	_, mean, _ = n.over(20 * second)
	within(t, "mean afterwards", mean, 1_300_000, 2_400_000)
}

func TestACutIsNoCongestion(t *testing.T) {
	n := newNetwork(t, 2_000_000)
	n.want = 800_000
	n.run(10 * second)
	before := n.e.Target()
	n.cut = true
	n.run(5 * second)
	n.cut = false
	n.run(2 * second)
	within(t, "estimate", n.e.Target(), before*8/10, before*13/10)
	if n.e.Stats().Outages != 1 {
		t.Errorf("%+v", n.e.Stats())
	}
}

// What is sent stays far below the estimate, which must neither grow from that nor fall.
func TestASourceThatSendsLittle(t *testing.T) {
	n := newNetwork(t, 1_000_000)
	n.want = 200_000
	n.run(20 * second)
	least, _, most := n.over(60 * second)
	within(t, "least", least, 250_000, 5_000_000)
	within(t, "most", most, 250_000, 5_000_000)
}

// Packets that overtake one another, as far as 120 ms, say nothing of a queue: the least
// that they wait does.
func TestPacketsThatOvertake(t *testing.T) {
	for _, jitter := range []int64{40 * millisecond, 80 * millisecond, 120 * millisecond} {
		for seed := range uint64(5) {
			n := newNetwork(t, 5_000_000)
			n.rng = rand.New(rand.NewPCG(seed, 3))
			n.delay, n.layers, n.want = 200*millisecond, []int64{150_000, 740_000}, 900_000
			n.run(10 * second)
			n.jitter = jitter
			n.run(5 * second)
			steps := n.steps
			least, _, _ := n.over(60 * second)
			if n.layer != 1 || n.steps != steps || least < 740_000 {
				t.Errorf("with %d ms the estimate fell to %d, and the layer changed %d times to %d", jitter/millisecond, least, n.steps-steps, n.layer)
			}
		}
	}
}
