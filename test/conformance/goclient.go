//lint:file-ignore SA1019 The first Go SDK is deprecated and still a client in the field.

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	awsv2 "github.com/aws/aws-sdk-go-v2/aws"
	credentialsv2 "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/chime"
	meetingsv1 "github.com/aws/aws-sdk-go/service/chimesdkmeetings"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// goClient calls methods of a Go SDK's client by their name. Inputs and outputs
// have the members' names, so JSON carries them over.
type goClient struct {
	value   reflect.Value
	v2      bool
	version string
}

func goV1Chime(_ context.Context, _ *builder, _ kind, target Target) (client, error) {
	s, err := v1Session(target)
	return goClient{value: reflect.ValueOf(chime.New(s)), version: aws.SDKVersion}, err
}

func goV1Meetings(_ context.Context, _ *builder, _ kind, target Target) (client, error) {
	s, err := v1Session(target)
	return goClient{value: reflect.ValueOf(meetingsv1.New(s)), version: aws.SDKVersion}, err
}

func v1Session(target Target) (*session.Session, error) {
	return session.NewSession(&aws.Config{
		Endpoint: &target.Endpoint, Region: &target.Region, MaxRetries: aws.Int(0),
		Logger:      aws.LoggerFunc(func(...any) {}), // it says at each call that it is deprecated
		Credentials: credentials.NewStaticCredentials(target.AccessKeyID, target.Secret, target.Session),
	})
}

func goV2Meetings(_ context.Context, b *builder, _ kind, target Target) (client, error) {
	return goClient{v2: true, version: moduleVersion(b, "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"),
		value: reflect.ValueOf(chimesdkmeetings.New(chimesdkmeetings.Options{
			BaseEndpoint: &target.Endpoint, Region: target.Region, RetryMaxAttempts: 1,
			Credentials: awsv2.NewCredentialsCache(credentialsv2.NewStaticCredentialsProvider(target.AccessKeyID, target.Secret, target.Session)),
		}))}, nil
}

// moduleVersion is what go.mod says; test binaries do not know it.
func moduleVersion(b *builder, path string) string {
	raw, err := os.ReadFile(filepath.Join(b.dir, "..", "..", "go.mod"))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == path {
			return strings.TrimPrefix(f[1], "v")
		}
	}
	return "unknown"
}

func (c goClient) about() about {
	a := about{Version: c.version}
	for _, name := range operations {
		if c.value.MethodByName(name).IsValid() {
			a.Operations = append(a.Operations, name)
		}
	}
	return a
}

func (c goClient) call(operation string, params map[string]any) (answer, error) {
	method := c.value.MethodByName(operation)
	first := 0
	if c.v2 {
		first = 1
	}
	input := reflect.New(method.Type().In(first).Elem())
	raw, err := json.Marshal(params)
	if err != nil {
		return answer{}, err
	}
	if err := json.Unmarshal(raw, input.Interface()); err != nil {
		return answer{}, err
	}
	args := []reflect.Value{input}
	if c.v2 {
		args = []reflect.Value{reflect.ValueOf(context.Background()), input}
	}
	out := method.Call(args)
	if err, failed := out[1].Interface().(error); failed {
		return goError(err)
	}
	a := answer{}
	if raw, err = json.Marshal(out[0].Interface()); err != nil {
		return answer{}, err
	}
	return a, json.Unmarshal(raw, &a.Result)
}

func goError(err error) (answer, error) {
	var v1 awserr.RequestFailure
	if errors.As(err, &v1) {
		return answer{Status: v1.StatusCode(), Code: v1.Code(), Message: v1.Message(), Class: fmt.Sprintf("%T", err), Request: v1.RequestID()}, nil
	}
	var v2 smithy.APIError
	var response *smithyhttp.ResponseError
	if errors.As(err, &v2) && errors.As(err, &response) {
		return answer{Status: response.HTTPStatusCode(), Code: v2.ErrorCode(), Message: v2.ErrorMessage(), Class: fmt.Sprintf("%T", v2),
			Request: response.Response.Header.Get("X-Amzn-Requestid")}, nil
	}
	return answer{}, fmt.Errorf("failed without an answer: %w", err)
}

func (c goClient) close() error { return nil }
