package meeting

import (
	"context"
	"strings"
	"time"
)

// CreateAttendee makes an attendee, or returns the one that has the same
// ExternalUserID, unchanged and with the same join token. A full meeting is
// CodeLimitExceeded.
func (s *Service) CreateAttendee(ctx context.Context, account, meetingID string, in NewAttendee) (*Attendee, error) {
	now := s.opt.Now()
	var out *Attendee
	err := s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		out, err = s.addAttendee(tx, m, in, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// BatchCreateAttendee makes up to 100 attendees in one step. One that breaks a
// rule or finds the meeting full has an entry in the errors, in the order asked
// for; the others are made, as by CreateAttendee.
func (s *Service) BatchCreateAttendee(ctx context.Context, account, meetingID string, in []NewAttendee) ([]*Attendee, []AttendeeError, error) {
	if len(in) > maxAttendeesPerBatch {
		return nil, nil, Errorf(CodeBadRequest, "Attendees must have %d members or fewer", maxAttendeesPerBatch)
	}
	now := s.opt.Now()
	var made []*Attendee
	var failed []AttendeeError
	err := s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		made, failed = s.addAttendees(tx, m, in, now)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return made, failed, nil
}

// addAttendees makes those that keep the rules and tells of the others.
func (s *Service) addAttendees(tx Tx, m *Meeting, in []NewAttendee, now time.Time) (made []*Attendee, failed []AttendeeError) {
	for _, one := range in {
		a, err := s.addAttendee(tx, m, one, now)
		if err != nil {
			failed = append(failed, AttendeeError{ExternalUserID: one.ExternalUserID, Code: CodeOf(err), Message: MessageOf(err)})
			continue
		}
		made = append(made, a)
	}
	return made, failed
}

// addAttendee makes one attendee of m, or finds it. Refused, it wrote nothing.
func (s *Service) addAttendee(tx Tx, m *Meeting, in NewAttendee, now time.Time) (*Attendee, error) {
	if in.ExternalUserID == "" {
		return nil, Errorf(CodeBadRequest, "ExternalUserId must be given")
	}
	if in.StrictIDs {
		if err := ValidateExternalID("ExternalUserId", in.ExternalUserID); err != nil {
			return nil, err
		}
	}
	capabilities, err := capabilitiesFor(m, in.Capabilities)
	if err != nil {
		return nil, err
	}
	tags, err := newTags(in.Tags, maxAttendeeTags)
	if err != nil {
		return nil, err
	}
	if a, ok := tx.AttendeeByUser(m.ID, in.ExternalUserID); ok {
		return a, nil
	}
	if err := s.mayAdd(tx, m); err != nil {
		return nil, err
	}
	id := newGUID()
	a := tx.PutAttendee(&Attendee{
		ID:             id,
		MeetingID:      m.ID,
		ExternalUserID: in.ExternalUserID,
		JoinToken:      newJoinToken(id),
		Capabilities:   capabilities,
		Tags:           tags,
		CreatedAt:      now,
	})
	tx.Emit(event(EventAttendeeAdded, m, a, now))
	return a, nil
}

// DeleteAttendee removes an attendee; its join token ends with it. One that is
// not there is CodeNotFound.
func (s *Service) DeleteAttendee(ctx context.Context, account, meetingID, attendeeID string) error {
	now := s.opt.Now()
	return s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		a, ok := tx.Attendee(m.ID, strings.ToLower(attendeeID))
		if !ok {
			return attendeeNotFound(attendeeID)
		}
		leave(tx, m, a, now)
		tx.DeleteAttendee(m.ID, a.ID)
		tx.Emit(event(EventAttendeeDeleted, m, a, now))
		return nil
	})
}
