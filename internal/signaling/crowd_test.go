package signaling

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// crowdView is all that a browser client makes of AUDIO_STREAM_ID_INFO and
// AUDIO_METADATA: its DefaultVolumeIndicatorAdapter and DefaultRealtimeController.
// What it knows of an attendee's meters stays while the attendee is away.
type crowdView struct {
	*rosterView
	volume   map[string]uint32 // 0: silent
	strength map[string]uint32
}

func newCrowdView() *crowdView {
	return &crowdView{newRosterView(), map[string]uint32{}, map[string]uint32{}}
}

func (v *crowdView) apply(f *signaltest.Frame) {
	switch f.GetType() {
	case signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO:
		v.rosterView.apply(f.GetAudioStreamIdInfo())
		for who, muted := range v.muted {
			if muted {
				v.volume[who] = 0
			}
		}
	case signalpb.SdkSignalFrame_AUDIO_METADATA:
		var volumes, strengths map[string]uint32
		for _, s := range f.GetAudioMetadata().GetAttendeeStates() {
			who := v.attendeeOf[s.GetAudioStreamId()]
			if s.Volume != nil {
				if volumes == nil {
					volumes = map[string]uint32{}
				}
				volumes[who] = s.GetVolume()
			}
			if s.SignalStrength != nil {
				if strengths == nil {
					strengths = map[string]uint32{}
				}
				strengths[who] = s.GetSignalStrength()
			}
		}
		for _, who := range v.attendeeOf {
			if volumes != nil && !v.muted[who] {
				v.volume[who] = volumes[who]
			}
			if strengths == nil {
				continue
			}
			if strength, listed := strengths[who]; listed {
				v.strength[who] = strength
			} else {
				delete(v.strength, who) // good
			}
		}
	}
}

func (v *crowdView) list() []string {
	var out []string
	for who := range v.present {
		strength, listed := v.strength[who]
		if !listed {
			strength = strengthGood
		}
		out = append(out, person(who, v.muted[who], v.volume[who], strength))
	}
	slices.Sort(out)
	return out
}

func person(who string, muted bool, volume, strength uint32) string {
	return fmt.Sprintf("%s%s, volume %d, strength %d", who, mark(muted, " muted"), volume, strength)
}

// member is one person of a crowd.
type member struct {
	name    string
	client  *signaltest.Client // nil when away
	session uint64
	muted   bool
	view    *crowdView
	frames  map[signaltest.Type]int // of this connection
	entries int                     // of AUDIO_STREAM_ID_INFO
}

// throng is a meeting of many people, and what media tells of them.
type throng struct {
	w       *world
	members []*member
	next    uint64
	loud    map[string]uint8
	weak    map[string]uint8
}

func newThrong(w *world, n int) *throng {
	c := &throng{w: w, loud: map[string]uint8{}, weak: map[string]uint8{}}
	for i := range n {
		m := &member{name: fmt.Sprintf("p%03d", i)}
		w.addAttendee(m.name, meeting.DefaultCapabilities)
		c.members = append(c.members, m)
	}
	return c
}

// enter brings somebody in; again is the same client, whose connection was lost.
func (c *throng) enter(m *member, again bool) {
	if again {
		c.read(m)
		m.view.reconnected = true
		m.client.Cut()
	} else {
		c.next++
		m.session, m.view = c.next, newCrowdView()
	}
	m.frames, m.entries = map[signaltest.Type]int{}, 0
	m.client = c.w.dial(m.name, signaltest.Options{})
	if _, _, err := m.client.Join(c.w.ctx(), m.session); err != nil {
		c.w.t.Fatalf("%s: %v", m.name, err)
	}
	c.w.subscribe(m.client, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), AudioMuted: proto.Bool(m.muted)})
	p := c.w.peer(m.name)
	p.Flow(true)
	p.Events.MediaConnected()
	p.Events.AudioArrived()
}

// away takes somebody out, with a word or without.
func (c *throng) away(m *member, leave bool) {
	if leave {
		_ = m.client.Leave(c.w.ctx())
	}
	m.client.Cut()
	c.w.peer(m.name).Flow(false)
	m.client = nil
	delete(c.loud, "id-"+m.name)
	delete(c.weak, "id-"+m.name)
}

// read has a client take what has come.
func (c *throng) read(m *member) {
	for _, f := range m.client.TakeAll() {
		m.frames[f.GetType()]++
		m.entries += len(f.GetAudioStreamIdInfo().GetStreams())
		m.view.apply(f)
	}
}

// pass lets time pass, in which everybody pings, reads, and media goes on
// measuring who talks.
func (c *throng) pass(d time.Duration) {
	for end := time.Now().Add(d); ; {
		step := min(2*time.Second, time.Until(end))
		time.Sleep(step)
		for _, m := range c.members {
			if m.client != nil {
				_ = m.client.Ping(c.w.ctx())
				c.read(m)
			}
		}
		c.levels()
		if !time.Now().Before(end) {
			break
		}
	}
	synctest.Wait()
	for _, m := range c.members {
		if m.client != nil {
			c.read(m)
		}
	}
}

func (c *throng) levels() {
	var talking []meeting.AudioLevel
	for _, id := range slices.Sorted(maps.Keys(c.loud)) {
		talking = append(talking, meeting.AudioLevel{AttendeeID: id, Volume: c.loud[id]})
	}
	c.w.confs.Last().Events.Levels(talking)
}

func (c *throng) strengths() {
	var weak []meeting.SignalStrength
	for _, id := range slices.Sorted(maps.Keys(c.weak)) {
		weak = append(weak, meeting.SignalStrength{AttendeeID: id, Strength: c.weak[id]})
	}
	c.w.confs.Last().Events.SignalStrength(weak)
}

// truth is what everybody should see.
func (c *throng) truth() []string {
	var out []string
	for _, m := range c.members {
		if m.client == nil {
			continue
		}
		id, strength := "id-"+m.name, uint32(strengthGood)
		if s, weak := c.weak[id]; weak {
			strength = uint32(s)
		}
		volume := uint32(c.loud[id])
		if m.muted {
			volume = 0
		}
		out = append(out, person(id, m.muted, volume, strength))
	}
	slices.Sort(out)
	return out
}

func (c *throng) agree(when string) {
	c.w.t.Helper()
	want := c.truth()
	for _, m := range c.members {
		if m.client == nil {
			continue
		}
		if d := cmp.Diff(want, m.view.list()); d != "" {
			c.w.t.Fatalf("%s, %s sees (-want +got): %s", when, m.name, d)
		}
	}
}

// told is how many frames of the roster may come to one connection in a time.
func told(d time.Duration) int {
	return 1 + rosterBurst + int(d/(150*time.Millisecond)) + 1
}

// In a meeting of 250 with people coming and going, muting, talking, and losing
// their network, everybody who is there sees the same in the end, and it is true;
// and nobody is told more often than the pace of the roster allows.
func TestCrowdAgrees(t *testing.T) {
	for _, size := range []struct {
		people, steps int
		seed          uint64
	}{{250, 200, 1}, {40, 800, 2}, {40, 800, 3}} {
		people := size.people
		t.Run(fmt.Sprintf("%d people, seed %d", people, size.seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				random := rand.New(rand.NewPCG(size.seed, 250))
				c := newThrong(w, people)
				for _, m := range c.members { // all at once
					c.enter(m, false)
				}
				c.pass(time.Second)
				c.agree("after everybody came")
				c.wantNews(people)
				for range size.steps {
					m := c.members[random.IntN(people)]
					id := "id-" + m.name
					switch what := random.IntN(100); {
					case m.client == nil:
						c.enter(m, false)
					case what < 15:
						c.away(m, true)
					case what < 22:
						c.away(m, false)
					case what < 30:
						c.enter(m, true)
					case what < 60:
						m.muted = !m.muted
						_ = m.client.Mute(m.muted)
					case what < 75:
						if c.loud[id] != 0 || len(c.loud) > 8 {
							delete(c.loud, id)
						} else {
							c.loud[id] = uint8(14 + random.IntN(28))
						}
						c.levels()
					case what < 90:
						if _, weak := c.weak[id]; weak {
							delete(c.weak, id)
						} else {
							c.weak[id] = uint8(random.IntN(strengthGood))
						}
						c.strengths()
					case what < 97:
						time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
					default:
						c.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
					}
				}
				c.strengths()
				c.pass(25 * time.Second) // who was cut has been dropped by now
				c.agree("at rest")

				// The same people once more: those away come back to clients that knew them.
				for _, m := range c.members {
					if m.client == nil {
						c.enter(m, false)
					}
				}
				c.pass(time.Second)
				c.agree("after everybody came back")
			})
		})
	}
}

// wantNews looks at what the coming of n people at once has cost: everybody was
// told of each of them once, in few frames.
func (c *throng) wantNews(n int) {
	c.w.t.Helper()
	size, known := 0, 0
	for _, m := range c.members {
		if got := m.frames[signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO]; got > told(time.Second) {
			c.w.t.Errorf("%s was sent %d frames of the roster", m.name, got)
		}
		if got := m.frames[signalpb.SdkSignalFrame_INDEX]; got > 12 {
			c.w.t.Errorf("%s was sent %d INDEX", m.name, got)
		}
		if m.entries != n {
			c.w.t.Errorf("%s was told of %d attendees, %d are here", m.name, m.entries, n)
		}
		for _, raw := range m.client.Raw() {
			size += len(raw)
		}
		known += n
	}
	// An entry is 26 bytes here.
	if most := known*40 + n*4096; size > most {
		c.w.t.Errorf("%d bytes were sent, more than %d", size, most)
	}
}

// Many who mute at once are told in one frame, and it is the same bytes for all.
func TestChangesAreEncodedOnce(t *testing.T) {
	r := crowd(t, 250, 0, 20)
	r.rosterPace.AllowN(r.srv.now(), rosterBurst) // much was told a moment ago
	var leaver *participant
	for _, p := range r.members {
		if leaver == nil {
			leaver = p
			continue
		}
		r.setMuted(p, true, false)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(leaver, false)
	for p := range r.everybody() {
		if n := len(p.sess.out.items); n != 0 {
			t.Fatalf("%s was sent %d frames though much was told just before", p.id, n)
		}
	}
	if in, waiting := r.rosterWaits(); !waiting || in <= 0 || in > r.srv.cfg.Timings.RosterDelay {
		t.Errorf("what waits is due in %v, %t", in, waiting)
	}
	r.flushRoster()
	var first []byte
	for p := range r.everybody() {
		items := p.sess.out.items
		if len(items) != 1 {
			t.Fatalf("%s was sent %d frames", p.id, len(items))
		}
		if first == nil {
			first = items[0].data
		}
		if &items[0].data[0] != &first[0] {
			t.Fatal("a frame was encoded twice")
		}
	}
	f, err := decode(first)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(f.GetAudioStreamIdInfo().GetStreams()); got != 250 {
		t.Errorf("%d entries", got)
	}
	// Who comes meanwhile gets what is left to tell, and nothing twice.
	r.flushRoster()
	for p := range r.everybody() {
		if len(p.sess.out.items) != 1 {
			t.Fatal("the same was told twice")
		}
	}
	if bytes.Contains(first, []byte("user-")) {
		t.Error("a mute names the attendee")
	}
}

// What is told of a talker whom nobody has been told of yet waits with it, and so
// does the silence after it.
func TestMetersWaitForTheRoster(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		view := newCrowdView()
		take := func() (frames int) {
			synctest.Wait()
			for _, f := range a.TakeAll() {
				if f.GetType() == signalpb.SdkSignalFrame_AUDIO_METADATA {
					frames++
				}
				view.apply(f)
			}
			return frames
		}
		take()
		for w.srv.roomOf(meetingID).spend() {
		}
		w.enter("b", 2)
		events := w.confs.Last().Events
		events.Levels([]meeting.AudioLevel{{AttendeeID: "id-b", Volume: 20}})
		events.SignalStrength([]meeting.SignalStrength{{AttendeeID: "id-b", Strength: 1}})
		synctest.Wait()
		for _, f := range a.TakeAll() {
			for _, s := range f.GetAudioMetadata().GetAttendeeStates() {
				if s.GetAudioStreamId() == 322 {
					t.Error("told of an id before its roster entry")
				}
			}
			view.apply(f)
		}
		time.Sleep(time.Second)
		take()
		want := []string{person("id-a", false, 0, 2), person("id-b", false, 20, 1)}
		if d := cmp.Diff(want, view.list()); d != "" {
			t.Error(d)
		}
		events.Levels(nil)
		if n := take(); n != 1 {
			t.Errorf("%d frames told of silence", n)
		}
		events.Levels(nil)
		if n := take(); n != 0 {
			t.Errorf("%d frames told of more silence", n)
		}
		if got := view.volume["id-b"]; got != 0 {
			t.Errorf("b still talks: %d", got)
		}
	})
}

// A client that comes back knows meters of before; nothing of it may stay.
func TestMetersAfterAReconnect(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.enter("a", 1)
		w.enter("b", 2)
		events := w.confs.Last().Events
		events.Levels([]meeting.AudioLevel{{AttendeeID: "id-b", Volume: 20}})
		events.SignalStrength([]meeting.SignalStrength{{AttendeeID: "id-b", Strength: 0}})
		synctest.Wait()
		view := newCrowdView()
		for _, f := range a.TakeAll() {
			view.apply(f)
		}
		if view.volume["id-b"] != 20 || view.strength["id-b"] != 0 {
			t.Fatalf("a sees %v", view.list())
		}
		a.Cut()
		synctest.Wait()
		events.Levels(nil)
		events.SignalStrength(nil)
		a, view.reconnected = w.enter("a", 1), true
		synctest.Wait()
		for _, f := range a.TakeAll() {
			view.apply(f)
		}
		want := []string{person("id-a", false, 0, 2), person("id-b", false, 0, 2)}
		if d := cmp.Diff(want, view.list()); d != "" {
			t.Error(d)
		}
	})
}

// roomOf is the live room of a meeting.
func (s *Server) roomOf(id string) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[id]
}

// spend takes one of the frames that may be sent at once.
func (r *room) spend() bool { return r.rosterPace.AllowN(r.srv.now(), 1) }
