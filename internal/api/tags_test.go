package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tagList is the member Tags with tags of these keys and the one value.
func tagList(value string, keys ...string) string {
	entries := make([]string, len(keys))
	for i, k := range keys {
		entries[i] = fmt.Sprintf(`{"Key":%q,"Value":%q}`, k, value)
	}
	return `"Tags":[` + strings.Join(entries, ",") + `]`
}

func keyList(keys ...string) string {
	return `"TagKeys":["` + strings.Join(keys, `","`) + `"]`
}

func manyKeys(prefix string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint(prefix, i))
	}
	return keys
}

// tagged is a server with one meeting, whose tags a test changes.
type tagged struct {
	*server
	room, arn string
}

func startTagged(t *testing.T, members string) tagged {
	s := start(t, nil)
	room := s.meeting(members)
	m := s.do(request{method: "GET", path: "/meetings/" + room}).body["Meeting"].(map[string]any)
	return tagged{s, room, m["MeetingArn"].(string)}
}

// resource calls TagResource or UntagResource.
func (s tagged) resource(prefix, operation, arn, members string) answer {
	return s.do(request{method: "POST", path: prefix + "/tags?operation=" + operation, body: fmt.Sprintf(`{"ResourceARN":%q,%s}`, arn, members)})
}

func (s tagged) list(prefix, arn string) answer {
	return s.do(request{method: "GET", path: prefix + "/tags?arn=" + url.QueryEscape(arn)})
}

func (s tagged) meetingTags(operation, members string) answer {
	return s.do(request{method: "POST", path: "/meetings/" + s.room + "/tags?operation=" + operation, body: "{" + members + "}"})
}

// wants checks the tags as "key=value" by both ways of listing them.
func (s tagged) wants(tags ...string) {
	s.t.Helper()
	for _, a := range []answer{s.list(asM, s.arn), s.list(asC, s.arn), s.do(request{method: "GET", path: "/meetings/" + s.room + "/tags"})} {
		s.tags(a, tags...)
	}
}

func (s tagged) tags(a answer, want ...string) {
	s.t.Helper()
	list, ok := a.body["Tags"].([]any)
	if a.status != 200 || !ok {
		s.t.Errorf("answered %d %s", a.status, a.raw)
		return
	}
	var got []string
	for _, tag := range list {
		got = append(got, fmt.Sprint(tag.(map[string]any)["Key"], "=", tag.(map[string]any)["Value"]))
	}
	if d := cmp.Diff(want, got); d != "" {
		s.t.Errorf("tags (-want +got):\n%s", d)
	}
}

func (s tagged) done(a answer) {
	s.t.Helper()
	if a.status != 204 || a.raw != "" {
		s.t.Errorf("answered %d %s", a.status, a.raw)
	}
}

// There is one set of tags, whichever way it is changed.
func TestTags(t *testing.T) {
	s := startTagged(t, tagList("1", "one", "two"))
	s.wants("one=1", "two=1")
	s.done(s.resource(asM, "tag-resource", s.arn, tagList("2", "two", "three")))
	s.wants("one=1", "two=2", "three=2")
	s.done(s.resource(asC, "tag-resource", s.arn, tagList("3", "three")))
	s.done(s.meetingTags("add", tagList("4", "four", "one")))
	s.wants("one=4", "two=2", "three=3", "four=4")
	s.done(s.resource(asM, "untag-resource", s.arn, keyList("one", "absent")))
	s.done(s.meetingTags("delete", keyList("four", "absent")))
	s.wants("two=2", "three=3")
	s.done(s.resource(asM, "untag-resource", s.arn, keyList("absent")))
	s.done(s.resource("", "untag-resource", strings.Replace(s.arn, s.room, strings.ToUpper(s.room), 1), keyList("absent", "two")))
	s.wants("three=3")
	s.done(s.resource(asM, "untag-resource", s.arn, keyList("three")))
	s.wants()
	if a := s.list(asM, s.arn); a.raw != `{"Tags":[]}` {
		t.Errorf("no tags: %s", a.raw)
	}
	// Tags change nothing else.
	a := s.do(request{method: "POST", path: "/meetings", body: members(tagList("last", "same", "same"))})
	twice := tagged{s.server, a.body["Meeting"].(map[string]any)["MeetingId"].(string), a.body["Meeting"].(map[string]any)["MeetingArn"].(string)}
	twice.wants("same=last")
}

func TestTagLimits(t *testing.T) {
	s := startTagged(t, tagList("v", manyKeys("k", 49)...))
	const validation, bad = "ValidationException", "BadRequestException"
	s.done(s.resource(asM, "tag-resource", s.arn, tagList("v", "k0", "last")))
	over := s.resource(asM, "tag-resource", s.arn, tagList("v", "k0", "over"))
	if over.status != 400 || over.header.Get("X-Amzn-ErrorType") != "TooManyTagsException" || over.body["Code"] != "TooManyTags" ||
		over.body["ResourceName"] != s.arn || over.body["RequestId"] != over.header.Get("X-Amzn-RequestId") || over.body["Message"] == "" {
		t.Errorf("the 51st tag answered %d %s %s", over.status, over.header.Get("X-Amzn-ErrorType"), over.raw)
	}
	s.refused(s.resource(asC, "tag-resource", s.arn, tagList("v", "over")), 400, "ResourceLimitExceededException", "50")
	s.refused(s.meetingTags("add", tagList("v", "over")), 400, "ResourceLimitExceededException", "50")
	s.done(s.meetingTags("add", tagList("w", manyKeys("k", 49)...)))
	if n := len(s.list(asM, s.arn).body["Tags"].([]any)); n != 50 {
		t.Errorf("%d tags are left", n)
	}

	arn := s.arn
	for _, tc := range []struct {
		name string
		a    answer
		want string
		says string
	}{
		{"51 in one call, M", s.resource(asM, "tag-resource", arn, tagList("v", manyKeys("x", 51)...)), validation, "Value at 'tags'"},
		{"51 in one call, C", s.meetingTags("add", tagList("v", manyKeys("x", 51)...)), validation, "Value at 'tags'"},
		{"51 keys", s.resource(asM, "untag-resource", arn, keyList(manyKeys("x", 51)...)), validation, "Value at 'tagKeys'"},
		{"no tags, C", s.meetingTags("add", `"Tags":[]`), validation, "greater than or equal to 1"},
		{"no keys, C", s.meetingTags("delete", `"TagKeys":[]`), validation, "greater than or equal to 1"},
		{"no member Tags", s.resource(asM, "tag-resource", arn, `"x":1`), validation, "'tags' failed to satisfy constraint: Member must not be null"},
		{"no member TagKeys", s.resource(asM, "untag-resource", arn, `"x":1`), validation, "'tagKeys' failed to satisfy constraint: Member must not be null"},
		{"reserved prefix, M", s.resource(asM, "tag-resource", arn, tagList("v", "AWS:x")), bad, "reserved"},
		{"reserved prefix, C", s.meetingTags("add", tagList("v", "aws:x")), bad, "reserved"},
		{"reserved prefix at creation", s.do(request{method: "POST", path: asM + "/meetings", body: members(tagList("v", "aws:x"))}), bad, "reserved"},
		{"space in a key, M", s.resource(asM, "tag-resource", arn, tagList("v", "a b")), validation, "'tags.1.member.key'"},
		{"space in a key to remove, M", s.resource(asM, "untag-resource", arn, keyList("a b")), validation, "'tagKeys.1.member'"},
		{"key of 129", s.resource(asM, "tag-resource", arn, tagList("v", strings.Repeat("k", 129))), validation, "less than or equal to 128"},
		{"value of 257", s.resource(asM, "tag-resource", arn, tagList(strings.Repeat("v", 257), "k")), validation, "less than or equal to 256"},
		{"value with <, M", s.resource(asM, "tag-resource", arn, tagList("{", "k")), validation, "'tags.1.member.value'"},
		{"empty value, C", s.meetingTags("add", tagList("", "k0")), validation, "'tags.1.member.value'"},
		{"no ARN", s.do(request{method: "POST", path: asM + "/tags?operation=tag-resource", body: "{" + tagList("v", "k") + "}"}), validation, "'resourceARN'"},
		{"ARN that is none", s.resource(asM, "tag-resource", "meeting/"+s.room, tagList("v", "k")), validation, "^arn:.*"},
		{"ARN that is none, no API known", s.resource("", "tag-resource", "meeting/"+s.room, tagList("v", "k")), validation, "'resourceARN'"},
		{"ARN of characters that C has not", s.resource(asC, "tag-resource", arn+"@", tagList("v", "k")), validation, "'resourceARN'"},
		{"list without ARN", s.do(request{method: "GET", path: "/tags"}), validation, "'resourceARN'"},
		{"list with an empty ARN", s.do(request{method: "GET", path: "/tags?arn="}), validation, "'resourceARN'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := *s.server
			s.t = t
			s.refused(tc.a, 400, tc.want, tc.says)
			if strings.Contains(tc.a.raw, "aws:x") || strings.Contains(tc.a.raw, "a b") {
				t.Errorf("the answer repeats a tag: %s", tc.a.raw)
			}
		})
	}
	s.done(s.resource(asM, "tag-resource", arn, `"Tags":[]`))
	s.done(s.resource(asM, "tag-resource", arn, tagList("", "k0")))
	s.done(s.meetingTags("delete", keyList("k1")))
	s.done(s.meetingTags("add", tagList("any {value}", "any key")))
}

// A meeting is found by its whole ARN, and by its owner alone.
func TestTagsByARN(t *testing.T) {
	s := startTagged(t, "")
	good := s.arn
	missing := func(prefix, arn string) {
		t.Helper()
		for _, a := range []answer{s.list(prefix, arn), s.resource(prefix, "tag-resource", arn, tagList("v", "k")), s.resource(prefix, "untag-resource", arn, keyList("k"))} {
			if prefix == asC {
				s.refused(a, 404, "NotFoundException", "ARN")
			} else if a.status != 404 || a.header.Get("X-Amzn-ErrorType") != "ResourceNotFoundException" || a.body["Code"] != "ResourceNotFound" || a.body["ResourceName"] != arn {
				t.Errorf("%q answered %d %s %s", arn, a.status, a.header.Get("X-Amzn-ErrorType"), a.raw)
			}
		}
	}
	for _, prefix := range []string{asC, asM, ""} {
		for _, arn := range []string{
			strings.Replace(good, s.room, unknownGUID, 1),
			strings.Replace(good, "us-east-1", "eu-west-1", 1),
			strings.Replace(good, testKey.Account, otherKey.Account, 1),
			strings.Replace(good, ":meeting/", ":attendee/", 1),
			strings.Replace(good, ":meeting/", ":meeting/x/", 1),
			"arn:" + s.room, "arn:/", "arn::",
		} {
			missing(prefix, arn)
		}
	}
	if a := s.do(request{method: "GET", path: asC + "/tags?arn=" + url.QueryEscape(good), key: otherKey}); a.status != 404 {
		t.Errorf("another account was answered %d %s", a.status, a.raw)
	}
	s.do(request{method: "DELETE", path: "/meetings/" + s.room})
	missing(asM, good)
	missing(asC, good)
	s.refused(s.meetingTags("add", tagList("v", "k")), 404, "NotFoundException", "Meeting <"+s.room)
	s.refused(s.meetingTags("delete", keyList("k")), 404, "NotFoundException", "Meeting <"+s.room)
	s.refused(s.do(request{method: "GET", path: "/meetings/" + s.room + "/tags"}), 404, "NotFoundException", "Meeting <"+s.room)
	if strings.Contains(s.log.String(), "arn:") {
		t.Error("an ARN is in the log")
	}
}

// An attendee has up to 10 tags, in the older API alone.
func TestAttendeeTags(t *testing.T) {
	s := startTagged(t, "")
	a := s.do(request{method: "POST", path: asC + "/meetings/" + s.room + "/attendees", body: `{"ExternalUserId":"alice",` + tagList("1", "one") + `}`})
	alice := a.body["Attendee"].(map[string]any)
	path := "/meetings/" + s.room + "/attendees/" + alice["AttendeeId"].(string) + "/tags"
	tag := func(operation, members string) answer {
		return s.do(request{method: "POST", path: path + "?operation=" + operation, body: "{" + members + "}"})
	}
	list := func() answer { return s.do(request{method: "GET", path: path}) }
	s.tags(list(), "one=1")
	s.done(tag("add", tagList("2", manyKeys("k", 9)...)))
	s.done(tag("add", tagList("3", "k0", "one")))
	s.tags(list(), "one=3", "k0=3", "k1=2", "k2=2", "k3=2", "k4=2", "k5=2", "k6=2", "k7=2", "k8=2")
	s.refused(tag("add", tagList("v", "over")), 400, "ResourceLimitExceededException", "10")
	s.refused(tag("add", tagList("v", manyKeys("k", 11)...)), 400, "ValidationException", "less than or equal to 10")
	s.refused(tag("delete", keyList(manyKeys("k", 11)...)), 400, "ValidationException", "less than or equal to 10")
	s.refused(tag("add", tagList("v", "aws:x")), 400, "BadRequestException", "reserved")
	s.done(tag("delete", keyList("one", "absent")))
	s.done(tag("delete", keyList(manyKeys("k", 9)...)))
	if a := list(); a.raw != `{"Tags":[]}` {
		t.Errorf("no tags: %s", a.raw)
	}
	if got := s.attendee(s.room, "alice"); !cmp.Equal(got, alice) {
		t.Errorf("tags changed the attendee:\n%s", cmp.Diff(alice, got))
	}
	s.do(request{method: "DELETE", path: strings.TrimSuffix(path, "/tags")})
	s.refused(list(), 404, "NotFoundException", "Attendee")
	s.refused(tag("add", tagList("v", "k")), 404, "NotFoundException", "Attendee")
	s.refused(tag("delete", keyList("k")), 404, "NotFoundException", "Attendee")
}
