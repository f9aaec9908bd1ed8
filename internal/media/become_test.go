package media

import (
	"testing"

	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

// One who may only receive and sends all the same is not heard nor seen, and its
// packets are counted; as another attendee, who may, it is both under that name.
func TestBecome(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.join("a"), r.join("b")
	a.talk(30, spoken("a"))
	x := r.join("x", func(s *meeting.PeerSpec) { s.Capabilities = everything.ReceiveOnly() })
	stop := x.talk(20, spoken("x"))
	hears(t, x, "a", true)
	hears(t, b, "a", true) // and x is not in it: what b hears is a's own packets
	x.camera()
	if len(x.answer.Allocations) != 0 || x.answer.sections[1].direction != "inactive" {
		t.Errorf("x gets %v, its camera's section is %s", x.answer.Allocations, x.answer.sections[1].direction)
	}
	before := r.server.Stats()
	eventually(t, "the count of what x sends without asking", func() bool {
		x.film(true)
		s := r.server.Stats()
		return s.Unasked > before.Unasked && s.Audio.Dropped > before.Audio.Dropped
	})
	if r.source("x") != nil || r.talking("x") {
		t.Error("x is seen or heard")
	}

	x.peer.Become("p", everything)
	eventually(t, "p's level", func() bool { return r.talking("p") })
	if r.talking("x") {
		t.Error("x talks under its own name")
	}
	x.camera()
	x.film(true)
	eventually(t, "p's source", func() bool { return r.source("p") != nil })
	if r.source("x") != nil {
		t.Error("x is seen under its own name")
	}
	ssrc, _ := b.track(watches(t, b, x))
	flows(t, x, b, ssrc)
	hears(t, x, "a", true) // not itself
	stop()
	share := r.share("p")
	share.talk(10, spoken("content"))
	eventually(t, "the share's level", func() bool { return r.talking("p" + meeting.ContentSuffix) })
	hears(t, x, "a", true) // nor its share

	x.peer.Become("x", everything.ReceiveOnly())
	if r.source("p") != nil || r.source("x") != nil {
		t.Error("it is still a source")
	}
	unseen(t, x, b, ssrc)
	before = r.server.Stats()
	eventually(t, "the count of what it films", func() bool {
		x.film(false)
		return r.server.Stats().Unasked > before.Unasked
	})
	a.peer.SetMuted(true)
	x.talk(5, spoken("x"))
	hears(t, x, "content", true) // which is not its own any more
	hears(t, b, "content", true)
	if r.talking("x") || r.talking("p") {
		t.Error("it talks")
	}
}

// What it says is heard for transcription as said by who it is at the time.
func TestBecomeForEars(t *testing.T) {
	if !opus.Native().Available() {
		t.Skip("this build has no codec")
	}
	t.Parallel()
	r := newRoom(t, Config{})
	s := newScribe()
	t.Cleanup(r.server.Listen("m", s))
	x := r.join("x", func(s *meeting.PeerSpec) { s.Capabilities = everything.ReceiveOnly() })
	x.talk(20, tone(t, 400))
	x.peer.Become("p", everything)
	eventually(t, "p's speech", func() bool { return s.speaking("p") })
	x.peer.Become("q", everything)
	eventually(t, "q's speech, and the end of p's", func() bool { return s.speaking("q") && !s.speaking("p") })
	said := s.samples("p")
	eventually(t, "more of q", func() bool { return s.samples("q") > meeting.SpeechRate/2 })
	if n := s.samples("p"); n != said {
		t.Errorf("p said %d samples after it was p", n-said)
	}
	x.peer.Become("x", everything.ReceiveOnly())
	eventually(t, "the end of q's", func() bool { return !s.speaking("q") })
	if n := s.samples("x"); n != 0 {
		t.Errorf("x, who may not speak, said %d samples", n)
	}
}
