package media

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	pionrtp "github.com/pion/rtp"

	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

// spoken is an Opus packet that no other i or name has. It is never decoded.
func spoken(name string) func(i int) []byte {
	return func(i int) []byte {
		return append([]byte{0xf8, byte(i), byte(i >> 8)}, "said by "+name+", more than silence"...)
	}
}

// speech are the payloads that are not silence.
func speech(packets []*pionrtp.Packet) [][]byte {
	var out [][]byte
	for _, p := range packets {
		if !bytes.Equal(p.Payload, opus.Silence) {
			out = append(out, p.Payload)
		}
	}
	return out
}

// gapless wants one stream: numbers and timestamps that go on, one payload type.
func gapless(t *testing.T, who string, packets []*pionrtp.Packet, payloadType uint8) {
	t.Helper()
	for i, p := range packets {
		if p.PayloadType != payloadType {
			t.Fatalf("%s: packet %d has payload type %d, not %d", who, i, p.PayloadType, payloadType)
		}
		if i == 0 {
			continue
		}
		if before := packets[i-1]; p.SequenceNumber != before.SequenceNumber+1 || p.Timestamp != before.Timestamp+960 {
			t.Fatalf("%s: packet %d is %d/%d after %d/%d", who, i, p.SequenceNumber, p.Timestamp, before.SequenceNumber, before.Timestamp)
		}
	}
}

func TestAloneHearsSilence(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	r := newRoom(t, Config{})
	a := r.join("a")
	stop := a.talk(20, spoken("a"))
	eventually(t, "two seconds of audio", func() bool { return a.count(a.audio()) >= 100 })
	stop()
	packets := a.got(a.audio())
	if got := speech(packets); len(got) > 0 {
		t.Errorf("a, who is alone, hears %q", got)
	}
	gapless(t, "a", packets, 111)
	// A frame is 20 ms: no more came than fits the time that passed, however late each is.
	a.mu.Lock()
	at := slices.Clone(a.at[a.audio()])
	a.mu.Unlock()
	if passed := at[99].Sub(begun); passed < time.Second {
		t.Errorf("100 frames of 20 ms came within %v", passed)
	}
	if a.bad > 0 {
		t.Errorf("%d packets could not be decrypted or read", a.bad)
	}
}

func TestOneTalkerIsPassedOn(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a")
	b := r.enter("b")
	b.opus = 109
	b.negotiate()
	b.connect()
	say := spoken("a")
	stop := a.talk(20, say)
	eventually(t, "a second of a at b", func() bool { return len(speech(b.got(b.audio()))) >= 50 })
	stop()
	packets := b.got(b.audio())
	// On a machine that is held up some may come too late to be passed on.
	next := 0
	for i, payload := range speech(packets) {
		for from := next; !bytes.Equal(payload, say(next)); next++ {
			if next > from+1000 {
				t.Fatalf("what b hears as number %d is %q, which a did not say, or not from number %d on", i, payload, from)
			}
		}
		next++
	}
	gapless(t, "b", packets, 109)
	if got := speech(a.got(a.audio())); len(got) > 0 {
		t.Errorf("a hears %q", got)
	}
	if s := r.server.Stats(); s.Audio.Mixed != 0 || s.Audio.Encodes != 0 {
		t.Errorf("one talker was mixed: %+v", s.Audio)
	}
	if n := a.events.audio.Load(); n != 1 {
		t.Errorf("AudioArrived was called %d times for a", n)
	}
	if n := b.events.audio.Load(); n != 0 {
		t.Errorf("AudioArrived was called %d times for b, who said nothing", n)
	}
	if na, nb := a.events.connected.Load(), b.events.connected.Load(); na != 1 || nb != 1 {
		t.Errorf("MediaConnected was called %d and %d times", na, nb)
	}
}

// tone are the packets of a second of a sine, over and over.
func tone(t *testing.T, hz float64) func(i int) []byte {
	t.Helper()
	enc, err := opus.Native().NewEncoder(opus.EncoderConfig{Channels: 1, Bitrate: 64000, Complexity: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	pcm := make([]float32, opus.FrameSamples)
	packets := make([][]byte, 50)
	for i := range packets {
		for j := range pcm {
			pcm[j] = float32(0.25 * math.Sin(2*math.Pi*hz*float64(i*len(pcm)+j)/opus.SampleRate))
		}
		b := make([]byte, opus.MaxPacket)
		n, err := enc.EncodeFloat(b, pcm)
		if err != nil {
			t.Fatal(err)
		}
		packets[i] = b[:n]
	}
	return func(i int) []byte { return packets[i%len(packets)] }
}

// strength is how much of a tone is in the sound: 1 for nothing else.
func strength(pcm []float32, hz float64) float64 {
	w := 2 * math.Pi * hz / opus.SampleRate
	var s1, s2, energy float64
	for _, v := range pcm {
		s1, s2 = float64(v)+2*math.Cos(w)*s1-s2, s1
		energy += float64(v) * float64(v)
	}
	if energy == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - 2*math.Cos(w)*s1*s2) / (energy * float64(len(pcm)))
}

// decoded is the sound of the last packets.
func decoded(t *testing.T, packets []*pionrtp.Packet, last int) []float32 {
	t.Helper()
	dec, err := opus.Native().NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var out []float32
	buf := make([]float32, opus.MaxFrameSamples)
	for i, p := range packets {
		n, err := dec.DecodeFloat(buf, p.Payload)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if i >= len(packets)-last {
			out = append(out, buf[:n]...)
		}
	}
	return out
}

func TestMixHasEverybodyElse(t *testing.T) {
	t.Parallel()
	if !opus.Native().Available() {
		t.Skip("this build has no codec")
	}
	r := newRoom(t, Config{})
	hz := []float64{400, 1000, 2500}
	var people []*client
	for i, id := range []string{"a", "b", "c", "listener"} {
		c := r.join(id)
		people = append(people, c)
		if i < len(hz) {
			c.talk(12, tone(t, hz[i]))
		}
	}
	for i, c := range people {
		var heard [3]float64
		check := func() bool {
			packets := c.got(c.audio())
			if len(packets) < 75 {
				return false
			}
			pcm := decoded(t, packets, 40)
			for j := range hz {
				heard[j] = strength(pcm, hz[j])
				if (heard[j] > 0.15) != (i != j) {
					return false
				}
			}
			return true
		}
		eventually(t, c.id+"'s mix of the others' tones", check)
		// Its own voice is not there, neither in the mix nor before it began.
		if i < len(hz) {
			packets := c.got(c.audio())
			if own := strength(decoded(t, packets, len(packets)), hz[i]); own > 0.01 {
				t.Errorf("%s hears itself: %.3f", c.id, own)
			}
		}
	}
	if s := r.server.Stats(); s.Audio.Mixed == 0 {
		t.Error("nothing was mixed")
	}
}

// hears waits until c hears the talker, or no longer does.
func hears(t *testing.T, c *client, name string, want bool) {
	t.Helper()
	from := c.count(c.audio())
	missing := name + " at " + c.id
	if !want {
		missing = "silence instead of " + missing
	}
	eventually(t, missing, func() bool {
		// A quarter of a second all of one kind.
		packets := c.got(c.audio())[from:]
		if len(packets) < 12 {
			return false
		}
		for _, p := range packets[len(packets)-12:] {
			if bytes.Contains(p.Payload, []byte("said by "+name+",")) != want {
				return false
			}
		}
		return true
	})
}

func TestMute(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a", func(s *meeting.PeerSpec) { s.Muted = true })
	b := r.join("b")
	a.talk(20, spoken("a"))
	hears(t, b, "a", false)
	a.peer.SetMuted(false)
	hears(t, b, "a", true)
	a.peer.SetMuted(true)
	hears(t, b, "a", false)
	if n := len(speech(b.got(b.audio()))); n == 0 {
		t.Fatal("b never heard a")
	}
	a.muted = false // an offer tells the state too
	a.negotiate()
	hears(t, b, "a", true)
	a.muted = true
	a.negotiate()
	hears(t, b, "a", false)
	a.peer.SetMuted(false)
	hears(t, b, "a", true)
	gapless(t, "b", b.got(b.audio()), 111)
}

// TestMuteIsTakenBack: who offered comfort noise gets a packet of it when the only
// one that it hears mutes, and the stream goes on.
func TestMuteIsTakenBack(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.enter("b")
	b.noise = true
	b.negotiate()
	b.connect()
	for _, c := range []struct {
		who  *client
		want []string
	}{{a, []string{"111"}}, {b, []string{"111", "13"}}} {
		if got := c.who.answer.sections[0].formats; !slices.Equal(got, c.want) {
			t.Errorf("%s is answered %v, want %v", c.who.id, got, c.want)
		}
	}
	a.talk(20, spoken("a"))
	var packets []*pionrtp.Packet
	at := -1
	for try := 0; at < 0 && try < 20; try++ { // whoever is held up when it mutes says nothing
		hears(t, b, "a", true)
		a.peer.SetMuted(true)
		hears(t, b, "a", false)
		a.peer.SetMuted(false)
		packets = b.got(b.audio())
		at = slices.IndexFunc(packets, func(p *pionrtp.Packet) bool { return p.PayloadType == 13 })
	}
	if at < 1 || at == len(packets)-1 {
		t.Fatalf("of %d packets the one at %d is comfort noise", len(packets), at)
	}
	before, noise, after := packets[at-1], packets[at], packets[at+1]
	if !bytes.Equal(after.Payload, opus.Silence) {
		t.Errorf("it came before %q", after.Payload)
	}
	if noise.SequenceNumber != before.SequenceNumber+1 || noise.Timestamp != before.Timestamp+960 || noise.Timestamp != after.Timestamp {
		t.Errorf("it is %d/%d after %d/%d", noise.SequenceNumber, noise.Timestamp, before.SequenceNumber, before.Timestamp)
	}
	for _, p := range packets[at+1:] {
		p.SequenceNumber--
	}
	gapless(t, "b", slices.Delete(packets, at, at+1), 111)
}

func TestAudioCapabilities(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	with := func(audio meeting.Capability) meeting.Capabilities {
		c := everything
		c.Audio = audio
		return c
	}
	for _, step := range []struct {
		who  *client
		may  meeting.Capability
		want bool
	}{
		{a, meeting.Receive, false},
		{a, meeting.Send, true},
		{a, meeting.NoMedia, false},
		{a, meeting.SendReceive, true},
		{b, meeting.Send, false},
		{b, meeting.Receive, true},
		{b, meeting.NoMedia, false},
		{b, meeting.SendReceive, true},
	} {
		step.who.peer.SetCapabilities(with(step.may))
		t.Logf("%s may %s", step.who.id, step.may)
		hears(t, b, "a", step.want)
	}
	gapless(t, "b", b.got(b.audio()), 111)

	// The same from the start, and over a renegotiation.
	c := r.join("c", func(s *meeting.PeerSpec) { s.Capabilities.Audio = meeting.Send })
	d := r.join("d", func(s *meeting.PeerSpec) { s.Capabilities.Audio = meeting.Receive })
	d.talk(5, spoken("d"))
	hears(t, c, "a", false)
	hears(t, d, "a", true)
	hears(t, b, "a", true)
	d.negotiate()
	c.negotiate()
	hears(t, c, "a", false)
	// What b hears of a is a's own packets: there is no mix with d in it.
	hears(t, b, "a", true)
	if r.talking("d") {
		t.Error("d, who may not talk, talks")
	}
}

func TestContentShareAudio(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	share := r.share("a")
	stop := share.talk(20, spoken("content"))
	hears(t, b, "content", true)
	hears(t, a, "content", false)
	stop()
	// Nor does it hear anybody, not even itself.
	b.talk(20, spoken("b"))
	hears(t, a, "b", true)
	for _, c := range []*client{a, share} {
		for _, p := range speech(c.got(c.audio())) {
			if c == share || bytes.Contains(p, []byte("content")) {
				t.Fatalf("%s hears %q", c.id, p)
			}
		}
	}
	eventually(t, "the share's stream of silence", func() bool { return share.count(share.audio()) >= 50 })
	// It may send by the right to content, not by that to audio.
	share.talk(5, spoken("content"))
	caps := everything
	caps.Audio = meeting.Receive
	share.peer.SetCapabilities(caps)
	caps = everything
	caps.Content = meeting.Receive
	eventually(t, "the levels of the share", func() bool { return r.talking("a" + meeting.ContentSuffix) })
	share.peer.SetCapabilities(caps)
	hears(t, b, "content", false)
}

// talking reports whether the last report of levels has somebody in it.
func (r *room) talking(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.levels) > 0 && slices.ContainsFunc(r.levels[len(r.levels)-1], func(l meeting.AudioLevel) bool { return l.AttendeeID == id })
}

func TestLevels(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a")
	quiet := r.join("quiet")
	quiet.talk(90, spoken("quiet"))
	stop := a.talk(23, spoken("a"))
	eventually(t, "ten reports of levels", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.levels) >= 10
	})
	stop()
	eventually(t, "the empty report at the end", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.levels[len(r.levels)-1]) == 0
	})
	time.Sleep(300 * time.Millisecond) // another one would come now
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.levels) - 1
	for i, l := range r.levels[:last] {
		// On a machine that stands still a falls silent for a moment.
		if len(l) == 0 && len(r.levels[i+1]) > 0 {
			continue
		}
		// The last reports before the end are of what came after the last packet.
		if len(l) != 1 || l[0].AttendeeID != "a" || l[0].Volume != 23 && l[0].Volume != 127 {
			t.Errorf("report %d is %v", i, l)
		}
	}
	// The hangover and all: a second or two of talk are no more than one report
	// in 80 ms.
	if n := a.events.audio.Load(); n != 1 {
		t.Errorf("AudioArrived came %d times", n)
	}
}

// A section of audio that is turned off and on again must be heard again:
// numbers that were used before are not sent twice.
func TestAudioSectionComesAndGoes(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	a.talk(20, spoken("a"))
	for range 4 {
		hears(t, b, "a", true)
		b.sections[0].direction = "sendonly"
		ssrc := b.audio()
		b.negotiate()
		if got := b.answer.sections[0].direction; got != "recvonly" {
			t.Fatalf("sendonly is answered %s", got)
		}
		b.stops(ssrc)
		b.sections[0].direction = "sendrecv"
		b.negotiate()
	}
	hears(t, b, "a", true)
}

func TestAudioSectionRejected(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	a.talk(20, spoken("a"))
	stop := b.talk(100, spoken("b"))
	hears(t, b, "a", true)
	ssrc := b.audio()
	b.sections[0].rejected = true
	b.negotiate()
	if s := b.answer.sections[0]; s.port != 0 || slices.Contains(b.answer.bundle, "0") {
		t.Fatalf("the stopped section has port %d, and the bundle is %v", s.port, b.answer.bundle)
	}
	b.stops(ssrc)
	stop()
	// It comes back as another section, as browsers reuse the place.
	b.sections[0] = &section{mid: "7", kind: "audio", direction: "sendrecv", ssrc: newSSRC()}
	b.negotiate()
	hears(t, b, "a", true)
	b.talk(3, spoken("b"))
	hears(t, a, "b", true)
}
