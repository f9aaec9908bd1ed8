package sfu

import (
	"testing"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// limited makes a room whose camera may show HD.
func limited(t *testing.T, layers ...Layer) (r *room, told *int) {
	r, told = newRoom(t), new(int)
	r.pub = r.Publish(PublishConfig{AttendeeID: "anna", Up: r.up, Layers: layers, Codecs: upCodecs, Extensions: upExtensions,
		NACK: true, TransportCC: new(rtp.TWCCRecorder), MaxPicture: meeting.HD, OnTooLarge: func(uint32, uint32) { *told++ }})
	return r, told
}

func TestPicturesTooLargeAreHeldBack(t *testing.T) {
	r, told := limited(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, size: [2]uint16{1280, 720}}
	flow := func(want bool) {
		t.Helper()
		w.rtp = nil
		for i := range 5 {
			r.now += 66 * ms
			r.push(r.pub, e.frame(i == 0, 3, r.now)...)
			r.Tick(r.now)
		}
		if got := len(w.take(1000)); got != 15 && want || got != 0 && !want {
			t.Fatalf("%v: %d of 15 packets came", e.size, got)
		}
		if flows := sub.Flowing() != 0; flows != want {
			t.Errorf("%v: flowing %t", e.size, flows)
		}
		if listed := len(r.Sources()) == 1; listed != want {
			t.Errorf("%v: sources %v", e.size, r.Sources())
		}
	}
	for _, step := range []struct {
		width, height uint16
		fits          bool
	}{
		{1280, 720, true},
		{1920, 1080, false},
		{720, 1280, true}, // turned
		{1280, 737, false},
		{640, 360, true},
		{1297, 16, false},
		{960, 960, false},
		{0, 0, false}, // it does not tell
		{320, 180, true},
	} {
		e.size = [2]uint16{step.width, step.height}
		if step.width == 0 {
			e.size = [2]uint16{1 << 14, 1 << 14} // the scaling bits alone
		}
		changes := r.changes
		flow(step.fits)
		if r.changes > changes+1 {
			t.Errorf("%d changes", r.changes-changes)
		}
	}
	if *told != 1 {
		t.Errorf("the publisher was told %d times", *told)
	}
	if got := r.Stats().TooLarge; got != 5*15 {
		t.Errorf("%d packets were counted as too large, want 75", got)
	}
	unbroken(t, w.rtp)
}

// Nothing that was held back can be had by asking for it again, nor by a
// retransmission of it.
func TestPicturesTooLargeAreNotResent(t *testing.T) {
	r, _ := limited(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, size: [2]uint16{640, 360}}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	top := w.rtp[len(w.rtp)-1].Seq
	e.size = [2]uint16{1920, 1080}
	large := e.frame(true, 3, r.now)
	r.push(r.pub, clone(large[0]), clone(large[2]))
	r.push(r.pub, asRTX(clone(large[1]), 12, 7, ""))
	w.rtp = nil
	sub.HandleNACK([]uint16{top + 1, top + 2, top + 3})
	if len(w.rtp) != 0 {
		t.Errorf("%d packets came", len(w.rtp))
	}
	// The same where the retransmission is what tells.
	e.size = [2]uint16{640, 360}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	e.size = [2]uint16{1920, 1080}
	large = e.frame(true, 3, r.now)
	r.push(r.pub, clone(large[1]))
	r.push(r.pub, asRTX(clone(large[0]), 12, 8, ""))
	w.rtp = nil
	r.push(r.pub, clone(large[2]))
	r.push(r.pub, e.frame(false, 2, r.now)...)
	if len(w.rtp) != 0 {
		t.Errorf("%d packets came", len(w.rtp))
	}
}

// A layer that is held back is asked now and then whether it fits by now, and by
// nobody else.
func TestAKeyFrameOfWhatIsTooLarge(t *testing.T) {
	r, _ := limited(t, single)
	sub, _ := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, size: [2]uint16{1920, 1080}}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	r.up.plis(11)
	for range 25 * 30 {
		r.now += 40 * ms
		r.push(r.pub, e.frame(false, 1, r.now)...)
		r.Tick(r.now)
		sub.HandleKeyFrameRequest(r.now)
	}
	if n := r.up.plis(11); n != 3 {
		t.Errorf("%d PLIs in 30 s, want 3", n)
	}
}

func TestSmallerLayersStandInForOneTooLarge(t *testing.T) {
	r, told := limited(t, twoLayers()...)
	lo := &encoder{ssrc: 20, rid: "low", size: [2]uint16{480, 270}}
	hi := &encoder{ssrc: 21, rid: "hi", size: [2]uint16{1280, 720}}
	sub, w := r.subscribe(1000, 102)
	flow := func(key bool) {
		wishes := [2]bool{key, key}
		for range 40 {
			r.now += 50 * ms
			for i, e := range []*encoder{lo, hi} {
				r.push(r.pub, e.frame(wishes[i], 1, r.now)...)
			}
			r.Tick(r.now)
			wishes = [2]bool{}
			for _, c := range r.up.rtcp {
				for i, e := range []*encoder{lo, hi} {
					for _, ssrc := range c.DestinationSSRC() {
						wishes[i] = wishes[i] || ssrc == e.ssrc
					}
				}
			}
			r.up.rtcp = nil
		}
	}
	flow(true)
	if sub.Flowing() != 102 || len(r.Sources()) != 2 {
		t.Fatalf("%d flows of %v", sub.Flowing(), r.Sources())
	}
	hi.size = [2]uint16{1920, 1080}
	flow(true)
	if got := r.Sources(); sub.Flowing() != 101 || len(got) != 1 || got[0].StreamID != 101 || got[0].Stalled {
		t.Fatalf("%d flows of %v", sub.Flowing(), got)
	}
	hi.size = [2]uint16{1280, 720}
	flow(true)
	if sub.Flowing() != 102 || len(r.Sources()) != 2 || *told != 1 {
		t.Fatalf("%d flows of %v; told %d times", sub.Flowing(), r.Sources(), *told)
	}
	unbroken(t, w.take(1000))
}
