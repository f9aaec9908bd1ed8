package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"belfry/internal/api"
	"belfry/internal/meeting"
)

// boto3More runs clients/boto3_more.py and reads its line into v.
func boto3More(t *testing.T, target Target, what, value string, v any) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "clients/boto3_more.py", target.Endpoint, what, value)
	for _, e := range environment(target) {
		if !strings.HasPrefix(e, "AWS_MAX_ATTEMPTS=") { // the client's own number is what is asked about
			cmd.Env = append(cmd.Env, e)
		}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A URL that boto3 signed is good for who has it, and for what it was signed for.
func TestURLsPresignedByBoto3(t *testing.T) {
	server := start(t)
	c, err := goV2Meetings(t.Context(), &builder{}, kind{}, server)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.call("CreateMeeting", map[string]any{"MediaRegion": "us-east-1", "ExternalMeetingId": "room"})
	if err != nil || made.Code != "" {
		t.Fatal(err, made.Code)
	}
	id := object(made.Result["Meeting"])["MeetingId"].(string)
	var urls []string
	boto3More(t, server, "presign", id, &urls)
	for _, url := range urls {
		for url, want := range map[string]int{url: 200, strings.Replace(url, id, id[1:]+"0", 1): 403} {
			res, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("a presigned URL answered %d, want %d", res.StatusCode, want)
			}
		}
	}
	if len(urls) != 2 {
		t.Errorf("%d URLs were signed, want one of each API", len(urls))
	}
}

// busyOnce throttles every other call.
type busyOnce struct {
	api.Meetings
	calls atomic.Int64
}

func (b *busyOnce) CreateAttendee(_ context.Context, _, _ string, in meeting.NewAttendee) (*meeting.Attendee, error) {
	if b.calls.Add(1)%2 == 1 {
		return nil, meeting.Errorf(meeting.CodeThrottled, "once more, please")
	}
	return &meeting.Attendee{ExternalUserID: in.ExternalUserID}, nil
}

// boto3 tries again what was throttled, and tells a program how long to wait for
// a server that is not available.
func TestBoto3WaitsAndTriesAgain(t *testing.T) {
	busy := &busyOnce{}
	var users []string
	boto3More(t, at(frontDoor(t, busy, nil)), "retried", "ann", &users)
	if strings.Join(users, " ") != "ann ann" || busy.calls.Load() != 4 {
		t.Errorf("two calls answered %v after %d requests, want 4", users, busy.calls.Load())
	}
	var seconds any
	boto3More(t, at(frontDoor(t, failing{}, nil)), "refused", string(meeting.CodeUnavailable), &seconds)
	if seconds != "1" && seconds != 1.0 {
		t.Errorf("RetryAfterSeconds is %v, want 1", seconds)
	}
}
