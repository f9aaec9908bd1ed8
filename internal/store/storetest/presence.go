package storetest

import (
	"testing"
	"time"

	"belfry/internal/meeting"
)

// testPresence has people join and go, and reads who is there and since when
// too few are.
func testPresence(t *testing.T, o Opener) {
	s := open(t, o)
	room := id('m', 1)
	after := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	one := meeting.Presence{MeetingID: room, AttendeeID: id('a', 1), Since: after(1), Node: "here"}
	share := meeting.Presence{MeetingID: room, AttendeeID: id('a', 1) + meeting.ContentSuffix, Since: after(2), Video: true}
	two := meeting.Presence{MeetingID: room, AttendeeID: id('a', 2), Since: after(3)}
	steps := []struct {
		name  string
		write func(meeting.Tx)
		there []meeting.Presence
		want  meeting.Attendance
	}{
		{"nobody yet", func(tx meeting.Tx) {
			tx.PutMeeting(newMeeting(1))
			tx.PutAttendee(newAttendee(1, 1))
			tx.PutAttendee(newAttendee(1, 2))
		}, nil, meeting.Attendance{EmptySince: epoch, LoneSince: epoch}},
		{"one joins", func(tx meeting.Tx) { tx.PutPresence(one) },
			[]meeting.Presence{one}, meeting.Attendance{Joined: 1, LoneSince: epoch}},
		{"a content share is nobody", func(tx meeting.Tx) { tx.PutPresence(share) },
			[]meeting.Presence{one, share}, meeting.Attendance{Joined: 1, LoneSince: epoch}},
		{"the meeting's tags change", func(tx meeting.Tx) { tx.PutMeeting(newMeeting(1)) },
			[]meeting.Presence{one, share}, meeting.Attendance{Joined: 1, LoneSince: epoch}},
		{"another joins", func(tx meeting.Tx) { tx.PutPresence(two) },
			[]meeting.Presence{one, share, two}, meeting.Attendance{Joined: 2}},
		{"again, with video", func(tx meeting.Tx) { two.Video = true; tx.PutPresence(two) },
			nil, meeting.Attendance{Joined: 2}},
		{"one goes", func(tx meeting.Tx) { tx.DeletePresence(room, id('a', 1), after(10)) },
			nil, meeting.Attendance{Joined: 1, LoneSince: after(10)}},
		{"it is gone already", func(tx meeting.Tx) { tx.DeletePresence(room, id('a', 1), after(11)) },
			nil, meeting.Attendance{Joined: 1, LoneSince: after(10)}},
		{"the other too", func(tx meeting.Tx) { tx.DeletePresence(room, id('a', 2), after(12)) },
			[]meeting.Presence{share}, meeting.Attendance{EmptySince: after(12), LoneSince: after(10)}},
		{"the share", func(tx meeting.Tx) { tx.DeletePresence(room, share.AttendeeID, after(13)) },
			nil, meeting.Attendance{EmptySince: after(12), LoneSince: after(10)}},
		{"all in one step", func(tx meeting.Tx) {
			tx.PutPresence(one)
			tx.PutPresence(two)
			tx.DeletePresence(room, one.AttendeeID, after(20))
			tx.PutPresence(one)
			tx.DeletePresence(room, two.AttendeeID, after(21))
		}, []meeting.Presence{one}, meeting.Attendance{Joined: 1, LoneSince: after(21)}},
		{"made again with the same id", func(tx meeting.Tx) {
			tx.DeleteMeeting(room)
			tx.PutMeeting(newMeeting(1))
		}, nil, meeting.Attendance{EmptySince: epoch, LoneSince: epoch}},
	}
	for _, step := range steps {
		everywhere(t, s, step.write, func(t *testing.T, r meeting.Reader) {
			t.Helper()
			got, ok := r.Attendance(room)
			equal(t, step.name+": attendance found", ok, true)
			equal(t, step.name+": attendance", got, step.want)
			if step.there != nil {
				equal(t, step.name+": who is there", r.Presences(room), step.there)
			}
			for _, p := range step.there {
				got, ok := r.Presence(room, p.AttendeeID)
				equal(t, step.name+": presence", got, p)
				equal(t, step.name+": found", ok, true)
			}
			equal(t, step.name+": meetings", r.MeetingIDs(), []string{room})
		})
	}
	everywhere(t, s, func(tx meeting.Tx) { tx.DeleteMeeting(room) }, func(t *testing.T, r meeting.Reader) {
		_, live := r.Attendance(room)
		equal(t, "attendance of a meeting that is gone", live, false)
		equal(t, "who is in it", len(r.Presences(room)), 0)
		equal(t, "meetings", len(r.MeetingIDs()), 0)
	})
}
