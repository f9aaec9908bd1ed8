package meeting

import (
	"context"
	"strings"
	"time"
)

// Presence says that an attendee, or its content share, is joined: its media is
// up, and others see it in the roster.
type Presence struct {
	MeetingID  string
	AttendeeID string    // with ContentSuffix for a content share
	Since      time.Time // when it joined
	Video      bool      // its camera, or the video of its content share, runs
	Node       string    // the server that its connection is on, "" where there is but one
}

// Content reports whether it is a content share's.
func (p Presence) Content() bool { return strings.HasSuffix(p.AttendeeID, ContentSuffix) }

// Attendance is how many attendees are joined in a meeting, content shares
// aside, and since when too few are. A new meeting has had nobody since its
// CreatedAt.
type Attendance struct {
	Joined     int
	EmptySince time.Time // since when nobody is; zero while somebody is
	LoneSince  time.Time // since when there are not two; zero while there are
}

// Sighting is something that signaling saw an attendee do.
type Sighting struct {
	// Type is one of the events from EventAttendeeAuthorized to
	// EventAttendeeContentVideoStopped.
	Type       EventType
	At         time.Time
	MeetingID  string
	AttendeeID string // with ContentSuffix where Type is of a content share
}

// voip is the networkType of whoever joins by WebRTC.
const voip = "Voip"

// Sight writes what a node's signaling saw: the presence that comes of it and
// the event that tells of it, in the order given and in one step. What changes
// nothing is passed over, so that each attendee joins and ends in turns: one
// that joins is there already when it is back after a restart, and one that is
// deleted, or whose meeting is, has left already.
func (s *Service) Sight(ctx context.Context, node string, seen []Sighting) error {
	return s.store.Update(ctx, func(tx Tx) error {
		for _, one := range seen {
			sight(tx, node, one)
		}
		return nil
	})
}

func sight(tx Tx, node string, one Sighting) {
	m, ok := tx.Meeting(one.MeetingID)
	if !ok {
		return
	}
	a, ok := tx.Attendee(m.ID, strings.TrimSuffix(one.AttendeeID, ContentSuffix))
	if !ok {
		return
	}
	p, joined := tx.Presence(m.ID, one.AttendeeID)
	mine := joined && p.Node == node
	switch one.Type {
	case EventAttendeeAuthorized:
		emitOf(tx, m, a, one.Type, one.At)
	case EventAttendeeJoined, EventAttendeeContentJoined:
		if mine {
			return
		}
		moved := p
		moved.Node = node
		if !joined {
			moved = Presence{MeetingID: m.ID, AttendeeID: one.AttendeeID, Since: one.At, Node: node}
			emitOf(tx, m, a, one.Type, one.At)
		}
		tx.PutPresence(moved)
	case EventAttendeeLeft, EventAttendeeDropped, EventAttendeeContentLeft, EventAttendeeContentDropped:
		if mine {
			endPresence(tx, m, a, p, one.Type, one.At)
		}
	case EventAttendeeVideoStarted, EventAttendeeContentVideoStarted:
		setVideo(tx, m, a, p, mine && !p.Video, true, one)
	case EventAttendeeVideoStopped, EventAttendeeContentVideoStopped:
		setVideo(tx, m, a, p, mine && p.Video, false, one)
	}
}

func setVideo(tx Tx, m *Meeting, a *Attendee, p Presence, news, runs bool, one Sighting) {
	if !news {
		return
	}
	p.Video = runs
	tx.PutPresence(p)
	emitOf(tx, m, a, one.Type, one.At)
}

// endPresence ends one, and the video that ran. t is how it ends.
func endPresence(tx Tx, m *Meeting, a *Attendee, p Presence, t EventType, at time.Time) {
	tx.DeletePresence(m.ID, p.AttendeeID, at)
	tellEnd(tx, m, a, p, t, at)
}

func tellEnd(tx Tx, m *Meeting, a *Attendee, p Presence, t EventType, at time.Time) {
	if p.Video {
		stopped := EventAttendeeVideoStopped
		if p.Content() {
			stopped = EventAttendeeContentVideoStopped
		}
		emitOf(tx, m, a, stopped, at)
	}
	emitOf(tx, m, a, t, at)
}

// leave ends the presence of an attendee and of its content share before they
// are deleted: the share first, as it does not outlive its attendee.
func leave(tx Tx, m *Meeting, a *Attendee, at time.Time) {
	if p, ok := tx.Presence(m.ID, a.ID+ContentSuffix); ok {
		endPresence(tx, m, a, p, EventAttendeeContentLeft, at)
	}
	if p, ok := tx.Presence(m.ID, a.ID); ok {
		endPresence(tx, m, a, p, EventAttendeeLeft, at)
	}
}

// emitOf writes an event of what an attendee did, unless nobody gets it.
func emitOf(tx Tx, m *Meeting, a *Attendee, t EventType, at time.Time) {
	if len(m.Notifications.Targets()) == 0 {
		return
	}
	e := event(t, m, a, at)
	if t.Content() {
		e.AttendeeID += ContentSuffix
	}
	switch t {
	case EventAttendeeJoined, EventAttendeeLeft, EventAttendeeDropped,
		EventAttendeeContentJoined, EventAttendeeContentLeft, EventAttendeeContentDropped:
		e.NetworkType = voip
	}
	tx.Emit(e)
}
