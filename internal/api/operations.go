package api

import (
	"net/http"
	"slices"
)

// operations lists what is served. To add one, write its file beside the
// others, put it here, and take it out of notServed.
var operations = []*operation{
	createMeeting,
	createMeetingWithAttendees,
	getMeeting,
	listMeetings,
	deleteMeeting,
	createAttendee,
	batchCreateAttendee,
	getAttendee,
	listAttendees,
	deleteAttendee,
	updateAttendeeCapabilities,
	batchUpdateAttendeeCapabilitiesExcept,
	startMeetingTranscription,
	stopMeetingTranscription,
	tagResource,
	untagResource,
	listTagsForResource,
	tagMeeting,
	untagMeeting,
	listMeetingTags,
	tagAttendee,
	untagAttendee,
	listAttendeeTags,
}

// notServed lists operations of the APIs that are known by name only: the
// answer says so, instead of calling them unknown.
var notServed = []*operation{
	{name: "CreateMeetingDialOut", method: http.MethodPost, path: "/meetings/{MeetingId}/dial-outs", only: Chime2018},
}

// Operations names every operation that a key may be given the right to, sorted.
func Operations() []string {
	var names []string
	for _, op := range slices.Concat(operations, notServed) {
		names = append(names, op.name)
	}
	slices.Sort(names)
	return names
}
