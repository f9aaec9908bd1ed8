package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// tagMeeting is TagMeeting. The value of a key that is there is replaced.
var tagMeeting = &operation{
	name:    "TagMeeting",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/tags",
	marker:  "add",
	only:    Chime2018,
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		id, tags := c.meetingID(), c.tags(c.in, 50, restjson.Required)
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().TagMeeting(ctx, c.account, id, tags)
	},
}
