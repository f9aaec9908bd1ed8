package bench

import (
	"fmt"
	"math"

	"belfry/internal/media/opus"
)

// voice makes a few seconds of something like a voice: a tone with overtones that
// rises, falls and is cut in syllables.
func voice(person int) ([][]byte, error) {
	phase, n := 0.0, 0
	return speech(150, func() float64 {
		t := float64(n) / opus.SampleRate
		n++
		pitch := 110 + 13*float64(person%8) + 12*math.Sin(2*math.Pi*0.7*t)
		phase += 2 * math.Pi * pitch / opus.SampleRate
		v := 0.0
		for h := 1.0; h <= 12; h++ {
			v += math.Sin(h*phase) / (1 + math.Abs(h-5))
		}
		return 4500 * v * (0.65 + 0.35*math.Sin(2*math.Pi*4*t))
	})
}

// speech encodes samples in Opus packets of 20 ms at about 27 kbit/s.
func speech(frames int, sample func() float64) ([][]byte, error) {
	enc, err := opus.Native().NewEncoder(opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: 27000, Complexity: 5})
	if err != nil {
		return nil, fmt.Errorf("prepare a voice: %w", err)
	}
	defer enc.Close()
	var packets [][]byte
	pcm, out := make([]int16, opus.FrameSamples), make([]byte, opus.MaxPacket)
	for range frames {
		for i := range pcm {
			pcm[i] = int16(sample())
		}
		n, err := enc.Encode(out, pcm)
		if err != nil {
			return nil, fmt.Errorf("prepare a voice: %w", err)
		}
		packets = append(packets, append([]byte(nil), out[:n]...))
	}
	return packets, nil
}
