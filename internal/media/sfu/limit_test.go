package sfu

import (
	"testing"

	"belfry/internal/meeting"
)

// What a full server leaves out, step by step, and gives back, for clients that
// leave the choice of layers to it, for those that choose, and for those of whose
// bandwidth nothing is known.
func TestLimit(t *testing.T) {
	for name, set := range map[string]func(*viewer){
		"the server chooses": func(*viewer) {},
		"the client chooses": func(v *viewer) { v.down.Follow(true) },
		"nothing is known":   func(v *viewer) { v.loss = 1; v.tellAt = 1 << 62 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.camera("a", 100_000, 600_000)
			one := w.camera("b", 700_000)
			share := w.camera("a"+meeting.ContentSuffix, 200_000, 900_000)
			v := w.watch(20_000_000, c.best(), one.best(), share.best())
			set(v)
			is := func(layers ...int) func() bool {
				return func() bool {
					for i, of := range []*cam{c, one, share} {
						if got := v.flows(i, of); got != layers[i] || v.paused[of.pub.GroupID()] != (layers[i] < 0) {
							return false
						}
					}
					return true
				}
			}
			w.wait("all of everything", 10*second, is(1, 0, 1))
			steps := []struct {
				what   string
				limit  Limit
				layers []int
				narrow bool // the camera of one quality comes down
			}{
				{"the low layer", LowCameras, []int{0, 0, 1}, true},
				{"cameras paused", NoCameras, []int{-1, -1, 1}, true},
				{"nothing", NoVideo, []int{-1, -1, -1}, true},
				{"the share again", NoCameras, []int{-1, -1, 1}, true},
				{"the low layer again", LowCameras, []int{0, 0, 1}, true},
				{"all again", NoLimit, []int{1, 0, 1}, false},
				{"the low layer once more", LowCameras, []int{0, 0, 1}, true},
				{"all in one step", NoLimit, []int{1, 0, 1}, false},
				{"nothing in one step", NoVideo, []int{-1, -1, -1}, true},
				{"all after nothing", NoLimit, []int{1, 0, 1}, false},
			}
			for _, step := range steps {
				w.r.Limit(step.limit)
				w.wait(step.what, 15*second, is(step.layers...))
				w.run(3 * second)
				if !is(step.layers...)() {
					t.Errorf("%s did not last: %d %d %d", step.what, v.flows(0, c), v.flows(1, one), v.flows(2, share))
				}
				if narrow := one.limit <= lowCamera; narrow != step.narrow {
					t.Errorf("%s: the camera of one quality may send %d bit/s", step.what, one.limit)
				}
			}
		})
	}
}

// A client that asks for another layer while the server is full gets the low one.
func TestLimitHoldsForWhatIsAskedForLater(t *testing.T) {
	w := newWorld(t)
	c, c2 := w.camera("a", 100_000, 600_000), w.camera("b", 100_000, 600_000)
	v := w.watch(20_000_000, c.layerID(0))
	v.down.Follow(true)
	w.r.Limit(LowCameras)
	w.run(second)
	v.shares[0].Want(c.best(), w.now)
	v.add(c2.best())
	w.run(5 * second)
	if v.flows(0, c) != 0 || v.flows(1, c2) != 0 {
		t.Errorf("layers %d and %d flow", v.flows(0, c), v.flows(1, c2))
	}
	w.r.Limit(NoLimit)
	w.wait("what was asked for", 5*second, func() bool { return v.flows(0, c) == 1 && v.flows(1, c2) == 1 })
}

// Of a camera with layers within its stream the lowest is sent on.
func TestLimitWithinAStream(t *testing.T) {
	for name, follow := range map[string]bool{"the server chooses": false, "the client chooses": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, single)
			e := &temporalEncoder{}
			down := &wire{t: t}
			s := r.NewDownlink(DownlinkConfig{Follow: follow}).Subscribe(SubscribeConfig{Down: down, SSRC: 1000, RTX: 1001, Codecs: downCodecs,
				Extensions: downExtensions, NACK: true, StreamID: 101}, r.now)
			flows := func() (p Point) {
				for i := range 200 {
					r.wait(20 * ms)
					r.push(r.pub, e.frame(i == 0, 1, r.now).packets...)
				}
				p, _ = s.Subscription().FlowingPoint()
				return p
			}
			if p := flows(); p.Temporal != All {
				t.Errorf("%+v flows", p)
			}
			r.Limit(LowCameras)
			if p := flows(); p.StreamID != 101 || p.Temporal != 0 {
				t.Errorf("%+v flows of a full server", p)
			}
			r.Limit(NoLimit)
			if p := flows(); p.Temporal != All {
				t.Errorf("%+v flows when all is well again", p)
			}
		})
	}
}
