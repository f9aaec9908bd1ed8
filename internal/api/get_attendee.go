package api

import (
	"context"
	"net/http"
)

// getAttendee is GetAttendee. The answer has the same JoinToken as at creation.
var getAttendee = &operation{
	name:    "GetAttendee",
	method:  http.MethodGet,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID := c.meetingID(), c.attendeeID()
		if err := c.check(); err != nil {
			return nil, err
		}
		a, err := c.meetings().GetAttendee(ctx, c.account, meetingID, attendeeID)
		if err != nil {
			return nil, err
		}
		return attendeeAnswer{bodyOfAttendee(a)}, nil
	},
}
