package api

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// throttle holds each account to its quota of requests, operation by operation,
// as AWS does: a token bucket for each pair of the two, which refills by the
// rate and holds as many as may come at once.
type throttle struct {
	mu      sync.Mutex
	buckets map[bucketKey]*rate.Limiter
	sweepAt int // how many buckets there are when those not in use are looked for
}

type bucketKey struct{ account, operation string }

// fewBuckets are never looked through.
const fewBuckets = 1024

func newThrottle() *throttle {
	return &throttle{buckets: map[bucketKey]*rate.Limiter{}, sweepAt: fewBuckets}
}

// take reports whether one more request may be served. The quotas are those of
// now: when they change, what was used of a bucket stays used, and what a larger
// one holds more can be used at once.
func (t *throttle) take(account, operation string, q meeting.Quotas, now time.Time) bool {
	if q.RequestRate == 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := bucketKey{account, operation}
	b := t.buckets[key]
	if b == nil {
		if len(t.buckets) >= t.sweepAt {
			t.sweep(now)
		}
		b = rate.NewLimiter(rate.Limit(q.RequestRate), q.RequestBurst)
		t.buckets[key] = b
	}
	if b.Limit() != rate.Limit(q.RequestRate) || b.Burst() != q.RequestBurst {
		used := int(math.Ceil(float64(b.Burst()) - b.TokensAt(now)))
		b = rate.NewLimiter(rate.Limit(q.RequestRate), q.RequestBurst)
		b.AllowN(now, min(used, q.RequestBurst))
		t.buckets[key] = b
	}
	return b.AllowN(now, 1)
}

// sweep drops the buckets that are full: a new one is the same.
func (t *throttle) sweep(now time.Time) {
	for key, b := range t.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(t.buckets, key)
		}
	}
	t.sweepAt = max(fewBuckets, 2*len(t.buckets))
}
