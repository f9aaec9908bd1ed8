package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
)

// operation is one operation of the APIs: how a request for it looks, and what
// is done then.
type operation struct {
	name   string
	method string
	path   string // with labels: "/meetings/{MeetingId}"
	marker string // value of the query parameter "operation" that selects it, or ""
	only   API    // the one API that has it; "": both
	// success is the status of a success; created stands for what differs
	// between the APIs.
	success int
	// needsExternalID: the 2021 API requires MediaRegion and ExternalMeetingId,
	// so a request without them tells that it is meant for the other.
	needsExternalID bool
	// serve reads the members, asks c.check, calls the domain, and returns the
	// body of the answer, nil for none. A nil serve is an operation that is
	// known and not served.
	serve func(ctx context.Context, c *call) (any, error)
}

// created is 200 for the 2021 API and 201 where the 2018 API may be meant.
const created = -1

func (op *operation) status(id identity) int {
	if op.success != created {
		return op.success
	}
	if id.is(Meetings2021) {
		return http.StatusOK
	}
	return http.StatusCreated
}

func (op *operation) hasBody() bool {
	return op.method == http.MethodPost || op.method == http.MethodPut
}

// call is one request on its way through an operation.
type call struct {
	handler   *Handler
	request   *http.Request
	operation string // "" until it is known
	identity  identity
	account   string // who signed
	region    string // of the credential scope
	labels    map[string]string
	query     map[string][]string
	// resourceARN is what the tag operations of the 2021 API name in their errors,
	// "" for other operations.
	resourceARN string
	in          restjson.Reader // members of the body; gathers the faults of all members
}

func (c *call) meetings() Meetings { return c.handler.opt.Meetings }

// check is the end of decoding: nil when every member read so far is well.
func (c *call) check() error {
	err := c.in.Err()
	if err == nil {
		return nil
	}
	if c.handler.opt.ValidationAsBadRequest && err.Name == "ValidationException" {
		return meeting.Errorf(meeting.CodeBadRequest, "%s", err.Message)
	}
	return err
}

// on2021 is the rule where the 2021 API's constraints apply, and none elsewhere.
func (c *call) on2021(rule restjson.Rule) restjson.Rule {
	if c.identity.is(Meetings2021) {
		return rule
	}
	return restjson.Any
}

// told2021 is the rule where the request itself told that it is for the 2021 API.
func (c *call) told2021(rule restjson.Rule) restjson.Rule {
	if c.identity.told && c.identity.is(Meetings2021) {
		return rule
	}
	return restjson.Any
}

// queryValue returns the first value of a query parameter.
func (c *call) queryValue(name string) (value string, present bool) {
	values := c.query[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}
