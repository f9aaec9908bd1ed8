package media

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"

	"belfry/internal/media/rtp"
)

const extAbsSendTime = 2

// told is what the client was told last to keep to, in bit/s; 0 for nothing.
func (c *client) told() float32 {
	var bps float32
	for _, p := range c.control() {
		if x, ok := p.(*rtcp.ReceiverEstimatedMaximumBitrate); ok {
			bps = x.Bitrate
		}
	}
	return bps
}

// A client whose sound is later and later sends more than its way carries: it is told to
// send less, by the stamps of the sound. What it was told is taken back when the queue is
// gone, also where its camera was turned off and on meanwhile.
func TestUplinkNarrows(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	watches(t, b, a)
	begun := time.Now()
	var full atomic.Bool
	var sent time.Duration // on the way's clock, behind ours by the queue
	var last time.Time
	stop := every(20*time.Millisecond, func() {
		now := time.Now()
		if last.IsZero() {
			last = begun
		}
		if passed := now.Sub(last); full.Load() {
			sent += passed / 2
		} else {
			sent += passed
		}
		last = now
		ssrc := a.sections[0].ssrc
		seq := a.next(ssrc)
		p := &pionrtp.Packet{
			Header:  pionrtp.Header{Version: 2, PayloadType: a.opus, SequenceNumber: seq, Timestamp: 960 * uint32(seq), SSRC: ssrc},
			Payload: spoken("a")(int(seq)),
		}
		stamp := rtp.AbsSendTime(int64(sent))
		_ = p.SetExtension(extLevel, []byte{20})
		_ = p.SetExtension(extAbsSendTime, []byte{byte(stamp >> 16), byte(stamp >> 8), byte(stamp)})
		a.send(p)
		a.film(false)
	})
	t.Cleanup(stop)
	n := len(a.control())
	eventually(t, "two reports", func() bool { return len(a.control()) >= n+2 })
	full.Store(true)
	eventually(t, "a limit", func() bool { bps := a.told(); return bps >= 80_000 && bps < 600_000 })
	a.sections[1].direction, a.sendVideo = "inactive", nil
	a.negotiate()
	full.Store(false)
	n = len(a.control())
	a.camera()
	eventually(t, "no limit", func() bool { return len(a.control()) > n && a.told() >= 600_000*3/2 })
}
