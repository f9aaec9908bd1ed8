package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	pionsrtp "github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"

	"belfry/internal/media/pipe"
	"belfry/internal/media/rtp"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
	"belfry/test/kit"
)

func TestMain(m *testing.M) {
	started = started.Add(-time.Hour) // a process as old as it mostly is
	kit.Main(m)
}

const patience = kit.Patience

// sink is an address where nobody listens to what comes.
func sink(t testing.TB) netip.AddrPort {
	t.Helper()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.LocalAddr().(*net.UDPAddr).AddrPort()
}

var eventually = kit.Eventually

func await[T any](t testing.TB, ch <-chan T, missing string) T {
	t.Helper()
	return kit.Await(t, ch, missing)
}

func newMux(t testing.TB, cfg Config) *Mux {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Sockets == 0 {
		cfg.Sockets = 1
	}
	m, err := NewMux(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// recorder is a Handler that keeps what it is told.
type recorder struct {
	connected chan struct{}
	closed    chan string
	rtp       chan []byte   // whole packets, decrypted
	runs      chan []uint16 // sequence numbers, a run each
	rtcp      chan []byte
	up        atomic.Bool // Connected returned
	early     atomic.Int32

	echo   atomic.Pointer[Conn] // what comes is sent back through it, when set
	sendMu sync.Mutex           // callers of SendRTP and SendRTCP serialise, and loops come at the same time
}

func newRecorder() *recorder {
	return &recorder{
		connected: make(chan struct{}, 8),
		closed:    make(chan string, 8),
		rtp:       make(chan []byte, 4096),
		runs:      make(chan []uint16, 4096),
		rtcp:      make(chan []byte, 4096),
	}
}

func (r *recorder) Connected() {
	r.up.Store(true)
	r.connected <- struct{}{}
}

func (r *recorder) RTP(run []*rtp.Packet, out *udp.Batch) {
	if !r.up.Load() {
		r.early.Add(1)
	}
	var seqs []uint16
	for _, p := range run {
		seqs = append(seqs, p.Seq)
		r.rtp <- bytes.Clone(p.Raw)
		if c := r.echo.Load(); c != nil {
			r.sendMu.Lock()
			c.SendRTP(out, p.Raw[:p.HeaderLen], p.Raw[p.HeaderLen:])
			r.sendMu.Unlock()
		}
	}
	r.runs <- seqs
}

func (r *recorder) RTCP(pkt []byte, out *udp.Batch) {
	r.rtcp <- bytes.Clone(pkt)
	if c := r.echo.Load(); c != nil {
		r.sendMu.Lock()
		c.SendRTCP(out, pkt)
		r.sendMu.Unlock()
	}
}

func (r *recorder) Closed(reason string) { r.closed <- reason }

func open(t testing.TB, m *Mux) (*Conn, *recorder) {
	t.Helper()
	r := newRecorder()
	c, err := m.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, r
}

// client is the other end, made of pion's STUN, DTLS and SRTP on a plain socket.
type client struct {
	t      testing.TB
	server netip.AddrPort
	local  Parameters // its own
	remote Parameters // the server's
	cert   tls.Certificate

	profiles []dtls.SRTPProtectionProfile
	lose     atomic.Pointer[func(b []byte, sent bool) bool] // DTLS datagrams to lose

	asked map[[stun.TransactionIDSize]byte]bool // checks that were sent, maybe several times

	socket  atomic.Pointer[net.Conn] // UDP, or TCP with frames
	readers sync.WaitGroup
	stun    chan *stun.Message
	media   chan []byte
	pipe    *pipe.Pipe

	dtls     *dtls.Conn
	in, out  *pionsrtp.Context
	dtlsDone chan error // what the DTLS connection ended with
}

// newClient makes a client and tells the Conn about it. setup is what its SDP
// says.
func newClient(t testing.TB, m *Mux, c *Conn, setup string) *client {
	t.Helper()
	cl := newStranger(t, m, c)
	cl.local.Setup = setup
	if err := c.SetRemote(cl.local); err != nil {
		t.Fatal(err)
	}
	cl.remote = c.Local()
	return cl
}

// newStranger makes a client that the Conn was not told of.
func newStranger(t testing.TB, m *Mux, c *Conn) *client {
	t.Helper()
	cert, fingerprint, err := makeCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{
		t:      t,
		server: m.Addr(),
		local: Parameters{
			Ufrag:       "client",
			Pwd:         "0123456789012345678901",
			Fingerprint: fingerprint,
			Setup:       SetupActPass,
		},
		cert:     cert,
		profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM},
		stun:     make(chan *stun.Message, 1024),
		media:    make(chan []byte, 4096),
		dtlsDone: make(chan error, 1),
		asked:    make(map[[stun.TransactionIDSize]byte]bool),
	}
	if c != nil {
		cl.remote = c.Local()
	}
	cl.pipe = pipe.New(func(b []byte) {
		if f := cl.lose.Load(); f == nil || !(*f)(b, true) {
			cl.write(b)
		}
	})
	cl.move()
	t.Cleanup(cl.close)
	return cl
}

// close goes without a word: no close_notify is sent.
func (cl *client) close() {
	cl.pipe.Close()
	(*cl.socket.Load()).Close()
	if cl.dtls != nil {
		cl.dtls.Close()
	}
	cl.readers.Wait()
}

// move changes to another port.
func (cl *client) move() {
	cl.t.Helper()
	s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(cl.server))
	if err != nil {
		cl.t.Fatal(err)
	}
	_ = s.SetReadBuffer(1 << 20)
	cl.use(s, func(buf []byte) ([]byte, error) {
		n, err := s.Read(buf)
		return buf[:n], err
	})
}

// moveToTCP changes to a stream.
func (cl *client) moveToTCP(to netip.AddrPort) {
	cl.t.Helper()
	s, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		cl.t.Fatal(err)
	}
	_ = s.SetLinger(0)
	r := bufio.NewReader(s)
	cl.use(s, func(buf []byte) ([]byte, error) {
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return nil, err
		}
		_, err := io.ReadFull(r, buf[:binary.BigEndian.Uint16(size[:])])
		return buf[:binary.BigEndian.Uint16(size[:])], err
	})
}

func (cl *client) use(s net.Conn, read func([]byte) ([]byte, error)) {
	if old := cl.socket.Swap(&s); old != nil {
		(*old).Close()
	}
	cl.readers.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			got, err := read(buf)
			if errors.Is(err, syscall.ECONNREFUSED) {
				continue // an old datagram's
			}
			if err != nil {
				return
			}
			b := bytes.Clone(got)
			switch {
			case stun.IsMessage(b):
				m := &stun.Message{Raw: b}
				if m.Decode() == nil {
					select {
					case cl.stun <- m:
					default: // nobody waits for so many
					}
				}
			case b[0] >= 20 && b[0] <= 63:
				if f := cl.lose.Load(); f == nil || !(*f)(b, false) {
					cl.pipe.Push(b)
				}
			default:
				select {
				case cl.media <- b:
				default:
				}
			}
		}
	})
}

func (cl *client) addr() netip.AddrPort {
	if a, ok := (*cl.socket.Load()).LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return (*cl.socket.Load()).LocalAddr().(*net.UDPAddr).AddrPort()
}

func (cl *client) write(b []byte) {
	s := *cl.socket.Load()
	if _, ok := s.(*net.TCPConn); ok {
		b = appendFrame(nil, b)
	}
	_, _ = s.Write(b)
}

var (
	controlling  = stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}
	controlled   = stun.RawAttribute{Type: stun.AttrICEControlled, Value: make([]byte, 8)}
	useCandidate = stun.RawAttribute{Type: stun.AttrUseCandidate}
	priority     = stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 1, 255}}
)

// request is a connectivity check with the attributes that are always there and
// those given.
func (cl *client) request(pwd string, more ...stun.Setter) *stun.Message {
	cl.t.Helper()
	setters := []stun.Setter{stun.TransactionID, stun.BindingRequest,
		stun.NewUsername(cl.remote.Ufrag + ":" + cl.local.Ufrag), priority}
	setters = append(setters, more...)
	setters = append(setters, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	m, err := stun.Build(setters...)
	if err != nil {
		cl.t.Fatal(err)
	}
	return m
}

// check sends a connectivity check and gives the answer.
func (cl *client) check(more ...stun.Setter) *stun.Message {
	cl.t.Helper()
	return cl.ask(cl.request(cl.remote.Pwd, more...))
}

func (cl *client) ask(req *stun.Message) *stun.Message {
	cl.t.Helper()
	cl.asked[req.TransactionID] = true
	for begun := time.Now(); time.Since(begun) < patience; {
		cl.write(req.Raw)
		again := time.After(500 * time.Millisecond)
	waiting:
		for {
			select {
			case m := <-cl.stun:
				if m.TransactionID == req.TransactionID {
					return m
				}
			case <-again:
				break waiting
			}
		}
	}
	cl.t.Fatal("a check is not answered")
	panic("not reached")
}

// nominate checks the path and uses it.
func (cl *client) nominate() {
	cl.t.Helper()
	if m := cl.check(controlling, useCandidate); m.Type != stun.BindingSuccess {
		cl.t.Fatalf("the check is answered by %v", m)
	}
}

// shakeHands runs DTLS in the role that the server's SDP leaves.
func (cl *client) shakeHands() error {
	cl.t.Helper()
	shared := []dtls.Option{
		dtls.WithCertificates(cl.cert),
		dtls.WithSRTPProtectionProfiles(cl.profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithFlightInterval(50 * time.Millisecond),
		dtls.WithLoggerFactory(quiet{}),
		dtls.WithVerifyPeerCertificate(func(certs [][]byte, _ [][]*x509.Certificate) error {
			if sum := sha256.Sum256(certs[0]); "sha-256 "+colons(sum[:]) != cl.remote.Fingerprint {
				return errors.New("the server has another fingerprint than it said")
			}
			return nil
		}),
	}
	isClient := cl.remote.Setup == SetupPassive
	var err error
	if isClient {
		var options []dtls.ClientOption
		for _, o := range shared {
			options = append(options, o)
		}
		cl.dtls, err = dtls.ClientWithOptions(cl.pipe, cl.pipe.Peer(), options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
		for _, o := range shared {
			options = append(options, o)
		}
		cl.dtls, err = dtls.ServerWithOptions(cl.pipe, cl.pipe.Peer(), options...)
	}
	if err != nil {
		cl.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.dtls.HandshakeContext(ctx); err != nil {
		return err
	}
	p, _ := cl.dtls.SelectedSRTPProtectionProfile()
	state, _ := cl.dtls.ConnectionState()
	keyLen, saltLen := srtp.Profile(p).KeyLen(), srtp.Profile(p).SaltLen()
	keys, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(keyLen+saltLen))
	if err != nil {
		return err
	}
	context := func(client bool) *pionsrtp.Context {
		key, salt := keys[:keyLen], keys[2*keyLen:][:saltLen]
		if !client {
			key, salt = keys[keyLen:2*keyLen], keys[2*keyLen+saltLen:]
		}
		c, err := pionsrtp.CreateContext(key, salt, pionsrtp.ProtectionProfile(p))
		if err != nil {
			cl.t.Fatal(err)
		}
		return c
	}
	cl.out, cl.in = context(isClient), context(!isClient)
	cl.readers.Go(func() {
		buf := make([]byte, 1<<14)
		for {
			if _, err := cl.dtls.Read(buf); errors.Is(err, io.EOF) {
				cl.dtlsDone <- err
				return
			}
		}
	})
	return nil
}

// connect does all of it.
func (cl *client) connect(r *recorder) {
	cl.t.Helper()
	cl.nominate()
	if err := cl.shakeHands(); err != nil {
		cl.t.Fatal(err)
	}
	await(cl.t, r.connected, "Connected")
}

func rtpPacket(ssrc uint32, seq uint16, payload string) []byte {
	b := []byte{0x90, 111, byte(seq >> 8), byte(seq), 0, 0, 0, 1,
		byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc),
		0xBE, 0xDE, 0, 1, 0x10, 0x85, 0, 0}
	return append(b, payload...)
}

var report = []byte{0x80, 201, 0, 1, 0, 0, 0, 7, 0x80, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9}

func (cl *client) sealRTP(plain []byte) []byte {
	cl.t.Helper()
	b, err := cl.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		cl.t.Fatal(err)
	}
	return b
}

func (cl *client) sealRTCP(plain []byte) []byte {
	cl.t.Helper()
	b, err := cl.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		cl.t.Fatal(err)
	}
	return b
}

// exchange sends a packet of each kind over the network and wants both back. What
// is lost on the way, or comes before the Conn has opened its ear, goes again.
func (cl *client) exchange(c *Conn, r *recorder, seq uint16) {
	cl.t.Helper()
	r.echo.Store(c)
	defer r.echo.Store(nil)
	cl.roundTrip("RTP", r.rtp, func(attempt int) (plain, sealed []byte) {
		plain = rtpPacket(42+uint32(attempt), seq, "to and fro")
		return plain, cl.sealRTP(plain)
	}, func(b []byte) ([]byte, error) { return cl.in.DecryptRTP(nil, b, nil) })
	cl.roundTrip("RTCP", r.rtcp, func(int) (plain, sealed []byte) {
		return report, cl.sealRTCP(report)
	}, func(b []byte) ([]byte, error) { return cl.in.DecryptRTCP(nil, b, nil) })
}

func (cl *client) roundTrip(kind string, server <-chan []byte, out func(attempt int) (plain, sealed []byte), open func([]byte) ([]byte, error)) {
	cl.t.Helper()
	begun := time.Now()
	for attempt := 0; time.Since(begun) < patience; attempt++ {
		plain, sealed := out(attempt)
		cl.write(sealed)
		wait := 20 * time.Millisecond << min(attempt, 7)
		if within(wait, server, func(b []byte) bool { return bytes.Equal(b, plain) }) &&
			within(wait, cl.media, func(b []byte) bool {
				got, err := open(b)
				return err == nil && bytes.Equal(got, plain)
			}) {
			return
		}
	}
	cl.t.Fatalf("%s does not come and go", kind)
}

// within waits for what is wanted, past anything else.
func within(d time.Duration, ch <-chan []byte, wanted func([]byte) bool) bool {
	timeout := time.After(d)
	for {
		select {
		case b := <-ch:
			if wanted(b) {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// awaitKeys waits until the Conn opens what comes, of which nothing was sent yet.
func awaitKeys(t testing.TB, c *Conn) {
	t.Helper()
	eventually(t, "the keys in", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.in != nil
	})
}

// hand gives a datagram to the Mux as if a read had brought it, since the network
// may lose what is sent once; when it returns the datagram has been handled.
func (cl *client) hand(m *Mux, b []byte) {
	newLoop(m, m.port.Sockets[0]).handle([]udp.Packet{{Data: bytes.Clone(b), Addr: cl.addr()}}, Now())
}
