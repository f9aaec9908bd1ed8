package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"belfry/internal/bench/check"
)

// offerer is a full agent of ICE that offers one video, under numbers that are
// not those of our own offers.
func offerer(t *testing.T) (*webrtc.PeerConnection, *webrtc.TrackLocalStaticRTP) {
	t.Helper()
	var media webrtc.MediaEngine
	vp8 := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}}}
	err := errors.Join(
		media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: vp8, PayloadType: 111}, webrtc.RTPCodecTypeVideo),
		media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX,
			ClockRate: 90000, SDPFmtpLine: "apt=111"}, PayloadType: 96}, webrtc.RTPCodecTypeVideo))
	if err != nil {
		t.Fatal(err)
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(net.IP.IsLoopback)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pc.GracefulClose(); err != nil {
			t.Error(err)
		}
	})
	track, err := webrtc.NewTrackLocalStaticRTP(vp8, "video", "camera")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTrack(track); err != nil {
		t.Fatal(err)
	}
	return pc, track
}

// A server that offers, and that checks by itself, is answered.
func TestAnswersAnOffer(t *testing.T) {
	pc, track := offerer(t)
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	window := check.NewWindow()
	window.First.Store(0)
	c, err := New(Config{IP: "127.0.0.1", Identity: id, Windows: func(uint32) *check.Window { return window }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := pc.LocalDescription().SDP
	answer, err := c.Answer(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("%v in\n%s", err, answer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Connect(ctx, text); err != nil {
		t.Fatal(err)
	}
	number := uint64(0)
	eventually(t, "ten packets", func() bool {
		payload := make([]byte, 200)
		check.Stamp(payload, 100, 7, number, Now())
		p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(number), Timestamp: uint32(number * 3000)}, Payload: payload}
		if err := track.WriteRTP(p); err == nil {
			number++
		}
		return c.Result().Video.Received >= 10
	})
	if r := c.Result(); r.Video.Corrupt+r.Video.Duplicates+r.Stats.Refused > 0 || r.Stats.AudioPackets > 0 {
		t.Errorf("got %+v", r)
	}
}

func TestAnswerWantsAnOffer(t *testing.T) {
	transport := "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 AA\r\na=setup:actpass\r\na=candidate:1 1 UDP 1 192.0.2.1 5000 typ host\r\n"
	video := "m=video 9 UDP/TLS/RTP/SAVPF 100 101\r\na=mid:v\r\na=sendonly\r\na=rtpmap:100 VP8/90000\r\na=rtpmap:101 rtx/90000\r\na=extmap:9/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
	for text, want := range map[string]string{
		transport + video: "",
		transport:         "no sections",
		video:             "no IPv4 candidate",
		transport + strings.ReplaceAll(video, "VP8", "VP7"):             "no codec",
		transport + strings.ReplaceAll(video, "m=video", "m=text"):      `a section of "text"`,
		transport + strings.ReplaceAll(video, "rtpmap:100", "rtpmap:x"): "rtpmap:x",
	} {
		c := &Client{numbers: ours}
		var err error
		if want != "" { // else it would need a socket
			_, err = c.Answer(text)
		} else {
			var list []Section
			list, c.numbers, err = readOffer(text)
			if fmt.Sprint(list) != "[{video v recvonly}]" || c.numbers != (numbers{vp8: 100, rtx: 101, mid: 9}) {
				t.Errorf("%v, %+v", list, c.numbers)
			}
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadOffer(f *testing.F) {
	f.Add("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = readRemote(text)
		if list, n, err := readOffer(text); err == nil {
			for _, s := range list {
				if s.Kind == "video" && n.vp8 == 0 || s.Kind == "audio" && n.opus == 0 {
					t.Errorf("%+v without a codec: %+v", s, n)
				}
			}
		}
	})
}
