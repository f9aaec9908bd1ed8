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

// maxPaths bounds the addresses of one Conn that passed a check.
const maxPaths = 8

// takeoverAfter is for how long a Conn must have been silent before another one
// may take its address, so that nobody does by forging a source address.
const takeoverAfter = 3 * time.Second

// Mux is the port and everybody on it.
type Mux struct {
	cfg         Config
	log         *slog.Logger
	port        *udp.Port
	cert        tls.Certificate
	fingerprint string
	candidates  []netip.AddrPort
	stats       Stats
	errorLimit  *rate.Limiter

	mu      sync.RWMutex
	byUfrag map[string]*Conn
	byAddr  map[netip.AddrPort]*Conn
	closed  bool

	nextSocket atomic.Uint32
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
	candidates, err := advertised(cfg.Advertise, port.Addr())
	if err != nil {
		port.Close()
		return nil, fmt.Errorf("open media port: %w", err)
	}
	m := &Mux{
		cfg:         cfg,
		log:         log,
		port:        port,
		cert:        cert,
		fingerprint: fingerprint,
		candidates:  candidates,
		errorLimit:  rate.NewLimiter(errorRate, errorBurst),
		byUfrag:     make(map[string]*Conn),
		byAddr:      make(map[netip.AddrPort]*Conn),
		stop:        make(chan struct{}),
	}
	for _, s := range port.Sockets {
		m.loops.Go(func() { newLoop(m, s).run() })
	}
	m.janitor.Go(m.watchIdle)
	return m, nil
}

// advertised completes the configured candidates, or finds them.
func advertised(configured []netip.AddrPort, bound netip.AddrPort) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, a := range configured {
		if !a.Addr().IsValid() || a.Addr().IsUnspecified() {
			return nil, fmt.Errorf("advertised address %s cannot be reached", a)
		}
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), bound.Port())
		}
		list = append(list, netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()))
	}
	if len(list) > 0 {
		return list, nil
	}
	if !bound.Addr().IsUnspecified() {
		return []netip.AddrPort{bound}, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list interface addresses: %w", err)
	}
	var v6, loopback []netip.AddrPort
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		at := netip.AddrPortFrom(ip, bound.Port())
		switch {
		case ip.Is6() && bound.Addr().Is4(), ip.IsLinkLocalUnicast():
		case ip.IsLoopback():
			if ip.Is4() {
				loopback = append(loopback, at)
			}
		case ip.Is4():
			list = append(list, at)
		default:
			v6 = append(v6, at)
		}
	}
	list = append(list, v6...)
	if len(list) == 0 {
		list = loopback // a machine without a network talks to itself
	}
	if len(list) == 0 {
		return nil, errors.New("no interface has an address to advertise")
	}
	return list, nil
}

// Addr is the bound address.
func (m *Mux) Addr() netip.AddrPort { return m.port.Addr() }

// Candidates are the addresses that clients are told.
func (m *Mux) Candidates() []netip.AddrPort { return append([]netip.AddrPort(nil), m.candidates...) }

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
	for _, a := range c.paths {
		if m.byAddr[a] == c {
			delete(m.byAddr, a)
		}
	}
	c.paths = nil
}

// bind notes that a Conn's client has proved to be at an address. It fails when
// another Conn is using it, or the Conn is over.
func (m *Mux) bind(c *Conn, addr netip.AddrPort, now int64) bool {
	m.mu.RLock()
	holder := m.byAddr[addr]
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
		holder.paths = slices.DeleteFunc(holder.paths, func(a netip.AddrPort) bool { return a == addr })
	}
	if len(c.paths) == maxPaths {
		// Forget the oldest that is not in use.
		for i, a := range c.paths {
			if p := c.path.Load(); p == nil || p.addr != a {
				if m.byAddr[a] == c {
					delete(m.byAddr, a)
				}
				c.paths = append(c.paths[:i], c.paths[i+1:]...)
				break
			}
		}
	}
	c.paths = append(c.paths, addr)
	m.byAddr[addr] = c
	return true
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

// watchIdle ends the Conns that nothing came from.
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
		var idle []*Conn
		m.mu.RLock()
		for _, c := range m.byUfrag {
			if since := c.idleSince(); since != 0 && since < oldest {
				idle = append(idle, c)
			}
		}
		m.mu.RUnlock()
		for _, c := range idle {
			c.cancel(errIdle)
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
	err := m.port.Close()
	m.loops.Wait()
	return err
}

// loop is one goroutine that reads a socket, with the memory it reuses.
type loop struct {
	mux    *Mux
	socket *udp.Socket
	inbox  *udp.Inbox
	out    *udp.Batch
	stun   stunMessage

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
		inbox:  udp.NewInbox(),
		out:    s.NewBatch(),
		runs:   make([]run, udp.InboxSize),
	}
}

func (l *loop) run() {
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
			l.check(p.Data, p.Addr, now)
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
		c.heard(p.Addr, now)
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
	c.heard(p.Addr, now)
	st.RTPIn.Add(1)
	if err := pkt.Parse(plain); err != nil { // the padding can be wrong still
		st.DroppedMalformed.Add(1)
		return
	}
	pkt.Arrival = now
	r := l.runOf(c)
	r.rtp = append(r.rtp, pkt)
}

func (l *loop) connAt(addr netip.AddrPort) *Conn {
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
