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
	stamp  uint32   // the newest, in 2⁻¹⁸ s
	sent   int64    // when the newest was sent, in ns from the first on, on the sender's clock
	noted  int64    // when it came, in ns
	base   [2]int64 // arrival − sent at best, in ns, of this interval and the one before
	turned int64    // when this interval began, in ns
	least  int64    // ns longer than at best that packets took, at least, since the last look
	seen   bool     // any came since then
	long   int      // looks in a row at which a queue stood
	looked int64    // when that was last, in ns
	came   [upSlots]upSlot

	jam     int64 // when the queue was found that is looked after, in ns; 0 for none
	empty   int64 // when it was gone, in ns; 0 while it is not
	stood   int64 // ns that packets waited when less was asked for last
	vain    int   // times in a row that less was asked for and the queue did not become shorter
	carried int64 // bit/s that came while it was there
	limit   int64 // bit/s that the publisher is to keep to; 0 for none
	raised  int64 // when that was changed last, in ns
}

// upSlot counts what came in one stretch of upSlotTime: its number since the clock's
// beginning, and bytes.
type upSlot struct{ number, bytes int64 }

const (
	upBaseEvery = 15 * second
	upAnew      = 10 * second // without sound: the publisher's clock may have turned, or slept
	upStep      = 2 * second  // no queue grows or shrinks like that from one packet to the next
	upSlots     = 8
	upSlotTime  = 50 * millisecond
	upLong      = 100 * millisecond // such a queue is looked after
	upLooks     = 2
	upShort     = 40 * millisecond // and with such a one it is gone
	upJamMost   = 6 * second       // then the way itself has become longer
	upVain      = 2                // likewise, after so many cuts of no avail
	upSilent    = 1 * second       // without sound or look nothing is known of the queue
	upKeys      = 200 * millisecond
	upCalm      = 1500 * millisecond // until the limit is raised
	upRaise     = 400 * millisecond  // between two steps up
	upWhile     = 75                 // per cent of what comes that it may send while a queue stands
	upAfter     = 90                 // and when it is gone
	upLeast     = 80_000             // bit/s, the least that is asked for
)

// note takes a packet with its stamp, and when it came.
func (u *inflow) note(stamp uint32, size int, arrival int64) {
	// 24 bits of 2⁻¹⁸ s: the difference tells which turn it is of.
	since := int64(int32((stamp-u.stamp)<<8)>>8) * second >> 18
	if step := arrival - u.noted - since; !u.known || arrival-u.noted > upAnew || step > upStep || step < -upStep {
		u.known, u.turned = true, arrival
		u.sent, since = 0, 0
		u.base = [2]int64{arrival, arrival}
	}
	u.noted = arrival
	u.sent += since
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
	if now-u.looked > upSilent { // there was no camera
		u.jam, u.empty, u.limit, u.long = 0, 0, 0, 0
	}
	u.looked = now
	switch {
	case !u.seen:
	case u.least > upLong:
		u.long++
	default:
		u.long = 0
	}
	queue := u.seen && u.long >= upLooks
	switch {
	case u.jam == 0:
		// More than it has been allowed is a key frame in one go, which passes.
		if rate := u.rate(now); queue && rate < most {
			u.cut(rate, now)
		}
	case u.empty != 0 && queue:
		u.cut(u.rate(now), now) // again
	case u.empty != 0:
		if now-u.empty > upCalm && now-u.raised > upRaise {
			u.limit, u.raised = u.limit*3/2, now
			if u.limit > most*3/2 {
				u.limit, u.jam, u.empty = 0, 0, 0
			}
		}
	case u.seen && u.least < upShort:
		u.empty = now
		u.limit, u.raised = max(u.carried*upAfter/100, upLeast), now
	case now-u.noted > upSilent:
		u.empty, u.long = now, 0
	case now-u.jam > upJamMost:
		u.longer(now)
	case now-u.raised > second: // it was not enough
		if u.vain++; u.least < u.stood*9/10 {
			u.vain = 0
		}
		if u.vain >= upVain {
			u.longer(now)
			break
		}
		u.stood = u.least
		u.carried = min(u.carried, u.rate(now))
		u.limit, u.raised = max(u.carried*upWhile/100, upLeast), now
	}
	u.seen = false
}

// cut asks for less than the rate at which packets come, since a queue stands.
func (u *inflow) cut(rate, now int64) {
	u.jam, u.empty, u.stood, u.vain = now, 0, u.least, 0
	u.carried = rate
	u.limit, u.raised = max(rate*upWhile/100, upLeast), now
}

// longer takes what looked like a queue for the length of the way.
func (u *inflow) longer(now int64) {
	best := min(u.base[0], u.base[1]) + u.least
	u.base = [2]int64{best, best}
	u.empty, u.long = now, 0
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

// Uplink is the way from a client to us, and what the client was told of it. It belongs
// to the client's transport, which keeps to that also when another publication takes the
// place of one: Beside is fed with its sound, and PublishConfig names it. The zero value
// is one of which nothing is known.
type Uplink struct {
	inflow
	told   int64 // bit/s that the client was told to keep to (REMB), 0 for none
	toldAt int64 // when it was told, in ns; 0: never
}

// Beside takes packets of the publisher's sound, which go the same way, and the id of
// abs-send-time in them, 0 for none. Browsers do not stamp video that has transport-wide
// numbers.
func (u *Uplink) Beside(sound []*rtp.Packet, id uint8) {
	if id == 0 {
		return
	}
	for _, pkt := range sound {
		if stamp, ok := pkt.AbsSendTime(id); ok {
			u.note(stamp, len(pkt.Raw), cmp.Or(pkt.Received, pkt.Arrival))
		}
	}
}
