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
}

// notServed lists operations of the APIs that are known by name only: the
// answer says so, instead of calling them unknown.
var notServed = []*operation{
	{name: "StartMeetingTranscription", method: http.MethodPost, path: "/meetings/{MeetingId}/transcription", marker: "start"},
	{name: "StopMeetingTranscription", method: http.MethodPost, path: "/meetings/{MeetingId}/transcription", marker: "stop"},
	{name: "TagMeeting", method: http.MethodPost, path: "/meetings/{MeetingId}/tags", marker: "add", only: Chime2018},
	{name: "UntagMeeting", method: http.MethodPost, path: "/meetings/{MeetingId}/tags", marker: "delete", only: Chime2018},
	{name: "ListMeetingTags", method: http.MethodGet, path: "/meetings/{MeetingId}/tags", only: Chime2018},
	{name: "TagAttendee", method: http.MethodPost, path: "/meetings/{MeetingId}/attendees/{AttendeeId}/tags", marker: "add", only: Chime2018},
	{name: "UntagAttendee", method: http.MethodPost, path: "/meetings/{MeetingId}/attendees/{AttendeeId}/tags", marker: "delete", only: Chime2018},
	{name: "ListAttendeeTags", method: http.MethodGet, path: "/meetings/{MeetingId}/attendees/{AttendeeId}/tags", only: Chime2018},
	{name: "TagResource", method: http.MethodPost, path: "/tags", marker: "tag-resource"},
	{name: "UntagResource", method: http.MethodPost, path: "/tags", marker: "untag-resource"},
	{name: "ListTagsForResource", method: http.MethodGet, path: "/tags"},
	{name: "CreateMeetingDialOut", method: http.MethodPost, path: "/meetings/{MeetingId}/dial-outs", only: Chime2018},
}
