package media

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
)

// tickInterval is the length of an audio frame, which paces everything else.
const tickInterval = 20 * time.Millisecond

// ticker drives some of the bridges. There is one for each processor, so that
// mixing spreads without a goroutine for each meeting.
type ticker struct {
	out  *udp.Batch
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	bridges []*Bridge
}

func startTickers(s *Server) []*ticker {
	list := make([]*ticker, max(runtime.GOMAXPROCS(0), 1))
	for i := range list {
		list[i] = &ticker{out: s.mux.NewBatch(), quit: make(chan struct{}), done: make(chan struct{})}
		go list[i].run()
	}
	return list
}

func (t *ticker) run() {
	defer close(t.done)
	clock := time.NewTicker(tickInterval)
	defer clock.Stop()
	var due []*Bridge
	for {
		select {
		case <-t.quit:
			return
		case <-clock.C:
		}
		t.mu.Lock()
		due = append(due[:0], t.bridges...)
		t.mu.Unlock()
		for _, b := range due {
			b.tick(transport.Now(), t.out)
		}
		_ = t.out.Flush() // what could not be sent has been counted by the port
		clear(due)
	}
}

func (t *ticker) load() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.bridges)
}

func (t *ticker) add(b *Bridge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bridges = append(t.bridges, b)
}

func (t *ticker) remove(b *Bridge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.bridges, b); i >= 0 {
		t.bridges = slices.Delete(t.bridges, i, i+1)
	}
}

func (t *ticker) stop() {
	close(t.quit)
	<-t.done
}
