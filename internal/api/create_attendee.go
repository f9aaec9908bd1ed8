package api

import (
	"context"
	"net/http"
)

// createAttendee is CreateAttendee. The same ExternalUserId again answers with
// the attendee that is already there.
var createAttendee = &operation{
	name:    "CreateAttendee",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/attendees",
	success: created,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		in := c.newAttendee(c.in)
		if err := c.check(); err != nil {
			return nil, err
		}
		a, err := c.meetings().CreateAttendee(ctx, c.account, id, in)
		if err != nil {
			return nil, err
		}
		return attendeeAnswer{bodyOfAttendee(a)}, nil
	},
}
