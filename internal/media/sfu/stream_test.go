package sfu

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"testing"

	"belfry/internal/media/rtp"
	pionrtcp "github.com/pion/rtcp"
	"pgregory.net/rapid"
)

// origin is what the encoder wrote into a VP8 packet to tell it apart: its
// number in the layer.
func origin(p *rtp.Packet) uint16 {
	b := p.Payload()
	return binary.BigEndian.Uint16(b[len(b)-2:])
}

// uplink is a layer's way from its encoder to the Router over a bad network.
type uplink struct {
	*encoder
	rtx     uint32
	rtxSeq  uint16
	sent    map[uint16]*rtp.Packet
	delayed []*rtp.Packet
	began   int64
}

func clone(p *rtp.Packet) *rtp.Packet {
	q := *p
	q.Raw = bytes.Clone(p.Raw)
	return &q
}

// TestStreamIsOne drives a subscription through loss, reordering, duplicates,
// repair, switches and pauses, and checks that the receiver sees a single
// stream that a decoder can follow.
func TestStreamIsOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRoom(t, twoLayers()...)
		chance := func(name string, percent int) bool { return rapid.IntRange(0, 99).Draw(rt, name) < percent }
		loss := rapid.IntRange(0, 30).Draw(rt, "loss in percent")
		withRTX := rapid.Bool().Draw(rt, "rtx")
		w := &wire{t: t}
		cfg := SubscribeConfig{Down: w, SSRC: 1000, Codecs: downCodecs, Extensions: downExtensions, NACK: true, StreamID: 101}
		if withRTX {
			cfg.RTX = 1001
		}
		sub := r.Subscribe(cfg, r.now)
		var ups []*uplink
		for i, rid := range []string{"low", "hi"} {
			u := &uplink{rtx: uint32(30 + i), sent: map[uint16]*rtp.Packet{}, began: r.now, encoder: &encoder{
				ssrc: uint32(20 + i), rid: rid,
				seq:     rapid.Uint16().Draw(rt, "first number"),
				ts:      rapid.Uint32().Draw(rt, "first timestamp"),
				picture: rapid.Uint16Range(0, 0x7FFF).Draw(rt, "first picture"),
				tl0:     rapid.Uint8().Draw(rt, "first TL0PICIDX"),
			}}
			ups = append(ups, u)
		}
		firstTS := []uint32{ups[0].ts, ups[1].ts}
		step := func(disturb bool) {
			r.now += rapid.Int64Range(1, 60).Draw(rt, "ms") * ms
			r.Tick(r.now)
			wishes := r.up.rtcp
			r.up.rtcp = nil
			for i, u := range ups {
				key := false
				var run []*rtp.Packet
				for _, wish := range wishes {
					switch wish := wish.(type) {
					case *pionrtcp.PictureLossIndication:
						key = key || wish.MediaSSRC == u.ssrc
					case *pionrtcp.TransportLayerNack:
						if wish.MediaSSRC != u.ssrc {
							continue
						}
						for _, pair := range wish.Nacks {
							for _, seq := range pair.PacketList() {
								if p := u.sent[seq]; p == nil {
									rt.Fatalf("asked layer %d for %d, which it never sent", i, seq)
								} else if !disturb || !chance("repair lost", loss) {
									again := asRTX(clone(p), u.rtx, u.rtxSeq, u.rid)
									again.Arrival = r.now
									run = append(run, again)
									u.rtxSeq++
								}
							}
						}
					}
				}
				u.ts = firstTS[i] + ticks(r.now-u.began)
				for _, p := range u.frame(key, rapid.IntRange(1, 4).Draw(rt, "packets"), r.now) {
					u.sent[p.Seq] = clone(p)
					switch {
					case disturb && chance("lost", loss):
					case disturb && chance("delayed", 10):
						u.delayed = append(u.delayed, p)
					case disturb && chance("twice", 5):
						run = append(run, p, clone(p))
					default:
						run = append(run, p)
					}
				}
				if len(u.delayed) > 0 && (!disturb || chance("comes late", 40)) {
					run = append(run, u.delayed...)
					u.delayed = nil
				}
				r.push(r.pub, run...)
			}
		}
		for range rapid.IntRange(10, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 19).Draw(rt, "action") {
			case 0, 1:
				sub.Switch(uint32(101+rapid.IntRange(0, 1).Draw(rt, "layer")), r.now)
			case 2:
				sub.Pause()
			case 3, 4:
				sub.Resume(r.now)
			case 5:
				sub.HandleKeyFrameRequest(r.now)
			case 6, 7:
				if n := len(w.rtp); n > 0 {
					top := w.rtp[n-1].Seq
					sub.HandleNACK(rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) uint16 {
						return top - uint16(rapid.IntRange(-3, 40).Draw(rt, "back"))
					}), 1, 10).Draw(rt, "nack"))
				}
			}
			step(true)
		}
		// The network is well again: the wanted layer must flow before long.
		sub.Resume(r.now)
		sub.HandleKeyFrameRequest(r.now)
		for range 100 {
			step(false)
		}
		if sub.Flowing() != sub.StreamID() {
			rt.Fatalf("flowing %d, wanted %d", sub.Flowing(), sub.StreamID())
		}
		checkStream(rt, w.rtp)
	})
}

// checkStream checks everything that was sent to a receiver by 1000 and 1001.
func checkStream(rt *rapid.T, sent []*rtp.Packet) {
	var stream []*rtp.Packet
	byNumber := map[uint16]*rtp.Packet{}
	repaired := map[uint16]*rtp.Packet{}
	rtx := -1
	var top uint16
	for _, p := range sent {
		if p.SSRC == 1001 {
			if rtx >= 0 && p.Seq != uint16(rtx+1) {
				rt.Fatalf("RTX number %d after %d", p.Seq, rtx)
			}
			rtx = int(p.Seq)
			if q := clone(p); q.UnwrapRTX(120, 1000) {
				repaired[q.Seq] = q
			}
			continue
		}
		if old := byNumber[p.Seq]; old != nil {
			// Two different texts under one number would break the cipher.
			if !bytes.Equal(old.Raw, p.Raw) {
				rt.Fatalf("number %d was sent with different bytes:\n%x\n%x", p.Seq, old.Raw, p.Raw)
			}
			continue
		}
		byNumber[p.Seq] = p
		if len(stream) == 0 {
			top = p.Seq
		} else if d := rtp.SeqDiff(p.Seq, top); d > 0 {
			top = p.Seq
		}
		stream = append(stream, p)
	}
	for seq, q := range repaired {
		if p := byNumber[seq]; p == nil {
			byNumber[seq] = q
			stream = append(stream, q)
		} else if p.Timestamp != q.Timestamp || !bytes.Equal(p.Payload(), q.Payload()) {
			rt.Fatalf("%d was repaired with something else", seq)
		}
	}
	if len(stream) == 0 {
		rt.Fatal("nothing came")
	}
	slices.SortFunc(stream, func(a, b *rtp.Packet) int { return cmp.Compare(rtp.SeqDiff(a.Seq, top), rtp.SeqDiff(b.Seq, top)) })
	if !vp8(rt, stream[0]).KeyFrame {
		rt.Fatal("the stream does not begin with a key frame")
	}
	for i := 1; i < len(stream); i++ {
		a, b := stream[i-1], stream[i]
		ha, hb := vp8(rt, a), vp8(rt, b)
		step, moved := b.Seq-a.Seq, origin(b)-origin(a)
		begins := hb.KeyFrame && step == 1
		if step != moved && !begins {
			rt.Fatalf("after number %d (origin %d) comes %d (origin %d), and no key frame begins", a.Seq, origin(a), b.Seq, origin(b))
		}
		ts := rtp.TimestampDiff(b.Timestamp, a.Timestamp)
		pictures := int16((hb.PictureID-ha.PictureID)<<1) >> 1
		if ts < 0 || pictures < 0 || (ts == 0) != (pictures == 0) {
			rt.Fatalf("number %d: timestamp moved by %d, picture id by %d", b.Seq, ts, pictures)
		}
		if uint8(pictures) != hb.TL0PicIdx-ha.TL0PicIdx {
			rt.Fatalf("number %d: picture id moved by %d, TL0PICIDX by %d", b.Seq, pictures, hb.TL0PicIdx-ha.TL0PicIdx)
		}
		if step == 1 && pictures > 1 {
			rt.Fatalf("number %d: picture id moved by %d though nothing is missing", b.Seq, pictures)
		}
	}
}

func TestMalformedPayloadsAreDroppedAndCounted(t *testing.T) {
	r := newRoom(t, single)
	_, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	bad := 0
	for _, c := range upCodecs {
		for _, payload := range [][]byte{{0x80}, {0x90, 0x80}, {0x90, 0xF0, 0x80, 1}, {0xFF}, {0x78, 0xFF, 0xFF}, {0x7C}, {0x88}} {
			buf := make([]byte, rtp.MaxHeader)
			var hw rtp.HeaderWriter
			hw.Begin(buf, c.PayloadType, false, e.seq, e.ts, 11)
			e.seq++
			r.push(r.pub, parsed(append(hw.Bytes(), payload...), r.now))
			var h rtp.VideoHeader
			if !parse(c.Codec, payload, &h) {
				bad++
			}
		}
	}
	if got := r.Stats().Malformed; bad < 12 || got != uint64(bad) {
		t.Errorf("%d malformed counted, want %d", got, bad)
	}
	top := e.seq
	r.push(r.pub, e.frame(true, 1, r.now)...)
	got := w.take(1000)
	if last := got[len(got)-1]; origin(last) != top || !vp8(t, last).KeyFrame {
		t.Error("the stream does not go on after malformed packets")
	}
}

func TestPaddingIsNotForwarded(t *testing.T) {
	r := newRoom(t, single)
	_, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	p := e.frame(false, 1, r.now)[0]
	raw := append(p.Raw, 0, 0, 3)
	raw[0] |= 0x20
	probe := append([]byte{0xA0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11}, bytes.Repeat([]byte{200}, 200)...)
	binary.BigEndian.PutUint16(probe[2:], e.seq)
	binary.BigEndian.PutUint32(probe[4:], p.Timestamp)
	e.seq++
	r.push(r.pub, parsed(raw, r.now), parsed(probe, r.now))
	// A probe on the RTX SSRC repeats nothing.
	r.push(r.pub, parsed([]byte{0xA0, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 4}, r.now))
	r.push(r.pub, e.frame(false, 1, r.now)...)
	got := w.take(1000)
	if len(got) != 4 {
		t.Fatalf("%d packets, want 4", len(got))
	}
	unbroken(t, got)
	for i, n := range []int{18, 18, 0, 18} {
		if got[i].PadLen != 0 || len(got[i].Payload()) != n {
			t.Errorf("packet %d: %d bytes and %d of padding, want %d and none", i, len(got[i].Payload()), got[i].PadLen, n)
		}
	}
}

func TestLossesEndWithTheSSRC(t *testing.T) {
	r := newRoom(t, single)
	r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	e.seq++
	r.push(r.pub, e.frame(false, 1, r.now)...)
	r.push(r.pub, (&encoder{ssrc: 13, seq: 500}).frame(true, 1, r.now)...)
	r.up.rtcp = nil
	r.wait(500 * ms)
	if seqs := r.up.nacked(13); len(seqs) != 0 {
		t.Errorf("the new SSRC is asked for %d, which the old one lost", seqs)
	}
}

func TestH264BeginsWithItsParameterSets(t *testing.T) {
	r := newRoom(t, single)
	_, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, h264: true}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	_, late := r.subscribe(2000, 101)
	key := e.frame(true, 3, r.now)
	start := []byte{0x7C, 0x85, 0x88, 0, 0} // the IDR slice begins
	copy(key[1].Payload(), start[:3])
	r.push(r.pub, key[1], key[2])
	if n := len(late.take(2000)); n != 0 {
		t.Errorf("%d packets came before the parameter sets", n)
	}
	r.push(r.pub, asRTX(key[0], 12, 1, ""))
	got := late.take(2000)
	if len(got) != 1 || got[0].Payload()[0] != 0x78 {
		t.Errorf("%d packets when they came", len(got))
	}
	if n := len(w.take(1000)); n != 5 {
		t.Errorf("%d packets to the one who was there before, want 5", n)
	}

	// A sender that tells them elsewhere: its IDR slice is the beginning.
	r = newRoom(t, single)
	_, w = r.subscribe(1000, 101)
	e = &encoder{ssrc: 11, h264: true}
	key = e.frame(true, 3, r.now)
	copy(key[1].Payload(), start[:3])
	r.push(r.pub, key[1:]...)
	if n := len(w.take(1000)); n != 2 {
		t.Errorf("%d packets of a stream without parameter sets, want 2", n)
	}
}

func TestNoRepairByAnotherCodec(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	e.h264 = true
	odd := e.frame(false, 1, r.now) // one packet of H.264 that comes late
	e.h264 = false
	r.push(r.pub, e.frame(false, 1, r.now)...)
	r.push(r.pub, odd...)
	got := w.take(1000)
	sub.HandleNACK([]uint16{got[0].Seq + 1, got[0].Seq + 2})
	if again := w.take(1001); len(got) != 2 || len(again) != 1 {
		t.Errorf("%d packets, %d again, want 2 and 1", len(got), len(again))
	}
}

func TestRestartedNumbers(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, seq: 10}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	r.wait(1 * second)
	r.up.rtcp = nil
	e.seq = 40000
	r.push(r.pub, e.frame(false, 2, r.now)...) // the first is not believed, the second is
	if n := r.up.plis(11); n != 1 {
		t.Fatalf("%d PLIs after the numbers began anew, want 1", n)
	}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	got := w.take(1000)
	if len(got) != 4 {
		t.Fatalf("%d packets, want 4", len(got))
	}
	unbroken(t, got)
	sub.HandleNACK([]uint16{got[0].Seq, got[3].Seq})
	if again := w.take(1001); len(again) != 1 {
		t.Errorf("%d packets again, want 1: the numbers before are void", len(again))
	}
}

func TestStaleCacheIsNotTakenForWhatIsMissing(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	sub.cfg.RTX = 0
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 1, r.now)...)
	// Once round the numbers in steps that leave most of the cache as it is.
	for e.seq != 65528 {
		e.seq = min(65528, e.seq|1023+1024)
		r.push(r.pub, e.packet(false, true, true, r.now))
		e.seq = max(e.seq-1, 1)
		if e.seq < 65528 {
			e.seq++
		}
	}
	w.rtp = nil
	e.seq = 2
	r.push(r.pub, e.packet(false, true, true, r.now))
	top := w.rtp[0].Seq
	w.rtp = nil
	sub.HandleNACK([]uint16{top - 2})
	if len(w.rtp) != 0 {
		t.Errorf("the missing packet was repaired with origin %d", origin(w.rtp[0]))
	}
}

func TestNoRepairUnderOtherHeaders(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	e := &encoder{ssrc: 11}
	r.push(r.pub, e.frame(true, 2, r.now)...)
	sub.Update(downCodecs, Extensions{AbsSendTime: 9}, true, r.now)
	r.push(r.pub, e.frame(false, 1, r.now)...)
	sent := w.take(1000)
	sub.HandleNACK([]uint16{sent[1].Seq, sent[2].Seq})
	if n := len(w.rtp); n != 1 {
		t.Errorf("%d packets again, want 1: the header of the other is not what it was", n)
	}
	w.rtp = nil
	cfg := r.pub.cfg
	cfg.Extensions.Orientation = 9
	r.pub.Update(cfg, r.now)
	sub.HandleNACK([]uint16{sent[2].Seq})
	if n := len(w.rtp); n != 0 {
		t.Errorf("%d packets again after the publisher's ids changed", n)
	}
}

func TestOrientationIsCopied(t *testing.T) {
	r := newRoom(t)
	x := upExtensions
	x.Orientation = 6
	pub := r.Publish(PublishConfig{AttendeeID: "anna", Up: r.up, Layers: []Layer{single}, Codecs: upCodecs, Extensions: x})
	w := &wire{t: t}
	sub := r.Subscribe(SubscribeConfig{MID: "7", Down: w, SSRC: 1000, RTX: 1001, NACK: true, Codecs: downCodecs, StreamID: pub.StreamIDs()[0],
		Extensions: Extensions{MID: 1, Orientation: 13}}, r.now)
	var hw rtp.HeaderWriter
	hw.Begin(make([]byte, rtp.MaxHeader), 96, true, 1, 2, 11)
	hw.String(2, "a")
	hw.Copy(6, []byte{3}) // ends the header
	r.push(pub, parsed(append(hw.Bytes(), 0x10, 0, 0, 0), r.now))
	for i := range 3 { // as it came, and twice again
		got := w.rtp[len(w.rtp)-1]
		if len(w.rtp) != i+1 || !bytes.Equal(got.Extension(13), []byte{3}) || string(got.Text(1)) != "7" {
			t.Errorf("%d packets, the last is %x", len(w.rtp), got.Raw)
		}
		sub.HandleNACK([]uint16{w.rtp[0].Seq})
	}
}
