package api

import (
	"context"
	"net/http"
)

// listAttendeeTags is ListAttendeeTags.
var listAttendeeTags = &operation{
	name:    "ListAttendeeTags",
	method:  http.MethodGet,
	path:    "/meetings/{MeetingId}/attendees/{AttendeeId}/tags",
	only:    Chime2018,
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		meetingID, attendeeID := c.meetingID(), c.attendeeID()
		if err := c.check(); err != nil {
			return nil, err
		}
		tags, err := c.meetings().ListAttendeeTags(ctx, c.account, meetingID, attendeeID)
		if err != nil {
			return nil, err
		}
		return bodyOfTags(tags), nil
	},
}
