package meeting_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
	"belfry/test/kit"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { kit.Main(m) }

const (
	account = "123456789012"
	other   = "210987654321"
)

var ctx = context.Background()

// house is a Service over an empty store, with all that was committed to it.
type house struct {
	*meeting.Service
	store *memory.Store

	mu     sync.Mutex
	events []meeting.Event
}

func newHouse(t testing.TB, opt meeting.ServiceOptions) *house {
	t.Helper()
	h := &house{store: memory.New()}
	h.Service = meeting.NewService(h.store, opt)
	stop := h.store.Watch(func(c meeting.Commit) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, ch := range c.Changes {
			if ch.Event != nil {
				h.events = append(h.events, *ch.Event)
			}
		}
	})
	t.Cleanup(func() { stop(); h.store.Close() })
	return h
}

// told counts the events of a type.
func (h *house) told(what meeting.EventType) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Type == what {
			n++
		}
	}
	return n
}

func (h *house) meeting(t testing.TB, token string) *meeting.Meeting {
	t.Helper()
	m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ControlRegion: "us-east-1", ClientRequestToken: token})
	if err != nil {
		t.Fatalf("create meeting: %v", err)
	}
	return m
}

func (h *house) attendee(t testing.TB, meetingID, user string) *meeting.Attendee {
	t.Helper()
	a, err := h.CreateAttendee(ctx, account, meetingID, meeting.NewAttendee{ExternalUserID: user})
	if err != nil {
		t.Fatalf("create attendee: %v", err)
	}
	return a
}

func wantCode(t testing.TB, what string, err error, want meeting.Code) {
	t.Helper()
	if got := meeting.CodeOf(err); got != want {
		t.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

// TestCreateMeetingAgain makes a meeting again with its token, in several ways.
func TestCreateMeetingAgain(t *testing.T) {
	for name, c := range map[string]struct {
		account string
		in      meeting.NewMeeting
		before  func(*testing.T, *house, *meeting.Meeting)
		same    bool
	}{
		"as before":       {account, meeting.NewMeeting{ClientRequestToken: "room-42", ExternalMeetingID: "first"}, nil, true},
		"another request": {account, meeting.NewMeeting{ClientRequestToken: "room-42", ExternalMeetingID: "second", MediaRegion: "eu-west-1"}, nil, true},
		"as a replica":    {account, meeting.NewMeeting{ClientRequestToken: "room-42", PrimaryMeetingID: "00000000-0000-4000-8000-000000000000"}, nil, true},
		"other account":   {other, meeting.NewMeeting{ClientRequestToken: "room-42"}, nil, false},
		"letter case":     {account, meeting.NewMeeting{ClientRequestToken: "Room-42"}, nil, false},
		"other token":     {account, meeting.NewMeeting{ClientRequestToken: "room-43"}, nil, false},
		"after its end": {account, meeting.NewMeeting{ClientRequestToken: "room-42"}, func(t *testing.T, h *house, m *meeting.Meeting) {
			if err := h.DeleteMeeting(ctx, account, m.ID); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, meeting.ServiceOptions{})
			first, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "room-42", ExternalMeetingID: "first"})
			if err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(t, h, first)
			}
			again, err := h.CreateMeeting(ctx, c.account, c.in)
			if err != nil {
				t.Fatal(err)
			}
			if c.same {
				if d := cmp.Diff(first, again); d != "" {
					t.Errorf("the meeting changed (-first +again):\n%s", d)
				}
			} else if again.ID == first.ID {
				t.Error("the same meeting came back")
			}
			if got, want := h.told(meeting.EventMeetingStarted), map[bool]int{true: 1, false: 2}[c.same]; got != want {
				t.Errorf("%d meetings started, want %d", got, want)
			}
		})
	}
}

func TestCreateMeetingConcurrently(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	ids := make([]string, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "one", ExternalMeetingID: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = m.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("one token made the meetings %q", ids)
		}
	}
	if n := h.told(meeting.EventMeetingStarted); n != 1 {
		t.Errorf("%d meetings started", n)
	}
}

func TestCreateAttendeeAgain(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	users := make([]*meeting.Attendee, 50)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			in := meeting.NewAttendee{ExternalUserID: "ann"}
			if i%2 == 1 {
				in.Capabilities = &meeting.Capabilities{Audio: meeting.NoMedia, Video: meeting.NoMedia, Content: meeting.NoMedia}
			}
			var err error
			if users[i], err = h.CreateAttendee(ctx, account, m.ID, in); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range users {
		if a == nil || a.ID != users[0].ID || a.JoinToken != users[0].JoinToken || a.Capabilities != users[0].Capabilities {
			t.Fatalf("one user is two attendees: %+v and %+v", users[0], a)
		}
	}
	if n := h.told(meeting.EventAttendeeAdded); n != 1 {
		t.Errorf("%d attendees were added", n)
	}
	if a := h.attendee(t, m.ID, "Ann"); a.ID == users[0].ID {
		t.Error("users are told apart by letter case too")
	}
	if a := h.attendee(t, h.meeting(t, "other").ID, "ann"); a.ID == users[0].ID {
		t.Error("a user is the same attendee in two meetings")
	}
	if err := h.DeleteAttendee(ctx, account, m.ID, users[0].ID); err != nil {
		t.Fatal(err)
	}
	if a := h.attendee(t, m.ID, "ann"); a.ID == users[0].ID || a.JoinToken == users[0].JoinToken {
		t.Error("a deleted attendee came back with its id or token")
	}
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func TestIdentifiers(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	if !guid.MatchString(m.ID) {
		t.Errorf("MeetingId %q", m.ID)
	}
	if want := "arn:aws:chime:us-east-1:123456789012:meeting/" + m.ID; m.ARN() != want {
		t.Errorf("MeetingArn %q, want %q", m.ARN(), want)
	}
	for i := range 200 {
		a := h.attendee(t, m.ID, fmt.Sprint(i))
		if !guid.MatchString(a.ID) {
			t.Errorf("AttendeeId %q", a.ID)
		}
		token := a.JoinToken.Reveal()
		if len(token) != meeting.JoinTokenLen || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Fatalf("join token %q", token)
		}
		raw, err := base64.RawStdEncoding.DecodeString(token)
		id, secret, _ := strings.Cut(string(raw), ":")
		if err != nil || id != a.ID || !guid.MatchString(secret) || secret[14] != '4' {
			t.Errorf("join token holds %q (%v)", raw, err)
		}
	}
}

// TestSomebodyElsesMeeting finds nothing with another account's signature.
func TestSomebodyElsesMeeting(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	a, leaver := h.attendee(t, m.ID, "ann"), h.attendee(t, m.ID, "leaver")
	known := func(err error) error { // what cannot be done was found all the same
		if meeting.CodeOf(err) == meeting.CodeUnprocessable {
			return nil
		}
		return err
	}
	for name, call := range map[string]func(account, meetingID string) error{
		"GetMeeting": func(ac, id string) error { _, err := h.GetMeeting(ctx, ac, id); return err },
		"CreateAttendee": func(ac, id string) error {
			_, err := h.CreateAttendee(ctx, ac, id, meeting.NewAttendee{ExternalUserID: "bob"})
			return err
		},
		"BatchCreateAttendee": func(ac, id string) error {
			_, _, err := h.BatchCreateAttendee(ctx, ac, id, []meeting.NewAttendee{{ExternalUserID: "bob"}})
			return err
		},
		"GetAttendee":     func(ac, id string) error { _, err := h.GetAttendee(ctx, ac, id, a.ID); return err },
		"ListAttendees":   func(ac, id string) error { _, _, err := h.ListAttendees(ctx, ac, id, meeting.Page{}); return err },
		"TagMeeting":      func(ac, id string) error { return h.TagMeeting(ctx, ac, id, []meeting.Tag{{Key: "k", Value: "v"}}) },
		"UntagMeeting":    func(ac, id string) error { return h.UntagMeeting(ctx, ac, id, []string{"k"}) },
		"ListMeetingTags": func(ac, id string) error { _, err := h.ListMeetingTags(ctx, ac, id); return err },
		"TagAttendee": func(ac, id string) error {
			return h.TagAttendee(ctx, ac, id, a.ID, []meeting.Tag{{Key: "k", Value: "v"}})
		},
		"UntagAttendee":    func(ac, id string) error { return h.UntagAttendee(ctx, ac, id, a.ID, []string{"k"}) },
		"ListAttendeeTags": func(ac, id string) error { _, err := h.ListAttendeeTags(ctx, ac, id, a.ID); return err },
		"StartMeetingTranscription": func(ac, id string) error {
			return known(h.StartMeetingTranscription(ctx, ac, id, meeting.Transcription{Medical: &meeting.TranscribeMedicalSettings{}}))
		},
		"StopMeetingTranscription": func(ac, id string) error { return known(h.StopMeetingTranscription(ctx, ac, id)) },
		"UpdateAttendeeCapabilities": func(ac, id string) error {
			_, err := h.UpdateAttendeeCapabilities(ctx, ac, id, a.ID, meeting.DefaultCapabilities)
			return err
		},
		"BatchUpdateAttendeeCapabilitiesExcept": func(ac, id string) error {
			return h.BatchUpdateAttendeeCapabilitiesExcept(ctx, ac, id, []string{a.ID}, meeting.DefaultCapabilities)
		},
		"DeleteAttendee": func(ac, id string) error { return h.DeleteAttendee(ctx, ac, id, leaver.ID) },
	} {
		err := call(other, m.ID)
		wantCode(t, name, err, meeting.CodeNotFound)
		if want := "Meeting <" + m.ID + "> not found"; meeting.MessageOf(err) != want {
			t.Errorf("%s says %q, want %q", name, meeting.MessageOf(err), want)
		}
		wantCode(t, name+" in capital letters", call(account, strings.ToUpper(m.ID)), "")
	}
	if err := h.DeleteMeeting(ctx, other, m.ID); err != nil {
		t.Errorf("DeleteMeeting of somebody else's: %v, want no error", err)
	}
	if _, err := h.GetMeeting(ctx, account, m.ID); err != nil {
		t.Errorf("somebody else ended the meeting: %v", err)
	}
	if items, _, err := h.ListMeetings(ctx, other, meeting.Page{}); err != nil || len(items) != 0 {
		t.Errorf("somebody else lists %d meetings, %v", len(items), err)
	}
}

// TestBatchCreateAttendee has a batch in which much is wrong.
func TestBatchCreateAttendee(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", Features: &meeting.Features{AttendeeMaxCount: 4}})
	if err != nil {
		t.Fatal(err)
	}
	ann := h.attendee(t, m.ID, "ann")
	bad := &meeting.Capabilities{Audio: "Loud", Video: meeting.Send, Content: meeting.Send}
	made, failed, err := h.BatchCreateAttendee(ctx, account, m.ID, []meeting.NewAttendee{
		{ExternalUserID: "bob"},
		{ExternalUserID: ""},
		{ExternalUserID: "ann"}, // is there
		{ExternalUserID: "aws:x", StrictIDs: true},
		{ExternalUserID: "bob"}, // twice
		{ExternalUserID: "cid", Capabilities: bad},
		{ExternalUserID: "dot"},
		{ExternalUserID: "eve"}, // takes the last place
		{ExternalUserID: "fay"},
		{ExternalUserID: "dot"}, // is there, although the meeting is full
	})
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, a := range made {
		users = append(users, a.ExternalUserID)
	}
	if d := cmp.Diff([]string{"bob", "ann", "bob", "dot", "eve", "dot"}, users); d != "" {
		t.Errorf("made (-want +got):\n%s", d)
	}
	if made[1].ID != ann.ID || made[0].ID != made[2].ID {
		t.Error("a user that was there was made again")
	}
	type refusal struct {
		User string
		Code meeting.Code
	}
	var refused []refusal
	for _, f := range failed {
		refused = append(refused, refusal{f.ExternalUserID, f.Code})
		if f.Message == "" {
			t.Errorf("%q failed without a word", f.ExternalUserID)
		}
	}
	want := []refusal{{"", meeting.CodeBadRequest}, {"aws:x", meeting.CodeBadRequest}, {"cid", meeting.CodeBadRequest}, {"fay", meeting.CodeLimitExceeded}}
	if d := cmp.Diff(want, refused); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
	if n := h.told(meeting.EventAttendeeAdded); n != 4 {
		t.Errorf("%d attendees were added by the events, want 4", n)
	}
	if all, _, _ := h.ListAttendees(ctx, account, m.ID, meeting.Page{}); len(all) != 4 {
		t.Errorf("%d attendees are there, want 4", len(all))
	}
	_, _, err = h.BatchCreateAttendee(ctx, account, m.ID, make([]meeting.NewAttendee, 101))
	wantCode(t, "a batch of 101", err, meeting.CodeBadRequest)
	_, err = h.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: "fay"})
	wantCode(t, "one too many", err, meeting.CodeLimitExceeded)
	if err := h.DeleteAttendee(ctx, account, m.ID, ann.ID); err != nil {
		t.Fatal(err)
	}
	h.attendee(t, m.ID, "fay") // there is a place again
}

// TestCreateMeetingWithAttendees makes all in one step, or nothing.
func TestCreateMeetingWithAttendees(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	var commits int
	defer h.store.Watch(func(meeting.Commit) { commits++ })()
	in := meeting.NewMeeting{ClientRequestToken: "m", Features: &meeting.Features{AttendeeMaxCount: 2}}
	people := []meeting.NewAttendee{{ExternalUserID: "ann"}, {ExternalUserID: "bob"}, {ExternalUserID: "cid"}}
	m, made, failed, err := h.CreateMeetingWithAttendees(ctx, account, in, people)
	if err != nil || len(made) != 2 || len(failed) != 1 || failed[0].Code != meeting.CodeLimitExceeded || commits != 1 {
		t.Fatalf("made %v, failed %v, %v, in %d commits", made, failed, err, commits)
	}
	again, same, _, err := h.CreateMeetingWithAttendees(ctx, account, in, people[:1])
	if err != nil || again.ID != m.ID || same[0].ID != made[0].ID {
		t.Errorf("again: %v, %v, %v", again, same, err)
	}
	if started, added := h.told(meeting.EventMeetingStarted), h.told(meeting.EventAttendeeAdded); started != 1 || added != 2 {
		t.Errorf("the events tell of %d meetings and %d attendees", started, added)
	}
	_, _, _, err = h.CreateMeetingWithAttendees(ctx, account, meeting.NewMeeting{}, make([]meeting.NewAttendee, 21))
	wantCode(t, "21 attendees", err, meeting.CodeBadRequest)
	_, _, _, err = h.CreateMeetingWithAttendees(ctx, account, meeting.NewMeeting{MediaRegion: "mars-1"}, people)
	wantCode(t, "a bad region", err, meeting.CodeBadRequest)
}

// TestCapabilityUpdates writes and tells of what changes, in one step.
func TestCapabilityUpdates(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	ann, bob, cid := h.attendee(t, m.ID, "ann"), h.attendee(t, m.ID, "bob"), h.attendee(t, m.ID, "cid")
	var commits []meeting.Commit
	defer h.store.Watch(func(c meeting.Commit) { commits = append(commits, c) })()
	quiet := meeting.Capabilities{Audio: meeting.Receive, Video: meeting.Receive, Content: meeting.NoMedia}
	if a, err := h.UpdateAttendeeCapabilities(ctx, account, m.ID, ann.ID, quiet); err != nil || a.Capabilities != quiet || a.JoinToken != ann.JoinToken {
		t.Fatalf("got %v, %v", a, err)
	}
	if len(commits) != 1 || len(commits[0].Changes) != 2 || commits[0].Changes[0].AttendeeUpdated == nil || commits[0].Changes[1].Event == nil {
		t.Errorf("the watcher was told %+v", commits)
	}
	// ann has these already and bob is spared: cid alone is left.
	if err := h.BatchUpdateAttendeeCapabilitiesExcept(ctx, account, m.ID, []string{strings.ToUpper(bob.ID)}, quiet); err != nil {
		t.Fatal(err)
	}
	if len(commits) != 2 || commits[1].Changes[0].AttendeeUpdated.ID != cid.ID || h.told(meeting.EventAttendeeCapabilitiesUpdated) != 2 {
		t.Errorf("the watcher was told %+v", commits)
	}
	// Nothing changes where one id is wrong.
	err := h.BatchUpdateAttendeeCapabilitiesExcept(ctx, account, m.ID, []string{ann.ID, "x"}, meeting.DefaultCapabilities)
	wantCode(t, "an unknown id among the spared", err, meeting.CodeNotFound)
	wantCode(t, "251 spared", h.BatchUpdateAttendeeCapabilitiesExcept(ctx, account, m.ID, make([]string, 251), quiet), meeting.CodeBadRequest)
	if len(commits) != 2 {
		t.Errorf("a refused update wrote %+v", commits[2:])
	}
}

func TestAuthenticate(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m, elsewhere := h.meeting(t, "m"), h.meeting(t, "elsewhere")
	a, b := h.attendee(t, m.ID, "ann"), h.attendee(t, m.ID, "bob")
	who, err := h.Authenticate(ctx, a.JoinToken)
	if err != nil || who.Attendee.ID != a.ID || who.Meeting.ID != m.ID {
		t.Fatalf("a good token is %+v, %v", who, err)
	}
	if who, err = h.AuthenticateIn(ctx, strings.ToUpper(m.ID), b.JoinToken); err != nil || who.Attendee.ID != b.ID {
		t.Errorf("a good token in its meeting is %+v, %v", who, err)
	}
	token := a.JoinToken.Reveal()
	encode := func(text string) string { return base64.RawStdEncoding.EncodeToString([]byte(text)) }
	raw, _ := base64.RawStdEncoding.DecodeString(b.JoinToken.Reveal())
	_, secretOfB, _ := strings.Cut(string(raw), ":")
	for name, bad := range map[string]string{
		"nothing":              "",
		"too short":            token[:97],
		"too long":             token + "A",
		"with the suffix":      token + meeting.ContentSuffix,
		"not base64":           strings.Repeat("#", meeting.JoinTokenLen),
		"padding bits set":     token[:97] + "B",
		"no colon":             encode(strings.Repeat("a", 73)),
		"somebody's secret":    encode(a.ID + ":" + secretOfB),
		"an id in capitals":    encode(strings.ToUpper(a.ID) + ":" + secretOfB),
		"an unknown attendee":  encode("00000000-0000-4000-8000-000000000000:" + secretOfB),
		"a secret in capitals": encode(b.ID + ":" + strings.ToUpper(secretOfB)),
	} {
		if bad == token || bad == b.JoinToken.Reveal() {
			continue // a secret of digits alone has no capitals
		}
		_, err := h.Authenticate(ctx, meeting.Secret(bad))
		wantCode(t, name, err, meeting.CodeForbidden)
		_, err = h.AuthenticateIn(ctx, m.ID, meeting.Secret(bad))
		wantCode(t, name+" in the meeting", err, meeting.CodeForbidden)
		if bad != "" && err != nil && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: the error shows the token", name)
		}
	}
	_, err = h.AuthenticateIn(ctx, elsewhere.ID, a.JoinToken)
	wantCode(t, "another meeting's attendee", err, meeting.CodeForbidden)
	_, err = h.AuthenticateIn(ctx, "00000000-0000-4000-8000-000000000000", a.JoinToken)
	wantCode(t, "no such meeting", err, meeting.CodeNotFound)
}

// TestTokensStopAtOnce deletes, and asks the very next moment.
func TestTokensStopAtOnce(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	replica, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "replica", PrimaryMeetingID: m.ID})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := h.attendee(t, m.ID, "ann"), h.attendee(t, m.ID, "bob"), h.attendee(t, replica.ID, "cid")
	if err := h.DeleteAttendee(ctx, account, m.ID, strings.ToUpper(a.ID)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Authenticate(ctx, a.JoinToken)
	wantCode(t, "a deleted attendee's token", err, meeting.CodeForbidden)
	err = h.DeleteAttendee(ctx, account, m.ID, a.ID)
	wantCode(t, "deleting it again", err, meeting.CodeNotFound)
	for _, who := range []*meeting.Attendee{b, c} {
		if _, err := h.Authenticate(ctx, who.JoinToken); err != nil {
			t.Errorf("a token that was not deleted: %v", err)
		}
	}
	for range 2 { // the second time there is nothing to delete
		if err := h.DeleteMeeting(ctx, account, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []*meeting.Attendee{b, c} {
		_, err = h.Authenticate(ctx, who.JoinToken)
		wantCode(t, "a token of a deleted meeting", err, meeting.CodeForbidden)
		_, err = h.AuthenticateIn(ctx, who.MeetingID, who.JoinToken)
		wantCode(t, "the deleted meeting", err, meeting.CodeNotFound)
	}
	if n := h.told(meeting.EventMeetingEnded); n != 2 {
		t.Errorf("%d meetings ended by the events, want the primary and its replica", n)
	}
}

func TestReplicas(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	primary := h.meeting(t, "primary")
	make := func(token, of string) (*meeting.Meeting, error) {
		return h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: token, PrimaryMeetingID: of})
	}
	for n := range 4 {
		r, err := make(fmt.Sprint("r", n), strings.ToUpper(primary.ID))
		if err != nil || r.PrimaryMeetingID != primary.ID {
			t.Fatalf("replica %d: %+v, %v", n, r, err)
		}
		if n == 0 {
			_, err = make("of a replica", r.ID)
			wantCode(t, "a replica of a replica", err, meeting.CodeBadRequest)
			listener := h.attendee(t, r.ID, "ann")
			who, err := h.Authenticate(ctx, listener.JoinToken)
			if err != nil || who.Meeting.ID != r.ID || who.Attendee.ID != listener.ID || who.Primary == nil || who.Primary.ID != primary.ID {
				t.Errorf("the replica's attendee is %+v, %v", who, err)
			}
		}
	}
	_, err := make("r4", primary.ID)
	wantCode(t, "the fifth replica", err, meeting.CodeLimitExceeded)
	_, err = make("x", "00000000-0000-4000-8000-000000000000")
	wantCode(t, "a replica of nothing", err, meeting.CodeBadRequest)
	_, err = h.CreateMeeting(ctx, other, meeting.NewMeeting{ClientRequestToken: "x", PrimaryMeetingID: primary.ID})
	wantCode(t, "a replica of somebody else's", err, meeting.CodeBadRequest)
}

func TestReceiveOnly(t *testing.T) {
	got := meeting.Capabilities{Audio: meeting.SendReceive, Video: meeting.Send, Content: meeting.Receive}.ReceiveOnly()
	if want := (meeting.Capabilities{Audio: meeting.Receive, Video: meeting.NoMedia, Content: meeting.Receive}); got != want {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestEventsTellOfTheMeeting(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	h := newHouse(t, meeting.ServiceOptions{Now: func() time.Time { return now }})
	m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ControlRegion: "eu-central-1", ClientRequestToken: "m",
		ExternalMeetingID: "external", MediaRegion: "eu-west-2"})
	if err != nil {
		t.Fatal(err)
	}
	a := h.attendee(t, m.ID, "ann")
	if err := h.DeleteAttendee(ctx, account, m.ID, a.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second tells of nothing
		if err := h.DeleteMeeting(ctx, account, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	want := []meeting.Event{
		{Number: 1, Type: meeting.EventMeetingStarted},
		{Number: 2, Type: meeting.EventAttendeeAdded, AttendeeID: a.ID, ExternalUserID: "ann"},
		{Number: 3, Type: meeting.EventAttendeeDeleted, AttendeeID: a.ID, ExternalUserID: "ann"},
		{Number: 4, Type: meeting.EventMeetingEnded},
	}
	seen := map[string]bool{}
	for i := range h.events {
		e := &h.events[i]
		if e.ID == "" || seen[e.ID] {
			t.Errorf("event id %q", e.ID)
		}
		seen[e.ID] = true
		e.ID = ""
	}
	for i := range want {
		e := &want[i]
		e.At, e.Account, e.Region, e.MeetingID = now, account, "eu-central-1", m.ID
		e.ExternalMeetingID, e.MediaRegion = "external", "eu-west-2"
	}
	if d := cmp.Diff(want, h.events); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestStoreUnavailable passes on what the store says.
func TestStoreUnavailable(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	h.store.Close()
	_, err := h.GetMeeting(ctx, account, m.ID)
	wantCode(t, "GetMeeting", err, meeting.CodeUnavailable)
	_, err = h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "x"})
	wantCode(t, "CreateMeeting", err, meeting.CodeUnavailable)
	_, _, err = h.ListMeetings(ctx, account, meeting.Page{})
	wantCode(t, "ListMeetings", err, meeting.CodeUnavailable)
}
