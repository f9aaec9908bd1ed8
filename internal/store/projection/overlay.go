package projection

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"belfry/internal/meeting"
)

// Overlay stages commits over a State that does not change meanwhile: each sees
// the State and what the ones before it staged, and one that fails takes its
// own writes with it. Nothing reaches the State before its owner applies it.
type Overlay struct {
	base *State
	ops  []Op // of the transaction that runs
	undo []func()

	seq       uint64
	meetings  map[string]*meeting.Meeting // nil: deleted
	people    map[string]*meeting.Attendee
	tokens    map[tokenKey]*meeting.Meeting
	users     map[userKey]*meeting.Attendee
	accounts  map[string][]entry // meetings added, in order
	replicas  map[string][]entry
	roll      map[string][]entry // attendees added, by meeting
	meetingsN map[string]int     // change of MeetingCount
	peopleN   map[string]int     // change of AttendeeCount
	journals  map[string]stagedJournal
	settings  map[string][]byte                 // nil: deleted
	presences map[presenceKey]*meeting.Presence // nil: gone
	touched   map[string][]string               // attendees whose presence was staged, by meeting
	attended  map[string]meeting.Attendance
	dead      []*meeting.DeadLetter // added, in order
	deadGone  map[uint64]bool
}

type userKey struct{ meetingID, user string }

// stagedJournal is a journal of base, nil for none, with what was staged.
type stagedJournal struct {
	last    uint64
	targets []meeting.Delivery // replaced, never changed in place
	base    *journal
	added   []meeting.Event
}

type entry struct {
	seq uint64
	id  string
}

// Stage begins an Overlay on s.
func Stage(s *State) *Overlay {
	return &Overlay{
		base: s, seq: s.seq,
		meetings: map[string]*meeting.Meeting{}, people: map[string]*meeting.Attendee{},
		tokens: map[tokenKey]*meeting.Meeting{},
		users:  map[userKey]*meeting.Attendee{}, accounts: map[string][]entry{},
		replicas: map[string][]entry{}, roll: map[string][]entry{},
		meetingsN: map[string]int{}, peopleN: map[string]int{},
		journals: map[string]stagedJournal{}, settings: map[string][]byte{},
		presences: map[presenceKey]*meeting.Presence{}, touched: map[string][]string{}, attended: map[string]meeting.Attendance{},
		deadGone: map[uint64]bool{},
	}
}

// Run runs one transaction and returns what it wrote, in order. When fn fails
// or panics nothing of it is left; a panic becomes a CodeInternal error. accept
// may refuse what fn wrote; nil accepts everything.
func (o *Overlay) Run(fn func(meeting.Tx) error, accept func([]Op) error) (ops []Op, err error) {
	o.ops, o.undo = nil, o.undo[:0]
	done := false
	defer func() {
		if !done {
			if p := recover(); p != nil {
				err = &meeting.Error{Code: meeting.CodeInternal, Message: "a store update panicked",
					Err: fmt.Errorf("%v\n%s", p, debug.Stack())}
			} else if err == nil { // runtime.Goexit
				err = meeting.Errorf(meeting.CodeInternal, "a store update ended its goroutine")
			}
		}
		if err != nil {
			for _, u := range slices.Backward(o.undo) {
				u()
			}
			o.ops = nil
		}
		ops = o.ops
	}()
	err = fn(tx{o})
	done = true
	if err == nil && accept != nil {
		err = accept(o.ops)
	}
	return o.ops, err
}

// tx is an Overlay as its transaction sees it.
type tx struct{ *Overlay }

func set[K comparable, V any](o *Overlay, m map[K]V, k K, v V) {
	old, had := m[k]
	o.undo = append(o.undo, func() {
		if had {
			m[k] = old
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}

// PutMeeting implements meeting.Tx. What a meeting is found by (account, token,
// primary) must not change and no two may share a token: that is a fault of the
// caller, and panics.
func (o *Overlay) PutMeeting(in *meeting.Meeting) *meeting.Meeting {
	m := cloneMeeting(in)
	key := tokenKey{m.Account, m.ClientRequestToken}
	if old, ok := o.Meeting(m.ID); ok {
		if old.Account != m.Account || old.ClientRequestToken != m.ClientRequestToken || old.PrimaryMeetingID != m.PrimaryMeetingID {
			panic("store: a meeting's account, token and primary cannot change")
		}
		m.Seq = old.Seq
	} else {
		if _, taken := o.MeetingByToken(m.Account, m.ClientRequestToken); taken {
			panic("store: another live meeting has this ClientRequestToken")
		}
		set(o, o.meetingsN, m.Account, o.meetingsN[m.Account]+1)
		m.Seq = o.nextSeq()
		set(o, o.attended, m.ID, newAttendance(m))
		e := entry{m.Seq, m.ID}
		set(o, o.accounts, m.Account, append(o.accounts[m.Account], e))
		if m.PrimaryMeetingID != "" {
			set(o, o.replicas, m.PrimaryMeetingID, append(o.replicas[m.PrimaryMeetingID], e))
		}
	}
	set(o, o.meetings, m.ID, m)
	if m.ClientRequestToken != "" {
		set(o, o.tokens, key, m)
	}
	if j, ok := o.journal(m.ID); ok && len(j.targets) == 0 {
		j.targets = undelivered(m, j.last)
		set(o, o.journals, m.ID, j)
	}
	o.write(meeting.Change{MeetingPut: m})
	return m
}

func (o *Overlay) nextSeq() uint64 {
	old := o.seq
	o.undo = append(o.undo, func() { o.seq = old })
	o.seq++
	return o.seq
}

func (o *Overlay) write(c meeting.Change) { o.ops = append(o.ops, Op{Change: c}) }

// DeleteMeeting implements meeting.Tx.
func (o *Overlay) DeleteMeeting(id string) {
	m, ok := o.Meeting(id)
	if !ok {
		return
	}
	for _, a := range o.Attendees(id, 0, o.AttendeeCount(id)) {
		set(o, o.people, a.ID, nil)
		set(o, o.users, userKey{id, a.ExternalUserID}, nil)
	}
	for _, p := range o.Presences(id) {
		o.stagePresence(p.MeetingID, p.AttendeeID, nil)
	}
	set(o, o.peopleN, id, o.peopleN[id]-o.AttendeeCount(id))
	set(o, o.roll, id, nil)
	set(o, o.meetings, id, nil)
	set(o, o.tokens, tokenKey{m.Account, m.ClientRequestToken}, nil)
	set(o, o.meetingsN, m.Account, o.meetingsN[m.Account]-1)
	o.write(meeting.Change{MeetingDeleted: m})
}

// PutAttendee implements meeting.Tx. The meeting must be there, what the
// attendee is found by must not change, and no two of a meeting may share an
// ExternalUserID: else it panics.
func (o *Overlay) PutAttendee(in *meeting.Attendee) *meeting.Attendee {
	a := cloneAttendee(in)
	if _, ok := o.Meeting(a.MeetingID); !ok {
		panic("store: no meeting for this attendee")
	}
	if old, ok := o.AttendeeByID(a.ID); ok {
		if old.MeetingID != a.MeetingID || old.ExternalUserID != a.ExternalUserID {
			panic("store: an attendee's meeting and user cannot change")
		}
		a.Seq = old.Seq
	} else {
		if _, taken := o.AttendeeByUser(a.MeetingID, a.ExternalUserID); taken {
			panic("store: another attendee of the meeting has this ExternalUserId")
		}
		a.Seq = o.nextSeq()
		set(o, o.roll, a.MeetingID, append(o.roll[a.MeetingID], entry{a.Seq, a.ID}))
		set(o, o.peopleN, a.MeetingID, o.peopleN[a.MeetingID]+1)
	}
	set(o, o.people, a.ID, a)
	if a.ExternalUserID != "" {
		set(o, o.users, userKey{a.MeetingID, a.ExternalUserID}, a)
	}
	o.write(meeting.Change{AttendeePut: a})
	return a
}

// DeleteAttendee implements meeting.Tx. One that is joined still, or whose
// content share is, is a fault of the caller, and panics.
func (o *Overlay) DeleteAttendee(meetingID, attendeeID string) {
	a, ok := o.Attendee(meetingID, attendeeID)
	if !ok {
		return
	}
	for _, id := range []string{a.ID, a.ID + meeting.ContentSuffix} {
		if _, joined := o.Presence(meetingID, id); joined {
			panic("store: the attendee is joined still")
		}
	}
	set(o, o.people, a.ID, nil)
	set(o, o.users, userKey{meetingID, a.ExternalUserID}, nil)
	set(o, o.peopleN, meetingID, o.peopleN[meetingID]-1)
	o.write(meeting.Change{AttendeeDeleted: a})
}

// journal is the meeting's journal as staged.
func (o *Overlay) journal(meetingID string) (j stagedJournal, ok bool) {
	if j, ok = o.journals[meetingID]; ok {
		return j, true
	}
	if base := o.base.journals[meetingID]; base != nil {
		return stagedJournal{last: base.last, targets: base.targets, base: base}, true
	}
	return stagedJournal{}, false
}

// Emit implements meeting.Tx.
func (o *Overlay) Emit(e meeting.Event) {
	j, ok := o.journal(e.MeetingID)
	if !ok {
		m, live := o.Meeting(e.MeetingID)
		if !live {
			return
		}
		j.targets = undelivered(m, 0)
	}
	j.last++
	e.Number, e.At = j.last, e.At.UTC().Round(0)
	if len(j.targets) > 0 {
		// Undoing goes back to the shorter slice; what lies behind its end is
		// then overwritten.
		j.added = append(j.added, e)
	}
	set(o, o.journals, e.MeetingID, j)
	o.write(meeting.Change{Event: &e})
}

// SetDelivered implements meeting.Tx.
func (o *Overlay) SetDelivered(meetingID string, to meeting.Target, through uint64) {
	j, ok := o.journal(meetingID)
	if !ok {
		return
	}
	d := meeting.Delivery{Target: to, Through: min(through, j.last)}
	j.targets, _ = advanced(j.targets, d)
	set(o, o.journals, meetingID, j)
	o.ops = append(o.ops, Op{Delivered: &Delivered{MeetingID: meetingID, Delivery: d}})
}

// PutDeadLetter implements meeting.Tx.
func (o *Overlay) PutDeadLetter(d meeting.DeadLetter) {
	old := o.dead
	o.undo = append(o.undo, func() { o.dead = old })
	d.Seq, d.At = o.nextSeq(), d.At.UTC().Round(0)
	o.dead = append(o.dead, &d)
	o.ops = append(o.ops, Op{DeadLetter: &d})
}

// DeleteDeadLetter implements meeting.Tx.
func (o *Overlay) DeleteDeadLetter(seq uint64) {
	if seq == 0 || o.deadGone[seq] {
		return
	}
	set(o, o.deadGone, seq, true)
	o.ops = append(o.ops, Op{DeadRemoved: seq})
}

// PutSetting implements meeting.Tx.
func (o *Overlay) PutSetting(name string, value []byte) {
	value = bytes.Clone(value)
	if value == nil {
		value = []byte{}
	}
	set(o, o.settings, name, value)
	o.ops = append(o.ops, Op{Setting: &Setting{Name: name, Value: value}})
}

// DeleteSetting implements meeting.Tx.
func (o *Overlay) DeleteSetting(name string) {
	if _, ok := o.Setting(name); !ok {
		return
	}
	set(o, o.settings, name, nil)
	o.ops = append(o.ops, Op{SettingGone: name})
}

// Meeting implements meeting.Reader, as do the methods below.
func (o *Overlay) Meeting(id string) (*meeting.Meeting, bool) {
	if m, ok := o.meetings[id]; ok {
		return m, m != nil
	}
	return o.base.Meeting(id)
}

// MeetingByToken implements meeting.Reader.
func (o *Overlay) MeetingByToken(account, token string) (*meeting.Meeting, bool) {
	if m, ok := o.tokens[tokenKey{account, token}]; ok {
		return m, m != nil
	}
	return o.base.MeetingByToken(account, token)
}

// merged lists base's meetings as staged, then the added ones.
func (o *Overlay) merged(base *index[meeting.Meeting], added []entry, after uint64, limit int) []*meeting.Meeting {
	var out []*meeting.Meeting
	if limit <= 0 {
		return nil
	}
	base.each(after, func(seq uint64, m *meeting.Meeting) bool {
		if staged, ok := o.meetings[m.ID]; ok {
			m = staged
		}
		if m != nil && m.Seq == seq {
			out = append(out, m)
		}
		return len(out) < limit
	})
	for _, e := range added {
		if m := o.meetings[e.id]; m != nil && m.Seq == e.seq && e.seq > after && len(out) < limit {
			out = append(out, m)
		}
	}
	return out
}

// Meetings implements meeting.Reader.
func (o *Overlay) Meetings(account string, after uint64, limit int) []*meeting.Meeting {
	return o.merged(o.base.accounts[account], o.accounts[account], after, limit)
}

// MeetingCount implements meeting.Reader.
func (o *Overlay) MeetingCount(account string) int {
	return o.base.MeetingCount(account) + o.meetingsN[account]
}

// Replicas implements meeting.Reader.
func (o *Overlay) Replicas(primary string) []*meeting.Meeting {
	base, added := o.base.replicas[primary], o.replicas[primary]
	return o.merged(base, added, 0, base.len()+len(added))
}

// Attendee implements meeting.Reader.
func (o *Overlay) Attendee(meetingID, attendeeID string) (*meeting.Attendee, bool) {
	a, ok := o.AttendeeByID(attendeeID)
	if !ok || a.MeetingID != meetingID {
		return nil, false
	}
	return a, true
}

// AttendeeByUser implements meeting.Reader.
func (o *Overlay) AttendeeByUser(meetingID, user string) (*meeting.Attendee, bool) {
	if a, ok := o.users[userKey{meetingID, user}]; ok {
		return a, a != nil
	}
	return o.base.AttendeeByUser(meetingID, user)
}

// AttendeeByID implements meeting.Reader.
func (o *Overlay) AttendeeByID(id string) (*meeting.Attendee, bool) {
	if a, ok := o.people[id]; ok {
		return a, a != nil
	}
	return o.base.AttendeeByID(id)
}

// Attendees implements meeting.Reader.
func (o *Overlay) Attendees(meetingID string, after uint64, limit int) []*meeting.Attendee {
	var out []*meeting.Attendee
	if limit <= 0 {
		return nil
	}
	if r := o.base.rooms[meetingID]; r != nil {
		r.people.each(after, func(seq uint64, a *meeting.Attendee) bool {
			if staged, ok := o.people[a.ID]; ok {
				a = staged
			}
			if a != nil && a.Seq == seq {
				out = append(out, a)
			}
			return len(out) < limit
		})
	}
	for _, e := range o.roll[meetingID] {
		if a := o.people[e.id]; a != nil && a.Seq == e.seq && e.seq > after && len(out) < limit {
			out = append(out, a)
		}
	}
	return out
}

// AttendeeCount implements meeting.Reader.
func (o *Overlay) AttendeeCount(meetingID string) int {
	return o.base.AttendeeCount(meetingID) + o.peopleN[meetingID]
}

// Events implements meeting.Reader.
func (o *Overlay) Events(meetingID string, after uint64, limit int) []meeting.Event {
	staged, ok := o.journal(meetingID)
	if !ok {
		return nil
	}
	if len(staged.targets) > 0 {
		after = max(after, floorOf(staged.targets))
	}
	var out []meeting.Event
	if staged.base != nil {
		out = staged.base.list(after, limit)
	}
	added := journal{events: staged.added}
	return append(out, added.list(after, limit-len(out))...)
}

// Deliveries implements meeting.Reader.
func (o *Overlay) Deliveries(meetingID string) []meeting.Delivery {
	j, _ := o.journal(meetingID)
	return lacking(j.targets, j.last)
}

// Undelivered implements meeting.Reader.
func (o *Overlay) Undelivered() []string {
	var list []string
	for _, id := range o.base.Undelivered() {
		if _, staged := o.journals[id]; !staged {
			list = append(list, id)
		}
	}
	for id, j := range o.journals {
		if len(lacking(j.targets, j.last)) > 0 {
			list = append(list, id)
		}
	}
	return list
}

// DeadLetters implements meeting.Reader.
func (o *Overlay) DeadLetters(after uint64, limit int) (out []meeting.DeadLetter) {
	add := func(d *meeting.DeadLetter) {
		if d.Seq > after && !o.deadGone[d.Seq] && len(out) < limit {
			out = append(out, *d)
		}
	}
	o.base.dead.each(after, func(_ uint64, d *meeting.DeadLetter) bool { add(d); return len(out) < limit })
	for _, d := range o.dead {
		add(d)
	}
	return out
}

// DeadLetterCount implements meeting.Reader.
func (o *Overlay) DeadLetterCount() int {
	return len(o.DeadLetters(0, o.base.dead.len()+len(o.dead)))
}

// Setting implements meeting.Reader.
func (o *Overlay) Setting(name string) ([]byte, bool) {
	if v, ok := o.settings[name]; ok {
		return v, v != nil
	}
	return o.base.Setting(name)
}

// SettingNames implements meeting.Reader.
func (o *Overlay) SettingNames(prefix string) []string {
	names := slices.DeleteFunc(o.base.SettingNames(prefix), func(name string) bool { _, staged := o.settings[name]; return staged })
	for name, value := range o.settings {
		if value != nil && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func cloneMeeting(in *meeting.Meeting) *meeting.Meeting {
	m := *in
	m.TenantIDs, m.Tags = cloneList(m.TenantIDs), cloneList(m.Tags)
	m.Notifications.Webhooks = cloneList(m.Notifications.Webhooks)
	if m.Features != nil {
		f := *m.Features
		m.Features = &f
	}
	if m.Transcribing != nil {
		t := *m.Transcribing
		t.At = t.At.UTC().Round(0)
		m.Transcribing = &t
	}
	m.CreatedAt = m.CreatedAt.UTC().Round(0)
	return &m
}

func cloneAttendee(in *meeting.Attendee) *meeting.Attendee {
	a := *in
	a.Tags = cloneList(a.Tags)
	a.CreatedAt = a.CreatedAt.UTC().Round(0)
	return &a
}

// cloneList copies a list; an empty one is nil, as it is after a reload.
func cloneList[T any](in []T) []T {
	if len(in) == 0 {
		return nil
	}
	return slices.Clone(in)
}
