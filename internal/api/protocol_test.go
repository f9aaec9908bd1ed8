package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"belfry/internal/account"
	"belfry/internal/meeting"
	"belfry/internal/sigv4"
	"belfry/internal/store/memory"
	"belfry/test/kit"
)

func TestAuthenticationComesFirst(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	for _, in := range []request{
		{method: "GET", path: "/meetings/" + room},
		{method: "GET", path: "/meetings/" + unknownGUID},
		{method: "GET", path: "/no/such/path"},
		{method: "PATCH", path: "/meetings"},
		{method: "POST", path: "/meetings", body: "not JSON"},
	} {
		in.unsigned = true
		a := s.do(in)
		s.refused(a, 403, "MissingAuthenticationTokenException", "Missing Authentication Token")
		in.unsigned, in.key = false, account.Key{ID: "AKIDNOBODY", Secret: "x"}
		s.refused(s.do(in), 403, "UnrecognizedClientException", "The security token included in the request is invalid.")
		in.key = account.Key{ID: testKey.ID, Secret: "wrong"}
		s.refused(s.do(in), 403, "InvalidSignatureException", "does not match")
	}
}

func TestRoutingErrors(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	for _, in := range []request{
		{method: "GET", path: "/"},
		{method: "GET", path: "/chime"},
		{method: "GET", path: "//meetings"},
		{method: "GET", path: "/Meetings"},
		{method: "GET", path: "/meetings%2F"},
		{method: "GET", path: "/no/such/path"},
		{method: "GET", path: "/chime/chime/meetings"},
		{method: "GET", path: "/meetings/" + room + "/attendees/" + unknownGUID + "/more"},
		{method: "POST", path: "/meetings/"},
		{method: "PATCH", path: "/meetings"},
		{method: "HEAD", path: "/meetings/" + room},
		{method: "OPTIONS", path: "/meetings/" + room},
		{method: "BREW", path: "/meetings"},
		{method: "POST", path: "/meetings?operation=bogus", body: members("")},
		{method: "POST", path: "/meetings?operation=", body: members("")},
		{method: "POST", path: "/meetings/" + room + "/attendees?operation=bogus", body: `{"ExternalUserId":"alice"}`},
		{method: "PUT", path: "/meetings/" + room + "/attendees/capabilities", body: "{}"},
	} {
		a := s.do(in)
		if in.method == "HEAD" {
			if a.status != 404 || a.header.Get("X-Amzn-ErrorType") != "UnknownOperationException" {
				t.Errorf("HEAD answered %d", a.status)
			}
			continue
		}
		s.refused(a, 404, "UnknownOperationException", "")
	}
	for path, name := range map[string]string{
		"POST /meetings/" + room + "/dial-outs": "CreateMeetingDialOut",
	} {
		method, path, _ := strings.Cut(path, " ")
		s.refused(s.do(request{method: method, path: path, body: ""}), 404, "UnknownOperationException", name)
	}
	if a := s.do(request{method: "GET", path: "/meetings"}); strings.Count(a.raw, "MeetingId\":\"") != 1 {
		t.Errorf("a refused request made a meeting: %s", a.raw)
	}
}

func TestPrefixesReachTheSameOperations(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	for _, prefix := range []string{"", "/console", "/chime", "/chime-sdk-meetings"} {
		if a := s.do(request{method: "GET", path: prefix + "/meetings/" + room}); a.status != 200 {
			t.Errorf("%s answered %d %s", prefix, a.status, a.raw)
		}
	}
}

func TestBodies(t *testing.T) {
	s := start(t, nil)
	post := func(body string) answer { return s.do(request{method: "POST", path: "/meetings", body: body}) }
	s.refused(post(`{"ClientRequestToken":`), 400, "SerializationException", "not JSON")
	s.refused(post(`["ClientRequestToken"]`), 400, "SerializationException", "not a JSON object")
	s.refused(post(strings.Repeat("[", 100000)), 400, "SerializationException", "deeper")
	if a := post(`{"ClientRequestToken":"\u0061b"}`); a.status != 201 {
		t.Errorf("escapes answered %d %s", a.status, a.raw)
	}
	if a := post(`{"ClientRequestToken":1,"ClientRequestToken":"duplicate"}`); a.status != 201 {
		t.Errorf("a duplicate name answered %d %s", a.status, a.raw)
	}
	full := `{"ClientRequestToken":"full","Pad":"`
	full += strings.Repeat("x", 1<<20-len(full)-2) + `"}`
	if a := post(full); a.status != 201 {
		t.Errorf("a body of 1 MiB answered %d %.200s", a.status, a.raw)
	}
	s.refused(post(full+" "), 413, "RequestEntityTooLargeException", "1048576")
	s.refused(post(strings.Repeat("x", 2<<20)), 413, "RequestEntityTooLargeException", "1048576")
	if a := post(`{"ClientRequestToken":"after"}`); a.status != 201 {
		t.Errorf("after a long body answered %d %s", a.status, a.raw)
	}

	// Without a length in advance it is the bytes read that count.
	for _, signed := range []bool{true, false} {
		long := strings.Repeat("x", 2<<20)
		r, err := http.NewRequest("POST", s.url+"/meetings", io.MultiReader(strings.NewReader(long)))
		if err != nil {
			t.Fatal(err)
		}
		want := 403
		if signed {
			sign(t, r, long, testKey)
			want = 413
		}
		res, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a long chunked body (signed: %v) answered %d, want %d", signed, res.StatusCode, want)
		}
	}

	// A request that is refused anyway costs no memory for its body.
	body := &counted{}
	r := httptest.NewRequest("POST", "/meetings", body)
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer x")
	h, err := New(Options{Meetings: s.opt.Meetings, Keys: s.opt.Keys, Endpoints: s.opt.Endpoints})
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	if body.longest > 64<<10 || body.read > maxDrain+64<<10 {
		t.Errorf("of an endless body without a signature %d bytes were read, up to %d at once", body.read, body.longest)
	}
}

// counted is an endless body.
type counted struct{ read, longest int }

func (c *counted) Read(p []byte) (int, error) {
	c.read += len(p)
	c.longest = max(c.longest, len(p))
	return len(p), nil
}

func TestIdentity(t *testing.T) {
	s := start(t, nil)
	room := s.meeting(`"MeetingFeatures":{"Attendee":{"MaxCount":1}}`)
	s.attendee(room, "only")
	// The name of the limit error and the status of a success tell what the API
	// was taken for.
	cases := []struct {
		name string
		in   request
		want API // "": unknown
	}{
		{"nothing", request{}, ""},
		{"C prefix", request{path: "/chime"}, Chime2018},
		{"console prefix", request{path: "/console"}, Chime2018},
		{"M prefix", request{path: "/chime-sdk-meetings"}, Meetings2021},
		{"C host", request{host: "chime.us-east-1.amazonaws.com"}, Chime2018},
		{"launch host", request{host: "service.chime.aws.amazon.com"}, Chime2018},
		{"M host", request{host: "meetings-chime.us-east-1.amazonaws.com"}, Meetings2021},
		{"M FIPS host", request{host: "meetings-chime-fips.us-east-1.amazonaws.com"}, Meetings2021},
		{"host before prefix", request{host: "meetings-chime.local", path: "/chime"}, Meetings2021},
		{"JS v3, C", request{header: map[string]string{"User-Agent": "aws-sdk-js/3.699.0 ua/2.0 api/chime#3.699.0"}}, Chime2018},
		{"JS v3, early C", request{header: map[string]string{"X-Amz-User-Agent": "aws-sdk-js/3.11.0 api/chime/3.11.0"}}, Chime2018},
		{"JS v3, M", request{header: map[string]string{"User-Agent": "aws-sdk-js/3.1142.0 api/chime-sdk-meetings#3.1142.0"}}, Meetings2021},
		{"JS v3, early M", request{header: map[string]string{"User-Agent": "aws-sdk-js/3.186.0 api/chime_sdk_meetings/3.186.0"}}, Meetings2021},
		{"Go v2, M", request{header: map[string]string{"User-Agent": "aws-sdk-go-v2/1.17.1 api/chimesdkmeetings/1.13.10"}}, Meetings2021},
		{"CLI v2, C", request{header: map[string]string{"User-Agent": "aws-cli/2.9.19 command/chime.create-attendee"}}, Chime2018},
		{"CLI v2, M", request{header: map[string]string{"User-Agent": "aws-cli/2.9.19 command/chime-sdk-meetings.create-attendee"}}, Meetings2021},
		{"prefix before agent", request{path: "/chime", header: map[string]string{"User-Agent": "api/chimesdkmeetings/1"}}, Chime2018},
		{"M member", request{body: `,"Capabilities":{"Audio":"Send","Video":"Send","Content":"Send"}`}, Meetings2021},
		{"null M member", request{body: `,"Capabilities":null`}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := *s
			s.t = t
			in := tc.in
			in.method, in.path = "POST", tc.in.path+"/meetings/"+room+"/attendees"
			in.body = `{"ExternalUserId":"late"` + tc.in.body + `}`
			limit, status := "LimitExceededException", 201
			switch tc.want {
			case Chime2018:
				limit = "ResourceLimitExceededException"
			case Meetings2021:
				status = 200
			}
			s.refused(s.do(in), 400, limit, "")
			in.body = `{"ExternalUserId":"only"` + tc.in.body + `}`
			if a := s.do(in); a.status != status {
				t.Errorf("answered %d, want %d", a.status, status)
			}
		})
	}
	status := func(body string) int {
		return s.do(request{method: "POST", path: "/meetings", body: body}).status
	}
	for body, want := range map[string]int{
		members(""):                                       201, // either
		`{"ClientRequestToken":"tok"}`:                    201, // C: M clients cannot leave members out
		members(`"TenantIds":["tt"]`):                     200,
		members(`"MeetingFeatures":{}`):                   200,
		members(`"MediaPlacementNetworkType":"Ipv4Only"`): 200,
		members(`"NotificationsConfiguration":{"LambdaFunctionArn":"arn:aws:lambda:us-east-1:1:f"}`): 200,
		members(`"NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:1:q"}`):          201,
		`{"ClientRequestToken":"tok2","TenantIds":["tt"]}`:                                           200, // not told, so nothing more is required
	} {
		if got := status(body); got != want {
			t.Errorf("%s answered %d, want %d", body, got, want)
		}
	}
	batch := s.do(request{method: "POST", path: "/meetings/" + s.meeting("") + "/attendees?operation=batch-create",
		body: `{"Attendees":[{"ExternalUserId":"ann"},{"ExternalUserId":"bob","Capabilities":{"Audio":"Send","Video":"Send","Content":"Send"}}]}`})
	if batch.status != 200 {
		t.Errorf("a batch with capabilities answered %d %s", batch.status, batch.raw)
	}
}

// What only one of the APIs refuses passes where the API is open, and not where
// the operator said which one is meant.
func TestDefaultAPI(t *testing.T) {
	post := func(s *server, id, tags string) answer {
		room := s.meeting("")
		return s.do(request{method: "POST", path: "/meetings/" + room + "/attendees", body: `{"ExternalUserId":"` + id + `"` + tags + `}`})
	}
	open := start(t, nil)
	if a := post(open, "a<*>", ""); a.status != 201 {
		t.Errorf("open answered %d %s", a.status, a.raw)
	}
	if a := post(open, "alice", `,"Tags":[]`); a.status != 201 {
		t.Errorf("open answered %d %s", a.status, a.raw)
	}
	asC := start(t, func(o *Options) { o.DefaultAPI = Chime2018 })
	if a := post(asC, "a<*>", ""); a.status != 201 {
		t.Errorf("C answered %d %s", a.status, a.raw)
	}
	asC.refused(post(asC, "alice", `,"Tags":[]`), 400, "ValidationException", "'tags'")
	asM := start(t, func(o *Options) { o.DefaultAPI = Meetings2021 })
	asM.refused(post(asM, "a<*>", ""), 400, "BadRequestException", "ExternalUserId")
	if a := post(asM, "alice", `,"Tags":[]`); a.status != 200 {
		t.Errorf("M answered %d %s", a.status, a.raw)
	}
}

func TestValidationAsBadRequest(t *testing.T) {
	s := start(t, func(o *Options) { o.ValidationAsBadRequest = true })
	a := s.do(request{method: "POST", path: "/meetings", body: "{}"})
	s.refused(a, 400, "BadRequestException", "'clientRequestToken'")
	if a.body["Code"] != "BadRequest" {
		t.Errorf("body = %s", a.raw)
	}
	s.refused(s.do(request{method: "POST", path: "/meetings", body: "["}), 400, "SerializationException", "")
}

// fails is a domain in which one method answers with an error or panics.
type fails struct {
	Meetings
	err   error
	panic any
}

func (f fails) GetMeeting(context.Context, string, string) (*meeting.Meeting, error) {
	if f.panic != nil {
		panic(f.panic)
	}
	return nil, f.err
}

func TestErrorNames(t *testing.T) {
	cases := []struct {
		err        error
		status     int
		nameC      string
		codeC      string
		nameM      string
		codeM      string
		message    string
		retryAfter string
	}{
		{meeting.Errorf(meeting.CodeBadRequest, "why"), 400, "BadRequestException", "BadRequest", "BadRequestException", "BadRequest", "why", ""},
		{meeting.Errorf(meeting.CodeUnauthorized, "why"), 401, "UnauthorizedClientException", "Unauthorized", "UnauthorizedException", "Unauthorized", "why", ""},
		{meeting.Errorf(meeting.CodeForbidden, "why"), 403, "ForbiddenException", "Forbidden", "ForbiddenException", "Forbidden", "why", ""},
		{meeting.Errorf(meeting.CodeNotFound, "why"), 404, "NotFoundException", "NotFound", "NotFoundException", "NotFound", "why", ""},
		{meeting.Errorf(meeting.CodeConflict, "why"), 409, "ConflictException", "Conflict", "ConflictException", "Conflict", "why", ""},
		{meeting.Errorf(meeting.CodeLimitExceeded, "why"), 400, "ResourceLimitExceededException", "ResourceLimitExceeded", "LimitExceededException", "LimitExceeded", "why", ""},
		{meeting.Errorf(meeting.CodeTooManyTags, "why"), 400, "ResourceLimitExceededException", "ResourceLimitExceeded", "TooManyTagsException", "TooManyTags", "why", ""},
		{meeting.Errorf(meeting.CodeUnprocessable, "why"), 422, "UnprocessableEntityException", "Unprocessable", "UnprocessableEntityException", "Unprocessable", "why", ""},
		{meeting.Errorf(meeting.CodeThrottled, "why"), 429, "ThrottledClientException", "Throttled", "ThrottlingException", "Throttling", "why", "1"},
		{meeting.Errorf(meeting.CodeUnavailable, "why"), 503, "ServiceUnavailableException", "ServiceUnavailable", "ServiceUnavailableException", "ServiceUnavailable", "why", "1"},
		{meeting.Errorf(meeting.CodeInternal, "inner"), 500, "ServiceFailureException", "ServiceFailure", "ServiceFailureException", "ServiceFailure", "Service has experienced an unexpected failure", ""},
		{errors.New("inner"), 500, "ServiceFailureException", "ServiceFailure", "ServiceFailureException", "ServiceFailure", "Service has experienced an unexpected failure", ""},
		{meeting.Errorf("Novel", "inner"), 500, "ServiceFailureException", "ServiceFailure", "ServiceFailureException", "ServiceFailure", "Service has experienced an unexpected failure", ""},
		{fmt.Errorf("wrapped: %w", meeting.Errorf(meeting.CodeNotFound, "why")), 404, "NotFoundException", "NotFound", "NotFoundException", "NotFound", "why", ""},
	}
	for _, tc := range cases {
		t.Run(tc.err.Error(), func(t *testing.T) {
			s := start(t, func(o *Options) { o.Meetings = fails{Meetings: o.Meetings, err: tc.err} })
			for prefix, want := range map[string][2]string{asC: {tc.nameC, tc.codeC}, asM: {tc.nameM, tc.codeM}, "": {tc.nameM, tc.codeM}} {
				a := s.do(request{method: "GET", path: prefix + "/meetings/" + unknownGUID})
				s.refused(a, tc.status, want[0], tc.message)
				if a.body["Code"] != want[1] {
					t.Errorf("%s: Code = %v, want %s", prefix, a.body["Code"], want[1])
				}
				if got := a.header.Get("Retry-After"); got != tc.retryAfter {
					t.Errorf("%s: Retry-After = %q, want %q", prefix, got, tc.retryAfter)
				}
				if strings.Contains(a.raw, "inner") {
					t.Errorf("%s: the answer tells of the inside: %s", prefix, a.raw)
				}
			}
		})
	}
}

func TestPanic(t *testing.T) {
	s := start(t, func(o *Options) { o.Meetings = fails{Meetings: o.Meetings, panic: "hush"} })
	a := s.do(request{method: "GET", path: "/meetings/" + unknownGUID})
	s.refused(a, 500, "ServiceFailureException", "Service has experienced an unexpected failure")
	if a.body["Code"] != "ServiceFailure" {
		t.Errorf("body = %s", a.raw)
	}
	kit.Eventually(t, "a line for the request", func() bool { return strings.Contains(s.log.String(), "cause=") })
	log := s.log.String()
	if !strings.Contains(log, "GetMeeting") || !strings.Contains(log, "goroutine") || !strings.Contains(log, a.header.Get("X-Amzn-RequestId")) {
		t.Errorf("the log lacks operation, stack or request id: %s", log)
	}
	if strings.Contains(log, "hush") {
		t.Errorf("the log holds the value: %s", log)
	}
	if a := s.do(request{method: "GET", path: "/meetings"}); a.status != 200 {
		t.Errorf("after a panic answered %d", a.status)
	}
}

func TestRightsOfAKey(t *testing.T) {
	s := start(t, func(o *Options) {
		some := account.Key{ID: "AKIDSOME", Secret: "some", Name: "some-one", Account: testKey.Account, Actions: []string{"GetMeeting"}}
		far := account.Key{ID: "AKIDFAR", Secret: "far", Account: testKey.Account, Regions: []string{"eu-west-1"}}
		o.Keys = ring(t, memory.New(), testKey, some, far)
	})
	some, far := account.Key{ID: "AKIDSOME", Secret: "some"}, account.Key{ID: "AKIDFAR", Secret: "far"}
	room := s.meeting("")
	if a := s.do(request{method: "GET", path: "/meetings/" + room, key: some}); a.status != 200 {
		t.Errorf("an action of the key answered %d %s", a.status, a.raw)
	}
	s.refused(s.do(request{method: "DELETE", path: asC + "/meetings/" + room, key: some}), 403, "ForbiddenException", "AWS authorization failed")
	s.refused(s.do(request{method: "DELETE", path: asM + "/meetings/" + room, key: some}), 403, "AccessDeniedException",
		"is not authorized to perform: chime:DeleteMeeting on resource: arn:aws:chime:us-east-1:111122223333:meeting/"+room)
	s.refused(s.do(request{method: "GET", path: asM + "/meetings/" + room, key: far}), 403, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'us-east-1'.")
	s.refused(s.do(request{method: "GET", path: asM + "/meetings/" + room + "/attendees", key: some}), 403, "AccessDeniedException",
		"User: arn:aws:iam::111122223333:user/some-one is not authorized")
	if a := s.do(request{method: "GET", path: "/meetings/" + room}); a.status != 200 {
		t.Errorf("a refused delete deleted: %d", a.status)
	}
}

func TestClock(t *testing.T) {
	ahead := 16 * time.Minute
	s := start(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } })
	s.refused(s.do(request{method: "GET", path: "/meetings"}), 403, "InvalidSignatureException", "Signature expired")
	s = start(t, func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(ahead) }
		o.Signature = sigv4.Verifier{Skew: time.Hour}
	})
	if a := s.do(request{method: "GET", path: "/meetings"}); a.status != 200 {
		t.Errorf("with a skew of an hour answered %d", a.status)
	}
}

func TestLog(t *testing.T) {
	s := start(t, nil)
	a := s.do(request{method: "POST", path: asM + "/meetings", body: `{"ClientRequestToken":"hush-token","MediaRegion":"us-east-1","ExternalMeetingId":"hush-room","MeetingHostId":"hush-host",` +
		`"Tags":[{"Key":"hush","Value":"hush"}],"NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:1:hush"}}`})
	room := a.body["Meeting"].(map[string]any)["MeetingId"].(string)
	alice := s.attendee(room, "hush-user")
	s.do(request{method: "GET", path: "/meetings/" + room + "/attendees/" + alice["AttendeeId"].(string)})
	s.do(request{method: "GET", path: "/meetings?next-token=hush"})
	s.do(request{method: "GET", path: "/meetings/hush"})
	s.do(request{method: "GET", path: "/hush"})
	s.do(request{method: "POST", path: "/meetings/" + room + "/attendees", body: `{"ExternalUserId":"hush*"}`})
	s.do(request{method: "GET", path: "/meetings", key: account.Key{ID: "AKIDHUSH", Secret: "hush"}})

	const requests = 8
	kit.EventuallyNone(t, func() string {
		if log := s.log.String(); strings.Count(log, "\n") < requests {
			return fmt.Sprintf("%d lines:\n%s", requests, log)
		}
		return ""
	})
	log := s.log.String()
	if n := strings.Count(log, "\n"); n != requests {
		t.Errorf("%d lines for %d requests:\n%s", n, requests, log)
	}
	for _, secret := range []string{"hush", "arn:", testKey.ID, "AKIDHUSH", testKey.Secret.Reveal(), alice["JoinToken"].(string)} {
		if strings.Contains(strings.ToLower(log), strings.ToLower(secret)) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	for _, want := range []string{
		"request=" + a.header.Get("X-Amzn-RequestId") + " operation=CreateMeeting api=chime-sdk-meetings account=111122223333 status=200",
		"operation=GetAttendee api=unknown account=111122223333 status=200",
		"meeting=" + room + " attendee=" + alice["AttendeeId"].(string),
		"operation=ListMeetings api=chime account=111122223333 status=400",
		"error=BadRequestException",
		`operation="" api=unknown account="" status=403`,
		"error=UnrecognizedClientException",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := start(t, nil)
	s.do(request{method: "POST", path: asM + "/meetings", body: members("")})
	s.do(request{method: "POST", path: asM + "/meetings", body: "{}"})
	s.do(request{method: "GET", path: "/a"})
	s.do(request{method: "GET", path: "/b"})
	want := `
# HELP belfry_api_requests_total Requests to the AWS APIs, by operation, API and class of status.
# TYPE belfry_api_requests_total counter
belfry_api_requests_total{api="chime-sdk-meetings",operation="CreateMeeting",status="2xx"} 1
belfry_api_requests_total{api="chime-sdk-meetings",operation="CreateMeeting",status="4xx"} 1
belfry_api_requests_total{api="unknown",operation="unknown",status="4xx"} 2
`
	kit.EventuallyNone(t, func() string {
		if err := testutil.GatherAndCompare(s.metrics, strings.NewReader(want), "belfry_api_requests_total"); err != nil {
			return err.Error()
		}
		return ""
	})
	if n := testutil.CollectAndCount(s.metrics, "belfry_api_request_duration_seconds"); n != 2 {
		t.Errorf("%d histograms of duration, want one for each operation", n)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	s := start(t, nil)
	for name, without := range map[string]func(*Options){
		"Meetings":  func(o *Options) { o.Meetings = nil },
		"Keys":      func(o *Options) { o.Keys = nil },
		"Endpoints": func(o *Options) { o.Endpoints = nil },
	} {
		opt := s.opt
		opt.Metrics = nil
		without(&opt)
		if _, err := New(opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if _, err := New(s.opt); err == nil {
		t.Error("metrics registered twice without an error")
	}
}
