package turn

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/logging"
	pion "github.com/pion/turn/v5"

	"belfry/internal/meeting"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// echoPort stands in for the media port: it sends every packet back.
func echoPort(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Listen, cfg.Secret, cfg.Library = "127.0.0.1:0", []byte("secret"), logging.NewDefaultLoggerFactory()
	if cfg.TTL == 0 {
		cfg.TTL = time.Hour
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client allocates a relay over the transport, and returns its socket.
func client(t *testing.T, s *Server, transport, username, password string) (net.PacketConn, error) {
	t.Helper()
	var conn net.PacketConn
	if transport == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn = c
	} else {
		c, err := net.Dial("tcp4", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn = pion.NewSTUNConn(c)
	}
	c, err := pion.NewClient(&pion.ClientConfig{
		TURNServerAddr: s.Addr().String(), STUNServerAddr: s.Addr().String(), Conn: conn,
		Username: username, Password: password, Realm: realm, LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); conn.Close() })
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := c.Allocate()
	if err == nil {
		t.Cleanup(func() { relay.Close() })
	}
	return relay, err
}

func roundTrip(conn net.PacketConn, to netip.AddrPort, deadline time.Duration) (string, net.Addr, error) {
	if _, err := conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(to)); err != nil {
		return "", nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	buf := make([]byte, 100)
	n, from, err := conn.ReadFrom(buf)
	return string(buf[:n]), from, err
}

func TestRelayReachesOurMediaAlone(t *testing.T) {
	media, other := echoPort(t), echoPort(t)
	advertised := netip.MustParseAddrPort("127.0.0.1:9")
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			s := start(t, Config{Mode: Always, Media: []MediaAddress{{Advertised: media, Local: media}, {Advertised: advertised, Local: media}}})
			c := s.Credentials("attendee", netip.Addr{}, false)
			relay, err := client(t, s, transport, c.Username, c.Password.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := roundTrip(relay, media, kit.Patience); err != nil || got != "hello" {
				t.Errorf("our media through the relay: got %q, %v", got, err)
			}
			if s.Stats.Allocations.Load() != 1 {
				t.Errorf("got %d allocations, want 1", s.Stats.Allocations.Load())
			}
			// Same host, so the permission stands, but a port that is not ours.
			blocked := s.Stats.Blocked.Load()
			if got, _, err := roundTrip(relay, other, 300*time.Millisecond); err == nil {
				t.Errorf("another port of this machine answered %q through the relay", got)
			}
			eventually(t, "the packet to another port in the count of those blocked", func() bool { return s.Stats.Blocked.Load() > blocked })
			// Another host has no permission at all.
			if _, err := relay.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}); err == nil {
				t.Error("a permission for another host was given")
			}
		})
	}
}

func TestRelayAnswersFromTheAdvertisedAddress(t *testing.T) {
	media, advertised := echoPort(t), netip.MustParseAddrPort("198.51.100.7:7100")
	s := start(t, Config{Mode: Always, Media: []MediaAddress{{Advertised: advertised, Local: media}}})
	c := s.Credentials("attendee", netip.Addr{}, false)
	relay, err := client(t, s, "udp", c.Username, c.Password.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	got, from, err := roundTrip(relay, advertised, kit.Patience)
	if err != nil || got != "hello" || addrPort(from) != advertised {
		t.Errorf("got %q from %v, %v", got, from, err)
	}
}

func TestCredentials(t *testing.T) {
	var later atomic.Int64 // how far the clock has gone on
	var deleted atomic.Bool
	s := start(t, Config{
		Mode: Always,
		Now:  func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		Live: func(id string) bool { return !deleted.Load() && id == "attendee" },
	})
	good := s.Credentials("attendee"+meeting.ContentSuffix, netip.Addr{}, false)
	for name, test := range map[string]struct {
		username, password string
		prepare            func()
		ok                 bool
	}{
		"good":             {good.Username, good.Password.Reveal(), func() {}, true},
		"wrong password":   {good.Username, "x", func() {}, false},
		"another attendee": {strings.Replace(good.Username, "attendee", "attendant", 1), good.Password.Reveal(), func() {}, false},
		"longer life":      {"9" + good.Username, good.Password.Reveal(), func() {}, false},
		"no username":      {"x", "x", func() {}, false},
		"expired":          {good.Username, good.Password.Reveal(), func() { later.Store(int64(2 * time.Hour)) }, false},
		"deleted":          {good.Username, good.Password.Reveal(), func() { deleted.Store(true) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			test.prepare()
			defer func() { later.Store(0); deleted.Store(false) }()
			if _, err := client(t, s, "udp", test.username, test.password); (err == nil) != test.ok {
				t.Errorf("got %v, want ok=%v", err, test.ok)
			}
		})
	}
}

func TestModesDecideWhoIsGivenARelay(t *testing.T) {
	for _, test := range []struct {
		mode         Mode
		first, after bool
	}{{Always, true, true}, {Auto, false, true}, {Never, false, false}} {
		s := start(t, Config{Mode: test.mode})
		for needed, want := range map[bool]bool{false: test.first, true: test.after} {
			c := s.Credentials("a", netip.Addr{}, needed)
			if (len(c.URIs) == 2) != want || c.Username == "" || c.Password == "" {
				t.Errorf("mode %s, needed %v: got %d addresses", test.mode, needed, len(c.URIs))
			}
		}
	}
	s := start(t, Config{Mode: Always, Advertise: "turn.example.org:443"})
	want := []string{"turn:turn.example.org:443?transport=udp", "turn:turn.example.org:443?transport=tcp"}
	if diff := cmp.Diff(want, s.Credentials("a", netip.Addr{}, false).URIs); diff != "" {
		t.Error(diff)
	}
}

func TestQuota(t *testing.T) {
	s := start(t, Config{Mode: Always})
	c := s.Credentials("attendee", netip.Addr{}, false)
	for i := range maxAllocations {
		if _, err := client(t, s, "udp", c.Username, c.Password.Reveal()); err != nil {
			t.Fatalf("allocation %d: %v", i+1, err)
		}
	}
	if _, err := client(t, s, "udp", c.Username, c.Password.Reveal()); err == nil {
		t.Error("one allocation more than the quota was given")
	}
}

type fakeAuth map[string]error

func (f fakeAuth) Authenticate(_ context.Context, token meeting.Secret) (meeting.Identity, error) {
	err, known := f[token.Reveal()]
	if !known {
		err = meeting.Errorf(meeting.CodeForbidden, "no")
	}
	if err != nil {
		return meeting.Identity{}, err
	}
	return meeting.Identity{Attendee: &meeting.Attendee{ID: "attendee"}}, nil
}

func TestControl(t *testing.T) {
	s := start(t, Config{Mode: Auto})
	h := s.Control(fakeAuth{"good": nil, "busy": meeting.Errorf(meeting.CodeUnavailable, "later")})
	for name, test := range map[string]struct {
		method, target, token string
		want                  int
	}{
		"post":            {"POST", "/v2/turn_sessions?X-Amzn-Version=1.1.0", "_aws_wt_session=good", 200},
		"content session": {"POST", "/v2/turn_sessions", "_aws_wt_session=good#content", 200},
		"get with query":  {"GET", "/v2/turn_sessions?m=x&t=good", "", 200},
		"preflight":       {"OPTIONS", "/v2/turn_sessions", "", 204},
		"bad token":       {"POST", "/v2/turn_sessions", "_aws_wt_session=bad", 403},
		"no token":        {"POST", "/v2/turn_sessions", "", 403},
		"busy":            {"POST", "/v2/turn_sessions", "_aws_wt_session=busy", 503},
		"wrong method":    {"DELETE", "/v2/turn_sessions", "", 405},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.target, strings.NewReader(`{"meetingId":"m"}`))
			if test.token != "" {
				r.Header.Set("X-Chime-Auth-Token", test.token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.want || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("got %d, headers %v", w.Code, w.Header())
			}
			if test.want != http.StatusOK {
				return
			}
			var got struct {
				Username, Password string
				TTL                int
				URIs               []string
			}
			body, _ := io.ReadAll(w.Body)
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			if len(got.URIs) != 2 || got.TTL != 3600 || !strings.HasSuffix(got.Username, ":attendee") {
				t.Errorf("got %s", body)
			}
			if _, err := client(t, s, "udp", got.Username, got.Password); err != nil {
				t.Errorf("the credentials do not work: %v", err)
			}
		})
	}
}

func TestEveryAddressNeedsAnAdvertisedOne(t *testing.T) {
	_, err := Start(Config{Mode: Auto, Listen: "0.0.0.0:0", Library: logging.NewDefaultLoggerFactory()})
	if err == nil || !strings.Contains(err.Error(), "turn_advertise") {
		t.Errorf("got %v, want advice to set turn_advertise", err)
	}
}
