package media

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

// scribe is a meeting.Listener that keeps what it hears.
type scribe struct {
	mu     sync.Mutex
	speech map[string][]meeting.Speech
	speaks map[string]bool
}

func newScribe() *scribe {
	return &scribe{speech: map[string][]meeting.Speech{}, speaks: map[string]bool{}}
}

func (s *scribe) Speech(p meeting.Speech) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Samples = slices.Clone(p.Samples)
	s.speaks[p.AttendeeID] = true
	s.speech[p.AttendeeID] = append(s.speech[p.AttendeeID], p)
}

func (s *scribe) Quiet(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speaks[id] = false
}

func (s *scribe) samples(id string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.speech[id] {
		n += len(p.Samples)
	}
	return n
}

func (s *scribe) speaking(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.speaks[id]
}

// pitch is the frequency of a sine, by its zero crossings.
func pitch(pcm []int16) float64 {
	crossings := 0
	for i := 1; i < len(pcm); i++ {
		if pcm[i-1] < 0 && pcm[i] >= 0 {
			crossings++
		}
	}
	return float64(crossings) * meeting.SpeechRate / float64(len(pcm))
}

func TestEars(t *testing.T) {
	if !opus.Native().Available() {
		t.Skip("this build has no codec")
	}
	t.Parallel()
	r := newRoom(t, Config{})
	s := newScribe()
	begun := time.Now()
	stop := r.server.Listen("m", s)
	t.Cleanup(stop)
	a, b := r.join("a"), r.join("b")
	share := r.share("b")
	quietA := a.talk(20, tone(t, 400))
	quietShare := share.talk(20, tone(t, 1000))
	b.talk(90, tone(t, 2000)) // a murmur that is no speech
	eventually(t, "a second of both", func() bool {
		return s.samples("a") > meeting.SpeechRate && s.samples("b"+meeting.ContentSuffix) > meeting.SpeechRate
	})
	quietA()
	quietShare()
	eventually(t, "quiet", func() bool { return !s.speaking("a") && !s.speaking("b"+meeting.ContentSuffix) })
	s.mu.Lock()
	for id, want := range map[string]float64{"a": 400, "b" + meeting.ContentSuffix: 1000} {
		var pcm []int16
		var last time.Time
		for _, p := range s.speech[id] {
			pcm = append(pcm, p.Samples...)
			if p.At.Before(begun.Add(-time.Second)) || p.At.After(time.Now().Add(patience)) || p.At.Before(last.Add(-time.Millisecond)) {
				t.Errorf("%s: speech at %v after %v", id, p.At, last)
			}
			last = p.At.Add(time.Duration(len(p.Samples)) * time.Second / meeting.SpeechRate)
		}
		if got := pitch(pcm[2000:]); math.Abs(got-want) > want/10 {
			t.Errorf("%s says %.0f Hz, want %.0f", id, got, want)
		}
	}
	if len(s.speech) != 2 {
		t.Errorf("%d were heard, want 2", len(s.speech))
	}
	s.mu.Unlock()

	// Mute and leaving end speech at once, and so does the right to speak.
	for _, end := range []func(*client){
		func(c *client) { c.peer.SetMuted(true) },
		func(c *client) {
			caps := everything
			caps.Audio = meeting.Receive
			c.peer.SetCapabilities(caps)
		},
		func(c *client) { c.peer.Close() },
	} {
		c := r.join("c")
		c.talk(20, tone(t, 400))
		eventually(t, "c's speech", func() bool { return s.speaking("c") })
		end(c)
		eventually(t, "quiet of c", func() bool { return !s.speaking("c") })
		c.peer.Close()
	}

	r.server.mu.Lock()
	e := r.server.ears["m"][0]
	r.server.mu.Unlock()
	stop()
	a.talk(20, tone(t, 400))
	n := s.samples("a")
	hears(t, b, "nobody by that name", false) // a quarter of a second
	e.mu.Lock()
	defer e.mu.Unlock()
	if more := s.samples("a") - n; more > 0 || len(e.queue) > 0 || len(r.server.ears) > 0 {
		t.Errorf("%d samples after the end, %d packets wait", more, len(e.queue))
	}
}

// Whoever listens is no part of the meeting's media: what it does not take is
// dropped, and the others hear each other.
func TestEarsThatAreHeldUp(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	held := make(chan struct{})
	stop := r.server.Listen("m", deafened{held})
	a, b := r.join("a"), r.join("b")
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	hears(t, b, "a", true)
	close(held)
	stop()
	stop()
}

type deafened struct{ held chan struct{} }

func (d deafened) Speech(meeting.Speech) { <-d.held }
func (d deafened) Quiet(string)          { <-d.held }

func TestAnEarsQueueIsBounded(t *testing.T) {
	s := &Server{}
	e := &ear{server: s, wake: make(chan struct{}, 1)}
	for range earQueue + 10 {
		e.put(heard{})
	}
	e.put(heard{kind: heardQuiet})
	if len(e.queue) != earQueue+1 || s.unheard.Load() != 10 {
		t.Errorf("%d wait, %d were dropped", len(e.queue), s.unheard.Load())
	}
}
