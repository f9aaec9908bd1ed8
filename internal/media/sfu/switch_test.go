package sfu

import (
	"testing"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
	"github.com/google/go-cmp/cmp"
	pionrtcp "github.com/pion/rtcp"
)

// nacked lists the numbers asked of ssrc since the last call.
func (w *wire) nacked(ssrc uint32) (seqs []uint16) {
	for _, p := range w.rtcp {
		if n, ok := p.(*pionrtcp.TransportLayerNack); ok && n.MediaSSRC == ssrc {
			for _, pair := range n.Nacks {
				seqs = append(seqs, pair.PacketList()...)
			}
		}
	}
	w.rtcp = nil
	return seqs
}

// unbroken checks that packets go up by one number each and never back in time.
func unbroken(t *testing.T, got []*rtp.Packet) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if got[i].Seq != got[i-1].Seq+1 {
			t.Errorf("packet %d: number %d after %d", i, got[i].Seq, got[i-1].Seq)
		}
		if rtp.TimestampDiff(got[i].Timestamp, got[i-1].Timestamp) < 0 {
			t.Errorf("packet %d: timestamp %d after %d", i, got[i].Timestamp, got[i-1].Timestamp)
		}
	}
}

func TestLateJoinerGetsAPictureAtOnce(t *testing.T) {
	r := newRoom(t, single)
	_, first := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	for range 60 {
		r.wait(20 * ms)
		r.push(r.pub, e.frame(false, 2, r.now)...)
	}
	r.up.rtcp = nil
	_, late := r.subscribe(2000, 101)
	if n := r.up.plis(11); n != 1 {
		t.Fatalf("%d PLIs for the newcomer before any time passed, want 1", n)
	}
	// The request is lost on its way: it comes again.
	r.push(r.pub, e.frame(false, 2, r.now)...)
	r.wait(320 * ms)
	if n := r.up.plis(11); n != 1 {
		t.Fatalf("%d more PLIs after 320 ms without a key frame, want 1", n)
	}
	if n := len(late.take(2000)); n != 0 {
		t.Fatalf("%d packets came that nobody can decode", n)
	}
	r.push(r.pub, e.frame(true, 3, r.now)...)
	r.push(r.pub, e.frame(false, 2, r.now)...)
	got := late.take(2000)
	if len(got) != 5 || !vp8(t, got[0]).KeyFrame {
		t.Fatalf("the newcomer got %d packets", len(got))
	}
	unbroken(t, got)
	old := first.take(1000)
	if len(old) != 2+60*2+2+5 {
		t.Errorf("the other subscriber got %d packets", len(old))
	}
	unbroken(t, old)
	r.wait(2 * second)
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d PLIs after the key frame", n)
	}
}

func TestNewcomerBeforeTheFirstPacketOfSimulcast(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	r.subscribe(1000, 102)
	if len(r.up.rtcp) != 0 {
		t.Fatal("asked of an SSRC that nobody knows")
	}
	r.push(r.pub, (&encoder{ssrc: 21, rid: "hi"}).frame(false, 1, r.now)...)
	if n := r.up.plis(21); n != 1 {
		t.Errorf("%d PLIs with the first packet, want 1", n)
	}
}

func TestSubscribePaused(t *testing.T) {
	r := newRoom(t, single)
	w := &wire{t: t}
	s := r.Subscribe(SubscribeConfig{Down: w, SSRC: 1, Codecs: downCodecs, StreamID: 101, Paused: true}, r.now)
	r.push(r.pub, (&encoder{ssrc: 11}).frame(true, 1, r.now)...)
	if len(w.rtp) != 0 || r.up.plis(11) != 0 {
		t.Error("paused from the start, and it flows or asks")
	}
	s.Resume(r.now)
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d PLIs at resume, want 1", n)
	}
}

func TestLayerSwitch(t *testing.T) {
	for _, h264 := range []bool{false, true} {
		r := newRoom(t, twoLayers()...)
		lo := &encoder{ssrc: 20, rid: "low", h264: h264, seq: 65000, ts: 5, picture: 7, tl0: 9}
		hi := &encoder{ssrc: 21, rid: "hi", h264: h264, seq: 99, ts: 1 << 31, picture: 0x7FF0, tl0: 200}
		r.push(r.pub, lo.frame(true, 2, r.now)...)
		r.push(r.pub, hi.frame(true, 2, r.now)...)
		sub, w := r.subscribe(1000, 101)
		r.push(r.pub, lo.frame(true, 2, r.now)...)
		step := func() {
			r.wait(20 * ms)
			r.now += 13 * ms
		}
		for range 10 {
			step()
			r.push(r.pub, lo.frame(false, 2, r.now)...)
			r.push(r.pub, hi.frame(false, 4, r.now)...)
		}
		r.up.rtcp = nil
		sub.Switch(102, r.now)
		if n := r.up.plis(21); n != 1 {
			t.Fatalf("h264 %v: %d PLIs to the new layer, want 1 at once", h264, n)
		}
		// Until the key frame the old layer goes on.
		step()
		r.push(r.pub, lo.frame(false, 2, r.now)...)
		r.push(r.pub, hi.frame(false, 4, r.now)...)
		if sub.Flowing() != 101 || sub.StreamID() != 102 {
			t.Errorf("flowing %d, wanted %d", sub.Flowing(), sub.StreamID())
		}
		before := w.take(1000)
		if len(before) != 2+10*2+2 {
			t.Fatalf("h264 %v: %d packets before the switch", h264, len(before))
		}
		step()
		late := lo.frame(false, 2, r.now)
		r.push(r.pub, late[1]) // its first half is lost for now
		r.push(r.pub, hi.frame(true, 4, r.now)...)
		r.push(r.pub, late[0], lo.frame(false, 1, r.now)[0]) // the old layer is over
		step()
		r.push(r.pub, hi.frame(false, 4, r.now)...)
		if sub.Flowing() != 102 {
			t.Errorf("flowing %d after the key frame", sub.Flowing())
		}
		after := w.take(1000)
		if len(after) != 1+8 {
			t.Fatalf("h264 %v: %d packets over the switch, want 9", h264, len(after))
		}
		last := before[len(before)-1]
		if after[0].Seq != last.Seq+2 {
			t.Errorf("the lost half of a frame left no gap: %d after %d", after[0].Seq, last.Seq)
		}
		unbroken(t, before)
		unbroken(t, after)
		for _, p := range after {
			if p.SSRC != 1000 || p.PayloadType != before[0].PayloadType {
				t.Fatalf("SSRC %d, payload type %d", p.SSRC, p.PayloadType)
			}
		}
		// Both frames came at the same moment, so one tick must separate them.
		if d := rtp.TimestampDiff(after[1].Timestamp, after[0].Timestamp); d != 1 {
			t.Errorf("timestamp moved by %d at the switch, want 1", d)
		}
		if d := rtp.TimestampDiff(after[5].Timestamp, after[1].Timestamp); d != 3000 {
			t.Errorf("timestamp moved by %d after the switch, want 3000", d)
		}
		if !h264 {
			was, is, next := vp8(t, after[0]), vp8(t, after[1]), vp8(t, after[5])
			if !is.KeyFrame || is.PictureID != was.PictureID+1 || next.PictureID != is.PictureID+1 {
				t.Errorf("picture ids %d, %d, %d", was.PictureID, is.PictureID, next.PictureID)
			}
			if is.TL0PicIdx != was.TL0PicIdx+1 || next.TL0PicIdx != is.TL0PicIdx+1 {
				t.Errorf("TL0PICIDX %d, %d, %d", was.TL0PicIdx, is.TL0PicIdx, next.TL0PicIdx)
			}
		} else if after[1].Payload()[0] != 0x78 {
			t.Errorf("begins with %x", after[1].Payload())
		}
		// What the old layer still owes is repaired under its old mapping.
		sub.HandleNACK([]uint16{after[0].Seq - 1, after[1].Seq})
		again := w.take(1001)
		if len(again) != 2 {
			t.Fatalf("h264 %v: %d packets again, want 2", h264, len(again))
		}
		for i, want := range []uint16{after[0].Seq - 1, after[1].Seq} {
			if !again[i].UnwrapRTX(1, 1000) || again[i].Seq != want {
				t.Errorf("again %d, want %d", again[i].Seq, want)
			}
		}
		if again[0].Timestamp != after[0].Timestamp {
			t.Errorf("the repaired half has timestamp %d, its other half %d", again[0].Timestamp, after[0].Timestamp)
		}
	}
}

func TestSwitchBackBeforeTheKeyFrame(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	lo, hi := &encoder{ssrc: 20, rid: "low"}, &encoder{ssrc: 21, rid: "hi"}
	sub, w := r.subscribe(1000, 101)
	r.push(r.pub, lo.frame(true, 1, r.now)...)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	sub.Switch(102, r.now)
	sub.Switch(101, r.now)
	sub.Switch(101, r.now)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	r.push(r.pub, lo.frame(false, 1, r.now)...)
	if got := w.take(1000); len(got) != 2 || sub.Flowing() != 101 {
		t.Errorf("%d packets, flowing %d", len(got), sub.Flowing())
	}
	if a, b := len(r.pub.layers[0].subs), len(r.pub.layers[1].subs); a != 1 || b != 0 {
		t.Errorf("the layers have %d and %d subscriptions", a, b)
	}
}

func TestSwitchToAnotherSender(t *testing.T) {
	for gap, want := range map[int64]int64{50 * ms: 4500, 5000: 1, 0: 1} {
		switchSender(t, gap, want)
	}
}

// switchSender switches so long after the last frame, and wants the timestamp
// to have moved by so much.
func switchSender(t *testing.T, gap, want int64) {
	t.Helper()
	r := newRoom(t, single)
	other := r.publish("bert", Layer{MaxBitrateKbps: 600, SSRC: 31, RTX: 32})
	e1, e2 := &encoder{ssrc: 11, picture: 50}, &encoder{ssrc: 31, seq: 777, ts: 9, picture: 3000, tl0: 7}
	sub, w := r.subscribe(1000, 101)
	r.push(r.pub, e1.frame(true, 2, r.now)...)
	sub.Switch(other.StreamIDs()[0], r.now)
	if sub.Flowing() != 0 {
		t.Error("the first sender's picture stays")
	}
	r.push(r.pub, e1.frame(false, 2, r.now)...)
	r.now += gap
	r.push(other, e2.frame(true, 2, r.now)...)
	got := w.take(1000)
	if len(got) != 4 {
		t.Fatalf("%d packets, want 4", len(got))
	}
	unbroken(t, got)
	if d := rtp.TimestampDiff(got[2].Timestamp, got[1].Timestamp); d != want {
		t.Errorf("timestamp moved by %d, want %d", d, want)
	}
	if a, b := vp8(t, got[1]), vp8(t, got[2]); b.PictureID != a.PictureID+1 || b.TL0PicIdx != a.TL0PicIdx+1 {
		t.Errorf("picture %d then %d", a.PictureID, b.PictureID)
	}
}

func TestQuietLayerGetsAStandIn(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	lo, hi := &encoder{ssrc: 20, rid: "low"}, &encoder{ssrc: 21, rid: "hi"}
	sub, w := r.subscribe(1000, 102)
	both := func(n int, high bool) {
		for range n {
			r.wait(40 * ms)
			r.push(r.pub, lo.frame(r.up.plis(20) > 0, 1, r.now)...)
			if high {
				r.push(r.pub, hi.frame(true, 1, r.now)...)
			}
		}
	}
	both(50, true)
	if sub.Flowing() != 102 {
		t.Fatalf("flowing %d", sub.Flowing())
	}
	both(40, false)
	if sub.Flowing() != 101 || sub.StreamID() != 102 {
		t.Errorf("flowing %d, wanted %d while the high layer is quiet", sub.Flowing(), sub.StreamID())
	}
	both(10, true)
	if sub.Flowing() != 101 {
		t.Error("back before the high layer can be trusted")
	}
	both(30, true)
	if sub.Flowing() != 102 {
		t.Error("not back though the high layer flows")
	}
	unbroken(t, w.take(1000))
}

// TestAPauseIsNoStop: a layer that misses a few pictures, or comes behind the lower one
// in a stream of few pictures a second, has no stand-in. One that stops has, soon, and
// when it is the middle one of three too.
func TestAPauseIsNoStop(t *testing.T) {
	const low, middle, high = 101, 102, 103
	r := newRoom(t, Layer{RID: "low", MaxBitrateKbps: 300}, Layer{RID: "mid", MaxBitrateKbps: 600}, Layer{RID: "hi", MaxBitrateKbps: 1200})
	all := []*encoder{{ssrc: 20, rid: "low"}, {ssrc: 21, rid: "mid"}, {ssrc: 22, rid: "hi"}}
	sub, _ := r.subscribe(1000, high)
	pictures := func(n, layers int, every int64) {
		for range n {
			r.wait(every - 40*ms)
			for _, e := range all[:layers] {
				r.push(r.pub, e.frame(true, 1, r.now)...)
				r.wait(20 * ms) // they come one after the other
			}
			r.wait(int64(3-layers) * 20 * ms)
		}
	}
	flows := func(when string, want uint32) {
		t.Helper()
		if got := sub.Flowing(); got != want {
			t.Errorf("%s: %d flows, not %d", when, got, want)
		}
	}
	pictures(40, 3, 100*ms)
	flows("at first", high)
	pictures(3, 1, 100*ms)
	flows("after three pictures without it", high)
	pictures(20, 3, 900*ms)
	flows("with a picture now and then", high)
	pictures(40, 3, 100*ms)
	pictures(7, 1, 100*ms)
	flows("after seven pictures of the lowest alone", low)
	pictures(5, 3, 100*ms)
	flows("when it is just back", low)
	pictures(20, 3, 100*ms)
	flows("back for two seconds", high)
	pictures(9, 2, 100*ms)
	flows("without it, and with the middle one", middle)
}

func TestSSRCGroupsInsteadOfRIDs(t *testing.T) {
	r := newRoom(t, Layer{MaxBitrateKbps: 300, SSRC: 51, RTX: 61}, Layer{MaxBitrateKbps: 900, SSRC: 52, RTX: 62})
	sub, w := r.subscribe(1000, 102)
	lo, hi := &encoder{ssrc: 51}, &encoder{ssrc: 52}
	r.push(r.pub, lo.frame(true, 1, r.now)...)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	run := hi.frame(false, 3, r.now)
	r.up.rtcp = nil
	r.push(r.pub, run[0], run[2])
	if d := cmp.Diff([]uint16{run[1].Seq}, r.up.nacked(52)); d != "" {
		t.Errorf("asked for (-want +got):\n%s", d)
	}
	r.push(r.pub, asRTX(run[1], 62, 1, ""))
	if got := w.take(1000); len(got) != 4 || sub.Flowing() != 102 {
		t.Errorf("%d packets of the high layer, flowing %d", len(got), sub.Flowing())
	}
	// An SSRC of neither layer, without a RID, belongs nowhere.
	r.push(r.pub, (&encoder{ssrc: 99}).frame(true, 1, r.now)...)
	if r.Stats().Unknown != 1 {
		t.Errorf("%d unknown packets", r.Stats().Unknown)
	}
}

func TestCodecOfTheReceiver(t *testing.T) {
	r := newRoom(t, single)
	w := &wire{t: t}
	sub := r.Subscribe(SubscribeConfig{Down: w, SSRC: 1000, StreamID: 101, Codecs: []Codec{
		{Codec: meeting.CodecH264CBP, PayloadType: 40},
		{Codec: meeting.CodecH264CBP, PayloadType: 41, PacketizationMode: 1},
	}}, r.now)
	r.push(r.pub, (&encoder{ssrc: 11}).frame(true, 2, r.now)...)
	if len(w.rtp) != 0 || sub.Undecodable() != meeting.CodecVP8 {
		t.Errorf("%d packets of VP8 to a receiver of H.264, undecodable %d", len(w.rtp), sub.Undecodable())
	}
	// The sender changes its codec in the middle of the stream.
	e := &encoder{ssrc: 11, seq: 2, ts: 3000, h264: true}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	got := w.take(1000)
	if len(got) != 2 || got[0].PayloadType != 41 || sub.Undecodable() != 0 {
		t.Errorf("%d packets of H.264, undecodable %d", len(got), sub.Undecodable())
	}
	// VP8 comes into the answer, and goes on under its own payload type.
	sub.Update(append([]Codec{{Codec: meeting.CodecVP8, PayloadType: 50}}, sub.cfg.Codecs...), Extensions{}, false, r.now)
	if sub.Flowing() != 101 {
		t.Error("interrupted by a codec that was added")
	}
	e.h264 = false
	r.push(r.pub, e.frame(false, 1, r.now)...)
	if n := len(w.take(1000)); n != 0 {
		t.Errorf("%d packets of the new codec before its key frame", n)
	}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	again := w.take(1000)
	if len(again) != 1 || again[0].PayloadType != 50 || again[0].Seq != got[1].Seq+1 {
		t.Errorf("%d packets after the change of codec", len(again))
	}
}
