package hostile

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/pion/rtcp"
	"github.com/pion/stun/v4"
	"google.golang.org/protobuf/proto"

	"belfry/internal/media/srtp"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// stranger is an attacker's UDP socket to the media port.
type stranger struct {
	t    *testing.T
	conn *net.UDPConn

	sent          int // bytes
	got           atomic.Int64
	pictures      atomic.Int64  // video packets among them
	last          atomic.Uint32 // sequence number of the last one
	onSTUN        atomic.Pointer[func(*stun.Message)]
	dtls          atomic.Pointer[net.Conn] // where handshake records go to
	first         atomic.Pointer[[]byte]   // the first flight, for a replay
	work          sync.WaitGroup
	closeHandlers []func()
}

func (w *world) stranger(t *testing.T) *stranger {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(w.mediaAddr(t)))
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, conn: conn}
	s.work.Go(s.read)
	t.Cleanup(func() {
		conn.Close()
		for _, f := range s.closeHandlers {
			f()
		}
		s.work.Wait()
	})
	return s
}

func (w *world) mediaAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	addr, err := netip.ParseAddrPort(*w.meeting.MediaPlacement.AudioHostUrl)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// write sends datagrams, with a breath now and then: what the kernel drops
// attacks nobody.
func (s *stranger) write(datagrams ...[]byte) {
	for _, b := range datagrams {
		_, _ = s.conn.Write(b)
		if s.sent += len(b); s.sent%(1<<15) < len(b) {
			time.Sleep(time.Millisecond)
		}
	}
}

func (s *stranger) read() {
	buf := make([]byte, 1<<14)
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.got.Add(int64(n))
		b := buf[:n]
		if stun.IsMessage(b) {
			m := &stun.Message{Raw: bytes.Clone(b)}
			if f := s.onSTUN.Load(); f != nil && m.Decode() == nil {
				(*f)(m)
			}
		} else if n > 12 && b[0]>>6 == 2 && b[1]&0x7f == 96 { // the header is in clear
			s.pictures.Add(1)
			s.last.Store(uint32(binary.BigEndian.Uint16(b[2:])))
		} else if pipe := s.dtls.Load(); pipe != nil && n > 0 && b[0] >= 20 && b[0] <= 63 {
			_ = (*pipe).SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = (*pipe).Write(b)
		}
	}
}

// caller is an attacker with a valid token and a media connection.
type caller struct {
	*stranger
	signaling *signaltest.Client
	ufrag     string // of the server
	password  string
	keys      [2][]byte // key and salt of what the caller sends
	out       *srtp.Context
	tracks    []*signalpb.SdkTrackMapping
}

const (
	callerAudio = 0xA0000001
	callerVideo = 0xB0000001
	callerRTX   = 0xB0000002
)

var (
	iceUfrag    = regexp.MustCompile(`a=ice-ufrag:(\S+)`)
	icePassword = regexp.MustCompile(`a=ice-pwd:(\S+)`)
)

// call joins and negotiates audio, a camera, and alice's camera to be received.
func (w *world) call(t *testing.T, token string) *caller {
	t.Helper()
	c := &caller{stranger: w.stranger(t), signaling: w.enter(t, token)}
	text := offer(audioSection,
		videoSection+"\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=rtcp-fb:96 transport-cc\r\na=sendrecv\r\na=ssrc-group:FID "+
			strconv.Itoa(callerVideo)+" "+strconv.Itoa(callerRTX)+"\r\na=ssrc:"+strconv.Itoa(callerVideo)+" cname:x\r\na=ssrc:"+strconv.Itoa(callerRTX)+" cname:x",
		videoSection+"\r\na=recvonly")
	ack, err := c.signaling.Subscribe(within(t), &signalpb.SdkSubscribeFrame{
		Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), SdpOffer: &text, ReceiveStreamIds: []uint32{0, w.a.streamID},
		SendStreams: []*signalpb.SdkStreamDescriptor{{
			MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String("camera"), MaxBitrateKbps: proto.Uint32(600),
		}},
	})
	if err != nil || ack.Error != nil {
		t.Fatalf("SUBSCRIBE: %v (%v)", ack.GetError(), err)
	}
	c.tracks = ack.GetSuback().GetTracks()
	c.ufrag = iceUfrag.FindStringSubmatch(ack.GetSuback().GetSdpAnswer())[1]
	c.password = icePassword.FindStringSubmatch(ack.GetSuback().GetSdpAnswer())[1]
	t.Cleanup(func() { _ = c.signaling.Leave(within(t)) })
	return c
}

// check is a connectivity check.
func check(username, password string, more ...stun.Setter) []byte {
	setters := append([]stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(username),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 1, 255}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}}, more...)
	m, err := stun.Build(append(setters, stun.NewShortTermIntegrity(password), stun.Fingerprint)...)
	if err != nil {
		panic(err)
	}
	return m.Raw
}

var useCandidate = stun.RawAttribute{Type: stun.AttrUseCandidate}

// reach passes a connectivity check.
func (c *caller) reach() {
	c.t.Helper()
	passed := make(chan struct{})
	var once sync.Once
	on := func(m *stun.Message) {
		if m.Type == stun.BindingSuccess {
			once.Do(func() { close(passed) })
		}
	}
	c.onSTUN.Store(&on)
	for begun := time.Now(); time.Since(begun) < patience; {
		c.write(check(c.ufrag+":8upu", c.password, useCandidate))
		select {
		case <-passed:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	c.t.Fatal("no answer to a connectivity check")
}

// connect agrees on keys.
func (c *caller) connect() {
	c.t.Helper()
	c.reach()
	near, far := net.Pipe()
	c.work.Go(func() {
		buf := make([]byte, 1<<14)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			flight := bytes.Clone(buf[:n])
			c.first.CompareAndSwap(nil, &flight)
			_, _ = c.conn.Write(buf[:n])
		}
	})
	c.dtls.Store(&far)
	conn, err := dtls.ClientWithOptions(dtlsnet.PacketConnFromConn(near), near.RemoteAddr(),
		dtls.WithCertificates(certificate().cert), dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret), dtls.WithInsecureSkipVerify(true),
		dtls.WithFlightInterval(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	c.closeHandlers = append(c.closeHandlers, func() { _ = conn.Close(); far.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		c.t.Fatalf("DTLS: %v", err)
	}
	c.work.Go(func() {
		buf := make([]byte, 1<<14)
		for {
			if _, err := conn.Read(buf); errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, dtls.ErrConnClosed) {
				return
			}
		}
	})
	state, _ := conn.ConnectionState()
	const key, salt = 16, 12
	keys, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(key+salt))
	if err != nil {
		c.t.Fatal(err)
	}
	c.keys = [2][]byte{keys[:key], keys[2*key:][:salt]}
	c.renew()
}

// renew forgets what was sent: the limits of SRTP hold for the honest.
func (c *caller) renew() {
	var err error
	if c.out, err = srtp.NewContext(srtp.AES_128_GCM, c.keys[0], c.keys[1]); err != nil {
		c.t.Fatal(err)
	}
}

// connected is a caller with keys.
func (w *world) connected(t *testing.T, token string) *caller {
	t.Helper()
	c := w.call(t, token)
	c.connect()
	eventually(t, "the caller's keys at the server", func() bool { return w.metrics(t)["belfry_media_connections_up"] == 3 })
	return c
}

// seal encrypts whatever stands behind a header that can be found the end of.
func (c *caller) seal(header, payload []byte) []byte {
	b := make([]byte, len(header)+len(payload)+c.out.Overhead())
	n, err := c.out.SealRTP(b, header, payload)
	if err != nil {
		c.renew()
		n, err = c.out.SealRTP(b, header, payload)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return b[:n]
}

func (c *caller) sealRTCP(pkt []byte) []byte {
	b := make([]byte, len(pkt)+c.out.OverheadRTCP())
	n, err := c.out.SealRTCP(b, pkt)
	if err != nil {
		c.t.Fatal(err)
	}
	return b[:n]
}

// header is that of an RTP packet; ext is the whole extension if any.
func header(pt uint8, seq uint16, ssrc uint32, ext ...byte) []byte {
	b := []byte{0x80, pt, byte(seq >> 8), byte(seq), 0, 0, byte(seq >> 8), byte(seq)}
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if len(ext) > 0 {
		b[0] |= 0x10
		b = append(b, ext...)
	}
	return b
}

// quiet is the extension that says silence, so that an attacker's noise is not
// mixed into what bob hears.
var quiet = []byte{0xBE, 0xDE, 0, 1, 0x10, 127, 0, 0}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

const (
	dropped     = "belfry_media_dropped_total"
	stunBad     = "belfry_media_stun_bad_total"
	unauthentic = "belfry_media_unauthentic_total"
	rtcpBad     = "belfry_media_rtcp_malformed_total"
	audioBad    = "belfry_media_audio_refused_total"
	videoBad    = "belfry_media_video_refused_total"
)

func attackMedia(t *testing.T, w *world) {
	token := *w.attendee(t, w.meeting, "mallory").JoinToken

	w.attack(t, "random datagrams", []string{dropped}, func(t *testing.T) {
		s := w.stranger(t)
		for i := range 4096 {
			b := noise(1 + i%1400)
			b[0] = byte(i)
			s.write(b)
		}
		s.write(nil, []byte{0}, []byte{128}, []byte{22}, bytes.Repeat([]byte{0xff}, 60_000))
		if s.got.Load() > int64(s.sent) {
			t.Errorf("%d bytes were answered with %d", s.sent, s.got.Load())
		}
	})
	w.attack(t, "checks without proof", []string{stunBad}, func(t *testing.T) {
		c := w.call(t, token)
		s := w.stranger(t)
		good := check(c.ufrag+":8upu", c.password)
		unsigned, _ := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(c.ufrag+":8upu"), stun.Fingerprint)
		for i := range 500 {
			s.write(check(c.ufrag+":8upu", "a wrong password"), check("nobody:8upu", c.password), check(c.ufrag, c.password),
				check(c.ufrag+":else", c.password), unsigned.Raw)
			broken := bytes.Clone(good)
			broken[i%len(broken)] ^= 1 << (i % 8)
			s.write(broken, good[:i%len(good)])
		}
		if s.got.Load() > int64(s.sent) {
			t.Errorf("%d bytes were answered with %d", s.sent, s.got.Load())
		}
	})
	w.attack(t, "odd checks with proof", []string{stunBad}, func(t *testing.T) {
		c := w.call(t, token)
		unknown := make([]stun.Setter, 60)
		for i := range unknown {
			unknown[i] = stun.RawAttribute{Type: stun.AttrType(0x0100 + i), Value: []byte{1}}
		}
		for range 50 {
			c.write(check(c.ufrag+":8upu", c.password, unknown...))
			c.write(check(c.ufrag+":8upu", c.password, stun.RawAttribute{Type: stun.AttrICEControlled, Value: make([]byte, 8)}))
			c.write(check(c.ufrag+":8upu", c.password, stun.RawAttribute{Type: stun.AttrXORMappedAddress, Value: []byte{0, 1, 1, 1, 127, 0, 0, 1}}))
		}
		for range 40 { // one client at forty addresses
			w.stranger(t).write(check(c.ufrag+":8upu", c.password, useCandidate))
		}
		c.reach()
	})
	w.attack(t, "DTLS from nowhere", []string{dropped}, func(t *testing.T) {
		s := w.stranger(t)
		for range 500 {
			s.write(record(22, 0, noise(200)), record(21, 0, []byte{2, 0}), record(23, 1, noise(100)))
		}
		if s.got.Load() > 0 {
			t.Errorf("%d bytes of answer to who proved nothing", s.got.Load())
		}
	})
	w.attack(t, "a handshake of garbage", []string{dropped}, func(t *testing.T) {
		c := w.call(t, token)
		c.reach()
		for i := range 500 {
			hello := clientHello(uint16(i), 60_000, uint32(i*100), noise(100)) // parts of a message that never ends
			c.write(record(22, uint64(i), hello), record(22, uint64(i), noise(300)), record(20, 0, noise(3)), record(25, 0, noise(10)),
				[]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, record(21, 0, []byte{2, 40}))
		}
	})
	w.attack(t, "a ClientHello again and again", nil, func(t *testing.T) {
		c := w.connected(t, token)
		hello := *c.first.Load()
		if len(hello) < 50 {
			t.Fatalf("the first flight was % x", hello)
		}
		before := c.got.Load()
		sent := c.sent
		for range 2000 {
			c.write(hello)
		}
		if got := c.got.Load() - before; got > int64(c.sent-sent) {
			t.Errorf("%d bytes were answered with %d", c.sent-sent, got)
		}
		d := w.call(t, *w.attendee(t, w.meeting, "replayer").JoinToken)
		d.reach()
		for range 500 {
			d.write(hello)
		}
	})
	w.attack(t, "media without keys", []string{dropped}, func(t *testing.T) {
		c := w.call(t, token)
		c.reach()
		s := w.stranger(t)
		for i := range uint16(500) {
			c.write(append(header(111, i, callerAudio), noise(60)...))
			s.write(append(header(111, i, callerAudio), noise(60)...), append([]byte{0x80, 200, 0, 6}, noise(40)...))
		}
	})
	w.attack(t, "media that is not authentic", []string{unauthentic, dropped}, func(t *testing.T) {
		c := w.connected(t, token)
		for i := range uint16(1000) {
			c.write(append(header(111, i, callerAudio, quiet...), noise(60)...), append([]byte{0x80, 200, 0, 6}, noise(40)...))
			// Headers of which no end can be found.
			c.write(append([]byte{0x8f}, noise(30)...), append([]byte{0x90, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0xff, 0xff}, noise(30)...), []byte{0x80})
		}
		// What was authentic once is not twice.
		b := c.seal(header(111, 5, callerAudio, quiet...), []byte{0xf8, 1, 2})
		for range 1000 {
			c.write(b)
		}
	})
	w.attack(t, "RTP that makes no sense", []string{dropped, audioBad, videoBad}, func(t *testing.T) {
		c := w.connected(t, token)
		seq := uint16(0)
		send := func(pt uint8, ssrc uint32, ext, payload []byte) {
			seq++
			c.write(c.seal(header(pt, seq, ssrc, ext...), payload))
		}
		for pt := range uint8(128) {
			if pt < 64 || pt > 95 { // those are RTCP
				send(pt, callerAudio, quiet, noise(50))
				send(pt, callerVideo, nil, noise(50))
				send(pt|0x80, callerRTX, nil, noise(50))
			}
		}
		for _, ext := range [][]byte{
			{0xBE, 0xDE, 0, 1, 0x1f, 127, 0, 0}, // longer than its room
			{0xBE, 0xDE, 0, 2, 0x10, 127, 0x4f, 'm', 1, 1, 1, 1},
			{0x10, 0x00, 0, 1, 4, 200, 1, 1}, // two-byte form
			{0xBE, 0xDE, 0, 1, 0xff, 0xff, 0xff, 0xff},
			{0, 0, 0, 1, 1, 2, 3, 4},
			append([]byte{0xBE, 0xDE, 0, 250}, make([]byte, 1000)...),
		} {
			send(96, callerVideo, ext, picture(true, 1))
			send(96, 0xC0FFEE, ext, picture(true, 1))
			send(111, callerAudio, ext, nil)
		}
		for _, payload := range [][]byte{nil, {0xff}, {0xff, 0xff}, {0xfb, 0x80, 0xff, 0xff}, noise(1300)} { // no Opus
			send(111, callerAudio, quiet, payload)
		}
		for _, payload := range [][]byte{nil, {0x90}, {0x90, 0xff}, {0xff, 0xff, 0xff, 0xff}, {0x00, 0x10}} { // no VP8
			send(96, callerVideo, nil, payload)
			send(97, callerRTX, nil, payload)
		}
		padded := header(111, 9999, callerAudio, quiet...)
		padded[0] |= 0x20
		c.write(c.seal(padded, []byte{1, 2, 255})) // more padding than packet
		for i := range 500 {                       // somebody else's stream
			send(96, uint32(i)+1, nil, picture(true, uint16(i)))
		}
	})
	w.attack(t, "jumps of the sequence", nil, func(t *testing.T) {
		c := w.connected(t, token)
		for i := range 300 {
			seq := uint16(i * 30_011)
			c.write(c.seal(header(111, seq, callerAudio, quiet...), []byte{0xf8, 1, 2}), c.seal(header(96, seq, callerVideo), picture(i%3 == 0, seq)))
		}
	})
	w.attack(t, "ten thousand streams", []string{dropped}, func(t *testing.T) {
		c := w.connected(t, token)
		for i := range uint32(10_000) {
			c.write(c.seal(header(96, 1, 0xD0000000+i), picture(true, 1)))
		}
	})
	w.attack(t, "RTCP that makes no sense", []string{rtcpBad}, func(t *testing.T) {
		c := w.connected(t, token)
		for kind := 192; kind <= 223; kind++ {
			for count := range 32 {
				b := append([]byte{0x80 | byte(count), byte(kind), 0, 7}, noise(28)...)
				c.write(c.sealRTCP(b), c.sealRTCP(b[:8]), c.sealRTCP(append(b, noise(9)...)))
			}
		}
		b := append([]byte{0xaf, 205, 0xff, 0xff}, noise(40)...)
		c.write(c.sealRTCP(b))
	})
	w.attack(t, "a flood of PLIs", []string{"belfry_media_key_frame_requests_total"}, func(t *testing.T) {
		c := w.connected(t, token)
		ssrc := c.tracks[0].GetSsrc()
		pli, _ := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: ssrc}).Marshal()
		first := w.a.asked.Load()
		eventually(t, "a key frame asked of alice", func() bool {
			c.write(c.sealRTCP(pli))
			return w.a.asked.Load() > first
		})
		before, begun := w.a.asked.Load(), time.Now()
		for i := range 3000 {
			fir, _ := (&rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: uint8(i)}}}).Marshal()
			c.write(c.sealRTCP(pli), c.sealRTCP(fir))
		}
		// And as subscriptions that come and go.
		for range 20 {
			_ = c.signaling.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_PAUSE.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{w.a.streamID}}})
			_ = c.signaling.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_RESUME.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{w.a.streamID}}})
		}
		if err := c.signaling.Ping(within(t)); err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		if asked := w.a.asked.Load() - before; asked > 30+10*int64(took.Seconds()) { // the more time, the more she may be asked
			t.Errorf("6000 requests made alice be asked for %d key frames in %v", asked, took)
		}
	})
	const resent = "belfry_media_video_resent_total"
	w.attack(t, "a flood of NACKs", []string{resent}, func(t *testing.T) {
		c := w.connected(t, token)
		eventually(t, "alice's pictures at the caller", func() bool { return c.pictures.Load() > 50 })
		before, begun := w.metrics(t)[resent], time.Now()
		pairs := make([]rtcp.NackPair, 6)
		for range 500 {
			for i := range pairs {
				pairs[i] = rtcp.NackPair{PacketID: uint16(c.last.Load()) - uint16(17*i+16), LostPackets: 0xffff}
			}
			nack, _ := (&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: c.tracks[0].GetSsrc(), Nacks: pairs}).Marshal()
			c.write(c.sealRTCP(nack))
		}
		c.reach() // so they have been read
		n, took := w.metrics(t)[resent]-before, time.Since(begun)
		if n > 1000+100*took.Seconds() { // half of what goes on being sent
			t.Errorf("500 NACKs for the same 50 packets made %v be sent in %v", n, took)
		}
	})
	w.attack(t, "reports about others", nil, func(t *testing.T) {
		c := w.connected(t, token)
		for i := range uint32(300) {
			sr, _ := (&rtcp.SenderReport{SSRC: i, NTPTime: ^uint64(0), RTPTime: ^uint32(0), Reports: []rtcp.ReceptionReport{{SSRC: i, FractionLost: 255, TotalLost: 1<<24 - 1, Jitter: ^uint32(0)}}}).Marshal()
			remb, _ := (&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1, SSRCs: []uint32{c.tracks[0].GetSsrc(), callerVideo, i}}).Marshal()
			bye, _ := (&rtcp.Goodbye{Sources: []uint32{c.tracks[0].GetSsrc(), i}, Reason: "gone"}).Marshal()
			c.write(c.sealRTCP(sr), c.sealRTCP(remb), c.sealRTCP(bye))
		}
	})
}

// record is a DTLS record in clear.
func record(kind byte, seq uint64, body []byte) []byte {
	b := []byte{kind, 0xfe, 0xfd, 0, 0}
	b = append(b, byte(seq>>40), byte(seq>>32), byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq))
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// clientHello is a part of one.
func clientHello(message uint16, total, offset uint32, part []byte) []byte {
	b := []byte{1, byte(total >> 16), byte(total >> 8), byte(total)}
	b = binary.BigEndian.AppendUint16(b, message)
	b = append(b, byte(offset>>16), byte(offset>>8), byte(offset), 0, byte(len(part)>>8), byte(len(part)))
	return append(b, part...)
}
