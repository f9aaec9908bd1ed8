package sfu

import (
	"testing"

	"belfry/internal/media/rtp"
	pionrtcp "github.com/pion/rtcp"
)

// senderReport tells the publication that its timestamp ts was taken at the
// publisher's wall time of now, skewed by skew.
func (r *room) senderReport(p *Publication, ssrc, ts uint32, skew, delay int64) {
	pkt := rtp.AppendSR(nil, ssrc, rtp.SenderInfo{NTP: rtp.NTP(r.cfg.Epoch + r.now + skew), Timestamp: ts})
	if err := r.HandleRTCP(pkt, peer{pub: p}, r.now+delay); err != nil {
		r.t.Fatal(err)
	}
}

// lastSR returns the newest sender report, and forgets all.
func (w *wire) lastSR() (sr *pionrtcp.SenderReport) {
	for _, p := range w.rtcp {
		if s, ok := p.(*pionrtcp.SenderReport); ok {
			sr = s
		}
	}
	w.rtcp = nil
	return sr
}

// capturedAt is what a receiver makes of a sender report: the Unix time in ns
// when the frame with this timestamp was taken.
func capturedAt(sr *pionrtcp.SenderReport, timestamp uint32) int64 {
	return rtp.UnixNano(sr.NTPTime) + rtp.TimestampDiff(timestamp, sr.RTPTime)*second/clockRate
}

func within(a, b, limit int64) bool { return a-b <= limit && b-a <= limit }

func TestSenderReportsTellWhenAFrameWasTaken(t *testing.T) {
	for _, known := range []bool{true, false} {
		r := newRoom(t, single)
		subs := map[uint32]*wire{}
		e := &encoder{ssrc: 11, ts: 1 << 31}
		var taken int64
		// The second subscriber joins later and so has another mapping.
		for _, ssrc := range []uint32{1000, 2000} {
			_, subs[ssrc] = r.subscribe(ssrc, 101)
			for i := range 60 {
				r.wait(20 * ms)
				r.now += 13333333 // 30 frames per second
				if known && i%20 == 0 {
					// The publisher's clock is an hour behind; 5 to 25 ms on the way.
					r.senderReport(r.pub, 11, e.ts, -3600*second, 5*ms+int64(i)%3*10*ms)
				}
				taken = r.cfg.Epoch + r.now
				r.push(r.pub, e.frame(i == 0, 1, r.now)...)
			}
		}
		r.wait(1 * second)
		var at [2]int64
		for i, ssrc := range []uint32{1000, 2000} {
			w := subs[ssrc]
			got := w.take(ssrc)
			sr := w.lastSR()
			if sr == nil || sr.SSRC != ssrc {
				t.Fatalf("subscriber %d got no report of its SSRC: %v", ssrc, sr)
			}
			if !within(rtp.UnixNano(sr.NTPTime), r.cfg.Epoch+r.now, 1100*ms) {
				t.Errorf("report of %d, now is %d", rtp.UnixNano(sr.NTPTime), r.cfg.Epoch+r.now)
			}
			if int(sr.PacketCount) != len(got) || int(sr.OctetCount) != len(got)*len(got[0].Payload()) {
				t.Errorf("reports %d packets of %d bytes", sr.PacketCount, sr.OctetCount)
			}
			at[i] = capturedAt(sr, got[len(got)-1].Timestamp)
			limit := 30 * ms
			if known { // the quickest report was 5 ms on the way
				limit = 7 * ms
			}
			if !within(at[i], taken, limit) {
				t.Errorf("known %v: the last frame was taken %d ms off", known, (at[i]-taken)/ms)
			}
		}
		if !within(at[0], at[1], 1*ms) {
			t.Errorf("known %v: two subscribers see the frame %d µs apart", known, (at[1]-at[0])/1000)
		}
	}
}

func TestSwitchKeepsCaptureTimes(t *testing.T) {
	r := newRoom(t, twoLayers()...)
	lo, hi := &encoder{ssrc: 20, rid: "low", ts: 100}, &encoder{ssrc: 21, rid: "hi", ts: 1 << 30}
	sub, w := r.subscribe(1000, 101)
	r.push(r.pub, lo.frame(true, 1, r.now)...)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	r.senderReport(r.pub, 20, 100, 0, 0)
	r.senderReport(r.pub, 21, 1<<30, 0, 0)
	sub.Switch(102, r.now)
	r.now += 33 * ms
	r.push(r.pub, lo.frame(false, 1, r.now)...)
	// The high layer's next frame, taken at the same time, is 60 ms longer on
	// the way.
	r.now += 60 * ms
	r.push(r.pub, hi.frame(false, 1, r.now)...)
	r.push(r.pub, hi.frame(true, 1, r.now)...)
	got := w.take(1000)
	if d := rtp.TimestampDiff(got[2].Timestamp, got[1].Timestamp); len(got) != 3 || !within(d, 3000, 1) {
		t.Errorf("%d packets; timestamp moved by %d over one frame, want 3000", len(got), d)
	}
}

func TestReportsToThePublisher(t *testing.T) {
	r := newRoom(t, single)
	r.subscribe(1000, 101)
	e := &encoder{ssrc: 11, seq: 65500}
	r.senderReport(r.pub, 11, 0, 0, 0)
	lost := map[uint16]bool{}
	var last uint16
	for i := range 100 {
		for _, p := range e.frame(i == 0, 1, r.now) {
			if i%10 == 5 {
				lost[p.Seq] = true
				continue
			}
			r.push(r.pub, p)
			last = p.Seq
		}
		r.now += 10 * ms
	}
	r.Tick(r.now)
	var rr *pionrtcp.ReceiverReport
	var ccs []*pionrtcp.TransportLayerCC
	for _, p := range r.up.rtcp {
		switch p := p.(type) {
		case *pionrtcp.ReceiverReport:
			rr = p
		case *pionrtcp.TransportLayerCC:
			ccs = append(ccs, p)
		case *pionrtcp.ReceiverEstimatedMaximumBitrate:
			t.Error("REMB beside transport-wide feedback")
		}
	}
	if rr == nil || len(rr.Reports) != 1 || rr.Reports[0].SSRC != 11 {
		t.Fatalf("receiver report %v", rr)
	}
	b := rr.Reports[0]
	if b.TotalLost != 10 || b.FractionLost != 25 || b.LastSequenceNumber != 1<<16+uint32(last) || b.LastSenderReport == 0 || b.Delay != 65536 {
		t.Errorf("report %+v", b)
	}
	told := map[uint16]bool{}
	for _, cc := range ccs {
		if cc.MediaSSRC != 11 {
			t.Errorf("feedback about %d", cc.MediaSSRC)
		}
		seq, left := cc.BaseSequenceNumber, int(cc.PacketStatusCount)
		for _, c := range cc.PacketChunks {
			var symbols []uint16
			switch c := c.(type) {
			case *pionrtcp.RunLengthChunk:
				for range c.RunLength {
					symbols = append(symbols, c.PacketStatusSymbol)
				}
			case *pionrtcp.StatusVectorChunk:
				symbols = c.SymbolList
			}
			for _, s := range symbols[:min(len(symbols), left)] {
				told[seq] = s != pionrtcp.TypeTCCPacketNotReceived
				seq++
				left--
			}
		}
	}
	if len(told) != 100 {
		t.Errorf("feedback tells of %d packets, want 100", len(told))
	}
	for seq, came := range told {
		if came == lost[seq] {
			t.Errorf("%d: came %v, lost %v", seq, came, lost[seq])
		}
	}
}

func TestREMBWithoutTransportFeedback(t *testing.T) {
	r := newRoom(t)
	p := r.Publish(PublishConfig{AttendeeID: "anna", Up: r.up, Layers: []Layer{{MaxBitrateKbps: 1000, SSRC: 11}}, Codecs: upCodecs, REMB: true})
	r.wait(3 * second)
	if len(r.up.rtcp) != 0 {
		t.Fatalf("sent %v before anything came", r.up.rtcp)
	}
	r.push(p, (&encoder{ssrc: 11}).frame(true, 1, r.now)...)
	r.wait(1100 * ms)
	var remb *pionrtcp.ReceiverEstimatedMaximumBitrate
	for _, pkt := range r.up.rtcp {
		if m, ok := pkt.(*pionrtcp.ReceiverEstimatedMaximumBitrate); ok {
			remb = m
		}
	}
	if remb == nil || remb.Bitrate < 1_400_000 || remb.Bitrate > 1_600_000 || len(remb.SSRCs) != 1 || remb.SSRCs[0] != 11 {
		t.Errorf("REMB %v, want half more than what was announced", remb)
	}
}

func TestReception(t *testing.T) {
	r := newRoom(t, single)
	sub, w := r.subscribe(1000, 101)
	r.push(r.pub, (&encoder{ssrc: 11}).frame(true, 1, r.now)...)
	r.wait(1200 * ms)
	r.push(r.pub, (&encoder{ssrc: 11, seq: 1, ts: 108000}).frame(false, 1, r.now)...)
	w.rtcp = nil
	var sr *pionrtcp.SenderReport
	for i := 0; sr == nil; i++ {
		if i == 100 {
			t.Fatal("no sender report within 2 s")
		}
		r.wait(20 * ms)
		sr = w.lastSR()
	}
	r.now += 100 * ms
	report := func(b rtp.ReportBlock) {
		t.Helper()
		b.SSRC = 1000
		if err := r.HandleRTCP(rtp.AppendRR(nil, 5, b), peer{sub: sub}, r.now); err != nil {
			t.Fatal(err)
		}
	}
	report(rtp.ReportBlock{FractionLost: 64, LastSR: uint32(sr.NTPTime >> 16), Delay: 65536 * 30 / 1000})
	if lost, rtt := sub.Reception(); lost != 64 || !within(rtt, 70*ms, 1*ms) {
		t.Errorf("lost %d/256, round trip %d ms, want 64 and 70", lost, rtt/ms)
	}
	// A receiver that claims to have waited longer than it can have.
	report(rtp.ReportBlock{LastSR: uint32(sr.NTPTime >> 16), Delay: 1 << 20})
	if _, rtt := sub.Reception(); !within(rtt, 70*ms, 1*ms) {
		t.Errorf("round trip %d ms from an impossible report", rtt/ms)
	}
}

func TestMalformedRTCPIsCounted(t *testing.T) {
	r := newRoom(t, single)
	sub, _ := r.subscribe(1000, 101)
	r.push(r.pub, (&encoder{ssrc: 11}).frame(true, 1, r.now)...)
	r.wait(1 * second)
	r.up.rtcp = nil
	pkt := append(rtp.AppendPLI(nil, 1, 1000), 0x81, 205, 0, 9)
	if err := r.HandleRTCP(pkt, peer{sub: sub}, r.now); err == nil {
		t.Error("a cut packet is no error")
	}
	if r.Stats().Malformed != 1 {
		t.Errorf("%d malformed counted", r.Stats().Malformed)
	}
	if n := r.up.plis(11); n != 1 {
		t.Errorf("%d PLIs: what came before the fault does not count", n)
	}
}
