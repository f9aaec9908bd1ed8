package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// updateAttendeeCapabilities is UpdateAttendeeCapabilities: all three media at
// once, for an attendee that may be in the meeting already.
var updateAttendeeCapabilities = &operation{
	name:    "UpdateAttendeeCapabilities",
	method:  http.MethodPut,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}/capabilities",
	only:    Meetings2021,
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID := c.meetingID(), c.attendeeID()
		to := capabilities(c.in, restjson.Required)
		if err := c.check(); err != nil {
			return nil, err
		}
		a, err := c.meetings().UpdateAttendeeCapabilities(ctx, c.account, meetingID, attendeeID, *to)
		if err != nil {
			return nil, err
		}
		return attendeeAnswer{bodyOfAttendee(a)}, nil
	},
}
