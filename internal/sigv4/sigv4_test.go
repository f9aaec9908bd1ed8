//lint:file-ignore SA1019 the signer of the old SDK has to verify as well

package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v2 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	v1credentials "github.com/aws/aws-sdk-go/aws/credentials"
	v1 "github.com/aws/aws-sdk-go/aws/signer/v4"
	"pgregory.net/rapid"

	"belfry/internal/account"
)

// now is the server's clock in every test of this file.
var now = time.Date(2026, 1, 5, 10, 15, 0, 0, time.UTC)

var testKey = account.Key{ID: "AKIDEXAMPLEEXAMPLE00", Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Account: "111122223333"}

func ring(keys ...account.Key) Lookup {
	return func(id string) (account.Key, error) {
		for _, k := range keys {
			if k.ID == id {
				return k, nil
			}
		}
		return account.Key{}, account.ErrUnknownKey
	}
}

// outgoing makes the request that a client would sign.
func outgoing(t testing.TB, method, rawURL, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, rawURL, strings.NewReader(body))
	if err != nil {
		t.Fatalf("making the request: %v", err)
	}
	return r
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// fatal is what both *testing.T and *rapid.T have.
type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

func signV2(t fatal, r *http.Request, body string, k account.Key, service, region string, at time.Time) {
	t.Helper()
	creds := aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret.Reveal(), SessionToken: k.SessionToken.Reveal()}
	if err := v2.NewSigner().SignHTTP(context.Background(), creds, r, hashOf(body), service, region, at); err != nil {
		t.Fatalf("signing: %v", err)
	}
}

func signV1(t fatal, r *http.Request, body string, k account.Key, service, region string, at time.Time) {
	t.Helper()
	creds := v1credentials.NewStaticCredentials(k.ID, k.Secret.Reveal(), k.SessionToken.Reveal())
	if _, err := v1.NewSigner(creds).Sign(r, strings.NewReader(body), service, region, at); err != nil {
		t.Fatalf("signing: %v", err)
	}
}

// received puts the request on the wire and reads it back as a server does.
func received(t fatal, r *http.Request, body string) *http.Request {
	t.Helper()
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatalf("writing the request: %v", err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	return got
}

func TestSignersOfBothSDKs(t *testing.T) {
	signers := map[string]func(fatal, *http.Request, string, account.Key, string, string, time.Time){"v1": signV1, "v2": signV2}
	session := testKey
	session.SessionToken = "FwoGZXIvYXdzEBYaD+/=="
	cases := []struct {
		name, method, url, body string
		key                     account.Key
		service, region         string
	}{
		{"plain get", "GET", "http://localhost:8080/meetings", "", testKey, "chime", "us-east-1"},
		{"body", "POST", "http://meet.example.org/meetings", `{"ClientRequestToken":"room-42"}`, testKey, "chime", "us-east-1"},
		{"capital service of the launch client", "POST", "http://h/meetings", "{}", testKey, "Chime", "us-east-1"},
		{"another region", "GET", "http://h/meetings", "", testKey, "chime", "eu-central-1"},
		{"prefix", "GET", "http://h/console/meetings", "", testKey, "chime", "us-east-1"},
		{"empty label", "GET", "http://h/meetings/", "", testKey, "chime", "us-east-1"},
		{"label that needs encoding", "GET", "http://h/meetings/a%20b%2Fc%3Ad%2Be%252F", "", testKey, "chime", "us-east-1"},
		{"query", "GET", "http://h/meetings?next-token=%2B%2F%3D%20%26&max-results=2", "", testKey, "chime", "us-east-1"},
		{"marker without value", "POST", "http://h/meetings?operation", "", testKey, "chime", "us-east-1"},
		{"session token", "GET", "http://h/meetings", "", session, "chime", "us-east-1"},
		{"no path", "GET", "http://h", "", testKey, "chime", "us-east-1"},
	}
	for sdk, sign := range signers {
		for _, tc := range cases {
			t.Run(sdk+"/"+tc.name, func(t *testing.T) {
				r := outgoing(t, tc.method, tc.url, tc.body)
				r.Header.Set("Content-Type", "application/json")
				sign(t, r, tc.body, tc.key, tc.service, tc.region, now)
				res, err := Verifier{}.Verify(received(t, r, tc.body), []byte(tc.body), ring(tc.key), now)
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if res.AccessKeyID != tc.key.ID || res.Account != tc.key.Account || res.Region != tc.region || res.Service != tc.service || res.Presigned {
					t.Errorf("result = %+v", res)
				}
			})
		}
	}
}

// Any request that an SDK can sign verifies, and no longer does when one thing
// about it is changed afterwards.
func TestAnyRequest(t *testing.T) {
	printable := rapid.StringOfN(rapid.RuneFrom([]rune("abzAZ059-._~!$&'()*+,;=:@/?#[]% \"<>\\^`{|}é«€😀")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		var path strings.Builder
		for _, s := range rapid.SliceOfN(printable, 1, 4).Draw(t, "segments") {
			// As the SDKs write labels: everything but the unreserved is escaped.
			path.WriteByte('/')
			escape(&path, s, false)
		}
		var query []string
		// Names are distinct and need no escape: where one does, the Go SDKs order
		// by the decoded name and AWS by the encoded one.
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z0-9._~-]{1,6}`), 0, 4, rapid.ID).Draw(t, "names") {
			var p strings.Builder
			p.WriteString(name + "=")
			escape(&p, printable.Draw(t, "value"), false)
			query = append(query, p.String())
		}
		body := rapid.String().Draw(t, "body")
		headers := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9 =,;"]{0,12}`), 0, 3).Draw(t, "headers")
		method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE"}).Draw(t, "method")

		u := "http://meet.example.org:8443" + path.String()
		if len(query) > 0 {
			u += "?" + strings.Join(query, "&")
		}
		r, err := http.NewRequest(method, u, strings.NewReader(body))
		if err != nil {
			t.Fatalf("making the request: %v", err)
		}
		for _, h := range headers {
			r.Header.Add("X-Amz-Test", h)
		}
		if rapid.Bool().Draw(t, "v1") {
			signV1(t, r, body, testKey, "chime", "us-east-1", now)
		} else {
			signV2(t, r, body, testKey, "chime", "us-east-1", now)
		}
		in := received(t, r, body)
		if _, err := (Verifier{}).Verify(in, []byte(body), ring(testKey), now); err != nil {
			t.Fatalf("%s %s refused: %v", method, u, err)
		}

		changed := []byte(body)
		switch rapid.SampledFrom([]string{"body", "path", "query", "method", "host", "header", "secret"}).Draw(t, "change") {
		case "body":
			changed = append(changed, 'x')
		case "path":
			in.RequestURI = strings.Replace(in.RequestURI, "/", "/x", 1)
		case "query":
			if strings.Contains(in.RequestURI, "?") {
				in.RequestURI += "&x=1"
			} else {
				in.RequestURI += "?x=1"
			}
		case "method":
			in.Method = "PATCH"
		case "host":
			in.Host = "meet.example.org"
		case "header":
			in.Header.Set("X-Amz-Date", now.Add(time.Second).Format(timeFormat))
		case "secret":
			other := testKey
			other.Secret += "x"
			if _, err := (Verifier{}).Verify(in, changed, ring(other), now); err == nil {
				t.Fatalf("verified with another secret")
			}
			return
		}
		if _, err := (Verifier{}).Verify(in, changed, ring(testKey), now); err == nil {
			t.Fatalf("verified although it was changed")
		}
	})
}

func TestRefusals(t *testing.T) {
	const body = `{"ClientRequestToken":"room-42"}`
	session := testKey
	session.SessionToken = "token"
	far := testKey
	far.Regions = []string{"eu-*"}
	expired := session
	expired.Expires = now

	cases := []struct {
		name    string
		key     account.Key // signs, and is in the ring unless keys is set
		keys    []account.Key
		service string
		at      time.Time
		change  func(*http.Request)
		body    string
		verify  Verifier
		want    string
		says    string
	}{
		{name: "no signature", change: func(r *http.Request) { r.Header.Del("Authorization") },
			want: "MissingAuthenticationTokenException", says: "Missing Authentication Token"},
		{name: "another scheme", change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
			want: "IncompleteSignatureException", says: "AWS4-HMAC-SHA256"},
		{name: "no signature part", change: replace("Authorization", ", Signature=", ", Sig="),
			want: "IncompleteSignatureException", says: "'Signature'"},
		{name: "no credential", change: replace("Authorization", "Credential=", "Cred="),
			want: "IncompleteSignatureException", says: "'Credential'"},
		{name: "credential too short", change: replace("Authorization", "/aws4_request", ""),
			want: "IncompleteSignatureException", says: "5 slash-delimited"},
		{name: "short signature", change: replace("Authorization", "Signature=", "Signature=00"),
			want: "IncompleteSignatureException", says: "64 hexadecimal"},
		{name: "host not signed", change: replace("Authorization", ";host", ""),
			want: "IncompleteSignatureException", says: "'Host'"},
		{name: "date not signed", change: replace("Authorization", ";x-amz-date", ""),
			want: "IncompleteSignatureException", says: "'x-amz-date'"},
		{name: "no date", change: func(r *http.Request) { r.Header.Del("X-Amz-Date") },
			want: "IncompleteSignatureException", says: "X-Amz-Date"},
		{name: "date of another form", change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") },
			want: "IncompleteSignatureException", says: "yesterday"},
		{name: "two dates", change: func(r *http.Request) { r.Header.Add("X-Amz-Date", "20260105T101500Z") },
			want: "IncompleteSignatureException", says: "more than one"},
		{name: "unknown key", keys: []account.Key{}, want: "UnrecognizedClientException", says: "security token"},
		{name: "token for a key without", key: session, keys: []account.Key{testKey}, want: "UnrecognizedClientException"},
		{name: "no token for a key with", key: testKey, keys: []account.Key{session}, want: "UnrecognizedClientException"},
		{name: "another token", key: session, change: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "other") },
			want: "UnrecognizedClientException"},
		{name: "expired session", key: expired, want: "ExpiredTokenException", says: "expired"},
		{name: "another service", service: "s3", want: "InvalidSignatureException", says: "'chime'"},
		{name: "terminator", change: replace("Authorization", "aws4_request", "aws5_request"),
			want: "InvalidSignatureException", says: "aws4_request"},
		{name: "region of another form", change: replace("Authorization", "us-east-1", "us_east:1"),
			want: "InvalidSignatureException", says: "valid region, not 'us_east:1'"},
		{name: "region refused", verify: Verifier{Regions: []string{"eu-west-1"}},
			want: "InvalidSignatureException", says: "valid region, not 'us-east-1'"},
		{name: "region that the key is not for", key: far, want: "InvalidSignatureException", says: "valid region, not 'us-east-1'"},
		{name: "scope of another day", change: replace("Authorization", "20260105", "20260104"),
			want: "InvalidSignatureException", says: "Date in Credential scope does not match"},
		{name: "too old", at: now.Add(-16 * time.Minute), want: "InvalidSignatureException", says: "Signature expired: 20260105T095900Z is now earlier than 20260105T100000Z (20260105T101500Z - 15 min.)"},
		{name: "replayed after a day", at: now.Add(-24 * time.Hour), want: "InvalidSignatureException", says: "Signature expired"},
		{name: "ahead", at: now.Add(16 * time.Minute), want: "InvalidSignatureException", says: "Signature not yet current"},
		{name: "skew as set", at: now.Add(-6 * time.Minute), verify: Verifier{Skew: 5 * time.Minute}, want: "InvalidSignatureException", says: "5 min"},
		{name: "body changed", body: strings.Replace(body, "42", "43", 1), want: "InvalidSignatureException", says: "does not match"},
		{name: "payload hash of another body", change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf("other")) },
			want: "InvalidSignatureException", says: "x-amz-content-sha256"},
		{name: "unsigned payload", change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
			want: "InvalidSignatureException", says: "x-amz-content-sha256"},
		{name: "another path", change: func(r *http.Request) { r.RequestURI = "/meetings/x" },
			want: "InvalidSignatureException", says: "does not match"},
		{name: "wrong secret", keys: []account.Key{{ID: testKey.ID, Secret: "other", Account: testKey.Account}},
			want: "InvalidSignatureException", says: "does not match"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			key, service, at, sent := testKey, "chime", now, body
			if tc.key.ID != "" {
				key = tc.key
			}
			if tc.service != "" {
				service = tc.service
			}
			if !tc.at.IsZero() {
				at = tc.at
			}
			keys := []account.Key{key}
			if tc.keys != nil {
				keys = tc.keys
			}
			r := outgoing(t, "POST", "http://meet.example.org/meetings", body)
			signV2(t, r, body, key, service, "us-east-1", at)
			in := received(t, r, body)
			if tc.change != nil {
				tc.change(in)
			}
			if tc.body != "" {
				sent = tc.body
			}
			_, err := tc.verify.Verify(in, []byte(sent), ring(keys...), now)
			var refusal *Error
			if !errors.As(err, &refusal) {
				t.Fatalf("err = %v, want %s", err, tc.want)
			}
			if refusal.Name != tc.want || refusal.Status != 403 {
				t.Errorf("refused with %d %s, want 403 %s", refusal.Status, refusal.Name, tc.want)
			}
			if !strings.Contains(refusal.Message, tc.says) {
				t.Errorf("message %q does not say %q", refusal.Message, tc.says)
			}
			if strings.Contains(refusal.Message, key.Secret.Reveal()) {
				t.Errorf("message %q holds the secret", refusal.Message)
			}
		})
	}
}

// replace changes part of a header, and makes sure that the part was there.
func replace(header, old, new string) func(*http.Request) {
	return func(r *http.Request) {
		value := r.Header.Get(header)
		if !strings.Contains(value, old) {
			panic("no " + old + " in " + value)
		}
		r.Header.Set(header, strings.Replace(value, old, new, 1))
	}
}

func TestAccepted(t *testing.T) {
	const body = "{}"
	session := testKey
	session.SessionToken = "token"
	session.Expires = now.Add(time.Second)
	cases := []struct {
		name   string
		key    account.Key
		at     time.Time
		change func(*http.Request)
	}{
		{name: "14 minutes old", at: now.Add(-14 * time.Minute)},
		{name: "14 minutes ahead", at: now.Add(14 * time.Minute)},
		{name: "session that lasts a second more", key: session},
		{name: "no space after commas", change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
		}},
		{name: "much space", change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", " ,   "))
		}},
		{name: "unsigned headers", change: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }},
		{name: "right payload hash, not signed", change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf(body)) }},
		{name: "absolute form", change: func(r *http.Request) { r.RequestURI = "http://meet.example.org" + r.RequestURI }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			key, at := testKey, now
			if tc.key.ID != "" {
				key = tc.key
			}
			if !tc.at.IsZero() {
				at = tc.at
			}
			r := outgoing(t, "POST", "http://meet.example.org/meetings?operation=x", body)
			signV2(t, r, body, key, "chime", "us-east-1", at)
			in := received(t, r, body)
			if tc.change != nil {
				tc.change(in)
			}
			if _, err := (Verifier{}).Verify(in, []byte(body), ring(key), now); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// A client without X-Amz-Date may sign the Date header, in either form.
func TestPlainDateHeader(t *testing.T) {
	for _, date := range []string{"20260105T101500Z", "Mon, 05 Jan 2026 10:15:00 GMT"} {
		r := outgoing(t, "GET", "http://h/meetings", "")
		r.Header.Set("Date", date)
		in := received(t, r, "")
		sig := &signature{day: "20260105", region: "us-east-1", service: "chime", terminator: terminator}
		canonical := "GET\n/meetings\n\ndate:" + date + "\nhost:h\n\ndate;host\n" + hashOf("")
		sum := mac(signingKey(testKey.Secret.Reveal(), sig), "AWS4-HMAC-SHA256\n20260105T101500Z\n"+sig.scope()+"\n"+hashOf(canonical))
		in.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+testKey.ID+"/"+sig.scope()+", SignedHeaders=date;host, Signature="+hex.EncodeToString(sum))
		if _, err := (Verifier{}).Verify(in, nil, ring(testKey), now); err != nil {
			t.Errorf("Date %q refused: %v", date, err)
		}
	}
}

func TestPresigned(t *testing.T) {
	session := testKey
	session.SessionToken = "FwoG+/=="
	presign := func(t *testing.T, key account.Key, expires string) *http.Request {
		r := outgoing(t, "GET", "http://meet.example.org/meetings?max-results=2", "")
		q := r.URL.Query()
		q.Set("X-Amz-Expires", expires)
		r.URL.RawQuery = q.Encode()
		creds := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret.Reveal(), SessionToken: key.SessionToken.Reveal()}
		signed, _, err := v2.NewSigner().PresignHTTP(context.Background(), creds, r, hashOf(""), "chime", "us-east-1", now)
		if err != nil {
			t.Fatalf("presigning: %v", err)
		}
		return received(t, outgoing(t, "GET", signed, ""), "")
	}
	refused := func(t *testing.T, r *http.Request, at time.Time, want, says string) {
		t.Helper()
		_, err := Verifier{}.Verify(r, nil, ring(testKey), at)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Name != want || !strings.Contains(refusal.Message, says) {
			t.Errorf("err = %v, want %s saying %q", err, want, says)
		}
	}
	for _, key := range []account.Key{testKey, session} {
		res, err := Verifier{}.Verify(presign(t, key, "3600"), nil, ring(key), now.Add(59*time.Minute))
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if !res.Presigned || res.Account != testKey.Account {
			t.Errorf("result = %+v", res)
		}
	}
	refused(t, presign(t, testKey, "60"), now.Add(61*time.Second), "InvalidSignatureException", "Signature expired")
	refused(t, presign(t, testKey, "60"), now.Add(-16*time.Minute), "InvalidSignatureException", "not yet current")
	refused(t, presign(t, testKey, "0"), now, "IncompleteSignatureException", "X-Amz-Expires")
	refused(t, presign(t, testKey, "604801"), now, "IncompleteSignatureException", "X-Amz-Expires")

	longer := presign(t, testKey, "60")
	longer.RequestURI = strings.Replace(longer.RequestURI, "X-Amz-Expires=60", "X-Amz-Expires=600", 1)
	refused(t, longer, now, "InvalidSignatureException", "does not match")

	twice := presign(t, testKey, "60")
	twice.RequestURI += "&X-Amz-Date=" + url.QueryEscape("20260105T101500Z")
	refused(t, twice, now, "IncompleteSignatureException", "exactly one 'X-Amz-Date'")
}

// A body of a chunked request has no Content-Length header on the server's side.
func TestContentLengthOfChunkedBody(t *testing.T) {
	r := outgoing(t, "POST", "http://h/meetings", "{}")
	signV2(t, r, "{}", testKey, "chime", "us-east-1", now)
	if !strings.Contains(r.Header.Get("Authorization"), "content-length") {
		t.Fatal("the signer did not sign content-length: the test proves nothing")
	}
	in := received(t, r, "{}")
	in.Header.Del("Content-Length")
	if _, err := (Verifier{}).Verify(in, []byte("{}"), ring(testKey), now); err != nil {
		t.Errorf("refused: %v", err)
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20260105/us-east-1/chime/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0", 64))
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=;,Signature==")
	f.Add("AWS4-HMAC-SHA256")
	f.Add("Basic Og==")
	f.Fuzz(func(t *testing.T, value string) {
		sig, err := parseAuthorization(value)
		if err != nil {
			if sig != nil && err == nil {
				t.Fatal("both a signature and an error")
			}
			return
		}
		if sig.accessKeyID == "" || len(sig.signedHeaders) == 0 || len(sig.signature) != 64 || len(sig.signedHeaders) > maxSignedHeaders {
			t.Fatalf("accepted %q as %+v", value, sig)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("/meetings/%zz?a=%&b", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLEEXAMPLE00/20260105/us-east-1/chime/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64), "20260105T101500Z")
	f.Add("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/e&X-Amz-Date=20260105T101500Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature="+strings.Repeat("0", 64), "", "")
	f.Fuzz(func(t *testing.T, target, authorization, date string) {
		r := &http.Request{Method: "GET", RequestURI: target, URL: &url.URL{}, Host: "h", Header: http.Header{}}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if date != "" {
			r.Header.Set("X-Amz-Date", date)
		}
		if _, err := (Verifier{}).Verify(r, nil, ring(testKey), now); err == nil {
			t.Fatalf("verified %q with %q", target, authorization)
		}
	})
}

// When it cannot be known whether there is such a key, that is no refusal.
func TestKeysThatCannotBeLookedUp(t *testing.T) {
	r := outgoing(t, "GET", "http://h/meetings", "")
	signV2(t, r, "", testKey, "chime", "us-east-1", now)
	broken := errors.New("the store is away")
	_, err := Verifier{}.Verify(received(t, r, ""), nil, func(string) (account.Key, error) { return account.Key{}, broken }, now)
	var refusal *Error
	if !errors.Is(err, broken) || errors.As(err, &refusal) {
		t.Errorf("err = %v", err)
	}
}
