package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The HTTP server answers by itself, in plain text, what it cannot read as a
// request: a malformed line, too many headers, an unknown transfer coding.
// AWS SDKs take an answer that is not a JSON object for a fault of their own, so
// such answers are put into the form that all others have, on their way out.

// refusalListener hands out connections that do so.
type refusalListener struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l refusalListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &refusalConn{Conn: conn, log: l.log}, nil
}

type refusalConn struct {
	net.Conn
	log *slog.Logger
}

const plainRefusal = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Write implements net.Conn. The server writes such an answer in one piece,
// without the Date that every answer of ours has.
func (c *refusalConn) Write(p []byte) (int, error) {
	status, says, ok := serverRefusal(p)
	if !ok {
		return c.Conn.Write(p)
	}
	id := uuid.NewString()
	c.log.Info("malformed request", "request", id, "status", status)
	if _, err := c.Conn.Write(refusal(status, says, id, time.Now())); err != nil {
		return 0, err
	}
	return len(p), nil
}

// serverRefusal takes an answer of the HTTP server's own apart.
func serverRefusal(p []byte) (status int, says string, ok bool) {
	if len(p) < len("HTTP/1.1 400 ") || !bytes.HasPrefix(p, []byte("HTTP/1.")) || (p[9] != '4' && p[9] != '5') {
		return 0, "", false
	}
	line, rest, _ := strings.Cut(string(p[:min(len(p), 1024)]), "\r\n")
	status, err := strconv.Atoi(line[9:12])
	if err != nil {
		return 0, "", false
	}
	if status == http.StatusExpectationFailed { // for an Expect that is not 100-continue; without a body
		return status, "the expectation in the header Expect is not known", true
	}
	says, ok = strings.CutPrefix("\r\n"+rest, plainRefusal)
	return status, says, ok
}

func refusal(status int, says, id string, at time.Time) []byte {
	name := "MalformedHttpRequestException"
	if status == http.StatusRequestHeaderFieldsTooLarge {
		name, says = "RequestHeaderFieldsTooLargeException", "the headers are longer than this server reads"
	}
	body, _ := json.Marshal(struct {
		Message string `json:"message"`
	}{"The request could not be read: " + says})
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\n"+
		"X-Amzn-ErrorType: %s\r\nX-Amzn-Requestid: %s\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), at.UTC().Format(http.TimeFormat), name, id, body)
}
