package sfu

import (
	"encoding/binary"
	"fmt"
	"testing"

	"belfry/internal/media/rtp"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// temporalEncoder makes VP8 with temporal layers: 0 2 1 2, as browsers do, where
// every frame depends on the newest of the layers below it, and those that Sync
// names on the base layer alone.
type temporalEncoder struct {
	seq     uint16
	ts      uint32
	picture uint16
	tl0     uint8
	n       int // frames so far
	last    [3]int
}

// layered is one frame, with what it needs to be decoded.
type layered struct {
	id       int
	temporal uint8
	key      bool
	needs    []int // frames
	packets  []*rtp.Packet
}

var temporalPattern = [4]uint8{0, 2, 1, 2}

func (e *temporalEncoder) frame(key bool, packets int, now int64) layered {
	if key {
		e.n += (4 - e.n%4) % 4
	}
	f := layered{id: e.n, key: key, temporal: temporalPattern[e.n%4]}
	sync := f.temporal == 1 || f.temporal == 2 && e.n%4 == 1
	switch {
	case key:
		e.last = [3]int{f.id, f.id, f.id}
	case f.temporal == 0 || sync:
		f.needs = []int{e.last[0]}
	default:
		f.needs = []int{e.last[0], e.last[1], e.last[2]}
	}
	e.last[f.temporal] = f.id
	if f.temporal == 0 {
		e.tl0++
	}
	for i := range packets {
		buf := make([]byte, rtp.MaxHeader)
		var w rtp.HeaderWriter
		w.Begin(buf, 96, i == packets-1, e.seq, e.ts, 11)
		payload := []byte{0x80, 0xE0, 0x80 | byte(e.picture>>8), byte(e.picture), e.tl0, f.temporal << 6, 1}
		if i == 0 {
			payload[0] |= 0x10
			if key {
				payload[6] = 0
			}
		}
		if sync {
			payload[5] |= 0x20
		}
		payload = binary.BigEndian.AppendUint32(payload, uint32(f.id))
		payload = append(payload, make([]byte, 20)...)
		f.packets = append(f.packets, parsed(append(w.Bytes(), payload...), now))
		e.seq++
	}
	e.ts += 3000
	e.picture = (e.picture + 1) & 0x7FFF
	e.n++
	return f
}

// frameID is what a temporalEncoder wrote into the payload.
func frameID(p *rtp.Packet) int { return int(binary.BigEndian.Uint32(p.Payload()[7:])) }

func TestTemporalLayersOfVP8(t *testing.T) {
	for limit := range uint8(3) {
		t.Run(fmt.Sprint("up to ", limit), func(t *testing.T) {
			r := newRoom(t, single)
			sub, w := r.subscribe(1000, 101)
			e := &temporalEncoder{picture: 0x7FF0, seq: 65500}
			r.push(r.pub, e.frame(true, 2, r.now).packets...)
			if !sub.Choose(Point{StreamID: 101, Spatial: All, Temporal: limit}, r.now) {
				t.Fatal("the point is refused")
			}
			var want []int
			for range 39 {
				r.wait(20 * ms)
				f := e.frame(false, 2, r.now)
				if f.temporal <= limit {
					want = append(want, f.id)
				}
				r.push(r.pub, f.packets...)
			}
			got := w.take(1000)
			unbroken(t, got)
			var ids []int
			for i, p := range got {
				if i > 0 && i%2 == 0 {
					was, is := vp8(t, got[i-1]), vp8(t, p)
					if is.PictureID != (was.PictureID+1)&0x7FFF {
						t.Errorf("picture id %d after %d", is.PictureID, was.PictureID)
					}
				}
				if i >= 2 && i%2 == 1 {
					ids = append(ids, frameID(p))
				}
			}
			if d := cmp.Diff(want, ids); d != "" {
				t.Errorf("frames (-want +got):\n%s", d)
			}
			// What was left out is no gap to anybody, and what was sent is sent again as it was.
			all := make([]uint16, 0, 40)
			for _, p := range got[len(got)-10:] {
				all = append(all, p.Seq)
			}
			sub.HandleNACK(all)
			again := w.take(1001)
			if len(again) != 10 {
				t.Fatalf("%d packets again, want 10", len(again))
			}
			for i, p := range again {
				p.UnwrapRTX(120, 1000)
				if d := cmp.Diff(got[len(got)-10+i].Raw, p.Raw); d != "" {
					t.Errorf("again (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestPoints(t *testing.T) {
	r := newRoom(t, single)
	sub, _ := r.subscribe(1000, 101)
	e := &temporalEncoder{}
	for i := range 200 {
		r.wait(40 * ms)
		r.push(r.pub, e.frame(i == 0, 1, r.now).packets...)
	}
	got := sub.Points(nil)
	if len(got) != 3 {
		t.Fatalf("%d points, want 3: %+v", len(got), got)
	}
	for i, p := range got {
		if p.StreamID != 101 || p.Spatial != 0 || int(p.Temporal) != i {
			t.Errorf("point %d is %+v", i, p)
		}
	}
	// The layers have a quarter, a quarter and a half of the frames.
	full := float64(got[2].Bps)
	for i, want := range []float64{0.25, 0.5, 1} {
		if share := float64(got[i].Bps) / full; share < want-0.05 || share > want+0.05 {
			t.Errorf("point %d has %.2f of the rate, want %.2f", i, share, want)
		}
	}
	if src := r.Sources()[0].AvgBitrateBps; full < 0.9*float64(src) || full > 1.1*float64(src) {
		t.Errorf("all layers have %v bit/s, the stream %v", full, src)
	}
	// A layer that is switched off is no point any more.
	for range 120 {
		r.wait(40 * ms)
		f := e.frame(false, 1, r.now)
		if f.temporal == 2 {
			continue
		}
		r.push(r.pub, f.packets...)
	}
	if got = r.pub.Points(nil); len(got) != 2 {
		t.Errorf("%d points without the highest layer, want 2: %+v", len(got), got)
	}
}

// TestTemporalContinuity lets a publisher's network lose and reorder packets while
// the receiver's limit moves at random: what comes out has one number for each
// packet, frames come out whole or not at all, and nothing comes that needs what
// was left out.
func TestTemporalContinuity(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		r := newRoom(outer, single)
		sub, w := r.subscribe(1000, 101)
		e := &temporalEncoder{picture: uint16(rapid.IntRange(0, 0x7FFF).Draw(t, "picture")), seq: uint16(rapid.IntRange(0, 65535).Draw(t, "seq"))}
		frames := map[int]layered{}
		sent := map[int]bool{}
		lossy := rapid.Bool().Draw(t, "lossy")
		var late []*rtp.Packet
		numbers := map[uint64]bool{}
		var ext rtp.Extender
		pictures := map[uint16]int{}
		fillers := 0
		for i := range rapid.IntRange(5, 60).Draw(t, "frames") {
			r.wait(20 * ms)
			if rapid.IntRange(0, 4).Draw(t, "choose") == 0 {
				sub.Choose(Point{StreamID: 101, Spatial: All, Temporal: rapid.SampledFrom([]uint8{0, 1, 2, All}).Draw(t, "limit")}, r.now)
			}
			f := e.frame(i == 0 || rapid.IntRange(0, 15).Draw(t, "key") == 0, rapid.IntRange(1, 3).Draw(t, "packets"), r.now)
			frames[f.id] = f
			for _, p := range f.packets {
				if lossy && i > 0 && !f.key && rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
					late = append(late, parsed(append([]byte(nil), p.Raw...), p.Arrival))
					continue
				}
				r.push(r.pub, p)
			}
			if len(late) > 0 && rapid.Bool().Draw(t, "repair") {
				for _, p := range late {
					r.push(r.pub, asRTX(p, 12, p.Seq, ""))
				}
				late = nil
			}
			for _, p := range w.take(1000) {
				n := ext.Extend(p.Seq)
				if numbers[n] {
					t.Fatalf("number %d twice", p.Seq)
				}
				numbers[n] = true
				if len(p.Payload()) == 0 {
					fillers++
					continue
				}
				id := frameID(p)
				sent[id] = true
				h := vp8(t, p)
				if was, ok := pictures[h.PictureID]; ok && was != id {
					t.Fatalf("picture id %d for the frames %d and %d", h.PictureID, was, id)
				}
				pictures[h.PictureID] = id
			}
		}
		if !lossy && fillers > 0 {
			t.Fatalf("%d packets of nothing where nothing was lost", fillers)
		}
		if lossy {
			return
		}
		var low, high uint64 = 1 << 62, 0
		for n := range numbers {
			low, high = min(low, n), max(high, n)
		}
		if uint64(len(numbers)) != high-low+1 {
			t.Fatalf("%d numbers from %d to %d", len(numbers), low, high)
		}
		for id := range sent {
			for _, need := range frames[id].needs {
				if !sent[need] {
					t.Fatalf("frame %d of layer %d needs %d, which was left out", id, frames[id].temporal, need)
				}
			}
		}
		if uint16(len(pictures)) != pictureSpan(pictures) {
			t.Fatalf("the picture ids have gaps: %v", pictures)
		}
	})
}

// pictureSpan is how many picture ids there are from the first to the last, by the
// order of their frames.
func pictureSpan(pictures map[uint16]int) uint16 {
	first, last := uint16(0), uint16(0)
	low, high := 1<<62, -1
	for p, id := range pictures {
		if id < low {
			low, first = id, p
		}
		if id > high {
			high, last = id, p
		}
	}
	return (last-first)&0x7FFF + 1
}

func TestTemporalLayersComeBack(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &temporalEncoder{}
	next := func(key bool) {
		r.wait(30 * ms)
		r.push(r.pub, e.frame(key, 1, r.now).packets...)
	}
	next(true)
	for range 12 {
		next(false)
	}
	sub.Choose(Point{StreamID: 101, Temporal: 0}, r.now)
	for range 12 {
		next(false)
	}
	if p, ok := sub.FlowingPoint(); !ok || p != (Point{StreamID: 101}) {
		t.Errorf("flowing %+v %v", p, ok)
	}
	r.up.rtcp = nil
	sub.Choose(Point{StreamID: 101, Spatial: All, Temporal: 2}, r.now)
	w.take(1000)
	for range 16 {
		next(false)
	}
	if n := len(w.take(1000)); n < 12 {
		t.Errorf("%d of 16 frames after all layers were chosen again", n)
	}
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d key frames asked for, though layers can be joined without", n)
	}
}

// An encoder that never lets a receiver join its upper layers is asked for a key
// frame, once the wait is long.
func TestTemporalLayersThatCannotBeJoined(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &temporalEncoder{}
	next := func(key bool) {
		r.wait(40 * ms)
		f := e.frame(key, 1, r.now)
		for _, p := range f.packets {
			p.Payload()[5] &^= 0x20
		}
		r.push(r.pub, f.packets...)
	}
	next(true)
	for range 8 {
		next(false)
	}
	sub.Choose(Point{StreamID: 101, Temporal: 0}, r.now)
	for range 8 {
		next(false)
	}
	sub.Switch(101, r.now)
	r.up.rtcp = nil
	for range 25 {
		next(false)
	}
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d key frames asked for within a second", n)
	}
	for range 40 {
		next(false)
	}
	if n := r.up.plis(11); n == 0 {
		t.Fatal("no key frame is asked for")
	}
	next(true)
	w.take(1000)
	for range 16 {
		next(false)
	}
	if n := len(w.take(1000)); n != 16 {
		t.Errorf("%d of 16 frames after the key frame", n)
	}
}
