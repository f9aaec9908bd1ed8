package bench

import (
	"slices"
	"testing"

	"belfry/internal/bench/client"
	"belfry/internal/bench/judge"
	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

// A loudspeaker says what was sent, and of what was lost or late as much as can be
// expected.
func TestPlayout(t *testing.T) {
	if !opus.Native().Available() {
		t.Skip("no codec in this build")
	}
	code, err := Code()
	if err != nil {
		t.Fatal(err)
	}
	const ms = int64(1e6)
	hear := func(red bool, lost, late func(n int) bool) judge.Heard {
		var p Playout
		var mouth []float64
		for n := range 400 {
			at := int64(1000+20*n) * ms
			mouth = append(mouth, float64(n*opus.FrameSamples), float64(at/ms-20))
			if lost(n) {
				continue
			}
			arrived := at + 30*ms
			if late(n) {
				arrived += 500 * ms
			}
			var w rtp.HeaderWriter
			payload, payloadType := code[n%len(code)], uint8(111)
			if red && n > 0 {
				payloadType = client.PayloadRED
				before := code[(n-1)%len(code)]
				payload = slices.Concat([]byte{0x80 | 111, 960 >> 6, 960 & 63 << 2, byte(len(before)), 111}, before, payload)
			}
			w.Begin(make([]byte, 64), payloadType, false, uint16(n), 1<<32-960*100+uint32(n)*960, 7)
			pkt := new(rtp.Packet)
			if err := pkt.Parse(append(w.Bytes(), payload...)); err != nil {
				t.Fatal(err)
			}
			pkt.Arrival = arrived
			p.Hear(pkt)
		}
		played, err := p.Play()
		if err != nil {
			t.Fatal(err)
		}
		return judge.Hear(judge.NewClock(mouth), played.Clock, played.PCM, 2000, 8000)
	}
	never := func(int) bool { return false }
	whole := hear(false, never, never)
	if whole.Share < 0.98 || whole.Gaps != 0 || whole.P50 < 120 || whole.P50 > 220 {
		t.Errorf("where nothing is wrong: %+v", whole)
	}
	for name, h := range map[string]judge.Heard{
		"lost": hear(false, func(n int) bool { return n >= 200 && n < 220 }, never),
		"late": hear(false, never, func(n int) bool { return n >= 200 && n < 220 }),
	} {
		if h.Gaps != 1 || h.Longest < 250 || h.Longest > 950 || h.Share > whole.Share-0.04 {
			t.Errorf("400 ms that are %s: %+v", name, h)
		}
	}
	third := func(n int) bool { return n%3 == 1 }
	if h := hear(true, third, never); h.Share < 0.98 || h.Gaps != 0 {
		t.Errorf("each third lost, and redundant: %+v", h)
	}
	if h := hear(false, third, never); h.Share > 0.9 {
		t.Errorf("each third lost: %+v", h)
	}
	if out, err := new(Playout).Play(); err != nil || len(out.PCM) != 0 {
		t.Errorf("nothing is %d samples, %v", len(out.PCM), err)
	}
}

// FuzzBlocks takes hostile redundant payloads apart: no more comes out than went in.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte{0x80 | 111, 15, 0, 2, 111, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := 0
		blocks(b, func(before uint32, payload []byte) {
			if before >= 1<<14 {
				t.Fatalf("a block %d samples before", before)
			}
			sum += len(payload)
		})
		if sum > len(b) {
			t.Fatalf("%d bytes of %d", sum, len(b))
		}
	})
}
