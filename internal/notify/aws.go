package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"belfry/internal/meeting"
)

// AWS is how queues, topics and functions are reached.
type AWS struct {
	Credentials aws.CredentialsProvider
	Endpoints   Endpoints
	HTTP        aws.HTTPClient // nil: one of its own
}

// maxCached bounds clients and queue URLs that are remembered.
const maxCached = 4096

// errARN is what an ARN that names nothing events can be sent to fails with.
var errARN = errors.New("the ARN is not one of a queue, topic or function, as its place says")

// arn is the parts of arn:partition:service:region:account:resource that count.
type arn struct{ region, account, resource string }

// parseARN reads an ARN of a service.
func parseARN(service meeting.TargetKind, text string) (arn, error) {
	p := strings.SplitN(text, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != string(service) || p[3] == "" || p[5] == "" {
		return arn{}, errARN
	}
	return arn{region: p[3], account: p[4], resource: p[5]}, nil
}

// isFIFO reports whether a queue or topic keeps the order of a group.
func isFIFO(name string) bool { return strings.HasSuffix(name, ".fifo") }

// endpointOf is where a target is; "" is AWS itself.
func (a AWS) endpointOf(ctx context.Context, kind meeting.TargetKind, address string) (string, error) {
	var profile func(string) (string, error)
	if c, ok := a.Credentials.(*chain); ok {
		profile = func(sdkID string) (string, error) { return c.endpoint(ctx, sdkID) }
	}
	return a.Endpoints.of(kind, address, profile)
}

// config is what the SDK's clients are made with. One try is one request: the
// worker tries again, and knows when.
func (a AWS) config(ctx context.Context, region, endpoint string) (aws.Config, error) {
	c := aws.Config{Credentials: a.Credentials}
	if chain, ok := a.Credentials.(*chain); ok {
		loaded, err := chain.load(ctx)
		if err != nil {
			return c, err
		}
		c = loaded.Copy()
		c.Credentials = chain // which says what is missing
	}
	c.Region, c.BaseEndpoint = region, nil
	c.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	if a.HTTP != nil {
		c.HTTPClient = a.HTTP
	}
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return c, nil
}

// cache remembers a few thousand values, and begins anew when there are more.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[k]
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCached {
		c.m = map[K]V{}
	}
	c.m[k] = v
}

func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}

type place struct{ region, endpoint string }

// queues sends to SQS queues.
type queues struct {
	aws     AWS
	clients cache[place, *sqs.Client]
	urls    cache[string, string] // by ARN
}

// Queues sends to SQS queues by their ARN: the body of a message is the
// envelope. In a FIFO queue a meeting is a group, and the event's id tells
// repetitions.
func Queues(a AWS) Sender { return &queues{aws: a} }

func (q *queues) Send(ctx context.Context, address string, m Message) error {
	name, err := parseARN(meeting.TargetSQS, address)
	if err != nil {
		return err
	}
	endpoint, err := q.aws.endpointOf(ctx, meeting.TargetSQS, address)
	if err != nil {
		return err
	}
	at := place{name.region, endpoint}
	client, ok := q.clients.get(at)
	if !ok {
		cfg, err := q.aws.config(ctx, name.region, endpoint)
		if err != nil {
			return err
		}
		client = sqs.NewFromConfig(cfg)
		q.clients.put(at, client)
	}
	url, ok := q.urls.get(address)
	if !ok {
		if url, err = queueURL(ctx, client, name, endpoint); err != nil {
			return fmt.Errorf("look up the queue: %w", err)
		}
		q.urls.put(address, url)
	}
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(string(m.Body))}
	if isFIFO(name.resource) {
		in.MessageGroupId, in.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
	}
	if _, err = client.SendMessage(ctx, in); err != nil {
		var gone *sqstypes.QueueDoesNotExist
		if errors.As(err, &gone) {
			q.urls.drop(address)
		}
		return fmt.Errorf("send to the queue: %w", err)
	}
	return nil
}

// queueURL asks for the URL, which is then used as it is: some servers compare
// it letter by letter. A server that does not know the question gets what AWS
// would answer.
func queueURL(ctx context.Context, client *sqs.Client, name arn, endpoint string) (string, error) {
	in := &sqs.GetQueueUrlInput{QueueName: &name.resource}
	if name.account != "" {
		in.QueueOwnerAWSAccountId = &name.account
	}
	out, err := client.GetQueueUrl(ctx, in)
	var api interface{ ErrorCode() string }
	switch {
	case err == nil && out.QueueUrl != nil:
		return *out.QueueUrl, nil
	case endpoint != "" && errors.As(err, &api) && (api.ErrorCode() == "InvalidAction" || api.ErrorCode() == "UnknownOperationException"):
		return strings.TrimSuffix(endpoint, "/") + "/" + name.account + "/" + name.resource, nil
	case err == nil:
		return "", errors.New("the answer has no URL")
	}
	return "", err
}

// topics sends to SNS topics.
type topics struct {
	aws     AWS
	clients cache[place, *sns.Client]
}

// Topics sends to SNS topics by their ARN: the envelope is the Message.
func Topics(a AWS) Sender { return &topics{aws: a} }

func (t *topics) Send(ctx context.Context, address string, m Message) error {
	name, err := parseARN(meeting.TargetSNS, address)
	if err != nil {
		return err
	}
	endpoint, err := t.aws.endpointOf(ctx, meeting.TargetSNS, address)
	if err != nil {
		return err
	}
	at := place{name.region, endpoint}
	client, ok := t.clients.get(at)
	if !ok {
		cfg, err := t.aws.config(ctx, name.region, endpoint)
		if err != nil {
			return err
		}
		client = sns.NewFromConfig(cfg)
		t.clients.put(at, client)
	}
	in := &sns.PublishInput{TopicArn: &address, Message: aws.String(string(m.Body))}
	if isFIFO(name.resource) {
		in.MessageGroupId, in.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
	}
	if _, err := client.Publish(ctx, in); err != nil {
		return fmt.Errorf("publish to the topic: %w", err)
	}
	return nil
}
