package media

import "time"

// The values of meeting.SignalStrength.
const (
	strengthNone = 0
	strengthWeak = 1
	strengthGood = 2
)

// From where on a network is weak, and as good as gone. Opus and its repair hide
// a few per cent; browsers send something at least every 20 ms.
const (
	weakLoss  = 0.10
	weakAfter = int64(2 * time.Second)
	noneAfter = int64(6 * time.Second)
)

// quality judges the network of one peer by the losses of both directions.
type quality struct {
	up, down float64 // share lost, smoothed over some reports
	latest   float64 // of what we sent, in the last report
}

func (q *quality) uplink(fractionLost uint8) { smooth(&q.up, fractionLost) }
func (q *quality) downlink(fractionLost uint8) {
	smooth(&q.down, fractionLost)
	q.latest = float64(fractionLost) / 256
}

func smooth(v *float64, fractionLost uint8) {
	*v += 0.4 * (float64(fractionLost)/256 - *v)
}

// downlinkPercent is the share of what we sent that was lost, in whole per cent, by
// the last report where that is more: browsers report on sound every five seconds, and
// protection that began when the average has risen would be late by three of them.
func (q *quality) downlinkPercent() int { return int(max(q.down, q.latest)*100 + 0.5) }

// strength is how well it does after that long a silence, in ns.
func (q *quality) strength(silent int64) uint8 {
	switch {
	case silent >= noneAfter:
		return strengthNone
	case silent >= weakAfter || q.up >= weakLoss || q.down >= weakLoss:
		return strengthWeak
	}
	return strengthGood
}
