package api

import (
	"context"
	"net/http"
)

// untagMeeting is UntagMeeting. A key that is not there is no error.
var untagMeeting = &operation{
	name:    "UntagMeeting",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/tags",
	marker:  "delete",
	only:    Chime2018,
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		id, keys := c.meetingID(), c.tagKeys(50)
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().UntagMeeting(ctx, c.account, id, keys)
	},
}
