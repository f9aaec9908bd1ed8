// Package storetest is the suite that every meeting.Store must pass. A store's
// own test calls Run with a way to open it; what only one store promises, such
// as outliving kill -9, is tested beside that store.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"belfry/internal/meeting"

	"github.com/google/go-cmp/cmp"
)

// Opener opens stores for the suite.
type Opener struct {
	// Open opens an empty store. The suite closes it.
	Open func(tb testing.TB) meeting.Store
	// Reopen closes a store and opens it again with what it kept; nil for a store
	// that keeps nothing.
	Reopen func(tb testing.TB, s meeting.Store) meeting.Store
}

// Run runs the suite.
func Run(t *testing.T, o Opener) {
	for name, test := range map[string]func(*testing.T, Opener){
		"Meetings":          testMeetings,
		"Attendees":         testAttendees,
		"Presence":          testPresence,
		"Events":            testEvents,
		"Deliveries":        testDeliveries,
		"DeadLetters":       testDeadLetters,
		"Settings":          testSettings,
		"StagedReads":       testStagedReads,
		"Atomic":            testAtomic,
		"Panic":             testPanic,
		"Misuse":            testMisuse,
		"Isolation":         testIsolation,
		"Watch":             testWatch,
		"WatchStops":        testWatchStops,
		"Concurrent":        testConcurrent,
		"OneTokenOneWinner": testOneToken,
		"EndedContext":      testEndedContext,
		"Closed":            testClosed,
		"Reopen":            testReopen,
		"Model":             testModel,
		"Linearizable":      testLinearizable,
		"LinearRestarts":    testLinearizableOverRestarts,
		"LinearPages":       testLinearizablePages,
	} {
		t.Run(name, func(t *testing.T) { test(t, o) })
	}
}

// reporter is what the checks need of a *testing.T or a *rapid.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func open(t *testing.T, o Opener) meeting.Store {
	t.Helper()
	s := o.Open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// epoch is when everything in the suite happens. It is of today, because events
// do not wait for delivery for ever, and has nanoseconds, which must be kept.
var epoch = time.Now().UTC().Truncate(time.Minute).Add(123456789)

const account = "123456789012"

// id makes the n-th GUID of a kind.
func id(kind byte, n int) string {
	return fmt.Sprintf("%02x000000-0000-4000-8000-%012x", kind, n)
}

func newMeeting(n int) *meeting.Meeting {
	return &meeting.Meeting{
		ID: id('m', n), Account: account, ControlRegion: "eu-central-1",
		ClientRequestToken: fmt.Sprintf("token-%d", n), ExternalMeetingID: fmt.Sprintf("«é» %d", n),
		MediaRegion: "eu-west-1", CreatedAt: epoch,
	}
}

// fullMeeting has every member set.
func fullMeeting(n int) *meeting.Meeting {
	m := newMeeting(n)
	m.HostID, m.NetworkType, m.TenantIDs = "host", "DualStack", []string{"t1", "t2"}
	m.Features = &meeting.Features{AudioEchoReduction: "AVAILABLE", VideoMaxResolution: "FHD",
		ContentMaxResolution: "UHD", AttendeeMaxCount: 25}
	m.Notifications = meeting.Notifications{SNSTopicARN: "arn:sns", SQSQueueARN: "arn:sqs", LambdaFunctionARN: "arn:lambda"}
	m.Tags = []meeting.Tag{{Key: "k", Value: "v"}, {Key: "empty"}}
	return m
}

func newAttendee(meetingN, n int) *meeting.Attendee {
	return &meeting.Attendee{
		ID: id('a', n), MeetingID: id('m', meetingN), ExternalUserID: fmt.Sprintf("user#%d", n),
		JoinToken:    meeting.Secret(fmt.Sprintf("secret-%d", n)),
		Capabilities: meeting.Capabilities{Audio: meeting.Send, Video: meeting.Receive, Content: meeting.NoMedia},
		Tags:         []meeting.Tag{{Key: "team", Value: "a"}},
		CreatedAt:    epoch,
	}
}

func update(t reporter, s meeting.Store, fn func(meeting.Tx)) {
	t.Helper()
	err := s.Update(context.Background(), func(tx meeting.Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t reporter, s meeting.Store, fn func(meeting.Reader)) {
	t.Helper()
	err := s.View(context.Background(), func(r meeting.Reader) error { fn(r); return nil })
	if err != nil {
		t.Fatalf("view: %v", err)
	}
}

// everywhere checks what a transaction sees of its own writes and what a view
// sees of them afterwards.
func everywhere(t *testing.T, s meeting.Store, write func(meeting.Tx), check func(t *testing.T, r meeting.Reader)) {
	t.Helper()
	update(t, s, func(tx meeting.Tx) { write(tx); check(t, tx) })
	view(t, s, func(r meeting.Reader) { check(t, r) })
	update(t, s, func(tx meeting.Tx) { check(t, tx) })
}

func equal(t reporter, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b meeting.Secret) bool { return a.Reveal() == b.Reveal() })); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func meetingIDs(ms []*meeting.Meeting) []string {
	out := []string{}
	for _, m := range ms {
		out = append(out, m.ID)
	}
	return out
}

func attendeeIDs(as []*meeting.Attendee) []string {
	out := []string{}
	for _, a := range as {
		out = append(out, a.ID)
	}
	return out
}
