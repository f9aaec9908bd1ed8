package sdp

import (
	"testing"

	"github.com/pion/webrtc/v4"
)

// Another implementation makes the offers and has to take the answers.
func TestPionTakesTheAnswers(t *testing.T) {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	}()
	add := func(kind webrtc.RTPCodecType, d webrtc.RTPTransceiverDirection) *webrtc.RTPTransceiver {
		t.Helper()
		x, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: d})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	negotiate := func() *Offer {
		t.Helper()
		offer, err := pc.CreateOffer(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := pc.SetLocalDescription(offer); err != nil {
			t.Fatal(err)
		}
		o := parse(t, offer.SDP)
		text := reply(o).Text()
		if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
			t.Fatalf("SetRemoteDescription: %v\n%s", err, text)
		}
		return o
	}

	audio := add(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverDirectionSendrecv)
	camera := add(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverDirectionSendrecv)
	negotiate()
	for _, x := range []*webrtc.RTPTransceiver{audio, camera} {
		if len(x.Sender().GetParameters().Codecs) == 0 {
			t.Errorf("%v agreed on no codec", x.Kind())
		}
	}

	add(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverDirectionRecvonly)
	removed := add(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverDirectionRecvonly)
	if o := negotiate(); len(o.Sections) != 4 {
		t.Errorf("%d sections", len(o.Sections))
	}
	if err := removed.Stop(); err != nil {
		t.Fatal(err)
	}
	negotiate()
	if got := pc.SignalingState(); got != webrtc.SignalingStateStable {
		t.Errorf("signaling state %v", got)
	}
}
