package signaling

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

func TestJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.dial("a", signaltest.Options{})
		if got := c.Subprotocol(); got != "_aws_wt_session" {
			t.Errorf("subprotocol %q", got)
		}
		if err := c.Ping(w.ctx()); err != nil {
			t.Fatalf("ping before JOIN: %v", err)
		}
		ack, index, err := c.Join(w.ctx(), 7)
		if err != nil {
			t.Fatal(err)
		}
		want := &signalpb.SdkJoinAckFrame{
			TurnCredentials: &signalpb.SdkTurnCredentials{
				Username: proto.String("u-id-a"), Password: proto.String("p"), Ttl: proto.Uint32(3600),
			},
			VideoSubscriptionLimit: proto.Uint32(25),
			WantsCompressedSdp:     proto.Bool(true),
		}
		if d := cmp.Diff(want, ack.GetJoinack(), protocmp.Transform()); d != "" {
			t.Errorf("JOIN_ACK: %s", d)
		}
		wantIndex := &signalpb.SdkIndexFrame{AtCapacity: proto.Bool(false), NumParticipants: proto.Uint32(1)}
		if d := cmp.Diff(wantIndex, index.GetIndex(), protocmp.Transform()); d != "" {
			t.Errorf("INDEX: %s", d)
		}
		if ack.GetTimestampMs() != uint64(time.Now().UnixMilli()) {
			t.Errorf("timestamp %d", ack.GetTimestampMs())
		}
		// The first id is 32 for each second since the meeting was made, plus one.
		if got := w.confs.Last().Spec; got.FirstID != 321 || got.MeetingID != meetingID {
			t.Errorf("conference %+v", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	gone := "99999999-2222-3333-4444-555555552713"
	tests := []struct {
		name, path, token string
		exists            bool
		code              int
	}{
		{"bad token", meetingID, "nonsense", true, 4403},
		{"wrong meeting", gone, "tok-a", true, 4403},
		{"meeting gone", gone, "nonsense", false, 4410},
		{"valid token, content", meetingID, "nonsense#content", true, 4403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.srv.cfg.MeetingExists = func(_ context.Context, _ string) bool { return tt.exists }
				c, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+tt.path, tt.token, signaltest.Options{HTTPClient: w.http})
				if err != nil {
					t.Fatalf("the upgrade must succeed: %v", err)
				}
				w.clients = append(w.clients, c)
				if got := w.closeCode(c); got != tt.code {
					t.Errorf("closed with %d, want %d", got, tt.code)
				}
				if len(c.Unread()) != 0 {
					t.Errorf("frames before the refusal: %v", c.Unread())
				}
			})
		})
	}
}

func TestUnavailableAsksForAnotherTry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.svc.fail = meeting.Errorf(meeting.CodeUnavailable, "store is starting")
		_, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+meetingID, "tok-a", signaltest.Options{HTTPClient: w.http})
		if err == nil || !strings.Contains(err.Error(), "HTTP 503") {
			t.Fatalf("got %v, want HTTP 503", err)
		}
		w.svc.fail = nil
		w.join("a", 1)
	})
}

func TestNativeClient(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.dial("a", signaltest.Options{Native: true})
		if got := c.Subprotocol(); got != "Signaling-SDK" {
			t.Errorf("subprotocol %q", got)
		}
		_, _, err := c.JoinWith(w.ctx(), &signalpb.SdkJoinFrame{
			Flags:         proto.Uint32(34),
			ClientDetails: &signalpb.SdkClientDetails{ClientSource: proto.String("amazon-chime-sdk-cpp")},
		})
		if err != nil {
			t.Fatal(err)
		}
		ack := w.subscribe(c, &signalpb.SdkSubscribeFrame{
			Duplex:           signalpb.SdkStreamServiceType_DUPLEX.Enum(),
			SdpOffer:         proto.String(audioOffer + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\n"),
			SendStreams:      []*signalpb.SdkStreamDescriptor{{MaxBitrateKbps: proto.Uint32(900)}},
			ReceiveStreamIds: []uint32{0, 0, 9},
		})
		if ack.GetSuback().GetSdpAnswer() == "" || len(ack.GetSuback().GetCompressedSdpAnswer()) != 0 {
			t.Error("a native client needs a plain answer")
		}
		offer := w.peer("a").Offers()[0]
		if d := cmp.Diff([]uint32{0, 9}, offer.Receive); d != "" {
			t.Errorf("the audio section counts: %s", d)
		}
		if len(offer.SendVideo) != 1 {
			t.Errorf("video without media_type is lost: %+v", offer.SendVideo)
		}
	})
}

func TestAnyOriginAndQuery(t *testing.T) {
	w := newWorld(t)
	hs := httptest.NewServer(w.srv)
	defer hs.Close()
	defer func() { _ = w.srv.Shutdown(t.Context()) }()
	req, _ := http.NewRequest("GET", hs.URL+"/control/"+strings.ToUpper(meetingID)+"?x=1&x=2", nil)
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "_aws_wt_session, tok-a",
		"Origin": "https://elsewhere.example",
	} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != "_aws_wt_session" {
		t.Errorf("status %d, subprotocol %q", resp.StatusCode, resp.Header.Get("Sec-WebSocket-Protocol"))
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestNotASignalingPath(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/control", "/control/", "/control/x/y"} {
		rec := httptest.NewRecorder()
		w.srv.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != 404 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

func TestPreconnectedSocketMaySitSilent(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.dial("a", signaltest.Options{})
		time.Sleep(20 * time.Minute)
		if _, _, err := c.Join(w.ctx(), 1); err != nil {
			t.Fatalf("JOIN after 20 minutes: %v", err)
		}
	})
}

func TestSilentSocketIsCut(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.join("a", 1)
		w.keepAlive(2*time.Minute, c)
		start := time.Now()
		if _, _, err := c.Closed(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 40*time.Second || d > 46*time.Second {
			t.Errorf("cut after %v", d)
		}
	})
}

func TestJoinErrors(t *testing.T) {
	inWorld(t, func(w *world) {
		w.confs.FailWith(meeting.Errorf(meeting.CodeUnavailable, "no port"))
		c := w.dial("a", signaltest.Options{})
		ack, _, err := c.Join(w.ctx(), 1)
		if err == nil || ack.GetError().GetStatus() != 503 || ack.Joinack == nil {
			t.Fatalf("got %v, %v", ack, err)
		}
		w.confs.FailWith(nil)
		if _, _, err := c.Join(w.ctx(), 1); err != nil {
			t.Fatalf("second try on the same socket: %v", err)
		}

		noShare := meeting.DefaultCapabilities
		noShare.Content = meeting.Receive
		w.addAttendee("e", noShare)
		c = w.dial("e#content", signaltest.Options{})
		if ack, _, err = c.Join(w.ctx(), 1); err == nil || ack.GetError().GetStatus() != 403 {
			t.Fatalf("content without the capability: %v, %v", ack, err)
		}
	})
}

// From where the attendee could not come direct its content share cannot either,
// and need not wait for a failure of its own.
func TestShareTakesTheRelayOfItsBase(t *testing.T) {
	inWorld(t, func(w *world) {
		offered := func(name string, session uint64) bool {
			c := w.dial(name, signaltest.Options{})
			ack, _, err := c.Join(w.ctx(), session)
			if err != nil {
				t.Fatal(err)
			}
			w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
			return len(ack.GetJoinack().GetTurnCredentials().GetUris()) > 0
		}
		if offered("b", 2); offered("b#content", 20) {
			t.Error("the share of one who came direct got a relay")
		}
		offered("a", 1)
		if !offered("a", 1) {
			t.Fatal("no relay after an attempt without media")
		}
		if !offered("a#content", 10) {
			t.Error("the share got no relay")
		}
	})
}

func TestRelayOnlyAfterAFailedAttempt(t *testing.T) {
	inWorld(t, func(w *world) {
		try := func(session uint64, connect bool) bool {
			c := w.dial("a", signaltest.Options{})
			ack, _, err := c.Join(w.ctx(), session)
			if err != nil {
				t.Fatal(err)
			}
			w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
			if connect {
				w.peer("a").Events.MediaConnected()
			}
			return len(ack.GetJoinack().GetTurnCredentials().GetUris()) > 0
		}
		if try(5, false) {
			t.Error("the first attempt got a relay")
		}
		if try(6, false) {
			t.Error("another client got a relay")
		}
		if !try(6, true) {
			t.Error("no relay after an attempt without media")
		}
		if !try(6, true) {
			t.Error("a client that needed a relay once was sent direct again")
		}
		for range 2 {
			if try(7, true) {
				t.Error("relay after a success without one")
			}
		}
	})
}

func TestShutdown(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		waiting := w.dial("b", signaltest.Options{})
		hung := w.dial("c", signaltest.Options{NoRead: true})
		start := time.Now()
		if err := w.srv.Shutdown(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
		for _, c := range []*signaltest.Client{a, waiting} {
			if code := w.closeCode(c); code != 4503 {
				t.Errorf("closed with %d", code)
			}
		}
		hung.Cut()
		_, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+meetingID, "tok-a", signaltest.Options{HTTPClient: w.http})
		if err == nil || !strings.Contains(err.Error(), "HTTP 503") {
			t.Errorf("a new socket while stopping: %v", err)
		}
	})
}

func TestRoomEndsAndComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		if d := cmp.Diff([]string{"321=id-a/ext-a"}, rosterOf(a)); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff([]RoomInfo{{MeetingID: meetingID, Sockets: 1, Attendees: 1}}, w.srv.Rooms()); d != "" {
			t.Error(d)
		}
		if err := a.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !w.confs.Last().Closed() || len(w.srv.Rooms()) != 0 {
			t.Fatal("the room is still there")
		}
		// In the same second: the id must not come again.
		a = w.enter("a", 2)
		if d := cmp.Diff([]string{"322=id-a/ext-a"}, rosterOf(a)); d != "" {
			t.Error(d)
		}
		if n := len(w.confs.All()); n != 2 {
			t.Errorf("%d conferences", n)
		}
	})
}

func TestTooManySockets(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.dial("a", signaltest.Options{})
		for range maxSockets {
			time.Sleep(time.Millisecond)
			w.dial("a", signaltest.Options{})
		}
		if code := w.closeCode(first); code != 4409 {
			t.Errorf("closed with %d", code)
		}
		synctest.Wait() // for the server to be done with it
		if got := w.counter("sockets", ""); got != maxSockets {
			t.Errorf("%v sockets, want %d", got, maxSockets)
		}
	})
	// Nor is the limit passed by being quicker than the close handshake.
	inWorld(t, func(w *world) {
		for range 10 * maxSockets {
			conn, _, err := websocket.Dial(w.ctx(), "ws://belfry.test/control/"+meetingID, &websocket.DialOptions{
				HTTPClient: w.http, Subprotocols: []string{"_aws_wt_session", "tok-a"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
		}
		if got := w.counter("sockets", ""); got > 2*maxSockets+1 {
			t.Errorf("%v sockets, want no more than %d and as many that are closing", got, maxSockets)
		}
	})
}
