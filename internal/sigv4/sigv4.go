// Package sigv4 proves who signed an HTTP request. It recomputes AWS's
// Signature Version 4 over the request exactly as it came: the raw request
// line, the signed headers and the body. It knows no routes and no operations.
//
// The signature may stand in the Authorization header or, for a presigned URL,
// in the query. What is refused is refused with the error names that AWS's
// JSON services use, so that SDKs recognise them.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"belfry/internal/account"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"

	// DefaultSkew is how far a request's date may be from the server's clock.
	DefaultSkew = 15 * time.Minute
	// DefaultService is the service that the Chime APIs sign for.
	DefaultService = "chime"
	// MaxExpires is the longest life of a presigned URL.
	MaxExpires = 7 * 24 * time.Hour
)

// Lookup finds the access key with an id; account.Keyring's method is one.
type Lookup func(accessKeyID string) (account.Key, error)

// Verifier holds what may be set about verification. The zero value applies
// the defaults.
type Verifier struct {
	// Skew is how far the request's date may be from now, either way; 0:
	// DefaultSkew.
	Skew time.Duration
	// Service is the service that the credential scope must name, compared
	// without regard to case: some clients write it with a capital; "":
	// DefaultService.
	Service string
	// Regions lists the regions that a scope may name; nil: any region that is
	// syntactically valid, because clients sign with their configured region
	// whatever the endpoint is.
	Regions []string
}

// Result says who signed the request, and for where.
type Result struct {
	AccessKeyID string
	Account     string
	Region      string // of the credential scope
	Service     string // of the credential scope, as sent
	Date        time.Time
	Presigned   bool
	Key         account.Key
}

// Verify proves that the request was signed with a key that keys knows. body is
// the whole body as it was read; r.RequestURI and r.Host must be as they came.
// The error is an *Error, or the one by which keys could not look.
func (v Verifier) Verify(r *http.Request, body []byte, keys Lookup, now time.Time) (Result, error) {
	claim, err := v.Claim(r, keys, now)
	if err != nil {
		return Result{}, err
	}
	return claim.Prove(body)
}

// Claim is what a request says of its signature, checked as far as that is
// possible without the body: form, key, session token, scope and date.
type Claim struct {
	request *http.Request
	path    string
	params  []param
	sig     *signature
	key     account.Key
}

// Claim is the first half of Verify, for a caller that wants to spend nothing
// on the body of a request that is refused anyway. It proves nothing: anyone
// may claim. The error is that of Verify.
func (v Verifier) Claim(r *http.Request, keys Lookup, now time.Time) (*Claim, error) {
	path, query := RequestTarget(r)
	params := parseQuery(query)
	sig, err := signatureOf(r, params)
	if err != nil {
		return nil, err
	}
	key, err := keys(sig.accessKeyID)
	if err != nil && !errors.Is(err, account.ErrUnknownKey) {
		return nil, fmt.Errorf("looking an access key up: %w", err)
	}
	if err != nil || !equal(key.SessionToken.Reveal(), sig.sessionToken) {
		return nil, unrecognized()
	}
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return nil, &Error{Name: "ExpiredTokenException", Status: http.StatusForbidden,
			Message: "The security token included in the request is expired"}
	}
	if err := v.checkScope(sig, key); err != nil {
		return nil, err
	}
	if err := v.checkDate(sig, now); err != nil {
		return nil, err
	}
	return &Claim{r, path, params, sig, key}, nil
}

// Prove is the second half of Verify: it recomputes the signature over the
// request and its whole body. The error is always an *Error.
func (c *Claim) Prove(body []byte) (Result, error) {
	r, sig, key := c.request, c.sig, c.key
	payload, err := checkPayload(r, body)
	if err != nil {
		return Result{}, err
	}
	canonical := strings.Join([]string{
		r.Method,
		canonicalPath(c.path),
		canonicalQuery(c.params),
		canonicalHeaders(r, sig.signedHeaders, len(body)),
		strings.Join(sig.signedHeaders, ";"),
		payload,
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{algorithm, sig.date.Format(timeFormat), sig.scope(), hex.EncodeToString(digest[:])}, "\n")
	want := hex.EncodeToString(mac(signingKey(key.Secret.Reveal(), sig), toSign))
	if !equal(want, sig.signature) {
		return Result{}, invalid("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return Result{
		AccessKeyID: sig.accessKeyID,
		Account:     key.Account,
		Region:      sig.region,
		Service:     sig.service,
		Date:        sig.date,
		Presigned:   sig.presigned,
		Key:         key,
	}, nil
}

func (v Verifier) checkScope(sig *signature, key account.Key) error {
	if sig.terminator != terminator {
		return invalid("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, clip(sig.terminator))
	}
	service := v.Service
	if service == "" {
		service = DefaultService
	}
	if !strings.EqualFold(sig.service, service) {
		return invalid("Credential should be scoped to correct service: '%s'.", service)
	}
	if !validRegion(sig.region) || v.Regions != nil && !slices.Contains(v.Regions, sig.region) || !key.MaySignFor(sig.region) {
		return invalid("Credential should be scoped to a valid region, not '%s'. ", clip(sig.region))
	}
	if day := sig.date.Format("20060102"); day != sig.day {
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", clip(sig.day), day)
	}
	return nil
}

func (v Verifier) checkDate(sig *signature, now time.Time) error {
	skew := v.Skew
	if skew == 0 {
		skew = DefaultSkew
	}
	now = now.UTC()
	if latest := now.Add(skew); sig.date.After(latest) {
		return invalid("Signature not yet current: %s is still later than %s (%s + %s.)",
			sig.date.Format(timeFormat), latest.Format(timeFormat), now.Format(timeFormat), minutes(skew))
	}
	if sig.presigned {
		if end := sig.date.Add(sig.expires); now.After(end) {
			return invalid("Signature expired: %s is now earlier than %s (the URL was valid for %d seconds)",
				end.Format(timeFormat), now.Format(timeFormat), int64(sig.expires/time.Second))
		}
		return nil
	}
	if earliest := now.Add(-skew); sig.date.Before(earliest) {
		return invalid("Signature expired: %s is now earlier than %s (%s - %s.)",
			sig.date.Format(timeFormat), earliest.Format(timeFormat), now.Format(timeFormat), minutes(skew))
	}
	return nil
}

// checkPayload returns the hash that belongs in the canonical request. The
// hash is always of the body as read, so a header that says otherwise, and
// UNSIGNED-PAYLOAD and the STREAMING- forms with it, is refused.
func checkPayload(r *http.Request, body []byte) (string, error) {
	digest := sha256.Sum256(body)
	hash := hex.EncodeToString(digest[:])
	for _, claimed := range r.Header.Values("X-Amz-Content-Sha256") {
		if !equal(strings.TrimSpace(claimed), hash) {
			return "", invalid("The value passed in the header x-amz-content-sha256 is not the SHA-256 of the request body.")
		}
	}
	return hash, nil
}

func signingKey(secret string, sig *signature) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{sig.day, sig.region, sig.service, terminator} {
		key = mac(key, part)
	}
	return key
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// equal compares in a time that does not depend on where the strings differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// validRegion reports whether s has the form of a region: it becomes part of
// ARNs, so nothing else may pass.
func validRegion(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}

// clip bounds what of the request is repeated in an error text.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
