package page

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"
	"github.com/aws/smithy-go"

	"belfry/internal/meeting"
)

// maxBody bounds a request of the page; a name and a room fit many times over.
const maxBody = 4 << 10

type joinRequest struct {
	Room string `json:"room"` // the last part of the page's address
	Name string `json:"name"` // as the person typed it
}

// joinAnswer is what MeetingSessionConfiguration of the media client takes.
type joinAnswer struct {
	Meeting  *types.Meeting
	Attendee *types.Attendee
}

type endRequest struct {
	Room      string `json:"room"`
	MeetingID string `json:"meetingId"`
}

// join opens the room's meeting, or finds it open, and adds one attendee to it.
func (p *Page) join(w http.ResponseWriter, r *http.Request) {
	var in joinRequest
	if err := readJSON(w, r, &in); err != nil {
		writeError(w, err)
		return
	}
	if err := checkRoom(in.Room); err != nil {
		writeError(w, err)
		return
	}
	userID, err := externalUserID(in.Name)
	if err != nil {
		writeError(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()

	answer, err := p.seat(ctx, in.Room, userID)
	if code(err) == "NotFoundException" { // ended between the two calls: a new meeting begins
		answer, err = p.seat(ctx, in.Room, userID)
	}
	if err != nil {
		p.refused(w, r, "join", err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// seat is the heart of the backend. The token made from the room's name is what
// brings everybody into the same meeting: CreateMeeting with a token that is in
// use answers the meeting that is there.
func (p *Page) seat(ctx context.Context, room, userID string) (*joinAnswer, error) {
	m, err := p.api.CreateMeeting(ctx, &chimesdkmeetings.CreateMeetingInput{
		ClientRequestToken: aws.String("meet-" + room),
		ExternalMeetingId:  aws.String(room),
		MediaRegion:        aws.String(p.cfg.Region),
	}, p.at)
	if err != nil {
		return nil, err
	}
	a, err := p.api.CreateAttendee(ctx, &chimesdkmeetings.CreateAttendeeInput{
		MeetingId:      m.Meeting.MeetingId,
		ExternalUserId: aws.String(userID),
	}, p.at)
	if err != nil {
		return nil, err
	}
	return &joinAnswer{Meeting: m.Meeting, Attendee: a.Attendee}, nil
}

// end closes the meeting for everybody. Whoever is in it may do that here; it
// takes the room's name and the meeting's id, so nobody ends by this way a
// meeting that the page did not open.
func (p *Page) end(w http.ResponseWriter, r *http.Request) {
	var in endRequest
	if err := readJSON(w, r, &in); err != nil {
		writeError(w, err)
		return
	}
	if err := checkRoom(in.Room); err != nil {
		writeError(w, err)
		return
	}
	if !guid.MatchString(in.MeetingID) {
		writeError(w, meeting.Errorf(meeting.CodeBadRequest, "meetingId must be the MeetingId that joining answered."))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()

	m, err := p.api.GetMeeting(ctx, &chimesdkmeetings.GetMeetingInput{MeetingId: aws.String(in.MeetingID)}, p.at)
	if err == nil && aws.ToString(m.Meeting.ExternalMeetingId) != in.Room {
		writeError(w, meeting.Errorf(meeting.CodeForbidden, "That meeting does not belong to this room."))
		return
	}
	if err == nil {
		_, err = p.api.DeleteMeeting(ctx, &chimesdkmeetings.DeleteMeetingInput{MeetingId: aws.String(in.MeetingID)}, p.at)
	}
	if err != nil && code(err) != "NotFoundException" { // gone already: what was asked for
		p.refused(w, r, "end", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

var (
	guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	// A room is one part of a path, and with "meet-" before it a ClientRequestToken.
	roomName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])$`)
	// reserved are parts of the path below /meet/ that are not rooms.
	reserved = map[string]bool{"api": true, "assets": true, "licenses": true}
)

func checkRoom(room string) error {
	if !roomName.MatchString(room) || reserved[room] {
		return meeting.Errorf(meeting.CodeBadRequest, "A room is 2 to 48 small letters, digits and hyphens, such as quiet-harbour-7k3pwm.")
	}
	return nil
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return meeting.Errorf(meeting.CodeBadRequest, "Send JSON, with Content-Type: application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return &meeting.Error{Code: meeting.CodeBadRequest, Message: "The request could not be read; it may be at most 4 KiB.", Err: err}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &meeting.Error{Code: meeting.CodeBadRequest, Message: "The request is not the JSON object that was expected.", Err: err}
	}
	return nil
}

// refused answers for a call to the API that failed: in words for the person,
// with AWS's error for the operator's log.
func (p *Page) refused(w http.ResponseWriter, r *http.Request, call string, err error) {
	p.log.WarnContext(r.Context(), "page: call refused", "call", call, "error", err)
	answer := meeting.Errorf(meeting.CodeUnavailable, "The meeting server did not answer. Try again in a moment.")
	switch code(err) {
	case "LimitExceededException", "ResourceLimitExceededException":
		answer = meeting.Errorf(meeting.CodeLimitExceeded, "This meeting is full.")
		var call *smithy.OperationError
		if errors.As(err, &call) && call.Operation() == "CreateMeeting" {
			answer = meeting.Errorf(meeting.CodeLimitExceeded, "This server has as many meetings as it may. Try again when one has ended.")
		}
	case "ThrottlingException", "ThrottledClientException", "TooManyRequestsException":
		answer = meeting.Errorf(meeting.CodeThrottled, "Many people are joining right now. Try again in a moment.")
	case "NotFoundException":
		answer = meeting.Errorf(meeting.CodeNotFound, "This meeting has ended.")
	case "UnauthorizedException", "ForbiddenException", "UnauthorizedClientException", "AccessDeniedException":
		answer = meeting.Errorf(meeting.CodeInternal, "The page's key was not accepted by the meeting server. Whoever runs it has to look at its settings.")
	case "ConflictException":
		answer = meeting.Errorf(meeting.CodeConflict, "This room's meeting was opened with other settings. End it, or take another room.")
	case "BadRequestException", "ValidationException":
		answer = meeting.Errorf(meeting.CodeInternal, "The meeting server did not accept the request. Whoever runs it finds the reason in its log.")
	}
	writeError(w, answer)
}

// code is the name of the API error in err, "" when it is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// writeError answers {"code", "message"}; the message is shown to the person.
func writeError(w http.ResponseWriter, err error) {
	var e *meeting.Error
	if !errors.As(err, &e) {
		e = meeting.Errorf(meeting.CodeInternal, "Something went wrong on the server.")
	}
	status := http.StatusInternalServerError
	switch e.Code {
	case meeting.CodeBadRequest:
		status = http.StatusBadRequest
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
	case meeting.CodeForbidden:
		status = http.StatusForbidden
	case meeting.CodeNotFound:
		status = http.StatusNotFound
	case meeting.CodeLimitExceeded, meeting.CodeConflict:
		status = http.StatusConflict
	case meeting.CodeThrottled:
		status = http.StatusTooManyRequests
	case meeting.CodeUnavailable:
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, struct {
		Code    meeting.Code `json:"code"`
		Message string       `json:"message"`
	}{e.Code, e.Message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the connection is gone; there is nobody to tell
}
