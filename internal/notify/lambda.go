package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"belfry/internal/meeting"
)

// functions invokes Lambda functions.
type functions struct {
	aws    AWS
	signer *v4.Signer
}

// Functions invokes Lambda functions by their ARN: the envelope is the payload.
// The invocation is asynchronous, so the function's service has the event when
// it answers 202, and what the function makes of it is not waited for.
func Functions(a AWS) Sender {
	if a.HTTP == nil {
		a.HTTP = newClient()
	}
	return &functions{aws: a, signer: v4.NewSigner()}
}

func (f *functions) Send(ctx context.Context, address string, m Message) error {
	name, err := parseARN(meeting.TargetLambda, address)
	if err != nil {
		return err
	}
	endpoint, err := f.aws.endpointOf(ctx, meeting.TargetLambda, address)
	if err != nil {
		return err
	}
	cfg, err := f.aws.config(ctx, name.region, endpoint)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, invokeURL(endpoint, name.region, address), bytes.NewReader(m.Body))
	if err != nil {
		return fmt.Errorf("invoke the function: %w", withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Invocation-Type", "Event")
	key, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("invoke the function: %w", err)
	}
	hash := sha256.Sum256(m.Body)
	if err := f.signer.SignHTTP(ctx, key, req, hex.EncodeToString(hash[:]), "lambda", name.region, time.Now()); err != nil {
		return fmt.Errorf("sign the invocation: %w", err)
	}
	res, err := cfg.HTTPClient.Do(req)
	if err != nil {
		return fmt.Errorf("invoke the function: %w", withoutURL(err))
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("invoke the function: %d %s %s", res.StatusCode, res.Header.Get("X-Amzn-ErrorType"), said)
	}
	return nil
}

// invokeURL is the URL of the API operation Invoke, in which the whole ARN is one
// escaped segment; endpoint "" is AWS itself.
func invokeURL(endpoint, region, address string) string {
	if endpoint == "" {
		endpoint = "https://lambda." + region + "." + suffixOf(address)
	}
	return strings.TrimSuffix(endpoint, "/") + "/2015-03-31/functions/" + url.QueryEscape(address) + "/invocations"
}

// suffixOf is the domain of the partition that an ARN names.
func suffixOf(address string) string {
	if strings.HasPrefix(address, "arn:aws-cn:") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}
