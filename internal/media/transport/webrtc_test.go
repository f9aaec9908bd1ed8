package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// attribute is the first value of an a= line in a session description.
func attribute(sdp, name string) string {
	for line := range strings.Lines(sdp) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "a="+name+":"); ok {
			return v
		}
	}
	return ""
}

// A whole WebRTC client, with its own ICE agent, connects to us as a lite agent
// and talks both ways, in both DTLS roles.
func TestWebRTC(t *testing.T) {
	for _, tt := range []struct {
		setup   string // that our answer says
		profile dtls.SRTPProtectionProfile
	}{
		{SetupPassive, dtls.SRTP_AEAD_AES_128_GCM},
		{SetupActive, dtls.SRTP_AES128_CM_HMAC_SHA1_80},
	} {
		t.Run(tt.setup, func(t *testing.T) {
			m := newMux(t, Config{Sockets: 2})
			c, r := open(t, m)
			r.echo.Store(c)

			var se webrtc.SettingEngine
			se.SetICETimeouts(time.Minute, 5*time.Minute, 2*time.Second) // a machine that stands still is no broken path
			se.SetIncludeLoopbackCandidate(true)
			se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
			se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
			se.SetSRTPProtectionProfiles(tt.profile)
			var me webrtc.MediaEngine
			if err := me.RegisterDefaultCodecs(); err != nil {
				t.Fatal(err)
			}
			pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&me)).NewPeerConnection(webrtc.Configuration{})
			if err != nil {
				t.Fatal(err)
			}
			defer pc.GracefulClose()
			track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "audio")
			if err != nil {
				t.Fatal(err)
			}
			sender, err := pc.AddTrack(track)
			if err != nil {
				t.Fatal(err)
			}
			heard := make(chan []byte, 100)
			pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
				for {
					p, _, err := remote.ReadRTP()
					if err != nil {
						return
					}
					select {
					case heard <- p.Payload:
					default:
					}
				}
			})
			offer, err := pc.CreateOffer(nil)
			if err != nil {
				t.Fatal(err)
			}
			gathered := webrtc.GatheringCompletePromise(pc)
			if err := pc.SetLocalDescription(offer); err != nil {
				t.Fatal(err)
			}
			await(t, gathered, "the client's candidates")
			sdp := pc.LocalDescription().SDP
			remote := Parameters{
				Ufrag:       attribute(sdp, "ice-ufrag"),
				Pwd:         attribute(sdp, "ice-pwd"),
				Fingerprint: attribute(sdp, "fingerprint"),
				Setup:       attribute(sdp, "setup"),
			}
			if tt.setup == SetupActive {
				remote.Setup = SetupPassive
			}
			if err := c.SetRemote(remote); err != nil {
				t.Fatal(err)
			}
			local := c.Local()
			if local.Setup != tt.setup {
				t.Fatalf("our setup is %q", local.Setup)
			}
			// What the client sends comes back under its own SSRC.
			ssrc := sender.GetParameters().Encodings[0].SSRC
			answer := strings.Join([]string{
				"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=ice-lite",
				"m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 127.0.0.1", "a=mid:0",
				"a=ice-ufrag:" + local.Ufrag, "a=ice-pwd:" + local.Pwd,
				"a=fingerprint:" + local.Fingerprint, "a=setup:" + local.Setup,
				fmt.Sprintf("a=candidate:1 1 udp 2130706431 %s %d typ host", local.Candidates[0].Addr.Addr(), local.Candidates[0].Addr.Port()),
				"a=rtcp-mux", "a=sendrecv", "a=msid:audio audio", "a=rtpmap:111 opus/48000/2",
				fmt.Sprintf("a=ssrc:%d cname:echo", ssrc), "",
			}, "\r\n")
			if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
				t.Fatal(err)
			}
			await(t, r.connected, "Connected")
			speech := []byte{0xF8, 1, 2, 3, 4, 5}
			eventually(t, "speech in the client's ear", func() bool {
				if err := track.WriteSample(media.Sample{Data: speech, Duration: 20 * time.Millisecond}); err != nil {
					t.Fatal(err)
				}
				select {
				case got := <-heard:
					if !bytes.Equal(got, speech) {
						t.Fatalf("heard %x", got)
					}
					return true
				case <-time.After(20 * time.Millisecond):
					return false
				}
			})
			if c.Profile() == 0 || uint16(c.Profile()) != uint16(tt.profile) {
				t.Errorf("agreed on %v", c.Profile())
			}
			if m.Stats().ChecksAnswered.Load() == 0 || m.Stats().PathChanges.Load() != 0 {
				t.Errorf("%d checks, %d changes of the path", m.Stats().ChecksAnswered.Load(), m.Stats().PathChanges.Load())
			}
			if err := pc.GracefulClose(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			if reason := await(t, r.closed, "Closed"); reason != errPeerClosed.Error() {
				t.Errorf("closed because of %q", reason)
			}
		})
	}
}
