// Package media is the live side of meetings. A Server owns the one UDP port and
// the clock; a Bridge is the media of one meeting, a Peer one connection in it.
// Packets come from the port's goroutines with a batch to answer into, take the
// Bridge's lock once for each read, and leave sealed in that batch; what time
// brings (mixing, silence, reports) comes from a tick every 20 ms. The work is
// done by the state machines below: mixer for audio, sfu for video, sdp for what
// is negotiated, transport for the wire.
package media

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/sfu"
	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
	"belfry/internal/meeting"
)

// Config is what a Server is made from.
type Config struct {
	// Listen is the UDP address, "host:port"; port 0 is any free one.
	Listen string
	// ListenTCP is the address for clients that no UDP gets to, SharedTCP that of a
	// listener of somebody else who calls TakeTCP; neither: none. Port 0 is that
	// of UDP, or any free one.
	ListenTCP string
	SharedTCP netip.AddrPort
	// Advertise and AdvertiseTCP are the addresses that clients are told; both empty:
	// those that are listened on. Port 0 is the one listened on.
	Advertise, AdvertiseTCP []netip.AddrPort
	// TCPOnly keeps UDP from clients.
	TCPOnly bool
	// Codec decodes and encodes; nil: the one of the build.
	Codec opus.Codec
	// IdleTimeout is for how long nothing may come before a connection counts as
	// dead; 0 is 30 s.
	IdleTimeout time.Duration
	Logger      *slog.Logger
}

// Server is the media of a node. It implements meeting.Conferences.
type Server struct {
	log   *slog.Logger
	codec opus.Codec
	mux   *transport.Mux
	clock clock
	// spare batches serve calls that come neither from a packet nor from the tick.
	spare sync.Pool

	malformed atomic.Uint64 // RTCP that could not be understood
	panics    atomic.Uint64
	limit     atomic.Uint32 // of video, a VideoLimit
	unheard   atomic.Uint64 // packets for ears that were dropped
	// faultLogged is when a fault was logged last.
	faultLogged atomic.Int64

	mu      sync.Mutex
	bridges map[string]*Bridge
	ears    map[string][]*ear // by meeting
	past    Stats             // of bridges that are closed
	ticker  *ticker
	closed  bool
}

// NewServer opens the port and starts the clock.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Codec == nil {
		cfg.Codec = opus.Native()
	}
	if !cfg.Codec.Available() {
		cfg.Logger.Warn("this build has no Opus codec: of several people who talk at once only one is heard", "codec", cfg.Codec.Version())
	}
	mux, err := transport.NewMux(transport.Config{
		Listen: cfg.Listen, ListenTCP: cfg.ListenTCP, SharedTCP: cfg.SharedTCP,
		Advertise: cfg.Advertise, AdvertiseTCP: cfg.AdvertiseTCP, TCPOnly: cfg.TCPOnly,
		IdleTimeout: cfg.IdleTimeout, Log: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{log: cfg.Logger, codec: cfg.Codec, mux: mux, clock: newClock(), bridges: make(map[string]*Bridge), ears: make(map[string][]*ear)}
	s.spare.New = func() any { return mux.NewBatch() }
	if s.ticker, err = startTicker(mux.NewBatch, runtime.GOMAXPROCS(0)); err != nil {
		return nil, errors.Join(fmt.Errorf("start the media's clock: %w", err), mux.Close())
	}
	return s, nil
}

// Addr is the address that media is received on, by UDP.
func (s *Server) Addr() netip.AddrPort { return s.mux.Addr() }

// AddrTCP is the same by TCP; the zero AddrPort when there is none.
func (s *Server) AddrTCP() netip.AddrPort { return s.mux.AddrTCP() }

// Advertised are the addresses of the UDP port as clients and relays know it.
func (s *Server) Advertised() []netip.AddrPort { return s.mux.Advertised() }

// TakeTCP takes over a connection that a client made to SharedTCP. head is what
// was read of it to find out, see IsMedia.
func (s *Server) TakeTCP(conn net.Conn, head []byte) { s.mux.Stream(conn, head) }

// IsMedia tells by the first byte of a TCP connection that it is for media, and
// neither HTTP nor TLS: it is the upper one of the length of a STUN message.
func IsMedia(first byte) bool { return transport.IsStream(first) }

// OpenConference implements meeting.Conferences.
func (s *Server) OpenConference(spec meeting.ConferenceSpec, events meeting.ConferenceEvents) (meeting.Conference, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, meeting.Errorf(meeting.CodeUnavailable, "the server is stopping")
	}
	if s.bridges[spec.MeetingID] != nil {
		return nil, meeting.Errorf(meeting.CodeConflict, "the meeting's media is open already")
	}
	b := newBridge(s, spec, events)
	s.bridges[spec.MeetingID] = b
	for _, e := range s.ears[spec.MeetingID] {
		b.listen(e)
	}
	s.ticker.add(b)
	return b, nil
}

// VideoLimit is how much video is left out because the server is full.
type VideoLimit = sfu.Limit

// The limits, from none.
const (
	NoLimit    = sfu.NoLimit
	LowCameras = sfu.LowCameras
	NoCameras  = sfu.NoCameras
	NoVideo    = sfu.NoVideo
)

// LimitVideo leaves video out in all meetings from the next tick on.
func (s *Server) LimitVideo(l VideoLimit) { s.limit.Store(uint32(l)) }

// Lateness is how long after it was due the work of a tick was done, in nine of
// ten of those since it was asked last: with more than a tick (20 ms) sound comes
// too late.
func (s *Server) Lateness() time.Duration {
	s.mu.Lock()
	busy := len(s.bridges) > 0
	s.mu.Unlock()
	return s.ticker.late.take(time.Now(), busy)
}

// People is how many connections there are.
func (s *Server) People() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bridges {
		n += int(b.size.Load())
	}
	return n
}

// forget takes a closed bridge out, keeping its counts.
func (s *Server) forget(b *Bridge) {
	s.ticker.remove(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bridges[b.spec.MeetingID] == b {
		delete(s.bridges, b.spec.MeetingID)
		s.past.add(b.counts())
	}
}

// Close ends every conference, tells the clients by DTLS, and frees the port.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := make([]*Bridge, 0, len(s.bridges))
	for _, b := range s.bridges {
		open = append(open, b)
	}
	s.mu.Unlock()
	for _, b := range open {
		b.Close()
	}
	s.ticker.stop()
	return s.mux.Close()
}

// batch lends a batch for sending outside a packet or tick; giveBack sends it.
func (s *Server) batch() *udp.Batch { return s.spare.Get().(*udp.Batch) }

func (s *Server) giveBack(b *udp.Batch) {
	_ = b.Flush() // what could not be sent has been counted by the port
	s.spare.Put(b)
}

func (s *Server) now() int64 { return transport.Now() }

// clock ties the monotonic clock of packets to the day.
type clock struct {
	origin time.Time // when the packets' clock was 0
}

func newClock() clock { return clock{time.Now().Add(-time.Duration(transport.Now()))} }

// time is the moment that belongs to a packet's time.
func (c clock) time(now int64) time.Time { return c.origin.Add(time.Duration(now)) }

// epoch is the Unix time in ns when the packets' clock was 0.
func (c clock) epoch() int64 { return c.origin.UnixNano() }

// newSSRC is a random stream id that is not 0.
func newSSRC() uint32 {
	for {
		if x := rand.Uint32(); x != 0 {
			return x
		}
	}
}

// caught counts and reports a fault of ours, so that it costs one connection
// only. One that comes back with every packet is logged once a second.
func (s *Server) caught(what string, fault any) {
	s.panics.Add(1)
	now, last := s.now(), s.faultLogged.Load()
	if last != 0 && now-last < int64(time.Second) || !s.faultLogged.CompareAndSwap(last, now) {
		return
	}
	s.log.Error("fault in media", "in", what, "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
}
