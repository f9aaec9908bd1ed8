package sfu

import (
	"testing"

	"belfry/internal/media/rtp"
	"github.com/google/go-cmp/cmp"
	pionrtcp "github.com/pion/rtcp"
)

func TestUplinkRepair(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	_, w := r.subscribe(1000, 102)
	e := &encoder{ssrc: 21, rid: "hi"}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	run := e.frame(false, 4, r.now)
	r.push(r.pub, run[0], run[3])
	var nack *pionrtcp.TransportLayerNack
	for _, p := range r.up.rtcp {
		if n, ok := p.(*pionrtcp.TransportLayerNack); ok {
			nack = n
		}
	}
	if nack == nil || nack.MediaSSRC != 21 || len(nack.Nacks) != 1 || nack.Nacks[0].PacketID != run[1].Seq || nack.Nacks[0].LostPackets != 1 {
		t.Fatalf("asked for %v", nack)
	}
	w.take(1000)
	r.push(r.pub, asRTX(run[1], 22, 9, "hi"), asRTX(run[1], 22, 10, "hi"), asRTX(run[2], 22, 11, "hi"))
	got := w.take(1000)
	if len(got) != 2 || got[0].PayloadType != 120 || got[1].Seq != got[0].Seq+1 {
		t.Fatalf("repaired packets forwarded: %v", got)
	}
	if string(got[0].Payload()[10:]) != string(run[1].Payload()[10:]) {
		t.Error("the repaired packet has another payload")
	}
	r.up.rtcp = nil
	r.wait(500 * ms)
	for _, p := range r.up.rtcp {
		if _, ok := p.(*pionrtcp.TransportLayerNack); ok {
			t.Error("asked again for what came")
		}
	}
}

func TestDownlinkRepair(t *testing.T) {
	for _, rtx := range []bool{true, false} {
		r := newRoom(t, single)
		sub, w := r.subscribe(1000, 101)
		other, w2 := r.subscribe(2000, 101)
		_ = other
		if !rtx {
			sub.cfg.RTX = 0
		}
		e := &encoder{ssrc: 11, picture: 500}
		r.push(r.pub, e.frame(true, 2, r.now)...)
		sub.Pause()
		for range 5 {
			r.push(r.pub, e.frame(false, 2, r.now)...)
		}
		sub.Resume(r.now) // from here its picture ids are not the publisher's
		r.push(r.pub, e.frame(true, 2, r.now)...)
		r.push(r.pub, e.frame(false, 3, r.now)...)
		sent := w.take(1000)
		w2.take(2000)
		if len(sent) != 7 {
			t.Fatalf("%d packets sent", len(sent))
		}
		// From both sides of the pause, one never sent, one of the future.
		nack := rtp.AppendNACK(nil, 1, 1000, []uint16{sent[0].Seq - 1, sent[1].Seq, sent[3].Seq, sent[6].Seq, sent[6].Seq + 1})
		for range 2 { // twice: the cache must come out unharmed
			if err := r.HandleRTCP(nack, peer{sub: sub}, r.now); err != nil {
				t.Fatal(err)
			}
			if len(w.rtp) != 3 {
				t.Fatalf("rtx %v: %d packets came again, want 3", rtx, len(w.rtp))
			}
			var number uint16
			for i, want := range []*rtp.Packet{sent[1], sent[3], sent[6]} {
				got := w.rtp[i]
				if rtx {
					if got.SSRC != 1001 || got.PayloadType != 121 || got.Timestamp != want.Timestamp || got.Marker != want.Marker {
						t.Fatalf("retransmission %+v of %+v", got, want)
					}
					if i > 0 && got.Seq != number+1 {
						t.Errorf("RTX number %d after %d", got.Seq, number)
					}
					number = got.Seq
					if !got.UnwrapRTX(120, 1000) {
						t.Fatal("not RTX")
					}
					if d := cmp.Diff(want.Payload(), got.Payload()); d != "" || got.Seq != want.Seq {
						t.Errorf("payload (-sent +again):\n%s", d)
					}
				} else if d := cmp.Diff(want.Raw, got.Raw); d != "" {
					// The same number must carry the same bytes: the cipher depends on it.
					t.Errorf("packet (-sent +again):\n%s", d)
				}
			}
			w.rtp = nil
		}
		if len(w2.rtp) != 0 {
			t.Error("another subscriber got them too")
		}
	}
}

func TestWhatCannotBeRepairedIsAWishForAKeyFrame(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 4, r.now)...)
	before := w.take(1000)
	// The receiver hears nothing for five seconds.
	for range 150 {
		r.wait(40 * ms)
		r.push(r.pub, e.frame(false, 10, r.now)...)
	}
	r.up.rtcp = nil
	lost := w.take(1000)
	var seqs []uint16
	for _, p := range lost[:maxNACK] {
		seqs = append(seqs, p.Seq)
	}
	sub.HandleNACK([]uint16{before[0].Seq - 1})
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d key frames asked for a number that was never sent", n)
	}
	for range 5 {
		sub.HandleNACK(seqs)
	}
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d key frames asked for what cannot be had any more, want 1", n)
	}
	if n := len(w.take(1001)); n != 0 {
		t.Errorf("%d packets repaired, want none", n)
	}
	r.push(r.pub, e.frame(true, 4, r.now)...)
	r.wait(1 * second)
	r.up.rtcp = nil
	sub.HandleNACK(seqs) // asked for again, since the key frame came later
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d key frames asked for what is older than one", n)
	}
	// What has not come yet, but is asked for, is still to be had.
	late := e.frame(false, 2, r.now)
	r.push(r.pub, late[0])
	missing := e.frame(false, 3, r.now)
	r.push(r.pub, late[1], missing[0], missing[2])
	top := w.rtp[len(w.rtp)-1].Seq
	r.up.rtcp = nil
	sub.HandleNACK([]uint16{top - 1})
	if n := r.up.plis(11); n != 0 {
		t.Errorf("%d key frames asked for what is on its way", n)
	}
	r.wait(2 * second) // it never came
	r.up.rtcp = nil
	sub.HandleNACK([]uint16{top - 1})
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d key frames asked for what never came, want 1", n)
	}
}

func TestResendIsBounded(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 100, r.now)...)
	sent := w.take(1000)
	seqs := make([]uint16, 0, 100)
	for _, p := range sent {
		seqs = append(seqs, p.Seq)
	}
	for range 100 {
		sub.HandleNACK(seqs)
	}
	if n := len(w.rtp); n > 250 {
		t.Errorf("%d packets for 100 sent", n)
	}
	w.rtp = nil
	r.wait(1 * second)
	sub.HandleNACK(seqs)
	if n := len(w.rtp); n == 0 {
		t.Error("nothing is repaired any more a second later")
	}
}
