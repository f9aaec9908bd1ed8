package app

import (
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
	"belfry/test/kit"
)

// Somebody in a meeting loses what the API takes away, and regains it.
func TestCapabilitiesReachLiveClients(t *testing.T) {
	s := start(t, settings(t), io.Discard)
	api := sdk(t, s)
	meetingID, url, token := populate(t, s)
	bob, err := api.CreateAttendee(t.Context(), &chimesdkmeetings.CreateAttendeeInput{MeetingId: &meetingID, ExternalUserId: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	list, err := api.ListAttendees(t.Context(), &chimesdkmeetings.ListAttendeesInput{MeetingId: &meetingID})
	if err != nil {
		t.Fatal(err)
	}
	annID := list.Attendees[0].AttendeeId

	ctx := kit.Within(t)
	web := &http.Transport{}
	defer web.CloseIdleConnections()
	join := func(token string) (*signaltest.Client, *signaltest.Frame) {
		t.Helper()
		c, err := signaltest.Dial(ctx, url, token, signaltest.Options{HTTPClient: &http.Client{Transport: web}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		_, index, err := c.Join(ctx, 1)
		if err != nil {
			return c, nil
		}
		return c, index
	}
	atCapacity := func(who string, c *signaltest.Client, want bool) {
		t.Helper()
		_, err := c.Await(ctx, func(f *signaltest.Frame) bool {
			return f.GetType() == signalpb.SdkSignalFrame_INDEX && f.GetIndex().GetAtCapacity() == want
		})
		if err != nil {
			t.Fatalf("no INDEX told %s that at_capacity is %t: %v", who, want, err)
		}
	}
	all := types.MediaCapabilitiesSendReceive
	allow := func(video, content types.MediaCapabilities) {
		t.Helper()
		got, err := api.UpdateAttendeeCapabilities(ctx, &chimesdkmeetings.UpdateAttendeeCapabilitiesInput{
			MeetingId: &meetingID, AttendeeId: annID,
			Capabilities: &types.AttendeeCapabilities{Audio: all, Video: video, Content: content},
		})
		if err != nil || got.Attendee.Capabilities.Video != video || got.Attendee.Capabilities.Content != content {
			t.Fatalf("UpdateAttendeeCapabilities: %v, %v", got, err)
		}
	}

	ann, index := join(token.Reveal())
	if index == nil || index.GetIndex().GetAtCapacity() {
		t.Fatalf("ann's first INDEX is %v", index)
	}
	bobs, _ := join(*bob.Attendee.JoinToken)
	share, index := join(token.Reveal() + "#content")
	if index == nil {
		t.Fatal("ann cannot share")
	}

	allow(types.MediaCapabilitiesReceive, types.MediaCapabilitiesReceive)
	if f, err := ann.Await(ctx, func(f *signaltest.Frame) bool { return f.GetError() != nil }); err != nil || f.GetError().GetStatus() != 206 {
		t.Errorf("ann was told %v, %v, want the status 206", f, err)
	}
	atCapacity("ann", ann, true)
	if f, err := share.AwaitType(ctx, signalpb.SdkSignalFrame_AUDIO_STATUS); err != nil || f.GetAudioStatus().GetAudioStatus() != 403 {
		t.Errorf("the share was told %v, %v, want the audio status 403", f, err)
	}
	if _, index := join(token.Reveal() + "#content"); index != nil {
		t.Error("ann can share without the right to")
	}

	allow(all, all)
	atCapacity("ann", ann, false)
	if _, index := join(token.Reveal() + "#content"); index == nil {
		t.Error("ann cannot share again")
	}

	_, err = api.BatchUpdateAttendeeCapabilitiesExcept(ctx, &chimesdkmeetings.BatchUpdateAttendeeCapabilitiesExceptInput{
		MeetingId: &meetingID, ExcludedAttendeeIds: []types.AttendeeIdItem{{AttendeeId: annID}},
		Capabilities: &types.AttendeeCapabilities{Audio: types.MediaCapabilitiesReceive, Video: types.MediaCapabilitiesReceive, Content: types.MediaCapabilitiesReceive},
	})
	if err != nil {
		t.Fatal(err)
	}
	atCapacity("bob", bobs, true)
	for _, f := range ann.Take(signalpb.SdkSignalFrame_INDEX) {
		if f.GetIndex().GetAtCapacity() {
			t.Error("ann was spared and was told all the same")
		}
	}
}
