//lint:file-ignore SA1019 the SDKs of builders who have not moved on are what is tested here

package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	aws2 "github.com/aws/aws-sdk-go-v2/aws"
	credentials2 "github.com/aws/aws-sdk-go-v2/credentials"
	meetings2 "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/service/chime"
	"github.com/aws/aws-sdk-go/service/chimesdkmeetings"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"belfry/internal/account"
	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// standing is a clock that a test moves.
type standing struct {
	mu  sync.Mutex
	now time.Time
}

func (c *standing) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *standing) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// startThrottled serves with AWS's quotas, unless quotas says otherwise, and a
// clock that stands.
func startThrottled(t *testing.T, quotas func(account string) meeting.Quotas, keys ...account.Key) (*server, *standing) {
	if quotas == nil {
		quotas = func(string) meeting.Quotas { return meeting.DefaultQuotas }
	}
	clock := &standing{now: time.Now()}
	return start(t, func(o *Options) {
		o.Quotas, o.Now = quotas, clock.Now
		o.Keys = ring(t, memory.New(), append(keys, testKey, otherKey)...)
	}), clock
}

func TestThrottle(t *testing.T) {
	now := time.Now()
	tr := newThrottle()
	q := meeting.DefaultQuotas
	taken := func(account, operation string, of int) (n int) {
		for range of {
			if tr.take(account, operation, q, now) {
				n++
			}
		}
		return n
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d requests are served, want %d", what, got, want)
		}
	}
	want("a burst", taken("a", "GetMeeting", 50), 20)
	want("another operation", taken("a", "CreateMeeting", 50), 20)
	want("another account", taken("b", "GetMeeting", 50), 20)
	now = now.Add(100 * time.Millisecond)
	want("a tenth of a second later", taken("a", "GetMeeting", 50), 1)
	now = now.Add(time.Second)
	want("a second later", taken("a", "GetMeeting", 50), 10)
	now = now.Add(time.Hour)
	want("an hour later", taken("a", "GetMeeting", 50), 20)
	q.RequestRate, q.RequestBurst = 100, 200
	want("quotas raised at once", taken("a", "GetMeeting", 500), 180)
	now = now.Add(100 * time.Millisecond)
	want("and a tenth of a second later", taken("a", "GetMeeting", 50), 10)
	now = now.Add(time.Hour)
	want("and an hour later", taken("a", "GetMeeting", 500), 200)
	now = now.Add(time.Hour)
	want("before quotas are lowered", taken("a", "GetMeeting", 150), 150)
	q.RequestRate, q.RequestBurst = 1, 2
	want("quotas lowered", taken("a", "GetMeeting", 50), 0)
	now = now.Add(time.Hour)
	want("an hour after they were lowered", taken("a", "GetMeeting", 50), 2)
	q.RequestRate = 0
	want("no limit", taken("a", "GetMeeting", 5000), 5000)
}

// Buckets that are full again are forgotten, those in use are not.
func TestThrottleIsBounded(t *testing.T) {
	now := time.Now()
	tr := newThrottle()
	q := meeting.Quotas{RequestRate: 10, RequestBurst: 20}
	for i := range 100 * fewBuckets {
		now = now.Add(time.Millisecond) // each needs 100 ms until it is full again
		for range 20 {
			tr.take("busy", "GetMeeting", q, now) // never full
		}
		tr.take(fmt.Sprint(i), "GetMeeting", q, now)
	}
	if n := len(tr.buckets); n > fewBuckets {
		t.Errorf("%d buckets are kept, of which 101 are not full", n)
	}
	if tr.take("busy", "GetMeeting", q, now) {
		t.Error("a bucket in use was forgotten")
	}
}

func BenchmarkThrottle(b *testing.B) {
	tr, now := newThrottle(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		tr.take("123456789012", "GetMeeting", meeting.DefaultQuotas, now)
	}
}

func TestTooManyRequests(t *testing.T) {
	for prefix, name := range map[string]string{asC: "ThrottledClientException", asM: "ThrottlingException", "": "ThrottlingException"} {
		t.Run(prefix, func(t *testing.T) {
			s, clock := startThrottled(t, nil)
			get := request{method: "GET", path: prefix + "/meetings/" + unknownGUID}
			for range 20 {
				s.refused(s.do(get), 404, "NotFoundException", "")
			}
			a := s.do(get)
			s.refused(a, 429, name, "Rate exceeded: GetMeeting is limited to 10 requests a second, 20 at once")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After = %q", a.header.Get("Retry-After"))
			}
			counted := "# HELP belfry_api_throttled_total Requests refused because their account makes too many for the operation.\n" +
				"# TYPE belfry_api_throttled_total counter\nbelfry_api_throttled_total{operation=\"GetMeeting\"} 1\n"
			if err := testutil.GatherAndCompare(s.metrics, strings.NewReader(counted), "belfry_api_throttled_total"); err != nil {
				t.Error(err)
			}
			clock.advance(100 * time.Millisecond)
			s.refused(s.do(get), 404, "NotFoundException", "")
			s.refused(s.do(get), 429, name, "")
			clock.advance(time.Second) // as Retry-After says
			s.refused(s.do(get), 404, "NotFoundException", "")
		})
	}
}

func TestEveryOperationIsThrottledByItself(t *testing.T) {
	s, _ := startThrottled(t, func(string) meeting.Quotas { return meeting.Quotas{RequestRate: 1, RequestBurst: 1} })
	for _, op := range operations {
		path := strings.NewReplacer("{MeetingId}", unknownGUID, "{AttendeeId}", unknownGUID).Replace(op.path)
		if op.marker != "" {
			path += "?operation=" + op.marker
		}
		in := request{method: op.method, path: path}
		if op.hasBody() {
			in.body = "{}"
		}
		if a := s.do(in); a.status == 429 {
			t.Errorf("%s: the first request is refused", op.name)
		}
		if a := s.do(in); a.status != 429 {
			t.Errorf("%s: the second request is answered %d", op.name, a.status)
		}
	}
}

// What proves nothing and what may not be done costs the account nothing; what is
// wrong in itself does.
func TestWhoIsThrottled(t *testing.T) {
	restricted := account.Key{ID: "AKIDRESTRICTED", Secret: "s", Account: testKey.Account, Actions: []string{"ListMeetings"}}
	own := account.Key{ID: "AKIDOWN", Secret: "s", Account: testKey.Account, Unthrottled: true}
	forged := testKey
	forged.Secret = "wrong"
	s, clock := startThrottled(t, nil, restricted, own)
	create := request{method: "POST", path: asM + "/meetings", body: members(`"ExternalMeetingId":"room","MediaRegion":"us-east-1"`)}
	with := func(r request, change func(*request)) request { change(&r); return r }
	for range 30 {
		s.do(with(create, func(r *request) { r.unsigned = true }))
		s.do(with(create, func(r *request) { r.key = forged }))
		s.refused(s.do(with(create, func(r *request) { r.key = restricted })), 403, "AccessDeniedException", "")
		if a := s.do(with(create, func(r *request) { r.key = own })); a.status != 200 {
			t.Fatalf("the server's own key was answered %d %s", a.status, a.raw)
		}
	}
	if a := s.do(create); a.status != 200 {
		t.Errorf("after what does not count: %d %s", a.status, a.raw)
	}
	for range 9 {
		s.refused(s.do(with(create, func(r *request) { r.body = "{}" })), 400, "ValidationException", "")
		s.refused(s.do(with(create, func(r *request) { r.body = "{" })), 400, "SerializationException", "")
	}
	s.do(create)
	for _, body := range []string{create.body, "{}", "{"} {
		s.refused(s.do(with(create, func(r *request) { r.body = body })), 429, "ThrottlingException", "CreateMeeting")
	}
	if a := s.do(with(create, func(r *request) { r.key, r.path = otherKey, asM+"/meetings" })); a.status != 200 {
		t.Errorf("another account was answered %d %s", a.status, a.raw)
	}
	clock.advance(time.Second)
	if a := s.do(create); a.status != 200 {
		t.Errorf("a second later: %d %s", a.status, a.raw)
	}
}

// Another account has all of its own requests while one floods the server.
func TestFloodOfAnotherAccount(t *testing.T) {
	s, _ := startThrottled(t, nil)
	get := request{method: "GET", path: asM + "/meetings/" + unknownGUID}
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.do(get)
				}
			}
		})
	}
	theirs := get
	theirs.key = otherKey
	for i := range 20 {
		if a := s.do(theirs); a.status != 404 {
			t.Errorf("request %d is answered %d", i, a.status)
		}
	}
	close(stop)
	flood.Wait()
	s.refused(s.do(theirs), 429, "ThrottlingException", "")
}

// waits serves what s serves, and lets the clock move on as it tells a client to
// wait. It counts how often that was.
func waits(s *server, clock *standing) (told *atomic.Int32) {
	told = new(atomic.Int32)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handler.ServeHTTP(&statusSeen{w, func(status int) {
			if status == http.StatusTooManyRequests {
				told.Add(1)
				clock.advance(time.Second)
			}
		}}, r)
	}))
	s.t.Cleanup(func() {
		s.client.CloseIdleConnections()
		front.Close()
	})
	s.url = front.URL
	return told
}

type statusSeen struct {
	http.ResponseWriter
	seen func(int)
}

func (w *statusSeen) WriteHeader(status int) {
	w.seen(status)
	w.ResponseWriter.WriteHeader(status)
}

// SDKs as they come get through a burst, since they try again what was throttled.
func TestSDKsRetryWhatWasThrottled(t *testing.T) {
	for name, get := range map[string]func(*server, string) (string, error){
		"Go v1 chime": func(s *server, id string) (string, error) {
			c := chime.New(sessionV1(s, asC).Copy(&aws.Config{MaxRetries: aws.Int(aws.UseServiceDefaultRetries)}))
			out, err := c.GetMeeting(&chime.GetMeetingInput{MeetingId: &id})
			if err != nil {
				return "", err
			}
			return *out.Meeting.MeetingId, nil
		},
		"Go v1 chimesdkmeetings": func(s *server, id string) (string, error) {
			c := chimesdkmeetings.New(sessionV1(s, "").Copy(&aws.Config{MaxRetries: aws.Int(aws.UseServiceDefaultRetries)}))
			out, err := c.GetMeeting(&chimesdkmeetings.GetMeetingInput{MeetingId: &id})
			if err != nil {
				return "", err
			}
			return *out.Meeting.MeetingId, nil
		},
		"Go v2": func(s *server, id string) (string, error) {
			c := meetings2.New(meetings2.Options{BaseEndpoint: aws2.String(s.url), Region: "us-west-2", HTTPClient: s.client,
				Credentials: credentials2.NewStaticCredentialsProvider(testKey.ID, testKey.Secret.Reveal(), "")})
			out, err := c.GetMeeting(s.t.Context(), &meetings2.GetMeetingInput{MeetingId: &id})
			if err != nil {
				return "", err
			}
			return *out.Meeting.MeetingId, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := startThrottled(t, nil)
			told := waits(s, clock)
			id := s.meeting("")
			for i := range 40 {
				if got, err := get(s, id); err != nil || got != id {
					t.Fatalf("call %d: meeting %q, %v", i+1, got, err)
				}
			}
			if told.Load() == 0 {
				t.Error("nothing was throttled: the test proves nothing")
			}
		})
	}
}
