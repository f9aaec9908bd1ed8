package rtp

import "encoding/binary"

// Cache keeps the last packets of one SSRC for retransmission. Packets lie one
// after another in a ring of bytes that grows to its bound only when the stream
// needs it, and are found by sequence number. Memory is bounded by the sizes
// given to NewCache whatever comes in.
type Cache struct {
	slots    []cacheSlot // power of two, indexed by sequence number
	ring     []byte      // power of two
	maxBytes int
	keep     int64
	head     uint64 // bytes ever written, gaps at the end of the ring included

	// When each part of the ring was last written, and the part being written:
	// whether to grow is asked once a part.
	written [cacheParts]int64
	part    int
}

type cacheSlot struct {
	pos     uint64
	arrival int64
	size    uint16
	seq     uint16
	used    bool
}

const (
	cacheStart = 32 << 10 // the ring's size before it has grown
	cacheParts = 8
	maxCached  = 4000 // below a part of the smallest ring
)

// NewCache makes a cache of at most the given number of packets and bytes, both
// rounded up to a power of two. While packets younger than keep (ns) would be
// overwritten, it grows towards its bound.
func NewCache(packets, bytes int, keep int64) *Cache {
	bytes = max(powerOfTwo(bytes), cacheStart)
	return &Cache{
		slots:    make([]cacheSlot, min(powerOfTwo(packets), 1<<15)),
		maxBytes: bytes,
		keep:     keep,
	}
}

func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p <<= 1
	}
	return p
}

// Put copies a packet into the cache; padding is left out. Packets of more than
// 4,000 bytes are not kept: no network carries them.
func (c *Cache) Put(p *Packet) {
	size := len(p.Raw) - p.PadLen
	if size > maxCached || size < headerSize {
		return
	}
	if c.ring == nil {
		c.ring = make([]byte, cacheStart)
	}
	slot := &c.slots[int(p.Seq)&(len(c.slots)-1)]
	pos := c.place(size, p.Arrival)
	off := int(pos) & (len(c.ring) - 1)
	copy(c.ring[off:], p.Raw[:size])
	c.ring[off] &^= 0x20 // the padding is not there any more
	*slot = cacheSlot{pos: pos, arrival: p.Arrival, size: uint16(size), seq: p.Seq, used: true}
}

// place finds size contiguous bytes and returns their position.
func (c *Cache) place(size int, now int64) uint64 {
	for {
		pos := c.head
		if off := int(pos) & (len(c.ring) - 1); off+size > len(c.ring) {
			pos += uint64(len(c.ring) - off)
		}
		end := pos + uint64(size)
		part := (int(end-1) & (len(c.ring) - 1)) / (len(c.ring) / cacheParts)
		if part != c.part && end > uint64(len(c.ring)) && len(c.ring) < c.maxBytes && now-c.written[part] < c.keep {
			c.grow(now)
			continue
		}
		c.head, c.part, c.written[part] = end, part, now
		return pos
	}
}

// holds reports whether a slot's bytes are still its own.
func (c *Cache) holds(s *cacheSlot) bool {
	return c.head <= uint64(len(c.ring)) || s.pos >= c.head-uint64(len(c.ring))
}

func (c *Cache) grow(now int64) {
	bigger := make([]byte, 2*len(c.ring))
	var head uint64
	// In order of position, so that the oldest is overwritten first again.
	for {
		var next *cacheSlot
		for i := range c.slots {
			s := &c.slots[i]
			if s.used && !c.holds(s) {
				s.used = false
			}
			if s.used && (next == nil || s.pos < next.pos) && s.pos>>63 == 0 {
				next = s
			}
		}
		if next == nil {
			break
		}
		off := int(next.pos) & (len(c.ring) - 1)
		copy(bigger[head:], c.ring[off:off+int(next.size)])
		next.pos = head | 1<<63 // moved
		head += uint64(next.size)
	}
	for i := range c.slots {
		c.slots[i].pos &^= 1 << 63
	}
	c.ring, c.head = bigger, head
	c.part = (int(head) & (len(c.ring) - 1)) / (len(c.ring) / cacheParts)
	for i := range c.written {
		c.written[i] = now
	}
}

// Get finds a packet and parses it into p. Its bytes are the cache's: they hold
// until the next Put, and whoever changes them puts them back.
func (c *Cache) Get(seq uint16, p *Packet) bool {
	s := &c.slots[int(seq)&(len(c.slots)-1)]
	if !s.used || s.seq != seq || !c.holds(s) {
		return false
	}
	off := int(s.pos) & (len(c.ring) - 1)
	end := off + int(s.size)
	if p.Parse(c.ring[off:end:end]) != nil {
		return false
	}
	p.Arrival = s.arrival
	return true
}

// Has reports whether the packet is there.
func (c *Cache) Has(seq uint16) bool {
	s := &c.slots[int(seq)&(len(c.slots)-1)]
	return s.used && s.seq == seq && c.holds(s)
}

// Forget drops what is kept in the places of the numbers from first to last:
// packets of 2^16 numbers ago, which must not be taken for ones that are missing
// now.
func (c *Cache) Forget(first, last uint16) {
	n := min(int(last-first)+1, len(c.slots))
	for i := range n {
		c.slots[int(first+uint16(i))&(len(c.slots)-1)].used = false
	}
}

// Reset forgets every packet and keeps the memory.
func (c *Cache) Reset() {
	for i := range c.slots {
		c.slots[i].used = false
	}
}

// UnwrapRTX turns a retransmission (RFC 4588) into the packet that it repeats,
// in place: payloadType and ssrc are those of the original stream. It reports
// false for one too short to hold the original number, such as a padding packet
// that probes for bandwidth, and leaves p as it is then.
func (p *Packet) UnwrapRTX(payloadType uint8, ssrc uint32) bool {
	if len(p.Payload()) < 2 {
		return false
	}
	seq := binary.BigEndian.Uint16(p.Raw[p.HeaderLen:])
	// The header moves up over the two bytes of the original number.
	copy(p.Raw[2:], p.Raw[:p.HeaderLen])
	p.Raw = p.Raw[2:]
	p.Raw[1] = p.Raw[1]&0x80 | payloadType&0x7F
	binary.BigEndian.PutUint16(p.Raw[2:], seq)
	binary.BigEndian.PutUint32(p.Raw[8:], ssrc)
	p.PayloadType, p.Seq, p.SSRC = payloadType&0x7F, seq, ssrc
	return true
}

// WrapRTX returns the payload of a retransmission (RFC 4588): the original
// number before the original payload. The two bytes before the payload in
// p.Raw, which are the tail of its header, are used for it; undo puts them
// back.
func (p *Packet) WrapRTX(seq uint16) (payload []byte, undo uint16) {
	at := p.HeaderLen - 2
	undo = binary.BigEndian.Uint16(p.Raw[at:])
	binary.BigEndian.PutUint16(p.Raw[at:], seq)
	return p.Raw[at : len(p.Raw)-p.PadLen], undo
}

// UndoRTX puts back what WrapRTX changed.
func (p *Packet) UndoRTX(undo uint16) {
	binary.BigEndian.PutUint16(p.Raw[p.HeaderLen-2:], undo)
}
