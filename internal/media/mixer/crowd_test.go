package mixer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Of 250 people, some of whom talk at a time and others later, everybody hears each
// word of all others once and in turn, and nobody hears itself. What that takes goes
// by how many talk, not by how many listen.
func TestCrowdHearsAllTalkers(t *testing.T) {
	const people = 250
	r := newRoom(t, Config{Codec: traceCodec{new(int)}})
	for i := range people {
		r.join(fmt.Sprint(i), 0)
	}
	r.run(200 * time.Millisecond)
	random := rand.New(rand.NewPCG(1, people))
	for _, talkers := range []int{1, 2, 3, 5, 4, 1} {
		who := random.Perm(people)[:talkers]
		for _, e := range r.ears {
			e.got = e.got[:0]
		}
		for slot, i := range who {
			k := r.mics[i]
			k.said = 0
			k.talk = func(n int) []byte { return tracePacket(slot, n) }
			k.talking = true
			r.run(time.Duration(random.IntN(150)) * time.Millisecond)
		}
		r.run(300 * time.Millisecond)
		before := r.m.Stats()
		r.run(500 * time.Millisecond)
		after := r.m.Stats()
		if n := after.Decodes - before.Decodes; n > uint64(30*talkers) {
			t.Errorf("%d talkers took %d decodes in 25 ticks", talkers, n)
		}
		if n := after.Encodes - before.Encodes; n > uint64(30*(talkers+1)) {
			t.Errorf("%d talkers took %d encodes in 25 ticks", talkers, n)
		}
		for _, i := range random.Perm(talkers) {
			r.mics[who[i]].talking = false
			r.run(time.Duration(random.IntN(150)) * time.Millisecond)
		}
		r.run(time.Second)
		for i := range people {
			frames := r.ears[fmt.Sprint(i)].frames()
			for slot, got := range frames {
				sent := 0
				if slot < talkers && who[slot] != i {
					sent = r.mics[who[slot]].said
				}
				if err := checkFrames(got, sent); err != nil {
					t.Fatalf("of %d talkers, %d hears number %d: %v", talkers, i, slot, err)
				}
			}
		}
	}
}
