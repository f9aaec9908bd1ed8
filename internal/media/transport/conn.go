package transport

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/media/pipe"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

// Conn is the connection of one peer. Its goroutine shakes hands, reads alerts
// and says Closed; packets do not pass through it.
type Conn struct {
	mux     *Mux
	handler Handler
	local   Parameters // fixed but for Setup, which mu guards
	socket  *udp.Socket
	pipe    *pipe.Pipe

	ctx    context.Context // its own lifetime
	cancel context.CancelCauseFunc
	done   chan struct{} // the goroutine has ended

	// path is where packets go to; nil until a check came.
	path     atomic.Pointer[path]
	selected chan struct{} // closed with the first path
	received atomic.Int64  // when the last authentic packet came, by Now
	awaiting atomic.Int64  // since when packets are expected
	out      atomic.Pointer[srtp.Context]

	mu        sync.Mutex
	mac       hash.Hash // HMAC-SHA1 under the local password
	macSum    [sha1.Size]byte
	remote    Parameters
	print     fingerprint
	remoteSet chan struct{} // closed with the first SetRemote
	in        *srtp.Context

	// Under Mux.mu: where checks that were right came from, oldest first.
	paths   []*held
	streams []*stream
}

// origin is where a packet comes from or goes to: a UDP address, or a stream.
type origin struct {
	addr   netip.AddrPort
	stream *stream
}

// held is a UDP address that a Conn has proved.
type held struct {
	addr    netip.AddrPort
	checked atomic.Int64 // when the last right check came from there
}

type path struct {
	origin
	heard atomic.Int64 // when the last authentic packet came from there
}

// heard notes an authentic packet of media from where a right check has come
// from. A client sends media the one way that it has chosen; so the Conn follows
// it when the way so far has fallen silent, which it does when a NAT gives the
// client another port.
func (c *Conn) heard(from origin, now int64) {
	c.received.Store(now)
	p := c.path.Load()
	switch {
	case p == nil:
	case p.origin == from:
		p.heard.Store(now)
	case p.silent(now, mediaSilence):
		c.moveTo(p, from, now)
	}
}

// silent says that nothing has come this way for so long, or can come any more.
func (p *path) silent(now int64, d time.Duration) bool {
	return now-p.heard.Load() >= int64(d) || p.stream != nil && p.stream.ended.Load()
}

func newConn(m *Mux, h Handler, ufrag, pwd string) *Conn {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &Conn{
		mux:     m,
		handler: h,
		local: Parameters{
			Ufrag:       ufrag,
			Pwd:         pwd,
			Fingerprint: m.fingerprint,
			Setup:       SetupPassive,
			Candidates:  m.candidates,
		},
		socket:    m.socket(),
		ctx:       ctx,
		cancel:    cancel,
		done:      make(chan struct{}),
		selected:  make(chan struct{}),
		remoteSet: make(chan struct{}),
		mac:       hmac.New(sha1.New, []byte(pwd)),
	}
	c.pipe = pipe.New(c.writeDTLS)
	return c
}

// Local is what the client must be told. Ask after SetRemote: Setup answers the
// remote one.
func (c *Conn) Local() Parameters {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.local
	p.Candidates = slices.Clone(p.Candidates)
	return p
}

// SetRemote takes what the client told. The first call lets DTLS begin, later
// ones (a renegotiation) must bring the same user name, password and
// fingerprint: an ICE restart is another Conn.
func (c *Conn) SetRemote(p Parameters) error {
	if len(p.Ufrag) < 4 || len(p.Ufrag) > 256 {
		return fmt.Errorf("remote ICE user name has %d characters, not 4 to 256", len(p.Ufrag))
	}
	if len(p.Pwd) < 22 || len(p.Pwd) > 256 {
		return fmt.Errorf("remote ICE password has %d characters, not 22 to 256", len(p.Pwd))
	}
	print, err := parseFingerprint(p.Fingerprint)
	if err != nil {
		return err
	}
	setup := SetupPassive
	switch p.Setup {
	case "", SetupActPass, SetupActive:
	case SetupPassive:
		setup = SetupActive
	default:
		return fmt.Errorf("remote setup is %q, not active, passive or actpass", p.Setup)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.remoteSet:
		if p.Ufrag != c.remote.Ufrag || p.Pwd != c.remote.Pwd || !print.equal(c.print) {
			return errors.New("remote ICE user name, password or fingerprint changed on an open connection")
		}
		return nil // and the roles stay as they are
	default:
	}
	p.Candidates = nil
	c.remote, c.print = p, print
	c.local.Setup = setup
	c.awaiting.Store(Now())
	close(c.remoteSet)
	return nil
}

// SendRTP seals a packet into a batch. header is the whole RTP header with its
// extensions; both may be reused when it returns. Before Connected, and when the
// sequence number was sent before, the packet is dropped and counted. Calls of
// SendRTP and SendRTCP on one Conn must not overlap.
func (c *Conn) SendRTP(out *udp.Batch, header, payload []byte) {
	s := c.out.Load()
	if s == nil {
		c.mux.stats.SendDropped.Add(1)
		return
	}
	to := c.path.Load().origin
	room := out.Reserve(to.addr, len(header)+len(payload)+s.Overhead())
	n, err := s.SealRTP(room, header, payload)
	if err != nil {
		c.mux.stats.SendDropped.Add(1)
		return
	}
	to.commit(out, room, n)
	c.mux.stats.RTPOut.Add(1)
}

// SendRTCP seals a compound packet into a batch.
func (c *Conn) SendRTCP(out *udp.Batch, pkt []byte) {
	s := c.out.Load()
	if s == nil {
		c.mux.stats.SendDropped.Add(1)
		return
	}
	to := c.path.Load().origin
	room := out.Reserve(to.addr, len(pkt)+s.OverheadRTCP())
	n, err := s.SealRTCP(room, pkt)
	if err != nil {
		c.mux.stats.SendDropped.Add(1)
		return
	}
	to.commit(out, room, n)
	c.mux.stats.RTCPOut.Add(1)
}

// commit sends the first n bytes of a room that was reserved for this address:
// a stream takes a copy, and the room is given out again.
func (o origin) commit(out *udp.Batch, room []byte, n int) {
	if o.stream == nil {
		out.Commit(n)
		return
	}
	o.stream.write(room[:n])
}

// EndRTP says that the stream of an SSRC is over, which frees what is kept for
// it. The SSRC must not be sent again on this Conn. Calls must not overlap with
// SendRTP.
func (c *Conn) EndRTP(ssrc uint32) {
	if s := c.out.Load(); s != nil {
		s.Forget(ssrc)
	}
}

// LastReceived is when the last authentic packet of any kind came; the zero Time
// when none did.
func (c *Conn) LastReceived() time.Time {
	at := c.received.Load()
	if at == 0 {
		return time.Time{}
	}
	return started.Add(time.Duration(at))
}

// RemoteAddr is where packets go to, by UDP or, see OverTCP, by TCP; the zero
// AddrPort before the first check.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if p := c.path.Load(); p != nil {
		return p.addr
	}
	return netip.AddrPort{}
}

// OverTCP says whether packets go by a stream.
func (c *Conn) OverTCP() bool {
	p := c.path.Load()
	return p != nil && p.stream != nil
}

// Profile is the SRTP profile agreed on; 0 before Connected.
func (c *Conn) Profile() srtp.Profile {
	if s := c.out.Load(); s != nil {
		return s.Profile()
	}
	return 0
}

// Close ends the connection, tells the client by DTLS, and waits for the Conn's
// goroutine. A call of the Handler's RTP or RTCP for a read that is being worked
// through may outlast it; Connected and Closed do not. It must not be called by a
// Handler's method, nor with a lock held that one of them takes.
func (c *Conn) Close() {
	c.cancel(errClosed)
	<-c.done
}

// live says that the Handler may be called.
func (c *Conn) live() bool { return c.ctx.Err() == nil }

// idleSince is the time that the idle timeout counts from, 0 when it does not
// run: before SetRemote the client cannot send anything.
func (c *Conn) idleSince() int64 {
	since := c.awaiting.Load()
	if since == 0 {
		return 0
	}
	return max(since, c.received.Load())
}

// run is the Conn's goroutine.
func (c *Conn) run() {
	defer close(c.done)
	c.cancel(c.serve()) // no effect when that is why it ended
	if c.out.Load() != nil {
		c.mux.stats.ConnsConnected.Add(-1)
	}
	c.mux.forget(c)
	c.pipe.Close()
	cause := context.Cause(c.ctx)
	if cause == errClosed {
		return
	}
	if cause == errIdle {
		c.mux.stats.IdleTimeouts.Add(1)
	}
	c.handler.Closed(cause.Error())
}

func (c *Conn) openRTP(pkt []byte, headerLen int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		c.mux.stats.DroppedEarly.Add(1)
		return nil
	}
	plain, err := c.in.OpenRTP(pkt, headerLen)
	if err != nil {
		c.mux.countDropped(err)
		return nil
	}
	return plain
}

func (c *Conn) openRTCP(pkt []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		c.mux.stats.DroppedEarly.Add(1)
		return nil
	}
	plain, err := c.in.OpenRTCP(pkt)
	if err != nil {
		c.mux.countDropped(err)
		return nil
	}
	return plain
}

func (m *Mux) countDropped(err error) {
	switch err {
	case srtp.ErrAuth:
		m.stats.DroppedUnauthentic.Add(1)
	case srtp.ErrReplayed:
		m.stats.DroppedReplayed.Add(1)
	case srtp.ErrStreams:
		m.stats.DroppedStreams.Add(1)
	default:
		m.stats.DroppedMalformed.Add(1)
	}
}
