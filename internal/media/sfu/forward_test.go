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
	r     *Router
	pub   *Publication
	subs  []*Subscription
	downs []*Downlink
	told  []rtp.TWCCRecorder
	seqs  []uint16
	buf   []byte
	from  peer
	out   sink
	run   []*rtp.Packet
	now   int64
	ts    uint32
	seq   uint16
}

func newFlow(subscribers, packets, size int) *flow {
	return newFlowOver(func(f *flow, cfg SubscribeConfig) *Subscription { return f.r.Subscribe(cfg, f.now) }, subscribers, packets, size)
}

// newMeasuredFlow is one whose subscribers tell what comes of each packet.
func newMeasuredFlow(subscribers, packets, size int) *flow {
	return newFlowOver(func(f *flow, cfg SubscribeConfig) *Subscription {
		cfg.Extensions.TransportCC = 6
		d := f.r.NewDownlink(DownlinkConfig{})
		f.downs = append(f.downs, d)
		return d.Subscribe(cfg, f.now).Subscription()
	}, subscribers, packets, size)
}

func newFlowOver(subscribe func(*flow, SubscribeConfig) *Subscription, subscribers, packets, size int) *flow {
	f := &flow{r: New(Config{CNAME: "c", Epoch: 1_900_000_000 * second}), now: second}
	f.pub = f.r.Publish(PublishConfig{AttendeeID: "a", Up: &f.out, Layers: []Layer{single}, Codecs: upCodecs,
		Extensions: upExtensions, NACK: true, TransportCC: new(rtp.TWCCRecorder)})
	for i := range subscribers {
		f.subs = append(f.subs, subscribe(f, SubscribeConfig{Down: &f.out, SSRC: uint32(1000 + 2*i), RTX: uint32(1001 + 2*i),
			Codecs: downCodecs, Extensions: downExtensions, NACK: true, StreamID: f.pub.StreamIDs()[0]}))
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

// tell plays the feedback of every subscriber on all that was sent since the last.
func (f *flow) tell() {
	if f.told == nil {
		f.told = make([]rtp.TWCCRecorder, len(f.downs))
		f.seqs = make([]uint16, len(f.downs))
	}
	for i, d := range f.downs {
		n := uint16(d.est.Stats().Sent)
		for f.seqs[i] != n {
			f.seqs[i]++
			f.told[i].Record(f.seqs[i], f.now)
		}
		f.from.down = d
		f.buf = f.told[i].AppendFeedback(f.buf[:0], 1, 2)
		if err := f.r.HandleRTCP(f.buf, &f.from, f.now); err != nil {
			panic(err)
		}
	}
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	forwardsWithoutAllocating(t, newFlow(20, 4, 300))
}

func TestMeasuredForwardingDoesNotAllocate(t *testing.T) {
	f := newMeasuredFlow(20, 4, 300)
	forwardsWithoutAllocating(t, f)
	if f.r.Bandwidth().Known != 20 {
		t.Errorf("%+v", f.r.Bandwidth())
	}
}

func forwardsWithoutAllocating(t *testing.T, f *flow) {
	nack := make([]uint16, 1)
	once := func() {
		f.frame()
		f.r.Tick(f.now)
		f.tell()
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

func BenchmarkForward(b *testing.B) { benchmarkForward(b, newFlow(50, 8, 1200)) }

// BenchmarkForwardMeasured has the transport-wide numbers, and feedback on every
// third frame, which is about as often as browsers send it.
func BenchmarkForwardMeasured(b *testing.B) { benchmarkForward(b, newMeasuredFlow(50, 8, 1200)) }

func benchmarkForward(b *testing.B, f *flow) {
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		f.frame()
		if n++; n%3 == 0 {
			f.tell()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/packet")
}
