package media

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	pionsrtp "github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"

	"belfry/internal/meeting"
	"belfry/test/kit"
)

func TestMain(m *testing.M) {
	// They wait for clocks more than they work.
	_ = flag.Set("test.parallel", "6")
	kit.Main(m)
}

const patience = kit.Patience

var eventually = kit.Eventually

// room is a server with one conference, and what the conference said.
type room struct {
	t      testing.TB
	server *Server
	conf   meeting.Conference

	mu      sync.Mutex
	told    []meeting.VideoSource // what there was at the last SourcesChanged
	codecs  []meeting.VideoCodec
	changes int
	levels  [][]meeting.AudioLevel
	weak    [][]meeting.SignalStrength
}

const firstID = 40

func newRoom(t testing.TB, cfg Config) *room {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	r := &room{t: t, server: s}
	r.open(meeting.ConferenceSpec{MeetingID: "m", FirstID: firstID}, r)
	return r
}

// open makes the room's conference another one, which tells its events to someone.
func (r *room) open(spec meeting.ConferenceSpec, to meeting.ConferenceEvents) {
	r.t.Helper()
	conf, err := r.server.OpenConference(spec, to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conf = conf
}

func (r *room) SourcesChanged() {
	r.mu.Lock()
	conf := r.conf
	r.mu.Unlock()
	sources, codecs := conf.Sources(), conf.ReceiveCodecs()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told, r.codecs = sources, codecs
	r.changes++
}

// isTold waits for a SourcesChanged at which this holds.
func (r *room) isTold(what string, holds func(sources []meeting.VideoSource, codecs []meeting.VideoCodec) bool) {
	r.t.Helper()
	eventually(r.t, "SourcesChanged for "+what, func() bool { return r.tells(holds) })
}

func (r *room) tells(holds func([]meeting.VideoSource, []meeting.VideoCodec) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes > 0 && holds(r.told, r.codecs)
}

func (r *room) Levels(talking []meeting.AudioLevel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.levels = append(r.levels, talking)
}

func (r *room) SignalStrength(weak []meeting.SignalStrength) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.weak = append(r.weak, weak)
}

// source is the one source of an attendee; nil when there is none.
func (r *room) source(id string) *meeting.VideoSource {
	for _, s := range r.conf.Sources() {
		if s.AttendeeID == id {
			return &s
		}
	}
	return nil
}

// events keeps what is told of one connection.
type events struct {
	connected, audio atomic.Int32
	closed           chan string
	tooLarge         atomic.Int32
	paused, resumed  atomic.Int32
}

func (e *events) MediaConnected()           { e.connected.Add(1) }
func (e *events) AudioArrived()             { e.audio.Add(1) }
func (e *events) MediaClosed(reason string) { e.closed <- reason }

func (e *events) VideoPaused(groups []uint32, paused bool) {
	if paused {
		e.paused.Add(1)
	} else {
		e.resumed.Add(1)
	}
}

func (e *events) PictureTooLarge(_, _ uint32, _ meeting.Resolution) { e.tooLarge.Add(1) }

// section is one m-line of a client's offer.
type section struct {
	mid, kind, direction string
	rejected             bool
	want                 uint32 // the stream to receive
	ssrc, rtx            uint32 // what is sent here
	codecs               []string
	rids                 []string // of simulcast, which names no SSRCs
}

// client is a browser as far as media goes: it writes offers of the shape that
// Chromium's have and runs ICE, DTLS and SRTP by pion's libraries on a socket of
// its own. It sends nothing by itself.
type client struct {
	t      testing.TB
	id     string
	peer   meeting.Peer
	events *events

	// What the offers say. Payload types may be changed before the first one.
	opus, vp8, h264 uint8
	noLevel         bool
	redFirst        bool // it prefers redundant audio
	noise           bool // it offers comfort noise
	sections        []*section
	sendVideo       []meeting.SendVideo
	muted           bool
	version         int
	fingerprint     string
	cert            tls.Certificate

	answer answer

	socket *net.UDPConn
	server netip.AddrPort
	work   sync.WaitGroup
	dtls   *dtls.Conn
	pipe   net.Conn // the far end of what DTLS speaks over
	bound  chan struct{}
	checks chan [stun.TransactionIDSize]byte // answers to flush
	over   chan struct{}                     // DTLS was closed by the server
	lose   atomic.Pointer[func(*pionrtp.Packet) bool]
	quit   sync.Once

	size [2]uint16 // of what it films; 320×180 when zero

	outMu sync.Mutex
	out   *pionsrtp.Context
	seqs  map[uint32]uint16 // next to send

	mu   sync.Mutex
	in   *pionsrtp.Context
	rtp  map[uint32][]*pionrtp.Packet
	at   map[uint32][]time.Time
	rtcp []rtcp.Packet
	bad  int // packets that could not be decrypted
}

var everything = meeting.Capabilities{Audio: meeting.SendReceive, Video: meeting.SendReceive, Content: meeting.SendReceive}

// enter makes a client that has joined and not negotiated yet.
func (r *room) enter(id string, spec ...func(*meeting.PeerSpec)) *client {
	r.t.Helper()
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(cert.Certificate[0])
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	c := &client{
		t: r.t, id: id, opus: 111, vp8: 96, h264: 108,
		events:      &events{closed: make(chan string, 16)},
		fingerprint: "sha-256 " + strings.Join(hex, ":"), cert: cert,
		bound: make(chan struct{}), over: make(chan struct{}), checks: make(chan [stun.TransactionIDSize]byte, 64),
		seqs: make(map[uint32]uint16),
		rtp:  make(map[uint32][]*pionrtp.Packet), at: make(map[uint32][]time.Time),
	}
	c.sections = []*section{
		{mid: "0", kind: "audio", direction: "sendrecv", ssrc: newSSRC()},
		{mid: "1", kind: "video", direction: "inactive", ssrc: newSSRC(), rtx: newSSRC()},
	}
	ps := meeting.PeerSpec{AttendeeID: id, Capabilities: everything}
	for _, f := range spec {
		f(&ps)
	}
	c.muted = ps.Muted
	if c.peer, err = r.conf.Join(ps, c.events); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		c.leave()
		c.peer.Close()
	})
	return c
}

// join makes a client that has negotiated audio and is connected.
func (r *room) join(id string, spec ...func(*meeting.PeerSpec)) *client {
	r.t.Helper()
	c := r.enter(id, spec...)
	c.negotiate()
	c.connect()
	return c
}

// share makes the connection of an attendee's content share.
func (r *room) share(id string, spec ...func(*meeting.PeerSpec)) *client {
	r.t.Helper()
	return r.join(id+meeting.ContentSuffix, spec...)
}

// camera turns the camera on and negotiates.
func (c *client) camera() {
	c.t.Helper()
	c.sections[1].direction = "sendrecv"
	c.sendVideo = []meeting.SendVideo{{Label: "camera", MaxBitrateKbps: 600, Framerate: 15}}
	c.negotiate()
}

// receive adds a section for a stream and negotiates.
func (c *client) receive(streamID uint32) *section {
	c.t.Helper()
	s := &section{mid: strconv.Itoa(len(c.sections)), kind: "video", direction: "recvonly", want: streamID}
	c.sections = append(c.sections, s)
	c.negotiate()
	return s
}

// connect runs ICE and DTLS.
func (c *client) connect() {
	c.t.Helper()
	if err := c.tryConnect(); err != nil {
		c.t.Fatalf("%s: %v", c.id, err)
	}
	eventually(c.t, c.id+"'s MediaConnected", func() bool { return c.events.connected.Load() == 1 })
}

func (c *client) tryConnect() error {
	var err error
	c.server = c.answer.candidates[0]
	if c.socket, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.server)); err != nil {
		return err
	}
	_ = c.socket.SetReadBuffer(1 << 20)
	near, far := net.Pipe()
	c.pipe = far
	c.work.Go(c.read)
	c.work.Go(func() { // what DTLS sends
		buf := make([]byte, 1<<14)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			_, _ = c.socket.Write(buf[:n])
		}
	})
	check, err := c.check()
	if err != nil {
		return err
	}
	for begun := time.Now(); ; {
		if _, err := c.socket.Write(check.Raw); err != nil {
			return err
		}
		select {
		case <-c.bound:
		case <-time.After(100 * time.Millisecond):
			if time.Since(begun) < patience {
				continue
			}
			return errors.New("no answer to a connectivity check")
		}
		break
	}
	c.dtls, err = dtls.ClientWithOptions(dtlsnet.PacketConnFromConn(near), near.RemoteAddr(),
		dtls.WithCertificates(c.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithFlightInterval(100*time.Millisecond),
		dtls.WithVerifyPeerCertificate(func(certs [][]byte, _ [][]*x509.Certificate) error {
			sum := sha256.Sum256(certs[0])
			if want := strings.NewReplacer("sha-256 ", "", ":", "").Replace(c.answer.fingerprint); !strings.EqualFold(want, fmt.Sprintf("%x", sum)) {
				return errors.New("the server's certificate is another one than in its answer")
			}
			return nil
		}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.dtls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	state, _ := c.dtls.ConnectionState()
	const key, salt = 16, 12
	keys, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(key+salt))
	if err != nil {
		return err
	}
	out, err := pionsrtp.CreateContext(keys[:key], keys[2*key:][:salt], pionsrtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		return err
	}
	in, err := pionsrtp.CreateContext(keys[key:2*key], keys[2*key+salt:], pionsrtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		return err
	}
	c.out = out
	c.mu.Lock()
	c.in = in
	c.mu.Unlock()
	c.work.Go(func() {
		buf := make([]byte, 1<<14)
		for {
			if _, err := c.dtls.Read(buf); errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, dtls.ErrConnClosed) {
				close(c.over)
				return
			}
		}
	})
	return nil
}

// check is a connectivity check.
func (c *client) check() (*stun.Message, error) {
	return stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(c.answer.ufrag+":8upu"),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 1, 255}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrUseCandidate},
		stun.NewShortTermIntegrity(c.answer.pwd), stun.Fingerprint)
}

// flush returns when the server has handled all that the client had sent, and the
// client all that the server had sent it: both sides keep the order, so an answer to
// a check comes after what was under way.
func (c *client) flush() {
	c.t.Helper()
	check, err := c.check()
	if err != nil {
		c.t.Fatal(err)
	}
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for begun := time.Now(); time.Since(begun) < patience; {
		_, _ = c.socket.Write(check.Raw)
	waiting:
		for {
			select {
			case id := <-c.checks:
				if id == check.TransactionID {
					return
				}
			case <-again.C:
				break waiting
			}
		}
	}
	c.t.Fatalf("%s: no answer to a check", c.id)
}

// settled returns when all that the sender had sent has come to the viewer, if it does.
func settled(sender, viewer *client) {
	sender.t.Helper()
	sender.flush()
	sender.flush() // what the first one came with has left the server
	viewer.flush()
}

// leave goes without a word.
func (c *client) leave() {
	c.quit.Do(func() {
		if c.socket == nil {
			return
		}
		c.socket.Close()
		if c.dtls != nil {
			_ = c.dtls.Close()
		}
		c.pipe.Close()
		c.work.Wait()
	})
}

func (c *client) read() {
	buf := make([]byte, 1<<14)
	bound := false
	for {
		n, err := c.socket.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 2 {
			continue // the server's port is gone
		}
		switch b := buf[:n]; {
		case stun.IsMessage(b):
			m := &stun.Message{Raw: b}
			if m.Decode() != nil || m.Type != stun.BindingSuccess {
				continue
			}
			if !bound {
				bound = true
				close(c.bound)
			}
			select {
			case c.checks <- m.TransactionID:
			default: // nobody asks
			}
		case b[0] >= 20 && b[0] <= 63:
			_ = c.pipe.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = c.pipe.Write(b)
		default:
			c.take(b)
		}
	}
}

func (c *client) take(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		return // sent before the client had its keys
	}
	if b[1] >= 192 && b[1] <= 223 {
		plain, err := c.in.DecryptRTCP(nil, b, nil)
		if err != nil {
			c.bad++
			return
		}
		packets, err := rtcp.Unmarshal(plain)
		if err != nil {
			c.bad++
		}
		c.rtcp = append(c.rtcp, packets...)
		return
	}
	plain, err := c.in.DecryptRTP(nil, b, nil)
	p := new(pionrtp.Packet)
	if err != nil || p.Unmarshal(plain) != nil {
		c.bad++
		return
	}
	if f := c.lose.Load(); f != nil && (*f)(p) {
		return
	}
	c.rtp[p.SSRC] = append(c.rtp[p.SSRC], p)
	c.at[p.SSRC] = append(c.at[p.SSRC], time.Now())
}

// got are the packets received of a stream so far.
func (c *client) got(ssrc uint32) []*pionrtp.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rtp[ssrc])
}

// count is how many they are.
func (c *client) count(ssrc uint32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rtp[ssrc])
}

// stops waits until nothing comes of a stream.
func (c *client) stops(ssrc uint32) {
	c.t.Helper()
	last, since := -1, time.Now()
	eventually(c.t, fmt.Sprintf("the end of %s's stream", c.id), func() bool {
		if n := c.count(ssrc); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
}

// control are the RTCP packets received so far.
func (c *client) control() []rtcp.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rtcp)
}

// keyFrameRequests counts the PLIs for the client's camera.
func (c *client) keyFrameRequests() int {
	n := 0
	for _, p := range c.control() {
		if x, ok := p.(*rtcp.PictureLossIndication); ok && x.MediaSSRC == c.sections[1].ssrc {
			n++
		}
	}
	return n
}

// send sends an RTP packet.
func (c *client) send(p *pionrtp.Packet) {
	c.t.Helper()
	plain, err := p.Marshal()
	if err != nil {
		c.t.Error(err)
		return
	}
	c.outMu.Lock()
	defer c.outMu.Unlock()
	b, err := c.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		c.t.Error(err)
		return
	}
	_, _ = c.socket.Write(b)
}

// sendRTCP sends a compound packet as it is.
func (c *client) sendRTCP(plain []byte) {
	c.t.Helper()
	c.outMu.Lock()
	defer c.outMu.Unlock()
	b, err := c.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		c.t.Error(err)
		return
	}
	_, _ = c.socket.Write(b)
}

// feedback sends one RTCP packet.
func (c *client) feedback(p rtcp.Packet) {
	c.t.Helper()
	b, err := p.Marshal()
	if err != nil {
		c.t.Fatal(err)
	}
	c.sendRTCP(b)
}

func (c *client) next(ssrc uint32) uint16 {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	c.seqs[ssrc]++
	return c.seqs[ssrc]
}

// say sends 20 ms of audio as loud as level (−dBov).
func (c *client) say(payload []byte, level uint8) {
	c.t.Helper()
	ssrc := c.sections[0].ssrc
	seq := c.next(ssrc)
	p := &pionrtp.Packet{
		Header:  pionrtp.Header{Version: 2, PayloadType: c.opus, SequenceNumber: seq, Timestamp: 960 * uint32(seq), SSRC: ssrc},
		Payload: payload,
	}
	if !c.noLevel {
		_ = p.SetExtension(extLevel, []byte{level})
	}
	c.send(p)
}

// talk says payloads at the pace of a browser until stopped.
func (c *client) talk(level uint8, payload func(i int) []byte) (stop func()) {
	i := 0
	stop = every(20*time.Millisecond, func() {
		c.say(payload(i), level)
		i++
	})
	c.t.Cleanup(stop)
	return stop
}

// every calls f again and again until stopped.
func every(pace time.Duration, f func()) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				f()
			}
		}
	})
	var once sync.Once
	return func() { once.Do(func() { close(quit); done.Wait() }) }
}

// film sends one packet that is a whole VP8 frame.
func (c *client) film(key bool) *pionrtp.Packet {
	c.t.Helper()
	p := c.frame(key)
	c.send(p)
	return p
}

// frame makes one without sending it.
func (c *client) frame(key bool) *pionrtp.Packet {
	ssrc := c.sections[1].ssrc
	seq := c.next(ssrc)
	return &pionrtp.Packet{
		Header:  pionrtp.Header{Version: 2, Marker: true, PayloadType: c.vp8, SequenceNumber: seq, Timestamp: 6000 * uint32(seq), SSRC: ssrc},
		Payload: vp8(key, seq, c.size),
	}
}

// vp8 is a payload with descriptor (RFC 7741 4.2) and frame header (RFC 6386
// 9.1) of that size, 320×180 when zero, whose rest tells the frames apart.
func vp8(key bool, picture uint16, of ...[2]uint16) []byte {
	size := [2]uint16{320, 180}
	if len(of) > 0 && of[0] != [2]uint16{} {
		size = of[0]
	}
	b := []byte{0x90, 0x80, 0x80 | byte(picture>>8), byte(picture)}
	if key {
		b = append(b, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, byte(size[0]), byte(size[0]>>8), byte(size[1]), byte(size[1]>>8))
	} else {
		b = append(b, 0x11, 0x02, 0x00)
	}
	return append(b, fmt.Sprintf("the picture with number %d", picture)...)
}
