package mixer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

// withRED lets a mic send its packets with those that are so many before.
func (k *mic) withRED(distances ...int) {
	var past [][]byte
	k.wrap = func(payload []byte) []byte {
		past = append(past, payload)
		var head, body []byte
		for _, d := range slices.Backward(distances) {
			if at := len(past) - 1 - d; at >= 0 {
				head = binary.BigEndian.AppendUint32(head, 1<<31|testPT<<24|uint32(d*k.samples)<<10|uint32(len(past[at])))
				body = append(body, past[at]...)
			}
		}
		return append(append(append(head, testPT), body...), payload...)
	}
}

// checkOlder sees that what came as redundancy is what this ear was sent, or
// should have been, at that place of its stream.
func (e *ear) checkOlder(t testing.TB) (blocks int) {
	t.Helper()
	sent := map[uint32][]byte{}
	for _, h := range e.got {
		for _, o := range h.older {
			blocks++
			if was, ok := sent[h.ts-o.offset]; !ok || !bytes.Equal(was, o.payload) {
				t.Fatalf("at %d ms: what came again from %d samples before is % x, sent was % x", h.ms, o.offset, o.payload, was)
			}
		}
		sent[h.ts] = h.payload
	}
	return blocks
}

// TestLostPacketsComeAgain loses packets of a talker who sends each again with
// later ones, as browsers (the packet before) and the browser client (two and
// four before) do.
func TestLostPacketsComeAgain(t *testing.T) {
	for _, c := range []struct {
		distances []int
		lost      func(n int) bool
	}{
		{[]int{1}, func(n int) bool { return n%5 == 3 }},
		{[]int{1, 2}, func(n int) bool { return n%7 == 3 || n%7 == 4 }},
		{[]int{2}, func(n int) bool { return n%7 == 3 || n%7 == 4 }},
		{[]int{2, 4}, func(n int) bool { return n%11 == 3 || n%11 == 5 }},
	} {
		t.Run(fmt.Sprint(c.distances), func(t *testing.T) {
			r, _ := traceRoom(t, 2)
			x := r.listen("x")
			a, b := r.mics[0], r.mics[1]
			a.withRED(c.distances...)
			a.edit = func(n int) int {
				if n > 10 && c.lost(n) {
					return -1
				}
				return 0
			}
			a.talking = true
			r.run(4 * time.Second)
			// Passed on: each once, and in its place.
			x.continuous(t, true)
			got := slices.Clone(x.got)
			slices.SortStableFunc(got, func(p, q heard) int { return int(int16(p.seq - q.seq)) })
			sound := 0
			for i, h := range got {
				if i > 0 && h.seq != got[i-1].seq+1 {
					t.Fatalf("passed on: number %d is followed by %d", got[i-1].seq, h.seq)
				}
				if len(h.payload) == 4 {
					if int(h.payload[2])-1 != sound%tracePeak {
						t.Fatalf("passed on: frame %d came as number %d", sound, h.payload[2]-1)
					}
					sound++
				}
			}
			if sound < a.said-5 || r.m.Stats().Restored < 20 {
				t.Errorf("passed on: %d of %d frames came, %d were brought back", sound, a.said, r.m.Stats().Restored)
			}
			// In a mix, once the delay allows for it.
			b.talking = true
			r.run(4 * time.Second)
			before, heard, said := r.m.Stats(), len(x.frames()[0]), a.said
			r.run(4 * time.Second)
			after := r.m.Stats()
			if n := after.Concealed - before.Concealed; n != 0 {
				t.Errorf("in a mix %d frames were made up in 4 s", n)
			}
			if d := (a.said - said) - (len(x.frames()[0]) - heard); d < -3 || d > 3 {
				t.Errorf("in a mix %d frames are missing", d)
			}
		})
	}
}

// TestRedundancyThatDoesNotFit brings back nothing that contradicts the numbers
// and times of the stream.
func TestRedundancyThatDoesNotFit(t *testing.T) {
	block := func(offset int, payload []byte) []byte {
		head := binary.BigEndian.AppendUint32(nil, 1<<31|testPT<<24|uint32(offset)<<10|uint32(len(payload)))
		return append(append(append(head, testPT), payload...), tracePacket(1, 3)...)
	}
	for name, payload := range map[string][]byte{
		"no packet":                 block(960, []byte{0xfa, 200, 1, 2}),
		"of this very moment":       block(0, tracePacket(1, 2)),
		"between two packets":       block(500, tracePacket(1, 2)),
		"from before the start":     block(17*960, tracePacket(1, 2)),
		"of another duration":       block(2880, []byte{0xf8 | 3, 3, 1, 2, 3}), // 60 ms
		"of another payload type":   append(append(binary.BigEndian.AppendUint32(nil, 1<<31|99<<24|960<<10|4), testPT, 1, 2, 3, 4), tracePacket(1, 3)...),
		"nothing":                   append(append(binary.BigEndian.AppendUint32(nil, 1<<31|testPT<<24|960<<10), testPT), tracePacket(1, 3)...),
		"what came, told otherwise": block(2*960, tracePacket(1, 9)),
	} {
		r, _ := traceRoom(t, 1)
		x := r.listen("x")
		a := r.mics[0]
		a.off = true
		push := func(n int, pt uint8, payload []byte) {
			a.src.Push([]*rtp.Packet{makePacket(pt, uint16(100+n), uint32(n*960), 7, true, 20, payload)}, r.now())
			r.run(20 * time.Millisecond)
		}
		push(0, testPT, tracePacket(1, 0))
		push(1, testPT, tracePacket(1, 1))
		push(3, testRED, payload) // 2 is lost
		if s := r.m.Stats(); s.Restored != 0 || s.Passed != 3 || s.Dropped != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		x.continuous(t, true)
	}
}

// TestRedundancyIsSent follows a listener that prefers redundancy through
// silence, passing and mixes.
func TestRedundancyIsSent(t *testing.T) {
	r, _ := traceRoom(t, 3)
	plain, x := r.listen("plain"), r.listenRED("x")
	for _, loss := range []struct {
		percent, depth int
		lean           bool
	}{{1, 1, false}, {30, 0, true}, {30, 2, false}, {0, 0, false}} {
		x.l.SetLoss(loss.percent)
		x.l.SetLean(loss.lean)
		r.run(25 * time.Second)
		x.l.SetLoss(loss.percent)
		from := len(x.got)
		for mask := range 8 {
			for i, k := range r.mics {
				k.talking = mask>>i&1 != 0
			}
			r.run(500 * time.Millisecond)
		}
		for _, k := range r.mics {
			k.talking = false
		}
		r.run(500 * time.Millisecond)
		full, red := 0, 0
		for _, h := range x.got[from:] {
			switch {
			case h.red:
				red++
				if len(h.older) > loss.depth {
					t.Fatalf("at %d %%: %d older packets in one", loss.percent, len(h.older))
				}
				if len(h.older) == loss.depth {
					full++
				}
			case !bytes.Equal(h.payload, opus.Silence):
				t.Fatalf("at %d ms sound came without redundancy", h.ms)
			}
		}
		// Less only where the listener was sent something else before.
		if full < red-7*2*loss.depth || red < 150 {
			t.Errorf("at %d %%: %d of %d packets have %d older ones", loss.percent, full, red, loss.depth)
		}
	}
	x.checkOlder(t)
	x.continuous(t, false)
	// It hears what the others hear, when they hear it.
	if !slices.EqualFunc(plain.got, x.got, func(a, b heard) bool { return a.ms == b.ms && bytes.Equal(a.payload, b.payload) }) {
		t.Error("with redundancy other packets came than without")
	}
}

// TestProtectionOutlastsLoss: more comes at once, less after a while.
func TestProtectionOutlastsLoss(t *testing.T) {
	r := newRoom(t, Config{Codec: traceCodec{new(int)}})
	l := r.listen("x").l
	r.run(time.Second)
	for i, step := range []struct {
		percent, wait int // wait in s, before
		depth         int
		corrects      bool
	}{
		{0, 5, 1, false}, {0, 30, 0, false}, {2, 0, 1, false}, {5, 0, 1, true}, {12, 0, 2, true},
		{2, 5, 2, true}, {0, 10, 2, true}, {0, 6, 0, false}, {12, 0, 2, true}, {2, 21, 1, false}, {0, 19, 1, false}, {0, 2, 0, false},
	} {
		r.run(time.Duration(step.wait) * time.Second)
		l.SetLoss(step.percent)
		if l.depth != step.depth || l.corrects != step.corrects {
			t.Errorf("step %d, %d %%: depth %d, correction %v; want %d, %v", i, step.percent, l.depth, l.corrects, step.depth, step.corrects)
		}
	}
}

// TestLossCostsItsOwnListener: who loses packets and has no redundancy gets a
// mix with error correction; all others go on as they were.
func TestLossCostsItsOwnListener(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	for i, id := range []string{"a", "b"} {
		k, _ := r.join(id, 0)
		k.packets = wordPackets(t, []float64{440, 800}[i])
		k.talking = true
	}
	good, bad, red := r.listen("good"), r.listen("bad"), r.listenRED("red")
	r.run(2 * time.Second)
	encodes := func() uint64 {
		before := r.m.Stats().Encodes
		r.run(time.Second)
		return r.m.Stats().Encodes - before
	}
	if n := encodes(); n != 50 {
		t.Errorf("%d encodes in a second for three who hear the same", n)
	}
	red.l.SetLoss(15)
	if n := encodes(); n != 50 {
		t.Errorf("%d encodes in a second when one with redundancy loses packets", n)
	}
	bad.l.SetLoss(15)
	from := r.ms
	if n := encodes(); n < 99 || n > 102 {
		t.Errorf("%d encodes in a second for two kinds of network", n)
	}
	with := func(e *ear) (n int) {
		for _, h := range e.between(from, r.ms) {
			if opus.HasFEC(h.payload) {
				n++
			}
		}
		return n
	}
	if g, b, x := with(good), with(bad), with(red); g != 0 || x != 0 || b < 20 {
		t.Errorf("of 50 packets %d, %d and %d have error correction, want it for the second listener alone", g, b, x)
	}
	for _, e := range []*ear{good, bad, red} {
		e.continuous(t, false)
	}
	// All two seconds of the words: in some of them two codecs leave half of the tones,
	// to whom nothing is lost too.
	r.run(1300 * time.Millisecond)
	for _, id := range []string{"good", "bad", "red"} {
		r.hears(id, from+300, from+2300, 440, 800)
	}
	// Of one talker too, whose own packets have no correction while its own way is
	// good; all others are passed those.
	r.mics[1].talking = false
	r.mics[0].packets = packetsOf(t, opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: 32000, Complexity: 5}, words(440, 2))
	r.run(2 * time.Second)
	from = r.ms
	if n := encodes(); n != 50 {
		t.Errorf("%d encodes in a second for one talker and one bad network", n)
	}
	if g, b := with(good), with(bad); g != 0 || b < 20 {
		t.Errorf("one talker: of 50 packets %d and %d have error correction, want it for the second listener alone", g, b)
	}
	r.hears("bad", from, r.ms, 440)
	// A full server leaves that out for a while.
	r.m.Spare(true)
	r.run(3 * time.Second)
	from = r.ms
	if n := encodes(); n != 0 {
		t.Errorf("%d encodes in a second of a full server", n)
	}
	if c := r.m.complexity(); c != spareComplexity {
		t.Errorf("complexity %d", c)
	}
	r.hears("bad", from, r.ms, 440)
	r.m.Spare(false)
	r.run(2 * time.Second)
	if n := encodes(); n != 50 {
		t.Errorf("%d encodes in a second when it has room again", n)
	}
	bad.continuous(t, false)
	r.mics[1].talking = true
	r.run(21 * time.Second)
	bad.l.SetLoss(0)
	r.run(2 * time.Second)
	if n := encodes(); n != 50 {
		t.Errorf("%d encodes in a second long after the loss", n)
	}
}

// FuzzRED takes any payload apart, and what was taken apart is put together
// again.
func FuzzRED(f *testing.F) {
	f.Add(redPacket([]byte{1, 2}, []byte{0xf8, 1, 2, 3}))
	f.Add([]byte{0x80 | testPT, 0x1e, 0, 2, 0x80 | testPT, 0x0f, 0, 1, testPT, 9, 9, 8, 0xf8, 1})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		var x red
		primary, ok := x.unwrap(b, testPT)
		if !ok {
			return
		}
		size := len(primary)
		for _, o := range x.older[:x.n] {
			size += 4 + len(o.payload)
			if len(o.payload) == 0 || len(o.payload) > maxBlock || o.offset > maxOffset {
				t.Fatalf("a block of %d bytes, %d samples before", len(o.payload), o.offset)
			}
		}
		if size+1 > len(b) {
			t.Fatalf("%d bytes out of %d", size, len(b))
		}
		var w wrapping
		depth := min(x.n, maxDepth)
		again := w.payload(1, testPT, primary, depth, func(back int) ([]byte, uint32) {
			o := x.older[x.n-back]
			return o.payload, o.offset
		})
		var y red
		got, ok := y.unwrap(again, testPT)
		if !ok || !bytes.Equal(got, primary) || y.n > depth || len(again) > maxRED && y.n > 0 {
			t.Fatalf("% x became % x", b, again)
		}
		if size < maxRED-8 && y.n != depth {
			t.Fatalf("%d of %d blocks were put together again", y.n, depth)
		}
	})
}
