package projection

import (
	"slices"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// presences is who is joined in one meeting.
type presences struct {
	present    map[string]*meeting.Presence // by AttendeeID; replaced, never changed; nil while nobody was
	attendance meeting.Attendance
}

type presenceKey struct{ meetingID, attendeeID string }

// newAttendance is that of a meeting in which nobody was yet.
func newAttendance(m *meeting.Meeting) meeting.Attendance {
	return meeting.Attendance{EmptySince: m.CreatedAt, LoneSince: m.CreatedAt}
}

// oneMore and oneLess follow the presences of a meeting. Content shares do not
// count.
func oneMore(a meeting.Attendance) meeting.Attendance {
	a.Joined++
	a.EmptySince = time.Time{}
	if a.Joined > 1 {
		a.LoneSince = time.Time{}
	}
	return a
}

func oneLess(a meeting.Attendance, at time.Time) meeting.Attendance {
	a.Joined = max(a.Joined-1, 0)
	if a.Joined == 0 && a.EmptySince.IsZero() {
		a.EmptySince = at
	}
	if a.Joined < 2 && a.LoneSince.IsZero() {
		a.LoneSince = at
	}
	return a
}

func (s *State) putPresence(p *meeting.Presence) {
	r := s.rooms[p.MeetingID]
	if r == nil {
		return
	}
	if r.present == nil {
		r.present = map[string]*meeting.Presence{}
	}
	if r.present[p.AttendeeID] == nil && !p.Content() {
		r.attendance = oneMore(r.attendance)
	}
	r.present[p.AttendeeID] = p
}

// deletePresence returns the presence as it was, nil when there was none.
func (s *State) deletePresence(gone *meeting.Presence, at time.Time) *meeting.Presence {
	r := s.rooms[gone.MeetingID]
	if r == nil {
		return nil
	}
	p := r.present[gone.AttendeeID]
	if p == nil {
		return nil
	}
	delete(r.present, p.AttendeeID)
	if !p.Content() {
		r.attendance = oneLess(r.attendance, at)
	}
	return p
}

func (s *State) setAttendance(w *wireAttendance) {
	if r := s.rooms[w.Meeting]; r != nil {
		r.attendance.EmptySince, r.attendance.LoneSince = w.Empty.UTC(), w.Lone.UTC()
	}
}

// MeetingIDs implements meeting.Reader.
func (s *State) MeetingIDs() []string {
	list := make([]string, 0, len(s.rooms))
	for id := range s.rooms {
		list = append(list, id)
	}
	return list
}

// Presence implements meeting.Reader.
func (s *State) Presence(meetingID, attendeeID string) (meeting.Presence, bool) {
	if r := s.rooms[meetingID]; r != nil {
		if p := r.present[attendeeID]; p != nil {
			return *p, true
		}
	}
	return meeting.Presence{}, false
}

// Presences implements meeting.Reader.
func (s *State) Presences(meetingID string) []meeting.Presence {
	r := s.rooms[meetingID]
	if r == nil {
		return nil
	}
	var list []meeting.Presence
	for _, p := range r.present {
		list = append(list, *p)
	}
	return byAttendee(list)
}

func byAttendee(list []meeting.Presence) []meeting.Presence {
	slices.SortFunc(list, func(a, b meeting.Presence) int { return strings.Compare(a.AttendeeID, b.AttendeeID) })
	return list
}

// Attendance implements meeting.Reader.
func (s *State) Attendance(meetingID string) (meeting.Attendance, bool) {
	r := s.rooms[meetingID]
	if r == nil {
		return meeting.Attendance{}, false
	}
	return r.attendance, true
}

// stagePresence notes a presence, or with nil its end.
func (o *Overlay) stagePresence(meetingID, attendeeID string, p *meeting.Presence) {
	key := presenceKey{meetingID, attendeeID}
	if _, staged := o.presences[key]; !staged {
		set(o, o.touched, meetingID, append(o.touched[meetingID], attendeeID))
	}
	set(o, o.presences, key, p)
}

// PutPresence implements meeting.Tx. The attendee must be there: else it panics.
func (o *Overlay) PutPresence(p meeting.Presence) {
	if _, ok := o.Attendee(p.MeetingID, strings.TrimSuffix(p.AttendeeID, meeting.ContentSuffix)); !ok {
		panic("store: no attendee for this presence")
	}
	p.Since = p.Since.UTC().Round(0)
	if _, joined := o.Presence(p.MeetingID, p.AttendeeID); !joined && !p.Content() {
		a, _ := o.Attendance(p.MeetingID)
		set(o, o.attended, p.MeetingID, oneMore(a))
	}
	o.stagePresence(p.MeetingID, p.AttendeeID, &p)
	o.write(meeting.Change{PresencePut: &p})
}

// DeletePresence implements meeting.Tx.
func (o *Overlay) DeletePresence(meetingID, attendeeID string, at time.Time) {
	p, ok := o.Presence(meetingID, attendeeID)
	if !ok {
		return
	}
	at = at.UTC().Round(0)
	if !p.Content() {
		a, _ := o.Attendance(meetingID)
		set(o, o.attended, meetingID, oneLess(a, at))
	}
	o.stagePresence(meetingID, attendeeID, nil)
	o.ops = append(o.ops, Op{Change: meeting.Change{PresenceDeleted: &p}, Gone: at})
}

// MeetingIDs implements meeting.Reader.
func (o *Overlay) MeetingIDs() []string {
	var list []string
	for _, id := range o.base.MeetingIDs() {
		if _, staged := o.meetings[id]; !staged {
			list = append(list, id)
		}
	}
	for id, m := range o.meetings {
		if m != nil {
			list = append(list, id)
		}
	}
	return list
}

// Presence implements meeting.Reader.
func (o *Overlay) Presence(meetingID, attendeeID string) (meeting.Presence, bool) {
	if p, staged := o.presences[presenceKey{meetingID, attendeeID}]; staged {
		if p == nil {
			return meeting.Presence{}, false
		}
		return *p, true
	}
	return o.base.Presence(meetingID, attendeeID)
}

// Presences implements meeting.Reader.
func (o *Overlay) Presences(meetingID string) []meeting.Presence {
	var list []meeting.Presence
	for _, p := range o.base.Presences(meetingID) {
		if _, staged := o.presences[presenceKey{meetingID, p.AttendeeID}]; !staged {
			list = append(list, p)
		}
	}
	for _, id := range o.touched[meetingID] {
		if p := o.presences[presenceKey{meetingID, id}]; p != nil {
			list = append(list, *p)
		}
	}
	return byAttendee(list)
}

// Attendance implements meeting.Reader.
func (o *Overlay) Attendance(meetingID string) (meeting.Attendance, bool) {
	if _, live := o.Meeting(meetingID); !live {
		return meeting.Attendance{}, false
	}
	if a, staged := o.attended[meetingID]; staged {
		return a, true
	}
	return o.base.Attendance(meetingID)
}
