package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func caps(audio, video, content string) string {
	return fmt.Sprintf(`"Capabilities":{"Audio":%q,"Video":%q,"Content":%q}`, audio, video, content)
}

// An update answers the attendee as it is now; what may not be asked for changes
// nothing.
func TestUpdateAttendeeCapabilities(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	alice := s.attendee(room, "alice")
	id := alice["AttendeeId"].(string)
	path := "/meetings/" + room + "/attendees/" + id
	put := func(path, body string) answer {
		return s.do(request{method: "PUT", path: path + "/capabilities", body: "{" + body + "}"})
	}
	a := put(path, caps("Send", "Receive", "None"))
	want := map[string]any{"Audio": "Send", "Video": "Receive", "Content": "None"}
	got := a.body["Attendee"].(map[string]any)
	if a.status != 200 || !cmp.Equal(got["Capabilities"], any(want)) || got["JoinToken"] != alice["JoinToken"] || got["AttendeeId"] != id {
		t.Errorf("answered %d %s", a.status, a.raw)
	}
	if b := s.do(request{method: "GET", path: path}); !cmp.Equal(a.body, b.body) {
		t.Errorf("GetAttendee:\n%s", cmp.Diff(a.body, b.body))
	}
	if b := put(strings.ToUpper(path[:10])+path[10:], caps("Send", "Receive", "None")); b.status != 404 {
		t.Errorf("a path in upper case answered %d", b.status)
	}

	const validation, bad = "ValidationException", "BadRequestException"
	noVideo, noContent := s.meeting(`"MeetingFeatures":{"Video":{"MaxResolution":"None"}}`), s.meeting(`"MeetingFeatures":{"Content":{"MaxResolution":"None"}}`)
	of := func(room string) string {
		return "/meetings/" + room + "/attendees/" + s.attendee(room, "bob")["AttendeeId"].(string)
	}
	other := s.meeting("")
	for _, tc := range []struct {
		name, path, body string
		status           int
		want, says       string
	}{
		{"nothing", path, "", 400, validation, "Value at 'capabilities' failed to satisfy constraint: Member must not be null"},
		{"audio alone", path, `"Capabilities":{"Audio":"Send"}`, 400, validation, "2 validation errors detected: Value null at 'capabilities.video'"},
		{"unknown", path, caps("Mute", "None", "None"), 400, validation, "Value 'Mute' at 'capabilities.audio'"},
		{"content without video", path, caps("None", "Send", "Receive"), 400, bad, "Content"},
		{"video where there is none", of(noVideo), caps("None", "Receive", "None"), 400, bad, "Video"},
		{"content where there is none", of(noContent), caps("None", "Receive", "Send"), 400, bad, "Content"},
		{"id of another meeting", "/meetings/" + other + "/attendees/" + id, caps("Send", "Receive", "None"), 404, "NotFoundException", id},
		{"unknown attendee", "/meetings/" + room + "/attendees/" + unknownGUID, caps("Send", "Receive", "None"), 404, "NotFoundException", unknownGUID},
		{"unknown meeting", "/meetings/" + unknownGUID + "/attendees/" + id, caps("Send", "Receive", "None"), 404, "NotFoundException", "Meeting <" + unknownGUID},
		{"malformed id", "/meetings/" + room + "/attendees/zz", caps("Send", "Receive", "None"), 400, validation, "'attendeeId'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.refused(put(tc.path, tc.body), tc.status, tc.want, tc.says)
		})
	}
}

// The batch changes all but those listed, of whom there are 1 to 250, and needs
// its marker in the query.
func TestBatchUpdateAttendeeCapabilitiesExcept(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	var ids []string
	for i := range 4 {
		ids = append(ids, s.attendee(room, fmt.Sprint("user-", i))["AttendeeId"].(string))
	}
	body := func(except []string, more string) string {
		var entries []string
		for _, id := range except {
			entries = append(entries, `{"AttendeeId":"`+id+`"}`)
		}
		return `{"ExcludedAttendeeIds":[` + strings.Join(entries, ",") + `],` + more + `}`
	}
	put := func(room, body string) answer {
		return s.do(request{method: "PUT", path: "/meetings/" + room + "/attendees/capabilities?operation=batch-update-except", body: body})
	}
	audio := func() (list []any) {
		for _, a := range s.do(request{method: "GET", path: "/meetings/" + room + "/attendees"}).body["Attendees"].([]any) {
			list = append(list, a.(map[string]any)["Capabilities"].(map[string]any)["Audio"])
		}
		return list
	}
	good := caps("Receive", "None", "None")
	a := put(room, body([]string{ids[1], strings.ToUpper(ids[3])}, good))
	if a.status != 200 || a.raw != "" || a.header.Get("Content-Type") != "" {
		t.Errorf("answered %d %q", a.status, a.raw)
	}
	if got := audio(); !cmp.Equal(got, []any{"Receive", "SendReceive", "Receive", "SendReceive"}) {
		t.Errorf("Audio is %v", got)
	}
	repeat := func(n int) (list []string) {
		for range n {
			list = append(list, ids[0])
		}
		return list
	}
	s.refused(put(room, body(nil, good)), 400, "ValidationException", "Value at 'excludedAttendeeIds' failed to satisfy constraint: Member must have length greater than or equal to 1")
	s.refused(put(room, body(repeat(251), good)), 400, "ValidationException", "less than or equal to 250")
	if a := put(room, body(repeat(250), caps("Receive", "None", "None"))); a.status != 200 {
		t.Errorf("250 answered %d %s", a.status, a.raw)
	}
	s.refused(put(room, `{`+good+`}`), 400, "ValidationException", "'excludedAttendeeIds'")
	s.refused(put(room, body(ids[:1], `"x":1`)), 400, "ValidationException", "'capabilities'")
	s.refused(put(room, body([]string{"zz"}, good)), 400, "ValidationException", "Value 'zz' at 'excludedAttendeeIds.1.member.attendeeId'")
	s.refused(put(unknownGUID, body(ids[:1], good)), 404, "NotFoundException", "Meeting <"+unknownGUID)
	before := audio()
	s.refused(put(room, body([]string{ids[0], unknownGUID}, caps("None", "None", "None"))), 404, "NotFoundException", unknownGUID)
	s.refused(put(room, body(ids[:1], caps("Send", "None", "Receive"))), 400, "BadRequestException", "Content")
	if got := audio(); !cmp.Equal(got, before) {
		t.Errorf("a refused call left %v, want %v", got, before)
	}
	// Without the query parameter there is no such operation.
	s.refused(s.do(request{method: "PUT", path: "/meetings/" + room + "/attendees/capabilities", body: body(ids[:1], good)}), 404, "UnknownOperationException", "operation")
}
