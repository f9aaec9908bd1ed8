package api

import (
	"context"
	"net/http"
)

// listMeetings is ListMeetings, which the 2021 API does not have. It lists the
// meetings made through either.
var listMeetings = &operation{
	name:    "ListMeetings",
	method:  http.MethodGet,
	path:    "/meetings",
	only:    Chime2018,
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		page := c.page()
		if err := c.check(); err != nil {
			return nil, err
		}
		items, next, err := c.meetings().ListMeetings(ctx, c.account, page)
		if err != nil {
			return nil, err
		}
		bodies := make([]meetingBody, len(items))
		for i, m := range items {
			bodies[i] = c.meetingBody(m)
		}
		return struct {
			Meetings  []meetingBody
			NextToken string `json:",omitempty"`
		}{bodies, next}, nil
	},
}
