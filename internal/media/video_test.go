package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"

	"belfry/internal/media/srtp"
	"belfry/internal/meeting"
)

// picture is a VP8 payload without what is renumbered on the way.
func picture(p *pionrtp.Packet) string { return string(p.Payload[4:]) }

// published makes somebody with a camera of which one key frame has come.
func (r *room) published(id string) *client {
	r.t.Helper()
	c := r.join(id)
	c.camera()
	c.film(true)
	filmed := time.Now()
	eventually(r.t, id+"'s source", func() bool {
		if time.Since(filmed) > 3*time.Second { // it came before the server was ready, or was lost
			c.film(true)
			filmed = time.Now()
		}
		return r.source(id) != nil
	})
	return c
}

// watches negotiates the reception of somebody's camera, and waits until a key
// frame is asked for and there.
func watches(t *testing.T, viewer, sender *client) *section {
	t.Helper()
	asked := sender.keyFrameRequests()
	s := viewer.receive(sender.answer.Allocations[0].StreamID)
	eventually(t, "a key frame request to "+sender.id, func() bool { return sender.keyFrameRequests() > asked })
	ssrc, _ := viewer.track(s)
	n := viewer.count(ssrc)
	sender.film(true)
	eventually(t, sender.id+"'s key frame at "+viewer.id, func() bool { return viewer.count(ssrc) > n })
	return s
}

func TestVideo(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a")
	b := r.enter("b")
	b.vp8 = 120
	b.negotiate()
	b.connect()

	a.camera()
	if got := a.answer.sections[1]; got.direction != "sendrecv" || got.port == 0 {
		t.Errorf("the camera's section is answered %s, port %d", got.direction, got.port)
	}
	if len(a.answer.Allocations) != 1 || len(a.answer.Tracks) != 0 {
		t.Fatalf("allocations %v, tracks %v", a.answer.Allocations, a.answer.Tracks)
	}
	ids := a.answer.Allocations[0]
	if ids.Label != "camera" || ids.StreamID < firstID || ids.GroupID < firstID || ids.StreamID == ids.GroupID {
		t.Fatalf("allocation %+v", ids)
	}
	if got := r.conf.Sources(); len(got) != 0 {
		t.Fatalf("sources %v before anything was sent", got)
	}
	a.film(true)
	eventually(t, "a's source", func() bool { return r.source("a") != nil })
	source := r.source("a")
	if source == nil || source.StreamID != ids.StreamID || source.GroupID != ids.GroupID || source.Label != "camera" ||
		source.MaxBitrateKbps != 600 || source.Framerate != 15 || source.Width != 320 || source.Height != 180 || source.Stalled {
		t.Fatalf("the source is %+v", source)
	}

	s := b.receive(source.StreamID)
	if len(b.answer.Tracks) != 1 {
		t.Fatalf("tracks %v", b.answer.Tracks)
	}
	ssrc, rtx := b.track(s)
	if got, want := b.answer.Tracks[0], (meeting.Track{StreamID: source.StreamID, SSRC: ssrc, Label: "v_2"}); got != want {
		t.Errorf("track %+v, not %+v", got, want)
	}
	if got := b.answer.sections[2]; got.direction != "sendonly" || got.msid != "v_2 track_2" {
		t.Errorf("the received section is answered %s, msid %q", got.direction, got.msid)
	}
	if rtx == ssrc || ssrc == a.sections[1].ssrc {
		t.Errorf("SSRCs %d and %d", ssrc, rtx)
	}
	eventually(t, "a key frame request for the new subscriber", func() bool { return a.keyFrameRequests() > 0 })
	a.film(false) // of no use to b without the key frame
	sent := []*pionrtp.Packet{a.film(true)}
	for range 30 {
		sent = append(sent, a.film(false))
		time.Sleep(time.Millisecond)
	}
	eventually(t, "31 pictures at b", func() bool { return b.count(ssrc) >= len(sent) })
	got := b.got(ssrc)
	for i, p := range got {
		want := sent[i]
		if picture(p) != picture(want) || !p.Marker || p.PayloadType != 120 {
			t.Fatalf("packet %d is %q of type %d, not %q of 120", i, picture(p), p.PayloadType, picture(want))
		}
		if i > 0 && (p.SequenceNumber != got[i-1].SequenceNumber+1 || p.Timestamp != got[i-1].Timestamp+6000) {
			t.Fatalf("packet %d is %d/%d after %d/%d", i, p.SequenceNumber, p.Timestamp, got[i-1].SequenceNumber, got[i-1].Timestamp)
		}
		if mid := p.GetExtension(extMID); string(mid) != "2" {
			t.Fatalf("packet %d has mid %q", i, mid)
		}
	}
	if n := a.count(ssrc); n > 0 || b.bad > 0 {
		t.Errorf("a has %d packets of its own; b could not decrypt %d", n, b.bad)
	}
	// Both sides hear how they do.
	eventually(t, "a's reception report", func() bool {
		return slices.ContainsFunc(a.control(), func(p rtcp.Packet) bool {
			rr, ok := p.(*rtcp.ReceiverReport)
			return ok && len(rr.Reports) == 1 && rr.Reports[0].SSRC == a.sections[1].ssrc && rr.Reports[0].TotalLost == 0
		})
	})
	eventually(t, "b's sender report", func() bool {
		return slices.ContainsFunc(b.control(), func(p rtcp.Packet) bool {
			sr, ok := p.(*rtcp.SenderReport)
			return ok && sr.SSRC == ssrc && sr.PacketCount == uint32(len(sent))
		})
	})

	// Camera off.
	a.sections[1].direction, a.sendVideo = "inactive", nil
	a.negotiate()
	if got := r.conf.Sources(); len(got) != 0 {
		t.Errorf("sources %v after the camera was turned off", got)
	}
	r.isTold("the camera that is off", func(sources []meeting.VideoSource, _ []meeting.VideoCodec) bool { return len(sources) == 0 })
	if got := a.answer.sections[1].direction; got != "inactive" {
		t.Errorf("the camera that is off is answered %s", got)
	}
	a.film(true)
	settled(a, b)
	if n := b.count(ssrc); n != len(sent) {
		t.Errorf("b has %d packets, not %d", n, len(sent))
	}
	// And on: other ids.
	a.camera()
	if again := a.answer.Allocations[0]; again.StreamID <= ids.StreamID || again.GroupID <= ids.GroupID {
		t.Errorf("after %+v the camera gets %+v", ids, again)
	}
}

func TestLateViewerGetsKeyFrame(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	watches(t, r.join("b"), a)
	// Nobody asks while nobody is new; what was on its way may still come.
	quiet := func() int {
		t.Helper()
		asked := a.keyFrameRequests()
		eventually(t, "the end of key frame requests after the key frame", func() bool {
			before := asked
			time.Sleep(400 * time.Millisecond)
			asked = a.keyFrameRequests()
			return asked == before
		})
		return asked
	}
	quiet()
	watches(t, r.join("c"), a)
	// One who has negotiated but is not there yet asks when it is.
	asked := quiet()
	d := r.enter("d")
	s := d.receive(a.answer.Allocations[0].StreamID)
	d.connect()
	eventually(t, "a key frame request for d", func() bool { return a.keyFrameRequests() > asked })
	a.film(true)
	ssrc, _ := d.track(s)
	eventually(t, "the key frame at d", func() bool { return d.count(ssrc) == 1 })
}

func TestKeyFrameRequestOfViewer(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	s := watches(t, b, a)
	ssrc, _ := b.track(s)
	time.Sleep(400 * time.Millisecond)
	asked := a.keyFrameRequests()
	b.feedback(&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: ssrc})
	eventually(t, "b's request at a", func() bool { return a.keyFrameRequests() > asked })
	a.film(true)
	time.Sleep(400 * time.Millisecond)
	asked = a.keyFrameRequests()
	b.feedback(&rtcp.FullIntraRequest{SenderSSRC: 1, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: 1}}})
	eventually(t, "b's FIR at a", func() bool { return a.keyFrameRequests() > asked })
}

// flows films until it is seen; unseen films and wants nothing there.
func flows(t *testing.T, sender, viewer *client, ssrc uint32) {
	t.Helper()
	n := viewer.count(ssrc)
	eventually(t, sender.id+"'s pictures at "+viewer.id, func() bool {
		sender.film(true)
		time.Sleep(5 * time.Millisecond)
		return viewer.count(ssrc) >= n+5
	})
}

func unseen(t *testing.T, sender, viewer *client, ssrc uint32) {
	t.Helper()
	settled(sender, viewer)
	n := viewer.count(ssrc)
	for range 10 {
		sender.film(true)
	}
	settled(sender, viewer)
	if more := viewer.count(ssrc) - n; more > 0 {
		t.Fatalf("%d of %s's pictures came to %s", more, sender.id, viewer.id)
	}
}

// contiguous wants numbers without a gap.
func contiguous(t *testing.T, packets []*pionrtp.Packet) {
	t.Helper()
	for i, p := range packets[1:] {
		if p.SequenceNumber != packets[i].SequenceNumber+1 {
			t.Fatalf("%d follows %d", p.SequenceNumber, packets[i].SequenceNumber)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	id := []uint32{a.answer.Allocations[0].StreamID}
	flows(t, a, b, ssrc)
	b.peer.Pause([]uint32{999999, id[0]})
	unseen(t, a, b, ssrc)
	b.negotiate() // does not end the pause
	unseen(t, a, b, ssrc)
	time.Sleep(400 * time.Millisecond)
	asked, n := a.keyFrameRequests(), b.count(ssrc)
	b.peer.Resume(id)
	eventually(t, "a key frame request after Resume", func() bool { return a.keyFrameRequests() > asked })
	a.film(false)
	key := a.film(true)
	eventually(t, "the key frame after Resume", func() bool { return b.count(ssrc) > n })
	if got := b.got(ssrc)[n]; picture(got) != picture(key) {
		t.Errorf("the first picture after Resume is %q, not %q", picture(got), picture(key))
	}
	flows(t, a, b, ssrc)
	contiguous(t, b.got(ssrc))
}

func TestSwitch(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, c, b := r.published("a"), r.published("c"), r.join("b")
	s := watches(t, b, a)
	ssrc, _ := b.track(s)
	flows(t, a, b, ssrc)
	b.peer.Switch(s.mid, c.answer.Allocations[0].StreamID)
	b.peer.Switch("no such section", a.answer.Allocations[0].StreamID)
	flows(t, c, b, ssrc)
	unseen(t, a, b, ssrc)
	// The same by a new offer.
	s.want = a.answer.Allocations[0].StreamID
	b.negotiate()
	if again, _ := b.track(s); again != ssrc {
		t.Errorf("the section's SSRC changed from %d to %d", ssrc, again)
	}
	flows(t, a, b, ssrc)
	unseen(t, c, b, ssrc)
	contiguous(t, b.got(ssrc))
}

func TestVideoCapabilities(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	content := r.share("a")
	content.camera()
	content.film(true)
	eventually(t, "the share's source", func() bool { return r.source("a"+meeting.ContentSuffix) != nil })
	camera, _ := b.track(watches(t, b, a))
	share, _ := b.track(watches(t, b, content))
	flows(t, a, b, camera)
	flows(t, content, b, share)
	with := func(video, content meeting.Capability) meeting.Capabilities {
		return meeting.Capabilities{Audio: meeting.SendReceive, Video: video, Content: content}
	}
	for _, step := range []struct {
		video, content meeting.Capability
	}{
		{meeting.NoMedia, meeting.SendReceive},
		{meeting.SendReceive, meeting.NoMedia},
		{meeting.Send, meeting.Receive},
		{meeting.Receive, meeting.Send},
		{meeting.SendReceive, meeting.SendReceive},
	} {
		b.peer.SetCapabilities(with(step.video, step.content))
		for _, x := range []struct {
			sender *client
			ssrc   uint32
			may    meeting.Capability
		}{{a, camera, step.video}, {content, share, step.content}} {
			if x.may.CanReceive() {
				flows(t, x.sender, b, x.ssrc)
			} else {
				unseen(t, x.sender, b, x.ssrc)
			}
		}
	}
	contiguous(t, b.got(camera))

	// The right to send, taken while it is used; and that to content is another.
	a.peer.SetCapabilities(with(meeting.SendReceive, meeting.Receive))
	flows(t, a, b, camera)
	a.peer.SetCapabilities(with(meeting.Receive, meeting.SendReceive))
	if r.source("a") != nil {
		t.Error("a is still a source without the right to be")
	}
	unseen(t, a, b, camera)
	a.negotiate()
	if len(a.answer.Allocations) != 0 || a.answer.sections[1].direction != "inactive" {
		t.Errorf("a gets %v, its section is %s", a.answer.Allocations, a.answer.sections[1].direction)
	}
	content.peer.SetCapabilities(with(meeting.Receive, meeting.SendReceive))
	flows(t, content, b, share)
	content.peer.SetCapabilities(with(meeting.SendReceive, meeting.Receive))
	if r.source("a"+meeting.ContentSuffix) != nil {
		t.Error("the share is still a source without the right to be")
	}
	unseen(t, content, b, share)
	// Back, after a negotiation.
	a.peer.SetCapabilities(everything)
	a.camera()
	a.film(true)
	eventually(t, "a as a source again", func() bool { return r.source("a") != nil })

	// One that may not receive from the start gets no track.
	c := r.join("c", func(s *meeting.PeerSpec) { s.Capabilities.Video = meeting.Send })
	c.receive(a.answer.Allocations[0].StreamID)
	if len(c.answer.Tracks) != 0 || c.answer.sections[2].direction != "inactive" {
		t.Errorf("c gets %v, its section is %s", c.answer.Tracks, c.answer.sections[2].direction)
	}
}

func TestNACKIsAnsweredByRetransmission(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	b := r.enter("b")
	b.vp8 = 120
	b.negotiate()
	b.connect()
	ssrc, rtx := b.track(watches(t, b, a))
	flows(t, a, b, ssrc)
	sent, lost := a.frame(false), make(chan *pionrtp.Packet, 1)
	drop := func(p *pionrtp.Packet) bool {
		if p.SSRC != ssrc || picture(p) != picture(sent) {
			return false
		}
		select {
		case lost <- p:
			return true
		default:
			return false
		}
	}
	b.lose.Store(&drop)
	a.send(sent)
	a.film(false)
	p := <-lost
	b.feedback(&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: ssrc, Nacks: []rtcp.NackPair{{PacketID: p.SequenceNumber}}})
	eventually(t, "the retransmission", func() bool { return b.count(rtx) > 0 })
	again := b.got(rtx)[0]
	if again.PayloadType != 121 || again.Timestamp != p.Timestamp || again.Marker != p.Marker {
		t.Errorf("the retransmission is of type %d at %d, not 121 at %d", again.PayloadType, again.Timestamp, p.Timestamp)
	}
	if n := binary.BigEndian.Uint16(again.Payload); n != p.SequenceNumber || !bytes.Equal(again.Payload[2:], p.Payload) {
		t.Errorf("the retransmission is of number %d, %x; not %d, %x", n, again.Payload[2:], p.SequenceNumber, p.Payload)
	}
}

func TestLossOfSenderIsRepaired(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	flows(t, a, b, ssrc)
	lost, next := a.frame(false), a.film(false)
	asked := func() bool {
		return slices.ContainsFunc(a.control(), func(p rtcp.Packet) bool {
			nack, ok := p.(*rtcp.TransportLayerNack)
			return ok && nack.MediaSSRC == a.sections[1].ssrc &&
				slices.ContainsFunc(nack.Nacks, func(x rtcp.NackPair) bool { return slices.Contains(x.PacketList(), lost.SequenceNumber) })
		})
	}
	eventually(t, "a NACK at a", asked)
	again := *lost
	again.SSRC, again.PayloadType, again.SequenceNumber = a.sections[1].rtx, a.vp8+1, 7
	again.Payload = append(binary.BigEndian.AppendUint16(nil, lost.SequenceNumber), lost.Payload...)
	a.send(&again)
	at := func(p *pionrtp.Packet) int { // of a picture, in the order in which b got them
		return slices.IndexFunc(b.got(ssrc), func(got *pionrtp.Packet) bool { return picture(got) == picture(p) })
	}
	eventually(t, "both pictures at b", func() bool { return at(lost) >= 0 && at(next) >= 0 })
	got := b.got(ssrc)
	if first, second := got[at(next)], got[at(lost)]; at(lost) < at(next) || second.SequenceNumber != first.SequenceNumber-1 {
		t.Errorf("what was lost is %d, picture %d at b; what follows it is %d, picture %d", second.SequenceNumber, at(lost), first.SequenceNumber, at(next))
	}
}

func TestTransportFeedback(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a")
	a.camera()
	for i := range 20 {
		p := a.frame(i == 0)
		_ = p.SetExtension(3, []byte{0, byte(100 + i)})
		a.send(p)
	}
	eventually(t, "transport-wide feedback on 20 packets", func() bool {
		n := 0
		for _, p := range a.control() {
			if cc, ok := p.(*rtcp.TransportLayerCC); ok {
				n += len(cc.RecvDeltas)
			}
		}
		return n >= 20
	})
}

func TestStalledSource(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	stalled := func(want bool) func([]meeting.VideoSource, []meeting.VideoCodec) bool {
		return func(sources []meeting.VideoSource, _ []meeting.VideoCodec) bool {
			return len(sources) == 1 && sources[0].Stalled == want
		}
	}
	r.isTold("a source that stalled", stalled(true))
	if s := r.source("a"); s == nil || !s.Stalled {
		t.Errorf("the source is %+v", s)
	}
	eventually(t, "SourcesChanged for a source that goes on", func() bool {
		a.film(false) // once may be long ago when somebody looks
		return r.tells(stalled(false))
	})
}

func TestReceiveCodecs(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	if got := r.conf.ReceiveCodecs(); got != nil {
		t.Errorf("codecs %v of nobody", got)
	}
	want := func(codecs ...meeting.VideoCodec) {
		t.Helper()
		if got := r.conf.ReceiveCodecs(); !slices.Equal(got, codecs) {
			t.Errorf("codecs %v, not %v", got, codecs)
		}
	}
	both := []meeting.VideoCodec{meeting.CodecVP8, meeting.CodecH264CBP, meeting.CodecVP9}
	a := r.join("a")
	want(both...)
	told := func(codecs ...meeting.VideoCodec) {
		t.Helper()
		r.isTold(fmt.Sprintf("codecs %v", codecs), func(_ []meeting.VideoSource, got []meeting.VideoCodec) bool { return slices.Equal(got, codecs) })
	}
	told(both...)
	b := r.enter("b")
	want(both...)
	b.sections[1].codecs = []string{"AV1", "VP8"}
	b.negotiate()
	b.connect()
	want(meeting.CodecVP8)
	told(meeting.CodecVP8)
	// A share receives nothing and has no say; nor has one without video sections.
	share := r.enter("a" + meeting.ContentSuffix)
	share.sections[1].codecs = []string{"H264"}
	share.negotiate()
	audio := r.enter("c")
	audio.sections = audio.sections[:1]
	audio.negotiate()
	want(meeting.CodecVP8)
	b.peer.Close()
	want(both...)
	told(both...)
	a.peer.Close()
	audio.peer.Close()
	want()
}

func TestSimulcast(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	a.sections[1].direction, a.sections[1].rids = "sendrecv", []string{"low", "hi"}
	a.sendVideo = []meeting.SendVideo{{Label: "l", MaxBitrateKbps: 200, Framerate: 15}, {Label: "h", MaxBitrateKbps: 1200, Framerate: 15}}
	a.negotiate()
	low, high := a.answer.Allocations[0], a.answer.Allocations[1]
	if low.GroupID != high.GroupID || low.StreamID >= high.StreamID || low.Label != "l" || high.Label != "h" {
		t.Fatalf("allocations %+v", a.answer.Allocations)
	}
	if got, _ := a.answer.sections[1].lines.Attribute("simulcast"); got != "recv low;hi" {
		t.Errorf("simulcast is answered %q", got)
	}
	// The layers are told apart by RID, on SSRCs that no SDP has named.
	layers := map[string]uint32{"low": newSSRC(), "hi": newSSRC()}
	send := func(rid string, key bool) {
		seq := a.next(layers[rid])
		p := &pionrtp.Packet{
			Header:  pionrtp.Header{Version: 2, Marker: true, PayloadType: a.vp8, SequenceNumber: seq, Timestamp: 6000 * uint32(seq), SSRC: layers[rid]},
			Payload: append(vp8(key, seq), rid...),
		}
		_ = p.SetExtension(10, []byte(rid))
		a.send(p)
	}
	eventually(t, "two layers as sources", func() bool {
		send("low", true)
		send("hi", true)
		return len(r.conf.Sources()) == 2
	})
	for i, s := range r.conf.Sources() {
		if want := a.answer.Allocations[i]; s.StreamID != want.StreamID || s.GroupID != want.GroupID || s.Label != want.Label || s.AttendeeID != "a" {
			t.Errorf("source %d is %+v, allocated as %+v", i, s, want)
		}
	}
	s := b.receive(low.StreamID)
	ssrc, _ := b.track(s)
	only := func(rid string) {
		t.Helper()
		eventually(t, "layer "+rid+" alone", func() bool {
			send("low", true)
			send("hi", true)
			time.Sleep(5 * time.Millisecond)
			got := b.got(ssrc)
			if len(got) < 5 {
				return false
			}
			return !slices.ContainsFunc(got[len(got)-5:], func(p *pionrtp.Packet) bool { return !bytes.HasSuffix(p.Payload, []byte(rid)) })
		})
	}
	only("low")
	b.peer.Switch(s.mid, high.StreamID)
	only("hi")
	b.peer.Switch(s.mid, low.StreamID)
	only("low")
	contiguous(t, b.got(ssrc))
	// Who has paused a tile does not get it back with another layer of it.
	b.peer.Pause([]uint32{low.StreamID})
	b.peer.Switch(s.mid, high.StreamID)
	settled(a, b)
	n := b.count(ssrc)
	for range 20 {
		send("low", true)
		send("hi", true)
	}
	settled(a, b)
	if more := b.count(ssrc) - n; more > 0 {
		t.Errorf("%d pictures came while it was paused", more)
	}
	b.peer.Resume([]uint32{high.StreamID})
	only("hi")
	// The high layer is switched off: its viewers get the low one.
	b.peer.Switch(s.mid, high.StreamID)
	only("hi")
	a.sendVideo[1].MaxBitrateKbps = 0
	a.negotiate()
	if again := a.answer.Allocations; again[0] != low || again[1] != high {
		t.Errorf("allocations %+v", again)
	}
	eventually(t, "the low layer instead", func() bool {
		send("low", true)
		time.Sleep(5 * time.Millisecond)
		got := b.got(ssrc)
		return bytes.HasSuffix(got[len(got)-1].Payload, []byte("low"))
	})
	if got := r.conf.Sources(); len(got) != 1 || got[0].StreamID != low.StreamID {
		t.Errorf("sources %+v", got)
	}
	contiguous(t, b.got(ssrc))
}

// Who stays for long sees many people come and go, each of them in a section of
// its own.
func TestManySectionsInTheLifeOfAConnection(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	stream := a.answer.Allocations[0].StreamID
	s := &section{kind: "video", direction: "recvonly", want: stream}
	b.sections = append(b.sections, s)
	seen := map[uint32]bool{}
	for i := range srtp.MaxStreams + 20 {
		s.mid = strconv.Itoa(2 + i) // browsers use the line again under another mid
		b.negotiate()
		ssrc, _ := b.track(s)
		if seen[ssrc] {
			t.Fatalf("SSRC %d is used again under the same keys", ssrc)
		}
		seen[ssrc] = true
		eventually(t, "a picture in section "+s.mid, func() bool {
			a.film(true) // again: a busy machine loses packets on loopback too
			return b.count(ssrc) > 0
		})
	}
	if b.bad > 0 {
		t.Errorf("%d packets could not be decrypted", b.bad)
	}
}

// What is offered above the limit is answered inactive, and the rest flows.
func TestTooManyReceivedVideos(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	for i := range meeting.MaxReceivedVideos + 1 {
		b.sections = append(b.sections, &section{
			mid: strconv.Itoa(2 + i), kind: "video", direction: "recvonly", want: a.answer.Allocations[0].StreamID,
		})
	}
	b.negotiate()
	if n := len(b.answer.Tracks); n != meeting.MaxReceivedVideos {
		t.Errorf("%d videos are given, want %d", n, meeting.MaxReceivedVideos)
	}
	last := b.answer.sections[len(b.answer.sections)-1]
	if last.direction != "inactive" {
		t.Errorf("the section above the limit is %s", last.direction)
	}
	ssrc, _ := b.track(b.sections[2])
	a.film(true)
	eventually(t, "a picture in a section within the limit", func() bool { return b.count(ssrc) > 0 })
}

func TestRoundTripToThePublisher(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.published("a")
	p := a.peer.(*Peer)
	eventually(t, "the round trip that reports on sound tell", func() bool {
		for _, pkt := range a.control() {
			if sr, ok := pkt.(*rtcp.SenderReport); ok && sr.SSRC == a.audio() {
				// As if it had come 300 ms ago.
				a.feedback(&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{
					SSRC: a.audio(), LastSenderReport: uint32(sr.NTPTime>>16) - 65536*3/10,
				}}})
			}
		}
		p.bridge.mu.Lock()
		defer p.bridge.mu.Unlock()
		return p.rtt >= int64(300*time.Millisecond) && p.rtt < int64(time.Minute)
	})
}
