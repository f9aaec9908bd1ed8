package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	awsv2 "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/coder/websocket"
)

// says sends the bytes of a request and gives the answer's status, 0 for none,
// and the beginning of its body.
func (w *world) says(t *testing.T, request string) (status int, body string) {
	t.Helper()
	conn := w.dialTCP(t)
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return resp.StatusCode, string(b)
}

// signed sends a request that carries a right signature.
func (w *world) signed(t *testing.T, method, path string, body []byte, change func(*http.Request)) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, w.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(req)
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(t.Context(), awsv2.Credentials{AccessKeyID: keyID, SecretAccessKey: secretKey}, req,
		hex.EncodeToString(sum[:]), "chime", "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return resp.StatusCode, string(b)
}

func attackHTTP(t *testing.T, w *world) {
	token := *w.attendee(t, w.meeting, "mallory").JoinToken
	const apiRequests = "belfry_api_requests_total{"
	clientErrors := func(status int) bool { return status >= 400 && status <= 499 }

	w.attack(t, "requests that do not end", nil, func(t *testing.T) {
		for i := range 300 {
			conn := w.dialTCP(t)
			switch i % 3 {
			case 0:
				_, _ = io.WriteString(conn, "GET /meetings HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			case 1:
				_, _ = io.WriteString(conn, "POST /v1/client-events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
			case 2:
				_, _ = io.WriteString(conn, "POST /meetings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
			}
		}
	})
	w.attack(t, "huge headers", nil, func(t *testing.T) {
		for _, request := range []string{
			"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n",
			"GET /" + strings.Repeat("y", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			if status, _ := w.says(t, request); status != 0 && !clientErrors(status) {
				t.Errorf("%.20q… was answered with %d", request, status)
			}
		}
	})
	w.attack(t, "lines that are not HTTP", nil, func(t *testing.T) {
		for _, request := range []string{
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "\r\n\r\n\r\n\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"POST /meetings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
			"POST /meetings HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
			"POST /meetings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
			"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		} {
			conn := w.dialTCP(t)
			_, _ = io.WriteString(conn, request)
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && !clientErrors(resp.StatusCode) && resp.StatusCode != 505 {
				t.Errorf("%q was answered with %s", request, resp.Status)
			}
		}
	})
	w.attack(t, "paths that lead elsewhere", []string{apiRequests}, func(t *testing.T) {
		for _, path := range []string{
			"/../../../../etc/passwd", "/meet/../../etc/passwd", "/meet/%2e%2e/%2e%2e/etc/passwd", "/meet/..%2f..%2fetc%2fpasswd", "/meet/assets/..\\..\\go.mod",
			"//etc/passwd", "/%00", "/meet/%00", "/meetings/%2e%2e/credentials", "/control/", "/control/a/b", "/control/..%2f", "/control/%00",
			"/debug/pprof/", "/.git/config", "/metrics/..", "http://169.254.169.254/latest/meta-data/", "*", "/meetings/" + strings.Repeat("%2f", 5000),
		} {
			for _, method := range []string{"GET", "DELETE", "TRACE", "BREW"} {
				status, body := w.says(t, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				if !clientErrors(status) && !(status < 400 && strings.HasPrefix(path, "/meet/")) {
					t.Errorf("%s %.60s was answered with %d %.100q", method, path, status, body)
				}
				if strings.Contains(body, "root:") || strings.Contains(body, "aws_secret") || strings.Contains(body, "module belfry") {
					t.Errorf("%s %s gives a file away", method, path)
				}
			}
		}
		status, _ := w.says(t, "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n")
		if !clientErrors(status) {
			t.Errorf("CONNECT was answered with %d", status)
		}
	})
	w.attack(t, "bodies that are not JSON", []string{`belfry_api_requests_total{api="chime",operation="CreateMeeting",status="4xx"}`}, func(t *testing.T) {
		var bomb bytes.Buffer
		z, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
		_, _ = z.Write(make([]byte, 8<<20))
		z.Close()
		for name, body := range map[string][]byte{
			"nested lists":   []byte(strings.Repeat("[", 200_000)),
			"nested objects": []byte(strings.Repeat(`{"Tags":`, 20_000)),
			"deep member":    []byte(`{"ClientRequestToken":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`),
			"cut short":      []byte(`{"ClientRequestToken":"x`),
			"two values":     []byte(`{} {}`),
			"binary":         noise(1000),
			"wrong kinds":    []byte(`{"ClientRequestToken":{"a":1},"MediaRegion":7,"Tags":"x"}`),
			"huge numbers":   []byte(`{"ClientRequestToken":` + strings.Repeat("9", 100_000) + `}`),
			"huge":           bytes.Repeat([]byte(" "), 2<<20),
			"gzip":           bomb.Bytes(),
		} {
			status, answer := w.signed(t, "POST", "/meetings", body, func(r *http.Request) {
				if name == "gzip" {
					r.Header.Set("Content-Encoding", "gzip")
				}
			})
			if name == "huge" && status == 0 {
				continue // the connection was closed before all was sent
			}
			if !clientErrors(status) || !strings.Contains(strings.ToLower(answer), "message") {
				t.Errorf("%s: answered with %d %.200s", name, status, answer)
			}
		}
	})
	w.attack(t, "without a right signature", []string{apiRequests}, func(t *testing.T) {
		for _, authorization := range []string{
			"", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 " + strings.Repeat("=,", 20_000), "Basic eDp5",
			"AWS4-HMAC-SHA256 Credential=" + keyID + "/20200101/us-east-1/chime/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("0", 64),
			"AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;;;;, Signature=\xff",
		} {
			status, body := w.says(t, "POST /meetings HTTP/1.1\r\nHost: x\r\nAuthorization: "+authorization+"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			if !clientErrors(status) || body == "" {
				t.Errorf("%.60q: answered with %d %q", authorization, status, body)
			}
		}
	})
	w.attack(t, "events of clients that are none", []string{`belfry_client_events_refused_total{status="400"}`, `belfry_client_events_refused_total{status="403"}`, `belfry_client_events_refused_total{status="413"}`}, func(t *testing.T) {
		post := func(token, body string, want int) {
			t.Helper()
			req, _ := http.NewRequest("POST", w.url+"/v1/client-events", strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := w.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, _ := io.ReadAll(resp.Body); resp.StatusCode != want || !bytes.Contains(b, []byte("message")) {
				t.Errorf("%.40q: %d %s, want %d", body, resp.StatusCode, b, want)
			}
		}
		post(token, strings.Repeat("[", 200_000), 400)
		post(token, `{"events":[`+strings.Repeat(`{"payloads":[[`, 1000), 400)
		post(token, strings.Repeat(" ", 300<<10), 413)
		post("made-up", "{}", 403)
		var many strings.Builder // names that would each be a metric of their own
		for i := range 4000 {
			fmt.Fprintf(&many, `{"name":"n%d"},`, i)
		}
		req, _ := http.NewRequest("POST", w.url+"/v1/client-events", strings.NewReader(`{"events":[{"payloads":[`+strings.TrimSuffix(many.String(), ",")+`]}]}`))
		req.Header.Set("Authorization", "Bearer "+token)
		if resp, err := w.http.Do(req); err != nil || resp.StatusCode != 200 {
			t.Errorf("%v %v", resp, err)
		} else {
			resp.Body.Close()
		}
		names := 0
		for name := range w.metrics(t) {
			if strings.HasPrefix(name, "belfry_client_events_total{") {
				names++
			}
		}
		if names > 65 {
			t.Errorf("%d names of events became metrics", names)
		}
	})
	w.attack(t, "screen sockets", nil, func(t *testing.T) {
		ws := "ws" + strings.TrimPrefix(w.url, "http")
		for _, x := range []struct{ path, token string }{{"/ws/connect?session_token=", token}, {"/ws/connect?session_token=", "made-up"}, {"/v2/screen/x", token}, {"/v2/screen/x", "made-up"}} {
			path, protocols := x.path, []string{"_aws_wt_session", x.token}
			if strings.HasSuffix(path, "=") {
				path, protocols = path+x.token, nil
			}
			conn, _, err := websocket.Dial(within(t), ws+path, &websocket.DialOptions{HTTPClient: w.http, Subprotocols: protocols})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{{}, {4}, {6}, {3}, noise(5000), make([]byte, 1<<20+1)} {
				_ = conn.Write(within(t), websocket.MessageBinary, b)
			}
			for err == nil {
				_, _, err = conn.Read(within(t))
			}
			if code := websocket.CloseStatus(err); code != websocket.StatusMessageTooBig && code != websocket.StatusNormalClosure {
				t.Errorf("%s: %v", x.path, err)
			}
			_ = conn.CloseNow()
		}
	})
}
