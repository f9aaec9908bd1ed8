package media

import (
	"testing"
	"time"
)

func TestLateness(t *testing.T) {
	ms := time.Millisecond
	begin := time.Now()
	for name, tt := range map[string]struct {
		late []time.Duration
		want time.Duration
	}{
		"all in time":              {[]time.Duration{0, ms, ms, ms}, ms},
		"one of ten does not tell": {[]time.Duration{ms, ms, ms, ms, ms, ms, ms, ms, ms, 400 * ms}, ms},
		"two of ten do":            {[]time.Duration{ms, ms, ms, ms, ms, ms, ms, ms, 90 * ms, 400 * ms}, 100 * ms},
		"later than anything":      {[]time.Duration{time.Minute}, time.Second},
	} {
		var l lateness
		for _, d := range tt.late {
			l.note(begin, begin.Add(d))
		}
		if got := l.take(begin, true); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	// Without any tick it is as late as the time since, where there was work to do.
	var l lateness
	if l.take(begin, true) != 0 {
		t.Error("late before the first tick")
	}
	l.note(begin, begin)
	l.take(begin, true)
	if got := l.take(begin.Add(300*ms), true); got != 300*ms {
		t.Errorf("%v without a tick", got)
	}
	if got := l.take(begin.Add(300*ms), false); got != 0 {
		t.Errorf("%v with nothing to do", got)
	}
}
