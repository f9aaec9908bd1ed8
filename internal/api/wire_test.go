package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	meetings2 "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/google/go-cmp/cmp"

	"belfry/internal/account"
	"belfry/internal/meeting"
	"belfry/test/kit"
)

// A request that is changed between its signing and its reading is refused,
// whatever part of it changed, and has no effect.
func TestTamperedOnTheWire(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	hash := func(body string) string {
		sum := sha256.Sum256([]byte(body))
		return hex.EncodeToString(sum[:])
	}
	const body = `{"ExternalUserId":"alice"}`
	for _, c := range []struct {
		name    string
		payload string // hash that is signed, "" for the body's
		before  func(*http.Request)
		after   func(*http.Request)
		body    string // sent instead
		want    string // "" for success
	}{
		{name: "as signed"},
		{name: "path", after: func(r *http.Request) { r.URL.Path = "/meetings/" + unknownGUID + "/attendees" }, want: "InvalidSignatureException"},
		{name: "prefix", after: func(r *http.Request) { r.URL.Path = "/chime" + r.URL.Path }, want: "InvalidSignatureException"},
		{name: "query", after: func(r *http.Request) { r.URL.RawQuery = "operation=batch-create" }, want: "InvalidSignatureException"},
		{name: "method", after: func(r *http.Request) { r.Method = "PUT" }, want: "InvalidSignatureException"},
		{name: "host", after: func(r *http.Request) { r.Host = "meetings-chime.example.org" }, want: "InvalidSignatureException"},
		{name: "body", body: strings.Replace(body, "alice", "mallory", 1), want: "InvalidSignatureException"},
		{name: "signed header", before: func(r *http.Request) { r.Header.Set("X-Amz-Mark", "a") },
			after: func(r *http.Request) { r.Header.Set("X-Amz-Mark", "b") }, want: "InvalidSignatureException"},
		{name: "signed header taken away", before: func(r *http.Request) { r.Header.Set("X-Amz-Mark", "a") },
			after: func(r *http.Request) { r.Header.Del("X-Amz-Mark") }, want: "InvalidSignatureException"},
		{name: "date", after: func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z"))
		}, want: "InvalidSignatureException"},
		{name: "a header that is not signed", after: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }},
		{name: "chunked", before: func(r *http.Request) { r.ContentLength = -1 }},
		{name: "unsigned payload", payload: "UNSIGNED-PAYLOAD",
			before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, want: "InvalidSignatureException"},
		{name: "streamed payload", payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
			before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") }, want: "InvalidSignatureException"},
		{name: "unsigned payload without the header", payload: "UNSIGNED-PAYLOAD", want: "InvalidSignatureException"},
		{name: "hash of the body in the header", before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hash(body)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest("POST", s.url+"/meetings/"+room+"/attendees", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(r)
			}
			payload := c.payload
			if payload == "" {
				payload = hash(body)
			}
			creds := aws.Credentials{AccessKeyID: testKey.ID, SecretAccessKey: testKey.Secret.Reveal()}
			if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, payload, "chime", "us-east-1", time.Now()); err != nil {
				t.Fatal(err)
			}
			if c.after != nil {
				c.after(r)
			}
			if c.body != "" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
			}
			res, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			answer, _ := io.ReadAll(res.Body)
			if c.want == "" {
				if res.StatusCode != 201 {
					t.Errorf("answered %d %s", res.StatusCode, answer)
				}
				return
			}
			if res.StatusCode != 403 || res.Header.Get("X-Amzn-ErrorType") != c.want || !strings.HasPrefix(string(answer), `{"message":"`) {
				t.Errorf("answered %d %s %s, want 403 %s", res.StatusCode, res.Header.Get("X-Amzn-ErrorType"), answer, c.want)
			}
		})
	}
	a := s.do(request{method: "GET", path: "/meetings/" + room + "/attendees"})
	if strings.Contains(a.raw, "mallory") || strings.Count(a.raw, `"AttendeeId"`) != 1 {
		t.Errorf("a refused request had an effect: %s", a.raw)
	}
}

// A presigned URL for a read works as long as it says, and for nothing else.
func TestPresignedURL(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	sum := sha256.Sum256(nil)
	presign := func(path, expires string, at time.Time) string {
		r, err := http.NewRequest("GET", s.url+path+"?X-Amz-Expires="+expires, nil)
		if err != nil {
			t.Fatal(err)
		}
		creds := aws.Credentials{AccessKeyID: testKey.ID, SecretAccessKey: testKey.Secret.Reveal()}
		signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), "chime", "us-east-1", at)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(signed, s.url)
	}
	get := func(path string) answer { return s.do(request{method: "GET", path: path, unsigned: true}) }
	good := presign("/meetings/"+room, "60", time.Now())
	if a := get(good); a.status != 200 {
		t.Errorf("answered %d %s", a.status, a.raw)
	}
	s.refused(get(strings.Replace(good, room, unknownGUID, 1)), 403, "InvalidSignatureException", "does not match")
	s.refused(get(strings.Replace(good, "X-Amz-Expires=60", "X-Amz-Expires=61", 1)), 403, "InvalidSignatureException", "does not match")
	s.refused(get(presign("/meetings/"+room, "60", time.Now().Add(-2*time.Minute))), 403, "InvalidSignatureException", "Signature expired")
	s.refused(s.do(request{method: "DELETE", path: good, unsigned: true}), 403, "InvalidSignatureException", "does not match")
}

// A client whose clock is wrong sets it by the Date of the refusal, and is
// served at its second try.
func TestClientsCorrectTheirClock(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			s := start(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } })
			a := s.do(request{method: "GET", path: "/meetings"})
			date, err := http.ParseTime(a.header.Get("Date"))
			if off := time.Until(date) - ahead; err != nil || off.Abs() > time.Minute {
				t.Errorf("Date %q is %v off the server's clock (%v)", a.header.Get("Date"), off, err)
			}
			c := meetings2.New(clientV2(s, "").Options(), func(o *meetings2.Options) { o.RetryMaxAttempts = 3 })
			in := &meetings2.CreateMeetingInput{MediaRegion: aws.String("us-east-1"), ExternalMeetingId: aws.String("room")}
			if _, err := c.CreateMeeting(context.Background(), in); err != nil {
				t.Errorf("CreateMeeting: %v", err)
			}
		})
	}
}

// External ids come back byte for byte, and are told apart byte for byte.
func TestUnicodeExternalIDs(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	ids := []string{
		"Zoë#Zoë", "Zoe\u0308#Zoe\u0308", // the same to the eye: composed and not
		"😀😀", strings.Repeat("😀", 64), "日本語", "שלום", "a\u2028b", "<b>&amp;</b>", "a\tb\nc", `back\slash"quote`, "nul\x00byte", "\ufffd\ufffd",
		"  ", "../..", "%41%41",
	}
	seen := map[string]string{}
	for _, id := range ids {
		body := fmt.Sprintf(`{"ExternalUserId":%s}`, asJSON(t, id))
		a := s.do(request{method: "POST", path: asC + "/meetings/" + room + "/attendees", body: body})
		if a.status != 201 {
			t.Errorf("%q answered %d %s", id, a.status, a.raw)
			continue
		}
		made := a.body["Attendee"].(map[string]any)
		attendee := made["AttendeeId"].(string)
		if made["ExternalUserId"] != id {
			t.Errorf("%q came back as %q", id, made["ExternalUserId"])
		}
		if other, ok := seen[attendee]; ok {
			t.Errorf("%q and %q are one attendee", id, other)
		}
		seen[attendee] = id
		got := s.do(request{method: "GET", path: "/meetings/" + room + "/attendees/" + attendee})
		if diff := cmp.Diff(a.body, got.body); diff != "" {
			t.Errorf("GetAttendee of %q: %s", id, diff)
		}
	}
	// The 2021 API has a pattern, which counts characters and ends at U+00FF.
	for id, ok := range map[string]bool{strings.Repeat("ÿ", 64): true, "Zoë": true, "Zoe\u0308": false, "日本語": false, "😀😀": false, `a"b`: true, `a\b`: false} {
		a := s.do(request{method: "POST", path: asM + "/meetings/" + room + "/attendees", body: fmt.Sprintf(`{"ExternalUserId":%s}`, asJSON(t, id))})
		if ok && a.status != 200 {
			t.Errorf("%q (%d characters) answered %d %s", id, utf8.RuneCountInString(id), a.status, a.raw)
		}
		if !ok {
			s.refused(a, 400, "BadRequestException", "ExternalUserId")
		}
	}
	for _, half := range []string{`\ud83d`, `\ude00`, `\ud83d\ud83d`, `\ud83dx`} {
		a := s.do(request{method: "POST", path: "/meetings/" + room + "/attendees", body: `{"ExternalUserId":"ab` + half + `"}`})
		s.refused(a, 400, "SerializationException", "surrogate")
	}
	a := s.do(request{method: "POST", path: "/meetings/" + room + "/attendees", body: `{"ExternalUserId":"\ud83d\ude00\\ud83d"}`})
	if a.status != 201 || a.body["Attendee"].(map[string]any)["ExternalUserId"] != `😀\ud83d` {
		t.Errorf("a whole pair answered %d %s", a.status, a.raw)
	}
}

// An empty string is a value that is too short, not one that is absent.
func TestEmptyStrings(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	for _, c := range []struct{ path, body, at string }{
		{"/meetings", `{"ClientRequestToken":""}`, "clientRequestToken"},
		{"/meetings", members(`"MeetingHostId":""`), "meetingHostId"},
		{"/meetings", strings.Replace(members(""), `"room"`, `""`, 1), "externalMeetingId"},
		{asM + "/meetings", strings.Replace(members(""), `"us-east-1"`, `""`, 1), "mediaRegion"},
		{asM + "/meetings", members(`"PrimaryMeetingId":""`), "primaryMeetingId"},
		{asM + "/meetings", members(`"TenantIds":[""]`), "tenantIds.1.member"},
		{asM + "/meetings", members(`"MediaPlacementNetworkType":""`), "mediaPlacementNetworkType"},
		{asM + "/meetings", members(`"MeetingFeatures":{"Audio":{"EchoReduction":""}}`), "meetingFeatures.audio.echoReduction"},
		{asM + "/meetings", members(`"Tags":[{"Key":"","Value":"v"}]`), "tags.1.member.key"},
		{"/meetings", members(`"NotificationsConfiguration":{"SnsTopicArn":""}`), "notificationsConfiguration.snsTopicArn"},
		{"/meetings", members(`"NotificationsConfiguration":{"SqsQueueArn":""}`), "notificationsConfiguration.sqsQueueArn"},
		{asM + "/meetings", members(`"NotificationsConfiguration":{"LambdaFunctionArn":""}`), "notificationsConfiguration.lambdaFunctionArn"},
		{"/meetings/" + room + "/attendees", `{"ExternalUserId":""}`, "externalUserId"},
		{"/meetings/" + room + "/attendees?operation=batch-create", `{"Attendees":[{"ExternalUserId":""}]}`, "attendees.1.member.externalUserId"},
		{asM + "/meetings/" + room + "/attendees", `{"ExternalUserId":"alice","Capabilities":{"Audio":"","Video":"None","Content":"None"}}`, "capabilities.audio"},
	} {
		s.refused(s.do(request{method: "POST", path: c.path, body: c.body}), 400, "ValidationException", "at '"+c.at+"' failed to satisfy constraint")
	}
	// The 2018 API bounds no MediaRegion; an empty one leaves the choice to us.
	if a := s.do(request{method: "POST", path: asC + "/meetings", body: `{"ClientRequestToken":"tok","MediaRegion":""}`}); a.status != 201 ||
		a.body["Meeting"].(map[string]any)["MediaRegion"] != "us-east-1" {
		t.Errorf("an empty region answered %d %s", a.status, a.raw)
	}
	if a := s.do(request{method: "GET", path: "/meetings/" + room + "/attendees?next-token="}); a.status != 200 {
		t.Errorf("an empty token, as the first page's, answered %d %s", a.status, a.raw)
	}
}

// A paging token is good for the list that it came from, in the account that
// it was given to.
func TestPageTokens(t *testing.T) {
	s := start(t, nil)
	one, two := s.meeting(""), s.meeting("")
	for _, room := range []string{one, two} {
		for _, user := range []string{"alice", "bob", "carol"} {
			s.attendee(room, user)
		}
	}
	list := func(path, token string, key account.Key) answer {
		return s.do(request{method: "GET", path: path + "?max-results=1&next-token=" + url.QueryEscape(token), key: key})
	}
	attendees := "/meetings/" + one + "/attendees"
	token := list(attendees, "", testKey).body["NextToken"].(string)
	if a := list(attendees, token, testKey); a.status != 200 {
		t.Fatalf("answered %d %s", a.status, a.raw)
	}
	bad := func(what string, a answer) {
		t.Helper()
		t.Log(what)
		s.refused(a, 400, "BadRequestException", "NextToken")
	}
	bad("another meeting", list("/meetings/"+two+"/attendees", token, testKey))
	bad("another operation", list("/meetings", token, testKey))
	bad("cut off", list(attendees, token[:len(token)-1], testKey))
	bad("longer", list(attendees, token+"A", testKey))
	for i := range len(token) - 1 {
		changed := []byte(token)
		changed[i] ^= 1
		bad(fmt.Sprintf("byte %d", i), list(attendees, string(changed), testKey))
	}
	meetings := list("/meetings", "", testKey).body["NextToken"].(string)
	bad("another account", list("/meetings", meetings, otherKey))
}

// A body that does not come holds its connection for a bounded time, and the
// next one has its own.
func TestSlowBody(t *testing.T) {
	s := start(t, func(o *Options) { o.BodyTime = 50 * time.Millisecond })
	for _, signed := range []bool{true, false} {
		slow, feed := io.Pipe()
		r, err := http.NewRequest("POST", s.url+"/meetings", slow)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"ClientRequestToken":"slow"}`
		r.ContentLength = int64(len(body))
		want, name := 403, "MissingAuthenticationTokenException"
		if signed {
			sign(t, r, body, testKey)
			want, name = 408, "RequestTimeoutException"
		}
		go func() { _, _ = io.WriteString(feed, body[:9]) }()
		res, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		feed.Close()
		if res.StatusCode != want || res.Header.Get("X-Amzn-ErrorType") != name {
			t.Errorf("signed %v: answered %d %s, want %d %s", signed, res.StatusCode, res.Header.Get("X-Amzn-ErrorType"), want, name)
		}
	}
	for range 2 {
		kit.EventuallyNone(t, func() string { // on a busy machine 50 ms are short for a whole body too
			if a := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"quick"}`}); a.status != 201 {
				return fmt.Sprintf("a whole body answered %d %s", a.status, a.raw)
			}
			return ""
		})
	}
}

// slow is a domain that takes its time, and says so when it is called off.
type slow struct {
	Meetings
	takes time.Duration
}

func (s slow) CreateMeeting(ctx context.Context, account string, in meeting.NewMeeting) (*meeting.Meeting, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(s.takes):
	}
	return s.Meetings.CreateMeeting(ctx, account, in)
}

// The body's time is over when the body is there: what is done with it may
// take longer.
func TestBodyTimeEndsWithTheBody(t *testing.T) {
	s := start(t, func(o *Options) {
		o.BodyTime = 20 * time.Millisecond
		o.Meetings = slow{o.Meetings, 5 * o.BodyTime}
	})
	kit.EventuallyNone(t, func() string { // a busy machine may not read the body in its time
		if a := s.do(request{method: "POST", path: "/meetings", body: `{"ClientRequestToken":"room-42"}`}); a.status != 201 {
			return fmt.Sprintf("a meeting: answered %d %s", a.status, a.raw)
		}
		return ""
	})
}

// The whole text of answers: members, their order, and where a null stands.
func TestAnswerBodies(t *testing.T) {
	s := start(t, nil)
	const placement = `{"AudioHostUrl":"media.example.org:3478","AudioFallbackUrl":"wss://meet.example.org/calls/ID","SignalingUrl":"wss://meet.example.org/control/ID",` +
		`"TurnControlUrl":"https://meet.example.org/v2/turn_sessions","ScreenDataUrl":"wss://meet.example.org/v2/screen/ID",` +
		`"ScreenViewingUrl":"wss://meet.example.org/ws/connect?passcode=null&viewer_uuid=null&X-BitHub-Call-Id=ID",` +
		`"ScreenSharingUrl":"wss://meet.example.org/v2/screen/ID","EventIngestionUrl":"https://meet.example.org/v1/client-events"}`
	const end = `"MeetingArn":"arn:aws:chime:us-east-1:111122223333:meeting/ID"}}`
	for _, c := range []struct{ name, prefix, body, want string }{
		{"as little as may be", asC, `{"ClientRequestToken":"one"}`,
			`{"Meeting":{"MeetingId":"ID","MeetingHostId":null,"ExternalMeetingId":null,"MediaRegion":"us-east-1","MediaPlacement":` + placement +
				`,"PrimaryMeetingId":null,"TenantIds":[],` + end},
		{"everything", asM, `{"ClientRequestToken":"two","MediaRegion":"eu-west-2","ExternalMeetingId":"«é» & more","MeetingHostId":"host","TenantIds":["t1","t2"],` +
			`"MeetingFeatures":{"Audio":{"EchoReduction":"AVAILABLE"},"Video":{"MaxResolution":"FHD"},"Content":{"MaxResolution":"None"},"Attendee":{"MaxCount":25}},` +
			`"NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:1:q"},"Tags":[{"Key":"k","Value":"v"}]}`,
			`{"Meeting":{"MeetingId":"ID","MeetingHostId":"host","ExternalMeetingId":"«é» & more","MediaRegion":"eu-west-2","MediaPlacement":` + placement +
				`,"MeetingFeatures":{"Audio":{"EchoReduction":"AVAILABLE"},"Video":{"MaxResolution":"FHD"},"Content":{"MaxResolution":"None"},"Attendee":{"MaxCount":25}}` +
				`,"PrimaryMeetingId":null,"TenantIds":["t1","t2"],` + end},
		{"one feature", asM, members(`"MeetingFeatures":{"Audio":{"EchoReduction":"UNAVAILABLE"},"Video":null,"Content":{}}`),
			`{"Meeting":{"MeetingId":"ID","MeetingHostId":null,"ExternalMeetingId":"room","MediaRegion":"us-east-1","MediaPlacement":` + placement +
				`,"MeetingFeatures":{"Audio":{"EchoReduction":"UNAVAILABLE"}},"PrimaryMeetingId":null,"TenantIds":[],` + end},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.do(request{method: "POST", path: c.prefix + "/meetings", body: c.body})
			m, _ := a.body["Meeting"].(map[string]any)
			id, _ := m["MeetingId"].(string)
			if !guidExpression.MatchString(id) {
				t.Fatalf("answered %d %s", a.status, a.raw)
			}
			if diff := cmp.Diff(strings.ReplaceAll(c.want, "ID\"", id+"\""), a.raw); diff != "" {
				t.Error(diff)
			}
			if got := a.header.Get("Content-Length"); got != fmt.Sprint(len(a.raw)) {
				t.Errorf("Content-Length %s for %d bytes", got, len(a.raw))
			}
			made := s.do(request{method: "POST", path: c.prefix + "/meetings/" + id + "/attendees", body: `{"ExternalUserId":"alice & bob"}`})
			alice, _ := made.body["Attendee"].(map[string]any)
			content := "SendReceive"
			if strings.Contains(c.want, `"Content":{"MaxResolution":"None"}`) {
				content = "None"
			}
			want := fmt.Sprintf(`{"Attendee":{"ExternalUserId":"alice & bob","AttendeeId":"%s","JoinToken":"%s","Capabilities":{"Audio":"SendReceive","Video":"SendReceive","Content":"%s"}}}`,
				alice["AttendeeId"], alice["JoinToken"], content)
			if diff := cmp.Diff(want, made.raw); diff != "" {
				t.Error(diff)
			}
		})
	}
}
