package signaling

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// session is one signaling socket. Its reader, the goroutine of the HTTP
// request, handles frames one by one; its writer empties the queue. Everybody
// else only puts frames into the queue, closes or kills.
type session struct {
	srv  *Server
	log  *slog.Logger
	addr netip.Addr
	conn *websocket.Conn
	raw  net.Conn // under conn: closing it frees reader and writer at once

	meeting    *meeting.Meeting
	primary    *meeting.Meeting // of a replica
	attendeeID string           // without content suffix
	id         string           // with it
	content    bool
	attendee   atomic.Pointer[meeting.Attendee] // replaced when capabilities change
	opened     time.Time

	out      *outbox
	written  chan struct{} // closed when the writer is gone
	gone     chan struct{} // closed when the reader is gone
	lastSeen atomic.Int64  // Unix nanoseconds of the last frame or WebSocket ping
	joined   atomic.Bool
	closing  atomic.Bool
	deaf     atomic.Bool // the client takes no notice of a close in mid-call

	endMu  sync.Mutex
	ended  bool
	ending outgoing    // the close that follows end
	timer  *time.Timer // makes it follow

	// Below is the reader's own.
	member     *participant
	left       bool
	deflated   bool // the client reads compressed answers
	sdp        compressor
	frames     *rate.Limiter
	bytes      *rate.Limiter
	subscribes *rate.Limiter
	controls   *rate.Limiter
	complaints *rate.Limiter
	data       dataPace
	promotions *rate.Limiter
}

func (s *session) begin(conn *websocket.Conn, raw net.Conn) {
	s.conn = conn
	conn.SetReadLimit(maxEarlyFrame)
	s.prepare(raw)
}

// prepare makes all that a session needs to handle frames.
func (s *session) prepare(raw net.Conn) {
	s.raw = raw
	s.log = s.srv.log
	s.out = newOutbox()
	s.written = make(chan struct{})
	s.gone = make(chan struct{})
	s.opened = s.srv.now()
	s.frames = rate.NewLimiter(frameRate, frameBurst)
	s.bytes = rate.NewLimiter(4<<20, 32<<20)
	s.subscribes = rate.NewLimiter(5, 20)
	s.controls = rate.NewLimiter(50, 200)
	s.promotions = rate.NewLimiter(2, 10)
	s.complaints = rate.NewLimiter(1, 5)
	s.seen()
}

func (s *session) identify(id meeting.Identity) {
	s.meeting, s.primary = id.Meeting, id.Primary
	s.attendeeID = id.Attendee.ID
	s.id = id.Attendee.ID
	if s.content {
		s.id += meeting.ContentSuffix
	}
	s.attendee.Store(id.Attendee)
	s.log = s.srv.log.With("meeting", s.meeting.ID, "attendee", s.id)
}

// seen notes that the client lives.
func (s *session) seen() { s.lastSeen.Store(s.srv.now().UnixNano()) }

// refuse closes a socket that never became a session.
func (s *session) refuse(code int, reason string) {
	s.handshake(outgoing{code: code, reason: reason})
	_ = s.conn.CloseNow()
}

// handshake sends a close frame and waits a moment for the client's, then ends
// TCP: a browser reports the close only then.
func (s *session) handshake(o outgoing) {
	t := time.AfterFunc(s.srv.cfg.Timings.CloseHandshake, func() { _ = s.raw.Close() })
	defer t.Stop()
	_ = s.conn.Close(websocket.StatusCode(o.code), o.reason)
	s.srv.metrics.closed(o.code)
}

// serve runs the session until its socket is gone.
func (s *session) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	go s.write()
	err := s.read(ctx)
	cancel()
	close(s.gone)
	_ = s.raw.Close()
	_ = s.conn.CloseNow()
	<-s.written
	s.endMu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.endMu.Unlock()
	s.srv.unregister(s)
	if s.member != nil && !s.left {
		s.member.room.socketLost(s.member, s)
	}
	s.log.Info("signaling closed", "code", int(websocket.CloseStatus(err)), "joined", s.joined.Load(), "left", s.left,
		"after", s.srv.now().Sub(s.opened).Round(time.Millisecond))
}

// read handles frames until the socket fails or the client breaks a limit.
func (s *session) read(ctx context.Context) error {
	for {
		kind, data, err := s.conn.Read(ctx)
		if err != nil {
			switch {
			case errors.Is(err, websocket.ErrMessageTooBig):
				s.srv.metrics.bad.WithLabelValues("too_big").Inc()
			case !connectionLost(err) && s.closing.CompareAndSwap(false, true):
				s.srv.metrics.bad.WithLabelValues("protocol").Inc()
				// The library has said so already, but for some errors.
				s.handshake(outgoing{code: int(websocket.StatusProtocolError), reason: "not a WebSocket frame"})
			}
			return err
		}
		s.seen()
		if !s.frames.AllowN(s.srv.now(), 1) {
			s.abuse("too many frames")
			return s.drain(ctx)
		}
		// Bytes are slowed rather than refused: a big offer is legitimate.
		if wait := s.bytes.ReserveN(s.srv.now(), len(data)).DelayFrom(s.srv.now()); wait > 0 && !s.pause(wait) {
			return net.ErrClosed
		}
		if kind != websocket.MessageBinary {
			s.complain("text", "frames must be binary WebSocket messages")
			continue
		}
		s.handle(ctx, data)
		if s.joined.Load() {
			s.conn.SetReadLimit(maxFrame)
		}
	}
}

// connectionLost tells the end of a connection, in good form or not, from what
// came on it and is no WebSocket frame (RFC 6455 5).
func connectionLost(err error) bool {
	var network net.Error
	return websocket.CloseStatus(err) != -1 || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// pinged takes a ping or pong of the WebSocket itself, which count as frames do.
// It is called by the reader, and false when there were too many.
func (s *session) pinged() bool {
	s.seen()
	switch {
	case s.closing.Load():
		return false
	case !s.frames.AllowN(s.srv.now(), 1):
		s.abuse("too many pings")
		return false
	}
	return true
}

// drain reads without handling, so that the close handshake can complete.
func (s *session) drain(ctx context.Context) error {
	for {
		if _, _, err := s.conn.Read(ctx); err != nil {
			return err
		}
	}
}

// pause waits, unless the writer ends first.
func (s *session) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.written:
		return false
	}
}

// write sends what is queued and watches for a client gone silent.
func (s *session) write() {
	defer close(s.written)
	check := time.NewTicker(s.srv.cfg.Timings.Idle / 8)
	defer check.Stop()
	var batch []outgoing
	for {
		select {
		case <-s.out.ready:
			batch = s.out.take(batch)
			for _, o := range batch {
				if o.code != 0 {
					s.handshake(o)
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), s.srv.cfg.Timings.Write)
				err := s.conn.Write(ctx, websocket.MessageBinary, o.data)
				cancel()
				s.out.written(o)
				if err != nil {
					s.kill()
					return
				}
			}
		case <-check.C:
			limit := s.srv.cfg.Timings.BeforeJoin
			if s.joined.Load() {
				limit = s.srv.cfg.Timings.Idle
			}
			if s.srv.now().UnixNano()-s.lastSeen.Load() >= int64(limit) {
				s.srv.metrics.cut.WithLabelValues("silent").Inc()
				s.kill()
				return
			}
		case <-s.gone:
			return
		}
	}
}

// send queues a frame. It never blocks: a client that does not keep up is cut.
func (s *session) send(data []byte) {
	if s.closing.Load() {
		return
	}
	if !s.out.put(outgoing{data: data}) {
		s.cutSlow()
	}
}

func (s *session) cutSlow() {
	if s.closing.CompareAndSwap(false, true) {
		s.srv.metrics.cut.WithLabelValues("slow").Inc()
		s.log.Warn("signaling client does not read, cutting it")
		s.kill()
	}
}

// sendFrame stamps, encodes and queues one frame.
func (s *session) sendFrame(f *signalpb.SdkSignalFrame) { s.send(encode(f, s.srv.now())) }

// close ends the socket after what is queued.
func (s *session) close(code int, reason string) {
	if !s.closing.CompareAndSwap(false, true) {
		return
	}
	s.out.put(outgoing{code: code, reason: reason})
}

// kill ends the socket at once, without a word.
func (s *session) kill() {
	s.closing.Store(true)
	// A TLS connection may take its time over the last record.
	go func() { _ = s.raw.Close() }()
}

// over says that the session has been told its end.
func (s *session) over() bool {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	return s.ended
}

// end tells a client that its session is over for good. One that has joined
// gets AUDIO_STATUS and some time to leave, because clients take no notice of a
// close in mid-call; any other is closed.
func (s *session) end(status uint32, code int, reason string) {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.ending = outgoing{code: code, reason: reason}
	s.log.Info("session ended", "status", status, "reason", reason)
	if !s.joined.Load() {
		s.close(code, reason)
		return
	}
	s.sendFrame(audioStatus(status))
	s.timer = time.AfterFunc(s.srv.cfg.Timings.End, func() { s.close(code, reason) })
}

// restarting tells the client that the server goes away, and closes the socket
// so that it comes back by itself. To a client that does not heed a close while
// its media flows the same is said as AUDIO_STATUS; not to others, which would
// reconnect twice.
func (s *session) restarting() {
	s.endMu.Lock()
	over := s.ended
	if !over { // a LEAVE that comes in between ends in the same way
		s.ended, s.ending = true, outgoing{code: closeRestarting, reason: "server restarting"}
	}
	s.endMu.Unlock()
	if s.joined.Load() && !over {
		s.sendFrame(notification(signalpb.SdkNotificationFrame_WARNING, "the server is restarting"))
		if s.deaf.Load() {
			s.sendFrame(audioStatus(statusUnavailable))
		}
	}
	s.close(closeRestarting, "server restarting")
}

// comeBack closes the socket so that the client connects anew, its media too. To one
// that does not heed a close the same is said as AUDIO_STATUS.
func (s *session) comeBack(reason string) {
	if s.deaf.Load() {
		s.sendFrame(audioStatus(statusUnavailable))
	}
	s.close(closeServerError, reason)
}

// abuse ends a session whose client broke a hard limit.
func (s *session) abuse(what string) {
	s.srv.metrics.cut.WithLabelValues("rate").Inc()
	s.log.Warn("signaling client over the limit, closing it", "limit", what)
	s.sendFrame(&signalpb.SdkSignalFrame{
		// Clients look at the error of any frame but NOTIFICATION.
		Type:        signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(),
		DataMessage: &signalpb.SdkDataMessageFrame{},
		Error:       envelopeError(statusTooMany, what),
	})
	s.close(closeTooMany, what)
}

// complain counts a bad frame and tells the client's log about it, not too often.
func (s *session) complain(kind, message string) {
	s.srv.metrics.bad.WithLabelValues(kind).Inc()
	if !s.complaints.AllowN(s.srv.now(), 1) {
		return
	}
	s.log.Debug("bad frame", "kind", kind, "problem", message)
	s.sendFrame(notification(signalpb.SdkNotificationFrame_ERROR, message))
}
