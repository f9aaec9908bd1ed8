package conformance

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"belfry/internal/account"
	"belfry/internal/api"
	"belfry/internal/meeting"
)

// failing is a service that refuses CreateAttendee as it is told.
type failing struct {
	api.Meetings
	with atomic.Pointer[meeting.Error]
}

func (f *failing) CreateAttendee(context.Context, string, string, meeting.NewAttendee) (*meeting.Attendee, error) {
	return nil, f.with.Load()
}

// declared is every error that the models of the two APIs declare for the
// operations, as the service causes it.
var declared = []struct {
	code             meeting.Code
	status           int
	name, name2021   string
	messageIsGeneric bool
}{
	{meeting.CodeBadRequest, 400, "BadRequestException", "BadRequestException", false},
	{meeting.CodeUnauthorized, 401, "UnauthorizedClientException", "UnauthorizedException", false},
	{meeting.CodeForbidden, 403, "ForbiddenException", "ForbiddenException", false},
	{meeting.CodeNotFound, 404, "NotFoundException", "NotFoundException", false},
	{meeting.CodeConflict, 409, "ConflictException", "ConflictException", false},
	{meeting.CodeLimitExceeded, 400, "ResourceLimitExceededException", "LimitExceededException", false},
	{meeting.CodeUnprocessable, 422, "UnprocessableEntityException", "UnprocessableEntityException", false},
	{meeting.CodeThrottled, 429, "ThrottledClientException", "ThrottlingException", false},
	{meeting.CodeUnavailable, 503, "ServiceUnavailableException", "ServiceUnavailableException", false},
	{meeting.CodeInternal, 500, "ServiceFailureException", "ServiceFailureException", true},
}

// Every error comes out of every client under the name that its users catch.
func TestEveryDeclaredError(t *testing.T) {
	service := &failing{}
	ring, err := account.NewMemory(account.Key{ID: serverKeys.id, Secret: meeting.Secret(serverKeys.secret), Account: "123456789012"})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Options{Meetings: service, Keys: ring, Endpoints: api.HostEndpoints("127.0.0.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			// Some clients send both APIs alike: the path of the endpoint tells.
			user := c.new(t, server.URL+"/"+c.api, serverKeys)
			for _, d := range declared {
				service.with.Store(meeting.Errorf(d.code, "because of %s", d.code))
				a := user.call(t, "CreateAttendee", map[string]any{"MeetingId": uuid.NewString(), "ExternalUserId": "ann"})
				want := d.name
				if c.api == "chime-sdk-meetings" {
					want = d.name2021
				}
				if a.Code != want {
					t.Errorf("%s comes as %q, want %q", d.code, a.Code, want)
				}
				if a.Status != 0 && a.Status != d.status {
					t.Errorf("%s has the status %d, want %d", d.code, a.Status, d.status)
				}
				if !d.messageIsGeneric && !strings.Contains(a.Message, "because of "+string(d.code)) {
					t.Errorf("%s says %q", d.code, a.Message)
				}
			}
		})
	}
}
