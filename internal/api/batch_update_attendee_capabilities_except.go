package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// batchUpdateAttendeeCapabilitiesExcept is BatchUpdateAttendeeCapabilitiesExcept:
// it changes every attendee but those listed, and answers with no body.
var batchUpdateAttendeeCapabilitiesExcept = &operation{
	name:    "BatchUpdateAttendeeCapabilitiesExcept",
	method:  http.MethodPut,
	path:    "/meetings/{MeetingId}/attendees/capabilities",
	marker:  "batch-update-except",
	only:    Meetings2021,
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		var except []string
		for _, r := range c.in.Objects("ExcludedAttendeeIds", restjson.Required, restjson.Length(1, 250)) {
			except = append(except, r.String("AttendeeId", restjson.Required, guid))
		}
		to := capabilities(c.in, restjson.Required)
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().BatchUpdateAttendeeCapabilitiesExcept(ctx, c.account, id, except, *to)
	},
}
