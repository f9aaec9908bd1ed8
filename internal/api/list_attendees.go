package api

import (
	"context"
	"net/http"
)

// listAttendees is ListAttendees: those that were created, joined or not.
var listAttendees = &operation{
	name:    "ListAttendees",
	method:  http.MethodGet,
	path:    "/meetings/{MeetingId}/attendees",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id, page := c.meetingID(), c.page()
		if err := c.check(); err != nil {
			return nil, err
		}
		items, next, err := c.meetings().ListAttendees(ctx, c.account, id, page)
		if err != nil {
			return nil, err
		}
		return struct {
			Attendees []attendeeBody
			NextToken string `json:",omitempty"`
		}{bodiesOfAttendees(items), next}, nil
	},
}
