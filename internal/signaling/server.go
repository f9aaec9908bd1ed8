package signaling

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"belfry/internal/meeting"
)

// Server accepts signaling sockets and holds the rooms of live meetings.
type Server struct {
	cfg     Config
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	sockets sync.WaitGroup // one for each socket being served
	rooms   sync.WaitGroup // one for each room's goroutine

	mu       sync.Mutex
	stopping bool
	live     map[string]*room                 // by meeting id
	replicas map[string]*room                 // the primary's, by the id of a replica whose attendees entered it
	sessions map[string]map[*session]struct{} // by meeting id, from the upgrade on
	memory   memory
	sources  map[netip.Prefix]int // sockets by client address

	transcriptions    map[string]transcription // by meeting id
	lastTranscription uint64
}

// New returns a Server. It has no goroutine until a socket comes.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Timings = cfg.Timings.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	return &Server{
		cfg:      cfg,
		now:      cfg.Now,
		log:      cfg.Logger,
		metrics:  newMetrics(cfg.Metrics),
		live:     map[string]*room{},
		replicas: map[string]*room{},
		sessions: map[string]map[*session]struct{}{},
		memory:   newMemory(),
		sources:  map[netip.Prefix]int{},

		transcriptions: map[string]transcription{},
	}
}

// ServeHTTP serves one signaling socket at /control/{meetingId} and returns when
// it is gone. Any query and any Origin is accepted. Once a request is a valid
// WebSocket upgrade it is always upgraded, and a refusal is a close code: to a
// refused upgrade clients answer with two minutes of further tries. The one
// exception is 503, which asks for just that.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	meetingID, ok := strings.CutPrefix(r.URL.Path, "/control/")
	meetingID = strings.ToLower(strings.TrimSuffix(meetingID, "/"))
	if !ok || meetingID == "" || strings.Contains(meetingID, "/") {
		http.NotFound(w, r)
		return
	}
	// Counted under the lock, so that Shutdown never waits for a group that grows.
	addr := remoteIP(r)
	source := sourceOf(addr)
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		tryAgain(w, "server is restarting")
		return
	}
	if s.sources[source] >= s.cfg.Limits.PerAddress {
		s.mu.Unlock()
		s.metrics.joins.WithLabelValues("too_many_from_address").Inc()
		tryAgain(w, "too many sockets from this address")
		return
	}
	s.sources[source]++
	s.sockets.Add(1)
	s.mu.Unlock()
	defer s.sockets.Done()
	defer s.release(source)

	token, content := offeredToken(r)
	var id meeting.Identity
	refusal := ""
	if token == "" || len(token) > maxToken {
		refusal = "join token missing"
	} else {
		var err error
		id, err = s.cfg.Service.Authenticate(r.Context(), token)
		switch code := meeting.CodeOf(err); {
		case code == meeting.CodeUnavailable || code == meeting.CodeInternal || code == meeting.CodeThrottled:
			s.metrics.joins.WithLabelValues("unavailable").Inc()
			s.log.Warn("signaling authentication failed", "meeting", meetingID, "error", err)
			tryAgain(w, "try again")
			return
		case err != nil:
			refusal = "attendee unavailable"
		case !strings.EqualFold(id.Meeting.ID, meetingID):
			refusal = "join token is for another meeting"
		case s.full(meetingID):
			s.metrics.joins.WithLabelValues("too_many_in_meeting").Inc()
			s.log.Warn("meeting has too many signaling sockets", "meeting", meetingID)
			tryAgain(w, "too many sockets in this meeting")
			return
		case s.cfg.Admit != nil && !s.inside(id, content) && !s.cfg.Admit():
			s.metrics.joins.WithLabelValues("full").Inc()
			tryAgain(w, "the server is full")
			return
		}
	}

	hijack := &hijackRecorder{ResponseWriter: w}
	sess := &session{srv: s, content: content, addr: addr}
	conn, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any page may hold a meeting; the token is the proof
		Subprotocols:       []string{subprotocolBrowser, subprotocolNative},
		OnPingReceived:     func(context.Context, []byte) bool { return sess.pinged() },
		OnPongReceived:     func(context.Context, []byte) { sess.pinged() },
	})
	if err != nil {
		s.metrics.joins.WithLabelValues("bad_upgrade").Inc()
		return
	}
	sess.begin(conn, hijack.conn)
	if refusal != "" {
		code := closeRefused
		if s.meetingGone(r.Context(), meetingID) {
			code, refusal = closeEnded, "meeting ended"
		}
		s.metrics.joins.WithLabelValues("refused").Inc()
		s.log.Info("signaling refused", "meeting", meetingID, "code", code, "reason", refusal)
		sess.refuse(code, refusal)
		return
	}
	sess.identify(id)
	if !s.register(sess) {
		sess.refuse(closeRestarting, "server restarting")
		return
	}
	// A change between the look above and the registration told nobody.
	if now, err := s.cfg.Service.Authenticate(r.Context(), token); err == nil {
		sess.attendee.CompareAndSwap(id.Attendee, now.Attendee) // unless told of a newer one
	} else {
		code, reason := closeRefused, "attendee unavailable"
		if s.meetingGone(r.Context(), meetingID) {
			code, reason = closeEnded, "meeting ended"
		}
		sess.end(statusRemoved, code, reason)
	}
	sess.serve()
}

// tryAgain refuses an upgrade in the way that clients answer with another try.
func tryAgain(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, http.StatusServiceUnavailable)
}

// sourceOf is what sockets are counted by: an IPv6 client has a whole /64.
func sourceOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // fails for the zero address, which is a source too
	return p
}

func (s *Server) release(source netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[source]--; s.sources[source] <= 0 {
		delete(s.sources, source)
	}
}

func (s *Server) full(meetingID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions[meetingID]) >= s.cfg.Limits.PerMeeting
}

// inside tells whether an attendee, or its content share, is in the meeting, or was
// a moment ago. So is the share that who is inside begins, unless the server is full.
func (s *Server) inside(id meeting.Identity, content bool) bool {
	_, r := s.matching(id.Meeting.ID, func(*session) bool { return false })
	if r == nil {
		return false
	}
	full := id.Attendee.ID
	if content {
		full += meeting.ContentSuffix
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	there := func(id string) bool { return r.members[id] != nil || r.audience[id] != nil }
	return there(full) || content && there(id.Attendee.ID) && (s.cfg.Full == nil || !s.cfg.Full())
}

// meetingGone tells whether a refused join was for a meeting that has ended.
func (s *Server) meetingGone(ctx context.Context, meetingID string) bool {
	if s.cfg.MeetingExists != nil {
		return !s.cfg.MeetingExists(ctx, meetingID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.hasEnded(meetingID)
}

// register makes a socket known to the hooks. It is false when the server is
// stopping. An attendee with too many sockets loses one that is not in the
// meeting.
func (s *Server) register(sess *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	set := s.sessions[sess.meeting.ID]
	if set == nil {
		set = map[*session]struct{}{}
		s.sessions[sess.meeting.ID] = set
	}
	var oldest *session
	var closing []*session
	n := 0
	for other := range set {
		switch {
		case other.id != sess.id:
		case other.closing.Load():
			closing = append(closing, other)
		case other.over():
		default:
			n++
			if !other.joined.Load() && (oldest == nil || other.opened.Before(oldest.opened)) {
				oldest = other
			}
		}
	}
	if n >= maxSockets && oldest != nil {
		oldest.close(closeReplaced, "too many connections")
	}
	// Who opens sockets faster than they are closed in good form gets no form.
	if len(closing) >= maxSockets {
		for _, other := range closing {
			other.kill()
		}
	}
	set[sess] = struct{}{}
	s.metrics.sockets.Inc()
	return true
}

func (s *Server) unregister(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.sessions[sess.meeting.ID]
	if _, ok := set[sess]; !ok {
		return
	}
	delete(set, sess)
	if len(set) == 0 {
		delete(s.sessions, sess.meeting.ID)
	}
	s.metrics.sockets.Dec()
}

// matching lists the sessions of a meeting that pass the filter, and the
// room that its attendees are in, if there is one.
func (s *Server) matching(meetingID string, keep func(*session) bool) ([]*session, *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*session
	for sess := range s.sessions[meetingID] {
		if keep(sess) {
			out = append(out, sess)
		}
	}
	if r := s.replicas[meetingID]; r != nil {
		return out, r
	}
	return out, s.live[meetingID]
}

// AttendeeDeleted ends the sessions of an attendee, its content share included:
// AUDIO_STATUS 411 to a client that has joined, close 4403 to one that has not.
// Who was promoted to it is demoted. It does not block.
func (s *Server) AttendeeDeleted(meetingID, attendeeID string) {
	sessions, r := s.matching(meetingID, func(sess *session) bool { return sess.attendeeID == attendeeID })
	for _, sess := range sessions {
		sess.end(statusRemoved, closeRefused, "attendee unavailable")
	}
	if r != nil {
		r.removeAttendee(attendeeID)
	}
}

// MeetingEnded ends every session of a meeting: AUDIO_STATUS 410 to clients that
// have joined, close 4410 to others and to those who come later. It does not
// block.
func (s *Server) MeetingEnded(meetingID string) {
	sessions, r := s.matching(meetingID, func(*session) bool { return true })
	s.mu.Lock()
	s.memory.ended(meetingID, s.now())
	delete(s.transcriptions, meetingID)
	s.mu.Unlock()
	for _, sess := range sessions {
		sess.end(statusEnded, closeEnded, "meeting ended")
	}
	if r != nil {
		r.removeMeeting(meetingID)
	}
}

// CapabilitiesChanged applies an attendee's new capabilities to its live
// sessions. It does not block. Calls come in the order of the changes.
func (s *Server) CapabilitiesChanged(a *meeting.Attendee) {
	mine := func(sess *session) bool { return sess.attendeeID == a.ID }
	sessions, _ := s.matching(a.MeetingID, mine)
	for _, sess := range sessions {
		sess.attendee.Store(a)
	}
	// Who joins from here on has them; who joined before is in the room by now.
	if _, r := s.matching(a.MeetingID, mine); r != nil {
		r.capabilitiesChanged(a)
	}
}

// Rooms sums up the live meetings, in no order.
func (s *Server) Rooms() []RoomInfo {
	s.mu.Lock()
	rooms := make([]*room, 0, len(s.live))
	for _, r := range s.live {
		rooms = append(rooms, r)
	}
	s.mu.Unlock()
	out := make([]RoomInfo, 0, len(rooms))
	for _, r := range rooms {
		out = append(out, r.info())
	}
	return out
}

// Shutdown refuses new sockets, tells every client and closes its socket with
// 4503, so that it reconnects, closes the media of every meeting and waits for
// all of it. Clients that do not answer are cut within a second.
// It returns ctx's error when that ended first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	var all []*session
	for _, set := range s.sessions {
		for sess := range set {
			all = append(all, sess)
		}
	}
	s.mu.Unlock()
	for _, sess := range all {
		sess.restarting()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.sockets.Wait()
		s.mu.Lock()
		for _, r := range s.live {
			r.abandon()
		}
		s.mu.Unlock()
		s.rooms.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, sess := range all {
			sess.kill()
		}
		return ctx.Err()
	}
}

// The subprotocols of the browser client, whose other offer is the token, and of
// the native one, whose token is in a cookie of the same name.
const (
	subprotocolBrowser = "_aws_wt_session"
	subprotocolNative  = "Signaling-SDK"
)

// offeredToken finds the join token in an upgrade request, without the content
// suffix, and tells whether it had one.
func offeredToken(r *http.Request) (token meeting.Secret, content bool) {
	browser := false
	value := ""
	for _, header := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(header, ",") {
			offer = strings.TrimSpace(offer)
			switch {
			case strings.EqualFold(offer, subprotocolBrowser):
				browser = true
			case strings.EqualFold(offer, subprotocolNative), offer == "":
			case value == "":
				value = offer
			}
		}
	}
	if !browser {
		value = ""
		if cookie, err := r.Cookie(subprotocolBrowser); err == nil {
			value = cookie.Value
		}
	}
	value, content = strings.CutSuffix(value, meeting.ContentSuffix)
	return meeting.Secret(value), content
}

func remoteIP(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

// hijackRecorder keeps the connection that the WebSocket library takes over, so
// that a client which reads nothing and answers nothing can be cut at once.
type hijackRecorder struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijackRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
