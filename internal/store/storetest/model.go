package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/internal/meeting"

	"pgregory.net/rapid"
)

// model is a store so plain that it can be seen to be right: lists that are
// searched from the front.
type model struct {
	meetings  []*meeting.Meeting
	attendees []*meeting.Attendee
	events    map[string][]meeting.Event
	numbers   map[string]uint64
	settings  map[string]string
	present   []meeting.Presence // by AttendeeID
	attended  map[string]meeting.Attendance
}

func (m *model) clone() *model {
	c := &model{meetings: slices.Clone(m.meetings), attendees: slices.Clone(m.attendees),
		events: map[string][]meeting.Event{}, numbers: map[string]uint64{}, settings: map[string]string{},
		present: slices.Clone(m.present), attended: maps.Clone(m.attended)}
	if c.attended == nil {
		c.attended = map[string]meeting.Attendance{}
	}
	for k, v := range m.events {
		c.events[k] = slices.Clone(v)
	}
	for k, v := range m.numbers {
		c.numbers[k] = v
	}
	for k, v := range m.settings {
		c.settings[k] = v
	}
	return c
}

func (m *model) meeting(id string) *meeting.Meeting {
	for _, x := range m.meetings {
		if x.ID == id {
			return x
		}
	}
	return nil
}

func (m *model) attendee(id string) *meeting.Attendee {
	for _, x := range m.attendees {
		if x.ID == id {
			return x
		}
	}
	return nil
}

// testModel runs random transactions against a store and the model, some of
// which fail, and compares all that can be read: inside the transaction, after
// it, and after the store was opened again.
func testModel(t *testing.T, o Opener) {
	s := o.Open(t)
	defer func() { s.Close() }()
	run, failed := 0, false
	rapid.Check(t, func(rt *rapid.T) {
		run++ // ids and account of their own, so that the runs can share a store
		if o.Reopen != nil && run > slowRuns && !failed {
			return
		}
		defer func() { failed = failed || rt.Failed() }()
		w := &world{run: run, model: (&model{}).clone()}
		actions := map[string]func(*rapid.T){
			"": func(rt *rapid.T) { view(rt, s, func(r meeting.Reader) { w.compare(rt, r) }) },
			"transact": func(rt *rapid.T) {
				staged := w.model.clone()
				fails := rapid.IntRange(0, 3).Draw(rt, "fails") == 0
				steps := rapid.SliceOfN(rapid.IntRange(0, 1<<30), 1, 8).Draw(rt, "steps")
				err := s.Update(context.Background(), func(tx meeting.Tx) error {
					staged = w.model.clone()
					for _, step := range steps {
						w.step(staged, tx, step)
					}
					(&world{run: w.run, model: staged}).compare(rt, tx)
					if fails {
						return errRefused
					}
					return nil
				})
				if fails != (err == errRefused) || !fails && err != nil {
					rt.Fatalf("update: %v", err)
				}
				if !fails {
					w.model = staged
				}
			},
		}
		if o.Reopen != nil {
			actions["reopen"] = func(rt *rapid.T) {
				if rapid.IntRange(0, 19).Draw(rt, "reopen") == 0 {
					s = o.Reopen(t, s)
				}
			}
		}
		rt.Repeat(actions)
	})
}

// slowRuns is how many runs a store that syncs to a disk is put through.
const slowRuns = 20

type world struct {
	run   int
	model *model
}

const (
	modelMeetings  = 5
	modelAttendees = 6
	modelTags      = 3
)

func (w *world) account(n int) string   { return fmt.Sprintf("%d-%d", w.run, n%2) }
func (w *world) meetingID(n int) string { return id('m', w.run*100+n) }
func (w *world) attendeeID(m, n int) string {
	return id('a', (w.run*100+m)*100+n)
}

// step does one write, chosen by the digits of n, to the model and the store.
func (w *world) step(m *model, tx meeting.Tx, n int) {
	digit := func(base int) int { d := n % base; n /= base; return d }
	what, which, person, tag := digit(9), digit(modelMeetings), digit(modelAttendees), digit(modelTags)
	room := w.meetingID(which)
	switch what {
	case 0, 1: // put a meeting
		in := newMeeting(w.run*100 + which)
		in.Account = w.account(which)
		in.Tags = []meeting.Tag{{Key: "tag", Value: fmt.Sprint(tag)}}
		if which == modelMeetings-1 {
			in.PrimaryMeetingID = w.meetingID(0)
		}
		if which%2 == 0 {
			in.Notifications.SNSTopicARN = "arn"
		}
		got := tx.PutMeeting(in)
		if i := slices.IndexFunc(m.meetings, func(x *meeting.Meeting) bool { return x.ID == room }); i >= 0 {
			m.meetings[i] = got
		} else {
			m.meetings = append(m.meetings, got)
			m.attended[room] = meeting.Attendance{EmptySince: epoch, LoneSince: epoch}
		}
	case 2: // delete a meeting
		tx.DeleteMeeting(room)
		m.meetings = slices.DeleteFunc(m.meetings, func(x *meeting.Meeting) bool { return x.ID == room })
		m.attendees = slices.DeleteFunc(m.attendees, func(x *meeting.Attendee) bool { return x.MeetingID == room })
		m.present = slices.DeleteFunc(m.present, func(p meeting.Presence) bool { return p.MeetingID == room })
		delete(m.attended, room)
	case 3, 4: // put an attendee
		if m.meeting(room) == nil {
			return
		}
		in := newAttendee(w.run*100+which, (w.run*100+which)*100+person)
		in.Tags = []meeting.Tag{{Key: "tag", Value: fmt.Sprint(tag)}}
		got := tx.PutAttendee(in)
		if i := slices.IndexFunc(m.attendees, func(x *meeting.Attendee) bool { return x.ID == in.ID }); i >= 0 {
			m.attendees[i] = got
		} else {
			m.attendees = append(m.attendees, got)
		}
	case 5: // delete an attendee
		gone := w.attendeeID(which, person)
		m.leave(tx, room, gone, epoch)
		m.leave(tx, room, gone+meeting.ContentSuffix, epoch)
		tx.DeleteAttendee(room, gone)
		m.attendees = slices.DeleteFunc(m.attendees, func(x *meeting.Attendee) bool { return x.ID == gone })
	case 7: // somebody joins, or has video
		who := w.attendeeID(which, person)
		if m.attendee(who) == nil {
			return
		}
		if tag == 0 {
			who += meeting.ContentSuffix
		}
		m.join(tx, meeting.Presence{MeetingID: room, AttendeeID: who, Since: epoch, Video: tag == 1, Node: fmt.Sprint(tag)})
	case 8: // and goes
		who := w.attendeeID(which, person)
		if tag == 0 {
			who += meeting.ContentSuffix
		}
		m.leave(tx, room, who, epoch.Add(time.Duration(n)))
	case 6: // an event, its delivery, or a setting
		if tag == 0 {
			name := fmt.Sprint("setting-", w.run, "-", person)
			if which == 0 {
				tx.DeleteSetting(name)
				delete(m.settings, name)
				return
			}
			tx.PutSetting(name, []byte{byte(which)})
			m.settings[name] = string([]byte{byte(which)})
			return
		}
		// A late word is kept only for a meeting that had somebody to tell.
		if which%2 != 0 || m.meeting(room) == nil && m.numbers[room] == 0 {
			return
		}
		if tag == 1 && person == 0 {
			through := m.numbers[room] / 2
			tx.SetDelivered(room, meeting.Target{Kind: meeting.TargetSNS, Address: "arn"}, through)
			m.events[room] = slices.DeleteFunc(m.events[room], func(e meeting.Event) bool { return e.Number <= through })
			if len(m.events[room]) == 0 {
				delete(m.events, room)
			}
			return
		}
		m.numbers[room]++
		e := meeting.Event{ID: fmt.Sprint(n), Type: meeting.EventAttendeeJoined, At: epoch, MeetingID: room}
		tx.Emit(e)
		e.Number = m.numbers[room]
		m.events[room] = append(m.events[room], e)
	}
}

func (m *model) join(tx meeting.Tx, p meeting.Presence) {
	tx.PutPresence(p)
	if i := slices.IndexFunc(m.present, func(x meeting.Presence) bool { return x.AttendeeID == p.AttendeeID }); i >= 0 {
		m.present[i] = p
		return
	}
	m.present = append(m.present, p)
	slices.SortFunc(m.present, func(a, b meeting.Presence) int { return strings.Compare(a.AttendeeID, b.AttendeeID) })
	m.count(p.MeetingID, p.Since)
}

func (m *model) leave(tx meeting.Tx, room, who string, at time.Time) {
	tx.DeletePresence(room, who, at)
	m.present = slices.DeleteFunc(m.present, func(p meeting.Presence) bool { return p.AttendeeID == who })
	if m.meeting(room) != nil {
		m.count(room, at)
	}
}

// count counts anew who is in a meeting.
func (m *model) count(room string, at time.Time) {
	a := m.attended[room]
	a.Joined = 0
	for _, p := range m.present {
		if p.MeetingID == room && !strings.HasSuffix(p.AttendeeID, "#content") {
			a.Joined++
		}
	}
	for since, fewer := range map[*time.Time]bool{&a.EmptySince: a.Joined == 0, &a.LoneSince: a.Joined < 2} {
		switch {
		case !fewer:
			*since = time.Time{}
		case since.IsZero():
			*since = at
		}
	}
	m.attended[room] = a
}

// compare reads everything in every way.
func (w *world) compare(t reporter, r meeting.Reader) {
	t.Helper()
	m := w.model
	for n := range modelMeetings {
		room := w.meetingID(n)
		want := m.meeting(room)
		got, ok := r.Meeting(room)
		equal(t, "Meeting", got, want)
		equal(t, "Meeting found", ok, want != nil)
		got, _ = r.MeetingByToken(w.account(n), newMeeting(w.run*100+n).ClientRequestToken)
		equal(t, "MeetingByToken", got, want)
		var people []*meeting.Attendee
		for _, a := range m.attendees {
			if a.MeetingID == room {
				people = append(people, a)
			}
		}
		equal(t, "Attendees", r.Attendees(room, 0, 100), people)
		equal(t, "AttendeeCount", r.AttendeeCount(room), len(people))
		if len(people) > 1 {
			equal(t, "page of Attendees", r.Attendees(room, people[0].Seq, 1), people[1:2])
		}
		for p := range modelAttendees {
			want := m.attendee(w.attendeeID(n, p))
			a, ok := r.Attendee(room, w.attendeeID(n, p))
			equal(t, "Attendee", a, want)
			equal(t, "Attendee found", ok, want != nil)
			a, _ = r.AttendeeByID(w.attendeeID(n, p))
			equal(t, "AttendeeByID", a, want)
			for _, who := range []string{w.attendeeID(n, p), w.attendeeID(n, p) + meeting.ContentSuffix} {
				i := slices.IndexFunc(m.present, func(x meeting.Presence) bool { return x.AttendeeID == who })
				got, joined := r.Presence(room, who)
				equal(t, "joined", joined, i >= 0)
				if i >= 0 {
					equal(t, "Presence", got, m.present[i])
				}
			}
			a, _ = r.AttendeeByUser(room, fmt.Sprintf("user#%d", (w.run*100+n)*100+p))
			equal(t, "AttendeeByUser", a, want)
		}
		var present []meeting.Presence
		for _, p := range m.present {
			if p.MeetingID == room {
				present = append(present, p)
			}
		}
		equal(t, "Presences", r.Presences(room), present)
		attendance, live := r.Attendance(room)
		equal(t, "Attendance", attendance, m.attended[room])
		equal(t, "Attendance found", live, want != nil)
		equal(t, "MeetingIDs", slices.Contains(r.MeetingIDs(), room), want != nil)
		equal(t, "Events", r.Events(room, 0, 1000), m.events[room])
		equal(t, "Undelivered", slices.Contains(r.Undelivered(), room), len(m.events[room]) > 0)
		equal(t, "Deliveries", len(r.Deliveries(room)) == 1, len(m.events[room]) > 0)
	}
	for n := range 2 {
		var list []*meeting.Meeting
		for _, x := range m.meetings {
			if x.Account == w.account(n) {
				list = append(list, x)
			}
		}
		equal(t, "Meetings", r.Meetings(w.account(n), 0, 100), list)
		equal(t, "MeetingCount", r.MeetingCount(w.account(n)), len(list))
		if len(list) > 1 {
			equal(t, "page of Meetings", r.Meetings(w.account(n), list[0].Seq, 1), list[1:2])
		}
	}
	var replicas []*meeting.Meeting
	for _, x := range m.meetings {
		if x.PrimaryMeetingID == w.meetingID(0) {
			replicas = append(replicas, x)
		}
	}
	equal(t, "Replicas", r.Replicas(w.meetingID(0)), replicas)
	equal(t, "SettingNames", strings.Join(r.SettingNames(fmt.Sprint("setting-", w.run, "-")), " "),
		strings.Join(slices.Sorted(maps.Keys(m.settings)), " "))
	for p := range modelAttendees {
		name := fmt.Sprint("setting-", w.run, "-", p)
		value, ok := r.Setting(name)
		want, wantOK := m.settings[name]
		equal(t, "Setting", string(value), want)
		equal(t, "Setting found", ok, wantOK)
	}
}

// testReopen closes a full store in several states and looks for everything.
func testReopen(t *testing.T, o Opener) {
	if o.Reopen == nil {
		t.Skip("this store keeps nothing")
	}
	s := o.Open(t)
	defer func() { s.Close() }()
	loud := fullMeeting(1)
	var wantMeeting *meeting.Meeting
	var wantAttendee, last *meeting.Attendee
	update(t, s, func(tx meeting.Tx) {
		wantMeeting = tx.PutMeeting(loud)
		wantAttendee = tx.PutAttendee(newAttendee(1, 1))
		last = tx.PutAttendee(newAttendee(1, 2))
		tx.PutMeeting(newMeeting(2))
		tx.Emit(meeting.Event{ID: "e", MeetingID: id('m', 1), Type: meeting.EventMeetingStarted, At: epoch})
		tx.PutSetting("key", []byte("value"))
		tx.PutSetting("gone", []byte("value"))
		tx.SetDelivered(id('m', 1), sqsTarget, 1)
		tx.PutDeadLetter(deadLetter(1))
		tx.PutDeadLetter(deadLetter(2))
		tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 1), Since: epoch, Video: true, Node: "n"})
		tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 2), Since: epoch})
	})
	update(t, s, func(tx meeting.Tx) {
		tx.DeleteDeadLetter(tx.DeadLetters(0, 1)[0].Seq)
		tx.DeletePresence(id('m', 1), id('a', 2), epoch.Add(time.Second))
		tx.DeleteAttendee(id('m', 1), id('a', 2))
		tx.DeleteMeeting(id('m', 2))
		tx.DeleteSetting("gone")
	})
	for range 2 {
		s = o.Reopen(t, s)
		view(t, s, func(r meeting.Reader) {
			m, _ := r.Meeting(id('m', 1))
			equal(t, "meeting", m, wantMeeting)
			a, _ := r.Attendee(id('m', 1), id('a', 1))
			equal(t, "attendee", a, wantAttendee)
			equal(t, "attendees", attendeeIDs(r.Attendees(id('m', 1), 0, 10)), []string{id('a', 1)})
			equal(t, "meetings", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1)})
			equal(t, "events", len(r.Events(id('m', 1), 0, 10)), 1)
			equal(t, "presence", r.Presences(id('m', 1)), []meeting.Presence{{MeetingID: id('m', 1), AttendeeID: id('a', 1), Since: epoch, Video: true, Node: "n"}})
			attendance, _ := r.Attendance(id('m', 1))
			equal(t, "attendance", attendance, meeting.Attendance{Joined: 1, LoneSince: epoch.Add(time.Second)})
			v, _ := r.Setting("key")
			equal(t, "setting", string(v), "value")
			equal(t, "settings", r.SettingNames(""), []string{"key"})
			equal(t, "deliveries", r.Deliveries(id('m', 1)), []meeting.Delivery{{Target: snsTarget}, {Target: lambdaTarget}})
			equal(t, "dead letters", deadLetters(r), []meeting.DeadLetter{deadLetter(2)})
		})
	}
	update(t, s, func(tx meeting.Tx) {
		if a := tx.PutAttendee(newAttendee(1, 3)); a.Seq <= last.Seq {
			t.Errorf("a Seq was used again after reopening: %d after %d", a.Seq, last.Seq)
		}
		tx.Emit(meeting.Event{ID: "e2", MeetingID: id('m', 1), Type: meeting.EventAttendeeAdded, At: epoch})
		equal(t, "number of the next event", tx.Events(id('m', 1), 1, 1)[0].Number, uint64(2))
	})
}
