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

// credentials are those of an attendee, as a client passes them on.
func credentials(name string) *signalpb.SdkMeetingSessionCredentials {
	return &signalpb.SdkMeetingSessionCredentials{
		AttendeeId: proto.String("id-" + name), ExternalUserId: proto.String("ext-" + name), JoinToken: proto.String("tok-" + name),
	}
}

// promote makes a client of the replica an attendee of the primary.
func (w *world) promote(c *signaltest.Client, as string) {
	w.t.Helper()
	ack, err := c.Promote(w.ctx(), credentials(as))
	if err != nil {
		w.t.Fatal(err)
	}
	if ack.PrimaryMeetingJoinAck == nil || ack.GetError().GetStatus() != 0 {
		w.t.Fatalf("promotion to %s: %v", as, ack)
	}
}

// demoted tells whether the server said so, and forgets it.
func demoted(c *signaltest.Client) bool {
	synctest.Wait()
	frames := c.Take(signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE)
	return len(frames) == 1 && frames[0].PrimaryMeetingLeave != nil
}

// said are the data messages that came, with who sent them.
func said(c *signaltest.Client) []string {
	synctest.Wait()
	var out []string
	for _, f := range c.Take(signalpb.SdkSignalFrame_DATA_MESSAGE) {
		for _, m := range f.GetDataMessage().GetMessages() {
			out = append(out, m.GetSenderAttendeeId()+"/"+m.GetSenderExternalUserId()+": "+string(m.GetData()))
		}
	}
	return out
}

// index is the last INDEX that a client was sent, in words; "" for none.
func lastIndex(c *signaltest.Client) string {
	time.Sleep(time.Second)
	frames := c.Take(signalpb.SdkSignalFrame_INDEX)
	if len(frames) == 0 {
		return ""
	}
	x := frames[len(frames)-1].GetIndex()
	out := fmt.Sprintf("%d people", x.GetNumParticipants()) + mark(x.GetAtCapacity(), ", at capacity")
	for _, s := range x.GetSources() {
		out += ", " + s.GetAttendeeId()
	}
	return out
}

func wantIndex(t *testing.T, who string, c *signaltest.Client, want string) {
	t.Helper()
	if got := lastIndex(c); got != want {
		t.Errorf("INDEX of %s: %q, want %q", who, got, want)
	}
}

func TestAudienceSeesThePrimaryAndNobodySeesIt(t *testing.T) {
	inWorld(t, func(w *world) {
		x := w.enter("x", 10) // nobody is in the primary yet
		wantRoster(t, "x alone", x, "")
		a := w.enter("a", 1)
		wantRoster(t, "a", a, "321=id-a/ext-a")
		wantRoster(t, "x", x, "321=id-a/ext-a")
		settle(a, x)
		before := len(a.Raw())
		y := w.dial("y", signaltest.Options{})
		_, first, err := y.Join(w.ctx(), 20)
		if err != nil {
			t.Fatal(err)
		}
		if got := first.GetIndex(); !got.GetAtCapacity() || got.GetNumParticipants() != 1 {
			t.Errorf("INDEX of y: %v", got)
		}
		w.subscribe(y, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		w.peer("y").Events.MediaConnected()
		w.peer("y").Events.AudioArrived()
		wantRoster(t, "y", y, "321=id-a/ext-a")
		if got, want := w.peer("y").Spec.Capabilities, (meeting.Capabilities{Audio: meeting.Receive, Video: meeting.Receive, Content: meeting.Receive}); got != want {
			t.Errorf("media was told %v", got)
		}
		_ = x.Mute(true)
		_ = y.Message("chat", "hello", 1000)
		if err := x.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(a.Raw()); n != before {
			t.Errorf("a was told %d things of the audience: %v", n-before, a.Unread())
		}
		if got := said(a); len(got) != 0 {
			t.Errorf("a was told %q", got)
		}
		if f, err := y.AwaitType(w.ctx(), signalpb.SdkSignalFrame_NOTIFICATION); err != nil || !strings.Contains(f.GetNotification().GetMessage(), "promoted") {
			t.Errorf("y's message: %v %v", f, err)
		}

		conf := w.confs.Last()
		conf.SetSources(nil, video("a", 9, 3))
		conf.Events.Levels([]meeting.AudioLevel{{AttendeeID: "id-a", Volume: 20}})
		wantIndex(t, "y", y, "1 people, at capacity, id-a")
		if f := newsOfMeters(y); len(f) != 1 || f[0].GetAudioMetadata().GetAttendeeStates()[0].GetVolume() != 20 {
			t.Errorf("levels: %v", f)
		}
		b := w.enter("b", 2)
		wantRoster(t, "y", y, "322=id-b/ext-b")
		_ = b.Message("chat", "to all", 0)
		if d := cmp.Diff([]string{"id-b/ext-b: to all"}, said(y)); d != "" {
			t.Error(d)
		}
		if info := w.srv.Rooms(); len(info) != 1 || info[0] != (RoomInfo{MeetingID: meetingID, Sockets: 3, Attendees: 2, Audience: 1}) {
			t.Errorf("%+v", info)
		}
		want := []string{
			"Authorized id-x of the replica", "Joined id-x of the replica", "Authorized id-a", "Joined id-a",
			"Authorized id-y of the replica", "Joined id-y of the replica", "Left id-x of the replica",
			"VideoStarted id-a", "Authorized id-b", "Joined id-b",
		}
		if d := cmp.Diff(want, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

func TestNewcomersOfTheAudienceAreNobodysNews(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		x := w.enter("x", 2)
		weak := meeting.SignalStrength{AttendeeID: "id-a", Strength: 1}
		w.confs.Last().Events.SignalStrength([]meeting.SignalStrength{weak})
		settle(a, x)
		before, beforeX := len(a.Raw()), len(x.Raw())
		for i := range 100 {
			name := fmt.Sprint("listener", i)
			w.addListener(name, meeting.DefaultCapabilities)
			w.enter(name, uint64(100+i))
		}
		w.confs.Last().Events.SignalStrength([]meeting.SignalStrength{weak, {AttendeeID: "id-listener7", Strength: 0}})
		time.Sleep(2 * time.Second)
		if n := len(a.Raw()) - before; n != 0 {
			t.Errorf("a was sent %d frames: %v", n, a.Unread())
		}
		if n := len(x.Raw()) - beforeX; n != 0 {
			t.Errorf("x was sent %d frames: %v", n, x.Unread())
		}
	})
}

func TestMessagesReachTheAudienceLater(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		_ = a.Message("chat", "lasting", 60_000)
		synctest.Wait()
		x := w.enter("x", 2)
		if d := cmp.Diff([]string{"id-a/ext-a: lasting"}, said(x)); d != "" {
			t.Error(d)
		}
		// It pongs, so that a reconnect does not repeat it.
		x.Cut()
		x = w.enter("x", 2)
		if got := said(x); len(got) != 0 {
			t.Errorf("again: %q", got)
		}
	})
}

func TestPromotion(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x, y := w.enter("a", 1), w.enter("x", 2), w.enter("y", 3)
		settle(a, x, y)
		for _, c := range []*signaltest.Client{a, x, y} {
			rosterOf(c)
		}
		w.promote(x, "b")
		for name, c := range map[string]*signaltest.Client{"a": a, "x": x, "y": y} {
			wantRoster(t, name, c, "322=id-b/ext-b")
		}
		wantIndex(t, "x", x, "2 people")
		wantIndex(t, "y", y, "2 people, at capacity")
		if d := cmp.Diff([]string{"become id-b {SendReceive SendReceive SendReceive}"}, w.peer("x").Calls()); d != "" {
			t.Errorf("media: %s", d)
		}
		w.promote(x, "b") // again
		wantRoster(t, "a", a)

		_ = x.Message("chat", "as b", 0)
		for name, c := range map[string]*signaltest.Client{"a": a, "y": y} {
			if d := cmp.Diff([]string{"id-b/ext-b: as b"}, said(c)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		if got := said(x); len(got) != 0 {
			t.Errorf("x got its own: %q", got)
		}
		_ = x.Mute(true)
		wantRoster(t, "y", y, "322 muted=true")
		_ = x.Mute(false)
		wantRoster(t, "a", a, "322 muted=true", "322 muted=false")
		w.confs.Last().SetSources(nil, video("b", 9, 3))
		w.confs.Last().Events.Levels([]meeting.AudioLevel{{AttendeeID: "id-b", Volume: 20}})
		wantIndex(t, "a", a, "2 people, id-b")
		wantIndex(t, "y", y, "2 people, at capacity, id-b")
		wantIndex(t, "x", x, "") // its own video is no news to it
		if f := newsOfMeters(y); len(f) != 1 || f[0].GetAudioMetadata().GetAttendeeStates()[0].GetAudioStreamId() != 322 {
			t.Errorf("levels: %v", f)
		}

		rosterOf(x)
		rosterOf(y)
		if err := x.Demote(); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*signaltest.Client{"a": a, "x": x, "y": y} {
			wantRoster(t, name, c, "322 left")
		}
		wantIndex(t, "x", x, "1 people, at capacity")
		wantIndex(t, "a", a, "1 people")
		if demoted(x) {
			t.Error("x, who asked for it, was told of its demotion")
		}
		if calls := w.peer("x").Calls(); calls[len(calls)-1] != "become id-x {Receive Receive Receive}" {
			t.Errorf("media: %q", calls)
		}
		_ = x.Message("chat", "as x", 0)
		if got := said(a); len(got) != 0 {
			t.Errorf("a heard of %q", got)
		}
		w.promote(x, "c")
		w.promote(x, "d") // without a demotion in between
		wantRoster(t, "y", y, "323=id-c/ext-c", "323 left", "324=id-d/ext-d")
		if err := x.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		wantRoster(t, "a", a, "323=id-c/ext-c", "323 left", "324=id-d/ext-d", "324 left")
		want := []string{
			"Authorized id-a", "Joined id-a", "Authorized id-x of the replica", "Joined id-x of the replica",
			"Authorized id-y of the replica", "Joined id-y of the replica",
			"Authorized id-b", "Joined id-b", "VideoStarted id-b", "VideoStopped id-b", "Left id-b",
			"Authorized id-c", "Joined id-c", "Left id-c", "Authorized id-d", "Joined id-d", "Left id-d", "Left id-x of the replica",
		}
		if d := cmp.Diff(want, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
		if got := w.counter("promotions_total", "promoted"); got != 4 {
			t.Errorf("%v promotions counted", got)
		}
	})
}

func TestPromotionBeforeMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.join("x", 2)
		rosterOf(a)
		w.promote(x, "b")
		wantRoster(t, "a", a)
		w.subscribe(x, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		peers := w.confs.Last().Peers("id-b")
		if len(peers) != 1 || peers[0].Spec.Capabilities != meeting.DefaultCapabilities {
			t.Fatalf("media: %+v", peers)
		}
		peers[0].Events.AudioArrived()
		wantRoster(t, "a", a, "322=id-b/ext-b")
		wantRoster(t, "x", x, "321=id-a/ext-a, 322=id-b/ext-b")
		// Until its media comes it has the place of the one before, but its own mute.
		c := w.enter("c", 3)
		_ = c.Mute(true)
		wantRoster(t, "a", a, "323=id-c/ext-c", "323 muted=true")
		y := w.join("y", 4)
		w.promote(y, "c")
		time.Sleep(time.Second)
		wantRoster(t, "a", a, "323 muted=false")
		w.subscribe(y, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		w.confs.Last().Peers("id-c")[1].Events.AudioArrived()
		wantRoster(t, "a", a, "324=id-c/ext-c, 323 left")
	})
}

func TestPromotionRefused(t *testing.T) {
	other := &meeting.Meeting{ID: "99999999-2222-3333-4444-555555552713", CreatedAt: time.Now()}
	with := func(change func(c *signalpb.SdkMeetingSessionCredentials)) *signalpb.SdkMeetingSessionCredentials {
		c := credentials("b")
		change(c)
		return c
	}
	tests := []struct {
		name   string
		who    string
		c      *signalpb.SdkMeetingSessionCredentials
		fail   error
		status uint32
	}{
		{"no replica", "a", credentials("b"), nil, 403},
		{"no credentials", "x", nil, nil, 403},
		{"no token", "x", with(func(c *signalpb.SdkMeetingSessionCredentials) { c.JoinToken = nil }), nil, 403},
		{"unknown token", "x", with(func(c *signalpb.SdkMeetingSessionCredentials) { c.JoinToken = proto.String("nonsense") }), nil, 403},
		{"huge token", "x", with(func(c *signalpb.SdkMeetingSessionCredentials) { c.JoinToken = proto.String(strings.Repeat("x", 5000)) }), nil, 403},
		{"another attendee's token", "x", with(func(c *signalpb.SdkMeetingSessionCredentials) { c.JoinToken = proto.String("tok-c") }), nil, 403},
		{"of the replica", "x", credentials("y"), nil, 403},
		{"of another meeting", "x", credentials("stranger"), nil, 403},
		{"the store is away", "x", credentials("b"), meeting.Errorf(meeting.CodeUnavailable, "starting"), 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.svc.ids["tok-stranger"] = meeting.Identity{Meeting: other, Attendee: &meeting.Attendee{ID: "id-stranger", MeetingID: other.ID}}
				d := w.enter("d", 9)
				c := w.enter(tt.who, 1)
				rosterOf(d)
				w.svc.mu.Lock()
				w.svc.fail = tt.fail
				w.svc.mu.Unlock()
				ack, err := c.Promote(w.ctx(), tt.c)
				if err != nil {
					t.Fatal(err)
				}
				if got := ack.GetError().GetStatus(); got != tt.status || ack.PrimaryMeetingJoinAck == nil {
					t.Errorf("status %d, want %d: %v", got, tt.status, ack)
				}
				wantRoster(t, "d", d)
				if err := c.Ping(w.ctx()); err != nil {
					t.Errorf("the session did not go on: %v", err)
				}
				_ = c.Demote() // means nothing
				wantRoster(t, "d", d)
			})
		})
	}
}

func TestOneAttendeeOfThePrimaryIsOneConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.enter("a", 1), w.enter("b", 2), w.enter("x", 3), w.enter("y", 4)
		share := w.enter("b#content", 5)
		for _, c := range []*signaltest.Client{a, x, y} {
			rosterOf(c)
		}
		w.promote(x, "b") // who is here already
		if got := w.audioStatus(b); got != statusElsewhere {
			t.Errorf("b was told %d", got)
		}
		if got := w.audioStatus(share); got != statusElsewhere {
			t.Errorf("its share was told %d", got)
		}
		if got := strings.Join(rosterOf(a), "; "); got != "323 left; 324=id-b/ext-b, 322 left" {
			t.Errorf("a was told %s", got)
		}
		w.promote(y, "b")
		if !demoted(x) {
			t.Error("x was not told that another is promoted in its place")
		}
		wantRoster(t, "a", a, "325=id-b/ext-b, 324 left")
		_ = x.Message("chat", "as nobody", 0)
		_ = y.Message("chat", "as b", 0)
		if d := cmp.Diff([]string{"id-b/ext-b: as b"}, said(a)); d != "" {
			t.Error(d)
		}
		again := w.enter("b", 6) // the attendee itself
		if !demoted(y) {
			t.Error("y was not told that its attendee has joined")
		}
		wantRoster(t, "a", a, "326=id-b/ext-b, 325 left")
		if err := again.Ping(w.ctx()); err != nil {
			t.Error(err)
		}
		if got := w.events.list(); slices.Contains(got, "Left id-b") {
			t.Errorf("presence: %q", got)
		}
	})
}

func TestDeletionOfAPromotedAttendee(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.enter("x", 2)
		w.promote(x, "b")
		rosterOf(a)
		rosterOf(x)
		w.subscribe(x, &signalpb.SdkSubscribeFrame{
			Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), SdpOffer: proto.String(audioOffer), SendStreams: []*signalpb.SdkStreamDescriptor{{
				MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), MaxBitrateKbps: proto.Uint32(900),
			}},
		})
		w.svc.revoke("tok-b")
		w.srv.AttendeeDeleted(meetingID, "id-b")
		if !demoted(x) {
			t.Error("x was not told")
		}
		wantRoster(t, "a", a, "322 left")
		wantRoster(t, "x", x, "322 left")
		if f := newsOfMeters(x); len(f) != 1 || f[0].GetError().GetStatus() != statusViewOnly {
			t.Errorf("its camera stays on: %v", f)
		}
		if ack, err := x.Promote(w.ctx(), credentials("b")); err != nil || ack.GetError().GetStatus() != 403 {
			t.Errorf("again: %v %v", ack, err)
		}
		// It is of the audience still.
		w.enter("c", 3)
		wantRoster(t, "x", x, "323=id-c/ext-c")
		// The end of its own attendee ends all.
		w.promote(x, "d")
		rosterOf(a)
		w.srv.AttendeeDeleted(replicaID, "id-x")
		if got := w.audioStatus(x); got != statusRemoved {
			t.Errorf("x was told %d", got)
		}
		wantRoster(t, "a", a, "324 left")
		if !w.peer("x").Closed() {
			t.Error("its media is open")
		}
	})
}

// A deletion between the look at the credentials and the promotion is noticed.
func TestPromotionRacesDeletion(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.enter("x", 2)
		rosterOf(a)
		id := w.svc.ids["tok-b"]
		w.srv.cfg.Service = authFunc(func(n int, _ meeting.Secret) (meeting.Identity, error) {
			if n == 0 {
				return id, nil
			}
			return meeting.Identity{}, meeting.Errorf(meeting.CodeForbidden, "gone")
		})
		if ack, err := x.Promote(w.ctx(), credentials("b")); err != nil || ack.GetError().GetStatus() != 403 {
			t.Errorf("%v %v", ack, err)
		}
		wantRoster(t, "a", a, "322=id-b/ext-b", "322 left")
		// New capabilities likewise.
		changed := *id.Attendee
		changed.Capabilities.Audio = meeting.Receive
		w.srv.cfg.Service = authFunc(func(n int, _ meeting.Secret) (meeting.Identity, error) {
			if n == 0 {
				return id, nil
			}
			return meeting.Identity{Meeting: w.meeting, Attendee: &changed}, nil
		})
		w.promote(x, "b")
		wantRoster(t, "a", a, "323=id-b/ext-b", "323 muted=true")
	})
}

func TestCapabilitiesOfTheAudience(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.enter("x", 2)
		w.confs.Last().SetSources(nil, video("a", 9, 3))
		settle(a, x)
		own := *w.svc.ids["tok-x"].Attendee
		own.Capabilities.Video, own.Capabilities.Content = meeting.Send, meeting.Send
		w.srv.CapabilitiesChanged(&own)
		wantIndex(t, "x", x, "1 people, at capacity")
		// Promoted, it has those of the attendee it is.
		w.promote(x, "b")
		wantIndex(t, "x", x, "2 people, id-a")
		rosterOf(a)
		as := *w.svc.ids["tok-b"].Attendee
		as.Capabilities.Audio, as.Capabilities.Video = meeting.Receive, meeting.Receive
		w.srv.CapabilitiesChanged(&as)
		wantRoster(t, "a", a, "322 muted=true")
		wantIndex(t, "x", x, "2 people, at capacity, id-a")
		if f := newsOfMeters(x); len(f) != 1 || f[0].GetError().GetStatus() != statusViewOnly {
			t.Errorf("x was told %v", f)
		}
		newer := own
		newer.Capabilities.Video = meeting.Receive
		w.srv.CapabilitiesChanged(&newer) // of no consequence now
		_ = x.Demote()
		wantIndex(t, "x", x, "1 people, at capacity, id-a")
		want := []string{
			"capabilities {Receive None None}", "become id-b {SendReceive SendReceive SendReceive}",
			"capabilities {Receive Receive SendReceive}", "become id-x {Receive Receive None}",
		}
		if d := cmp.Diff(want, w.peer("x").Calls()); d != "" {
			t.Errorf("media: %s", d)
		}
	})
}

func TestPromotionEndsWithTheSocket(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.enter("x", 2)
		w.promote(x, "b")
		rosterOf(a)
		x.Cut()
		wantRoster(t, "a", a, "322 left dropped")
		x = w.enter("x", 2)
		wantRoster(t, "x", x, "321=id-a/ext-a")
		w.promote(x, "b")
		wantRoster(t, "a", a, "323=id-b/ext-b")
		// Back before the server knew that it was away.
		second := w.enter("x", 2)
		wantRoster(t, "a", a, "323 left")
		if code := w.closeCode(x); code != closeNormal {
			t.Errorf("the first socket was closed with %d", code)
		}
		second.Cut()
		w.peer("x").Flow(false)
		time.Sleep(20 * time.Second)
		want := []string{
			"Authorized id-a", "Joined id-a", "Authorized id-x of the replica", "Joined id-x of the replica",
			"Authorized id-b", "Joined id-b", "Dropped id-b", "Authorized id-x of the replica",
			"Authorized id-b", "Joined id-b", "Left id-b", "Authorized id-x of the replica", "Dropped id-x of the replica",
		}
		if d := cmp.Diff(want, w.events.list()); d != "" {
			t.Errorf("presence: %s", d)
		}
	})
}

func TestShareOfAPromotedAttendee(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x := w.enter("a", 1), w.enter("x", 2)
		early := w.dial("x#content", signaltest.Options{})
		ack, _, err := early.Join(w.ctx(), 3)
		if err == nil || ack.GetError().GetStatus() != 403 {
			t.Fatalf("a share of the audience: %v %v", ack, err)
		}
		early.Close()
		w.promote(x, "b")
		settle(a, x)
		rosterOf(a)
		rosterOf(x)
		share := w.join("x#content", 3)
		w.subscribe(share, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
		media := w.confs.Last().Peers("id-b#content")
		if len(media) != 1 || !media[0].Spec.Capabilities.Content.CanSend() {
			t.Fatalf("media: %v", media)
		}
		media[0].Events.AudioArrived()
		wantRoster(t, "a", a, "323=id-b#content/ext-b")
		// Its own client waits for the id that it opened the share with.
		wantRoster(t, "x", x, "323=id-x#content/ext-b")
		wantRoster(t, "the share", share, "321=id-a/ext-a, 322=id-b/ext-b, 323=id-x#content/ext-b")
		w.confs.Last().SetSources(nil, video("b#content", 9, 3))
		wantIndex(t, "a", a, "2 people, id-b#content")
		wantIndex(t, "x", x, "")
		_ = x.Demote()
		if got := strings.Join(rosterOf(a), "; "); !strings.Contains(got, "322 left") || !strings.Contains(got, "323 left") {
			t.Errorf("a was told %s", got)
		}
		if got := w.audioStatus(share); got != statusRemoved {
			t.Errorf("the share was told %d", got)
		}
		wantIndex(t, "a", a, "1 people")
	})
}

func TestShareWithoutTheRight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.addAttendee("b", meeting.Capabilities{Audio: meeting.SendReceive, Video: meeting.SendReceive, Content: meeting.Receive})
		x := w.enter("x", 2)
		w.promote(x, "b")
		ack, _, err := w.dial("x#content", signaltest.Options{}).Join(w.ctx(), 3)
		if err == nil || ack.GetError().GetStatus() != 403 {
			t.Errorf("%v %v", ack, err)
		}
	})
}

func TestEndOfAReplica(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x, y := w.enter("a", 1), w.enter("x", 2), w.enter("y", 3)
		w.promote(y, "b")
		rosterOf(a)
		w.srv.MeetingEnded(replicaID)
		for name, c := range map[string]*signaltest.Client{"x": x, "y": y} {
			if got := w.audioStatus(c); got != statusEnded {
				t.Errorf("%s was told %d", name, got)
			}
		}
		wantRoster(t, "a", a, "322 left")
		if !w.peer("x").Closed() || !w.peer("y").Closed() || w.peer("a").Closed() {
			t.Error("the wrong media is open")
		}
		if err := a.Ping(w.ctx()); err != nil {
			t.Error(err)
		}
	})
}

func TestEndOfAPrimary(t *testing.T) {
	inWorld(t, func(w *world) {
		a, x, y := w.enter("a", 1), w.enter("x", 2), w.enter("y", 3)
		w.promote(y, "b")
		// As the store tells of it.
		w.srv.MeetingEnded(replicaID)
		w.srv.MeetingEnded(meetingID)
		for name, c := range map[string]*signaltest.Client{"a": a, "x": x, "y": y} {
			if got := w.audioStatus(c); got != statusEnded {
				t.Errorf("%s was told %d", name, got)
			}
		}
		synctest.Wait()
		if !w.confs.Last().Closed() {
			t.Error("the conference is open")
		}
	})
}

// A room that only the audience is in ends with the last of it, and the next one
// is another.
func TestAudienceAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		x := w.enter("x", 1)
		if got := w.confs.Last().Spec; got.MeetingID != meetingID || got.FirstID != 321 {
			t.Errorf("conference %+v", got)
		}
		if err := x.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !w.confs.Last().Closed() {
			t.Error("the conference is open")
		}
		w.enter("y", 2)
		w.enter("a", 3)
		if n := len(w.confs.All()); n != 2 {
			t.Errorf("%d conferences", n)
		}
		w.srv.AttendeeDeleted(replicaID, "id-y")
		synctest.Wait()
		if !w.peer("y").Closed() {
			t.Error("y's media is open")
		}
	})
}
