package sfu

import (
	"testing"

	"belfry/internal/media/rtp"
)

// What waits of a layer is not sent once a key frame of another makes up for it, and
// the receiver sees no gap where it was.
func TestWhatWaitsMakesWay(t *testing.T) {
	w := newWorld(t)
	c := w.camera("a", 120_000, 600_000)
	v := w.watch(1_000_000, c.best())
	v.rate = 300_000
	w.wait("the way to be found full", 5*second, func() bool { return v.down.est.Constrained() })
	s := v.shares[0].sub
	hold := func() { v.down.pace.tokens, v.down.pace.at = -1<<30, w.now }
	for range 40 { // until frames wait
		hold()
		c.frame()
		w.now += 33 * ms
	}
	if len(v.down.pace.waiting) == 0 {
		t.Fatal("nothing waits")
	}
	before := uint16(s.out.seq) - uint16(len(v.down.pace.waiting))
	s.interrupt(w.now)
	for _, l := range c.layers {
		l.key = true
	}
	hold()
	c.frame()
	if n := len(v.down.pace.waiting); n == 0 || n > 40 {
		t.Fatalf("%d packets wait after the key frame", n)
	}
	var p rtp.Packet
	if err := p.Parse(v.down.pace.waiting[0].packet); err != nil {
		t.Fatal(err)
	}
	if p.Seq != before+1 {
		t.Errorf("number %d follows %d", p.Seq, before)
	}
}

// A sender whose way is full is not asked for all that is lost on it.
func TestNoFloodOfNACKsToAFullSender(t *testing.T) {
	r := newRoom(t, single)
	r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 4, r.now)...)
	came := 0
	for i := range 400 {
		r.wait(10 * ms)
		frame := e.frame(false, 4, r.now)
		if i%3 == 0 {
			r.push(r.pub, frame...) // and two that are lost
			came += len(frame)
		}
		r.Tick(r.now)
	}
	if asked := int(r.Stats().NACKsSent); asked < came/4 || asked > 20+came/2+2 {
		t.Errorf("%d packets were asked for while %d came", asked, came)
	}
}

// A better layer is begun once, and kept, if its key frame keeps the picture standing for
// less than a second. It may be much larger than the queue of the way: it neither pushes
// the sound out of that nor holds it up for long.
func TestKeyFramesOfTheBetterLayer(t *testing.T) {
	for _, c := range []struct {
		times  int64 // how much larger than another frame its key frame is
		begins bool
	}{{16, true}, {24, true}, {32, true}, {48, false}} {
		w := newWorld(t)
		k := w.camera("a", 120_000, 600_000)
		k.keyTimes = c.times
		v := w.watch(1_000_000, k.best())
		v.limit = 300 * ms
		w.run(5 * second)
		v.rate = 300_000
		w.wait("the lower layer", 3*second, func() bool { return v.flows(0, k) == 0 })
		w.run(10 * second)
		v.clear()
		v.rate = 1_000_000
		changes, flows := 0, 0
		for range 1000 {
			w.run(10 * ms)
			if f := v.flows(0, k); f != flows {
				changes, flows = changes+1, f
			}
		}
		if begun := flows == 1; begun != c.begins || changes > 1 {
			t.Errorf("%d times: layer %d flows after %d changes", c.times, flows, changes)
		}
		if v.late > 150*ms || v.silence > 60*ms || v.longest[1000] > second {
			t.Errorf("%d times: sound was up to %d ms late, and missing for %d ms; the picture stood for %d ms",
				c.times, v.late/ms, v.silence/ms, v.longest[1000]/ms)
		}
	}
}
