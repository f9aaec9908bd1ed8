package mixer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

// traceCodec is a codec that one can see through: a talker's packet decodes to
// 20 ms of one value, which tells the talker and which of its packets it is,
// and sums of these can be taken apart again. So a test sees of every packet
// of a mix which frames are in it.
type traceCodec struct{ codecs *int } // how many are open

const (
	traceUnit = 1.0 / (1 << 21) // five digits of base 16 stay below the limiter
	tracePeak = 15              // how many packets of a talker differ
)

func (c traceCodec) NewEncoder(cfg opus.EncoderConfig) (opus.Encoder, error) {
	*c.codecs++
	return &traceEncoder{c: c, id: byte(*c.codecs)}, nil
}
func (c traceCodec) NewSpeechDecoder() (opus.Decoder, error) { return c.NewDecoder(1) }

func (c traceCodec) NewDecoder(channels int) (opus.Decoder, error) {
	*c.codecs++
	return &traceDecoder{c, channels}, nil
}
func (traceCodec) Available() bool { return true }
func (traceCodec) Version() string { return "trace" }

type traceEncoder struct {
	c           traceCodec
	id          byte
	independent bool
}

// EncodeFloat writes the first and the last sample, which encoder it was, and
// whether the packet leans on those before.
func (e *traceEncoder) EncodeFloat(dst []byte, pcm []float32) (int, error) {
	dst[0], dst[1] = 0xf8, 0xff
	binary.BigEndian.PutUint32(dst[2:], math.Float32bits(pcm[0]))
	binary.BigEndian.PutUint32(dst[6:], math.Float32bits(pcm[len(pcm)-1]))
	dst[10], dst[11] = e.id, 0
	if e.independent {
		dst[11] = 1
	}
	return 12, nil
}
func (e *traceEncoder) Encode([]byte, []int16) (int, error) { panic("not used") }
func (*traceEncoder) SetBitrate(int) error                  { return nil }
func (*traceEncoder) SetComplexity(int) error               { return nil }
func (*traceEncoder) SetFEC(bool) error                     { return nil }
func (*traceEncoder) SetPacketLoss(int) error               { return nil }
func (*traceEncoder) SetDTX(bool) error                     { return nil }
func (*traceEncoder) Lookahead() int                        { return 0 }
func (*traceEncoder) Reset() error                          { return nil }
func (e *traceEncoder) SetIndependent(on bool) error        { e.independent = on; return nil }
func (e *traceEncoder) Close()                              { *e.c.codecs-- }

type traceDecoder struct {
	c        traceCodec
	channels int
}

func (d *traceDecoder) DecodeFloat(pcm []float32, packet []byte) (int, error) {
	n := frame * d.channels
	pcm = pcm[:n]
	var v float32
	if len(packet) == 4 && packet[0] == 0xf8 {
		v = float32(int(packet[2])<<(4*packet[1])) * traceUnit
	}
	for i := range pcm {
		pcm[i] = v
	}
	return frame, nil
}
func (d *traceDecoder) Decode([]int16, []byte) (int, error)    { panic("not used") }
func (d *traceDecoder) DecodeFEC([]int16, []byte) (int, error) { panic("not used") }
func (d *traceDecoder) DecodeFECFloat([]float32, []byte) (int, error) {
	return 0, opus.ErrInvalidPacket
}
func (d *traceDecoder) Reset() error { return nil }
func (d *traceDecoder) Close()       { *d.c.codecs-- }

// tracePacket is packet n of a talker.
func tracePacket(talker, n int) []byte { return []byte{0xf8, byte(talker), byte(n%tracePeak + 1), 0} }

// traced is one frame of a talker that a listener heard.
type traced struct{ ms, number int } // number is that of the packet modulo tracePeak

// frames takes apart what an ear heard, by talker.
func (e *ear) frames() [][]traced {
	out := make([][]traced, 5)
	for _, h := range e.got {
		switch {
		case len(h.payload) == 4:
			out[h.payload[1]] = append(out[h.payload[1]], traced{h.ms, int(h.payload[2]) - 1})
		case len(h.payload) == 12:
			first := float64(math.Float32frombits(binary.BigEndian.Uint32(h.payload[2:]))) / traceUnit
			last := float64(math.Float32frombits(binary.BigEndian.Uint32(h.payload[6:]))) / traceUnit
			a := int(math.Round(first))
			// Where two frames were merged, the last sample is the second but for one
			// part in a frame.
			b := int(math.Round((last*frame - first) / (frame - 1)))
			for k := range out {
				x, y := a>>(4*k)&15, b>>(4*k)&15
				if x != 0 {
					out[k] = append(out[k], traced{h.ms, x - 1})
				}
				if y != 0 && y != x {
					out[k] = append(out[k], traced{h.ms, y - 1})
				}
			}
		}
	}
	return out
}

// traceRoom is a room of talkers whose frames can be followed.
func traceRoom(t testing.TB, talkers int) (*room, *int) {
	open := new(int)
	r := newRoom(t, Config{Codec: traceCodec{open}})
	for i := range talkers {
		k, _ := r.join(fmt.Sprint(i), 0)
		k.talk = func(n int) []byte { return tracePacket(i, n) }
	}
	return r, open
}

// checkFrames tells where the frames that an ear heard of a talker are not
// each of those it sent, once and in turn.
func checkFrames(got []traced, sent int) error {
	for i, f := range got {
		if f.number != i%tracePeak {
			return fmt.Errorf("frame %d of %d came as number %d at %d ms, want %d", i, sent, f.number, f.ms, i%tracePeak)
		}
	}
	if len(got) != sent {
		return fmt.Errorf("%d frames of %d came", len(got), sent)
	}
	return nil
}

// checkEncoders sees that no packet of a mix leans on one that this ear did not
// hear, and counts how often the encoder changed.
func (e *ear) checkEncoders() (changes int, err error) {
	last := byte(0)
	for _, h := range e.got {
		if len(h.payload) != 12 {
			if len(h.payload) == 4 {
				last = 0
			}
			continue
		}
		if id := h.payload[10]; id != last {
			changes++
			last = id
			if h.payload[11] == 0 {
				return changes, fmt.Errorf("the first packet of an encoder, at %d ms, leans on those before", h.ms)
			}
		}
	}
	return changes, nil
}

// TestMixKeepsItsEncoder: when another joins in and when one stops, most
// listeners go on with the encoder that they had.
func TestMixKeepsItsEncoder(t *testing.T) {
	r, _ := traceRoom(t, 4)
	x := r.listen("x")
	for _, id := range []string{"y", "z", "u"} {
		r.listen(id) // with x they are most
	}
	a, b, c, d := r.mics[0], r.mics[1], r.mics[2], r.mics[3]
	a.talking, b.talking = true, true
	r.run(time.Second)
	c.talking = true
	r.run(time.Second)
	d.talking = true
	r.run(time.Second)
	a.talking = false
	r.run(time.Second)
	late := r.listen("late")
	r.run(time.Second)
	for _, e := range []*ear{x, late} {
		n, err := e.checkEncoders()
		if err != nil {
			t.Error(err)
		}
		if n != 1 {
			t.Errorf("%d encoders in one conversation", n)
		}
	}
}

// TestFirstWordIsWhole: the packet before the one that is loud enough is heard
// too where there is a mix to come to.
func TestFirstWordIsWhole(t *testing.T) {
	r, _ := traceRoom(t, 3)
	x := r.listen("x")
	c := r.mics[2]
	r.mics[0].talking, r.mics[1].talking = true, true
	r.run(time.Second)
	c.talking, c.level = true, 70
	r.run(500 * time.Millisecond)
	weak := c.said
	c.level = 20
	r.run(500 * time.Millisecond)
	got := x.frames()[2]
	if len(got) == 0 || got[0].number != (weak-1)%tracePeak {
		t.Errorf("the first of %d frames has number %d, want %d", len(got), got[0].number, (weak-1)%tracePeak)
	}
}

// TestEveryFrameOnce lets people begin and stop talking at any moment, so that
// every listener goes through silence, passing and mixes, and follows every
// single frame.
func TestEveryFrameOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		talkers := rapid.IntRange(2, 5).Draw(rt, "talkers")
		r, _ := traceRoom(t, talkers)
		r.listen("x")
		r.listen("y")
		for i, k := range r.mics {
			k.phase = rapid.IntRange(0, 19).Draw(rt, fmt.Sprint("phase", i))
		}
		for range rapid.IntRange(2, 12).Draw(rt, "events") {
			k := r.mics[rapid.IntRange(0, talkers-1).Draw(rt, "who")]
			k.talking = !k.talking
			r.run(time.Duration(rapid.IntRange(1, 900).Draw(rt, "ms")) * time.Millisecond)
		}
		for _, k := range r.mics {
			k.talking = false
		}
		r.run(2 * time.Second)
		for _, id := range r.order {
			e := r.ears[id]
			e.continuous(t, false)
			if _, err := e.checkEncoders(); err != nil {
				rt.Errorf("%s: %v", id, err)
			}
			for i, got := range e.frames() {
				sent := 0
				if i < talkers && fmt.Sprint(i) != id {
					sent = r.mics[i].said
				}
				if err := checkFrames(got, sent); err != nil {
					rt.Errorf("%s hears %d: %v", id, i, err)
				}
			}
		}
		x, y := r.ears["x"].got, r.ears["y"].got
		if !slices.EqualFunc(x, y, func(a, b heard) bool { return slices.Equal(a.payload, b.payload) && a.ms == b.ms }) {
			rt.Error("two who hear the same got different packets")
		}
	})
}

// TestMuteCutsAtOnce mutes in the middle of speech, at every moment between
// two ticks: nothing of it leaves any more, passed on or mixed.
func TestMuteCutsAtOnce(t *testing.T) {
	hush := map[string]func(*Source, bool){"mute": (*Source).SetMuted, "bar": (*Source).SetBarred}
	for name, set := range hush {
		for _, mixed := range []bool{false, true} {
			for ms := range 20 {
				r, _ := traceRoom(t, 2)
				x := r.listen("x")
				a, b := r.mics[0], r.mics[1]
				a.talking, b.talking = true, mixed
				r.run(time.Duration(500+ms) * time.Millisecond)
				set(a.src, true)
				before, stats := len(x.frames()[0]), r.m.Stats()
				r.run(500 * time.Millisecond)
				// Only the other's own may still come as a mix, until there is a moment to
				// pass it on.
				if s := r.m.Stats(); s.Concealed != 0 || s.Mixed > stats.Mixed+uint64(holdMusic/tickTime)+2 {
					t.Fatalf("%s at %d ms: %d packets were still mixed, %d frames concealed", name, 500+ms, s.Mixed-stats.Mixed, s.Concealed)
				}
				if n := len(x.frames()[0]) - before; n != 0 || before < 20 {
					t.Fatalf("%s at %d ms, mixed %v: %d frames were heard before and %d after", name, 500+ms, mixed, before, n)
				}
				if l, _ := r.m.Levels(r.now()); len(l) != 0 && l[0].AttendeeID == "0" {
					t.Errorf("%s: still in the levels: %v", name, l)
				}
				// Once it may be heard again nothing old comes out.
				said := a.said
				set(a.src, false)
				r.run(500 * time.Millisecond)
				a.talking, b.talking = false, false
				r.run(time.Second)
				again := x.frames()[0][before:]
				if len(again) == 0 || len(again) != a.said-said || again[0].number != said%tracePeak {
					t.Fatalf("%s at %d ms, mixed %v: afterwards %d of %d frames came, the first number %d, want %d",
						name, 500+ms, mixed, len(again), a.said-said, again[0].number, said%tracePeak)
				}
				if err := checkFrames(x.frames()[1], b.said); err != nil {
					t.Fatalf("%s at %d ms: the other talker: %v", name, 500+ms, err)
				}
				x.continuous(t, false)
			}
		}
	}
}

// TestMuteAndBarAreTwo: either keeps a source from being heard, from its
// beginning too.
func TestMuteAndBarAreTwo(t *testing.T) {
	r := newRoom(t, Config{Codec: traceCodec{new(int)}})
	x := r.listen("x")
	k := r.speak("a", 0)
	k.talk = func(n int) []byte { return tracePacket(0, n) }
	k.talking = true
	for _, c := range []struct {
		muted, barred bool
	}{{true, false}, {true, true}, {false, true}, {false, false}, {false, true}, {true, false}, {false, false}} {
		k.src.Close()
		k.src = r.m.AddSource(SourceConfig{ID: "a", PayloadType: testPT, AudioLevelID: levelID, Muted: c.muted, Barred: c.barred})
		for _, fresh := range []bool{true, false} {
			before := len(x.frames()[0])
			r.run(200 * time.Millisecond)
			if n := len(x.frames()[0]) - before; (n > 0) == (c.muted || c.barred) {
				t.Errorf("%+v, set at the beginning %v: %d frames were heard", c, fresh, n)
			}
			k.src.SetMuted(!c.muted)
			k.src.SetBarred(!c.barred)
			k.src.SetMuted(c.muted)
			k.src.SetBarred(c.barred)
		}
	}
	x.continuous(t, false)
}

// TestShareAndOwner: a content share and the one who shares it do not hear each
// other, however many talk; everybody else hears both.
func TestShareAndOwner(t *testing.T) {
	r := newRoom(t, Config{Codec: traceCodec{new(int)}})
	const owner, share = 0, 1
	ids := []string{"a", "a" + meeting.ContentSuffix, "b", "c"}
	for i, id := range ids {
		k := r.speak(id, 0)
		k.talk = func(n int) []byte { return tracePacket(i, n) }
	}
	r.listen("a", ids[owner], ids[share])
	// Without Deaf, so that excluding alone keeps them apart.
	r.listen(ids[share], ids[owner], ids[share])
	r.listen("b", "b")
	r.listen("x")
	for mask := 1; mask < 16; mask++ {
		for i, k := range r.mics {
			k.talking = mask>>i&1 != 0
		}
		r.run(500 * time.Millisecond)
	}
	for _, k := range r.mics {
		k.talking = false
	}
	r.run(time.Second)
	for id, deafTo := range map[string][]int{"a": {owner, share}, ids[share]: {owner, share}, "b": {2}, "x": nil} {
		e := r.ears[id]
		e.continuous(t, false)
		for i, got := range e.frames() {
			sent := 0
			if i < len(ids) && !slices.Contains(deafTo, i) {
				sent = r.mics[i].said
			}
			if err := checkFrames(got, sent); err != nil {
				t.Errorf("%s hears %s: %v", id, ids[min(i, 3)], err)
			}
		}
	}
}

// TestLeavingAndRejoining: an attendee's connection goes in the middle of a
// word and another takes its place, once with both there for a while.
func TestLeavingAndRejoining(t *testing.T) {
	for _, overlap := range []bool{false, true} {
		r, _ := traceRoom(t, 3)
		x := r.listen("x")
		a, b := r.mics[0], r.mics[1]
		a.talking, b.talking = true, true
		r.run(time.Second)
		for range 3 {
			old := a.src
			oldEar := r.ears["0"].l
			if !overlap {
				old.Close()
				oldEar.Close()
				a.off = true
				mixed := r.m.Stats().Mixed
				r.run(330 * time.Millisecond)
				if s := r.m.Stats(); s.Mixed > mixed+2*uint64(holdMusic/tickTime+2) || s.Concealed != 0 {
					t.Errorf("after it left %d packets were still mixed, %d frames concealed", s.Mixed-mixed, s.Concealed)
				}
				a.off = false
			}
			a.src = r.m.AddSource(SourceConfig{ID: "0", PayloadType: testPT, REDPayloadType: testRED, AudioLevelID: levelID})
			a.ssrc += 50
			a.seq, a.ts = 9, 9
			e := r.listen("0", "0")
			r.run(330 * time.Millisecond)
			if overlap {
				if l, due := r.m.Levels(r.now()); !due || len(l) != 2 {
					t.Errorf("two connections of one of two talkers: levels %v", l)
				}
				old.Close()
				oldEar.Close()
			}
			r.run(440 * time.Millisecond)
			e.continuous(t, false)
			if got := e.frames(); len(got[0]) != 0 || len(got[1]) < 20 {
				t.Errorf("overlap %v: the newcomer hears %d of its own frames and %d of the other's", overlap, len(got[0]), len(got[1]))
			}
		}
		a.talking, b.talking = false, false
		r.run(time.Second)
		x.continuous(t, false)
		got := x.frames()
		// What still waited for its turn when the connection went is not heard.
		if lost := a.said - len(got[0]); lost < 0 || lost > 3*5 {
			t.Errorf("overlap %v: %d of %d frames came", overlap, len(got[0]), a.said)
		}
		if err := checkFrames(got[1], b.said); err != nil {
			t.Errorf("overlap %v: the one who stayed: %v", overlap, err)
		}
	}
}

// TestDelayIsShort says how long a frame stays in the server: passed on it
// leaves as it came, mixed it waits for no more than a tick and a little.
func TestDelayIsShort(t *testing.T) {
	for phase := range 20 {
		r, _ := traceRoom(t, 3)
		x := r.listen("x")
		for i, k := range r.mics {
			k.phase = (phase + 7*i) % 20
			k.talking = i == 0
		}
		sent := make([][]int, 3)
		for i, k := range r.mics {
			k.talk = func(n int) []byte { sent[i] = append(sent[i], r.ms); return tracePacket(i, n) }
		}
		r.run(time.Second)
		for n, f := range x.frames()[0] {
			if f.ms != sent[0][n] {
				t.Fatalf("phase %d: a frame that came at %d ms was passed on at %d ms", phase, sent[0][n], f.ms)
			}
		}
		r.mics[1].talking, r.mics[2].talking = true, true
		r.run(6 * time.Second)
		for i, got := range x.frames()[:3] {
			if len(got) < 290 {
				t.Fatalf("phase %d: only %d frames", phase, len(got))
			}
			for n := len(got) - 50; n < len(got); n++ {
				// One packet length more when a newcomer's first words made it so.
				if d := got[n].ms - sent[i][n]; d < 0 || d > 33 {
					t.Fatalf("phase %d: frame %d of talker %d came at %d ms and left %d ms later", phase, n, i, sent[i][n], d)
				}
			}
		}
	}
}

// TestSilenceAfterLostTicks: when ticks were lost while somebody was passed on, the
// silence that follows is not late by as much.
func TestSilenceAfterLostTicks(t *testing.T) {
	r, _ := traceRoom(t, 1)
	x := r.listen("x")
	k := r.mics[0]
	k.talking = true
	r.run(time.Second)
	r.held = true
	r.run(180 * time.Millisecond)
	r.held = false
	r.run(time.Second)
	k.talking = false
	r.run(2 * time.Second)
	k.talking = true
	r.run(time.Second)
	x.continuous(t, false)
	for i, h := range x.got[1:] {
		if gap := h.ms - x.got[i].ms; gap > 60 {
			t.Errorf("nothing came for %d ms until %d", gap, h.ms)
		}
	}
	if err := checkFrames(x.frames()[0], k.said); err != nil {
		t.Error(err)
	}
}
