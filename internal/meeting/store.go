package meeting

import (
	"context"
	"time"
)

// Store keeps meetings, attendees and events. All of Belfry's state that must
// outlive the process goes through it; internal/store has the implementations
// and the suite that each must pass.
type Store interface {
	// View runs fn on one consistent view of what is committed, from memory:
	// it never waits for the disk. fn must not call the Store again.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn and commits what it wrote in one atomic step. When Update
	// returns nil the change is on disk and visible to View. When fn returns an
	// error nothing is written and Update returns that error as it is. Updates
	// are serialised: fn sees every earlier commit. fn may run more than once,
	// so it must have no effect but its writes, and must not call the Store.
	// A store that cannot commit answers CodeUnavailable.
	Update(ctx context.Context, fn func(Tx) error) error

	// Watch calls fn for each commit, this process's and other nodes', in order,
	// once it is durable and visible and before the Update that made it returns.
	// fn must not block nor call Update. stop ends the calls.
	Watch(fn func(Commit)) (stop func())

	// Close ends the store; calls after it answer CodeUnavailable.
	Close() error
}

// Reader looks things up. Ids are lower-case. Lists are in creation order
// (Seq), begin after the given Seq, and hold at most limit items.
type Reader interface {
	Meeting(id string) (*Meeting, bool)
	MeetingByToken(account, clientRequestToken string) (*Meeting, bool)
	Meetings(account string, after uint64, limit int) []*Meeting
	MeetingCount(account string) int
	Replicas(primaryMeetingID string) []*Meeting

	Attendee(meetingID, attendeeID string) (*Attendee, bool)
	AttendeeByUser(meetingID, externalUserID string) (*Attendee, bool)
	AttendeeByID(attendeeID string) (*Attendee, bool)
	Attendees(meetingID string, after uint64, limit int) []*Attendee
	AttendeeCount(meetingID string) int

	// MeetingIDs lists all live meetings of all accounts, in no order.
	MeetingIDs() []string
	// Presence is an attendee's, or its content share's by its id with
	// ContentSuffix, while it is joined. Presences lists a meeting's by AttendeeID.
	Presence(meetingID, attendeeID string) (Presence, bool)
	Presences(meetingID string) []Presence
	// Attendance is how many are joined in a live meeting, and since when too few.
	Attendance(meetingID string) (Attendance, bool)

	// Events lists what is kept for delivery, in order, after the given Number.
	// Only meetings with a notification target keep their events, and only until
	// every target has them.
	Events(meetingID string, after uint64, limit int) []Event
	// Deliveries lists the targets of a meeting that lack events of it.
	Deliveries(meetingID string) []Delivery
	// Undelivered lists the meetings, live or gone, that have such targets, in no
	// order.
	Undelivered() []string
	// DeadLetters lists what targets did not take, in the order of Seq.
	DeadLetters(after uint64, limit int) []DeadLetter
	DeadLetterCount() int

	// Setting is a small value that the server keeps for itself, such as the key
	// that seals page tokens.
	Setting(name string) ([]byte, bool)
	// SettingNames lists the settings whose names begin so, sorted.
	SettingNames(prefix string) []string
}

// Tx is a Reader that sees its own writes, and the writes.
type Tx interface {
	Reader
	// PutMeeting adds or replaces a meeting by ID; a new one is given its Seq.
	PutMeeting(*Meeting) *Meeting
	// DeleteMeeting removes a meeting with its attendees and their presence. What
	// it kept for delivery stays until delivered.
	DeleteMeeting(id string)
	// PutAttendee adds or replaces an attendee by ID; a new one is given its Seq.
	PutAttendee(*Attendee) *Attendee
	// DeleteAttendee removes one that is joined no more: its presence and its
	// content share's have been deleted.
	DeleteAttendee(meetingID, attendeeID string)
	// PutPresence adds or replaces the presence of an attendee who is there.
	PutPresence(Presence)
	// DeletePresence ends one; at is since when the attendee is gone, which
	// Attendance counts from.
	DeletePresence(meetingID, attendeeID string, at time.Time)
	// Emit numbers the event within its meeting and writes it with the rest. A
	// late word about a meeting that is gone is kept when the meeting had targets.
	Emit(Event)
	// SetDelivered notes that a target has a meeting's events up to a Number; it
	// never goes back. Events that every target has are dropped.
	SetDelivered(meetingID string, to Target, through uint64)
	// PutDeadLetter adds a dead letter, which is given its Seq.
	PutDeadLetter(DeadLetter)
	DeleteDeadLetter(seq uint64)
	PutSetting(name string, value []byte)
	DeleteSetting(name string)
}

// Commit is one atomic step, in the order of its writes.
type Commit struct{ Changes []Change }

// Change is one write; exactly one member is set, but for Attendees.
type Change struct {
	MeetingPut      *Meeting
	MeetingDeleted  *Meeting    // as it was
	Attendees       []*Attendee // beside MeetingDeleted: the attendees that it had, in creation order
	AttendeePut     *Attendee   // a new one
	AttendeeUpdated *Attendee   // one that was there before, as it is now
	AttendeeDeleted *Attendee   // as it was; not repeated for the attendees of a deleted meeting
	PresencePut     *Presence   // a new one, or as it is now
	PresenceDeleted *Presence   // as it was; not repeated for those in a deleted meeting
	Event           *Event
}
