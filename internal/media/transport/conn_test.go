package transport

import (
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/dtls/v3"

	"belfry/internal/media/pipe"
	"belfry/internal/media/rtp"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

// Both DTLS roles under both profiles: media flows both ways.
func TestConnect(t *testing.T) {
	for _, tt := range []struct {
		name         string
		setup        string // of the client's SDP
		wantSetup    string // of the server's
		client, port []srtp.Profile
		want         srtp.Profile
	}{
		{"actpass, GCM preferred", SetupActPass, SetupPassive,
			[]srtp.Profile{srtp.AES_CM_128_HMAC_SHA1_80, srtp.AES_128_GCM}, nil, srtp.AES_128_GCM},
		{"active, counter mode only", SetupActive, SetupPassive,
			[]srtp.Profile{srtp.AES_CM_128_HMAC_SHA1_80}, nil, srtp.AES_CM_128_HMAC_SHA1_80},
		{"no setup, server without GCM", "", SetupPassive,
			[]srtp.Profile{srtp.AES_128_GCM, srtp.AES_CM_128_HMAC_SHA1_80},
			[]srtp.Profile{srtp.AES_CM_128_HMAC_SHA1_80}, srtp.AES_CM_128_HMAC_SHA1_80},
		{"passive, GCM", SetupPassive, SetupActive,
			[]srtp.Profile{srtp.AES_128_GCM}, nil, srtp.AES_128_GCM},
		{"passive, counter mode", SetupPassive, SetupActive,
			[]srtp.Profile{srtp.AES_CM_128_HMAC_SHA1_80}, nil, srtp.AES_CM_128_HMAC_SHA1_80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMux(t, Config{Profiles: tt.port, Sockets: 2})
			c, r := open(t, m)
			cl := newClient(t, m, c, tt.setup)
			if cl.remote.Setup != tt.wantSetup {
				t.Fatalf("the server says %q", cl.remote.Setup)
			}
			cl.profiles = nil
			for _, p := range tt.client {
				cl.profiles = append(cl.profiles, dtls.SRTPProtectionProfile(p))
			}
			if c.Profile() != 0 || c.RemoteAddr().IsValid() || !c.LastReceived().IsZero() {
				t.Error("something is known before anything came")
			}
			before := time.Now()
			cl.connect(r)
			for seq := range uint16(5) {
				cl.exchange(c, r, seq)
			}
			if c.Profile() != tt.want {
				t.Errorf("agreed on %v, not %v", c.Profile(), tt.want)
			}
			if c.RemoteAddr() != cl.addr() {
				t.Errorf("sends to %v, not %v", c.RemoteAddr(), cl.addr())
			}
			if at := c.LastReceived(); at.Before(before) || at.After(time.Now()) {
				t.Errorf("last received at %v", at)
			}
			if n := r.early.Load(); n != 0 {
				t.Errorf("%d runs before Connected", n)
			}
			st := m.Stats()
			if st.RTPIn.Load() < 5 || st.RTCPIn.Load() < 5 || st.RTPOut.Load() < 5 || st.RTCPOut.Load() < 5 {
				t.Errorf("counted %d and %d in, %d and %d out", st.RTPIn.Load(), st.RTCPIn.Load(), st.RTPOut.Load(), st.RTCPOut.Load())
			}
			if st.ConnsConnected.Load() != 1 || st.HandshakesDone.Load() != 1 || st.HandshakesFailed.Load() != 0 {
				t.Errorf("counted %d connected, %d and %d handshakes", st.ConnsConnected.Load(), st.HandshakesDone.Load(), st.HandshakesFailed.Load())
			}
			// The server goes: the client is told, the handler is not.
			c.Close()
			await(t, cl.dtlsDone, "close_notify")
			if st.ConnsOpen.Load() != 0 || st.ConnsConnected.Load() != 0 {
				t.Errorf("%d open, %d connected after Close", st.ConnsOpen.Load(), st.ConnsConnected.Load())
			}
			if len(r.closed) > 0 {
				t.Error("Closed is said after Close")
			}
			if len(m.byAddr) != 0 {
				t.Errorf("%d addresses are kept", len(m.byAddr))
			}
		})
	}
}

// Each datagram of the handshake is lost the first time; it succeeds all the same,
// in both roles.
func TestHandshakeWithLoss(t *testing.T) {
	for _, setup := range []string{SetupActive, SetupPassive} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			m := newMux(t, Config{})
			c, r := open(t, m)
			cl := newClient(t, m, c, setup)
			var mu sync.Mutex
			lost := map[bool]int{}
			var widest int
			lose := func(b []byte, sent bool) bool {
				mu.Lock()
				defer mu.Unlock()
				if !sent {
					widest = max(widest, len(b))
				}
				lost[sent]++
				return lost[sent]%2 == 1 && lost[sent] < 6
			}
			cl.lose.Store(&lose)
			cl.connect(r)
			cl.lose.Store(nil)
			cl.exchange(c, r, 1)
			mu.Lock()
			defer mu.Unlock()
			if lost[true] < 2 || lost[false] < 2 {
				t.Errorf("nothing was lost: %v", lost)
			}
			if widest > 1232 { // what fits IPv6's smallest MTU
				t.Errorf("the handshake has a datagram of %d bytes", widest)
			}
		})
	}
}

func TestHandshakeRefused(t *testing.T) {
	for _, setup := range []string{SetupActive, SetupPassive} {
		t.Run("fingerprint, client "+setup, func(t *testing.T) {
			m := newMux(t, Config{})
			c, r := open(t, m)
			cl := newStranger(t, m, c)
			_, other, err := makeCertificate(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			told := cl.local
			told.Fingerprint, told.Setup = other, setup
			if err := c.SetRemote(told); err != nil {
				t.Fatal(err)
			}
			cl.remote = c.Local()
			cl.nominate()
			go func() { _ = cl.shakeHands() }()
			if reason := await(t, r.closed, "Closed"); !strings.Contains(reason, "fingerprint") {
				t.Errorf("closed because of %q", reason)
			}
			if r.up.Load() || m.Stats().HandshakesFailed.Load() != 1 || m.Stats().HandshakesDone.Load() != 0 {
				t.Error("the handshake counts as done")
			}
			// Nothing can be sent on it.
			b := m.NewBatch()
			c.SendRTP(b, rtpPacket(1, 1, ""), nil)
			c.SendRTCP(b, report)
			if b.Pending() != 0 || m.Stats().SendDropped.Load() != 2 {
				t.Errorf("%d bytes wait, %d packets dropped", b.Pending(), m.Stats().SendDropped.Load())
			}
		})
	}
	t.Run("no profile in common", func(t *testing.T) {
		m := newMux(t, Config{Profiles: []srtp.Profile{srtp.AES_128_GCM}})
		c, r := open(t, m)
		cl := newClient(t, m, c, SetupActive)
		cl.profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}
		cl.nominate()
		go func() { _ = cl.shakeHands() }()
		await(t, r.closed, "Closed")
		if r.up.Load() {
			t.Error("Connected without keys")
		}
	})
	t.Run("silence", func(t *testing.T) {
		m := newMux(t, Config{HandshakeTimeout: 50 * time.Millisecond})
		c, r := open(t, m)
		newClient(t, m, c, SetupActive).nominate()
		if reason := await(t, r.closed, "Closed"); !strings.Contains(reason, "handshake") {
			t.Errorf("closed because of %q", reason)
		}
		if got := m.Stats().HandshakesFailed.Load(); got != 1 {
			t.Errorf("%d handshakes failed", got)
		}
		_ = c
	})
}

func TestClientCloses(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	cl.dtls.Close()
	if reason := await(t, r.closed, "Closed"); reason != errPeerClosed.Error() {
		t.Errorf("closed because of %q", reason)
	}
	c.Close()
	c.Close()
	if len(r.closed) > 0 {
		t.Error("Closed is said twice")
	}
}

func TestIdle(t *testing.T) {
	m := newMux(t, Config{})
	waiting, waitingEvents := open(t, m) // nobody was told of it: it may wait
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	silent, silentEvents := open(t, m) // told, and no check ever comes
	if err := silent.SetRemote(cl.local); err != nil {
		t.Fatal(err)
	}
	// A record of the handshake that is still being worked through counts as a sign
	// of life, so that the clock is put back until none is.
	deadline := time.Now().Add(patience)
	for len(r.closed) == 0 || len(silentEvents.closed) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("not closed after %v: told %d, silent %d", patience, len(r.closed), len(silentEvents.closed))
		}
		past := Now() - 2*int64(defaultIdleTimeout)
		for _, c := range []*Conn{c, silent} {
			c.awaiting.Store(past)
			c.received.Store(past)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, r := range []*recorder{r, silentEvents} {
		if reason := await(t, r.closed, "Closed"); reason != errIdle.Error() {
			t.Errorf("closed because of %q", reason)
		}
	}
	await(t, cl.dtlsDone, "close_notify")
	if got := m.Stats().IdleTimeouts.Load(); got != 2 {
		t.Errorf("%d timeouts counted", got)
	}
	if !waiting.live() || len(waitingEvents.closed) > 0 {
		t.Error("a Conn without a remote side was ended")
	}
	if got := m.Stats().ConnsOpen.Load(); got != 1 {
		t.Errorf("%d Conns are open", got)
	}
}

// Every kind of authentic packet puts the timeout off, what is not authentic does
// not.
func TestLastReceived(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	replayed := cl.sealRTP(rtpPacket(42, 2, "again"))
	cl.hand(m, replayed)
	forged := cl.sealRTCP(report)
	forged[8] ^= 1
	st := m.Stats()
	// What was on its way before, a repeated flight of the handshake or packet, is a
	// sign of life of its own, and has an end.
	noSign := func(name string, b []byte) {
		t.Helper()
		eventually(t, name+" to be no sign of life", func() bool {
			c.received.Store(1)
			cl.hand(m, b)
			return c.received.Load() == 1
		})
	}
	for _, tt := range []struct {
		name   string
		send   []byte
		counts bool
		seen   func() uint64
	}{
		{"check", cl.request(cl.remote.Pwd, controlling).Raw, true, st.ChecksAnswered.Load},
		{"RTP", cl.sealRTP(rtpPacket(42, 3, "x")), true, st.RTPIn.Load},
		{"RTCP", cl.sealRTCP(report), true, st.RTCPIn.Load},
		{"check with another password", cl.request("wrong", controlling).Raw, false, st.ChecksUnauthentic.Load},
		{"replayed RTP", replayed, false, st.DroppedReplayed.Load},
		{"forged RTCP", forged, false, st.DroppedUnauthentic.Load},
		{"a DTLS record that does not decrypt", append([]byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 20}, make([]byte, 20)...),
			false, nil},
	} {
		if tt.seen == nil {
			noSign(tt.name, tt.send)
			continue
		}
		before := tt.seen()
		if tt.counts {
			c.received.Store(1)
			if cl.hand(m, tt.send); c.received.Load() == 1 {
				t.Errorf("%s is no sign of life", tt.name)
			}
		} else {
			noSign(tt.name, tt.send)
		}
		if tt.seen() == before {
			t.Errorf("%s is not counted", tt.name)
		}
	}
}

func TestMuxClose(t *testing.T) {
	m := newMux(t, Config{Sockets: 2})
	fresh, freshEvents := open(t, m)
	_ = fresh
	told, toldEvents := open(t, m)
	newClient(t, m, told, SetupActive)
	half, halfEvents := open(t, m) // DTLS begun and not ended
	newClient(t, m, half, SetupPassive).nominate()
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)

	done := make(chan error, 2)
	for range 2 {
		go func() { done <- m.Close() }()
	}
	for range 2 {
		if err := await(t, done, "Close"); err != nil {
			t.Error(err)
		}
	}
	await(t, cl.dtlsDone, "close_notify")
	for i, r := range []*recorder{freshEvents, toldEvents, halfEvents, r} {
		if len(r.closed) > 0 {
			t.Errorf("Conn %d says Closed after Close", i)
		}
	}
	if got := m.Stats().ConnsOpen.Load(); got != 0 {
		t.Errorf("%d Conns are open", got)
	}
	if _, err := m.Open(newRecorder()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open after Close gives %v", err)
	}
}

// Datagrams of all kinds, from strangers and from where the client is, end no
// Conn and are all counted.
func TestGarbage(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 0)
	fresh, freshEvents := open(t, m)
	late := newClient(t, m, fresh, SetupActive)
	late.nominate()

	stranger := newStranger(t, m, nil)
	random := mrand.New(mrand.NewPCG(1, 2))
	firsts := []byte{0, 1, 2, 3, 4, 19, 20, 21, 22, 23, 24, 25, 63, 64, 127, 128, 144, 160, 191, 192, 255}
	st := m.Stats()
	dropped := func() uint64 {
		n := st.ChecksMalformed.Load() + st.ChecksUnknown.Load() + st.ChecksUnauthentic.Load()
		for _, v := range []uint64{st.DroppedGarbage.Load(), st.DroppedStrange.Load(), st.DroppedEarly.Load(),
			st.DroppedUnauthentic.Load(), st.DroppedMalformed.Load(), st.DroppedDTLS.Load(), st.DroppedReplayed.Load()} {
			n += v
		}
		return n
	}
	for round := range 30 {
		before, sent := dropped(), uint64(0)
		for _, first := range firsts {
			b := make([]byte, 1+random.IntN(200))
			_, _ = rand.Read(b)
			b[0] = first
			if round%3 == 0 && len(b) > 20 { // as far as the header goes it is right
				switch {
				case first <= 3:
					b = b[:len(b)&^3]
					copy(b, []byte{0, 1, 0, byte(len(b) - 20), 0x21, 0x12, 0xA4, 0x42})
				case first == 20 || first == 21 || first == 23:
					copy(b[1:], []byte{0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, byte(round), 0, byte(len(b) - 13)})
				}
			}
			for _, from := range []*client{cl, stranger, late} {
				from.hand(m, b)
				sent++
			}
		}
		if got := dropped() - before; got != sent {
			t.Fatalf("%d dropped datagrams counted, not %d", got, sent)
		}
		cl.exchange(c, r, uint16(round+1))
	}
	// The client is as alive as before, and who had not begun can.
	if len(cl.dtlsDone) > 0 || len(r.closed) > 0 || len(freshEvents.closed) > 0 {
		t.Fatal("garbage ended a Conn")
	}
	if err := late.shakeHands(); err != nil {
		t.Fatal(err)
	}
	await(t, freshEvents.connected, "Connected")
	late.exchange(fresh, freshEvents, 1)
}

// Floods from addresses that proved nothing start no handshake, keep no state,
// and are answered a bounded number of times.
func TestFlood(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	hello := append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 28}, make([]byte, 28)...)
	cl.remote.Ufrag = "nobody"
	l := newLoop(m, m.port.Sockets[0])
	goroutines, begun := runtime.NumGoroutine(), time.Now()
	const n = 2000
	packets := make([]udp.Packet, 2)
	check := cl.request("whatever it is, it is wrong")
	for i := range n {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), cl.addr().Port())
		stranger := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9)
		packets[0] = udp.Packet{Data: hello, Addr: stranger}
		packets[1] = udp.Packet{Data: check.Raw, Addr: from}
		l.handle(packets, Now())
	}
	st := m.Stats()
	if st.DroppedStrange.Load() != n || st.ChecksUnknown.Load() != n {
		t.Errorf("%d handshakes and %d checks were dropped, not %d", st.DroppedStrange.Load(), st.ChecksUnknown.Load(), n)
	}
	may := errorBurst + errorRate*(1+uint64(time.Since(begun)/time.Second))
	if limited := st.ErrorsLimited.Load(); limited+may < n || limited == 0 && may < n {
		t.Errorf("only %d of %d errors were left unsent", limited, n)
	}
	if got := runtime.NumGoroutine(); got > goroutines+2 {
		t.Errorf("%d goroutines, were %d", got, goroutines)
	}
	if len(m.byAddr) != 1 || len(m.byUfrag) != 1 {
		t.Errorf("%d addresses and %d names are kept", len(m.byAddr), len(m.byUfrag))
	}
	// On one Conn no more waits than its queue holds, and that is one handshake.
	half, _ := open(t, m)
	other := newClient(t, m, half, SetupPassive)
	other.nominate()
	if got := st.HandshakesDone.Load(); got != 1 {
		t.Errorf("%d handshakes done", got)
	}
	for range n {
		packets[0] = udp.Packet{Data: hello, Addr: other.addr()}
		l.handle(packets[:1], Now())
	}
	if half.pipe.Waiting() > pipe.Depth {
		t.Errorf("%d datagrams wait", half.pipe.Waiting())
	}
	if got := runtime.NumGoroutine(); got > goroutines+20 {
		t.Errorf("%d goroutines, were %d", got, goroutines)
	}
}

// What one read brings from several Conns reaches each in one run, in order.
func TestRuns(t *testing.T) {
	m := newMux(t, Config{})
	const conns, each = 3, 8
	var packets []udp.Packet
	var handlers []*recorder
	var clients []*client
	for range conns {
		c, r := open(t, m)
		cl := newClient(t, m, c, SetupActive)
		cl.connect(r)
		awaitKeys(t, c)
		handlers, clients = append(handlers, r), append(clients, cl)
	}
	for seq := range each {
		for _, cl := range clients {
			packets = append(packets, udp.Packet{Data: cl.sealRTP(rtpPacket(42, uint16(100+seq), "run")), Addr: cl.addr()})
		}
	}
	// Between them: a report, one that was seen, one forged, a check.
	forged := clients[0].sealRTP(rtpPacket(42, 200, "forged"))
	forged[len(forged)-1] ^= 1
	packets = append(packets,
		udp.Packet{Data: slices.Clone(packets[0].Data), Addr: clients[0].addr()},
		udp.Packet{Data: forged, Addr: clients[0].addr()},
		udp.Packet{Data: clients[1].sealRTCP(report), Addr: clients[1].addr()},
		udp.Packet{Data: clients[1].request(clients[1].remote.Pwd, controlling).Raw, Addr: clients[1].addr()},
		udp.Packet{Data: clients[0].sealRTP(rtpPacket(42, 300, "last")), Addr: clients[0].addr()},
	)
	l := newLoop(m, m.port.Sockets[0])
	if len(packets) > udp.InboxSize {
		t.Fatalf("%d packets are more than one read", len(packets))
	}
	l.handle(packets, Now())
	for i, r := range handlers {
		want := []uint16{100, 101, 102, 103, 104, 105, 106, 107}
		if i == 0 {
			want = append(want, 300)
		}
		if len(r.runs) != 1 {
			t.Fatalf("Conn %d got %d runs", i, len(r.runs))
		}
		if diff := cmp.Diff(want, <-r.runs); diff != "" {
			t.Errorf("Conn %d:\n%s", i, diff)
		}
		if want := i % 2; len(r.rtcp) != want {
			t.Errorf("Conn %d got %d reports, not %d", i, len(r.rtcp), want)
		}
	}
	for i := range l.runs {
		if l.runs[i].conn != nil {
			t.Error("a Conn is kept beyond the read")
		}
	}
	// A closed Conn hears nothing more of what was read.
	late := udp.Packet{Data: clients[2].sealRTP(rtpPacket(42, 400, "late")), Addr: clients[2].addr()}
	conn := m.connAt(clients[2].addr())
	conn.cancel(errClosed)
	l.handle([]udp.Packet{late}, Now())
	if len(handlers[2].runs) > 0 {
		t.Error("RTP is said after Close")
	}
}

func TestSetRemote(t *testing.T) {
	m := newMux(t, Config{Advertise: []netip.AddrPort{
		netip.MustParseAddrPort("203.0.113.7:0"), netip.MustParseAddrPort("[::ffff:203.0.113.8]:5000")}})
	c, _ := open(t, m)
	good := Parameters{
		Ufrag:       "abcd",
		Pwd:         strings.Repeat("p", 22),
		Fingerprint: m.Fingerprint(),
		Setup:       SetupActPass,
	}
	hex := strings.TrimPrefix(good.Fingerprint, "sha-256 ")
	for _, tt := range []struct {
		name   string
		change func(*Parameters)
	}{
		{"short user name", func(p *Parameters) { p.Ufrag = "abc" }},
		{"long user name", func(p *Parameters) { p.Ufrag = strings.Repeat("a", 257) }},
		{"short password", func(p *Parameters) { p.Pwd = p.Pwd[1:] }},
		{"long password", func(p *Parameters) { p.Pwd = strings.Repeat("a", 257) }},
		{"no fingerprint", func(p *Parameters) { p.Fingerprint = "" }},
		{"hash that is broken", func(p *Parameters) { p.Fingerprint = "sha-1 " + hex }},
		{"short fingerprint", func(p *Parameters) { p.Fingerprint = "sha-256 " + hex[3:] }},
		{"fingerprint of another hash", func(p *Parameters) { p.Fingerprint = "sha-512 " + hex }},
		{"fingerprint that is not hexadecimal", func(p *Parameters) { p.Fingerprint = "sha-256 G" + hex[1:] }},
		{"fingerprint without colons", func(p *Parameters) {
			p.Fingerprint = "sha-256 " + strings.ReplaceAll(hex, ":", "") + strings.Repeat("0", 31)
		}},
		{"setup", func(p *Parameters) { p.Setup = "holdconn" }},
	} {
		p := good
		tt.change(&p)
		if err := c.SetRemote(p); err == nil {
			t.Errorf("%s is taken", tt.name)
		} else if strings.Contains(err.Error(), p.Pwd) {
			t.Errorf("%s: the password is in the error %q", tt.name, err)
		}
	}
	if err := c.SetRemote(good); err != nil {
		t.Fatal(err)
	}
	again := good
	again.Fingerprint = strings.ToLower(again.Fingerprint)
	again.Setup = SetupPassive // the roles were given out
	if err := c.SetRemote(again); err != nil {
		t.Errorf("a renegotiation: %v", err)
	}
	for _, change := range []func(*Parameters){
		func(p *Parameters) { p.Ufrag += "x" },
		func(p *Parameters) { p.Pwd += "x" },
		func(p *Parameters) { _, p.Fingerprint, _ = makeCertificate(time.Now()) },
	} {
		p := good
		change(&p)
		if err := c.SetRemote(p); err == nil {
			t.Errorf("changed to %v on an open Conn", p)
		}
	}
	local := c.Local()
	want := Parameters{
		Ufrag: local.Ufrag, Pwd: local.Pwd, Fingerprint: m.Fingerprint(), Setup: SetupPassive,
		Candidates: []Candidate{
			{Addr: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), m.Addr().Port())},
			{Addr: netip.MustParseAddrPort("203.0.113.8:5000")},
		},
	}
	if diff := cmp.Diff(want, local, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if len(local.Ufrag) < 4 || len(local.Pwd) < 22 {
		t.Errorf("user name of %d and password of %d characters are too short", len(local.Ufrag), len(local.Pwd))
	}
	other, _ := open(t, m)
	if o := other.Local(); o.Ufrag == local.Ufrag || o.Pwd == local.Pwd {
		t.Error("two Conns have the same credentials")
	}
}

func TestNewMuxRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"profile":   {Listen: "127.0.0.1:0", Profiles: []srtp.Profile{2}},
		"address":   {Listen: "nonsense"},
		"advertise": {Listen: "127.0.0.1:0", Advertise: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")}},
	} {
		if m, err := NewMux(cfg); err == nil {
			m.Close()
			t.Errorf("a wrong %s is taken", name)
		}
	}
}

func TestAdvertised(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "127.0.0.1:0"} {
		m := newMux(t, Config{Listen: listen})
		list := m.Candidates()
		if len(list) == 0 {
			t.Errorf("%s: nothing is advertised", listen)
		}
		for _, a := range list {
			if a.Addr.Port() != m.Addr().Port() || a.Addr.Addr().IsUnspecified() || a.Addr.Addr().Zone() != "" || a.TCP {
				t.Errorf("%s: %v is advertised, the port is %d", listen, a, m.Addr().Port())
			}
		}
	}
}

// quietHandler sends everything back and keeps nothing.
type quietHandler struct {
	conn *Conn
	up   chan struct{}
}

func (h *quietHandler) Connected() { close(h.up) }
func (h *quietHandler) RTP(run []*rtp.Packet, out *udp.Batch) {
	for _, p := range run {
		h.conn.SendRTP(out, p.Raw[:p.HeaderLen], p.Raw[p.HeaderLen:])
	}
}
func (h *quietHandler) RTCP(pkt []byte, out *udp.Batch) { h.conn.SendRTCP(out, pkt) }
func (h *quietHandler) Closed(string)                   {}

// Neither a check, nor a packet in or out, nor what is refused allocates.
func TestNoAllocations(t *testing.T) {
	for _, p := range []srtp.Profile{srtp.AES_128_GCM, srtp.AES_CM_128_HMAC_SHA1_80} {
		t.Run(p.String(), func(t *testing.T) {
			m := newMux(t, Config{Profiles: []srtp.Profile{p}})
			h := &quietHandler{up: make(chan struct{})}
			c, err := m.Open(h)
			if err != nil {
				t.Fatal(err)
			}
			h.conn = c
			defer c.Close()
			cl := newClient(t, m, c, SetupActive)
			cl.profiles = []dtls.SRTPProtectionProfile{dtls.SRTPProtectionProfile(p)}
			cl.nominate()
			if err := cl.shakeHands(); err != nil {
				t.Fatal(err)
			}
			await(t, h.up, "Connected")
			awaitKeys(t, c)
			cl.remote.Ufrag = "nobody"
			wrongName := cl.request(cl.remote.Pwd)
			cl.remote.Ufrag = c.Local().Ufrag
			addr := cl.addr()
			at := func(b []byte) udp.Packet { return udp.Packet{Data: b, Addr: addr} }
			l := newLoop(m, m.port.Sockets[0])
			const runs, each = 50, 10
			var reads [][]udp.Packet
			seq := uint16(0)
			for range runs + 2 {
				var read []udp.Packet
				for range each {
					seq++
					read = append(read, at(cl.sealRTP(rtpPacket(42, seq, strings.Repeat("x", 1000)))))
				}
				read = append(read,
					at(cl.sealRTCP(report)),
					at(cl.request(cl.remote.Pwd, controlling, useCandidate).Raw),
					at(slices.Clone(wrongName.Raw)),
					at(cl.request("wrong").Raw),
					at(slices.Clone(read[0].Data)),                 // replayed
					at([]byte{0, 1, 2}),                            // no STUN
					at([]byte{23, 1, 2}),                           // no DTLS
					at([]byte{0x80, 1, 2}),                         // no RTP
					udp.Packet{Data: []byte{0x80}, Addr: m.Addr()}, // from nowhere
				)
				reads = append(reads, read)
			}
			cl.close() // what it would allocate for the answers is counted too
			next := 0
			if n := testing.AllocsPerRun(runs, func() {
				l.handle(reads[next], Now())
				next++
			}); n != 0 {
				t.Errorf("%v allocations for a read", n)
			}
			if got := m.Stats().RTPOut.Load(); got != uint64((runs+1)*each) {
				t.Errorf("%d packets were sent back, not %d", got, (runs+1)*each)
			}
			if got := m.Stats().ChecksAnswered.Load(); got < runs {
				t.Errorf("%d checks were answered", got)
			}
		})
	}
}

// asking asks the Conn everything from each method.
type asking struct {
	*recorder
	mux   *Mux
	conn  atomic.Pointer[Conn]
	asked atomic.Int32
}

func (h *asking) ask() {
	c := h.conn.Load()
	_, _, _, _ = c.Local(), c.LastReceived(), c.RemoteAddr(), c.Profile()
	p := c.Local()
	p.Setup = ""
	_ = c.SetRemote(p) // refused, but it takes the lock
	if other, err := h.mux.Open(newRecorder()); err == nil {
		other.Close()
	}
	h.asked.Add(1)
}

func (h *asking) Connected()                            { h.ask(); h.recorder.Connected() }
func (h *asking) RTP(run []*rtp.Packet, out *udp.Batch) { h.ask(); h.recorder.RTP(run, out) }
func (h *asking) RTCP(pkt []byte, out *udp.Batch)       { h.ask(); h.recorder.RTCP(pkt, out) }
func (h *asking) Closed(reason string)                  { h.ask(); h.recorder.Closed(reason) }

// A Handler is called with no lock held, so it can ask anything.
func TestHandlerMayAsk(t *testing.T) {
	m := newMux(t, Config{})
	h := &asking{recorder: newRecorder(), mux: m}
	c, err := m.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	h.conn.Store(c)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(h.recorder)
	cl.exchange(c, h.recorder, 1)
	cl.dtls.Close()
	await(t, h.closed, "Closed")
	if h.asked.Load() < 4 {
		t.Errorf("asked %d times", h.asked.Load())
	}
}

func BenchmarkReceive(b *testing.B) {
	m := newMux(b, Config{})
	c, r := open(b, m)
	cl := newClient(b, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	c.handler = &quietHandler{conn: c}
	l := newLoop(m, m.port.Sockets[0])
	const window = 32
	packets := make([]udp.Packet, window)
	seq := uint16(1)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range packets {
			seq++
			packets[i] = udp.Packet{Data: cl.sealRTP(rtpPacket(42, seq, strings.Repeat("x", 1000))), Addr: cl.addr()}
		}
		b.StartTimer()
		l.handle(packets, Now())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*window), "ns/packet")
}
