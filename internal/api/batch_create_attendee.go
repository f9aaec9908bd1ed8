package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
)

// batchCreateAttendee is BatchCreateAttendee. An entry that breaks a constraint
// of the model fails the whole call; one that breaks another rule, or does not
// fit in any more, is listed in Errors beside those that were made.
var batchCreateAttendee = &operation{
	name:    "BatchCreateAttendee",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/attendees",
	marker:  "batch-create",
	success: created,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		least := 0 // the 2018 model has no bound, and a most of 100 in prose
		if c.identity.is(Meetings2021) {
			least = 1
		}
		in := c.newAttendees(restjson.Required, restjson.Length(least, 100))
		if err := c.check(); err != nil {
			return nil, err
		}
		made, failed, err := c.meetings().BatchCreateAttendee(ctx, c.account, id, in)
		if err != nil {
			return nil, err
		}
		return struct {
			Attendees []attendeeBody
			Errors    []attendeeErrorBody
		}{bodiesOfAttendees(made), c.attendeeErrors(failed)}, nil
	},
}

// newAttendees reads Attendees.
func (c *call) newAttendees(rules ...restjson.Rule) []meeting.NewAttendee {
	var in []meeting.NewAttendee
	for _, r := range c.in.Objects("Attendees", rules...) {
		in = append(in, c.newAttendee(r))
	}
	return in
}

func (c *call) attendeeErrors(failed []meeting.AttendeeError) []attendeeErrorBody {
	bodies := make([]attendeeErrorBody, len(failed)) // never nil: an empty list is []
	for i, e := range failed {
		bodies[i] = attendeeErrorBody{e.ExternalUserID, c.errorCode(e.Code), e.Message}
	}
	return bodies
}
