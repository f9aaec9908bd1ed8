package screen

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// socket is a client's, of either kind. One goroutine reads it, the request's,
// and one writes, which ends it too.
type socket struct {
	conn    *websocket.Conn
	who     meeting.Identity
	viewing bool
	content atomic.Pointer[meeting.Capability] // what it may with content now
	out     chan []byte                        // what others tell it
	ending  chan ending                        // room for one: the first end holds
}

type ending struct {
	code   websocket.StatusCode
	reason string
}

// outQueue bounds what waits to be told to a socket. There is little to tell:
// one that lets so much wait is gone.
const outQueue = 32

const (
	writeTimeout = 10 * time.Second
	closeTimeout = time.Second
)

// mayShare and mayView are what the meeting and the attendee's capabilities
// allow. The audience of a replica only views.
func (k *socket) mayShare() bool {
	return k.who.Primary == nil && k.content.Load().CanSend() && k.hasContent()
}

func (k *socket) mayView() bool { return k.content.Load().CanReceive() && k.hasContent() }

func (k *socket) hasContent() bool {
	return k.who.Meeting.Features.MaxContent() != meeting.Resolution{}
}

// send queues a message; a socket that does not take its messages is ended, and
// its client comes back.
func (k *socket) send(msg []byte) {
	select {
	case k.out <- msg:
	default:
		k.end(websocket.StatusTryAgainLater, "the client does not keep up")
	}
}

func (k *socket) end(code websocket.StatusCode, reason string) {
	select {
	case k.ending <- ending{code, reason}:
	default:
	}
}

func (k *socket) write(msg []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return k.conn.Write(ctx, websocket.MessageBinary, msg)
}

// close says why and does not wait long for the answer, which the reader gets:
// without its read the connection is gone.
func (k *socket) close(e ending, stopReading func()) {
	stuck := time.AfterFunc(closeTimeout, stopReading)
	defer stuck.Stop()
	_ = k.conn.Close(e.code, e.reason)
}

// serve runs a socket from its upgrade to its end: write is its writer, which
// returns what to close the socket with, or when read, the reader, is over.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, k *socket, token string, protocols []string,
	read func(*room, func() ([]byte, error)), write func(r *room, over <-chan struct{}) ending) {
	leave, ok := s.admit(w)
	if !ok {
		return
	}
	defer leave()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: protocols, InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered with the reason
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxControl)
	k.conn, k.out, k.ending = conn, make(chan []byte, outQueue), make(chan ending, 1)
	if k.who, err = s.cfg.Auth.Authenticate(r.Context(), meeting.Secret(token)); err != nil {
		s.metrics.refused.WithLabelValues("token").Inc()
		// 1000 is final to these clients: they do not try again.
		_ = conn.Close(websocket.StatusNormalClosure, "the join token is not valid")
		return
	}
	first := &k.who.Attendee.Capabilities.Content
	k.content.Store(first)
	place, err := s.enter(k)
	if err != nil {
		_ = conn.Close(websocket.StatusGoingAway, "the server is stopping")
		return
	}
	defer s.leave(place, k)
	// What happened between the proof and the entry nobody told this socket.
	if now, err := s.cfg.Auth.Authenticate(r.Context(), meeting.Secret(token)); err != nil {
		k.end(websocket.StatusNormalClosure, "the join token is not valid any more")
	} else {
		k.content.CompareAndSwap(first, &now.Attendee.Capabilities.Content)
	}
	stopped := context.AfterFunc(r.Context(), func() { k.end(websocket.StatusGoingAway, "the server is stopping") })
	defer stopped()

	reading, stopReading := context.WithCancel(context.Background())
	defer stopReading()
	over, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		if e := write(place, over); e.code != 0 {
			k.close(e, stopReading)
		}
		_ = conn.CloseNow() // so that the reader ends too
	}()
	bytes, messages := rate.NewLimiter(bytesPerSecond, 2*maxMessage), rate.NewLimiter(messagesPerSecond, 2*messagesPerSecond)
	read(place, func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(reading, 4*s.cfg.Heartbeat)
		defer cancel()
		_, msg, err := conn.Read(ctx)
		if err == nil {
			err = messages.Wait(ctx)
		}
		if err == nil {
			err = bytes.WaitN(ctx, len(msg))
		}
		return msg, err
	})
	close(over)
	<-written
}
