package projection

import (
	"reflect"

	"belfry/internal/meeting"
)

// Diff is the commit that leads from one State to another: for watchers that
// missed the commits between. Of events it tells those that are still kept.
func Diff(from, to *State) meeting.Commit {
	var c meeting.Commit
	add := func(ch meeting.Change) { c.Changes = append(c.Changes, ch) }
	for id, r := range from.rooms {
		if to.rooms[id] == nil {
			add(meeting.Change{MeetingDeleted: r.meeting, Attendees: r.people.list(0, r.people.len())})
		}
	}
	for id, a := range from.people {
		if to.people[id] == nil && to.rooms[a.MeetingID] != nil {
			add(meeting.Change{AttendeeDeleted: a})
		}
	}
	for id, r := range from.rooms {
		now := to.rooms[id]
		for who, p := range r.present {
			if now != nil && now.present[who] == nil {
				add(meeting.Change{PresenceDeleted: p})
			}
		}
	}
	snapshot := to.Snapshot()
	for op := range snapshot.ops() {
		switch ch := fromWire(op).Change; {
		case ch.MeetingPut != nil:
			if old := from.rooms[ch.MeetingPut.ID]; old == nil || !sameMeeting(old.meeting, ch.MeetingPut) {
				add(meeting.Change{MeetingPut: to.rooms[ch.MeetingPut.ID].meeting})
			}
		case ch.AttendeePut != nil:
			now := to.people[ch.AttendeePut.ID]
			if old := from.people[now.ID]; old == nil {
				add(meeting.Change{AttendeePut: now})
			} else if !sameAttendee(old, ch.AttendeePut) {
				add(meeting.Change{AttendeeUpdated: now})
			}
		case ch.PresencePut != nil:
			old, _ := from.Presence(ch.PresencePut.MeetingID, ch.PresencePut.AttendeeID)
			if old != *ch.PresencePut {
				add(ch)
			}
		case ch.Event != nil:
			if j := from.journals[ch.Event.MeetingID]; j == nil || j.last < ch.Event.Number {
				add(ch)
			}
		}
	}
	return c
}

func sameMeeting(a, b *meeting.Meeting) bool { return sameWire(wireFromMeeting(a), wireFromMeeting(b)) }

func sameAttendee(a, b *meeting.Attendee) bool {
	return sameWire(wireFromAttendee(a), wireFromAttendee(b))
}

func sameWire[T any](a, b T) bool { return reflect.DeepEqual(a, b) }
