package life

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	pionrtp "github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"

	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// person is a whole client: signaling, and media by WebRTC.
type person struct {
	t      *testing.T
	client *signaltest.Client
	pc     *webrtc.PeerConnection
	cable  *cable
	audio  *webrtc.TrackLocalStaticRTP
	video  *webrtc.TrackLocalStaticRTP

	once sync.Once
	quit chan struct{}
	work sync.WaitGroup
}

// cable is a person's UDP socket, which can be cut: then nothing passes.
type cable struct {
	net.PacketConn
	cut atomic.Bool
}

// WriteTo implements net.PacketConn.
func (c *cable) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// ReadFrom implements net.PacketConn.
func (c *cable) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.cut.Load() {
			return n, from, err
		}
	}
}

// join has somebody come into a meeting, talk and send video. content is for
// the content share of that attendee.
func join(t *testing.T, m *types.Meeting, a *types.Attendee, content, camera bool) *person {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &person{t: t, quit: make(chan struct{})}
	token := *a.JoinToken
	if content {
		token += meeting.ContentSuffix
	}
	var err error
	p.client, err = signaltest.Dial(within(t), *m.MediaPlacement.SignalingUrl, token, signaltest.Options{})
	check(err)
	t.Cleanup(p.end)
	_, _, err = p.client.Join(within(t), uint64(time.Now().UnixNano()))
	check(err)

	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(err)
	p.cable = &cable{PacketConn: socket}
	engine, settings := &webrtc.MediaEngine{}, webrtc.SettingEngine{}
	check(engine.RegisterDefaultCodecs())
	settings.SetICETimeouts(time.Minute, 5*time.Minute, 2*time.Second) // a machine that stands still is no broken path
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" || name == "lo0" })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(logging.NewDefaultLeveledLoggerForScope("ice", logging.LogLevelDisabled, io.Discard), p.cable))
	p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	check(err)
	add := func(mime, stream string) *webrtc.TrackLocalStaticRTP {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, "track-"+stream, stream)
		check(err)
		_, err = p.pc.AddTransceiverFromTrack(track)
		check(err)
		return track
	}
	p.audio, p.video = add(webrtc.MimeTypeOpus, "microphone"), add(webrtc.MimeTypeVP8, "camera")
	p.subscribe(camera)
	p.work.Go(p.talk)
	p.work.Go(p.ping)
	return p
}

// subscribe negotiates, with video or without.
func (p *person) subscribe(camera bool) {
	p.t.Helper()
	check := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	offer, err := p.pc.CreateOffer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	check(p.pc.SetLocalDescription(offer))
	<-gathered
	kbps := uint32(0)
	if camera {
		kbps = 600
	}
	ack, err := p.client.Subscribe(within(p.t), &signalpb.SdkSubscribeFrame{
		Duplex:   signalpb.SdkStreamServiceType_DUPLEX.Enum(),
		SdpOffer: proto.String(p.pc.LocalDescription().SDP),
		SendStreams: []*signalpb.SdkStreamDescriptor{{
			MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String("camera"),
			MaxBitrateKbps: proto.Uint32(kbps), Framerate: proto.Uint32(15),
		}},
		ReceiveStreamIds: []uint32{0},
	})
	check(err)
	if ack.Error != nil {
		p.t.Fatalf("SUBSCRIBE refused: %v", ack.Error)
	}
	check(p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: ack.GetSuback().GetSdpAnswer()}))
}

// talk sends sound and pictures until the end.
func (p *person) talk() {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for i := uint16(0); ; i++ {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		_ = p.audio.WriteRTP(&pionrtp.Packet{Header: pionrtp.Header{Version: 2, SequenceNumber: i, Timestamp: 1920 * uint32(i)}, Payload: []byte{0xf8, 0xff, 0xfe}})
		// A VP8 key frame of 320×180 (RFC 7741 4.2, RFC 6386 9.1).
		_ = p.video.WriteRTP(&pionrtp.Packet{Header: pionrtp.Header{Version: 2, Marker: true, SequenceNumber: i, Timestamp: 3600 * uint32(i)},
			Payload: []byte{0x10, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 320 & 0xFF, 320 >> 8, 180, 0, 1, 2, 3}})
	}
}

// ping keeps the signaling alive as clients do.
func (p *person) ping() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for id := uint32(1); ; id++ {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		if p.cable.cut.Load() {
			continue
		}
		_ = p.client.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
			PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: proto.Uint32(id)}})
	}
}

// leave says so first.
func (p *person) leave() {
	p.t.Helper()
	if err := p.client.Leave(within(p.t)); err != nil {
		p.t.Error(err)
	}
	p.end()
}

// end ends everything of this person on this side.
func (p *person) end() {
	p.once.Do(func() {
		close(p.quit)
		p.client.Cut()
		if p.pc != nil {
			_ = p.pc.GracefulClose()
			_ = p.cable.Close()
		}
		p.work.Wait()
	})
}
