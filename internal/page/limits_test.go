package page

import (
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := newLimits(func() time.Time { return now })
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range eachBurst {
		if !l.allow(one) {
			t.Fatalf("call %d was refused", i)
		}
	}
	if l.allow(one) {
		t.Error("one call too many was let through")
	}
	if !l.allow(other) {
		t.Error("another address pays for the first")
	}
	now = now.Add(time.Second)
	for i := range eachRate {
		if !l.allow(one) {
			t.Errorf("a second later, call %d was refused", i)
		}
	}
	if l.allow(one) {
		t.Error("a second brought more than its share")
	}
}

func TestLimitsOfAllTogether(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := newLimits(func() time.Time { return now })
	passed := 0
	for i := range maxAddresses {
		if l.allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})) {
			passed++
		}
	}
	if passed != allBurst {
		t.Errorf("%d calls from as many addresses passed, want %d", passed, allBurst)
	}
	if l.allow(netip.MustParseAddr("192.0.2.1")) || len(l.each) != maxAddresses {
		t.Errorf("an address over the bound was remembered: %d", len(l.each))
	}
	now = now.Add(time.Minute)
	if !l.allow(netip.MustParseAddr("192.0.2.1")) || len(l.each) != 1 {
		t.Errorf("idle addresses were not forgotten: %d", len(l.each))
	}
}

func TestTooManyCalls(t *testing.T) {
	p := newTestPage(t, nil)
	now := time.Unix(1_700_000_000, 0)
	p.limits.now = func() time.Time { return now }
	for range eachBurst {
		if status, _ := p.call("/meet/api/join", `{}`); status != 400 {
			t.Fatalf("got %d", status)
		}
	}
	r := httptest.NewRequest("POST", "/meet/api/join", nil)
	response := p.do(r)
	if response.StatusCode != 429 || response.Header.Get("Retry-After") == "" {
		t.Errorf("got %d with Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
}

func TestCaller(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5000":             "192.0.2.1",
		"[::ffff:192.0.2.1]:5000":    "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::",
		"[fe80::1%eth0]:443":         "fe80::",
		"@":                          "invalid IP",
		"nonsense:1":                 "invalid IP",
	} {
		if got := caller(remote).String(); got != want {
			t.Errorf("caller(%q) = %s, want %s", remote, got, want)
		}
	}
}
