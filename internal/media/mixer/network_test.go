package mixer

import (
	"bytes"
	"testing"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

func TestLossIsConcealed(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, ea := r.join("a", 440)
	a.packets = wordPackets(t, 440)
	carry := 0
	for _, p := range a.packets {
		if opus.HasFEC(p) {
			carry++
		}
	}
	if carry < len(a.packets)/2 {
		t.Fatalf("only %d of %d packets carry error correction: the test proves nothing", carry, len(a.packets))
	}
	b, _ := r.join("b", 800)
	_, ec := r.join("c", 0)
	a.talking, b.talking = true, true
	a.edit = func(n int) int {
		if n%10 == 7 {
			return -1
		}
		return 0
	}
	r.run(4 * time.Second)
	r.hears("c", 1000, 4000, 440, 800)
	ec.continuous(t, false)
	s := r.m.Stats()
	if lost := s.Concealed + s.Recovered; lost < 15 || lost > 30 {
		t.Errorf("20 packets lost: %d frames concealed, %d recovered", s.Concealed, s.Recovered)
	}
	if s.Recovered < 10 {
		t.Errorf("in-band error correction brought %d of 20 lost packets back", s.Recovered)
	}
	if n := len(ec.between(1000, 4000)); n != 150 {
		t.Errorf("%d packets in 3 s", n)
	}
	// B is passed A alone, with the gaps that A has, so that B conceals itself.
	eb := r.ears["b"]
	eb.continuous(t, true)
	missing := 0
	for i := 1; i < len(eb.got); i++ {
		missing += int(int16(eb.got[i].seq-eb.got[i-1].seq)) - 1
	}
	if missing < 18 || missing > 20 {
		t.Errorf("%d packets are missing in what is passed on, 20 were lost", missing)
	}
	ea.continuous(t, false)
}

func TestJitterIsTakenUp(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	b, _ := r.join("b", 800)
	_, ec := r.join("c", 0)
	a.talking, b.talking = true, true
	delays := []int{0, 25, 3, 31, 12, 0, 38, 7, 20, 1}
	a.edit = func(n int) int { return delays[n%len(delays)] }
	r.run(2 * time.Second)
	before := r.m.Stats()
	r.run(3 * time.Second)
	after := r.m.Stats()
	if d := after.Concealed - before.Concealed; d > 2 {
		t.Errorf("%d frames concealed in 3 s of jitter below 40 ms, once settled", d)
	}
	r.hears("c", 2000, 5000, 440, 800)
	if k := a.src.buf.at(a.src.buf.next); k != nil {
		if waited := a.src.m.now - k.arrived; waited > 90e6 {
			t.Errorf("a packet waits %d ms", waited/1e6)
		}
	}
	// When the network calms down the delay goes again.
	a.edit = nil
	r.run(20 * time.Second)
	calm := r.m.Stats()
	if calm.Skipped == after.Skipped {
		t.Error("the delay was never lowered")
	}
	depth := int(a.src.buf.done+1) - int(a.src.buf.next)
	if depth > 2 {
		t.Errorf("%d packets wait in a calm network", depth)
	}
	ec.continuous(t, false)
}

func TestBurstAfterCut(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	_, ec := r.join("c", 0)
	a.talking = true
	r.run(time.Second)
	// Everything of 300 ms arrives at once.
	cut := r.ms
	a.edit = func(int) int { return max(0, cut+300-r.ms) }
	r.run(300 * time.Millisecond)
	a.edit = nil
	if n := len(ec.between(cut, cut+300)); n < 8 {
		t.Errorf("%d packets in the cut: silence must stand in", n)
	}
	r.run(2 * time.Second)
	ec.continuous(t, false)
	if n := len(ec.got); n > 165+12 || n < 163 {
		t.Errorf("%d packets in 3.3 s", n)
	}
	r.hears("c", r.ms-1000, r.ms, 440)
}

func TestFrameSizes(t *testing.T) {
	needCodec(t)
	for _, samples := range []int{480, 960, 1920, 2880} {
		r := newRoom(t, Config{})
		a, _ := r.join("a", 0)
		a.samples = samples
		a.packets = tonePackets(t, 440, voiceAmplitude, samples, speech())
		b, eb := r.join("b", 800)
		_, ec := r.join("c", 0)
		a.talking = true
		r.run(2 * time.Second)
		for _, e := range []*ear{eb, ec} {
			e.continuous(t, false)
			var total int
			for _, h := range e.between(1000, 2000) {
				in, _ := opus.Parse(h.payload)
				total += in.Samples()
			}
			if total < 46000 || total > 51000 {
				t.Errorf("%d samples: a second had %d samples of sound", samples, total)
			}
		}
		r.hears("c", 500, 2000, 440)
		b.talking = true
		r.run(2 * time.Second)
		r.hears("c", 2500, 4000, 440, 800)
		r.hears("b", 2500, 4000, 440)
		ec.continuous(t, false)
		if n := len(ec.between(3000, 4000)); n != 50 {
			t.Errorf("%d samples: %d packets of mix in a second", samples, n)
		}
	}
}

func TestREDIsUnwrapped(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	_, e := r.join("b", 0)
	r.run(100 * time.Millisecond)
	for i := range 50 {
		p := makePacket(testRED, uint16(i), uint32(i)*960, 9, true, 20, redPacket([]byte{1, 2, 3}, a.packets[i]))
		a.off = true
		a.src.Push([]*rtp.Packet{p}, r.now())
		r.run(20 * time.Millisecond)
	}
	n := 0
	for _, h := range e.got {
		if bytes.Equal(h.payload, a.packets[n]) {
			n++
		}
	}
	if n != 50 {
		t.Errorf("%d of 50 primary blocks were passed on", n)
	}
	e.continuous(t, false)
}

func TestReports(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	a, _ := r.join("a", 440)
	_, e := r.join("b", 0)
	a.talking = true
	a.edit = func(n int) int {
		if n%10 == 3 {
			return -1
		}
		return 0
	}
	r.run(3 * time.Second)
	block, ok := a.src.ReceiverReport(int64(3 * time.Second))
	if !ok || block.SSRC != a.ssrc || block.TotalLost < 14 || block.TotalLost > 15 || block.FractionLost < 20 || block.FractionLost > 30 {
		t.Errorf("receiver report %+v", block)
	}
	info := e.l.SenderInfo(r.now())
	octets := 0
	for _, h := range e.got {
		octets += len(h.payload)
	}
	if info.SSRC != 1001 || int(info.Packets) != len(e.got) || int(info.Octets) != octets {
		t.Errorf("sender info %+v after %d packets and %d octets", info, len(e.got), octets)
	}
	r.run(500 * time.Millisecond)
	later := e.l.SenderInfo(r.now())
	if d := int32(later.RTPTime - info.RTPTime); d < 24000-480 || d > 24000+480 {
		t.Errorf("half a second is %d in timestamps", d)
	}
	last := e.got[len(e.got)-1]
	if d := int32(later.RTPTime - last.ts); d < -2000 || d > 4000 {
		t.Errorf("the report's timestamp is %d from the stream's", d)
	}
}

func TestTicksThatAreLate(t *testing.T) {
	r := newRoom(t, Config{})
	e := r.listen("a")
	at := func(ms int) { r.ms = ms; r.m.Tick(r.now()) }
	for _, ms := range []int{0, 19, 41, 60, 61, 80, 140, 141, 160} {
		at(ms)
	}
	if n := len(e.got); n != 9 {
		t.Errorf("%d packets in nine slots", n)
	}
	at(5160)
	at(5180)
	if n := len(e.got); n > 13 {
		t.Errorf("a pause of 5 s was made good with %d packets", n-9)
	}
	e.continuous(t, false)
}

// TestSenderThatStopsInSilence is a client that sends nothing while nobody
// speaks into it.
func TestSenderThatStopsInSilence(t *testing.T) {
	r, _ := traceRoom(t, 2)
	x := r.listen("x")
	a, b := r.mics[0], r.mics[1]
	a.off = true
	b.talking = true
	r.run(time.Second)
	for range 3 {
		a.off, a.talking = false, true
		r.run(610 * time.Millisecond)
		// Its timestamps go on while it is quiet, its numbers do not.
		a.off, a.talking = true, false
		a.ts += 960 * 40
		r.run(805 * time.Millisecond)
	}
	b.talking = false
	r.run(time.Second)
	got := x.frames()
	if err := checkFrames(got[0], a.said); err != nil {
		t.Errorf("who stops sending: %v", err)
	}
	if err := checkFrames(got[1], b.said); err != nil {
		t.Errorf("who goes on: %v", err)
	}
	x.continuous(t, false)
	// Alone: what is passed on stops, and silence stands in for it.
	a.off, a.talking = false, true
	r.run(500 * time.Millisecond)
	a.off = true
	from := r.ms
	r.run(300 * time.Millisecond)
	if n := len(x.between(from, from+300)); n < 11 || n > 15 {
		t.Errorf("%d packets in the 300 ms after the lone talker stopped sending", n)
	}
	x.continuous(t, false)
}

// TestStreamThatBeginsAnew changes SSRC, numbers and timestamps while the
// talker is heard, alone and in a mix.
func TestStreamThatBeginsAnew(t *testing.T) {
	anew := map[string]func(k *mic){
		"another SSRC":         func(k *mic) { k.ssrc, k.seq, k.ts = k.ssrc+100, 77, 12345 },
		"timestamps jump":      func(k *mic) { k.ts += 1 << 30 },
		"timestamps go back":   func(k *mic) { k.ts -= 1 << 20 },
		"another SSRC, number": func(k *mic) { k.ssrc += 100 },
	}
	for name, change := range anew {
		for _, mixed := range []bool{false, true} {
			r, _ := traceRoom(t, 2)
			x := r.listen("x")
			a, b := r.mics[0], r.mics[1]
			a.talking, b.talking = true, mixed
			r.run(500 * time.Millisecond)
			for range 3 {
				change(a)
				r.run(500 * time.Millisecond)
			}
			a.talking, b.talking = false, false
			r.run(time.Second)
			x.continuous(t, false)
			got := x.frames()
			lost := a.said - len(got[0])
			// In a mix what still waited for its turn under the old numbers may go.
			if lost < 0 || lost > 0 && !mixed || lost > 9 {
				t.Errorf("%s, mixed %v: %d of %d frames came", name, mixed, len(got[0]), a.said)
			}
			if err := checkFrames(got[1], b.said); err != nil {
				t.Errorf("%s: the other talker: %v", name, err)
			}
		}
	}
	// Numbers that jump within one SSRC are believed at the second packet.
	r, _ := traceRoom(t, 1)
	x := r.listen("x")
	a := r.mics[0]
	a.talking = true
	r.run(500 * time.Millisecond)
	a.seq += 20000
	r.run(500 * time.Millisecond)
	x.continuous(t, false)
	if got := x.frames()[0]; len(got) != a.said-1 {
		t.Errorf("%d of %d frames came over a jump of the numbers", len(got), a.said)
	}
}

// TestDuplicatesAndDisorder sends every packet twice and every fifth after its
// successor: in a mix each is heard once, in its turn.
func TestDuplicatesAndDisorder(t *testing.T) {
	r, _ := traceRoom(t, 2)
	x := r.listen("x")
	a, b := r.mics[0], r.mics[1]
	b.talking = true
	a.off = true
	r.run(500 * time.Millisecond)
	a.talking = true
	var held *rtp.Packet
	for i := range 300 {
		p := a.packet()
		run := []*rtp.Packet{p, p}
		switch {
		case i%5 == 3 && i < 290:
			held = p
			run = nil
		case held != nil:
			run = []*rtp.Packet{p, held, held, p}
			held = nil
		}
		a.src.Push(run, r.now())
		r.run(20 * time.Millisecond)
	}
	b.talking = false
	r.run(400 * time.Millisecond)
	if s := r.m.Stats(); s.Late < 300 || s.Dropped != 0 {
		t.Errorf("%d duplicates were counted, %d packets dropped", s.Late, s.Dropped)
	}
	got := x.frames()[0]
	twice, back := 0, 0
	for i := 1; i < len(got); i++ {
		switch d := (got[i].number - got[i-1].number + tracePeak) % tracePeak; {
		case d == 0:
			twice++
		case d > tracePeak/2:
			back++
		}
	}
	// Until the delay has grown by what the disorder asks for, some may come too late.
	if twice+back != 0 || len(got) < 298 {
		t.Errorf("%d frames of 300 came, %d twice, %d out of turn", len(got), twice, back)
	}
	x.continuous(t, false)
}

// TestWhatIsOvertakenIsAwaited: the turn of a packet comes between its
// successor's arrival and its own. Once the jitter is known it is not given up.
func TestWhatIsOvertakenIsAwaited(t *testing.T) {
	r, _ := traceRoom(t, 2)
	x := r.listen("x")
	a, b := r.mics[0], r.mics[1]
	a.phase = 15
	a.edit = func(n int) int {
		if n%7 == 3 {
			return 28
		}
		return 0
	}
	a.talking, b.talking = true, true
	r.run(2 * time.Second)
	before, heard, said := r.m.Stats(), len(x.frames()[0]), a.said
	r.run(4 * time.Second)
	s := r.m.Stats()
	if late, made := s.Late-before.Late, s.Concealed-before.Concealed; late != 0 || made != 0 {
		t.Errorf("once settled %d packets came too late and %d frames were made up", late, made)
	}
	if d := (a.said - said) - (len(x.frames()[0]) - heard); d < -2 || d > 2 {
		t.Errorf("%d frames are missing", d)
	}
}
