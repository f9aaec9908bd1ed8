package events

import (
	"fmt"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	meetingtypes "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/config"
)

// What many meetings had to tell while the emulator was away goes out in requests
// that several share: to a queue, a FIFO queue and a topic.
func TestManyMeetingsAtOnce(t *testing.T) {
	e := startEmulator(t)
	c := server(t, e, func(cfg *config.Config) { cfg.RequestRate = 0 })
	plain, fifo, behind := e.queue(t, "plain"), e.queue(t, "ordered.fifo"), e.queue(t, "behind")
	topic := e.topic(t, "topic", "behind")
	e.shut.Store(true)
	const meetings = 15
	want := map[string]int{}
	order := map[string][]string{}
	for i := range meetings {
		for _, to := range []*meetingtypes.NotificationsConfiguration{
			{SqsQueueArn: aws.String(queueARN("plain")), SnsTopicArn: &topic},
			{SqsQueueArn: aws.String(queueARN("ordered.fifo"))},
		} {
			for _, line := range life(t, c, fmt.Sprint("many-", i, "-", to.SnsTopicArn != nil), to) {
				var kind, id string
				fmt.Sscan(line, &kind, &id)
				if to.SnsTopicArn != nil {
					want[line]++
				} else {
					order[id] = append(order[id], line)
				}
			}
		}
	}
	e.shut.Store(false)
	line := func(one envelope) string {
		return fmt.Sprint(one.Detail.EventType, " ", one.Detail.MeetingID, " ", one.Detail.AttendeeID)
	}
	for name, url := range map[string]string{"queue": plain, "topic": behind} {
		got := map[string]int{}
		list, _ := e.await(t, url, 4*meetings)
		for _, one := range list {
			got[line(one)]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("the %s got %v, want %v", name, got, want)
		}
	}
	list, raw := e.await(t, fifo, 4*meetings)
	for i, one := range list {
		id := one.Detail.MeetingID
		if len(order[id]) == 0 || order[id][0] != line(one) {
			t.Fatalf("the FIFO queue got %q, due are %q", line(one), order[id])
		}
		order[id] = order[id][1:]
		if raw[i].Attributes["MessageGroupId"] != id || raw[i].Attributes["MessageDeduplicationId"] != one.ID {
			t.Errorf("a message of %s has the attributes %v", id, raw[i].Attributes)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked["SendMessageBatch"] == 0 || e.asked["PublishBatch"] == 0 {
		t.Errorf("requests were %v, none of them with several events", e.asked)
	}
}
