package meeting

import (
	"context"
	"slices"
	"strings"
)

// maxExcepted bounds ExcludedAttendeeIds.
const maxExcepted = 250

// UpdateAttendeeCapabilities replaces all capabilities of an attendee, which a
// live one notices at once. What the meeting's features do not allow is
// CodeBadRequest.
func (s *Service) UpdateAttendeeCapabilities(ctx context.Context, account, meetingID, attendeeID string, to Capabilities) (*Attendee, error) {
	var out *Attendee
	err := s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		a, ok := tx.Attendee(m.ID, strings.ToLower(attendeeID))
		if !ok {
			return attendeeNotFound(attendeeID)
		}
		to, err := capabilitiesFor(m, &to)
		if err != nil {
			return err
		}
		out = s.setCapabilities(tx, m, a, to)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// BatchUpdateAttendeeCapabilitiesExcept is UpdateAttendeeCapabilities for every
// attendee of the meeting but those listed, all in one step. A listed one that is
// not there is CodeNotFound.
func (s *Service) BatchUpdateAttendeeCapabilitiesExcept(ctx context.Context, account, meetingID string, except []string, to Capabilities) error {
	if len(except) > maxExcepted {
		return Errorf(CodeBadRequest, "ExcludedAttendeeIds must have %d members or fewer", maxExcepted)
	}
	return s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		var spared []string
		for _, id := range except {
			a, ok := tx.Attendee(m.ID, strings.ToLower(id))
			if !ok {
				return attendeeNotFound(id)
			}
			spared = append(spared, a.ID)
		}
		to, err := capabilitiesFor(m, &to)
		if err != nil {
			return err
		}
		for _, a := range tx.Attendees(m.ID, 0, tx.AttendeeCount(m.ID)) {
			if !slices.Contains(spared, a.ID) {
				s.setCapabilities(tx, m, a, to)
			}
		}
		return nil
	})
}

func (s *Service) setCapabilities(tx Tx, m *Meeting, a *Attendee, to Capabilities) *Attendee {
	if a.Capabilities == to {
		return a
	}
	changed := *a
	changed.Capabilities = to
	out := tx.PutAttendee(&changed)
	e := event(EventAttendeeCapabilitiesUpdated, m, out, s.opt.Now())
	e.Capabilities = &to
	tx.Emit(e)
	return out
}
