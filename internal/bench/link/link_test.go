package link

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const ms = int64(time.Millisecond)

// outcome is one packet that came out.
type outcome struct {
	Number uint32
	At     int64
}

// send puts n packets of this size through, one each interval, and drains.
func send(d *Direction, n, size int, interval int64) (out []outcome, end int64) {
	drain := func(until int64) {
		for {
			at, ok := d.Next()
			if !ok || at > until {
				return
			}
			if p := d.Pop(at); p != nil {
				out = append(out, outcome{binary.BigEndian.Uint32(p), at})
			}
		}
	}
	for i := range n {
		now := int64(i) * interval
		drain(now)
		p := make([]byte, max(size, 4))
		binary.BigEndian.PutUint32(p, uint32(i))
		d.Push(now, p)
	}
	drain(math.MaxInt64)
	return out, int64(n) * interval
}

func TestCleanIsClean(t *testing.T) {
	out, _ := send(NewDirection(1, Conditions{}), 100, 200, ms)
	for i, o := range out {
		if o.Number != uint32(i) || o.At != int64(i)*ms {
			t.Fatalf("packet %d came as %+v", i, o)
		}
	}
	if len(out) != 100 {
		t.Errorf("%d of 100 came", len(out))
	}
}

// The same seed gives the same run to the last nanosecond, another seed another.
func TestSeedRepeats(t *testing.T) {
	c := Conditions{Loss: 0.1, Bursts: Bursts{0.01, 0.2, 0.9}, Delay: 50 * time.Millisecond, Jitter: 30 * time.Millisecond, Rate: 1_000_000, Reorder: true}
	a, _ := send(NewDirection(7, c), 5000, 1000, 10*ms)
	b, _ := send(NewDirection(7, c), 5000, 1000, 10*ms)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	other, _ := send(NewDirection(8, c), 5000, 1000, 10*ms)
	if cmp.Equal(a, other) {
		t.Error("the seed does nothing")
	}
}

// These shares are exact: they follow from the seeds.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		loss float64
		came int
	}{{0.02, 9788}, {0.05, 9482}, {0.10, 8968}, {0.20, 7959}, {1, 0}} {
		d := NewDirection(42, Conditions{Loss: c.loss})
		out, _ := send(d, 10000, 100, ms)
		if len(out) != c.came {
			t.Errorf("loss of %v: %d of 10000 came, the seed says %d", c.loss, len(out), c.came)
		}
		if want := 10000 * (1 - c.loss); math.Abs(float64(len(out))-want) > 4*math.Sqrt(10000*c.loss*(1-c.loss)) {
			t.Errorf("loss of %v: %d came, about %.0f should", c.loss, len(out), want)
		}
		if n := d.Counts(); n.In != 10000 || n.Lost != uint64(10000-len(out)) || n.Out != uint64(len(out)) {
			t.Errorf("counts are %+v", n)
		}
	}
}

// What was lost before does not depend on what the conditions become.
func TestFateOfThePacketIsItsOwn(t *testing.T) {
	steady, _ := send(NewDirection(3, Conditions{Loss: 0.2}), 1000, 100, ms)
	d := NewDirection(3, Conditions{})
	for i := range 500 {
		d.Push(int64(i), make([]byte, 4))
		d.Pop(int64(i))
	}
	d.Set(500, Conditions{Loss: 0.2})
	late := map[uint32]bool{}
	for i := 500; i < 1000; i++ {
		late[uint32(i)] = d.Push(int64(i), make([]byte, 4))
	}
	came := map[uint32]bool{}
	for _, o := range steady {
		came[o.Number] = true
	}
	for i, ok := range late {
		if came[i] != ok {
			t.Fatalf("packet %d: %v, and %v under the same loss all along", i, ok, came[i])
		}
	}
}

// The mean burst is 1/End packets, the share of bad time Begin/(Begin+End).
func TestBursts(t *testing.T) {
	d := NewDirection(11, Conditions{Bursts: Bursts{Begin: 0.01, End: 0.2, Loss: 1}})
	out, _ := send(d, 100_000, 100, ms)
	runs, lost, next := 0, 0, uint32(0)
	for _, o := range out {
		if o.Number != next {
			runs++
			lost += int(o.Number - next)
		}
		next = o.Number + 1
	}
	mean, share := float64(lost)/float64(runs), float64(lost)/100_000
	if math.Abs(mean-5) > 0.5 || math.Abs(share-0.01/0.21) > 0.005 {
		t.Errorf("%d bursts of %.2f packets on average, %.4f lost; 5 and %.4f are meant", runs, mean, share, 0.01/0.21)
	}
}

func TestDelayAndJitter(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		c := Conditions{Delay: 200 * time.Millisecond, Jitter: 50 * time.Millisecond, Reorder: reorder}
		out, _ := send(NewDirection(5, c), 10_000, 100, 10*ms)
		var sum float64
		swapped, last := 0, uint32(0)
		for _, o := range out {
			delay := o.At - int64(o.Number)*10*ms
			if delay < 150*ms || reorder && delay > 250*ms {
				t.Fatalf("packet %d took %v", o.Number, time.Duration(delay))
			}
			sum += float64(delay)
			if o.Number < last {
				swapped++
			}
			last = max(last, o.Number)
		}
		if len(out) != 10_000 || swapped > 0 != reorder {
			t.Errorf("reorder %v: %d came, %d out of order", reorder, len(out), swapped)
		}
		if mean := sum / 10_000 / float64(ms); reorder && math.Abs(mean-200) > 2 {
			t.Errorf("the mean delay is %.1f ms", mean)
		}
	}
}

// 1000 bytes each millisecond are 8 Mbps: of them 1 Mbps comes, late by the queue.
func TestRateAndQueue(t *testing.T) {
	d := NewDirection(1, Conditions{Rate: 1_000_000, Queue: 10_000})
	out, end := send(d, 5000, 1000, ms)
	var inTime int
	for _, o := range out {
		if delay := o.At - int64(o.Number)*ms; delay > 80*ms || delay < 8*ms {
			t.Fatalf("packet %d took %v: the queue holds 80 ms", o.Number, time.Duration(delay))
		}
		if o.At <= end {
			inTime++
		}
	}
	if inTime != 625 { // 5 s of 125 packets
		t.Errorf("%d packets came in 5 s", inTime)
	}
	if n := d.Counts(); n.Overflowed != 5000-uint64(len(out)) || n.Lost > 0 {
		t.Errorf("counts are %+v of %d", n, len(out))
	}
}

func TestRateChangesWhatWaits(t *testing.T) {
	d := NewDirection(1, Conditions{Rate: 8000, Queue: 1 << 20}) // a byte a millisecond
	for range 3 {
		d.Push(0, make([]byte, 100))
	}
	if at, _ := d.Next(); at != 100*ms {
		t.Fatalf("the first comes at %v", time.Duration(at))
	}
	d.Set(50*ms, Conditions{Rate: 80_000, Queue: 1 << 20})
	if at, _ := d.Next(); at != 55*ms {
		t.Errorf("ten times as fast after half of it: comes at %v", time.Duration(at))
	}
	if d.Pop(55*ms) == nil {
		t.Error("it does not come")
	}
	if at, _ := d.Next(); at != 65*ms {
		t.Errorf("the second comes at %v", time.Duration(at))
	}
	d.Set(60*ms, Conditions{})
	for _, more := range []bool{true, true, false} {
		if d.Pop(60*ms) != nil != more {
			t.Error("without a limit what waits goes at once")
		}
	}
}

func TestCut(t *testing.T) {
	d := NewDirection(1, Conditions{Delay: 100 * time.Millisecond})
	d.Push(0, make([]byte, 4))
	d.Set(50*ms, Conditions{Delay: 100 * time.Millisecond, Cut: true})
	if d.Push(60*ms, make([]byte, 4)) {
		t.Error("a packet got in while the link was cut")
	}
	if d.Pop(99*ms) != nil || d.Pop(100*ms) == nil {
		t.Error("what was on its way did not come")
	}
	d.Set(200*ms, Conditions{})
	if !d.Push(200*ms, make([]byte, 4)) || d.Pop(200*ms) == nil {
		t.Error("after the cut nothing goes")
	}
	if n := d.Counts(); n.Cut != 1 || n.Out != 2 {
		t.Errorf("counts are %+v", n)
	}
}

func TestNoUDP(t *testing.T) {
	ip := func(version, protocol byte) []byte {
		p := make([]byte, 60)
		p[0] = version<<4 | 5
		p[map[byte]int{4: 9, 6: 6}[version]] = protocol
		return p
	}
	d := NewDirection(1, Conditions{NoUDP: true})
	for _, c := range []struct {
		packet []byte
		passes bool
	}{{ip(4, 17), false}, {ip(6, 17), false}, {ip(4, 6), true}, {ip(6, 6), true}, {ip(4, 17)[:19], true}, {ip(6, 17)[:39], true}, {nil, true}} {
		if got := d.Push(0, c.packet); got != c.passes {
			t.Errorf("% x passes: %v", c.packet, got)
		}
	}
	if n := d.Counts(); n.Denied != 2 || n.In != 7 {
		t.Errorf("counts are %+v", n)
	}
}

func TestHeldPacketsAreBounded(t *testing.T) {
	d := NewDirection(1, Conditions{Delay: time.Minute})
	for range MaxQueue + 5 {
		d.Push(0, make([]byte, 4))
	}
	if n := d.Counts(); n.Overflowed != 5 {
		t.Errorf("counts are %+v", n)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []Conditions{{Loss: -0.1}, {Loss: 1.1}, {Loss: math.NaN()}, {Bursts: Bursts{Begin: 0.1}}, {Delay: -1}, {Jitter: time.Hour}, {Rate: -1}, {Rate: 10}, {Queue: -1}} {
		if c.Check() == nil {
			t.Errorf("%+v passes", c)
		}
	}
	if err := (Conditions{Loss: 0.1, Bursts: Bursts{0.1, 0.1, 1}, Delay: 1, Jitter: 1, Rate: 100_000}).Check(); err != nil {
		t.Error(err)
	}
}

// FuzzDirection drives a Direction by bytes: each packet comes out once or is counted
// as lost, none before its time, and in order unless reordering was asked for.
func FuzzDirection(f *testing.F) {
	f.Add(uint64(1), []byte{0, 10, 20, 200, 3, 3, 3, 128, 1, 255, 9})
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		d := NewDirection(seed, Conditions{})
		var now int64
		var pushed, came, last uint32
		reorder, accepted := false, 0
		take := func() {
			for {
				at, ok := d.Next()
				p := d.Pop(now)
				if p == nil {
					if next, ok := d.Next(); ok && next <= now {
						t.Fatalf("nothing comes at %d, and Next says %d", now, next)
					}
					return
				}
				if !ok || at > now {
					t.Fatalf("a packet comes at %d, Next said %d, %v", now, at, ok)
				}
				n := binary.BigEndian.Uint32(p)
				if n < last && !reorder {
					t.Fatalf("packet %d after %d", n, last)
				}
				last = max(last, n)
				came++
			}
		}
		for i, op := range ops {
			now += int64(op%16) * ms
			take()
			if op < 200 {
				p := make([]byte, 4+int(op)*5)
				pushed++
				binary.BigEndian.PutUint32(p, pushed)
				if d.Push(now, p) {
					accepted++
				}
				continue
			}
			arg := ops[(i+1)%len(ops)]
			c := Conditions{Loss: float64(arg%4) / 8, Delay: time.Duration(arg) * time.Millisecond, Jitter: time.Duration(op) * time.Millisecond,
				Rate: int(arg%8) * 10_000, Reorder: arg&1 > 0, Cut: arg == 77, Bursts: Bursts{Begin: 0.1, End: 0.5, Loss: float64(op%3) / 2}}
			reorder = reorder || c.Reorder
			d.Set(now, c)
		}
		take()
		now += int64(time.Hour)
		take()
		n := d.Counts()
		if int(came) != accepted || n.Out != uint64(came) || n.In != uint64(pushed) || n.In != n.Out+n.Lost+n.Overflowed+n.Cut {
			t.Fatalf("%d pushed, %d accepted, %d came: %+v", pushed, accepted, came, n)
		}
	})
}
