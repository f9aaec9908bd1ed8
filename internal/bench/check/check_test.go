package check

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStampTellsDamage(t *testing.T) {
	payload := make([]byte, 100)
	for i := range payload {
		payload[i] = byte(i)
	}
	Stamp(payload, 80, 7, 1<<40, 123456789)
	if sender, number, at, ok := ReadStamp(payload); !ok || sender != 7 || number != 1<<40 || at != 123456789 {
		t.Errorf("got %d, %d, %d, %v", sender, number, at, ok)
	}
	for i := 16; i < len(payload); i++ {
		payload[i] ^= 0x20
		if _, _, _, ok := ReadStamp(payload); ok {
			t.Errorf("a change of byte %d is not noticed", i)
		}
		payload[i] ^= 0x20
	}
	payload[3]++ // a picture id that was rewritten is no fault
	if _, _, _, ok := ReadStamp(payload); !ok {
		t.Error("a change of what is not covered is taken for damage")
	}
	for n := range StampSize + 1 {
		if _, _, _, ok := ReadStamp(make([]byte, n)); ok {
			t.Errorf("%d zeros are taken for a stamp", n)
		}
	}
}

func FuzzReadStamp(f *testing.F) {
	good := make([]byte, 60)
	Stamp(good, 40, 1, 2, 3)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) { ReadStamp(b) })
}

// window is one in which the numbers from first to before last count.
func window(first, last uint64) *Window {
	w := NewWindow()
	w.First.Store(first)
	w.Last.Store(last)
	return w
}

func TestVideoCounts(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []uint64
		want    Counts
	}{
		"all":               {[]uint64{0, 1, 2, 3, 4, 5, 6, 7}, Counts{Expected: 4, Received: 4}},
		"one lost":          {[]uint64{0, 1, 2, 4, 5, 6, 7}, Counts{Expected: 4, Received: 3}},
		"the first lost":    {[]uint64{0, 1, 3, 4, 5, 6}, Counts{Expected: 4, Received: 3}},
		"the last lost":     {[]uint64{1, 2, 3, 4, 6}, Counts{Expected: 4, Received: 3}},
		"twice":             {[]uint64{1, 2, 3, 3, 4, 5, 3, 6}, Counts{Expected: 4, Received: 4, Duplicates: 2}},
		"out of order":      {[]uint64{1, 3, 2, 4, 5, 6}, Counts{Expected: 4, Received: 4, Reordered: 1}},
		"others twice":      {[]uint64{0, 0, 1, 2, 3, 4, 5, 6, 6}, Counts{Expected: 4, Received: 4}},
		"nothing":           {nil, Counts{Expected: 4}},
		"long before":       {[]uint64{2 + 2*memory, 3}, Counts{Expected: 4, Stale: 1}},
		"a jump far on":     {[]uint64{2, 3, 3 + 5*memory, 4 + 5*memory}, Counts{Expected: 4, Received: 2}},
		"twice after jumps": {[]uint64{2, memory, 3, 3}, Counts{Expected: 4, Received: 2, Reordered: 1, Duplicates: 1}},
	} {
		v := Video{Window: window(2, 6)}
		for _, n := range c.numbers {
			v.Push(n, 0, 5e6, false)
		}
		if diff := cmp.Diff(c.want, v.Result()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	v := Video{Window: window(0, 3)}
	for _, n := range []uint64{0, 2} {
		v.Push(n, 0, 0, false)
	}
	v.Push(1, 0, 0, true)
	if diff := cmp.Diff(Counts{Expected: 3, Received: 3, Repaired: 1}, v.Result()); diff != "" {
		t.Errorf("a repair (-want +got):\n%s", diff)
	}
}

// Whatever comes in whatever order, the sums are those of a set.
func TestVideoCountsAsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint64Range(0, memory-1)).Draw(t, "numbers")
		v := Video{Window: window(0, memory)}
		set := map[uint64]bool{}
		for _, n := range numbers {
			v.Push(n, 0, 0, false)
			set[n] = true
		}
		c := v.Result()
		if c.Received != uint64(len(set)) || c.Duplicates != uint64(len(numbers)-len(set)) || c.Stale != 0 {
			t.Fatalf("of %d packets, %d different: %+v", len(numbers), len(set), c)
		}
	})
}

func TestAudioCounts(t *testing.T) {
	const size, ms = 80, int64(time.Millisecond)
	type packet struct {
		seq  uint16
		size int
		late int64 // ms behind its time
	}
	for name, c := range map[string]struct {
		packets []packet
		want    Counts
	}{
		"all":          {[]packet{{65534, size, 5}, {65535, size, 0}, {0, size, 59}, {1, size, 3}}, Counts{Expected: 4, Received: 4}},
		"lost":         {[]packet{{65534, size, 0}, {1, size, 0}}, Counts{Expected: 4, Received: 2}},
		"twice":        {[]packet{{1, size, 0}, {2, size, 0}, {2, size, 0}}, Counts{Expected: 2, Received: 2, Duplicates: 1}},
		"out of order": {[]packet{{1, size, 0}, {3, size, 0}, {2, size, 0}}, Counts{Expected: 3, Received: 3, Reordered: 1}},
		"late":         {[]packet{{1, size, 0}, {2, size, 61}, {3, size, 100}, {4, size, 0}}, Counts{Expected: 4, Received: 4, Late: 2}},
		"silent":       {[]packet{{1, size, 0}, {2, 3, 0}, {3, 3, 0}}, Counts{Expected: 3, Received: 3, Silent: 2}},
	} {
		speech := &Speech{}
		speech.Begin(1)
		a := Audio{Speech: speech}
		const from = int64(time.Minute)
		a.From.Store(from)
		a.Until.Store(2 * from)
		for _, p := range c.packets {
			n := int64(int16(p.seq - c.packets[0].seq))
			a.Push(p.seq, uint32(1000+960*n), p.size, from+(1000+20*n+p.late)*ms)
		}
		if diff := cmp.Diff(c.want, a.Counts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A mixer that was held up once is late for a moment, not for ever.
func TestWhatStaysLateIsNot(t *testing.T) {
	const ms = int64(time.Millisecond)
	a := Audio{}
	a.From.Store(1)
	a.Until.Store(int64(time.Hour))
	for i := range int64(500) {
		held := int64(0)
		if i >= 100 {
			held = 100
		}
		a.Push(uint16(i), uint32(960*i), 80, (1000+20*i+held)*ms)
	}
	if n := a.Counts.Late; n < 40 || n > 110 {
		t.Errorf("%d of 500 packets are late, want those of a second or two", n)
	}
}

// Between two who talk there is silence, which is no fault, and speech is timed
// from its beginning.
func TestSpeechAfterAPause(t *testing.T) {
	const ms = int64(time.Millisecond)
	speech := &Speech{}
	a := Audio{Speech: speech}
	a.From.Store(1)
	a.Until.Store(int64(time.Hour))
	now, seq := int64(time.Second), uint16(0)
	push := func(size int) {
		now += 20 * ms
		seq++
		a.Push(seq, uint32(seq)*960, size, now)
	}
	for range 50 {
		push(3)
	}
	for range 3 {
		speech.Begin(now - 15*ms)
		for range 50 {
			push(80)
		}
		speech.End(now)
		for range 50 {
			push(3)
		}
	}
	if a.Counts.Silent != 0 || a.Latency.Count() != 3 {
		t.Errorf("silent %d, %d beginnings", a.Counts.Silent, a.Latency.Count())
	}
	if got := a.Latency.Quantile(0.5); got < 35*ms || got > 38*ms {
		t.Errorf("latency %v, want 35 ms", time.Duration(got))
	}
}

func TestHistogramIsRightToItsBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "ns")
		var h Histogram
		h.Add(ns)
		if got := h.Quantile(0.5); got < ns || float64(got) > float64(ns)*1.07+1 {
			t.Fatalf("%d reads as %d", ns, got)
		}
	})
	var h Histogram
	for i := range int64(100) {
		h.Add(i * 1e6)
	}
	if p := h.Quantile(0.99); p < 97e6 || p > 105e6 {
		t.Errorf("p99 is %d", p)
	}
}
