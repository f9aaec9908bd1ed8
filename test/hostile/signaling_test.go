package hostile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// raw is a WebSocket of which a test writes each byte itself.
type raw struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// Opcodes (RFC 6455 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	final          = 0x80
)

const upgrade = "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: _aws_wt_session, %s\r\n\r\n"

func (w *world) dialTCP(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func (w *world) raw(t *testing.T, token string) *raw {
	t.Helper()
	r := &raw{t: t, conn: w.dialTCP(t)}
	fmt.Fprintf(r.conn, upgrade, w.controlPath(), token)
	r.in = bufio.NewReader(r.conn)
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade was answered with %s", resp.Status)
	}
	return r
}

func (w *world) controlPath() string { return "/control/" + *w.meeting.MeetingId }

// frame makes a frame; first holds FIN, reserved bits and opcode.
func frame(first byte, masked bool, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0) // a mask that changes nothing
	}
	return append(b, payload...)
}

func (r *raw) write(b []byte) error {
	_, err := r.conn.Write(b)
	return err
}

// closed reads to the end and returns the close code, 0 when there was none.
func (r *raw) closed() int {
	r.t.Helper()
	all, err := io.ReadAll(r.in)
	if err != nil && errors.Is(err, net.Error(nil)) {
		r.t.Fatal(err)
	}
	for len(all) >= 2 {
		n, head := int(all[1]&0x7f), 2
		switch {
		case n == 126 && len(all) >= 4:
			n, head = int(binary.BigEndian.Uint16(all[2:])), 4
		case n == 127 && len(all) >= 10:
			n, head = int(binary.BigEndian.Uint64(all[2:])), 10
		}
		if len(all) < head+n {
			return 0
		}
		if all[0] == final|opClose && n >= 2 {
			return int(binary.BigEndian.Uint16(all[head:]))
		}
		all = all[head+n:]
	}
	return 0
}

// message is a frame of signaling with its prefix byte.
func message(t *testing.T, f *signaltest.Frame) []byte {
	t.Helper()
	f.TimestampMs = proto.Uint64(1)
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{0x05}, b...)
}

func ping(id uint32) *signaltest.Frame {
	return &signaltest.Frame{
		Type:     signalpb.SdkSignalFrame_PING_PONG.Enum(),
		PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: &id},
	}
}

// dial opens a signaling socket that is cut at the end of the attack.
func (w *world) dial(t *testing.T, token string, opt ...signaltest.Options) *signaltest.Client {
	t.Helper()
	o := signaltest.Options{HTTPClient: w.http}
	if len(opt) > 0 {
		o = opt[0]
		o.HTTPClient = w.http
	}
	c, err := signaltest.Dial(within(t), w.signalingURL(), token, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Cut)
	return c
}

// enter is dial and JOIN.
func (w *world) enter(t *testing.T, token string) *signaltest.Client {
	t.Helper()
	c := w.dial(t, token)
	if _, _, err := c.Join(within(t), 0); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantClosed(t *testing.T, c *signaltest.Client, want int, reason string) {
	t.Helper()
	code, got, err := c.Closed(within(t))
	if err != nil || code != want || !strings.Contains(got, reason) {
		t.Errorf("closed with %d %q (%v), want %d %q", code, got, err, want, reason)
	}
}

// notified waits for a notification that tells what was wrong.
func notified(t *testing.T, c *signaltest.Client, what string) {
	t.Helper()
	_, err := c.Await(within(t), func(f *signaltest.Frame) bool { return strings.Contains(f.GetNotification().GetMessage(), what) })
	if err != nil {
		t.Errorf("nothing said %q: %v", what, err)
	}
}

// wantFlooded writes until the server closes the socket for the rate.
func wantFlooded(t *testing.T, r *raw, flood []byte) {
	t.Helper()
	var writing sync.WaitGroup
	writing.Go(func() {
		for range 100 {
			if r.write(flood) != nil {
				return
			}
		}
	})
	if code := r.closed(); code != 4429 {
		t.Errorf("closed with %d, want 4429", code)
	}
	r.conn.Close()
	writing.Wait()
}

func bad(reason string) string {
	return fmt.Sprintf("belfry_signaling_bad_frames_total{reason=%q}", reason)
}

func attackSignaling(t *testing.T, w *world) {
	mallory := w.attendee(t, w.meeting, "mallory")
	token := *mallory.JoinToken
	other := w.newMeeting(t)
	stranger := w.attendee(t, other, "stranger")
	gone := w.attendee(t, w.meeting, "gone")
	w.deleteAttendee(t, w.meeting, gone)

	joins := func(outcome string) string { return fmt.Sprintf("belfry_signaling_joins_total{outcome=%q}", outcome) }
	for name, token := range map[string]string{
		"made-up token":             "bWFkZSB1cA",
		"another meeting's token":   *stranger.JoinToken,
		"a deleted attendee's":      *gone.JoinToken,
		"and its content":           *gone.JoinToken + "#content",
		"content of nobody":         "#content",
		"content of another's":      *stranger.JoinToken + "#content",
		"content of content":        token + "#content#content",
		"an attendee id as a token": *mallory.AttendeeId,
		"a long token":              strings.Repeat("t", 1500),
		"a token cut short":         token[:len(token)-1],
	} {
		w.attack(t, name, []string{joins("refused"), `belfry_signaling_closes_total{code="4403"}`}, func(t *testing.T) {
			for range 5 {
				wantClosed(t, w.dial(t, token), 4403, "")
			}
		})
	}
	w.attack(t, "wrong subprotocols", []string{joins("refused")}, func(t *testing.T) {
		for _, offers := range [][]string{{"chat"}, {"_aws_wt_session"}, {token}, {"Signaling-SDK", token}, {"_aws_wt_session", "a", "b", token}} {
			wantClosed(t, w.dial(t, "", signaltest.Options{Subprotocols: offers}), 4403, "")
		}
	})
	w.attack(t, "no upgrade", []string{joins("bad_upgrade")}, func(t *testing.T) {
		good := fmt.Sprintf(upgrade, w.controlPath(), token)
		for _, request := range []string{
			strings.Replace(good, "Version: 13", "Version: 8", 1),
			strings.Replace(good, "MDEyMzQ1Njc4OWFiY2RlZg==", "short", 1),
			strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1),
			strings.Replace(good, "GET", "POST", 1),
		} {
			conn := w.dialTCP(t)
			_, _ = io.WriteString(conn, request)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if said, _ := io.ReadAll(io.LimitReader(resp.Body, 100)); resp.StatusCode < 400 || resp.StatusCode > 499 || len(said) == 0 {
				t.Errorf("answered with %s %q", resp.Status, said)
			}
		}
	})
	w.attack(t, "half-open sockets", nil, func(t *testing.T) {
		request := fmt.Sprintf(upgrade, w.controlPath(), token)
		for i := range 300 {
			conn := w.dialTCP(t)
			if i%2 == 0 {
				_, _ = io.WriteString(conn, request[:i%len(request)])
			}
		}
		for range 20 {
			_ = w.raw(t, token).write([]byte{final | opBinary}) // half a frame's header
		}
	})
	w.attack(t, "hundreds of sockets", []string{joins("joined"), `belfry_signaling_closes_total{code="4409"}`}, func(t *testing.T) {
		for i := range 300 {
			c := w.dial(t, token)
			if i%10 == 0 {
				if err := c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		eventually(t, "the end of all but a few sockets of one attendee", func() bool {
			return w.metrics(t)["belfry_signaling_sockets"] <= 2+2*8+1
		})
	})

	w.attack(t, "framing that is not WebSocket's", []string{bad("protocol")}, func(t *testing.T) {
		for name, b := range map[string][]byte{
			"no mask":          frame(final|opBinary, false, []byte("hello")),
			"reserved bits":    frame(final|0x70|opBinary, true, []byte("hello")),
			"reserved opcode":  frame(final|0x3, true, []byte("hello")),
			"control too long": frame(final|opPing, true, make([]byte, 200)),
			"control in parts": frame(opPing, true, nil),
			"bad close":        frame(final|opClose, true, []byte{1}),
			"lone rest":        frame(final|opContinuation, true, []byte("hello")),
			"two beginnings":   append(frame(opBinary, true, []byte("a")), frame(opBinary, true, []byte("b"))...),
		} {
			r := w.raw(t, token)
			_ = r.write(b)
			if code := r.closed(); code != 1002 {
				t.Errorf("%s: closed with %d, want 1002", name, code)
			}
		}
	})
	w.attack(t, "huge messages", []string{bad("too_big")}, func(t *testing.T) {
		c := w.dial(t, token)
		_ = c.SendRaw(make([]byte, 64<<10+1))
		wantClosed(t, c, 1009, "")
		c = w.enter(t, token)
		_ = c.SendRaw(make([]byte, 512<<10+1))
		wantClosed(t, c, 1009, "")
		// A length that nobody has memory for, and nothing after it.
		r := w.raw(t, token)
		_ = r.write(append([]byte{final | opBinary, 0x80 | 127}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
		_ = r.conn.(*net.TCPConn).CloseWrite()
		r.closed()
	})
	w.attack(t, "a message in a hundred thousand parts", nil, func(t *testing.T) {
		r := w.raw(t, token)
		parts := frame(opBinary, true, nil)
		for range 100_000 {
			parts = append(parts, frame(opContinuation, true, nil)...)
		}
		_ = r.write(parts)
		_ = r.write(frame(opContinuation|final, true, []byte{5, 0xff}))
		_ = r.conn.(*net.TCPConn).CloseWrite()
		r.closed()
	})
	w.attack(t, "a flood of WebSocket pings", []string{`belfry_signaling_cut_total{reason="rate"}`}, func(t *testing.T) {
		wantFlooded(t, w.raw(t, token), bytes.Repeat(frame(final|opPing, true, []byte("ping")), 1000))
	})
	w.attack(t, "a flood of PINGs", []string{`belfry_signaling_cut_total{reason="rate"}`, `belfry_signaling_closes_total{code="4429"}`}, func(t *testing.T) {
		wantFlooded(t, w.raw(t, token), bytes.Repeat(frame(final|opBinary, true, message(t, ping(7))), 1000))
	})
	w.attack(t, "a client that never reads", []string{`belfry_signaling_cut_total{reason="slow"}`}, func(t *testing.T) {
		r := w.raw(t, token)
		_ = r.conn.(*net.TCPConn).SetReadBuffer(4096)
		_ = r.write(frame(final|opBinary, true, message(t, &signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}})))
		// Messages that come back as throttled fill a queue faster than all else.
		bulk := &signalpb.SdkDataMessageFrame{}
		for range 40 {
			bulk.Messages = append(bulk.Messages, &signalpb.SdkDataMessagePayload{Topic: proto.String("bulk"), Data: make([]byte, 2048)})
		}
		b := frame(final|opBinary, true, message(t, &signaltest.Frame{Type: signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(), DataMessage: bulk}))
		for range 240 {
			if r.write(b) != nil {
				break
			}
		}
		eventually(t, "the end of the socket", func() bool { return w.metrics(t)["belfry_signaling_sockets"] == 2 })
	})

	w.attack(t, "text", []string{bad("text")}, func(t *testing.T) {
		c := w.dial(t, token)
		_ = c.SendText("JOIN please")
		notified(t, c, "binary")
	})
	w.attack(t, "messages that are no frames", []string{bad("malformed")}, func(t *testing.T) {
		c := w.dial(t, token)
		noise := make([]byte, 5000)
		_, _ = rand.Read(noise)
		groups := bytes.Repeat(protowire.AppendTag(nil, 99, protowire.StartGroupType), 20_000)
		endless := protowire.AppendTag([]byte{5}, 4, protowire.BytesType)
		endless = protowire.AppendVarint(endless, 1<<40)
		for _, b := range [][]byte{{}, {5}, {5, 0}, noise, append([]byte{5}, groups...), endless,
			{5, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			message(t, &signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum()}),
		} {
			_ = c.SendRaw(b)
		}
		notified(t, c, "frame")
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	w.attack(t, "frames of wrong types", []string{bad("order"), bad("unknown"), `belfry_signaling_frames_total{type="unknown"}`}, func(t *testing.T) {
		c := w.dial(t, token)
		types := func() {
			for kind := range int32(127) {
				if kind != int32(signalpb.SdkSignalFrame_LEAVE) {
					_ = c.SendRaw([]byte{5, 0x08, 1, 0x10, byte(kind)})
				}
			}
		}
		types()
		if _, _, err := c.Join(within(t), 0); err != nil {
			t.Fatal(err)
		}
		types()
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	w.attack(t, "JOIN twice", []string{bad("order")}, func(t *testing.T) {
		c := w.enter(t, token)
		for range 50 {
			_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}})
		}
		notified(t, c, "JOIN a second time")
	})
	w.attack(t, "SUBSCRIBE before JOIN", []string{bad("order")}, func(t *testing.T) {
		got, err := w.dial(t, token).Subscribe(within(t), &signalpb.SdkSubscribeFrame{SdpOffer: proto.String("v=0\r\n")})
		if err != nil || got.GetError().GetStatus() != 400 || !strings.Contains(got.GetError().GetDescription(), "before JOIN") {
			t.Errorf("answered with %v (%v)", got, err)
		}
	})
	w.attack(t, "LEAVE again and again", []string{`belfry_signaling_frames_total{type="LEAVE"}`}, func(t *testing.T) {
		c := w.enter(t, token)
		for range 100 {
			_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_LEAVE.Enum(), Leave: &signalpb.SdkLeaveFrame{}})
		}
		_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}})
		if _, err := c.AwaitType(within(t), signalpb.SdkSignalFrame_LEAVE_ACK); err != nil {
			t.Error(err)
		}
	})
	w.attack(t, "lists too long", []string{bad("malformed")}, func(t *testing.T) {
		c := w.enter(t, token)
		for _, n := range []int{257, 10_000, 100_000} {
			_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_PAUSE.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: make([]uint32, n)}})
			updates := &signalpb.SdkRemoteVideoUpdateFrame{}
			for range n {
				updates.AddedOrUpdatedVideoSubscriptions = append(updates.AddedOrUpdatedVideoSubscriptions, &signalpb.SdkVideoSubscriptionConfiguration{})
			}
			_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_REMOTE_VIDEO_UPDATE.Enum(), RemoteVideoUpdate: updates})
		}
		notified(t, c, "are allowed")
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	w.attack(t, "mute without end", []string{`belfry_signaling_frames_total{type="AUDIO_CONTROL"}`}, func(t *testing.T) {
		c := w.enter(t, token)
		for i := range 3000 {
			_ = c.Mute(i%2 == 0)
		}
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	attackSubscribe(t, w, token)
	attackMessages(t, w, token)
}

// refused sends a SUBSCRIBE and wants an error that says what.
func refused(t *testing.T, c *signaltest.Client, what string, sub *signalpb.SdkSubscribeFrame) {
	t.Helper()
	got, err := c.Subscribe(within(t), sub)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if s := got.GetError().GetStatus(); s < 400 || s > 499 || !strings.Contains(got.GetError().GetDescription(), what) {
		t.Errorf("answered with %d %q, want 4xx with %q", s, got.GetError().GetDescription(), what)
	}
}

// offer is one that is right in all.
func offer(sections ...string) string {
	var b strings.Builder
	b.WriteString("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n")
	group := "a=group:BUNDLE"
	for i := range sections {
		group += fmt.Sprintf(" %d", i)
	}
	b.WriteString(group + "\r\n")
	for i, s := range sections {
		fmt.Fprintf(&b, "%s\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:8upu\r\na=ice-pwd:fTm9g8aavwu5wRpb3CfzSlEG\r\na=fingerprint:%s\r\na=setup:actpass\r\na=mid:%d\r\na=rtcp-mux\r\n",
			s, certificate().print, i)
	}
	return b.String()
}

const (
	audioSection = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	videoSection = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid"
)

func attackSubscribe(t *testing.T, w *world, token string) {
	good := offer(audioSection)
	many := make([]string, 10_000)
	for i := range many {
		many[i] = "m=audio 0 X 0"
	}
	hostile := map[string]string{
		"nothing":          "",
		"binary":           "\x00\x01\x02\xff\xfe\r\n",
		"a word":           "hello",
		"one endless line": "v=0\r\no=" + strings.Repeat("x", 200_000),
		"no sections":      strings.SplitAfter(good, "t=0 0\r\n")[0],
		"10,000 sections":  "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + strings.Join(many, "\r\n") + "\r\n",
		"10,000 formats":   strings.Replace(good, "SAVPF 111", "SAVPF"+strings.Repeat(" 111", 10_000), 1),
		"no ufrag":         strings.Replace(good, "a=ice-ufrag:8upu\r\n", "", 1),
		"short password":   strings.Replace(good, "fTm9g8aavwu5wRpb3CfzSlEG", "pass", 1),
		"bad fingerprint":  strings.Replace(good, "a=fingerprint:sha-256 ", "a=fingerprint:sha-256 ZZ", 1),
		"weak fingerprint": strings.Replace(good, "a=fingerprint:sha-256 ", "a=fingerprint:md5 ", 1),
		"no rtcp-mux":      strings.Replace(good, "a=rtcp-mux\r\n", "", 1),
		"odd setup":        strings.Replace(good, "actpass", "holdconn", 1),
		"too long":         good + strings.Repeat("a=x:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 10_000),
	}
	w.attack(t, "hostile SDP", []string{bad("subscribe"), "belfry_signaling_subscribe_seconds_count"}, func(t *testing.T) {
		c := w.enter(t, token)
		for name, text := range hostile {
			t.Run(name, func(t *testing.T) { refused(t, c, "sdp_offer", &signalpb.SdkSubscribeFrame{SdpOffer: &text}) })
		}
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	w.attack(t, "odd SDP that may be answered", nil, func(t *testing.T) {
		for name, text := range map[string]string{
			"line feeds alone":  strings.ReplaceAll(good, "\r\n", "\n"),
			"not UTF-8":         strings.Replace(good, "s=-", "s=\xff\xfe", 1),
			"ids out of range":  strings.Replace(good, "extmap:1 ", "extmap:99999999999999999999 ", 1),
			"one mid for all":   strings.Replace(offer(audioSection, videoSection, videoSection), "a=mid:2", "a=mid:1", 1),
			"10,000 attributes": strings.Replace(good, "a=rtcp-mux", strings.Repeat("a=ssrc:1 cname:x\r\n", 10_000)+"a=rtcp-mux", 1),
			"250 videos":        offer(append([]string{audioSection}, slicesOf(videoSection, 250)...)...),
		} {
			c := w.enter(t, token)
			got, err := c.Subscribe(within(t), &signalpb.SdkSubscribeFrame{SdpOffer: &text, ReceiveStreamIds: make([]uint32, 250)})
			if err != nil {
				t.Errorf("%s: no answer: %v", name, err)
			} else if s := got.GetError().GetStatus(); s >= 500 {
				t.Errorf("%s: a fault: %v", name, got.GetError())
			}
			c.Cut()
		}
	})
	w.attack(t, "compressed bombs", []string{bad("subscribe")}, func(t *testing.T) {
		c := w.enter(t, token)
		var bomb bytes.Buffer
		z, _ := flate.NewWriter(&bomb, flate.BestSpeed)
		_, _ = io.WriteString(z, "v=0\r\n")
		_, _ = z.Write(make([]byte, 30<<20))
		z.Close()
		for _, packed := range [][]byte{bomb.Bytes(), bomb.Bytes()[:1000], {0xff, 0xff, 0xff}, c.Compress("hello", false)} {
			refused(t, c, "compressed_sdp_offer", &signalpb.SdkSubscribeFrame{CompressedSdpOffer: packed})
		}
	})
	w.attack(t, "what small bytes unpack to much", []string{bad("subscribe")}, func(t *testing.T) {
		c := w.enter(t, token)
		refused(t, c, "send_streams", &signalpb.SdkSubscribeFrame{SdpOffer: &good, SendStreams: slicesOf(&signalpb.SdkStreamDescriptor{}, 250_000)})
		refused(t, c, "receive_stream_ids", &signalpb.SdkSubscribeFrame{SdpOffer: &good, ReceiveStreamIds: make([]uint32, 250_000)})
		refused(t, c, "track_label", &signalpb.SdkSubscribeFrame{SdpOffer: &good, SendStreams: []*signalpb.SdkStreamDescriptor{{TrackLabel: proto.String(strings.Repeat("l", 65))}}})
	})
	w.attack(t, "streams that are not there", nil, func(t *testing.T) {
		c := w.enter(t, token)
		text := offer(audioSection, videoSection, videoSection, videoSection)
		for _, ids := range [][]uint32{{1, 2, 3}, {^uint32(0), w.a.streamID, w.a.streamID}, make([]uint32, 256), {w.a.streamID}} {
			got, err := c.Subscribe(within(t), &signalpb.SdkSubscribeFrame{SdpOffer: &text, ReceiveStreamIds: ids})
			if err != nil || got.GetError().GetStatus() >= 500 {
				t.Errorf("ids %d...: %v (%v)", ids[0], got.GetError(), err)
			}
		}
	})
	w.attack(t, "a flood of SUBSCRIBEs", []string{bad("subscribe")}, func(t *testing.T) {
		r := w.raw(t, token)
		_ = r.write(frame(final|opBinary, true, message(t, &signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}})))
		b := frame(final|opBinary, true, message(t, &signaltest.Frame{
			Type: signalpb.SdkSignalFrame_SUBSCRIBE.Enum(), Sub: &signalpb.SdkSubscribeFrame{SdpOffer: proto.String("v=0\r\n")},
		}))
		before := w.metrics(t)[bad("subscribe")]
		go func() { _, _ = io.Copy(io.Discard, r.in) }()
		_ = r.write(bytes.Repeat(b, 5000))
		eventually(t, "the first of them", func() bool { return w.metrics(t)[bad("subscribe")] > before })
		if n := w.metrics(t)[bad("subscribe")] - before; n > 1000 {
			t.Errorf("%v of them were worked on at once", n)
		}
	})
}

func slicesOf[T any](v T, n int) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func attackMessages(t *testing.T, w *world, token string) {
	data := func(outcome string) string {
		return fmt.Sprintf("belfry_signaling_data_messages_total{outcome=%q}", outcome)
	}
	w.attack(t, "data messages that break rules", []string{data("refused"), bad("data_message")}, func(t *testing.T) {
		c := w.enter(t, token)
		for topic, text := range map[string]string{"": "x", "aws:chime:transcription": "x", strings.Repeat("t", 37): "x", "white space": "x", "\xff": "x", "big": strings.Repeat("x", 2049)} {
			if topic == "\xff" {
				continue // Marshal sends it all the same in proto2
			}
			_ = c.Message(topic, text, 0)
		}
		notified(t, c, "data message")
		if err := c.Ping(within(t)); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
	w.attack(t, "a flood of data messages", []string{data("throttled"), data("over_hard_limit"), `belfry_signaling_closes_total{code="4429"}`}, func(t *testing.T) {
		c := w.enter(t, token)
		bulk := &signalpb.SdkDataMessageFrame{}
		for range 5000 {
			bulk.Messages = append(bulk.Messages, &signalpb.SdkDataMessagePayload{Topic: proto.String("flood"), Data: []byte("x"), LifetimeMs: proto.Uint32(1000)})
		}
		for range 4 {
			if c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(), DataMessage: bulk}) != nil {
				break
			}
		}
		wantClosed(t, c, 4429, "data messages")
		w.a.client.Take(signalpb.SdkSignalFrame_DATA_MESSAGE)
		w.b.client.Take(signalpb.SdkSignalFrame_DATA_MESSAGE)
	})
	w.attack(t, "sixty thousand empty data messages in a frame", []string{data("refused")}, func(t *testing.T) {
		c := w.enter(t, token)
		_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(), DataMessage: &signalpb.SdkDataMessageFrame{
			Messages: slicesOf(&signalpb.SdkDataMessagePayload{}, 60_000),
		}})
		wantClosed(t, c, 4429, "data messages")
	})
}
