package bench

import (
	"fmt"
	"math"

	"belfry/internal/media/opus"
)

// voice makes a few seconds of something like a voice, in Opus packets of 20 ms at
// about 27 kbit/s: a tone with overtones that rises, falls and is cut in syllables.
func voice(person int) ([][]byte, error) {
	enc, err := opus.Native().NewEncoder(opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: 27000, Complexity: 5})
	if err != nil {
		return nil, fmt.Errorf("prepare a voice: %w", err)
	}
	defer enc.Close()
	var packets [][]byte
	pcm, phase, out := make([]int16, opus.FrameSamples), 0.0, make([]byte, opus.MaxPacket)
	for f := range 150 {
		for i := range pcm {
			t := float64(f*opus.FrameSamples+i) / opus.SampleRate
			pitch := 110 + 13*float64(person%8) + 12*math.Sin(2*math.Pi*0.7*t)
			phase += 2 * math.Pi * pitch / opus.SampleRate
			v := 0.0
			for h := 1.0; h <= 12; h++ {
				v += math.Sin(h*phase) / (1 + math.Abs(h-5))
			}
			pcm[i] = int16(4500 * v * (0.65 + 0.35*math.Sin(2*math.Pi*4*t)))
		}
		n, err := enc.Encode(out, pcm)
		if err != nil {
			return nil, fmt.Errorf("prepare a voice: %w", err)
		}
		packets = append(packets, append([]byte(nil), out[:n]...))
	}
	return packets, nil
}
