package bwe

// packet is one that was sent.
type packet struct {
	at      int64  // when
	number  uint32 // the low bits of its number
	size    uint16
	cluster uint8 // of a probe, 0 for none
	state   uint8
}

const (
	unused uint8 = iota
	waiting
	missing // told lost
	arrived
)

const (
	ringStart = 128
	ringMost  = 8192
	ringKeeps = 2 * second // packets younger are not overwritten while there is room to grow
)

// history is the packets sent last, by number.
type history struct {
	ring []packet // a power of two
	next uint64   // the last number given out; the first is 1
}

func (h *history) init() { h.ring = make([]packet, ringStart) }

func (h *history) add(now int64) *packet {
	h.next++
	p := &h.ring[h.next&uint64(len(h.ring)-1)]
	if p.state == waiting && len(h.ring) < ringMost && now-p.at < ringKeeps {
		h.grow()
		p = &h.ring[h.next&uint64(len(h.ring)-1)]
	}
	p.number = uint32(h.next)
	return p
}

func (h *history) grow() {
	bigger := make([]packet, 2*len(h.ring))
	for _, p := range h.ring {
		if p.state != unused {
			bigger[uint64(p.number)&uint64(len(bigger)-1)] = p
		}
	}
	h.ring = bigger
}

// find returns the newest packet with this number on the wire, nil when it is
// too old or was never sent.
func (h *history) find(seq uint16) (number uint64, p *packet) {
	back := uint64(uint16(h.next) - seq)
	if back >= h.next {
		return 0, nil
	}
	number = h.next - back
	p = &h.ring[number&uint64(len(h.ring)-1)]
	if p.state == unused || p.number != uint32(number) {
		return 0, nil
	}
	return number, p
}

// meter measures a rate over the last half second.
type meter struct {
	bytes [meterSlots]uint32
	slot  int64 // the number of the slot being filled
	first int64 // when the first came; 0 for never
	last  int64 // the newest time seen
}

const (
	meterSlots = 10
	meterSlot  = 50 * millisecond
)

func (m *meter) advance(at int64) {
	slot := at / meterSlot
	if m.first == 0 || slot-m.slot >= meterSlots {
		if m.first == 0 || slot-m.slot > 4*meterSlots {
			m.first = max(at, 1) // what was before a long silence says nothing of now
		}
		m.bytes = [meterSlots]uint32{}
		m.slot = slot
	}
	for m.slot < slot {
		m.slot++
		m.bytes[m.slot%meterSlots] = 0
	}
	m.last = max(m.last, at)
}

func (m *meter) add(size int, at int64) {
	at = max(at, 1)
	if m.first != 0 && at/meterSlot <= m.slot-meterSlots {
		return
	}
	if m.first == 0 || at > m.last {
		m.advance(at)
	}
	m.bytes[at/meterSlot%meterSlots] += uint32(size)
}

// rate is that up to now.
func (m *meter) rate(now int64) int64 {
	if m.first == 0 {
		return 0
	}
	if now > m.last {
		m.advance(now)
	}
	return m.newest()
}

// newest is the rate up to the newest time.
func (m *meter) newest() int64 {
	if m.first == 0 {
		return 0
	}
	var sum int64
	for _, b := range m.bytes {
		sum += int64(b)
	}
	span := (meterSlots-1)*meterSlot + m.last%meterSlot
	span = min(span, max(m.last-m.first, 100*millisecond))
	return sum * 8 * second / span
}
