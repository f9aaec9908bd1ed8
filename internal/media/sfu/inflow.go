package sfu

import (
	"cmp"

	"belfry/internal/media/rtp"
)

// inflow is the way from a publisher to us, as far as it can be seen from here: by the
// clock with which the publisher stamps its sound (abs-send-time), how long packets wait
// on the way, and how fast they come. A browser finds out for itself what its way
// carries, but by then its queue is full for seconds, of key frames most of all. So where
// a queue stands, the publisher is told at once to send less than what comes (REMB), and
// no key frames are asked for that make it worse. Once the queue is gone it is left to
// itself again, step by step.
type inflow struct {
	known  bool
	stamp  uint32 // the newest
	sent   int64  // that, without its turns, in ns
	noted  int64  // when that came
	base   [2]int64
	turned int64 // when the base of this interval began
	least  int64 // how much longer than at best packets took, at least, since the last look
	seen   bool  // any came since then
	long   int   // looks in a row at which a queue stood
	came   [upSlots]upSlot

	jam     int64 // when the queue was found that is looked after; 0 for none
	empty   int64 // when it was gone; 0 while it is not
	carried int64 // bit/s that came while it was there
	limit   int64 // bit/s that the publisher is to keep to; 0 for none
	raised  int64 // when that was changed last
}

type upSlot struct{ number, bytes int64 }

const (
	upBaseEvery = 15 * second
	upAnew      = 10 * second // without sound: the publisher's clock may have turned, or slept
	upSlots     = 8
	upSlotTime  = 50 * millisecond
	upLong      = 100 * millisecond // such a queue is looked after
	upLooks     = 2
	upShort     = 40 * millisecond // and with such a one it is gone
	upJamMost   = 6 * second       // then the way itself has become longer
	upKeys      = 200 * millisecond
	upCalm      = 1500 * millisecond // until the limit is raised
	upRaise     = 400 * millisecond  // between two steps up
	upWhile     = 75                 // per cent of what comes that it may send while a queue stands
	upAfter     = 90                 // and when it is gone
	upLeast     = 80_000             // bit/s, the least that is asked for
)

// note takes a packet with its stamp, and when it came.
func (u *inflow) note(stamp uint32, size int, arrival int64) {
	if !u.known || arrival-u.noted > upAnew {
		u.known, u.stamp, u.turned = true, stamp, arrival
		u.sent = 0
		u.base = [2]int64{arrival, arrival}
	}
	u.noted = arrival
	// 24 bits of 2⁻¹⁸ s: the difference tells which turn it is of.
	u.sent += int64(int32((stamp-u.stamp)<<8)>>8) * second >> 18
	u.stamp = stamp
	way := arrival - u.sent
	if arrival-u.turned > upBaseEvery && u.jam == 0 {
		u.base, u.turned = [2]int64{way, u.base[0]}, arrival
	}
	u.base[0] = min(u.base[0], way)
	delay := way - min(u.base[0], u.base[1])
	if !u.seen || delay < u.least {
		u.least, u.seen = delay, true
	}
	u.count(size, arrival)
}

// count takes one that has no stamp.
func (u *inflow) count(size int, arrival int64) {
	s := &u.came[arrival/upSlotTime%upSlots]
	if n := arrival / upSlotTime; s.number != n {
		*s = upSlot{number: n}
	}
	s.bytes += int64(size)
}

// rate is how fast packets came lately, in bit/s.
func (u *inflow) rate(now int64) int64 {
	var bytes int64
	newest := now / upSlotTime
	for _, s := range u.came {
		if s.number < newest && s.number > newest-upSlots {
			bytes += s.bytes
		}
	}
	return bytes * 8 * second / ((upSlots - 1) * upSlotTime)
}

// look draws the conclusions of what came since the last look. most is what the publisher
// has said it sends at most.
func (u *inflow) look(most, now int64) {
	if u.seen && u.least > upLong {
		u.long++
	} else if u.seen {
		u.long = 0
	}
	switch {
	case u.jam == 0:
		// More than it has been allowed is a key frame in one go, which passes.
		if rate := u.rate(now); u.long >= upLooks && rate < most {
			u.jam, u.empty, u.carried = now, 0, rate
			u.limit, u.raised = max(u.carried*upWhile/100, upLeast), now
		}
	case now-u.jam > upJamMost && u.empty == 0:
		u.base = [2]int64{u.base[0] + u.least, u.base[0] + u.least}
		u.empty = now
	case u.empty == 0:
		if u.seen && u.least < upShort {
			u.empty = now
			u.limit, u.raised = max(u.carried*upAfter/100, upLeast), now
		} else if now-u.raised > second { // it was not enough
			u.carried = min(u.carried, u.rate(now))
			u.limit, u.raised = max(u.carried*upWhile/100, upLeast), now
		}
	case u.long >= upLooks:
		u.jam, u.empty = now, 0 // again
		u.carried = u.rate(now)
		u.limit, u.raised = max(u.carried*upWhile/100, upLeast), now
	case now-u.empty > upCalm && now-u.raised > upRaise:
		u.limit, u.raised = u.limit*3/2, now
		if u.limit > most*3/2 {
			u.limit, u.jam, u.empty = 0, 0, 0
		}
	}
	u.seen = false
}

// jammed says that a queue stands on the way.
func (u *inflow) jammed() bool { return u.jam != 0 && u.empty == 0 }

// stays says that a queue has stood for so long that the way is too narrow for what comes.
func (u *inflow) stays(now int64) bool { return u.jammed() && now-u.jam >= upKeys }

// withholds says that no key frame of a layer is to be asked for now. A request for one is
// answered with key frames of all that are sent, so it waits until the publisher has left
// off the large ones.
func (u *inflow) withholds(lowest bool, now int64) bool {
	return u.jammed() && (!lowest || now-u.jam < upKeys)
}

// Beside takes packets of the publisher's sound, which go the same way, and the id of
// abs-send-time in them, 0 for none. Browsers do not stamp video that has transport-wide
// numbers.
func (p *Publication) Beside(sound []*rtp.Packet, id uint8) {
	if id == 0 {
		return
	}
	for _, pkt := range sound {
		if stamp, ok := pkt.AbsSendTime(id); ok {
			p.up.note(stamp, len(pkt.Raw), cmp.Or(pkt.Received, pkt.Arrival))
		}
	}
}
