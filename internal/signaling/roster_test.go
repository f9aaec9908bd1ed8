package signaling

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

func wantRoster(t *testing.T, who string, c *signaltest.Client, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, rosterOf(c)); d != "" {
		t.Errorf("%s was told (-want +got): %s", who, d)
	}
}

func TestRoster(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		wantRoster(t, "a", a, "321=id-a/ext-a")
		b := w.join("b", 2)
		w.subscribe(b, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), AudioMuted: proto.Bool(true)})
		w.peer("b").Events.MediaConnected()
		wantRoster(t, "a before b's audio", a)
		wantRoster(t, "b before its audio", b)
		if err := a.Mute(true); err != nil {
			t.Fatal(err)
		}
		wantRoster(t, "a of its mute", a, "321 muted=true")
		w.peer("b").Events.AudioArrived()
		wantRoster(t, "a", a, "322=id-b/ext-b muted")
		wantRoster(t, "b", b, "321=id-a/ext-a muted, 322=id-b/ext-b muted")
		_ = a.Mute(false)
		_ = b.Mute(false)
		_ = b.Mute(false) // no news
		synctest.Wait()
		for _, c := range []*signaltest.Client{a, b} {
			got := rosterOf(c)
			if len(got) != 2 || !strings.Contains(strings.Join(got, " "), "321 muted=false") || !strings.Contains(strings.Join(got, " "), "322 muted=false") {
				t.Errorf("mutes: %q", got)
			}
		}
		if d := cmp.Diff([]string{"muted true", "muted false"}, w.peer("a").Calls()); d != "" {
			t.Errorf("media was told: %s", d)
		}
		if !w.peer("b").Spec.Muted {
			t.Error("b's media was opened unmuted")
		}
		if err := b.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		wantRoster(t, "a", a, "322 left")
		if !w.peer("b").Closed() {
			t.Error("b's media is still open")
		}
		if d := cmp.Diff([]string{"Authorized id-a", "Joined id-a", "Authorized id-b", "Joined id-b", "Left id-b"}, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

func TestPresenceWithoutAudio(t *testing.T) {
	tests := []struct {
		name, sdp string
		after     time.Duration
	}{
		{"no audio section", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendrecv\r\n", 0},
		{"audio inactive", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=inactive\r\nm=video 9 X 96\r\na=sendrecv\r\n", 0},
		{"audio promised", audioOffer, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.join("a", 1)
				w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(tt.sdp)})
				time.Sleep(10 * time.Second)
				wantRoster(t, "a without media", a)
				w.peer("a").Events.MediaConnected()
				if tt.after > 0 {
					time.Sleep(tt.after - time.Second)
					wantRoster(t, "a too early", a)
					time.Sleep(2 * time.Second)
				}
				wantRoster(t, "a", a, "321=id-a/ext-a")
			})
		})
	}
}

func TestReconnectIsSilent(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		a := w.enter("a", 1)
		_ = a.Mute(true)
		rosterOf(b)
		first := w.peer("a")
		a.Cut()
		first.Flow(false)
		time.Sleep(5 * time.Second)
		wantRoster(t, "b while a is away", b)

		a = w.join("a", 1)
		w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), AudioMuted: proto.Bool(true)})
		wantRoster(t, "b before a's media is back", b)
		if first.Closed() {
			t.Error("the old media was closed before the new one came")
		}
		w.peer("a").Events.AudioArrived()
		wantRoster(t, "b", b, "323=id-a/ext-a muted, 322 left")
		wantRoster(t, "a", a, "321=id-b/ext-b, 323=id-a/ext-a muted")
		if !first.Closed() || w.peer("a").Closed() {
			t.Errorf("old media closed: %t, new: %t", first.Closed(), w.peer("a").Closed())
		}
		w.keepAlive(2*time.Minute, a, b)
		wantRoster(t, "b later", b)
		if d := cmp.Diff([]string{"Authorized id-b", "Joined id-b", "Authorized id-a", "Joined id-a", "Authorized id-a"}, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

// The old socket may still be open when the new one comes: the client behind it
// is the same, so it must not be told that it joined elsewhere.
func TestReconnectBesideAnOpenSocket(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.enter("b", 2)
		old := w.enter("a", 1)
		rosterOf(b)
		first := w.peer("a")
		a := w.enter("a", 1)
		wantRoster(t, "b", b, "323=id-a/ext-a, 322 left")
		if code := w.closeCode(old); code != 1000 {
			t.Errorf("the old socket was closed with %d", code)
		}
		for name, c := range map[string]*signaltest.Client{"old": old, "new": a} {
			if got := c.Take(signalpb.SdkSignalFrame_AUDIO_STATUS); len(got) != 0 {
				t.Errorf("the %s connection got %v", name, got)
			}
		}
		if !first.Closed() || w.peer("a").Closed() {
			t.Error("the wrong media was closed")
		}
		w.keepAlive(2*time.Minute, a, b)
		wantRoster(t, "b later", b)
	})
}

// A stalled socket: nothing comes through it, while media goes on. The client
// notices after 45 s and comes back. When media stalls too its cable is cut, and
// others see it drop long before.
func TestStalledSocket(t *testing.T) {
	for _, mediaToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("media stalls too: %t", mediaToo), func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				stalled := w.enter("a", 1)
				rosterOf(b)
				w.keepAlive(30*time.Second, b, stalled)
				w.peer("a").Flow(!mediaToo)
				cut := time.Now()
				w.keepAlive(10*time.Second, b)
				wantRoster(t, "b soon", b)
				w.keepAlive(5*time.Second, b)
				if mediaToo {
					wantRoster(t, "b within 15 s", b, "322 left dropped")
					if code := w.closeCode(stalled); code != 4500 {
						t.Errorf("the stalled socket was closed with %d", code)
					}
				} else {
					wantRoster(t, "b within 15 s", b)
				}
				w.keepAlive(47*time.Second-time.Since(cut), b)
				a := w.enter("a", 1)
				want := []string{"323=id-a/ext-a, 322 left"}
				presence := []string{"Authorized id-b", "Joined id-b", "Authorized id-a", "Joined id-a", "Authorized id-a"}
				if mediaToo {
					want = []string{"323=id-a/ext-a"}
					presence = append(presence[:4], "Dropped id-a", "Authorized id-a", "Joined id-a")
				}
				wantRoster(t, "b", b, want...)
				if d := cmp.Diff(presence, w.events.list()); d != "" {
					t.Errorf("presence (-want +got):\n%s", d)
				}
				w.keepAlive(time.Minute, a, b)
				wantRoster(t, "b later", b)
			})
		})
	}
}

func TestGrace(t *testing.T) {
	tests := []struct {
		name  string
		flow  time.Duration // how long media outlives the socket
		close func(c *signaltest.Client)
		from  time.Duration
		to    time.Duration
	}{
		{"socket and media", 0, (*signaltest.Client).Cut, 12 * time.Second, 13 * time.Second},
		{"clean close", 0, (*signaltest.Client).Close, 12 * time.Second, 13 * time.Second},
		{"media goes on", 30 * time.Second, (*signaltest.Client).Cut, 42 * time.Second, 43 * time.Second},
		{"media never ends", time.Hour, (*signaltest.Client).Cut, 90 * time.Second, 91 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				a := w.enter("a", 1)
				rosterOf(b)
				w.peer("a").Flow(true)
				tt.close(a)
				start := time.Now()
				go func(p *signaltest.Peer) {
					time.Sleep(tt.flow)
					p.Flow(false)
				}(w.peer("a"))
				w.keepAlive(tt.from-time.Second, b)
				wantRoster(t, "b in the grace time", b)
				f, err := b.AwaitType(w.ctx(), signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO)
				if err != nil {
					t.Fatal(err)
				}
				e := f.GetAudioStreamIdInfo().GetStreams()[0]
				if d := time.Since(start); d < tt.from || d > tt.to {
					t.Errorf("dropped after %v", d)
				}
				if e.GetAudioStreamId() != 322 || e.Muted != nil || e.AttendeeId != nil || !e.GetDropped() {
					t.Errorf("entry %v", e)
				}
				time.Sleep(time.Second)
				if !w.peer("a").Closed() {
					t.Error("media is still open")
				}
				if got := w.events.list(); got[len(got)-1] != "Dropped id-a" {
					t.Errorf("presence: %v", got)
				}
				time.Sleep(tt.flow) // the helper's goroutine
			})
		})
	}
}

func TestJoinedElsewhere(t *testing.T) {
	for _, second := range []uint64{0, 99} {
		t.Run(fmt.Sprint(second), func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				old := w.enter("a", 0)
				rosterOf(b)
				media := w.peer("a")
				a := w.join("a", second)
				if got := w.audioStatus(old); got != 301 {
					t.Errorf("the old connection got %d", got)
				}
				synctest.Wait()
				if !media.Closed() {
					t.Error("the old device still speaks")
				}
				if err := old.Leave(w.ctx()); err != nil {
					t.Fatal(err)
				}
				if code := w.closeCode(old); code != 4409 {
					t.Errorf("closed with %d", code)
				}
				w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
				w.peer("a").Events.AudioArrived()
				wantRoster(t, "b", b, "323=id-a/ext-a, 322 left")
				if n := len(a.Take(signalpb.SdkSignalFrame_AUDIO_STATUS)); n != 0 {
					t.Error("the new connection got AUDIO_STATUS")
				}
			})
		})
	}
}

// The screen that the other device shares must not stay on view when its owner
// has gone on here: that client does not end it by itself.
func TestJoinedElsewhereEndsTheShare(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second uint64
		want          bool // the share ends
	}{
		{"another device", 1, 99, true},
		{"the same again", 1, 1, false},
		{"a client that does not say which it is", 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.enter("a", c.first)
				share := w.enter("a#content", 3)
				b := w.enter("b", 2)
				rosterOf(b)
				w.join("a", c.second)
				synctest.Wait()
				ended := share.Take(signalpb.SdkSignalFrame_AUDIO_STATUS)
				if got := len(ended) == 1 && ended[0].GetAudioStatus().GetAudioStatus() == 301; got != c.want {
					t.Errorf("the share got %v", ended)
				}
				if got := slices.Contains(rosterOf(b), "322 left"); got != c.want {
					t.Errorf("b was told that the share left: %t", got)
				}
			})
		})
	}
}

func TestEndedClientThatDoesNotLeave(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		start := time.Now()
		w.srv.MeetingEnded(meetingID)
		if got := w.audioStatus(a); got != 410 {
			t.Errorf("AUDIO_STATUS %d", got)
		}
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("told after %v", d)
		}
		if code := w.closeCode(a); code != 4410 || time.Since(start) != 3*time.Second {
			t.Errorf("closed with %d after %v", code, time.Since(start))
		}
	})
}

func TestDeletions(t *testing.T) {
	tests := []struct {
		name   string
		delete func(w *world)
		status uint32
		code   int
		later  int
	}{
		{"attendee", func(w *world) { w.svc.revoke("tok-a"); w.srv.AttendeeDeleted(meetingID, "id-a") }, 411, 4403, 4403},
		{"meeting", func(w *world) { w.svc.revoke("tok-a"); w.srv.MeetingEnded(meetingID) }, 410, 4410, 4410},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.enter("b", 2)
				a := w.enter("a", 1)
				share := w.enter("a#content", 3)
				waiting := w.dial("a", signaltest.Options{})
				rosterOf(b)
				tt.delete(w)
				for _, c := range []*signaltest.Client{a, share} {
					if got := w.audioStatus(c); got != tt.status {
						t.Errorf("AUDIO_STATUS %d", got)
					}
					if err := c.Leave(w.ctx()); err != nil {
						t.Fatal(err)
					}
					if code := w.closeCode(c); code != tt.code {
						t.Errorf("closed with %d", code)
					}
				}
				if code := w.closeCode(waiting); code != tt.code || len(waiting.Unread()) != 0 {
					t.Errorf("a socket before JOIN was sent %v and closed with %d", waiting.Unread(), code)
				}
				synctest.Wait()
				if !w.peer("a").Closed() || !w.peer("a#content").Closed() {
					t.Error("media is still open")
				}
				if tt.status == 411 {
					wantRoster(t, "b", b, "322 left, 323 left")
				}
				c := w.dial("a", signaltest.Options{})
				if code := w.closeCode(c); code != tt.later {
					t.Errorf("a later join was closed with %d", code)
				}
			})
		})
	}
}

// A deletion while the socket is being opened must not be missed.
func TestDeletedBetweenLookAndRegistration(t *testing.T) {
	inWorld(t, func(w *world) {
		w.srv.cfg.Service = authFunc(func(n int, token meeting.Secret) (meeting.Identity, error) {
			if n > 0 {
				return meeting.Identity{}, meeting.Errorf(meeting.CodeUnauthorized, "gone")
			}
			return w.svc.Authenticate(w.t.Context(), token)
		})
		if code := w.closeCode(w.dial("a", signaltest.Options{})); code != 4403 {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestContentShare(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		b := w.enter("b", 2)
		rosterOf(a)
		rosterOf(b)
		share := w.enter("a#content", 3)
		wantRoster(t, "a", a, "323=id-a#content/ext-a")
		wantRoster(t, "b", b, "323=id-a#content/ext-a")
		wantRoster(t, "the share", share, "321=id-a/ext-a, 322=id-b/ext-b, 323=id-a#content/ext-a")
		if d := cmp.Diff([]RoomInfo{{MeetingID: meetingID, Sockets: 3, Attendees: 2, Contents: 1}}, w.srv.Rooms()); d != "" {
			t.Error(d)
		}
		w.enter("b#content", 4)
		w.enter("c", 5)
		rosterOf(a)
		third := w.enter("c#content", 6)
		if got := w.audioStatus(third); got != 409 {
			t.Errorf("the third share got %d", got)
		}
		wantRoster(t, "a of the third share", a)
		wantRoster(t, "the third share", third)
		// The base leaves, and takes its share along at once.
		start := time.Now()
		if err := a.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if got := w.audioStatus(share); got != 411 {
			t.Errorf("the share of one who left got %d", got)
		}
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("the share of one who left ended after %v", d)
		}
		wantRoster(t, "b", b, "324=id-b#content/ext-b", "325=id-c/ext-c", "321 left, 323 left")
		// There is room for another.
		w.enter("c#content", 7)
		wantRoster(t, "b", b, "326=id-c#content/ext-c")
	})
}

func TestContentShareWithoutBase(t *testing.T) {
	inWorld(t, func(w *world) {
		share := w.enter("a#content", 3)
		time.Sleep(8 * time.Second)
		if len(share.Take(signalpb.SdkSignalFrame_AUDIO_STATUS)) != 0 {
			t.Error("ended before its base could be back")
		}
		if got := w.audioStatus(share); got != 411 {
			t.Errorf("got %d", got)
		}
	})
}

func TestMediaClosedWhileTheSocketLives(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		b := w.enter("b", 2)
		rosterOf(b)
		w.peer("a").Events.MediaClosed("DTLS closed")
		synctest.Wait()
		if !w.peer("a").Closed() {
			t.Error("the peer is still open")
		}
		w.keepAlive(80*time.Second, a, b)
		wantRoster(t, "b", b)
		ack, err := a.Subscribe(w.ctx(), &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		if err != nil || ack.GetError().GetStatus() != 503 {
			t.Errorf("SUBSCRIBE on a dead connection: %v, %v", ack, err)
		}
		if code := w.closeCode(a); code != 4500 {
			t.Errorf("closed with %d", code)
		}
		wantRoster(t, "b", b, "321 left dropped")
	})
}

func TestLevels(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		b := w.enter("b", 2)
		late := w.join("c", 3) // not present: it has no roster to match
		conf := w.confs.Last()
		_ = b.Mute(true)
		synctest.Wait()
		conf.Events.Levels([]meeting.AudioLevel{{AttendeeID: "id-a", Volume: 20}, {AttendeeID: "id-b", Volume: 30}, {AttendeeID: "id-x", Volume: 1}})
		_ = b.Mute(false)
		synctest.Wait()
		conf.Events.Levels([]meeting.AudioLevel{{AttendeeID: "id-a", Volume: 20}, {AttendeeID: "id-b", Volume: 30}})
		conf.Events.Levels(nil)
		conf.Events.Levels(nil)
		conf.Events.SignalStrength([]meeting.SignalStrength{{AttendeeID: "id-b", Strength: 0}, {AttendeeID: "id-a", Strength: 2}})
		conf.Events.SignalStrength(nil)
		conf.Events.SignalStrength(nil)
		state := func(id uint32) *signalpb.SdkAudioAttendeeState {
			return &signalpb.SdkAudioAttendeeState{AudioStreamId: proto.Uint32(id)}
		}
		volume := func(id, v uint32) *signalpb.SdkAudioAttendeeState {
			s := state(id)
			s.Volume = proto.Uint32(v)
			return s
		}
		strength := func(id, v uint32) *signalpb.SdkAudioAttendeeState {
			s := state(id)
			s.SignalStrength = proto.Uint32(v)
			return s
		}
		want := [][]*signalpb.SdkAudioAttendeeState{
			{volume(321, 20)}, {volume(321, 20), volume(322, 30)}, {volume(0, 0)}, {strength(322, 0)}, {strength(0, 2)},
		}
		synctest.Wait()
		var got [][]*signalpb.SdkAudioAttendeeState
		for _, f := range newsOfMeters(a) {
			got = append(got, f.GetAudioMetadata().GetAttendeeStates())
		}
		if d := cmp.Diff(want, got, protoTransform); d != "" {
			t.Error(d)
		}
		if n := len(newsOfMeters(late)); n != 0 {
			t.Errorf("%d frames to one without a roster", n)
		}
	})
}

func TestCapabilities(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		b := w.enter("b", 2)
		share := w.enter("a#content", 3)
		rosterOf(a)
		rosterOf(b)
		none := meeting.Capabilities{Audio: meeting.Receive, Video: meeting.Receive, Content: meeting.Receive}
		w.srv.CapabilitiesChanged(w.addAttendee("a", none))
		wantRoster(t, "b", b, "321 muted=true", "323 left")
		if got := w.audioStatus(share); got != 403 {
			t.Errorf("the share got %d", got)
		}
		f, err := a.Await(w.ctx(), func(f *signaltest.Frame) bool { return f.GetError() != nil })
		if err != nil || f.GetError().GetStatus() != 206 || f.GetType() != signalpb.SdkSignalFrame_AUDIO_METADATA {
			t.Errorf("got %v, %v", f, err)
		}
		f, err = a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_INDEX)
		if err != nil || !f.GetIndex().GetAtCapacity() {
			t.Errorf("INDEX %v, %v", f, err)
		}
		if got := w.peer("a").Calls(); len(got) != 1 || !strings.HasPrefix(got[0], "capabilities {Receive Receive") {
			t.Errorf("media was told %v", got)
		}
		ack, err := a.Subscribe(w.ctx(), &signalpb.SdkSubscribeFrame{
			Duplex:      signalpb.SdkStreamServiceType_DUPLEX.Enum(),
			SdpOffer:    proto.String(audioOffer),
			SendStreams: []*signalpb.SdkStreamDescriptor{{MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum()}},
		})
		if err != nil || ack.GetError().GetStatus() != 206 || ack.GetSuback().GetSdpAnswer() == "" {
			t.Errorf("SUBSCRIBE with a camera: %v, %v", ack, err)
		}

		// All of it comes back.
		w.srv.CapabilitiesChanged(w.addAttendee("a", meeting.DefaultCapabilities))
		wantRoster(t, "b", b, "321 muted=false")
		f, err = a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_INDEX)
		if err != nil || f.GetIndex().GetAtCapacity() {
			t.Errorf("INDEX %v, %v", f, err)
		}
		calls := w.peer("a").Calls()
		if last := calls[len(calls)-1]; last != "capabilities {SendReceive SendReceive SendReceive}" {
			t.Errorf("media was told %v", calls)
		}
		w.join("a#content", 4)

		// What changes something else is not for the media.
		w.srv.CapabilitiesChanged(w.addAttendee("a", meeting.DefaultCapabilities))
		if again := w.peer("a").Calls(); len(again) != len(calls) {
			t.Errorf("media was told %v", again)
		}
	})
}

// What changes while a client is on its way in is not lost.
func TestCapabilitiesBeforeJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.dial("a", signaltest.Options{})
		synctest.Wait()
		none := meeting.Capabilities{Audio: meeting.NoMedia, Video: meeting.NoMedia, Content: meeting.NoMedia}
		w.srv.CapabilitiesChanged(w.addAttendee("a", none))
		_, index, err := a.Join(w.ctx(), 1)
		if err != nil || !index.GetIndex().GetAtCapacity() {
			t.Errorf("INDEX %v, %v", index, err)
		}
		w.subscribe(a, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		if got := w.peer("a").Spec.Capabilities; got != none {
			t.Errorf("the media has %v", got)
		}
	})
}

// What the meeting's features do not have is refused as what an attendee may not
// send, whatever its capabilities say.
func TestMaxResolutionNone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.meeting.Features = &meeting.Features{VideoMaxResolution: "None", ContentMaxResolution: "None"}
		a := w.dial("a", signaltest.Options{})
		_, index, err := a.Join(w.ctx(), 1)
		if err != nil || !index.GetIndex().GetAtCapacity() {
			t.Fatalf("INDEX %v, %v", index, err)
		}
		ack, err := a.Subscribe(w.ctx(), &signalpb.SdkSubscribeFrame{
			Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), SdpOffer: proto.String(audioOffer),
			SendStreams: []*signalpb.SdkStreamDescriptor{{MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum()}},
		})
		if err != nil || ack.GetError().GetStatus() != 206 || ack.GetSuback().GetSdpAnswer() == "" {
			t.Errorf("SUBSCRIBE with a camera: %v, %v", ack, err)
		}
		if got := w.confs.Last().Spec.Features; got != w.meeting.Features {
			t.Errorf("media was told of %v", got)
		}
		share := w.dial("a#content", signaltest.Options{})
		if ack, _, err := share.Join(w.ctx(), 2); err == nil {
			t.Errorf("content in a meeting without: %v", ack)
		}
	})
}

func TestPictureTooLarge(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		w.peer("a").Events.PictureTooLarge(1920, 1080, meeting.HD)
		f, err := a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_NOTIFICATION)
		if want := "video of 1920×1080 pixels is not shown: the meeting allows 1280×720"; err != nil || f.GetNotification().GetMessage() != want {
			t.Errorf("got %v, %v", f, err)
		}
		w.peer("a").Events.PictureTooLarge(0, 0, meeting.HD)
		f, err = a.AwaitType(w.ctx(), signalpb.SdkSignalFrame_NOTIFICATION)
		if err != nil || !strings.Contains(f.GetNotification().GetMessage(), "do not tell their size") {
			t.Errorf("got %v, %v", f, err)
		}
		if n := len(b.Take(signalpb.SdkSignalFrame_NOTIFICATION)); n != 0 {
			t.Errorf("another was told %d times", n)
		}
	})
}

// The right to share that goes while the client is on its way in.
func TestContentLostBeforeJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		w.enter("a", 1)
		share := w.dial("a#content", signaltest.Options{})
		synctest.Wait()
		none := meeting.DefaultCapabilities
		none.Content = meeting.Receive
		w.srv.CapabilitiesChanged(w.addAttendee("a", none))
		if ack, _, err := share.Join(w.ctx(), 2); err == nil {
			t.Errorf("it joined: %v", ack)
		}
	})
}
