// Package plain is a small forwarding server as the examples of pion/webrtc teach
// it: what each publisher sends is read from its TrackRemote and written to a
// TrackLocalStaticRTP, with the default interceptors and one UDP port. It is
// there to be compared with, and is kept honest: nothing in it is slower than a
// reader of those examples would write it.
package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// Server forwards everybody's video and sound to everybody else of the same room. It is an
// http.Handler: POST /?room=…&person=… with an offer gets an answer.
type Server struct {
	api    *webrtc.API
	socket net.PacketConn

	mu    sync.Mutex
	rooms map[string]map[string]*person
}

type person struct {
	pc   *webrtc.PeerConnection
	sent map[*webrtc.TrackLocalStaticRTP]bool // to this person

	tracks []*webrtc.TrackLocalStaticRTP // from this person
	source webrtc.SSRC                   // of the video
}

// New makes a Server that speaks media on a UDP socket.
func New(socket net.PacketConn) (*Server, error) {
	media, interceptors, settings := &webrtc.MediaEngine{}, &interceptor.Registry{}, webrtc.SettingEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, fmt.Errorf("register codecs: %w", err)
	}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, fmt.Errorf("register interceptors: %w", err)
	}
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	settings.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings))
	return &Server{api: api, socket: socket, rooms: map[string]map[string]*person{}}, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		return // it is up
	}
	var answer string
	offer, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		answer, err = s.negotiate(r.URL.Query().Get("room"), r.URL.Query().Get("person"), string(offer))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, answer)
}

func (s *Server) negotiate(room, name, offer string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	people := s.rooms[room]
	if people == nil {
		people = map[string]*person{}
		s.rooms[room] = people
	}
	p := people[name]
	if p == nil {
		pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
		if err != nil {
			return "", fmt.Errorf("make a peer connection: %w", err)
		}
		p = &person{pc: pc, sent: map[*webrtc.TrackLocalStaticRTP]bool{}}
		people[name] = p
		pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { s.forward(p, t) })
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("take the offer: %w", err)
	}
	for _, other := range people {
		if other == p {
			continue
		}
		for _, track := range other.tracks {
			if p.sent[track] {
				continue
			}
			p.sent[track] = true
			sender, err := p.pc.AddTrack(track)
			if err != nil {
				return "", fmt.Errorf("add a track: %w", err)
			}
			go relayRequests(sender, other)
		}
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("make the answer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("set the answer: %w", err)
	}
	<-gathered
	for _, other := range people {
		other.wantKeyFrame() // for who came
	}
	return p.pc.LocalDescription().SDP, nil
}

// forward is the whole work of the server.
func (s *Server) forward(p *person, t *webrtc.TrackRemote) {
	local, err := webrtc.NewTrackLocalStaticRTP(t.Codec().RTPCodecCapability, t.Kind().String(), "stream-"+fmt.Sprint(t.SSRC()))
	if err != nil {
		return
	}
	s.mu.Lock()
	p.tracks = append(p.tracks, local)
	if t.Kind() == webrtc.RTPCodecTypeVideo {
		p.source = t.SSRC()
	}
	s.mu.Unlock()
	for {
		packet, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		_ = local.WriteRTP(packet) // fails for those who are not connected yet or any more
	}
}

// relayRequests reads what the receiver of a track says, which the interceptors
// live on, and passes requests for key frames on.
func relayRequests(sender *webrtc.RTPSender, from *person) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			if _, ok := p.(*rtcp.PictureLossIndication); ok {
				from.wantKeyFrame()
			}
		}
	}
}

func (p *person) wantKeyFrame() {
	if p.source != 0 {
		_ = p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(p.source)}})
	}
}

// Close ends everybody.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, people := range s.rooms {
		for _, p := range people {
			errs = append(errs, p.pc.GracefulClose())
		}
	}
	return errors.Join(append(errs, s.socket.Close())...)
}

// Serve runs a Server at an address, for HTTP and for media, until ctx ends.
func Serve(ctx context.Context, addr string) error {
	socket, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return fmt.Errorf("listen for media: %w", err)
	}
	s, err := New(socket)
	if err != nil {
		return err
	}
	h := &http.Server{Addr: addr, Handler: s}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	err = h.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.Close())
}
