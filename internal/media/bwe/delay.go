package bwe

// groupSpan is how far apart packets may be sent and still count as one burst:
// those of one video frame.
const groupSpan = 5 * millisecond

// group is packets that were sent in one burst.
type group struct {
	first, sent, came int64 // when its first and last were sent, and the last came
	used              bool
}

// groups gathers packets into bursts and compares each with the one before
// (draft-ietf-rmcat-gcc section 5.2).
type groups struct {
	before, current group
}

// add takes a packet; when that begins a new group, ok says that the two groups
// before it are complete, and how far apart they were sent and came.
func (g *groups) add(sent, came int64) (dSent, dCame int64, ok bool) {
	c := &g.current
	if !c.used {
		*c = group{sent, sent, came, true}
		return 0, 0, false
	}
	if sent < c.first {
		return 0, 0, false // reordered: it belongs to what has been judged
	}
	late := came - c.came
	burst := sent-c.first <= groupSpan
	// What came in one go though it was sent apart was held up on the way: one
	// burst too, or the way would seem to shorten.
	if !burst && late <= groupSpan && late-(sent-c.sent) < 0 && came-c.came+c.sent-c.first < 100*millisecond {
		burst = true
	}
	if burst {
		c.sent, c.came = max(c.sent, sent), max(c.came, came)
		return 0, 0, false
	}
	if g.before.used {
		dSent, dCame, ok = c.sent-g.before.sent, c.came-g.before.came, true
	}
	g.before = *c
	*c = group{sent, sent, came, true}
	return dSent, dCame, ok
}

// The constants of the trend line and the detector over it.
const (
	trendWindow    = 20
	trendSmoothing = 0.9
	trendGain      = 4.0
	trendMost      = 60 // groups that count towards confidence

	thresholdStart = 12.5 // ms
	thresholdLeast = 6.0
	thresholdMost  = 600.0
	thresholdUp    = 0.0087
	thresholdDown  = 0.039
	thresholdJump  = 15.0 // a value so far above it does not move it

	overuseFor = 10.0 // ms
)

// trendline fits a line through the delays of the last groups: its slope says
// whether a queue grows. The threshold it is held against follows what is usual
// (draft-ietf-rmcat-gcc section 5.4).
type trendline struct {
	x, y   [trendWindow]float64 // ms
	n      int
	groups int
	begun  int64
	sum    float64 // of the delay differences, ms
	smooth float64

	threshold float64
	adapted   int64
	slope     float64
	overFor   float64
	overTimes int

	over, under bool
}

func (t *trendline) init() { *t = trendline{threshold: thresholdStart} }

// add takes how much more a group took than the one before, in ns, how far apart
// the two were sent, and when it came.
func (t *trendline) add(more, sent, at int64) {
	if t.begun == 0 {
		t.begun = at
	}
	t.groups = min(t.groups+1, 1000)
	t.sum += float64(more) / 1e6
	t.smooth = trendSmoothing*t.smooth + (1-trendSmoothing)*t.sum
	i := t.n % trendWindow
	t.x[i], t.y[i] = float64(at-t.begun)/1e6, t.smooth
	t.n++
	slope := t.slope
	if t.n >= trendWindow {
		slope = t.fit()
	}
	t.detect(slope, float64(sent)/1e6, at)
}

// fit is the slope of the line of least squares.
func (t *trendline) fit() float64 {
	var sx, sy float64
	for i := range trendWindow {
		sx += t.x[i]
		sy += t.y[i]
	}
	mx, my := sx/trendWindow, sy/trendWindow
	var num, den float64
	for i := range trendWindow {
		dx := t.x[i] - mx
		num += dx * (t.y[i] - my)
		den += dx * dx
	}
	if den == 0 {
		return t.slope
	}
	return num / den
}

func (t *trendline) detect(slope, sent float64, at int64) {
	if t.groups < 2 {
		return
	}
	m := float64(min(t.groups, trendMost)) * slope * trendGain
	switch {
	case m > t.threshold:
		if t.overTimes == 0 {
			t.overFor = sent / 2
		} else {
			t.overFor += sent
		}
		t.overTimes++
		if t.overFor > overuseFor && t.overTimes > 1 && slope >= t.slope {
			t.overFor, t.overTimes = 0, 0
			t.over, t.under = true, false
		}
	case m < -t.threshold:
		t.overFor, t.overTimes = 0, 0
		t.over, t.under = false, true
	default:
		t.overFor, t.overTimes = 0, 0
		t.over, t.under = false, false
	}
	t.slope = slope
	t.adapt(max(m, -m), at)
}

// adapt moves the threshold towards the usual.
func (t *trendline) adapt(m float64, at int64) {
	if t.adapted == 0 {
		t.adapted = at
	}
	dt := min(float64(at-t.adapted)/1e6, 100)
	t.adapted = at
	if m > t.threshold+thresholdJump || dt < 0 {
		return
	}
	k := thresholdUp
	if m < t.threshold {
		k = thresholdDown
	}
	t.threshold = min(max(t.threshold+k*(m-t.threshold)*dt, thresholdLeast), thresholdMost)
}

// queue follows how long packets wait on the way, and how fast they come while
// they do.
type queue struct {
	clock  int64 // µs, the last arrival told, unwrapped
	known  bool
	offset int64 // to bring the clock's turns together

	base    [2]int64 // the least time on the way: of this interval, of the one before
	turned  int64
	delay   int64    // of the last packet beyond that
	quick   [2]int64 // the least of it: in this interval, in the one before
	slow    [2]int64 // and the most
	uneven  int64    // ns that the two are apart as a rule
	quickAt int64
	stood   int64 // since when the queue has not emptied, 0 while it does
	last    int64 // when the last packet came, ns
	busy    [busySlots]busy
	rise    rise
}

// busy is what came in one slot of time while packets waited behind it.
type busy struct {
	slot  int64
	time  int64
	bytes int64
}

const (
	clockSpan = int64(1) << 24 * 64_000 // µs until the reference time of feedback begins anew
	clockJump = int64(20_000_000)       // µs; more is another clock

	baseEvery = 15 * second
	queuedAt  = 5 * millisecond // packets that waited so long were behind others

	quickEvery = 100 * millisecond
	standing   = 80 * millisecond // a queue that does not get shorter is full
	standMost  = 3 * second       // and one that stays, whatever is sent, is a longer way
	busySlots  = 16
	busySlot   = 50 * millisecond
	busyLeast  = 30 * millisecond  // to say anything
	busyMost   = 100 * millisecond // so much of the newest decides
)

// unwrap makes an arrival ns on a clock that does not begin anew; ok is false
// when it has nothing to do with those before.
func (q *queue) unwrap(micros int64) (at int64, ok bool) {
	micros += q.offset
	if q.known {
		switch d := micros - q.clock; {
		case d > clockSpan/2:
			micros -= clockSpan
			q.offset -= clockSpan
		case d < -clockSpan/2:
			micros += clockSpan
			q.offset += clockSpan
		}
	}
	// The reference time is signed: a clock that runs for long is below 0 at times.
	for micros < 0 {
		micros += clockSpan
		q.offset += clockSpan
	}
	ok = true
	if d := micros - q.clock; q.known && (d > clockJump || d < -clockJump) {
		*q = queue{offset: q.offset}
		ok = false
	}
	if !q.known || micros > q.clock {
		q.clock = micros
	}
	q.known = true
	return micros * 1000, ok
}

func (q *queue) add(sent, came int64, size int) {
	way := came - sent
	switch {
	case q.turned == 0:
		q.base, q.turned = [2]int64{way, way}, sent
	case sent-q.turned > baseEvery:
		q.base, q.turned = [2]int64{way, q.base[0]}, sent
	}
	q.base[0] = min(q.base[0], way)
	q.delay = way - min(q.base[0], q.base[1])
	if came-q.quickAt > quickEvery {
		q.uneven += (q.slow[0] - q.quick[0] - q.uneven) / 8
		q.quick, q.slow, q.quickAt = [2]int64{q.delay, q.quick[0]}, [2]int64{q.delay, q.slow[0]}, came
	}
	q.quick[0], q.slow[0] = min(q.quick[0], q.delay), max(q.slow[0], q.delay)
	q.rise.add(came, q.delay, size)
	if came < q.last {
		return
	}
	gap := came - q.last
	q.last = came
	if q.delay < queuedAt {
		return
	}
	b := &q.busy[came/busySlot%busySlots]
	if slot := came / busySlot; b.slot != slot {
		*b = busy{slot: slot}
	}
	b.bytes += int64(size)
	// It cannot have been served for longer than it waited.
	b.time += min(gap, q.delay)
}

// drained says that the queue must have emptied.
func (q *queue) drained() {
	q.delay, q.quick, q.slow, q.stood, q.rise = 0, [2]int64{}, [2]int64{}, 0, rise{}
}

// least is the least delay of the last moments: what stands, and is not jitter.
func (q *queue) least() int64 { return min(q.quick[0], q.quick[1]) }

// behind says that all packets of the last moments waited, for longer than they differ:
// for a queue, and not each for a reason of its own.
func (q *queue) behind() bool {
	least := q.least()
	return least > max(queuedAt, (max(q.slow[0], q.slow[1])-least)/2)
}

// stands says that the queue is long and does not empty. Where that goes on
// although less is sent, the way itself has become longer.
func (q *queue) stands(now int64) bool {
	if q.least() < standing {
		q.stood = 0
		return false
	}
	if q.stood == 0 {
		q.stood = now
	}
	if now-q.stood > standMost {
		least := q.least()
		q.base[0] += least
		q.base[1] = q.base[0]
		q.quick, q.slow, q.stood = [2]int64{}, [2]int64{}, 0
		return false
	}
	return true
}

// carried is how fast packets came lately while others waited behind them: what
// the link gives us when it is full. It is 0 when too little is known.
func (q *queue) carried() int64 {
	var bytes, time int64
	newest := q.last / busySlot
	for slot := newest; slot > newest-busySlots && slot > 0 && time < busyMost; slot-- {
		if b := &q.busy[slot%busySlots]; b.slot == slot {
			bytes += b.bytes
			time += b.time
		}
	}
	if time < busyLeast {
		return 0
	}
	return bytes * 8 * second / time
}

// rise is packets that came in order, each from behind the one before, and waited ever
// longer: a queue that fills. It says so within a few packets, which the
// trend line takes a second for, and how fast the queue empties.
type rise struct {
	packets     int
	bytes       int64 // of all but the first
	from, most  int64 // ns that the first waited, and the longest
	now         int64 // ns that the last waited
	began, last int64 // when the first came, and the last: ns on the receiver's clock
}

const (
	riseLeast = 45 * millisecond // by which the wait grows, over
	riseCount = 5                // packets, or
	riseSteep = 150 * millisecond
	riseFew   = 3
)

func (r *rise) add(came, delay int64, size int) {
	// One that came later than it had waited found no queue: it was held up alone.
	if r.packets == 0 || came < r.last || delay < max(r.most/2, queuedAt, came-r.last) {
		*r = rise{packets: 1, from: delay, most: delay, now: delay, began: came, last: came}
		return
	}
	r.packets++
	r.bytes += int64(size)
	r.most, r.now, r.last = max(r.most, delay), delay, came
}

// grown is by how much longer the last waited than the first, in ns.
func (r *rise) grown() int64 { return r.now - r.from }

// rate is how fast a queue empties that has filled by much, in bit/s; 0 for none.
func (r *rise) rate() int64 {
	grown, took := r.grown(), r.last-r.began
	if (grown < riseLeast || r.packets < riseCount) && (grown < riseSteep || r.packets < riseFew) ||
		took <= 0 {
		return 0
	}
	return r.bytes * 8 * second / took
}
