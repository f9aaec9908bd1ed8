//lint:file-ignore SA1019 The first Go SDK is deprecated and still a client in the field.

package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

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

// answer is what a program that uses the SDK gets to see of one call.
type answer struct {
	Status  int            `json:"status"` // 0 where the client does not tell
	Result  map[string]any `json:"result"`
	Code    string         `json:"code"` // the error's name, "" for success
	Message string         `json:"message"`
	Typed   string         `json:"typed"` // the class of the error
}

// client calls operations through one AWS client.
type client interface {
	call(t *testing.T, operation string, params map[string]any) answer
}

// keys are what a client signs with.
type keys struct{ id, secret string }

// clients lists every kind, with the API it speaks: the older one is "chime".
var clients = []struct {
	name, api string
	new       func(t *testing.T, endpoint string, k keys) client
}{
	{"aws-sdk-go v1 chime", "chime", newGoV1Chime},
	{"aws-sdk-go v1 chimesdkmeetings", "chime-sdk-meetings", newGoV1Meetings},
	{"aws-sdk-go-v2 chimesdkmeetings", "chime-sdk-meetings", newGoV2Meetings},
	{"boto3 chime", "chime", process("python3", "clients/boto3_client.py", "chime")},
	{"boto3 chime-sdk-meetings", "chime-sdk-meetings", process("python3", "clients/boto3_client.py", "chime-sdk-meetings")},
	{"JavaScript v3 client-chime-sdk-meetings", "chime-sdk-meetings", process("node", "clients/js_client.mjs", "@aws-sdk/client-chime-sdk-meetings")},
	{"AWS CLI chime", "chime", newCLI("chime")},
	{"AWS CLI chime-sdk-meetings", "chime-sdk-meetings", newCLI("chime-sdk-meetings")},
}

// goClient calls methods of a Go SDK's client by their name. Inputs and outputs
// have the members' names, so JSON carries them over.
type goClient struct {
	value reflect.Value
	v2    bool
}

func newGoV1Chime(t *testing.T, endpoint string, k keys) client {
	return goClient{value: reflect.ValueOf(chime.New(v1Session(t, endpoint, k)))}
}

func newGoV1Meetings(t *testing.T, endpoint string, k keys) client {
	return goClient{value: reflect.ValueOf(meetingsv1.New(v1Session(t, endpoint, k)))}
}

func v1Session(t *testing.T, endpoint string, k keys) *session.Session {
	s, err := session.NewSession(&aws.Config{
		Endpoint: &endpoint, Region: aws.String("us-east-1"), MaxRetries: aws.Int(0),
		Credentials: credentials.NewStaticCredentials(k.id, k.secret, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newGoV2Meetings(_ *testing.T, endpoint string, k keys) client {
	return goClient{v2: true, value: reflect.ValueOf(chimesdkmeetings.New(chimesdkmeetings.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: awsv2.NewCredentialsCache(credentialsv2.NewStaticCredentialsProvider(k.id, k.secret, "")),
	}))}
}

func (c goClient) call(t *testing.T, operation string, params map[string]any) answer {
	t.Helper()
	method := c.value.MethodByName(operation)
	first := 0
	if c.v2 {
		first = 1
	}
	input := reflect.New(method.Type().In(first).Elem())
	raw, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, input.Interface()); err != nil {
		t.Fatal(err)
	}
	args := []reflect.Value{input}
	if c.v2 {
		args = []reflect.Value{reflect.ValueOf(context.Background()), input}
	}
	out := method.Call(args)
	if err, failed := out[1].Interface().(error); failed {
		return goError(t, err)
	}
	a := answer{Status: 0}
	if raw, err = json.Marshal(out[0].Interface()); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &a.Result); err != nil {
		t.Fatal(err)
	}
	return a
}

func goError(t *testing.T, err error) answer {
	t.Helper()
	var v1 awserr.RequestFailure
	if errors.As(err, &v1) {
		return answer{Status: v1.StatusCode(), Code: v1.Code(), Message: v1.Message(), Typed: fmt.Sprintf("%T", err)}
	}
	var v2 smithy.APIError
	var response *smithyhttp.ResponseError
	if errors.As(err, &v2) && errors.As(err, &response) {
		return answer{Status: response.HTTPStatusCode(), Code: v2.ErrorCode(), Message: v2.ErrorMessage(), Typed: fmt.Sprintf("%T", v2)}
	}
	t.Fatalf("the client failed without an answer: %v", err)
	return answer{}
}

// processClient speaks with a client in another language, a line a call.
type processClient struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func environment(k keys) []string {
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+k.id, "AWS_SECRET_ACCESS_KEY="+k.secret, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1", "NODE_NO_WARNINGS=1", "AWS_PAGER=")
}

func process(program, script, service string) func(*testing.T, string, keys) client {
	return func(t *testing.T, endpoint string, k keys) client {
		path := program
		if program == "python3" {
			path = "/usr/bin/python3" // Debian's, for which boto3 is packaged
		}
		cmd := exec.Command(path, script, service, endpoint)
		cmd.Env, cmd.Stderr = environment(k), os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v: scripts/test installs what this test needs", err)
		}
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", script, err)
			}
		})
		return processClient{in, bufio.NewReader(out)}
	}
}

func (c processClient) call(t *testing.T, operation string, params map[string]any) answer {
	t.Helper()
	line, err := json.Marshal(map[string]any{"operation": operation, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	reply, err := c.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the client ended: %v", err)
	}
	var a answer
	if err := json.Unmarshal(reply, &a); err != nil {
		t.Fatalf("%v: %s", err, reply)
	}
	return a
}

// cli runs the AWS CLI for each call.
type cli struct {
	service, endpoint string
	keys              keys
}

func newCLI(service string) func(*testing.T, string, keys) client {
	return func(_ *testing.T, endpoint string, k keys) client { return cli{service, endpoint, k} }
}

var (
	word     = regexp.MustCompile(`([a-z])([A-Z])`)
	cliError = regexp.MustCompile(`An error occurred \((\w+)\) when calling the \w+ operation[^:]*: (.*)`)
)

func (c cli) call(t *testing.T, operation string, params map[string]any) answer {
	t.Helper()
	input, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{c.service, strings.ToLower(word.ReplaceAllString(operation, "$1-$2")), "--endpoint-url", c.endpoint,
		"--no-paginate", "--no-cli-pager", "--output", "json", "--cli-input-json", string(input)}
	cmd := exec.Command("/usr/bin/aws", args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(environment(c.keys), "AWS_MAX_ATTEMPTS=1"), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		match := cliError.FindStringSubmatch(stderr.String())
		if match == nil {
			t.Fatalf("aws %s: %s", strings.Join(args[:2], " "), stderr.String())
		}
		if exit.ExitCode() != 254 {
			t.Errorf("aws exited with %d, want 254 for a refusal", exit.ExitCode())
		}
		return answer{Code: match[1], Message: match[2], Typed: "exit status 254"}
	case err != nil:
		t.Fatalf("%v: scripts/test installs what this test needs", err)
	}
	a := answer{}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &a.Result); err != nil {
			t.Fatalf("%v: %s", err, stdout.String())
		}
	}
	return a
}
