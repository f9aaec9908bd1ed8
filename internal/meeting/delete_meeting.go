package meeting

import (
	"context"
	"strings"
)

// DeleteMeeting ends a meeting, and with a primary its replicas: their attendees
// and join tokens are gone. To delete what is not there is no error.
func (s *Service) DeleteMeeting(ctx context.Context, account, meetingID string) error {
	now := s.opt.Now()
	return s.store.Update(ctx, func(tx Tx) error {
		m, ok := tx.Meeting(strings.ToLower(meetingID))
		if !ok || m.Account != account {
			return nil
		}
		endMeeting(tx, m, now)
		return nil
	})
}
