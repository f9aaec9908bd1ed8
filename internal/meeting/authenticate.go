package meeting

import (
	"context"
	"strings"
)

// Authenticate tells whose join token this is, given without ContentSuffix. A
// token that nobody has, or has no more, is CodeForbidden.
func (s *Service) Authenticate(ctx context.Context, token Secret) (Identity, error) {
	var who Identity
	err := s.store.View(ctx, func(r Reader) (err error) {
		who, err = identify(r, token)
		return err
	})
	return who, err
}

// AuthenticateIn is Authenticate for a client that says which meeting it wants:
// a meeting that is not there, or is no more, is CodeNotFound, and the token of
// another meeting's attendee CodeForbidden.
func (s *Service) AuthenticateIn(ctx context.Context, meetingID string, token Secret) (Identity, error) {
	var who Identity
	err := s.store.View(ctx, func(r Reader) error {
		id := strings.ToLower(meetingID)
		if _, ok := r.Meeting(id); !ok {
			return meetingNotFound(meetingID)
		}
		found, err := identify(r, token)
		if err != nil {
			return err
		}
		if found.Meeting.ID != id {
			return errBadJoinToken
		}
		who = found
		return nil
	})
	return who, err
}

var errBadJoinToken = Errorf(CodeForbidden, "the join token is not valid")

func identify(r Reader, token Secret) (Identity, error) {
	id, ok := attendeeOf(token)
	if !ok {
		return Identity{}, errBadJoinToken
	}
	a, ok := r.AttendeeByID(id)
	if !ok || !a.JoinToken.equal(token) {
		return Identity{}, errBadJoinToken
	}
	m, ok := r.Meeting(a.MeetingID)
	if !ok {
		return Identity{}, errBadJoinToken
	}
	who := Identity{Meeting: m, Attendee: a}
	if m.PrimaryMeetingID != "" {
		if who.Primary, ok = r.Meeting(m.PrimaryMeetingID); !ok {
			return Identity{}, errBadJoinToken // a replica ends with its primary
		}
	}
	return who, nil
}
