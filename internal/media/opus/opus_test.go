package opus

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func needCodec(t testing.TB) {
	t.Helper()
	if !Native().Available() {
		t.Skip("built without the codec")
	}
}

// tone is one channel of a sine.
func tone(samples int, hz, amplitude float64) []float32 {
	pcm := make([]float32, samples)
	for i := range pcm {
		pcm[i] = float32(amplitude * math.Sin(2*math.Pi*hz*float64(i)/SampleRate))
	}
	return pcm
}

// goertzel is the amplitude of a frequency in pcm.
func goertzel(pcm []float32, hz float64) float64 {
	w := 2 * math.Pi * hz / SampleRate
	var re, im float64
	for i, v := range pcm {
		re += float64(v) * math.Cos(w*float64(i))
		im += float64(v) * math.Sin(w*float64(i))
	}
	return 2 * math.Hypot(re, im) / float64(len(pcm))
}

func encodeAll(t *testing.T, cfg EncoderConfig, pcm []float32) [][]byte {
	t.Helper()
	e, err := Native().NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out [][]byte
	step := FrameSamples * cfg.Channels
	for at := 0; at+step <= len(pcm); at += step {
		buf := make([]byte, MaxPacket)
		n, err := e.EncodeFloat(buf, pcm[at:at+step])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, buf[:n])
	}
	return out
}

func TestToneSurvives(t *testing.T) {
	needCodec(t)
	for _, app := range []Application{VoIP, Audio, LowDelay} {
		packets := encodeAll(t, EncoderConfig{Channels: 1, Application: app, Bitrate: 48000, Complexity: 5}, tone(SampleRate, 1000, 0.5))
		d, err := Native().NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var got []float32
		buf := make([]float32, MaxFrameSamples)
		for _, p := range packets {
			n, err := d.DecodeFloat(buf, p)
			if err != nil || n != FrameSamples {
				t.Fatalf("application %d: decoded %d samples, %v", app, n, err)
			}
			got = append(got, buf[:n]...)
		}
		half := got[len(got)/2:]
		if a := goertzel(half, 1000); a < 0.42 || a > 0.58 {
			t.Errorf("application %d: the tone of 0.5 came out with amplitude %.3f", app, a)
		}
		if a := goertzel(half, 1700); a > 0.02 {
			t.Errorf("application %d: there is a tone of 1,700 Hz with amplitude %.3f", app, a)
		}
	}
}

func TestStereoAndInt16(t *testing.T) {
	needCodec(t)
	e, err := Native().NewEncoder(EncoderConfig{Channels: 2, Bitrate: 128000, Complexity: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	d, err := Native().NewDecoder(2)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	left, right := tone(SampleRate/2, 600, 0.4), tone(SampleRate/2, 2500, 0.4)
	var gotL, gotR []float32
	pcm, out, packet := make([]int16, 2*FrameSamples), make([]int16, 2*MaxFrameSamples), make([]byte, MaxPacket)
	for at := 0; at+FrameSamples <= len(left); at += FrameSamples {
		for i := range FrameSamples {
			pcm[2*i], pcm[2*i+1] = int16(left[at+i]*32767), int16(right[at+i]*32767)
		}
		n, err := e.Encode(packet, pcm)
		if err != nil {
			t.Fatal(err)
		}
		if in, err := Parse(packet[:n]); err != nil || !in.Stereo || in.Samples() != FrameSamples {
			t.Fatalf("Parse says %+v, %v", in, err)
		}
		n, err = d.Decode(out, packet[:n])
		if err != nil || n != FrameSamples {
			t.Fatalf("decoded %d, %v", n, err)
		}
		for i := range n {
			gotL, gotR = append(gotL, float32(out[2*i])/32767), append(gotR, float32(out[2*i+1])/32767)
		}
	}
	gotL, gotR = gotL[len(gotL)/2:], gotR[len(gotR)/2:]
	if l, x := goertzel(gotL, 600), goertzel(gotL, 2500); l < 0.33 || x > 0.06 {
		t.Errorf("left: %.3f of its own tone, %.3f of the other's", l, x)
	}
	if r, x := goertzel(gotR, 2500), goertzel(gotR, 600); r < 0.33 || x > 0.06 {
		t.Errorf("right: %.3f of its own tone, %.3f of the other's", r, x)
	}
}

// TestErrorCorrection loses every fourth packet and compares what in-band
// error correction brings back with what concealment makes up.
func TestErrorCorrection(t *testing.T) {
	needCodec(t)
	// A tone that changes its pitch every 60 ms cannot be guessed.
	pcm := make([]float32, SampleRate*2)
	phase := 0.0
	for i := range pcm {
		hz := 200 + float64(i/(3*FrameSamples)*7919%13)*90
		phase += 2 * math.Pi * hz / SampleRate
		pcm[i] = float32(0.3*math.Sin(phase) + 0.1*math.Sin(3*phase))
	}
	packets := encodeAll(t, EncoderConfig{Channels: 1, Application: VoIP, Bitrate: 32000, Complexity: 8, FEC: true, PacketLoss: 25}, pcm)
	decode := func(lose, fec bool) (out []float32) {
		d, err := Native().NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for i := 0; i < len(packets)-1; i++ {
			buf := make([]float32, FrameSamples)
			switch {
			case lose && i%4 == 3 && fec:
				if !HasFEC(packets[i+1]) {
					t.Logf("packet %d carries nothing for the one before", i+1)
				}
				_, err = d.DecodeFECFloat(buf, packets[i+1])
			case lose && i%4 == 3:
				_, err = d.DecodeFloat(buf, nil)
			default:
				_, err = d.DecodeFloat(buf, packets[i])
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, buf...)
		}
		return out
	}
	whole, concealed, corrected := decode(false, false), decode(true, false), decode(true, true)
	distance := func(a []float32) (sum float64) {
		for i := range a {
			sum += math.Pow(float64(a[i]-whole[i]), 2)
		}
		return sum
	}
	if c, f := distance(concealed), distance(corrected); f > c/2 || c == 0 {
		t.Errorf("error with correction %.2f, with concealment %.2f: correction should be far nearer", f, c)
	}
}

func TestSilenceDecodesToSilence(t *testing.T) {
	needCodec(t)
	in, err := Parse(Silence)
	if err != nil || in.Samples() != FrameSamples || !in.Silent || in.Stereo {
		t.Fatalf("Parse says %+v, %v", in, err)
	}
	d, err := Native().NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pcm := make([]float32, FrameSamples)
	for range 10 {
		if n, err := d.DecodeFloat(pcm, Silence); err != nil || n != FrameSamples {
			t.Fatalf("decoded %d, %v", n, err)
		}
	}
	for i, v := range pcm {
		if v > 1e-4 || v < -1e-4 {
			t.Fatalf("sample %d is %g", i, v)
		}
	}
}

func TestDTX(t *testing.T) {
	needCodec(t)
	packets := encodeAll(t, EncoderConfig{Channels: 1, Application: VoIP, Bitrate: 24000, Complexity: 5, DTX: true}, make([]float32, SampleRate))
	silent := 0
	for _, p := range packets {
		if in, err := Parse(p); err == nil && in.Silent {
			silent++
		}
	}
	if silent < len(packets)/2 {
		t.Errorf("%d of %d packets of silence are silent", silent, len(packets))
	}
}

func TestMisuse(t *testing.T) {
	needCodec(t)
	c := Native()
	for _, cfg := range []EncoderConfig{{}, {Channels: 3}, {Channels: 1, Bitrate: 5}, {Channels: 1, Complexity: 11}, {Channels: 1, Application: 7}, {Channels: 1, PacketLoss: 101}} {
		if _, err := c.NewEncoder(cfg); !errors.Is(err, ErrArgument) {
			t.Errorf("NewEncoder(%+v): %v", cfg, err)
		}
	}
	if _, err := c.NewDecoder(0); !errors.Is(err, ErrArgument) {
		t.Errorf("NewDecoder(0): %v", err)
	}
	e, err := c.NewEncoder(EncoderConfig{Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, MaxPacket)
	for _, n := range []int{0, 1, 7, 2 * 100} {
		if _, err := e.EncodeFloat(buf, make([]float32, n)); !errors.Is(err, ErrArgument) {
			t.Errorf("EncodeFloat of %d samples: %v", n, err)
		}
	}
	e.Close()
	e.Close()
	if _, err := e.Encode(buf, make([]int16, 2*FrameSamples)); !errors.Is(err, ErrClosed) {
		t.Errorf("Encode after Close: %v", err)
	}
	d, err := c.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]float32, MaxFrameSamples)
	if _, err := d.DecodeFloat(pcm, []byte{}); !errors.Is(err, ErrInvalidPacket) {
		t.Errorf("an empty packet: %v", err)
	}
	if _, err := d.DecodeFloat(pcm[:100], Silence); !errors.Is(err, ErrArgument) {
		t.Errorf("too little room: %v", err)
	}
	if _, err := d.DecodeFloat(nil, Silence); !errors.Is(err, ErrArgument) {
		t.Errorf("no room: %v", err)
	}
	d.Close()
	d.Close()
	if _, err := d.DecodeFloat(pcm, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Decode after Close: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	needCodec(t)
	e, err := Native().NewEncoder(EncoderConfig{Channels: 1, Complexity: 5, Bitrate: 48000})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	d, err := Native().NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pcm, packet := tone(FrameSamples, 440, 0.3), make([]byte, MaxPacket)
	out := make([]float32, FrameSamples)
	if n := testing.AllocsPerRun(50, func() {
		n, err := e.EncodeFloat(packet, pcm)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.DecodeFloat(out, packet[:n]); err != nil {
			t.Fatal(err)
		}
		if _, err := d.DecodeFloat(out, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(packet[:n]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParse(t *testing.T) {
	long := make([]byte, 1400)
	for _, c := range []struct {
		name    string
		packet  []byte
		samples int // 0: invalid
	}{
		{"empty", nil, 0},
		{"silence of a browser", []byte{0xf8, 0xff, 0xfe}, 960},
		{"SILK 10 ms", []byte{0x00}, 480},
		{"SILK 60 ms", []byte{3 << 3, 1}, 2880},
		{"hybrid 10 ms", []byte{12 << 3, 1}, 480},
		{"hybrid 20 ms", []byte{13 << 3, 1}, 960},
		{"CELT 2.5 ms", []byte{16 << 3, 1}, 120},
		{"two equal", []byte{31<<3 | 1, 1, 2, 3, 4}, 1920},
		{"two equal, odd", []byte{31<<3 | 1, 1, 2, 3}, 0},
		{"two of any size", []byte{31<<3 | 2, 1, 9, 8}, 1920},
		{"two, first too long", []byte{31<<3 | 2, 9, 9, 8}, 0},
		{"two, no length", []byte{31<<3 | 2}, 0},
		{"two, half a length", []byte{31<<3 | 2, 255}, 0},
		{"many, no count", []byte{31<<3 | 3}, 0},
		{"many, none", []byte{31<<3 | 3, 0}, 0},
		{"three equal", []byte{31<<3 | 3, 3, 1, 2, 3}, 2880},
		{"three unequal", []byte{31<<3 | 3, 3, 1, 2}, 0},
		{"seven of 20 ms", []byte{31<<3 | 3, 7, 1, 2, 3, 4, 5, 6, 7}, 0},
		{"48 of 2.5 ms", append([]byte{16<<3 | 3, 48}, make([]byte, 48)...), 5760},
		{"three with lengths", []byte{31<<3 | 3, 0x83, 1, 2, 9, 8, 8, 7}, 2880},
		{"three, last length too long", []byte{31<<3 | 3, 0x83, 1, 9, 9, 8}, 0},
		{"padded", []byte{31<<3 | 3, 0x41, 2, 7, 0, 0}, 960},
		{"more padding than packet", []byte{31<<3 | 3, 0x41, 200, 7, 0, 0}, 0},
		{"padding without end", []byte{31<<3 | 3, 0x41, 255, 255}, 0},
		{"frame too long", append([]byte{31 << 3}, long...), 0},
	} {
		in, err := Parse(c.packet)
		if got := in.Samples(); got != c.samples || (err == nil) != (c.samples > 0) {
			t.Errorf("%s: %d samples, %v; want %d", c.name, got, err, c.samples)
		}
	}
}

// TestParseAgrees holds Parse against the codec's own reading of random packets.
func TestParseAgrees(t *testing.T) {
	needCodec(t)
	d, err := Native().NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	pcm := make([]float32, MaxFrameSamples)
	valid := 0
	for range 3000 {
		p := make([]byte, 1+rnd.IntN(60))
		for i := range p {
			p[i] = byte(rnd.Uint32())
			if i > 1 && rnd.IntN(3) > 0 {
				p[i] &= 7 // lengths that can be true
			}
		}
		if len(p) > 1 && p[0]&3 == 3 {
			p[1] &= 0xc7
		}
		in, err := Parse(p)
		n, derr := d.DecodeFloat(pcm, p)
		if (err == nil) != (derr == nil) || err == nil && n != in.Samples() {
			t.Fatalf("% x: Parse says %d samples, %v; the codec says %d, %v", p, in.Samples(), err, n, derr)
		}
		if err == nil {
			valid++
		}
	}
	if valid < 500 {
		t.Errorf("only %d packets were valid: the comparison shows little", valid)
	}
}

func TestWithoutCodec(t *testing.T) {
	if Native().Available() {
		t.Skip("built with the codec")
	}
	if _, err := Native().NewDecoder(1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("NewDecoder: %v", err)
	}
	if _, err := Native().NewEncoder(EncoderConfig{Channels: 1}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("NewEncoder: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0xf8, 0xff, 0xfe})
	f.Add([]byte{31<<3 | 3, 0xc3, 255, 1, 2, 9, 8, 8, 7})
	f.Fuzz(func(t *testing.T, p []byte) {
		HasFEC(p)
		in, err := Parse(p)
		if err != nil {
			return
		}
		if n := in.Samples(); n < 120 || n > MaxFrameSamples || in.Frames < 1 || in.Frames > 48 {
			t.Fatalf("% x: %+v", p, in)
		}
	})
}

func FuzzDecode(f *testing.F) {
	needCodec(f)
	d, err := Native().NewDecoder(2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0xf8, 0xff, 0xfe})
	f.Add([]byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	pcm := make([]float32, 2*MaxFrameSamples)
	f.Fuzz(func(t *testing.T, p []byte) {
		in, perr := Parse(p)
		n, err := d.DecodeFloat(pcm, p)
		if err == nil && (perr != nil || n != in.Samples()) && len(p) > 0 {
			t.Fatalf("% x: decoded %d, Parse says %+v, %v", p, n, in, perr)
		}
		if len(p) > 0 {
			if _, err := d.DecodeFECFloat(pcm[:2*FrameSamples], p); err != nil && perr == nil {
				t.Fatalf("% x: error correction: %v", p, err)
			}
		}
		if _, err := d.DecodeFloat(pcm[:2*FrameSamples], nil); err != nil {
			t.Fatalf("concealment: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	needCodec(b)
	e, _ := Native().NewEncoder(EncoderConfig{Channels: 1, Complexity: 5, Bitrate: 48000})
	defer e.Close()
	pcm, packet := tone(FrameSamples, 440, 0.3), make([]byte, MaxPacket)
	b.ReportAllocs()
	for b.Loop() {
		e.EncodeFloat(packet, pcm)
	}
}

func BenchmarkDecode(b *testing.B) {
	needCodec(b)
	e, _ := Native().NewEncoder(EncoderConfig{Channels: 1, Complexity: 5, Bitrate: 48000})
	defer e.Close()
	d, _ := Native().NewDecoder(1)
	defer d.Close()
	pcm, packet := tone(FrameSamples, 440, 0.3), make([]byte, MaxPacket)
	n, _ := e.EncodeFloat(packet, pcm)
	b.ReportAllocs()
	for b.Loop() {
		d.DecodeFloat(pcm, packet[:n])
	}
}
