package bwe

// remb follows the estimate of a client that makes its own. What such an estimate
// is worth is that it falls when the client sees congestion; how high it is says
// little, since it rises slowly and not far above what arrives. So a fall is
// followed, and after a while more is tried.
type remb struct {
	heard    bool
	last     int64 // as the client said
	rate     int64
	lowered  int64 // when it last fell
	raised   int64 // when more was last tried
	interval int64 // how long to wait after a fall
}

const (
	trialFirst = 4 * second
	trialMost  = 40 * second
	trialEvery = second // between two steps up
)

func (r *remb) set(rate, start, sending, now int64) {
	switch {
	case !r.heard:
		r.heard, r.rate, r.interval = true, start, trialFirst
	case rate < r.last*19/20 && rate < r.rate:
		if r.raised != 0 && now-r.raised < 5*second {
			r.interval = min(2*r.interval, trialMost) // it was too much
		}
		r.rate, r.lowered = rate, now
	case r.rate < rate:
		r.rate = rate
	}
	r.last = rate
	if now-r.lowered > 2*second {
		r.rate = max(r.rate, sending*11/10) // which goes through
	}
}

// tick tries more, when there is more to send than the estimate.
func (r *remb) tick(want, now int64) {
	if !r.heard || want <= r.rate || now-r.lowered < r.interval || now-r.raised < trialEvery {
		return
	}
	if now-r.lowered > 60*second {
		r.interval = trialFirst
	}
	r.rate, r.raised = min(want, r.rate*3/2), now
}
