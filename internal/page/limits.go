package page

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// How often the backend may be called: by one address, so that nobody tries
// rooms by the thousand, and by all together, so that the page cannot keep the
// API busy. A class that arrives at once from behind one address fits.
const (
	eachRate, eachBurst = 5, 60
	allRate, allBurst   = 50, 300
	// maxAddresses bounds the memory for addresses that called lately.
	maxAddresses = 4096
)

// limits are token buckets, one for each address and one for all.
type limits struct {
	now func() time.Time
	all *rate.Limiter

	mu   sync.Mutex
	each map[netip.Addr]*rate.Limiter
}

func newLimits(now func() time.Time) *limits {
	return &limits{now: now, all: rate.NewLimiter(allRate, allBurst), each: map[netip.Addr]*rate.Limiter{}}
}

// guard answers 429 for what is over the limits, and passes on the rest.
func (l *limits) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.allow(caller(r.RemoteAddr)) {
			w.Header().Set("Retry-After", "5")
			writeError(w, meeting.Errorf(meeting.CodeThrottled, "Too many tries in a short time. Wait a few seconds and try again."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (l *limits) allow(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	bucket := l.each[from]
	if bucket == nil {
		if len(l.each) >= maxAddresses {
			l.forget(now)
		}
		if len(l.each) >= maxAddresses {
			return false // thousands of addresses at once: no one's visitors
		}
		bucket = rate.NewLimiter(eachRate, eachBurst)
		l.each[from] = bucket
	}
	return bucket.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// forget drops the addresses whose bucket is full again: a new one is the same.
func (l *limits) forget(now time.Time) {
	for addr, bucket := range l.each {
		if bucket.TokensAt(now) >= eachBurst {
			delete(l.each, addr)
		}
	}
}

// caller is who is counted: an IPv4 address, or the /64 that one customer of
// IPv6 has to spare. The zero Addr stands for all that cannot be read.
func caller(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}
