// Package conformance asks whether real AWS clients get what they expect: each
// runs the same life of a meeting against the whole server.
package conformance

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
)

var serverKeys = keys{"AKIDCONFORMANCE", "conformance/secret+key"}

var guid = regexp.MustCompile(`^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$`)

// start brings up the shipped server on free ports.
func start(t *testing.T) string {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.TURNListen, cfg.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.AccessKeyID, cfg.SecretAccessKey = serverKeys.id, meeting.Secret(serverKeys.secret)
	cfg.RequestRate = 0
	server, err := app.Start(t.Context(), cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL()
}

// life is one client on its way through a meeting's life.
type life struct {
	*testing.T
	client
	api string
}

func (l life) do(operation string, params map[string]any) map[string]any {
	l.Helper()
	a := l.call(l.T, operation, params)
	if a.Code != "" {
		l.Fatalf("%s: refused with %s: %s", operation, a.Code, a.Message)
	}
	return a.Result
}

// refused checks the name, the status where the client tells, and the message.
func (l life) refused(operation string, params map[string]any, status int, code, message string) {
	l.Helper()
	a := l.call(l.T, operation, params)
	if a.Code != code || !strings.Contains(a.Message, message) || (a.Status != 0 && a.Status != status) {
		l.Errorf("%s: got %d %q %q, want %d %q with %q", operation, a.Status, a.Code, a.Message, status, code, message)
	}
}

func TestLifeOfAMeeting(t *testing.T) {
	endpoint := start(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			l := life{t, c.new(t, endpoint, serverKeys), c.api}
			l.meetings()
			l.attendees()
			l.fullMeeting()
			l.withAttendees()
			if l.api == "chime-sdk-meetings" {
				l.capabilities()
			} else {
				l.meetingTags()
			}
			l.resourceTags()
			l.transcription()
			l.refusals()
		})
	}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	s, _ := v.([]any)
	return s
}

func (l life) newMeeting() map[string]any {
	l.Helper()
	return object(l.do("CreateMeeting", map[string]any{
		"ClientRequestToken": uuid.NewString(), "ExternalMeetingId": "room «é»", "MediaRegion": "eu-west-1",
	})["Meeting"])
}

func (l life) meetings() {
	l.Helper()
	params := map[string]any{
		"ClientRequestToken": uuid.NewString(), "ExternalMeetingId": "room «é»", "MediaRegion": "eu-west-1", "MeetingHostId": "host-1",
		"NotificationsConfiguration": map[string]any{
			"SnsTopicArn": "arn:aws:sns:us-east-1:123456789012:topic", "SqsQueueArn": "arn:aws:sqs:us-east-1:123456789012:queue",
		},
	}
	made := object(l.do("CreateMeeting", params)["Meeting"])
	id, _ := made["MeetingId"].(string)
	if !guid.MatchString(id) || made["MediaRegion"] != "eu-west-1" || made["ExternalMeetingId"] != "room «é»" {
		l.Fatalf("got %v", made)
	}
	if l.api == "chime-sdk-meetings" && (made["MeetingHostId"] != "host-1" || !strings.HasSuffix(fmt.Sprint(made["MeetingArn"]), ":meeting/"+id)) {
		l.Errorf("got %v", made)
	}
	placement := object(made["MediaPlacement"])
	for member, prefix := range map[string]string{
		"AudioHostUrl": "127.0.0.1:", "SignalingUrl": "ws://", "TurnControlUrl": "http://",
		"ScreenDataUrl": "ws://", "ScreenSharingUrl": "ws://", "ScreenViewingUrl": "ws://",
	} {
		if url, _ := placement[member].(string); !strings.HasPrefix(url, prefix) {
			l.Errorf("MediaPlacement.%s is %q", member, url)
		}
	}
	again := object(l.do("CreateMeeting", params)["Meeting"])
	if again["MeetingId"] != id {
		l.Errorf("the same ClientRequestToken made %v, want %s", again["MeetingId"], id)
	}
	got := object(l.do("GetMeeting", map[string]any{"MeetingId": id})["Meeting"])
	if fmt.Sprint(got) != fmt.Sprint(made) {
		l.Errorf("GetMeeting answers\n%v, CreateMeeting answered\n%v", got, made)
	}
	if l.api == "chime" {
		l.listMeetings(id)
	}
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	l.refused("GetMeeting", map[string]any{"MeetingId": id}, 404, "NotFoundException", "Meeting <"+id+"> not found")
}

func (l life) listMeetings(id string) {
	l.Helper()
	second := l.newMeeting()["MeetingId"]
	var found []any
	params := map[string]any{"MaxResults": 1}
	for {
		page := l.do("ListMeetings", params)
		for _, m := range list(page["Meetings"]) {
			found = append(found, object(m)["MeetingId"])
		}
		next, _ := page["NextToken"].(string)
		if next == "" {
			break
		}
		params["NextToken"] = next
	}
	if !slices.Contains(found, any(id)) || !slices.Contains(found, second) || len(unique(found)) != len(found) {
		l.Errorf("the pages held %v, want %s and %v once each", found, id, second)
	}
	l.do("DeleteMeeting", map[string]any{"MeetingId": second})
}

func unique(items []any) map[any]bool {
	set := map[any]bool{}
	for _, item := range items {
		set[item] = true
	}
	return set
}

func (l life) attendees() {
	l.Helper()
	id := l.newMeeting()["MeetingId"]
	made := object(l.do("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": "ann#1"})["Attendee"])
	token, _ := made["JoinToken"].(string)
	attendee, _ := made["AttendeeId"].(string)
	if made["ExternalUserId"] != "ann#1" || !guid.MatchString(attendee) || len(token) != 98 {
		l.Fatalf("got an attendee %q of %v with a token of %d characters", attendee, made["ExternalUserId"], len(token))
	}
	again := object(l.do("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": "ann#1"})["Attendee"])
	if again["AttendeeId"] != attendee || again["JoinToken"] != token {
		l.Error("the same ExternalUserId made another attendee")
	}
	got := object(l.do("GetAttendee", map[string]any{"MeetingId": id, "AttendeeId": attendee})["Attendee"])
	if got["JoinToken"] != token {
		l.Error("GetAttendee answers another JoinToken")
	}

	result := l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(0)})
	if n, failed := len(list(result["Attendees"])), list(result["Errors"]); n != 100 || len(failed) != 0 {
		l.Errorf("the batch made %d attendees, with the errors %v", n, failed)
	}

	var users []any
	params := map[string]any{"MeetingId": id, "MaxResults": 33}
	for pages := 1; ; pages++ {
		page := l.do("ListAttendees", params)
		for _, a := range list(page["Attendees"]) {
			users = append(users, object(a)["ExternalUserId"])
		}
		next, _ := page["NextToken"].(string)
		if next == "" {
			if pages != 4 {
				l.Errorf("101 attendees in pages of 33 took %d pages", pages)
			}
			break
		}
		params["NextToken"] = next
	}
	if len(users) != 101 || len(unique(users)) != 101 {
		l.Errorf("the pages held %d attendees, %d different", len(users), len(unique(users)))
	}

	l.do("DeleteAttendee", map[string]any{"MeetingId": id, "AttendeeId": attendee})
	l.refused("GetAttendee", map[string]any{"MeetingId": id, "AttendeeId": attendee}, 404, "NotFoundException", "not found")
	l.refused("DeleteAttendee", map[string]any{"MeetingId": id, "AttendeeId": attendee}, 404, "NotFoundException", "not found")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	for operation, params := range map[string]map[string]any{
		"CreateAttendee": {"MeetingId": id, "ExternalUserId": "late"},
		"ListAttendees":  {"MeetingId": id},
	} {
		l.refused(operation, params, 404, "NotFoundException", fmt.Sprintf("Meeting <%v> not found", id))
	}
}

// people is a batch of 100 attendees.
func people(first int) []any {
	batch := make([]any, 100)
	for i := range batch {
		batch[i] = map[string]any{"ExternalUserId": fmt.Sprintf("user-%03d", first+i)}
	}
	return batch
}

// fullMeeting crosses the limit of 250 within a batch: what fits is made, what
// does not is told.
func (l life) fullMeeting() {
	l.Helper()
	id := l.newMeeting()["MeetingId"]
	l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(0)})
	l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(100)})
	result := l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(200)})
	made, failed := list(result["Attendees"]), list(result["Errors"])
	if len(made) != 50 || len(failed) != 50 {
		l.Fatalf("the batch made %d attendees and failed %d, want 50 of each", len(made), len(failed))
	}
	for i, f := range failed {
		e := object(f)
		code, _ := e["ErrorCode"].(string)
		if e["ExternalUserId"] != fmt.Sprintf("user-%03d", 250+i) || !strings.HasSuffix(code, "LimitExceeded") || e["ErrorMessage"] == "" {
			l.Errorf("entry %d of Errors is %v", i, e)
		}
	}
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
}

// withAttendees makes a meeting and its attendees in one call.
func (l life) withAttendees() {
	l.Helper()
	most := 20
	if l.api == "chime" {
		most = 10
	}
	params := map[string]any{
		"ClientRequestToken": uuid.NewString(), "ExternalMeetingId": "room", "MediaRegion": "us-east-1", "Attendees": people(0)[:most],
	}
	result := l.do("CreateMeetingWithAttendees", params)
	id := object(result["Meeting"])["MeetingId"]
	if n, failed := len(list(result["Attendees"])), list(result["Errors"]); n != most || len(failed) != 0 {
		l.Errorf("%d attendees, with the errors %v", n, failed)
	}
	params["Attendees"] = people(most - 1)[:2]
	again := l.do("CreateMeetingWithAttendees", params)
	if object(again["Meeting"])["MeetingId"] != id {
		l.Error("the same ClientRequestToken made another meeting")
	}
	if all := list(l.do("ListAttendees", map[string]any{"MeetingId": id})["Attendees"]); len(all) != most+1 {
		l.Errorf("the meeting has %d attendees, want %d", len(all), most+1)
	}
	params["Attendees"] = people(0)[:21]
	l.refused("CreateMeetingWithAttendees", params, 400, "ValidationException", "attendees")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
}

// capabilities changes what attendees may do, which the older API cannot.
func (l life) capabilities() {
	l.Helper()
	id := l.newMeeting()["MeetingId"]
	var ids []any
	for _, user := range []string{"ann", "bob", "cid"} {
		ids = append(ids, object(l.do("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": user})["Attendee"])["AttendeeId"])
	}
	allow := func(audio, video, content string) map[string]any {
		return map[string]any{"Audio": audio, "Video": video, "Content": content}
	}
	want := allow("Send", "Receive", "None")
	a := object(l.do("UpdateAttendeeCapabilities", map[string]any{"MeetingId": id, "AttendeeId": ids[0], "Capabilities": want})["Attendee"])
	if fmt.Sprint(a["Capabilities"]) != fmt.Sprint(want) {
		l.Errorf("UpdateAttendeeCapabilities answers %v, want %v", a["Capabilities"], want)
	}
	l.do("BatchUpdateAttendeeCapabilitiesExcept", map[string]any{
		"MeetingId": id, "ExcludedAttendeeIds": []any{map[string]any{"AttendeeId": ids[0]}}, "Capabilities": allow("None", "None", "None"),
	})
	var audio []any
	for _, a := range list(l.do("ListAttendees", map[string]any{"MeetingId": id})["Attendees"]) {
		audio = append(audio, object(object(a)["Capabilities"])["Audio"])
	}
	if fmt.Sprint(audio) != "[Send None None]" {
		l.Errorf("Audio of the three is %v", audio)
	}
	l.refused("UpdateAttendeeCapabilities", map[string]any{"MeetingId": id, "AttendeeId": ids[0], "Capabilities": allow("None", "None", "Receive")},
		400, "BadRequestException", "Content")
	l.refused("UpdateAttendeeCapabilities", map[string]any{"MeetingId": id, "AttendeeId": uuid.NewString(), "Capabilities": want},
		404, "NotFoundException", "not found")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
}

func tagsOf(result map[string]any) (tags []string) {
	for _, t := range list(result["Tags"]) {
		tags = append(tags, fmt.Sprint(object(t)["Key"], "=", object(t)["Value"]))
	}
	return tags
}

func tags(pairs ...string) (list []any) {
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		list = append(list, map[string]any{"Key": key, "Value": value})
	}
	return list
}

// resourceTags tags a meeting by its ARN, in both APIs.
func (l life) resourceTags() {
	l.Helper()
	id := object(l.do("CreateMeeting", map[string]any{
		"ClientRequestToken": uuid.NewString(), "ExternalMeetingId": "room", "MediaRegion": "us-east-1", "Tags": tags("one=1", "two=2"),
	})["Meeting"])["MeetingId"]
	// The older model has no MeetingArn, but it can be made.
	arn := fmt.Sprintf("arn:aws:chime:us-east-1:%s:meeting/%v", config.Default().Account, id)
	l.do("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags("two=II", "three=3")})
	l.do("UntagResource", map[string]any{"ResourceARN": arn, "TagKeys": []any{"one", "absent"}})
	if got := tagsOf(l.do("ListTagsForResource", map[string]any{"ResourceARN": arn})); fmt.Sprint(got) != "[two=II three=3]" {
		l.Errorf("the tags are %v", got)
	}
	many := make([]string, 49)
	for i := range many {
		many[i] = fmt.Sprintf("key%d=v", i)
	}
	// A client that gives no sign of its API gets the names of the newer one.
	told := l.api == "chime-sdk-meetings" || !strings.Contains(l.Name(), "aws-sdk-go_v1") && !strings.Contains(l.Name(), "boto3")
	limit, missing := "TooManyTagsException", "ResourceNotFoundException"
	if told && l.api == "chime" {
		limit, missing = "ResourceLimitExceededException", "NotFoundException"
	}
	l.refused("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags(many...)}, 400, limit, "50")
	l.refused("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags("aws:x=1")}, 400, "BadRequestException", "reserved")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	l.refused("ListTagsForResource", map[string]any{"ResourceARN": arn}, 404, missing, "ARN")
}

// meetingTags tags a meeting and an attendee by their ids, which the newer API
// cannot.
func (l life) meetingTags() {
	l.Helper()
	id := l.newMeeting()["MeetingId"]
	a := object(l.do("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": "ann", "Tags": tags("one=1")})["Attendee"])["AttendeeId"]
	for _, of := range []struct {
		name   string
		params map[string]any
	}{
		{"Meeting", map[string]any{"MeetingId": id}},
		{"Attendee", map[string]any{"MeetingId": id, "AttendeeId": a}},
	} {
		with := func(member string, value any) map[string]any {
			params := map[string]any{member: value}
			for k, v := range of.params {
				params[k] = v
			}
			return params
		}
		l.do("Tag"+of.name, with("Tags", tags("one=I", "two=2")))
		l.do("Untag"+of.name, with("TagKeys", []any{"two", "absent"}))
		if got := tagsOf(l.do("List"+of.name+"Tags", of.params)); fmt.Sprint(got) != "[one=I]" {
			l.Errorf("the tags of the %s are %v", of.name, got)
		}
	}
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	l.refused("ListMeetingTags", map[string]any{"MeetingId": id}, 404, "NotFoundException", "not found")
}

// transcription is understood, and refused because there is nothing to do it.
func (l life) transcription() {
	l.Helper()
	id := l.newMeeting()["MeetingId"]
	start := func(members map[string]any) map[string]any {
		return map[string]any{"MeetingId": id, "TranscriptionConfiguration": map[string]any{"EngineTranscribeSettings": members}}
	}
	const name = "UnprocessableEntityException"
	l.refused("StartMeetingTranscription", start(map[string]any{"LanguageCode": "en-US"}), 422, name, "no transcription engine")
	l.refused("StartMeetingTranscription", start(map[string]any{"LanguageCode": "en-US", "VocabularyFilterMethod": "burn"}), 400, "ValidationException", "vocabularyFilterMethod")
	l.refused("StopMeetingTranscription", map[string]any{"MeetingId": id}, 422, name, "no transcription engine")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
	l.refused("StopMeetingTranscription", map[string]any{"MeetingId": id}, 404, "NotFoundException", "not found")
}

func (l life) refusals() {
	l.Helper()
	fresh := func(member string, value any) map[string]any {
		params := map[string]any{"ClientRequestToken": uuid.NewString(), "ExternalMeetingId": "room", "MediaRegion": "us-east-1"}
		params[member] = value
		return params
	}
	l.refused("CreateMeeting", fresh("MediaRegion", "mars-1"), 400, "BadRequestException", "MediaRegion")
	l.refused("CreateMeeting", fresh("ClientRequestToken", "no.dots"), 400, "ValidationException", "clientRequestToken")
	l.refused("CreateMeeting", fresh("ExternalMeetingId", strings.Repeat("x", 65)), 400, "ValidationException", "externalMeetingId")
	l.refused("CreateMeeting", fresh("NotificationsConfiguration", map[string]any{"SqsQueueArn": "not-an-arn"}), 400, "ValidationException", "sqsQueueArn")
	l.refused("GetMeeting", map[string]any{"MeetingId": "zz"}, 400, "ValidationException", "meetingId")
	l.refused("GetMeeting", map[string]any{"MeetingId": "a b/c:d+e%2F"}, 400, "ValidationException", "meetingId")
	unknown := uuid.NewString()
	l.refused("GetMeeting", map[string]any{"MeetingId": unknown}, 404, "NotFoundException", unknown)
	l.do("DeleteMeeting", map[string]any{"MeetingId": unknown})

	id := l.newMeeting()["MeetingId"]
	many := make([]any, 101)
	for i := range many {
		many[i] = map[string]any{"ExternalUserId": fmt.Sprintf("user-%03d", i)}
	}
	l.refused("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": many}, 400, "ValidationException", "attendees")
	l.refused("ListAttendees", map[string]any{"MeetingId": id, "NextToken": "forged"}, 400, "BadRequestException", "NextToken")
	l.refused("ListAttendees", map[string]any{"MeetingId": id, "MaxResults": 101}, 400, "ValidationException", "maxResults")
	l.do("DeleteMeeting", map[string]any{"MeetingId": id})
}

func TestWrongKeysAreRefused(t *testing.T) {
	endpoint := start(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			get := map[string]any{"MeetingId": uuid.NewString()}
			life{t, c.new(t, endpoint, keys{"AKIDUNKNOWN", "x"}), c.api}.refused("GetMeeting", get, 403, "UnrecognizedClientException", "token")
			life{t, c.new(t, endpoint, keys{serverKeys.id, "wrong"}), c.api}.refused("GetMeeting", get, 403, "InvalidSignatureException", "signature")
		})
	}
}
