package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"belfry/internal/meeting"
)

func testMeetings(t *testing.T, o Opener) {
	s := open(t, o)
	in := fullMeeting(1)
	var put *meeting.Meeting
	everywhere(t, s, func(tx meeting.Tx) { put = tx.PutMeeting(in) }, func(t *testing.T, r meeting.Reader) {
		want := *in
		want.Seq = put.Seq
		got, ok := r.Meeting(in.ID)
		equal(t, "found", ok, true)
		equal(t, "meeting", got, &want)
		got, ok = r.MeetingByToken(account, "token-1")
		equal(t, "found by token", ok, true)
		equal(t, "meeting by token", got, &want)
		equal(t, "count", r.MeetingCount(account), 1)
	})
	if put.Seq == 0 || in.Seq != 0 {
		t.Errorf("Seq given = %d, in the caller's value %d: want one, in the copy alone", put.Seq, in.Seq)
	}
	view(t, s, func(r meeting.Reader) {
		for _, unknown := range []string{"", id('m', 2), "token-1"} {
			if m, ok := r.Meeting(unknown); ok || m != nil {
				t.Errorf("Meeting(%q) = %v", unknown, m)
			}
		}
		if m, ok := r.MeetingByToken("210987654321", "token-1"); ok {
			t.Errorf("another account's token found %v", m)
		}
		if m, ok := r.MeetingByToken(account, "TOKEN-1"); ok {
			t.Errorf("a token in other letter case found %v", m)
		}
	})

	replica := newMeeting(2)
	replica.PrimaryMeetingID = in.ID
	foreign := newMeeting(3)
	foreign.Account = "210987654321"
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(replica)
		tx.PutMeeting(foreign)
		tx.PutMeeting(newMeeting(4))
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "all", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1), id('m', 2), id('m', 4)})
		equal(t, "limited", meetingIDs(r.Meetings(account, 0, 2)), []string{id('m', 1), id('m', 2)})
		equal(t, "after", meetingIDs(r.Meetings(account, put.Seq, 10)), []string{id('m', 2), id('m', 4)})
		equal(t, "none asked for", len(r.Meetings(account, 0, 0)), 0)
		equal(t, "no such account", len(r.Meetings("x", 0, 10)), 0)
		equal(t, "replicas", meetingIDs(r.Replicas(in.ID)), []string{id('m', 2)})
		equal(t, "count", r.MeetingCount(account), 3)
		equal(t, "foreign count", r.MeetingCount("210987654321"), 1)
	})

	changed := *fullMeeting(1)
	changed.Tags, changed.Seq = nil, 999
	everywhere(t, s, func(tx meeting.Tx) { tx.PutMeeting(&changed) }, func(t *testing.T, r meeting.Reader) {
		got, _ := r.Meeting(in.ID)
		equal(t, "tags after replacing", len(got.Tags), 0)
		equal(t, "Seq after replacing", got.Seq, put.Seq)
		equal(t, "order after replacing", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1), id('m', 2), id('m', 4)})
		equal(t, "count after replacing", r.MeetingCount(account), 3)
	})

	everywhere(t, s, func(tx meeting.Tx) {
		tx.DeleteMeeting(id('m', 2))
		tx.DeleteMeeting(id('m', 99))
	}, func(t *testing.T, r meeting.Reader) {
		if _, ok := r.Meeting(id('m', 2)); ok {
			t.Error("a deleted meeting is there")
		}
		if _, ok := r.MeetingByToken(account, "token-2"); ok {
			t.Error("a deleted meeting's token is there")
		}
		equal(t, "after delete", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1), id('m', 4)})
		equal(t, "replicas after delete", len(r.Replicas(in.ID)), 0)
		equal(t, "count after delete", r.MeetingCount(account), 2)
	})

	var last, again *meeting.Meeting
	view(t, s, func(r meeting.Reader) { last, _ = r.Meeting(id('m', 4)) })
	everywhere(t, s, func(tx meeting.Tx) {
		tx.DeleteMeeting(id('m', 4))
		again = tx.PutMeeting(newMeeting(4))
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "made again", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1), id('m', 4)})
		equal(t, "count", r.MeetingCount(account), 2)
	})
	if again.Seq <= last.Seq {
		t.Errorf("a Seq was used again: %d after %d", again.Seq, last.Seq)
	}
}

func testAttendees(t *testing.T, o Opener) {
	s := open(t, o)
	var first *meeting.Attendee
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(newMeeting(1))
		tx.PutMeeting(newMeeting(2))
		first = tx.PutAttendee(newAttendee(1, 1))
		tx.PutAttendee(newAttendee(1, 2))
		tx.PutAttendee(newAttendee(2, 3))
		tx.PutAttendee(newAttendee(1, 4))
	}, func(t *testing.T, r meeting.Reader) {
		want := newAttendee(1, 1)
		want.Seq = first.Seq
		got, ok := r.Attendee(id('m', 1), id('a', 1))
		equal(t, "found", ok, true)
		equal(t, "attendee", got, want)
		got, _ = r.AttendeeByUser(id('m', 1), "user#1")
		equal(t, "by user", got, want)
		got, _ = r.AttendeeByID(id('a', 1))
		equal(t, "by id", got, want)
		if _, ok := r.Attendee(id('m', 2), id('a', 1)); ok {
			t.Error("an attendee was found in another meeting")
		}
		if _, ok := r.AttendeeByUser(id('m', 2), "user#1"); ok {
			t.Error("a user was found in another meeting")
		}
		equal(t, "all", attendeeIDs(r.Attendees(id('m', 1), 0, 10)), []string{id('a', 1), id('a', 2), id('a', 4)})
		equal(t, "page", attendeeIDs(r.Attendees(id('m', 1), first.Seq, 1)), []string{id('a', 2)})
		equal(t, "count", r.AttendeeCount(id('m', 1)), 3)
		equal(t, "no meeting", len(r.Attendees("x", 0, 10))+r.AttendeeCount("x"), 0)
	})
	changed := newAttendee(1, 2)
	changed.Capabilities = meeting.DefaultCapabilities
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutAttendee(changed)
		tx.DeleteAttendee(id('m', 1), id('a', 1))
		tx.DeleteAttendee(id('m', 2), id('a', 4)) // not there
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "left", attendeeIDs(r.Attendees(id('m', 1), 0, 10)), []string{id('a', 2), id('a', 4)})
		equal(t, "count", r.AttendeeCount(id('m', 1)), 2)
		a, _ := r.Attendee(id('m', 1), id('a', 2))
		equal(t, "capabilities", a.Capabilities, meeting.DefaultCapabilities)
		for name, found := range map[string]bool{
			"Attendee": has(r.Attendee(id('m', 1), id('a', 1))), "AttendeeByID": has(r.AttendeeByID(id('a', 1))),
			"AttendeeByUser": has(r.AttendeeByUser(id('m', 1), "user#1")),
		} {
			if found {
				t.Errorf("%s finds a deleted attendee", name)
			}
		}
	})
	everywhere(t, s, func(tx meeting.Tx) { tx.DeleteMeeting(id('m', 1)) }, func(t *testing.T, r meeting.Reader) {
		equal(t, "attendees of a deleted meeting", len(r.Attendees(id('m', 1), 0, 10))+r.AttendeeCount(id('m', 1)), 0)
		if has(r.AttendeeByID(id('a', 4))) || has(r.AttendeeByUser(id('m', 1), "user#4")) {
			t.Error("an attendee outlived its meeting")
		}
		equal(t, "the other meeting", attendeeIDs(r.Attendees(id('m', 2), 0, 10)), []string{id('a', 3)})
	})
	again := newAttendee(1, 4)
	everywhere(t, s, func(tx meeting.Tx) {
		tx.DeleteMeeting(id('m', 2))
		tx.PutMeeting(newMeeting(1))
		tx.PutMeeting(newMeeting(2))
		tx.PutAttendee(again)
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "meeting made again", attendeeIDs(r.Attendees(id('m', 1), 0, 10)), []string{id('a', 4)})
		equal(t, "meeting made again in the same step", len(r.Attendees(id('m', 2), 0, 10))+r.AttendeeCount(id('m', 2)), 0)
	})
}

func has(_ *meeting.Attendee, ok bool) bool { return ok }

func testEvents(t *testing.T, o Opener) {
	s := open(t, o)
	loud, quiet := newMeeting(1), newMeeting(2)
	loud.Notifications.SQSQueueARN = "arn:aws:sqs:us-east-1:123456789012:q"
	emit := func(tx meeting.Tx, n int, what meeting.EventType) {
		tx.Emit(meeting.Event{ID: fmt.Sprint("e", n, what), Type: what, At: epoch, Account: account, Region: "us-east-1",
			MeetingID: id('m', n), ExternalMeetingID: "x", MediaRegion: "eu-west-1",
			AttendeeID: "a", ExternalUserID: "u", NetworkType: "Voip"})
	}
	types := func(es []meeting.Event) []string {
		out := []string{}
		for _, e := range es {
			out = append(out, fmt.Sprint(e.Number, " ", e.Type))
		}
		return out
	}
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(loud)
		tx.PutMeeting(quiet)
		emit(tx, 1, meeting.EventMeetingStarted)
		emit(tx, 2, meeting.EventMeetingStarted)
		emit(tx, 1, meeting.EventAttendeeAdded)
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "kept", types(r.Events(id('m', 1), 0, 10)), []string{"1 chime:MeetingStarted", "2 chime:AttendeeAdded"})
		equal(t, "of a meeting without target", len(r.Events(id('m', 2), 0, 10)), 0)
		equal(t, "whole", r.Events(id('m', 1), 1, 1), []meeting.Event{{ID: "e1chime:AttendeeAdded", Number: 2,
			Type: meeting.EventAttendeeAdded, At: epoch, Account: account, Region: "us-east-1", MeetingID: id('m', 1),
			ExternalMeetingID: "x", MediaRegion: "eu-west-1", AttendeeID: "a", ExternalUserID: "u", NetworkType: "Voip"}})
	})
	everywhere(t, s, func(tx meeting.Tx) {
		emit(tx, 1, meeting.EventMeetingEnded)
		tx.DeleteMeeting(id('m', 1))
		emit(tx, 1, meeting.EventAttendeeLeft) // a late word
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "kept after the end", types(r.Events(id('m', 1), 2, 10)), []string{"3 chime:MeetingEnded", "4 chime:AttendeeLeft"})
		equal(t, "limited", types(r.Events(id('m', 1), 0, 1)), []string{"1 chime:MeetingStarted"})
		equal(t, "none asked for", len(r.Events(id('m', 1), 0, 0)), 0)
	})
}

// Targets of fullMeeting.
var (
	sqsTarget    = meeting.Target{Kind: meeting.TargetSQS, Address: "arn:sqs"}
	snsTarget    = meeting.Target{Kind: meeting.TargetSNS, Address: "arn:sns"}
	lambdaTarget = meeting.Target{Kind: meeting.TargetLambda, Address: "arn:lambda"}
)

// testDeliveries moves two targets along at their own pace.
func testDeliveries(t *testing.T, o Opener) {
	s := open(t, o)
	room := id('m', 1)
	numbers := func(r meeting.Reader) (out []uint64) {
		for _, e := range r.Events(room, 0, 10) {
			out = append(out, e.Number)
		}
		return out
	}
	everywhere(t, s, func(tx meeting.Tx) {
		two := fullMeeting(1)
		two.Notifications.LambdaFunctionARN = ""
		tx.PutMeeting(two)
		tx.PutMeeting(newMeeting(2))
		for range 4 {
			tx.Emit(meeting.Event{MeetingID: room, At: epoch})
			tx.Emit(meeting.Event{MeetingID: id('m', 2), At: epoch})
		}
		tx.Emit(meeting.Event{MeetingID: id('m', 3), At: epoch}) // of no meeting at all
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "undelivered", r.Undelivered(), []string{room})
		equal(t, "deliveries", r.Deliveries(room), []meeting.Delivery{{Target: sqsTarget}, {Target: snsTarget}})
		equal(t, "of a meeting without target", len(r.Deliveries(id('m', 2))), 0)
	})
	everywhere(t, s, func(tx meeting.Tx) { tx.SetDelivered(room, sqsTarget, 3) }, func(t *testing.T, r meeting.Reader) {
		equal(t, "events that one target has", numbers(r), []uint64{1, 2, 3, 4})
		equal(t, "deliveries", r.Deliveries(room), []meeting.Delivery{{Target: sqsTarget, Through: 3}, {Target: snsTarget}})
	})
	everywhere(t, s, func(tx meeting.Tx) {
		tx.SetDelivered(room, sqsTarget, 1) // never back
		tx.SetDelivered(room, snsTarget, 2)
		tx.SetDelivered(room, meeting.Target{Kind: meeting.TargetWebhook, Address: "nobody"}, 9)
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "events that both have are gone", numbers(r), []uint64{3, 4})
		equal(t, "deliveries", r.Deliveries(room), []meeting.Delivery{{Target: sqsTarget, Through: 3}, {Target: snsTarget, Through: 2}})
	})
	everywhere(t, s, func(tx meeting.Tx) {
		tx.DeleteMeeting(room)
		tx.SetDelivered(room, sqsTarget, 4)
		tx.SetDelivered(room, snsTarget, 99) // more than there is
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "events", len(r.Events(room, 0, 10)), 0)
		equal(t, "undelivered", len(r.Undelivered()), 0)
	})
	everywhere(t, s, func(tx meeting.Tx) { tx.Emit(meeting.Event{MeetingID: room, At: epoch}) }, func(t *testing.T, r meeting.Reader) {
		equal(t, "a late word", numbers(r), []uint64{5})
		equal(t, "deliveries of it", r.Deliveries(room), []meeting.Delivery{{Target: sqsTarget, Through: 4}, {Target: snsTarget, Through: 4}})
	})
}

func deadLetter(n int) meeting.DeadLetter {
	return meeting.DeadLetter{Target: sqsTarget, At: epoch, Attempts: n, Reason: "no such queue",
		Event: meeting.Event{ID: fmt.Sprint("e", n), Number: uint64(n), Type: meeting.EventMeetingEnded, At: epoch, MeetingID: "m"}}
}

// deadLetters is all of them without the Seqs, which must rise.
func deadLetters(r meeting.Reader) []meeting.DeadLetter {
	list := r.DeadLetters(0, 1000)
	for i := range list {
		if i > 0 && list[i].Seq <= list[i-1].Seq {
			panic("dead letters are not in the order of Seq")
		}
	}
	for i := range list {
		list[i].Seq = 0
	}
	return list
}

func testDeadLetters(t *testing.T, o Opener) {
	s := open(t, o)
	everywhere(t, s, func(tx meeting.Tx) {
		for n := range 4 {
			tx.PutDeadLetter(deadLetter(n))
		}
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "count", r.DeadLetterCount(), 4)
		first := r.DeadLetters(0, 2)
		equal(t, "page", len(first), 2)
		equal(t, "next page", len(r.DeadLetters(first[1].Seq, 10)), 2)
	})
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutDeadLetter(deadLetter(4))
		list := tx.DeadLetters(0, 10)
		if len(list) > 4 {
			tx.DeleteDeadLetter(list[0].Seq)
			tx.DeleteDeadLetter(list[0].Seq)
			tx.DeleteDeadLetter(list[4].Seq)
		}
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "left", deadLetters(r), []meeting.DeadLetter{deadLetter(1), deadLetter(2), deadLetter(3)})
		equal(t, "count", r.DeadLetterCount(), 3)
	})
	failed := errors.New("failed")
	err := s.Update(context.Background(), func(tx meeting.Tx) error {
		tx.PutDeadLetter(deadLetter(9))
		tx.DeleteDeadLetter(tx.DeadLetters(0, 1)[0].Seq)
		return failed
	})
	equal(t, "error", errors.Is(err, failed), true)
	view(t, s, func(r meeting.Reader) { equal(t, "after a failure", r.DeadLetterCount(), 3) })
}

func testSettings(t *testing.T, o Opener) {
	s := open(t, o)
	value := []byte{0, 1, 255}
	everywhere(t, s, func(tx meeting.Tx) {
		tx.PutSetting("key", value)
		tx.PutSetting("empty", nil)
	}, func(t *testing.T, r meeting.Reader) {
		got, ok := r.Setting("key")
		equal(t, "found", ok, true)
		equal(t, "value", got, []byte{0, 1, 255})
		got, ok = r.Setting("empty")
		equal(t, "empty found", ok, true)
		equal(t, "empty", len(got), 0)
		_, ok = r.Setting("other")
		equal(t, "other found", ok, false)
	})
	everywhere(t, s, func(tx meeting.Tx) {
		for _, name := range []string{"list/b", "list/a", "lis", "list0", "list/staged"} {
			tx.PutSetting(name, nil)
		}
		tx.DeleteSetting("list/staged")
		tx.DeleteSetting("never was")
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "names", r.SettingNames("list/"), []string{"list/a", "list/b"})
		equal(t, "no names", len(r.SettingNames("other")), 0)
	})
	everywhere(t, s, func(tx meeting.Tx) {
		tx.DeleteSetting("list/a")
		tx.PutSetting("list/c", nil)
		tx.DeleteSetting("empty")
		tx.PutSetting("empty", []byte("again"))
	}, func(t *testing.T, r meeting.Reader) {
		_, ok := r.Setting("list/a")
		equal(t, "deleted is found", ok, false)
		equal(t, "names", r.SettingNames("list/"), []string{"list/b", "list/c"})
		got, _ := r.Setting("empty")
		equal(t, "deleted and put", string(got), "again")
	})
	value[0] = 9
	everywhere(t, s, func(meeting.Tx) {}, func(t *testing.T, r meeting.Reader) {
		got, _ := r.Setting("key")
		equal(t, "value after the caller changed its slice", got, []byte{0, 1, 255})
	})
}

// testStagedReads looks at a page of a list that is partly committed, partly
// changed, deleted and added in the transaction.
func testStagedReads(t *testing.T, o Opener) {
	s := open(t, o)
	update(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(newMeeting(1))
		for n := range 10 {
			tx.PutAttendee(newAttendee(1, n))
		}
	})
	everywhere(t, s, func(tx meeting.Tx) {
		for n := 0; n < 10; n += 2 {
			tx.DeleteAttendee(id('m', 1), id('a', n))
		}
		changed := newAttendee(1, 3)
		changed.Tags = nil
		tx.PutAttendee(changed)
		tx.PutAttendee(newAttendee(1, 10))
		tx.PutAttendee(newAttendee(1, 11))
		tx.DeleteAttendee(id('m', 1), id('a', 10))
	}, func(t *testing.T, r meeting.Reader) {
		equal(t, "count", r.AttendeeCount(id('m', 1)), 6)
		var got []string
		var after uint64
		for {
			page := r.Attendees(id('m', 1), after, 2)
			if len(page) == 0 {
				break
			}
			got = append(got, attendeeIDs(page)...)
			after = page[len(page)-1].Seq
		}
		want := []string{id('a', 1), id('a', 3), id('a', 5), id('a', 7), id('a', 9), id('a', 11)}
		equal(t, "pages of two", got, want)
	})
}

var errRefused = errors.New("refused")

func testAtomic(t *testing.T, o Opener) {
	s := open(t, o)
	loud := newMeeting(1)
	loud.Notifications.SQSQueueARN = "arn"
	var was *meeting.Meeting
	update(t, s, func(tx meeting.Tx) {
		was = tx.PutMeeting(loud)
		tx.PutAttendee(newAttendee(1, 1))
	})
	seen := 0
	defer s.Watch(func(meeting.Commit) { seen++ })()
	refusal := fmt.Errorf("wrapped: %w", errRefused)
	err := s.Update(context.Background(), func(tx meeting.Tx) error {
		tx.PutMeeting(newMeeting(2))
		tx.PutAttendee(newAttendee(1, 2))
		tx.DeleteAttendee(id('m', 1), id('a', 1))
		tx.Emit(meeting.Event{MeetingID: id('m', 1), At: epoch})
		tx.PutSetting("x", []byte("y"))
		tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 2), Since: epoch})
		tx.DeleteMeeting(id('m', 1))
		return refusal
	})
	if err != refusal {
		t.Errorf("Update returned %v, want fn's own error", err)
	}
	if err := s.Update(context.Background(), func(meeting.Tx) error { return nil }); err != nil {
		t.Errorf("an update that writes nothing: %v", err)
	}
	equal(t, "commits that watchers were told of", seen, 0)
	everywhere(t, s, func(meeting.Tx) {}, func(t *testing.T, r meeting.Reader) {
		equal(t, "meetings", meetingIDs(r.Meetings(account, 0, 10)), []string{id('m', 1)})
		equal(t, "attendees", attendeeIDs(r.Attendees(id('m', 1), 0, 10)), []string{id('a', 1)})
		equal(t, "counts", r.MeetingCount(account)*10+r.AttendeeCount(id('m', 1)), 11)
		equal(t, "events", len(r.Events(id('m', 1), 0, 10)), 0)
		equal(t, "joined", len(r.Presences(id('m', 1))), 0)
		if _, ok := r.Setting("x"); ok {
			t.Error("a setting of a failed update is there")
		}
		if got, ok := r.MeetingByToken(account, "token-1"); !ok || got.Seq != was.Seq {
			t.Errorf("by token: %v", got)
		}
		if _, ok := r.MeetingByToken(account, "token-2"); ok {
			t.Error("the token of a failed update is there")
		}
	})
}

func testPanic(t *testing.T, o Opener) {
	s := open(t, o)
	err := s.Update(context.Background(), func(tx meeting.Tx) error {
		tx.PutMeeting(newMeeting(1))
		panic("out of tune")
	})
	equal(t, "code", meeting.CodeOf(err), meeting.CodeInternal)
	update(t, s, func(tx meeting.Tx) {
		equal(t, "left of a panic", tx.MeetingCount(account), 0)
		tx.PutMeeting(newMeeting(2))
	})
}

// testMisuse breaks what the Service must hold, and finds that a store says so
// and stays whole.
func testMisuse(t *testing.T, o Opener) {
	s := open(t, o)
	update(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(newMeeting(1))
		tx.PutAttendee(newAttendee(1, 1))
	})
	for name, fn := range map[string]func(meeting.Tx){
		"attendee without meeting": func(tx meeting.Tx) { tx.PutAttendee(newAttendee(9, 9)) },
		"token twice": func(tx meeting.Tx) {
			m := newMeeting(2)
			m.ClientRequestToken = "token-1"
			tx.PutMeeting(m)
		},
		"user twice": func(tx meeting.Tx) {
			a := newAttendee(1, 2)
			a.ExternalUserID = "user#1"
			tx.PutAttendee(a)
		},
		"presence without attendee": func(tx meeting.Tx) {
			tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 9)})
		},
		"joined attendee deleted": func(tx meeting.Tx) {
			tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 1)})
			tx.DeleteAttendee(id('m', 1), id('a', 1))
		},
		"sharing attendee deleted": func(tx meeting.Tx) {
			tx.PutPresence(meeting.Presence{MeetingID: id('m', 1), AttendeeID: id('a', 1) + meeting.ContentSuffix})
			tx.DeleteAttendee(id('m', 1), id('a', 1))
		},
		"account changed": func(tx meeting.Tx) {
			m := newMeeting(1)
			m.Account = "210987654321"
			tx.PutMeeting(m)
		},
	} {
		err := s.Update(context.Background(), func(tx meeting.Tx) error { fn(tx); return nil })
		if meeting.CodeOf(err) != meeting.CodeInternal {
			t.Errorf("%s: %v, want CodeInternal", name, err)
		}
	}
	view(t, s, func(r meeting.Reader) {
		equal(t, "counts", r.MeetingCount(account)*10+r.AttendeeCount(id('m', 1)), 11)
		equal(t, "joined", len(r.Presences(id('m', 1))), 0)
	})
}

// testIsolation holds on to values and changes what it gave.
func testIsolation(t *testing.T, o Opener) {
	s := open(t, o)
	in := fullMeeting(1)
	update(t, s, func(tx meeting.Tx) { tx.PutMeeting(in) })
	in.Tags[0].Value, in.Features.AttendeeMaxCount, in.TenantIDs[0] = "changed", 1, "changed"
	view(t, s, func(r meeting.Reader) {
		got, _ := r.Meeting(in.ID)
		if got.Tags[0].Value != "v" || got.Features.AttendeeMaxCount != 25 || got.TenantIDs[0] != "t1" {
			t.Errorf("the store shares memory with its caller: %+v", got)
		}
	})
}

func testWatch(t *testing.T, o Opener) {
	s := open(t, o)
	update(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(newMeeting(1))
		tx.PutAttendee(newAttendee(1, 1))
	})
	var mu sync.Mutex
	var commits []meeting.Commit
	defer s.Watch(func(c meeting.Commit) {
		mu.Lock()
		defer mu.Unlock()
		commits = append(commits, c)
		if c.Changes[0].MeetingPut != nil { // it must be visible already
			view(t, s, func(r meeting.Reader) {
				if _, ok := r.Meeting(c.Changes[0].MeetingPut.ID); !ok {
					t.Error("a watcher was called before its commit was visible")
				}
			})
		}
	})()
	update(t, s, func(tx meeting.Tx) {
		tx.PutMeeting(newMeeting(2))
		tx.PutAttendee(newAttendee(2, 2))
		tx.Emit(meeting.Event{ID: "e", MeetingID: id('m', 2), At: epoch})
	})
	mu.Lock()
	equal(t, "commits when Update returned", len(commits), 1)
	mu.Unlock()
	changed := newAttendee(2, 2)
	changed.Capabilities = meeting.DefaultCapabilities
	update(t, s, func(tx meeting.Tx) {
		tx.PutAttendee(changed)
		tx.PutAttendee(newAttendee(2, 3))
		tx.PutAttendee(newAttendee(2, 3)) // new and changed in one step
	})
	update(t, s, func(tx meeting.Tx) {
		tx.DeleteAttendee(id('m', 2), id('a', 2))
		tx.DeleteMeeting(id('m', 1))
	})
	update(t, s, func(tx meeting.Tx) { tx.PutSetting("no change", nil) })
	here := meeting.Presence{MeetingID: id('m', 2), AttendeeID: id('a', 3), Since: epoch, Video: true}
	update(t, s, func(tx meeting.Tx) {
		tx.PutPresence(here)
		tx.DeletePresence(here.MeetingID, here.AttendeeID, epoch)
		tx.DeletePresence(here.MeetingID, here.AttendeeID, epoch)
	})
	mu.Lock()
	defer mu.Unlock()
	if len(commits) == 4 {
		equal(t, "presence", commits[3].Changes, []meeting.Change{{PresencePut: &here}, {PresenceDeleted: &here}})
		commits = commits[:3]
	}
	if len(commits) != 3 || len(commits[0].Changes) != 3 || len(commits[1].Changes) != 3 || len(commits[2].Changes) != 2 {
		t.Fatalf("commits: %+v", commits)
	}
	first, second := commits[0].Changes, commits[2].Changes
	if is := commits[1].Changes[0]; is.AttendeePut != nil || is.AttendeeUpdated == nil || is.AttendeeUpdated.Capabilities != meeting.DefaultCapabilities {
		t.Errorf("a changed attendee is told of as %+v", is)
	}
	equal(t, "attendee put in the same step", commits[1].Changes[1].AttendeePut.ID, id('a', 3))
	equal(t, "attendee updated in the same step", commits[1].Changes[2].AttendeeUpdated.ID, id('a', 3))
	equal(t, "meeting put", first[0].MeetingPut.ID, id('m', 2))
	equal(t, "attendee put", first[1].AttendeePut.ID, id('a', 2))
	equal(t, "event", first[2].Event.Number, uint64(1))
	equal(t, "attendee deleted, as it was", second[0].AttendeeDeleted.ExternalUserID, "user#2")
	equal(t, "meeting deleted, as it was", second[1].MeetingDeleted.ClientRequestToken, "token-1")
	equal(t, "who was in it", attendeeIDs(second[1].Attendees), []string{id('a', 1)})
}

func testWatchStops(t *testing.T, o Opener) {
	s := open(t, o)
	var once, always int
	var stop func()
	stop = s.Watch(func(meeting.Commit) { once++; stop() })
	stopOther := s.Watch(func(meeting.Commit) { always++ })
	for n := range 3 {
		update(t, s, func(tx meeting.Tx) { tx.PutMeeting(newMeeting(n)) })
	}
	stopOther()
	stopOther() // again is no harm
	update(t, s, func(tx meeting.Tx) { tx.PutMeeting(newMeeting(3)) })
	equal(t, "calls of the one that stopped itself", once, 1)
	equal(t, "calls of the other", always, 3)

	// Stopped by the one before it in the same commit.
	var late int
	var stopLate func()
	stopper := s.Watch(func(meeting.Commit) { stopLate() })
	stopLate = s.Watch(func(meeting.Commit) { late++ })
	update(t, s, func(tx meeting.Tx) { tx.PutMeeting(newMeeting(4)) })
	stopper()
	equal(t, "calls after the stop", late, 0)
}

func testEndedContext(t *testing.T, o Opener) {
	s := open(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Update(ctx, func(meeting.Tx) error { t.Error("fn ran"); return nil })
	if !errors.Is(err, context.Canceled) || meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("Update: %v", err)
	}
	if err := s.View(ctx, func(meeting.Reader) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View: %v", err)
	}
}

func testClosed(t *testing.T, o Opener) {
	s := o.Open(t)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	err := s.Update(context.Background(), func(meeting.Tx) error { return nil })
	equal(t, "Update", meeting.CodeOf(err), meeting.CodeUnavailable)
	err = s.View(context.Background(), func(meeting.Reader) error { return nil })
	equal(t, "View", meeting.CodeOf(err), meeting.CodeUnavailable)
}
