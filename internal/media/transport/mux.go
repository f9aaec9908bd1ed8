package transport

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/media/rtp"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

// STUN errors a second that the port sends at most, and how many at once: enough
// for clients that err, too few to be worth forging requests for.
const (
	errorRate  = 100
	errorBurst = 50
)

// maxPaths bounds the addresses of one Conn that passed a check, and its streams.
const maxPaths = 8

// takeoverAfter is for how long a Conn must have been silent before another one
// may take its address, so that nobody does by forging a source address.
const takeoverAfter = 3 * time.Second

// gatherEvery is how often a busy port is read: packets wait half as long on average,
// far less than what is noticed of a delay.
//
// It divides the 20 ms of a frame of sound, so that the process wakes once for both.
const gatherEvery = 4 * time.Millisecond

// Mux is the port and everybody on it.
type Mux struct {
	cfg         Config
	log         *slog.Logger
	port        *udp.Port
	cert        tls.Certificate
	fingerprint string
	candidates  []Candidate
	advertised  []netip.AddrPort // of UDP, whether clients are told or not
	tcp         tcpSide
	stats       Stats
	errorLimit  *rate.Limiter

	mu      sync.RWMutex
	byUfrag map[string]*Conn
	byAddr  map[netip.AddrPort]*Conn
	closed  bool

	nextSocket atomic.Uint32
	spareLoops sync.Pool // for streams
	stop       chan struct{}
	janitor    sync.WaitGroup
	loops      sync.WaitGroup
}

// NewMux binds the port, makes a certificate and begins to read.
func NewMux(cfg Config) (*Mux, error) {
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = []srtp.Profile{srtp.AES_128_GCM, srtp.AES_CM_128_HMAC_SHA1_80}
	}
	for _, p := range cfg.Profiles {
		if p.KeyLen() == 0 {
			return nil, fmt.Errorf("open media port: %s is not supported", p)
		}
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cert, fingerprint, err := makeCertificate(time.Now())
	if err != nil {
		return nil, fmt.Errorf("open media port: %w", err)
	}
	port, err := udp.Listen(cfg.Listen, cfg.Sockets)
	if err != nil {
		return nil, fmt.Errorf("open media port: %w", err)
	}
	if err := port.Gather(gatherEvery); err != nil {
		port.Close()
		return nil, fmt.Errorf("open media port: %w", err)
	}
	m := &Mux{
		cfg:         cfg,
		log:         log,
		port:        port,
		cert:        cert,
		fingerprint: fingerprint,
		errorLimit:  rate.NewLimiter(errorRate, errorBurst),
		byUfrag:     make(map[string]*Conn),
		byAddr:      make(map[netip.AddrPort]*Conn),
		stop:        make(chan struct{}),
	}
	m.spareLoops.New = func() any { return newLoop(m, m.socket()) }
	if err := m.openTCP(); err != nil {
		port.Close()
		return nil, fmt.Errorf("open media port: %w", err)
	}
	if err := m.advertise(); err != nil {
		port.Close()
		m.tcp.close()
		return nil, fmt.Errorf("open media port: %w", err)
	}
	for _, s := range port.Sockets {
		m.loops.Go(func() { newLoop(m, s).run() })
	}
	if m.tcp.listener != nil {
		m.loops.Go(m.acceptStreams)
	}
	m.janitor.Go(m.watchIdle)
	return m, nil
}

// Addr is the bound address.
func (m *Mux) Addr() netip.AddrPort { return m.port.Addr() }

// Candidates are the addresses that clients are told.
func (m *Mux) Candidates() []Candidate { return slices.Clone(m.candidates) }

// Advertised are the addresses under which the UDP port is known outside, whether
// clients are told of them or not.
func (m *Mux) Advertised() []netip.AddrPort { return slices.Clone(m.advertised) }

// Fingerprint is that of the Mux's certificate, in the form of an a=fingerprint value.
func (m *Mux) Fingerprint() string { return m.fingerprint }

// Stats are the live counters.
func (m *Mux) Stats() *Stats { return &m.stats }

// PortStats are the live counters of the port.
func (m *Mux) PortStats() *udp.Stats { return m.port.Stats() }

// NewBatch makes a Batch for a goroutine that sends by itself, not in answer to a
// packet. It must be flushed by its owner and is of no use after Close.
func (m *Mux) NewBatch() *udp.Batch { return m.socket().NewBatch() }

func (m *Mux) socket() *udp.Socket {
	return m.port.Sockets[int(m.nextSocket.Add(1))%len(m.port.Sockets)]
}

// Open makes a Conn with a user name and password of its own. It must be closed.
func (m *Mux) Open(h Handler) (*Conn, error) {
	c := newConn(m, h, rand.Text()[:16], rand.Text())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		c.cancel(errClosed)
		return nil, fmt.Errorf("open media connection: %w", net.ErrClosed)
	}
	m.byUfrag[c.local.Ufrag] = c
	m.stats.ConnsOpen.Add(1)
	go c.run()
	return c, nil
}

// forget takes a Conn out of the tables.
func (m *Mux) forget(c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byUfrag[c.local.Ufrag] == c {
		delete(m.byUfrag, c.local.Ufrag)
		m.stats.ConnsOpen.Add(-1)
	}
	for _, h := range c.paths {
		if m.byAddr[h.addr] == c {
			delete(m.byAddr, h.addr)
		}
	}
	for _, s := range c.streams {
		s.end()
	}
	c.paths, c.streams = nil, nil
}

// bind notes that a Conn's client has proved to be at an address. It fails when
// another Conn is using it, or the Conn is over.
func (m *Mux) bind(c *Conn, from origin, now int64) bool {
	if from.stream != nil {
		return m.bindStream(c, from.stream)
	}
	addr := from.addr
	m.mu.RLock()
	holder := m.byAddr[addr]
	if holder == c {
		c.checkedFrom(addr, now)
	}
	m.mu.RUnlock()
	if holder == c {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byUfrag[c.local.Ufrag] != c {
		return false
	}
	switch holder = m.byAddr[addr]; {
	case holder == c:
		return true
	case holder == nil:
	case now-holder.received.Load() < int64(takeoverAfter):
		return false
	default:
		holder.paths = slices.DeleteFunc(holder.paths, func(h *held) bool { return h.addr == addr })
	}
	if len(c.paths) == maxPaths {
		// Forget the oldest that is not in use.
		for i, h := range c.paths {
			if !c.uses(origin{addr: h.addr}) {
				if m.byAddr[h.addr] == c {
					delete(m.byAddr, h.addr)
				}
				c.paths = slices.Delete(c.paths, i, i+1)
				break
			}
		}
	}
	h := &held{addr: addr}
	h.checked.Store(now)
	c.paths = append(c.paths, h)
	m.byAddr[addr] = c
	return true
}

// checkedFrom notes a right check. The caller holds Mux.mu, for reading at least.
func (c *Conn) checkedFrom(addr netip.AddrPort, now int64) {
	for _, h := range c.paths {
		if h.addr == addr {
			h.checked.Store(now)
		}
	}
}

// uses says whether this is where packets go.
func (c *Conn) uses(o origin) bool {
	p := c.path.Load()
	return p != nil && p.origin == o
}

// dropStale gives up the addresses that no right check came from since oldest,
// but for the one in use: who was there consents no more (RFC 7675 5.1), and the
// address may be another client's by now. The caller holds mu.
func (m *Mux) dropStale(c *Conn, oldest int64) {
	c.paths = slices.DeleteFunc(c.paths, func(h *held) bool {
		if h.checked.Load() >= oldest || c.uses(origin{addr: h.addr}) {
			return false
		}
		if m.byAddr[h.addr] == c {
			delete(m.byAddr, h.addr)
		}
		return true
	})
}

func (m *Mux) connAt(addr netip.AddrPort) *Conn {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byAddr[addr]
}

func (m *Mux) connNamed(ufrag []byte) *Conn {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byUfrag[string(ufrag)]
}

// watchIdle ends the Conns that nothing came from, and has each give up the
// addresses that it no longer is at.
func (m *Mux) watchIdle() {
	tick := time.NewTicker(min(max(m.cfg.IdleTimeout/8, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		oldest := Now() - int64(m.cfg.IdleTimeout)
		var idle, moved []*Conn
		m.mu.RLock()
		for _, c := range m.byUfrag {
			if since := c.idleSince(); since != 0 && since < oldest {
				idle = append(idle, c)
			} else if slices.ContainsFunc(c.paths, func(h *held) bool { return h.checked.Load() < oldest }) {
				moved = append(moved, c)
			}
		}
		m.mu.RUnlock()
		for _, c := range idle {
			c.cancel(errIdle)
		}
		if len(moved) > 0 {
			m.mu.Lock()
			for _, c := range moved {
				m.dropStale(c, oldest)
			}
			m.mu.Unlock()
		}
	}
}

// Close ends all Conns as Conn.Close does, then the port, and waits for its
// goroutines.
func (m *Mux) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.loops.Wait()
		return nil
	}
	m.closed = true
	conns := make([]*Conn, 0, len(m.byUfrag))
	for _, c := range m.byUfrag {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	for _, c := range conns {
		c.cancel(errClosed)
	}
	for _, c := range conns {
		<-c.done
	}
	close(m.stop)
	m.janitor.Wait()
	m.tcp.close()
	err := m.port.Close()
	m.loops.Wait()
	return err
}

// loop is one goroutine that reads a socket, with the memory it reuses. The
// goroutines of streams borrow one for each read.
type loop struct {
	mux    *Mux
	socket *udp.Socket
	inbox  *udp.Inbox
	out    *udp.Batch
	stun   stunMessage
	stream *stream // that the packets come from; nil: the port

	packets [udp.InboxSize]rtp.Packet
	runs    []run
	used    int // of runs, in this read

	// Neighbouring packets mostly come from one address; good for one read.
	lastAddr netip.AddrPort
	lastConn *Conn
}

// run is what one read brought from one Conn.
type run struct {
	conn *Conn
	rtp  []*rtp.Packet
	rtcp [][]byte
}

func newLoop(m *Mux, s *udp.Socket) *loop {
	return &loop{
		mux:    m,
		socket: s,
		out:    s.NewBatch(),
		runs:   make([]run, udp.InboxSize),
	}
}

func (l *loop) run() {
	l.inbox = udp.NewInbox()
	failures := 0
	for {
		n, err := l.socket.Read(l.inbox)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if failures++; failures == 1 {
				l.mux.log.Error("read media port", "error", err)
			}
			select { // a lasting failure must not spin
			case <-l.mux.stop:
				return
			case <-time.After(time.Duration(min(failures, 100)) * time.Millisecond):
			}
			continue
		}
		failures = 0
		l.handle(l.inbox.Packets[:n], Now())
	}
}

// handle works through one read.
func (l *loop) handle(packets []udp.Packet, now int64) {
	l.used, l.lastConn = 0, nil
	for i := range packets {
		p := &packets[i]
		if len(p.Data) == 0 {
			l.mux.stats.DroppedGarbage.Add(1)
			continue
		}
		switch b := p.Data[0]; { // RFC 7983 7
		case b <= 3:
			l.check(p.Data, l.origin(p), now)
			l.lastConn = nil // the address may be somebody else's now
		case b >= 20 && b <= 63:
			if c := l.connAt(p.Addr); c == nil {
				l.mux.stats.DroppedStrange.Add(1)
			} else {
				c.pushDTLS(p.Data, now)
			}
		case b >= 128 && b <= 191:
			l.media(p, &l.packets[i], now)
		default:
			l.mux.stats.DroppedGarbage.Add(1)
		}
	}
	for i := range l.runs[:l.used] {
		r := &l.runs[i]
		if r.conn.live() {
			if len(r.rtp) > 0 {
				r.conn.handler.RTP(r.rtp, l.out)
			}
			for _, pkt := range r.rtcp {
				r.conn.handler.RTCP(pkt, l.out)
			}
		}
		r.conn = nil
		r.rtp, r.rtcp = r.rtp[:0], r.rtcp[:0]
	}
	_ = l.out.Flush() // what could not be sent has been counted by the port
}

// media opens a packet of RTP or RTCP and puts it into its Conn's run.
func (l *loop) media(p *udp.Packet, pkt *rtp.Packet, now int64) {
	st := &l.mux.stats
	c := l.connAt(p.Addr)
	if c == nil {
		st.DroppedStrange.Add(1)
		return
	}
	if len(p.Data) < 2 {
		st.DroppedMalformed.Add(1)
		return
	}
	if t := p.Data[1]; t >= 192 && t <= 223 { // RFC 5761 4
		plain := c.openRTCP(p.Data)
		if plain == nil {
			return
		}
		c.heard(l.origin(p), now)
		st.RTCPIn.Add(1)
		r := l.runOf(c)
		r.rtcp = append(r.rtcp, plain)
		return
	}
	if err := pkt.ParseHeader(p.Data); err != nil {
		st.DroppedMalformed.Add(1)
		return
	}
	plain := c.openRTP(p.Data, pkt.HeaderLen)
	if plain == nil {
		return
	}
	c.heard(l.origin(p), now)
	st.RTPIn.Add(1)
	if err := pkt.Parse(plain); err != nil { // the padding can be wrong still
		st.DroppedMalformed.Add(1)
		return
	}
	pkt.Arrival, pkt.Received = now, now-int64(p.Waited)
	r := l.runOf(c)
	r.rtp = append(r.rtp, pkt)
}

func (l *loop) origin(p *udp.Packet) origin { return origin{addr: p.Addr, stream: l.stream} }

func (l *loop) connAt(addr netip.AddrPort) *Conn {
	if l.stream != nil {
		return l.stream.owner.Load()
	}
	if l.lastConn == nil || l.lastAddr != addr {
		l.lastAddr, l.lastConn = addr, l.mux.connAt(addr)
	}
	return l.lastConn
}

func (l *loop) runOf(c *Conn) *run {
	for i := l.used - 1; i >= 0; i-- {
		if l.runs[i].conn == c {
			return &l.runs[i]
		}
	}
	r := &l.runs[l.used]
	l.used++
	r.conn = c
	return r
}

var (
	errClosed = errors.New("closed")
	errIdle   = errors.New("nothing was received for too long")
)
