package bench

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	"belfry/internal/bench/check"
	"belfry/internal/bench/client"
	"belfry/test/kit"
)

// door is a Room that lets people in after it has failed them a few times.
type door struct {
	mu    sync.Mutex
	fails []error
	left  int
}

func (d *door) Join(_ context.Context, _ int, cfg client.Config) (Member, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.fails) > 0 {
		err := d.fails[0]
		d.fails = d.fails[1:]
		return nil, err
	}
	c, err := client.New(cfg)
	return &doorMember{door: d, client: c}, err
}

type doorMember struct {
	door   *door
	client *client.Client
}

func (m *doorMember) Negotiate(context.Context, Wants) error { return nil }
func (m *doorMember) Clients() []*client.Client              { return []*client.Client{m.client} }
func (m *doorMember) Beat()                                  {}
func (m *doorMember) SignalBytes() SignalBytes               { return SignalBytes{} }
func (m *doorMember) Leave() {
	m.door.mu.Lock()
	defer m.door.mu.Unlock()
	m.door.left++
	if m.door.left == 1 {
		m.client.Close()
	}
}

// Who is refused tries again until it is in; refusals are told from other trouble.
func TestComingAgain(t *testing.T) {
	identity, err := client.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	full, gone := &refusal{Status: http.StatusServiceUnavailable, err: errors.New("full")}, &refusal{Status: http.StatusNotFound, err: errors.New("gone")}
	d := &door{fails: []error{full, gone, full, errors.New("no route")}}
	o := Overloads(true)
	r := &siege{Overload: o, wait: 1, rooms: []Room{d}, closed: make([]bool, 1),
		crowd: &crowd{load: o.Load, identity: identity, pace: client.NewPace(), windows: map[uint32]*check.Window{0: check.NewWindow()}}}
	if r.sounds, err = newSounds(o.Load); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var people sync.WaitGroup
	people.Go(func() { r.come(ctx, 0, 0) })
	inside := func() (n int, m Moment, waiting int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.guests), r.moment, r.waiting
	}
	kit.Eventually(t, "one inside", func() bool { n, _, waiting := inside(); return n == 1 && waiting == 0 })
	if _, m, _ := inside(); m.Asked != 1 || m.Refused != 2 || m.Failed != 2 || !slices.Contains(r.errors, "no route") {
		t.Errorf("%+v, %v", m, r.errors)
	}
	r.Leave = 1
	if n := r.end(); n != 1 || !r.over(0) {
		t.Errorf("%d meetings ended", n)
	}
	if n, _, _ := inside(); n != 0 || d.left != 1 {
		t.Errorf("%d are inside, %d left", n, d.left)
	}
	cancel()
	people.Wait()
	r.crowd.leave()
}
