package mixer

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

func TestAloneThereIsSilence(t *testing.T) {
	r := newRoom(t, Config{})
	_, e := r.join("a", 0)
	r.run(2 * time.Second)
	if n := len(e.got); n != 100 {
		t.Errorf("%d packets in 2 s, want 100", n)
	}
	e.continuous(t, false)
	for i, h := range e.got {
		if h.ms != 20*i {
			t.Fatalf("packet %d of silence left at %d ms", i, h.ms)
		}
		if !bytes.Equal(h.payload, opus.Silence) || h.pt != testPT || h.ssrc != 1000 {
			t.Fatalf("at %d ms came %+v", h.ms, h)
		}
	}
	if s := r.m.Stats(); s.Encodes+s.Decodes != 0 || s.Silent != 100 {
		t.Errorf("silence cost %+v", s)
	}
}

func TestOneTalkerIsPassedOn(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, ea := r.join("a", 440)
	_, eb := r.join("b", 0)
	_, ec := r.join("c", 0)
	r.run(500 * time.Millisecond)
	a.talking = true
	first := a.n
	r.run(2 * time.Second)
	for _, e := range []*ear{eb, ec} {
		e.continuous(t, false)
		sent := e.between(500, 2500)
		if len(sent) < 99 || len(sent) > 102 {
			t.Errorf("%d packets in 2 s", len(sent))
		}
		i := 0
		for _, h := range sent {
			if bytes.Equal(h.payload, opus.Silence) {
				continue
			}
			if want := a.packets[(first+i)%len(a.packets)]; !bytes.Equal(h.payload, want) {
				t.Fatalf("packet %d is not the talker's: % x, want % x", i, h.payload[:4], want[:4])
			}
			// It leaves in the same millisecond in which it came.
			if (h.ms-a.phase)%20 != 0 {
				t.Fatalf("packet %d left at %d ms", i, h.ms)
			}
			i++
		}
		if i != 100 {
			t.Errorf("%d of 100 packets were passed on", i)
		}
	}
	ea.continuous(t, false)
	for _, h := range ea.got {
		if !bytes.Equal(h.payload, opus.Silence) {
			t.Fatal("the talker hears something")
		}
	}
	if s := r.m.Stats(); s.Encodes+s.Decodes != 0 {
		t.Errorf("passing on cost %d encodes and %d decodes", s.Encodes, s.Decodes)
	}
	a.talking = false
	r.run(time.Second)
	if rest := eb.between(3100, 3500); len(rest) != 20 || !bytes.Equal(rest[0].payload, opus.Silence) {
		t.Errorf("%d packets after the talk", len(rest))
	}
	eb.continuous(t, false)
	if n := len(eb.got); n < 174 || n > 176 {
		t.Errorf("%d packets in 3.5 s", n)
	}
}

func TestTalkersHearAllOthers(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, ea := r.join("a", 440)
	b, eb := r.join("b", 800)
	c, ec := r.join("c", 1330)
	_, ed := r.join("d", 0)
	_, ee := r.join("e", 0)
	r.run(200 * time.Millisecond)
	a.talking, b.talking = true, true
	r.run(2 * time.Second)
	r.hears("a", 700, 2200, 800)
	r.hears("b", 700, 2200, 440)
	r.hears("c", 700, 2200, 440, 800)
	r.hears("d", 700, 2200, 440, 800)
	before := r.m.Stats()
	r.run(time.Second)
	after := r.m.Stats()
	if d := after.Encodes - before.Encodes; d != 50 {
		t.Errorf("two talkers: %d encodes in 50 ticks, want one each", d)
	}
	// Where a frame is left out, to take back the packet from before its first word
	// that a newcomer brings, one packet more is decoded.
	if d := after.Decodes - before.Decodes - (after.Skipped - before.Skipped); d != 100 {
		t.Errorf("two talkers: %d decodes in 50 ticks, want two each", d)
	}
	if !bytes.Equal(ed.got[len(ed.got)-1].payload, ee.got[len(ee.got)-1].payload) {
		t.Error("two listeners of one mix got different packets")
	}
	c.talking = true
	r.run(2 * time.Second)
	r.hears("a", 3700, 5200, 800, 1330)
	r.hears("b", 3700, 5200, 440, 1330)
	r.hears("c", 3700, 5200, 440, 800)
	r.hears("d", 3700, 5200, 440, 800, 1330)
	before = r.m.Stats()
	r.run(time.Second)
	after = r.m.Stats()
	if d := after.Encodes - before.Encodes; d != 4*50 {
		t.Errorf("three talkers: %d encodes in 50 ticks, want four each", d)
	}
	if d := after.Decodes - before.Decodes - (after.Skipped - before.Skipped); d != 3*50 {
		t.Errorf("three talkers: %d decodes in 50 ticks, want three each", d)
	}
	// A newcomer brings one frame from before its first word, and one more when it
	// had to wait for those who were passed somebody else.
	if after.Concealed != 0 || after.Skipped > 3 {
		t.Errorf("an even network made %d concealed frames, and %d were left out for two that came to a mix", after.Concealed, after.Skipped)
	}
	for _, e := range []*ear{ea, eb, ec, ed, ee} {
		e.continuous(t, false)
		if n := len(e.between(5200, 6200)); n != 50 {
			t.Errorf("%d packets in the last second", n)
		}
	}
	// Once settled nothing is left out any more.
	r.run(3 * time.Second)
	before = r.m.Stats()
	r.run(4 * time.Second)
	after = r.m.Stats()
	if d := after.Decodes - before.Decodes; d != 3*200 || after.Skipped != before.Skipped || after.Concealed != 0 {
		t.Errorf("settled: %d decodes in 200 ticks, %d frames left out, %d concealed", d, after.Skipped-before.Skipped, after.Concealed)
	}
	// Back to one talker, then to none.
	a.talking, c.talking = false, false
	r.run(2 * time.Second)
	r.hears("a", 14000, 15200, 800)
	r.hears("d", 14000, 15200, 800)
	before = r.m.Stats()
	r.run(time.Second)
	if after := r.m.Stats(); after.Encodes != before.Encodes || after.Decodes != before.Decodes {
		t.Errorf("one talker costs encodes or decodes again")
	}
	ed.continuous(t, false)
	if n := len(ed.got); n < 809 || n > 812 {
		t.Errorf("%d packets in 16.2 s", n)
	}
}

// TestNothingTwiceNothingLost follows one talker through the beginning and the
// end of a mix: the listener must get each of its frames once.
func TestNothingTwiceNothingLost(t *testing.T) {
	needCodec(t)
	for phase := range 20 {
		r := newRoom(t, Config{})
		a, _ := r.join("a", 440)
		b, _ := r.join("b", 800)
		_, ec := r.join("c", 0)
		b.phase = phase
		a.talking = true
		r.run(time.Second)
		b.talking = true
		r.run(time.Second)
		b.talking = false
		r.run(1500 * time.Millisecond)
		a.talking = false
		r.run(time.Second)
		ec.continuous(t, false)
		s := r.m.Stats()
		// The one left out is what B brought from before its first word.
		if s.Concealed+s.Late > 0 || s.Skipped > 1 {
			t.Errorf("phase %d: %d concealed, %d skipped, %d late", phase, s.Concealed, s.Skipped, s.Late)
		}
		n := 0
		for _, h := range ec.between(0, 3500) {
			if !bytes.Equal(h.payload, opus.Silence) {
				n++
			}
		}
		// 3.5 s of talk are 175 packets.
		if n < 174 || n > 176 {
			t.Errorf("phase %d: %d packets with sound in 3.5 s of talk", phase, n)
		}
		if d := len(ec.got) - 225; d < -1 || d > 1 {
			t.Errorf("phase %d: %d packets in 4.5 s", phase, len(ec.got))
		}
		// No gap that a client's own jitter buffer would not take.
		for i := 1; i < len(ec.got); i++ {
			if gap := ec.got[i].ms - ec.got[i-1].ms; gap > 60 {
				t.Errorf("phase %d: nothing came for %d ms before %d ms", phase, gap, ec.got[i].ms)
			}
		}
	}
}

// TestNoClicks listens to a tone while mixes come and go around it: a click
// would be a step from one sample to the next that the tone does not make.
func TestNoClicks(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	b, _ := r.join("b", 800)
	_, ec := r.join("c", 0)
	// B is loud by its level and all but silent by its sound: every change is one of
	// the path alone.
	b.packets = tonePackets(t, 800, 0.0005, 960, speech())
	a.talking = true
	r.run(time.Second)
	for range 4 {
		b.talking = true
		r.run(700 * time.Millisecond)
		b.talking = false
		r.run(700 * time.Millisecond)
	}
	ec.continuous(t, false)
	pcm := ec.pcm(200, r.ms)
	worst, at := 0.0, 0
	for i := 1; i < len(pcm); i++ {
		if d := math.Abs(float64(pcm[i] - pcm[i-1])); d > worst {
			worst, at = d, i
		}
	}
	// Nor may it fade. Where codecs join, two phases of the tone cross for some ms.
	for i := 0; i+480 <= len(pcm); i += 480 {
		var sum float64
		for _, v := range pcm[i : i+480] {
			sum += float64(v) * float64(v)
		}
		if a := math.Sqrt(2 * sum / 480); a < voiceAmplitude*0.45 || a > voiceAmplitude*1.5 {
			t.Errorf("at %d ms the amplitude is %.3f", i/48+200, a)
		}
	}
	// A sine of this frequency and amplitude steps by at most 2πf·a/rate = 0.0115.
	if limit := 2 * math.Pi * 440 / opus.SampleRate * voiceAmplitude * 4; worst > limit {
		t.Errorf("a step of %.4f at %d ms, the tone's own are %.4f", worst, at/48+200, limit/4)
	}
}

func TestMute(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	b, _ := r.join("b", 800)
	_, ec := r.join("c", 0)
	a.talking = true
	r.run(time.Second)
	a.src.SetMuted(true)
	r.run(time.Second)
	for _, h := range ec.between(1000, 2000) {
		if !bytes.Equal(h.payload, opus.Silence) {
			t.Fatalf("at %d ms a muted attendee was heard", h.ms)
		}
	}
	if n := len(ec.between(1000, 2000)); n < 49 || n > 51 {
		t.Errorf("%d packets in a second of mute", n)
	}
	a.src.SetMuted(false)
	r.run(40 * time.Millisecond)
	if got := ec.got[len(ec.got)-1]; bytes.Equal(got.payload, opus.Silence) {
		t.Error("40 ms after it was unmuted, the attendee is not heard")
	}
	// In a mix.
	b.talking = true
	r.run(time.Second)
	a.src.SetMuted(true)
	mutedAt := r.ms
	r.run(time.Second)
	r.hears("c", mutedAt+40, r.ms, 800)
	if got := ec.between(mutedAt+60, r.ms); len(got) < 45 {
		t.Errorf("%d packets after the mute in the mix", len(got))
	}
	ec.continuous(t, false)
	// Both directions of the right to speak and to hear.
	a.src.SetMuted(false)
	a.src.SetBarred(true)
	r.run(500 * time.Millisecond)
	r.hears("c", r.ms-400, r.ms, 800)
	ec.l.SetDeaf(true)
	deafAt := r.ms
	r.run(500 * time.Millisecond)
	for _, h := range ec.between(deafAt, r.ms) {
		if !bytes.Equal(h.payload, opus.Silence) {
			t.Fatalf("at %d ms a deaf listener hears", h.ms)
		}
	}
	ec.l.SetDeaf(false)
	a.src.SetBarred(false)
	r.run(time.Second)
	r.hears("c", r.ms-700, r.ms, 440, 800)
	ec.continuous(t, false)
}

func TestJoinAndLeaveInTheMiddle(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, ea := r.join("a", 440)
	b, _ := r.join("b", 800)
	c, ec := r.join("c", 1330)
	a.talking, b.talking = true, true
	r.run(time.Second)
	_, ed := r.join("d", 0)
	r.run(time.Second)
	r.hears("d", 1100, 2000, 440, 800)
	if n := len(ed.got); n < 49 || n > 51 {
		t.Errorf("the newcomer got %d packets in its first second", n)
	}
	c.talking = true
	r.run(time.Second)
	// B leaves while it talks.
	b.src.Close()
	b.off = true
	r.ears["b"].l.Close()
	gone := len(r.ears["b"].got)
	leftAt := r.ms
	r.run(time.Second)
	r.hears("d", leftAt+60, r.ms, 440, 1330)
	r.hears("a", leftAt+60, r.ms, 1330)
	if len(r.ears["b"].got) != gone {
		t.Error("a closed listener was sent to")
	}
	for _, e := range []*ear{ea, ec, ed} {
		e.continuous(t, false)
	}
}

func TestContentShare(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	share := r.speak("a"+meeting.ContentSuffix, 440)
	r.speak("a", 0)
	r.listen("a", "a", "a"+meeting.ContentSuffix)
	b, _ := r.join("b", 800)
	r.listen("c")
	own := &ear{r: r}
	own.l = r.m.AddListener(ListenerConfig{Sender: own, PayloadType: testPT, Deaf: true})
	share.talking, b.talking = true, true
	r.run(2 * time.Second)
	r.hears("a", 500, 2000, 800)
	r.hears("b", 500, 2000, 440)
	r.hears("c", 500, 2000, 440, 800)
	if n := len(own.got); n != 100 {
		t.Errorf("the share's own connection got %d packets", n)
	}
	for _, h := range own.got {
		if !bytes.Equal(h.payload, opus.Silence) {
			t.Fatal("the share's own connection hears something")
		}
	}
}

func TestLoudestAreMixed(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{MaxTalkers: 2})
	a, _ := r.join("a", 440)
	b, _ := r.join("b", 800)
	c, _ := r.join("c", 1330)
	r.join("d", 0)
	a.level, b.level, c.level = 20, 40, 38
	a.talking, b.talking = true, true
	r.run(time.Second)
	c.talking = true
	r.run(time.Second)
	// C is not louder by enough to take B's place.
	r.hears("d", 1300, 2000, 440, 800)
	c.level = 22
	r.run(time.Second)
	r.hears("d", 2300, 3000, 440, 1330)
	// B's first word after C paused: it gets the place at once, not after the hangover.
	c.talking = false
	b.talking = false
	r.run(200 * time.Millisecond)
	b.talking = true
	from := r.ms
	r.run(time.Second)
	r.hears("d", from+60, r.ms, 440, 800)
}

func TestLevels(t *testing.T) {
	r := newRoom(t, Config{})
	a, _ := r.join("a", 0)
	b, _ := r.join("b", 0)
	a.packets = [][]byte{{0xf8, 1, 2, 3, 4, 5, 6, 7}}
	b.packets = a.packets
	type report struct {
		ms     int
		levels []meeting.AudioLevel
	}
	var reports []report
	step := func(d time.Duration) {
		for end := r.ms + int(d/time.Millisecond); r.ms < end; {
			r.run(20 * time.Millisecond)
			if l, due := r.m.Levels(r.now()); due {
				reports = append(reports, report{r.ms, append([]meeting.AudioLevel(nil), l...)})
			}
		}
	}
	step(time.Second)
	if len(reports) != 0 {
		t.Fatalf("reports in silence: %v", reports)
	}
	a.talking, a.level = true, 17
	step(time.Second)
	if n := len(reports); n < 9 || n > 11 {
		t.Errorf("%d reports in a second of talk", n)
	}
	b.talking, b.level = true, 33
	step(time.Second)
	want := []meeting.AudioLevel{{AttendeeID: "a", Volume: 17}, {AttendeeID: "b", Volume: 33}}
	if d := cmp.Diff(want, reports[len(reports)-1].levels); d != "" {
		t.Errorf("both talk: %s", d)
	}
	a.src.SetMuted(true)
	step(200 * time.Millisecond)
	if d := cmp.Diff(want[1:], reports[len(reports)-1].levels); d != "" {
		t.Errorf("one muted: %s", d)
	}
	reports = nil
	b.talking = false
	step(2 * time.Second)
	if n := len(reports); n > 7 || n == 0 || len(reports[n-1].levels) != 0 {
		t.Fatalf("after the last one stopped: %v", reports)
	}
	for _, p := range reports[:len(reports)-1] {
		if len(p.levels) != 1 {
			t.Errorf("at %d ms: %v", p.ms, p.levels)
		}
	}
	if last := reports[len(reports)-1].ms - 2200 - 1000; last > 700 {
		t.Errorf("the empty report came at %d ms", reports[len(reports)-1].ms)
	}
}

func TestLevelIsMeasuredWithoutExtension(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	r.join("b", 0)
	a.src.Configure(SourceConfig{PayloadType: testPT})
	r.run(time.Second)
	if s := r.m.Stats(); s.Decodes != 0 {
		t.Errorf("%d decodes of silence", s.Decodes)
	}
	a.talking = true
	r.run(time.Second)
	r.hears("b", 1200, 2000, 440)
	l, due := r.m.Levels(r.now())
	// A sine of amplitude 0.2 has a mean power of −17 dB.
	if !due || len(l) != 1 || l[0].Volume < 15 || l[0].Volume > 19 {
		t.Errorf("levels %v", l)
	}
}

func TestStereoStaysStereo(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 0)
	music := opus.EncoderConfig{Channels: 2, Application: opus.Audio, Bitrate: 128000, Complexity: 5}
	a.packets = tonePackets(t, 440, voiceAmplitude, 960, music)
	b, _ := r.join("b", 800)
	_, ec := r.join("c", 0)
	a.talking, b.talking = true, true
	r.run(2 * time.Second)
	r.hears("c", 500, 2000, 440, 800)
	if in, err := opus.Parse(ec.got[len(ec.got)-1].payload); err != nil || !in.Stereo {
		t.Errorf("a mix with stereo music is %+v", in)
	}
	r.hears("b", 500, 2000, 440)
}

func TestLimiter(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	for i, hz := range allTones {
		k, _ := r.join(string(rune('a'+i)), 0)
		k.packets = tonePackets(t, hz, 0.7, 960, speech())
		k.talking = true
	}
	r.join("z", 0)
	r.run(2 * time.Second)
	pcm := r.ears["z"].pcm(500, 2000)
	clipped := 0
	for _, v := range pcm {
		if v > 1.05 || v < -1.05 {
			clipped++
		}
	}
	if clipped > len(pcm)/1000 {
		t.Errorf("%d of %d samples clip", clipped, len(pcm))
	}
	for _, hz := range allTones {
		if a := amplitude(pcm, hz); a < 0.15 || a > 0.35 {
			t.Errorf("%v Hz has amplitude %.3f", hz, a)
		}
	}
	// What would not clip is left alone.
	l := limiter{}
	quiet := []float32{0.5, -0.9, 0.3}
	l.apply(quiet, 1)
	if d := cmp.Diff([]float32{0.5, -0.9, 0.3}, quiet); d != "" {
		t.Errorf("the limiter touched what does not clip: %s", d)
	}
}

func TestHeaderExtensions(t *testing.T) {
	r := newRoom(t, Config{})
	var got []rtp.Packet
	seq := uint16(7)
	r.m.AddListener(ListenerConfig{Sender: senderFunc(func(h, p []byte) {
		var pkt rtp.Packet
		if err := pkt.Parse(append(append([]byte(nil), h...), p...)); err != nil {
			t.Fatal(err)
		}
		got = append(got, pkt)
	}), PayloadType: 96, SSRC: 5, AbsSendTimeID: 3, TransportSeqID: 4, NextTransportSeq: func() uint16 { seq++; return seq }})
	r.run(100 * time.Millisecond)
	if len(got) != 5 {
		t.Fatalf("%d packets", len(got))
	}
	for i := range got {
		n, ok := got[i].TransportSequence(4)
		if !ok || n != uint16(8+i) {
			t.Errorf("packet %d: transport-wide number %d", i, n)
		}
		if at, ok := got[i].AbsSendTime(3); !ok || at != rtp.AbsSendTime(int64(i)*20e6) {
			t.Errorf("packet %d: abs-send-time %d", i, at)
		}
	}
}

type senderFunc func(h, p []byte)

func (f senderFunc) SendRTP(h, p []byte) { f(h, p) }

func TestWithoutCodecOneIsPassedOn(t *testing.T) {
	r := newRoom(t, Config{Codec: noCodec{}})
	a, ea := r.join("a", 0)
	b, eb := r.join("b", 0)
	_, ec := r.join("c", 0)
	a.packets, b.packets = [][]byte{{0xf8, 1, 1, 1, 1}}, [][]byte{{0xf8, 2, 2, 2, 2}}
	a.talking = true
	r.run(time.Second)
	b.talking = true
	r.run(time.Second)
	count := func(e *ear, x byte) (n int) {
		for _, h := range e.between(1100, 2000) {
			if h.payload[1] == x {
				n++
			}
		}
		return n
	}
	if x, y := count(ea, 1), count(ea, 2); x != 0 || y != 45 {
		t.Errorf("a hears %d of its own packets and %d of b's", x, y)
	}
	if x, y := count(eb, 1), count(eb, 2); x != 45 || y != 0 {
		t.Errorf("b hears %d of a's packets and %d of its own", x, y)
	}
	if x, y := count(ec, 1), count(ec, 2); x != 45 || y != 0 {
		t.Errorf("c hears %d of a's packets and %d of b's, want a's alone", x, y)
	}
	ec.continuous(t, false)
}

type noCodec struct{}

func (noCodec) NewEncoder(opus.EncoderConfig) (opus.Encoder, error) {
	return nil, opus.ErrUnavailable
}
func (noCodec) NewDecoder(int) (opus.Decoder, error) { return nil, opus.ErrUnavailable }

func (noCodec) NewSpeechDecoder() (opus.Decoder, error) { return nil, opus.ErrUnavailable }
func (noCodec) Available() bool                         { return false }
func (noCodec) Version() string                         { return "none" }
