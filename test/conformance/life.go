package conformance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// operations are the rows of the table, in the order of the API references. A
// client need not have them all.
var operations = []string{
	"CreateMeeting", "CreateMeetingWithAttendees", "GetMeeting", "ListMeetings", "DeleteMeeting",
	"CreateAttendee", "BatchCreateAttendee", "GetAttendee", "ListAttendees", "DeleteAttendee",
	"UpdateAttendeeCapabilities", "BatchUpdateAttendeeCapabilitiesExcept",
	"StartMeetingTranscription", "StopMeetingTranscription",
	"TagResource", "UntagResource", "ListTagsForResource",
	"TagMeeting", "UntagMeeting", "ListMeetingTags", "TagAttendee", "UntagAttendee", "ListAttendeeTags",
}

var guid = regexp.MustCompile(`^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$`)

// life is one client on its way through a meeting's life.
type life struct {
	kind
	client
	target   Target
	has      map[string]bool // operations of the client that are in the table
	called   map[string]bool
	failed   map[string]bool
	caught   map[string]string
	failures []string
	meetings []string // made and not deleted yet
	broken   error    // the client itself ended
}

func newLife(k kind, c client, target Target) *life {
	l := &life{kind: k, client: c, target: target,
		has: map[string]bool{}, called: map[string]bool{}, failed: map[string]bool{}, caught: map[string]string{}}
	for _, name := range c.about().Operations {
		l.has[name] = slices.Contains(operations, name)
	}
	return l
}

func (l *life) result() Result {
	r := Result{Client: l.name, API: l.api, Version: l.about().Version, Operations: map[string]Outcome{}, Caught: l.caught, Failures: l.failures}
	for _, name := range operations {
		switch {
		case !l.has[name]:
			r.Operations[name] = Absent
		case l.failed[name] || !l.called[name]:
			r.Operations[name] = Failed
		default:
			r.Operations[name] = Passed
		}
	}
	return r
}

// run goes through all chapters. One that cannot go on ends itself; the others
// are told all the same.
func (l *life) run() {
	for _, chapter := range []struct {
		needs string // an operation that the client may not have
		tell  func()
	}{
		{"", l.meeting},
		{"", l.attendees},
		{"", l.fullMeeting},
		{"CreateMeetingWithAttendees", l.withAttendees},
		{"UpdateAttendeeCapabilities", l.capabilities},
		{"TagMeeting", l.meetingTags},
		{"TagResource", l.resourceTags},
		{"StartMeetingTranscription", l.transcription},
		{"", l.refusals},
	} {
		if l.broken == nil && (chapter.needs == "" || l.has[chapter.needs]) {
			l.chapter(chapter.tell)
		}
	}
	for _, id := range l.meetings { // of chapters that ended early
		if l.broken == nil {
			_, l.broken = l.call("DeleteMeeting", map[string]any{"MeetingId": id})
		}
	}
}

var errChapter = errors.New("the chapter ends here")

func (l *life) chapter(tell func()) {
	defer func() {
		if p := recover(); p != nil && p != any(errChapter) {
			panic(p)
		}
	}()
	tell()
}

// wrong notes that an operation did not do as expected.
func (l *life) wrong(operation, format string, args ...any) {
	l.failed[operation] = true
	l.failures = append(l.failures, operation+": "+fmt.Sprintf(format, args...))
}

// ask calls an operation, again and again while there are too many calls.
func (l *life) ask(operation string, params map[string]any) answer {
	l.called[operation] = true
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		a, err := l.call(operation, params)
		if err != nil {
			l.broken = fmt.Errorf("%s: %s: %w", l.name, operation, err)
			panic(errChapter)
		}
		if a.Code == "" || !slices.Contains([]string{"ThrottlingException", "ThrottledClientException", "Throttling", "Throttled"}, a.Code) {
			return a
		}
		time.Sleep(wait)
	}
}

// do calls an operation that has to succeed: without its answer there is no
// going on.
func (l *life) do(operation string, params map[string]any) map[string]any {
	a := l.ask(operation, params)
	if a.Code != "" {
		l.wrong(operation, "refused with %s: %s", a.Code, a.Message)
		panic(errChapter)
	}
	if strings.HasPrefix(operation, "CreateMeeting") {
		if id, _ := object(a.Result["Meeting"])["MeetingId"].(string); !slices.Contains(l.meetings, id) {
			l.meetings = append(l.meetings, id)
		}
	}
	if operation == "DeleteMeeting" {
		l.meetings = slices.DeleteFunc(l.meetings, func(id string) bool { return id == params["MeetingId"] })
	}
	return a.Result
}

// refused calls an operation that has to be refused in one of the ways, with a
// message that says what it is about.
func (l *life) refused(operation string, params map[string]any, says string, as ...refusal) {
	l.note(l.ask(operation, params), operation, says, as...)
}

func (l *life) note(a answer, operation, says string, as ...refusal) {
	if a.Code == "" {
		l.wrong(operation, "not refused, want %s", as[0].name)
		return
	}
	if !strings.Contains(a.Message, says) {
		l.wrong(operation, "%s says %q, want %q in it", a.Code, a.Message, says)
	}
	if _, isCLI := l.client.(*cli); a.Request == "" && !isCLI {
		l.wrong(operation, "%s comes without a request id", a.Code)
	}
	for _, r := range as {
		code, class := l.names(l.kind, r)
		if a.Code == code && (class == "" || a.Class == class) && (a.Status == 0 || a.Status == r.status) {
			return
		}
	}
	code, class := l.names(l.kind, as[0])
	l.wrong(operation, "refused as %d %s (%s), want %d %s (%s)", a.Status, a.Code, a.Class, as[0].status, code, class)
}

// catch is refused for one of Refusals: the table shows what a program catches.
func (l *life) catch(name, operation string, params map[string]any, says string, as ...refusal) {
	a := l.ask(operation, params)
	l.note(a, operation, says, as...)
	l.caught[name] = a.Code
	if strings.Contains(a.Class, a.Code) {
		l.caught[name] = a.Class
	}
}

// overLimit is the refusal of too many attendees. An endpoint cannot know which
// API a client means that gives no sign, and may answer with either's name.
func (l *life) overLimit() []refusal {
	switch {
	case l.api == newerAPI:
		return []refusal{overLimit2021}
	case l.told:
		return []refusal{overLimit2018}
	}
	return []refusal{overLimit2018, overLimit2021}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	s, _ := v.([]any)
	return s
}

// distinct counts the different items.
func distinct(items []any) int {
	set := map[any]bool{}
	for _, item := range items {
		set[item] = true
	}
	return len(set)
}

// creation is what CreateMeeting needs, with more as pairs of name and
// value, where nil takes a member away.
// The launch clients have two of the members alone.
func (l *life) creation(more ...any) map[string]any {
	params := map[string]any{"ClientRequestToken": uuid.NewString(), "MediaRegion": "us-east-1"}
	if !l.launch {
		params["ExternalMeetingId"] = "room «é»"
	}
	for i := 0; i < len(more); i += 2 {
		if params[more[i].(string)] = more[i+1]; more[i+1] == nil {
			delete(params, more[i].(string))
		}
	}
	return params
}

func (l *life) newMeeting(more ...any) string {
	id, _ := object(l.do("CreateMeeting", l.creation(more...))["Meeting"])["MeetingId"].(string)
	return id
}

func (l *life) end(id string) { l.do("DeleteMeeting", map[string]any{"MeetingId": id}) }

func (l *life) meeting() {
	params := l.creation("MediaRegion", "eu-west-1", "MeetingHostId", "host-1", "NotificationsConfiguration", map[string]any{
		"SnsTopicArn": "arn:aws:sns:us-east-1:123456789012:topic", "SqsQueueArn": "arn:aws:sqs:us-east-1:123456789012:queue",
	})
	made := object(l.do("CreateMeeting", params)["Meeting"])
	id, _ := made["MeetingId"].(string)
	if !guid.MatchString(id) || made["MediaRegion"] != "eu-west-1" || !l.launch && made["ExternalMeetingId"] != "room «é»" {
		l.wrong("CreateMeeting", "answers %v", made)
		return
	}
	if l.api == newerAPI && (made["MeetingHostId"] != "host-1" || !strings.HasSuffix(fmt.Sprint(made["MeetingArn"]), ":meeting/"+id)) {
		l.wrong("CreateMeeting", "answers %v", made)
	}
	placement := object(made["MediaPlacement"])
	for _, member := range []string{"AudioHostUrl", "SignalingUrl", "TurnControlUrl", "ScreenDataUrl", "ScreenSharingUrl", "ScreenViewingUrl"} {
		if url, _ := placement[member].(string); url == "" {
			l.wrong("CreateMeeting", "MediaPlacement.%s is %v", member, placement[member])
		}
	}
	if again := object(l.do("CreateMeeting", params)["Meeting"]); again["MeetingId"] != id {
		l.wrong("CreateMeeting", "the same ClientRequestToken made %v, want %s", again["MeetingId"], id)
	}
	// Without a token the SDK makes one up, so that its own retries are safe.
	delete(params, "ClientRequestToken")
	if other := l.newMeeting("ClientRequestToken", nil); other == id {
		l.wrong("CreateMeeting", "without a ClientRequestToken answers an earlier meeting")
	} else {
		l.end(other)
	}
	get := map[string]any{"MeetingId": id}
	if got := object(l.do("GetMeeting", get)["Meeting"]); fmt.Sprint(got) != fmt.Sprint(made) {
		l.wrong("GetMeeting", "answers\n%v, CreateMeeting answered\n%v", got, made)
	}
	if l.has["ListMeetings"] {
		l.listMeetings(id)
	}
	l.end(id)
	l.end(id)
	l.catch("an ended meeting", "GetMeeting", get, "Meeting <"+id+"> not found", notFound)
}

func (l *life) listMeetings(id string) {
	second := l.newMeeting()
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
		params = map[string]any{"MaxResults": 99, "NextToken": next}
	}
	if !slices.Contains(found, any(id)) || !slices.Contains(found, any(second)) || distinct(found) != len(found) {
		l.wrong("ListMeetings", "the pages held %v, want %s and %v once each", found, id, second)
	}
	l.end(second)
}

// people is a batch of attendees.
func people(first, count int) []any {
	batch := make([]any, count)
	for i := range batch {
		batch[i] = map[string]any{"ExternalUserId": fmt.Sprintf("user-%03d", first+i)}
	}
	return batch
}

func (l *life) attendees() {
	id := l.newMeeting()
	create := map[string]any{"MeetingId": id, "ExternalUserId": "ann#1"}
	made := object(l.do("CreateAttendee", create)["Attendee"])
	token, _ := made["JoinToken"].(string)
	attendee, _ := made["AttendeeId"].(string)
	if made["ExternalUserId"] != "ann#1" || !guid.MatchString(attendee) || len(token) < 2 || len(token) > 2048 {
		l.wrong("CreateAttendee", "answers %q for %v, with a token of %d characters", attendee, made["ExternalUserId"], len(token))
	}
	if again := object(l.do("CreateAttendee", create)["Attendee"]); again["AttendeeId"] != attendee || again["JoinToken"] != token {
		l.wrong("CreateAttendee", "the same ExternalUserId made another attendee")
	}
	get := map[string]any{"MeetingId": id, "AttendeeId": attendee}
	if got := object(l.do("GetAttendee", get)["Attendee"]); got["JoinToken"] != token {
		l.wrong("GetAttendee", "answers another JoinToken")
	}
	result := l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(0, 100)})
	if n, failed := len(list(result["Attendees"])), list(result["Errors"]); n != 100 || len(failed) != 0 {
		l.wrong("BatchCreateAttendee", "made %d attendees, with the errors %v", n, failed)
	}

	var users []any
	params := map[string]any{"MeetingId": id, "MaxResults": 50}
	for pages := 1; ; pages++ {
		page := l.do("ListAttendees", params)
		for _, a := range list(page["Attendees"]) {
			users = append(users, object(a)["ExternalUserId"])
		}
		next, _ := page["NextToken"].(string)
		if next == "" {
			if pages != 3 {
				l.wrong("ListAttendees", "101 attendees in pages of 50 took %d pages", pages)
			}
			break
		}
		params["NextToken"] = next
	}
	if len(users) != 101 || distinct(users) != 101 {
		l.wrong("ListAttendees", "the pages held %d attendees, %d different", len(users), distinct(users))
	}

	l.do("DeleteAttendee", get)
	l.refused("GetAttendee", get, "not found", notFound)
	l.refused("DeleteAttendee", get, "not found", notFound)
	l.end(id)
	says := "Meeting <" + id + "> not found"
	l.refused("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": "late"}, says, notFound)
	l.refused("ListAttendees", map[string]any{"MeetingId": id}, says, notFound)
}

// fullMeeting crosses the limit of 250 within a batch: what fits is made, what
// does not is told.
func (l *life) fullMeeting() {
	id := l.newMeeting()
	l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(0, 100)})
	l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(100, 100)})
	result := l.do("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(200, 100)})
	made, failed := list(result["Attendees"]), list(result["Errors"])
	if len(made) != 50 || len(failed) != 50 {
		l.wrong("BatchCreateAttendee", "made %d attendees and failed %d, want 50 of each", len(made), len(failed))
	}
	for i, f := range failed {
		e := object(f)
		code, _ := e["ErrorCode"].(string)
		if e["ExternalUserId"] != fmt.Sprintf("user-%03d", 250+i) || !strings.HasSuffix(code, "LimitExceeded") || e["ErrorMessage"] == "" {
			l.wrong("BatchCreateAttendee", "entry %d of Errors is %v", i, e)
		}
	}
	l.catch("one attendee too many", "CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": "late"}, "", l.overLimit()...)
	l.end(id)
}

// withAttendees makes a meeting and its attendees in one call.
func (l *life) withAttendees() {
	const operation = "CreateMeetingWithAttendees"
	most := 20
	if l.api == olderAPI {
		most = 10
	}
	params := l.creation("Attendees", people(0, most))
	result := l.do(operation, params)
	id, _ := object(result["Meeting"])["MeetingId"].(string)
	if n, failed := len(list(result["Attendees"])), list(result["Errors"]); n != most || len(failed) != 0 {
		l.wrong(operation, "made %d attendees, with the errors %v", n, failed)
	}
	params["Attendees"] = people(most-1, 2)
	if again := object(l.do(operation, params)["Meeting"]); again["MeetingId"] != id {
		l.wrong(operation, "the same ClientRequestToken made another meeting")
	}
	if all := list(l.do("ListAttendees", map[string]any{"MeetingId": id})["Attendees"]); len(all) != most+1 {
		l.wrong(operation, "the meeting has %d attendees, want %d", len(all), most+1)
	}
	params["Attendees"] = people(0, 21)
	l.refused(operation, params, "attendees", invalid)
	l.end(id)
}

// capabilities changes what attendees may do, which the older API cannot.
func (l *life) capabilities() {
	const one, batch = "UpdateAttendeeCapabilities", "BatchUpdateAttendeeCapabilitiesExcept"
	id := l.newMeeting()
	var ids []any
	for _, user := range []string{"ann", "bob", "cid"} {
		ids = append(ids, object(l.do("CreateAttendee", map[string]any{"MeetingId": id, "ExternalUserId": user})["Attendee"])["AttendeeId"])
	}
	allow := func(audio, video, content string) map[string]any {
		return map[string]any{"Audio": audio, "Video": video, "Content": content}
	}
	want := allow("Send", "Receive", "None")
	a := object(l.do(one, map[string]any{"MeetingId": id, "AttendeeId": ids[0], "Capabilities": want})["Attendee"])
	if fmt.Sprint(a["Capabilities"]) != fmt.Sprint(want) {
		l.wrong(one, "answers %v, want %v", a["Capabilities"], want)
	}
	l.do(batch, map[string]any{
		"MeetingId": id, "ExcludedAttendeeIds": []any{map[string]any{"AttendeeId": ids[0]}}, "Capabilities": allow("None", "None", "None"),
	})
	var audio []any
	for _, a := range list(l.do("ListAttendees", map[string]any{"MeetingId": id})["Attendees"]) {
		audio = append(audio, object(object(a)["Capabilities"])["Audio"])
	}
	if fmt.Sprint(audio) != "[Send None None]" {
		l.wrong(batch, "Audio of the three is %v", audio)
	}
	l.refused(one, map[string]any{"MeetingId": id, "AttendeeId": ids[0], "Capabilities": allow("None", "None", "Receive")}, "Content", badRequest)
	l.refused(one, map[string]any{"MeetingId": id, "AttendeeId": uuid.NewString(), "Capabilities": want}, "not found", notFound)
	l.end(id)
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
func (l *life) resourceTags() {
	made := object(l.do("CreateMeeting", l.creation("Tags", tags("one=1", "two=2")))["Meeting"])
	id, _ := made["MeetingId"].(string)
	arn, _ := made["MeetingArn"].(string)
	if arn == "" {
		arn = l.arn(id)
	}
	l.do("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags("two=II", "three=3")})
	l.do("UntagResource", map[string]any{"ResourceARN": arn, "TagKeys": []any{"one", "absent"}})
	if got := tagsOf(l.do("ListTagsForResource", map[string]any{"ResourceARN": arn})); fmt.Sprint(got) != "[two=II three=3]" {
		l.wrong("ListTagsForResource", "the tags are %v", got)
	}
	many := make([]string, 49)
	for i := range many {
		many[i] = fmt.Sprintf("key%d=v", i)
	}
	limit, missing := []refusal{tooManyTags}, []refusal{noResource}
	if l.api == olderAPI {
		limit, missing = append(limit, fullOfTags), append(missing, notFound)
	}
	if l.api == olderAPI && l.told {
		limit, missing = limit[1:], missing[1:]
	}
	l.refused("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags(many...)}, "50", limit...)
	l.refused("TagResource", map[string]any{"ResourceARN": arn, "Tags": tags("aws:x=1")}, "reserved", badRequest)
	l.end(id)
	l.refused("ListTagsForResource", map[string]any{"ResourceARN": arn}, "ARN", missing...)
}

// arn asks a client of the newer API: the older has no MeetingArn in its answers.
func (l *life) arn(id string) string {
	c, err := goV2Meetings(context.Background(), &builder{}, kind{}, l.target)
	if err == nil {
		var a answer
		if a, err = c.call("GetMeeting", map[string]any{"MeetingId": id}); err == nil && a.Code == "" {
			arn, _ := object(a.Result["Meeting"])["MeetingArn"].(string)
			return arn
		}
	}
	l.wrong("TagResource", "the newer API does not tell the ARN of the meeting: %v", err)
	panic(errChapter)
}

// meetingTags tags a meeting and an attendee by their ids, which the newer API
// cannot.
func (l *life) meetingTags() {
	id := l.newMeeting()
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
			l.wrong("List"+of.name+"Tags", "the tags are %v", got)
		}
	}
	l.end(id)
	l.refused("ListMeetingTags", map[string]any{"MeetingId": id}, "not found", notFound)
}

// transcription is started and stopped where there is an engine for it, and
// refused in plain words where there is none.
func (l *life) transcription() {
	const start, stop = "StartMeetingTranscription", "StopMeetingTranscription"
	id := l.newMeeting()
	params := func(members map[string]any) map[string]any {
		return map[string]any{"MeetingId": id, "TranscriptionConfiguration": map[string]any{"EngineTranscribeSettings": members}}
	}
	a := l.ask(start, params(map[string]any{"LanguageCode": "en-US"}))
	if a.Code == "" {
		l.do(start, params(map[string]any{"LanguageCode": "de-DE"}))
		l.do(stop, map[string]any{"MeetingId": id})
	} else {
		l.note(a, start, "transcription", unprocessable)
		l.refused(stop, map[string]any{"MeetingId": id}, "transcription", unprocessable)
	}
	l.refused(start, params(map[string]any{"LanguageCode": "en-US", "VocabularyFilterMethod": "burn"}), "vocabularyFilterMethod", invalid)
	l.end(id)
	l.refused(stop, map[string]any{"MeetingId": id}, "not found", notFound)
}

func (l *life) refusals() {
	l.catch("an unknown region", "CreateMeeting", l.creation("MediaRegion", "mars-1"), "MediaRegion", badRequest)
	l.catch("a broken constraint", "CreateMeeting", l.creation("ClientRequestToken", "no.dots"), "clientRequestToken", invalid)
	if !l.launch {
		l.refused("CreateMeeting", l.creation("ExternalMeetingId", strings.Repeat("x", 65)), "externalMeetingId", invalid)
	}
	l.refused("CreateMeeting", l.creation("NotificationsConfiguration", map[string]any{"SqsQueueArn": "not-an-arn"}), "sqsQueueArn", invalid)
	l.refused("GetMeeting", map[string]any{"MeetingId": "zz"}, "meetingId", invalid)
	l.refused("GetMeeting", map[string]any{"MeetingId": "a b/c:d+e%2F"}, "meetingId", invalid)
	unknown := uuid.NewString()
	l.refused("GetMeeting", map[string]any{"MeetingId": unknown}, unknown, notFound)
	l.end(unknown)

	id := l.newMeeting()
	l.refused("BatchCreateAttendee", map[string]any{"MeetingId": id, "Attendees": people(0, 101)}, "attendees", invalid)
	l.refused("ListAttendees", map[string]any{"MeetingId": id, "NextToken": "forged"}, "NextToken", badRequest)
	l.refused("ListAttendees", map[string]any{"MeetingId": id, "MaxResults": 101}, "maxResults", invalid)
	l.end(id)
}
