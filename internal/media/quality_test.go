package media

import (
	"testing"
	"time"
)

func TestStrength(t *testing.T) {
	for _, c := range []struct {
		name     string
		up, down []uint8 // 256ths lost, report by report
		silent   time.Duration
		want     uint8
	}{
		{"nothing known", nil, nil, 0, strengthGood},
		{"good", []uint8{0, 3, 5}, []uint8{0, 0, 2}, 20 * time.Millisecond, strengthGood},
		{"one bad report", []uint8{0, 0, 50, 0}, nil, 0, strengthGood},
		{"lossy uplink", []uint8{60, 60, 60}, nil, 0, strengthWeak},
		{"lossy downlink", nil, []uint8{60, 60, 60}, 0, strengthWeak},
		{"recovered", []uint8{60, 60, 60, 0, 0, 0}, nil, 0, strengthGood},
		{"all lost", []uint8{255, 255, 255, 255}, []uint8{255, 255, 255}, 0, strengthWeak},
		{"short silence", nil, nil, 1900 * time.Millisecond, strengthGood},
		{"silence", nil, nil, 2 * time.Second, strengthWeak},
		{"long silence", nil, nil, 6 * time.Second, strengthNone},
	} {
		var q quality
		for _, v := range c.up {
			q.uplink(v)
		}
		for _, v := range c.down {
			q.downlink(v)
		}
		if got := q.strength(int64(c.silent)); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

func TestDownlinkPercent(t *testing.T) {
	var q quality
	if got := q.downlinkPercent(); got != 0 {
		t.Errorf("%d%% before any report", got)
	}
	for range 50 {
		q.uplink(255)
		q.downlink(64)
	}
	if got := q.downlinkPercent(); got != 25 {
		t.Errorf("%d%% for a quarter", got)
	}
}

func TestProtectionFollowsTheLastReport(t *testing.T) {
	var q quality
	for i, c := range []struct {
		lost uint8
		want int
	}{{0, 0}, {26, 10}, {0, 2}, {26, 10}, {26, 10}, {0, 4}} {
		q.downlink(c.lost)
		if got := q.downlinkPercent(); got != c.want {
			t.Errorf("report %d of %d/256: %d %%, want %d", i, c.lost, got, c.want)
		}
	}
}
