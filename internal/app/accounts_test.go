package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"
	"github.com/aws/smithy-go"

	"belfry/internal/config"
	"belfry/internal/control"
)

// once has a call made one time, and by the given path before the API's own.
func once(s *Server, path string) func(*chimesdkmeetings.Options) {
	return func(o *chimesdkmeetings.Options) {
		o.RetryMaxAttempts = 1
		o.BaseEndpoint = aws.String(s.URL() + path)
	}
}

func askForMeeting(ctx context.Context, c *chimesdkmeetings.Client, token string, opt func(*chimesdkmeetings.Options)) error {
	_, err := c.CreateMeeting(ctx, &chimesdkmeetings.CreateMeetingInput{
		ClientRequestToken: aws.String(token), ExternalMeetingId: aws.String("room"), MediaRegion: aws.String("us-east-1"),
	}, opt)
	return err
}

// errorName is what the API calls an error, "" for none.
func errorName(err error) string {
	var known smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return known.ErrorCode()
	}
	return err.Error()
}

// withCommands is settings for a server that the command line can reach: the path
// of its socket must be short.
func withCommands(t *testing.T) config.Config {
	cfg := settings(t)
	dir, err := os.MkdirTemp("", "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg.DataDir = dir
	return cfg
}

// told is what a command prints, with one space between words.
func told(t *testing.T, command func(out io.Writer) error) string {
	t.Helper()
	var out strings.Builder
	if err := command(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func TestActiveMeetingsOfAnAccount(t *testing.T) {
	cfg := withCommands(t)
	s := start(t, cfg, io.Discard)
	c := sdk(t, s)
	var wg sync.WaitGroup
	var made, refused, next atomic.Int32
	for range 16 {
		wg.Go(func() {
			for n := next.Add(1); n <= 300; n = next.Add(1) {
				err := askForMeeting(t.Context(), c, fmt.Sprint("room-", n), once(s, ""))
				var full *types.LimitExceededException
				switch {
				case err == nil:
					made.Add(1)
				case errors.As(err, &full):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if made.Load() != 250 || refused.Load() != 50 {
		t.Errorf("%d meetings were made and %d refused, want 250 and 50", made.Load(), refused.Load())
	}
	create := func(what, path, token, want string) {
		t.Helper()
		if got := errorName(askForMeeting(t.Context(), c, token, once(s, path))); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	set := func(quota, value string) string {
		return told(t, func(out io.Writer) error {
			return control.SetAccountQuotas(t.Context(), cfg.DataDir, cfg.Account, map[string]string{quota: value}, out)
		})
	}
	create("in the older API", "/chime", "more", "ResourceLimitExceededException")
	if got := set("active_meetings", "251"); !strings.Contains(got, "has 250 meetings") || !strings.Contains(got, "active_meetings 251 its own") {
		t.Errorf("setting the quota told %q", got)
	}
	create("after the quota was raised", "", "more", "")
	create("what is there", "", "more", "")
	create("and another", "", "still-more", "LimitExceededException")
	list := func() string {
		return told(t, func(out io.Writer) error { return control.ListAccounts(t.Context(), cfg.DataDir, out) })
	}
	if got, want := list(), cfg.Account+" 251 meetings active_meetings=251\n"; got != want {
		t.Errorf("the list is %q, want %q", got, want)
	}

	stopServer(t, s)
	s = start(t, cfg, io.Discard)
	create("after a restart", "", "still-more", "LimitExceededException")
	set("active_meetings", "252")
	create("after it was raised again", "", "still-more", "")
	got := told(t, func(out io.Writer) error {
		return control.ResetAccountQuotas(t.Context(), cfg.DataDir, cfg.Account, []string{"active_meetings"}, out)
	})
	if !strings.Contains(got, "active_meetings 250 settings") || list() != cfg.Account+" 252 meetings\n" {
		t.Errorf("resetting the quota told %q, and the list is %q", got, list())
	}
	create("after it was reset", "", "and-more", "LimitExceededException")

	for _, bad := range []struct{ account, quota, value, says string }{
		{"12", "max_videos", "3", `"12" is not an account: it has 12 digits`},
		{cfg.Account, "max_videos", "many", `max_videos: "many" is not a whole number`},
		{cfg.Account, "max_videos", "251", "max_videos: 251 is not between 1 and 250"},
		{cfg.Account, "max_vidoes", "3", `"max_vidoes" is not a quota: there are request_rate`},
	} {
		err := control.SetAccountQuotas(t.Context(), cfg.DataDir, bad.account, map[string]string{bad.quota: bad.value}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s=%s: %v, want it to say %q", bad.quota, bad.value, err, bad.says)
		}
	}
}

func TestRequestsOfAnAccount(t *testing.T) {
	cfg := withCommands(t)
	cfg.RequestRate = config.Default().RequestRate
	s := start(t, cfg, io.Discard)
	c := sdk(t, s)
	show := told(t, func(out io.Writer) error { return control.ShowAccount(t.Context(), cfg.DataDir, cfg.Account, out) })
	if !strings.Contains(show, "request_rate 10 settings") || !strings.Contains(show, "request_burst 20 settings") {
		t.Errorf("with nothing set: %q", show)
	}
	rate := func(value string) {
		t.Helper()
		told(t, func(out io.Writer) error {
			return control.SetAccountQuotas(t.Context(), cfg.DataDir, cfg.Account, map[string]string{"request_rate": value}, out)
		})
	}
	room, err := c.CreateMeeting(t.Context(), &chimesdkmeetings.CreateMeetingInput{ClientRequestToken: aws.String("room"),
		ExternalMeetingId: aws.String("room"), MediaRegion: aws.String("us-east-1")})
	if err != nil {
		t.Fatal(err)
	}
	rate("1") // so that no machine is too slow for a burst
	exhaust := func(operation, path, want string, call func(opt func(*chimesdkmeetings.Options)) error) {
		t.Helper()
		served := 0
		for range 1000 {
			if name := errorName(call(once(s, path))); name == want {
				break
			} else if name != "" {
				t.Fatalf("%s: %s", operation, name)
			}
			served++
		}
		if served < 19 || served == 1000 {
			t.Errorf("%s: the burst was of %d, want 20, less one for what was called before, and what the time adds", operation, served)
		}
	}
	exhaust("CreateMeeting", "", "ThrottlingException", func(opt func(*chimesdkmeetings.Options)) error {
		return askForMeeting(t.Context(), c, "room", opt)
	})
	if _, err := c.GetMeeting(t.Context(), &chimesdkmeetings.GetMeetingInput{MeetingId: room.Meeting.MeetingId}, once(s, "")); err != nil {
		t.Fatalf("another operation: %v", err)
	}
	exhaust("ListAttendees in the older API", "/chime", "ThrottledClientException", func(opt func(*chimesdkmeetings.Options)) error {
		_, err := c.ListAttendees(t.Context(), &chimesdkmeetings.ListAttendeesInput{MeetingId: room.Meeting.MeetingId}, opt)
		return err
	})
	rate("0")
	for range 50 {
		if err := askForMeeting(t.Context(), c, "room", once(s, "")); err != nil {
			t.Fatalf("without a limit: %v", err)
		}
	}
}

// The page is not held up when the account's applications use all they may.
func TestThePageHasRequestsOfItsOwn(t *testing.T) {
	cfg := withCommands(t)
	cfg.RequestRate, cfg.RequestBurst = 1, 1
	s := start(t, cfg, io.Discard)
	throttled := func() string {
		var lines []string
		for line := range strings.Lines(get(t, s.URL()+"/metrics")) {
			if strings.HasPrefix(line, "belfry_api_throttled_total") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	c := sdk(t, s)
	for n := 0; errorName(askForMeeting(t.Context(), c, "room", once(s, ""))) != "ThrottlingException"; n++ {
		if n == 1000 {
			t.Fatal("nothing is throttled")
		}
	}
	before := throttled()
	if !strings.Contains(before, `operation="CreateMeeting"`) {
		t.Errorf("the refusal is not counted: %q", before)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 5 {
		r, err := client.Post(s.URL()+"/meet/api/join", "application/json", strings.NewReader(`{"room":"quiet-harbour","name":"Ann"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("join %d was answered %s", i, r.Status)
		}
	}
	if after := throttled(); after != before {
		t.Errorf("the page was throttled:\n%s%s", before, after)
	}
}
