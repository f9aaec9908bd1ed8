package meeting

import "context"

// maxPage is how many items a page has at most, and by default.
const maxPage = 100

// ListMeetings lists the account's live meetings in creation order. next is the
// Page.Token of the next page, "" after the last. A meeting that lives through
// the whole listing is on exactly one page, whatever comes and goes meanwhile.
func (s *Service) ListMeetings(ctx context.Context, account string, page Page) (items []*Meeting, next string, err error) {
	scope := pageScope{operation: "ListMeetings", account: account}
	after, limit, err := s.openPage(ctx, scope, page)
	if err != nil {
		return nil, "", err
	}
	err = s.store.View(ctx, func(r Reader) error {
		items = r.Meetings(account, after, limit+1)
		return nil
	})
	if err != nil || len(items) <= limit {
		return items, "", err
	}
	items = items[:limit]
	next, err = s.nextPage(ctx, scope, items[limit-1].Seq)
	return items, next, err
}

// ListAttendees lists a meeting's attendees, joined or not, as ListMeetings does
// meetings.
func (s *Service) ListAttendees(ctx context.Context, account, meetingID string, page Page) (items []*Attendee, next string, err error) {
	m, err := s.GetMeeting(ctx, account, meetingID)
	if err != nil {
		return nil, "", err
	}
	scope := pageScope{operation: "ListAttendees", account: account, meetingID: m.ID}
	after, limit, err := s.openPage(ctx, scope, page)
	if err != nil {
		return nil, "", err
	}
	err = s.store.View(ctx, func(r Reader) error {
		if _, err := find(r, account, meetingID); err != nil {
			return err
		}
		items = r.Attendees(m.ID, after, limit+1)
		return nil
	})
	if err != nil || len(items) <= limit {
		return items, "", err
	}
	items = items[:limit]
	next, err = s.nextPage(ctx, scope, items[limit-1].Seq)
	return items, next, err
}
