package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withAttendees is a CreateMeetingWithAttendees body.
func withAttendees(token string, users ...string) string {
	entries := make([]string, len(users))
	for i, u := range users {
		entries[i] = `{"ExternalUserId":"` + u + `"}`
	}
	return `{"ClientRequestToken":"` + token + `","MediaRegion":"us-east-1","ExternalMeetingId":"room","Attendees":[` + strings.Join(entries, ",") + `]}`
}

func numbered(n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("user-%d", i))
	}
	return users
}

// A meeting and its attendees come of one call, or only what of them may be.
func TestCreateMeetingWithAttendees(t *testing.T) {
	s := start(t, nil)
	create := func(prefix, body string) answer {
		return s.do(request{method: "POST", path: prefix + "/meetings?operation=create-attendees", body: body})
	}
	members := func(a answer) (id string, made, failed []any) {
		t.Helper()
		m, ok := a.body["Meeting"].(map[string]any)
		if !ok || a.status/100 != 2 {
			t.Fatalf("answered %d %.300s", a.status, a.raw)
		}
		return m["MeetingId"].(string), a.body["Attendees"].([]any), a.body["Errors"].([]any)
	}

	a := create(asM, withAttendees("both", "alice", "bob"))
	id, made, failed := members(a)
	if a.status != 200 || len(made) != 2 || len(failed) != 0 || !strings.HasSuffix(a.raw, `"Errors":[]}`) {
		t.Fatalf("answered %d %s", a.status, a.raw)
	}
	if b := s.do(request{method: "GET", path: "/meetings/" + id}); !cmp.Equal(b.body["Meeting"], a.body["Meeting"]) {
		t.Errorf("GetMeeting:\n%s", cmp.Diff(a.body["Meeting"], b.body["Meeting"]))
	}
	if b := s.do(request{method: "GET", path: "/meetings/" + id + "/attendees"}); !cmp.Equal(b.body["Attendees"], any(made)) {
		t.Errorf("ListAttendees:\n%s", cmp.Diff(made, b.body["Attendees"]))
	}

	// The lists are bounded as each model says, and without a sign as the wider one.
	s.refused(create(asC, withAttendees("eleven", numbered(11)...)), 400, "ValidationException",
		"Value at 'attendees' failed to satisfy constraint: Member must have length less than or equal to 10")
	s.refused(create(asM, withAttendees("twenty-one", numbered(21)...)), 400, "ValidationException", "less than or equal to 20")
	s.refused(create("", withAttendees("twenty-one", numbered(21)...)), 400, "ValidationException", "less than or equal to 20")
	s.refused(create(asM, withAttendees("none")), 400, "ValidationException", "greater than or equal to 1")
	s.refused(create(asC, withAttendees("none")), 400, "ValidationException", "greater than or equal to 1")
	for prefix, n := range map[string]int{asC: 10, asM: 20, "": 20} {
		if _, made, _ := members(create(prefix, withAttendees("full"+strings.ReplaceAll(prefix, "/", "-"), numbered(n)...))); len(made) != n {
			t.Errorf("%s: %d attendees, want %d", prefix, len(made), n)
		}
	}
	const alone = `{"ClientRequestToken":"alone","MediaRegion":"us-east-1","ExternalMeetingId":"room"}`
	s.refused(create(asM, alone), 400, "ValidationException", "Value at 'attendees' failed to satisfy constraint: Member must not be null")
	if a := create(asC, alone); a.status != 201 || !strings.HasSuffix(a.raw, `"Attendees":[],"Errors":[]}`) {
		t.Errorf("C without attendees answered %d %s", a.status, a.raw)
	}

	// A token that is known finds its meeting, whichever operation made it.
	first := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"shared"}`}).body["Meeting"].(map[string]any)["MeetingId"]
	again, made, _ := members(create(asM, withAttendees("shared", "alice", "bob")))
	if again != first || len(made) != 2 {
		t.Errorf("the token made %v with %d attendees, want %v with 2", again, len(made), first)
	}
	if _, more, _ := members(create(asM, withAttendees("shared", "bob", "carol"))); !cmp.Equal(more[0], made[1]) || cmp.Equal(more[1], made[0]) {
		t.Errorf("bob and carol are %v", more)
	}
	if b := s.do(request{method: "GET", path: fmt.Sprint("/meetings/", first, "/attendees")}); len(b.body["Attendees"].([]any)) != 3 {
		t.Errorf("the meeting has %s", b.raw)
	}

	_, made, failed = members(create(asM, withAttendees("partly", "aws:x", "good")))
	if len(made) != 1 || len(failed) != 1 {
		t.Fatalf("made %v, failed %v", made, failed)
	}
	if e := failed[0].(map[string]any); e["ExternalUserId"] != "aws:x" || e["ErrorCode"] != "BadRequest" || e["ErrorMessage"] == "" {
		t.Errorf("error = %v", e)
	}

	// A fault of the model's constraints makes no meeting.
	s.refused(create(asM, withAttendees("faulty", "good", "x")), 400, "ValidationException", "Value at 'attendees.2.member.externalUserId'")
	m := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"faulty"}`}).body["Meeting"].(map[string]any)
	if b := s.do(request{method: "GET", path: fmt.Sprint("/meetings/", m["MeetingId"], "/attendees")}); b.raw != `{"Attendees":[]}` {
		t.Errorf("the refused call left %s", b.raw)
	}
}
