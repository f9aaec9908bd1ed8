package api

import (
	"context"
	"net/http"
)

// stopMeetingTranscription is StopMeetingTranscription. Its request has no body.
var stopMeetingTranscription = &operation{
	name:    "StopMeetingTranscription",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/transcription",
	marker:  "stop",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id := c.meetingID()
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().StopMeetingTranscription(ctx, c.account, id)
	},
}
