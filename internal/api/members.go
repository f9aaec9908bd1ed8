package api

import (
	"regexp"
	"strings"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
)

// The members that several operations have, each with its constraints. A
// pattern is written as in the service model and must match the whole value,
// whatever anchors it shows; lengths count characters.

var (
	guid         = restjson.Pattern(`[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}`)
	requestToken = restjson.Pattern(`[-_a-zA-Z0-9]*`)
	arn          = restjson.Pattern(`^arn[\/\:\-\_\.a-zA-Z0-9]+$`)
	resourceName = restjson.Pattern(`^arn:.*`)
	anyARN       = restjson.Pattern(`^arn:.*|arn[\/\:\-\_\.a-zA-Z0-9]+`)
	// In the two below "+-=" is a range, U+002B to U+003D: digits and more.
	tagKey   = restjson.Pattern(`^[a-zA-Z+-=._:/]+$`)
	tagValue = restjson.Pattern(`[\s\w+-=\.:/@]*`)
	tenantID = restjson.Satisfies(`^(?!.*?(.)\1{3})[-_!@#$a-zA-Z0-9]*$`, isTenantID)

	mediaCapability = restjson.Enum(string(meeting.SendReceive), string(meeting.Send), string(meeting.Receive), string(meeting.NoMedia))
)

var guidForm = regexp.MustCompile(`\A[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}\z`)

func isGUID(s string) bool { return guidForm.MatchString(s) }

// isTenantID reports whether s has allowed characters only, and none of them
// four times in a row.
func isTenantID(s string) bool {
	run := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_!@#$", c) >= 0) {
			return false
		}
		if i > 0 && s[i-1] == c {
			run++
		} else {
			run = 1
		}
		if run == 4 {
			return false
		}
	}
	return true
}

// meetingID reads the label of the path. Ids are compared in lower case.
func (c *call) meetingID() string {
	return strings.ToLower(c.in.Label("MeetingId", c.labels["MeetingId"], guid))
}

func (c *call) attendeeID() string {
	return strings.ToLower(c.in.Label("AttendeeId", c.labels["AttendeeId"], guid))
}

// page reads what the list operations take from the query. MaxResults is 1–99
// in one model and 1–100 in the other: the wider range is accepted for both.
func (c *call) page() meeting.Page {
	token, hasToken := c.queryValue("next-token")
	max, hasMax := c.queryValue("max-results")
	return meeting.Page{
		Token: c.in.Query("NextToken", token, hasToken, restjson.Length(0, 4096)),
		Max:   c.in.QueryInt("MaxResults", max, hasMax, restjson.Range(1, 100)),
	}
}

// notifications reads NotificationsConfiguration. Whether the targets can be
// reached is not looked at: AWS does not either.
func (c *call) notifications() meeting.Notifications {
	r, ok := c.in.Object("NotificationsConfiguration")
	if !ok {
		return meeting.Notifications{}
	}
	n := meeting.Notifications{
		SNSTopicARN: r.String("SnsTopicArn", restjson.Sensitive, restjson.Length(1, 1024), arn),
		SQSQueueARN: r.String("SqsQueueArn", restjson.Sensitive, restjson.Length(1, 1024), arn),
	}
	if !c.identity.is(Chime2018) {
		n.LambdaFunctionARN = r.String("LambdaFunctionArn", restjson.Sensitive, restjson.Length(1, 1024), arn)
	}
	return n
}

// tags reads Tags. In the 2018 API a list has at least one, and keys and
// values have no pattern; in the 2021 API a value may be empty.
func (c *call) tags(r restjson.Reader, most int, rules ...restjson.Rule) []meeting.Tag {
	least, shortest := 0, 0
	if c.identity.is(Chime2018) {
		least, shortest = 1, 1
	}
	var tags []meeting.Tag
	for _, t := range r.Objects("Tags", append(rules, restjson.Length(least, most))...) {
		tags = append(tags, meeting.Tag{
			Key:   t.String("Key", restjson.Required, restjson.Sensitive, restjson.Length(1, 128), c.on2021(tagKey)),
			Value: t.String("Value", restjson.Required, restjson.Sensitive, restjson.Length(shortest, 256), c.on2021(tagValue)),
		})
	}
	return tags
}

// tagKeys reads TagKeys, with bounds as those of Tags.
func (c *call) tagKeys(most int) []string {
	least := 0
	if c.identity.is(Chime2018) {
		least = 1
	}
	return c.in.Strings("TagKeys", []restjson.Rule{restjson.Required, restjson.Length(least, most)},
		[]restjson.Rule{restjson.Sensitive, restjson.Length(1, 128), c.on2021(tagKey)})
}

// arnRules are those of a MeetingArn, which the models put in different words.
func (c *call) arnRules() []restjson.Rule {
	most, form := 1024, anyARN
	switch {
	case c.identity.is(Meetings2021):
		most, form = 1011, resourceName
	case c.identity.is(Chime2018):
		form = arn
	}
	return []restjson.Rule{restjson.Required, restjson.Sensitive, restjson.Length(1, most), form}
}

// features reads MeetingFeatures; every level is optional.
func (c *call) features() *meeting.Features {
	r, ok := c.in.Object("MeetingFeatures")
	if !ok {
		return nil
	}
	f := &meeting.Features{}
	if audio, ok := r.Object("Audio"); ok {
		f.AudioEchoReduction = audio.String("EchoReduction", restjson.Enum("AVAILABLE", "UNAVAILABLE"))
	}
	if video, ok := r.Object("Video"); ok {
		f.VideoMaxResolution = video.String("MaxResolution", restjson.Enum("None", "HD", "FHD"))
	}
	if content, ok := r.Object("Content"); ok {
		f.ContentMaxResolution = content.String("MaxResolution", restjson.Enum("None", "FHD", "UHD"))
	}
	if attendee, ok := r.Object("Attendee"); ok {
		f.AttendeeMaxCount = attendee.Int("MaxCount", restjson.Range(1, 250))
	}
	return f
}

// capabilities reads Capabilities, in which all three members are required.
func capabilities(r restjson.Reader, rules ...restjson.Rule) *meeting.Capabilities {
	in, ok := r.Object("Capabilities", rules...)
	if !ok {
		return nil
	}
	medium := func(name string) meeting.Capability {
		return meeting.Capability(in.String(name, restjson.Required, mediaCapability))
	}
	return &meeting.Capabilities{Audio: medium("Audio"), Video: medium("Video"), Content: medium("Content")}
}

// newAttendee reads the members of CreateAttendee, which are also those of one
// entry of a batch.
func (c *call) newAttendee(r restjson.Reader) meeting.NewAttendee {
	in := meeting.NewAttendee{
		ExternalUserID: r.String("ExternalUserId", restjson.Required, restjson.Sensitive, restjson.Length(2, 64)),
		StrictIDs:      c.identity.is(Meetings2021),
	}
	if !c.identity.is(Chime2018) {
		in.Capabilities = capabilities(r)
	}
	if !c.identity.is(Meetings2021) {
		in.Tags = c.tags(r, 10)
	}
	return in
}
