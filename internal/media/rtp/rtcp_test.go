package rtp

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pion "github.com/pion/rtcp"
	"pgregory.net/rapid"
)

func TestBuildersAgreeWithPion(t *testing.T) {
	report := ReportBlock{SSRC: 9, FractionLost: 64, TotalLost: 0x7654, HighestSeq: 0x10001, Jitter: 5, LastSR: 6, Delay: 7}
	theirs := pion.ReceptionReport{SSRC: 9, FractionLost: 64, TotalLost: 0x7654, LastSequenceNumber: 0x10001, Jitter: 5, LastSenderReport: 6, Delay: 7}
	info := SenderInfo{NTP: 0xE000000080000000, Timestamp: 90, Packets: 3, Bytes: 4000}
	tests := map[string]struct {
		got  []byte
		want pion.Packet
	}{
		"SR": {AppendSR(nil, 1, info, report), &pion.SenderReport{
			SSRC: 1, NTPTime: info.NTP, RTPTime: 90, PacketCount: 3, OctetCount: 4000, Reports: []pion.ReceptionReport{theirs}}},
		"RR": {AppendRR(nil, 1, report, report), &pion.ReceiverReport{SSRC: 1, Reports: []pion.ReceptionReport{theirs, theirs}}},
		"SDES": {AppendSDES(nil, 1, "belfry"), &pion.SourceDescription{Chunks: []pion.SourceDescriptionChunk{{
			Source: 1, Items: []pion.SourceDescriptionItem{{Type: pion.SDESCNAME, Text: "belfry"}}}}}},
		"BYE": {AppendBYE(nil, 77), &pion.Goodbye{Sources: []uint32{77}}},
		"NACK": {AppendNACK(nil, 1, 2, []uint16{65534, 65535, 0, 14, 15, 400}), &pion.TransportLayerNack{
			SenderSSRC: 1, MediaSSRC: 2, Nacks: []pion.NackPair{{PacketID: 65534, LostPackets: 0b1000_0000_0000_0011}, {PacketID: 15}, {PacketID: 400}}}},
		"PLI":      {AppendPLI(nil, 1, 2), &pion.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2}},
		"FIR":      {AppendFIR(nil, 1, 2, 3), &pion.FullIntraRequest{SenderSSRC: 1, FIR: []pion.FIREntry{{SSRC: 2, SequenceNumber: 3}}}},
		"REMB":     {AppendREMB(nil, 1, 1<<18, 5, 6), &pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1 << 18, SSRCs: []uint32{5, 6}}},
		"REMB low": {AppendREMB(nil, 1, 1000), &pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1000}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pkts, err := pion.Unmarshal(tt.got)
			if err != nil {
				t.Fatalf("pion does not take it: %v", err)
			}
			if len(pkts) != 1 {
				t.Fatalf("%d packets", len(pkts))
			}
			// Compare the bytes: pion's structures carry unexported state.
			want, err := tt.want.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, tt.got); d != "" {
				t.Errorf("(-pion +ours):\n%s", d)
			}
		})
	}
	for n := range 9 { // every length of the last word
		b := AppendSDES(nil, 1, "12345678"[:n])
		if _, err := pion.Unmarshal(b); err != nil {
			t.Errorf("CNAME of %d bytes: %v", n, err)
		}
	}
}

func TestReadCompound(t *testing.T) {
	pkt := AppendSR(nil, 10, SenderInfo{NTP: 1, Timestamp: 2, Packets: 3, Bytes: 4}, ReportBlock{SSRC: 20, TotalLost: -3, FractionLost: 1})
	pkt = AppendSDES(pkt, 10, "x")
	pkt = AppendNACK(pkt, 10, 30, []uint16{5, 7, 60000})
	pkt = AppendPLI(pkt, 10, 31)
	pkt = AppendFIR(pkt, 10, 32, 9)
	pkt = AppendREMB(pkt, 10, 1_234_567, 1, 2)
	pkt = AppendBYE(pkt, 10)

	var got []any
	c := RTCP{Data: pkt}
	for c.Next() {
		if s, ok := c.SenderInfo(); ok {
			got = append(got, s)
		}
		for i := 0; ; i++ {
			r, ok := c.Report(i)
			if !ok {
				break
			}
			got = append(got, r)
		}
		if c.IsNACK() {
			got = append(got, c.Media, c.NACK(nil, 100), c.NACK(nil, 2))
		}
		if c.IsPLI() {
			got = append(got, c.Media)
		}
		if ssrc, n, ok := c.FIR(0); ok {
			got = append(got, ssrc, n)
		}
		if bps, ok := c.REMB(); ok {
			got = append(got, bps)
		}
		if ssrc, ok := c.Bye(0); ok {
			got = append(got, ssrc)
		}
	}
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	want := []any{
		SenderInfo{NTP: 1, Timestamp: 2, Packets: 3, Bytes: 4},
		ReportBlock{SSRC: 20, TotalLost: -3, FractionLost: 1},
		uint32(30), []uint16{5, 7, 60000}, []uint16{5, 7},
		uint32(31), uint32(32), uint8(9), uint64(1_234_567 &^ 7), uint32(10),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, pkt := range map[string][]byte{
		"three bytes":       {0x80, 201, 0},
		"version":           {0x40, 201, 0, 1, 0, 0, 0, 1},
		"length":            {0x80, 201, 0, 2, 0, 0, 0, 1},
		"no sender":         {0x80, 201, 0, 0},
		"feedback cut":      {0x81, 206, 0, 1, 0, 0, 0, 1},
		"padding too big":   {0xA0, 201, 0, 1, 0, 0, 0, 9},
		"padding of 0":      {0xA0, 201, 0, 1, 0, 0, 0, 0},
		"fault in the tail": append(AppendPLI(nil, 1, 2), 0x80),
	} {
		c := RTCP{Data: pkt}
		for c.Next() {
		}
		if c.Err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNTP(t *testing.T) {
	at := time.Date(2030, 5, 6, 7, 8, 9, 250_000_000, time.UTC).UnixNano()
	if ntp := NTP(at); ntp&0xFFFFFFFF != 1<<30 {
		t.Errorf("fraction %#x, want a quarter", ntp&0xFFFFFFFF)
	}
	if back := UnixNano(NTP(at)); back < at-1 || back > at {
		t.Errorf("there and back is off by %d ns", back-at)
	}
}

// feedback collects what pion reads in a feedback packet: number → arrival in
// µs, −1 for lost.
func feedback(t testing.TB, pkt []byte) map[uint16]int64 {
	t.Helper()
	var f pion.TransportLayerCC
	if err := f.Unmarshal(pkt); err != nil {
		t.Fatalf("pion does not take the feedback: %v\n%x", err, pkt)
	}
	got := map[uint16]int64{}
	at := int64(f.ReferenceTime) * 64_000
	seq, left, next := f.BaseSequenceNumber, int(f.PacketStatusCount), 0
	one := func(symbol uint16) {
		if left == 0 {
			return
		}
		left--
		got[seq] = -1
		if symbol != pion.TypeTCCPacketNotReceived {
			at += f.RecvDeltas[next].Delta
			next++
			got[seq] = at
		}
		seq++
	}
	for _, c := range f.PacketChunks {
		switch c := c.(type) {
		case *pion.RunLengthChunk:
			for range c.RunLength {
				one(c.PacketStatusSymbol)
			}
		case *pion.StatusVectorChunk:
			for _, s := range c.SymbolList {
				one(s)
			}
		}
	}
	if left != 0 || next != len(f.RecvDeltas) {
		t.Fatalf("%d statuses missing, %d of %d deltas used", left, next, len(f.RecvDeltas))
	}
	return got
}

func TestTWCCAgreesWithPion(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var rec TWCCRecorder
		seq := uint16(rapid.IntRange(0, 65535).Draw(rt, "first"))
		now := rapid.Int64Range(0, 1e12).Draw(rt, "start")
		sent := map[uint16]int64{}
		got := map[uint16]int64{}
		for range rapid.IntRange(1, 6).Draw(rt, "feedbacks") {
			for range rapid.IntRange(1, 100).Draw(rt, "packets") {
				switch rapid.IntRange(0, 9).Draw(rt, "kind") {
				case 0: // lost
					seq += uint16(rapid.IntRange(1, 9).Draw(rt, "lost"))
				case 1: // a pause
					now += rapid.Int64Range(0, 300e6).Draw(rt, "pause")
				}
				rec.Record(seq, now)
				sent[seq] = now
				seq++
				now += rapid.Int64Range(0, 2e6).Draw(rt, "gap")
			}
			for i := 0; rec.Pending() > 0; i++ {
				if i > 100 {
					rt.Fatal("feedback does not end")
				}
				pkt := rec.AppendFeedback(nil, 1, 2)
				if len(pkt)%4 != 0 || len(pkt) > 1200 {
					rt.Fatalf("feedback of %d bytes", len(pkt))
				}
				for k, v := range feedback(t, pkt) {
					if old, twice := got[k]; twice && old != -1 {
						rt.Fatalf("%d reported twice", k)
					}
					got[k] = v
				}
				c := RTCP{Data: pkt}
				if !c.Next() || !c.IsTWCC() {
					rt.Fatal("our own reader does not know it")
				}
				if !ParseTWCC(c.Body, func(s uint16, received bool, at int64) {
					if w := got[s]; received != (w != -1) || received && at != w {
						rt.Fatalf("our reader: %d received %v at %d, pion at %d", s, received, at, w)
					}
				}) {
					rt.Fatal("our own reader refuses it")
				}
			}
		}
		for s, at := range sent {
			if v, ok := got[s]; !ok || v == -1 {
				rt.Fatalf("packet %d came and was not reported (%v)", s, ok)
			} else if w := at / twccTick * 250; (v-w)%(1<<24*64_000) != 0 {
				rt.Fatalf("packet %d came at %d µs, reported %d", s, w, v)
			}
		}
		for s, v := range got {
			if _, came := sent[s]; v != -1 && !came {
				rt.Fatalf("packet %d was reported and never came", s)
			}
		}
	})
}

func TestTWCCReordered(t *testing.T) {
	var rec TWCCRecorder
	rec.Record(100, 1e9)
	rec.Record(102, 1e9+1e6)
	first := feedback(t, rec.AppendFeedback(nil, 1, 2))
	if first[101] != -1 {
		t.Errorf("101 is reported as %d, want lost", first[101])
	}
	rec.Record(101, 1e9+2e6)
	second := feedback(t, rec.AppendFeedback(nil, 1, 2))
	if second[101] != 1_002_000 {
		t.Errorf("late 101 is reported as %d", second[101])
	}
	if rec.Pending() != 0 {
		t.Errorf("%d still pending", rec.Pending())
	}
}

func TestTWCCReorderedBeforeAPause(t *testing.T) {
	var rec TWCCRecorder
	for seq := range uint16(10) {
		if seq != 5 {
			rec.Record(seq, 1e9)
		}
	}
	rec.AppendFeedback(nil, 1, 2)
	rec.Record(5, 1e9+1e6)
	for seq := range uint16(4) { // too long after for the same feedback
		rec.Record(10+seq, 20e9)
	}
	if got := feedback(t, rec.AppendFeedback(nil, 1, 2)); len(got) != 5 || got[5] != 1_001_000 {
		t.Errorf("feedback %v", got)
	}
	if rec.Pending() != 4 {
		t.Fatalf("%d pending, want the 4 after the pause", rec.Pending())
	}
	if got := feedback(t, rec.AppendFeedback(nil, 1, 2)); len(got) != 4 || rec.Pending() != 0 {
		t.Errorf("feedback %v, %d still pending", got, rec.Pending())
	}
}

// FuzzTWCC reads feedback of others and writes our own about hostile arrivals:
// pairs of a step of the number and a step in time.
func FuzzTWCC(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 0, 1, 0, 0xA0, 0, 4, 8})
	f.Add([]byte{0, 1, 0, 9, 0, 0, 1, 0, 0x20, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0})
	f.Add([]byte{1, 1, 1, 1, 255, 200, 1, 1, 3, 255, 128, 128, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		ParseTWCC(b, func(uint16, bool, int64) { n++ })
		if n > 65535 {
			t.Fatalf("%d packets in one feedback", n)
		}
		var rec TWCCRecorder
		seq, now := uint16(0), int64(1e12)
		told := func() {
			for i := 0; rec.Pending() != 0; i++ {
				if i > twccWindow {
					t.Fatal("feedback does not end")
				}
				pkt := rec.AppendFeedback(nil, 1, 2)
				if len(pkt) == 0 {
					continue
				}
				c := RTCP{Data: pkt}
				if !c.Next() || !c.IsTWCC() || len(c.Data) != 0 || len(pkt) > 1200 {
					t.Fatalf("wrote %x", pkt)
				}
				if !ParseTWCC(c.Body, func(uint16, bool, int64) {}) {
					t.Fatalf("cannot read %x", pkt)
				}
			}
		}
		for ; len(b) >= 2; b = b[2:] {
			seq += uint16(int16(int8(b[0]))) * uint16(b[0]&7+1)
			now += int64(int8(b[1])) * 1e6 * int64(b[1]&63)
			rec.Record(seq, now)
			if b[0]&15 == 15 {
				told()
			}
		}
		told()
	})
}

func TestTWCCIsBounded(t *testing.T) {
	var rec TWCCRecorder
	rnd := rand.New(rand.NewPCG(1, 1))
	buf := make([]byte, 0, 1500)
	for i := range 50_000 {
		rec.Record(uint16(rnd.Uint32()), rnd.Int64N(1e15))
		if i%50 != 0 {
			continue
		}
		for n := 0; rec.Pending() > 0; n++ {
			if n > twccWindow+1 {
				t.Fatal("feedback does not end")
			}
			buf = rec.AppendFeedback(buf[:0], 1, 2)
			if len(buf) > 0 {
				feedback(t, buf)
			}
		}
	}
}

func FuzzRTCP(f *testing.F) {
	f.Add(AppendSDES(AppendSR(nil, 1, SenderInfo{}, ReportBlock{}), 1, "c"))
	f.Add(AppendNACK(nil, 1, 2, []uint16{1, 2, 3, 900}))
	f.Add(AppendREMB(AppendFIR(AppendPLI(nil, 1, 2), 1, 2, 3), 1, 1<<40, 1))
	var rec TWCCRecorder
	rec.Record(1, 5e6)
	rec.Record(3, 900e6)
	f.Add(rec.AppendFeedback(nil, 1, 2))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		c := RTCP{Data: pkt}
		for c.Next() {
			c.SenderInfo()
			for i := range 40 {
				c.Report(i)
				c.Bye(i)
				c.FIR(i)
			}
			if n := len(c.NACK(nil, 300)); n > 300 {
				t.Fatalf("%d numbers", n)
			}
			c.REMB()
			n := 0
			ParseTWCC(c.Body, func(uint16, bool, int64) { n++ })
			if n > 65535 {
				t.Fatalf("%d packets in one feedback", n)
			}
		}
		if len(c.Body) > len(pkt) {
			t.Fatal("body longer than the packet")
		}
	})
}

func TestReaderDoesNotAllocate(t *testing.T) {
	pkt := AppendNACK(AppendRR(nil, 1, ReportBlock{SSRC: 4}), 1, 2, []uint16{3, 4})
	seqs := make([]uint16, 0, 64)
	var rec TWCCRecorder
	out := make([]byte, 0, 1500)
	seq := uint16(0)
	if n := testing.AllocsPerRun(200, func() {
		c := RTCP{Data: pkt}
		for c.Next() {
			c.Report(0)
			if c.IsNACK() {
				seqs = c.NACK(seqs[:0], 64)
			}
		}
		for range 20 {
			rec.Record(seq, int64(seq)*1e6)
			seq++
		}
		out = rec.AppendFeedback(out[:0], 1, 2)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if !slices.Equal(seqs, []uint16{3, 4}) || binary.BigEndian.Uint16(out[12:]) != seq-20 {
		t.Error("nothing was read or written")
	}
}
