package media

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"belfry/internal/meeting"
)

// browser is a whole WebRTC client: pion's PeerConnection with all that comes
// with it by default (NACK, reports, transport-wide feedback).
type browser struct {
	t    testing.TB
	pc   *webrtc.PeerConnection
	peer meeting.Peer
	ev   *events

	mu     sync.Mutex
	tracks map[string][]*pionrtp.Packet // by stream id of the track
	work   sync.WaitGroup
}

func (r *room) browse(id string) *browser {
	r.t.Helper()
	check := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	engine, registry, settings := &webrtc.MediaEngine{}, &interceptor.Registry{}, webrtc.SettingEngine{}
	check(engine.RegisterDefaultCodecs())
	check(webrtc.RegisterDefaultInterceptors(engine, registry))
	settings.SetICETimeouts(time.Minute, 5*time.Minute, 2*time.Second) // a machine that stands still is no broken path
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" || name == "lo0" })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings)).
		NewPeerConnection(webrtc.Configuration{})
	check(err)
	b := &browser{t: r.t, pc: pc, ev: &events{closed: make(chan string, 4)}, tracks: make(map[string][]*pionrtp.Packet)}
	b.peer, err = r.conf.Join(meeting.PeerSpec{AttendeeID: id, Capabilities: everything}, b.ev)
	check(err)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		b.work.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				b.mu.Lock()
				b.tracks[track.StreamID()] = append(b.tracks[track.StreamID()], p)
				b.mu.Unlock()
			}
		})
	})
	r.t.Cleanup(func() {
		check(pc.GracefulClose())
		b.work.Wait()
		b.peer.Close()
	})
	return b
}

// negotiate makes a round of offer and answer.
func (b *browser) negotiate(send []meeting.SendVideo, receive ...uint32) meeting.Answer {
	b.t.Helper()
	offer, err := b.pc.CreateOffer(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(b.pc)
	if err := b.pc.SetLocalDescription(offer); err != nil {
		b.t.Fatal(err)
	}
	<-gathered
	got, err := b.peer.Negotiate(meeting.Offer{SDP: b.pc.LocalDescription().SDP, SendVideo: send, Receive: receive})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: got.SDP}); err != nil {
		b.t.Fatalf("the client does not take the answer: %v\n%s", err, got.SDP)
	}
	return got
}

func (b *browser) got(streamID string) []*pionrtp.Packet {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.tracks[streamID])
}

func (b *browser) track(mime, stream string) (*webrtc.TrackLocalStaticRTP, *webrtc.RTPTransceiver) {
	b.t.Helper()
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, "track-"+stream, stream)
	if err != nil {
		b.t.Fatal(err)
	}
	tr, err := b.pc.AddTransceiverFromTrack(track)
	if err != nil {
		b.t.Fatal(err)
	}
	return track, tr
}

func TestPeerConnections(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.browse("a"), r.browse("b")
	microphone, _ := a.track(webrtc.MimeTypeOpus, "microphone")
	camera, sender := a.track(webrtc.MimeTypeVP8, "camera")
	answer := a.negotiate([]meeting.SendVideo{{Label: "camera", MaxBitrateKbps: 600, Framerate: 15}}, 0)
	b.track(webrtc.MimeTypeOpus, "microphone")
	b.negotiate(nil)
	for _, x := range []*browser{a, b} {
		eventually(t, "MediaConnected", func() bool { return x.ev.connected.Load() == 1 })
	}

	// No level is negotiated by pion: what is loud is found by decoding.
	voice := spoken("a")
	if r.server.codec.Available() {
		voice = tone(t, 700)
	}
	quit := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for i := uint16(1); ; i++ {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			_ = microphone.WriteRTP(&pionrtp.Packet{Header: pionrtp.Header{Version: 2, SequenceNumber: i, Timestamp: 960 * uint32(i)}, Payload: voice(int(i))})
			_ = camera.WriteRTP(&pionrtp.Packet{Header: pionrtp.Header{Version: 2, Marker: true, SequenceNumber: i, Timestamp: 1800 * uint32(i)}, Payload: vp8(i%25 == 1, i)})
		}
	})
	defer work.Wait()
	defer close(quit)
	requests := make(chan struct{}, 100)
	work.Go(func() {
		for {
			packets, _, err := sender.Sender().ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range packets {
				if _, ok := p.(*rtcp.PictureLossIndication); ok {
					requests <- struct{}{}
				}
			}
		}
	})
	defer sender.Sender().Stop()

	eventually(t, "a's voice at b", func() bool {
		return slices.ContainsFunc(b.got("audio"), func(p *pionrtp.Packet) bool { return bytes.Equal(p.Payload, voice(30)) })
	})
	eventually(t, "the source", func() bool { return r.source("a") != nil })
	tr, err := b.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
	if err != nil {
		t.Fatal(err)
	}
	got := b.negotiate(nil, answer.Allocations[0].StreamID)
	label := "v_" + tr.Mid()
	if len(got.Tracks) != 1 || got.Tracks[0].Label != label {
		t.Fatalf("tracks %+v, section %s", got.Tracks, tr.Mid())
	}
	eventually(t, "50 pictures at b", func() bool { return len(b.got(label)) >= 50 })
	for i, p := range b.got(label) {
		if p.SSRC != got.Tracks[0].SSRC || !bytes.Contains(p.Payload, []byte("the picture with number")) {
			t.Fatalf("picture %d has SSRC %d and is %q", i, p.SSRC, p.Payload)
		}
	}
	select {
	case <-requests:
	case <-time.After(patience):
		t.Error("a was not asked for a key frame")
	}
}
