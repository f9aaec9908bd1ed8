package meeting

import (
	"context"
	"strings"
)

// CreateMeeting makes a meeting, or returns the live one that the account made
// with the same ClientRequestToken, whatever else was asked for. A rule that is
// broken is CodeBadRequest, a replica too many CodeLimitExceeded.
func (s *Service) CreateMeeting(ctx context.Context, account string, in NewMeeting) (*Meeting, error) {
	region, err := s.mediaRegion(in.MediaRegion)
	if err != nil {
		return nil, err
	}
	if in.StrictIDs && in.ExternalMeetingID != "" {
		if err := ValidateExternalID("ExternalMeetingId", in.ExternalMeetingID); err != nil {
			return nil, err
		}
	}
	if err := in.Features.validate(); err != nil {
		return nil, err
	}
	m := &Meeting{
		ID:                 newUUID(),
		Account:            account,
		ControlRegion:      in.ControlRegion,
		ClientRequestToken: in.ClientRequestToken,
		ExternalMeetingID:  in.ExternalMeetingID,
		HostID:             in.HostID,
		MediaRegion:        region,
		PrimaryMeetingID:   strings.ToLower(in.PrimaryMeetingID),
		TenantIDs:          in.TenantIDs,
		NetworkType:        in.NetworkType,
		Features:           in.Features,
		Notifications:      in.Notifications,
		Tags:               in.Tags,
		CreatedAt:          s.opt.Now(),
	}
	var out *Meeting
	err = s.store.Update(ctx, func(tx Tx) error {
		if m.ClientRequestToken != "" {
			if live, ok := tx.MeetingByToken(account, m.ClientRequestToken); ok {
				out = live
				return nil
			}
		}
		if m.PrimaryMeetingID != "" {
			if err := mayReplicate(tx, account, m.PrimaryMeetingID); err != nil {
				return err
			}
		}
		out = tx.PutMeeting(m)
		tx.Emit(event(EventMeetingStarted, out, nil, m.CreatedAt))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func mayReplicate(r Reader, account, primaryID string) error {
	primary, ok := r.Meeting(primaryID)
	if !ok || primary.Account != account {
		return Errorf(CodeBadRequest, "PrimaryMeetingId: Meeting <%.64s> not found", primaryID)
	}
	if primary.PrimaryMeetingID != "" {
		return Errorf(CodeBadRequest, "PrimaryMeetingId: Meeting <%s> is itself a replica", primaryID)
	}
	if len(r.Replicas(primaryID)) >= maxReplicas {
		return Errorf(CodeLimitExceeded, "PrimaryMeetingId: Meeting <%s> has %d replicas already", primaryID, maxReplicas)
	}
	return nil
}
