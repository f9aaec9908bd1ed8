package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Any region will do that has the form of one, unless those of AWS are asked for:
// then the older API is in one region alone.
func TestSigningRegions(t *testing.T) {
	everywhere, asAWS := start(t, nil), start(t, func(o *Options) { o.AWSRegionsOnly = true })
	for _, c := range []struct {
		prefix, region string
		onAWS          bool
	}{
		{asC, "us-east-1", true}, {asC, "eu-central-1", false}, {asC, "mars-1", false},
		{asM, "us-east-1", true}, {asM, "eu-central-1", true}, {asM, "us-gov-west-1", true}, {asM, "eu-north-1", false}, {asM, "mars-1", false},
		{"", "eu-central-1", true}, {"", "mars-1", false}, // either API may be meant
	} {
		for s, want := range map[*server]bool{everywhere: true, asAWS: c.onAWS} {
			status, name := get(t, s, c.prefix+"/meetings/"+unknownGUID, c.region)
			if want && status != 404 {
				t.Errorf("%q signed for %s answered %d %s, want 404", c.prefix, c.region, status, name)
			}
			if !want && (status != 403 || name != "InvalidSignatureException") {
				t.Errorf("%q signed for %s answered %d %s, want 403 InvalidSignatureException", c.prefix, c.region, status, name)
			}
		}
	}
	if status, name := get(t, everywhere, "/meetings", "not a region"); status != 403 {
		t.Errorf("a scope of a wrong form answered %d %s", status, name)
	}
}

// get signs for a region and returns status and error of the answer.
func get(t *testing.T, s *server, path, region string) (status int, name string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	none := sha256.Sum256(nil)
	keys := aws.Credentials{AccessKeyID: testKey.ID, SecretAccessKey: testKey.Secret.Reveal()}
	if err := v4.NewSigner().SignHTTP(context.Background(), keys, r, hex.EncodeToString(none[:]), "chime", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode, res.Header.Get("X-Amzn-ErrorType")
}
