package hostile

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// person is somebody honest: a whole WebRTC client that has joined, keeps its
// signaling alive, and hears or speaks.
type person struct {
	name   string
	client *signaltest.Client
	pc     *webrtc.PeerConnection

	microphone, camera *webrtc.TrackLocalStaticRTP
	level              uint8 // id of the header extension
	streamID           uint32

	said  atomic.Int64 // number of the last thing said
	heard atomic.Int64 // how many things were heard
	last  atomic.Int64 // number of the last one
	odd   atomic.Int64 // things heard out of their order
	asked atomic.Int64 // key frames asked for
	lost  atomic.Bool  // the connection was not up at a time

	roster map[uint32]bool // ids of alice and bob

	quit chan struct{}
	work sync.WaitGroup
}

// voice is the audio with a number. The number is how one is told from another.
func voice(n int64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{0xf8, 'v'}, uint64(n))
	return append(b, "this was said by alice"...)
}

func unvoice(b []byte) (int64, bool) {
	if len(b) != len(voice(0)) || b[1] != 'v' {
		return 0, false
	}
	n := int64(binary.BigEndian.Uint64(b[2:]))
	return n, slices.Equal(b, voice(n))
}

func (w *world) join(t *testing.T, name string) *person {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &person{name: name, quit: make(chan struct{}), roster: map[uint32]bool{}}
	attendee := w.attendee(t, w.meeting, name)
	var err error
	p.client, err = signaltest.Dial(within(t), w.signalingURL(), *attendee.JoinToken, signaltest.Options{HTTPClient: w.http})
	check(err)
	_, _, err = p.client.Join(within(t), 1)
	check(err)

	engine, registry, settings := &webrtc.MediaEngine{}, &interceptor.Registry{}, webrtc.SettingEngine{}
	check(engine.RegisterDefaultCodecs())
	check(engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: sdp.AudioLevelURI}, webrtc.RTPCodecTypeAudio))
	check(webrtc.RegisterDefaultInterceptors(engine, registry))
	settings.SetICETimeouts(time.Minute, 5*time.Minute, 2*time.Second) // a machine that stands still is no broken path
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" || name == "lo0" })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings)).
		NewPeerConnection(webrtc.Configuration{})
	check(err)
	up := make(chan struct{})
	var once sync.Once
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(up) })
			return
		}
		select {
		case <-up:
			p.lost.Store(true)
		default:
		}
	})
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.work.Go(func() { p.listen(track) }) })
	track := func(mime, stream string) (*webrtc.TrackLocalStaticRTP, *webrtc.RTPTransceiver) {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, "track-"+stream, stream)
		check(err)
		tr, err := p.pc.AddTransceiverFromTrack(track)
		check(err)
		return track, tr
	}
	var audio, video *webrtc.RTPTransceiver
	p.microphone, audio = track(webrtc.MimeTypeOpus, "microphone")
	p.camera, video = track(webrtc.MimeTypeVP8, "camera")

	offer, err := p.pc.CreateOffer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	check(p.pc.SetLocalDescription(offer))
	<-gathered
	ack, err := p.client.Subscribe(within(t), &signalpb.SdkSubscribeFrame{
		Duplex:   signalpb.SdkStreamServiceType_DUPLEX.Enum(),
		SdpOffer: proto.String(p.pc.LocalDescription().SDP),
		SendStreams: []*signalpb.SdkStreamDescriptor{{
			MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String("camera"),
			MaxBitrateKbps: proto.Uint32(600), Framerate: proto.Uint32(15),
		}},
		ReceiveStreamIds: []uint32{0},
	})
	check(err)
	if ack.Error != nil {
		t.Fatalf("%s: SUBSCRIBE refused: %v", name, ack.Error)
	}
	p.streamID = ack.GetSuback().GetAllocations()[0].GetStreamId()
	check(p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: ack.GetSuback().GetSdpAnswer()}))
	select {
	case <-up:
	case <-time.After(patience):
		t.Fatalf("%s's media is not up", name)
	}
	for _, x := range audio.Sender().GetParameters().HeaderExtensions {
		if x.URI == sdp.AudioLevelURI {
			p.level = uint8(x.ID)
		}
	}
	if p.level == 0 {
		t.Fatal("no audio level was negotiated")
	}
	p.work.Go(func() { p.watch(video.Sender()) })
	p.work.Go(p.ping)
	t.Cleanup(func() {
		close(p.quit)
		_ = video.Sender().Stop()
		check(p.pc.GracefulClose())
		p.work.Wait()
		p.client.Close()
	})
	return p
}

// listen reads what the others say.
func (p *person) listen(track *webrtc.TrackRemote) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		n, ok := unvoice(packet.Payload)
		if !ok {
			continue
		}
		if n <= p.last.Load() {
			p.odd.Add(1)
		}
		p.last.Store(n)
		p.heard.Add(1)
	}
}

// watch counts the key frames that are asked for.
func (p *person) watch(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, x := range packets {
			switch x.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.asked.Add(1)
			}
		}
	}
}

// ping keeps the signaling alive as clients do.
func (p *person) ping() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for id := uint32(1 << 20); ; id++ {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		_ = p.client.Send(&signaltest.Frame{
			Type:     signalpb.SdkSignalFrame_PING_PONG.Enum(),
			PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: proto.Uint32(id)},
		})
	}
}

// talk sends voice and pictures until the test ends.
func (p *person) talk() {
	p.work.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := int64(1); ; i++ {
			select {
			case <-p.quit:
				return
			case <-tick.C:
			}
			sound := &pionrtp.Packet{Header: pionrtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: 960 * uint32(i)}, Payload: voice(i)}
			_ = sound.SetExtension(p.level, []byte{0x80 | 20})
			_ = p.microphone.WriteRTP(sound)
			p.said.Store(i)
			_ = p.camera.WriteRTP(&pionrtp.Packet{
				Header:  pionrtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(i), Timestamp: 1800 * uint32(i)},
				Payload: picture(i%50 == 1, uint16(i)),
			})
		}
	})
}

// picture is a VP8 payload with descriptor (RFC 7741 4.2) and frame header (RFC
// 6386 9.1) of 320×180.
func picture(key bool, number uint16) []byte {
	b := []byte{0x90, 0x80, 0x80 | byte(number>>8), byte(number)}
	if key {
		b = append(b, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 320&0xFF, 320>>8, 180, 0)
	} else {
		b = append(b, 0x11, 0x02, 0x00)
	}
	return append(b, fmt.Sprintf("the picture with number %d", number)...)
}

// check says what has gone wrong for this person so far.
func (p *person) check(t *testing.T) {
	t.Helper()
	if p.lost.Load() {
		t.Errorf("%s's media connection was interrupted", p.name)
	}
	if n := p.odd.Load(); n != 0 {
		t.Errorf("%s heard %d things out of order or twice", p.name, n)
	}
	for _, f := range p.client.Take(signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO) {
		for _, s := range f.GetAudioStreamIdInfo().GetStreams() {
			switch {
			case s.AttendeeId != nil && (s.GetExternalUserId() == "alice" || s.GetExternalUserId() == "bob"):
				p.roster[s.GetAudioStreamId()] = true
			case s.AttendeeId == nil && s.Muted == nil && p.roster[s.GetAudioStreamId()]:
				t.Errorf("%s was told that alice or bob left", p.name)
			}
		}
	}
	for _, f := range p.client.Take(signalpb.SdkSignalFrame_AUDIO_STATUS) {
		t.Errorf("%s was told %v", p.name, f)
	}
}
