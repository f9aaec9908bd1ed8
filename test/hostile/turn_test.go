package hostile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	pionturn "github.com/pion/turn/v5"

	"belfry/internal/observe"
)

// relay is the TURN server with credentials for it.
type relay struct {
	addr, username, password string
}

func (w *world) relay(t *testing.T, token string) relay {
	t.Helper()
	status, body := w.turnControl(t, token)
	var c struct {
		Username, Password string
		URIs               []string
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusOK || len(c.URIs) == 0 {
		t.Fatalf("TURN control: %d %s", status, body)
	}
	addr, _, _ := strings.Cut(strings.TrimPrefix(c.URIs[0], "turn:"), "?")
	return relay{addr, c.Username, c.Password}
}

func (w *world) turnControl(t *testing.T, token string) (status int, body string) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodPost, *w.meeting.MediaPlacement.TurnControlUrl, strings.NewReader("{}"))
	req.Header.Set("X-Chime-Auth-Token", "_aws_wt_session="+token)
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// client speaks TURN over a socket of its own.
func (r relay) client(t *testing.T) *pionturn.Client {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := pionturn.NewClient(&pionturn.ClientConfig{
		STUNServerAddr: r.addr, TURNServerAddr: r.addr, Conn: conn, Username: r.username, Password: r.password, Realm: "belfry",
		RTO: 50 * time.Millisecond, LoggerFactory: observe.PionLogs(observe.NewLogger(io.Discard, "error", "text")),
	})
	if err == nil {
		err = c.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); conn.Close() })
	return c
}

func (r relay) refused(t *testing.T, why string) {
	t.Helper()
	conn, err := r.client(t).Allocate()
	if err == nil {
		conn.Close()
		t.Errorf("a relay for %s", why)
	}
}

const (
	turnRefused = "belfry_turn_refused_total"
	turnBlocked = "belfry_turn_blocked_total"
)

func attackTURN(t *testing.T, w *world) {
	mallory := w.attendee(t, w.meeting, "mallory")
	good := w.relay(t, *mallory.JoinToken)
	udp := func(t *testing.T) *stranger {
		s := w.stranger(t)
		s.conn.Close()
		s.work.Wait()
		conn, err := net.Dial("udp4", good.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.conn = conn.(*net.UDPConn)
		s.work.Go(s.read)
		t.Cleanup(func() { conn.Close() })
		return s
	}
	allocate := func(more ...stun.Setter) []byte {
		m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest),
			stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}}, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}

	w.attack(t, "garbage at the relay", []string{turnRefused}, func(t *testing.T) {
		s := udp(t)
		for i := range 2000 {
			b := noise(1 + i%1500)
			b[0] = byte(i)
			s.write(b)
		}
		m := allocate()
		for i := range 300 {
			s.write(m[:i%len(m)], append(append([]byte{}, m[:20]...), noise(i%40)...), []byte{0x40, byte(i), 0xff, 0xff, 1, 2})
		}
	})
	w.attack(t, "a flood of requests without credentials", []string{turnRefused}, func(t *testing.T) {
		s := udp(t)
		for range 10_000 {
			s.write(allocate())
		}
		if n := w.metrics(t)["belfry_turn_allocations"]; n != 0 {
			t.Errorf("%v relays", n)
		}
	})
	w.attack(t, "credentials that are not good", []string{turnRefused}, func(t *testing.T) {
		bad := good
		bad.password = "wrong"
		bad.refused(t, "a wrong password")
		bad = good
		bad.username = strconv.FormatInt(time.Now().Add(1000*time.Hour).Unix(), 10) + good.username[strings.IndexByte(good.username, ':'):]
		bad.refused(t, "a life made longer")
		// Anybody can make up a user name; without the server's secret none fits.
		mac := hmac.New(sha256.New, nil)
		bad.username = fmt.Sprintf("%d:%s", time.Now().Add(-time.Hour).Unix(), *mallory.AttendeeId)
		bad.password = fmt.Sprintf("%x", mac.Sum([]byte(bad.username)))
		bad.refused(t, "a life that is over")
		for _, username := range []string{"", ":", "x", "9999999999:", strings.Repeat("9", 400) + ":x"} {
			bad.username = username
			bad.refused(t, "the user name "+username)
		}
		gone := w.attendee(t, w.meeting, "gone")
		ghost := w.relay(t, *gone.JoinToken)
		w.deleteAttendee(t, w.meeting, gone)
		ghost.refused(t, "a deleted attendee")
		if status, _ := w.turnControl(t, *gone.JoinToken); status != http.StatusForbidden {
			t.Errorf("credentials for a deleted attendee: %d", status)
		}
	})
	w.attack(t, "a relay to elsewhere", []string{turnBlocked}, func(t *testing.T) {
		c := good.client(t)
		conn, err := c.Allocate()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		victim, err := net.ListenPacket("udp4", "127.0.0.1:0") // on the address of our media, at another port
		if err != nil {
			t.Fatal(err)
		}
		defer victim.Close()
		for _, to := range []string{"169.254.169.254:80", "10.0.0.1:53", "192.0.2.1:7100", "127.0.0.2:7100", "0.0.0.0:1", "255.255.255.255:9"} {
			addr, _ := net.ResolveUDPAddr("udp4", to)
			if err := c.CreatePermission(addr); err == nil {
				t.Errorf("a permission for %s", to)
			}
			if _, err := conn.WriteTo([]byte("hello"), addr); err == nil {
				t.Errorf("a packet for %s was taken", to)
			}
		}
		for range 50 {
			_, _ = conn.WriteTo([]byte("hello"), victim.LocalAddr()) // the permission is for all ports, the relay is not
		}
		eventually(t, "the packets at the relay", func() bool { return w.metrics(t)[turnBlocked] >= 50 })
		_ = victim.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, from, err := victim.ReadFrom(make([]byte, 100)); err == nil {
			t.Errorf("%d bytes came through from %v", n, from)
		}
	})
	w.attack(t, "a channel to the metadata address", []string{turnRefused}, func(t *testing.T) {
		s := udp(t)
		answers := make(chan *stun.Message, 10)
		on := func(m *stun.Message) { answers <- m }
		s.onSTUN.Store(&on)
		ask := func(b []byte) *stun.Message {
			s.write(b)
			select {
			case m := <-answers:
				return m
			case <-time.After(patience):
				t.Fatal("no answer")
				return nil
			}
		}
		challenge := ask(allocate())
		var nonce stun.Nonce
		if err := nonce.GetFrom(challenge); err != nil {
			t.Fatal(err)
		}
		proof := []stun.Setter{stun.NewUsername(good.username), stun.NewRealm("belfry"), nonce,
			stun.NewLongTermIntegrity(good.username, "belfry", good.password)}
		if m := ask(allocate(proof...)); m.Type.Class != stun.ClassSuccessResponse {
			t.Fatalf("no relay: %v", m)
		}
		for _, ip := range []net.IP{net.IPv4(169, 254, 169, 254), net.IPv4(10, 0, 0, 1)} {
			m := &stun.Message{TransactionID: stun.NewTransactionID()}
			m.WriteHeader()
			bind, err := stun.Build(append([]stun.Setter{m, stun.NewType(stun.MethodChannelBind, stun.ClassRequest),
				stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{0x40, 0, 0, 0}},
				xorPeer{ip}}, proof...)...)
			if err != nil {
				t.Fatal(err)
			}
			if m := ask(bind.Raw); m.Type.Class != stun.ClassErrorResponse {
				t.Errorf("a channel to %v: %v", ip, m)
			}
		}
		end, _ := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest),
			stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)}}, proof...)...)
		ask(end.Raw)
	})
	w.attack(t, "more relays than one needs", []string{turnRefused}, func(t *testing.T) {
		open := 0
		for range 40 {
			if conn, err := good.client(t).Allocate(); err == nil {
				open++
				t.Cleanup(func() { conn.Close() })
			}
		}
		if open == 0 || open > 24 {
			t.Errorf("%d relays for one attendee", open)
		}
	})
	w.attack(t, "TCP to the relay", []string{turnRefused}, func(t *testing.T) {
		var conns []net.Conn
		for i := range 300 {
			conn, err := net.Dial("tcp", good.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns = append(conns, conn)
			switch {
			case i > 20:
			case i%4 == 1:
				_, _ = conn.Write(allocate()[:i%20]) // and never the rest
			case i%4 == 2:
				_, _ = conn.Write(noise(500))
			case i%4 == 3:
				_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			}
		}
		// Those too many are closed at once, the others in time.
		_ = conns[len(conns)-1].SetReadDeadline(time.Now().Add(patience))
		if _, err := conns[len(conns)-1].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("three hundred connections of one address are open (%v)", err)
		}
	})
}

// xorPeer is XOR-PEER-ADDRESS with port 80.
type xorPeer struct{ ip net.IP }

func (x xorPeer) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress{IP: x.ip, Port: 80}.AddToAs(m, stun.AttrXORPeerAddress)
}
