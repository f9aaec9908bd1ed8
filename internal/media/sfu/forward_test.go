package sfu

import (
	"encoding/binary"
	"testing"

	"belfry/internal/media/rtp"
)

// sink is a Sender that only counts.
type sink struct{ packets, bytes int }

func (s *sink) SendRTP(header, payload []byte) {
	s.packets++
	s.bytes += len(header) + len(payload)
}
func (s *sink) SendRTCP(pkt []byte) { s.bytes += len(pkt) }

// flow is a publication with so many subscribers, and frames to push again and
// again under new numbers.
type flow struct {
	r    *Router
	pub  *Publication
	subs []*Subscription
	out  sink
	run  []*rtp.Packet
	now  int64
	ts   uint32
	seq  uint16
}

func newFlow(subscribers, packets, size int) *flow {
	f := &flow{r: New(Config{CNAME: "c", Epoch: 1_900_000_000 * second}), now: second}
	f.pub = f.r.Publish(PublishConfig{AttendeeID: "a", Up: &f.out, Layers: []Layer{single}, Codecs: upCodecs,
		Extensions: upExtensions, NACK: true, TransportCC: new(rtp.TWCCRecorder)})
	for i := range subscribers {
		f.subs = append(f.subs, f.r.Subscribe(SubscribeConfig{Down: &f.out, SSRC: uint32(1000 + 2*i), RTX: uint32(1001 + 2*i),
			Codecs: downCodecs, Extensions: downExtensions, NACK: true, StreamID: f.pub.StreamIDs()[0]}, f.now))
	}
	e := &encoder{ssrc: 11}
	for _, p := range e.frame(true, packets, f.now) {
		p.Raw = append(p.Raw, make([]byte, max(0, size-len(p.Raw)))...)
		f.run = append(f.run, p)
	}
	f.seq = e.seq
	f.pub.Push(f.run, f.now)
	for _, p := range f.run {
		p.Payload()[6] = 1 // no key frames from here
	}
	return f
}

func (f *flow) frame() {
	f.now += 20 * millisecond
	f.ts += 1800
	for _, p := range f.run {
		p.Raw[0] &^= 0x20
		binary.BigEndian.PutUint16(p.Raw[2:], f.seq)
		binary.BigEndian.PutUint32(p.Raw[4:], f.ts)
		f.seq++
		if err := p.Parse(p.Raw); err != nil {
			panic(err)
		}
		p.Arrival = f.now
	}
	f.pub.Push(f.run, f.now)
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	f := newFlow(20, 4, 300)
	nack := make([]uint16, 1)
	once := func() {
		f.frame()
		f.r.Tick(f.now)
		for _, s := range f.subs {
			nack[0] = uint16(s.out.seq)
			s.HandleNACK(nack)
			s.HandleKeyFrameRequest(f.now)
		}
	}
	for range 500 { // until the cache has grown to what it needs
		once()
	}
	before := f.out.packets
	if n := testing.AllocsPerRun(200, once); n != 0 {
		t.Errorf("%v allocations a frame of 80 forwarded packets, want none", n)
	}
	if n := f.out.packets - before; n < 201*80 {
		t.Errorf("only %d packets were forwarded", n)
	}
	if f.r.Stats().Resent == 0 {
		t.Error("nothing was repaired")
	}
}

func BenchmarkForward(b *testing.B) {
	f := newFlow(50, 8, 1200)
	b.ReportAllocs()
	for b.Loop() {
		f.frame()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/packet")
}
