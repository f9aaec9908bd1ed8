package api

import (
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// Many callers with one ClientRequestToken, of both operations and both APIs, get
// one meeting, and none of them an error.
func TestConcurrentCreatesWithOneToken(t *testing.T) {
	s := start(t, nil)
	for round := range 5 {
		body := func(more string) string {
			return fmt.Sprintf(`{"ClientRequestToken":"round-%d","MediaRegion":"us-east-1","ExternalMeetingId":"%s"%s}`, round, uuid.NewString(), more)
		}
		answers := make([]answer, 40)
		var all sync.WaitGroup
		for i := range answers {
			in := request{method: "POST", path: []string{asC, asM}[i%2] + "/meetings", body: body("")}
			if i%4 < 2 {
				in.path += "?operation=create-attendees"
				in.body = body(fmt.Sprintf(`,"Attendees":[{"ExternalUserId":"everyone"},{"ExternalUserId":"user-%d"}]`, i))
			}
			all.Go(func() { answers[i] = s.do(in) })
		}
		all.Wait()
		var id, everyone string
		for i, a := range answers {
			if a.status/100 != 2 {
				t.Fatalf("call %d answered %d %s", i, a.status, a.raw)
			}
			made := a.body["Meeting"].(map[string]any)
			if id == "" {
				id = made["MeetingId"].(string)
			}
			if made["MeetingId"] != id {
				t.Errorf("one token made %v and %s", made["MeetingId"], id)
			}
			if list, ok := a.body["Attendees"].([]any); ok {
				first := list[0].(map[string]any)["JoinToken"].(string)
				if everyone == "" {
					everyone = first
				}
				if first != everyone {
					t.Error("one ExternalUserId made two attendees")
				}
			}
		}
		a := s.do(request{method: "GET", path: "/meetings/" + id + "/attendees"})
		if got := len(a.body["Attendees"].([]any)); got != 21 {
			t.Errorf("the meeting has %d attendees, want 20 and the one they share", got)
		}
	}
	if a := s.do(request{method: "GET", path: "/meetings"}); len(a.body["Meetings"].([]any)) != 5 {
		t.Errorf("%d meetings of 5 tokens", len(a.body["Meetings"].([]any)))
	}
}

// Many callers with one ExternalUserId get one attendee with one JoinToken, while
// others delete it: then it is another for all that come after.
func TestConcurrentCreatesOfOneAttendee(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	tokens := map[string]string{} // of each AttendeeId
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 10 {
				a := s.do(request{method: "POST", path: "/meetings/" + room + "/attendees", body: `{"ExternalUserId":"everyone"}`})
				if a.status != 201 {
					t.Errorf("answered %d %s", a.status, a.raw)
					return
				}
				made := a.body["Attendee"].(map[string]any)
				id, token := made["AttendeeId"].(string), made["JoinToken"].(string)
				mu.Lock()
				if known, ok := tokens[id]; ok && known != token {
					t.Errorf("the attendee %s has two tokens", id)
				}
				tokens[id] = token
				mu.Unlock()
				if i == 0 && n%3 == 0 {
					if a := s.do(request{method: "DELETE", path: "/meetings/" + room + "/attendees/" + id}); a.status != 204 {
						t.Errorf("DeleteAttendee answered %d %s", a.status, a.raw)
					}
				}
			}
		})
	}
	all.Wait()
	a := s.do(request{method: "GET", path: "/meetings/" + room + "/attendees"})
	if got := len(a.body["Attendees"].([]any)); got > 1 {
		t.Errorf("the meeting has %d attendees of one ExternalUserId", got)
	}
	if len(tokens) > 5 {
		t.Errorf("%d attendees were made, with four deleted", len(tokens))
	}
}

// Whoever walks the pages while others create and delete gets everything that is
// there all the time once, and nothing twice.
func TestPagingWhileOthersWrite(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	for _, list := range []struct{ path, items, id, create string }{
		{"/meetings", "Meetings", "MeetingId", "/meetings"},
		{"/meetings/" + room + "/attendees", "Attendees", "AttendeeId", "/meetings/" + room + "/attendees"},
	} {
		t.Run(list.items, func(t *testing.T) {
			s := *s
			s.t = t
			create := func() string {
				a := s.do(request{method: "POST", path: list.create, body: fmt.Sprintf(`{"ClientRequestToken":%q,"ExternalUserId":%[1]q}`, uuid.NewString())})
				if a.status != 201 {
					t.Errorf("answered %d %s", a.status, a.raw)
					return ""
				}
				return a.body[list.items[:len(list.items)-1]].(map[string]any)[list.id].(string)
			}
			stays := map[string]bool{}
			for range 30 {
				stays[create()] = true
			}
			for _, size := range []int{1, 2, 7, 10, 29, 30, 31, 100} {
				var writers sync.WaitGroup
				for range 3 {
					writers.Go(func() {
						for range 20 { // as long as they write at its end, a walk may not end
							s.do(request{method: "DELETE", path: list.path + "/" + create()})
						}
					})
				}
				seen := map[string]int{}
				for next := ""; ; {
					a := s.do(request{method: "GET", path: fmt.Sprintf("%s?max-results=%d&next-token=%s", list.path, size, url.QueryEscape(next))})
					if a.status != 200 {
						t.Fatalf("answered %d %s", a.status, a.raw)
					}
					page := a.body[list.items].([]any)
					if len(page) > size {
						t.Errorf("%d on a page of %d", len(page), size)
					}
					for _, item := range page {
						seen[item.(map[string]any)[list.id].(string)]++
					}
					if next, _ = a.body["NextToken"].(string); next == "" {
						break
					}
				}
				writers.Wait()
				for id := range stays {
					if seen[id] == 0 {
						t.Errorf("in pages of %d one is lost that was there all the time", size)
					}
				}
				for _, times := range seen {
					if times > 1 {
						t.Errorf("in pages of %d one comes %d times", size, times)
					}
				}
			}
		})
	}
}
