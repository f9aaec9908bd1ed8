package api

import (
	"context"
	"net/http"
)

// deleteAttendee is DeleteAttendee. Its token stops working at once.
var deleteAttendee = &operation{
	name:    "DeleteAttendee",
	method:  http.MethodDelete,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}",
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID := c.meetingID(), c.attendeeID()
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().DeleteAttendee(ctx, c.account, meetingID, attendeeID)
	},
}
