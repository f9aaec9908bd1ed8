// Package screen answers ScreenDataUrl, ScreenSharingUrl and ScreenViewingUrl,
// which browser clients up to 1.22 use for a screen sharing of their own, apart
// from content share. Belfry shares screens as content; here a viewer is told
// that nothing is shared, and a sharer is told to stop.
package screen

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"belfry/internal/meeting"
)

// Authenticator proves a join token. meeting.Service is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token meeting.Secret) (meeting.Identity, error)
}

// Message types of the sharing and data sockets, and of the viewing socket.
const (
	streamStart       = 0x03
	streamStop        = 0x05
	heartbeatRequest  = 0x06
	heartbeatResponse = 0x07
	flagLocal         = 2

	echoRequest  = 4
	echoResponse = 5
	noScreen     = 7
)

const (
	protocol = "_aws_wt_session"
	idle     = 2 * time.Minute
	maxFrame = 1 << 20
	// maxSockets bounds those of one handler; only old clients open any.
	maxSockets = 2000
)

// Share answers ScreenDataUrl and ScreenSharingUrl, which are one address.
func Share(auth Authenticator) http.Handler {
	open := new(sockets)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var token string
		for p := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
			if p = strings.TrimSpace(p); p != protocol {
				token = p
			}
		}
		open.serve(w, r, auth, token, []string{protocol}, nil, func(msg []byte) []byte {
			switch msg[0] {
			case heartbeatRequest:
				return []byte{heartbeatResponse, flagLocal, 0, 0}
			case streamStart:
				return []byte{streamStop, flagLocal, 0, 0}
			}
			return nil
		})
	})
}

// View answers ScreenViewingUrl, which carries the token in its query.
func View(auth Authenticator) http.Handler {
	open := new(sockets)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.serve(w, r, auth, r.URL.Query().Get("session_token"), nil, []byte{noScreen}, func(msg []byte) []byte {
			if msg[0] == echoRequest {
				msg[0] = echoResponse
				return msg
			}
			return nil
		})
	})
}

// sockets are those of one handler.
type sockets struct {
	open atomic.Int64

	mu   sync.Mutex
	ends map[*http.Server]chan struct{} // of servers that are running
}

// stopping is closed when the HTTP server that a request came to is shut down,
// which by itself leaves WebSockets alone.
func (s *sockets) stopping(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if end, ok := s.ends[server]; ok {
		return end
	}
	if s.ends == nil {
		s.ends = map[*http.Server]chan struct{}{}
	}
	end := make(chan struct{})
	s.ends[server] = end
	server.RegisterOnShutdown(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.ends, server)
		close(end)
	})
	return end
}

// serve holds one socket: it sends greeting, then the reply to each message.
func (s *sockets) serve(w http.ResponseWriter, r *http.Request, auth Authenticator, token string, protocols []string, greeting []byte, reply func([]byte) []byte) {
	defer s.open.Add(-1)
	if s.open.Add(1) > maxSockets {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many screen sockets", http.StatusServiceUnavailable)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: protocols, InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered with the reason
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	over := make(chan struct{})
	defer close(over)
	go func(end <-chan struct{}) {
		select {
		case <-end:
			conn.CloseNow()
		case <-over:
		}
	}(s.stopping(r))
	if _, err := auth.Authenticate(r.Context(), meeting.Secret(token)); err != nil {
		// 1000 is final to these clients: they do not try again.
		conn.Close(websocket.StatusNormalClosure, "the join token is not valid")
		return
	}
	write := func(msg []byte) error {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		return conn.Write(ctx, websocket.MessageBinary, msg)
	}
	if greeting != nil && write(greeting) != nil {
		return
	}
	for {
		ctx, cancel := context.WithTimeout(r.Context(), idle)
		_, msg, err := conn.Read(ctx)
		cancel()
		if err != nil {
			return
		}
		if len(msg) == 0 {
			continue
		}
		if answer := reply(msg); answer != nil && write(answer) != nil {
			return
		}
	}
}
