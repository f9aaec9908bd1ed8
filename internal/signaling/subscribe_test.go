package signaling

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// A SUBSCRIBE as the browser client sends it with a simulcast camera and one
// received video.
func cameraOn() *signalpb.SdkSubscribeFrame {
	layer := func(kbps uint32) *signalpb.SdkStreamDescriptor {
		return &signalpb.SdkStreamDescriptor{
			MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String(""), MaxBitrateKbps: proto.Uint32(kbps), Framerate: proto.Uint32(15),
		}
	}
	return &signalpb.SdkSubscribeFrame{
		Duplex:     signalpb.SdkStreamServiceType_DUPLEX.Enum(),
		SdpOffer:   proto.String(audioOffer),
		AudioHost:  proto.String("127.0.0.1:3478"),
		AudioMuted: proto.Bool(true),
		SendStreams: []*signalpb.SdkStreamDescriptor{
			{MediaType: signalpb.SdkStreamMediaType_AUDIO.Enum(), TrackLabel: proto.String("AmazonChimeExpressAudio"), MaxBitrateKbps: proto.Uint32(600)},
			layer(300), layer(0), layer(1200),
		},
		ReceiveStreamIds: []uint32{0, 9},
	}
}

func TestSubscribe(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		ack := w.subscribe(a, cameraOn())
		offer := w.peer("a").Offers()[0]
		want := meeting.Offer{
			SDP: audioOffer, Muted: true, Receive: []uint32{0, 9},
			SendVideo: []meeting.SendVideo{{MaxBitrateKbps: 300, Framerate: 15}, {Framerate: 15}, {MaxBitrateKbps: 1200, Framerate: 15}},
		}
		if d := cmp.Diff(want, offer); d != "" {
			t.Errorf("the offer that media got: %s", d)
		}
		wantAck := &signalpb.SdkSubscribeAckFrame{
			Duplex:    signalpb.SdkStreamServiceType_DUPLEX.Enum(),
			SdpAnswer: proto.String(signaltest.FakeAnswer + "1\r\n"),
			Tracks:    []*signalpb.SdkTrackMapping{{StreamId: proto.Uint32(9), Ssrc: proto.Uint32(2009), TrackLabel: proto.String("v_2")}},
		}
		for i := range uint32(3) {
			wantAck.Allocations = append(wantAck.Allocations, &signalpb.SdkStreamAllocation{TrackLabel: proto.String(""), StreamId: proto.Uint32(100 + i), GroupId: proto.Uint32(50)})
		}
		ack.Suback.CompressedSdpAnswer = nil
		if d := cmp.Diff(wantAck, ack.GetSuback(), protoTransform); d != "" {
			t.Errorf("SUBSCRIBE_ACK: %s", d)
		}
		// RX: what send_streams says does not count.
		off := cameraOn()
		off.Duplex = signalpb.SdkStreamServiceType_RX.Enum()
		w.subscribe(a, off)
		if got := w.peer("a").Offers()[1].SendVideo; len(got) != 0 {
			t.Errorf("RX still sends %v", got)
		}
		if n := len(w.confs.Last().Peers("id-a")); n != 1 {
			t.Errorf("%d media connections for one session", n)
		}
	})
}

// The dictionary of each direction is the text before; clients up to 3.18 use it
// for offers, later ones do not, and a new socket begins with none.
func TestCompressedSDP(t *testing.T) {
	for _, dictionary := range []bool{true, false} {
		inWorld(t, func(w *world) {
			for range 2 {
				a := w.join("a", 1)
				for i := range 4 {
					offer := audioOffer + "a=x-round:" + strings.Repeat("x", i) + "\r\n"
					ack := w.subscribe(a, &signalpb.SdkSubscribeFrame{CompressedSdpOffer: a.Compress(offer, dictionary)})
					offers := w.peer("a").Offers()
					if got := offers[len(offers)-1].SDP; got != offer {
						t.Fatalf("offer %d with dictionary %t came as %q", i, dictionary, got)
					}
					if !strings.HasPrefix(ack.GetSuback().GetSdpAnswer(), signaltest.FakeAnswer) {
						t.Fatalf("answer %q", ack.GetSuback().GetSdpAnswer())
					}
					if packed := len(ack.GetSuback().GetCompressedSdpAnswer()); packed == 0 || i > 0 && packed > 24 {
						t.Errorf("answer %d was packed into %d bytes", i, packed)
					}
				}
			}
		})
	}
}

func TestPlainAnswerForOneThatCannotUnpack(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.dial("a", signaltest.Options{})
		if _, _, err := a.JoinWith(w.ctx(), &signalpb.SdkJoinFrame{}); err != nil {
			t.Fatal(err)
		}
		ack := w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		if len(ack.GetSuback().GetCompressedSdpAnswer()) != 0 || ack.GetSuback().GetSdpAnswer() == "" {
			t.Errorf("got %v", ack)
		}
	})
}

func TestSubscribeRefusals(t *testing.T) {
	many := func(n int) (out []*signalpb.SdkStreamDescriptor) {
		for range n {
			out = append(out, &signalpb.SdkStreamDescriptor{})
		}
		return out
	}
	bomb := (&compressor{}).deflate("v=0\r\n" + strings.Repeat("a=0\r\n", maxSDP/5))
	tests := []struct {
		name   string
		sub    *signalpb.SdkSubscribeFrame
		media  error
		status uint32
		says   string
	}{
		{"no offer", &signalpb.SdkSubscribeFrame{}, nil, 400, "sdp_offer is missing"},
		{"big offer", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(strings.Repeat("x", maxSDP+1))}, nil, 400, "sdp_offer has 262145 bytes"},
		{"bomb", &signalpb.SdkSubscribeFrame{CompressedSdpOffer: bomb}, nil, 400, "unpacks to more than"},
		{"not DEFLATE", &signalpb.SdkSubscribeFrame{CompressedSdpOffer: []byte{0x78, 0x9c, 0xff, 1, 2, 3}}, nil, 400, "not DEFLATE"},
		{"DEFLATE of something else", &signalpb.SdkSubscribeFrame{CompressedSdpOffer: (&compressor{}).deflate("hello")}, nil, 400, "does not unpack to an SDP"},
		{"send streams", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), SendStreams: many(17)}, nil, 400, "send_streams has 17"},
		{"long label", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), SendStreams: []*signalpb.SdkStreamDescriptor{{TrackLabel: proto.String(strings.Repeat("l", 65))}}}, nil, 400, "track_label"},
		{"receive ids", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), ReceiveStreamIds: make([]uint32, 257)}, nil, 400, "receive_stream_ids has 257"},
		{"media does not understand", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)}, meeting.Errorf(meeting.CodeBadRequest, "m-line 3 is odd"), 400, "m-line 3 is odd"},
		{"media is full", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)}, meeting.Errorf(meeting.CodeUnavailable, "no room"), 503, "no room"},
		{"media is broken", &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)}, errors.New("disk 7 of host x"), 500, "internal error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				a := w.join("a", 1)
				w.confs.Last().Refuse(tt.media)
				ack, err := a.Subscribe(w.ctx(), tt.sub)
				if err != nil {
					t.Fatal(err)
				}
				if ack.GetError().GetStatus() != tt.status || !strings.Contains(ack.GetError().GetDescription(), tt.says) {
					t.Errorf("answered %v, want %d and %q", ack.GetError(), tt.status, tt.says)
				}
				if got := w.counter("bad_frames_total", "subscribe"); got != 1 {
					t.Errorf("counted %v times", got)
				}
				w.confs.Last().Refuse(nil)
				w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
				if err := b.Ping(w.ctx()); err != nil {
					t.Errorf("another session: %v", err)
				}
			})
		})
	}
}

func TestPauseResumeSwitch(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		for _, f := range []*signaltest.Frame{
			{Type: signalpb.SdkSignalFrame_PAUSE.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{9}}},
			{Type: signalpb.SdkSignalFrame_RESUME.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{9}}},
			{Type: signalpb.SdkSignalFrame_RESUME.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: make([]uint32, 257)}},
			{Type: signalpb.SdkSignalFrame_REMOTE_VIDEO_UPDATE.Enum(), RemoteVideoUpdate: &signalpb.SdkRemoteVideoUpdateFrame{
				AddedOrUpdatedVideoSubscriptions: []*signalpb.SdkVideoSubscriptionConfiguration{
					{Mid: proto.String("2"), StreamId: proto.Uint32(10)}, {Mid: proto.String("3"), Priority: proto.Uint32(7)},
				},
			}},
		} {
			if err := a.Send(f); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if d := cmp.Diff([]string{"pause [9]", "resume [9]", "switch 2 10", "prefer 3 7 0 1"}, w.peer("a").Calls()); d != "" {
			t.Errorf("media was told: %s", d)
		}
		// Steering without end is slowed, and the session goes on.
		start := time.Now()
		for range 400 {
			if err := a.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_RESUME.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{9}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Ping(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 3*time.Second {
			t.Errorf("400 key frames were to be had in %v", d)
		}
	})
}

func TestSubscribeIsPaced(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		start := time.Now()
		for range 40 {
			w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		}
		if d := time.Since(start); d < 3*time.Second {
			t.Errorf("40 negotiations in %v", d)
		}
	})
}

// What a small frame unpacks to is not held in memory beyond the limit.
func TestBombIsNotUnpacked(t *testing.T) {
	bomb := (&compressor{}).deflate("v=0\r\n" + strings.Repeat("a=0\r\n", 64<<20/5))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := (&compressor{}).inflate(bomb); meeting.CodeOf(err) != meeting.CodeBadRequest {
		t.Fatalf("got %v", err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("a bomb of %d bytes took %d bytes of memory", len(bomb), got)
	}
}
