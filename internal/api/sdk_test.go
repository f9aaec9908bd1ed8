//lint:file-ignore SA1019 the SDKs of builders who have not moved on are what is tested here

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	aws2 "github.com/aws/aws-sdk-go-v2/aws"
	credentials2 "github.com/aws/aws-sdk-go-v2/credentials"
	meetings2 "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	types2 "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"
	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/chime"
	"github.com/aws/aws-sdk-go/service/chimesdkmeetings"
	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

// The SDKs that builders have, each against the real handler: what they send
// must verify and decode, and what they get must be the types they know.

func sessionV1(s *server, path string) *session.Session {
	s.t.Helper()
	sess, err := session.NewSession(&aws.Config{
		Endpoint:    aws.String(s.url + path),
		Region:      aws.String("eu-central-1"),
		Credentials: credentials.NewStaticCredentials(testKey.ID, testKey.Secret.Reveal(), ""),
		HTTPClient:  s.client,
		MaxRetries:  aws.Int(0),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sess
}

func clientV2(s *server, path string) *meetings2.Client {
	return meetings2.New(meetings2.Options{
		BaseEndpoint:     aws2.String(s.url + path),
		Region:           "us-west-2",
		Credentials:      credentials2.NewStaticCredentialsProvider(testKey.ID, testKey.Secret.Reveal(), ""),
		HTTPClient:       s.client,
		RetryMaxAttempts: 1,
	})
}

// must ends the test at the first error of a call.
func must[T any](t *testing.T, what string) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return out
	}
}

func TestGoV1Chime(t *testing.T) {
	for _, path := range []string{"", "/console", "/chime/"} {
		t.Run(path, func(t *testing.T) {
			s := start(t, nil)
			c := chime.New(sessionV1(s, path))

			m := must[*chime.CreateMeetingOutput](t, "CreateMeeting")(c.CreateMeeting(&chime.CreateMeetingInput{
				ClientRequestToken:         aws.String("room-42"),
				MediaRegion:                aws.String("us-west-2"),
				ExternalMeetingId:          aws.String("«é» <room>*"),
				MeetingHostId:              aws.String("host"),
				NotificationsConfiguration: &chime.MeetingNotificationConfiguration{SqsQueueArn: aws.String("arn:aws:sqs:us-east-1:123456789012:q")},
				Tags:                       []*chime.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
			})).Meeting
			if aws.StringValue(m.MediaRegion) != "us-west-2" || aws.StringValue(m.ExternalMeetingId) != "«é» <room>*" {
				t.Errorf("meeting = %v", m)
			}
			p := m.MediaPlacement
			for name, u := range map[string]*string{"AudioHostUrl": p.AudioHostUrl, "AudioFallbackUrl": p.AudioFallbackUrl, "SignalingUrl": p.SignalingUrl,
				"TurnControlUrl": p.TurnControlUrl, "ScreenDataUrl": p.ScreenDataUrl, "ScreenSharingUrl": p.ScreenSharingUrl,
				"ScreenViewingUrl": p.ScreenViewingUrl, "EventIngestionUrl": p.EventIngestionUrl} {
				if aws.StringValue(u) == "" {
					t.Errorf("MediaPlacement has no %s", name)
				}
			}
			if got := must[*chime.GetMeetingOutput](t, "GetMeeting")(c.GetMeeting(&chime.GetMeetingInput{MeetingId: m.MeetingId})).Meeting; !cmp.Equal(got.String(), m.String()) {
				t.Errorf("GetMeeting:\n%s", cmp.Diff(m.String(), got.String()))
			}
			// The SDK makes a token of its own where the caller gives none.
			must[*chime.CreateMeetingOutput](t, "CreateMeeting without a token")(c.CreateMeeting(&chime.CreateMeetingInput{}))
			if got := must[*chime.ListMeetingsOutput](t, "ListMeetings")(c.ListMeetings(&chime.ListMeetingsInput{})).Meetings; len(got) != 2 {
				t.Errorf("ListMeetings has %d", len(got))
			}

			a := must[*chime.CreateAttendeeOutput](t, "CreateAttendee")(c.CreateAttendee(&chime.CreateAttendeeInput{
				MeetingId: m.MeetingId, ExternalUserId: aws.String("alice"), Tags: []*chime.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
			})).Attendee
			if got := must[*chime.GetAttendeeOutput](t, "GetAttendee")(c.GetAttendee(&chime.GetAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId})).Attendee; !cmp.Equal(*got.JoinToken, *a.JoinToken) {
				t.Error("GetAttendee has another JoinToken")
			}
			batch := must[*chime.BatchCreateAttendeeOutput](t, "BatchCreateAttendee")(c.BatchCreateAttendee(&chime.BatchCreateAttendeeInput{
				MeetingId: m.MeetingId, Attendees: []*chime.CreateAttendeeRequestItem{{ExternalUserId: aws.String("bob")}, {ExternalUserId: aws.String("alice")}},
			}))
			if len(batch.Attendees) != 2 || len(batch.Errors) != 0 || *batch.Attendees[1].AttendeeId != *a.AttendeeId {
				t.Errorf("BatchCreateAttendee = %v", batch)
			}
			if got := must[*chime.ListAttendeesOutput](t, "ListAttendees")(c.ListAttendees(&chime.ListAttendeesInput{MeetingId: m.MeetingId})).Attendees; len(got) != 2 {
				t.Errorf("ListAttendees has %d", len(got))
			}
			must[*chime.DeleteAttendeeOutput](t, "DeleteAttendee")(c.DeleteAttendee(&chime.DeleteAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId}))
			must[*chime.DeleteMeetingOutput](t, "DeleteMeeting")(c.DeleteMeeting(&chime.DeleteMeetingInput{MeetingId: m.MeetingId}))

			_, err := c.GetMeeting(&chime.GetMeetingInput{MeetingId: m.MeetingId})
			var notFound *chime.NotFoundException
			if !errors.As(err, &notFound) {
				t.Fatalf("GetMeeting after DeleteMeeting: %v", err)
			}
			if notFound.StatusCode() != 404 || aws.StringValue(notFound.Code_) != "NotFound" || notFound.RequestID() == "" || notFound.Message() != "Meeting <"+*m.MeetingId+"> not found" {
				t.Errorf("error = %v", notFound)
			}
			_, err = c.GetMeeting(&chime.GetMeetingInput{MeetingId: aws.String("a b/c:d+e%2F")})
			var plain awserr.RequestFailure
			if !errors.As(err, &plain) || plain.Code() != "ValidationException" || plain.StatusCode() != 400 {
				t.Errorf("GetMeeting with a label that needs encoding: %v", err)
			}
		})
	}
}

func TestGoV1ChimePages(t *testing.T) {
	s := start(t, nil)
	c := chime.New(sessionV1(s, ""))
	ids := map[string]bool{}
	for i := range 250 {
		m, err := s.service.CreateMeeting(context.Background(), testKey.Account, newMeeting(fmt.Sprintf("token-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		ids[m.ID] = false
	}
	pages, meetings := 0, 0
	err := c.ListMeetingsPages(&chime.ListMeetingsInput{MaxResults: aws.Int64(99)}, func(out *chime.ListMeetingsOutput, last bool) bool {
		pages++
		for _, m := range out.Meetings {
			if seen, ours := ids[*m.MeetingId]; seen || !ours {
				t.Errorf("%s comes twice, or is none of ours", *m.MeetingId)
			}
			ids[*m.MeetingId] = true
			meetings++
		}
		return true
	})
	if err != nil || pages != 3 || meetings != 250 {
		t.Errorf("%d meetings on %d pages: %v", meetings, pages, err)
	}
}

func TestGoV1ChimeErrors(t *testing.T) {
	s := start(t, nil)
	c := chime.New(sessionV1(s, "/chime"))
	room := s.meeting(`"MeetingFeatures":{"Attendee":{"MaxCount":1}}`)
	s.attendee(room, "only")
	_, err := c.CreateAttendee(&chime.CreateAttendeeInput{MeetingId: &room, ExternalUserId: aws.String("late")})
	if e := (*chime.ResourceLimitExceededException)(nil); !errors.As(err, &e) || aws.StringValue(e.Code_) != "ResourceLimitExceeded" {
		t.Errorf("over the cap: %v", err)
	}
	_, err = c.CreateMeeting(&chime.CreateMeetingInput{MediaRegion: aws.String("mars-1")})
	if e := (*chime.BadRequestException)(nil); !errors.As(err, &e) {
		t.Errorf("unknown region: %v", err)
	}
	bad := chime.New(sessionV1(s, "/chime"), &aws.Config{Credentials: credentials.NewStaticCredentials(testKey.ID, "wrong", "")})
	_, err = bad.ListMeetings(&chime.ListMeetingsInput{})
	if e := awserr.RequestFailure(nil); !errors.As(err, &e) || e.Code() != "InvalidSignatureException" || e.StatusCode() != 403 {
		t.Errorf("wrong secret: %v", err)
	}
}

func TestGoV1Meetings(t *testing.T) {
	s := start(t, nil)
	c := chimesdkmeetings.New(sessionV1(s, "/chime-sdk-meetings"))
	m := must[*chimesdkmeetings.CreateMeetingOutput](t, "CreateMeeting")(c.CreateMeeting(&chimesdkmeetings.CreateMeetingInput{
		MediaRegion:       aws.String("eu-central-1"),
		ExternalMeetingId: aws.String("room"),
		MeetingHostId:     aws.String("host"),
		TenantIds:         aws.StringSlice([]string{"tenant-1"}),
		MeetingFeatures:   &chimesdkmeetings.MeetingFeaturesConfiguration{Audio: &chimesdkmeetings.AudioFeatures{EchoReduction: aws.String("AVAILABLE")}},
	})).Meeting
	if aws.StringValue(m.MeetingHostId) != "host" || aws.StringValue(m.MeetingArn) != "arn:aws:chime:eu-central-1:111122223333:meeting/"+*m.MeetingId ||
		aws.StringValue(m.MeetingFeatures.Audio.EchoReduction) != "AVAILABLE" || m.MeetingFeatures.Video != nil || aws.StringValue(m.TenantIds[0]) != "tenant-1" {
		t.Errorf("meeting = %v", m)
	}
	a := must[*chimesdkmeetings.CreateAttendeeOutput](t, "CreateAttendee")(c.CreateAttendee(&chimesdkmeetings.CreateAttendeeInput{
		MeetingId: m.MeetingId, ExternalUserId: aws.String("alice"),
		Capabilities: &chimesdkmeetings.AttendeeCapabilities{Audio: aws.String("Receive"), Video: aws.String("Receive"), Content: aws.String("None")},
	})).Attendee
	if aws.StringValue(a.Capabilities.Audio) != "Receive" || aws.StringValue(a.Capabilities.Content) != "None" {
		t.Errorf("attendee = %v", a)
	}
	must[*chimesdkmeetings.DeleteMeetingOutput](t, "DeleteMeeting")(c.DeleteMeeting(&chimesdkmeetings.DeleteMeetingInput{MeetingId: m.MeetingId}))
	_, err := c.GetAttendee(&chimesdkmeetings.GetAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId})
	var notFound *chimesdkmeetings.NotFoundException
	if !errors.As(err, &notFound) || aws.StringValue(notFound.RequestId) != notFound.RequestID() || notFound.RequestID() == "" {
		t.Errorf("GetAttendee after DeleteMeeting: %v", err)
	}
}

func TestGoV2Meetings(t *testing.T) {
	for _, path := range []string{"", "/chime-sdk-meetings"} {
		t.Run(path, func(t *testing.T) {
			s := start(t, nil)
			c, ctx := clientV2(s, path), context.Background()

			created := must[*meetings2.CreateMeetingOutput](t, "CreateMeeting")(c.CreateMeeting(ctx, &meetings2.CreateMeetingInput{
				MediaRegion:       aws2.String("us-east-1"),
				ExternalMeetingId: aws2.String("room"),
				MeetingFeatures: &types2.MeetingFeaturesConfiguration{
					Video: &types2.VideoFeatures{MaxResolution: types2.VideoResolutionFhd}, Attendee: &types2.AttendeeFeatures{MaxCount: aws2.Int32(2)}},
			}))
			m := created.Meeting
			if aws2.ToString(m.MeetingArn) != "arn:aws:chime:us-west-2:111122223333:meeting/"+*m.MeetingId || m.MeetingFeatures.Video.MaxResolution != types2.VideoResolutionFhd ||
				m.MeetingFeatures.Content != nil || m.MeetingHostId != nil || m.TenantIds == nil {
				t.Errorf("meeting = %+v", m)
			}
			got := must[*meetings2.GetMeetingOutput](t, "GetMeeting")(c.GetMeeting(ctx, &meetings2.GetMeetingInput{MeetingId: m.MeetingId}))
			if want, have := asJSON(t, m), asJSON(t, got.Meeting); want != have {
				t.Errorf("GetMeeting:\n%s", cmp.Diff(want, have))
			}
			a := must[*meetings2.CreateAttendeeOutput](t, "CreateAttendee")(c.CreateAttendee(ctx, &meetings2.CreateAttendeeInput{MeetingId: m.MeetingId, ExternalUserId: aws2.String("alice")})).Attendee
			if a.Capabilities.Audio != types2.MediaCapabilitiesSendReceive {
				t.Errorf("attendee = %+v", a.Capabilities)
			}
			batch := must[*meetings2.BatchCreateAttendeeOutput](t, "BatchCreateAttendee")(c.BatchCreateAttendee(ctx, &meetings2.BatchCreateAttendeeInput{
				MeetingId: m.MeetingId, Attendees: []types2.CreateAttendeeRequestItem{{ExternalUserId: aws2.String("bob")}, {ExternalUserId: aws2.String("carol")}}}))
			if len(batch.Attendees) != 1 || len(batch.Errors) != 1 || aws2.ToString(batch.Errors[0].ErrorCode) != "LimitExceeded" {
				t.Errorf("BatchCreateAttendee = %+v", batch)
			}
			if list := must[*meetings2.ListAttendeesOutput](t, "ListAttendees")(c.ListAttendees(ctx, &meetings2.ListAttendeesInput{MeetingId: m.MeetingId, MaxResults: aws2.Int32(100)})); len(list.Attendees) != 2 || list.NextToken != nil {
				t.Errorf("ListAttendees = %+v", list)
			}
			_, err := c.CreateAttendee(ctx, &meetings2.CreateAttendeeInput{MeetingId: m.MeetingId, ExternalUserId: aws2.String("carol")})
			if e := (*types2.LimitExceededException)(nil); !errors.As(err, &e) || aws2.ToString(e.Code) != "LimitExceeded" || aws2.ToString(e.RequestId) == "" {
				t.Errorf("over the cap: %v", err)
			}
			must[*meetings2.GetAttendeeOutput](t, "GetAttendee")(c.GetAttendee(ctx, &meetings2.GetAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId}))
			must[*meetings2.DeleteAttendeeOutput](t, "DeleteAttendee")(c.DeleteAttendee(ctx, &meetings2.DeleteAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId}))
			_, err = c.GetAttendee(ctx, &meetings2.GetAttendeeInput{MeetingId: m.MeetingId, AttendeeId: a.AttendeeId})
			if e := (*types2.NotFoundException)(nil); !errors.As(err, &e) {
				t.Errorf("GetAttendee after DeleteAttendee: %v", err)
			}
			must[*meetings2.DeleteMeetingOutput](t, "DeleteMeeting")(c.DeleteMeeting(ctx, &meetings2.DeleteMeetingInput{MeetingId: m.MeetingId}))
			_, err = c.GetMeeting(ctx, &meetings2.GetMeetingInput{MeetingId: m.MeetingId})
			if e := (*types2.NotFoundException)(nil); !errors.As(err, &e) || e.ErrorMessage() != "Meeting <"+*m.MeetingId+"> not found" {
				t.Errorf("GetMeeting after DeleteMeeting: %v", err)
			}
			_, err = c.CreateMeeting(ctx, &meetings2.CreateMeetingInput{MediaRegion: aws2.String("us-east-1"), ExternalMeetingId: aws2.String("aws:x")})
			if e := (*types2.BadRequestException)(nil); !errors.As(err, &e) {
				t.Errorf("reserved prefix: %v", err)
			}
		})
	}
}

// A create whose answer is lost is sent again by the SDK: with the same token,
// so there is one meeting.
func TestRetryOfALostAnswer(t *testing.T) {
	s := start(t, nil)
	lossy := &loseFirst{next: s.client.Transport}
	sess := sessionV1(s, "/chime")
	c := chime.New(sess, &aws.Config{HTTPClient: &http.Client{Transport: lossy}, MaxRetries: aws.Int(3)})
	must[*chime.CreateMeetingOutput](t, "CreateMeeting")(c.CreateMeeting(&chime.CreateMeetingInput{}))
	if lossy.n != 2 {
		t.Errorf("%d requests", lossy.n)
	}
	if got := must[*chime.ListMeetingsOutput](t, "ListMeetings")(c.ListMeetings(&chime.ListMeetingsInput{})).Meetings; len(got) != 1 {
		t.Errorf("%d meetings", len(got))
	}
}

type loseFirst struct {
	next http.RoundTripper
	n    int
}

func (l *loseFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	l.n++
	res, err := l.next.RoundTrip(r)
	if l.n > 1 || err != nil {
		return res, err
	}
	res.Body.Close()
	return nil, errors.New("connection reset by peer")
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newMeeting(token string) meeting.NewMeeting {
	return meeting.NewMeeting{ControlRegion: "us-east-1", ClientRequestToken: token}
}
