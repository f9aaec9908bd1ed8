package sfu

import (
	"bytes"
	"testing"

	"belfry/internal/media/rtp"
)

// TestKeyFrameIsSentAgain: who asks for a key frame just after one, which a browser
// does that was not ready for it, gets that one again with what followed, as new frames.
func TestKeyFrameIsSentAgain(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 4, r.now)...)
	r.wait(40 * ms)
	r.push(r.pub, e.frame(false, 2, r.now)...)
	r.wait(20 * ms)
	first := w.take(1000)
	r.up.rtcp = nil
	sub.HandleKeyFrameRequest(r.now)
	again := w.take(1000)
	if n := r.up.plis(11); len(again) != 6 || n != 0 {
		t.Fatalf("%d packets came again and %d key frames were asked for, want 6 and none", len(again), n)
	}
	r.wait(20 * ms)
	r.push(r.pub, e.frame(false, 2, r.now)...)
	rest := w.take(1000)
	all := append(append(first, again...), rest...)
	if len(all) != 14 {
		t.Fatalf("%d packets, want 14", len(all))
	}
	unbroken(t, all)
	for i, p := range again {
		var was, is rtp.VideoHeader
		if !rtp.ParseVP8(first[i].Payload(), &was) || !rtp.ParseVP8(p.Payload(), &is) {
			t.Fatal("not VP8")
		}
		if is.KeyFrame != was.KeyFrame || is.PictureID != was.PictureID+2 || p.Marker != first[i].Marker {
			t.Errorf("packet %d: key frame %v, picture %d; at first %v, %d", i, is.KeyFrame, is.PictureID, was.KeyFrame, was.PictureID)
		}
	}
	// What is missing of either can still be had, and the cache is as it was.
	sub.HandleNACK([]uint16{first[5].Seq, again[5].Seq})
	repaired := w.take(1001)
	if len(repaired) != 2 {
		t.Fatalf("%d packets repaired, want 2", len(repaired))
	}
	for i, want := range []*rtp.Packet{first[5], again[5]} {
		if got := repaired[i].Payload()[2:]; !bytes.Equal(got, want.Payload()) {
			t.Errorf("repaired: % x, sent: % x", got, want.Payload())
		}
	}
}

func TestWhenAKeyFrameIsAskedForInstead(t *testing.T) {
	for name, c := range map[string]struct {
		ready func(r *room, e *encoder)
		plis  int
	}{
		"it is too old":            {func(r *room, _ *encoder) { r.wait(2 * second) }, 1},
		"it was sent this instant": {func(*room, *encoder) {}, 0}, // and asked for when that is due
		"part of it is missing": {func(r *room, e *encoder) {
			r.wait(60 * ms)
			f := e.frame(false, 3, r.now)
			r.push(r.pub, f[0], f[2])
		}, 0},
		"too much has followed": {func(r *room, e *encoder) {
			r.wait(60 * ms)
			r.push(r.pub, e.frame(false, replayPackets, r.now)...)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, single)
			sub, w := r.subscribe(1000, 101)
			e := &encoder{ssrc: 11}
			r.push(r.pub, e.frame(true, 4, r.now)...)
			c.ready(r, e)
			w.rtp, r.up.rtcp = nil, nil
			sub.HandleKeyFrameRequest(r.now)
			if n := len(w.take(1000)); n != 0 {
				t.Errorf("%d packets came again", n)
			}
			if n := r.up.plis(11); n != c.plis {
				t.Errorf("%d key frames asked for at once, want %d", n, c.plis)
			}
			r.wait(400 * ms)
			if n := r.up.plis(11); c.plis == 0 && n == 0 {
				t.Error("no key frame was asked for later")
			}
		})
	}
}

func TestLostRequestIsSentAgainSooner(t *testing.T) {
	for name, c := range map[string]struct {
		lossy bool
		rtt   int64
		want  int
	}{
		"a way that loses nothing": {false, 20 * ms, 1},
		"a lossy way":              {true, 20 * ms, 2},
		"a long lossy way":         {true, 400 * ms, 1},
	} {
		r := newRoom(t, single)
		r.pub.SetRTT(c.rtt)
		sub, _ := r.subscribe(1000, 101)
		e := &encoder{ssrc: 11}
		r.push(r.pub, e.frame(true, 2, r.now)...)
		r.wait(2 * second)
		if c.lossy {
			f := e.frame(false, 3, r.now)
			r.push(r.pub, f[0], f[2])
			r.push(r.pub, f[1])
		}
		r.up.rtcp = nil
		sub.HandleKeyFrameRequest(r.now)
		r.wait(200 * ms)
		if n := r.up.plis(11); n != c.want {
			t.Errorf("%s: %d requests within 200 ms, want %d", name, n, c.want)
		}
	}
}
