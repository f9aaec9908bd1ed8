package api

import (
	"context"
	"net/http"
)

// listMeetingTags is ListMeetingTags.
var listMeetingTags = &operation{
	name:    "ListMeetingTags",
	method:  http.MethodGet,
	path:    "/meetings/{MeetingId}/tags",
	only:    Chime2018,
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		if err := c.check(); err != nil {
			return nil, err
		}
		tags, err := c.meetings().ListMeetingTags(ctx, c.account, id)
		if err != nil {
			return nil, err
		}
		return bodyOfTags(tags), nil
	},
}
