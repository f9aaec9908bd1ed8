package meeting_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

func set(t testing.TB, s *meeting.Service, account string, values map[string]int) {
	t.Helper()
	if err := s.SetQuotas(ctx, account, values); err != nil {
		t.Fatal(err)
	}
}

func TestDefaultQuotasAreAWSs(t *testing.T) {
	want := meeting.Quotas{RequestRate: 10, RequestBurst: 20, ActiveMeetings: 250, Attendees: 250, Videos: 25, ContentShares: 2, Replicas: 4,
		DataMessageRate: 100, DataMessageBurst: 200}
	if diff := cmp.Diff(want, meeting.DefaultQuotas); diff != "" {
		t.Error(diff)
	}
	if err := meeting.DefaultQuotas.Check(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, newHouse(t, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas}).Quotas(account)); diff != "" {
		t.Error(diff)
	}
	// What is not set is the default, but where that would take an explicit "no limit" back.
	want.RequestRate, want.ActiveMeetings, want.DataMessageRate = 0, 0, 0
	if diff := cmp.Diff(want, newHouse(t, meeting.ServiceOptions{}).Quotas(account)); diff != "" {
		t.Error(diff)
	}
}

func TestActiveMeetings(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
	for i := range 250 {
		h.meeting(t, fmt.Sprint(i))
	}
	create := func(account, token string) error {
		_, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: token})
		return err
	}
	err := create(account, "one more")
	wantCode(t, "the 251st", err, meeting.CodeLimitExceeded)
	for _, says := range []string{"250 active meetings", "active_meetings", "belfry accounts set " + account} {
		if !strings.Contains(meeting.MessageOf(err), says) {
			t.Errorf("the refusal %q does not say %q", meeting.MessageOf(err), says)
		}
	}
	_, _, _, err = h.CreateMeetingWithAttendees(ctx, account, meeting.NewMeeting{ClientRequestToken: "with"}, []meeting.NewAttendee{{ExternalUserID: "ann"}})
	wantCode(t, "one with attendees", err, meeting.CodeLimitExceeded)
	wantCode(t, "one that is there", create(account, "7"), "")
	wantCode(t, "another account's", create(other, "one more"), "")
	if err := h.DeleteMeeting(ctx, account, h.meeting(t, "7").ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "after one has ended", create(account, "one more"), "")
	wantCode(t, "and another", create(account, "7"), meeting.CodeLimitExceeded)
	set(t, h.Service, account, map[string]int{"active_meetings": 251})
	wantCode(t, "after the quota was raised", create(account, "7"), "")
	wantCode(t, "and another", create(account, "8 too many"), meeting.CodeLimitExceeded)
	set(t, h.Service, account, map[string]int{"active_meetings": 0})
	wantCode(t, "after it was lifted", create(account, "8 too many"), "")
	set(t, h.Service, account, map[string]int{"active_meetings": 1})
	wantCode(t, "after it was lowered", create(account, "9 too many"), meeting.CodeLimitExceeded)
	wantCode(t, "one that is there", create(account, "8 too many"), "")
}

func TestAttendeesByQuota(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
	set(t, h.Service, account, map[string]int{"max_attendees": 3})
	m := h.meeting(t, "m")
	made, failed, err := h.BatchCreateAttendee(ctx, account, m.ID,
		[]meeting.NewAttendee{{ExternalUserID: "a"}, {ExternalUserID: "b"}, {ExternalUserID: "a"}, {ExternalUserID: "c"}, {ExternalUserID: "d"}, {ExternalUserID: "b"}})
	if err != nil || len(made) != 5 || len(failed) != 1 || failed[0].ExternalUserID != "d" || failed[0].Code != meeting.CodeLimitExceeded {
		t.Errorf("a batch across the quota: %d made, failed %v, %v", len(made), failed, err)
	}
	_, err = h.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: "d"})
	wantCode(t, "the fourth", err, meeting.CodeLimitExceeded)
	if !strings.Contains(meeting.MessageOf(err), "3 attendees already (quota max_attendees)") {
		t.Errorf("it says %q", meeting.MessageOf(err))
	}
	h.attendee(t, m.ID, "a") // who is there
	few, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "few", Features: &meeting.Features{AttendeeMaxCount: 1}})
	if err != nil {
		t.Fatal(err)
	}
	many, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "many", Features: &meeting.Features{AttendeeMaxCount: 200}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{few.ID: 1, many.ID: 3} {
		made, _, err := h.BatchCreateAttendee(ctx, account, id, []meeting.NewAttendee{{ExternalUserID: "a"}, {ExternalUserID: "b"}, {ExternalUserID: "c"}, {ExternalUserID: "d"}})
		if err != nil || len(made) != want {
			t.Errorf("%d attendees were made, want %d (%v)", len(made), want, err)
		}
	}
}

func TestReplicasByQuota(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
	set(t, h.Service, account, map[string]int{"max_replicas": 40})
	primary := h.meeting(t, "primary")
	for i := range 41 {
		_, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(i), PrimaryMeetingID: primary.ID})
		if want := map[bool]meeting.Code{true: meeting.CodeLimitExceeded}[i == 40]; meeting.CodeOf(err) != want {
			t.Errorf("replica %d: %v, want %q", i+1, err, want)
		}
	}
}

func TestQuotasOfAnAccount(t *testing.T) {
	store := memory.New()
	defer store.Close()
	s := meeting.NewService(store, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
	for _, bad := range []struct {
		values map[string]int
		says   string
	}{
		{map[string]int{"max_vidoes": 7}, `"max_vidoes" is not a quota: there are request_rate, request_burst`},
		{map[string]int{"max_videos": 0, "max_replicas": 5}, "max_videos: 0 is not between 1 and 250"},
		{map[string]int{"max_attendees": 251}, "max_attendees: 251 is not between 1 and 250"},
		{map[string]int{"max_replicas": 41}, "max_replicas: 41 is not between 1 and 40"},
		{map[string]int{"request_rate": -1}, "request_rate: -1 is not between 1 and 100000, or 0 for no limit"},
	} {
		err := s.SetQuotas(ctx, account, bad.values)
		if meeting.CodeOf(err) != meeting.CodeBadRequest || !strings.Contains(meeting.MessageOf(err), bad.says) {
			t.Errorf("%v: %v, want one that says %q", bad.values, err, bad.says)
		}
	}
	if s.Quotas(account) != meeting.DefaultQuotas {
		t.Errorf("what was refused holds: %+v", s.Quotas(account))
	}
	set(t, s, account, map[string]int{"request_rate": 0, "max_videos": 7})
	set(t, s, account, map[string]int{"max_videos": 8})
	want := meeting.DefaultQuotas
	want.RequestRate, want.Videos = 0, 8
	if diff := cmp.Diff(want, s.Quotas(account)); diff != "" {
		t.Error(diff)
	}
	if s.Quotas(other) != meeting.DefaultQuotas {
		t.Errorf("another account has %+v", s.Quotas(other))
	}

	// After a restart with other settings: its own are kept, the others follow.
	changed := meeting.DefaultQuotas
	changed.RequestRate, changed.Replicas = 50, 10
	s = meeting.NewService(store, meeting.ServiceOptions{Quotas: changed})
	want.Replicas = 10
	if diff := cmp.Diff(want, s.Quotas(account)); diff != "" {
		t.Error(diff)
	}
	told, err := s.AccountQuotas(ctx, account)
	if err != nil || !cmp.Equal(told, meeting.AccountQuotas{Account: account, Quotas: want, Own: map[string]int{"request_rate": 0, "max_videos": 8}}) {
		t.Errorf("AccountQuotas tells %+v, %v", told, err)
	}
	wantCode(t, "resetting what is no quota", s.ResetQuotas(ctx, account, "max_vidoes"), meeting.CodeBadRequest)
	if err := s.ResetQuotas(ctx, account, "request_rate"); err != nil || s.Quotas(account).RequestRate != 50 || s.Quotas(account).Videos != 8 {
		t.Errorf("after resetting one: %+v, %v", s.Quotas(account), err)
	}
	if known, err := s.AccountsWithQuotas(ctx); err != nil || !cmp.Equal(known, []string{account}) {
		t.Errorf("accounts with quotas: %v, %v", known, err)
	}
	if err := s.ResetQuotas(ctx, account); err != nil || s.Quotas(account) != changed {
		t.Errorf("after resetting all: %+v, %v", s.Quotas(account), err)
	}
	if known, err := s.AccountsWithQuotas(ctx); err != nil || len(known) != 0 {
		t.Errorf("accounts with quotas: %v, %v", known, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Quotas(account) != changed {
		t.Errorf("without a store: %+v", s.Quotas(account))
	}
}

// However many create at once, no quota is overrun: not in any commit.
func TestQuotasAreNeverOverrun(t *testing.T) {
	var answered sync.Map // by code
	rapid.Check(t, func(rt *rapid.T) {
		q := meeting.Quotas{
			ActiveMeetings: rapid.IntRange(1, 6).Draw(rt, "meetings"),
			Attendees:      rapid.IntRange(1, 5).Draw(rt, "attendees"),
			Replicas:       rapid.IntRange(1, 3).Draw(rt, "replicas"),
		}
		seeds := rapid.SliceOfN(rapid.Uint64(), 4, 4).Draw(rt, "seeds")
		h := newHouse(t, meeting.ServiceOptions{Quotas: q})
		live := map[string]map[string]*meeting.Meeting{account: {}, other: {}}
		people := map[string]int{}
		stop := h.store.Watch(func(c meeting.Commit) {
			for _, ch := range c.Changes {
				switch {
				case ch.MeetingPut != nil:
					live[ch.MeetingPut.Account][ch.MeetingPut.ID] = ch.MeetingPut
				case ch.MeetingDeleted != nil:
					delete(live[ch.MeetingDeleted.Account], ch.MeetingDeleted.ID)
					delete(people, ch.MeetingDeleted.ID)
				case ch.AttendeePut != nil:
					people[ch.AttendeePut.MeetingID]++
				case ch.AttendeeDeleted != nil:
					people[ch.AttendeeDeleted.MeetingID]--
				}
			}
			replicas := map[string]int{}
			for _, meetings := range live {
				if len(meetings) > q.ActiveMeetings {
					rt.Errorf("%d meetings, %d may be", len(meetings), q.ActiveMeetings)
				}
				for id, m := range meetings {
					if replicas[m.PrimaryMeetingID]++; m.PrimaryMeetingID != "" && replicas[m.PrimaryMeetingID] > q.Replicas {
						rt.Errorf("%d replicas, %d may be", replicas[m.PrimaryMeetingID], q.Replicas)
					}
					if people[id] > q.Attendees {
						rt.Errorf("%d attendees, %d may be", people[id], q.Attendees)
					}
				}
			}
		})
		defer stop()
		var wg sync.WaitGroup
		for _, seed := range seeds {
			wg.Go(func() { createAtRandom(h, rand.New(rand.NewPCG(seed, 1)), &answered) })
		}
		wg.Wait()
	})
	if _, refused := answered.Load(meeting.CodeLimitExceeded); !refused {
		t.Error("no quota was ever full: the test proves nothing")
	}
}

// createAtRandom makes and ends meetings and attendees, a few tokens and users
// again and again.
func createAtRandom(h *house, r *rand.Rand, answered *sync.Map) {
	ctx := context.Background()
	for range 40 {
		who := []string{account, other}[r.IntN(2)]
		list, _, _ := h.ListMeetings(ctx, who, meeting.Page{})
		pick := ""
		if len(list) > 0 {
			pick = list[r.IntN(len(list))].ID
		}
		user := func() meeting.NewAttendee {
			return meeting.NewAttendee{ExternalUserID: fmt.Sprint(r.IntN(10))}
		}
		var err error
		switch n := r.IntN(10); {
		case n < 2:
			_, err = h.CreateMeeting(ctx, who, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(r.IntN(12))})
		case n < 4:
			_, _, _, err = h.CreateMeetingWithAttendees(ctx, who, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(r.IntN(12)), PrimaryMeetingID: pick},
				[]meeting.NewAttendee{user(), user(), user()})
		case n < 6:
			_, err = h.CreateAttendee(ctx, who, pick, user())
		case n < 8:
			_, _, err = h.BatchCreateAttendee(ctx, who, pick, []meeting.NewAttendee{user(), user(), user(), user()})
		case n < 9:
			if people, _, _ := h.ListAttendees(ctx, who, pick, meeting.Page{}); len(people) > 0 {
				err = h.DeleteAttendee(ctx, who, pick, people[0].ID)
			}
		default:
			err = h.DeleteMeeting(ctx, who, pick)
		}
		answered.Store(meeting.CodeOf(err), true)
	}
}

func BenchmarkQuotas(b *testing.B) {
	h := newHouse(b, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
	set(b, h.Service, other, map[string]int{"max_videos": 3})
	for name, account := range map[string]string{"none of its own": account, "some": other} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.Quotas(account)
			}
		})
	}
}
