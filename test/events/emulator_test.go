// Package events delivers to a real emulator of SQS and SNS, in a process of its
// own, and counts what arrives when the deliverer is killed and the emulator is
// away.
package events

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"belfry/test/kit"
)

const (
	region  = "us-east-1"
	account = "000000000000" // of everything in the emulator
)

func queueARN(name string) string { return "arn:aws:sqs:" + region + ":" + account + ":" + name }

// emulator is a running emulator. URL goes through a door that can be shut.
type emulator struct {
	URL  string
	shut atomic.Bool
	sqs  *sqs.Client // these do not
	sns  *sns.Client

	mu    sync.Mutex
	asked map[string]int // requests through the door, by operation
}

// note counts a request by its operation.
func (e *emulator) note(r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if operation == "" {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		operation = form.Get("Action")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked[operation]++
}

func startEmulator(t *testing.T) *emulator {
	t.Helper()
	if _, err := os.Stat("node_modules/fauxqs"); err != nil {
		t.Fatal("the emulator is not installed: run npm ci in test/events, or scripts/test system")
	}
	cmd := exec.Command("node", "fauxqs.mjs")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	defer time.AfterFunc(kit.Patience, func() { cmd.Process.Kill() }).Stop()
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the emulator did not start: %v", err)
	}
	direct := "http://127.0.0.1:" + strings.TrimSpace(port)
	to, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	e := &emulator{asked: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0), // clients are killed
	}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.shut.Load() {
			panic(http.ErrAbortHandler)
		}
		e.note(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	e.URL = door.URL
	cfg := aws.Config{Region: region, BaseEndpoint: &direct, Credentials: credentials.NewStaticCredentialsProvider("x", "x", ""),
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	e.sqs, e.sns = sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg)
	return e
}

// queue makes a queue and returns its URL.
func (e *emulator) queue(t *testing.T, name string) string {
	t.Helper()
	// What was in an answer that did not reach us comes back soon.
	in := &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"VisibilityTimeout": "2"}}
	if strings.HasSuffix(name, ".fifo") {
		in.Attributes["FifoQueue"] = "true"
	}
	out, err := e.sqs.CreateQueue(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.QueueUrl
}

// topic makes a topic with a queue as its subscriber.
func (e *emulator) topic(t *testing.T, name, subscriber string) (arn string) {
	t.Helper()
	out, err := e.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.sns.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: out.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(queueARN(subscriber))})
	if err != nil {
		t.Fatal(err)
	}
	return *out.TopicArn
}

// envelope is what the tests read of an event.
type envelope struct {
	ID     string
	Source string
	Detail struct {
		EventType, MeetingID, AttendeeID  string
		ExternalMeetingID, ExternalUserID string
	}
}

// receive takes what is in a queue off it, at most ten. An answer that is cut
// off gives none.
func (e *emulator) receive(ctx context.Context, t *testing.T, queueURL string) (messages []types.Message) {
	t.Helper()
	out, err := e.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MaxNumberOfMessages: 10,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}})
	if err != nil {
		t.Logf("receiving: %v", err)
		return nil
	}
	var batch []types.DeleteMessageBatchRequestEntry
	for _, m := range out.Messages {
		batch = append(batch, types.DeleteMessageBatchRequestEntry{Id: m.MessageId, ReceiptHandle: m.ReceiptHandle})
	}
	if len(batch) > 0 {
		if _, err := e.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &queueURL, Entries: batch}); err != nil {
			t.Logf("deleting: %v", err) // they come again
		}
	}
	return out.Messages
}

// await receives n different messages, as the envelopes in their bodies, or in
// the wrapping of a topic.
func (e *emulator) await(t *testing.T, queueURL string, n int) (list []envelope, raw []types.Message) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute) // a try that failed may be a minute ago
	seen := map[string]bool{}
	for len(list) < n {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages came: %+v", len(list), n, list)
		}
		for _, m := range e.receive(t.Context(), t, queueURL) {
			if one := open(t, *m.Body); !seen[one.ID] {
				seen[one.ID] = true
				list, raw = append(list, one), append(raw, m)
			}
		}
	}
	return list, raw
}

func open(t *testing.T, body string) (e envelope) {
	t.Helper()
	var wrapper struct{ Type, Message string }
	if err := json.Unmarshal([]byte(body), &wrapper); err == nil && wrapper.Type == "Notification" {
		body = wrapper.Message
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Source != "aws.chime" {
		t.Fatalf("not an envelope (%v): %s", err, body)
	}
	return e
}

func deleteQueue(queueURL string) *sqs.DeleteQueueInput {
	return &sqs.DeleteQueueInput{QueueUrl: &queueURL}
}
