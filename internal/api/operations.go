package api

import "net/http"

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
