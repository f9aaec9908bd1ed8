package api

import (
	"net/http"
	"slices"
	"strings"

	"belfry/internal/api/restjson"
)

// API is one of the two service models that the handler speaks.
type API string

// The service models. They share methods, paths and the service name in
// signatures; members, limits and some error names differ.
const (
	Chime2018    API = "chime"              // version 2018-05-01
	Meetings2021 API = "chime-sdk-meetings" // version 2021-07-15
)

// identity is which API a request was taken to mean, and on what grounds. Where
// there were none, a request is refused only if both APIs would refuse it: a
// valid request of either must not fail because its client gives no sign.
type identity struct {
	api API // also when not sure: its names are used for errors
	// told: the request said so itself, by its operation, host, path or user
	// agent. Only then are the members that the API requires insisted on.
	told bool
	// sure: told, or the body has what only one of the APIs allows, or the
	// operator said what unmarked requests mean.
	sure bool
}

// label names the API in log and metrics.
func (i identity) label() string {
	if !i.sure {
		return "unknown"
	}
	return string(i.api)
}

// is reports whether the request is surely meant for the API, so that its rules
// apply.
func (i identity) is(api API) bool { return i.sure && i.api == api }

// controlRegions are those in which AWS has the 2021 API.
var controlRegions = []string{
	"us-east-1", "us-west-2", "eu-central-1", "ap-southeast-1", "us-gov-east-1", "us-gov-west-1",
	"af-south-1", "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-2", "ca-central-1", "eu-west-2", "il-central-1",
}

// isIn reports whether AWS has the API in the region, which of the 2018 API is
// but one, and among those of the other.
func (i identity) isIn(region string) bool {
	if i.is(Chime2018) {
		return region == "us-east-1"
	}
	return slices.Contains(controlRegions, region)
}

// prefixes are the first path segments that name an API. "console" is what
// sample code for the launch endpoint has in its URL.
var prefixes = map[string]API{
	"chime":              Chime2018,
	"console":            Chime2018,
	"chime-sdk-meetings": Meetings2021,
}

// agents are the marks that clients leave in User-Agent or x-amz-user-agent.
var agents = []struct {
	token string
	api   API
}{
	{"api/chime-sdk-meetings", Meetings2021},
	{"api/chime_sdk_meetings", Meetings2021},
	{"api/chimesdkmeetings", Meetings2021},
	{"command/chime-sdk-meetings.", Meetings2021},
	{"api/chime#", Chime2018},
	{"api/chime/", Chime2018},
	{"command/chime.", Chime2018},
}

// identify decides which API the request means: the first ground that there is
// counts. No header carries a version, and many clients give no sign at all. A nil
// body is one that could not be read.
func identify(op *operation, r *http.Request, prefix string, body restjson.Object, byDefault API) identity {
	told := func(api API) identity { return identity{api: api, told: true, sure: true} }
	if op.only != "" {
		return told(op.only)
	}
	host := strings.ToLower(r.Host)
	switch {
	case strings.HasPrefix(host, "meetings-chime"):
		return told(Meetings2021)
	case strings.HasPrefix(host, "chime."), strings.HasPrefix(host, "service.chime."):
		return told(Chime2018)
	}
	if api, ok := prefixes[prefix]; ok {
		return told(api)
	}
	for _, header := range []string{"User-Agent", "X-Amz-User-Agent"} {
		agent := strings.ToLower(strings.Join(r.Header.Values(header), " "))
		for _, a := range agents {
			if strings.Contains(agent, a.token) {
				return told(a.api)
			}
		}
	}
	if hasMeetingsMember(body) {
		return identity{api: Meetings2021, sure: true}
	}
	if op.needsExternalID && body != nil && !(body.Has("MediaRegion") && body.Has("ExternalMeetingId")) {
		return identity{api: Chime2018, sure: true}
	}
	if byDefault != "" {
		return identity{api: byDefault, sure: true}
	}
	return unknownAPI
}

// unknownAPI is what a request is until it shows more. The names of the 2021
// API are preferred: every SDK knows its ThrottlingException as one to retry.
var unknownAPI = identity{api: Meetings2021}

// hasMeetingsMember looks for a member that only the 2021 model has.
func hasMeetingsMember(body restjson.Object) bool {
	for _, name := range []string{"MeetingFeatures", "PrimaryMeetingId", "TenantIds", "MediaPlacementNetworkType", "Capabilities"} {
		if body.Has(name) {
			return true
		}
	}
	return body.HasWithin("NotificationsConfiguration", "LambdaFunctionArn") ||
		body.HasWithin("Attendees", "Capabilities")
}
