package projection

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sort"

	"belfry/internal/meeting"
)

// Snapshot is a State as it was at one moment. It is cheap to take and may be
// encoded while the State goes on.
type Snapshot struct {
	seq      uint64
	meetings []*meeting.Meeting
	people   []*meeting.Attendee
	present  []*meeting.Presence
	attended []wireAttendance // where it is not what begins with the meeting
	journals []wireJournal
	events   [][]meeting.Event // as journals
	settings []wireSetting
	dead     []*meeting.DeadLetter
}

// Snapshot takes a snapshot. It is for the owner of the State, between commits.
func (s *State) Snapshot() *Snapshot {
	out := &Snapshot{seq: s.seq,
		meetings: make([]*meeting.Meeting, 0, len(s.rooms)), people: make([]*meeting.Attendee, 0, len(s.people))}
	for _, r := range s.rooms {
		out.meetings = append(out.meetings, r.meeting)
		for _, p := range r.present {
			out.present = append(out.present, p)
		}
		if a := r.attendance; a != newAttendance(r.meeting) {
			out.attended = append(out.attended, wireAttendance{Meeting: r.meeting.ID, Empty: a.EmptySince, Lone: a.LoneSince})
		}
	}
	for _, a := range s.people {
		out.people = append(out.people, a)
	}
	for id, j := range s.journals {
		out.journals = append(out.journals, wireFromJournal(id, j))
		out.events = append(out.events, slices.Clip(j.events))
	}
	for name, value := range s.settings {
		out.settings = append(out.settings, wireSetting{Name: name, Value: value})
	}
	out.dead = s.dead.list(0, s.dead.len())
	return out
}

// Chunks encodes the snapshot in pieces of about size bytes.
func (s *Snapshot) Chunks(size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var ops []json.RawMessage
		total := 0
		flush := func() bool {
			data, err := EncodeRecord("", []json.RawMessage{joinOps(ops)})
			ops, total = ops[:0], 0
			return yield(data, err) && err == nil
		}
		for op := range s.ops() {
			data, err := json.Marshal(op)
			if err != nil {
				yield(nil, fmt.Errorf("encode snapshot: %w", err))
				return
			}
			if len(ops) > 0 && total+len(data) > size && !flush() {
				return
			}
			ops, total = append(ops, data), total+len(data)+1
		}
		flush()
	}
}

func joinOps(ops []json.RawMessage) json.RawMessage {
	out := []byte{'['}
	for i, op := range ops {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, op...)
	}
	return append(out, ']')
}

// ops lists the writes that make the state again, in an order that can be
// applied: meetings, attendees, who is joined, journals with their events,
// settings, dead letters.
func (s *Snapshot) ops() iter.Seq[wireOp] {
	sort.Slice(s.meetings, func(i, j int) bool { return s.meetings[i].Seq < s.meetings[j].Seq })
	sort.Slice(s.people, func(i, j int) bool { return s.people[i].Seq < s.people[j].Seq })
	return func(yield func(wireOp) bool) {
		if !yield(wireOp{LastSeq: s.seq}) {
			return
		}
		for _, m := range s.meetings {
			if !yield(wireOp{Meeting: wireFromMeeting(m)}) {
				return
			}
		}
		for _, a := range s.people {
			if !yield(wireOp{Attendee: wireFromAttendee(a)}) {
				return
			}
		}
		for _, p := range s.present {
			if !yield(wireOp{Presence: wireFromPresence(p)}) {
				return
			}
		}
		for i := range s.attended {
			if !yield(wireOp{Attendance: &s.attended[i]}) {
				return
			}
		}
		for i := range s.journals {
			if !yield(wireOp{Journal: &s.journals[i]}) {
				return
			}
			for k := range s.events[i] {
				if !yield(wireOp{Event: wireFromEvent(&s.events[i][k])}) {
					return
				}
			}
		}
		for i := range s.settings {
			if !yield(wireOp{Setting: &s.settings[i]}) {
				return
			}
		}
		for _, d := range s.dead {
			if !yield(wireOp{DeadLetter: wireFromDead(d)}) {
				return
			}
		}
	}
}

// LoadChunk adds one chunk of a snapshot to a State that nobody reads yet.
func (s *State) LoadChunk(data []byte) error {
	var wire wireRecord
	if err := decode(data, &wire); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, commit := range wire.Commits {
		for _, w := range commit {
			s.seq = max(s.seq, w.LastSeq)
			switch op := fromWire(w); {
			case w.Journal != nil:
				s.journals[w.Journal.Meeting] = w.Journal.journal(s.rooms[w.Journal.Meeting])
			case w.Attendance != nil:
				s.setAttendance(w.Attendance)
			case op.PresencePut != nil:
				s.putPresence(op.PresencePut)
			case op.MeetingPut != nil:
				s.putMeeting(op.MeetingPut)
			case op.AttendeePut != nil:
				s.putAttendee(op.AttendeePut)
			case op.Event != nil:
				s.addEvent(*op.Event)
			default:
				s.note(op)
			}
		}
	}
	return nil
}

// Replace makes s what other is. Nobody else may hold other.
func (s *State) Replace(other *State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq, s.rooms, s.people, s.tokens = other.seq, other.rooms, other.people, other.tokens
	s.accounts, s.replicas = other.accounts, other.replicas
	s.journals, s.settings, s.dead = other.journals, other.settings, other.dead
}

// Len is how many meetings and attendees there are.
func (s *State) Len() (meetings, attendees int) { return len(s.rooms), len(s.people) }
