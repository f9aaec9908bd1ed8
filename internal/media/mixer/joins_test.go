package mixer

import (
	"math"
	"testing"
	"time"

	"belfry/internal/media/opus"
)

// gliding is a voice that glides, with syllables, and never repeats: any piece of
// it is found again at one place only. It comes with the level of each frame.
func gliding(seconds int) (pcm []float32, levels []int) {
	pcm = make([]float32, seconds*opus.SampleRate)
	phase := 0.0
	for i := range pcm {
		at := float64(i) / opus.SampleRate
		hz := 140 + 30*math.Sin(2*math.Pi*0.31*at) + 17*math.Sin(2*math.Pi*1.13*at)
		phase += 2 * math.Pi * hz / opus.SampleRate
		v := 0.0
		for h := 1; h <= 12; h++ {
			v += math.Sin(float64(h)*phase) / float64(h) * (1 + 0.5*math.Sin(2*math.Pi*(0.7+0.2*float64(h))*at))
		}
		// Between two syllables it is 26 dB quieter.
		syllable := math.Min(1, math.Max(0.05, 6*math.Abs(math.Sin(math.Pi*at/0.29))-1))
		pcm[i] = float32(0.12 * syllable * v)
	}
	for at := 0; at+frame <= len(pcm); at += frame {
		levels = append(levels, int(level(pcm[at:at+frame])))
	}
	return pcm, levels
}

// packetsOf encodes samples.
func packetsOf(t testing.TB, cfg opus.EncoderConfig, pcm []float32) (packets [][]byte) {
	t.Helper()
	e, err := opus.Native().NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for step := frame * cfg.Channels; len(pcm) >= step; pcm = pcm[step:] {
		b := make([]byte, opus.MaxPacket)
		n, err := e.EncodeFloat(b, pcm[:step])
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b[:n])
	}
	return packets
}

// samplesOf decodes packets.
func samplesOf(t testing.TB, packets [][]byte) (pcm []float32) {
	t.Helper()
	d, err := opus.Native().NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	buf := make([]float32, opus.MaxFrameSamples)
	for _, p := range packets {
		n, err := d.DecodeFloat(buf, p)
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, buf[:n]...)
	}
	return pcm
}

// lagOf is by how many samples b must be moved to be most like a, within limits,
// and how alike they are then.
func lagOf(a, b []float32, at, n, from, to int) (lag int, like float64) {
	like = -1
	for l := from; l <= to; l++ {
		if at+l < 0 || at+l+n > len(b) {
			continue
		}
		var ab, aa, bb float64
		for i := 0; i < n; i += 2 {
			x, y := float64(a[at+i]), float64(b[at+l+i])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		if c := ab / math.Sqrt(aa*bb+1e-12); c > like {
			lag, like = l, c
		}
	}
	return lag, like
}

func power(pcm []float32) float64 {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(pcm)))
}

// TestJoinsAreClean listens to one voice that is passed on, mixed and passed on
// again while somebody comes and goes whom nobody can hear, and compares every
// piece with what was said: it may not jump in time, fall into a hole or click.
func TestJoinsAreClean(t *testing.T) {
	needCodec(t)
	pcm, levels := gliding(16)
	for name, cfg := range map[string]opus.EncoderConfig{
		"speech of a browser":             speech(),
		"speech without error correction": {Channels: 1, Application: opus.VoIP, Bitrate: 40000, Complexity: 9},
		"music":                           {Channels: 1, Application: opus.Audio, Bitrate: 64000, Complexity: 9},
	} {
		t.Run(name, func(t *testing.T) {
			packets := packetsOf(t, cfg, pcm)
			said := samplesOf(t, packets)
			for phase := 0; phase < 20; phase += 7 {
				r := newRoom(t, Config{})
				a, b := r.speak("a", 0), r.speak("b", 0)
				c := r.listen("c")
				a.packets, a.levels = packets, levels
				// Loud by its level and all but silent by its sound.
				b.packets, b.phase = tonePackets(t, 800, 0.0005, 960, speech()), phase
				a.talking = true
				r.run(2 * time.Second)
				for range 4 {
					b.talking = true
					r.run(970 * time.Millisecond)
					b.talking = false
					r.run(1890 * time.Millisecond)
				}
				s := r.m.Stats()
				if s.Mixed < 4*50 || s.Passed < 4*50 {
					t.Fatalf("%d packets were mixed and %d passed on", s.Mixed, s.Passed)
				}
				c.continuous(t, false)
				heard := c.pcm(0, r.ms)
				compareVoice(t, heard, said, phase)
			}
		})
	}
}

// compareVoice holds what was heard against what was said, from the first second
// on, which was passed on.
func compareVoice(t *testing.T, heard, said []float32, phase int) {
	t.Helper()
	const second, piece = opus.SampleRate, frame
	base, like := lagOf(heard, said, second, second/20, -second/25, second/25)
	if like < 0.999 {
		t.Fatalf("phase %d: passed on, the voice is alike by %.4f only", phase, like)
	}
	// In a mix it has gone through another encoder, whose look-ahead is 2.5 ms.
	const lookahead = second / 400
	off := func(at, n, lag int) float64 {
		var sum float64
		for i := at; i < at+n; i++ {
			d := float64(heard[i] - said[i+lag])
			sum += d * d
		}
		return math.Sqrt(sum / float64(n))
	}
	mixed, apart, run, last := 0, 0, 0, 0
	for at := second; at+3*piece < len(heard); at += piece / 4 {
		level := power(said[at+base-lookahead/2:][:piece/4])
		if level < 0.02 {
			continue // between syllables there is nothing to compare
		}
		passed, mix := off(at, piece/4, base), off(at, piece/4, base-lookahead)
		if mix < passed {
			mixed++
		}
		// Where the two meet it is neither, for a few ms, but no hole.
		if min(passed, mix) > level/2 {
			if apart++; at-last > second/20 {
				run, last = 0, at
			}
			if run++; run > 2 {
				t.Errorf("phase %d: at %d ms the voice is something else for longer than where two codecs meet", phase, at/48)
			}
			if got := power(heard[at:][:piece/4]); level > 0.08 && got < level*0.4 {
				t.Errorf("phase %d: at %d ms the voice falls from a level of %.3f to %.3f", phase, at/48, level, got)
			}
		}
	}
	t.Logf("phase %d: %d pieces of 5 ms through a mix, %d where two codecs meet", phase, mixed, apart)
	if mixed < 500 || apart > 15 {
		t.Errorf("phase %d: %d pieces of 5 ms came through a mix, %d are neither that nor passed on", phase, mixed, apart)
	}
	// A click is a step that the voice does not make.
	var most float64
	for i := range said[1:] {
		most = math.Max(most, math.Abs(float64(said[i+1]-said[i])))
	}
	for i := second; i < len(heard); i++ {
		if d := math.Abs(float64(heard[i] - heard[i-1])); d > 1.5*most {
			t.Errorf("phase %d: a step of %.3f at %d ms, where the voice makes %.3f", phase, d, i/48, most)
		}
	}
	if lag, like := lagOf(heard, said, len(heard)-second/2, second/20, base-piece, base+piece); lag != base || like < 0.99 {
		t.Errorf("phase %d: in the end the voice is %.2f ms off, and alike by %.3f", phase, float64(lag-base)/48, like)
	}
}
