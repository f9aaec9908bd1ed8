package signaling

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

func video(attendee string, stream, group uint32) meeting.VideoSource {
	return meeting.VideoSource{AttendeeID: "id-" + attendee, StreamID: stream, GroupID: group, MaxBitrateKbps: 1400, Framerate: 15, AvgBitrateBps: 900_000}
}

// streams lists the stream ids of the INDEX frames a client was sent and has not
// looked at yet.
func streams(c *signaltest.Client) [][]uint32 {
	synctest.Wait()
	var out [][]uint32
	for _, f := range c.Take(signalpb.SdkSignalFrame_INDEX) {
		ids := []uint32{}
		for _, d := range f.GetIndex().GetSources() {
			ids = append(ids, d.GetStreamId())
		}
		out = append(out, ids)
	}
	return out
}

func wantStreams(t *testing.T, who string, c *signaltest.Client, want ...[]uint32) {
	t.Helper()
	if d := cmp.Diff(want, streams(c)); d != "" {
		t.Errorf("%s: streams in INDEX (-want +got): %s", who, d)
	}
}

// settle lets the changes so far become INDEX frames and forgets those.
func settle(clients ...*signaltest.Client) {
	time.Sleep(time.Second)
	for _, c := range clients {
		streams(c)
	}
}

func TestIndex(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, c := w.enter("a", 1), w.enter("b", 2), w.enter("c", 3)
		settle(a, b, c)
		start := time.Now()
		source := video("a", 9, 3)
		source.Label, source.Width, source.Height, source.Stalled = "AmazonChimeExpressVideo", 1280, 720, true
		w.confs.Last().SetSources([]meeting.VideoCodec{meeting.CodecVP8, meeting.CodecH264CBP}, source)
		f, err := b.AwaitType(w.ctx(), signalpb.SdkSignalFrame_INDEX)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 120*time.Millisecond {
			t.Errorf("INDEX after %v", d)
		}
		want := &signalpb.SdkIndexFrame{
			AtCapacity: proto.Bool(false), NumParticipants: proto.Uint32(3), PausedAtSourceIds: []uint32{9},
			SupportedReceiveCodecIntersection: []signalpb.SdkVideoCodecCapability{signalpb.SdkVideoCodecCapability_VP8, signalpb.SdkVideoCodecCapability_H264_CONSTRAINED_BASELINE_PROFILE},
			Sources: []*signalpb.SdkStreamDescriptor{{
				StreamId: proto.Uint32(9), GroupId: proto.Uint32(3), Framerate: proto.Uint32(15), MaxBitrateKbps: proto.Uint32(1400),
				AvgBitrateBps: proto.Uint32(900_000), TrackLabel: proto.String("AmazonChimeExpressVideo"), AttendeeId: proto.String("id-a"),
				ExternalUserId: proto.String("ext-a"), MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(),
				Width: proto.Uint32(1280), Height: proto.Uint32(720),
			}},
		}
		if d := cmp.Diff(want, f.GetIndex(), protoTransform); d != "" {
			t.Errorf("INDEX (-want +got): %s", d)
		}
		wantStreams(t, "c", c, []uint32{9})
		wantStreams(t, "the sender, who only hears of the codecs", a, []uint32{})
		late := w.dial("d", signaltest.Options{})
		_, index, err := late.Join(w.ctx(), 4)
		if err != nil {
			t.Fatal(err)
		}
		if len(index.GetIndex().GetSources()) != 1 || index.GetIndex().GetNumParticipants() != 4 {
			t.Errorf("the first INDEX of one who comes later: %v", index)
		}
		w.confs.Last().SetSources(nil)
		settle(a)
		wantStreams(t, "b after the camera went off", b, []uint32{})
		share := w.enter("b#content", 5)
		w.confs.Last().SetSources(nil, video("b#content", 30, 9))
		settle(share)
		if err := share.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		settle(a)
		wantPresence := []string{
			"Authorized id-a", "Joined id-a", "Authorized id-b", "Joined id-b", "Authorized id-c", "Joined id-c",
			"VideoStarted id-a", "Authorized id-d", "VideoStopped id-a",
			"ContentJoined id-b", "ContentVideoStarted id-b", "ContentVideoStopped id-b", "ContentLeft id-b",
		}
		if d := cmp.Diff(wantPresence, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

// Video that comes before its sender counts as present starts when it joins.
func TestVideoStartsAfterJoining(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		w.confs.Last().SetSources(nil, video("a", 9, 3))
		time.Sleep(time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"Authorized id-a"}, w.events.list()); d != "" {
			t.Errorf("before it joined: %s", d)
		}
		w.peer("a").Flow(true)
		w.peer("a").Events.AudioArrived()
		time.Sleep(time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"Authorized id-a", "Joined id-a", "VideoStarted id-a"}, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

// Clients 3.4 to 3.14 announce their camera with no bitrate, and choose one at
// the INDEX that follows.
func TestIndexAfterCameraWithoutBitrate(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		settle(a, b)
		camera := func(kbps uint32) *signalpb.SdkSubscribeFrame {
			return &signalpb.SdkSubscribeFrame{
				Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), SdpOffer: proto.String(audioOffer),
				SendStreams: []*signalpb.SdkStreamDescriptor{
					{MediaType: signalpb.SdkStreamMediaType_AUDIO.Enum(), MaxBitrateKbps: proto.Uint32(600)},
					{MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String("camera"), MaxBitrateKbps: proto.Uint32(kbps)},
				},
			}
		}
		w.subscribe(a, camera(0))
		wantStreams(t, "who sends", a, []uint32{})
		wantStreams(t, "another", b)
		w.subscribe(a, camera(1400))
		wantStreams(t, "who sends with a bitrate", a)
	})
}

func TestIndexGathersChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		settle(a, b)
		conf := w.confs.Last()
		for i := range uint32(20) {
			conf.SetSources(nil, video("a", 9+i, 3+i))
			time.Sleep(5 * time.Millisecond)
		}
		settle(a)
		wantStreams(t, "b", b, []uint32{28})
		measured := video("a", 28, 22)
		measured.AvgBitrateBps = 1
		conf.SetSources(nil, measured) // only a measurement: no news
		settle(a)
		wantStreams(t, "b after a measurement", b)
	})
}

func TestIndexHidesWhatIsNotToBeWatched(t *testing.T) {
	off := video("b", 30, 7)
	off.MaxBitrateKbps = 0
	noVideo, noContent, noSending := meeting.DefaultCapabilities, meeting.DefaultCapabilities, meeting.DefaultCapabilities
	noVideo.Video, noVideo.Content = meeting.Send, meeting.SendReceive
	noContent.Content = meeting.Send
	noSending.Video = meeting.Receive
	inWorld(t, func(w *world) {
		w.addAttendee("v", noVideo)
		w.addAttendee("w", noContent)
		w.addAttendee("x", noSending)
		a, b, v, x, noc := w.enter("a", 1), w.enter("b", 2), w.enter("v", 3), w.enter("x", 4), w.enter("w", 5)
		share := w.enter("a#content", 6)
		settle(a, b, v, x, noc, share)
		w.confs.Last().SetSources(nil,
			video("a", 10, 4), video("a", 12, 5), // a republished; the old group is not gone yet
			video("a#content", 14, 6), off, video("x", 16, 8), video("nobody", 18, 9))
		time.Sleep(time.Second)
		wantStreams(t, "a: not itself, not its share", a)
		wantStreams(t, "b", b, []uint32{12, 14})
		wantStreams(t, "v, without video", v, []uint32{14})
		wantStreams(t, "w, without content", noc, []uint32{12})
		wantStreams(t, "a share", share)
	})
}

// In a big meeting a join is one roster entry to each, and no INDEX.
func TestJoinsDoNotFloodIndex(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.enter("a", 1)
		var others []*signaltest.Client
		for i := range 20 {
			name := string(rune('e' + i))
			w.addAttendee(name, meeting.DefaultCapabilities)
			others = append(others, w.enter(name, uint64(10+i)))
			time.Sleep(300 * time.Millisecond)
		}
		var numbers []uint32
		for _, f := range first.Take(signalpb.SdkSignalFrame_INDEX) {
			numbers = append(numbers, f.GetIndex().GetNumParticipants())
		}
		if d := cmp.Diff([]uint32{2, 3}, numbers); d != "" {
			t.Errorf("num_participants that the first one was told: %s", d)
		}
		for _, c := range others {
			streams(c)
		}
		// What is the same for all is encoded once: the very same bytes.
		w.confs.Last().SetSources(nil, video("a", 9, 3))
		settle()
		var want []byte
		for i, c := range others {
			raw := c.Raw()
			last := raw[len(raw)-1]
			if want == nil {
				want = last
			}
			if !bytes.Equal(want, last) {
				t.Errorf("client %d got another INDEX", i)
			}
		}
	})
}

func TestBitrates(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		share := w.enter("a#content", 3)
		time.Sleep(20 * time.Second)
		if n := len(b.Take(signalpb.SdkSignalFrame_BITRATES)); n != 0 {
			t.Errorf("%d BITRATES frames without video", n)
		}
		stalled, unknown := video("b", 11, 5), video("c", 12, 6)
		stalled.Stalled, unknown.AvgBitrateBps = true, 0
		w.confs.Last().SetSources(nil, video("b", 10, 4), stalled, unknown, video("a", 9, 3))
		time.Sleep(9 * time.Second)
		got := b.Take(signalpb.SdkSignalFrame_BITRATES)
		if len(got) != 2 {
			t.Fatalf("%d BITRATES frames in 9 s", len(got))
		}
		want := []*signalpb.SdkBitrate{
			{SourceStreamId: proto.Uint32(9), AvgBitrateBps: proto.Uint32(900_000)},
			{SourceStreamId: proto.Uint32(10), AvgBitrateBps: proto.Uint32(900_000)},
		}
		if d := cmp.Diff(want, got[1].GetBitrates().GetBitrates(), protoTransform); d != "" {
			t.Error(d)
		}
		if n := len(share.Take(signalpb.SdkSignalFrame_BITRATES)); n != 0 {
			t.Errorf("a share got %d", n)
		}
		_ = a
	})
}
