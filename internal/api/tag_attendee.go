package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// tagAttendee is TagAttendee, with fewer tags than a meeting may have.
var tagAttendee = &operation{
	name:    "TagAttendee",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}/tags",
	marker:  "add",
	only:    Chime2018,
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID, tags := c.meetingID(), c.attendeeID(), c.tags(c.in, 10, restjson.Required)
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().TagAttendee(ctx, c.account, meetingID, attendeeID, tags)
	},
}
