package events

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	meetingtypes "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/notify"
	"belfry/internal/signaling/signaltest"
	"belfry/test/kit"
)

// server is a whole server that sends its events to an emulator.
func server(t *testing.T, e *emulator, change func(*config.Config)) *meetings.Client {
	t.Helper()
	t.Setenv("AWS_ENDPOINT_URL_SQS", e.URL)
	t.Setenv("AWS_ENDPOINT_URL_SNS", e.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "sender")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.Page, cfg.TURN = "127.0.0.1:0", t.TempDir(), "off", "never"
	cfg.TURNListen = "127.0.0.1:0"
	cfg.AccessKeyID, cfg.SecretAccessKey, cfg.RequestRate = "key", "secret", 0
	if change != nil {
		change(&cfg)
	}
	s, err := app.Start(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(kit.Within(t)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return meetings.NewFromConfig(aws.Config{Region: region, BaseEndpoint: aws.String(s.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
}

// life makes a meeting, an attendee, and deletes both.
func life(t *testing.T, c *meetings.Client, token string, to *meetingtypes.NotificationsConfiguration) (want []string) {
	t.Helper()
	m, err := c.CreateMeeting(t.Context(), &meetings.CreateMeetingInput{ClientRequestToken: &token, MediaRegion: aws.String(region),
		ExternalMeetingId: &token, NotificationsConfiguration: to})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.CreateAttendee(t.Context(), &meetings.CreateAttendeeInput{MeetingId: m.Meeting.MeetingId, ExternalUserId: aws.String("user")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteAttendee(t.Context(), &meetings.DeleteAttendeeInput{MeetingId: m.Meeting.MeetingId, AttendeeId: a.Attendee.AttendeeId}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteMeeting(t.Context(), &meetings.DeleteMeetingInput{MeetingId: m.Meeting.MeetingId}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"MeetingStarted", "AttendeeAdded " + *a.Attendee.AttendeeId, "AttendeeDeleted " + *a.Attendee.AttendeeId, "MeetingEnded"} {
		kind, attendee, _ := strings.Cut(what, " ")
		want = append(want, fmt.Sprint("chime:", kind, " ", *m.Meeting.MeetingId, " ", attendee))
	}
	return want
}

func check(t *testing.T, where string, got []envelope, want []string) {
	t.Helper()
	ids := map[string]bool{}
	for i, e := range got {
		line := fmt.Sprint(e.Detail.EventType, " ", e.Detail.MeetingID, " ", e.Detail.AttendeeID)
		if i >= len(want) || line != want[i] {
			t.Errorf("%s: event %d is %q; want in all %q", where, i+1, line, want)
		}
		if e.ID == "" || ids[e.ID] {
			t.Errorf("%s: event %d has the id %q, which is none or was there", where, i+1, e.ID)
		}
		ids[e.ID] = true
	}
}

func TestEveryKindOfTarget(t *testing.T) {
	e := startEmulator(t)
	posted := make(chan *http.Request, 10)
	bodies := make(chan []byte, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- r
		bodies <- body
	}))
	t.Cleanup(hook.Close)
	c := server(t, e, func(cfg *config.Config) {
		cfg.EventWebhooks, cfg.EventWebhookSecret = []string{hook.URL + "/events"}, "shared"
	})
	plain, fifo, behind := e.queue(t, "plain"), e.queue(t, "ordered.fifo"), e.queue(t, "behind")
	topic := e.topic(t, "topic", "behind")

	want := life(t, c, "first", &meetingtypes.NotificationsConfiguration{SqsQueueArn: aws.String(queueARN("plain")), SnsTopicArn: &topic})
	got, raw := e.await(t, plain, 4)
	check(t, "the queue", got, want)
	through, _ := e.await(t, behind, 4)
	check(t, "the topic's subscriber", through, want)
	for i := range got {
		if got[i].ID != through[i].ID {
			t.Errorf("event %d has the ids %q and %q", i+1, got[i].ID, through[i].ID)
		}
		r, body := <-posted, <-bodies
		if string(body) != *raw[i].Body {
			t.Errorf("the webhook got %s, the queue %s", body, *raw[i].Body)
		}
		if r.Header.Get(notify.HeaderEventID) != got[i].ID || r.Header.Get(notify.HeaderNumber) != fmt.Sprint(i+1) || r.URL.Path != "/events" {
			t.Errorf("the webhook got %s with %v", r.URL, r.Header)
		}
		signature := r.Header.Get(notify.HeaderSignature)
		stamp, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
		mac := hmac.New(sha256.New, []byte("shared"))
		fmt.Fprintf(mac, "%s.%s", stamp, body)
		if want := fmt.Sprintf("t=%s,v1=%x", stamp, mac.Sum(nil)); signature != want {
			t.Errorf("the webhook's signature is %q, want %q", signature, want)
		}
	}

	want = life(t, c, "second", &meetingtypes.NotificationsConfiguration{SqsQueueArn: aws.String(queueARN("ordered.fifo"))})
	got, raw = e.await(t, fifo, 4)
	check(t, "the FIFO queue", got, want)
	for i, m := range raw {
		if m.Attributes["MessageGroupId"] != got[i].Detail.MeetingID || m.Attributes["MessageDeduplicationId"] != got[i].ID {
			t.Errorf("message %d of the FIFO queue has the attributes %v", i+1, m.Attributes)
		}
	}
}

// What signaling sees of an attendee arrives too.
func TestPresence(t *testing.T) {
	e := startEmulator(t)
	c := server(t, e, nil)
	queue := e.queue(t, "presence")
	m, err := c.CreateMeeting(t.Context(), &meetings.CreateMeetingInput{ClientRequestToken: aws.String("presence"), MediaRegion: aws.String(region),
		ExternalMeetingId: aws.String("presence"), NotificationsConfiguration: &meetingtypes.NotificationsConfiguration{SqsQueueArn: aws.String(queueARN("presence"))}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.CreateAttendee(t.Context(), &meetings.CreateAttendeeInput{MeetingId: m.Meeting.MeetingId, ExternalUserId: aws.String("user")})
	if err != nil {
		t.Fatal(err)
	}
	ctx := kit.Within(t)
	socket, err := signaltest.Dial(ctx, *m.Meeting.MediaPlacement.SignalingUrl, *a.Attendee.JoinToken, signaltest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, _, err := socket.Join(ctx, 1); err != nil {
		t.Fatal(err)
	}
	got, _ := e.await(t, queue, 3)
	id := *m.Meeting.MeetingId
	check(t, "the queue", got, []string{"chime:MeetingStarted " + id + " ", "chime:AttendeeAdded " + id + " " + *a.Attendee.AttendeeId,
		"chime:AttendeeAuthorized " + id + " " + *a.Attendee.AttendeeId})
}

// The targets are missing when the meeting is created, and away when it ends.
func TestTargetsComeLater(t *testing.T) {
	e := startEmulator(t)
	c := server(t, e, nil)
	e.shut.Store(true)
	to := &meetingtypes.NotificationsConfiguration{SqsQueueArn: aws.String(queueARN("late"))}
	want := life(t, c, "away", to)
	e.shut.Store(false)
	late := e.queue(t, "late")
	got, _ := e.await(t, late, 4)
	check(t, "after the emulator was away", got, want)

	if _, err := e.sqs.DeleteQueue(context.Background(), deleteQueue(late)); err != nil {
		t.Fatal(err)
	}
	want = life(t, c, "gone", to)
	again := e.queue(t, "late")
	got, _ = e.await(t, again, 4)
	check(t, "after the queue was gone", got, want)
}
