package rtp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	pion "github.com/pion/rtp"
	"pgregory.net/rapid"
)

func packet(t testing.TB, seq uint16, size int, arrival int64) *Packet {
	t.Helper()
	b := make([]byte, headerSize+size)
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint16(b[2:], seq)
	for i := headerSize; i < len(b); i++ {
		b[i] = byte(int(seq) + i)
	}
	p := &Packet{Arrival: arrival}
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCache(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := NewCache(256, 128<<10, 1e9)
		seq := uint16(rapid.IntRange(0, 65535).Draw(rt, "first"))
		now := int64(1e9)
		var order []uint16
		kept := map[uint16][]byte{}
		for range rapid.IntRange(1, 1500).Draw(rt, "packets") {
			p := packet(t, seq, rapid.IntRange(1, 1400).Draw(rt, "size"), now)
			c.Put(p)
			order = append(order, seq)
			kept[seq] = p.Raw
			seq++
			now += 3e6
		}
		if len(c.ring) > 128<<10 {
			rt.Fatalf("ring of %d bytes", len(c.ring))
		}
		var got Packet
		recent := 0
		for i, s := range slices.Backward(order) {
			if !c.Get(s, &got) {
				break
			}
			if !bytes.Equal(got.Raw, kept[s]) || got.Seq != s {
				rt.Fatalf("packet %d of %d came out wrong", i, len(order))
			}
			recent++
		}
		// 333 packets are a second; the bound is 256, or 128 KB of at most 1.4 KB.
		if recent < min(len(order), 80) {
			rt.Fatalf("only the last %d of %d packets are there", recent, len(order))
		}
		for _, s := range order[:len(order)-recent] {
			if c.Get(s, &got) && !bytes.Equal(got.Raw, kept[s]) {
				rt.Fatalf("old packet %d came out wrong", s)
			}
		}
		c.Reset()
		if c.Get(order[len(order)-1], &got) {
			rt.Fatal("still there after Reset")
		}
	})
}

func TestCacheHoldsASecond(t *testing.T) {
	c := NewCache(1024, 1<<20, 1e9)
	for i := range 4000 { // 4 Mbit/s
		c.Put(packet(t, uint16(i), 1200, int64(i+1)*2_400_000))
	}
	var p Packet
	if !c.Get(4000-416, &p) {
		t.Error("a packet of a second ago is gone")
	}
	small := NewCache(1024, 1<<20, 1e9)
	for i := range 4000 { // 100 kbit/s
		small.Put(packet(t, uint16(i), 250, int64(i+1)*20_000_000))
	}
	if len(small.ring) != cacheStart {
		t.Errorf("a thin stream has a ring of %d bytes", len(small.ring))
	}
}

func TestCacheForgets(t *testing.T) {
	c := NewCache(64, 1<<16, 1e9)
	put := func() {
		for seq := uint16(65500); seq != 20; seq++ {
			c.Put(packet(t, seq, 100, 1e9))
		}
	}
	put()
	c.Forget(65530, 3)
	for seq := uint16(65500); seq != 20; seq++ {
		if gone := SeqDiff(seq, 65530) >= 0 && SeqDiff(seq, 3) <= 0; c.Has(seq) == gone {
			t.Errorf("%d: there %v, forgotten %v", seq, c.Has(seq), gone)
		}
	}
	put()
	c.Forget(100, 50_000) // more than it has room for
	if c.Has(65500) || c.Has(0) {
		t.Error("something outlived more numbers than there are places")
	}
}

func TestCacheDropsPaddingAndGiants(t *testing.T) {
	c := NewCache(64, 1<<16, 1e9)
	raw := mustMarshal(t, &pion.Packet{Header: pion.Header{Version: 2, SequenceNumber: 5, Padding: true, PaddingSize: 7}, Payload: []byte{1, 2, 3}})
	var p Packet
	if err := p.Parse(raw); err != nil {
		t.Fatal(err)
	}
	c.Put(&p)
	var got Packet
	if !c.Get(5, &got) || !bytes.Equal(got.Payload(), []byte{1, 2, 3}) || got.PadLen != 0 {
		t.Errorf("got %+v", got)
	}
	c.Put(packet(t, 6, 5000, 1))
	if c.Has(6) {
		t.Error("a giant was kept")
	}
}

func TestRTXThereAndBack(t *testing.T) {
	src := &pion.Packet{Header: pion.Header{Version: 2, Marker: true, PayloadType: 96, SequenceNumber: 500, Timestamp: 7, SSRC: 1, CSRC: []uint32{9}}, Payload: []byte{5, 6, 7}}
	if err := src.SetExtension(3, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	raw := mustMarshal(t, src)
	var p Packet
	if err := p.Parse(bytes.Clone(raw)); err != nil {
		t.Fatal(err)
	}
	payload, undo := p.WrapRTX(500)
	var buf [MaxHeader]byte
	var w HeaderWriter
	w.Begin(buf[:], 97, p.Marker, 9000, p.Timestamp, 2)
	w.String(3, "hi")
	wire := append(bytes.Clone(w.Bytes()), payload...)
	p.UndoRTX(undo)
	if !bytes.Equal(p.Raw, raw) {
		t.Fatal("the original was not put back")
	}
	var q Packet
	if err := q.Parse(wire); err != nil {
		t.Fatal(err)
	}
	if !q.UnwrapRTX(96, 1) {
		t.Fatal("not unwrapped")
	}
	var again Packet
	if err := again.Parse(q.Raw); err != nil {
		t.Fatal(err)
	}
	if again.Seq != 500 || q.Seq != 500 || again.SSRC != 1 || again.PayloadType != 96 || !again.Marker ||
		!bytes.Equal(again.Payload(), []byte{5, 6, 7}) || string(again.Text(3)) != "hi" {
		t.Errorf("came back as %+v", again)
	}
	if err := q.Parse(mustMarshal(t, &pion.Packet{Header: pion.Header{Version: 2, Padding: true, PaddingSize: 200}})); err != nil {
		t.Fatal(err)
	}
	if q.UnwrapRTX(96, 1) {
		t.Error("padding was unwrapped")
	}
}

func TestNackList(t *testing.T) {
	var l NackList
	const ms = int64(1e6)
	now := 100 * ms
	if !l.Gap(65534, 65537, now) {
		t.Fatal("small gap refused")
	}
	due, lost := l.Due(nil, now)
	if !slices.Equal(due, []uint16{65534, 65535, 0, 1}) || lost != 0 {
		t.Fatalf("at once: %v, %d lost", due, lost)
	}
	if due, _ = l.Due(nil, now+10*ms); len(due) != 0 {
		t.Errorf("asked again after 10 ms: %v", due)
	}
	if !l.Received(65536) || l.Received(65536) || l.Received(7) {
		t.Error("Received is wrong")
	}
	if due, _ = l.Due(nil, now+41*ms); !slices.Equal(due, []uint16{65534, 65535, 1}) {
		t.Errorf("after 41 ms: %v", due)
	}
	total, gone := 2, 0
	for at := now + 60*ms; at < now+3000*ms; at += 20 * ms {
		due, lost = l.Due(due[:0], at)
		gone += lost
		if len(due) > 0 {
			total++
		}
	}
	if gone != 3 || l.Len() != 0 {
		t.Errorf("%d given up and %d kept, want 3 and 0", gone, l.Len())
	}
	if total < 4 || total > nackTries {
		t.Errorf("asked %d times", total)
	}
	if l.Gap(1, maxMissing+1, now) || l.Len() != 0 {
		t.Error("an endless gap was taken")
	}
	if !l.Gap(1, maxMissing, now) || l.Gap(maxMissing+1, maxMissing+1, now) {
		t.Error("the bound is not where it should be")
	}
}

func TestReceiverLossAndJitter(t *testing.T) {
	r := Receiver{ClockRate: 90000}
	now := int64(5e9)
	for i := range 1000 {
		now += 10e6
		if i%4 == 3 {
			continue // a quarter is lost
		}
		at := now
		if i%2 == 0 {
			at += 4e6 // every other one comes 4 ms late
		}
		if _, a := r.Push(uint16(65000+i), uint32(i*900), at); a != InOrder {
			t.Fatalf("packet %d is %v", i, a)
		}
	}
	r.SenderReport(NTP(0), now)
	b := r.Report(7, now+250e6)
	if b.FractionLost != 63 && b.FractionLost != 64 || b.TotalLost != 249 {
		t.Errorf("lost %d/256, %d in all, want a quarter of 1000", b.FractionLost, b.TotalLost)
	}
	if want := uint32(65000 + 998); b.HighestSeq != want {
		t.Errorf("highest %d, want %d", b.HighestSeq, want)
	}
	// 4 ms are 360 units; two of three steps have them.
	if b.Jitter < 200 || b.Jitter > 300 {
		t.Errorf("jitter %d", b.Jitter)
	}
	if b.Delay != 1<<14 || b.LastSR != uint32(NTP(0)>>16) {
		t.Errorf("delay %d since %#x", b.Delay, b.LastSR)
	}
	if b = r.Report(7, now); b.FractionLost != 0 {
		t.Errorf("nothing was lost since, but the report says %d", b.FractionLost)
	}
}

func TestReceiverRestart(t *testing.T) {
	var r Receiver
	x, _ := r.Push(10, 0, 0)
	if y, a := r.Push(9, 0, 0); a != Late || y != x-1 {
		t.Errorf("late packet: %d %v", y, a)
	}
	if y, a := r.Push(2000, 0, 0); a != InOrder || y != x+1990 {
		t.Errorf("a big gap: %d %v", y, a)
	}
	if _, a := r.Push(30000, 0, 0); a != Jumped {
		t.Errorf("a jump is %v", a)
	}
	if _, a := r.Push(2001, 0, 0); a != InOrder {
		t.Errorf("the stream after a stray packet is %v", a)
	}
	if _, a := r.Push(30001, 0, 0); a != Jumped {
		t.Errorf("a stray packet later is %v", a)
	}
	before := r.Max()
	y, a := r.Push(30002, 0, 0)
	if a != Restarted || y <= before || uint16(y) != 30002 {
		t.Errorf("the packet after a jump: %d %v", y, a)
	}
	if b := r.Report(1, 0); b.TotalLost != 0 {
		t.Errorf("%d lost after a restart", b.TotalLost)
	}
}

func TestReceiverTakesAnything(t *testing.T) {
	r := Receiver{ClockRate: 90000}
	rnd := rand.New(rand.NewPCG(3, 3))
	last := uint64(0)
	for range 200_000 {
		r.Push(uint16(rnd.Uint32()), rnd.Uint32(), rnd.Int64())
		if r.Max() < last {
			t.Fatal("the highest number went down")
		}
		last = r.Max()
	}
	r.Report(1, rnd.Int64())
}

func BenchmarkCachePut(b *testing.B) {
	c := NewCache(1024, 1<<20, 1e9)
	p := packet(b, 0, 1200, 1)
	for i := 0; b.Loop(); i++ {
		p.Seq, p.Arrival = uint16(i), int64(i)*2_400_000
		c.Put(p)
	}
}

func TestNackListWaitsForTheAnswer(t *testing.T) {
	const ms = int64(1e6)
	for rtt, second := range map[int64]int64{0: 40 * ms, 4 * ms: 20 * ms, 200 * ms: 250 * ms} {
		l := NackList{RTT: rtt}
		l.Gap(7, 7, 0)
		if due, _ := l.Due(nil, 0); len(due) != 1 {
			t.Fatal("not asked for at once")
		}
		if due, _ := l.Due(nil, second-1); len(due) != 0 {
			t.Errorf("round trip %d ms: asked again before %d ms", rtt/ms, second/ms)
		}
		if due, _ := l.Due(nil, second); len(due) != 1 {
			t.Errorf("round trip %d ms: not asked again after %d ms", rtt/ms, second/ms)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	now := uint64(1000) << 32
	at := func(seconds float64) uint32 { return uint32(uint64(seconds*65536) + 1000<<16) }
	for _, tt := range []struct {
		b    ReportBlock
		want int64
		ok   bool
	}{
		{ReportBlock{LastSR: at(-0.5), Delay: 65536 / 4}, 250e6, true},
		{ReportBlock{LastSR: at(0)}, 0, true},
		{ReportBlock{Delay: 65536}, 0, false},                          // none came
		{ReportBlock{LastSR: at(-0.5), Delay: 65536}, 0, false},        // kept for longer than it was away
		{ReportBlock{LastSR: at(-90), Delay: 65536 / 4}, 0, false},     // away for too long
		{ReportBlock{LastSR: 0xDEADBEEF, Delay: 0xFFFFFFFF}, 0, false}, // made up
	} {
		if got, ok := tt.b.RoundTrip(now); got != tt.want || ok != tt.ok {
			t.Errorf("%+v: %d %v, want %d %v", tt.b, got, ok, tt.want, tt.ok)
		}
	}
}
