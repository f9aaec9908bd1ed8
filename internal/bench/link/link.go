// Package link is a network that can be made bad: loss, bursts of it, delay, jitter,
// a rate with a bounded queue, cuts. All chance comes from a seed, so a run can be
// repeated. A Direction is the model, a plain state machine whose clock is an
// argument; a Link drives two of them in real (or a test's virtual) time between
// whatever gives and takes packets: functions, the two ends of Pair, the TUN devices
// of Tun, or the sockets of a Relay before a real server.
package link

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// MaxQueue is how many packets a Direction holds at most, queued or on their way; what
// comes beyond is dropped.
const MaxQueue = 20000

// Conditions are those of one direction. The zero value is a clean one.
type Conditions struct {
	Loss   float64       // share of packets lost, each by itself, 0 to 1
	Bursts Bursts        // loss that comes in bursts, beside Loss
	Delay  time.Duration // of each packet
	Jitter time.Duration // the delay varies by up to this much more or less, evenly; never below nothing
	// Reorder lets packets overtake one another by the jitter; else one that is held up
	// holds up those behind it.
	Reorder bool
	Rate    int  // bits a second; 0: no limit
	Queue   int  // bytes that wait for the rate; 0: what the rate sends in 300 ms, and 3000 at least
	Cut     bool // nothing gets in; what is on its way arrives
	NoUDP   bool // a firewall drops UDP, if what passes are IP packets
}

// Bursts is the model of Gilbert and Elliott: the line is good or bad, and changes
// with these probabilities before each packet. In the good state it loses nothing.
// The zero value has no bursts.
type Bursts struct {
	Begin float64 // good to bad
	End   float64 // bad to good
	Loss  float64 // in the bad state
}

// Check says what is wrong with the conditions.
func (c Conditions) Check() error {
	for _, p := range []float64{c.Loss, c.Bursts.Begin, c.Bursts.End, c.Bursts.Loss} {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("a probability goes from 0 to 1, not %v", p)
		}
	}
	if c.Bursts.Begin > 0 && c.Bursts.End == 0 {
		return errors.New("bursts that begin must end")
	}
	if c.Delay < 0 || c.Jitter < 0 || c.Delay > time.Minute || c.Jitter > time.Minute {
		return errors.New("delay and jitter go from 0 to a minute")
	}
	if c.Rate < 0 || c.Queue < 0 {
		return errors.New("rate and queue are not negative")
	}
	if c.Rate > 0 && c.Rate < 1000 {
		return errors.New("a rate is 1000 bits a second at least")
	}
	return nil
}

func (c Conditions) queue() int {
	if c.Queue > 0 {
		return c.Queue
	}
	return max(3000, c.Rate/8*3/10)
}

// Counts is what became of the packets of a Direction.
type Counts struct {
	In, Out, Lost, Overflowed, Cut uint64 // packets
	Denied                         uint64 // by the firewall
	Bytes                          uint64 // that came out
}

// Direction is one way through the link. It belongs to one goroutine.
//
// The fate of the n-th packet follows from the seed, n, the conditions and the times:
// each packet draws the same number of random values whatever the conditions are.
type Direction struct {
	c      Conditions
	random *rand.Rand
	bad    bool
	counts Counts

	waiting []held // for the rate, in order
	queued  int    // bytes of those
	left    int64  // of the first: bits that are still to be sent, as of since
	since   int64
	flying  flight // by arrival
	last    int64  // latest arrival so far
	number  uint64
}

type held struct {
	at      int64 // arrival
	number  uint64
	jitter  float64
	packet  []byte
	entered int64
}

// NewDirection makes one. Its clock is nanoseconds from anywhere, never going back.
func NewDirection(seed uint64, c Conditions) *Direction {
	return &Direction{c: c, random: rand.New(rand.NewPCG(seed, 0x6C696E6B))}
}

// Set changes the conditions for what comes from now on, and the rate for what waits.
func (d *Direction) Set(now int64, c Conditions) {
	d.move(now)
	if d.c.Rate != c.Rate && len(d.waiting) > 0 {
		d.left, d.since = d.remaining(now), now
	}
	d.c = c
	d.move(now)
}

// Push takes a packet in, which is the Direction's from now on. False: it is lost.
func (d *Direction) Push(now int64, packet []byte) bool {
	d.move(now)
	d.counts.In++
	turn, burst, chance, jitter := d.random.Float64(), d.random.Float64(), d.random.Float64(), d.random.Float64()
	if b := d.c.Bursts; b.Begin == 0 {
		d.bad = false
	} else if d.bad {
		d.bad = turn >= b.End
	} else {
		d.bad = turn < b.Begin
	}
	switch {
	case d.c.Cut:
		d.counts.Cut++
		return false
	case d.c.NoUDP && isUDP(packet):
		d.counts.Denied++
		return false
	case chance < d.c.Loss, d.bad && burst < d.c.Bursts.Loss:
		d.counts.Lost++
		return false
	case len(d.waiting)+len(d.flying) >= MaxQueue, d.c.Rate > 0 && d.queued+len(packet) > d.c.queue():
		d.counts.Overflowed++
		return false
	}
	d.number++
	h := held{number: d.number, jitter: 2*jitter - 1, packet: packet, entered: now}
	if d.c.Rate == 0 && len(d.waiting) == 0 {
		d.fly(h, now)
		return true
	}
	d.waiting = append(d.waiting, h)
	d.queued += len(packet)
	if len(d.waiting) == 1 {
		d.left, d.since = int64(len(packet))*8, now
	}
	return true
}

// isUDP tells of an IP packet whether it is UDP. IPv6 with extension headers is not
// looked through.
func isUDP(p []byte) bool {
	const udp = 17
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return p[9] == udp
	case len(p) >= 40 && p[0]>>4 == 6:
		return p[6] == udp
	}
	return false
}

// Next is when to call Pop again: nothing comes out before.
func (d *Direction) Next() (at int64, ok bool) {
	if len(d.waiting) > 0 {
		at, ok = d.finish(), true
	}
	if len(d.flying) > 0 && (!ok || d.flying[0].at < at) {
		at, ok = d.flying[0].at, true
	}
	return at, ok
}

// Pop gives the next packet that is out by now; nil: none.
func (d *Direction) Pop(now int64) []byte {
	d.move(now)
	if len(d.flying) == 0 || d.flying[0].at > now {
		return nil
	}
	h := heap.Pop(&d.flying).(held)
	d.counts.Out++
	d.counts.Bytes += uint64(len(h.packet))
	return h.packet
}

// Counts tells what became of the packets so far.
func (d *Direction) Counts() Counts { return d.counts }

// move sends on what the rate has let through by now.
func (d *Direction) move(now int64) {
	for len(d.waiting) > 0 {
		at := d.finish()
		if at > now {
			return
		}
		h := d.waiting[0]
		d.waiting[0] = held{}
		d.waiting = d.waiting[1:]
		d.queued -= len(h.packet)
		d.fly(h, at)
		if len(d.waiting) > 0 {
			d.left, d.since = int64(len(d.waiting[0].packet))*8, max(at, d.waiting[0].entered)
		}
	}
	d.waiting = nil
}

// finish is when the first that waits will have been sent.
func (d *Direction) finish() int64 {
	if d.c.Rate == 0 {
		return d.since
	}
	return d.since + (d.left*int64(time.Second)+int64(d.c.Rate)-1)/int64(d.c.Rate)
}

// remaining are the bits of the first that are still to be sent.
func (d *Direction) remaining(now int64) int64 {
	if d.c.Rate == 0 {
		return 0
	}
	sent := (now - d.since) / 1000 * int64(d.c.Rate) / 1_000_000
	return max(0, d.left-sent)
}

func (d *Direction) fly(h held, now int64) {
	h.at = now + int64(d.c.Delay) + int64(h.jitter*float64(d.c.Jitter))
	h.at = max(h.at, now)
	if !d.c.Reorder {
		h.at = max(h.at, d.last)
	}
	d.last = max(d.last, h.at)
	heap.Push(&d.flying, h)
}

// flight are packets by arrival, those of the same moment in their order.
type flight []held

func (f flight) Len() int      { return len(f) }
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f flight) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].number < f[j].number
}
func (f *flight) Push(x any) { *f = append(*f, x.(held)) }
func (f *flight) Pop() any {
	old := *f
	h := old[len(old)-1]
	old[len(old)-1] = held{}
	*f = old[:len(old)-1]
	return h
}
