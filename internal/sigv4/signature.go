package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxAuthorization = 16 << 10 // bytes of an Authorization value that are looked at
	maxSignedHeaders = 128
)

// signature is what a request says about how it was signed.
type signature struct {
	accessKeyID   string
	day           string // of the scope, YYYYMMDD
	region        string
	service       string // as sent: the signing key is made from these bytes
	terminator    string
	signedHeaders []string // lower-case, in the order sent
	signature     string   // lower-case hex
	date          time.Time
	sessionToken  string
	presigned     bool
	expires       time.Duration // of a presigned URL
}

func (s *signature) scope() string {
	return s.day + "/" + s.region + "/" + s.service + "/" + s.terminator
}

// signatureOf finds the signature of a request: in the Authorization header,
// else in the query.
func signatureOf(r *http.Request, params []param) (*signature, error) {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		if len(values) > 1 {
			return nil, incomplete("The request has more than one Authorization header.")
		}
		sig, err := parseAuthorization(values[0])
		if err != nil {
			return nil, err
		}
		return sig, sig.addHeaders(r)
	}
	if _, ok := single(params, "X-Amz-Algorithm"); ok {
		return parsePresigned(params)
	}
	return nil, missing()
}

// parseAuthorization takes the value of an Authorization header apart:
//
//	AWS4-HMAC-SHA256 Credential=ID/DAY/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=hex
//
// Parts may come in any order, with or without space after the commas.
func parseAuthorization(value string) (*signature, error) {
	if len(value) > maxAuthorization {
		return nil, incomplete("The Authorization header is longer than %d bytes.", maxAuthorization)
	}
	value = strings.TrimSpace(value)
	scheme, rest, _ := strings.Cut(value, " ")
	if scheme != algorithm {
		return nil, incomplete("Unsupported Authorization scheme '%s': expected %s.", clip(scheme), algorithm)
	}
	parts := map[string]string{}
	for _, part := range strings.Split(rest, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, text, ok := strings.Cut(part, "=")
		if !ok {
			return nil, incomplete("'%s' not a valid key=value pair (missing equal-sign) in Authorization header.", clip(part))
		}
		if _, twice := parts[name]; twice {
			return nil, incomplete("Authorization header has more than one '%s' parameter.", clip(name))
		}
		parts[name] = text
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if parts[name] == "" {
			return nil, incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	sig := &signature{signature: parts["Signature"]}
	if err := sig.setCredential(parts["Credential"]); err != nil {
		return nil, err
	}
	if err := sig.setSignedHeaders(parts["SignedHeaders"]); err != nil {
		return nil, err
	}
	return sig, sig.checkForm()
}

// addHeaders takes date and session token from the request's headers, and
// holds the signature to covering host and date.
func (s *signature) addHeaders(r *http.Request) error {
	name := "x-amz-date"
	values := r.Header.Values("X-Amz-Date")
	if len(values) == 0 {
		name, values = "date", r.Header.Values("Date")
	}
	switch {
	case len(values) == 0:
		return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	case len(values) > 1:
		return incomplete("The request has more than one '%s' header.", name)
	case !slices.Contains(s.signedHeaders, "host"):
		return incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	case !slices.Contains(s.signedHeaders, name):
		return incomplete("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
	}
	date, ok := parseDate(strings.TrimSpace(values[0]), name == "date")
	if !ok {
		return incomplete("Date must be in ISO-8601 'basic format' (YYYYMMDDTHHMMSSZ). Got '%s'.", clip(values[0]))
	}
	s.date = date
	tokens := r.Header.Values("X-Amz-Security-Token")
	if len(tokens) > 1 {
		return incomplete("The request has more than one 'X-Amz-Security-Token' header.")
	}
	if len(tokens) == 1 {
		s.sessionToken = strings.TrimSpace(tokens[0])
	}
	return nil
}

// parsePresigned takes the signature from the query of a presigned URL.
func parsePresigned(params []param) (*signature, error) {
	sig := &signature{presigned: true}
	get := map[string]string{}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		value, ok := single(params, name)
		if !ok || value == "" {
			return nil, incomplete("A presigned URL requires exactly one '%s' query parameter.", name)
		}
		get[name] = value
	}
	if get["X-Amz-Algorithm"] != algorithm {
		return nil, incomplete("Unsupported X-Amz-Algorithm '%s': expected %s.", clip(get["X-Amz-Algorithm"]), algorithm)
	}
	if err := sig.setCredential(get["X-Amz-Credential"]); err != nil {
		return nil, err
	}
	if err := sig.setSignedHeaders(get["X-Amz-SignedHeaders"]); err != nil {
		return nil, err
	}
	if !slices.Contains(sig.signedHeaders, "host") {
		return nil, incomplete("'Host' must be in X-Amz-SignedHeaders.")
	}
	seconds, err := strconv.ParseInt(get["X-Amz-Expires"], 10, 32)
	if err != nil || seconds < 1 || seconds > int64(MaxExpires/time.Second) {
		return nil, incomplete("X-Amz-Expires must be a number of seconds from 1 to %d.", int64(MaxExpires/time.Second))
	}
	sig.expires = time.Duration(seconds) * time.Second
	date, ok := parseDate(get["X-Amz-Date"], false)
	if !ok {
		return nil, incomplete("X-Amz-Date must be in ISO-8601 'basic format' (YYYYMMDDTHHMMSSZ). Got '%s'.", clip(get["X-Amz-Date"]))
	}
	sig.date = date
	sig.signature = get["X-Amz-Signature"]
	for _, p := range params {
		if p.name == "X-Amz-Security-Token" {
			if sig.sessionToken != "" {
				return nil, incomplete("The URL has more than one 'X-Amz-Security-Token' parameter.")
			}
			sig.sessionToken = p.value
		}
	}
	return sig, sig.checkForm()
}

func (s *signature) setCredential(value string) error {
	parts := strings.Split(value, "/")
	if len(parts) != 5 {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got %d.", len(parts))
	}
	for _, part := range parts {
		if part == "" {
			return incomplete("Credential must have 5 elements that are not empty, e.g. keyid/date/region/service/term.")
		}
	}
	s.accessKeyID, s.day, s.region, s.service, s.terminator = parts[0], parts[1], parts[2], parts[3], parts[4]
	return nil
}

func (s *signature) setSignedHeaders(value string) error {
	s.signedHeaders = strings.Split(value, ";")
	if len(s.signedHeaders) > maxSignedHeaders {
		return incomplete("SignedHeaders names more than %d headers.", maxSignedHeaders)
	}
	for i, name := range s.signedHeaders {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" {
			return incomplete("SignedHeaders has an empty name.")
		}
		s.signedHeaders[i] = name
	}
	return nil
}

func (s *signature) checkForm() error {
	if len(s.signature) != 64 {
		return incomplete("Signature must be 64 hexadecimal digits, got %d characters.", len(s.signature))
	}
	return nil
}

// parseDate reads the basic ISO form, and for a plain Date header (which is
// looked at only where X-Amz-Date is absent) the HTTP forms too.
func parseDate(value string, httpForms bool) (time.Time, bool) {
	if t, err := time.Parse(timeFormat, value); err == nil {
		return t, true
	}
	if httpForms {
		for _, layout := range []string{time.RFC1123, time.RFC1123Z, time.RFC3339, time.RFC850, time.ANSIC} {
			if t, err := time.Parse(layout, value); err == nil {
				return t.UTC(), true
			}
		}
	}
	return time.Time{}, false
}
