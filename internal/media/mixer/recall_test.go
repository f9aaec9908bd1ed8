package mixer

import (
	"bytes"
	"testing"
	"time"

	"belfry/internal/media/opus"
)

const testNoise = 13

// TestMuteIsTakenBack: who hears nobody but the one who mutes is told to drop what
// it has in its buffer, at once and not at the next tick. Nobody else is.
func TestMuteIsTakenBack(t *testing.T) {
	hush := map[string]func(*Source, bool){"mute": (*Source).SetMuted, "bar": (*Source).SetBarred}
	for name, set := range hush {
		for _, c := range []struct {
			name          string
			noise, alone  bool
			talks, deaf   bool
			own, recalled bool
		}{
			{name: "alone", noise: true, alone: true, talks: true, recalled: true},
			{name: "no comfort noise", alone: true, talks: true},
			{name: "with another", noise: true, talks: true},
			{name: "silent", noise: true, alone: true},
			{name: "deaf", noise: true, alone: true, talks: true, deaf: true},
			{name: "itself", noise: true, alone: true, talks: true, own: true},
		} {
			r, _ := traceRoom(t, 2)
			x := r.listen("x")
			if c.own {
				x = r.listen("0", "0")
			}
			if c.noise {
				x.l.cfg.NoisePayloadType = testNoise
			}
			x.l.SetDeaf(c.deaf)
			a := r.mics[0]
			a.talking, r.mics[1].talking = c.talks, !c.alone
			r.run(507 * time.Millisecond)
			before := len(x.got)
			set(a.src, true)
			got := x.got[before:]
			if !c.recalled {
				if len(got) != 0 || r.m.Stats().Recalled != 0 {
					t.Errorf("%s, %s: %d packets were sent", name, c.name, len(got))
				}
				continue
			}
			if len(got) != 2 || r.m.Stats().Recalled != 1 {
				t.Fatalf("%s, %s: %d packets were sent", name, c.name, len(got))
			}
			last, noise, opening := x.got[before-1], got[0], got[1]
			if noise.pt != testNoise || !bytes.Equal(noise.payload, comfortNoise) || noise.seq != last.seq+1 || noise.ts != last.ts+frame {
				t.Errorf("%s: after %d at %d came payload type %d, %x, %d at %d", name, last.seq, last.ts, noise.pt, noise.payload, noise.seq, noise.ts)
			}
			// The buffer is emptied when Opus follows, and goes on with that.
			if opening.pt != testPT || !bytes.Equal(opening.payload, opus.Silence) || opening.seq != noise.seq+1 || opening.ts != noise.ts {
				t.Errorf("%s: then payload type %d, %x, %d at %d", name, opening.pt, opening.payload, opening.seq, opening.ts)
			}
			// Muted once more it has nothing to take back.
			set(a.src, true)
			if n := r.m.Stats().Recalled; n != 1 {
				t.Errorf("%s: %d times for one mute", name, n)
			}
			// The stream goes on as if the noise had not been, and what is said next is whole.
			x.got = append(x.got[:before:before], opening)
			x.got[before].seq--
			r.run(500 * time.Millisecond)
			said, heard := a.said, len(x.frames()[0])
			set(a.src, false)
			r.run(500 * time.Millisecond)
			if again := x.frames()[0][heard:]; len(again) == 0 || len(again) < a.said-said-1 || again[0].number != said%tracePeak {
				t.Errorf("%s: afterwards %d of %d frames came", name, len(again), a.said-said)
			}
			for i := before + 1; i < len(x.got); i++ {
				x.got[i].seq--
			}
			x.continuous(t, false)
			if n := len(x.between(507, r.ms)); n < 49 || n > 51 {
				t.Errorf("%s: %d packets in a second", name, n)
			}
		}
	}
}
