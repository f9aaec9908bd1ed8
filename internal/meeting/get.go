package meeting

import (
	"context"
	"strings"
)

// GetMeeting looks up a live meeting.
func (s *Service) GetMeeting(ctx context.Context, account, meetingID string) (*Meeting, error) {
	var out *Meeting
	err := s.store.View(ctx, func(r Reader) (err error) {
		out, err = find(r, account, meetingID)
		return err
	})
	return out, err
}

// GetAttendee looks up an attendee of a live meeting.
func (s *Service) GetAttendee(ctx context.Context, account, meetingID, attendeeID string) (*Attendee, error) {
	var out *Attendee
	err := s.store.View(ctx, func(r Reader) error {
		m, err := find(r, account, meetingID)
		if err != nil {
			return err
		}
		a, ok := r.Attendee(m.ID, strings.ToLower(attendeeID))
		if !ok {
			return attendeeNotFound(attendeeID)
		}
		out = a
		return nil
	})
	return out, err
}
