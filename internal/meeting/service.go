package meeting

import (
	"context"
	"time"
)

// Service keeps the rules of meetings and attendees over a Store. The account
// is who signed the request; a meeting of another account does not exist for
// it. Every method returns *Error refusals: CodeNotFound `Meeting <id> not
// found` with the id in angle brackets, as AWS words it.
type Service struct {
	store Store
	opt   ServiceOptions
}

// ServiceOptions are the parts of a Service that a deployment or a test sets.
type ServiceOptions struct {
	Now func() time.Time // nil: time.Now
	// MediaRegions is the set of accepted MediaRegion labels; nil: AWS's list.
	MediaRegions []string
	// DefaultMediaRegion is for callers that name none; "": us-east-1.
	DefaultMediaRegion string
	// MaxAttendees is the cap of one meeting; 0: 250.
	MaxAttendees int
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
}

// NewAttendee is what CreateAttendee takes.
type NewAttendee struct {
	ExternalUserID string
	Capabilities   *Capabilities // nil: the default for the meeting
	Tags           []Tag
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
}

// NewService returns a Service over a Store.
func NewService(store Store, opt ServiceOptions) *Service {
	return &Service{store: store, opt: opt}
}

// The methods, each in a file beside this one:
//
//	CreateMeeting(ctx, account string, in NewMeeting) (*Meeting, error)
//	GetMeeting(ctx, account, meetingID string) (*Meeting, error)
//	ListMeetings(ctx, account string, page Page) (items []*Meeting, next string, err error)
//	DeleteMeeting(ctx, account, meetingID string) error
//	CreateAttendee(ctx, account, meetingID string, in NewAttendee) (*Attendee, error)
//	BatchCreateAttendee(ctx, account, meetingID string, in []NewAttendee) ([]*Attendee, []AttendeeError, error)
//	GetAttendee(ctx, account, meetingID, attendeeID string) (*Attendee, error)
//	ListAttendees(ctx, account, meetingID string, page Page) (items []*Attendee, next string, err error)
//	DeleteAttendee(ctx, account, meetingID, attendeeID string) error
//	Authenticate(ctx, token Secret) (Identity, error)   // a join token, without ContentSuffix
var _ = context.Background
