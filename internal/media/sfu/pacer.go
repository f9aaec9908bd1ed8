package sfu

import (
	"encoding/binary"

	"belfry/internal/media/rtp"
)

// pacer lets out what goes to one client no faster than its way is known to carry.
// A key frame that came in one go would else stand in the queue of the narrowest link,
// with the sound behind it, and be cut off where that queue ends. Only what goes to a
// client whose way was once found full is held at all, and in memory of its own.
type pacer struct {
	waiting []parcel
	bytes   int64
	free    [][]byte
	tokens  int64 // bytes that may go out at once
	at      int64 // when these were counted
}

// parcel is a packet that waits.
type parcel struct {
	sub    *Subscription
	packet []byte
	header int // bytes of it
	number int // where in it the transport-wide number has its place; 0 for nowhere
}

const (
	paceShare = 125              // per cent of the estimate
	paceFound = 105              // of it where the way is known to carry no more
	paceFull  = 100              // of it soon after a queue was seen to grow
	paceEmpty = 85               // of it while one stands, so that it gets shorter
	paceStood = 40 * millisecond // from which delay on one does
	paceBurst = 25 * millisecond // that may go out at once
	paceLeast = 1500             // bytes of that
	paceWaits = 3 * second       // all that waits goes out within so long
	paceFree  = 64               // buffers that are kept
	paceMost  = 1 << 20          // bytes beyond which nothing is held back any more
)

// paces says that packets may have to wait.
func (d *Downlink) paces() bool { return !d.cfg.Follow && d.est.Constrained() }

// paceRate is how fast to send, in bit/s. Sound and what others send waits in a queue
// on the way, so what is too much for the way waits here instead.
func (d *Downlink) paceRate(now int64) int64 {
	share := int64(paceShare)
	if d.est.Full() {
		share = paceFound
	}
	if d.est.Queued(now) {
		share = paceFull
		if d.est.QueueDelay() > paceStood {
			share = paceEmpty
		}
	}
	return d.est.Target() * share / 100
}

// refill counts what may go out by now.
func (p *pacer) refill(rate, now int64) {
	rate = max(rate, p.bytes*8*second/paceWaits)
	since := min(max(now-p.at, 0), second)
	p.at = now
	p.tokens = min(p.tokens+rate*since/8/second, max(rate*paceBurst/8/second, paceLeast))
}

// send sends a packet of a subscription, or keeps a copy until its turn comes. One
// that is sent again does not wait: the receiver does.
func (s *Subscription) send(header, payload []byte, again bool) {
	d := s.down
	if d == nil {
		s.cfg.Down.SendRTP(header, payload)
		return
	}
	p, now := &d.pace, d.r.now
	if !d.paces() || p.bytes > paceMost {
		d.drain(1<<40, now)
		d.release(s, header, payload, s.number, now)
		return
	}
	p.refill(d.paceRate(now), now)
	size := int64(len(header) + len(payload))
	if again || len(p.waiting) == 0 && p.tokens > 0 && !d.est.Draining(now) {
		p.tokens -= size
		d.release(s, header, payload, s.number, now)
		return
	}
	var packet []byte
	if n := len(p.free); n > 0 {
		packet, p.free = p.free[n-1][:0], p.free[:n-1]
	}
	packet = append(append(packet, header...), payload...)
	p.waiting = append(p.waiting, parcel{s, packet, len(header), s.number})
	p.bytes += size
}

// release numbers a packet and lets it out.
func (d *Downlink) release(s *Subscription, header, payload []byte, number int, now int64) {
	if number != 0 {
		binary.BigEndian.PutUint16(header[number:], d.est.Send(len(payload)+padHeader, now))
	}
	s.cfg.Down.SendRTP(header, payload)
}

// drain lets out what waits, up to so many bytes, and returns how many of those are
// left.
func (d *Downlink) drain(most, now int64) (left int64) {
	p := &d.pace
	sent := 0
	for ; sent < len(p.waiting) && most > 0; sent++ {
		w := &p.waiting[sent]
		size := int64(len(w.packet))
		p.bytes -= size
		if !w.sub.closed {
			d.release(w.sub, w.packet[:w.header], w.packet[w.header:], w.number, now)
			most -= size
		}
		p.keep(w.packet)
	}
	p.drop(sent)
	return most
}

// purge throws away what waits of a subscription, and gives the numbers back: nothing
// was sealed under them yet.
func (d *Downlink) purge(s *Subscription) {
	p := &d.pace
	kept := p.waiting[:0]
	first := true
	for _, w := range p.waiting {
		if w.sub != s {
			kept = append(kept, w)
			continue
		}
		p.bytes -= int64(len(w.packet))
		p.keep(w.packet)
		if first {
			first = false
			unsent := binary.BigEndian.Uint16(w.packet[2:])
			s.out.seq -= uint64(uint16(s.out.seq)-unsent) + 1
			s.void, s.keyed = min(s.void, s.out.seq), min(s.keyed, s.out.seq+1)
		}
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
}

// keyWaits says that the newest key frame of a subscription has not gone out yet, or
// not all that came before it.
func (d *Downlink) keyWaits(s *Subscription) bool {
	for _, w := range d.pace.waiting {
		if w.sub == s {
			return rtp.SeqDiff(uint16(s.keyed), binary.BigEndian.Uint16(w.packet[2:])) >= 0
		}
	}
	return false
}

func (p *pacer) keep(packet []byte) {
	if len(p.free) < paceFree {
		p.free = append(p.free, packet)
	}
}

// drop forgets the first n.
func (p *pacer) drop(n int) {
	if n == 0 {
		return
	}
	rest := copy(p.waiting, p.waiting[n:])
	clear(p.waiting[rest:])
	p.waiting = p.waiting[:rest]
}

// turn lets out what is due.
func (d *Downlink) turn(now int64) {
	p := &d.pace
	if len(p.waiting) == 0 {
		return
	}
	if !d.paces() {
		d.drain(1<<40, now)
		return
	}
	if d.est.Draining(now) {
		p.tokens, p.at = 0, now
		return
	}
	p.refill(d.paceRate(now), now)
	if p.tokens > 0 {
		p.tokens = d.drain(p.tokens, now)
	}
}
