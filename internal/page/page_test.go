package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const testSecret = "a-secret-that-must-not-be-shown"

// awsAPI stands in for the meetings API: the four operations that the page uses,
// with AWS's paths and error form.
type awsAPI struct {
	*httptest.Server
	mu       sync.Mutex
	calls    []string
	tokens   map[string]string    // ClientRequestToken: MeetingId
	meetings map[string]string    // MeetingId: ExternalMeetingId
	fail     map[string][]failure // of an operation, in order; then it works
	auth     []string             // Authorization headers
	users    []string             // ExternalUserIds
}

type failure struct {
	status     int
	code, text string
}

func newAWS(t *testing.T) *awsAPI {
	a := &awsAPI{tokens: map[string]string{}, meetings: map[string]string{}, fail: map[string][]failure{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /meetings", a.operation("CreateMeeting", func(w http.ResponseWriter, r *http.Request, in map[string]string) {
		id, ok := a.tokens[in["ClientRequestToken"]]
		if !ok {
			id = "00000000-0000-4000-8000-00000000000" + string(rune('1'+len(a.tokens)))
			a.tokens[in["ClientRequestToken"]], a.meetings[id] = id, in["ExternalMeetingId"]
		}
		answer(w, map[string]any{"Meeting": map[string]any{"MeetingId": id, "ExternalMeetingId": a.meetings[id], "MediaRegion": in["MediaRegion"],
			"MediaPlacement": map[string]string{"SignalingUrl": "ws://media.example.org/control/" + id}}})
	}))
	mux.HandleFunc("POST /meetings/{id}/attendees", a.operation("CreateAttendee", func(w http.ResponseWriter, r *http.Request, in map[string]string) {
		a.users = append(a.users, in["ExternalUserId"])
		answer(w, map[string]any{"Attendee": map[string]string{"AttendeeId": "attendee-1", "ExternalUserId": in["ExternalUserId"], "JoinToken": "join-token"}})
	}))
	mux.HandleFunc("GET /meetings/{id}", a.operation("GetMeeting", func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		external, ok := a.meetings[r.PathValue("id")]
		if !ok {
			refuse(w, failure{404, "NotFoundException", "not found"})
			return
		}
		answer(w, map[string]any{"Meeting": map[string]string{"MeetingId": r.PathValue("id"), "ExternalMeetingId": external}})
	}))
	mux.HandleFunc("DELETE /meetings/{id}", a.operation("DeleteMeeting", func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		delete(a.meetings, r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	}))
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Server.Close)
	return a
}

func (a *awsAPI) operation(name string, serve func(http.ResponseWriter, *http.Request, map[string]string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls, a.auth = append(a.calls, name), append(a.auth, r.Header.Get("Authorization"))
		if list := a.fail[name]; len(list) > 0 {
			a.fail[name] = list[1:]
			refuse(w, list[0])
			return
		}
		var in map[string]string
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				refuse(w, failure{400, "BadRequestException", err.Error()})
				return
			}
		}
		serve(w, r, in)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, f failure) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", f.code)
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Code": f.code, "Message": f.text})
}

// testPage is a page before the API stand-in; its log is kept.
type testPage struct {
	*Page
	aws *awsAPI
	log *bytes.Buffer
}

func newTestPage(t *testing.T, files fs.FS) *testPage {
	aws, log := newAWS(t), &bytes.Buffer{}
	p := newPage(Config{
		Endpoint: func() string { return aws.URL }, Region: "eu-central-1", AccessKeyID: "AKIDPAGE", SecretAccessKey: testSecret,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, files)
	t.Cleanup(p.Close)
	return &testPage{p, aws, log}
}

func (p *testPage) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result()
}

// call posts JSON from the page itself.
func (p *testPage) call(path, body string) (int, map[string]any) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	response := p.do(r)
	var out map[string]any
	_ = json.NewDecoder(response.Body).Decode(&out) // empty for 204
	return response.StatusCode, out
}

func TestJoinPutsPeopleOfOneRoomIntoOneMeeting(t *testing.T) {
	p := newTestPage(t, nil)
	ids := map[string]string{}
	for _, join := range []struct{ who, room string }{{"Ana", "quiet-harbour"}, {"Kofi", "quiet-harbour"}, {"Zoë", "other-room"}} {
		status, out := p.call("/meet/api/join", `{"room":"`+join.room+`","name":"`+join.who+`"}`)
		if status != 200 {
			t.Fatalf("%s joining: %d %v", join.who, status, out)
		}
		m, a := out["Meeting"].(map[string]any), out["Attendee"].(map[string]any)
		ids[join.who] = m["MeetingId"].(string)
		if m["ExternalMeetingId"] != join.room || m["MediaRegion"] != "eu-central-1" || m["MediaPlacement"] == nil {
			t.Errorf("%s got the meeting %v", join.who, m)
		}
		if user := a["ExternalUserId"].(string); !strings.HasPrefix(user, join.who+"#") || a["JoinToken"] != "join-token" {
			t.Errorf("%s got the attendee %v", join.who, a)
		}
	}
	if ids["Ana"] != ids["Kofi"] || ids["Ana"] == ids["Zoë"] {
		t.Errorf("meetings by person: %v", ids)
	}
	for _, header := range p.aws.auth {
		if !strings.HasPrefix(header, "AWS4-HMAC-SHA256 Credential=AKIDPAGE/") || !strings.Contains(header, "/eu-central-1/chime/aws4_request") {
			t.Errorf("a call was not signed as AWS's clients sign: %q", header)
		}
	}
}

func TestJoinOpensTheMeetingAgainWhenItEndedInBetween(t *testing.T) {
	p := newTestPage(t, nil)
	p.aws.fail["CreateAttendee"] = []failure{{404, "NotFoundException", "gone"}}
	if status, out := p.call("/meet/api/join", `{"room":"quiet-harbour","name":"Ana"}`); status != 200 {
		t.Fatalf("joining: %d %v", status, out)
	}
	want := []string{"CreateMeeting", "CreateAttendee", "CreateMeeting", "CreateAttendee"}
	if diff := cmp.Diff(want, p.aws.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestRefusedRequests(t *testing.T) {
	const (
		join = "/meet/api/join"
		end  = "/meet/api/end"
	)
	tests := []struct {
		name, path, body string
		status           int
		message          string // a part of it
	}{
		{"no JSON", join, `room=a`, 400, "not the JSON object"},
		{"a list", join, `[]`, 400, "not the JSON object"},
		{"cut off", join, `{"room":"ab"`, 400, "not the JSON object"},
		{"a number for a name", join, `{"room":"ab","name":7}`, 400, "not the JSON object"},
		{"something behind it", join, `{"room":"ab","name":"Ana"} {}`, 400, "not the JSON object"},
		{"too large", join, `{"room":"ab","name":"` + strings.Repeat("a", maxBody) + `"}`, 413, "at most 4 KiB"},
		{"no room", join, `{"name":"Ana"}`, 400, "A room is"},
		{"a room of one letter", join, `{"room":"a","name":"Ana"}`, 400, "A room is"},
		{"a long room", join, `{"room":"` + strings.Repeat("a", 49) + `","name":"Ana"}`, 400, "A room is"},
		{"a path for a room", join, `{"room":"../api","name":"Ana"}`, 400, "A room is"},
		{"a capital", join, `{"room":"Harbour","name":"Ana"}`, 400, "A room is"},
		{"a reserved room", join, `{"room":"assets","name":"Ana"}`, 400, "A room is"},
		{"no name", join, `{"room":"ab"}`, 400, "your name"},
		{"a name of blanks", join, `{"room":"ab","name":" \t "}`, 400, "your name"},
		{"a name of what is not seen", join, `{"room":"ab","name":"\u202e\u0007"}`, 400, "your name"},
		{"a long name", join, `{"room":"ab","name":"` + strings.Repeat("é", 41) + `"}`, 400, "too long"},
		{"end without a meeting", end, `{"room":"quiet-harbour"}`, 400, "MeetingId"},
		{"end with a path for a meeting", end, `{"room":"quiet-harbour","meetingId":"../meetings"}`, 400, "MeetingId"},
		{"no such call", "/meet/api/list", `{}`, 404, "no such call"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newTestPage(t, nil)
			status, out := p.call(test.path, test.body)
			message, _ := out["message"].(string)
			if status != test.status || !strings.Contains(message, test.message) {
				t.Errorf("got %d %q, want %d and %q", status, message, test.status, test.message)
			}
			if len(p.aws.calls) > 0 {
				t.Errorf("the API was called: %v", p.aws.calls)
			}
		})
	}
}

func TestJoinSaysWhatTheAPIRefused(t *testing.T) {
	tests := []struct {
		operation string
		failure   failure
		times     int // retries of the client included
		status    int
		message   string
	}{
		{"CreateAttendee", failure{400, "LimitExceededException", "quota"}, 3, 409, "full"},
		{"CreateMeeting", failure{400, "LimitExceededException", "quota"}, 3, 409, "as many meetings"},
		{"CreateAttendee", failure{404, "NotFoundException", "gone"}, 2, 404, "has ended"},
		{"CreateMeeting", failure{409, "ConflictException", "token"}, 1, 409, "other settings"},
		{"CreateMeeting", failure{403, "ForbiddenException", "no " + testSecret}, 1, 500, "key was not accepted"},
		{"CreateMeeting", failure{400, "BadRequestException", "bad"}, 1, 500, "finds the reason in its log"},
		{"CreateMeeting", failure{429, "ThrottlingException", "slow down"}, 3, 429, "Many people"},
		{"CreateMeeting", failure{503, "ServiceUnavailableException", "later"}, 3, 503, "did not answer"},
	}
	for _, test := range tests {
		t.Run(test.failure.code, func(t *testing.T) {
			t.Parallel()
			p := newTestPage(t, nil)
			for range test.times {
				p.aws.fail[test.operation] = append(p.aws.fail[test.operation], test.failure)
			}
			status, out := p.call("/meet/api/join", `{"room":"quiet-harbour","name":"Ana"}`)
			message, _ := out["message"].(string)
			if status != test.status || !strings.Contains(message, test.message) {
				t.Errorf("got %d %q, want %d and %q", status, message, test.status, test.message)
			}
			if strings.Contains(message, testSecret) || strings.Contains(message, "AKIDPAGE") {
				t.Errorf("the answer tells what is the server's: %q", message)
			}
			if !strings.Contains(p.log.String(), test.failure.code) {
				t.Errorf("the log does not name %s: %s", test.failure.code, p.log)
			}
		})
	}
}

func TestJoinWhenNothingAnswers(t *testing.T) {
	p := newTestPage(t, nil)
	p.aws.Close()
	status, out := p.call("/meet/api/join", `{"room":"quiet-harbour","name":"Ana"}`)
	if status != 503 {
		t.Errorf("got %d %v", status, out)
	}
	if strings.Contains(p.log.String(), testSecret) {
		t.Error("the log has the secret key")
	}
}

func TestJoinEndsWithItsRequest(t *testing.T) {
	p := newTestPage(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/meet/api/join", strings.NewReader(`{"room":"quiet-harbour","name":"Ana"}`))
	r.Header.Set("Content-Type", "application/json")
	if response := p.do(r); response.StatusCode != 503 || len(p.aws.calls) > 0 {
		t.Errorf("got %d after the calls %v", response.StatusCode, p.aws.calls)
	}
}

func TestEnd(t *testing.T) {
	p := newTestPage(t, nil)
	_, out := p.call("/meet/api/join", `{"room":"quiet-harbour","name":"Ana"}`)
	id := out["Meeting"].(map[string]any)["MeetingId"].(string)

	if status, out := p.call("/meet/api/end", `{"room":"other-room","meetingId":"`+id+`"}`); status != 403 || p.aws.meetings[id] == "" {
		t.Fatalf("ended from another room: %d %v", status, out)
	}
	if status, out := p.call("/meet/api/end", `{"room":"quiet-harbour","meetingId":"`+id+`"}`); status != 204 || p.aws.meetings[id] != "" {
		t.Fatalf("ending: %d %v", status, out)
	}
	if status, out := p.call("/meet/api/end", `{"room":"quiet-harbour","meetingId":"`+id+`"}`); status != 204 {
		t.Errorf("ending what has ended: %d %v", status, out)
	}
	p.aws.fail["GetMeeting"] = []failure{{400, "BadRequestException", "bad"}}
	if status, out := p.call("/meet/api/end", `{"room":"quiet-harbour","meetingId":"`+id+`"}`); status != 500 {
		t.Errorf("an API that refuses: %d %v", status, out)
	}
}

func TestOtherSitesAreRefused(t *testing.T) {
	for name, headers := range map[string]map[string]string{
		"fetch metadata": {"Sec-Fetch-Site": "cross-site"},
		"origin":         {"Origin": "https://elsewhere.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPage(t, nil)
			r := httptest.NewRequest("POST", "/meet/api/join", strings.NewReader(`{"room":"quiet-harbour","name":"Ana"}`))
			r.Header.Set("Content-Type", "application/json")
			for k, v := range headers {
				r.Header.Set(k, v)
			}
			if response := p.do(r); response.StatusCode != 403 || len(p.aws.calls) > 0 {
				t.Errorf("got %d after the calls %v", response.StatusCode, p.aws.calls)
			}
		})
	}
	// A form on another site can send text, never JSON; an old browser sends no Origin with it.
	p := newTestPage(t, nil)
	r := httptest.NewRequest("POST", "/meet/api/join", strings.NewReader(`{"room":"quiet-harbour","name":"Ana"}`))
	r.Header.Set("Content-Type", "text/plain")
	if response := p.do(r); response.StatusCode != 400 || len(p.aws.calls) > 0 {
		t.Errorf("a form: got %d after the calls %v", response.StatusCode, p.aws.calls)
	}
}

func TestHeaders(t *testing.T) {
	p := newPage(Config{Endpoint: func() string { return "http://127.0.0.1:8080" }, ConnectOrigins: []string{"https://meet.example.org", "::nonsense"}}, bundled)
	defer p.Close()
	tests := []struct{ host, connect string }{
		{"127.0.0.1:8080", "'self' http://127.0.0.1:8080 https://127.0.0.1:8080 ws://127.0.0.1:8080 wss://127.0.0.1:8080"},
		{"[::1]:8080", "'self' http://[::1]:8080 https://[::1]:8080 ws://[::1]:8080 wss://[::1]:8080 http://127.0.0.1:8080"},
		{"x.example.org; script-src *", "'self' http://127.0.0.1:8080"},
		{"x,y", "'self' http://127.0.0.1:8080"},
	}
	for _, test := range tests {
		r := httptest.NewRequest("GET", "/meet/", nil)
		r.Host = test.host
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "connect-src "+test.connect) || !strings.Contains(policy, "wss://meet.example.org") {
			t.Errorf("for the host %q the policy is %q", test.host, policy)
		}
		if !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("for the host %q scripts are not our own alone: %q", test.host, policy)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %q", header, got)
			}
		}
	}
}

// bundled stands for a built page.
var bundled = fstest.MapFS{
	"index.html":             {Data: []byte("<!doctype html><title>the page</title>")},
	"licenses.html":          {Data: []byte("<!doctype html><title>the licences</title>")},
	"assets/app-ABC.js":      {Data: bytes.Repeat([]byte("hello();"), 1000)},
	"assets/app-ABC.css":     {Data: []byte("body{}")},
	"assets/font-ABC.woff2":  {Data: []byte("wOF2")},
	"assets/icon-abc123.svg": {Data: []byte("<svg/>")},
}

func TestPages(t *testing.T) {
	const forever = "public, max-age=31536000, immutable"
	built, plain := newTestPage(t, bundled), newTestPage(t, nil)
	tests := []struct {
		page                      *testPage
		path                      string
		status                    int
		contentType, cache, holds string
	}{
		{built, "/", 302, "", "", ""},
		{built, "/meet", 302, "", "", ""},
		{built, "/meet/", 200, "text/html; charset=utf-8", "no-cache", "the page"},
		{built, "/meet/quiet-harbour-7k3pwm", 200, "text/html; charset=utf-8", "no-cache", "the page"},
		{built, "/meet/licenses", 200, "text/html; charset=utf-8", "no-cache", "the licences"},
		{built, "/meet/assets/app-ABC.js", 200, "text/javascript; charset=utf-8", forever, "hello();"},
		{built, "/meet/assets/app-ABC.css", 200, "text/css; charset=utf-8", forever, "body{}"},
		{built, "/meet/assets/font-ABC.woff2", 200, "font/woff2", forever, "wOF2"},
		{built, "/meet/assets/icon-abc123.svg", 200, "image/svg+xml", forever, "<svg/>"},
		{built, "/meet/assets/app-OLD.js", 404, "", "", ""},
		{built, "/meet/assets/..%2findex.html", 404, "", "", ""},
		{built, "/meet/room/else", 404, "", "", ""},
		{plain, "/meet/", 200, "text/html; charset=utf-8", "no-cache", "npm run build"},
		{plain, "/meet/quiet-harbour-7k3pwm", 200, "text/html; charset=utf-8", "no-cache", "npm run build"},
		{plain, "/meet/licenses", 200, "text/html; charset=utf-8", "no-cache", "npm run build"},
		{plain, "/meet/assets/placeholder.css", 200, "text/css; charset=utf-8", "no-cache", "body"},
		{plain, "/meet/assets/app-ABC.js", 404, "", "", ""},
	}
	for _, test := range tests {
		response := test.page.do(httptest.NewRequest("GET", test.path, nil))
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != test.status {
			t.Errorf("%s: %d", test.path, response.StatusCode)
			continue
		}
		if test.status != 200 {
			continue
		}
		if got := response.Header.Get("Content-Type"); got != test.contentType {
			t.Errorf("%s: Content-Type %q", test.path, got)
		}
		if got := response.Header.Get("Cache-Control"); got != test.cache {
			t.Errorf("%s: Cache-Control %q", test.path, got)
		}
		if !strings.Contains(string(body), test.holds) {
			t.Errorf("%s: no %q in it", test.path, test.holds)
		}
	}
}

func TestPlaceholderStillHasTheBackend(t *testing.T) {
	p := newTestPage(t, nil)
	if status, out := p.call("/meet/api/join", `{"room":"quiet-harbour","name":"Ana"}`); status != 200 {
		t.Errorf("joining: %d %v", status, out)
	}
}

func TestCompressionAndValidation(t *testing.T) {
	p := newTestPage(t, bundled)
	get := func(path string, headers ...string) *http.Response {
		r := httptest.NewRequest("GET", path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return p.do(r)
	}
	const js = "/meet/assets/app-ABC.js"
	plain, zipped := get(js), get(js, "Accept-Encoding", "br, gzip;q=0.8")
	if got := plain.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("unasked, it came as %q", got)
	}
	if got := zipped.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q", got)
	}
	z, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(z)
	if diff := cmp.Diff(bundled["assets/app-ABC.js"].Data, body); diff != "" {
		t.Error("what was unpacked is not the file")
	}
	if plain.Header.Get("ETag") == "" || plain.Header.Get("ETag") == zipped.Header.Get("ETag") {
		t.Errorf("entity tags %q and %q", plain.Header.Get("ETag"), zipped.Header.Get("ETag"))
	}
	if got := get(js, "If-None-Match", plain.Header.Get("ETag")); got.StatusCode != 304 {
		t.Errorf("the same entity tag: %d", got.StatusCode)
	}
	if got := get(js, "If-None-Match", zipped.Header.Get("ETag")); got.StatusCode != 200 {
		t.Errorf("another entity tag: %d", got.StatusCode)
	}
	if got := get(js, "Accept-Encoding", "gzip;q=0"); got.Header.Get("Content-Encoding") != "" {
		t.Error("gzip;q=0 got gzip")
	}
	if got := get("/meet/assets/app-ABC.css", "Accept-Encoding", "gzip"); got.Header.Get("Content-Encoding") != "" {
		t.Error("six bytes were compressed")
	}
}

// TestBundle looks at the page that this very program has, when it was built with one.
func TestBundle(t *testing.T) {
	files := bundle()
	if files == nil {
		t.Skip("built without the page")
	}
	for _, name := range []string{"index.html", "licenses.html"} {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		html := string(data)
		if strings.Contains(html, "{{") || strings.Contains(html, "<script>") || strings.Contains(html, " style=") || strings.Contains(html, " onclick=") {
			t.Errorf("%s has something in line that the policy does not allow", name)
		}
		if name == "licenses.html" {
			for _, want := range []string{"amazon-chime-sdk-js 3.32.0", "Apache License", "SIL OPEN FONT LICENSE"} {
				if !strings.Contains(html, want) {
					t.Errorf("%s lacks %q", name, want)
				}
			}
		}
		for _, part := range strings.Split(html, `"/meet/assets/`)[1:] {
			asset, _, _ := strings.Cut(part, `"`)
			if _, err := fs.Stat(files, "assets/"+asset); err != nil {
				t.Errorf("%s names %s: %v", name, asset, err)
			}
		}
	}
	if !strings.Contains(allText(t, files), "amazon-chime-sdk-js") {
		t.Error("the media client is not in the bundle")
	}
}

func allText(t *testing.T, files fs.FS) string {
	var b strings.Builder
	err := fs.WalkDir(files, "assets", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, readErr := fs.ReadFile(files, path)
			b.Write(data)
			err = readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
