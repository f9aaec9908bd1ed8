package sfu

import (
	"math/rand/v2"
	"slices"
	"testing"

	"belfry/internal/media/rtp"
)

// upway is the way from a camera to the server, with the sound of whom it films. A camera
// that has one makes key frames of all that it sends when it is asked for one, and leaves
// off its better layer when it may not send as much, as browsers do.
type upway struct {
	rate, limit, delay, jitter int64
	mute                       bool
	deaf                       bool // it does not do what it is told
	rng                        *rand.Rand
	free                       int64
	flying                     []rising
	late                       int64 // the longest on the way
}

type rising struct {
	p        *rtp.Packet
	sound    bool
	sent, at int64
}

const soundSendTime = 7

func (u *upway) send(packets []*rtp.Packet, now int64) {
	for _, p := range packets {
		end := max(u.free, now) + int64(len(p.Raw)+40)*8*second/u.rate
		if end-now > u.limit {
			continue
		}
		u.free = end
		at := end + u.delay
		if u.jitter > 0 {
			at += u.rng.Int64N(u.jitter)
		}
		u.flying = append(u.flying, rising{p, p.PayloadType == opusType, now, at})
	}
	slices.SortStableFunc(u.flying, func(a, b rising) int { return int(a.at - b.at) })
}

const opusType = 111

// say sends 20 ms of sound.
func (u *upway) say(t *testing.T, now int64) {
	if u.mute {
		return
	}
	var w rtp.HeaderWriter
	w.Begin(make([]byte, 64), opusType, false, uint16(now/(20*ms)), uint32(now/ms*48), 9)
	w.AbsSendTime(soundSendTime, now)
	p := new(rtp.Packet)
	if err := p.Parse(append(w.Bytes(), make([]byte, 80)...)); err != nil {
		t.Fatal(err)
	}
	u.send([]*rtp.Packet{p}, now)
}

func (u *upway) deliver(c *cam, now int64) {
	for len(u.flying) > 0 && u.flying[0].at <= now {
		f := u.flying[0]
		u.flying = u.flying[1:]
		u.late = max(u.late, f.at-f.sent)
		f.p.Arrival = f.at
		if f.sound {
			c.pub.up.Beside([]*rtp.Packet{f.p}, soundSendTime)
		} else {
			c.pub.Push([]*rtp.Packet{f.p}, now)
		}
	}
}

func speaks(t *testing.T, bps ...int64) (*world, *cam) {
	w := newWorld(t)
	c := w.camera("a", bps...)
	c.keyTimes = 24
	c.up = &upway{rate: 5_000_000, limit: 300 * ms, delay: 20 * ms, rng: rand.New(rand.NewPCG(5, 6))}
	return w, c
}

func talks(t *testing.T) (*world, *cam, *viewer) {
	w, c := speaks(t, 130_000, 740_000)
	v := w.watch(20_000_000, c.best())
	w.wait("the best layer", 5*second, func() bool { return v.flows(0, c) == 1 })
	w.run(5 * second)
	return w, c, v
}

// A sender whose way has become narrow is told at once to send less, is asked for no key
// frame before it does, and gets its way back.
func TestASendersWayNarrows(t *testing.T) {
	w, c, v := talks(t)
	v.clear()
	c.up.rate = 300_000
	begun := w.now
	w.wait("a limit", second, func() bool { return len(c.told) > 0 })
	for range 10 {
		v.shares[0].sub.HandleKeyFrameRequest(w.now)
		if w.run(10 * ms); c.layers[1].key {
			t.Fatal("a large key frame is asked for")
		}
	}
	w.wait("the lower layer", 2*second, func() bool { return v.flows(0, c) == 0 })
	t.Logf("lower after %d ms, told %v", (w.now-begun)/ms, c.told)
	w.wait("a short queue", second, func() bool { return c.up.free-w.now < 50*ms })
	w.run(second)
	if c.up.free-w.now > 50*ms {
		t.Errorf("a queue of %d ms stands", (c.up.free-w.now)/ms)
	}
	if v.longest[1000] > 1800*ms {
		t.Errorf("the picture stood for %d ms", v.longest[1000]/ms)
	}
	// It sends as much as it may whenever it may, so the limit comes again.
	c.up.rate = 5_000_000
	w.wait("the better layer", 8*second, func() bool { return v.flows(0, c) == 1 })
	w.wait("no limit", 5*second, func() bool { return c.limit > 870_000 })
	told := len(c.told)
	c.up.late = 0
	w.run(20 * second)
	for _, bps := range c.told[told:] {
		if bps < 870_000 {
			t.Errorf("told %v although all is well", c.told[told:])
			break
		}
	}
}

// A way that is uneven, or long, is not full.
func TestAnUnevenWayOfASender(t *testing.T) {
	w, c, v := talks(t)
	c.up.jitter = 120 * ms
	w.run(20 * second)
	c.up.jitter = 0
	w.run(5 * second)
	if len(c.told) != 0 {
		t.Errorf("told %v", c.told)
	}
	if v.flows(0, c) != 1 {
		t.Errorf("layer %d flows", v.flows(0, c))
	}
}

// The stamps of senders begin anew every 64 s.
func TestStampsThatBeginAnew(t *testing.T) {
	var u inflow
	for now := 50 * second; now < 200*second; now += 20 * ms {
		u.note(rtp.AbsSendTime(now), 1000, now+30*ms)
		if u.look(1<<40, now); u.least > ms || u.jam != 0 {
			t.Fatalf("after %d s packets seem to take %d ms longer", now/second, u.least/ms)
		}
	}
	if got := u.rate(200 * second); got < 380_000 || got > 420_000 {
		t.Errorf("400 kbit/s came, and %d are counted", got)
	}
}

// Sound that pauses, and a clock that sleeps meanwhile or turns, say nothing of the way.
func TestStampsAfterAPause(t *testing.T) {
	for _, pause := range []int64{9 * second, 20 * second, 40 * second, 70 * second} {
		for _, slept := range []int64{0, pause / 2} {
			var u inflow
			now := 50 * second
			talk := func(slept int64) {
				for end := now + second; now < end; now += 20 * ms {
					u.note(rtp.AbsSendTime(now-slept), 1000, now+30*ms)
					if u.look(1<<40, now); u.jam != 0 {
						t.Fatalf("after a pause of %d s, of which the clock slept %d, packets seem to take %d ms longer", pause/second, slept/second, u.least/ms)
					}
				}
			}
			talk(0)
			now += pause
			if pause < upAnew {
				slept = 0
			}
			talk(slept)
		}
	}
}

// Nor does a clock that is set anew between two packets.
func TestStampsThatStep(t *testing.T) {
	for _, step := range []int64{-3 * second, 3 * second} {
		var u inflow
		var off int64
		for now := 50 * second; now < 60*second; now += 20 * ms {
			if now == 55*second {
				off = step
			}
			u.note(rtp.AbsSendTime(now+off), 1000, now+30*ms)
			if u.look(1<<40, now); u.jam != 0 {
				t.Fatalf("a clock that is set by %d s makes a queue of %d ms", step/second, u.least/ms)
			}
		}
	}
}

// Who is given the lowest layer keeps it while a queue stands.
func TestTheLowLayerInAFullWay(t *testing.T) {
	w, c := speaks(t, 130_000, 740_000)
	v := w.watch(20_000_000, c.layerID(0))
	w.wait("the low layer", 5*second, func() bool { return v.flows(0, c) == 0 })
	w.run(5 * second)
	c.up.rate = 300_000
	w.wait("a queue that stays", second, func() bool { return c.pub.up.stays(w.now) })
	for range 300 {
		if w.run(10 * ms); v.flows(0, c) != 0 || v.shares[0].sub.target.index != 0 {
			t.Fatalf("layer %d flows, %d is aimed at", v.flows(0, c), v.shares[0].sub.target.index)
		}
	}
}

// The lowest layer that is sent can be the only one.
func TestTheOnlyLayerInAFullWay(t *testing.T) {
	w, c := speaks(t, 130_000, 740_000)
	c.layers[0].on = false
	v := w.watch(20_000_000, c.best())
	w.wait("the layer", 5*second, func() bool { return v.flows(0, c) == 1 })
	w.run(5 * second)
	c.up.rate = 300_000
	w.wait("a queue that stays", second, func() bool { return c.pub.up.stays(w.now) })
	before := w.r.Stats().KeyFrameRequests
	v.add(c.best())
	for w.r.Stats().KeyFrameRequests == before {
		if w.run(10 * ms); !c.pub.up.jammed() {
			t.Fatal("no key frame was asked for while the queue stood")
		}
	}
}

// Of three layers a full way leaves the lowest: key frames of no other are asked for.
func TestThreeLayersInAFullWay(t *testing.T) {
	w, c := speaks(t, 100_000, 300_000, 900_000)
	v := w.watch(20_000_000, c.best())
	w.wait("the best layer", 5*second, func() bool { return v.flows(0, c) == 2 })
	w.run(5 * second)
	c.up.rate, c.up.deaf = 600_000, true
	w.wait("a queue that stays", 2*second, func() bool { return c.pub.up.stays(w.now) })
	w.run(20 * ms)
	if got := v.shares[0].sub.target.index; got != 0 {
		t.Errorf("layer %d is aimed at", got)
	}
}

// Without sound nothing is known of a queue.
func TestNoSoundInAFullWay(t *testing.T) {
	w, c, v := talks(t)
	c.up.rate = 300_000
	w.wait("a limit", second, func() bool { return len(c.told) > 0 })
	c.up.mute = true
	w.wait("the end of what is known", 1500*ms, func() bool { return !c.pub.up.jammed() })
	w.run(2 * second)
	c.up.rate = 5_000_000
	told := len(c.told)
	w.wait("no limit", 10*second, func() bool { return c.limit > 870_000 })
	w.wait("the better layer", 8*second, func() bool { return v.flows(0, c) == 1 })
	w.run(20 * second)
	if c.limit < 870_000 || !slices.IsSorted(c.told[told:]) {
		t.Errorf("told %v", c.told[told:])
	}
}

// A way that has become longer is not full.
func TestALongerWayOfASender(t *testing.T) {
	w, c, v := talks(t)
	c.up.delay += 150 * ms
	w.wait("a limit", second, func() bool { return len(c.told) > 0 })
	w.wait("the way as it is", 2500*ms, func() bool { return !c.pub.up.jammed() })
	w.wait("no limit", 6*second, func() bool { return c.limit > 870_000 })
	w.wait("the better layer", 6*second, func() bool { return v.flows(0, c) == 1 })
	told := len(c.told)
	w.run(20 * second)
	for _, bps := range c.told[told:] {
		if bps < 870_000 {
			t.Errorf("told %v although all is well", c.told[told:])
			break
		}
	}
}

// While the limit comes back, a newcomer waits no longer than otherwise.
func TestANewcomerUnderALimit(t *testing.T) {
	w, c, v := talks(t)
	c.pub.up.limit = 1_000_000
	for range 3 {
		before := w.r.Stats().KeyFrameRequests
		v.add(c.best())
		w.wait("a request", 40*ms, func() bool { return w.r.Stats().KeyFrameRequests > before })
		w.run(400 * ms)
	}
}
