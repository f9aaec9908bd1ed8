package sfu

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtp/codecs"
	"pgregory.net/rapid"
)

// captured is the beginning of a stream as Chromium sent it, in each packet only
// the first bytes of the payload. A line of the file is timestamp, marker,
// dependency descriptor and payload.
type captured struct {
	name   string
	codec  meeting.VideoCodec
	keyed  bool // upper spatial layers need the lower ones at key frames alone
	frames []capturedPacket
}

type capturedPacket struct {
	timestamp         uint32
	marker            bool
	dependency        []byte
	payload           []byte
	spatial, temporal uint8 // read from the payload, not from the descriptor
	key               bool  // of the picture
}

func captures(t testing.TB) (all []captured) {
	t.Helper()
	files, err := filepath.Glob("testdata/chromium/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := captured{name: strings.TrimSuffix(filepath.Base(file), ".txt"), codec: meeting.CodecVP9}
		c.keyed = strings.HasSuffix(c.name, "_KEY")
		if strings.HasPrefix(c.name, "av1") {
			c.codec = meeting.CodecAV1
		}
		var keyAt uint32
		for line := range strings.Lines(string(text)) {
			var p capturedPacket
			var marker int
			var dependency, payload string
			if _, err := fmt.Sscan(line, &p.timestamp, &marker, &dependency, &payload); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			p.marker = marker == 1
			p.dependency, _ = hex.DecodeString(dependency)
			p.payload, _ = hex.DecodeString(payload)
			if c.codec == meeting.CodecVP9 {
				v := vp9(t, p.payload)
				p.spatial, p.temporal = v.SID, v.TID
				if !v.P && v.SID == 0 && v.B {
					keyAt = p.timestamp
				}
			} else if p.payload[0]&0x08 != 0 { // N
				keyAt = p.timestamp
			} else if p.payload[0]&0x80 == 0 && p.payload[1]&0x04 != 0 { // an OBU with an extension
				p.spatial, p.temporal = p.payload[2]>>3&3, p.payload[2]>>5
			} else if n := len(c.frames); p.payload[0]&0x80 != 0 { // of the frame before
				p.spatial, p.temporal = c.frames[n-1].spatial, c.frames[n-1].temporal
			}
			p.key = p.timestamp == keyAt
			c.frames = append(c.frames, p)
		}
		all = append(all, c)
	}
	return all
}

func vp9(t rapid.TB, payload []byte) (v codecs.VP9Packet) {
	t.Helper()
	if _, err := v.Unmarshal(payload); err != nil {
		t.Fatalf("%x is not VP9: %v", payload, err)
	}
	return v
}

// packet makes the packet that was captured, under another number.
func (c *captured) packet(i int, seq uint16, shift uint32, picture uint16, now int64) *rtp.Packet {
	f := &c.frames[i]
	var w rtp.HeaderWriter
	w.TwoByte = true
	pt := uint8(98)
	if c.codec == meeting.CodecAV1 {
		pt = 45
	}
	w.Begin(make([]byte, 320), pt, f.marker, seq, f.timestamp+shift, 11)
	w.Copy(6, f.dependency)
	payload := slices.Clone(f.payload)
	if c.codec == meeting.CodecVP9 {
		var h rtp.VideoHeader
		rtp.ParseVP9(payload, &h)
		h.Patch(payload, h.PictureID+picture, h.TL0PicIdx)
	}
	return parsed(append(w.Bytes(), payload...), now)
}

// layeredRoom is a room whose publisher and subscriber have the dependency
// descriptor.
func layeredRoom(t testing.TB) (*room, *Subscription, *wire) {
	r := &room{t: t, now: 10 * second, up: &wire{t: t}}
	r.Router = New(Config{FirstID: 100, CNAME: "video"})
	up, down := upExtensions, downExtensions
	up.DependencyDescriptor, down.DependencyDescriptor = 6, 7
	r.pub = r.Publish(PublishConfig{AttendeeID: "anna", Up: r.up, Layers: []Layer{single}, Codecs: upCodecs, Extensions: up, NACK: true})
	w := &wire{t: t}
	s := r.Subscribe(SubscribeConfig{MID: "5", Down: w, SSRC: 1000, RTX: 1001, Codecs: downCodecs, Extensions: down, NACK: true, StreamID: 101}, r.now)
	return r, s, w
}

func TestLayersOfChromium(t *testing.T) {
	for _, c := range captures(t) {
		top := uint8(0)
		for _, f := range c.frames {
			top = max(top, f.spatial)
		}
		for spatial := range uint8(3) {
			for temporal := range uint8(3) {
				t.Run(fmt.Sprintf("%s/S%dT%d", c.name, spatial, temporal), func(t *testing.T) {
					r, sub, w := layeredRoom(t)
					sub.Choose(Point{StreamID: 101, Spatial: spatial, Temporal: temporal}, r.now)
					var want []string
					for i, f := range c.frames {
						r.wait(20 * ms)
						r.push(r.pub, c.packet(i, uint16(65500+i), 0, 0, r.now))
						keep := f.spatial <= spatial && f.temporal <= temporal
						if c.keyed && !f.key {
							keep = keep && f.spatial == min(spatial, top)
						}
						if keep {
							want = append(want, fmt.Sprintf("%x", f.payload))
						}
					}
					got := w.take(1000)
					unbroken(t, got)
					var payloads []string
					var st rtp.DependencyStructure
					var frames rtp.Extender
					last := uint64(0)
					for i, p := range got {
						payloads = append(payloads, fmt.Sprintf("%x", p.Payload()))
						if end := i+1 < len(got) && got[i+1].Timestamp != p.Timestamp; end && !p.Marker || p.Marker && !end && i+1 < len(got) {
							t.Errorf("packet %d: marker %v", i, p.Marker)
						}
						var d rtp.Dependency
						if !rtp.ParseDependency(p.Extension(7), &st, &d) || !d.Known {
							t.Fatalf("packet %d: descriptor %x", i, p.Extension(7))
						}
						if n := frames.Extend(d.Frame); i > 0 && n < last {
							t.Errorf("packet %d: frame %d after %d", i, n, last)
						} else {
							last = n
						}
						for target := range st.Targets {
							reached := st.TargetSpatial[target] <= spatial && st.TargetTemporal[target] <= temporal
							if active := st.Active>>target&1 == 1; active && !reached {
								t.Errorf("packet %d: target %d of layers %d and %d is active", i, target, st.TargetSpatial[target], st.TargetTemporal[target])
							} else if reached && !c.keyed && !active {
								t.Errorf("packet %d: target %d of layers %d and %d is not active", i, target, st.TargetSpatial[target], st.TargetTemporal[target])
							}
						}
					}
					if d := cmp.Diff(want, payloads); d != "" {
						t.Errorf("packets (-want +got):\n%s", d)
					}
					sub.HandleNACK([]uint16{got[0].Seq, got[len(got)-1].Seq})
					for i, p := range w.take(1001) {
						p.UnwrapRTX(got[0].PayloadType, 1000)
						if d := cmp.Diff([]*rtp.Packet{got[0], got[len(got)-1]}[i].Raw, p.Raw); d != "" {
							t.Errorf("again (-want +got):\n%s", d)
						}
					}
				})
			}
		}
	}
}

// AV1 without the descriptor is one layer in space, with its picture ended.
func TestSpatialLayersOfAV1NeedTheDescriptor(t *testing.T) {
	for _, c := range captures(t) {
		if c.name != "av1-L2T2" {
			continue
		}
		r, _, _ := layeredRoom(t)
		_, w := r.subscribe(2000, 101)
		for i := range c.frames {
			r.wait(20 * ms)
			r.push(r.pub, c.packet(i, uint16(i), 0, 0, r.now))
		}
		got := w.take(2000)
		unbroken(t, got)
		if len(got) < len(c.frames)/3 {
			t.Fatalf("%d packets of %d", len(got), len(c.frames))
		}
		for i, p := range got {
			if end := i+1 == len(got) || got[i+1].Timestamp != p.Timestamp; end && !p.Marker {
				t.Errorf("packet %d ends its picture without a marker", i)
			}
			if p.Payload()[0]&0x88 == 0 && p.Payload()[2]>>3&3 != 0 {
				t.Errorf("packet %d is of spatial layer %d", i, p.Payload()[2]>>3&3)
			}
		}
	}
}

// TestLayersAtRandom lets the choice move while Chromium's streams flow: every frame
// that comes has all that it is predicted from, pictures end with a marker, and the
// numbers have no gap.
func TestLayersAtRandom(t *testing.T) {
	outer := t
	all := captures(t)
	rapid.Check(t, func(t *rapid.T) {
		c := all[rapid.IntRange(0, len(all)-1).Draw(t, "capture")]
		r, sub, w := layeredRoom(outer)
		seq := uint16(rapid.IntRange(0, 65535).Draw(t, "seq"))
		var fed []capturedPacket // what each packet that came out was
		for turn := range uint32(3) {
			for i := range c.frames {
				if rapid.IntRange(0, 9).Draw(t, "choose") == 0 {
					layer := rapid.SampledFrom([]uint8{0, 1, 2, All})
					sub.Choose(Point{StreamID: 101, Spatial: layer.Draw(t, "spatial"), Temporal: layer.Draw(t, "temporal")}, r.now)
				}
				r.wait(20 * ms)
				before := len(w.rtp)
				r.push(r.pub, c.packet(i, seq, turn*900_000, uint16(turn*100), r.now))
				for range len(w.rtp) - before {
					fed = append(fed, c.frames[i])
				}
				seq++
			}
		}
		type frame struct {
			picture uint16
			spatial uint8
		}
		sent := map[frame]bool{}
		got := w.take(1000)
		if len(got) != len(fed) {
			t.Fatalf("%d packets, %d of them known", len(got), len(fed))
		}
		var base, came [rtp.MaxSpatial]bool // of the layer: its newest base frame, and a frame of this picture
		k := 0                              // in what was sent
		for turn := range uint32(3) {
			for i, f := range c.frames {
				if i == 0 || f.timestamp != c.frames[i-1].timestamp {
					came = [rtp.MaxSpatial]bool{}
				}
				out := k < len(got) && string(fed[k].payload) == string(f.payload) && fed[k].timestamp == f.timestamp
				if out && c.codec == meeting.CodecVP9 {
					v := vp9(t, got[k].Payload())
					out = v.PictureID == vp9(t, f.payload).PictureID+uint16(turn*100)
				}
				switch {
				case out && !f.key && !base[f.spatial]:
					t.Fatalf("packet %d, of layers %d and %d, needs the frame before in its spatial layer", k, f.spatial, f.temporal)
				case out && f.spatial > 0 && (f.key || !c.keyed) && !came[f.spatial-1]:
					t.Fatalf("packet %d, of layers %d and %d, needs the spatial layer below", k, f.spatial, f.temporal)
				}
				if f.key || f.temporal == 0 {
					base[f.spatial] = out
				}
				if out {
					came[f.spatial] = true
					k++
				}
			}
		}
		if k != len(got) {
			t.Fatalf("%d of %d packets are known", k, len(got))
		}
		for i, p := range got {
			if i > 0 && p.Seq != got[i-1].Seq+1 {
				t.Fatalf("number %d after %d", p.Seq, got[i-1].Seq)
			}
			if ends := i+1 < len(got) && got[i+1].Timestamp != p.Timestamp; ends != p.Marker && i+1 < len(got) {
				t.Fatalf("packet %d: marker %v", i, p.Marker)
			}
			if c.codec != meeting.CodecVP9 {
				continue
			}
			v := vp9(t, p.Payload())
			if v.P {
				for _, d := range v.PDiff {
					if ref := (frame{v.PictureID - uint16(d), v.SID}); !sent[ref] {
						t.Fatalf("packet %d of picture %d needs %+v, which was not sent", i, v.PictureID, ref)
					}
				}
			}
			if v.D && !sent[frame{v.PictureID, v.SID - 1}] {
				t.Fatalf("packet %d of picture %d needs the spatial layer below %d", i, v.PictureID, v.SID)
			}
			sent[frame{v.PictureID, v.SID}] = true
		}
	})
}

// Where spatial layers lean on one another at key frames alone, one of them is sent
// between key frames, whatever was chosen, and another one begins with a key
// frame that is asked for, be it higher or lower.
func TestLayersThatStandApart(t *testing.T) {
	for _, c := range captures(t) {
		if !c.keyed {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r, sub, w := layeredRoom(t)
			seq := uint16(0)
			// play sends the capture and tells the spatial layers that came between key frames.
			play := func(turn uint32) map[uint8]bool {
				layers := map[uint8]bool{}
				for i, f := range c.frames {
					r.wait(20 * ms)
					before := len(w.rtp)
					r.push(r.pub, c.packet(i, seq, turn*900_000, uint16(turn*100), r.now))
					if seq++; len(w.rtp) > before && !f.key {
						layers[f.spatial] = true
					}
				}
				return layers
			}
			only := func(what string, got map[uint8]bool, want uint8) {
				t.Helper()
				if len(got) != 1 || !got[want] {
					t.Errorf("%s: the spatial layers %v came, want %d alone", what, got, want)
				}
			}
			only("at first", play(0), 2)
			for turn, spatial := range []uint8{0, 2, 1, All} {
				r.up.rtcp = nil
				r.now += second
				sub.Choose(Point{StreamID: 101, Spatial: spatial, Temporal: 2}, r.now)
				if r.up.plis(11) == 0 {
					t.Errorf("no key frame is asked for to go to layer %d", spatial)
				}
				only(fmt.Sprint("layer ", spatial), play(uint32(turn+1)), min(spatial, 2))
			}
			unbroken(t, w.take(1000))
		})
	}
}

// A sender that switches its highest spatial layer off says so in the descriptor. Who
// was sent nothing but that layer gets the next lower one, with a key frame.
func TestSpatialLayerSwitchedOff(t *testing.T) {
	for _, c := range captures(t) {
		if !c.keyed {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r, _, w := layeredRoom(t)
			var st rtp.DependencyStructure
			seq := uint16(0)
			came := 0
			for turn := range uint32(2) {
				off := turn == 1
				first := true
				for i, f := range c.frames {
					r.wait(20 * ms)
					var d rtp.Dependency
					rtp.ParseDependency(f.dependency, &st, &d)
					low := uint32(0)
					for target := range st.Targets {
						if st.TargetSpatial[target] < 2 {
							low |= 1 << target
						}
					}
					if off && f.spatial == 2 || turn == 0 && f.key && i > 20 {
						continue
					}
					p := c
					if p.frames = []capturedPacket{f}; off && (f.key || first) {
						p.frames[0].dependency = slices.Clone(d.Rewrite(make([]byte, rtp.MaxDependency), f.dependency, d.Frame, low, st.Targets))
						first = false
					}
					before := len(w.rtp)
					r.push(r.pub, p.packet(0, seq, turn*900_000, uint16(turn*100), r.now))
					if seq++; off && len(w.rtp) > before && !f.key {
						if f.spatial != 1 {
							t.Fatalf("spatial layer %d came", f.spatial)
						}
						came++
					}
				}
			}
			if came == 0 {
				t.Error("nothing came after the highest layer was switched off")
			}
		})
	}
}

// A lower point holds from the next picture on. More temporal layers come by
// themselves, more spatial ones with the key frame that is asked for.
func TestLayersGoAndComeBack(t *testing.T) {
	for _, c := range captures(t) {
		if c.keyed {
			continue // there a lower target is no part of the higher one
		}
		for _, spatial := range []bool{false, true} {
			if spatial && strings.Contains(c.name, "L1") {
				continue
			}
			t.Run(fmt.Sprintf("%s/spatial %v", c.name, spatial), func(t *testing.T) {
				r, sub, w := layeredRoom(t)
				low := Point{StreamID: 101, Spatial: All, Temporal: 0}
				if spatial {
					low = Point{StreamID: 101, Spatial: 0, Temporal: All}
				}
				seq := uint16(0)
				turn := uint32(0)
				play := func(from, to int) (highest uint8, n int) {
					for i := from; i < to; i++ {
						r.wait(20 * ms)
						r.push(r.pub, c.packet(i, seq, turn*900_000, uint16(turn*100), r.now))
						seq++
					}
					for _, p := range w.take(1000) {
						n++
						for i := range c.frames {
							f := &c.frames[i]
							if string(p.Payload()[4:]) == string(f.payload[4:]) {
								if spatial {
									highest = max(highest, f.spatial)
								} else {
									highest = max(highest, f.temporal)
								}
								break
							}
						}
					}
					return highest, n
				}
				if c.codec == meeting.CodecAV1 {
					sub.Choose(Point{StreamID: 101, Spatial: 2, Temporal: 2}, r.now)
				}
				// The first picture after half of the capture that is no key frame.
				half := len(c.frames) / 2
				for !c.frames[half-1].marker || c.frames[half].key {
					half++
				}
				if got, _ := play(0, half); got == 0 {
					t.Fatal("no upper layer at first")
				}
				sub.Choose(low, r.now)
				later := half
				for n := 0; n < 8 && later < len(c.frames); later++ {
					if c.frames[later].key {
						break
					}
					if c.frames[later].marker {
						n++
					}
				}
				if got, n := play(half, later); got != 0 || n == 0 {
					t.Errorf("%d packets, layer %d among them, after a lower point was chosen", n, got)
				}
				r.up.rtcp = nil
				r.now += second
				sub.Switch(101, r.now)
				if asked := r.up.plis(11) > 0; asked != spatial {
					t.Errorf("a key frame was asked for: %v", asked)
				}
				turn++
				if got, _ := play(0, half); got == 0 {
					t.Error("no upper layer after it was chosen again")
				}
			})
		}
	}
}

// VP9 that is not flexible: TL0PICIDX instead of references, and picture ids that
// must keep their gaps, since the decoder counts in them.
func TestLayersOfVP9NotFlexible(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	sub.Choose(Point{StreamID: 101, Spatial: 0, Temporal: 0}, r.now)
	seq, tl0 := uint16(65530), uint8(254)
	picture := func(id uint16, temporal uint8, key bool) {
		if temporal == 0 {
			tl0++
		}
		for spatial := range uint8(2) {
			for part := range 2 {
				b := byte(0xA0) // I, L
				if !key {
					b |= 0x40 // P
				}
				if part == 0 {
					b |= 0x08 // B
				} else {
					b |= 0x04 // E
				}
				layer := temporal<<5 | 0x10 | spatial<<1
				if spatial > 0 {
					layer |= 1 // D
				}
				payload := []byte{b, 0x80 | byte(id>>8), byte(id), layer, tl0, 0x86, 0, 0, byte(id)}
				var hw rtp.HeaderWriter
				hw.Begin(make([]byte, rtp.MaxHeader), 98, spatial == 1 && part == 1, seq, uint32(id)*3000, 11)
				r.push(r.pub, parsed(append(hw.Bytes(), payload...), r.now))
				seq++
			}
		}
	}
	for i := range uint16(20) {
		r.wait(30 * ms)
		if i == 12 {
			sub.Choose(Point{StreamID: 101, Spatial: 0, Temporal: 1}, r.now)
		}
		picture(1000+i, uint8(i%2), i == 0)
	}
	got := w.take(1000)
	unbroken(t, got)
	var ids []uint16
	first := vp9(t, got[0].Payload()).TL0PICIDX
	for i, p := range got {
		v := vp9(t, p.Payload())
		if v.SID != 0 || p.Marker != (i%2 == 1) {
			t.Errorf("packet %d: spatial layer %d, marker %v", i, v.SID, p.Marker)
		}
		if n := v.TL0PICIDX - first; uint16(n) != (v.PictureID-1000)/2 {
			t.Errorf("picture %d has TL0PICIDX %d after the first", v.PictureID, n)
		}
		if i%2 == 0 {
			ids = append(ids, v.PictureID)
		}
	}
	want := []uint16{1000, 1002, 1004, 1006, 1008, 1010, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019}
	if d := cmp.Diff(want, ids); d != "" {
		t.Errorf("pictures (-want +got):\n%s", d)
	}
}

// A receiver moves between a stream of AV1 and others of simulcast: its frame
// numbers go on.
func TestFrameNumbersOverSwitches(t *testing.T) {
	var c captured
	for _, x := range captures(t) {
		if x.name == "av1-L1T3" {
			c = x
		}
	}
	r, sub, w := layeredRoom(t)
	other := r.Publish(PublishConfig{AttendeeID: "ben", Up: r.up, Layers: []Layer{{MaxBitrateKbps: 100, SSRC: 31}}, Codecs: upCodecs, Extensions: r.pub.cfg.Extensions, NACK: true})
	send := func(pub *Publication, ssrc uint32, seq uint16, frame uint16) {
		for i := range 20 {
			r.wait(20 * ms)
			p := c.packet(i, seq+uint16(i), 0, 0, r.now)
			raw := p.Raw
			raw[8], raw[9], raw[10], raw[11] = 0, 0, 0, byte(ssrc)
			d := p.Extension(6)
			n := uint16(d[1])<<8 | uint16(d[2]) + frame
			d[1], d[2] = byte(n>>8), byte(n)
			r.push(pub, parsed(raw, r.now))
		}
	}
	send(r.pub, 11, 100, 0)
	sub.Switch(other.StreamIDs()[0], r.now)
	send(other, 31, 40000, 0x8000)
	got := w.take(1000)
	unbroken(t, got)
	if len(got) != 40 {
		t.Fatalf("%d packets, want 40", len(got))
	}
	var st rtp.DependencyStructure
	var d rtp.Dependency
	was := uint16(0)
	for i, p := range got {
		if !rtp.ParseDependency(p.Extension(7), &st, &d) {
			t.Fatalf("packet %d: descriptor %x", i, p.Extension(7))
		}
		if i > 0 && d.Frame != was+1 {
			t.Errorf("packet %d: frame %d after %d", i, d.Frame, was)
		}
		was = d.Frame
	}
}

// loop plays a capture again and again to so many receivers that take a lower point.
type loop struct {
	c       captured
	r       *Router
	pub     *Publication
	subs    []*Subscription
	out     sink
	packets []*rtp.Packet
	now     int64
	n       int
	seq     uint16
}

func newLoop(t testing.TB, name string, receivers int) *loop {
	l := &loop{r: New(Config{CNAME: "c"}), now: second}
	for _, c := range captures(t) {
		if c.name == name {
			l.c = c
		}
	}
	up, down := upExtensions, downExtensions
	up.DependencyDescriptor, down.DependencyDescriptor = 6, 7
	l.pub = l.r.Publish(PublishConfig{AttendeeID: "a", Up: &l.out, Layers: []Layer{single}, Codecs: upCodecs, Extensions: up, NACK: true})
	for i := range receivers {
		s := l.r.Subscribe(SubscribeConfig{Down: &l.out, SSRC: uint32(1000 + 2*i), RTX: uint32(1001 + 2*i), Codecs: downCodecs,
			Extensions: down, NACK: true, StreamID: l.pub.StreamIDs()[0]}, l.now)
		s.Choose(Point{StreamID: l.pub.StreamIDs()[0], Spatial: 1, Temporal: 1}, l.now)
		l.subs = append(l.subs, s)
	}
	for i := range l.c.frames {
		l.packets = append(l.packets, l.c.packet(i, 0, 0, 0, 0))
	}
	return l
}

func (l *loop) next() {
	p := l.packets[l.n%len(l.packets)]
	raw := p.Raw
	raw[2], raw[3] = byte(l.seq>>8), byte(l.seq)
	if l.n >= len(l.packets) {
		ts := p.Timestamp + 900_000
		raw[4], raw[5], raw[6], raw[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
	}
	l.n++
	l.seq++
	l.now += 10 * ms
	if err := p.Parse(raw); err != nil {
		panic(err)
	}
	p.Arrival = l.now
	run := [1]*rtp.Packet{p}
	l.pub.Push(run[:], l.now)
}

func TestLeavingOutDoesNotAllocate(t *testing.T) {
	for _, name := range []string{"vp9-L3T3", "av1-L3T3_KEY"} {
		l := newLoop(t, name, 5)
		nack := make([]uint16, 3)
		once := func() {
			l.next()
			l.r.Tick(l.now)
			for _, s := range l.subs {
				for i := range nack {
					nack[i] = uint16(s.out.seq) - uint16(i)
				}
				s.HandleNACK(nack)
			}
		}
		for range 1500 {
			once()
		}
		before := l.out.packets
		if n := testing.AllocsPerRun(500, once); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
		if l.out.packets == before || l.r.Stats().Resent == 0 {
			t.Errorf("%s: nothing was sent, or nothing again", name)
		}
	}
}

func BenchmarkLeaveOut(b *testing.B) {
	for _, name := range []string{"vp9-L3T3", "av1-L1T3"} {
		b.Run(name, func(b *testing.B) {
			l := newLoop(b, name, 50)
			b.ReportAllocs()
			for b.Loop() {
				l.next()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50, "ns/packet")
		})
	}
}

// Chromium that sends the dependency descriptor leaves layers and picture ids out of
// the payload of VP8.
func TestTemporalLayersOfBareVP8(t *testing.T) {
	var c captured
	for _, x := range captures(t) {
		if x.name == "vp9-L1T3" {
			c = x // whose descriptors are those of any codec
		}
	}
	for limit := range uint8(3) {
		r, sub, w := layeredRoom(t)
		var want []uint16
		for i, f := range c.frames {
			r.wait(20 * ms)
			h := rtp.HeaderWriter{TwoByte: true}
			h.Begin(make([]byte, 320), 96, f.marker, uint16(65500+i), f.timestamp, 11)
			h.Copy(6, f.dependency)
			payload := []byte{0, 1, byte(i >> 8), byte(i), 7, 7, 7, 7, 7, 7, 7, 7}
			if f.dependency[0]&0x80 != 0 {
				payload[0] = 0x10
			}
			if f.key {
				payload[1] = 0
			}
			r.push(r.pub, parsed(append(h.Bytes(), payload...), r.now))
			if i == 0 {
				sub.Choose(Point{StreamID: 101, Spatial: All, Temporal: limit}, r.now)
			}
			if f.key || f.temporal <= limit {
				want = append(want, uint16(i))
			}
		}
		got := w.take(1000)
		unbroken(t, got)
		var came []uint16
		for _, p := range got {
			came = append(came, binary.BigEndian.Uint16(p.Payload()[2:]))
		}
		if d := cmp.Diff(want, came); d != "" {
			t.Errorf("up to layer %d (-want +got):\n%s", limit, d)
		}
		if points := r.pub.Points(nil); len(points) != 3 {
			t.Errorf("%d points: %+v", len(points), points)
		}
	}
}
