package mixer

import (
	"fmt"
	"testing"
	"time"
)

// TestFirstSyllableOfWhoMustWait: all places are taken when another begins. As
// soon as one of those pauses it is heard, from its first word on.
func TestFirstSyllableOfWhoMustWait(t *testing.T) {
	for wait := 0; wait <= 40; wait += 10 {
		open := new(int)
		r := newRoom(t, Config{Codec: traceCodec{open}, MaxTalkers: 3})
		for i := range 4 {
			k, _ := r.join(fmt.Sprint(i), 0)
			k.talk = func(n int) []byte { return tracePacket(i, n) }
		}
		x := r.listen("x")
		late := r.mics[3]
		late.level = 24 // not louder by enough to take a place from one who talks
		for _, k := range r.mics[:3] {
			k.talking = true
		}
		r.run(2 * time.Second)
		late.talking = true
		from := r.ms
		r.run(time.Duration(wait) * time.Millisecond)
		r.mics[0].talking = false
		r.run(3 * time.Second)
		got := x.frames()[3]
		if len(got) == 0 || got[0].number != 0 {
			t.Fatalf("wait of %d ms: the first of %d frames is number %d", wait, len(got), got[0].number)
		}
		if first := got[0].ms - from; first > wait+100 {
			t.Errorf("wait of %d ms: it is heard after %d ms", wait, first)
		}
		if n := len(got); n < late.said-12 {
			t.Errorf("wait of %d ms: %d of %d frames were heard", wait, n, late.said)
		}
		x.continuous(t, false)
		// In the end it lags no more than others.
		r.run(8 * time.Second)
		k := &late.src.buf
		if waits := int(k.done+1) - int(k.next); waits > 2 {
			t.Errorf("wait of %d ms: %d packets still wait for their turn", wait, waits)
		}
	}
}

// TestLoudestOfManyAreHeard is a meeting of 250 in which twelve talk at once, of
// whom five are the loudest; who talks changes, and everybody keeps hearing five.
func TestLoudestOfManyAreHeard(t *testing.T) {
	const people, places = 250, 5
	r := newRoom(t, Config{Codec: traceCodec{new(int)}})
	for i := range people {
		k := r.speak(fmt.Sprint(i), 0)
		k.talk = func(n int) []byte { return tracePacket(0, n) }
		k.level = 50
		e := &ear{r: r, mute: true}
		e.l = r.m.AddListener(ListenerConfig{Sender: e, PayloadType: testPT, SSRC: uint32(i), Exclude: []string{fmt.Sprint(i)}})
		r.ears[fmt.Sprint(i)] = e
	}
	for round := range 6 {
		loud := map[int]bool{}
		for i := range 12 {
			k := r.mics[(round*41+i*7)%people]
			k.talking, k.level = true, 40
			if i < places {
				k.level = 18 + i
				loud[(round*41+i*7)%people] = true
			}
		}
		r.run(1500 * time.Millisecond)
		for i, k := range r.mics {
			if placed := k.src.slot >= 0; placed != loud[i] {
				t.Errorf("round %d: %d, who talks at −%d dB, has a place: %v", round, i, k.level, placed)
			}
		}
		before := r.m.Stats()
		r.run(time.Second)
		s := r.m.Stats()
		// One mix for each of the five and one for all others, whoever they are.
		if d, e := s.Decodes-before.Decodes, s.Encodes-before.Encodes; e != 50*(places+1) || d > 50*places+10 {
			t.Errorf("round %d: %d decodes and %d encodes in 50 ticks", round, d, e)
		}
		if n := s.Mixed - before.Mixed; n != 50*people {
			t.Errorf("round %d: %d packets of mix for %d people in a second", round, n, people)
		}
		for _, k := range r.mics {
			k.talking = false
		}
		r.run(700 * time.Millisecond)
	}
}
