package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/internal/meeting"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var exact = cmp.Comparer(func(a, b meeting.Secret) bool { return a.Reveal() == b.Reveal() })

var at = time.Date(2024, 2, 29, 1, 2, 3, 456789012, time.UTC)

// everything has every member of every type set.
func everything() []Op {
	m := &meeting.Meeting{
		ID: "m", Seq: 1, Account: "a", ControlRegion: "r", ClientRequestToken: "t", ExternalMeetingID: "«x»",
		HostID: "h", MediaRegion: "mr", PrimaryMeetingID: "p", TenantIDs: []string{"1", "2"}, NetworkType: "n",
		Features:      &meeting.Features{AudioEchoReduction: "e", VideoMaxResolution: "v", ContentMaxResolution: "c", AttendeeMaxCount: 7},
		Notifications: meeting.Notifications{SNSTopicARN: "sns", SQSQueueARN: "sqs", LambdaFunctionARN: "lam", Webhooks: []string{"wh"}},
		Tags:          []meeting.Tag{{Key: "k", Value: "v"}, {Key: "only"}}, CreatedAt: at,
		Transcribing: &meeting.Transcribing{ID: "i", Region: "tr", Configuration: "{}", Status: meeting.TranscribingStarted, At: at},
	}
	a := &meeting.Attendee{
		ID: "a", Seq: 2, MeetingID: "m", ExternalUserID: "u", JoinToken: "secret",
		Capabilities: meeting.Capabilities{Audio: meeting.Send, Video: meeting.Receive, Content: meeting.NoMedia},
		Tags:         []meeting.Tag{{Key: "k", Value: "v"}}, CreatedAt: at,
	}
	return []Op{
		{Change: meeting.Change{MeetingPut: m}},
		{Change: meeting.Change{AttendeePut: a}},
		{Change: meeting.Change{PresencePut: &meeting.Presence{MeetingID: "m", AttendeeID: "a", Since: at, Video: true, Node: "n"}}},
		{Change: meeting.Change{PresencePut: &meeting.Presence{MeetingID: "m", AttendeeID: "a#content", Since: at}}},
		{Change: meeting.Change{PresenceDeleted: &meeting.Presence{MeetingID: "m", AttendeeID: "b"}}, Gone: at.Add(time.Second)},
		{Change: meeting.Change{Event: &meeting.Event{
			ID: "e", Number: 3, Type: meeting.EventAttendeeJoined, At: at, Account: "a", Region: "r", MeetingID: "m",
			ExternalMeetingID: "x", MediaRegion: "mr", AttendeeID: "a", ExternalUserID: "u", NetworkType: "Voip",
			Capabilities:  &meeting.Capabilities{Audio: meeting.Send, Video: meeting.Receive, Content: meeting.NoMedia},
			Transcription: &meeting.TranscriptionEvent{Region: "tr", Configuration: "{}", Message: "why"}}}},
		{Setting: &Setting{Name: "s", Value: []byte{0, 255}}},
		{Setting: &Setting{Name: "empty", Value: []byte{}}},
		{SettingGone: "gone"},
		{Delivered: &Delivered{MeetingID: "m", Delivery: meeting.Delivery{Target: meeting.Target{Kind: meeting.TargetSQS, Address: "sqs"}, Through: 3}}},
		{DeadLetter: &meeting.DeadLetter{Seq: 5, Target: meeting.Target{Kind: meeting.TargetSNS, Address: "sns"}, At: at, Attempts: 2,
			Reason: "r", Event: meeting.Event{ID: "d", Number: 2, Type: meeting.EventMeetingEnded, At: at, MeetingID: "m"}}},
		{DeadRemoved: 4},
	}
}

func encode(t testing.TB, id string, commits ...[]Op) []byte {
	t.Helper()
	var raw []json.RawMessage
	for _, ops := range commits {
		one, err := EncodeOps(ops)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, one)
	}
	data, err := EncodeRecord(id, raw)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRecordsAreWhole(t *testing.T) {
	want := Record{ID: "id", Commits: [][]Op{everything(), {
		{Change: meeting.Change{AttendeeDeleted: &meeting.Attendee{MeetingID: "m", ID: "a"}}},
		{Change: meeting.Change{MeetingDeleted: &meeting.Meeting{ID: "m"}}},
	}}}
	got, err := DecodeRecord(encode(t, want.ID, want.Commits...))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, exact); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, newer := range map[string]bool{
		``: false, `{`: false, `[]`: false, `{}`: false, `{"v":0}`: false, `{"v":-1}`: false,
		`{"v":1,"c":{}}`: false, `{"v":1,"c":[[{"m":7}]]}`: false, `{"v":1} x`: false,
		`{"v":2}`: true, `{"v":99,"c":{"another":"shape"}}`: true,
	} {
		_, err := DecodeRecord([]byte(text))
		if err == nil || errors.Is(err, ErrNewer) != newer {
			t.Errorf("%q: %v, want an error, newer version %v", text, err, newer)
		}
		if err := New().LoadChunk([]byte(text)); err == nil || errors.Is(err, ErrNewer) != newer {
			t.Errorf("%q as a chunk: %v", text, err)
		}
	}
	// A member that a later version adds is passed over.
	r, err := DecodeRecord([]byte(`{"v":1,"id":"x","later":1,"c":[[{"later":{}},{"md":"m","later":2}]]}`))
	if err != nil || len(r.Commits) != 1 || len(r.Commits[0]) != 2 || r.Commits[0][1].MeetingDeleted == nil {
		t.Errorf("an unknown member: %+v, %v", r, err)
	}
	New().Apply(r.Commits[0])
}

// load makes a State from the chunks of a snapshot.
func load(t testing.TB, s *Snapshot, size int) (state *State, chunks int) {
	t.Helper()
	state = New()
	for chunk, err := range s.Chunks(size) {
		if err != nil {
			t.Fatal(err)
		}
		if err := state.LoadChunk(chunk); err != nil {
			t.Fatal(err)
		}
		chunks++
	}
	return state, chunks
}

// contents is all that a State holds, in a form that can be compared.
func contents(t testing.TB, s *State) string {
	t.Helper()
	var lines []string
	snapshot := s.Snapshot()
	for op := range snapshot.ops() {
		line, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	// Maps give journals and settings in any order.
	head := 1 + len(snapshot.meetings) + len(snapshot.people)
	rest := map[string]bool{}
	for _, l := range lines[head:] {
		rest[l] = true
	}
	text, err := json.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(lines[:head:head], string(text)), "\n")
}

// randomly changes a State by transactions, and gives fn what each wrote.
func randomly(rt *rapid.T, s *State, fn func([]Op)) {
	for range rapid.IntRange(0, 40).Draw(rt, "commits") {
		ops, err := Stage(s).Run(func(tx meeting.Tx) error {
			for range rapid.IntRange(1, 4).Draw(rt, "writes") {
				room := fmt.Sprint("m", rapid.IntRange(0, 3).Draw(rt, "meeting"))
				person := fmt.Sprint(room, "a", rapid.IntRange(0, 3).Draw(rt, "attendee"))
				_, there := tx.Meeting(room)
				switch rapid.IntRange(0, 7).Draw(rt, "what") {
				case 0:
					m := &meeting.Meeting{ID: room, Account: "a", ClientRequestToken: room, CreatedAt: at}
					m.HostID = fmt.Sprint(rapid.IntRange(0, 2).Draw(rt, "host"))
					if room != "m0" {
						m.Notifications.SNSTopicARN = "arn"
					}
					tx.PutMeeting(m)
				case 1:
					tx.DeleteMeeting(room)
				case 2, 3:
					if there {
						tx.PutAttendee(&meeting.Attendee{ID: person, MeetingID: room, ExternalUserID: person, JoinToken: "t", CreatedAt: at})
					}
				case 4:
					tx.DeletePresence(room, person, at)
					tx.DeletePresence(room, person+meeting.ContentSuffix, at)
					tx.DeleteAttendee(room, person)
				case 6, 7:
					who := person + rapid.SampledFrom([]string{"", "", meeting.ContentSuffix}).Draw(rt, "who")
					when := at.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, "when")) * time.Second)
					switch _, there = tx.Attendee(room, person); {
					case !there:
					case rapid.Bool().Draw(rt, "joins"):
						tx.PutPresence(meeting.Presence{MeetingID: room, AttendeeID: who, Since: when, Video: rapid.Bool().Draw(rt, "video")})
					default:
						tx.DeletePresence(room, who, when)
					}
				case 5:
					tx.Emit(meeting.Event{ID: person, MeetingID: room, At: at, Type: meeting.EventAttendeeJoined})
				}
			}
			tx.PutSetting("last", []byte{byte(rapid.IntRange(0, 3).Draw(rt, "setting"))})
			return nil
		}, nil)
		if err != nil {
			rt.Fatal(err)
		}
		s.Apply(ops)
		fn(ops)
	}
}

// TestSnapshotAndLogAgree builds one state in three ways: by commits, by the
// commits as they are encoded, and by a snapshot in small pieces.
func TestSnapshotAndLogAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		direct, replayed := New(), New()
		var log [][]byte
		randomly(rt, direct, func(ops []Op) { log = append(log, encode(t, "x", ops)) })
		for _, data := range log {
			r, err := DecodeRecord(data)
			if err != nil {
				rt.Fatal(err)
			}
			for _, ops := range r.Commits {
				replayed.Apply(ops)
			}
		}
		if d := cmp.Diff(contents(t, direct), contents(t, replayed)); d != "" {
			rt.Fatalf("by the log (-direct +log):\n%s", d)
		}
		loaded, chunks := load(t, direct.Snapshot(), rapid.IntRange(1, 2000).Draw(rt, "size"))
		if chunks == 0 {
			rt.Fatal("a snapshot of nothing has no chunk")
		}
		if d := cmp.Diff(contents(t, direct), contents(t, loaded)); d != "" {
			rt.Fatalf("by the snapshot (-direct +loaded):\n%s", d)
		}
		for id, r := range direct.rooms {
			if d := cmp.Diff(r.attendance, loaded.rooms[id].attendance); d != "" {
				rt.Fatalf("attendance of %s by the snapshot (-direct +loaded):\n%s", id, d)
			}
		}
		for id := range direct.journals {
			if d := cmp.Diff(direct.Events(id, 0, 1000), loaded.Events(id, 0, 1000)); d != "" {
				rt.Fatalf("events by the snapshot (-direct +loaded):\n%s", d)
			}
		}
	})
}

// TestFailedTransactionsLeaveNothing stages transactions of which some fail or
// panic, and compares all with what the others alone stage.
func TestFailedTransactionsLeaveNothing(t *testing.T) {
	errFailed := errors.New("failed")
	rapid.Check(t, func(rt *rapid.T) {
		s := New()
		randomly(rt, s, func([]Op) {})
		all, good := Stage(s), Stage(s)
		for range rapid.IntRange(1, 20).Draw(rt, "transactions") {
			how := rapid.SampledFrom([]string{"succeeds", "fails", "panics", "is refused"}).Draw(rt, "how")
			seed := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 5).Draw(rt, "writes")
			var seen, wanted string
			one := func(seen *string) func(meeting.Tx) error {
				return func(tx meeting.Tx) error {
					scribble(tx, seed)
					*seen = survey(tx)
					switch how {
					case "fails":
						return errFailed
					case "panics":
						panic("out of tune")
					}
					return nil
				}
			}
			ops, err := all.Run(one(&seen), func([]Op) error {
				if how == "is refused" {
					return errFailed
				}
				return nil
			})
			if how != "succeeds" {
				if err == nil || len(ops) != 0 {
					rt.Fatalf("one that %s: %d writes, %v", how, len(ops), err)
				}
				continue
			}
			want, err2 := good.Run(one(&wanted), nil)
			if err != nil || err2 != nil {
				rt.Fatal(err, err2)
			}
			if d := cmp.Diff(want, ops, exact); d != "" {
				rt.Fatalf("writes (-alone +after failures):\n%s", d)
			}
			if d := cmp.Diff(wanted, seen); d != "" {
				rt.Fatalf("reads (-alone +after failures):\n%s", d)
			}
		}
	})
}

// scribble writes what the numbers say.
func scribble(tx meeting.Tx, numbers []int) {
	for _, n := range numbers {
		room := fmt.Sprint("m", n/10%4)
		person := fmt.Sprint(room, "a", n/100%4)
		_, there := tx.Meeting(room)
		switch n % 8 {
		case 0, 1:
			m := &meeting.Meeting{ID: room, Account: "a", ClientRequestToken: room, HostID: fmt.Sprint(n), CreatedAt: at}
			m.Notifications.SNSTopicARN = "arn"
			tx.PutMeeting(m)
		case 2:
			tx.DeleteMeeting(room)
		case 3:
			if there {
				tx.PutAttendee(&meeting.Attendee{ID: person, MeetingID: room, ExternalUserID: person, CreatedAt: at})
			}
		case 4:
			tx.DeletePresence(room, person, at)
			tx.DeletePresence(room, person+meeting.ContentSuffix, at)
			tx.DeleteAttendee(room, person)
		case 6, 7:
			who := person
			if n/2000%2 == 0 {
				who += meeting.ContentSuffix
			}
			if _, there = tx.Attendee(room, person); there && n/1000%2 == 0 {
				tx.PutPresence(meeting.Presence{MeetingID: room, AttendeeID: who, Since: at, Node: fmt.Sprint(n)})
			} else if there {
				tx.DeletePresence(room, who, at.Add(time.Duration(n)))
			}
		case 5:
			tx.Emit(meeting.Event{ID: fmt.Sprint(n), MeetingID: room, At: at})
			tx.PutSetting(room, []byte(fmt.Sprint(n)))
		}
	}
}

// survey is all that a Reader tells of what scribble writes.
func survey(r meeting.Reader) string {
	var b strings.Builder
	list := func(what string, v any) {
		text, _ := json.Marshal(v)
		fmt.Fprintln(&b, what, string(text))
	}
	list("meetings", r.Meetings("a", 0, 100))
	list("count", r.MeetingCount("a"))
	ids := r.MeetingIDs()
	slices.Sort(ids)
	list("ids", ids)
	for n := range 4 {
		room := fmt.Sprint("m", n)
		m, _ := r.MeetingByToken("a", room)
		setting, _ := r.Setting(room)
		attendance, live := r.Attendance(room)
		list("present", []any{attendance, live, r.Presences(room)})
		list(room, []any{m, r.AttendeeCount(room), r.Attendees(room, 0, 100), r.Events(room, 0, 1000), string(setting)})
		for k := range 4 {
			a, _ := r.AttendeeByID(fmt.Sprint(room, "a", k))
			user, _ := r.AttendeeByUser(room, fmt.Sprint(room, "a", k))
			list("attendee", []any{a, user})
		}
	}
	return b.String()
}

// TestDiff leads a watcher from one state to another that it did not see grow.
func TestDiff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := New()
		randomly(rt, s, func([]Op) {})
		from, _ := load(t, s.Snapshot(), 1<<20)
		told, _ := load(t, s.Snapshot(), 1<<20)
		randomly(rt, s, func([]Op) {})
		var ops []Op
		for _, ch := range Diff(from, s).Changes {
			ops = append(ops, written(ch))
		}
		told.Apply(ops)
		var want, got []string
		for id, r := range s.rooms {
			want = append(want, fmt.Sprint(id, r.meeting.HostID, r.meeting.Seq, s.Presences(id)))
		}
		for id, r := range told.rooms {
			got = append(got, fmt.Sprint(id, r.meeting.HostID, r.meeting.Seq, told.Presences(id)))
		}
		for id, a := range s.people {
			want = append(want, fmt.Sprint(id, a.Seq))
		}
		for id, a := range told.people {
			got = append(got, fmt.Sprint(id, a.Seq))
		}
		if d := cmp.Diff(sorted(want), sorted(got)); d != "" {
			rt.Fatalf("(-want +told):\n%s", d)
		}
		if again := Diff(s, s); len(again.Changes) != 0 {
			rt.Fatalf("a state differs from itself: %+v", again)
		}
	})
}

// written is the write that watchers were told of.
func written(ch meeting.Change) Op {
	if ch.AttendeeUpdated != nil {
		ch = meeting.Change{AttendeePut: ch.AttendeeUpdated}
	}
	return Op{Change: ch}
}

func sorted(in []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range in {
		out[s] = true
	}
	return out
}

// TestSnapshotStaysAsItWas goes on writing after a snapshot was taken.
func TestSnapshotStaysAsItWas(t *testing.T) {
	s := New()
	s.Apply(everything())
	want := contents(t, s)
	snapshot := s.Snapshot()
	for n := range 50 {
		s.Apply([]Op{{Change: meeting.Change{Event: &meeting.Event{ID: "late", Number: uint64(4 + n), MeetingID: "m", At: at}}}})
	}
	s.Apply([]Op{{Change: meeting.Change{MeetingDeleted: &meeting.Meeting{ID: "m"}}}})
	loaded, _ := load(t, snapshot, 100)
	if d := cmp.Diff(want, contents(t, loaded)); d != "" {
		t.Errorf("(-as it was +snapshot):\n%s", d)
	}
}

// TestEventsEnd keeps events until every target has them, however long that
// takes, and what tells of them for a while more.
func TestEventsEnd(t *testing.T) {
	s := New()
	s.Apply(everything())
	s.Apply([]Op{{Change: meeting.Change{MeetingDeleted: &meeting.Meeting{ID: "m"}}}})
	s.Prune(at.Add(1000 * time.Hour))
	if n := len(s.Events("m", 0, 10)); n != 1 {
		t.Errorf("of an event that one target of four has, %d are left, want 1", n)
	}
	var ops []Op
	for _, d := range s.Deliveries("m") {
		ops = append(ops, Op{Delivered: &Delivered{"m", meeting.Delivery{Target: d.Target, Through: 3}}})
	}
	if len(ops) != 3 {
		t.Errorf("%d targets lack the event, want 3", len(ops))
	}
	s.Apply(ops)
	s.Prune(at.Add(LateWords))
	if n := len(s.Events("m", 0, 10)); n != 0 || len(s.journals) != 1 {
		t.Errorf("when all have it, %d events and %d journals are left, want 0 and 1", n, len(s.journals))
	}
	s.Prune(at.Add(LateWords + 1))
	if len(s.journals) != 0 {
		t.Errorf("later %d journals are left", len(s.journals))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, "id", everything()))
	f.Add(encode(f, "id", []Op{{Change: meeting.Change{AttendeeDeleted: &meeting.Attendee{MeetingID: "m", ID: "a"}}}},
		[]Op{{Change: meeting.Change{MeetingDeleted: &meeting.Meeting{ID: "m"}}}}))
	s := New()
	s.Apply(everything())
	for chunk := range s.Snapshot().Chunks(1 << 20) {
		f.Add(chunk)
	}
	f.Add([]byte(`{"v":1,"c":[[{"m":{"id":"m"}},{"a":{"id":"a","m":"m"}},{"a":{"id":"a","m":"m","n":5}},{"a":{"id":"b","m":"m","n":3}}]]}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		state := New()
		if err := state.LoadChunk(data); err == nil {
			contents(t, state)
		}
		r, err := DecodeRecord(data)
		if err != nil {
			return
		}
		state = New()
		for _, ops := range r.Commits {
			state.Apply(ops)
		}
		again, err := DecodeRecord(encode(t, r.ID, r.Commits...))
		if err != nil {
			t.Fatalf("what was decoded does not encode to what decodes: %v", err)
		}
		if d := cmp.Diff(r, again, exact); d != "" {
			t.Errorf("decoded, encoded and decoded (-first +second):\n%s", d)
		}
	})
}
