// Package crash kills a process that writes to the durable store, at random
// moments and without a warning, and looks for what it had acknowledged.
package crash

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/jetstream"
)

const (
	dirVariable = "BELFRY_CRASH_DIR" // set: this process is the one to be killed
	account     = "123456789012"
	rounds      = 10
	batch       = 20
	// snapshotEvery is few, so that many kills meet a snapshot.
	snapshotEvery = 40
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		work := write
		if os.Getenv(historyVariable) != "" {
			work = tell
		}
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it ends by being killed
	}
	os.Exit(m.Run())
}

func openStore(dir string) (*jetstream.Store, error) {
	return jetstream.Open(context.Background(), jetstream.Config{Dir: dir, SnapshotMessages: snapshotEvery})
}

// ledger is what the writing process said that it was doing and had done.
type ledger struct {
	acknowledged map[string]string // attendee id → meeting id; "" for a meeting
	ending       map[string]bool   // a deletion was asked for
	ended        map[string]bool   // and acknowledged
	writes       int
}

func (l *ledger) line(text string) error {
	f := strings.Fields(text)
	switch {
	case len(f) == 2 && f[0] == "meeting":
		l.acknowledged[f[1]] = ""
	case len(f) >= 3 && f[0] == "attendees":
		for _, id := range f[2:] {
			l.acknowledged[id] = f[1]
		}
	case len(f) == 2 && f[0] == "ending":
		l.ending[f[1]] = true
		return nil
	case len(f) == 2 && f[0] == "ended":
		l.ended[f[1]] = true
	default:
		return fmt.Errorf("the process said %q", text)
	}
	l.writes++
	return nil
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	l := &ledger{acknowledged: map[string]string{}, ending: map[string]bool{}, ended: map[string]bool{}}
	for round := 0; round < rounds || l.writes < 10*rounds && round < 10*rounds; round++ { // more where little is written in their time
		before := l.writes
		// Some kills meet the start, most of them the writing.
		lives := time.Duration(rand.IntN(400)) * time.Millisecond
		runAndKill(t, dir, l, round%4 != 3, lives)
		s, err := openStore(dir)
		if err != nil {
			t.Fatalf("round %d: open after a kill: %v", round, err)
		}
		meetings, attendees := check(t, s, l)
		if err := s.Close(); err != nil {
			t.Errorf("round %d: close: %v", round, err)
		}
		t.Logf("round %d: killed after %v, %d writes acknowledged; %d meetings and %d attendees are there",
			round+1, lives, l.writes-before, meetings, attendees)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d writes acknowledged, %d meetings and attendees made, none missing",
		rounds, l.writes, len(l.acknowledged))
	if l.writes < 10*rounds {
		t.Errorf("only %d writes were acknowledged: the test proves little", l.writes)
	}
}

// runAndKill runs this program as the one to be killed, for a while after its
// start or after its first acknowledgement.
func runAndKill(t *testing.T, dir string, l *ledger, afterFirst bool, lives time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe() // its end tells the process that nobody listens
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { cmd.Process.Kill() }
	if !afterFirst {
		defer time.AfterFunc(lives, kill).Stop()
	}
	defer time.AfterFunc(5*time.Minute, kill).Stop()
	lines := bufio.NewReader(stdout)
	for first := true; ; first = false {
		text, err := lines.ReadString('\n')
		if err != nil {
			break // a line without its end was not said
		}
		if first && afterFirst {
			defer time.AfterFunc(lives, kill).Stop()
		}
		if err := l.line(text); err != nil {
			t.Error(err)
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process ended before it was killed: %v: %s", err, &complaint)
	}
}

// check looks for all that was acknowledged, and for anything half done.
func check(t *testing.T, s *jetstream.Store, l *ledger) (meetings, attendees int) {
	t.Helper()
	err := s.View(context.Background(), func(r meeting.Reader) error {
		for id, room := range l.acknowledged {
			there := false
			if room == "" {
				_, there = r.Meeting(id)
			} else {
				_, there = r.Attendee(room, id)
			}
			if !there && !l.ending[id] && !l.ending[room] {
				t.Errorf("lost: %s of meeting %q was acknowledged", id, room)
			}
			if there && l.ended[id] {
				t.Errorf("back again: %s was deleted", id)
			}
		}
		for _, m := range r.Meetings(account, 0, 1<<30) {
			meetings++
			people := r.Attendees(m.ID, 0, 1<<30)
			attendees += len(people)
			checkMeeting(t, r, m, people)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return meetings, attendees
}

// checkMeeting compares a meeting's attendees with its events and its batches.
func checkMeeting(t *testing.T, r meeting.Reader, m *meeting.Meeting, people []*meeting.Attendee) {
	t.Helper()
	added, live, batches := map[string]int{}, map[string]bool{}, map[string]int{}
	for i, e := range r.Events(m.ID, 0, 1<<30) {
		if e.Number != uint64(i+1) {
			t.Errorf("meeting %s: event %d has number %d", m.ID, i+1, e.Number)
		}
		switch e.Type {
		case meeting.EventMeetingStarted:
			added[""]++
		case meeting.EventAttendeeAdded:
			added[e.AttendeeID]++
			if name, isBatch := batchOf(e.ExternalUserID); isBatch {
				batches[name]++
			}
		case meeting.EventAttendeeDeleted:
			delete(added, e.AttendeeID)
		}
	}
	if added[""] != 1 {
		t.Errorf("meeting %s started %d times by its events", m.ID, added[""])
	}
	for _, a := range people {
		live[a.ID] = true
		if added[a.ID] != 1 {
			t.Errorf("attendee %s was added %d times by the events", a.ID, added[a.ID])
		}
	}
	for id := range added {
		if id != "" && !live[id] {
			t.Errorf("attendee %s is there by the events alone", id)
		}
	}
	for name, n := range batches {
		if n != batch {
			t.Errorf("%d of %d attendees of batch %s were made", n, batch, name)
		}
	}
}

func batchOf(user string) (name string, ok bool) {
	name, _, ok = strings.Cut(user, "/")
	return name, ok
}

// write is the process to be killed: it writes for ever, and says on standard
// output what was acknowledged.
func write(dir string) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	svc := meeting.NewService(s, meeting.ServiceOptions{})
	failed := make(chan error)
	var mu sync.Mutex
	say := func(words ...string) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.WriteString(strings.Join(words, " ") + "\n") // in one piece, at once
	}
	for range 8 {
		go func() {
			for {
				if err := oneMeeting(svc, say); err != nil {
					failed <- err
				}
			}
		}()
	}
	go func() {
		os.Stdin.Read(make([]byte, 1))
		failed <- fmt.Errorf("nobody listens")
	}()
	return <-failed
}

// oneMeeting makes a meeting and attendees, and deletes some of them again.
func oneMeeting(svc *meeting.Service, say func(...string)) error {
	ctx := context.Background()
	in := meeting.NewMeeting{ClientRequestToken: fmt.Sprint(rand.Uint64())}
	in.Notifications.SQSQueueARN = "arn:aws:sqs:us-east-1:123456789012:queue" // keeps the events
	m, err := svc.CreateMeeting(ctx, account, in)
	if err != nil {
		return err
	}
	say("meeting", m.ID)
	var last *meeting.Attendee
	for i := range 5 {
		if last, err = svc.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: fmt.Sprint(i)}); err != nil {
			return err
		}
		say("attendees", m.ID, last.ID)
	}
	var many []meeting.NewAttendee
	for i := range batch {
		many = append(many, meeting.NewAttendee{ExternalUserID: fmt.Sprint("batch/", i)})
	}
	made, refused, err := svc.BatchCreateAttendee(ctx, account, m.ID, many)
	if err != nil || len(made) != batch {
		return fmt.Errorf("batch: %d made, refused %v: %w", len(made), refused, err)
	}
	words := []string{"attendees", m.ID}
	for _, a := range made {
		words = append(words, a.ID)
	}
	say(words...)
	say("ending", last.ID)
	if err := svc.DeleteAttendee(ctx, account, m.ID, last.ID); err != nil {
		return err
	}
	say("ended", last.ID)
	if rand.IntN(4) == 0 {
		say("ending", m.ID)
		if err := svc.DeleteMeeting(ctx, account, m.ID); err != nil {
			return err
		}
		say("ended", m.ID)
	}
	return nil
}
