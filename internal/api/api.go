// Package api is the front door that AWS SDKs speak to: the HTTPS JSON control
// plane of Amazon Chime SDK meetings, in both of its service models, on one
// endpoint. A request goes through here in this order: its key and date are
// looked at, its body is bounded and read, its signature proved, the operation found by path, method and the
// query parameter "operation", the API told by what the request carries, the
// caller's right to the operation checked and its account's rate of requests, the
// members decoded and validated, one method of the domain called, and the answer
// written.
//
// An operation is one small file: a value of type operation that names its
// route and has the function that serves it. operations.go lists them.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/account"
	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
	"belfry/internal/sigv4"
)

// Meetings is the domain as this package needs it; *meeting.Service is one.
type Meetings interface {
	CreateMeeting(ctx context.Context, account string, in meeting.NewMeeting) (*meeting.Meeting, error)
	CreateMeetingWithAttendees(ctx context.Context, account string, in meeting.NewMeeting, attendees []meeting.NewAttendee) (*meeting.Meeting, []*meeting.Attendee, []meeting.AttendeeError, error)
	GetMeeting(ctx context.Context, account, meetingID string) (*meeting.Meeting, error)
	ListMeetings(ctx context.Context, account string, page meeting.Page) (items []*meeting.Meeting, next string, err error)
	DeleteMeeting(ctx context.Context, account, meetingID string) error
	CreateAttendee(ctx context.Context, account, meetingID string, in meeting.NewAttendee) (*meeting.Attendee, error)
	BatchCreateAttendee(ctx context.Context, account, meetingID string, in []meeting.NewAttendee) ([]*meeting.Attendee, []meeting.AttendeeError, error)
	GetAttendee(ctx context.Context, account, meetingID, attendeeID string) (*meeting.Attendee, error)
	ListAttendees(ctx context.Context, account, meetingID string, page meeting.Page) (items []*meeting.Attendee, next string, err error)
	DeleteAttendee(ctx context.Context, account, meetingID, attendeeID string) error
	UpdateAttendeeCapabilities(ctx context.Context, account, meetingID, attendeeID string, to meeting.Capabilities) (*meeting.Attendee, error)
	BatchUpdateAttendeeCapabilitiesExcept(ctx context.Context, account, meetingID string, except []string, to meeting.Capabilities) error
	StartMeetingTranscription(ctx context.Context, account, meetingID string, c meeting.Transcription) error
	StopMeetingTranscription(ctx context.Context, account, meetingID string) error

	TagResource(ctx context.Context, account, arn string, tags []meeting.Tag) error
	UntagResource(ctx context.Context, account, arn string, keys []string) error
	ListTagsForResource(ctx context.Context, account, arn string) ([]meeting.Tag, error)
	TagMeeting(ctx context.Context, account, meetingID string, tags []meeting.Tag) error
	UntagMeeting(ctx context.Context, account, meetingID string, keys []string) error
	ListMeetingTags(ctx context.Context, account, meetingID string) ([]meeting.Tag, error)
	TagAttendee(ctx context.Context, account, meetingID, attendeeID string, tags []meeting.Tag) error
	UntagAttendee(ctx context.Context, account, meetingID, attendeeID string, keys []string) error
	ListAttendeeTags(ctx context.Context, account, meetingID, attendeeID string) ([]meeting.Tag, error)
}

// Options are the parts of a Handler. Meetings, Keys and Endpoints must be set.
type Options struct {
	Meetings Meetings
	Keys     account.Keyring
	// Endpoints tells where clients find the media of a meeting whose answer
	// goes to this request.
	Endpoints func(*http.Request) Endpoints
	// Quotas tells an account's RequestRate and RequestBurst. It is asked at every
	// request, so it must not block; nil: no limit.
	Quotas func(account string) meeting.Quotas

	Log     *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: not registered anywhere
	Now     func() time.Time      // nil: time.Now

	// Signature sets how signatures are verified; the zero value is right.
	Signature sigv4.Verifier
	// DefaultAPI is what a request means that does not tell which API it is for;
	// "": left open, so that only what both APIs refuse is refused.
	DefaultAPI API
	// MaxBody bounds a request's body in bytes; 0: 1 MiB.
	MaxBody int64
	// BodyTime is how long a body may take to come; 0: 30 s.
	BodyTime time.Duration
	// ValidationAsBadRequest answers broken model constraints with the declared
	// BadRequestException instead of the ValidationException that AWS sends.
	ValidationAsBadRequest bool
	// AWSRegionsOnly refuses signatures for a region in which AWS does not have the
	// API: the 2018 one is in us-east-1 alone. Without it any region is as good.
	AWSRegionsOnly bool
}

// Handler serves both APIs. It is an http.Handler for everything below the
// endpoint that SDKs are pointed at.
type Handler struct {
	opt      Options
	routes   []route
	throttle *throttle
	metrics  metrics
}

// New returns a Handler, or says which option is missing.
func New(opt Options) (*Handler, error) {
	switch {
	case opt.Meetings == nil:
		return nil, errors.New("api: Options.Meetings is not set")
	case opt.Keys == nil:
		return nil, errors.New("api: Options.Keys is not set")
	case opt.Endpoints == nil:
		return nil, errors.New("api: Options.Endpoints is not set")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.MaxBody == 0 {
		opt.MaxBody = 1 << 20
	}
	if opt.BodyTime == 0 {
		opt.BodyTime = 30 * time.Second
	}
	m, err := newMetrics(opt.Metrics)
	if err != nil {
		return nil, err
	}
	return &Handler{opt: opt, routes: newRoutes(operations, notServed), throttle: newThrottle(), metrics: m}, nil
}

// answer serves one request. What it learns on the way it leaves in c, for the
// log, also when it fails.
func (h *Handler) answer(c *call, r *http.Request) (status int, body any, err error) {
	if r.ContentLength > h.opt.MaxBody {
		drain(r)
		return 0, nil, restjson.TooLarge(h.opt.MaxBody)
	}
	claim, err := h.opt.Signature.Claim(r, h.opt.Keys.Lookup, h.opt.Now())
	if err != nil {
		drain(r)
		return 0, nil, err
	}
	raw, err := h.readBody(r)
	if err != nil {
		return 0, nil, err
	}
	signer, err := claim.Prove(raw)
	if err != nil {
		return 0, nil, err
	}
	c.account, c.region = signer.Account, signer.Region
	if signer.Key.AccountDisabled {
		return 0, nil, meeting.Errorf(meeting.CodeForbidden, "Account %s is disabled", signer.Account)
	}

	target := targetOf(r)
	op, labels, refusal := find(h.routes, r.Method, target)
	if refusal != nil {
		return 0, nil, refusal
	}
	c.operation, c.labels, c.query = op.name, labels, target.query

	var members restjson.Object
	if op.hasBody() {
		members, refusal = restjson.Parse(raw)
	}
	c.in = restjson.NewReader(members)
	c.identity = identify(op, r, target.prefix, members, h.opt.DefaultAPI)

	if h.opt.AWSRegionsOnly && !c.identity.isIn(signer.Region) {
		return 0, nil, restjson.WrongRegion(signer.Region)
	}
	if !signer.Key.MayCall(op.name) {
		return 0, nil, c.denied(signer.Key.User())
	}
	if err := h.admit(signer.Key, op.name); err != nil {
		return 0, nil, err
	}
	if refusal != nil {
		return 0, nil, refusal
	}
	if op.serve == nil {
		return 0, nil, restjson.UnknownOperation("Belfry does not serve the operation %s.", op.name)
	}
	body, err = op.serve(r.Context(), c)
	if err != nil {
		return 0, nil, err
	}
	return op.status(c.identity), body, nil
}

// admit counts the request against the quota of the key's account.
func (h *Handler) admit(key account.Key, operation string) error {
	if h.opt.Quotas == nil || key.Unthrottled {
		return nil
	}
	q := h.opt.Quotas(key.Account)
	if h.throttle.take(key.Account, operation, q, h.opt.Now()) {
		return nil
	}
	h.metrics.throttled.WithLabelValues(operation).Inc()
	return q.Throttled(key.Account, operation)
}

// maxDrain bounds what is read and thrown away of a body that is not wanted, so
// that its sender gets to see the answer.
const maxDrain = 8 << 20

func drain(r *http.Request) {
	if r.Body != nil {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
	}
}

func (h *Handler) readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	limit := h.opt.MaxBody
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &restjson.Error{Status: http.StatusRequestTimeout, Name: "RequestTimeoutException",
			Message: fmt.Sprintf("The request body did not come to its end within %v.", h.opt.BodyTime), Cause: err}
	}
	if err != nil {
		return nil, &restjson.Error{Status: http.StatusBadRequest, Name: "SerializationException",
			Message: "The request body could not be read to its end.", Cause: err}
	}
	if int64(len(body)) > limit {
		drain(r)
		return nil, restjson.TooLarge(limit)
	}
	return body, nil
}
