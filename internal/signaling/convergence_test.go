package signaling

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// rosterView is what a browser client makes of AUDIO_STREAM_ID_INFO: presence
// and mute by attendee. It lives on over reconnects, as the client's does.
type rosterView struct {
	attendeeOf  map[uint32]string // by stream id
	streamOf    map[string]uint32
	present     map[string]bool
	muted       map[string]bool
	leaves      []string
	reconnected bool
}

func newRosterView() *rosterView {
	return &rosterView{attendeeOf: map[uint32]string{}, streamOf: map[string]uint32{}, present: map[string]bool{}, muted: map[string]bool{}}
}

func (v *rosterView) apply(f *signalpb.SdkAudioStreamIdInfoFrame) {
	listed := map[string]bool{}
	for _, e := range f.GetStreams() {
		id := e.GetAudioStreamId()
		if e.GetAttendeeId() != "" {
			listed[e.GetAttendeeId()] = true
			v.attendeeOf[id], v.streamOf[e.GetAttendeeId()] = e.GetAttendeeId(), id
			v.present[e.GetAttendeeId()] = true
		}
		if e.Muted != nil {
			if who := v.attendeeOf[id]; who != "" {
				v.muted[who] = e.GetMuted()
			}
		}
		if e.GetAttendeeId() == "" && e.Muted == nil {
			who := v.attendeeOf[id]
			if who == "" {
				continue
			}
			delete(v.attendeeOf, id)
			newer := false
			for other, name := range v.attendeeOf {
				newer = newer || name == who && other > id
			}
			if !newer {
				v.leave(who)
			}
		}
	}
	if v.reconnected {
		v.reconnected = false
		for id, who := range v.attendeeOf {
			if !listed[who] {
				delete(v.attendeeOf, id)
				v.leave(who)
			}
		}
	}
}

func (v *rosterView) leave(who string) {
	if v.present[who] {
		v.leaves = append(v.leaves, who)
	}
	delete(v.present, who)
	delete(v.streamOf, who)
	delete(v.muted, who)
}

func (v *rosterView) list() []string {
	var out []string
	for who := range v.present {
		out = append(out, who+mark(v.muted[who], " muted"))
	}
	slices.Sort(out)
	return out
}

// actor is one person, or a content share, in the convergence test.
type actor struct {
	name    string
	client  *signaltest.Client // nil when away
	session uint64
	muted   bool
	view    *rosterView
	guest   bool   // of the replica
	as      string // who a guest is promoted to
}

// shown is who others see of an actor, "" for nobody.
func (a *actor) shown() string {
	switch {
	case a.client == nil, a.guest && a.as == "":
		return ""
	case a.guest:
		return "id-" + a.as
	}
	return "id-" + a.name
}

type stage struct {
	w      *world
	actors map[string]*actor
	next   uint64
}

func (s *stage) enter(name string, again bool) {
	a := s.actors[name]
	if again && a.view != nil {
		a.view.reconnected = true
	} else {
		s.next++
		a.session, a.view = s.next, newRosterView()
	}
	s.collect()
	if a.client != nil && again {
		a.client.Cut()
	}
	a.client, a.as = s.w.dial(name, signaltest.Options{}), ""
	if _, _, err := a.client.Join(s.w.ctx(), a.session); err != nil {
		s.w.t.Fatalf("%s: %v", name, err)
	}
	s.w.subscribe(a.client, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), AudioMuted: proto.Bool(a.muted)})
	p := s.w.peer(name)
	p.Flow(true)
	p.Events.MediaConnected()
	p.Events.AudioArrived()
	s.collect()
}

// away ends an actor's connection, with or without LEAVE.
func (s *stage) away(name string, leave bool) {
	a := s.actors[name]
	if a.client == nil {
		return
	}
	if leave {
		_ = a.client.Leave(s.w.ctx())
	}
	a.client.Cut()
	s.w.peer(name).Flow(false)
	a.client, a.as = nil, ""
}

// collect lets every client read what has come, and takes away those that the
// server has sent away.
func (s *stage) collect() {
	synctest.Wait()
	for _, a := range s.actors {
		if a.client == nil {
			continue
		}
		for _, f := range a.client.Take(signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO) {
			a.view.apply(f.GetAudioStreamIdInfo())
		}
		if len(a.client.Take(signalpb.SdkSignalFrame_AUDIO_STATUS)) > 0 {
			s.away(a.name, true)
			continue
		}
		if len(a.client.Take(signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE)) > 0 {
			a.as = ""
		}
	}
}

// promote makes a guest, who enters first if it is away, an attendee of the primary.
func (s *stage) promote(name, as string) {
	s.collect()
	a := s.actors[name]
	if a.client == nil {
		s.enter(name, false)
	}
	s.w.promote(a.client, as)
	s.collect()
	a.as = as
}

func (s *stage) wait(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(5*time.Second, time.Until(end)))
		s.collect()
		for _, a := range s.actors {
			if a.client != nil {
				_ = a.client.Ping(s.w.ctx())
			}
		}
	}
	s.collect()
}

// Whatever people do, in the end everybody who is there sees exactly those who
// are, muted as they are; and one whose socket was reset and who is back in time
// was never seen leaving.
func TestRosterConverges(t *testing.T) {
	names := []string{"a", "b", "c", "d", "a#content", "b#content", "x", "y"}
	rapid.Check(t, func(rt *rapid.T) {
		type step struct{ What, Who string }
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				rapid.SampledFrom([]string{"enter", "enter", "elsewhere", "leave", "cut", "bounce", "replace", "mute", "mute", "wait 1", "wait 14",
					"x as a", "x as c", "y as c", "demote x"}).Draw(rt, "what"),
				rapid.SampledFrom(names).Draw(rt, "who"),
			}
		}), 5, 25).Draw(rt, "steps")
		problem := ""
		inWorld(t, func(w *world) {
			s := &stage{w: w, actors: map[string]*actor{}}
			for _, n := range names {
				s.actors[n] = &actor{name: n, guest: n == "x" || n == "y"}
			}
			for _, st := range steps {
				a := s.actors[st.Who]
				base, isContent := strings.CutSuffix(st.Who, "#content")
				if isContent && s.actors[base].client == nil {
					continue
				}
				switch st.What {
				case "enter":
					if a.client == nil {
						s.enter(st.Who, false)
					}
				case "elsewhere":
					s.enter(st.Who, false)
				case "leave", "cut":
					s.away(st.Who, st.What == "leave")
				case "bounce", "replace":
					if a.client == nil {
						break
					}
					s.collect()
					if a.client == nil {
						break
					}
					before := map[string]int{}
					for n, other := range s.actors {
						if other.view != nil {
							before[n] = len(other.view.leaves)
						}
					}
					if st.What == "bounce" {
						s.away(st.Who, false)
						s.wait(5 * time.Second)
					}
					s.enter(st.Who, true)
					s.wait(time.Second)
					for n, other := range s.actors {
						if other.view != nil && other.client != nil && slices.Contains(other.view.leaves[before[n]:], "id-"+st.Who) {
							problem = fmt.Sprintf("%s saw %s leave though it reconnected", n, st.Who)
							return
						}
					}
				case "mute":
					if a.muted = !a.muted; a.client != nil {
						_ = a.client.Mute(a.muted)
					}
				case "x as a", "x as c", "y as c":
					who, as, _ := strings.Cut(st.What, " as ")
					s.promote(who, as)
				case "demote x":
					if x := s.actors["x"]; x.client != nil {
						_ = x.client.Demote()
						x.as = ""
					}
				case "wait 1":
					s.wait(time.Second)
				case "wait 14":
					s.wait(14 * time.Second)
				}
			}
			s.wait(20 * time.Second)
			var want []string
			for n, a := range s.actors {
				who := a.shown()
				if who == "" {
					continue
				}
				want = append(want, who+mark(a.muted, " muted"))
				if base, isContent := strings.CutSuffix(n, "#content"); isContent && s.actors[base].client == nil {
					problem = n + " is there without its base"
				}
			}
			slices.Sort(want)
			for _, n := range slices.Sorted(maps.Keys(s.actors)) {
				a := s.actors[n]
				if a.client == nil {
					continue
				}
				if d := cmp.Diff(want, a.view.list()); d != "" {
					problem = fmt.Sprintf("%s sees (-want +got): %s", n, d)
				}
			}
		})
		if problem != "" {
			rt.Fatalf("%v: %s", steps, problem)
		}
	})
}
