package meeting

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Lifetime is the rules by which meetings end by themselves; 0 switches one off.
// A replica ends with its primary or by Max: nobody in it is no reason.
type Lifetime struct {
	Idle time.Duration // without an attendee for so long; AWS: 5 minutes
	Lone time.Duration // with fewer than two for so long; AWS until 2021: 30 minutes
	Max  time.Duration // in all; AWS: 24 hours
}

// EndReason says why a meeting ended by itself.
type EndReason string

// The reasons, by the rule that was met first.
const (
	EndIdle    EndReason = "idle"
	EndLone    EndReason = "lone"
	EndMax     EndReason = "duration"
	EndPrimary EndReason = "primary" // a replica whose primary ended
)

// Due is when a meeting ends by itself if nothing changes, and why; the zero
// time is never.
func (l Lifetime) Due(m *Meeting, a Attendance) (at time.Time, why EndReason) {
	rule := func(since time.Time, after time.Duration, reason EndReason) {
		if after <= 0 || since.IsZero() {
			return
		}
		if t := since.Add(after); at.IsZero() || t.Before(at) {
			at, why = t, reason
		}
	}
	rule(m.CreatedAt, l.Max, EndMax)
	if m.PrimaryMeetingID == "" {
		rule(a.EmptySince, l.Idle, EndIdle)
		rule(a.LoneSince, l.Lone, EndLone)
	}
	return at, why
}

// Ended is a meeting that ended by itself.
type Ended struct {
	Meeting *Meeting
	Reason  EndReason
}

// maxEnds bounds what one step of EndDue ends: meetings, and who is joined in
// them.
const maxEnds = 512

// EndDue ends those of the meetings that are due by now, with their replicas,
// as DeleteMeeting does; spare may keep one alive for now. What it finds is what
// is true when it writes. It ends no more than fit one step of the store: who
// asked sees by the answer whether to ask again.
func (s *Service) EndDue(ctx context.Context, ids []string, rules Lifetime, spare func(meetingID string) bool) ([]Ended, error) {
	var out []Ended
	err := s.store.Update(ctx, func(tx Tx) error {
		out = nil
		ends := 0
		now := s.opt.Now()
		for _, id := range ids {
			m, ok := tx.Meeting(id)
			if !ok {
				continue
			}
			a, _ := tx.Attendance(id)
			due, why := rules.Due(m, a)
			if due.IsZero() || due.After(now) || spare(id) {
				continue
			}
			ends += a.Joined
			for _, r := range tx.Replicas(id) {
				there, _ := tx.Attendance(r.ID)
				ends += there.Joined
			}
			for _, gone := range endMeeting(tx, m, now) {
				reason := why
				if gone.ID != m.ID {
					reason = EndPrimary
				}
				out = append(out, Ended{gone, reason})
			}
			if ends+len(out) >= maxEnds {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// endMeeting ends a meeting and its replicas: whoever is joined leaves, the end
// is told, and all of it is gone. It is the last that is told of the meeting.
func endMeeting(tx Tx, m *Meeting, now time.Time) []*Meeting {
	list := append(tx.Replicas(m.ID), m)
	for _, one := range list {
		for _, p := range slices.Backward(tx.Presences(one.ID)) { // a share before its attendee
			a, ok := tx.Attendee(one.ID, strings.TrimSuffix(p.AttendeeID, ContentSuffix))
			switch {
			case !ok:
			case p.Content():
				tellEnd(tx, one, a, p, EventAttendeeContentLeft, now)
			default:
				tellEnd(tx, one, a, p, EventAttendeeLeft, now)
			}
		}
		tellTranscriptionStopped(tx, one, now)
		tx.Emit(event(EventMeetingEnded, one, nil, now))
		tx.DeleteMeeting(one.ID)
	}
	return list
}
