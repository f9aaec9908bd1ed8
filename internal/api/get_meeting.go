package api

import (
	"context"
	"net/http"
)

// getMeeting is GetMeeting. "/meetings/" comes here too, with an empty id.
var getMeeting = &operation{
	name:    "GetMeeting",
	method:  http.MethodGet,
	path:    "/meetings/{MeetingId}",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		if err := c.check(); err != nil {
			return nil, err
		}
		m, err := c.meetings().GetMeeting(ctx, c.account, id)
		if err != nil {
			return nil, err
		}
		return meetingAnswer{c.meetingBody(m)}, nil
	},
}
