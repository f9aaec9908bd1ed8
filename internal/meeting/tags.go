package meeting

import (
	"context"
	"slices"
	"strings"
)

// How many tags there may be on a meeting and on an attendee.
const (
	maxMeetingTags  = 50
	maxAttendeeTags = 10
)

// TagMeeting adds tags to a meeting; the value of a key that it has is replaced.
// More than 50 are CodeTooManyTags, a reserved key is CodeBadRequest.
func (s *Service) TagMeeting(ctx context.Context, account, meetingID string, tags []Tag) error {
	return s.tagMeeting(ctx, byID(account, meetingID), withTags(tags, maxMeetingTags))
}

// UntagMeeting removes the tags of these keys, as far as there are any.
func (s *Service) UntagMeeting(ctx context.Context, account, meetingID string, keys []string) error {
	return s.tagMeeting(ctx, byID(account, meetingID), withoutTags(keys))
}

// ListMeetingTags lists a meeting's tags in the order in which the keys came.
func (s *Service) ListMeetingTags(ctx context.Context, account, meetingID string) ([]Tag, error) {
	return s.meetingTags(ctx, byID(account, meetingID))
}

// TagResource is TagMeeting for a meeting named by its MeetingArn.
func (s *Service) TagResource(ctx context.Context, account, arn string, tags []Tag) error {
	return s.tagMeeting(ctx, byARN(account, arn), withTags(tags, maxMeetingTags))
}

// UntagResource is UntagMeeting for a meeting named by its MeetingArn.
func (s *Service) UntagResource(ctx context.Context, account, arn string, keys []string) error {
	return s.tagMeeting(ctx, byARN(account, arn), withoutTags(keys))
}

// ListTagsForResource is ListMeetingTags for a meeting named by its MeetingArn.
func (s *Service) ListTagsForResource(ctx context.Context, account, arn string) ([]Tag, error) {
	return s.meetingTags(ctx, byARN(account, arn))
}

// TagAttendee is TagMeeting for an attendee, who has 10 tags at most.
func (s *Service) TagAttendee(ctx context.Context, account, meetingID, attendeeID string, tags []Tag) error {
	return s.tagAttendee(ctx, account, meetingID, attendeeID, withTags(tags, maxAttendeeTags))
}

// UntagAttendee is UntagMeeting for an attendee.
func (s *Service) UntagAttendee(ctx context.Context, account, meetingID, attendeeID string, keys []string) error {
	return s.tagAttendee(ctx, account, meetingID, attendeeID, withoutTags(keys))
}

// ListAttendeeTags is ListMeetingTags for an attendee.
func (s *Service) ListAttendeeTags(ctx context.Context, account, meetingID, attendeeID string) ([]Tag, error) {
	a, err := s.GetAttendee(ctx, account, meetingID, attendeeID)
	if err != nil {
		return nil, err
	}
	return a.Tags, nil
}

// finder looks a meeting up.
type finder func(Reader) (*Meeting, error)

func byID(account, meetingID string) finder {
	return func(r Reader) (*Meeting, error) { return find(r, account, meetingID) }
}

// byARN finds the meeting whose whole ARN it is, in any letter case.
func byARN(account, arn string) finder {
	return func(r Reader) (*Meeting, error) {
		id := strings.ToLower(arn[strings.LastIndexByte(arn, '/')+1:])
		if m, ok := r.Meeting(id); ok && m.Account == account && strings.EqualFold(m.ARN(), arn) {
			return m, nil
		}
		return nil, Errorf(CodeNotFound, "no live meeting has this ARN")
	}
}

func (s *Service) meetingTags(ctx context.Context, which finder) (tags []Tag, err error) {
	err = s.store.View(ctx, func(r Reader) error {
		m, err := which(r)
		if err == nil {
			tags = m.Tags
		}
		return err
	})
	return tags, err
}

func (s *Service) tagMeeting(ctx context.Context, which finder, change tagChange) error {
	return s.store.Update(ctx, func(tx Tx) error {
		m, err := which(tx)
		if err != nil {
			return err
		}
		changed := *m
		if changed.Tags, err = change(m.Tags); err == nil && !slices.Equal(changed.Tags, m.Tags) {
			tx.PutMeeting(&changed)
		}
		return err
	})
}

func (s *Service) tagAttendee(ctx context.Context, account, meetingID, attendeeID string, change tagChange) error {
	return s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		a, ok := tx.Attendee(m.ID, strings.ToLower(attendeeID))
		if !ok {
			return attendeeNotFound(attendeeID)
		}
		changed := *a
		if changed.Tags, err = change(a.Tags); err == nil && !slices.Equal(changed.Tags, a.Tags) {
			tx.PutAttendee(&changed)
		}
		return err
	})
}

// tagChange makes a new list of an old one, which it leaves as it is.
type tagChange func(old []Tag) ([]Tag, error)

func withTags(tags []Tag, most int) tagChange {
	return func(old []Tag) ([]Tag, error) {
		out := slices.Clone(old)
		for _, t := range tags {
			if len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:") {
				return nil, Errorf(CodeBadRequest, "Tags: keys that begin with aws: are reserved")
			}
			if i := slices.IndexFunc(out, func(o Tag) bool { return o.Key == t.Key }); i >= 0 {
				out[i].Value = t.Value
			} else {
				out = append(out, t)
			}
		}
		if len(out) > most {
			return nil, Errorf(CodeTooManyTags, "Tags: there would be %d tags, and %d are allowed", len(out), most)
		}
		return out, nil
	}
}

func withoutTags(keys []string) tagChange {
	return func(old []Tag) ([]Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t Tag) bool { return slices.Contains(keys, t.Key) }), nil
	}
}

// newTags is what a new meeting or attendee has of the tags asked for.
func newTags(tags []Tag, most int) ([]Tag, error) { return withTags(tags, most)(nil) }
