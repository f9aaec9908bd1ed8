package media

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/media/metronome"
	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
)

// tickInterval is the length of an audio frame, which paces everything else.
const tickInterval = 20 * time.Millisecond

// sortEvery is after how many ticks the bridges are put in order anew.
const sortEvery = 50

// ticker drives all bridges. Each tick they lie in one row, those with the most
// people first, and the goroutines, one for each processor, take the next as they
// get done with one: so mixing spreads by what it costs, without a goroutine for
// each meeting, and a large meeting keeps no small one waiting.
type ticker struct {
	newBatch func() *udp.Batch
	clock    *metronome.Metronome
	work     sync.WaitGroup
	helpers  []chan *row
	late     lateness

	mu      sync.Mutex
	bridges []*Bridge // replaced, never changed
}

// row is one tick's work.
type row struct {
	due     time.Time
	bridges []*Bridge
	next    atomic.Int64
}

func startTicker(newBatch func() *udp.Batch, processors int) (*ticker, error) {
	clock, err := metronome.New(tickInterval)
	if err != nil {
		return nil, err
	}
	t := &ticker{newBatch: newBatch, clock: clock}
	for range processors {
		if processors == 1 {
			break // the clock's own goroutine does all
		}
		c := make(chan *row, 1)
		t.helpers = append(t.helpers, c)
		t.work.Go(func() { t.help(c) })
	}
	t.work.Go(t.run)
	return t, nil
}

func (t *ticker) run() {
	out := t.newBatch()
	for n := 0; ; n++ {
		due, err := t.clock.Wait()
		if err != nil { // stop was called
			for _, c := range t.helpers {
				close(c)
			}
			return
		}
		if n%sortEvery == 0 {
			t.sort()
		}
		t.mu.Lock()
		r := &row{due: due, bridges: t.bridges}
		t.mu.Unlock()
		// Of two or more bridges one may take long: then the clock must go on. Nobody
		// is woken who would find nothing to do.
		if len(r.bridges) < 2 || len(t.helpers) == 0 {
			t.walk(r, out)
			continue
		}
		for _, c := range t.helpers[:min(len(t.helpers), len(r.bridges))] {
			select {
			case c <- r:
			default: // it is still at an earlier row
			}
		}
	}
}

func (t *ticker) help(rows <-chan *row) {
	out := t.newBatch()
	for r := range rows {
		t.walk(r, out)
	}
}

// walk ticks bridges until none is left.
func (t *ticker) walk(r *row, out *udp.Batch) {
	worked := false
	for {
		i := r.next.Add(1) - 1
		if i >= int64(len(r.bridges)) {
			break
		}
		// One that is held up for longer than a tick holds up nobody else.
		if b := r.bridges[i]; b.ticking.CompareAndSwap(false, true) {
			b.tick(transport.Now(), out)
			b.ticking.Store(false)
			worked = true
		}
	}
	_ = out.Flush() // what could not be sent has been counted by the port
	if worked {     // who came too late for any bridge kept nobody waiting
		t.late.note(r.due, time.Now())
	}
}

// sort puts those with the most people first.
func (t *ticker) sort() {
	t.change(func(list []*Bridge) []*Bridge {
		if len(t.helpers) > 0 {
			slices.SortStableFunc(list, func(a, b *Bridge) int { return cmp.Compare(b.size.Load(), a.size.Load()) })
		}
		return list
	})
}

func (t *ticker) add(b *Bridge) {
	t.change(func(list []*Bridge) []*Bridge { return append(list, b) })
}

func (t *ticker) remove(b *Bridge) {
	t.change(func(list []*Bridge) []*Bridge {
		return slices.DeleteFunc(list, func(x *Bridge) bool { return x == b })
	})
}

// change replaces the list by what f makes of a copy: a row in work keeps its own.
func (t *ticker) change(f func([]*Bridge) []*Bridge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bridges = f(slices.Clone(t.bridges))
}

// stop ends the goroutines and waits for them.
func (t *ticker) stop() {
	_ = t.clock.Close()
	t.work.Wait()
}
