package notify

import (
	"fmt"
	"net/url"
	"strings"

	"belfry/internal/meeting"
)

// Endpoints tells where a queue, topic or function is. The first of these that
// says something wins: the target's own entry, AWS_ENDPOINT_URL_SQS, _SNS or
// _LAMBDA, AWS_ENDPOINT_URL, the profile of the shared files that Credentials
// reads, and AWS itself where that is allowed.
type Endpoints struct {
	// Own has ARNs, or beginnings of ARNs that end in *, and their URLs; the
	// longest that fits counts.
	Own map[string]string
	// Getenv is os.Getenv or a test's; nil: no environment.
	Getenv func(string) string
	// AWS allows AWS's own hosts for targets that nothing else is said of.
	AWS bool
}

// ParseOwn reads entries of the form ARN=URL.
func ParseOwn(entries []string) (map[string]string, error) {
	own := map[string]string{}
	for _, entry := range entries {
		name, at, ok := strings.Cut(entry, "=")
		u, err := url.Parse(at)
		if !ok || !strings.HasPrefix(name, "arn:") || err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("%q is not ARN=URL, such as arn:aws:sqs:us-east-1:*=http://127.0.0.1:4566", entry)
		}
		own[name] = at
	}
	return own, nil
}

// of is the endpoint of a target; "" is AWS's own. profile tells what the shared
// files say; it may be nil.
func (e Endpoints) of(kind meeting.TargetKind, address string, profile func(sdkID string) (string, error)) (string, error) {
	if at, ok := e.Own[address]; ok {
		return at, nil
	}
	best, found := "", ""
	for name, at := range e.Own {
		prefix, wild := strings.CutSuffix(name, "*")
		if wild && strings.HasPrefix(address, prefix) && len(name) > len(best) {
			best, found = name, at
		}
	}
	if found != "" {
		return found, nil
	}
	variable := "AWS_ENDPOINT_URL_" + strings.ToUpper(string(kind))
	if e.Getenv != nil && e.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") != "true" {
		for _, name := range []string{variable, "AWS_ENDPOINT_URL"} {
			if at := e.Getenv(name); at != "" {
				return at, nil
			}
		}
	}
	if profile != nil {
		if at, err := profile(sdkIDs[kind]); at != "" || err != nil {
			return at, err
		}
	}
	if e.AWS {
		return "", nil
	}
	return "", fmt.Errorf("nothing says where this target is: set %s or event_endpoints, or allow AWS itself with event_aws", variable)
}

// sdkIDs are the names of the services in the SDKs.
var sdkIDs = map[meeting.TargetKind]string{meeting.TargetSQS: "SQS", meeting.TargetSNS: "SNS", meeting.TargetLambda: "Lambda"}
