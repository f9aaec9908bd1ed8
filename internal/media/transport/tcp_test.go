package transport

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

func newStreamMux(t testing.TB, cfg Config) *Mux {
	t.Helper()
	cfg.ListenTCP = "127.0.0.1:0"
	m := newMux(t, cfg)
	if !m.AddrTCP().IsValid() {
		t.Fatal("there is no TCP")
	}
	return m
}

// A client that no UDP gets to: checks, handshake and media over one connection.
func TestStream(t *testing.T) {
	m := newStreamMux(t, Config{TCPOnly: true})
	if got, want := m.Candidates(), (Candidate{Addr: m.AddrTCP(), TCP: true}); len(got) != 1 || got[0] != want {
		t.Errorf("clients are told %v, not %v", got, want)
	}
	if got := m.Advertised(); len(got) != 1 || got[0] != m.Addr() {
		t.Errorf("relays are told %v", got)
	}
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.moveToTCP(m.AddrTCP())
	cl.connect(r)
	cl.exchange(c, r, 1)
	if c.RemoteAddr() != cl.addr() || !c.OverTCP() {
		t.Errorf("sends to %v, over TCP is %v", c.RemoteAddr(), c.OverTCP())
	}
	st := m.Stats()
	if st.StreamsOpen.Load() != 1 || st.StreamsUnproved.Load() != 0 || st.StreamPacketsIn.Load() == 0 || st.StreamPacketsOut.Load() == 0 {
		t.Errorf("%d streams, %d unproved, %d packets in, %d out", st.StreamsOpen.Load(), st.StreamsUnproved.Load(), st.StreamPacketsIn.Load(), st.StreamPacketsOut.Load())
	}
	if m.PortStats().PacketsIn.Load() != 0 {
		t.Error("something came by UDP")
	}
	c.Close() // the close_notify comes before the end of the stream
	await(t, cl.dtlsDone, "close_notify")
	eventually(t, "the end of the stream", func() bool { return st.StreamsOpen.Load() == 0 })
}

// From UDP to TCP and back, as when a network begins to block UDP: no handshake,
// and no packet by the old way.
func TestStreamAndAddressChange(t *testing.T) {
	m := newStreamMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	cl.exchange(c, r, 1)
	for i := range maxPaths + 2 {
		cl.moveToTCP(m.AddrTCP())
		cl.nominate()
		cl.exchange(c, r, uint16(100+10*i))
		if !c.OverTCP() {
			t.Fatal("not over TCP")
		}
		gone := c.path.Load().stream
		cl.move()
		eventually(t, "the end of the stream", gone.ended.Load)
		// The client need not nominate: the stream is over.
		cl.check(controlling)
		if c.OverTCP() || c.RemoteAddr() != cl.addr() {
			t.Fatal("did not come back to UDP")
		}
		cl.exchange(c, r, uint16(105+10*i))
	}
	if got := m.Stats().HandshakesDone.Load(); got != 1 {
		t.Errorf("%d handshakes", got)
	}
	eventually(t, "no stream kept", func() bool {
		m.mu.RLock()
		defer m.mu.RUnlock()
		return len(c.streams) == 0
	})
}

// A stream is for good that of the Conn whose check came first.
func TestStreamTaken(t *testing.T) {
	m := newStreamMux(t, Config{})
	a, ra := open(t, m)
	cl := newClient(t, m, a, SetupActive)
	cl.moveToTCP(m.AddrTCP())
	cl.connect(ra)
	b, _ := open(t, m)
	if err := b.SetRemote(cl.local); err != nil {
		t.Fatal(err)
	}
	other := &client{t: t, local: cl.local, remote: b.Local()}
	cl.write(other.request(other.remote.Pwd, controlling, useCandidate).Raw)
	eventually(t, "the refusal", func() bool { return m.Stats().ChecksTaken.Load() == 1 })
	if b.RemoteAddr().IsValid() {
		t.Error("one stream serves two")
	}
	cl.exchange(a, ra, 1)
}

// One Conn has so many streams and no more; the oldest not in use goes.
func TestStreamsOfOneConn(t *testing.T) {
	m := newStreamMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.moveToTCP(m.AddrTCP())
	cl.connect(r)
	for range 2 * maxPaths {
		extra := newStranger(t, m, c)
		extra.moveToTCP(m.AddrTCP())
		if got := extra.check(controlling); got.Type != stun.BindingSuccess {
			t.Fatal("a check is not answered")
		}
	}
	eventually(t, "few streams", func() bool { return m.Stats().StreamsOpen.Load() == maxPaths })
	cl.exchange(c, r, 1)
}

// What is no frame, brings nothing that is right, or comes in crowds ends, and
// does so without a client that is right noticing.
func TestStreamHostile(t *testing.T) {
	m := newStreamMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.moveToTCP(m.AddrTCP())
	cl.connect(r)
	st := m.Stats()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", m.AddrTCP().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ends := func(conn net.Conn, what string) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && err.(net.Error).Timeout() {
			t.Errorf("%s: it is still open", what)
		}
	}

	conn := dial()
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	ends(conn, "HTTP")
	if st.StreamsMalformed.Load() != 1 {
		t.Error("what is no frame is not counted")
	}
	conn = dial()
	for range unprovedBytes / 100 {
		if _, err := conn.Write(appendFrame(nil, bytes.Repeat([]byte{0x80}, 100))); err != nil {
			break
		}
	}
	ends(conn, "frames of nonsense")
	if st.StreamsNoisy.Load() != 1 || st.StreamsMute.Load() != 0 {
		t.Error("what brings nonsense is not ended for that")
	}
	// A crowd, each with half a frame. The oldest of them make room.
	crowd := make([]net.Conn, maxUnprovedFrom+20)
	for i := range crowd {
		crowd[i] = dial()
		_, _ = crowd[i].Write([]byte{0, 100, 0})
	}
	eventually(t, "a bound of the crowd", func() bool {
		return st.StreamsCrowded.Load() == 20 && st.StreamsUnproved.Load() == maxUnprovedFrom
	})
	for _, conn := range crowd[:20] {
		ends(conn, "one of a crowd")
	}
	late := newStranger(t, m, c)
	late.moveToTCP(m.AddrTCP())
	if got := late.check(controlling); got.Type != stun.BindingSuccess {
		t.Error("a client does not get in beside a crowd")
	}
	cl.exchange(c, r, 1)
}

// loner is a Mux without a port, for streams on a connection of a test's own.
func loner() *Mux {
	m := &Mux{cfg: Config{IdleTimeout: defaultIdleTimeout}, stop: make(chan struct{})}
	m.tcp.streams = make(map[*stream]struct{})
	return m
}

// named is a connection that has come by TCP.
type named struct {
	net.Conn
	from net.TCPAddr
}

func (n named) RemoteAddr() net.Addr { return &n.from }

// Who says nothing has its time.
func TestStreamMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loner()
		ours, theirs := net.Pipe()
		m.Stream(named{Conn: ours}, nil)
		begun := time.Now()
		// A byte now and then is no proof.
		go func() {
			for _, b := range []byte{0, 100, 0, 1, 0} {
				time.Sleep(proveWithin / 4)
				_, _ = theirs.Write([]byte{b})
			}
		}()
		_, _ = io.Copy(io.Discard, theirs)
		if took := time.Since(begun); took != proveWithin {
			t.Errorf("it ended after %v", took)
		}
		time.Sleep(proveWithin)
		if m.stats.StreamsMute.Load() != 1 || m.stats.StreamsOpen.Load() != 0 || m.stats.StreamsUnproved.Load() != 0 || m.tcp.unproved.Len() != 0 || len(m.tcp.streams) != 0 {
			t.Error("it is kept, or not counted")
		}
		m.tcp.close()
	})
}

// A client that does not read loses what is too much or too old, delays nobody who
// sends, and is ended when it goes on so.
func TestStreamSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := loner()
		ours, theirs := net.Pipe()
		m.Stream(named{Conn: ours}, nil)
		var s *stream
		for s = range m.tcp.streams {
		}
		s.owner.Store(&Conn{}) // it has proved itself, and has all the time to be silent
		_ = ours.SetReadDeadline(time.Time{})
		packet := bytes.Repeat([]byte{0x80}, 1200)
		s.write(packet)
		synctest.Wait() // the writer has it, and waits for the client
		begun := time.Now()
		for range 1000 {
			s.write(packet)
		}
		if time.Since(begun) != 0 {
			t.Error("who sends waits")
		}
		fits := maxQueue / (len(packet) + frameHeaderLen)
		if got := m.stats.StreamDropped.Load(); got != uint64(1000-fits) {
			t.Errorf("%d were dropped, %d fit", got, fits)
		}
		// What has got old makes room.
		time.Sleep(stale + 1)
		s.write([]byte("new"))
		if got := m.stats.StreamDropped.Load(); got != 1000 {
			t.Errorf("%d were dropped after a while", got)
		}
		buf := make([]byte, 10_000)
		if _, err := io.ReadFull(theirs, buf[:frameHeaderLen+len(packet)]); err != nil {
			t.Fatal(err)
		}
		if n, err := theirs.Read(buf); err != nil || string(buf[frameHeaderLen:n]) != "new" {
			t.Errorf("then comes %q, %v", buf[:n], err)
		}
		// Now it reads no more at all.
		s.write(packet)
		begun = time.Now()
		for !s.ended.Load() {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun); took < slowAfter || took > slowAfter+time.Second || m.stats.StreamsSlow.Load() != 1 {
			t.Errorf("it ended after %v, %d are counted", took, m.stats.StreamsSlow.Load())
		}
		m.tcp.close()
		_ = theirs.Close()
	})
}

// A stream that ends gives what is queued, to a client that takes it soon.
func TestStreamLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reads := range []bool{true, false} {
			m := loner()
			ours, theirs := net.Pipe()
			m.Stream(named{Conn: ours}, nil)
			for s := range m.tcp.streams {
				s.write([]byte("last"))
				s.end()
				s.write([]byte("too late"))
			}
			if reads {
				got, err := io.ReadAll(theirs)
				if err != nil || string(got) != "\x00\x04last" {
					t.Errorf("got %q, %v", got, err)
				}
			}
			begun := time.Now()
			m.tcp.close()
			if took := time.Since(begun); took > linger {
				t.Errorf("closing took %v", took)
			}
			_ = theirs.Close()
		}
	})
}

// Closing does not wait for clients.
func TestMuxCloseEndsStreams(t *testing.T) {
	m := newStreamMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.moveToTCP(m.AddrTCP())
	cl.connect(r)
	silent, err := net.Dial("tcp", m.AddrTCP().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "the silent one", func() bool { return m.Stats().StreamsOpen.Load() == 2 })
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if got := m.Stats().StreamsOpen.Load(); got != 0 {
		t.Errorf("%d streams are left", got)
	}
	ours, theirs := net.Pipe()
	m.Stream(named{Conn: ours}, nil)
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Error("a stream begins after the end")
	}
}

// The number of the UDP port is taken where it is free, another one where not.
func TestListenTCP(t *testing.T) {
	m := newStreamMux(t, Config{})
	if m.AddrTCP().Addr() != m.Addr().Addr() {
		t.Errorf("UDP is at %v, TCP at %v", m.Addr(), m.AddrTCP())
	}
	shared := netip.MustParseAddrPort("127.0.0.1:4711")
	m = newMux(t, Config{SharedTCP: shared})
	if got := m.Candidates(); len(got) != 2 || got[1] != (Candidate{Addr: shared, TCP: true}) {
		t.Errorf("clients are told %v", got)
	}
	outside := netip.MustParseAddrPort("203.0.113.7:0")
	m = newMux(t, Config{SharedTCP: shared, AdvertiseTCP: []netip.AddrPort{outside}})
	if got := m.Candidates(); len(got) != 1 || got[0] != (Candidate{Addr: netip.AddrPortFrom(outside.Addr(), 4711), TCP: true}) {
		t.Errorf("clients are told %v", got)
	}
	if m, err := NewMux(Config{Listen: "127.0.0.1:0", TCPOnly: true}); err == nil {
		m.Close()
		t.Error("clients are told nothing")
	}
}

// An address beside the one in use, from which no check comes, is given up.
func TestStaleAddress(t *testing.T) {
	m := newMux(t, Config{})
	c, r := open(t, m)
	cl := newClient(t, m, c, SetupActive)
	cl.connect(r)
	old := cl.addr()
	cl.move()
	cl.nominate()
	stale := Now() - int64(time.Minute)
	m.mu.RLock()
	for _, h := range c.paths { // the one in use too, which media keeps
		h.checked.Store(stale)
	}
	m.mu.RUnlock()
	eventually(t, "the old address given up", func() bool { return m.connAt(old) == nil })
	if m.connAt(cl.addr()) != c {
		t.Error("the address in use was given up")
	}
	cl.exchange(c, r, 1)
}

// However a stream is cut up, the same packets come out, and nothing else is
// taken for one.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, []byte("one")), []byte("another")), uint8(3))
	f.Add([]byte{0, 0, 0, 1, 7, 0xFF, 0xFF}, uint8(1))
	f.Add([]byte{8, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		cut := func(b []byte) (frames [][]byte, rest []byte, err error) {
			for {
				frame, after, err := nextFrame(b)
				if err != nil {
					return frames, b, err
				}
				if frame != nil {
					if len(frame) > maxFrame || cap(frame) != len(frame) {
						t.Fatalf("a frame of %d, room for %d", len(frame), cap(frame))
					}
					frames = append(frames, frame)
				}
				if len(after) == len(b) {
					return frames, b, nil
				}
				b = after
			}
		}
		whole, rest, wholeErr := cut(b)
		var again []byte
		for _, frame := range whole {
			again = appendFrame(again, frame)
		}
		if len(again)+len(rest) > len(b) {
			t.Fatal("more came out than went in")
		}
		var pieces [][]byte
		var have []byte
		for len(b) > 0 {
			n := min(len(b), int(step)+1)
			have = append(bytes.Clone(have), b[:n]...)
			b = b[n:]
			frames, left, err := cut(have)
			pieces = append(pieces, frames...)
			if have = left; err != nil {
				if wholeErr == nil {
					t.Fatal("in pieces it is refused")
				}
				break
			}
		}
		if len(pieces) != len(whole) {
			t.Fatalf("%d frames in pieces, %d at once", len(pieces), len(whole))
		}
		for i := range whole {
			if !bytes.Equal(whole[i], pieces[i]) {
				t.Fatalf("frame %d is %q or %q", i, pieces[i], whole[i])
			}
		}
	})
}
