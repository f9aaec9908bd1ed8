package events

import (
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/test/kit"
)

// fate is what is known of something that was asked for.
type fate int

const (
	never   fate = iota // not asked for, or refused
	asked               // and no answer came: it may have happened
	certain             // it was acknowledged
)

// guest is an attendee as its client knows it. No two have the same user, and
// none is made again after it was deleted.
type guest struct {
	user, id, token string
	made, deleted   fate
	// capabilities are those that it may have: one when it is known.
	capabilities []types.AttendeeCapabilities
	// changes were acknowledged, and each was one; tries may have been one too.
	changes, tries int
}

// room is a meeting as its client knows it.
type room struct {
	token, id     string
	made, deleted fate
	guests        map[string]*guest // by user
	batches       [][]string        // users that were asked for in one step
}

// ledger is what the clients asked for and were answered. A room is changed by
// its client alone while clients run.
type ledger struct {
	mu    sync.Mutex
	rooms map[string]*room // by token

	acknowledged, refused, unanswered int
	wrong                             []string // answers that cannot be
}

func (l *ledger) room(token string) *room {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rooms[token]
	if r == nil {
		r = &room{token: token, guests: map[string]*guest{}}
		l.rooms[token] = r
	}
	return r
}

func (l *ledger) count(n *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*n++
}

func (l *ledger) writes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acknowledged
}

// await waits until so many writes were acknowledged in all.
func (l *ledger) await(t *testing.T, writes int) {
	t.Helper()
	kit.EventuallyNone(t, func() string {
		if have := l.writes(); have < writes {
			return fmt.Sprintf("%d writes: %d were acknowledged", writes, have)
		}
		return ""
	})
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// seen is what the server has of a meeting in the end.
type seen struct {
	meeting   *types.Meeting // nil: it is not there
	attendees map[string]types.Attendee
}

// checkState holds what is there against what was asked for and answered. It
// answers how many writes that were not answered had happened.
func (r *room) checkState(t *testing.T, now seen) (surprises int) {
	t.Helper()
	switch {
	case now.meeting == nil && r.made == certain && r.deleted == never:
		t.Errorf("lost: meeting %s was acknowledged", r.id)
	case now.meeting != nil && r.deleted == certain:
		t.Errorf("back again: meeting %s was deleted", r.id)
	case now.meeting != nil && r.made == never:
		t.Errorf("meeting %s is there, and nobody asked for it", *now.meeting.MeetingId)
	}
	if now.meeting == nil {
		return 0
	}
	if r.made == asked {
		surprises++
	}
	if *now.meeting.ExternalMeetingId != r.token || r.id != "" && *now.meeting.MeetingId != r.id {
		t.Errorf("meeting %s of %s is there as %s of %s", r.id, r.token, *now.meeting.MeetingId, *now.meeting.ExternalMeetingId)
	}
	for user, a := range now.attendees {
		g := r.guests[user]
		switch {
		case g == nil || g.made == never:
			t.Errorf("attendee %s of %s is there, and nobody asked for it or it was refused", *a.AttendeeId, user)
			continue
		case g.deleted == certain:
			t.Errorf("back again: attendee %s was deleted", *a.AttendeeId)
		case g.made == asked:
			surprises++
		}
		if g.id != "" && (*a.AttendeeId != g.id || *a.JoinToken != g.token) {
			t.Errorf("attendee %s is there as %s, or with another token", g.id, *a.AttendeeId)
		}
		possible := false
		for _, c := range g.capabilities {
			possible = possible || c == *a.Capabilities
		}
		if !possible {
			t.Errorf("attendee %s has the capabilities %+v; possible are %+v", g.id, *a.Capabilities, g.capabilities)
		}
	}
	for user, g := range r.guests {
		if _, there := now.attendees[user]; !there && g.made == certain && g.deleted == never {
			t.Errorf("lost: attendee %s of meeting %s was acknowledged", g.id, r.id)
		}
	}
	return surprises
}

// occurrence names an event apart from its id: what happened to whom for the
// how manieth time.
type occurrence struct {
	kind, user string
	nth        int
}

// due lists the events that must have been told of the room: what was
// acknowledged, and what the state in the end shows. possible are those that may
// have been besides.
func (r *room) due(now seen) (must, possible map[occurrence]bool) {
	must, possible = map[occurrence]bool{}, map[occurrence]bool{}
	add := func(f fate, kind, user string, nth int) {
		switch f {
		case certain:
			must[occurrence{kind, user, nth}] = true
		case asked:
			possible[occurrence{kind, user, nth}] = true
		}
	}
	made := r.made
	if now.meeting != nil {
		made = certain
	}
	deleted := r.deleted
	if deleted == asked && now.meeting != nil {
		deleted = never
	} else if deleted == asked && r.made == certain {
		deleted = certain
	}
	add(made, "MeetingStarted", "", 1)
	add(deleted, "MeetingEnded", "", 1)
	for user, g := range r.guests {
		_, there := now.attendees[user]
		made, deleted := g.made, g.deleted
		switch {
		case there:
			made = certain
		case made == asked && now.meeting != nil:
			made = never // it would be there: nobody deletes one whose making was not acknowledged
		}
		if deleted == asked && now.meeting != nil {
			if deleted = never; !there && made == certain {
				deleted = certain
			}
		}
		add(made, "AttendeeAdded", user, 1)
		add(deleted, "AttendeeDeleted", user, 1)
		for n := range g.changes + g.tries {
			f := asked
			if n < g.changes {
				f = certain
			}
			add(f, "AttendeeCapabilitiesUpdated", user, n+1)
		}
	}
	return must, possible
}
