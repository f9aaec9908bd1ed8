package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"belfry/internal/meeting"
)

// queues sends to SQS queues.
type queues struct {
	clients clients[*sqs.Client]
	urls    cache[string, string]  // by ARN
	single  cache[place, struct{}] // that know no SendMessageBatch
}

// Queues sends to SQS queues by their ARN: the body of a message is the
// envelope. In a FIFO queue a meeting is a group, and the event's id tells
// repetitions.
func Queues(a AWS) BatchSender {
	return &queues{clients: clients[*sqs.Client]{
		aws: a, kind: meeting.TargetSQS, make: func(c aws.Config) *sqs.Client {
			return sqs.NewFromConfig(c, func(o *sqs.Options) {
				o.BaseEndpoint = c.BaseEndpoint // the SDK has looked for one where we did, by itself
			})
		},
	}}
}

// queue is a queue that was looked up.
type queue struct {
	at     place
	client *sqs.Client
	url    string
	fifo   bool
}

func (q *queues) find(ctx context.Context, address string) (one queue, err error) {
	client, name, at, err := q.clients.of(ctx, address)
	if err != nil {
		return one, err
	}
	url, ok := q.urls.get(address)
	if !ok {
		if url, err = queueURL(ctx, client, name, at.endpoint); err != nil {
			return one, fmt.Errorf("look up the queue: %w", err)
		}
		q.urls.put(address, url)
	}
	return queue{at, client, url, isFIFO(name.resource)}, nil
}

// lost forgets the URL of a queue that is not there any more.
func (q *queues) lost(address string, err error) error {
	var gone *sqstypes.QueueDoesNotExist
	if errors.As(err, &gone) {
		q.urls.drop(address)
	}
	return fmt.Errorf("send to the queue: %w", err)
}

func (q *queues) Send(ctx context.Context, address string, m Message) error {
	to, err := q.find(ctx, address)
	if err != nil {
		return err
	}
	in := &sqs.SendMessageInput{QueueUrl: &to.url, MessageBody: aws.String(string(m.Body))}
	if to.fifo {
		in.MessageGroupId, in.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
	}
	if _, err = to.client.SendMessage(ctx, in); err != nil {
		return q.lost(address, err)
	}
	return nil
}

// BatchSize implements BatchSender.
func (q *queues) BatchSize() int { return maxBatch }

// SendBatch implements BatchSender.
func (q *queues) SendBatch(ctx context.Context, address string, list []Message) []error {
	to, err := q.find(ctx, address)
	if err != nil {
		return all(len(list), err)
	}
	if _, ok := q.single.get(to.at); ok || sizeOf(list) > maxBatchBytes {
		return oneByOne(ctx, q, address, list)
	}
	in := &sqs.SendMessageBatchInput{QueueUrl: &to.url}
	for i, m := range list {
		entry := sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(string(m.Body))}
		if to.fifo {
			entry.MessageGroupId, entry.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
		}
		in.Entries = append(in.Entries, entry)
	}
	out, err := to.client.SendMessageBatch(ctx, in)
	if err != nil {
		if isUnknown(err) {
			q.single.put(to.at, struct{}{})
			return oneByOne(ctx, q, address, list)
		}
		return all(len(list), q.lost(address, err))
	}
	a := newAnswers(len(list))
	for _, one := range out.Successful {
		a.taken(one.Id)
	}
	for _, one := range out.Failed {
		a.refused(one.Id, one.Code, one.Message)
	}
	return a
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
	switch {
	case err == nil && out.QueueUrl != nil:
		return *out.QueueUrl, nil
	case endpoint != "" && isUnknown(err):
		return strings.TrimSuffix(endpoint, "/") + "/" + name.account + "/" + name.resource, nil
	case err == nil:
		return "", errors.New("the answer has no URL")
	}
	return "", err
}
