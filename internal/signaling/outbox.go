package signaling

import "sync"

// outgoing is a frame, or when code is set the close of the socket.
type outgoing struct {
	data   []byte
	code   int
	reason string
}

// queuedOverhead is what a frame in a queue takes beside its bytes, roughly.
const queuedOverhead = 64

// outbox holds what waits to be written to one socket. It takes memory as it is
// needed: most are empty most of the time, and a frame to many sockets is one
// slice in all of their boxes.
type outbox struct {
	ready chan struct{} // capacity 1: there is something

	mu    sync.Mutex
	items []outgoing
	size  int // of items and of what the writer has taken and not written yet
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

// put adds one item. It is false, and nothing is added, when too much waits
// already; a close always finds room.
func (b *outbox) put(o outgoing) bool {
	b.mu.Lock()
	size := b.size + len(o.data) + queuedOverhead
	if size > maxQueueBytes && o.code == 0 {
		b.mu.Unlock()
		return false
	}
	b.size = size
	b.items = append(b.items, o)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns all that waits, oldest first, and keeps spare for what comes.
// Each item still counts until written is called for it.
func (b *outbox) take(spare []outgoing) []outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	clear(spare)
	if b.items = spare[:0]; cap(spare) > 1024 {
		b.items = nil // after a flood
	}
	return items
}

// written says that an item is out.
func (b *outbox) written(o outgoing) {
	b.mu.Lock()
	b.size -= len(o.data) + queuedOverhead
	b.mu.Unlock()
}
