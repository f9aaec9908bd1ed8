package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"belfry/internal/meeting"
)

var wide = Limits{MeetingEvents: 10_000, MeetingBytes: 8 << 20, Bytes: 256 << 20, Age: time.Hour}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func openAt(t tester, dir string, limits Limits, now func() time.Time) *Archive {
	t.Helper()
	a, err := openArchive(dir, limits, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), now)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return a
}

func open(t *testing.T, dir string, limits Limits) *Archive {
	t.Helper()
	a := openAt(t, dir, limits, time.Now)
	t.Cleanup(func() { closeArchive(t, a) })
	return a
}

func closeArchive(t tester, a *Archive) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func flush(t tester, a *Archive) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.Flush(ctx); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// numbered is a post of events that are numbered on from first, each with an
// attribute of a size.
func numbered(first, n, size int) Post {
	p := Post{At: time.Now().UTC().Truncate(time.Millisecond), Attendee: idOf(7)}
	for i := range n {
		p.Events = append(p.Events, Event{Name: "numbered", Ts: json.Number(fmt.Sprint(first + i)),
			Attributes: json.RawMessage(`{"x":"` + strings.Repeat("y", size) + `"}`)})
	}
	return p
}

// numbers reads the numbers of the events that are kept of a meeting.
func numbers(t tester, dir string, meetingN int) (list []int, s Summary) {
	t.Helper()
	all, err := Read(dir, Filter{Meeting: idOf(meetingN)}, func(_ Room, _ Post, e Event) {
		n, err := e.Ts.Int64()
		if err != nil {
			t.Errorf("event %+v", e)
		}
		list = append(list, int(n))
	})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if len(all) > 0 {
		s = all[0]
	}
	return list, s
}

// lastOnes fails unless list is the numbers up to the last, without a gap.
func lastOnes(t tester, list []int, last int) {
	t.Helper()
	for i, n := range list {
		if want := last - len(list) + 1 + i; n != want {
			t.Fatalf("event %d of %d is number %d, want %d", i+1, len(list), n, want)
		}
	}
}

func (a *Archive) droppedFor(reason string) int {
	return int(testutil.ToFloat64(a.dropped.WithLabelValues(reason)))
}

// Whatever comes, in whatever portions, with restarts between: what is kept of a
// meeting is its newest events, within the bounds, not much less than those
// allow, and it is known how many went.
func TestOldestGoFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "belfry-archive")
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer os.RemoveAll(dir)
		limits := Limits{MeetingEvents: rapid.IntRange(maxEvents, 2000).Draw(t, "events"), MeetingBytes: 1 << 20, Bytes: 1 << 30, Age: time.Hour}
		a := openAt(t, dir, limits, time.Now)
		defer func() { closeArchive(t, a) }()
		room, next, biggest := Room{Meeting: idOf(1), ExternalMeeting: "room"}, 0, 0
		steps := rapid.IntRange(1, 25).Draw(t, "steps")
		for step := range steps {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				closeArchive(t, a)
				a = openAt(t, dir, limits, time.Now)
			default:
				n := rapid.IntRange(1, maxEvents).Draw(t, "n")
				size := rapid.OneOf(rapid.Just(0), rapid.Just(maxPostSize/n-100), rapid.IntRange(0, maxPostSize/n-100)).Draw(t, "size")
				a.Keep(room, numbered(next, n, size), 0)
				next += n
				biggest = max(biggest, n)
				flush(t, a)
			}
			if step < steps-1 && step%8 > 0 {
				continue // reading is slow
			}
			list, s := numbers(t, dir, 1)
			lastOnes(t, list, next-1)
			if len(list) > limits.MeetingEvents || next > 0 && len(list) == 0 {
				t.Fatalf("%d events are kept, of at most %d", len(list), limits.MeetingEvents)
			}
			if s.Dropped+len(list) != next || s.Torn != 0 {
				t.Fatalf("%d events, %d there, %d dropped, %d torn", next, len(list), s.Dropped, s.Torn)
			}
			bytes := int64(0)
			found, _ := listSegments(dir)
			for _, one := range found[idOf(1)] {
				bytes += one.bytes
			}
			if bytes > limits.MeetingBytes {
				t.Fatalf("%d bytes are kept, of at most %d", bytes, limits.MeetingBytes)
			}
			if s.Dropped > 0 && len(list) < limits.MeetingEvents/2-2*biggest && bytes < limits.MeetingBytes/2-2*maxPostSize {
				t.Fatalf("only %d events in %d bytes are kept, and %d were dropped", len(list), bytes, s.Dropped)
			}
		}
	})
}

func TestOtherMeetingsMakeRoom(t *testing.T) {
	dir := t.TempDir()
	limits := Limits{MeetingEvents: 1000, MeetingBytes: 1 << 20, Bytes: 2 << 20, Age: time.Hour}
	a := open(t, dir, limits)
	const meetings = 100
	for n := range meetings {
		a.Keep(Room{Meeting: idOf(n)}, numbered(0, 10, 8000), 0)
		flush(t, a)
		a.Keep(Room{Meeting: idOf(0)}, numbered(n, 1, 0), 0) // is never silent
		flush(t, a)
	}
	list, err := Read(dir, Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	there, events := map[string]bool{}, 0
	for _, s := range list {
		there[s.Meeting] = true
		events += s.Events
	}
	total := int64(0)
	found, _ := listSegments(dir)
	for _, segs := range found {
		for _, one := range segs {
			total += blocks(one.bytes)
		}
	}
	if total > limits.Bytes || total < limits.Bytes/2 {
		t.Errorf("%d bytes are kept, of at most %d", total, limits.Bytes)
	}
	if !there[idOf(0)] || !there[idOf(meetings-1)] || there[idOf(1)] {
		t.Errorf("the wrong ones went: %v", there)
	}
	if got := a.droppedFor(dropAll); got+events != meetings*11 {
		t.Errorf("%d events are there and %d were dropped, of %d", events, got, meetings*11)
	}
	if int(a.bytes) != int(total) || a.meetings != len(list) {
		t.Errorf("the metrics say %d bytes of %d meetings, want %d of %d", a.bytes, a.meetings, total, len(list))
	}
	// What another run left is held to the bounds too.
	closeArchive(t, a)
	limits.Bytes = 1 << 20
	b := open(t, dir, limits)
	if b.total > limits.Bytes || b.total == 0 {
		t.Errorf("after a start with less room %d bytes are kept, of at most %d", b.total, limits.Bytes)
	}
}

func TestOldMeetingsGo(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	a := openAt(t, dir, wide, clock)
	defer closeArchive(t, a)
	a.Keep(Room{Meeting: idOf(1)}, numbered(0, 3, 0), 0)
	flush(t, a)
	mu.Lock()
	now = now.Add(wide.Age + time.Second)
	mu.Unlock()
	a.Keep(Room{Meeting: idOf(2)}, numbered(0, 1, 0), 0)
	flush(t, a)
	if list, _ := numbers(t, dir, 1); len(list) != 0 || a.droppedFor(dropAge) != 3 {
		t.Errorf("%d old events are there, %d were dropped", len(list), a.droppedFor(dropAge))
	}
	if list, _ := numbers(t, dir, 2); len(list) != 1 {
		t.Errorf("%d new events are there", len(list))
	}
}

// A crash leaves a line without its end, a disk worse. What is written after it
// is found.
func TestTornLines(t *testing.T) {
	good := encodeLine(numbered(0, 2, 10))
	head := encodeLine(opening{Room: Room{Meeting: idOf(1), ExternalMeeting: "room"}, Dropped: 5})
	for name, test := range map[string]struct {
		content       []byte
		kept, dropped int
	}{
		"line":   {append(append([]byte{}, append(head, good...)...), good[:len(good)/2]...), 2, 5},
		"end":    {append(append([]byte{}, head...), good[:len(good)-1]...), 2, 5},
		"head":   {head[:10], 0, 0},
		"zeros":  {append(append([]byte{}, head...), make([]byte, 5000)...), 0, 5},
		"empty":  {nil, 0, 0},
		"middle": {append(append(append([]byte{}, head...), "{\"at\n"...), good...), 2, 5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, idOf(1)+".3.jsonl")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			a := open(t, dir, wide)
			a.Keep(Room{Meeting: idOf(1)}, numbered(100, 1, 0), 0)
			flush(t, a)
			a.Keep(Room{Meeting: idOf(1)}, numbered(101, 1, 0), 0)
			flush(t, a)
			list, s := numbers(t, dir, 1)
			if len(list) != test.kept+2 || list[len(list)-1] != 101 || list[len(list)-2] != 100 || s.Dropped != test.dropped {
				t.Errorf("events %v, %+v", list, s)
			}
		})
	}
}

// Posts of many at once to few meetings, beside readers: each event is kept or
// counted as dropped, each meeting's are in the order in which they came.
func TestConcurrentPosts(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Limits{MeetingEvents: 400, MeetingBytes: 1 << 20, Bytes: 2 << 20, Age: time.Hour})
	const meetings, posts = 4, 200
	stop := make(chan struct{})
	var readers, posters sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				numbers(t, dir, 1)
			}
		}
	})
	for m := range meetings {
		for range 2 {
			posters.Go(func() {
				for i := range posts {
					a.Keep(Room{Meeting: idOf(m)}, numbered(i, 1, 500), 0)
					if i%20 == 0 {
						flush(t, a)
					}
				}
			})
		}
	}
	posters.Wait()
	flush(t, a)
	close(stop)
	readers.Wait()
	kept := 0
	for m := range meetings {
		list, s := numbers(t, dir, m)
		kept += len(list)
		if s.Torn != 0 || len(list)+s.Dropped != 2*posts {
			t.Errorf("of %d events %d are there and %d dropped, %d torn", 2*posts, len(list), s.Dropped, s.Torn)
		}
	}
	if dropped := a.droppedFor(dropMeeting); kept+dropped != 2*meetings*posts {
		t.Errorf("%d events are there and %d dropped, of %d", kept, dropped, 2*meetings*posts)
	}
}

// A disk that takes nothing for a while does not hold up a post, and what waits
// for it is bounded.
func TestStuckDisk(t *testing.T) {
	dir := t.TempDir()
	// Into a pipe that nobody reads no more than some pages can be written.
	pipe := filepath.Join(dir, idOf(1)+".1.jsonl")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir, wide)
	const posts = 200
	size := 0
	for i := range posts {
		p := numbered(i, 1, maxEventSize)
		size += len(encodeLine(p))
		a.Keep(Room{Meeting: idOf(1)}, p, 0)
	}
	a.mu.Lock()
	waiting := a.waiting
	a.mu.Unlock()
	if waiting > maxWaitingMeeting || a.droppedFor(dropBusy) < (size-2*maxWaitingMeeting)/(size/posts)-2 {
		t.Errorf("%d bytes wait, %d events were dropped", waiting, a.droppedFor(dropBusy))
	}
	ctx, cancel := context.WithCancel(context.Background())
	flushing := make(chan error, 1)
	go func() { flushing <- a.Flush(ctx) }()
	cancel()
	if err := <-flushing; err == nil && waiting > 0 {
		t.Log("the pipe took all")
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, reader) }()
	flush(t, a)
	_ = reader.Close()
	<-drained
}

func TestDiskRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	a := open(t, dir, wide)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	a.Keep(Room{Meeting: idOf(1)}, numbered(0, 3, 0), 0)
	flush(t, a)
	if got := a.droppedFor(dropDisk); got != 3 {
		t.Errorf("%d events were counted as refused by the disk, want 3", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a.Keep(Room{Meeting: idOf(1)}, numbered(3, 2, 0), 0)
	flush(t, a)
	if list, _ := numbers(t, dir, 1); !cmp.Equal(list, []int{3, 4}) {
		t.Errorf("kept %v", list)
	}
	closeArchive(t, a)
	a.Keep(Room{Meeting: idOf(1)}, numbered(5, 1, 0), 0)
	if got := a.droppedFor(dropBusy); got != 1 {
		t.Errorf("a post after the end: %d dropped", got)
	}
}

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, wide)
	long := time.Now().Add(-2 * time.Hour).UTC()
	for i, p := range []Post{
		{At: long, Attendee: idOf(1), Events: []Event{{Name: "a"}, {Name: "b"}}},
		{At: time.Now().UTC(), Attendee: idOf(1), Events: []Event{{Name: "b"}}},
		{At: time.Now().UTC(), Attendee: idOf(2), Events: []Event{{Name: "b"}, {Name: "c"}}},
	} {
		a.Keep(Room{Meeting: idOf(i % 2), ExternalMeeting: fmt.Sprint("room ", i%2)}, p, 0)
	}
	flush(t, a)
	for _, test := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "0:1a 0:1b 0:2b 0:2c 1:1b"},
		{Filter{Meeting: idOf(1)}, "1:1b"},
		{Filter{Attendee: idOf(2)}, "0:2b 0:2c"},
		{Filter{Name: "b"}, "0:1b 0:2b 1:1b"},
		{Filter{Name: "b", Since: long.Add(time.Hour)}, "0:2b 1:1b"},
		{Filter{Meeting: "../x"}, ""},
	} {
		count := 0
		got := map[string]string{}
		list, err := Read(dir, test.f, func(r Room, p Post, e Event) {
			count++
			got[r.Meeting] += fmt.Sprintf(" %c:%c%s", r.Meeting[len(r.Meeting)-1], p.Attendee[len(p.Attendee)-1], e.Name)
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.TrimSpace(got[idOf(0)] + got[idOf(1)]); text != test.want {
			t.Errorf("%+v: %q, want %q", test.f, text, test.want)
		}
		for _, s := range list {
			if count -= s.Events; s.ExternalMeeting != "room "+s.Meeting[len(s.Meeting)-1:] || s.Attendees == 0 || s.Last.Before(s.First) {
				t.Errorf("%+v: %+v", test.f, s)
			}
		}
		if count != 0 {
			t.Errorf("%+v: the sums are off by %d", test.f, count)
		}
	}
	if list, err := Read(filepath.Join(dir, "none"), Filter{}, nil); err != nil || len(list) != 0 {
		t.Errorf("of no directory: %v, %v", list, err)
	}
}

// From a post to a file: whose it is comes from the token, which is in no file;
// the last ones come when the meeting is gone.
func TestKeptOfPosts(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, wide)
	alive, left, ended := tokenOf(1), tokenOf(2), tokenOf(3)
	h := New(one(alive.Reveal()), a, prometheus.NewRegistry())
	now := time.Now()
	h.now = func() time.Time { return now }
	post := func(token meeting.Secret, name string, beacon bool) {
		t.Helper()
		body, header := `"events":[{"payloads":[{"name":"`+name+`","ts":1,"said":"`+token.Reveal()+`"}]}]}`, "Bearer "+token.Reveal()
		if beacon {
			body, header = `{"authorization":"`+token.Reveal()+`",`+body, ""
		} else {
			body = "{" + body
		}
		r := httptest.NewRequest("POST", "/v1/client-events?beacon=1", strings.NewReader(body))
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	h.Committed(meeting.Commit{Changes: []meeting.Change{
		{AttendeeDeleted: &meeting.Attendee{ID: idOf(12), MeetingID: idOf(1), JoinToken: left}},
		{MeetingDeleted: &meeting.Meeting{ID: idOf(3), ExternalMeetingID: "room 3"},
			Attendees: []*meeting.Attendee{{ID: idOf(13), MeetingID: idOf(3), JoinToken: ended}, {ID: idOf(14), MeetingID: idOf(3), JoinToken: tokenOf(4)}}},
	}})
	post(alive, "first", false)
	post(alive, "second", true)
	post(left, "third", true)
	post(ended, "fourth", false)
	now = now.Add(lateFor)
	post(ended, "fifth", true)
	now = now.Add(time.Second)
	post(ended, "tooLate", false)
	post(tokenOf(99), "nobody", false)
	flush(t, a)
	got := map[string]string{}
	list, err := Read(dir, Filter{}, func(r Room, p Post, e Event) {
		got[e.Name] = fmt.Sprint(r.Meeting, " ", p.Attendee, " ", p.Late, " ", string(e.Attributes))
	})
	if err != nil {
		t.Fatal(err)
	}
	text := func(meetingN, attendeeN int, late bool) string {
		return fmt.Sprint(idOf(meetingN), " ", idOf(attendeeN), " ", late, ` {"said":"[redacted]"}`)
	}
	want := map[string]string{"first": text(1, 7, false), "second": text(1, 7, false), "third": text(1, 12, true),
		"fourth": text(3, 13, true), "fifth": text(3, 13, true)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	rooms := map[string]string{}
	for _, s := range list {
		rooms[s.Meeting] = s.ExternalMeeting
	}
	if d := cmp.Diff(map[string]string{idOf(1): "room 1", idOf(3): "room 3"}, rooms); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := testutil.ToFloat64(h.events.WithLabelValues(unknownSender)); n != 2 {
		t.Errorf("%v events of nobody were counted, want 2", n)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			if strings.Contains(string(data), tokenOf(n).Reveal()) {
				t.Errorf("token %d is in %s", n, path)
			}
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
	}
}

func TestDepartedAreBounded(t *testing.T) {
	h := New(fakeAuth{}, nil, prometheus.NewRegistry())
	now := time.Now()
	h.now = func() time.Time { return now }
	for n := range maxDeparted + 100 {
		h.Committed(meeting.Commit{Changes: []meeting.Change{{AttendeeDeleted: &meeting.Attendee{ID: idOf(n), JoinToken: tokenOf(n)}}}})
	}
	if n := len(h.departed.tokens); n != maxDeparted || len(h.departed.order) != n {
		t.Errorf("%d and %d are remembered, want %d", n, len(h.departed.order), maxDeparted)
	}
	now = now.Add(lateFor + 1)
	h.Committed(meeting.Commit{Changes: []meeting.Change{{AttendeeDeleted: &meeting.Attendee{JoinToken: lastOne}}}})
	if n := len(h.departed.tokens); n != 1 {
		t.Errorf("%d are remembered long after, want 1", n)
	}
}

var lastOne = tokenOf(999_999)
