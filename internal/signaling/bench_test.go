package signaling

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signaltest"
)

// crowd is a room of n people, of whom some send video, with an audience, whose
// sockets take everything.
func crowd(b testing.TB, n, senders, audience int) *room {
	srv := New(Config{Service: &fakeService{}, Conferences: &signaltest.Conferences{}, Relays: &signaltest.Relays{}})
	m := &meeting.Meeting{ID: meetingID, CreatedAt: time.Now()}
	r := newRoom(srv, m, 1, nil)
	near, far := net.Pipe()
	b.Cleanup(func() { _, _ = near.Close(), far.Close() })
	for i := range n + audience {
		a := &meeting.Attendee{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), MeetingID: meetingID, ExternalUserID: fmt.Sprint("user-", i), Capabilities: meeting.DefaultCapabilities}
		s := &session{srv: srv}
		s.prepare(near)
		s.identify(meeting.Identity{Meeting: m, Attendee: a})
		p := &participant{room: r, ownID: a.ID, id: a.ID, base: a.ID, own: a, attendee: a, sess: s, informed: true, mutes: rate.NewLimiter(1, 1)}
		if i >= n {
			p.guest = true
			r.audience[a.ID] = p
			continue
		}
		p.streamID = uint32(i + 1)
		r.members[a.ID] = p
		if i < senders {
			r.index.sources = append(r.index.sources, meeting.VideoSource{AttendeeID: a.ID, StreamID: uint32(1000 + i), GroupID: uint32(500 + i), MaxBitrateKbps: 1400})
		}
	}
	return r
}

func (r *room) emptyOutboxes() {
	for p := range r.everybody() {
		p.sess.out.mu.Lock()
		p.sess.out.items, p.sess.out.size = p.sess.out.items[:0], 0
		p.sess.out.mu.Unlock()
		p.sentIndex = nil
	}
}

// BenchmarkIndex is one INDEX to everybody.
func BenchmarkIndex(b *testing.B) {
	for _, c := range []struct{ people, senders, audience int }{{250, 0, 0}, {250, 25, 0}, {250, 250, 0}, {250, 25, 1000}, {250, 25, 10_000}} {
		b.Run(fmt.Sprintf("%d people %d senders %d watch", c.people, c.senders, c.audience), func(b *testing.B) {
			r := crowd(b, c.people, c.senders, c.audience)
			b.ReportAllocs()
			for b.Loop() {
				made := r.newIndexes()
				for p := range r.everybody() {
					r.sendIndex(p, made)
				}
				r.emptyOutboxes()
			}
		})
	}
}

// BenchmarkLevels is one frame of volumes to everybody.
func BenchmarkLevels(b *testing.B) {
	r := crowd(b, 250, 0, 0)
	var talking []meeting.AudioLevel
	for id := range r.members {
		if talking = append(talking, meeting.AudioLevel{AttendeeID: id, Volume: 20}); len(talking) == 3 {
			break
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Levels(talking)
		r.emptyOutboxes()
	}
}
