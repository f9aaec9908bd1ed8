package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"belfry/internal/bench/client"
	"belfry/internal/bench/janus"
)

// janusServer has Janus do what our server does: VideoRoom forwards, and where
// nobody has a camera, AudioBridge mixes.
type janusServer struct{ *janus.Server }

// StartJanus starts Janus, at an address that is not loopback.
func StartJanus(ctx context.Context, cfg janus.Config) (Server, error) {
	s, err := janus.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return janusServer{s}, nil
}

type janusRoom struct {
	server *janus.Server
	id     uint64
	mixed  bool
}

// Open implements Server.
func (s janusServer) Open(ctx context.Context, l Load) (_ Room, err error) {
	r := &janusRoom{server: s.Server, mixed: l.Publishers == 0}
	if r.mixed {
		r.id, err = s.AudioBridge(ctx)
	} else {
		r.id, err = s.VideoRoom(ctx, l.Publishers)
	}
	return r, err
}

// Join implements Room.
func (r *janusRoom) Join(_ context.Context, n int, cfg client.Config) (Member, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	m := &janusMember{room: r, name: strconv.Itoa(n), cfg: cfg}
	m.clients = append(m.clients, c)
	return m, nil
}

type janusMember struct {
	room *janusRoom
	name string
	cfg  client.Config
	once sync.Once

	clients []*client.Client
	handles []*janus.Handle
	sends   bool
	watches bool
}

// Negotiate implements Member: one connection sends, another receives.
func (m *janusMember) Negotiate(ctx context.Context, w Wants) error {
	if !m.sends && (w.SendKbps > 0 || m.room.mixed) {
		if err := m.send(ctx, w); err != nil {
			return err
		}
		m.sends = true
	}
	if m.watches || w.Receive == 0 || m.room.mixed {
		return nil
	}
	m.watches = true
	return m.watch(ctx, w.Receive)
}

func (m *janusMember) send(ctx context.Context, w Wants) error {
	list, join := sections(Wants{Audio: w.Audio, SendKbps: w.SendKbps}), m.room.server.Publish
	if m.room.mixed {
		join = m.room.server.Speak
	} else {
		for i := range list {
			list[i].Direction = "sendonly"
		}
	}
	c := m.clients[0]
	h, answer, err := join(ctx, m.room.id, m.name, c.Offer(list))
	if err != nil {
		return err
	}
	m.handles = append(m.handles, h)
	return c.Connect(ctx, answer)
}

func (m *janusMember) watch(ctx context.Context, n int) error {
	feeds, err := m.feeds(ctx, n)
	if err != nil {
		return err
	}
	c := m.clients[0]
	if m.sends {
		cfg := m.cfg
		if cfg.Pause > 0 { // the one who hears nothing
			cfg.Speech = nil
		}
		cfg.VideoRate, cfg.Voice, cfg.Pause = 0, nil, 0
		if c, err = client.New(cfg); err != nil {
			return err
		}
		m.clients = append(m.clients, c)
	}
	h, offer, err := m.room.server.Subscribe(ctx, m.room.id, feeds)
	if err != nil {
		return err
	}
	m.handles = append(m.handles, h)
	answer, err := c.Answer(offer)
	if err != nil {
		return err
	}
	if err := h.Answer(ctx, m.room.id, answer); err != nil {
		return err
	}
	return c.Connect(ctx, offer)
}

// feeds waits until so many others send.
func (m *janusMember) feeds(ctx context.Context, n int) ([]janus.Feed, error) {
	for {
		list, err := m.room.server.Feeds(ctx, m.room.id)
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(f janus.Feed) bool { return f.Name == m.name })
		if len(list) >= n {
			return list[:n], nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("janus has %d of %d feeds: %w", len(list), n, err)
		}
	}
}

// Clients implements Member.
func (m *janusMember) Clients() []*client.Client { return m.clients }

// Beat implements Member. The session is kept alive for all.
func (m *janusMember) Beat() {}

// SignalBytes implements Member.
func (m *janusMember) SignalBytes() (b SignalBytes) {
	for _, h := range m.handles {
		b.Other += h.Bytes()
	}
	return b
}

// Leave implements Member.
func (m *janusMember) Leave() {
	m.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, h := range m.handles {
			_ = h.Detach(ctx)
		}
		for _, c := range m.clients {
			c.Close()
		}
	})
}
