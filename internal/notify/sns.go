package notify

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"

	"belfry/internal/meeting"
)

// topics sends to SNS topics.
type topics struct {
	clients clients[*sns.Client]
	single  cache[place, struct{}] // that know no PublishBatch
}

// Topics sends to SNS topics by their ARN: the envelope is the Message.
func Topics(a AWS) BatchSender {
	return &topics{clients: clients[*sns.Client]{
		aws: a, kind: meeting.TargetSNS, make: func(c aws.Config) *sns.Client {
			return sns.NewFromConfig(c, func(o *sns.Options) {
				o.BaseEndpoint = c.BaseEndpoint // the SDK has looked for one where we did, by itself
			})
		},
	}}
}

// topic is a topic and how to reach it.
type topic struct {
	at     place
	client *sns.Client
	fifo   bool
}

func (t *topics) find(ctx context.Context, address string) (one topic, err error) {
	client, name, at, err := t.clients.of(ctx, address)
	if err != nil {
		return one, err
	}
	return topic{at, client, isFIFO(name.resource)}, nil
}

func (t *topics) Send(ctx context.Context, address string, m Message) error {
	to, err := t.find(ctx, address)
	if err != nil {
		return err
	}
	in := &sns.PublishInput{TopicArn: &address, Message: aws.String(string(m.Body))}
	if to.fifo {
		in.MessageGroupId, in.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
	}
	if _, err := to.client.Publish(ctx, in); err != nil {
		return fmt.Errorf("publish to the topic: %w", err)
	}
	return nil
}

// BatchSize implements BatchSender.
func (t *topics) BatchSize() int { return maxBatch }

// SendBatch implements BatchSender.
func (t *topics) SendBatch(ctx context.Context, address string, list []Message) []error {
	to, err := t.find(ctx, address)
	if err != nil {
		return all(len(list), err)
	}
	if _, ok := t.single.get(to.at); ok || sizeOf(list) > maxBatchBytes {
		return oneByOne(ctx, t, address, list)
	}
	in := &sns.PublishBatchInput{TopicArn: &address}
	for i, m := range list {
		entry := snstypes.PublishBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), Message: aws.String(string(m.Body))}
		if to.fifo {
			entry.MessageGroupId, entry.MessageDeduplicationId = &m.Event.MeetingID, &m.Event.ID
		}
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, entry)
	}
	out, err := to.client.PublishBatch(ctx, in)
	if err != nil {
		if isUnknown(err) {
			t.single.put(to.at, struct{}{})
			return oneByOne(ctx, t, address, list)
		}
		return all(len(list), fmt.Errorf("publish to the topic: %w", err))
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
