package mixer

import (
	"slices"
	"testing"
	"time"

	"belfry/internal/media/rtp"
)

// asking has a client that is asked for what it lost each millisecond, and answers
// after a round trip.
type asking struct {
	*room
	k      *mic
	sent   map[uint16]*rtp.Packet
	asked  []uint16
	rtt    int
	answer func(seq uint16) bool
}

func newAsking(t *testing.T, rtt int) (*asking, *ear) {
	r, _ := traceRoom(t, 1)
	a := &asking{room: r, k: r.mics[0], sent: map[uint16]*rtp.Packet{}, rtt: rtt, answer: func(uint16) bool { return true }}
	a.k.talking = true
	return a, r.listen("x")
}

// say lets it say so many packets, of which those named are lost.
func (a *asking) say(packets int, lost ...int) {
	for n := range packets {
		p := a.k.packet()
		a.sent[p.Seq] = p
		if !slices.Contains(lost, n) {
			a.k.src.Push([]*rtp.Packet{p}, a.now())
		}
		a.pass(20)
	}
}

func (a *asking) pass(ms int) {
	for range ms {
		for _, seq := range a.k.src.Missing(nil, int64(a.rtt)*int64(time.Millisecond), a.now()) {
			a.asked = append(a.asked, seq)
			if a.answer(seq) {
				a.k.queue = append(a.k.queue, queued{a.ms + a.rtt, a.sent[seq]})
			}
		}
		a.k.off = true
		a.run(time.Millisecond)
	}
}

func TestLostSoundIsAskedFor(t *testing.T) {
	a, x := newAsking(t, 30)
	a.say(40, 10, 20, 21, 30)
	if want := []uint16{65510, 65520, 65521, 65530}; !slices.Equal(a.asked, want) {
		t.Errorf("asked for %v, want %v, each once", a.asked, want)
	}
	if s := a.m.Stats(); s.Repaired != 4 || s.Asked != 4 {
		t.Errorf("%d asked for and %d repaired, want 4 of each", s.Asked, s.Repaired)
	}
	if n := len(x.frames()[0]); n != 40 {
		t.Errorf("%d of 40 packets went on to the listener", n)
	}
	x.continuous(t, true)
}

func TestLostSoundIsAskedForAgain(t *testing.T) {
	a, _ := newAsking(t, 30)
	times := 0
	a.answer = func(uint16) bool { times++; return times > 2 }
	a.say(20, 10)
	if want := []uint16{65510, 65510, 65510}; !slices.Equal(a.asked, want) {
		t.Errorf("asked for %v, want %v: two answers were lost", a.asked, want)
	}
	a.asked = nil
	a.answer = func(uint16) bool { return false }
	a.say(30, 10)
	if n := len(a.asked); n < 2 || n > 6 {
		t.Errorf("asked %d times for what never comes, want some times within 200 ms", n)
	}
}

func TestWhatIsNotAskedFor(t *testing.T) {
	far, _ := newAsking(t, 200)
	far.say(20, 10)
	if len(far.asked) != 0 {
		t.Errorf("asked for %v over a round trip of 200 ms", far.asked)
	}
	quiet, _ := newAsking(t, 30)
	quiet.k.talking = false
	quiet.say(20, 10)
	if len(quiet.asked) != 0 {
		t.Errorf("asked for %v of one who says nothing", quiet.asked)
	}
	muted, _ := newAsking(t, 30)
	muted.k.src.SetMuted(true)
	muted.say(20, 10)
	if len(muted.asked) != 0 {
		t.Errorf("asked for %v of one who is muted", muted.asked)
	}
	gone, _ := newAsking(t, 30)
	gone.answer = func(uint16) bool { return false }
	for range 40 {
		gone.say(20, 10)
	}
	before := len(gone.asked)
	gone.say(20, 10)
	if before < deafAfter || before > deafAfter+10 || len(gone.asked) != before {
		t.Errorf("asked %d times one who never answers, and then %d times more", before, len(gone.asked)-before)
	}
	// Another stream is another sender.
	gone.k.ssrc, gone.k.seq = 77, 1000
	gone.answer = func(uint16) bool { return true }
	gone.asked = nil
	gone.say(20, 10)
	if want := []uint16{1010}; !slices.Equal(gone.asked, want) {
		t.Errorf("asked for %v of another stream, want %v", gone.asked, want)
	}
}
