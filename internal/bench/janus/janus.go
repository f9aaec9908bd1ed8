// Package janus starts Debian's Janus and speaks its WebSocket API, so that the
// same clients can be put on it as on our server. It has the two plugins that do
// what a meeting does: VideoRoom, which forwards, and AudioBridge, which mixes.
//
//	s, err := janus.Start(ctx, janus.Config{IP: netns.Address, CPU: -1})
//	defer s.Close()
//	room, err := s.VideoRoom(ctx, publishers)
//	h, answer, err := s.Publish(ctx, room, "me", c.Offer(sections)) // then c.Connect(ctx, answer)
//	feeds, err := s.Feeds(ctx, room)
//	h, offer, err := s.Subscribe(ctx, room, feeds)                 // here Janus offers:
//	answer, err := c.Answer(offer); h.Answer(ctx, room, answer)    // then c.Connect(ctx, offer)
//	bridge, err := s.AudioBridge(ctx)
//	h, answer, err := s.Speak(ctx, bridge, "me", c.Offer(sections)) // sound both ways
//
// Janus skips the loopback interface, so it runs in a namespace of package netns.
// A publisher and a subscriber are different peer connections, so a person who
// sends and watches is two Clients. With Config.Full it is a full agent of ICE, as
// it is by default, else an ICE-lite one, which is cheaper and what servers want.
package janus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"belfry/internal/bench/process"
)

// Config is how Janus runs. What is not here is as Debian's package has it.
type Config struct {
	Program string // "janus" when empty
	IP      string // the address of its media, which is not 127.0.0.1
	CPU     int    // the processor that it may run on; negative: any
	Full    bool   // a full agent of ICE
	Loops   int    // threads for media, which all handles share; 0: 2
	Listen  string // the address of its WebSocket API; empty: 127.0.0.1
}

// Server is a Janus that runs.
type Server struct {
	ip      string
	url     string
	dir     string
	process *process.Process
	*session
	video, audio *Handle // for requests that are of no peer connection
}

// files are its settings: the transports and plugins that are not used are off.
func files(cfg Config, port int) map[string]string {
	loops := cfg.Loops
	if loops == 0 {
		loops = 2
	}
	return map[string]string{
		"janus.jcfg": fmt.Sprintf(`general: {
	interface = %q
	debug_level = 3
	debug_colors = false
	event_loops = %d
}
media: {}
nat: {
	ice_lite = %v
	ice_enforce_list = %q
}
plugins: {
	disable = "libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so"
}
transports: {
	disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so"
}
`, cfg.IP, loops, !cfg.Full, cfg.IP),
		"janus.transport.websockets.jcfg": fmt.Sprintf("general: {\n\tws = true\n\tws_ip = %q\n\tws_port = %d\n}\nadmin: {\n\tadmin_ws = false\n}\n", cfg.Listen, port),
		"janus.plugin.videoroom.jcfg":     "general: {}\n",
		"janus.plugin.audiobridge.jcfg":   "general: {}\n",
	}
}

// Start runs Janus with a private directory of settings and waits until it answers.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	program := cfg.Program
	if program == "" {
		program = "janus"
	}
	if program, err = exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("find Janus (Debian's package is janus): %w", err)
	}
	if ip := net.ParseIP(cfg.IP); ip == nil || ip.IsLoopback() {
		return nil, fmt.Errorf("janus cannot use the address %q", cfg.IP)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1"
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{ip: cfg.IP, url: fmt.Sprintf("ws://%s:%d/", cfg.Listen, port)}
	if s.dir, err = os.MkdirTemp("", "belfry-bench-janus-"); err != nil {
		return nil, fmt.Errorf("make Janus' directory: %w", err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for name, text := range files(cfg, port) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write Janus' settings: %w", err)
		}
	}
	if s.process, err = process.Start(s.dir, cfg.CPU, nil, program, "--config="+filepath.Join(s.dir, "janus.jcfg"), "--configs-folder="+s.dir); err != nil {
		return nil, err
	}
	return s, s.process.Until(ctx, func() (err error) {
		if s.session == nil {
			if s.session, err = open(ctx, s.url); err != nil {
				return err
			}
		}
		if s.video, err = s.attach(ctx, videoRoom); err != nil {
			return err
		}
		s.audio, err = s.attach(ctx, audioBridge)
		return err
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// PID is its process.
func (s *Server) PID() int { return s.process.PID() }

// URL is where its WebSocket API is.
func (s *Server) URL() string { return s.url }

// Log is the end of what it wrote.
func (s *Server) Log() string { return s.process.Tail() }

// LocalIP is where its clients' sockets have to be.
func (s *Server) LocalIP() string { return s.ip }

// Close ends it.
func (s *Server) Close() {
	if s.session != nil {
		s.close()
	}
	if s.process != nil {
		s.process.Stop()
	}
	_ = os.RemoveAll(s.dir)
}

const (
	videoRoom   = "janus.plugin.videoroom"
	audioBridge = "janus.plugin.audiobridge"
)

type room struct {
	Room uint64 `json:"room"`
}

// VideoRoom makes a room for so many publishers of VP8 and Opus.
func (s *Server) VideoRoom(ctx context.Context, publishers int) (uint64, error) {
	var made room
	_, err := s.video.ask(ctx, map[string]any{"request": "create", "publishers": publishers, "videocodec": "vp8", "audiocodec": "opus",
		"bitrate": 0, "fir_freq": 0}, nil, &made)
	if err != nil {
		return 0, fmt.Errorf("make a video room: %w", err)
	}
	return made.Room, nil
}

// Publish joins a room as one who sends, with an offer, and returns the answer.
func (s *Server) Publish(ctx context.Context, room uint64, name, offer string) (*Handle, string, error) {
	h, err := s.attach(ctx, videoRoom)
	if err != nil {
		return nil, "", err
	}
	answer, err := h.ask(ctx, map[string]any{"request": "joinandconfigure", "ptype": "publisher", "room": room, "display": name}, &jsep{"offer", offer}, nil)
	return h.with(ctx, answer, err, "publish")
}

// with ends a handle that got no SDP.
func (h *Handle) with(ctx context.Context, sdp string, err error, what string) (*Handle, string, error) {
	if err == nil && sdp == "" {
		err = errNoSDP
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("%s: %w", what, err), h.Detach(ctx))
	}
	return h, sdp, nil
}

// Feed is one who sends.
type Feed struct {
	ID   uint64 `json:"id"`
	Name string `json:"display"`
}

// Feeds lists those who send in a room.
func (s *Server) Feeds(ctx context.Context, room uint64) ([]Feed, error) {
	var list struct {
		Participants []struct {
			Feed
			Publisher bool `json:"publisher"`
		} `json:"participants"`
	}
	if _, err := s.video.ask(ctx, map[string]any{"request": "listparticipants", "room": room}, nil, &list); err != nil {
		return nil, fmt.Errorf("list a room: %w", err)
	}
	var feeds []Feed
	for _, p := range list.Participants {
		if p.Publisher {
			feeds = append(feeds, p.Feed)
		}
	}
	return feeds, nil
}

// Subscribe joins a room as one who watches and hears these, over one peer
// connection, and returns Janus' offer.
func (s *Server) Subscribe(ctx context.Context, room uint64, feeds []Feed) (*Handle, string, error) {
	h, err := s.attach(ctx, videoRoom)
	if err != nil {
		return nil, "", err
	}
	streams := make([]map[string]any, len(feeds))
	for i, f := range feeds {
		streams[i] = map[string]any{"feed": f.ID}
	}
	offer, err := h.ask(ctx, map[string]any{"request": "join", "ptype": "subscriber", "room": room, "streams": streams}, nil, nil)
	return h.with(ctx, offer, err, "subscribe")
}

// AudioBridge makes a room that mixes at 48 kHz.
func (s *Server) AudioBridge(ctx context.Context) (uint64, error) {
	var made room
	if _, err := s.audio.ask(ctx, map[string]any{"request": "create", "sampling_rate": 48000}, nil, &made); err != nil {
		return 0, fmt.Errorf("make an audio bridge: %w", err)
	}
	return made.Room, nil
}

// Speak joins an audio bridge with an offer and returns the answer.
func (s *Server) Speak(ctx context.Context, room uint64, name, offer string) (*Handle, string, error) {
	h, err := s.attach(ctx, audioBridge)
	if err != nil {
		return nil, "", err
	}
	if _, err = h.ask(ctx, map[string]any{"request": "join", "room": room, "display": name, "muted": false}, nil, nil); err != nil {
		return h.with(ctx, "", err, "join the audio bridge")
	}
	answer, err := h.ask(ctx, map[string]any{"request": "configure", "muted": false}, &jsep{"offer", offer}, nil)
	return h.with(ctx, answer, err, "configure the audio bridge")
}
