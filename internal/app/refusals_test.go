package app

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Whatever is sent, what comes back has the form that SDKs can read.
func TestEveryRefusalIsAnObject(t *testing.T) {
	s := start(t, settings(t), &logged{})
	const signed = " HTTP/1.1\r\nHost: x\r\n"
	for _, c := range []struct {
		name, send string
		status     int
		errorType  string
	}{
		{"no HTTP", "hello\r\n\r\n", 400, "MalformedHttpRequestException"},
		{"no method", " / HTTP/1.1\r\n\r\n", 400, "MalformedHttpRequestException"},
		{"no host", "GET /meetings HTTP/1.1\r\n\r\n", 400, "MalformedHttpRequestException"},
		{"a broken header", "GET /meetings HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "MalformedHttpRequestException"},
		{"a broken escape", "GET /meetings/%zz" + signed + "\r\n", 400, "MalformedHttpRequestException"},
		{"two lengths", "POST /meetings" + signed + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "MalformedHttpRequestException"},
		{"an unknown version", "GET /meetings HTTP/3.7\r\nHost: x\r\n\r\n", 505, "MalformedHttpRequestException"},
		{"an unknown coding", "POST /meetings" + signed + "Transfer-Encoding: rot13\r\n\r\n", 501, "MalformedHttpRequestException"},
		{"an unknown expectation", "POST /meetings" + signed + "Expect: applause\r\nContent-Length: 2\r\n\r\n{}", 417, "MalformedHttpRequestException"},
		{"too many headers", "GET /meetings" + signed + strings.Repeat("X-More: "+strings.Repeat("x", 1000)+"\r\n", 80) + "\r\n", 431, "RequestHeaderFieldsTooLargeException"},
		{"a long line", "GET /" + strings.Repeat("x", 80<<10) + signed + "\r\n", 431, "RequestHeaderFieldsTooLargeException"},
		{"HTTP/1.0", "GET /meetings HTTP/1.0\r\n\r\n", 403, "MissingAuthenticationTokenException"},
		{"no signature", "GET /meetings" + signed + "Connection: close\r\n\r\n", 403, "MissingAuthenticationTokenException"},
		{"OPTIONS of all", "OPTIONS *" + signed + "Connection: close\r\n\r\n", 403, "MissingAuthenticationTokenException"},
		{"PATCH", "PATCH /meetings" + signed + "Connection: close\r\nContent-Length: 0\r\n\r\n", 403, "MissingAuthenticationTokenException"},
		{"an unknown path", "GET /no/such/path" + signed + "Connection: close\r\n\r\n", 403, "MissingAuthenticationTokenException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, c.send) }() // the server may stop reading
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.status || answer.Header.Get("X-Amzn-ErrorType") != c.errorType {
				t.Errorf("answered %d %q, want %d %s: %s", answer.StatusCode, answer.Header, c.status, c.errorType, body)
			}
			var object map[string]string
			if err := json.Unmarshal(body, &object); err != nil || object["message"] == "" || answer.Header.Get("Content-Type") != "application/json" {
				t.Errorf("the body is %q of type %s", body, answer.Header.Get("Content-Type"))
			}
			if _, err := uuid.Parse(answer.Header.Get("X-Amzn-RequestId")); err != nil || answer.Header.Get("Date") == "" {
				t.Errorf("the headers are %v", answer.Header)
			}
		})
	}
}

// A handler's own answer of the same status passes as it is.
func TestOtherAnswersPass(t *testing.T) {
	for _, answer := range []string{
		"", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nx",
		"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nDate: now\r\nConnection: close\r\n\r\nx",
		"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n{}", "\x81\x05hello",
	} {
		if _, _, ok := serverRefusal([]byte(answer)); ok {
			t.Errorf("%q is taken for the HTTP server's own", answer)
		}
	}
}

// A server that is on its way down says so in the form of the API, for it is
// the API's clients that try again.
func TestStoppingServerAnswersInForm(t *testing.T) {
	log := &logged{}
	s := start(t, settings(t), log)
	r := newRouter(s.logger)
	if err := r.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/meetings", nil))
	if w.Code != 503 || w.Header().Get("X-Amzn-ErrorType") != "ServiceUnavailableException" || w.Header().Get("Retry-After") == "" ||
		!strings.Contains(w.Body.String(), `"Code":"ServiceUnavailable"`) {
		t.Errorf("answered %d %v %s", w.Code, w.Header(), w.Body)
	}
}
