package app

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"belfry/internal/config"

	"belfry/test/kit"
)

// figure is a metric's value.
func figure(t *testing.T, s *Server, name string) (value float64) {
	t.Helper()
	for line := range strings.SplitSeq(get(t, s.selfURL()+"/metrics"), "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}

func becomes(t *testing.T, s *Server, name string, want float64) {
	t.Helper()
	kit.EventuallyNone(t, func() string {
		if got := figure(t, s, name); got != want {
			return fmt.Sprintf("%s is %v, not %v", name, got, want)
		}
		return ""
	})
}

// The port of the API takes the connections of media too, and tells them apart by
// their first byte.
func TestMediaOnThePortOfTheAPI(t *testing.T) {
	s := start(t, settings(t), io.Discard)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(kit.Patience))
		return conn
	}

	// A request in pieces is one of HTTP, and so is what follows it.
	conn := dial()
	answers := bufio.NewReader(conn)
	for range 2 {
		for _, piece := range []string{"G", "ET /healthz HT", "TP/1.1\r\nHost: x\r\n\r\n"} {
			if _, err := io.WriteString(conn, piece); err != nil {
				t.Fatal(err)
			}
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "ok\n" {
			t.Fatalf("HTTP answers %q", body)
		}
	}

	// A check, in pieces too, is answered in a frame: this one with an error.
	media := dial()
	request := []byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	request = withFingerprint(request)
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...)
	for _, piece := range [][]byte{frame[:1], frame[1:9], frame[9:]} {
		if _, err := media.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(media, head); err != nil || head[2] != 1 || head[3] != 0x11 {
		t.Fatalf("a check is answered by %v, %v", head, err)
	}
	becomes(t, s, "belfry_media_tcp_connections", 1)
	media.Close()
	becomes(t, s, "belfry_media_tcp_connections", 0)

	// One that is open when the server stops does not hold it up.
	if _, err := dial().Write(frame); err != nil {
		t.Fatal(err)
	}
	becomes(t, s, "belfry_media_tcp_connections", 1)
}

// withFingerprint appends a FINGERPRINT to a message without attributes.
func withFingerprint(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], 8)
	sum := crc32.ChecksumIEEE(b) ^ 0x5354554e
	b = append(b, 0x80, 0x28, 0, 4)
	return binary.BigEndian.AppendUint32(b, sum)
}

// Which TCP port media gets, by the settings.
func TestMediaTCPPort(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		shared bool
	}{
		{"nothing said", func(*config.Config) {}, true},
		{"UDP elsewhere", func(c *config.Config) { c.MediaListen = "127.0.0.1:0" }, false},
		{"TCP elsewhere", func(c *config.Config) { c.MediaTCPListen = "127.0.0.1:0" }, false},
		{"no TCP", func(c *config.Config) { c.MediaTransports = []string{"udp"} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := settings(t)
			if tt.name == "TCP elsewhere" {
				cfg.Listen = freePort(t)
			}
			tt.change(&cfg)
			s := start(t, cfg, io.Discard)
			conn, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(kit.Patience))
			if s.mediaOnHTTP != tt.shared {
				t.Errorf("on the API's port is %v", s.mediaOnHTTP)
			}
			if tt.shared {
				return
			}
			// There a frame is a request that cannot be read.
			if _, err := conn.Write([]byte{0, 20, 0, 1, '\r', '\n', '\r', '\n'}); err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
				t.Errorf("a frame is answered by %q", got)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
