package meeting

import (
	"context"
	"strings"
)

// CreateMeeting makes a meeting, or returns the live one that the account made
// with the same ClientRequestToken, whatever else was asked for. A rule that is
// broken is CodeBadRequest; a meeting or replica too many for the account is
// CodeLimitExceeded.
func (s *Service) CreateMeeting(ctx context.Context, account string, in NewMeeting) (*Meeting, error) {
	m, _, _, err := s.createMeeting(ctx, account, in, nil)
	return m, err
}

// CreateMeetingWithAttendees is CreateMeeting and BatchCreateAttendee, of up to
// 20, in one step. A live meeting with the same ClientRequestToken is given the
// attendees that it does not have.
func (s *Service) CreateMeetingWithAttendees(ctx context.Context, account string, in NewMeeting, attendees []NewAttendee) (*Meeting, []*Attendee, []AttendeeError, error) {
	if len(attendees) > maxAttendeesAtCreation {
		return nil, nil, nil, Errorf(CodeBadRequest, "Attendees must have %d members or fewer", maxAttendeesAtCreation)
	}
	return s.createMeeting(ctx, account, in, attendees)
}

func (s *Service) createMeeting(ctx context.Context, account string, in NewMeeting, attendees []NewAttendee) (out *Meeting, made []*Attendee, failed []AttendeeError, err error) {
	m, err := s.newMeeting(account, in)
	if err != nil {
		return nil, nil, nil, err
	}
	err = s.store.Update(ctx, func(tx Tx) (err error) {
		if out, err = s.putMeeting(tx, m); err != nil {
			return err
		}
		made, failed = s.addAttendees(tx, out, attendees, m.CreatedAt)
		return nil
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return out, made, failed, nil
}

// newMeeting holds what is asked for to the rules that need no store.
func (s *Service) newMeeting(account string, in NewMeeting) (*Meeting, error) {
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
	tags, err := newTags(in.Tags, maxMeetingTags)
	if err != nil {
		return nil, err
	}
	notifications := in.Notifications
	notifications.Webhooks = s.opt.Webhooks
	return &Meeting{
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
		Notifications:      notifications,
		Tags:               tags,
		CreatedAt:          s.opt.Now(),
	}, nil
}

// putMeeting writes m, or finds the live meeting with its token.
func (s *Service) putMeeting(tx Tx, m *Meeting) (*Meeting, error) {
	if m.ClientRequestToken != "" {
		if live, ok := tx.MeetingByToken(m.Account, m.ClientRequestToken); ok {
			return live, nil
		}
	}
	if s.opt.Full != nil && s.opt.Full() {
		return nil, Errorf(CodeUnavailable, "The server is full; try again in a while")
	}
	quotas := s.quotasOf(tx, m.Account)
	if m.PrimaryMeetingID != "" {
		if err := mayReplicate(tx, m.Account, m.PrimaryMeetingID, quotas.Replicas); err != nil {
			return nil, err
		}
	}
	if most := quotas.ActiveMeetings; most > 0 && tx.MeetingCount(m.Account) >= most {
		return nil, Errorf(CodeLimitExceeded, "Account %s has its %d active meetings already (quota %s). Delete meetings that are over. %s",
			m.Account, most, quotaMeetings, raise(m.Account, quotaMeetings))
	}
	out := tx.PutMeeting(m)
	tx.Emit(event(EventMeetingStarted, out, nil, m.CreatedAt))
	return out, nil
}

func mayReplicate(r Reader, account, primaryID string, most int) error {
	primary, ok := r.Meeting(primaryID)
	if !ok || primary.Account != account {
		return Errorf(CodeBadRequest, "PrimaryMeetingId: Meeting <%.64s> not found", primaryID)
	}
	if primary.PrimaryMeetingID != "" {
		return Errorf(CodeBadRequest, "PrimaryMeetingId: Meeting <%s> is itself a replica", primaryID)
	}
	if len(r.Replicas(primaryID)) >= most {
		return Errorf(CodeLimitExceeded, "PrimaryMeetingId: Meeting <%s> has its %d replicas already (quota %s). %s",
			primaryID, most, quotaReplicas, raise(account, quotaReplicas))
	}
	return nil
}
