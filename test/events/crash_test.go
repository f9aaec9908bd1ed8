package events

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"belfry/internal/meeting"
	"belfry/internal/notify"
	"belfry/internal/store/jetstream"
)

const (
	dirVariable   = "BELFRY_EVENTS_DIR" // set: this process writes and delivers, to be killed
	drainVariable = "BELFRY_EVENTS_DRAIN"
	rounds        = 8
	// snapshotEvery is few, so that kills meet snapshots too.
	snapshotEvery = 40
)

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := deliver(dir, os.Getenv(drainVariable) != ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// deliver is the process to be killed: it writes meetings for ever and delivers
// their events, and says on standard output which events it had written. To
// drain is to deliver alone, until nothing is left.
func deliver(dir string, drain bool) error {
	ctx := context.Background()
	store, err := jetstream.Open(ctx, jetstream.Config{Dir: dir, SnapshotMessages: snapshotEvery})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(e meeting.Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, "%s %s %d\n", e.ID, e.MeetingID, e.Number)
	}
	// Those that were written when there was no time left to say so.
	left := func() (n int) {
		_ = store.View(ctx, func(r meeting.Reader) error {
			for _, id := range r.Undelivered() {
				for _, e := range r.Events(id, 0, 1<<30) {
					say(e)
					n++
				}
			}
			return nil
		})
		return n
	}
	left()
	store.Watch(func(c meeting.Commit) {
		for _, ch := range c.Changes {
			if ch.Event != nil {
				say(*ch.Event)
			}
		}
	})
	aws := notify.AWS{Credentials: notify.Credentials(os.Getenv), Endpoints: notify.Endpoints{Getenv: os.Getenv}}
	n, err := notify.Start(ctx, notify.Config{
		Store: store, FirstRetry: 50 * time.Millisecond, MaxRetry: 200 * time.Millisecond,
		Senders: map[meeting.TargetKind]notify.Sender{meeting.TargetSQS: notify.Queues(aws), meeting.TargetSNS: notify.Topics(aws)},
	})
	if err != nil {
		return err
	}
	if drain {
		for deadline := time.Now().Add(6 * time.Minute); left() > 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("after six minutes events are undelivered")
			}
		}
		if err := n.Close(ctx); err != nil {
			return err
		}
		return store.Close()
	}
	failed := make(chan error, 3)
	svc := meeting.NewService(store, meeting.ServiceOptions{})
	for range 2 {
		go func() {
			for {
				if err := oneMeeting(svc); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	go func() {
		os.Stdin.Read(make([]byte, 1))
		failed <- fmt.Errorf("nobody listens")
	}()
	return <-failed
}

func oneMeeting(svc *meeting.Service) error {
	ctx := context.Background()
	in := meeting.NewMeeting{ClientRequestToken: fmt.Sprint(rand.Uint64())}
	in.Notifications = meeting.Notifications{SQSQueueARN: queueARN("plain"), SNSTopicARN: "arn:aws:sns:" + region + ":" + account + ":topic"}
	m, err := svc.CreateMeeting(ctx, account, in)
	if err != nil {
		return err
	}
	for i := range 6 {
		// The emulator is slower than the store.
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
		if _, err := svc.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	return svc.DeleteMeeting(ctx, account, m.ID)
}

// due is an event that must arrive.
type due struct {
	meeting string
	number  int
}

// run runs this program on dir until it ends, or for a while.
func run(t *testing.T, e *emulator, dir string, events map[string]due, drain bool, lives time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, "AWS_ENDPOINT_URL_SQS="+e.URL, "AWS_ENDPOINT_URL_SNS="+e.URL,
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")
	if drain {
		cmd.Env = append(cmd.Env, drainVariable+"=1")
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(8*time.Minute, func() { cmd.Process.Kill() }).Stop()
	lines := bufio.NewReader(stdout)
	for first := true; ; first = false {
		text, err := lines.ReadString('\n')
		if err != nil {
			break // a line without its end was not said
		}
		if first && !drain { // it lives for a while from its first event on
			defer time.AfterFunc(lives, func() { cmd.Process.Kill() }).Stop()
		}
		f := strings.Fields(text)
		number, err := strconv.Atoi(f[len(f)-1])
		if len(f) != 3 || err != nil {
			t.Fatalf("the process said %q", text)
		}
		events[f[0]] = due{f[1], number}
	}
	err = cmd.Wait()
	if killed := cmd.ProcessState.ExitCode() == -1; killed == drain {
		t.Fatalf("the process ended by itself or did not: %v: %s", err, &complaint)
	}
}

func TestNoEventIsLost(t *testing.T) {
	e := startEmulator(t)
	places := map[string]string{"queue": e.queue(t, "plain"), "topic": e.queue(t, "behind")}
	e.topic(t, "topic", "behind")
	dir, events := t.TempDir(), map[string]due{}
	for round := 0; round < rounds || len(events) < 20*rounds && round < 10*rounds; round++ { // more where little is written in their time
		before := len(events)
		lives := time.Duration(50+rand.IntN(600)) * time.Millisecond
		// In some rounds the emulator goes away, or comes back, in the middle.
		if round%3 == 1 {
			time.AfterFunc(lives/2, func() { e.shut.Store(true) })
		} else {
			time.AfterFunc(lives/2, func() { e.shut.Store(false) })
		}
		run(t, e, dir, events, false, lives)
		t.Logf("round %d: killed after %v, %d events written", round+1, lives, len(events)-before)
	}
	e.shut.Store(false)
	run(t, e, dir, events, true, 0)
	for place, queueURL := range places {
		reconcile(t, place, e.all(t, queueURL), events)
	}
	if len(events) < 20*rounds {
		t.Errorf("only %d events were written: the test proves little", len(events))
	}
}

// all empties a queue, in the order in which the messages were sent to it.
func (e *emulator) all(t *testing.T, queueURL string) (list []envelope) {
	t.Helper()
	for _, m := range e.drain(t, queueURL) {
		list = append(list, open(t, *m.Body))
	}
	return list
}

// drain is all with the messages as they are. Those of one millisecond are in
// the order in which they were received.
func (e *emulator) drain(t *testing.T, queueURL string) (came []types.Message) {
	t.Helper()
	known := map[string]bool{} // by the queue's own id: it may give a message twice
	empty := func() bool {
		out, err := e.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &queueURL, AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible}})
		if err != nil {
			t.Logf("looking at the queue: %v", err)
			return false
		}
		return out.Attributes["ApproximateNumberOfMessages"] == "0" && out.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
	}
	for deadline := time.Now().Add(5 * time.Minute); !empty(); {
		if time.Now().After(deadline) {
			t.Fatal("the queue does not get empty")
		}
		for _, m := range e.receive(t.Context(), t, queueURL) {
			if !known[*m.MessageId] {
				known[*m.MessageId] = true
				came = append(came, m)
			}
		}
	}
	slices.SortStableFunc(came, func(a, b types.Message) int {
		return strings.Compare(a.Attributes["SentTimestamp"], b.Attributes["SentTimestamp"])
	})
	return came
}

// reconcile holds what came against what was due.
func reconcile(t *testing.T, place string, came []envelope, events map[string]due) {
	t.Helper()
	seen, last, duplicated, unsaid := map[string]bool{}, map[string]int{}, 0, 0
	for _, one := range came {
		if seen[one.ID] {
			duplicated++
			continue
		}
		seen[one.ID] = true
		want, said := events[one.ID]
		if !said {
			unsaid++ // written, delivered, and killed before it could say so
			last[one.Detail.MeetingID]++
			continue
		}
		if want.meeting != one.Detail.MeetingID || want.number != last[want.meeting]+1 {
			t.Errorf("%s: event %d of meeting %s came after event %d", place, want.number, want.meeting, last[want.meeting])
		}
		last[want.meeting] = want.number
	}
	lost := 0
	for id, d := range events {
		if !seen[id] {
			lost++
			t.Errorf("%s: lost: event %d of meeting %s", place, d.number, d.meeting)
		}
	}
	t.Logf("%s: %d kills, events due %d, delivered %d, duplicated %d, lost %d (%d more were delivered by a process that had no time to say them)",
		place, rounds, len(events), len(seen)-unsaid, duplicated, lost, unsaid)
}
