// Package screen is the screen sharing of browser clients from 1.1 to 1.22,
// apart from content share: it serves ScreenDataUrl, ScreenSharingUrl and
// ScreenViewingUrl.
//
// One who shares sends a recording, WebM with VP8, in slices over a socket of
// ScreenSharingUrl; those who want to know of it listen on ScreenDataUrl, the
// same address; those who look at it get tiles of JPEG over ScreenViewingUrl. So
// the server sees the pictures in between: room.go has the rules of who presents,
// picture.go makes tiles of what webm and vp8 decode, share.go and view.go are
// the two kinds of sockets, message.go is what goes over them.
//
// A presenter never waits for a viewer. Each viewer takes, at its own pace, the
// newest tiles that it does not have; what it was too slow for it never sees.
package screen

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// Authenticator proves a join token. meeting.Service is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token meeting.Secret) (meeting.Identity, error)
}

// Config is what a Server needs.
type Config struct {
	Auth    Authenticator
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Heartbeat is how often a socket is asked whether it is there, 30 s when 0;
	// one that says nothing for four times as long has ended.
	Heartbeat time.Duration
}

const (
	maxSockets    = 2000 // of one server; only old clients open any
	maxPresenters = 32   // who share at a time; each costs memory for its pictures

	maxMessage = 4 << 20  // bytes of a slice of a recording, and of one frame
	maxControl = 16 << 10 // bytes of any other message

	// What one socket may send in a second. Who sends more is read more slowly.
	bytesPerSecond    = 4 << 20
	messagesPerSecond = 50

	// Pixels decoded in a second: 10 pictures of 1920 by 1080 for a presenter, and
	// half of what the processors can do for all. Beyond, pictures are left out.
	pixelsPerPresenter = 20 << 20
	pixelsPerCPU       = 15 << 20
)

// Server has the rooms of all meetings in which somebody shares, listens or views.
type Server struct {
	cfg     Config
	metrics *metrics
	budget  *rate.Limiter // pixels that all may have decoded
	drawing chan struct{} // held by who makes tiles
	sharing atomic.Int64  // presenters

	mu       sync.Mutex
	rooms    map[string]*room // by the meeting that people meet in, a replica's primary
	sockets  int
	stopping bool
	serving  sync.WaitGroup
}

// New returns a Server, which needs Close.
func New(cfg Config) *Server {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	cpus := runtime.GOMAXPROCS(0)
	s := &Server{
		cfg: cfg, rooms: map[string]*room{},
		budget:  rate.NewLimiter(rate.Limit(cpus*pixelsPerCPU), 4*cpus*pixelsPerCPU),
		drawing: make(chan struct{}, max(1, cpus/2)),
	}
	s.metrics = newMetrics(cfg.Metrics, s)
	return s
}

// Share serves ScreenDataUrl and ScreenSharingUrl, which are one address.
func (s *Server) Share() http.Handler { return http.HandlerFunc(s.serveShare) }

// View serves ScreenViewingUrl.
func (s *Server) View() http.Handler { return http.HandlerFunc(s.serveView) }

// Close ends all sockets, so that their clients try again, and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.stopping = true
	rooms := s.list()
	s.mu.Unlock()
	for _, r := range rooms {
		r.endAll(websocket.StatusGoingAway, "the server is stopping")
	}
	s.serving.Wait()
}

func (s *Server) list() []*room {
	var rooms []*room
	for _, r := range s.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// MeetingEnded ends the sockets of a meeting's attendees, for good. A replica's
// attendees are in the room of its primary.
func (s *Server) MeetingEnded(id string) {
	s.each(func(r *room) {
		r.endWhere("the meeting has ended", func(who meeting.Identity) bool { return who.Meeting.ID == id || r.id == id })
	})
}

// AttendeeDeleted ends the sockets of one attendee, for good.
func (s *Server) AttendeeDeleted(id string) {
	s.each(func(r *room) {
		r.endWhere("the attendee was deleted", func(who meeting.Identity) bool { return who.Attendee.ID == id })
	})
}

// CapabilitiesChanged stops a presenter and hides the screen from a viewer who
// may no more, and shows it again to one who may.
func (s *Server) CapabilitiesChanged(a *meeting.Attendee) {
	s.each(func(r *room) { r.capabilities(a) })
}

func (s *Server) each(do func(*room)) {
	s.mu.Lock()
	rooms := s.list()
	s.mu.Unlock()
	for _, r := range rooms {
		do(r)
	}
}

// admit counts a socket; what it answers undoes that.
func (s *Server) admit(w http.ResponseWriter) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.sockets >= maxSockets {
		s.metrics.refused.WithLabelValues("sockets").Inc()
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many screen sockets", http.StatusServiceUnavailable)
		return nil, false
	}
	s.sockets++
	s.serving.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sockets--
		s.serving.Done()
	}, true
}

// enter puts a socket into its room, made when it is the first there. leave takes it out.
func (s *Server) enter(k *socket) (*room, error) {
	id := k.who.Meeting.ID
	if k.who.Primary != nil {
		id = k.who.Primary.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, http.ErrServerClosed
	}
	r := s.rooms[id]
	if r == nil {
		r = newRoom(s, id)
		s.rooms[id] = r
	}
	r.add(k)
	return r, nil
}

func (s *Server) leave(r *room, k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.remove(k) {
		delete(s.rooms, r.id)
	}
}

// startSharing counts a presenter, unless there are too many.
func (s *Server) startSharing() bool {
	if s.sharing.Add(1) > maxPresenters {
		s.sharing.Add(-1)
		return false
	}
	return true
}
