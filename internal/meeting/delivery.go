package meeting

import "time"

// TargetKind is what a Target is.
type TargetKind string

// The kinds of target that events are delivered to.
const (
	TargetSQS     TargetKind = "sqs"     // Address is the queue's ARN
	TargetSNS     TargetKind = "sns"     // Address is the topic's ARN
	TargetLambda  TargetKind = "lambda"  // Address is the function's ARN
	TargetWebhook TargetKind = "webhook" // Address is a URL of the settings
)

// Target is one place that a meeting's events go to.
type Target struct {
	Kind    TargetKind
	Address string
}

// Targets lists where the events go; each gets every one.
func (n Notifications) Targets() []Target {
	var list []Target
	if n.SQSQueueARN != "" {
		list = append(list, Target{TargetSQS, n.SQSQueueARN})
	}
	if n.SNSTopicARN != "" {
		list = append(list, Target{TargetSNS, n.SNSTopicARN})
	}
	if n.LambdaFunctionARN != "" {
		list = append(list, Target{TargetLambda, n.LambdaFunctionARN})
	}
	for _, url := range n.Webhooks {
		list = append(list, Target{TargetWebhook, url})
	}
	return list
}

// Delivery is how far one target is with the events of one meeting.
type Delivery struct {
	Target  Target
	Through uint64 // it has, or will never get, the events up to this Number
}

// DeadLetter is an event that a target did not take in time.
type DeadLetter struct {
	Seq      uint64 // given by the Store, never reused
	Target   Target
	Event    Event
	At       time.Time // when it was given up
	Attempts int       // tries of the process that gave it up
	Reason   string    // what the last try failed with
}
