package api

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const (
	unknownGUID = "00000000-0000-4000-8000-000000000000"
	asC         = "/chime"              // path prefix of the 2018 API
	asM         = "/chime-sdk-meetings" // path prefix of the 2021 API
)

var guidExpression = regexp.MustCompile(`^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$`)

// members is a CreateMeeting body with what both APIs require, and more.
func members(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"ClientRequestToken":"` + uuid.NewString() + `","MediaRegion":"us-east-1","ExternalMeetingId":"room"` + more + `}`
}

func TestCreateMeetingConstraints(t *testing.T) {
	s := start(t, nil)
	const validation, bad = "ValidationException", "BadRequestException"
	token := func(v string) string { return `{"ClientRequestToken":` + v + `}` }
	external := func(v string) string {
		return `{"ClientRequestToken":"` + uuid.NewString() + `","MediaRegion":"us-east-1","ExternalMeetingId":"` + v + `"}`
	}
	list := func(n int, entry string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + "]"
	}
	cases := []struct {
		name, prefix, body string
		want               string // name of the error, "" for success
		says               string
	}{
		{"C, token only", asC, token(`"room-42"`), "", ""},
		{"no sign of an API, token only", "", token(`"room-43"`), "", ""},
		{"empty body", "", "", validation, "Value at 'clientRequestToken' failed to satisfy constraint: Member must not be null"},
		{"token null", "", token(`null`), validation, "'clientRequestToken'"},
		{"token of 1", "", token(`"x"`), validation, "greater than or equal to 2"},
		{"token of 64", "", token(`"` + strings.Repeat("x", 64) + `"`), "", ""},
		{"token of 65", "", token(`"` + strings.Repeat("x", 65) + `"`), validation, "less than or equal to 64"},
		{"token with a dot", "", token(`"a.b"`), validation, "regular expression pattern: [-_a-zA-Z0-9]*"},
		{"token with a space", "", token(`"a b"`), validation, "regular expression"},
		{"token with a newline at its end", "", token(`"ab\n"`), validation, "regular expression"},
		{"token a number", "", token(`42`), "SerializationException", "'clientRequestToken' is not a string"},
		{"M without MediaRegion", asM, `{"ClientRequestToken":"tok","ExternalMeetingId":"room"}`, validation, "Value null at 'mediaRegion'"},
		{"M without ExternalMeetingId", asM, `{"ClientRequestToken":"tok","MediaRegion":"us-east-1"}`, validation, "Value at 'externalMeetingId'"},
		{"external id of 1", "", external("x"), validation, "'externalMeetingId'"},
		{"external id of 65", "", external(strings.Repeat("x", 65)), validation, "'externalMeetingId'"},
		{"external id of 64 two-byte characters", asM, external(strings.Repeat("é", 64)), "", ""},
		{"external id with the reserved prefix, M", asM, external("AWS:x"), bad, "ExternalMeetingId"},
		{"external id with the reserved prefix, C", asC, external("AWS:x"), "", ""},
		{"external id with <, M", asM, external("a<b"), bad, "ExternalMeetingId"},
		{"external id with *, M", asM, external("a*b"), bad, "ExternalMeetingId"},
		{"external id with < and *, C", asC, external("a<*b"), "", ""},
		{"external id with all allowed", asM, external(`-_&@+=,(){}[]/«».:|'#aZ09Àÿ×÷ \t`), "", ""},
		{"unknown region", "", `{"ClientRequestToken":"tok","MediaRegion":"mars-1"}`, bad, "mars-1"},
		{"host id of 1", "", members(`"MeetingHostId":"x"`), validation, "'meetingHostId'"},
		{"5 tenants", "", members(`"TenantIds":["t1","t2","t3","t4","t5"]`), "", ""},
		{"6 tenants", "", members(`"TenantIds":["t1","t2","t3","t4","t5","t6"]`), validation, "Value at 'tenantIds' failed to satisfy constraint: Member must have length less than or equal to 5"},
		{"no tenants", "", members(`"TenantIds":[]`), validation, "'tenantIds'"},
		{"tenant with a run of 4", "", members(`"TenantIds":["aaaa"]`), validation, "Value 'aaaa' at 'tenantIds.1.member'"},
		{"tenant with a run of 4 inside", "", members(`"TenantIds":["ok","xaaaax"]`), validation, "'tenantIds.2.member'"},
		{"tenant with a run of 3", "", members(`"TenantIds":["aaab","aAaA"]`), "", ""},
		{"tenant with a dot", "", members(`"TenantIds":["a.b"]`), validation, "'tenantIds.1.member'"},
		{"50 tags", asM, members(`"Tags":` + list(50, `{"Key":"a1","Value":"v"}`)), "", ""},
		{"51 tags", asM, members(`"Tags":` + list(51, `{"Key":"a1","Value":"v"}`)), validation, "'tags'"},
		{"no tags, M", asM, members(`"Tags":[]`), "", ""},
		{"no tags, C", asC, members(`"Tags":[]`), validation, "'tags'"},
		{"empty tag value, M", asM, members(`"Tags":[{"Key":"a","Value":""}]`), "", ""},
		{"empty tag value, C", asC, members(`"Tags":[{"Key":"a","Value":""}]`), validation, "'tags.1.member.value'"},
		{"tag without value", asM, members(`"Tags":[{"Key":"a"}]`), validation, "Value at 'tags.1.member.value' failed to satisfy constraint: Member must not be null"},
		{"tag key in the range", asM, members(`"Tags":[{"Key":"a1,<;","Value":"v w"}]`), "", ""},
		{"tag key with a space, M", asM, members(`"Tags":[{"Key":"a b","Value":"v"}]`), validation, "'tags.1.member.key'"},
		{"tag key with a space, C", asC, members(`"Tags":[{"Key":"a b","Value":"v"}]`), "", ""},
		{"network type", "", members(`"MediaPlacementNetworkType":"DualStack"`), "", ""},
		{"network type unknown", "", members(`"MediaPlacementNetworkType":"Ipv6"`), validation, "[Ipv4Only, DualStack]"},
		{"queue that nobody has", "", members(`"NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:123456789012:nobody-has-it"}`), "", ""},
		{"queue that is no ARN", "", members(`"NotificationsConfiguration":{"SqsQueueArn":"not-an-arn"}`), validation, "Value at 'notificationsConfiguration.sqsQueueArn'"},
		{"topic that is no ARN", "", members(`"NotificationsConfiguration":{"SnsTopicArn":"arn:a+b"}`), validation, "'notificationsConfiguration.snsTopicArn'"},
		{"notifications as a list", "", members(`"NotificationsConfiguration":[]`), "SerializationException", "'notificationsConfiguration'"},
		{"unknown member", "", members(`"Unheard":{"Of":[1]}`), "", ""},
		{"null for optional members", "", members(`"Tags":null,"MeetingFeatures":null,"TenantIds":null,"NotificationsConfiguration":null,"MeetingHostId":null`), "", ""},
		{"M-only members to C", asC, members(`"TenantIds":["aaaa"]`), "", ""},
		{"FHD without a count", "", members(`"MeetingFeatures":{"Video":{"MaxResolution":"FHD"}}`), bad, "MaxCount"},
		{"FHD with 25", "", members(`"MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":25}}`), "", ""},
		{"FHD with 26", "", members(`"MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":26}}`), bad, "MaxCount"},
		{"UHD without a count", "", members(`"MeetingFeatures":{"Content":{"MaxResolution":"UHD"}}`), bad, "MaxCount"},
		{"count 0", "", members(`"MeetingFeatures":{"Attendee":{"MaxCount":0}}`), validation, "Value '0' at 'meetingFeatures.attendee.maxCount'"},
		{"count 251", "", members(`"MeetingFeatures":{"Attendee":{"MaxCount":251}}`), validation, "less than or equal to 250"},
		{"echo reduction unknown", "", members(`"MeetingFeatures":{"Audio":{"EchoReduction":"MAYBE"}}`), validation, "[AVAILABLE, UNAVAILABLE]"},
		{"unknown primary", "", members(`"PrimaryMeetingId":"` + unknownGUID + `"`), bad, "PrimaryMeetingId"},
		{"two faults", asM, `{"ClientRequestToken":"x"}`, validation, "3 validation errors detected: "},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := *s
			s.t = t
			a := s.do(request{method: "POST", path: tc.prefix + "/meetings", body: tc.body})
			if tc.want != "" {
				s.refused(a, 400, tc.want, tc.says)
				return
			}
			if a.status/100 != 2 {
				t.Fatalf("answered %d %s", a.status, a.raw)
			}
		})
	}
}

// Sensitive values are not repeated in errors.
func TestErrorsHideSensitiveValues(t *testing.T) {
	s := start(t, nil)
	a := s.do(request{method: "POST", path: asM + "/meetings", body: `{"ClientRequestToken":"hush!","MediaRegion":"us-east-1","ExternalMeetingId":"` +
		strings.Repeat("hush", 20) + `","MeetingHostId":"` + strings.Repeat("hush", 20) + `","Tags":[{"Key":"hush hush","Value":"hush!"}],"NotificationsConfiguration":{"SqsQueueArn":"hush"}}`})
	s.refused(a, 400, "ValidationException", "6 validation errors")
	if strings.Contains(a.raw, "hush") {
		t.Errorf("the answer repeats a sensitive value: %s", a.raw)
	}
	a = s.do(request{method: "POST", path: asM + "/meetings", body: strings.Replace(members(""), `"room"`, `"hush*"`, 1)})
	s.refused(a, 400, "BadRequestException", "ExternalMeetingId")
	if strings.Contains(a.raw, "hush") {
		t.Errorf("the answer repeats a sensitive value: %s", a.raw)
	}
}

// Nothing is written when one member is at fault.
func TestFaultWritesNothing(t *testing.T) {
	s := start(t, nil)
	for _, body := range []string{members(`"Tags":[{"Key":""}]`), members(`"MeetingFeatures":{"Content":{"MaxResolution":"UHD"}}`), members(`"TenantIds":"t"`)} {
		if a := s.do(request{method: "POST", path: "/meetings", body: body}); a.status != 400 {
			t.Errorf("%s answered %d %s", body, a.status, a.raw)
		}
	}
	if a := s.do(request{method: "GET", path: "/meetings"}); a.raw != `{"Meetings":[]}` {
		t.Errorf("there are meetings: %s", a.raw)
	}
}

func TestCreateMeetingIdempotent(t *testing.T) {
	s := start(t, nil)
	const first = `{"ClientRequestToken":"room-42","MediaRegion":"us-east-1","ExternalMeetingId":"one"}`
	a := s.do(request{method: "POST", path: asC + "/meetings", body: first})
	for _, body := range []string{
		first,
		`{"ClientRequestToken":"room-42","MediaRegion":"eu-west-1","ExternalMeetingId":"two"}`,
		`{"ClientRequestToken":"room-42","MediaRegion":"us-east-1","ExternalMeetingId":"one","PrimaryMeetingId":"` + unknownGUID + `"}`,
	} {
		b := s.do(request{method: "POST", path: asC + "/meetings", body: body})
		if b.status != 201 || !cmp.Equal(a.body, b.body) {
			t.Errorf("%s answered %d:\n%s", body, b.status, cmp.Diff(a.body, b.body))
		}
	}
	if b := s.do(request{method: "POST", path: asC + "/meetings", body: first, key: otherKey}); cmp.Equal(a.body, b.body) {
		t.Error("another account got the same meeting")
	}

	ids := make([]string, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			b := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"all-at-once"}`})
			if b.status != 201 {
				t.Errorf("answered %d %s", b.status, b.raw)
				return
			}
			ids[i] = b.body["Meeting"].(map[string]any)["MeetingId"].(string)
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one token made several meetings: %v", ids)
		}
	}
	id := a.body["Meeting"].(map[string]any)["MeetingId"].(string)
	s.do(request{method: "DELETE", path: "/meetings/" + id})
	if b := s.do(request{method: "POST", path: asC + "/meetings", body: first}); b.status != 201 || cmp.Equal(a.body, b.body) {
		t.Errorf("after DeleteMeeting the token answered %d with the old meeting", b.status)
	}
}

func TestReplicas(t *testing.T) {
	s := start(t, nil)
	primary := s.meeting("")
	replica := s.meeting(`"PrimaryMeetingId":"` + strings.ToUpper(primary) + `"`)
	a := s.do(request{method: "GET", path: "/meetings/" + replica})
	if got := a.body["Meeting"].(map[string]any)["PrimaryMeetingId"]; got != primary {
		t.Errorf("PrimaryMeetingId = %v, want %s", got, primary)
	}
	s.refused(s.do(request{method: "POST", path: "/meetings", body: members(`"PrimaryMeetingId":"` + replica + `"`)}), 400, "BadRequestException", "replica")
	// To another account the primary does not exist.
	theirs := s.do(request{method: "POST", path: asM + "/meetings", key: otherKey, body: members(`"PrimaryMeetingId":"` + primary + `"`)})
	s.refused(theirs, 400, "BadRequestException", "<"+primary+"> not found")
	// Attendees are the replica's own, and one user may be in both.
	both := s.do(request{method: "POST", path: asM + "/meetings?operation=create-attendees",
		body: members(`"PrimaryMeetingId":"` + primary + `","Attendees":[{"ExternalUserId":"ann"}]`)})
	if got := both.body["Meeting"].(map[string]any)["PrimaryMeetingId"]; both.status != 200 || got != primary {
		t.Errorf("with attendees: %d, PrimaryMeetingId = %v", both.status, got)
	}
	second := both.body["Meeting"].(map[string]any)["MeetingId"].(string)
	of := func(meeting string) (id, token string) {
		a := s.do(request{method: "POST", path: "/meetings/" + meeting + "/attendees", body: `{"ExternalUserId":"ann"}`})
		attendee, _ := a.body["Attendee"].(map[string]any)
		if a.status/100 != 2 || attendee == nil {
			t.Fatalf("an attendee of %s: %d %v", meeting, a.status, a.body)
		}
		return attendee["AttendeeId"].(string), attendee["JoinToken"].(string)
	}
	here, token := of(primary)
	there, otherToken := of(second)
	if here == there || token == otherToken {
		t.Error("a user is one attendee of a primary and its replica")
	}
	s.refused(s.do(request{method: "GET", path: "/meetings/" + second + "/attendees/" + here}), 404, "NotFoundException", here)
	for range 2 {
		s.meeting(`"PrimaryMeetingId":"` + primary + `"`)
	}
	s.refused(s.do(request{method: "POST", path: asM + "/meetings", body: members(`"PrimaryMeetingId":"` + primary + `"`)}), 400, "LimitExceededException", "replicas")

	s.do(request{method: "DELETE", path: "/meetings/" + replica})
	if a := s.do(request{method: "GET", path: "/meetings/" + primary}); a.status != 200 {
		t.Errorf("the primary went with its replica: %d", a.status)
	}
	replica = s.meeting(`"PrimaryMeetingId":"` + primary + `"`)
	s.do(request{method: "DELETE", path: "/meetings/" + primary})
	s.refused(s.do(request{method: "GET", path: "/meetings/" + replica}), 404, "NotFoundException", replica)
	s.refused(s.do(request{method: "GET", path: "/meetings/" + second + "/attendees/" + there}), 404, "NotFoundException", second)
}

func TestMeetingLife(t *testing.T) {
	s := start(t, nil)
	a := s.do(request{method: "POST", path: asC + "/meetings", body: `{"ClientRequestToken":"room-42"}`})
	m := a.body["Meeting"].(map[string]any)
	id := m["MeetingId"].(string)
	if !guidExpression.MatchString(id) || m["MediaRegion"] != "us-east-1" {
		t.Errorf("meeting = %s", a.raw)
	}
	if b := s.do(request{method: "GET", path: "/meetings/" + id}); b.status != 200 || !cmp.Equal(a.body, b.body) {
		t.Errorf("GetMeeting answered %d:\n%s", b.status, cmp.Diff(a.body, b.body))
	}
	if b := s.do(request{method: "GET", path: "/meetings/" + strings.ToUpper(id)}); b.status != 200 {
		t.Errorf("GetMeeting with the id in upper case answered %d", b.status)
	}
	s.refused(s.do(request{method: "GET", path: "/meetings/" + id, key: otherKey}), 404, "NotFoundException", "Meeting <"+id+"> not found")
	if b := s.do(request{method: "DELETE", path: "/meetings/" + id, key: otherKey}); b.status != 204 {
		t.Errorf("DeleteMeeting by another account answered %d", b.status)
	}
	if b := s.do(request{method: "GET", path: "/meetings/" + id}); b.status != 200 {
		t.Errorf("another account deleted the meeting: %d", b.status)
	}
	for range 2 {
		if b := s.do(request{method: "DELETE", path: "/meetings/" + id}); b.status != 204 || b.raw != "" || b.header.Get("Content-Type") != "" {
			t.Errorf("DeleteMeeting answered %d %q", b.status, b.raw)
		}
	}
	if b := s.do(request{method: "DELETE", path: "/meetings/" + unknownGUID}); b.status != 204 {
		t.Errorf("DeleteMeeting of none answered %d", b.status)
	}
	for _, in := range []request{
		{method: "GET", path: "/meetings/" + id},
		{method: "POST", path: "/meetings/" + id + "/attendees", body: `{"ExternalUserId":"alice"}`},
		{method: "POST", path: "/meetings/" + id + "/attendees?operation=batch-create", body: `{"Attendees":[{"ExternalUserId":"alice"}]}`},
		{method: "GET", path: "/meetings/" + id + "/attendees"},
		{method: "GET", path: "/meetings/" + id + "/attendees/" + unknownGUID},
		{method: "DELETE", path: "/meetings/" + id + "/attendees/" + unknownGUID},
	} {
		s.refused(s.do(in), 404, "NotFoundException", "Meeting <"+id+"> not found")
	}
	for _, in := range []request{
		{method: "GET", path: "/meetings/zz"},
		{method: "GET", path: "/meetings/"},
		{method: "GET", path: "/meetings/a%20b%2Fc"},
		{method: "GET", path: "/meetings/" + id + "%0A"},
		{method: "DELETE", path: "/meetings/zz"},
		{method: "DELETE", path: "/meetings/"},
		{method: "GET", path: "/meetings//attendees"},
		{method: "POST", path: "/meetings/zz/attendees", body: `{"ExternalUserId":"alice"}`},
	} {
		s.refused(s.do(in), 400, "ValidationException", "at 'meetingId' failed to satisfy constraint")
	}
	s.refused(s.do(request{method: "GET", path: "/meetings/" + id + "/attendees/"}), 400, "ValidationException", "Value '' at 'attendeeId'")
}

func TestListMeetings(t *testing.T) {
	s := start(t, nil)
	if a := s.do(request{method: "GET", path: "/meetings"}); a.status != 200 || a.raw != `{"Meetings":[]}` {
		t.Errorf("no meetings: %d %s", a.status, a.raw)
	}
	ids := []string{s.meeting(""), s.meeting(""), s.meeting("")}
	page := func(query string) (got []string, next string) {
		t.Helper()
		a := s.do(request{method: "GET", path: "/meetings" + query})
		if a.status != 200 {
			t.Fatalf("GET /meetings%s answered %d %s", query, a.status, a.raw)
		}
		for _, m := range a.body["Meetings"].([]any) {
			got = append(got, m.(map[string]any)["MeetingId"].(string))
		}
		if token, ok := a.body["NextToken"]; ok {
			next = token.(string)
			if next == "" {
				t.Error("an empty NextToken")
			}
		}
		return got, next
	}
	if got, next := page(""); !cmp.Equal(got, ids) || next != "" {
		t.Errorf("list = %v, %q", got, next)
	}
	got, next := page("?max-results=2")
	if !cmp.Equal(got, ids[:2]) || next == "" {
		t.Fatalf("first page = %v, %q", got, next)
	}
	if got, next := page("?next-token=" + url.QueryEscape(next) + "&max-results=2"); !cmp.Equal(got, ids[2:]) || next != "" {
		t.Errorf("second page = %v, %q", got, next)
	}
	s.do(request{method: "DELETE", path: "/meetings/" + ids[1]})
	if got, _ := page(""); !cmp.Equal(got, []string{ids[0], ids[2]}) {
		t.Errorf("after a delete: %v", got)
	}
	if a := s.do(request{method: "GET", path: "/meetings", key: otherKey}); a.raw != `{"Meetings":[]}` {
		t.Errorf("another account sees %s", a.raw)
	}
	s.refused(s.do(request{method: "GET", path: "/meetings?max-results=0"}), 400, "ValidationException", "'maxResults'")
	s.refused(s.do(request{method: "GET", path: "/meetings?max-results=1000"}), 400, "ValidationException", "'maxResults'")
	s.refused(s.do(request{method: "GET", path: "/meetings?max-results=abc"}), 400, "SerializationException", "'maxResults'")
	s.refused(s.do(request{method: "GET", path: "/meetings?next-token=garbage"}), 400, "BadRequestException", "NextToken")
	s.refused(s.do(request{method: "GET", path: "/meetings?next-token=%2B%2F%3D%20%26"}), 400, "BadRequestException", "NextToken")
	s.refused(s.do(request{method: "GET", path: "/meetings?next-token=" + strings.Repeat("x", 4097)}), 400, "ValidationException", "'nextToken'")
}

func TestCreateAttendeeConstraints(t *testing.T) {
	s := start(t, nil)
	plain := s.meeting("")
	noVideo := s.meeting(`"MeetingFeatures":{"Video":{"MaxResolution":"None"}}`)
	noContent := s.meeting(`"MeetingFeatures":{"Content":{"MaxResolution":"None"}}`)
	const validation, bad = "ValidationException", "BadRequestException"
	caps := func(audio, video, content string) string {
		return `{"ExternalUserId":"` + uuid.NewString() + `","Capabilities":{"Audio":"` + audio + `","Video":"` + video + `","Content":"` + content + `"}}`
	}
	cases := []struct {
		name, prefix, meeting, body string
		want, says                  string
	}{
		{"good", "", plain, `{"ExternalUserId":"alice#Alice Ö."}`, "", ""},
		{"missing id", "", plain, `{}`, validation, "Value at 'externalUserId' failed to satisfy constraint: Member must not be null"},
		{"no body", "", plain, ``, validation, "'externalUserId'"},
		{"id of 1", "", plain, `{"ExternalUserId":"a"}`, validation, "'externalUserId'"},
		{"id of 65", "", plain, `{"ExternalUserId":"` + strings.Repeat("a", 65) + `"}`, validation, "'externalUserId'"},
		{"reserved prefix, M", asM, plain, `{"ExternalUserId":"aws:x"}`, bad, "ExternalUserId"},
		{"reserved prefix, C", asC, plain, `{"ExternalUserId":"aws:x"}`, "", ""},
		{"unknown meeting", "", unknownGUID, `{"ExternalUserId":"alice"}`, "NotFoundException", "Meeting <" + unknownGUID + "> not found"},
		{"capabilities with audio only", "", plain, `{"ExternalUserId":"bob","Capabilities":{"Audio":"Send"}}`, validation, "2 validation errors detected: Value null at 'capabilities.video'"},
		{"capability unknown", "", plain, caps("Mute", "None", "None"), validation, "Value 'Mute' at 'capabilities.audio' failed to satisfy constraint: Member must satisfy enum value set: [SendReceive, Send, Receive, None]"},
		{"content without video", "", plain, caps("None", "None", "SendReceive"), bad, "Content"},
		{"video without content", "", plain, caps("None", "SendReceive", "None"), "", ""},
		{"video where there is none", "", noVideo, caps("None", "Send", "None"), bad, "Video"},
		{"content where there is none", "", noContent, caps("None", "SendReceive", "Receive"), bad, "Content"},
		{"10 tags, C", asC, plain, `{"ExternalUserId":"carol","Tags":[` + strings.Repeat(`{"Key":"k","Value":"v"},`, 9) + `{"Key":"k","Value":"v"}]}`, "", ""},
		{"11 tags, C", asC, plain, `{"ExternalUserId":"dave","Tags":[` + strings.Repeat(`{"Key":"k","Value":"v"},`, 10) + `{"Key":"k","Value":"v"}]}`, validation, "'tags'"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := *s
			s.t = t
			a := s.do(request{method: "POST", path: tc.prefix + "/meetings/" + tc.meeting + "/attendees", body: tc.body})
			if tc.want != "" {
				status := 400
				if tc.want == "NotFoundException" {
					status = 404
				}
				s.refused(a, status, tc.want, tc.says)
			} else if a.status/100 != 2 {
				t.Errorf("answered %d %s", a.status, a.raw)
			}
		})
	}
	want := map[string]any{"Audio": "SendReceive", "Video": "Receive", "Content": "SendReceive"}
	if got := s.attendee(noVideo, "eve")["Capabilities"]; !cmp.Equal(got, want) {
		t.Errorf("capabilities where there is no video: %v", got)
	}
}

func TestAttendeeLife(t *testing.T) {
	s := start(t, nil)
	room, other := s.meeting(""), s.meeting("")
	alice := s.attendee(room, "alice")
	id, token := alice["AttendeeId"].(string), alice["JoinToken"].(string)
	if alice["ExternalUserId"] != "alice" || !guidExpression.MatchString(id) {
		t.Errorf("attendee = %v", alice)
	}
	want := map[string]any{"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"}
	if !cmp.Equal(alice["Capabilities"], want) {
		t.Errorf("capabilities = %v", alice["Capabilities"])
	}
	if !regexp.MustCompile(`^[A-Za-z0-9+]{98}$`).MatchString(token) {
		t.Errorf("JoinToken has %d characters, or others than a sub-protocol may have", len(token))
	}
	if raw, err := base64.RawStdEncoding.DecodeString(token); err != nil || !strings.HasPrefix(string(raw), id+":") {
		t.Errorf("JoinToken decodes to another form: %v", err)
	}
	if again := s.attendee(room, "alice"); !cmp.Equal(alice, again) {
		t.Errorf("the same user again:\n%s", cmp.Diff(alice, again))
	}
	for _, a := range []map[string]any{s.attendee(room, "Alice"), s.attendee(other, "alice")} {
		if a["AttendeeId"] == id || a["JoinToken"] == token {
			t.Errorf("another attendee has the same id or token: %v", a["AttendeeId"])
		}
	}
	path := "/meetings/" + room + "/attendees/" + id
	if a := s.do(request{method: "GET", path: path}); a.status != 200 || !cmp.Equal(a.body["Attendee"], any(alice)) {
		t.Errorf("GetAttendee answered %d:\n%s", a.status, cmp.Diff(a.body["Attendee"], any(alice)))
	}
	if a := s.do(request{method: "GET", path: "/meetings/" + room + "/attendees/" + strings.ToUpper(id)}); a.status != 200 {
		t.Errorf("GetAttendee with the id in upper case answered %d", a.status)
	}
	s.refused(s.do(request{method: "GET", path: "/meetings/" + room + "/attendees/" + unknownGUID}), 404, "NotFoundException", unknownGUID)
	s.refused(s.do(request{method: "GET", path: "/meetings/" + other + "/attendees/" + id}), 404, "NotFoundException", id)
	s.refused(s.do(request{method: "GET", path: "/meetings/" + room + "/attendees/zz"}), 400, "ValidationException", "'attendeeId'")
	s.refused(s.do(request{method: "DELETE", path: "/meetings/" + room + "/attendees/zz"}), 400, "ValidationException", "'attendeeId'")
	if a := s.do(request{method: "DELETE", path: path}); a.status != 204 || a.raw != "" {
		t.Errorf("DeleteAttendee answered %d %s", a.status, a.raw)
	}
	s.refused(s.do(request{method: "DELETE", path: path}), 404, "NotFoundException", id)
	s.refused(s.do(request{method: "GET", path: path}), 404, "NotFoundException", id)
	if again := s.attendee(room, "alice"); again["AttendeeId"] == id || again["JoinToken"] == token {
		t.Error("a deleted attendee came back")
	}
}

func TestBatchCreateAttendee(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	batch := func(prefix, room string, users ...string) answer {
		var entries []string
		for _, u := range users {
			entries = append(entries, `{"ExternalUserId":"`+u+`"}`)
		}
		return s.do(request{method: "POST", path: prefix + "/meetings/" + room + "/attendees?operation=batch-create",
			body: `{"Attendees":[` + strings.Join(entries, ",") + `]}`})
	}
	users := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("user-%d", i))
		}
		return list
	}
	a := batch(asM, room, users(100)...)
	if a.status != 200 || len(a.body["Attendees"].([]any)) != 100 || !strings.HasSuffix(a.raw, `"Errors":[]}`) {
		t.Errorf("100 answered %d %.200s", a.status, a.raw)
	}
	if a := batch(asC, room, "user-0"); a.status != 201 {
		t.Errorf("C answered %d", a.status)
	}
	s.refused(batch(asM, room, users(101)...), 400, "ValidationException", "Value at 'attendees' failed to satisfy constraint: Member must have length less than or equal to 100")
	s.refused(batch(asC, room, users(101)...), 400, "ValidationException", "'attendees'")
	s.refused(batch(asM, room), 400, "ValidationException", "greater than or equal to 1")
	if a := batch(asC, room); a.status != 201 || a.raw != `{"Attendees":[],"Errors":[]}` {
		t.Errorf("C with none answered %d %s", a.status, a.raw)
	}
	s.refused(s.do(request{method: "POST", path: "/meetings/" + room + "/attendees?operation=batch-create", body: "{}"}), 400, "ValidationException", "'attendees'")
	s.refused(batch("", unknownGUID, "alice"), 404, "NotFoundException", unknownGUID)
	s.refused(batch("", room, "alice", "x"), 400, "ValidationException", "Value at 'attendees.2.member.externalUserId'")

	a = batch(asM, room, "twice", "twice")
	list := a.body["Attendees"].([]any)
	if a.status != 200 || len(list) != 2 || !cmp.Equal(list[0], list[1]) {
		t.Errorf("the same user twice answered %d %s", a.status, a.raw)
	}
	a = batch(asM, room, "aws:x", "good")
	failed := a.body["Errors"].([]any)
	if a.status != 200 || len(a.body["Attendees"].([]any)) != 1 || len(failed) != 1 {
		t.Fatalf("a bad entry answered %d %s", a.status, a.raw)
	}
	if e := failed[0].(map[string]any); e["ExternalUserId"] != "aws:x" || e["ErrorCode"] != "BadRequest" || e["ErrorMessage"] == "" {
		t.Errorf("error = %v", e)
	}

	small := s.meeting(`"MeetingFeatures":{"Attendee":{"MaxCount":5}}`)
	a = batch(asM, small, users(7)...)
	failed = a.body["Errors"].([]any)
	if a.status != 200 || len(a.body["Attendees"].([]any)) != 5 || len(failed) != 2 {
		t.Fatalf("a batch over the cap answered %d %s", a.status, a.raw)
	}
	if e := failed[1].(map[string]any); e["ExternalUserId"] != "user-6" || e["ErrorCode"] != "LimitExceeded" {
		t.Errorf("error = %v", e)
	}
	if e := batch(asC, small, "late").body["Errors"].([]any)[0].(map[string]any); e["ErrorCode"] != "ResourceLimitExceeded" {
		t.Errorf("error = %v", e)
	}
	one := func(prefix string) answer {
		return s.do(request{method: "POST", path: prefix + "/meetings/" + small + "/attendees", body: `{"ExternalUserId":"late"}`})
	}
	s.refused(one(asM), 400, "LimitExceededException", "attendees")
	s.refused(one(asC), 400, "ResourceLimitExceededException", "attendees")
	first := s.attendee(small, "user-0")["AttendeeId"].(string)
	s.do(request{method: "DELETE", path: "/meetings/" + small + "/attendees/" + first})
	if a := one(asM); a.status != 200 {
		t.Errorf("with a place free answered %d %s", a.status, a.raw)
	}
}

func TestListAttendees(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	path := "/meetings/" + room + "/attendees"
	if a := s.do(request{method: "GET", path: path}); a.status != 200 || a.raw != `{"Attendees":[]}` {
		t.Errorf("none: %d %s", a.status, a.raw)
	}
	for batch := range 3 {
		var entries []string
		for i := range 83 {
			entries = append(entries, fmt.Sprintf(`{"ExternalUserId":"user-%d"}`, 83*batch+i))
		}
		s.do(request{method: "POST", path: path + "?operation=batch-create", body: `{"Attendees":[` + strings.Join(entries, ",") + `]}`})
	}
	var sizes []int
	seen := map[string]bool{}
	for next := ""; ; {
		a := s.do(request{method: "GET", path: path + "?max-results=100&next-token=" + url.QueryEscape(next)})
		if a.status != 200 {
			t.Fatalf("answered %d %s", a.status, a.raw)
		}
		list := a.body["Attendees"].([]any)
		sizes = append(sizes, len(list))
		for _, one := range list {
			seen[one.(map[string]any)["AttendeeId"].(string)] = true
		}
		next, _ = a.body["NextToken"].(string)
		if next == "" {
			break
		}
	}
	if !cmp.Equal(sizes, []int{100, 100, 49}) || len(seen) != 249 {
		t.Errorf("pages of %v, %d ids", sizes, len(seen))
	}
	s.refused(s.do(request{method: "GET", path: path + "?max-results=101"}), 400, "ValidationException", "Value '101' at 'maxResults'")
	s.attendee(room, "the 250th")
	s.refused(s.do(request{method: "POST", path: asM + path, body: `{"ExternalUserId":"the 251st"}`}), 400, "LimitExceededException", "250")
	a := s.do(request{method: "GET", path: path + "?max-results=1"})
	s.refused(s.do(request{method: "GET", path: "/meetings?next-token=" + url.QueryEscape(a.body["NextToken"].(string))}), 400, "BadRequestException", "NextToken")
}
