package conformance

import (
	"context"
	"slices"
	"strings"
)

// answer is what a program that uses the client gets to see of one call.
type answer struct {
	Status  int            `json:"status"` // 0 where the client does not tell
	Result  map[string]any `json:"result"`
	Code    string         `json:"code"` // the error's name, "" for success
	Message string         `json:"message"`
	Class   string         `json:"class"`   // what the error is, in the client's language
	Request string         `json:"request"` // the refused request's id, where the client tells it
}

// client calls operations through one AWS client.
type client interface {
	about() about
	// call fails when the client breaks down, not when it is refused.
	call(operation string, params map[string]any) (answer, error)
	close() error
}

// about is what a client says of itself.
type about struct {
	Version    string   `json:"version"`
	Operations []string `json:"operations"`
}

// kind is one client of the table.
type kind struct {
	name string // short
	pkg  string // how it is got, for the table
	api  string // that it speaks: "chime" is the older one
	// told: its requests say which API they are for, in their user agent.
	told bool
	// launch: it is of the first days, when a meeting had no ExternalMeetingId
	// and nothing had tags.
	launch bool
	debian bool // its version comes with the system, not from a lock file
	// names says under which code and class a program catches a refusal.
	names func(kind, refusal) (code, class string)
	start func(context.Context, *builder, kind, Target) (client, error)
}

const (
	olderAPI = "chime"              // 2018-05-01
	newerAPI = "chime-sdk-meetings" // 2021-07-15
)

var kinds = []kind{
	{name: "Go 1.25.39 chime", pkg: "Go: aws-sdk-go/service/chime", api: olderAPI, launch: true, names: goUntyped, start: goLaunch},
	{name: "Go 1.55.8 chime", pkg: "Go: aws-sdk-go/service/chime", api: olderAPI, names: goTyped, start: goV1Chime},
	{name: "Go 1.55.8 meetings", pkg: "Go: aws-sdk-go/service/chimesdkmeetings", api: newerAPI, names: goTyped, start: goV1Meetings},
	{name: "Go v2 meetings", pkg: "Go: aws-sdk-go-v2/service/chimesdkmeetings", api: newerAPI, told: true, names: goV2, start: goV2Meetings},
	{name: "JS 2.576.0 chime", pkg: "JavaScript: aws-sdk, Chime", api: olderAPI, launch: true, names: jsV2Launch, start: node("aws-sdk-2.576.0", "Chime")},
	{name: "JS 2.1693.0 chime", pkg: "JavaScript: aws-sdk, Chime", api: olderAPI, names: jsV2, start: node("aws-sdk-2.1693.0", "Chime")},
	{name: "JS 2.1693.0 meetings", pkg: "JavaScript: aws-sdk, ChimeSDKMeetings", api: newerAPI, names: jsV2, start: node("aws-sdk-2.1693.0", "ChimeSDKMeetings")},
	{name: "JS 3.11.0 chime", pkg: "JavaScript: @aws-sdk/client-chime", api: olderAPI, told: true, names: jsV3Early, start: node("client-chime-3.11.0", "")},
	{name: "JS 3.699.0 chime", pkg: "JavaScript: @aws-sdk/client-chime", api: olderAPI, told: true, names: jsV3, start: node("client-chime-3.699.0", "")},
	{name: "JS 3.1142.0 meetings", pkg: "JavaScript: @aws-sdk/client-chime-sdk-meetings", api: newerAPI, told: true, names: jsV3, start: node("@aws-sdk/client-chime-sdk-meetings", "")},
	{name: "boto3 chime", pkg: "Python: boto3, chime", api: olderAPI, debian: true, names: boto3, start: python("chime")},
	{name: "boto3 meetings", pkg: "Python: boto3, chime-sdk-meetings", api: newerAPI, debian: true, names: boto3, start: python("chime-sdk-meetings")},
	{name: "AWS CLI chime", pkg: "aws chime", api: olderAPI, told: true, debian: true, names: awsCLI, start: startCLI},
	{name: "AWS CLI meetings", pkg: "aws chime-sdk-meetings", api: newerAPI, told: true, debian: true, names: awsCLI, start: startCLI},
}

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

func slowness(name string) int {
	if strings.HasPrefix(name, "AWS CLI") {
		return 1
	}
	return 0
}

// refusal is an error of the APIs: its status, the name in the header, and the
// word in the body, which only the declared errors have.
type refusal struct {
	status     int
	name, word string
	only       string // the API that declares it for the operation, "" for both
}

// typed reports whether the kind's SDK has a class for the refusal.
func (r refusal) typed(k kind) bool { return r.word != "" && (r.only == "" || r.only == k.api) }

var (
	notFound      = refusal{404, "NotFoundException", "NotFound", ""}
	badRequest    = refusal{400, "BadRequestException", "BadRequest", ""}
	unprocessable = refusal{422, "UnprocessableEntityException", "Unprocessable", ""}
	overLimit2018 = refusal{400, "ResourceLimitExceededException", "ResourceLimitExceeded", olderAPI}
	overLimit2021 = refusal{400, "LimitExceededException", "LimitExceeded", newerAPI}
	fullOfTags    = refusal{400, "ResourceLimitExceededException", "ResourceLimitExceeded", "neither"} // of TagResource
	tooManyTags   = refusal{400, "TooManyTagsException", "TooManyTags", newerAPI}
	noResource    = refusal{404, "ResourceNotFoundException", "ResourceNotFound", newerAPI}
	invalid       = refusal{400, "ValidationException", "", ""}
	unknownKey    = refusal{403, "UnrecognizedClientException", "", ""}
	badSignature  = refusal{403, "InvalidSignatureException", "", ""}
)

// What each client makes of a refusal. An empty class is one that does not
// matter: an SDK's way to say that it does not know the name.

func goUntyped(_ kind, r refusal) (code, class string) { return r.name, "*awserr.requestError" }

func goTyped(k kind, r refusal) (code, class string) {
	if !r.typed(k) {
		return r.name, ""
	}
	pkg := "chime"
	if k.api == newerAPI {
		pkg = "chimesdkmeetings"
	}
	return r.name, "*" + pkg + "." + r.name
}

func goV2(k kind, r refusal) (code, class string) {
	if !r.typed(k) {
		return r.name, ""
	}
	return r.name, "*types." + r.name
}

func jsV2Launch(_ kind, r refusal) (code, class string) { return r.name, "Error" }

// The body's word has come before the header's name since 2022.
func jsV2(_ kind, r refusal) (code, class string) {
	if r.word != "" {
		return r.word, "Error"
	}
	return r.name, "Error"
}

// What the operation does not declare goes by the body's word here.
func jsV3Early(k kind, r refusal) (code, class string) {
	if r.word != "" && !r.typed(k) {
		return r.word, "Error"
	}
	return r.name, "Error"
}

func jsV3(k kind, r refusal) (code, class string) {
	if !r.typed(k) {
		return r.name, ""
	}
	return r.name, r.name
}

func boto3(k kind, r refusal) (code, class string) {
	if !r.typed(k) {
		return r.name, ""
	}
	return r.name, r.name
}

func awsCLI(_ kind, r refusal) (code, class string) { return r.name, "exit status 254" }
