package sfu

import "testing"

// narrows makes the way of one who sees one sender narrow, by a queue of 300 ms, and
// returns the meeting at that moment.
func narrows(t *testing.T, before, after int64) (*world, *cam, *viewer) {
	w := newWorld(t)
	c := w.camera("a", 130_000, 740_000)
	v := w.watch(before, c.best())
	v.limit = 300 * ms
	w.run(8 * second)
	if v.flows(0, c) != 1 {
		t.Fatalf("layer %d flows at first", v.flows(0, c))
	}
	v.clear()
	v.rate = after
	return w, c, v
}

// Where not even the least fits beside the sound, nothing is sent at all, at once, and
// the sound goes on as if nothing had been.
func TestAWayThatCarriesTheSoundAlone(t *testing.T) {
	w, c, v := narrows(t, 5_000_000, 100_000)
	w.run(second)
	// The queue is full before anything can be known of it.
	if v.late > 320*ms || v.silence > 300*ms {
		t.Errorf("in the first second sound was up to %d ms late, and missing for %d ms", v.late/ms, v.silence/ms)
	}
	v.silence = 0
	w.run(500 * ms)
	v.late = 0 // the queue has emptied
	w.run(10 * second)
	if v.late > 160*ms || v.silence > 60*ms {
		t.Errorf("then sound was up to %d ms late, or missing for %d ms", v.late/ms, v.silence/ms)
	}
	if v.pauses != 1 || !v.paused[c.pub.GroupID()] {
		t.Errorf("paused %d times, and %t", v.pauses, v.paused[c.pub.GroupID()])
	}
	v.rate = 5_000_000
	w.wait("the best layer", 6*second, func() bool { return v.flows(0, c) == 1 })
	if v.pauses != 1 {
		t.Errorf("paused %d times", v.pauses)
	}
}

// A queue that fills at once is left to empty before more is sent.
func TestSoundWhereTheWayNarrowsALot(t *testing.T) {
	for _, from := range []int64{1_000_000, 5_000_000} {
		w, c, v := narrows(t, from, 300_000)
		w.wait("a lower layer", second, func() bool { return v.flows(0, c) == 0 })
		if v.late > 180*ms || v.silence > 120*ms {
			t.Errorf("from %d sound was up to %d ms late, and missing for %d ms", from, v.late/ms, v.silence/ms)
		}
		w.run(500 * ms)
		v.clear()
		w.run(10 * second)
		if v.late > 150*ms || v.silence > 60*ms {
			t.Errorf("from %d sound was then up to %d ms late, and missing for %d ms", from, v.late/ms, v.silence/ms)
		}
	}
}

// A layer that costs three quarters of a way comes back to it, and what does not fit is
// not tried again and again.
func TestALayerThatNearlyFillsTheWay(t *testing.T) {
	for _, c := range []struct {
		rate  int64
		flows int
	}{{800_000, 0}, {1_000_000, 1}, {1_500_000, 1}} {
		w, k, v := narrows(t, 5_000_000, 300_000)
		w.run(10 * second)
		v.rate = c.rate
		v.clear()
		if c.flows == 1 {
			t.Logf("at %d back after %d ms", c.rate, w.wait("the best layer", 6*second, func() bool { return v.flows(0, k) == 1 })/ms)
		}
		before := w.r.Stats()
		w.run(60 * second)
		if v.flows(0, k) != c.flows {
			t.Errorf("at %d layer %d flows", c.rate, v.flows(0, k))
		}
		if s := w.r.Stats(); s.Raised+s.Lowered-before.Raised-before.Lowered > 2 {
			t.Errorf("at %d it went up %d and down %d times", c.rate, s.Raised-before.Raised, s.Lowered-before.Lowered)
		}
		if v.late > 200*ms || v.silence > 100*ms {
			t.Errorf("at %d sound was up to %d ms late, and missing for %d ms", c.rate, v.late/ms, v.silence/ms)
		}
	}
}

// What is held back for a moment goes on after it, or its viewer is told that it is paused.
func TestNothingIsHeldBackUnsaid(t *testing.T) {
	for _, tt := range []struct {
		low, high, rate int64
		loss            float64
	}{
		{800_000, 1_600_000, 600_000, 0}, // more than is called narrow
		{300_000, 740_000, 250_000, 0},
		{300_000, 740_000, 250_000, 0.03},
	} {
		w := newWorld(t)
		c := w.camera("a", tt.low, tt.high)
		v := w.watch(5_000_000, c.best())
		v.limit, v.loss = 300*ms, tt.loss
		w.run(20 * second)
		v.rate = tt.rate
		held, longest := int64(0), int64(0)
		for range 300 {
			w.run(100 * ms)
			if held += 100; v.flows(0, c) >= 0 || v.paused[c.pub.GroupID()] {
				held = 0
			}
			longest = max(longest, held)
		}
		if longest > 2000 {
			t.Errorf("%+v: nothing came, and nothing was told, for %d ms", tt, longest)
		}
	}
}

// Where the client chooses, video goes on whatever its queue, and so do repairs of it.
func TestRepairsGoOnWhereTheClientChooses(t *testing.T) {
	for _, follow := range []bool{false, true} {
		w := newWorld(t)
		c := w.camera("a", 150_000, 600_000)
		v := w.watch(5_000_000, c.best())
		v.down.Follow(follow)
		w.run(5 * second)
		v.rate = 300_000
		w.wait("a long queue", 2*second, func() bool { return v.down.est.Draining(w.now) })
		w.run(40 * ms)
		if !v.down.est.Draining(w.now) {
			t.Fatal("it was over at once")
		}
		if got := v.down.mend(500, w.now); got != follow {
			t.Errorf("the client chooses %t, repaired is %t", follow, got)
		}
	}
}
