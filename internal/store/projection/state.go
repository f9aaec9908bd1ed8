// Package projection is what the stores have in common: the state that a log
// of commits adds up to, kept in maps; the staged transactions that make new
// commits; and the encoding in which commits and snapshots are kept. It knows
// no disk and no network, and starts no goroutine.
package projection

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// LateWords is how long after its last event a meeting that is gone, and whose
// events are delivered, is remembered for what may still be said of it.
const LateWords = time.Hour

// Op is one write of a commit: a Change that watchers are told of, or another
// member.
type Op struct {
	meeting.Change
	Gone        time.Time // with PresenceDeleted: since when
	Setting     *Setting
	SettingGone string // name
	Delivered   *Delivered
	DeadLetter  *meeting.DeadLetter
	DeadRemoved uint64 // Seq
}

// Delivered is the progress of one target with one meeting.
type Delivered struct {
	MeetingID string
	meeting.Delivery
}

// Setting is a named value.
type Setting struct {
	Name  string
	Value []byte
}

// State is everything that was committed. One owner applies commits; any
// number of readers look through View.
type State struct {
	mu sync.RWMutex // held for writing by Apply and Load, for reading by View

	seq      uint64 // the last Seq given
	rooms    map[string]*room
	people   map[string]*meeting.Attendee
	tokens   map[tokenKey]*meeting.Meeting
	accounts map[string]*index[meeting.Meeting]
	replicas map[string]*index[meeting.Meeting]
	journals map[string]*journal
	settings map[string][]byte
	dead     index[meeting.DeadLetter]
}

type tokenKey struct{ account, token string }

// room is a meeting with its attendees.
type room struct {
	meeting *meeting.Meeting
	people  index[meeting.Attendee]
	users   map[string]*meeting.Attendee
	presences
}

// journal is the events of one meeting. It outlives the meeting when there is
// somebody to deliver them to.
type journal struct {
	last    uint64    // the last Number given
	at      time.Time // when the last event was
	targets []meeting.Delivery
	events  []meeting.Event // that not every target has
}

// New returns an empty State.
func New() *State {
	return &State{
		rooms:    map[string]*room{},
		people:   map[string]*meeting.Attendee{},
		tokens:   map[tokenKey]*meeting.Meeting{},
		accounts: map[string]*index[meeting.Meeting]{},
		replicas: map[string]*index[meeting.Meeting]{},
		journals: map[string]*journal{},
		settings: map[string][]byte{},
	}
}

// View runs fn while nothing is applied.
func (s *State) View(fn func(meeting.Reader) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return fn(s)
}

// Apply adds one commit and returns it as watchers are told of it: with its
// deletions filled in, and new attendees told from changed ones.
func (s *State) Apply(ops []Op) meeting.Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c meeting.Commit
	for _, op := range ops {
		ch := op.Change
		switch {
		case ch.MeetingPut != nil:
			s.putMeeting(ch.MeetingPut)
		case ch.MeetingDeleted != nil:
			if ch.MeetingDeleted, ch.Attendees = s.deleteMeeting(ch.MeetingDeleted.ID); ch.MeetingDeleted == nil {
				continue
			}
		case ch.AttendeePut != nil:
			if s.people[ch.AttendeePut.ID] != nil {
				ch = meeting.Change{AttendeeUpdated: ch.AttendeePut}
			}
			s.putAttendee(op.AttendeePut)
		case ch.AttendeeDeleted != nil:
			if ch.AttendeeDeleted = s.deleteAttendee(ch.AttendeeDeleted.ID); ch.AttendeeDeleted == nil {
				continue
			}
		case ch.PresencePut != nil:
			s.putPresence(ch.PresencePut)
		case ch.PresenceDeleted != nil:
			if ch.PresenceDeleted = s.deletePresence(ch.PresenceDeleted, op.Gone); ch.PresenceDeleted == nil {
				continue
			}
		case ch.Event != nil:
			s.addEvent(*ch.Event)
		default:
			s.note(op)
			continue
		}
		c.Changes = append(c.Changes, ch)
	}
	return c
}

// note takes a write that watchers are not told of.
func (s *State) note(op Op) {
	switch {
	case op.Setting != nil:
		s.settings[op.Setting.Name] = op.Setting.Value
	case op.SettingGone != "":
		delete(s.settings, op.SettingGone)
	case op.Delivered != nil:
		if j := s.journals[op.Delivered.MeetingID]; j != nil {
			j.delivered(op.Delivered.Delivery)
		}
	case op.DeadLetter != nil:
		s.seq = max(s.seq, op.DeadLetter.Seq)
		s.dead.put(op.DeadLetter.Seq, op.DeadLetter)
	case op.DeadRemoved != 0:
		s.dead.remove(op.DeadRemoved)
	}
}

func (s *State) putMeeting(m *meeting.Meeting) {
	s.seq = max(s.seq, m.Seq)
	r := s.rooms[m.ID]
	if r == nil {
		r = &room{users: map[string]*meeting.Attendee{}, presences: presences{attendance: newAttendance(m)}}
		s.rooms[m.ID] = r
	}
	r.meeting = m
	if m.ClientRequestToken != "" {
		s.tokens[tokenKey{m.Account, m.ClientRequestToken}] = m
	}
	indexFor(s.accounts, m.Account).put(m.Seq, m)
	if m.PrimaryMeetingID != "" {
		indexFor(s.replicas, m.PrimaryMeetingID).put(m.Seq, m)
	}
	if j := s.journals[m.ID]; j != nil && len(j.targets) == 0 {
		j.targets = undelivered(m, j.last)
	}
}

func indexFor(in map[string]*index[meeting.Meeting], key string) *index[meeting.Meeting] {
	x := in[key]
	if x == nil {
		x = &index[meeting.Meeting]{}
		in[key] = x
	}
	return x
}

func dropFrom(in map[string]*index[meeting.Meeting], key string, seq uint64) {
	x := in[key]
	if x == nil {
		return
	}
	if x.remove(seq); x.len() == 0 {
		delete(in, key)
	}
}

func (s *State) deleteMeeting(id string) (m *meeting.Meeting, gone []*meeting.Attendee) {
	r := s.rooms[id]
	if r == nil {
		return nil, nil
	}
	m, gone = r.meeting, r.people.list(0, r.people.len())
	for _, a := range gone {
		delete(s.people, a.ID)
	}
	delete(s.rooms, id)
	delete(s.tokens, tokenKey{m.Account, m.ClientRequestToken})
	dropFrom(s.accounts, m.Account, m.Seq)
	dropFrom(s.replicas, m.PrimaryMeetingID, m.Seq)
	if j := s.journals[id]; j != nil && len(j.targets) == 0 {
		delete(s.journals, id)
	}
	return m, gone
}

func (s *State) putAttendee(a *meeting.Attendee) {
	s.seq = max(s.seq, a.Seq)
	r := s.rooms[a.MeetingID]
	if r == nil {
		return
	}
	s.people[a.ID] = a
	r.people.put(a.Seq, a)
	if a.ExternalUserID != "" {
		r.users[a.ExternalUserID] = a
	}
}

func (s *State) deleteAttendee(id string) *meeting.Attendee {
	a := s.people[id]
	if a == nil {
		return nil
	}
	delete(s.people, id)
	if r := s.rooms[a.MeetingID]; r != nil {
		r.people.remove(a.Seq)
		delete(r.users, a.ExternalUserID)
	}
	return a
}

func (s *State) addEvent(e meeting.Event) {
	r := s.rooms[e.MeetingID]
	j := s.journals[e.MeetingID]
	if j == nil {
		if r == nil {
			return // a late word about a meeting that nobody listens to
		}
		j = &journal{targets: undelivered(r.meeting, 0)}
		s.journals[e.MeetingID] = j
	}
	j.last = max(j.last, e.Number)
	if e.At.After(j.at) {
		j.at = e.At
	}
	if len(j.targets) > 0 {
		j.events = append(j.events, e)
	}
}

// undelivered is the targets of m, which get what comes after a Number.
func undelivered(m *meeting.Meeting, through uint64) (list []meeting.Delivery) {
	for _, t := range m.Notifications.Targets() {
		list = append(list, meeting.Delivery{Target: t, Through: through})
	}
	return list
}

// advanced is list with the progress of one target, and the Number up to which
// all of them are.
func advanced(list []meeting.Delivery, d meeting.Delivery) (out []meeting.Delivery, floor uint64) {
	out = slices.Clone(list)
	for i := range out {
		if out[i].Target == d.Target {
			out[i].Through = max(out[i].Through, d.Through)
		}
	}
	return out, floorOf(out)
}

func floorOf(list []meeting.Delivery) uint64 {
	floor := ^uint64(0)
	for _, d := range list {
		floor = min(floor, d.Through)
	}
	return floor
}

// lacking lists the targets that do not have all up to last.
func lacking(list []meeting.Delivery, last uint64) (out []meeting.Delivery) {
	for _, d := range list {
		if d.Through < last {
			out = append(out, d)
		}
	}
	return out
}

// delivered drops what nobody waits for any more. A snapshot may share the
// events, so they are never changed in place.
func (j *journal) delivered(d meeting.Delivery) {
	var floor uint64
	j.targets, floor = advanced(j.targets, d)
	n := j.position(floor)
	switch {
	case n == len(j.events):
		j.events = nil
	case n > len(j.events)/2:
		j.events = slices.Clone(j.events[n:])
	default:
		j.events = j.events[n:]
	}
}

// position is where the first event after a Number is or would be.
func (j *journal) position(after uint64) int {
	return sort.Search(len(j.events), func(i int) bool { return j.events[i].Number > after })
}

func (j *journal) list(after uint64, limit int) []meeting.Event {
	i := j.position(after)
	n := min(max(limit, 0), len(j.events)-i)
	if n == 0 {
		return nil
	}
	return slices.Clone(j.events[i : i+n])
}

// Prune forgets the meetings that are gone, delivered and old.
func (s *State) Prune(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, j := range s.journals {
		if len(j.events) == 0 && s.rooms[id] == nil && now.Sub(j.at) > LateWords {
			delete(s.journals, id)
		}
	}
}

// Meeting implements meeting.Reader, as do the methods below. Outside View they
// are for the owner of the State alone.
func (s *State) Meeting(id string) (*meeting.Meeting, bool) {
	r := s.rooms[id]
	if r == nil {
		return nil, false
	}
	return r.meeting, true
}

// MeetingByToken implements meeting.Reader.
func (s *State) MeetingByToken(account, token string) (*meeting.Meeting, bool) {
	m, ok := s.tokens[tokenKey{account, token}]
	return m, ok
}

// Meetings implements meeting.Reader.
func (s *State) Meetings(account string, after uint64, limit int) []*meeting.Meeting {
	return s.accounts[account].list(after, limit)
}

// MeetingCount implements meeting.Reader.
func (s *State) MeetingCount(account string) int { return s.accounts[account].len() }

// Replicas implements meeting.Reader.
func (s *State) Replicas(primary string) []*meeting.Meeting {
	x := s.replicas[primary]
	return x.list(0, x.len())
}

// Attendee implements meeting.Reader.
func (s *State) Attendee(meetingID, attendeeID string) (*meeting.Attendee, bool) {
	a := s.people[attendeeID]
	if a == nil || a.MeetingID != meetingID {
		return nil, false
	}
	return a, true
}

// AttendeeByUser implements meeting.Reader.
func (s *State) AttendeeByUser(meetingID, externalUserID string) (*meeting.Attendee, bool) {
	r := s.rooms[meetingID]
	if r == nil {
		return nil, false
	}
	a, ok := r.users[externalUserID]
	return a, ok
}

// AttendeeByID implements meeting.Reader.
func (s *State) AttendeeByID(id string) (*meeting.Attendee, bool) {
	a, ok := s.people[id]
	return a, ok
}

// Attendees implements meeting.Reader.
func (s *State) Attendees(meetingID string, after uint64, limit int) []*meeting.Attendee {
	r := s.rooms[meetingID]
	if r == nil {
		return nil
	}
	return r.people.list(after, limit)
}

// AttendeeCount implements meeting.Reader.
func (s *State) AttendeeCount(meetingID string) int {
	r := s.rooms[meetingID]
	if r == nil {
		return 0
	}
	return r.people.len()
}

// Events implements meeting.Reader.
func (s *State) Events(meetingID string, after uint64, limit int) []meeting.Event {
	j := s.journals[meetingID]
	if j == nil {
		return nil
	}
	return j.list(after, limit)
}

// Deliveries implements meeting.Reader.
func (s *State) Deliveries(meetingID string) []meeting.Delivery {
	j := s.journals[meetingID]
	if j == nil {
		return nil
	}
	return lacking(j.targets, j.last)
}

// Undelivered implements meeting.Reader.
func (s *State) Undelivered() []string {
	var list []string
	for id, j := range s.journals {
		if len(j.events) > 0 {
			list = append(list, id)
		}
	}
	return list
}

// DeadLetters implements meeting.Reader.
func (s *State) DeadLetters(after uint64, limit int) []meeting.DeadLetter {
	return values(s.dead.list(after, limit))
}

func values[T any](in []*T) (out []T) {
	for _, v := range in {
		out = append(out, *v)
	}
	return out
}

// DeadLetterCount implements meeting.Reader.
func (s *State) DeadLetterCount() int { return s.dead.len() }

// Setting implements meeting.Reader.
func (s *State) Setting(name string) ([]byte, bool) {
	v, ok := s.settings[name]
	return v, ok
}

// SettingNames implements meeting.Reader.
func (s *State) SettingNames(prefix string) []string {
	var names []string
	for name := range s.settings {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
