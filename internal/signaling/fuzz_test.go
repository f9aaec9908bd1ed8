package signaling

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// FuzzFrame gives any message to a session, before and after JOIN. Nothing may
// panic or block, and whatever is queued for the client must be a whole frame.
func FuzzFrame(f *testing.F) {
	for _, seed := range []*signaltest.Frame{
		{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{AudioSessionId: proto.Uint64(1)}},
		{Type: signalpb.SdkSignalFrame_SUBSCRIBE.Enum(), Sub: cameraOn()},
		{Type: signalpb.SdkSignalFrame_LEAVE.Enum(), Leave: &signalpb.SdkLeaveFrame{}},
		{Type: signalpb.SdkSignalFrame_PING_PONG.Enum(), PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: proto.Uint32(1)}},
		{Type: signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(), DataMessage: &signalpb.SdkDataMessageFrame{Messages: []*signalpb.SdkDataMessagePayload{{Topic: proto.String("t"), LifetimeMs: proto.Uint32(1)}}}},
		{Type: signalpb.SdkSignalFrame_AUDIO_CONTROL.Enum(), AudioControl: &signalpb.SdkAudioControlFrame{Muted: proto.Bool(true)}},
		{Type: signalpb.SdkSignalFrame_PAUSE.Enum(), Pause: &signalpb.SdkPauseResumeFrame{StreamIds: []uint32{1}}},
		{Type: signalpb.SdkSignalFrame_REMOTE_VIDEO_UPDATE.Enum(), RemoteVideoUpdate: &signalpb.SdkRemoteVideoUpdateFrame{AddedOrUpdatedVideoSubscriptions: []*signalpb.SdkVideoSubscriptionConfiguration{{Mid: proto.String("2"), StreamId: proto.Uint32(1)}}}},
		{Type: signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN.Enum(), PrimaryMeetingJoin: &signalpb.SdkPrimaryMeetingJoinFrame{}},
		{Type: signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN.Enum(), PrimaryMeetingJoin: &signalpb.SdkPrimaryMeetingJoinFrame{Credentials: credentials("b")}},
		{Type: signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE.Enum(), PrimaryMeetingLeave: &signalpb.SdkPrimaryMeetingLeaveFrame{}},
	} {
		seed.TimestampMs = proto.Uint64(1)
		data, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{0x05}, data...), true)
	}
	f.Add(frameBytes(21, 22, []byte{0xff}), true)
	f.Add(frameBytes(9, 0, nil), false)
	f.Add([]byte{5, 8, 1, 16, 3, 50, 0}, false)
	f.Fuzz(func(t *testing.T, data []byte, joined bool) {
		m := &meeting.Meeting{ID: meetingID, CreatedAt: time.Now()}
		known := &fakeService{ids: map[meeting.Secret]meeting.Identity{
			"tok-b": {Meeting: m, Attendee: &meeting.Attendee{ID: "id-b", MeetingID: meetingID, Capabilities: meeting.DefaultCapabilities}},
		}}
		handleTwice(t, known, meeting.Identity{Meeting: m}, data, joined)
		handleTwice(t, known, meeting.Identity{Meeting: &meeting.Meeting{ID: replicaID}, Primary: m}, data, joined)
	})
}

// handleTwice has a session handle a message as an attendee of a meeting.
func handleTwice(t *testing.T, known Service, who meeting.Identity, data []byte, joined bool) {
	srv := New(Config{Service: known, Conferences: &signaltest.Conferences{}, Relays: &signaltest.Relays{}, Logger: slog.New(slog.DiscardHandler)})
	sess := &session{srv: srv}
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	sess.prepare(near)
	who.Attendee = &meeting.Attendee{ID: "id", MeetingID: who.Meeting.ID, Capabilities: meeting.DefaultCapabilities}
	sess.identify(who)
	if joined {
		sess.handle(t.Context(), frameBytes(1, 4, nil))
	}
	sess.handle(t.Context(), data)
	sess.handle(t.Context(), data)
	sess.endMu.Lock()
	if sess.timer != nil {
		sess.timer.Stop()
	}
	sess.endMu.Unlock()
	for _, o := range sess.out.take(nil) {
		var got signalpb.SdkSignalFrame
		if o.code == 0 && (len(o.data) < 2 || proto.Unmarshal(o.data[1:], &got) != nil) {
			t.Errorf("queued % x", o.data)
		}
	}
	if sess.member != nil {
		r := sess.member.room
		r.mu.Lock()
		r.abandoned = true
		r.mu.Unlock()
		r.wakeUp()
		<-r.closed
	}
}

// FuzzInflate unpacks anything, with and without a dictionary.
func FuzzInflate(f *testing.F) {
	f.Add([]byte{}, "")
	f.Add((&compressor{}).deflate(audioOffer), audioOffer)
	f.Add((&compressor{answer: audioOffer}).deflate(audioOffer+"a=x\r\n"), audioOffer)
	f.Add([]byte{0x78, 0x9c, 3, 0}, "v=0")
	f.Fuzz(func(t *testing.T, packed []byte, before string) {
		c := compressor{offer: before}
		text, err := c.inflate(packed)
		switch {
		case err != nil && meeting.CodeOf(err) != meeting.CodeBadRequest:
			t.Errorf("refused as %s", meeting.CodeOf(err))
		case err == nil && (len(text) > maxSDP || !strings.HasPrefix(text, "v=0")):
			t.Errorf("accepted %d bytes of %.20q", len(text), text)
		}
	})
}

// FuzzCompress packs a text after another one, and unpacks it as the client
// does: with the one before as dictionary.
func FuzzCompress(f *testing.F) {
	f.Add("", "v=0")
	f.Add(audioOffer, audioOffer)
	f.Add(strings.Repeat("v=0\r\n\U0001F600", 6000), audioOffer)
	f.Fuzz(func(t *testing.T, before, text string) {
		c := compressor{}
		if before != "" {
			c.answer = before
		}
		packed := c.deflate(text)
		dict := dictionary(before)
		if !strings.HasPrefix(before, string(dict)) || len(before) > len(dict) && len(dict) < maxDictionary/3 && utf8.ValidString(before) {
			t.Errorf("the dictionary of %d bytes has %d", len(before), len(dict))
		}
		got, err := inflate(packed, dict)
		if len(text) > maxSDP {
			return
		}
		if err != nil || got != text {
			t.Errorf("came back as %.40q, %v", got, err)
		}
		if c.answer != text {
			t.Error("not remembered as the next dictionary")
		}
	})
}
