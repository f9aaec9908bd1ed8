package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"belfry/internal/media/opus"
)

// clock is one of a device that began at a time.
func clock(begin float64, samples int) Clock {
	var pairs []float64
	for at := 0; at < samples; at += 1024 {
		pairs = append(pairs, float64(at), math.Floor(begin+float64(at)*1000/Rate))
	}
	return NewClock(pairs)
}

// loop is what the mouth says for so many frames.
func loop(frames int) []int16 {
	sound := Sound()
	var out []int16
	for len(out) < frames*Frame {
		out = append(out, sound...)
	}
	return out[:frames*Frame]
}

// heard delays the sound by ms in the ear's recording, which begins with the mouth.
func heard(pcm []int16, delay int) []int16 { return append(make([]int16, delay*Rate/1000), pcm...) }

const begin = 1_700_000_000_000.0

func judgeThat(t *testing.T, pcm []int16) Heard {
	t.Helper()
	return Hear(clock(begin, 1000*Frame), clock(begin, len(pcm)+Rate), pcm, begin+1000, begin+19_000)
}

func TestPerfectSound(t *testing.T) {
	h := judgeThat(t, heard(loop(1000), 80))
	if h.Frames < 898 || h.Frames > 901 || h.Share != 1 || h.Score < 97 || h.Gaps != 0 || math.Abs(h.P50-80) > 4 || math.Abs(h.P95-80) > 6 {
		t.Errorf("heard %+v", h)
	}
}

// 10 % of the frames replaced by silence, noise or the frame before are all told.
func TestLostFrames(t *testing.T) {
	pcm := loop(1000)
	random := rand.New(rand.NewPCG(1, 2))
	lost := 0
	for n := 1; n < 1000; n++ {
		if random.Float64() >= 0.1 {
			continue
		}
		if n >= 50 && n < 950 {
			lost++
		}
		frame := pcm[n*Frame : (n+1)*Frame]
		switch random.IntN(3) {
		case 0:
			clear := make([]int16, Frame)
			copy(frame, clear)
		case 1:
			for i := range frame {
				frame[i] = int16(random.NormFloat64() * 3000)
			}
		case 2:
			copy(frame, pcm[(n-1)*Frame:n*Frame])
		}
	}
	h := judgeThat(t, heard(pcm, 120))
	if want := 1 - float64(lost)/900; math.Abs(h.Share-want) > 0.015 {
		t.Errorf("the share is %.3f, %.3f came", h.Share, want)
	}
	if h.Score > 97 || h.Score < 85 || math.Abs(h.P50-120) > 4 {
		t.Errorf("heard %+v", h)
	}
}

func TestGaps(t *testing.T) {
	pcm := loop(1000)
	for n, length := range map[int]int{200: 2, 300: 5, 400: 25} { // 40, 100 and 500 ms
		for i := range pcm[n*Frame : (n+length)*Frame] {
			pcm[n*Frame+i] = 0
		}
	}
	h := judgeThat(t, heard(pcm, 60))
	if h.Gaps != 2 || len(h.When) != 2 || h.When[1] <= h.When[0] || math.Abs(h.Longest-500) > 15 {
		t.Errorf("heard %+v: two gaps are over 60 ms, the longest of 500", h)
	}
	if h := judgeThat(t, make([]int16, 20*Rate)); h.Share != 0 || h.Gaps != 1 || h.Longest != 18_000 || h.Score > 1 {
		t.Errorf("of silence %+v was heard", h)
	}
}

// A jitter buffer that grows plays nothing for a while, loses nothing, and is later from then on.
func TestLaterFromThenOn(t *testing.T) {
	pcm := heard(loop(1000), 60)
	at := 10 * Rate
	pcm = slices.Concat(pcm[:at], make([]int16, Rate*3/10), pcm[at:])
	h := judgeThat(t, pcm)
	if h.Share < 0.995 || h.Gaps != 1 || math.Abs(h.Longest-300) > 25 || math.Abs(h.P95-360) > 6 {
		t.Errorf("heard %+v", h)
	}
}

// The code survives the codec as a browser uses it; what is lost and concealed is told.
func TestSoundThroughOpus(t *testing.T) {
	codec := opus.Native()
	if !codec.Available() {
		t.Skip("built without Opus")
	}
	for _, bitrate := range []int{24_000, 40_000} {
		encoder, err := codec.NewEncoder(opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: bitrate})
		if err != nil {
			t.Fatal(err)
		}
		decoder, err := codec.NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		defer encoder.Close()
		defer decoder.Close()
		said := loop(1000)
		packet, frame := make([]byte, 1500), make([]int16, Frame)
		whole, holed := heard(nil, 53), heard(nil, 53)
		for at := 300; at+Frame <= len(said); at += Frame { // not in step with the code
			n, err := encoder.Encode(packet, said[at:at+Frame])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decoder.Decode(frame, packet[:n]); err != nil {
				t.Fatal(err)
			}
			whole = append(whole, frame...)
		}
		if err := encoder.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := decoder.Reset(); err != nil {
			t.Fatal(err)
		}
		for k, at := 0, 300; at+Frame <= len(said); k, at = k+1, at+Frame {
			n, err := encoder.Encode(packet, said[at:at+Frame])
			if err == nil && k%10 == 9 {
				_, err = decoder.Decode(frame, nil)
			} else if err == nil {
				_, err = decoder.Decode(frame, packet[:n])
			}
			if err != nil {
				t.Fatal(err)
			}
			holed = append(holed, frame...)
		}
		good, bad := judgeThat(t, whole), judgeThat(t, holed)
		t.Logf("%d bit/s: %+v; each tenth lost: %+v", bitrate, good, bad)
		if good.Share < 0.98 || good.Gaps > 0 || good.Score < 90 {
			t.Errorf("%d bit/s: heard %+v", bitrate, good)
		}
		if bad.Share > 0.93 || bad.Share < 0.78 {
			t.Errorf("%d bit/s, each tenth lost: heard %+v", bitrate, bad)
		}
	}
}

func TestSee(t *testing.T) {
	var all []Picture
	for i := range 150 { // 15 s of 10 a second
		at := begin + float64(i)*100
		if i >= 60 && i < 66 { // 700 ms
			continue
		}
		p := Picture{At: at, Stamp: math.Mod(at-70, 1<<27), Width: 320, Height: 180}
		if i >= 30 {
			p.Width, p.Height = 1280, 720
		}
		if i == 100 {
			p.Stamp = -1
		}
		all = append(all, p)
	}
	s := See(all, begin+1000, begin+14_900)
	if s.Height != 720 || s.Reached != 3000 || s.Freezes != 1 || s.Longest != 700 || s.Frozen != 700 || s.P50 != 70 || s.P95 != 70 || s.Unreadable != 1 || s.Pictures != 134 {
		t.Errorf("seen %+v", s)
	}
	if got := FirstOf(all, begin+2000, func(p Picture) bool { return p.Height > 180 }); got != 1000 {
		t.Errorf("the larger one came after %v", got)
	}
	if got := FirstOf(all, begin, func(p Picture) bool { return p.Height > 720 }); got >= 0 {
		t.Errorf("what never came came after %v", got)
	}
	if s := See(nil, begin, begin+5000); s.Freezes != 1 || s.Frozen != 5000 || s.Pictures != 0 {
		t.Errorf("of nothing %+v was seen", s)
	}
}
