package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
)

// createMeeting is CreateMeeting. The same ClientRequestToken again answers
// with the meeting that it made the first time.
var createMeeting = &operation{
	name:            "CreateMeeting",
	method:          http.MethodPost,
	path:            "/meetings",
	success:         created,
	needsExternalID: true,
	serve: func(ctx context.Context, c *call) (any, error) {
		in := c.newMeeting()
		if err := c.check(); err != nil {
			return nil, err
		}
		m, err := c.meetings().CreateMeeting(ctx, c.account, in)
		if err != nil {
			return nil, err
		}
		return meetingAnswer{c.meetingBody(m)}, nil
	},
}

// newMeeting reads the members of CreateMeeting.
func (c *call) newMeeting() meeting.NewMeeting {
	r := c.in
	in := meeting.NewMeeting{
		ControlRegion:      c.region,
		ClientRequestToken: r.String("ClientRequestToken", restjson.Required, restjson.Sensitive, restjson.Length(2, 64), requestToken),
		ExternalMeetingID:  r.String("ExternalMeetingId", c.told2021(restjson.Required), restjson.Sensitive, restjson.Length(2, 64)),
		HostID:             r.String("MeetingHostId", restjson.Sensitive, restjson.Length(2, 64)),
		MediaRegion:        r.String("MediaRegion", c.told2021(restjson.Required), c.on2021(restjson.Length(2, 64))),
		Notifications:      c.notifications(),
		Tags:               c.tags(r, 50),
		StrictIDs:          c.identity.is(Meetings2021),
	}
	if !c.identity.is(Chime2018) {
		in.PrimaryMeetingID = r.String("PrimaryMeetingId", restjson.Length(2, 64))
		in.TenantIDs = r.Strings("TenantIds", []restjson.Rule{restjson.Length(1, 5)},
			[]restjson.Rule{restjson.Length(2, 256), tenantID})
		in.NetworkType = r.String("MediaPlacementNetworkType", restjson.Enum("Ipv4Only", "DualStack"))
		in.Features = c.features()
	}
	return in
}
