package mixer

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// notes is a Tap that writes down what it is told; packets that follow one
// another are one note.
type notes struct {
	t       *testing.T
	list    []string
	packets map[*Source]int
	next    map[*Source]uint32
}

func (n *notes) Packet(s *Source, p TapPacket) {
	note := s.ID() + " talks"
	goesOn := len(n.list) > 0 && n.list[len(n.list)-1] == note
	if goesOn && p.Timestamp != n.next[s] {
		n.t.Errorf("%s: timestamp %d, want %d", s.ID(), p.Timestamp, n.next[s])
	}
	n.next[s] = p.Timestamp + uint32(p.Samples)
	n.packets[s]++
	if !goesOn {
		n.list = append(n.list, note)
	}
}

func (n *notes) Quiet(s *Source) { n.list = append(n.list, s.ID()+" is quiet") }

func (n *notes) Closed(s *Source) { n.list = append(n.list, s.ID()+" is closed") }

func (n *notes) want(list ...string) {
	n.t.Helper()
	if !slices.Equal(n.list, list) {
		n.t.Fatalf("told %q, want %q", n.list, list)
	}
	n.list = nil
}

func TestTap(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	n := &notes{t: t, packets: map[*Source]int{}, next: map[*Source]uint32{}}
	other := &notes{t: t, packets: map[*Source]int{}, next: map[*Source]uint32{}}
	a, _ := r.join("a", 400)
	b, _ := r.join("b", 1000)
	a.talking = true
	r.run(100 * time.Millisecond)
	r.m.AddTap(n) // in the middle of what a says
	r.m.AddTap(other)
	r.run(time.Second)
	n.want("a talks")
	if got := n.packets[a.src]; got != 50 {
		t.Errorf("%d packets in a second, want 50", got)
	}
	a.talking = false
	r.run(300 * time.Millisecond)
	n.want("a talks") // it may be a pause
	r.run(300 * time.Millisecond)
	n.want("a talks", "a is quiet")
	b.talking = true
	r.run(100 * time.Millisecond)
	b.src.SetMuted(true)
	r.run(100 * time.Millisecond)
	n.want("b talks", "b is quiet")
	b.src.SetMuted(false)
	r.run(100 * time.Millisecond)
	b.src.SetBarred(true)
	r.run(time.Second)
	n.want("b talks", "b is quiet")
	b.src.SetBarred(false)
	r.run(100 * time.Millisecond)
	b.src.Close()
	b.off = true
	n.want("b talks", "b is quiet", "b is closed")
	r.m.RemoveTap(n)
	a.talking = true
	r.run(100 * time.Millisecond)
	n.want()
	if last := other.list[len(other.list)-1]; last != "a talks" {
		t.Errorf("the other tap was told %q last", last)
	}
}

// More may talk than are mixed, and each is handed over.
func TestTapHearsAllWhoTalk(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{MaxTalkers: 2})
	n := &notes{t: t, packets: map[*Source]int{}, next: map[*Source]uint32{}}
	r.m.AddTap(n)
	for i := range 4 {
		r.speak(fmt.Sprint(i), 400).talking = true
	}
	r.run(time.Second)
	for _, k := range r.mics {
		if got := n.packets[k.src]; got < 45 {
			t.Errorf("%d packets of %s", got, k.src.ID())
		}
	}
}

func TestNobodyListens(t *testing.T) {
	needCodec(t)
	r := newRoom(t, Config{})
	k := r.speak("a", 400)
	k.talking = true
	r.run(100 * time.Millisecond)
	if k.src.tapped {
		t.Error("handed over to nobody")
	}
}
