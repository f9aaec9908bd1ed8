package meeting

import (
	"strings"
	"sync"
	"time"
)

// Service keeps the rules of meetings and attendees over a Store. The account
// is who signed the request; a meeting of another account does not exist for
// it. Every method returns *Error refusals: CodeNotFound `Meeting <id> not
// found` with the id in angle brackets, as AWS words it.
type Service struct {
	store Store
	opt   ServiceOptions

	pageKeyMu sync.Mutex
	pageKey   []byte // seals page tokens; read from the store once

	decoded sync.Map // account → *ownQuotas
}

// ServiceOptions are the parts of a Service that a deployment or a test sets.
type ServiceOptions struct {
	Now func() time.Time // nil: time.Now
	// MediaRegions is the set of accepted MediaRegion labels; empty: AWS's list.
	MediaRegions []string
	// DefaultMediaRegion is for callers that name none; "": us-east-1.
	DefaultMediaRegion string
	// Quotas is for accounts that have none of their own. A 0 that does not stand
	// for no limit means AWS's default.
	Quotas Quotas
	// Webhooks are URLs that the events of every new meeting go to.
	Webhooks []string
	// Transcription says that there is an engine that can transcribe.
	Transcription bool
	// Full reports that the server has no room for more meetings: CreateMeeting
	// answers CodeUnavailable unless the meeting is there. nil: never.
	Full func() bool
}

// NewMeeting is what CreateMeeting takes.
type NewMeeting struct {
	ControlRegion      string // of the credential scope
	ClientRequestToken string
	ExternalMeetingID  string
	HostID             string
	MediaRegion        string
	PrimaryMeetingID   string
	TenantIDs          []string
	NetworkType        string
	Features           *Features
	Notifications      Notifications
	Tags               []Tag
	// StrictIDs holds ExternalMeetingID to ValidateExternalID, as the API of
	// 2021-07-15 does.
	StrictIDs bool
}

// NewAttendee is what CreateAttendee takes.
type NewAttendee struct {
	ExternalUserID string
	Capabilities   *Capabilities // nil: the default for the meeting
	Tags           []Tag
	// StrictIDs holds ExternalUserID to ValidateExternalID, as the API of
	// 2021-07-15 does.
	StrictIDs bool
}

// AttendeeError is one entry of Errors in a batch: the others were made.
type AttendeeError struct {
	ExternalUserID string
	Code           Code
	Message        string
}

// Page asks for one page of a list.
type Page struct {
	Token string // NextToken of the page before, "" for the first
	Max   int    // 1–100, 0: 100
}

// Identity is who a join token belongs to.
type Identity struct {
	Meeting  *Meeting
	Attendee *Attendee
	Primary  *Meeting // of the replica that Meeting is; nil when it is none
}

// NewService returns a Service over a Store.
func NewService(store Store, opt ServiceOptions) *Service {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if len(opt.MediaRegions) == 0 {
		opt.MediaRegions = MediaRegions
	}
	if opt.DefaultMediaRegion == "" {
		opt.DefaultMediaRegion = defaultMediaRegion
	}
	opt.Quotas = opt.Quotas.withDefaults()
	return &Service{store: store, opt: opt}
}

// find looks a meeting up for an account, by an id in any letter case.
func find(r Reader, account, meetingID string) (*Meeting, error) {
	m, ok := r.Meeting(strings.ToLower(meetingID))
	if !ok || m.Account != account {
		return nil, meetingNotFound(meetingID)
	}
	return m, nil
}

func meetingNotFound(id string) *Error {
	return Errorf(CodeNotFound, "Meeting <%.64s> not found", id)
}

func attendeeNotFound(id string) *Error {
	return Errorf(CodeNotFound, "Attendee <%.64s> not found", id)
}

// event is what an event of m says; a is nil for those of the meeting itself.
func event(t EventType, m *Meeting, a *Attendee, at time.Time) Event {
	e := Event{
		ID: newUUID(), Type: t, At: at,
		Account: m.Account, Region: m.ControlRegion,
		MeetingID: m.ID, ExternalMeetingID: m.ExternalMeetingID, MediaRegion: m.MediaRegion,
	}
	if a != nil {
		e.AttendeeID, e.ExternalUserID = a.ID, a.ExternalUserID
	}
	return e
}
