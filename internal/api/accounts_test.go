package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// To another account a meeting with all that belongs to it is not there: each
// operation answers as it answers for a meeting that never was, and changes
// nothing.
func TestMeetingsAreTheirAccountsAlone(t *testing.T) {
	s := start(t, nil)
	const token = `{"ClientRequestToken":"shared-token","MediaRegion":"us-east-1","ExternalMeetingId":"room"`
	made := s.do(request{method: "POST", path: asM + "/meetings", body: token + `,"Tags":[{"Key":"k","Value":"mine"}]}`})
	room := made.body["Meeting"].(map[string]any)["MeetingId"].(string)
	arn := made.body["Meeting"].(map[string]any)["MeetingArn"].(string)
	if !strings.Contains(arn, ":"+testKey.Account+":") {
		t.Errorf("MeetingArn %s", arn)
	}
	alice := s.attendee(room, "alice")["AttendeeId"].(string)

	// state is all that the owner sees.
	state := func() string {
		var all []string
		for _, path := range []string{"/meetings", "/meetings/" + room + "/attendees", "/meetings/" + room + "/tags",
			"/meetings/" + room + "/attendees/" + alice + "/tags", "/tags?arn=" + url.QueryEscape(arn)} {
			all = append(all, s.do(request{method: "GET", path: path}).raw)
		}
		return strings.Join(all, "\n")
	}
	before := state()

	const caps = `"Capabilities":{"Audio":"None","Video":"None","Content":"None"}`
	const tags, keys = `"Tags":[{"Key":"k","Value":"theirs"}]`, `"TagKeys":["k"]`
	const engine = `{"TranscriptionConfiguration":{"EngineTranscribeSettings":{"LanguageCode":"en-US"}}}`
	byARN := `"ResourceARN":"` + arn + `"`
	byTheirs := `"ResourceARN":"` + strings.Replace(arn, testKey.Account, otherKey.Account, 1) + `"`
	type try struct{ method, path, body string }
	tries := map[string][]try{
		"GetMeeting":                            {{"GET", "/meetings/ROOM", ""}},
		"CreateAttendee":                        {{"POST", "/meetings/ROOM/attendees", `{"ExternalUserId":"eve"}`}, {"POST", "/meetings/ROOM/attendees", `{"ExternalUserId":"alice"}`}},
		"BatchCreateAttendee":                   {{"POST", "/meetings/ROOM/attendees?operation=batch-create", `{"Attendees":[{"ExternalUserId":"alice"}]}`}},
		"GetAttendee":                           {{"GET", "/meetings/ROOM/attendees/ALICE", ""}},
		"ListAttendees":                         {{"GET", "/meetings/ROOM/attendees", ""}},
		"DeleteAttendee":                        {{"DELETE", "/meetings/ROOM/attendees/ALICE", ""}},
		"UpdateAttendeeCapabilities":            {{"PUT", "/meetings/ROOM/attendees/ALICE/capabilities", "{" + caps + "}"}},
		"BatchUpdateAttendeeCapabilitiesExcept": {{"PUT", "/meetings/ROOM/attendees/capabilities?operation=batch-update-except", `{"ExcludedAttendeeIds":[{"AttendeeId":"ALICE"}],` + caps + "}"}},
		"StartMeetingTranscription":             {{"POST", "/meetings/ROOM/transcription?operation=start", engine}},
		"StopMeetingTranscription":              {{"POST", "/meetings/ROOM/transcription?operation=stop", ""}},
		"TagMeeting":                            {{"POST", "/meetings/ROOM/tags?operation=add", "{" + tags + "}"}},
		"UntagMeeting":                          {{"POST", "/meetings/ROOM/tags?operation=delete", "{" + keys + "}"}},
		"ListMeetingTags":                       {{"GET", "/meetings/ROOM/tags", ""}},
		"TagAttendee":                           {{"POST", "/meetings/ROOM/attendees/ALICE/tags?operation=add", "{" + tags + "}"}},
		"UntagAttendee":                         {{"POST", "/meetings/ROOM/attendees/ALICE/tags?operation=delete", "{" + keys + "}"}},
		"ListAttendeeTags":                      {{"GET", "/meetings/ROOM/attendees/ALICE/tags", ""}},
		"TagResource":                           {{"POST", "/tags?operation=tag-resource", "{" + byARN + "," + tags + "}"}, {"POST", "/tags?operation=tag-resource", "{" + byTheirs + "," + tags + "}"}},
		"UntagResource":                         {{"POST", "/tags?operation=untag-resource", "{" + byARN + "," + keys + "}"}, {"POST", "/tags?operation=untag-resource", "{" + byTheirs + "," + keys + "}"}},
		"ListTagsForResource":                   {{"GET", "/tags?arn=" + url.QueryEscape(arn), ""}},
	}
	// These have nothing that another account could not see, and follow below.
	others := []string{"CreateMeeting", "CreateMeetingWithAttendees", "ListMeetings", "DeleteMeeting", "CreateMeetingDialOut"}
	for _, op := range Operations() {
		if len(tries[op]) == 0 && !slices.Contains(others, op) {
			t.Errorf("%s is not tried", op)
		}
		for _, c := range tries[op] {
			fill := strings.NewReplacer("ROOM", room, "ALICE", alice)
			never := strings.NewReplacer("ROOM", unknownGUID, "ALICE", alice, room, unknownGUID)
			got := s.do(request{method: c.method, path: fill.Replace(c.path), body: fill.Replace(c.body), key: otherKey})
			want := s.do(request{method: c.method, path: never.Replace(c.path), body: never.Replace(fill.Replace(c.body)), key: otherKey})
			strip := func(a answer) string {
				return strings.NewReplacer(room, unknownGUID, a.header.Get("X-Amzn-RequestId"), "").Replace(a.raw)
			}
			if got.status != 404 || got.status != want.status || strip(got) != strip(want) {
				t.Errorf("%s: another account is answered %d %s, and for a meeting that never was %d %s", op, got.status, got.raw, want.status, want.raw)
			}
		}
	}
	if now := state(); now != before {
		t.Errorf("the owner sees\n%s\nand saw\n%s", now, before)
	}

	// The same token is another meeting, also with attendees, and is on its account's list alone.
	theirs := s.do(request{method: "POST", path: asM + "/meetings", body: token + "}", key: otherKey})
	theirRoom, _ := theirs.body["Meeting"].(map[string]any)
	if theirRoom["MeetingId"] == room || !strings.Contains(theirRoom["MeetingArn"].(string), ":"+otherKey.Account+":") {
		t.Errorf("the token of another account answered %s", theirs.raw)
	}
	with := s.do(request{method: "POST", path: asM + "/meetings?operation=create-attendees", body: token + `,"Attendees":[{"ExternalUserId":"alice"}]}`, key: otherKey})
	if m, _ := with.body["Meeting"].(map[string]any); m["MeetingId"] != theirRoom["MeetingId"] || strings.Contains(with.raw, alice) {
		t.Errorf("the token of another account answered %s", with.raw)
	}
	if list := s.do(request{method: "GET", path: "/meetings", key: otherKey}); strings.Contains(list.raw, room) || !strings.Contains(list.raw, theirRoom["MeetingId"].(string)) {
		t.Errorf("another account lists %s", list.raw)
	}
	if list := s.do(request{method: "GET", path: "/meetings"}); !strings.Contains(list.raw, room) || strings.Contains(list.raw, theirRoom["MeetingId"].(string)) {
		t.Errorf("the owner lists %s", list.raw)
	}
	// A primary of another account is none.
	s.refused(s.do(request{method: "POST", path: asM + "/meetings", key: otherKey,
		body: `{"ClientRequestToken":"replica","MediaRegion":"us-east-1","ExternalMeetingId":"room","PrimaryMeetingId":"` + room + `"}`}),
		400, "BadRequestException", "PrimaryMeetingId: Meeting <"+room+"> not found")
	// Deleting is answered as of a meeting that is gone already, and deletes nothing.
	if a := s.do(request{method: "DELETE", path: "/meetings/" + room, key: otherKey}); a.status != 204 {
		t.Errorf("DeleteMeeting answered %d %s", a.status, a.raw)
	}
	if now := state(); now != before {
		t.Errorf("the owner sees\n%s\nand saw\n%s", now, before)
	}
}
