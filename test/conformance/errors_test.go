package conformance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"belfry/internal/account"
	"belfry/internal/api"
	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// failing is a service that refuses CreateAttendee as the caller asks for by its
// ExternalUserId, which is a code.
type failing struct{ api.Meetings }

func (failing) CreateAttendee(_ context.Context, _, _ string, in meeting.NewAttendee) (*meeting.Attendee, error) {
	return nil, meeting.Errorf(meeting.Code(in.ExternalUserID), "because of %s", in.ExternalUserID)
}

// ring has the one key that clients sign with.
func ring(t *testing.T, store meeting.Store) account.Keyring {
	t.Helper()
	key := account.Key{ID: keyID, Secret: secret, Account: "123456789012"}
	book, err := account.NewBook(store, api.Operations(), nil, account.Given{Key: key, From: account.FromSettings})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// frontDoor is the API alone, in front of service; it tells of every request.
func frontDoor(t *testing.T, service api.Meetings, seen func(*http.Request)) string {
	t.Helper()
	handler, err := api.New(api.Options{Meetings: service, Keys: ring(t, memory.New()), Endpoints: api.HostEndpoints("127.0.0.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen != nil {
			seen(r)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// declared is every error that the models of the two APIs declare for the
// operations, as the service causes it.
var declared = []struct {
	code         meeting.Code
	older, newer refusal
	hidden       bool // the message is not the service's
}{
	{meeting.CodeBadRequest, badRequest, badRequest, false},
	{meeting.CodeUnauthorized,
		refusal{401, "UnauthorizedClientException", "Unauthorized", olderAPI}, refusal{401, "UnauthorizedException", "Unauthorized", newerAPI}, false},
	{meeting.CodeForbidden, refusal{403, "ForbiddenException", "Forbidden", ""}, refusal{403, "ForbiddenException", "Forbidden", ""}, false},
	{meeting.CodeNotFound, notFound, notFound, false},
	// The operation does not declare this one.
	{meeting.CodeConflict, refusal{409, "ConflictException", "Conflict", "neither"}, refusal{409, "ConflictException", "Conflict", "neither"}, false},
	{meeting.CodeLimitExceeded, overLimit2018, overLimit2021, false},
	{meeting.CodeUnprocessable, refusal{422, "UnprocessableEntityException", "Unprocessable", newerAPI}, unprocessable, false},
	{meeting.CodeThrottled,
		refusal{429, "ThrottledClientException", "Throttled", olderAPI}, refusal{429, "ThrottlingException", "Throttling", newerAPI}, false},
	{meeting.CodeUnavailable,
		refusal{503, "ServiceUnavailableException", "ServiceUnavailable", ""}, refusal{503, "ServiceUnavailableException", "ServiceUnavailable", ""}, false},
	{meeting.CodeInternal,
		refusal{500, "ServiceFailureException", "ServiceFailure", ""}, refusal{500, "ServiceFailureException", "ServiceFailure", ""}, true},
}

// Every error comes out of every client under the name that its users catch.
func TestEveryDeclaredError(t *testing.T) {
	url := frontDoor(t, failing{}, nil)
	// Some clients send both APIs alike: the path of the endpoint tells.
	each(t, func(k kind) Target { return at(url + "/" + k.api) }, func(t *testing.T, k kind, c client) {
		for _, d := range declared {
			want, says := d.older, "because of "+string(d.code)
			if k.api == newerAPI {
				want = d.newer
			}
			if d.hidden {
				says = ""
			}
			refused(t, k, c, "CreateAttendee", map[string]any{"MeetingId": uuid.NewString(), "ExternalUserId": string(d.code)}, says, want)
		}
	})
}

// Clients that say in their user agent which API they speak get its names, and
// the others those of the newer API, whatever they speak.
func TestUserAgentsTellTheAPI(t *testing.T) {
	var mu sync.Mutex
	agents := map[string]string{}
	each(t, func(k kind) Target {
		return at(frontDoor(t, failing{}, func(r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			agents[k.name] = r.UserAgent() + " " + r.Header.Get("X-Amz-User-Agent")
		}))
	}, func(t *testing.T, k kind, c client) {
		want := overLimit2021
		if k.told && k.api == olderAPI {
			want = overLimit2018
		}
		refused(t, k, c, "CreateAttendee", map[string]any{"MeetingId": uuid.NewString(), "ExternalUserId": string(meeting.CodeLimitExceeded)}, "", want)
		mu.Lock()
		agent := strings.ToLower(agents[k.name])
		mu.Unlock()
		t.Log(agent)
		if says := strings.Contains(agent, "api/chime") || strings.Contains(agent, "command/chime"); says != k.told {
			t.Errorf("the user agent %q tells the API: %v, the list of clients says %v", agent, says, k.told)
		}
	})
}
