package media

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"belfry/internal/media/sdp"
	"belfry/internal/meeting"
)

func TestAnswersStayTheSame(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	b := r.join("b")
	first := b.answer
	if !first.lite || first.role != "passive" || !slices.Equal(first.candidates, []netip.AddrPort{r.server.Addr()}) {
		t.Errorf("ice-lite %v, setup %s, candidates %v", first.lite, first.role, first.candidates)
	}
	if other := a.answer; other.ufrag == first.ufrag || other.pwd == first.pwd || other.session == first.session {
		t.Error("two connections share their credentials or session id")
	}
	audio := b.audio()
	last := first
	steps := []func(){
		b.negotiate,
		b.camera,
		func() { b.receive(a.answer.Allocations[0].StreamID) },
		func() { b.sections[2].rejected, b.sections[2].want = true, 0; b.negotiate() },
		func() { b.sections[1].direction, b.sendVideo = "inactive", nil; b.negotiate() },
	}
	for i, step := range steps {
		step()
		got := b.answer
		if got.ufrag != first.ufrag || got.pwd != first.pwd || got.fingerprint != first.fingerprint || got.role != first.role {
			t.Errorf("step %d: the transport changed to %s %s %s %s", i, got.ufrag, got.pwd, got.fingerprint, got.role)
		}
		if got.session != first.session || got.version != last.version+1 {
			t.Errorf("step %d: o= says %d %d after %d %d", i, got.session, got.version, last.session, last.version)
		}
		if b.audio() != audio {
			t.Errorf("step %d: the SSRC of audio changed", i)
		}
		for j, s := range got.sections {
			if s.mid != b.sections[j].mid || s.kind != b.sections[j].kind {
				t.Errorf("step %d: section %d is %s %s, offered as %s %s", i, j, s.kind, s.mid, b.sections[j].kind, b.sections[j].mid)
			}
		}
		last = got
	}
	if n := b.events.connected.Load(); n != 1 {
		t.Errorf("MediaConnected came %d times", n)
	}
}

func TestRejectedSection(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	id := a.answer.Allocations[0].StreamID
	s := watches(t, b, a)
	ssrc, _ := b.track(s)
	kept, _ := b.track(watches(t, b, a))
	flows(t, a, b, ssrc)
	s.rejected = true
	b.negotiate()
	if !slices.Equal(b.answer.bundle, []string{"0", "1", "3"}) {
		t.Errorf("the bundle is %v", b.answer.bundle)
	}
	if got := b.answer.sections[2]; got.port != 0 || got.mid != "2" || len(got.ssrcs) != 0 || got.direction != "inactive" {
		t.Errorf("the stopped section is answered %+v", got)
	}
	for i, got := range b.answer.sections {
		if (got.port == 0) != (i == 2) {
			t.Errorf("section %d has port %d", i, got.port)
		}
	}
	if got := b.answer.Tracks; len(got) != 1 || got[0].Label != "v_3" || got[0].SSRC != kept {
		t.Errorf("tracks %+v", got)
	}
	unseen(t, a, b, ssrc)
	flows(t, a, b, kept)
	// One that is not received any more, but not stopped either.
	b.sections[3].direction, b.sections[3].want = "inactive", 0
	b.negotiate()
	if got := b.answer.sections[3]; got.port == 0 || got.direction != "inactive" || len(b.answer.Tracks) != 0 {
		t.Errorf("section 3 is answered port %d, %s; tracks %v", got.port, got.direction, b.answer.Tracks)
	}
	unseen(t, a, b, kept)
	bridge := r.conf.(*Bridge)
	bridge.mu.Lock()
	if n := len(b.peer.(*Peer).receivers); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	bridge.mu.Unlock()
	// The stopped one's place is used again by another section.
	b.sections[2] = &section{mid: "9", kind: "video", direction: "recvonly", want: id}
	b.negotiate()
	again, _ := b.track(b.sections[2])
	if again == ssrc || again == kept {
		t.Error("a new section has an SSRC that was used before")
	}
	flows(t, a, b, again)
}

func TestBadOffers(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	good := b.text()
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the offer has no %q", old)
		}
		return strings.ReplaceAll(good, old, new)
	}
	for name, c := range map[string]struct{ offer, message string }{
		"nothing":          {"", "m-line"},
		"no SDP":           {"hello", "line 1"},
		"bytes":            {"\x00\xff\xfe", "UTF-8"},
		"JSON":             {`{"type":"offer"}`, "line 1"},
		"no sections":      {good[:strings.Index(good, "m=")], "m-line"},
		"version":          {edit("v=0", "v=1"), "version"},
		"too long":         {good + strings.Repeat("a=x\r\n", 100000), "longer than"},
		"no ufrag":         {edit("a=ice-ufrag:8upu\r\n", ""), "ice-ufrag"},
		"short ufrag":      {edit("a=ice-ufrag:8upu", "a=ice-ufrag:8"), "ice-ufrag"},
		"no password":      {edit("a=ice-pwd:fTm9g8aavwu5wRpb3CfzSlEG\r\n", ""), "ice-pwd"},
		"no fingerprint":   {edit("a=fingerprint:"+b.fingerprint+"\r\n", ""), "fingerprint"},
		"weak fingerprint": {edit(b.fingerprint, "sha-1 "+strings.TrimSuffix(strings.Repeat("AB:", 20), ":")), "sha-1"},
		"half fingerprint": {edit(b.fingerprint, b.fingerprint[:30]), "fingerprint"},
		"other ICE":        {edit("8upu", "another"), "changed"},
		"other print":      {edit(b.fingerprint, "sha-256 "+strings.TrimSuffix(strings.Repeat("AB:", 32), ":")), "changed"},
		"setup":            {edit("a=setup:actpass", "a=setup:holdconn"), "setup"},
		"no mux":           {edit("a=rtcp-mux\r\n", ""), "rtcp-mux"},
		"no mid":           {edit("a=mid:1\r\n", ""), "mid"},
		"mid twice":        {edit("a=mid:1", "a=mid:0"), "mid"},
		"port":             {edit("m=audio 9", "m=audio nine"), "port"},
		"payload type":     {edit("SAVPF 111", "SAVPF 128"), "payload type"},
		"all rejected":     {strings.NewReplacer("m=audio 9", "m=audio 0", "m=video 9", "m=video 0").Replace(good), "rejected"},
		"data alone":       {good[:strings.Index(good, "m=")] + strings.ReplaceAll(good[strings.Index(good, "m=audio"):strings.Index(good, "m=video")], "m=audio", "m=application"), "no audio or video"},
	} {
		t.Run(name, func(t *testing.T) {
			o := b.offer()
			o.SDP = c.offer
			o.Muted = true
			answer, err := b.peer.Negotiate(o)
			if meeting.CodeOf(err) != meeting.CodeBadRequest {
				t.Fatalf("%v, not %s; answer %q", err, meeting.CodeBadRequest, answer.SDP)
			}
			if m := meeting.MessageOf(err); !strings.HasPrefix(m, "sdp_offer: ") || !strings.Contains(m, c.message) {
				t.Errorf("the message %q does not name %q", m, c.message)
			}
			if strings.Contains(err.Error(), "fTm9g8aavwu5wRpb3CfzSlEG") {
				t.Error("the message has the ICE password")
			}
		})
	}
	// Nothing changed by any of them.
	hears(t, b, "a", true)
	flows(t, a, b, ssrc)
	stop := b.talk(3, spoken("b"))
	hears(t, a, "b", true)
	stop()
	version := b.answer.version
	b.negotiate()
	if b.answer.version != version+1 {
		t.Errorf("o= says %d after %d", b.answer.version, version)
	}
	if again, _ := b.track(b.sections[2]); again != ssrc {
		t.Error("the received section's SSRC changed")
	}
	stop = b.talk(3, spoken("b"))
	hears(t, a, "b", true)
	stop()
	// A first offer that is bad leaves room for a good one.
	c := r.enter("c")
	if _, err := c.peer.Negotiate(meeting.Offer{SDP: "hello"}); meeting.CodeOf(err) != meeting.CodeBadRequest {
		t.Errorf("a bad first offer: %v", err)
	}
	c.negotiate()
	c.connect()
	hears(t, c, "a", true)
}

// What the message says about received streams need not fit the offer.
func TestOddSubscribes(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	id := a.answer.Allocations[0].StreamID
	for name, o := range map[string]meeting.Offer{
		"more ids than sections":  {Receive: []uint32{0, id, id, id, 1 << 31}},
		"for the camera":          {Receive: []uint32{id}},
		"layers without a camera": {SendVideo: []meeting.SendVideo{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}}},
		"none":                    {},
	} {
		o.SDP = b.text()
		got, err := b.peer.Negotiate(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(got.Tracks) != 0 || len(got.Allocations) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A stream that is not there: a track of which nothing comes until it is.
	s := b.receive(123456)
	if len(b.answer.Tracks) != 1 {
		t.Fatalf("tracks %v", b.answer.Tracks)
	}
	ssrc, _ := b.track(s)
	b.peer.Switch(s.mid, id)
	flows(t, a, b, ssrc)
	// More layers than the client's one stream: ids for all.
	a.sendVideo = append(a.sendVideo, meeting.SendVideo{Label: "more", MaxBitrateKbps: 1})
	a.negotiate()
	if n := len(a.answer.Allocations); n != 2 {
		t.Errorf("%d allocations", n)
	}
	flows(t, a, b, ssrc)
}

func FuzzNegotiate(f *testing.F) {
	s, err := NewServer(Config{Listen: "127.0.0.1:0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	r := &room{t: f, server: s}
	if r.conf, err = s.OpenConference(meeting.ConferenceSpec{MeetingID: "m", FirstID: firstID}, r); err != nil {
		f.Fatal(err)
	}
	c := r.enter("a")
	c.sections[1].direction = "sendrecv"
	c.sections = append(c.sections, &section{mid: "2", kind: "video", direction: "recvonly", want: 41},
		&section{mid: "3", kind: "video", direction: "inactive", rejected: true})
	good := c.text()
	// An edit puts piece in place of length bytes at a place of a good offer.
	f.Add(uint16(0), uint16(0), "", uint32(0), uint8(1))
	for _, x := range []struct{ at, piece string }{
		{"m=audio 9", "m=audio 0"}, {"a=mid:2", "a=mid:0"}, {"a=setup:actpass", "a=setup:passive"},
		{"a=sendrecv", "a=recvonly"}, {"opus/48000/2", "VP8/90000"}, {"a=ssrc-group:FID ", "a=ssrc-group:FID 0 0\r\na=x "},
		{"a=msid", "a=rid:hi send\r\na=rid:lo send\r\na=simulcast:send lo;hi\r\na=msid"}, {"111", "0"}, {"a=extmap:1 ", "a=extmap:15 "},
		{"a=group:BUNDLE", "a=group:BUNDLE 3"}, {"m=video", "m=audio"}, {"m=video 9", "m=application 9"},
	} {
		f.Add(uint16(strings.Index(good, x.at)), uint16(len(x.at)), x.piece, uint32(41), uint8(2))
	}
	f.Fuzz(func(t *testing.T, at, length uint16, piece string, want uint32, layers uint8) {
		from := min(int(at), len(good))
		o := meeting.Offer{SDP: good[:from] + piece + good[min(from+int(length), len(good)):], Receive: []uint32{0, want, want}}
		for range layers % 5 {
			o.SendVideo = append(o.SendVideo, meeting.SendVideo{Label: "x", MaxBitrateKbps: want})
		}
		p, err := r.conf.Join(meeting.PeerSpec{AttendeeID: "x", Capabilities: everything}, &events{closed: make(chan string, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for range 2 { // the first offer, and the same again
			got, err := p.Negotiate(o)
			if s.panics.Load() > 0 {
				t.Fatal("it panicked")
			}
			if err != nil {
				if meeting.CodeOf(err) != meeting.CodeBadRequest {
					t.Fatal(err)
				}
				return
			}
			back, err := sdp.ParseOffer(got.SDP)
			if err != nil {
				t.Fatalf("%v in the answer\n%s", err, got.SDP)
			}
			if sections := strings.Count("\n"+o.SDP, "\nm="); len(back.Sections) != sections {
				t.Fatalf("%d sections answer %d", len(back.Sections), sections)
			}
			if len(got.Allocations) != 0 && len(got.Allocations) != len(o.SendVideo) {
				t.Fatalf("%d allocations for %d layers", len(got.Allocations), len(o.SendVideo))
			}
		}
	})
}
