package bwe

// drain is a queue that is left to empty. All that is sent waits behind it, and what
// others send to the same client, its sound, does too.
type drain struct {
	since int64  // ns, when it began; 0 for none
	last  uint64 // the number of the packet sent last when it began
	ended int64  // ns, when the last one was given up; 0 for never
	asked int64  // ns, when a packet was last asked for
}

const (
	drainFrom  = 60 * millisecond // such a queue is left to empty
	drainTo    = 20 * millisecond // to this
	drainMost  = 1500 * millisecond
	drainRest  = 2 * second // after one that took that long: others keep the queue full
	drainEvery = 40 * millisecond
)

func (d *drain) active(now int64) bool { return d.since != 0 && now-d.since < drainMost }

// follow takes what the newest feedback told: that a long queue was found, how long the
// newest packet waited, its number, and that of the packet sent last. It says that the
// time of draining is over.
func (d *drain) follow(long bool, delay int64, newest, sent uint64, now int64) (over bool) {
	switch {
	case d.since == 0:
		if long && (d.ended == 0 || now-d.ended > drainRest) {
			*d = drain{since: now, last: sent}
		}
	case now-d.since >= drainMost:
		*d = drain{ended: now}
		return true
	case newest > d.last && delay < drainTo:
		*d = drain{}
		return true
	}
	return false
}

// sound asks for a packet of next to nothing from time to time.
func (d *drain) sound(now int64) int {
	if now-d.asked < drainEvery {
		return 0
	}
	d.asked = now
	return 1
}
