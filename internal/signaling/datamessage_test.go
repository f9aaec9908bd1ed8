package signaling

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// messages takes the data messages a client was sent, in words.
func messages(c *signaltest.Client) []string {
	synctest.Wait()
	var out []string
	for _, f := range c.Take(signalpb.SdkSignalFrame_DATA_MESSAGE) {
		for _, m := range f.GetDataMessage().GetMessages() {
			word := fmt.Sprintf("%s/%s: %s %s", m.GetSenderAttendeeId(), m.GetSenderExternalUserId(), m.GetTopic(), m.GetData())
			if m.GetIngestTimeNs() == 0 {
				word += " THROTTLED"
			}
			out = append(out, word)
		}
	}
	return out
}

func wantMessages(t *testing.T, who string, c *signaltest.Client, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, messages(c)); d != "" {
		t.Errorf("%s was sent (-want +got): %s", who, d)
	}
}

func send(t *testing.T, c *signaltest.Client, payloads ...*signalpb.SdkDataMessagePayload) {
	t.Helper()
	err := c.Send(&signaltest.Frame{
		Type: signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(), DataMessage: &signalpb.SdkDataMessageFrame{Messages: payloads},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDataMessage(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, share := w.enter("a", 1), w.enter("b", 2), w.enter("b#content", 3)
		// What only the server may say is not taken from a client.
		send(t, a, &signalpb.SdkDataMessagePayload{
			Topic: proto.String("chat"), Data: []byte("hi"), SenderAttendeeId: proto.String("id-b"),
			SenderExternalUserId: proto.String("boss"), IngestTimeNs: proto.Int64(1),
		}, &signalpb.SdkDataMessagePayload{Topic: proto.String("chat"), Data: []byte("there")})
		f, err := b.AwaitType(w.ctx(), signalpb.SdkSignalFrame_DATA_MESSAGE)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixNano()
		want := []*signalpb.SdkDataMessagePayload{
			{Topic: proto.String("chat"), Data: []byte("hi"), SenderAttendeeId: proto.String("id-a"), SenderExternalUserId: proto.String("ext-a"), IngestTimeNs: proto.Int64(now)},
			{Topic: proto.String("chat"), Data: []byte("there"), SenderAttendeeId: proto.String("id-a"), SenderExternalUserId: proto.String("ext-a"), IngestTimeNs: proto.Int64(now + 1)},
		}
		if d := cmp.Diff(want, f.GetDataMessage().GetMessages(), protoTransform); d != "" {
			t.Errorf("b was sent (-want +got): %s", d)
		}
		wantMessages(t, "the sender", a)
		wantMessages(t, "a share", share)
	})
}

func TestDataMessageLimits(t *testing.T) {
	tests := []struct {
		name, topic string
		size        int
		says        string
	}{
		{"longest topic", strings.Repeat("t", 36), 1, ""},
		{"most data", "t", 2048, ""},
		{"every character", "azAZ09_-", 0, ""},
		{"no topic", "", 1, "topic must have 1 to 36"},
		{"long topic", strings.Repeat("t", 37), 1, "topic must have 1 to 36"},
		{"colon", "a:b", 1, "letters, digits"},
		{"not ASCII", "tëst", 1, "letters, digits"},
		{"reserved", "aws:chime:transcription", 1, "reserved"},
		{"too much data", "t", 2049, "2049 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.enter("a", 1), w.enter("b", 2)
				if err := a.Message(tt.topic, strings.Repeat("x", tt.size), 0); err != nil {
					t.Fatal(err)
				}
				_ = a.Message("after", "", 0)
				got := messages(b)
				if len(got) == 0 || !strings.HasSuffix(got[len(got)-1], ": after ") {
					t.Fatalf("the one after it did not come: %q", got)
				}
				refused := ""
				for _, f := range a.Take(signalpb.SdkSignalFrame_NOTIFICATION) {
					refused += f.GetNotification().GetMessage()
				}
				if (len(got) == 2) != (tt.says == "") || (tt.says == "") != (refused == "") || !strings.Contains(refused, tt.says) {
					t.Errorf("delivered %d, complaint %q", len(got), refused)
				}
				if n := w.counter("bad_frames_total", "data_message"); (n == 1) != (tt.says != "") {
					t.Errorf("counted %v", n)
				}
			})
		})
	}
}

// Above the soft rate a message comes back marked, and nobody else gets it.
func TestDataMessageThrottling(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		for i := range 205 {
			_ = a.Message("t", fmt.Sprint(i), 0)
		}
		if got := messages(b); len(got) != 200 {
			t.Errorf("b got %d", len(got))
		}
		wantMessages(t, "the sender", a,
			"id-a/ext-a: t 200 THROTTLED", "id-a/ext-a: t 201 THROTTLED", "id-a/ext-a: t 202 THROTTLED",
			"id-a/ext-a: t 203 THROTTLED", "id-a/ext-a: t 204 THROTTLED")
		raw := a.Raw()
		var last signaltest.Frame
		if err := proto.Unmarshal(raw[len(raw)-1][1:], &last); err != nil || last.GetDataMessage().GetMessages()[0].IngestTimeNs == nil {
			t.Errorf("the mark must be on the wire: %v, %v", &last, err)
		}
		time.Sleep(time.Second)
		for i := range 100 {
			_ = a.Message("t", fmt.Sprint(i), 0)
		}
		if got := messages(b); len(got) != 100 {
			t.Errorf("b got %d in the next second", len(got))
		}
		if n := w.counter("data_messages_total", "throttled"); n != 5 {
			t.Errorf("counted %v", n)
		}
	})
}

func TestDataMessageHardLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		many := make([]*signalpb.SdkDataMessagePayload, 1001)
		for i := range many {
			many[i] = &signalpb.SdkDataMessagePayload{Topic: proto.String("t")}
		}
		for range 10 {
			send(t, a, many...)
		}
		f, err := a.Await(w.ctx(), func(f *signaltest.Frame) bool { return f.GetError() != nil })
		if err != nil || f.GetError().GetStatus() != 429 {
			t.Fatalf("got %v, %v", f, err)
		}
		if code := w.closeCode(a); code != 4429 {
			t.Errorf("closed with %d", code)
		}
		if n := w.counter("cut_total", "rate"); n != 1 {
			t.Errorf("counted %v", n)
		}
		if err := b.Ping(w.ctx()); err != nil {
			t.Errorf("another session: %v", err)
		}
	})
}

func TestDataMessageLifetime(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		_ = a.Message("t", "gone at once", 0)
		_ = a.Message("t", "5 s", 5000)
		_ = a.Message("t", "20 s", 20_000)
		_ = a.Message("t", "a day", 86_400_000)
		synctest.Wait()
		sent := time.Now()
		time.Sleep(6 * time.Second)
		b := w.join("b", 2) // before its media: messages need none
		replayed, err := b.AwaitType(w.ctx(), signalpb.SdkSignalFrame_DATA_MESSAGE)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range replayed.GetDataMessage().GetMessages() {
			got = append(got, fmt.Sprintf("%s %d %s", m.GetData(), m.GetLifetimeMs(), time.Unix(0, m.GetIngestTimeNs()).Sub(sent).Truncate(time.Microsecond)))
		}
		if d := cmp.Diff([]string{"20 s 20000 0s", "a day 300000 0s"}, got); d != "" {
			t.Errorf("replay (-want +got): %s", d)
		}
		wantMessages(t, "the sender, who joins again", w.join("a", 1))
		share := w.join("c#content", 3)
		wantMessages(t, "a share", share)
	})
}

func TestReplayOutlivesTheRoomButNotTheMeeting(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		_ = a.Message("t", "for later", 60_000)
		if err := a.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(w.srv.Rooms()) != 0 {
			t.Fatal("the room is still there")
		}
		b := w.join("b", 2)
		wantMessages(t, "b", b, "id-a/ext-a: t for later")
		time.Sleep(time.Minute)
		wantMessages(t, "c, after the lifetime", w.join("c", 3))
	})
}

// A reset or stalled socket: what was lost with it comes again, and only that.
func TestReplayAfterAReconnect(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("the first message arrived: %t", reads), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.enter("a", 1)
				b := w.dial("b", signaltest.Options{NoPong: !reads})
				if _, _, err := b.Join(w.ctx(), 2); err != nil {
					t.Fatal(err)
				}
				_ = a.Message("t", "one", 60_000)
				synctest.Wait()
				b.Cut()
				_ = a.Message("t", "two", 60_000)
				synctest.Wait()
				b = w.join("b", 2)
				if reads {
					wantMessages(t, "b", b, "id-a/ext-a: t two")
				} else {
					wantMessages(t, "b", b, "id-a/ext-a: t one", "id-a/ext-a: t two")
				}
				other := w.join("b", 99)
				wantMessages(t, "b on another device", other, "id-a/ext-a: t one", "id-a/ext-a: t two")
			})
		})
	}
}

func TestMessageStoreIsBounded(t *testing.T) {
	m := &messageStore{}
	now := time.Now()
	for i := range 3 * maxStored {
		m.keep(&signalpb.SdkDataMessagePayload{Topic: proto.String("t"), Data: make([]byte, maxData), LifetimeMs: proto.Uint32(uint32(i))}, now.Add(time.Minute))
	}
	size := 0
	for _, k := range m.kept {
		size += storedSize(k.payload)
	}
	if len(m.kept) > maxStored || size > maxStoredBytes || size != m.bytes {
		t.Errorf("%d messages of %d bytes kept, %d counted", len(m.kept), size, m.bytes)
	}
	if got := m.kept[len(m.kept)-1].payload.GetLifetimeMs(); got != 3*maxStored-1 {
		t.Errorf("the newest is %d", got)
	}
	m.expire(now.Add(time.Hour))
	if !m.empty() || m.bytes != 0 {
		t.Errorf("%d messages of %d bytes are left", len(m.kept), m.bytes)
	}
	for i := range 2 * maxReceipts {
		m.keep(&signalpb.SdkDataMessagePayload{}, now.Add(time.Hour))
		m.remember(&participant{id: fmt.Sprint(i), audioSession: 1, confirmedNs: 1})
	}
	if len(m.receipts) > maxReceipts {
		t.Errorf("%d receipts", len(m.receipts))
	}
}
