package bwe

// What losses mean.
const (
	lossWindow  = 300 * millisecond
	lossPackets = 20 // in a window, or
	lossLongest = second
	lossFewest  = 6

	lossMatters = 0.10 // beyond what is lost whatever the rate
	lossGross   = 0.30 // at once, without a second look
	lossMost    = 0.40 // that is taken for the nature of the link
)

// losses tells losses for want of room from those that come whatever is sent,
// as on radio: lower the rate, and see whether they stay. A link that loses as
// much at a lower rate gets its rate back, and that share is expected of it.
type losses struct {
	began          int64
	received, lost int
	smooth         float64
	inherent       float64 // the share that is lost at any rate
	high           int     // windows in a row with too much

	// A lowered rate that is being looked at.
	testing bool
	since   int64
	sent    int64   // what was sent before
	was     float64 // what was lost before
	before  int64   // the estimate before
}

func (l *losses) init()      { *l = losses{} }
func (l *losses) arrive()    { l.received++ }
func (l *losses) lose(n int) { l.lost = max(l.lost+n, 0) }
func (l *losses) late()      { l.lost = max(l.lost-1, 0) }
func (l *losses) forget()    { l.received, l.lost, l.began = 0, 0, 0 }

// window ends an interval when it is long enough; ok says that one ended.
func (l *losses) window(now int64) (share float64, ok bool) {
	if l.began == 0 {
		l.began = now
	}
	n := l.received + l.lost
	age := now - l.began
	if age < lossWindow || n < lossFewest || n < lossPackets && age < lossLongest {
		return 0, false
	}
	share = float64(l.lost) / float64(n)
	l.received, l.lost, l.began = 0, 0, now
	l.smooth += 0.5 * (share - l.smooth)
	switch {
	case l.smooth < l.inherent:
		l.inherent += 0.3 * (l.smooth - l.inherent)
	case l.smooth < min(l.inherent+lossMatters, lossMatters):
		l.inherent += 0.05 * (l.smooth - l.inherent)
	}
	return share, true
}

// lossy lowers the estimate for losses, and takes that back when it was no use.
func (e *Estimator) lossy(now, delivered int64) {
	l := &e.loss
	share, ok := l.window(now)
	if !ok {
		return
	}
	sent := e.sentRate.rate(now)
	if l.testing && now-l.since > max(2*e.rtt, 600*millisecond) {
		// What a full link would lose of this, had it lost that much before.
		full := max(1-(1-l.was)*float64(l.sent)/float64(max(sent, 1)), 0)
		switch {
		case sent < l.sent*17/20 && e.queue.least() < 50*millisecond && share > (l.was+full)/2:
			l.inherent = min(max(share, l.inherent), lossMost)
			l.smooth = share
			e.rate = max(e.rate, l.before)
			l.testing = false
		case share < l.was/2 || now-l.since > 10*second:
			l.testing = false
		}
	}
	if share-l.inherent <= lossMatters || l.smooth-l.inherent <= lossMatters {
		l.high = 0
		return
	}
	l.high++
	if l.high < 2 && share-l.inherent < lossGross {
		return
	}
	l.high = 0
	if !l.testing {
		l.testing, l.since, l.sent, l.was, l.before = true, now, sent, max(share, l.smooth), e.rate
	}
	if to := delivered * 9 / 10; to < e.rate && !e.drain.active(now) {
		e.stats.Losses++
		e.rate = to
	}
	e.decreased = now
}
