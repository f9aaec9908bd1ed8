package media

import (
	"testing"

	"belfry/internal/meeting"
)

var everyCapability = []meeting.Capability{meeting.NoMedia, meeting.Send, meeting.SendReceive, meeting.Receive, meeting.SendReceive}

// A viewer that goes on asking for what it may not have gets none of it, and all
// of it again when it may, without a word of its own.
func TestAViewerThatGoesOnAsking(t *testing.T) {
	t.Parallel()
	for _, medium := range []string{"video", "content"} {
		t.Run(medium, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Config{})
			sender, b := r.enter("a"), r.join("b")
			if medium == "content" {
				sender = r.enter("a" + meeting.ContentSuffix)
			}
			sender.negotiate()
			sender.connect()
			sender.camera()
			sender.film(true)
			eventually(t, "the source", func() bool { return r.source(sender.id) != nil })
			s := watches(t, b, sender)
			ssrc, _ := b.track(s)
			for _, may := range everyCapability {
				caps := everything
				if medium == "video" {
					caps.Video = may
				} else {
					caps.Content = may
				}
				b.peer.SetCapabilities(caps)
				if may.CanReceive() {
					flows(t, sender, b, ssrc)
					continue
				}
				unseen(t, sender, b, ssrc)
				id := sender.answer.Allocations[0].StreamID
				b.peer.Resume([]uint32{id})
				b.peer.Switch(s.mid, id)
				unseen(t, sender, b, ssrc)
				b.negotiate() // wants it still
				if got := b.answer.sections[2]; got.direction != "inactive" || len(b.answer.Tracks) != 0 {
					t.Errorf("%s: answered %s with %v", may, got.direction, b.answer.Tracks)
				}
				unseen(t, sender, b, ssrc)
				b.peer.SetCapabilities(everything)
				b.negotiate()
				ssrc, _ = b.track(s)
				flows(t, sender, b, ssrc)
			}
		})
	}
}

// A sender that goes on sending what it may not send is not seen: not while it
// may not, nor when it may again before it has negotiated.
func TestASenderThatGoesOnSending(t *testing.T) {
	t.Parallel()
	for _, medium := range []string{"video", "content"} {
		t.Run(medium, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Config{})
			a, b := r.enter("a"), r.join("b")
			if medium == "content" {
				a = r.enter("a" + meeting.ContentSuffix)
			}
			a.negotiate()
			a.connect()
			for _, may := range everyCapability {
				t.Logf("%s may %s", a.id, may)
				a.camera()
				a.film(true)
				eventually(t, "the source", func() bool { return r.source(a.id) != nil })
				s := b.receive(a.answer.Allocations[0].StreamID)
				ssrc, _ := b.track(s)
				flows(t, a, b, ssrc)
				caps := everything
				if medium == "video" {
					caps.Video = may
				} else {
					caps.Content = may
				}
				a.peer.SetCapabilities(caps)
				if may.CanSend() {
					flows(t, a, b, ssrc)
				} else {
					unseen(t, a, b, ssrc)
					a.camera()
					if len(a.answer.Allocations) != 0 || a.answer.sections[1].direction != "inactive" {
						t.Errorf("%s: answered %s with %v", may, a.answer.sections[1].direction, a.answer.Allocations)
					}
					unseen(t, a, b, ssrc)
					a.peer.SetCapabilities(everything)
					unseen(t, a, b, ssrc)
					if r.source(a.id) != nil {
						t.Errorf("%s: a source without having negotiated", may)
					}
				}
				s.want = 0
				b.negotiate()
				b.sections = b.sections[:2]
			}
		})
	}
}

// What changes before the connection is up holds from its first packet on.
func TestCapabilitiesChangeBeforeTheConnection(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a := r.join("a")
	a.talk(20, spoken("a"))
	for _, tt := range []struct{ from, to meeting.Capability }{
		{meeting.SendReceive, meeting.Send},
		{meeting.Send, meeting.Receive},
	} {
		caps := everything
		caps.Audio = tt.to
		b := r.enter("b", func(s *meeting.PeerSpec) { s.Capabilities.Audio = tt.from })
		b.negotiate()
		b.peer.SetCapabilities(caps)
		b.connect()
		hears(t, b, "a", tt.to.CanReceive())
		for _, p := range speech(b.got(b.audio())) {
			if !tt.to.CanReceive() {
				t.Fatalf("from %s to %s: b heard %q", tt.from, tt.to, p)
			}
		}
		b.peer.Close()
	}
}

// The sound of a content share is content.
func TestTheSoundOfContentIsContent(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b, share := r.join("a"), r.join("b"), r.share("a")
	caps := everything
	caps.Content = meeting.Send
	c := r.join("c", func(s *meeting.PeerSpec) { s.Capabilities = caps })
	share.talk(20, spoken("content"))
	for _, may := range everyCapability {
		caps.Content = may
		b.peer.SetCapabilities(caps)
		hears(t, b, "content", may.CanReceive())
	}
	for _, p := range speech(c.got(c.audio())) {
		t.Fatalf("c, who may not receive content, heard %q", p)
	}
	caps.Content = meeting.NoMedia
	b.peer.SetCapabilities(caps)
	hears(t, b, "content", false)
	a.talk(20, spoken("a"))
	hears(t, b, "a", true) // a's own packets: there is no mix with the share in it
}

// inFeatures makes the room's meeting one with these features.
func (r *room) inFeatures(f *meeting.Features) *room {
	r.t.Helper()
	r.open(meeting.ConferenceSpec{MeetingID: "features", FirstID: firstID, Features: f}, r)
	return r
}

func TestMaxResolution(t *testing.T) {
	t.Parallel()
	type size = [2]uint16
	for name, tt := range map[string]struct {
		features *meeting.Features
		content  bool
		fits     []size
		large    []size
	}{
		"video by default":   {nil, false, []size{{1280, 720}, {720, 1280}}, []size{{1920, 1080}}},
		"video HD":           {&meeting.Features{VideoMaxResolution: "HD"}, false, []size{{1280, 720}}, []size{{1296, 720}}},
		"video FHD":          {&meeting.Features{VideoMaxResolution: "FHD"}, false, []size{{1920, 1080}, {1088, 1920}}, []size{{2560, 1440}}},
		"content by default": {nil, true, []size{{1920, 1080}}, []size{{3840, 2160}}},
		"content UHD":        {&meeting.Features{ContentMaxResolution: "UHD"}, true, []size{{3840, 2160}}, []size{{4096, 2160}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Config{}).inFeatures(tt.features)
			id := "a"
			if tt.content {
				id += meeting.ContentSuffix
			}
			a, b := r.join(id), r.join("b")
			a.camera()
			var ssrc uint32
			for i, fits := range tt.fits {
				a.size = fits
				a.film(true)
				eventually(t, "the source", func() bool { return r.source(id) != nil })
				if i == 0 {
					ssrc, _ = b.track(watches(t, b, a))
				}
				flows(t, a, b, ssrc)
				for _, a.size = range tt.large {
					unseen(t, a, b, ssrc)
					if s := r.source(id); s != nil {
						t.Errorf("%v is a source", s)
					}
				}
			}
			a.size = tt.fits[0]
			flows(t, a, b, ssrc)
			eventually(t, "word to the sender", func() bool { return a.events.tooLarge.Load() > 0 })
			if n := a.events.tooLarge.Load(); n != 1 {
				t.Errorf("the sender was told %d times", n)
			}
			if r.server.Stats().Video.TooLarge == 0 {
				t.Error("nothing was counted")
			}
		})
	}
}

// A meeting without video takes no camera, nor one without content a share,
// whatever the attendee's capabilities say.
func TestMaxResolutionNone(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{}).inFeatures(&meeting.Features{VideoMaxResolution: "None", ContentMaxResolution: "None"})
	for _, id := range []string{"a", "a" + meeting.ContentSuffix} {
		a := r.join(id)
		a.camera()
		if len(a.answer.Allocations) != 0 || a.answer.sections[1].direction != "inactive" {
			t.Errorf("%s is answered %s with %v", id, a.answer.sections[1].direction, a.answer.Allocations)
		}
		for range 10 {
			a.film(true)
		}
		a.talk(20, spoken("a")) // comes after what was filmed
		eventually(t, "audio", func() bool { return a.events.audio.Load() > 0 })
		if got := r.conf.Sources(); len(got) != 0 {
			t.Errorf("%s: sources %v", id, got)
		}
	}
}
