package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// createMeetingWithAttendees is CreateMeetingWithAttendees: CreateMeeting and
// BatchCreateAttendee in one.
var createMeetingWithAttendees = &operation{
	name:            "CreateMeetingWithAttendees",
	method:          http.MethodPost,
	path:            "/meetings",
	marker:          "create-attendees",
	success:         created,
	needsExternalID: true,
	serve: func(ctx context.Context, c *call) (any, error) {
		in := c.newMeeting()
		most := 20 // of the 2021 model; the other has 10
		if c.identity.is(Chime2018) {
			most = 10
		}
		attendees := c.newAttendees(c.told2021(restjson.Required), restjson.Length(1, most))
		if err := c.check(); err != nil {
			return nil, err
		}
		m, made, failed, err := c.meetings().CreateMeetingWithAttendees(ctx, c.account, in, attendees)
		if err != nil {
			return nil, err
		}
		return struct {
			Meeting   meetingBody
			Attendees []attendeeBody
			Errors    []attendeeErrorBody
		}{c.meetingBody(m), bodiesOfAttendees(made), c.attendeeErrors(failed)}, nil
	},
}
