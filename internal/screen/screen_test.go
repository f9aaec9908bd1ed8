package screen

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

type fakeAuth struct{}

func (fakeAuth) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	if token.Reveal() == "good" {
		return meeting.Identity{}, nil
	}
	return meeting.Identity{}, meeting.Errorf(meeting.CodeForbidden, "no")
}

func dial(t *testing.T, url string, protocols ...string) (*websocket.Conn, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn, ctx
}

func exchange(t *testing.T, conn *websocket.Conn, ctx context.Context, send, want []byte) {
	t.Helper()
	if send != nil {
		if err := conn.Write(ctx, websocket.MessageBinary, send); err != nil {
			t.Fatal(err)
		}
	}
	_, got, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSharerIsToldToStop(t *testing.T) {
	server := httptest.NewServer(Share(fakeAuth{}))
	defer server.Close()
	conn, ctx := dial(t, server.URL, protocol, "good")
	if conn.Subprotocol() != protocol {
		t.Errorf("got subprotocol %q", conn.Subprotocol())
	}
	exchange(t, conn, ctx, []byte{heartbeatRequest, flagLocal, 0, 0}, []byte{heartbeatResponse, flagLocal, 0, 0})
	exchange(t, conn, ctx, []byte{streamStart, flagLocal, 0, 0}, []byte{streamStop, flagLocal, 0, 0})
}

func TestViewerIsToldThatNothingIsShared(t *testing.T) {
	server := httptest.NewServer(View(fakeAuth{}))
	defer server.Close()
	conn, ctx := dial(t, server.URL+"/?passcode=null&session_token=good")
	exchange(t, conn, ctx, nil, []byte{noScreen})
	exchange(t, conn, ctx, []byte{echoRequest, 9, 8}, []byte{echoResponse, 9, 8})
}

func TestBadTokenIsFinal(t *testing.T) {
	server := httptest.NewServer(View(fakeAuth{}))
	defer server.Close()
	conn, ctx := dial(t, server.URL+"/?session_token=bad")
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("got %v, want close 1000", err)
	}
}

// A socket does not outlive the server, which net/http would let it.
func TestShutdownEndsSockets(t *testing.T) {
	server := httptest.NewServer(View(fakeAuth{}))
	defer server.Close()
	conn, ctx := dial(t, server.URL+"/?session_token=good")
	exchange(t, conn, ctx, nil, []byte{noScreen})
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, want the end of the connection", err)
	}
}

func TestSocketsAreBounded(t *testing.T) {
	s := new(sockets)
	s.open.Store(maxSockets)
	w := httptest.NewRecorder()
	s.serve(w, httptest.NewRequest("GET", "/", nil), fakeAuth{}, "good", nil, nil, nil)
	if w.Code != 503 || s.open.Load() != maxSockets {
		t.Errorf("answered with %d, and %d are counted", w.Code, s.open.Load())
	}
}
