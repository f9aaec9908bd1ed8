// Package bwe estimates how much one connection can carry to a client. What is
// sent is numbered (one transport-wide counter for a connection) and noted; the
// client's feedback tells what came and when; from that come three signals: a
// delay that grows (a queue is filling), losses, and how fast things arrive
// while a queue is there. They move one figure, Target. Where the sender has
// nothing to fill the link with, probes do: short bursts above the estimate,
// which show whether more would fit. A client that only tells its own estimate
// (REMB) is believed instead.
//
// The method is that of draft-ietf-rmcat-gcc, with the trend line of delays in
// place of its filter. It is plain state: no clock, no goroutine, not safe for
// concurrent use. Times are ns on one monotonic clock, rates are bit/s.
package bwe

import (
	"belfry/internal/media/rtp"
)

// Times in ns.
const (
	millisecond = int64(1e6)
	second      = int64(1e9)
)

// Config bounds an Estimator; 0 stands for the default of each.
type Config struct {
	Start int64 // before anything is known; 4 Mbit/s
	Min   int64 // 50 kbit/s
	Max   int64 // 30 Mbit/s
}

// Estimator is the estimate for one connection. Make it with New.
type Estimator struct {
	cfg  Config
	rate int64 // the estimate

	history
	sentRate meter // by when it was sent
	ackRate  meter // by when it came, on the receiver's clock
	groups   groups
	trend    trendline
	queue    queue
	loss     losses
	link     capacity
	probe    prober
	remb     remb

	heard      bool  // a transport-wide feedback came
	rtt        int64 // of the newest packet that was told of, feedback interval included
	newest     uint64
	newestSent int64 // when the newest packet told of was sent
	decreased  int64 // when the estimate was last lowered
	overused   int64 // when a queue was last found to grow or to stand
	clogged    int64 // when it was last found to be long
	moved      int64 // when it was last looked at
	told       int64 // when the last feedback came
	every      int64 // between two of these, smoothed
	jammed     bool  // by that, a long queue overflows
	held       bool  // it waits for queues to drain
	drain      drain
	stats      Stats
}

// Stats counts what an Estimator did.
type Stats struct {
	Sent                        uint64 // packets
	Feedbacks, Malformed        uint64
	Overuses                    uint64 // decreases because delays grew
	Losses                      uint64 // decreases because of losses
	Probes, ProbesHeld, Outages uint64 // probes sent, those that found more room, silences that were passed over
}

// New returns an Estimator that knows nothing yet.
func New(cfg Config) *Estimator {
	if cfg.Start == 0 {
		cfg.Start = 4_000_000
	}
	if cfg.Min == 0 {
		cfg.Min = 50_000
	}
	if cfg.Max == 0 {
		cfg.Max = 30_000_000
	}
	e := &Estimator{cfg: cfg, rate: cfg.Start}
	e.history.init()
	e.trend.init()
	e.loss.init()
	e.probe.init()
	return e
}

// Known says that the client has told something, so that Target means something.
func (e *Estimator) Known() bool { return e.heard || e.remb.heard }

// Target is what may be sent, in bit/s.
func (e *Estimator) Target() int64 {
	if !e.heard && e.remb.heard {
		return min(max(e.remb.rate, e.cfg.Min), e.cfg.Max)
	}
	return e.rate
}

// Congested says that a queue is filling or packets are being lost for want of
// room, or were a moment ago.
func (e *Estimator) Congested(now int64) bool {
	if !e.heard {
		return e.remb.lowered != 0 && now-e.remb.lowered < calmAfter
	}
	return e.decreased != 0 && now-e.decreased < calmAfter
}

// Queued says that a queue was growing, or standing, a moment ago: what is sent waits
// for itself, and the less of it there is the better. Losses alone do not count.
func (e *Estimator) Queued(now int64) bool {
	return e.overused != 0 && now-e.overused < calmAfter
}

// Clogged says that a long queue stood, or filled, a moment ago, and that it was no
// jitter: what is lost is lost because there is too much.
func (e *Estimator) Clogged(now int64) bool {
	return e.clogged != 0 && now-e.clogged < calmAfter
}

// Narrow says that the link was found to be full at so little that each bit of it
// counts: a queue was seen at some time, and it is not that packets are lost
// whatever is sent.
func (e *Estimator) Narrow() bool {
	return e.clogged != 0 && e.rate < narrow && e.loss.inherent < 0.02
}

// narrow is from where on a link has room for more than what is needed most, in bit/s.
const narrow = 400_000

// Constrained says that congestion was seen at some time, so that the estimate is
// more than a first guess.
func (e *Estimator) Constrained() bool { return e.decreased != 0 || e.remb.lowered != 0 }

// QueueDelay is how much longer packets take now than at best, in ns.
func (e *Estimator) QueueDelay() int64 { return e.queue.delay }

// Full says that the estimate is about what the link was found to carry, so that there is
// nothing to be had above it.
func (e *Estimator) Full() bool { return e.link.near(e.rate) }

// Draining says that a queue stands on the way that is to empty first: nothing is to be
// sent that can wait. Padding still asks for a little, which tells how long the queue is.
func (e *Estimator) Draining(now int64) bool { return e.drain.active(now) }

// Loss is the share of packets lost lately, 0 to 1.
func (e *Estimator) Loss() float64 { return e.loss.smooth }

// Sending is what is being sent, in bit/s, over the last half second.
func (e *Estimator) Sending(now int64) int64 { return e.sentRate.rate(now) }

// Stats returns the counters.
func (e *Estimator) Stats() Stats {
	s := e.stats
	s.Sent = e.history.next
	return s
}

// calmAfter is how long after a decrease the link counts as calm again.
const calmAfter = 1500 * millisecond

// Send notes a packet of size bytes that goes out now and returns its
// transport-wide number. It does not allocate but to make room for a faster
// stream.
func (e *Estimator) Send(size int, now int64) uint16 {
	p := e.history.add(now)
	p.at, p.size, p.state, p.cluster = now, uint16(min(size, 1<<16-1)), waiting, 0
	e.sentRate.add(size, now)
	if e.probe.active {
		p.cluster = e.probe.sent(size, now, e.history.next)
	}
	return uint16(e.history.next)
}

// Feedback takes the body of a transport-wide feedback (rtp.RTCP.Body). It is
// false for one that is malformed; what came before the fault counts.
func (e *Estimator) Feedback(body []byte, now int64) bool {
	e.stats.Feedbacks++
	e.heard = true
	before, since := e.newest, e.newestSent
	lost, came := 0, 0
	ok := rtp.ParseTWCC(body, func(seq uint16, received bool, at int64) {
		number, p := e.history.find(seq)
		if p == nil {
			return
		}
		if !received {
			if p.state == waiting {
				p.state = missing
				lost++
			}
			return
		}
		switch p.state {
		case arrived:
			return
		case missing: // told lost before: it was only late
			if number <= before {
				e.loss.late()
			} else {
				lost--
			}
		}
		p.state = arrived
		came++
		e.arrived(number, p, at, now)
	})
	if !ok {
		e.stats.Malformed++
	}
	if before != 0 && e.newestSent-since > outageAfter && e.newest-before > outagePackets {
		// Nothing went through for so long that it tells of no rate.
		e.stats.Outages++
		lost = 0
		e.loss.forget()
		e.trend.init()
		e.groups = groups{}
	}
	e.loss.lose(lost)
	if e.told != 0 {
		e.every += (min(now-e.told, second) - e.every) / 8
	}
	e.told = now
	e.jammed = lost >= jamFewest && lost > (lost+came)/jamShare && e.queue.least() > jamDelay
	e.update(now)
	return ok
}

// A queue overflows when it is long and that share of a feedback's packets is lost.
const (
	jamFewest = 3
	jamShare  = 3
	jamDelay  = 100 * millisecond
)

// blind says that nothing is told any more though a queue was there, and much was sent
// since: it is so full that of what is sent nothing gets in.
func (e *Estimator) blind(now int64) bool {
	return e.queue.least() > drainFrom && now-e.told > max(blindAfter, 2*e.rtt, blindTold*e.every) &&
		e.history.next-e.newest > blindPackets && !e.drain.active(now)
}

const (
	blindAfter   = 400 * millisecond
	blindTold    = 4 // times as long as it usually takes; feedback gets lost too
	blindPackets = 8
)

// An outage is so many packets over so long of which none came: that is no congestion.
const (
	outageAfter   = second
	outagePackets = 5
)

func (e *Estimator) arrived(number uint64, p *packet, micros, now int64) {
	at, ok := e.queue.unwrap(micros)
	if !ok {
		// Another clock, or one that jumped: begin anew.
		e.trend.init()
		e.groups = groups{}
		e.ackRate = meter{}
	}
	e.loss.arrive()
	e.ackRate.add(int(p.size), at)
	e.queue.add(p.at, at, int(p.size))
	if number > e.newest {
		e.newest, e.newestSent, e.rtt = number, p.at, now-p.at
	}
	if p.cluster != 0 {
		e.probe.arrived(p.cluster, int(p.size), at)
	}
	if sent, came, ok := e.groups.add(p.at, at); ok {
		e.trend.add(came-sent, sent, at)
	}
}

// update draws the conclusions of one feedback.
func (e *Estimator) update(now int64) {
	over, under := e.trend.over && e.queue.behind(), e.trend.under
	if e.queue.stands(now) {
		over, under = true, false
	}
	delivered := e.delivered()
	if e.jammed || e.fills() {
		over, under = true, false
	}
	long := over && e.long()
	switch {
	case over:
		e.overuse(now, delivered)
	case under:
		e.held = true // the queue drains: let it
	default:
		e.held = false
	}
	e.lossy(now, delivered)
	if rate, full, done := e.probe.result(e.newest, 1-e.loss.inherent, now); done {
		e.probed(rate, full, now)
	}
	if !over && !e.held {
		e.increase(now, delivered)
	}
	e.follow(long, now)
	e.moved = now
	e.bound()
}

func (e *Estimator) bound() { e.rate = min(max(e.rate, e.cfg.Min), e.cfg.Max) }

// follow looks whether a queue is to empty first, or has.
func (e *Estimator) follow(long bool, now int64) {
	if long {
		e.clogged = now
	}
	if e.drain.follow(long, e.queue.delay, e.newest, e.history.next, now) {
		e.queue.busy = [busySlots]busy{} // what was seen while next to nothing was sent
	}
}

// long says that the queue is: by the least that packets waited, or by how it grew, for
// one packet alone may just have been held up.
func (e *Estimator) long() bool {
	return e.queue.least() > drainFrom || e.fills() && e.queue.rise.grown() > longGrown
}

const longGrown = 100 * millisecond // is more than jitter does in packets that came in order

// fills says that a queue fills so fast that the link must have become much narrower
// than what is sent.
func (e *Estimator) fills() bool {
	rate := e.queue.rise.rate()
	return rate != 0 && e.queue.rise.grown() > e.queue.uneven && rate < min(e.rate, e.sentRate.newest())*3/4
}

// delivered is how much arrives, with what is lost whatever the rate made good.
func (e *Estimator) delivered() int64 {
	return int64(float64(e.ackRate.newest()) / (1 - e.loss.inherent))
}

// overuse lowers the estimate to what the link carries, and below when that did
// not help.
func (e *Estimator) overuse(now, delivered int64) {
	e.overused = now
	if e.drain.active(now) {
		return // what goes through now is not what could
	}
	carried := e.queue.carried()
	if e.fills() && (carried == 0 || carried > e.queue.rise.rate()) {
		carried = e.queue.rise.rate() // of now, and not of before the link changed
	}
	if carried == 0 {
		carried = delivered
	}
	if e.decreased != 0 && now-e.decreased < max(e.rtt, 200*millisecond) && carried > e.rate*9/10 {
		return
	}
	share := 0.95
	if e.decreased != 0 && now-e.decreased < calmAfter && e.queue.least() > 30*millisecond {
		share = 0.85
	}
	e.link.add(carried)
	e.decreased, e.held = now, true
	if to := int64(share * float64(carried)); to < e.rate && carried > 0 {
		e.stats.Overuses++
		e.rate = to
	}
}

// increase raises the estimate, in steps of a packet for each round trip near
// what the link was found to carry, and by a share of it elsewhere; never far
// above what has been seen to arrive.
func (e *Estimator) increase(now, delivered int64) {
	limit := delivered + delivered/5 + 20_000
	if e.rate >= limit || now-e.decreased < 500*millisecond && e.decreased != 0 {
		return
	}
	dt := min(now-e.moved, second)
	if e.moved == 0 || dt <= 0 {
		return
	}
	var by float64
	if e.link.near(delivered) {
		response := float64(max(e.rtt, 50*millisecond)) + 100e6
		by = max(4000, min(1200*8/response*1e9, 0.06*float64(e.rate))) * float64(dt) / 1e9
	} else {
		by = max(1000, 0.08*float64(e.rate)*float64(dt)/1e9)
	}
	if e.link.above(delivered) {
		e.link = capacity{}
	}
	e.rate = min(e.rate+int64(by), limit)
}

// capacity is what the link carried when it was found full.
type capacity struct {
	mean, deviation float64 // in bit/s, the deviation relative to it
}

func (c *capacity) add(rate int64) {
	r := float64(rate)
	if c.mean == 0 {
		c.mean, c.deviation = r, 0.1
		return
	}
	d := (r - c.mean) / max(c.mean, 1)
	c.mean += 0.1 * (r - c.mean)
	c.deviation += 0.05 * (max(d, -d) - c.deviation)
	if d < -0.5 {
		c.mean = r // another link altogether
	}
}

func (c *capacity) near(rate int64) bool {
	return c.mean != 0 && float64(rate) > c.mean*(1-3*max(c.deviation, 0.03))
}

func (c *capacity) above(rate int64) bool {
	return c.mean != 0 && float64(rate) > c.mean*(1+3*max(c.deviation, 0.05))
}

// REMB takes a client's own estimate of what it can receive, in bit/s, which
// counts while it sends no transport-wide feedback.
func (e *Estimator) REMB(bps uint64, now int64) {
	e.remb.set(int64(min(bps, uint64(e.cfg.Max))), e.cfg.Start, e.sentRate.rate(now), now)
}

// Want says how much there would be to send. Where that is more than the
// estimate, probes look for it.
func (e *Estimator) Want(bps int64) { e.probe.want = min(bps, e.cfg.Max) }

// Padding says how many bytes beyond the media to send now, for a probe. Call it
// about every 20 ms and send them at once, through Send.
func (e *Estimator) Padding(now int64) int {
	if !e.heard {
		e.remb.tick(e.probe.want, now)
		return 0
	}
	if rate, full, done := e.probe.result(e.newest, 1-e.loss.inherent, now); done {
		e.probed(rate, full, now)
	}
	if e.heard && now-e.newestSent > second && e.sentRate.rate(now) == 0 {
		// Nothing is on the way, so no queue is left.
		e.queue.drained()
		e.trend.init()
		e.groups = groups{}
	}
	if e.blind(now) {
		e.overuse(now, e.delivered())
		e.bound()
		e.follow(true, now)
	}
	if e.drain.active(now) {
		return e.drain.sound(now)
	}
	calm := now-e.decreased >= calmAfter || e.decreased == 0
	return e.probe.padding(e.rate, calm && e.queue.least() < 50*millisecond && !e.trend.over, now)
}

// probed takes what a probe found.
func (e *Estimator) probed(rate int64, full bool, now int64) {
	e.stats.Probes++
	if rate > e.rate && (e.decreased == 0 || now-e.decreased >= calmAfter) {
		e.stats.ProbesHeld++
		e.rate = min(rate, e.cfg.Max)
		if e.link.above(rate) {
			e.link = capacity{}
		}
		if full {
			e.link.add(rate)
		}
	}
}
