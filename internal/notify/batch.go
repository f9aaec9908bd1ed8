package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Of one request to SQS or SNS: the messages, and their bodies in all, of which
// older servers take no more.
const (
	maxBatch      = 10
	maxBatchBytes = 250 << 10
)

// errUnanswered is what a message failed with that the answer did not name.
var errUnanswered = errors.New("the answer says nothing of the message")

// answers are what became of the messages of a request. Their ids in it are
// their places, "0", "1" ….
type answers []error

func newAnswers(n int) answers { return all(n, errUnanswered) }

func (a answers) set(id *string, err error) {
	if id == nil {
		return
	}
	if i, bad := strconv.Atoi(*id); bad == nil && i >= 0 && i < len(a) {
		a[i] = err
	}
}

func (a answers) taken(id *string) { a.set(id, nil) }

func (a answers) refused(id, code, message *string) {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	a.set(id, fmt.Errorf("one message of several was refused: %s %s", text(code), text(message)))
}

// oneByOne sends without batches.
func oneByOne(ctx context.Context, s Sender, address string, list []Message) (errs []error) {
	for _, m := range list {
		errs = append(errs, s.Send(ctx, address, m))
	}
	return errs
}

func sizeOf(list []Message) (n int) {
	for _, m := range list {
		n += len(m.Body)
	}
	return n
}

// isUnknown reports whether a server does not know the operation it was asked
// for, as small emulators may not.
func isUnknown(err error) bool {
	var api interface{ ErrorCode() string }
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "InvalidAction", "UnknownOperationException", "UnknownOperation", "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation":
		return true
	}
	return false
}
