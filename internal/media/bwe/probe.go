package bwe

// A probe is three ticks of sending at a higher rate.
const (
	probeTick  = 20 * millisecond
	probeTicks = 3

	probeFirst = 1500 * millisecond // between one that failed and the next, growing to
	probeMost  = 3 * second
	probeChain = 100 * millisecond // between one that held and the next
)

// prober finds out whether the link carries more than is being sent: it asks for
// padding, and looks how fast the packets of that time arrive.
type prober struct {
	want int64 // how much there would be to send

	active bool // being sent
	asked  bool // sent, and waited for
	id     uint8
	rate   int64
	from   int64 // the estimate when it began
	ticks  int
	begun  int64 // a tick before the first

	bytes, packets     int
	firstSent, endSent int64
	last               uint64 // number of its last packet
	deadline           int64

	gotBytes, got, gotFirst int
	came, end               int64

	next     int64 // not before
	interval int64
}

func (p *prober) init() { p.interval = probeFirst }

// sent notes a packet that goes out while a probe does, media too.
func (p *prober) sent(size int, now int64, number uint64) (cluster uint8) {
	if p.packets == 0 {
		p.firstSent = now
	}
	p.endSent, p.last = now, number
	p.bytes += size
	p.packets++
	return p.id
}

func (p *prober) arrived(cluster uint8, size int, at int64) {
	if cluster != p.id || !p.active && !p.asked {
		return
	}
	if p.got == 0 {
		p.came, p.end, p.gotFirst = at, at, size
	}
	p.came, p.end = min(p.came, at), max(p.end, at)
	p.got++
	p.gotBytes += size
}

// padding says what to send now beside the media.
func (p *prober) padding(rate int64, calm bool, now int64) int {
	if !p.active {
		if p.asked || p.want <= rate || now < p.next {
			return 0
		}
		if !calm {
			p.next = max(p.next, now+200*millisecond)
			return 0
		}
		p.id++
		if p.id == 0 {
			p.id = 1
		}
		up := 2 * rate
		if p.interval > probeFirst { // the last one found no room
			up = rate * 3 / 2
		}
		*p = prober{want: p.want, id: p.id, interval: p.interval, next: p.next,
			active: true, from: rate, rate: min(up, p.want+p.want/5), begun: now - probeTick}
	}
	if p.ticks == probeTicks {
		p.active, p.asked, p.deadline = false, true, now+second
		return 0
	}
	p.ticks++
	// Up to here and no further, however late this tick is.
	time := min(now-p.begun, int64(p.ticks+1)*probeTick)
	return max(int(p.rate*time/8/second)-p.bytes, 0)
}

// result judges a probe when all of it has been told of, or should have been:
// what it proves to fit, 0 for nothing new, and whether that is all that the link carries.
func (p *prober) result(newest uint64, arrives float64, now int64) (rate int64, full, done bool) {
	if !p.asked || newest < p.last && now < p.deadline {
		return 0, false, false
	}
	p.asked = false
	p.interval = min(p.interval*3/2, probeMost)
	p.next = now + p.interval
	if float64(p.got) < 0.7*arrives*float64(p.packets) || p.got < 4 {
		return 0, false, true
	}
	sent := int64(p.bytes) * 8 * second / (p.endSent - p.firstSent + probeTick)
	took := max(p.end-p.came, probeTick)
	got := int64(float64(p.gotBytes-p.gotFirst) / arrives * 8 * float64(second) / float64(took))
	if got < sent*9/10 {
		// It is full, and so short a burst finds a little more than lasts.
		if got = got * 19 / 20; got > p.from*11/10 {
			p.interval, p.next = probeFirst, now+probeChain // far from what was believed: look again
		}
		return got, true, true
	}
	p.interval = probeFirst
	p.next = now + probeChain
	return min(sent, got), false, true
}
