package bench

import (
	"testing"
	"time"

	"belfry/internal/bench/check"
	"belfry/internal/media/opus"
)

// The beep is heard in voices, and they are not taken for it.
func TestEar(t *testing.T) {
	tone, err := beep()
	if err != nil {
		t.Fatal(err)
	}
	first, err := voice(0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := voice(7)
	if err != nil {
		t.Fatal(err)
	}
	mix := mixer(t, first, second, tone)
	for name, c := range map[string]struct {
		packets [][]byte
		after   int // packets until the beep comes, -1: never
	}{
		"voice": {first, -1},
		"other": {second, -1},
		"beep":  {tone, 0},
		"mix":   {mix, 20},
	} {
		speech := &check.Speech{}
		speech.Begin(1)
		e, err := newEar(speech)
		if err != nil {
			t.Fatal(err)
		}
		e.measure(1, int64(time.Hour))
		for i, p := range c.packets {
			e.hear(p, 1+int64(i)*int64(20*time.Millisecond))
		}
		e.close()
		if heard := e.latency.Count() > 0; heard != (c.after >= 0) {
			t.Errorf("%s: heard %v", name, heard)
			continue
		}
		late := time.Duration(e.latency.Quantile(1))
		if want := time.Duration(c.after) * 20 * time.Millisecond; c.after >= 0 && (late < want || late > want+want/10+20*time.Millisecond) {
			t.Errorf("%s: heard after %v, want %v", name, late, want)
		}
	}
}

// mixer mixes two voices for a second, with the beep after 0.4 s.
func mixer(t *testing.T, a, b, tone [][]byte) [][]byte {
	var decoders [3]opus.Decoder
	for i := range decoders {
		d, err := opus.Native().NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		decoders[i] = d
	}
	n, i := 0, 0
	sum := make([]int, opus.FrameSamples)
	pcm := make([]int16, opus.FrameSamples)
	packets, err := speech(50, func() float64 {
		if i == 0 {
			clear(sum)
			for k, list := range [][][]byte{a, b, tone} {
				if k == 2 && n < 20 {
					continue
				}
				from := n
				if k == 2 {
					from -= 20
				}
				if _, err := decoders[k].Decode(pcm, list[from]); err != nil {
					t.Fatal(err)
				}
				for s, v := range pcm {
					sum[s] += int(v) / 2
				}
			}
			n++
		}
		v := sum[i]
		i = (i + 1) % len(sum)
		return float64(min(max(v, -32768), 32767))
	})
	if err != nil {
		t.Fatal(err)
	}
	return packets
}
