package sfu

import (
	"bytes"
	"slices"
	"testing"

	"belfry/internal/media/rtp"
)

// texts remembers what was sent under each number.
type texts struct {
	t    *testing.T
	sent map[index][]byte
	ext  map[uint32]*rtp.Extender
}

// index is what a cipher must meet once only: the number without its wrap.
type index struct {
	ssrc   uint32
	number uint64
}

func (s *texts) SendRTP(header, payload []byte) {
	raw := append(bytes.Clone(header), payload...)
	var p rtp.Packet
	if err := p.Parse(raw); err != nil {
		s.t.Fatalf("sent %x: %v", raw, err)
	}
	if s.ext[p.SSRC] == nil {
		s.ext[p.SSRC] = new(rtp.Extender)
	}
	k := index{p.SSRC, s.ext[p.SSRC].Extend(p.Seq)}
	if old, twice := s.sent[k]; twice && !bytes.Equal(old, raw) {
		s.t.Fatalf("SSRC %d number %d:\n%x then\n%x", p.SSRC, p.Seq, old, raw)
	}
	s.sent[k] = raw
}

func (s *texts) SendRTCP(pkt []byte) {
	c := rtp.RTCP{Data: pkt}
	for c.Next() {
	}
	if c.Err != nil {
		s.t.Fatalf("sent RTCP %x: %v", pkt, c.Err)
	}
}

// FuzzPublication lets a hostile publisher and a hostile subscriber write their
// packets. Each step of the input is an operation, a length and so many bytes.
func FuzzPublication(f *testing.F) {
	step := func(op byte, b []byte) []byte { return append([]byte{op, byte(len(b))}, b...) }
	e := &encoder{ssrc: 11}
	var run []byte
	for i := range 4 {
		for _, p := range e.frame(i == 0, 2, 0) {
			run = append(run, step(byte(i&1), p.Raw)...)
		}
	}
	nack := step(2, rtp.AppendNACK(nil, 1, 1000, []uint16{34132, 34133}))
	f.Add(slices.Concat(run, nack, step(10, nil), step(9, nil), run[:40], step(10, nil), step(4, nil), run[:60], step(5, nil), step(6, nil), run))
	e = &encoder{ssrc: 21, rid: "hi", h264: true}
	run = nil
	for i := range 3 {
		for _, p := range e.frame(i == 0, 2, 0) {
			run = append(run, step(1, p.Raw)...)
		}
	}
	f.Add(slices.Concat(step(7, nil), run, step(3, rtp.AppendSR(nil, 21, rtp.SenderInfo{NTP: 1 << 60})), run))
	te := &temporalEncoder{}
	run = nil
	for i := range 8 {
		for _, p := range te.frame(i == 0, 2, 0).packets {
			run = append(run, step(byte(i&1), p.Raw)...)
		}
		run = append(run, 11, byte(i<<1))
	}
	f.Add(slices.Concat(run, step(10, nil)))
	for _, c := range captures(f) {
		run = nil
		for i := range 12 {
			run = append(run, step(byte(i&1), c.packet(i, uint16(i), 0, 0, 0).Raw)...)
			run = append(run, 11, byte(i))
		}
		f.Add(slices.Concat(run, step(10, nil), run))
	}
	f.Add(slices.Concat(step(8, nil), step(1, []byte{0x80, 97, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 1, 0x10, 0})))
	f.Fuzz(func(t *testing.T, in []byte) {
		down := &texts{t: t, sent: map[index][]byte{}, ext: map[uint32]*rtp.Extender{}}
		r := New(Config{CNAME: "c"})
		cfg := PublishConfig{AttendeeID: "a", Up: down, Layers: twoLayers(), Codecs: upCodecs, Extensions: upExtensions,
			NACK: true, TransportCC: new(rtp.TWCCRecorder)}
		cfg.Layers[0].SSRC, cfg.Layers[0].RTX = 11, 12
		cfg.Extensions.Orientation, cfg.Extensions.DependencyDescriptor = 5, 6
		pub := r.Publish(cfg)
		now := second
		var subs []*Subscription
		for i := range 2 {
			x := downExtensions
			x.Orientation, x.DependencyDescriptor = 2, 3
			sc := SubscribeConfig{Down: down, SSRC: uint32(1000 + 10*i), Codecs: downCodecs, Extensions: x, NACK: true, StreamID: 2}
			if i == 1 {
				sc.RTX = 1011
			}
			subs = append(subs, r.Subscribe(sc, now))
		}
		for len(in) >= 2 {
			op, n := in[0], int(in[1])
			in = in[2:]
			b := bytes.Clone(in[:min(n, len(in))])
			in = in[len(b):]
			sub := subs[int(op>>4)&1]
			switch op & 0xF {
			case 0, 1:
				p := new(rtp.Packet)
				if p.Parse(b) == nil {
					pub.Push([]*rtp.Packet{p}, now)
				}
			case 2, 3:
				_ = r.HandleRTCP(b, peer{pub: pub, sub: sub}, now)
			case 4:
				sub.Pause()
			case 5:
				sub.Resume(now)
			case 6:
				now += int64(n) * 10 * millisecond
				r.Tick(now)
			case 7:
				sub.Switch(uint32(2+op>>5&1), now)
			case 8:
				cfg.Extensions.Orientation = 5 + uint8(n)&3
				cfg.Codecs = upCodecs[n&1:]
				pub.Update(cfg, now)
			case 9:
				sub.Update(downCodecs[n&1:], Extensions{AbsSendTime: uint8(n), Orientation: uint8(n >> 4)}, n&2 == 0, now)
			case 11:
				sub.Choose(Point{StreamID: uint32(2 + op>>5&1), Spatial: uint8(n) & 3, Temporal: uint8(n) >> 2 & 3}, now)
			case 10:
				for i, s := range subs { // asks for everything there may be
					seqs := make([]uint16, 0, maxNACK)
					for k := range maxNACK {
						seqs = append(seqs, uint16(s.out.seq)-uint16(k))
					}
					subs[i].HandleNACK(seqs)
				}
			}
			r.Sources()
			pub.Points(nil)
		}
		pub.Close()
		r.Tick(now + second)
	})
}
