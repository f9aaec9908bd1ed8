package udp

import "net/netip"

const (
	arenaSize   = 256 << 10
	batchSize   = 128   // messages handed to the kernel in one call
	maxSegments = 64    // the kernel's limit for one segmented send (UDP_MAX_SEGMENTS, 64 in older ones)
	maxMessage  = 65000 // of one segmented send, below the largest UDP payload of either family
)

// Batch collects datagrams and sends them together. It is not safe for
// concurrent use; each goroutine has its own. Datagrams lie one behind the other
// in one arena, so those to one address can be cut from a single stretch.
type Batch struct {
	socket *Socket
	arena  []byte
	used   int // bytes of committed datagrams

	msgs     []message
	reserved int // size of the room given out and not committed, from used on
	to       netip.AddrPort

	sys batchSys
}

// message is a stretch of the arena that goes to one address: one datagram, or
// several of segment bytes each of which only the last may be shorter.
type message struct {
	to      netip.AddrPort
	start   int
	size    int
	segment int
	count   int
	closed  bool // the last datagram was shorter, so none may follow
}

// NewBatch makes a Batch that sends from this socket.
func (s *Socket) NewBatch() *Batch {
	b := &Batch{
		socket: s,
		arena:  make([]byte, arenaSize),
		msgs:   make([]message, 0, batchSize),
	}
	b.sys.init(b)
	return b
}

// Reserve gives room for one datagram of size bytes to an address. The room is
// good until the next call of a method. What is full is flushed first. Without a
// Commit the room is given out again. It returns nil when size is above MaxSend.
func (b *Batch) Reserve(to netip.AddrPort, size int) []byte {
	if size < 0 || size > MaxSend {
		b.reserved = 0
		return nil
	}
	if b.used+size > len(b.arena) || len(b.msgs) == cap(b.msgs) {
		_ = b.Flush() // what could not be sent has been counted
	}
	b.to, b.reserved = to, size
	return b.arena[b.used : b.used+size : b.used+size]
}

// Commit makes the first n bytes of the reserved room a datagram to be sent.
// Nothing is sent when n is 0 or no room is reserved.
func (b *Batch) Commit(n int) {
	n = min(n, b.reserved)
	b.reserved = 0
	if n <= 0 {
		return
	}
	if len(b.msgs) > 0 {
		m := &b.msgs[len(b.msgs)-1]
		if !m.closed && n <= m.segment && m.count < maxSegments && m.size+n <= maxMessage && m.to == b.to {
			m.size += n
			m.count++
			m.closed = n < m.segment
			b.used += n
			return
		}
	}
	b.msgs = append(b.msgs, message{to: b.to, start: b.used, size: n, segment: n, count: 1})
	b.used += n
}

// Pending is how many bytes wait to be flushed.
func (b *Batch) Pending() int { return b.used }

// Flush sends everything and empties the batch. A datagram that the kernel
// refuses is counted and dropped and the others still go; when the kernel's
// buffer stays full for longer than a few milliseconds the rest is dropped and
// counted. The error is the first one met, for those who care.
func (b *Batch) Flush() error {
	if len(b.msgs) == 0 {
		return nil
	}
	err := b.send()
	b.msgs = b.msgs[:0]
	b.used, b.reserved = 0, 0
	return err
}
