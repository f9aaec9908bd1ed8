package api

import (
	"context"
	"net/http"
)

// untagAttendee is UntagAttendee.
var untagAttendee = &operation{
	name:    "UntagAttendee",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}/tags",
	marker:  "delete",
	only:    Chime2018,
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID, keys := c.meetingID(), c.attendeeID(), c.tagKeys(10)
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().UntagAttendee(ctx, c.account, meetingID, attendeeID, keys)
	},
}
