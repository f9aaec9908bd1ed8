package app

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"belfry/internal/observe"
)

// Every request leaves one line with the id that its answer has, whoever
// answered it; the machines' regular questions only at debug.
func TestEveryRequestIsLoggedWithItsID(t *testing.T) {
	log := &logged{}
	s := start(t, settings(t), log)
	_, signalingURL, token := populate(t, s)
	socket, answer, err := websocket.Dial(t.Context(), signalingURL, &websocket.DialOptions{
		Subprotocols: []string{"_aws_wt_session", token.Reveal()},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.CloseNow()
	ids := map[string]string{"signaling": answer.Header.Get("X-Amzn-RequestId")}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for part, path := range map[string]string{
		"page": "/meet/", "turn": "/v2/turn_sessions?t=" + token.Reveal(), "client events": "/v1/client-events",
		"screen share": "/v2/screen/x", "screen view": "/ws/connect", "health": "/healthz", "metrics": "/metrics",
		"api": "/meetings",
	} {
		r, err := client.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		ids[part] = r.Header.Get("X-Amzn-RequestId")
	}
	stopServer(t, s) // a socket's line comes when it has ended
	text := log.String()
	for part, id := range ids {
		if id == "" {
			t.Errorf("%s: the answer has no request id", part)
			continue
		}
		lines := regexp.MustCompile("(?m)^.*request="+id+".*$").FindAllString(text, -1)
		if len(lines) != 1 {
			t.Errorf("%s: %d lines, want one: %q", part, len(lines), lines)
			continue
		}
		wantDebug := part == "health" || part == "metrics"
		if strings.Contains(lines[0], "level=DEBUG") != wantDebug {
			t.Errorf("%s: wrong level: %s", part, lines[0])
		}
		if part == "signaling" && !strings.Contains(lines[0], "status=101") {
			t.Errorf("the socket's line lacks the upgrade: %s", lines[0])
		}
	}
	if strings.Contains(text, token.Reveal()) {
		t.Error("the join token is in the log")
	}
}

// A socket that nobody else ends has ended when Close returns.
func TestCloseEndsScreenSockets(t *testing.T) {
	log := &logged{}
	s := start(t, settings(t), log)
	_, _, token := populate(t, s)
	socket, _, err := websocket.Dial(t.Context(), s.URL()+"/ws/connect?session_token="+token.Reveal(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	if _, greeting, err := socket.Read(t.Context()); err != nil || len(greeting) == 0 {
		t.Fatalf("the socket greeted with %v, %v", greeting, err)
	}
	stopServer(t, s)
	if !strings.Contains(log.String(), `part="screen view" status=101`) {
		t.Errorf("the socket is still served: the log has no line for it")
	}
}

// A fault of a handler is in the log with its stack, ends the one connection,
// and repeats nothing of what it was about.
func TestPanicIsLogged(t *testing.T) {
	log := &logged{}
	r := newRouter(observe.NewLogger(log, "info", "text"))
	defer r.end()
	r.turn = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("hush") })
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Start()
	if answer, err := server.Client().Get(server.URL + "/v2/turn_sessions"); err == nil {
		_ = answer.Body.Close()
		t.Errorf("the answer was %s", answer.Status)
	}
	server.Close()
	for _, want := range []string{"level=ERROR", "panic while serving", "part=turn", "http_test.go", "status=500"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	if strings.Contains(log.String(), "hush") {
		t.Error("the value of the panic is in the log")
	}
}
