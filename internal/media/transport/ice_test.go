package transport

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// An answer that a client can believe: who asked, from where, signed, with
// fingerprint.
func TestCheckAnswered(t *testing.T) {
	m := newMux(t, Config{})
	c, _ := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	got := cl.check(controlling)
	if got.Type != stun.BindingSuccess {
		t.Fatalf("answered by %v", got)
	}
	if err := stun.Fingerprint.Check(got); err != nil {
		t.Error(err)
	}
	if err := stun.NewShortTermIntegrity(cl.remote.Pwd).Check(got); err != nil {
		t.Error(err)
	}
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(got); err != nil {
		t.Fatal(err)
	}
	if a, _ := netip.AddrFromSlice(mapped.IP); netip.AddrPortFrom(a.Unmap(), uint16(mapped.Port)) != cl.addr() {
		t.Errorf("told to be at %v, not %v", mapped, cl.addr())
	}
	// Without a nomination it is the first path all the same: DTLS may begin.
	if c.RemoteAddr() != cl.addr() {
		t.Errorf("sends to %v", c.RemoteAddr())
	}
	if m.Stats().ChecksAnswered.Load() == 0 {
		t.Error("no check is counted")
	}
}

func TestMappedAddress(t *testing.T) {
	for _, s := range []string{"192.0.2.1:1", "[2001:db8::1:2]:65535", "[::ffff:192.0.2.7]:513"} {
		addr := netip.MustParseAddrPort(s)
		req := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		w := answer(make([]byte, maxSTUNAnswer), typeSuccess, &stunMessage{raw: req.Raw})
		w.mappedAddress(addr)
		n := w.end()
		got := &stun.Message{Raw: w.b[:n]}
		if err := got.Decode(); err != nil {
			t.Fatal(err)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(got); err != nil {
			t.Fatal(err)
		}
		if a, _ := netip.AddrFromSlice(mapped.IP); a.Unmap() != addr.Addr().Unmap() || mapped.Port != int(addr.Port()) {
			t.Errorf("%v is told as %v", addr, mapped)
		}
	}
}

func TestCheckRefused(t *testing.T) {
	m := newMux(t, Config{})
	c, _ := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	st := m.Stats()
	known := cl.remote.Ufrag
	pwd := stun.NewShortTermIntegrity(cl.remote.Pwd)
	user := func(s string) stun.Setter { return stun.NewUsername(s) }
	right := user(known + ":" + cl.local.Ufrag)
	for _, tt := range []struct {
		name    string
		setters []stun.Setter
		count   func() uint64
		code    stun.ErrorCode
		signed  bool
	}{
		{"wrong password", []stun.Setter{right, controlling, useCandidate, stun.NewShortTermIntegrity("wrong"), stun.Fingerprint},
			st.ChecksUnauthentic.Load, stun.CodeUnauthorized, false},
		{"the client's own password", []stun.Setter{right, controlling, useCandidate, stun.NewShortTermIntegrity(cl.local.Pwd), stun.Fingerprint},
			st.ChecksUnauthentic.Load, stun.CodeUnauthorized, false},
		{"another client's user name", []stun.Setter{user(known + ":somebody"), controlling, useCandidate, pwd, stun.Fingerprint},
			st.ChecksUnauthentic.Load, stun.CodeUnauthorized, false},
		{"unknown user name", []stun.Setter{user("nobody:" + cl.local.Ufrag), controlling, pwd, stun.Fingerprint},
			st.ChecksUnknown.Load, stun.CodeUnauthorized, false},
		{"half a user name", []stun.Setter{user(known), controlling, pwd, stun.Fingerprint},
			st.ChecksUnknown.Load, stun.CodeUnauthorized, false},
		{"no user name", []stun.Setter{controlling, pwd, stun.Fingerprint},
			st.ChecksMalformed.Load, stun.CodeBadRequest, false},
		{"no integrity", []stun.Setter{right, controlling, useCandidate, stun.Fingerprint},
			st.ChecksMalformed.Load, stun.CodeBadRequest, false},
		{"an unknown attribute that must be understood", []stun.Setter{right, controlling, useCandidate,
			stun.RawAttribute{Type: 0x7ABC, Value: []byte{1}}, stun.RawAttribute{Type: 0x7ABD}, pwd, stun.Fingerprint},
			st.ChecksMalformed.Load, stun.CodeUnknownAttribute, true},
		{"a client that believes that we control", []stun.Setter{right, controlled, pwd, stun.Fingerprint},
			st.RoleConflicts.Load, stun.CodeRoleConflict, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.count()
			req := stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, tt.setters...)...)
			got := cl.ask(req)
			var code stun.ErrorCodeAttribute
			if err := code.GetFrom(got); err != nil || got.Type != stun.BindingError || code.Code != tt.code {
				t.Errorf("answered by %v, %v", got, code)
			}
			if err := stun.Fingerprint.Check(got); err != nil {
				t.Error(err)
			}
			if err := pwd.Check(got); (err == nil) != tt.signed {
				t.Errorf("the answer's integrity: %v", err)
			}
			if tt.code == stun.CodeUnknownAttribute {
				var unknown stun.UnknownAttributes
				if err := unknown.GetFrom(got); err != nil || len(unknown) != 2 || unknown[0] != 0x7ABC || unknown[1] != 0x7ABD {
					t.Errorf("unknown are %v, %v", unknown, err)
				}
			}
			if got := tt.count(); got == before {
				t.Error("it is not counted")
			}
		})
	}
	// No answer at all:
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"no fingerprint", stun.MustBuild(stun.TransactionID, stun.BindingRequest, right, controlling, pwd).Raw},
		{"a wrong fingerprint", func() []byte {
			b := cl.request(cl.remote.Pwd).Raw
			b[len(b)-1] ^= 1
			return b
		}()},
		{"an answer to nothing", stun.MustBuild(stun.TransactionID, stun.BindingSuccess, pwd, stun.Fingerprint).Raw},
		{"another method", stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), right, pwd, stun.Fingerprint).Raw},
	} {
		before := st.ChecksMalformed.Load()
		if cl.hand(m, tt.b); st.ChecksMalformed.Load() != before+1 {
			t.Errorf("%s is not counted", tt.name)
		}
	}
	cl.hand(m, stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication), stun.Fingerprint).Raw)

	if c.RemoteAddr().IsValid() || !c.LastReceived().IsZero() || st.ChecksAnswered.Load() != 0 {
		t.Error("a refused check selects a path")
	}
	cl.nominate() // and a right one is answered, so the Conn is unharmed
	for len(cl.stun) > 0 {
		if m := <-cl.stun; !cl.asked[m.TransactionID] { // else it was sent twice, on a machine held up
			t.Errorf("an unexpected answer: %v", m)
		}
	}
}

// A client whose socket moves: checks from the new one with the same credentials
// move the Conn, and media follows without another handshake.
func TestAddressChange(t *testing.T) {
	m := newMux(t, Config{Sockets: 2})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	for i := range 2 * maxPaths {
		old := cl.addr()
		cl.move()
		// Media alone moves nothing: anybody can copy a packet.
		before := m.Stats().DroppedStrange.Load()
		cl.hand(m, cl.sealRTP(rtpPacket(42, uint16(100+2*i), "from nowhere")))
		if m.Stats().DroppedStrange.Load() != before+1 {
			t.Fatal("a strange packet is not counted")
		}
		// A check without nomination opens the way in, not the way out.
		c.path.Load().heard.Store(Now() + int64(time.Hour)) // however long this takes, the old one is not silent
		if got := cl.check(controlling); got.Type != stun.BindingSuccess {
			t.Fatalf("the check is answered by %v", got)
		}
		if c.RemoteAddr() != old {
			t.Fatal("moved without a nomination")
		}
		cl.hand(m, cl.sealRTP(rtpPacket(42, uint16(101+2*i), "in by the new way")))
		await(t, r.rtp, "a packet by the new way")
		cl.nominate()
		if c.RemoteAddr() != cl.addr() {
			t.Fatalf("sends to %v, not %v", c.RemoteAddr(), cl.addr())
		}
		cl.exchange(c, r, uint16(1000+i))
	}
	if got := m.Stats().PathChanges.Load(); got != 2*maxPaths {
		t.Errorf("%d changes counted", got)
	}
	if got := m.Stats().HandshakesDone.Load(); got != 1 {
		t.Errorf("%d handshakes", got)
	}
	m.mu.RLock()
	if len(m.byAddr) != maxPaths || len(c.paths) != maxPaths {
		t.Errorf("%d and %d addresses are kept", len(m.byAddr), len(c.paths))
	}
	m.mu.RUnlock()
	// The close_notify too goes where the client is.
	c.Close()
	await(t, cl.dtlsDone, "close_notify")
}

// Behind a NAT that changes its port the client goes on checking without a
// nomination; it is followed once the old address is silent.
func TestAddressChangeUnnominated(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	old := cl.addr()
	cl.move()
	c.path.Load().heard.Store(Now() + int64(time.Hour))
	cl.check(controlling)
	if c.RemoteAddr() != old {
		t.Fatal("moved while the old address was alive")
	}
	eventually(t, "the Conn to follow", func() bool {
		c.path.Load().heard.Store(Now() - int64(pathSilence))
		cl.check(controlling)
		return c.RemoteAddr() == cl.addr()
	})
	cl.exchange(c, r, 2)
	// Media, which there is more often than checks, needs less of a silence.
	old = cl.addr()
	cl.move()
	cl.check(controlling)
	c.path.Load().heard.Store(Now() + int64(time.Hour)) // however slow this machine is, that is not silence
	cl.hand(m, cl.sealRTP(rtpPacket(42, 50, "by the new way")))
	if c.RemoteAddr() != old {
		t.Fatal("moved by media while the old address was alive")
	}
	seq := uint16(50)
	eventually(t, "the Conn to follow the media", func() bool {
		seq++
		c.path.Load().heard.Store(Now() - int64(mediaSilence)) // again: something may have been on its way
		cl.hand(m, cl.sealRTP(rtpPacket(42, seq, "by the new way")))
		return c.RemoteAddr() == cl.addr()
	})
	cl.exchange(c, r, 3)
	// What comes from the path in use keeps it in use.
	stale := Now() - int64(pathSilence)
	for name, send := range map[string]func(){
		"RTP":   func() { cl.hand(m, cl.sealRTP(rtpPacket(42, seq+1, "alive"))) },
		"RTCP":  func() { cl.hand(m, cl.sealRTCP(report)) },
		"check": func() { cl.check(controlling) },
	} {
		c.path.Load().heard.Store(stale)
		send()
		if got := c.path.Load().heard.Load(); got == stale {
			t.Errorf("%s is no sign of life of its path", name)
		}
	}
}

// An address belongs to one Conn; another one gets it only when the first has
// been silent.
func TestAddressTaken(t *testing.T) {
	m := newMux(t, Config{})
	a, ra := open(t, m)
	cl := newClient(t, m, a, SetupActive)
	cl.connect(ra)
	b, _ := open(t, m)
	if err := b.SetRemote(cl.local); err != nil {
		t.Fatal(err)
	}
	other := &client{t: t, local: cl.local, remote: b.Local()}
	a.received.Store(Now() + int64(time.Hour)) // however long this takes, it is not silent
	cl.hand(m, other.request(other.remote.Pwd, controlling, useCandidate).Raw)
	if got := m.Stats().ChecksTaken.Load(); got != 1 {
		t.Errorf("the refusal is counted %d times", got)
	}
	if b.RemoteAddr().IsValid() || m.connAt(cl.addr()) != a {
		t.Fatal("an address in use was taken")
	}
	cl.exchange(a, ra, 1)
	eventually(t, "an address that fell silent to be taken", func() bool {
		a.received.Store(Now() - int64(takeoverAfter)) // again: something may have been on its way
		return cl.ask(other.request(other.remote.Pwd, controlling, useCandidate)).Type == stun.BindingSuccess
	})
	if b.RemoteAddr() != cl.addr() || m.connAt(cl.addr()) != b {
		t.Error("an address that fell silent was not taken")
	}
	a.Close()
	if m.connAt(cl.addr()) != b {
		t.Error("the first Conn took the address along")
	}
	b.Close()
	if len(m.byAddr) != 0 {
		t.Errorf("%d addresses are left", len(m.byAddr))
	}
}

// FuzzSTUN holds the reader against another one, and the answers to what may be
// answered: success only to what is signed.
func FuzzSTUN(f *testing.F) {
	const ufrag, pwd = "server", "0123456789012345678901"
	m := newMux(f, Config{})
	c := newConn(m, newRecorder(), ufrag, pwd)
	m.byUfrag[ufrag] = c
	go c.run()
	to := sink(f)
	l := newLoop(m, m.port.Sockets[0])

	cl := &client{t: f, remote: Parameters{Ufrag: ufrag, Pwd: pwd}, local: Parameters{Ufrag: "client"}}
	f.Add(cl.request(pwd, controlling, useCandidate).Raw)
	f.Add(cl.request(pwd, controlled).Raw)
	f.Add(cl.request("wrong").Raw)
	f.Add(cl.request(pwd, stun.RawAttribute{Type: 0x7ABC, Value: make([]byte, 7)}).Raw)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw)
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var s stunMessage
		ok := s.parse(b) == nil
		theirs := &stun.Message{Raw: bytes.Clone(b)}
		if ok {
			if err := theirs.Decode(); err != nil {
				t.Fatalf("we read what pion does not: %v", err)
			}
			if err := stun.Fingerprint.Check(theirs); err != nil {
				t.Errorf("the fingerprint is taken: %v", err)
			}
		}
		answered := m.stats.ChecksAnswered.Load()
		l.check(b, origin{addr: to}, Now())
		if !bytes.Equal(b, before) {
			t.Error("the packet was changed")
		}
		if n := l.out.Pending(); n > maxSTUNAnswer {
			t.Errorf("%d bytes are answered", n)
		}
		_ = l.out.Flush()
		if m.stats.ChecksAnswered.Load() != answered {
			if !ok {
				t.Error("what cannot be read was answered")
			}
			if err := stun.NewShortTermIntegrity(pwd).Check(theirs); err != nil {
				t.Errorf("an unsigned check was answered: %v", err)
			}
			var user stun.Username
			if err := user.GetFrom(theirs); err != nil || !bytes.HasPrefix([]byte(user.String()), []byte(ufrag+":")) {
				t.Errorf("answered a check for %q", user)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	m := newMux(b, Config{})
	c, _ := open(b, m)
	cl := newClient(b, m, c, SetupActive)
	req := cl.request(cl.remote.Pwd, controlling, useCandidate)
	l := newLoop(m, m.port.Sockets[0])
	b.ReportAllocs()
	for b.Loop() {
		l.check(req.Raw, origin{addr: cl.addr()}, Now())
		l.out.Commit(0)
		if l.out.Pending() > 100_000 {
			b.StopTimer()
			_ = l.out.Flush()
			b.StartTimer()
		}
	}
}
