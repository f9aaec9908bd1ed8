package meeting_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"belfry/internal/meeting"

	"pgregory.net/rapid"
)

// walk lists everything, page by page, and lets other things happen between the
// pages.
func walk(page func(meeting.Page) (ids []string, next string, err error), size func() int, between func()) ([][]string, error) {
	var pages [][]string
	token := ""
	for {
		ids, next, err := page(meeting.Page{Token: token, Max: size()})
		if err != nil {
			return pages, err
		}
		pages = append(pages, ids)
		if next == "" {
			return pages, nil
		}
		token = next
		between()
	}
}

// TestPagingWhileThingsChange lists more than 100 items while others come and
// go. Whoever is there from the first page to the last is listed exactly once,
// nobody is listed twice, and the order is that of creation.
func TestPagingWhileThingsChange(t *testing.T) {
	for _, what := range []string{"meetings", "attendees"} {
		t.Run(what, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				h := newHouse(t, meeting.ServiceOptions{})
				room := h.meeting(t, "room")
				made := 0
				var there []string // ids, in order of creation
				order := map[string]int{}
				create := func() {
					made++
					var id string
					if what == "meetings" {
						id = h.meeting(t, fmt.Sprint("m", made)).ID
					} else {
						id = h.attendee(t, room.ID, fmt.Sprint("u", made)).ID
					}
					there = append(there, id)
					order[id] = made
				}
				remove := func(i int) {
					id := there[i]
					there = append(there[:i:i], there[i+1:]...)
					var err error
					if what == "meetings" {
						err = h.DeleteMeeting(ctx, account, id)
					} else {
						err = h.DeleteAttendee(ctx, account, room.ID, id)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				list := func(p meeting.Page) (ids []string, next string, err error) {
					if what == "meetings" {
						var items []*meeting.Meeting
						items, next, err = h.ListMeetings(ctx, account, p)
						for _, m := range items {
							if m.ID != room.ID {
								ids = append(ids, m.ID)
							}
						}
						return ids, next, err
					}
					var items []*meeting.Attendee
					items, next, err = h.ListAttendees(ctx, account, room.ID, p)
					for _, a := range items {
						ids = append(ids, a.ID)
					}
					return ids, next, err
				}
				for range rapid.IntRange(101, 160).Draw(rt, "at first") {
					create()
				}
				stays := map[string]bool{}
				for _, id := range there {
					stays[id] = true
				}
				size := func() int { return rapid.SampledFrom([]int{0, 1, 7, 50, 99, 100}).Draw(rt, "size") }
				changes := 0
				between := func() {
					if changes++; changes > 60 {
						return // or creating goes on for as long as listing
					}
					for range rapid.IntRange(0, 3).Draw(rt, "created") {
						if what == "meetings" || len(there) < 240 {
							create()
						}
					}
					for range rapid.IntRange(0, 3).Draw(rt, "deleted") {
						i := rapid.IntRange(0, len(there)-1).Draw(rt, "which")
						delete(stays, there[i])
						remove(i)
					}
				}
				pages, err := walk(list, size, between)
				if err != nil {
					rt.Fatal(err)
				}
				seen, last := map[string]bool{}, 0
				for _, page := range pages {
					for _, id := range page {
						if seen[id] {
							rt.Fatalf("%s %d is listed twice", what, order[id])
						}
						if order[id] <= last {
							rt.Fatalf("%s %d is listed after %d", what, order[id], last)
						}
						seen[id], last = true, order[id]
					}
				}
				for id := range stays {
					if !seen[id] {
						rt.Fatalf("%s %d is not listed", what, order[id])
					}
				}
			})
		})
	}
}

// TestPages looks at the ends: exactly full pages, and none.
func TestPages(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m := h.meeting(t, "m")
	page := func(p meeting.Page) (int, string) {
		items, next, err := h.ListAttendees(ctx, account, m.ID, p)
		if err != nil {
			t.Fatal(err)
		}
		return len(items), next
	}
	if n, next := page(meeting.Page{}); n != 0 || next != "" {
		t.Errorf("an empty list: %d items, next %q", n, next)
	}
	for i := range 200 {
		h.attendee(t, m.ID, fmt.Sprint(i))
	}
	n, next := page(meeting.Page{})
	if n != 100 || next == "" {
		t.Fatalf("the first page has %d items, next %q", n, next)
	}
	if strings.Trim(next, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("NextToken %q needs escaping in an address", next)
	}
	if n, next := page(meeting.Page{Token: next}); n != 100 || next != "" {
		t.Errorf("the last page is exactly full: %d items, next %q", n, next)
	}
	for _, max := range []int{-1, 101} {
		_, _, err := h.ListAttendees(ctx, account, m.ID, meeting.Page{Max: max})
		wantCode(t, fmt.Sprint("MaxResults ", max), err, meeting.CodeBadRequest)
	}
}

// TestPageTokens uses a token where it was not given out.
func TestPageTokens(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	m, n := h.meeting(t, "m"), h.meeting(t, "n")
	for i := range 3 {
		h.attendee(t, m.ID, fmt.Sprint(i))
		h.attendee(t, n.ID, fmt.Sprint(i))
	}
	_, next, err := h.ListAttendees(ctx, account, m.ID, meeting.Page{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, ofMeetings, err := h.ListMeetings(ctx, account, meeting.Page{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(next)
	raw[7]++
	for name, token := range map[string]string{
		"another list's":   ofMeetings,
		"cut":              next[:len(next)-1],
		"longer":           next + "AAAA",
		"with a higher":    base64.RawURLEncoding.EncodeToString(raw),
		"zeroes":           strings.Repeat("A", len(next)),
		"not base64":       strings.Repeat("!", len(next)),
		"with line breaks": next[:16] + "\n" + next[16:],
	} {
		_, _, err := h.ListAttendees(ctx, account, m.ID, meeting.Page{Token: token})
		wantCode(t, name, err, meeting.CodeBadRequest)
	}
	_, _, err = h.ListAttendees(ctx, account, n.ID, meeting.Page{Token: next})
	wantCode(t, "another meeting's", err, meeting.CodeBadRequest)
	_, _, err = h.ListMeetings(ctx, other, meeting.Page{Token: ofMeetings})
	wantCode(t, "another account's", err, meeting.CodeBadRequest)

	// Another node, or this one after a restart, has the same key.
	again := meeting.NewService(h.store, meeting.ServiceOptions{})
	if items, _, err := again.ListAttendees(ctx, account, strings.ToUpper(m.ID), meeting.Page{Token: next}); err != nil || len(items) != 2 {
		t.Errorf("after a restart the token gives %d items, %v", len(items), err)
	}
}

func FuzzPageToken(f *testing.F) {
	h := newHouse(f, meeting.ServiceOptions{})
	for i := range 3 {
		h.meeting(f, fmt.Sprint(i))
	}
	_, good, err := h.ListMeetings(ctx, account, meeting.Page{Max: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("")
	f.Add(strings.Repeat("A", 32))
	f.Fuzz(func(t *testing.T, token string) {
		items, _, err := h.ListMeetings(ctx, account, meeting.Page{Token: token})
		switch {
		case token == good && (err != nil || len(items) != 1):
			t.Errorf("the good token gives %d items, %v", len(items), err)
		case token == "" && (err != nil || len(items) != 3):
			t.Errorf("no token gives %d items, %v", len(items), err)
		case token != good && token != "" && meeting.CodeOf(err) != meeting.CodeBadRequest:
			t.Errorf("a forged token gives %d items, %v", len(items), err)
		}
	})
}

func FuzzJoinToken(f *testing.F) {
	h := newHouse(f, meeting.ServiceOptions{})
	good := h.attendee(f, h.meeting(f, "m").ID, "ann").JoinToken.Reveal()
	f.Add(good)
	f.Add(strings.Repeat("A", meeting.JoinTokenLen))
	f.Add(good + meeting.ContentSuffix)
	f.Fuzz(func(t *testing.T, token string) {
		_, err := h.Authenticate(ctx, meeting.Secret(token))
		if token == good && err != nil || token != good && meeting.CodeOf(err) != meeting.CodeForbidden {
			t.Errorf("a token of %d bytes: %v", len(token), err)
		}
	})
}
