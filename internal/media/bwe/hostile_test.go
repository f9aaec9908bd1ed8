package bwe

import (
	"testing"

	"belfry/internal/media/rtp"
)

// A receiver's clock that is about to turn, in the sense of feedback: twice in 2^24
// times 64 ms, once from the highest to below 0 and once through 0.
func TestClockOfTheReceiverTurns(t *testing.T) {
	for _, begin := range []int64{clockSpan/2*1000 - 5*second, clockSpan / 4 * 3 * 1000, clockSpan*1000 - 5*second} {
		n := newNetwork(t, 1_000_000)
		n.now = begin
		n.run(10 * second)
		_, mean, _ := n.over(20 * second)
		within(t, "mean", mean, 700_000, 1_100_000)
	}
}

// FuzzFeedback sends what a client makes up between what it was sent.
func FuzzFeedback(f *testing.F) {
	var r rtp.TWCCRecorder
	for i := range 50 {
		r.Record(uint16(i), int64(i)*7*millisecond)
	}
	c := rtp.RTCP{Data: r.AppendFeedback(nil, 1, 2)}
	c.Next()
	f.Add(c.Body, uint64(300_000))
	f.Add([]byte{0, 1, 0, 1, 0x80, 0, 0, 0, 0x20, 1, 5, 0}, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, body []byte, remb uint64) {
		e := New(Config{})
		now := 1000 * second
		for i := range 200 {
			e.Send(1200, now)
			now += 10 * millisecond
			e.Want(2_000_000)
			if n := e.Padding(now); n < 0 || n > 1<<20 {
				t.Fatalf("%d bytes of padding", n)
			}
			if i%20 == 19 {
				e.Feedback(body, now)
				e.REMB(remb, now)
			}
			if r := e.Target(); r < e.cfg.Min || r > e.cfg.Max {
				t.Fatalf("the estimate is %d", r)
			}
		}
	})
}
