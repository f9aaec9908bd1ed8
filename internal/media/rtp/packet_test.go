package rtp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	pion "github.com/pion/rtp"
)

func mustMarshal(t testing.TB, p *pion.Packet) []byte {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	return b
}

func TestParseAgreesWithPion(t *testing.T) {
	mid := func(profile uint16, id uint8, data []byte) func(*pion.Packet) {
		return func(p *pion.Packet) {
			p.Extension, p.ExtensionProfile = true, profile
			if err := p.SetExtension(id, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]func(*pion.Packet){
		"plain":         func(p *pion.Packet) {},
		"csrc":          func(p *pion.Packet) { p.CSRC = []uint32{1, 2, 3} },
		"marker":        func(p *pion.Packet) { p.Marker = true },
		"one byte":      mid(profileOneByte, 4, []byte("ab")),
		"two byte":      mid(profileTwoByte, 44, []byte("a longer text than sixteen")),
		"two byte none": mid(profileTwoByte, 44, []byte{}),
		"padding":       func(p *pion.Packet) { p.Padding, p.PaddingSize = true, 9 },
		"only padding":  func(p *pion.Packet) { p.Padding, p.PaddingSize, p.Payload = true, 255, nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			want := &pion.Packet{
				Header:  pion.Header{Version: 2, PayloadType: 97, SequenceNumber: 65000, Timestamp: 1 << 31, SSRC: 0xCAFEBABE},
				Payload: []byte{1, 2, 3, 4, 5},
			}
			change(want)
			raw := mustMarshal(t, want)
			p := Packet{Arrival: 7}
			if err := p.Parse(raw); err != nil {
				t.Fatalf("Parse: %v", err)
			}
			got := []any{p.PayloadType, p.Marker, p.Seq, p.Timestamp, p.SSRC, p.PadLen, p.Arrival, len(p.Raw)}
			exp := []any{want.PayloadType, want.Marker, want.SequenceNumber, want.Timestamp, want.SSRC, int(want.PaddingSize), int64(7), len(raw)}
			if d := cmp.Diff(exp, got); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
			if !bytes.Equal(p.Payload(), want.Payload) {
				t.Errorf("payload %v, want %v", p.Payload(), want.Payload)
			}
			for _, id := range []uint8{1, 4, 14, 44} {
				if w, g := want.GetExtension(id), p.Extension(id); !bytes.Equal(w, g) || (w == nil) != (g == nil) {
					t.Errorf("extension %d is %v, want %v", id, g, w)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := mustMarshal(t, &pion.Packet{Header: pion.Header{Version: 2}, Payload: []byte{1, 2}})
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"empty":             {nil, ErrShort},
		"11 bytes":          {good[:11], ErrShort},
		"version 1":         {change(0, 0x40), ErrVersion},
		"csrcs cut":         {change(0, 0x8F), ErrShort},
		"extension cut":     {change(0, 0x90), ErrExtension},
		"extension too big": {append([]byte{0x90}, append(good[1:12:12], 0xBE, 0xDE, 0, 2, 0, 0, 0, 0)...), ErrExtension},
		"padding 0":         {append(change(0, 0xA0), 0), ErrPadding},
		"padding too big":   {append(change(0, 0xA0), 4), ErrPadding},
		"padding of none":   {change(0, 0xA0)[:12], ErrPadding},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := new(Packet).Parse(tt.raw); err != tt.want {
				t.Errorf("Parse: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestExtensionStopsAtIDFifteen(t *testing.T) {
	raw := []byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0, 2, 0xF0, 9, 0x20, 7, 0, 0, 0, 0}
	var p Packet
	if err := p.Parse(raw); err != nil {
		t.Fatal(err)
	}
	if b := p.Extension(2); b != nil {
		t.Errorf("element after id 15 was read: %v", b)
	}
}

func TestHeaderWriter(t *testing.T) {
	var buf [MaxHeader]byte
	for _, two := range []bool{false, true} {
		w := HeaderWriter{TwoByte: two}
		w.Begin(buf[:], 120, true, 0xFFFE, 77, 88)
		w.String(3, "v_12")
		w.AbsSendTime(4, 1_500_000_000)
		w.TransportSequence(5, 513)
		w.AudioLevel(6, 42, true)
		w.String(7, "")
		w.Copy(0, []byte{1})
		raw := append(bytes.Clone(w.Bytes()), 9, 9)

		var ref pion.Packet
		if err := ref.Unmarshal(raw); err != nil {
			t.Fatalf("pion does not take it: %v", err)
		}
		if ref.PayloadType != 120 || !ref.Marker || ref.SequenceNumber != 0xFFFE || ref.Timestamp != 77 || ref.SSRC != 88 || len(ref.Payload) != 2 {
			t.Errorf("header: %v", ref)
		}
		var p Packet
		if err := p.Parse(raw); err != nil {
			t.Fatal(err)
		}
		for id := range uint8(8) {
			if !bytes.Equal(p.Extension(id), ref.GetExtension(id)) {
				t.Errorf("extension %d is %v, pion reads %v", id, p.Extension(id), ref.GetExtension(id))
			}
		}
		if s := string(p.Text(3)); s != "v_12" {
			t.Errorf("mid %q", s)
		}
		if v, ok := p.AbsSendTime(4); !ok || v != 3<<17 {
			t.Errorf("abs-send-time %#x %v, want 1.5 s", v, ok)
		}
		if v, ok := p.TransportSequence(5); !ok || v != 513 {
			t.Errorf("transport sequence %d %v", v, ok)
		}
		if v, voice, ok := p.AudioLevel(6); !ok || v != 42 || !voice {
			t.Errorf("audio level %d %v %v", v, voice, ok)
		}
	}
}

func TestHeaderWriterKeepsWithinItsBuffer(t *testing.T) {
	buf := make([]byte, 24, 64)
	var w HeaderWriter
	w.Begin(buf[:24:24], 1, false, 1, 1, 1)
	w.String(1, "abcd")     // 12 + 4 + 5 → 24
	w.String(2, "abcdefgh") // no room
	if n := len(w.Bytes()); n != 24 {
		t.Fatalf("header has %d bytes, want 24", n)
	}
	if !bytes.Equal(buf[24:64], make([]byte, 40)) {
		t.Error("wrote past the buffer")
	}
}

func TestExtender(t *testing.T) {
	var e Extender
	rnd := rand.New(rand.NewPCG(1, 2))
	x := uint64(1<<16 + 65000)
	e.Extend(uint16(x))
	for range 100_000 {
		x += uint64(rnd.IntN(50))
		late := x - uint64(rnd.IntN(100))
		if got := e.Extend(uint16(x)); got != x {
			t.Fatalf("Extend(%d) = %d, want %d", uint16(x), got, x)
		}
		if got := e.Extend(uint16(late)); got != late {
			t.Fatalf("late Extend(%d) = %d, want %d", uint16(late), got, late)
		}
	}
	if !SeqLess(65535, 0) || SeqLess(0, 65535) || SeqLess(5, 5) {
		t.Error("SeqLess is wrong around the wrap")
	}
	if SeqDiff(3, 65533) != 6 || SeqDiff(65533, 3) != -6 {
		t.Error("SeqDiff is wrong around the wrap")
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	src := &pion.Packet{Header: pion.Header{Version: 2, Extension: true, ExtensionProfile: profileOneByte}, Payload: make([]byte, 1000)}
	if err := src.SetExtension(3, []byte("low")); err != nil {
		t.Fatal(err)
	}
	raw := mustMarshal(t, src)
	var p Packet
	var w HeaderWriter
	var buf [MaxHeader]byte
	rids := map[string]int{"low": 1}
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		if p.Parse(raw) != nil {
			t.Fatal("parse")
		}
		sum += rids[string(p.Text(3))]
		w.Begin(buf[:], 96, false, 1, 2, 3)
		w.AbsSendTime(4, 55)
		sum += len(w.Bytes())
	}); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
	if sum == 0 {
		t.Error("nothing was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0, 1, 2})
	f.Add([]byte{0xB1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0x10, 0, 0, 1, 7, 1, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p Packet
		err := p.Parse(raw)
		var ref pion.Packet
		refErr := ref.Unmarshal(raw)
		if err != nil {
			return
		}
		for id := range 256 {
			b := p.Extension(uint8(id))
			if len(b) > len(raw) {
				t.Fatal("extension longer than the packet")
			}
			if volume, _, ok := p.AudioLevel(uint8(id)); ok && volume > 127 {
				t.Fatalf("audio level %d", volume)
			}
			p.AbsSendTime(uint8(id))
			p.TransportSequence(uint8(id))
		}
		_ = p.Payload()
		if refErr == nil && (ref.SSRC != p.SSRC || ref.SequenceNumber != p.Seq || len(ref.Payload) != len(p.Payload())) {
			t.Fatalf("pion reads %v", ref)
		}
		q := p
		q.Raw = bytes.Clone(p.Raw)
		before := len(q.Payload())
		if q.UnwrapRTX(96, 5) {
			if err := q.Parse(q.Raw); err != nil || len(q.Payload()) != before-2 || q.SSRC != 5 {
				t.Fatalf("unwrapped: %v, payload %d of %d", err, len(q.Payload()), before)
			}
		}
	})
}
