package signaling

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// frameBytes is a message with the given type and a field of raw bytes.
func frameBytes(kind uint64, field protowire.Number, payload []byte) []byte {
	b := []byte{0x05}
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), kind)
	if field != 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), payload)
	}
	return b
}

// Whatever a client sends, it is told, it is counted, its session goes on where
// that makes sense, and everybody else's does in any case.
func TestBadFrames(t *testing.T) {
	tests := []struct {
		name    string
		early   bool // before JOIN
		message []byte
		reason  string // label of bad_frames_total
		says    string
	}{
		{"empty", false, []byte{}, "malformed", "no content"},
		{"prefix alone", false, []byte{5}, "malformed", "no content"},
		{"noise", false, []byte("\x05not a protobuf message"), "malformed", "not a SdkSignalFrame"},
		{"no type", false, []byte{5, 8, 1}, "malformed", "not a SdkSignalFrame"},
		{"cut short", false, frameBytes(22, 23, []byte("x"))[:8], "malformed", "not a SdkSignalFrame"},
		{"payload is noise", false, frameBytes(22, 23, []byte{0xff, 0xff}), "malformed", "not a SdkSignalFrame"},
		{"no timestamp", false, []byte{5, 16, 22, 23<<3&0x7f | 2 | 0x80, 1, 0}, "malformed", "not a SdkSignalFrame"},
		{"unknown type", false, frameBytes(4711, 0, nil), "unknown", "4711"},
		{"negative type", false, frameBytes(1<<31, 0, nil), "unknown", "type -2147483648"},
		{"a server's frame", false, frameBytes(5, 8, nil), "unknown", "type 5"},
		{"JOIN again", false, frameBytes(1, 4, nil), "order", "second time"},
		{"JOIN without payload", true, frameBytes(1, 0, nil), "malformed", "JOIN without"},
		{"mute before JOIN", true, frameBytes(16, 17, []byte{8, 1}), "order", "before JOIN"},
		{"message before JOIN", true, frameBytes(22, 23, nil), "order", "before JOIN"},
		{"SUBSCRIBE without payload", false, frameBytes(3, 0, nil), "malformed", "SUBSCRIBE without"},
		{"AUDIO_CONTROL without muted", false, frameBytes(16, 17, nil), "malformed", "AUDIO_CONTROL"},
		{"DATA_MESSAGE without payload", false, frameBytes(22, 0, nil), "malformed", "DATA_MESSAGE"},
		{"PAUSE without payload", false, frameBytes(7, 0, nil), "malformed", "PAUSE"},
		{"RESUME without payload", false, frameBytes(8, 0, nil), "malformed", "PAUSE or RESUME"},
		{"REMOTE_VIDEO_UPDATE without payload", false, frameBytes(24, 0, nil), "malformed", "REMOTE_VIDEO_UPDATE"},
		{"PING_PONG without payload", false, frameBytes(19, 0, nil), "malformed", "PING_PONG"},
		{"big data message", false, frameBytes(22, 23, make([]byte, maxSmallFrame)), "malformed", "131"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				a := w.dial("a", signaltest.Options{})
				if !tt.early {
					if _, _, err := a.Join(w.ctx(), 1); err != nil {
						t.Fatal(err)
					}
				}
				if err := a.SendRaw(tt.message); err != nil {
					t.Fatal(err)
				}
				f, err := a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_NOTIFICATION)
				if err != nil {
					t.Fatal(err)
				}
				n := f.GetNotification()
				if n.GetLevel() != signalpb.SdkNotificationFrame_ERROR || !strings.Contains(n.GetMessage(), tt.says) {
					t.Errorf("was told %v, want %q", n, tt.says)
				}
				if got := w.counter("bad_frames_total", tt.reason); got != 1 {
					t.Errorf("bad_frames_total %s is %v", tt.reason, got)
				}
				if tt.early {
					if _, _, err := a.Join(w.ctx(), 1); err != nil {
						t.Errorf("JOIN afterwards: %v", err)
					}
				}
				for name, c := range map[string]*signaltest.Client{"itself": a, "another": b} {
					if err := c.Ping(w.ctx()); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		})
	}
}

// Frames that are only counted are not unpacked, whatever is in them.
func TestReportsAreNotUnpacked(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		for _, f := range [][]byte{frameBytes(21, 22, []byte{0xff}), frameBytes(43, 44, make([]byte, 200_000))} {
			if err := a.SendRaw(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Ping(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if got := a.Take(signalpb.SdkSignalFrame_NOTIFICATION); len(got) != 0 {
			t.Errorf("was told %v", got)
		}
		if w.counter("frames_total", "CLIENT_METRIC") != 1 || w.counter("frames_total", "MEETING_SESSION_TIMING") != 1 {
			t.Error("not counted")
		}
	})
}

func TestSubscribeBeforeJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.dial("a", signaltest.Options{})
		ack, err := a.Subscribe(w.ctx(), &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		if err != nil || ack.GetError().GetStatus() != 400 {
			t.Errorf("got %v, %v", ack, err)
		}
		if got := w.counter("bad_frames_total", "order"); got != 1 {
			t.Errorf("counted %v times", got)
		}
	})
}

// Pings of the WebSocket itself are frames that a client can flood with too.
func TestPingRate(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		conn, _, err := websocket.Dial(w.ctx(), "ws://belfry.test/control/"+meetingID, &websocket.DialOptions{
			HTTPClient: w.http, Subprotocols: []string{"_aws_wt_session", "tok-a"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		reading := conn.CloseRead(w.ctx())
		for sent := 0; conn.Ping(reading) == nil; sent++ {
			if sent > 20_000 {
				t.Fatal("20,000 pings at once were answered")
			}
		}
		synctest.Wait()
		if got := w.counter("cut_total", "rate"); got != 1 {
			t.Errorf("counted %v times", got)
		}
		if err := b.Ping(w.ctx()); err != nil {
			t.Errorf("another session: %v", err)
		}
	})
}

// What is no WebSocket frame ends the socket with 1002 and is counted.
func TestBadFraming(t *testing.T) {
	for name, b := range map[string][]byte{
		"not masked":       {0x82, 1, 'x'},
		"reserved bits":    {0xf2, 0x81, 0, 0, 0, 0, 'x'},
		"reserved opcode":  {0x83, 0x81, 0, 0, 0, 0, 'x'},
		"fragmented ping":  {0x09, 0x80, 0, 0, 0, 0},
		"bad close":        {0x88, 0x81, 0, 0, 0, 0, 'x'},
		"rest of nothing":  {0x80, 0x81, 0, 0, 0, 0, 'x'},
		"negative length":  {0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"half and another": {0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				conn, err := w.http.Transport.(*http.Transport).DialContext(w.ctx(), "tcp", "")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "GET /control/"+meetingID+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: _aws_wt_session, tok-a\r\n\r\n")
				in := bufio.NewReader(conn)
				if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("%v %v", resp, err)
				}
				go func() { _, _ = conn.Write(b) }()
				rest, _ := io.ReadAll(in)
				if len(rest) < 4 || rest[0] != 0x88 || binary.BigEndian.Uint16(rest[2:]) != 1002 {
					t.Errorf("got % x, not a close with 1002", rest)
				}
				synctest.Wait()
				if got := w.counter("bad_frames_total", "protocol"); got != 1 {
					t.Errorf("counted %v times", got)
				}
			})
		})
	}
	inWorld(t, func(w *world) { // how a connection ends is no error of framing
		w.join("a", 1).Close()
		w.join("b", 1).Cut()
		synctest.Wait()
		if got := w.counter("bad_frames_total", "protocol"); got != 0 {
			t.Errorf("counted %v times", got)
		}
	})
}

func TestOversizeMessage(t *testing.T) {
	tests := []struct {
		name  string
		early bool
		size  int
	}{
		{"before JOIN", true, maxEarlyFrame + 1},
		{"after JOIN", false, maxFrame + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				a := w.dial("a", signaltest.Options{})
				if !tt.early {
					if _, _, err := a.Join(w.ctx(), 1); err != nil {
						t.Fatal(err)
					}
				}
				_ = a.SendRaw(make([]byte, tt.size))
				if code := w.closeCode(a); code != 1009 {
					t.Errorf("closed with %d", code)
				}
				synctest.Wait()
				if got := w.counter("bad_frames_total", "too_big"); got != 1 {
					t.Errorf("counted %v times", got)
				}
				if err := b.Ping(w.ctx()); err != nil {
					t.Errorf("another session: %v", err)
				}
			})
		})
	}
	inWorld(t, func(w *world) { // what is allowed is allowed
		a := w.join("a", 1)
		if err := a.SendRaw(frameBytes(21, 22, make([]byte, maxFrame-100))); err != nil {
			t.Fatal(err)
		}
		if err := a.Ping(w.ctx()); err != nil {
			t.Error(err)
		}
	})
}

func TestTextMessage(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		if err := a.SendText("hello"); err != nil {
			t.Fatal(err)
		}
		f, err := a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_NOTIFICATION)
		if err != nil || !strings.Contains(f.GetNotification().GetMessage(), "binary") {
			t.Errorf("got %v, %v", f, err)
		}
		if got := w.counter("bad_frames_total", "text"); got != 1 {
			t.Errorf("counted %v times", got)
		}
	})
}

// Complaints are paced, or every bad frame would make one of ours.
func TestComplaintsArePaced(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.join("a", 1)
		for range 100 {
			if err := a.SendRaw([]byte{5}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Ping(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if n := len(a.Take(signalpb.SdkSignalFrame_NOTIFICATION)); n != 5 {
			t.Errorf("%d complaints", n)
		}
		if got := w.counter("bad_frames_total", "malformed"); got != 100 {
			t.Errorf("counted %v times", got)
		}
	})
}

func TestFrameRate(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		a := w.join("a", 1)
		report := frameBytes(21, 22, nil)
		sent := 0
		for ; sent < 20_000; sent++ {
			if a.SendRaw(report) != nil {
				break
			}
		}
		if code := w.closeCode(a); code != 4429 {
			t.Errorf("closed with %d after %d frames at once", code, sent)
		}
		if err := b.Ping(w.ctx()); err != nil {
			t.Errorf("another session: %v", err)
		}
	})
}

// One who mutes and unmutes without end makes the others hear of it at a bounded
// pace, of the last state in any case, and costs nobody the socket.
func TestMuteFlood(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		a := w.enter("a", 1)
		rosterOf(b)
		for i := range 1000 {
			if err := a.Mute(i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		if got := rosterOf(b); len(got) > muteBurst {
			t.Errorf("b was told %d times", len(got))
		}
		if err := a.Mute(true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		got := rosterOf(b)
		if len(got) != 1 || got[0] != "322 muted=true" {
			t.Errorf("b was told of the last state: %q", got)
		}
		if calls := w.peer("a").Calls(); calls[len(calls)-1] != "muted true" {
			t.Errorf("media was told %q last", calls[len(calls)-1])
		}
	})
}

// A client that does not read is cut before it costs more than its share, and
// nobody waits for it.
func TestSlowClient(t *testing.T) {
	inWorld(t, func(w *world) {
		w.srv.cfg.Timings.Write = time.Hour
		b := w.enter("b", 2)
		slow := w.dial("a", signaltest.Options{NoRead: true})
		for _, f := range []*signaltest.Frame{
			{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}},
			{Type: signalpb.SdkSignalFrame_SUBSCRIBE.Enum(), Sub: &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)}},
		} {
			if err := slow.Send(f); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		w.peer("a").Flow(true)
		w.peer("a").Events.AudioArrived()
		sent := 0
		for ; sent < 3000 && w.counter("cut_total", "slow") == 0; sent++ {
			if err := b.Message("t", strings.Repeat("x", maxData), 0); err != nil {
				t.Fatal(err)
			}
			if sent%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		if got := w.counter("cut_total", "slow"); got != 1 || sent < maxQueueBytes/(maxData+200) {
			t.Errorf("cut %v times after %d messages", got, sent)
		}
		if err := b.Ping(w.ctx()); err != nil {
			t.Errorf("another session: %v", err)
		}
		synctest.Wait()
		if got := w.counter("sockets", ""); got != 1 {
			t.Errorf("%v sockets are left", got)
		}
	})
}

// A write that does not get through ends the socket, not the attendee.
func TestStalledWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		w.dial("a", signaltest.Options{NoRead: true})
		stalled := w.dial("a", signaltest.Options{NoRead: true})
		if err := stalled.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{}}); err != nil {
			t.Fatal(err)
		}
		w.keepAlive(9*time.Second, b)
		if got := w.counter("sockets", ""); got != 3 {
			t.Errorf("%v sockets after 9 s", got)
		}
		w.keepAlive(2*time.Second, b)
		synctest.Wait()
		if got := w.counter("sockets", ""); got != 2 {
			t.Errorf("%v sockets after 11 s", got)
		}
	})
}

func TestOutbox(t *testing.T) {
	b := newOutbox()
	frame := outgoing{data: make([]byte, 1<<20)}
	n := 0
	for b.put(frame) {
		n++
	}
	if n != maxQueueBytes>>20-1 {
		t.Fatalf("%d MiB found room", n)
	}
	if !b.put(outgoing{code: 4503}) {
		t.Error("the close found no room")
	}
	got := b.take(nil)
	if len(got) != n+1 || got[n].code != 4503 {
		t.Fatalf("took %d items", len(got))
	}
	if b.put(frame) {
		t.Error("what is being written does not count")
	}
	for _, o := range got {
		b.written(o)
	}
	if !b.put(frame) || b.size != len(frame.data)+queuedOverhead {
		t.Errorf("size %d after all was written", b.size)
	}
}

func TestLimits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.srv.cfg.Limits = Limits{PerAddress: 4, PerMeeting: 3}
		dial := func(token string) error {
			c, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+meetingID, token, signaltest.Options{HTTPClient: w.http})
			if err == nil {
				w.clients = append(w.clients, c)
			}
			return err
		}
		a := w.join("a", 1)
		w.join("b", 2)
		w.join("c", 3)
		if err := dial("tok-d"); err == nil || !strings.Contains(err.Error(), "HTTP 503") {
			t.Errorf("a socket too many in the meeting: %v", err)
		}
		if n := w.counter("joins_total", "too_many_in_meeting"); n != 1 {
			t.Errorf("counted %v times", n)
		}
		w.srv.cfg.Limits.PerAddress = 3
		// Not even the token is looked at: that may cost more than the refusal.
		if err := dial("nonsense"); err == nil || !strings.Contains(err.Error(), "HTTP 503") {
			t.Errorf("a socket too many from one address: %v", err)
		}
		if n := w.counter("joins_total", "too_many_from_address"); n != 1 {
			t.Errorf("counted %v times", n)
		}
		a.Cut()
		synctest.Wait()
		w.join("d", 4)
		for _, c := range w.clients {
			c.Cut()
		}
		synctest.Wait()
		if len(w.srv.sources) != 0 {
			t.Errorf("addresses remembered: %v", w.srv.sources)
		}
	})
}

func TestSourceOf(t *testing.T) {
	tests := map[string]string{
		"203.0.113.7:1": "203.0.113.7/32", "[::ffff:203.0.113.7]:1": "203.0.113.7/32", "[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1": "fe80::/64", "pipe": "invalid Prefix",
	}
	for remote, want := range tests {
		if got := sourceOf(remoteIP(&http.Request{RemoteAddr: remote})).String(); got != want {
			t.Errorf("%s counts as %s, want %s", remote, got, want)
		}
	}
}

func TestShutdownTellsFirst(t *testing.T) {
	tests := []struct {
		source, version string
		status          bool // is AUDIO_STATUS needed
	}{
		{"amazon-chime-sdk-js", "3.32.0", false},
		{"amazon-chime-sdk-js", "3.27.0", false},
		{"amazon-chime-sdk-js", "4.0.0", false},
		{"amazon-chime-sdk-js", "3.17.1", false},
		{"amazon-chime-sdk-js", "3.26.0", true},
		{"amazon-chime-sdk-js", "2.31.0", true},
		{"amazon-chime-sdk-js", "odd", true},
		{"amazon-chime-sdk-js", "3.x", true},
		{"amazon-chime-sdk-cpp", "3.40.0", true},
		{"", "", true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.source, " ", tt.version), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.dial("a", signaltest.Options{})
				_, _, err := a.JoinWith(w.ctx(), &signalpb.SdkJoinFrame{ClientDetails: &signalpb.SdkClientDetails{
					ClientSource: proto.String(tt.source), ChimeSdkVersion: proto.String(tt.version),
				}})
				if err != nil {
					t.Fatal(err)
				}
				if err := w.srv.Shutdown(w.ctx()); err != nil {
					t.Fatal(err)
				}
				if code := w.closeCode(a); code != 4503 {
					t.Errorf("closed with %d", code)
				}
				if n := a.Take(signalpb.SdkSignalFrame_NOTIFICATION); len(n) != 1 || n[0].GetNotification().GetLevel() != signalpb.SdkNotificationFrame_WARNING {
					t.Errorf("was told %v", n)
				}
				got := a.Take(signalpb.SdkSignalFrame_AUDIO_STATUS)
				if (len(got) == 1) != tt.status || tt.status && got[0].GetAudioStatus().GetAudioStatus() != 503 {
					t.Errorf("AUDIO_STATUS %v", got)
				}
			})
		})
	}
}

// Join tokens are in no log and no metric.
func TestNoTokenInMetrics(t *testing.T) {
	inWorld(t, func(w *world) {
		var log bytes.Buffer
		w.srv.log = logTo(&log)
		a := w.enter("a", 1)
		bad := w.dial("b-stolen", signaltest.Options{})
		w.closeCode(bad)
		_ = a.SendRaw([]byte{5})
		_ = a.Leave(w.ctx())
		synctest.Wait()
		families, err := w.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		text := log.String() + fmt.Sprint(families)
		if !strings.Contains(text, "joined") || strings.Contains(text, "tok-") {
			t.Errorf("log and metrics: %s", text)
		}
	})
}
