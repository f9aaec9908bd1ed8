package mixer

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

func TestREDPayloads(t *testing.T) {
	primary := []byte{0xf8, 1, 2, 3, 4}
	for _, c := range []struct {
		name string
		b    []byte
		want []byte
	}{
		{"primary alone", append([]byte{testPT}, primary...), primary},
		{"one older block", redPacket([]byte{9, 9}, primary), primary},
		{"two older blocks", append([]byte{0x80 | testPT, 0, 0, 2, 0x80 | testPT, 0, 0, 1, testPT, 9, 9, 8}, primary...), primary},
		{"an older block of 1,023 bytes", redPacket(make([]byte, 1023), primary), primary},
		{"empty primary", []byte{testPT}, []byte{}},
		{"nothing", nil, nil},
		{"half a block header", []byte{0x80 | testPT, 0, 0}, nil},
		{"no primary header", []byte{0x80 | testPT, 0, 0, 0}, nil},
		{"older block past the end", []byte{0x80 | testPT, 0, 0, 3, testPT, 1, 2}, nil},
		{"another primary type", append([]byte{testPT + 1}, primary...), nil},
		{"nothing but block headers", bytes.Repeat([]byte{0xff}, 400), nil},
	} {
		got, ok := new(red).unwrap(c.b, testPT)
		if ok != (c.want != nil) || !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, %v, want % x", c.name, got, ok, c.want)
		}
	}
}

func TestWhatIsNotAudioIsDropped(t *testing.T) {
	needCodec(t)
	for _, c := range []struct {
		name    string
		pt      uint8
		payload []byte
	}{
		{"empty", testPT, nil},
		{"another payload type", 96, []byte{0xf8, 1, 2, 3}},
		{"frame lengths past the end", testPT, []byte{0xfa, 200, 1, 2}},
		{"no frames", testPT, []byte{0xfb, 0, 1, 2}},
		{"longer than 120 ms", testPT, []byte{0xfb, 48, 1, 2}},
		{"too large", testPT, make([]byte, maxPayload+1)},
		{"broken redundancy", testRED, []byte{0xff, 0, 0}},
		{"redundancy around nothing", testRED, []byte{testPT}},
	} {
		r := newRoom(t, Config{})
		a := r.speak("a", 0)
		a.off = true
		e := r.listen("x")
		for i := range 50 {
			p := makePacket(c.pt, uint16(i), uint32(i*960), 7, true, 10, c.payload)
			a.src.Push([]*rtp.Packet{p}, r.now())
			r.run(20 * time.Millisecond)
		}
		if s := r.m.Stats(); s.Dropped != 50 || s.Passed+s.Mixed != 0 || s.Silent != 50 {
			t.Errorf("%s: %+v", c.name, s)
		}
		if _, due := r.m.Levels(r.now()); due {
			t.Errorf("%s: counts as talk", c.name)
		}
		e.continuous(t, false)
	}
}

// brokenCodec fails at what is asked of it.
type brokenCodec struct {
	traceCodec
	noEncoder, noDecoder bool
}

var errBroken = errors.New("broken")

func (c brokenCodec) NewEncoder(cfg opus.EncoderConfig) (opus.Encoder, error) {
	if c.noEncoder {
		return nil, errBroken
	}
	e, err := c.traceCodec.NewEncoder(cfg)
	return &brokenEncoder{e.(*traceEncoder)}, err
}

func (c brokenCodec) NewDecoder(channels int) (opus.Decoder, error) {
	if c.noDecoder {
		return nil, errBroken
	}
	d, err := c.traceCodec.NewDecoder(channels)
	return &brokenDecoder{d.(*traceDecoder)}, err
}

type brokenEncoder struct{ *traceEncoder }

func (*brokenEncoder) EncodeFloat([]byte, []float32) (int, error) { return 0, errBroken }

type brokenDecoder struct{ *traceDecoder }

func (*brokenDecoder) DecodeFloat([]float32, []byte) (int, error) { return 0, errBroken }

func TestCodecThatFails(t *testing.T) {
	for _, c := range []brokenCodec{{}, {noEncoder: true}, {noDecoder: true}, {noEncoder: true, noDecoder: true}} {
		c.codecs = new(int)
		r := newRoom(t, Config{Codec: c})
		for i, id := range []string{"a", "b", "c"} {
			k := r.speak(id, 0)
			k.talk = func(n int) []byte { return tracePacket(i, n) }
			k.talking = true
			if id == "c" {
				k.src.Configure(SourceConfig{PayloadType: testPT})
			}
		}
		e := r.listen("x")
		r.run(time.Second)
		e.continuous(t, false)
		if n := len(e.got); n < 47 || n > 51 {
			t.Errorf("%+v: the stream had %d packets in a second", c, n)
		}
		if r.m.Stats().Failures == 0 {
			t.Errorf("%+v: failures are not counted", c)
		}
	}
}

// FuzzSource lets one client send anything while another talks: nothing may
// panic, and what listeners get stays one stream of sound packets.
func FuzzSource(f *testing.F) {
	f.Add([]byte{0, 1, 4, 20, 5, 0xf8, 1, 2, 3, 4, 2, 3, 0, 1, 4, 20, 3, 0xf8, 0xff, 0xfe, 2, 3})
	f.Add([]byte{0, 1, 4, 20, 8, 0x0b, 0x83, 2, 2, 1, 1, 2, 2, 3, 9, 0, 200, 100, 1, 2, 0xfc, 9, 2, 50})
	f.Add([]byte{1, 20, 0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0xbe, 0xde, 0, 1, 0x10, 20, 0, 0, 2, 2, 3, 5})
	f.Add([]byte{4, 1, 4, 20, 9, 0xef, 0, 0, 2, 111, 1, 1, 0xf8, 1, 2, 2, 3, 1, 3, 2, 3, 3, 3, 4, 3, 0, 3, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4000 {
			return
		}
		open := new(int)
		cfg := Config{Codec: traceCodec{open}, MaxTalkers: 2}
		if opus.Native().Available() {
			cfg.Codec = nil
		}
		r := newRoom(t, cfg)
		a := r.speak("a", 0)
		a.off = true
		r.listen("a", "a")
		other := r.speak("b", 0)
		other.talk = func(n int) []byte { return tracePacket(0, n) }
		other.talking = true
		r.listen("b", "b")
		x := r.listenRED("x")
		next := func() byte {
			if len(b) == 0 {
				return 0
			}
			v := b[0]
			b = b[1:]
			return v
		}
		bytes := func() []byte {
			n := min(int(next()), len(b))
			v := b[:n]
			b = b[n:]
			return v
		}
		seq, ts, pushed := uint16(0), uint32(0), 0
		for len(b) > 0 && r.ms < 4000 {
			op := next()
			switch op % 6 {
			case 0, 4: // a packet with numbers that may be wrong
				seq += uint16(int8(next()))
				ts += uint32(int8(next())) * 240
				pt := uint8(testPT)
				if op%6 == 4 {
					pt = testRED
				}
				level := next() & 127
				p := makePacket(pt, seq, ts, uint32(level>>6), level != 77, int(level), bytes())
				a.src.Push([]*rtp.Packet{p}, r.now())
				pushed++
			case 1: // any bytes
				var p rtp.Packet
				if p.Parse(append([]byte(nil), bytes()...)) == nil {
					a.src.Push([]*rtp.Packet{&p}, r.now())
					pushed++
				}
			case 2:
				r.run(time.Duration(next()) * time.Millisecond)
			case 3:
				switch v := next(); v % 8 {
				case 0:
					a.src.SetMuted(v&8 != 0)
				case 1:
					other.talking = !other.talking
				case 2:
					a.src.Configure(SourceConfig{PayloadType: testPT, REDPayloadType: testRED, AudioLevelID: v >> 7})
				case 3:
					x.l.SetDeaf(v&8 != 0)
				case 4:
					a.src.Close()
					a.src = r.m.AddSource(SourceConfig{ID: "a", PayloadType: testPT, REDPayloadType: testRED, AudioLevelID: levelID})
				case 5:
					other.src.SetBarred(v&8 != 0)
				case 6:
					x.l.SetLoss(int(v))
				case 7:
					a.src.SenderReport(uint64(v)<<32, int64(r.ms)*1e6)
					a.src.ReceiverReport(int64(r.ms) * 1e6)
				}
			case 5:
				r.ms += 40 * int(next()) // no tick for a while
			}
			r.m.Levels(r.now())
		}
		// Who sent 200 ms ahead and stopped is given that time, and then what a late packet is given.
		r.run(600 * time.Millisecond)
		for _, id := range r.order {
			e := r.ears[id]
			if most := 2*(r.ms/20+10) + pushed; e.n > most {
				t.Errorf("%s was sent %d packets in %d ms and %d pushes", id, e.n, r.ms, pushed)
			}
			for i, h := range e.got {
				if _, err := opus.Parse(h.payload); err != nil {
					t.Fatalf("packet %d is not audio: % x", i, h.payload)
				}
				if h.ssrc != e.got[0].ssrc || h.pt != testPT {
					t.Fatalf("packet %d has SSRC %d and payload type %d", i, h.ssrc, h.pt)
				}
			}
		}
		if n := len(x.between(r.ms-160, r.ms)); n < 3 {
			t.Error("the stream has stopped")
		}
		r.m.Close()
		if *open != 0 {
			t.Errorf("%d codecs are open after Close", *open)
		}
	})
}
