package api

import "belfry/internal/meeting"

// The structures of answers. They are always those of the 2021 API: clients of
// the 2018 one ignore what they do not know. Nulls are where AWS sends them.

type meetingBody struct {
	MeetingId         string
	MeetingHostId     *string
	ExternalMeetingId *string
	MediaRegion       string
	MediaPlacement    placementBody
	MeetingFeatures   *featuresBody `json:",omitempty"` // never with a null inside: the browser client would fail on it
	PrimaryMeetingId  *string
	TenantIds         []string
	MeetingArn        string
}

type featuresBody struct {
	Audio    *audioFeature      `json:",omitempty"`
	Video    *resolutionFeature `json:",omitempty"`
	Content  *resolutionFeature `json:",omitempty"`
	Attendee *attendeeFeature   `json:",omitempty"`
}

type audioFeature struct{ EchoReduction string }
type resolutionFeature struct{ MaxResolution string }
type attendeeFeature struct{ MaxCount int }

type attendeeBody struct {
	ExternalUserId string
	AttendeeId     string
	JoinToken      string
	Capabilities   capabilitiesBody
}

type capabilitiesBody struct{ Audio, Video, Content meeting.Capability }

type attendeeErrorBody struct{ ExternalUserId, ErrorCode, ErrorMessage string }

type tagsBody struct{ Tags []tagBody }
type tagBody struct{ Key, Value string }

type meetingAnswer struct{ Meeting meetingBody }
type attendeeAnswer struct{ Attendee attendeeBody }

func (c *call) meetingBody(m *meeting.Meeting) meetingBody {
	tenants := m.TenantIDs
	if tenants == nil {
		tenants = []string{}
	}
	return meetingBody{
		MeetingId:         m.ID,
		MeetingHostId:     orNull(m.HostID),
		ExternalMeetingId: orNull(m.ExternalMeetingID),
		MediaRegion:       m.MediaRegion,
		MediaPlacement:    placementOf(m, c.handler.opt.Endpoints(c.request)),
		MeetingFeatures:   featuresOf(m.Features),
		PrimaryMeetingId:  orNull(m.PrimaryMeetingID),
		TenantIds:         tenants,
		MeetingArn:        m.ARN(),
	}
}

func featuresOf(f *meeting.Features) *featuresBody {
	if f == nil {
		return nil
	}
	b := &featuresBody{}
	if f.AudioEchoReduction != "" {
		b.Audio = &audioFeature{f.AudioEchoReduction}
	}
	if f.VideoMaxResolution != "" {
		b.Video = &resolutionFeature{f.VideoMaxResolution}
	}
	if f.ContentMaxResolution != "" {
		b.Content = &resolutionFeature{f.ContentMaxResolution}
	}
	if f.AttendeeMaxCount != 0 {
		b.Attendee = &attendeeFeature{f.AttendeeMaxCount}
	}
	return b
}

func bodyOfAttendee(a *meeting.Attendee) attendeeBody {
	return attendeeBody{
		ExternalUserId: a.ExternalUserID,
		AttendeeId:     a.ID,
		JoinToken:      a.JoinToken.Reveal(),
		Capabilities:   capabilitiesBody{a.Capabilities.Audio, a.Capabilities.Video, a.Capabilities.Content},
	}
}

func bodiesOfAttendees(list []*meeting.Attendee) []attendeeBody {
	bodies := make([]attendeeBody, len(list)) // never nil: an empty list is []
	for i, a := range list {
		bodies[i] = bodyOfAttendee(a)
	}
	return bodies
}

func bodyOfTags(tags []meeting.Tag) tagsBody {
	body := tagsBody{make([]tagBody, len(tags))} // never nil: an empty list is []
	for i, t := range tags {
		body.Tags[i] = tagBody(t)
	}
	return body
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
