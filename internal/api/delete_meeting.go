package api

import (
	"context"
	"net/http"
)

// deleteMeeting is DeleteMeeting. A meeting that is already gone is a success,
// as it is on AWS.
var deleteMeeting = &operation{
	name:    "DeleteMeeting",
	method:  http.MethodDelete,
	path:    "/meetings/{MeetingId}",
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().DeleteMeeting(ctx, c.account, id)
	},
}
