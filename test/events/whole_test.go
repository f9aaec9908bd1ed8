package events

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/notify"
)

// These say how long TestStateAndEventsOutliveKills is and repeat one: the same
// seed makes the same choices, though not the same timing.
const (
	roundsVariable = "BELFRY_CRASH_ROUNDS"
	seedVariable   = "BELFRY_CRASH_SEED"
	shortRounds    = 6
	// writesPerRound are acknowledged before a round can end, but for those whose
	// kill may meet the start.
	writesPerRound = 20
)

// arrival is an event as a target got it.
type arrival struct {
	envelope
	number int    // within its meeting; 0 where the target is not told
	moment string // when it was sent, by the target; "" where the order is exact
}

// webhook is a target in this process, which is away now and then.
type webhook struct {
	*httptest.Server
	shut atomic.Bool

	mu   sync.Mutex
	came []arrival
}

func startWebhook(t *testing.T, seed uint64) *webhook {
	w := &webhook{}
	random := rand.New(rand.NewPCG(seed, 1<<40))
	w.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || w.shut.Load() {
			panic(http.ErrAbortHandler)
		}
		number, err := strconv.Atoi(r.Header.Get(notify.HeaderNumber))
		e := open(t, string(body))
		if err != nil || r.Header.Get(notify.HeaderEventID) != e.ID {
			t.Errorf("event %s came with the headers %v", e.ID, r.Header)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if random.IntN(25) == 0 {
			out.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.came = append(w.came, arrival{envelope: e, number: number})
	}))
	t.Cleanup(w.Close)
	return w
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// The whole server, as it is shipped, is killed at random moments while clients
// write and events leave for a queue, a topic and a webhook. In the end all that
// was acknowledged is there, nothing that was refused or deleted is, and each
// target got each event of both, in order and without a gap.
func TestStateAndEventsOutliveKills(t *testing.T) {
	rounds := int(fromEnvironment(t, roundsVariable, shortRounds))
	seed := fromEnvironment(t, seedVariable, rand.Uint64())
	t.Logf("%s=%d %s=%d", seedVariable, seed, roundsVariable, rounds)
	random := rand.New(rand.NewPCG(seed, 0))

	e, hook := startEmulator(t), startWebhook(t, seed)
	queue, behind := e.queue(t, "plain"), e.queue(t, "behind")
	topic := e.topic(t, "topic", "behind")
	p := newProcess(t, t.TempDir(), "AWS_ENDPOINT_URL_SQS="+e.URL, "AWS_ENDPOINT_URL_SNS="+e.URL, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"BELFRY_EVENT_WEBHOOKS="+hook.URL, "BELFRY_EVENT_WEBHOOK_SECRET=shared")

	l := &ledger{rooms: map[string]*room{}}
	var clients sync.WaitGroup
	for n := range 6 {
		c := newClient(t, n, seed, p, l, &types.NotificationsConfiguration{SqsQueueArn: aws.String(queueARN("plain")), SnsTopicArn: &topic})
		clients.Go(c.run)
	}
	kills, stops := 0, 0
	for round := range rounds {
		before := l.writes()
		lives := time.Duration(50+random.IntN(900)) * time.Millisecond
		away := random.IntN(3) == 0 // for the rest of this round and the beginning of the next
		p.start(t)
		if round%4 != 3 { // some kills meet the start, most of them the writing
			l.await(t, before+writesPerRound)
		}
		time.Sleep(lives / 2)
		e.shut.Store(away)
		hook.shut.Store(random.IntN(4) == 0)
		time.Sleep(lives / 2)
		signal := syscall.SIGKILL
		if round%5 == 4 { // it may also end in its own way
			signal = syscall.SIGTERM
			stops++
		} else {
			kills++
		}
		select {
		case <-p.ended:
			t.Fatalf("round %d: the server ended by itself: %s", round+1, p.stderr)
		default:
		}
		p.stop(signal)
		t.Logf("round %d: %v after %v, %d writes acknowledged, targets away: %v %v", round+1, signal, lives, l.writes()-before, away, hook.shut.Load())
	}
	e.shut.Store(false)
	hook.shut.Store(false)
	// The last round is not cut short.
	if <-p.start(t); !p.runs() {
		t.Fatalf("the server does not start any more: %s", p.stderr)
	}
	l.await(t, l.writes()+writesPerRound)
	endpoint, _ := p.endpoint()
	p.finish()
	clients.Wait()
	p.awaitDelivered(t)

	for _, text := range l.wrong {
		t.Error(text)
	}
	now, surprises := look(t, endpoint), 0
	for token, r := range l.rooms {
		surprises += r.checkState(t, now[token])
	}
	for token := range now {
		if l.rooms[token] == nil {
			t.Errorf("meeting %s is there, and nobody asked for it", token)
		}
	}
	people := 0
	for _, one := range now {
		people += len(one.attendees)
	}
	t.Logf("%d kills, %d stops; writes acknowledged %d, refused %d, unanswered %d (%d of what those asked for is there); %d meetings and %d attendees are there",
		kills, stops, l.acknowledged, l.refused, l.unanswered, surprises, len(now), people)

	hook.mu.Lock()
	defer hook.mu.Unlock()
	numbers := map[string]int{}
	for _, a := range hook.came {
		numbers[a.ID] = a.number
	}
	places := map[string][]arrival{"webhook": hook.came}
	for place, queueURL := range map[string]string{"queue": queue, "topic": behind} {
		for _, m := range e.drain(t, queueURL) {
			a := arrival{envelope: open(t, *m.Body), moment: m.Attributes["SentTimestamp"]}
			a.number = numbers[a.ID]
			places[place] = append(places[place], a)
		}
	}
	for _, place := range []string{"webhook", "queue", "topic"} {
		l.reconcile(t, place, places[place], now, len(numbers))
	}
	begun := time.Now()
	p.stop(syscall.SIGTERM)
	// What takes longer than a person waits is left behind, with an error.
	if took := time.Since(begun); p.cmd.ProcessState.ExitCode() != 0 && took < time.Second {
		t.Errorf("the server ended after %v with %v: %s", took, p.cmd.ProcessState, p.stderr)
	}
}

// look asks the server for everything that it has, by the pages of its lists.
func look(t *testing.T, url string) map[string]seen {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport}
	c := meetings.New(meetings.Options{BaseEndpoint: &url, Region: region, HTTPClient: hc,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	now := map[string]seen{}
	for _, id := range listMeetings(t, hc, url) {
		out, err := c.GetMeeting(t.Context(), &meetings.GetMeetingInput{MeetingId: &id})
		if err != nil {
			t.Fatalf("getting meeting %s, which is listed: %v", id, err)
		}
		one := seen{meeting: out.Meeting, attendees: map[string]types.Attendee{}}
		for next := (*string)(nil); ; {
			page, err := c.ListAttendees(t.Context(), &meetings.ListAttendeesInput{MeetingId: &id, MaxResults: aws.Int32(7), NextToken: next})
			if err != nil {
				t.Fatalf("listing the attendees of %s: %v", id, err)
			}
			for _, a := range page.Attendees {
				if _, twice := one.attendees[*a.ExternalUserId]; twice {
					t.Errorf("meeting %s lists %s twice", id, *a.ExternalUserId)
				}
				one.attendees[*a.ExternalUserId] = a
			}
			if next = page.NextToken; next == nil {
				break
			}
		}
		if _, twice := now[*out.Meeting.ExternalMeetingId]; twice {
			t.Errorf("there are two meetings %s, of one token", *out.Meeting.ExternalMeetingId)
		}
		now[*out.Meeting.ExternalMeetingId] = one
	}
	return now
}

// listMeetings is an operation of the older API alone.
func listMeetings(t *testing.T, hc *http.Client, endpoint string) (ids []string) {
	t.Helper()
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of no body
	for next := ""; ; {
		query := url.Values{"max-results": {"31"}}
		if next != "" {
			query.Set("next-token", next)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"/chime/meetings?"+query.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, req, empty, "chime", region, time.Now()); err != nil {
			t.Fatal(err)
		}
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Meetings  []struct{ MeetingID string }
			NextToken string
		}
		err = json.NewDecoder(res.Body).Decode(&page)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("listing meetings: %s, %v", res.Status, err)
		}
		for _, m := range page.Meetings {
			ids = append(ids, m.MeetingID)
		}
		if next = page.NextToken; next == "" {
			return ids
		}
	}
}

// reconcile holds what came to one target against what was due.
func (l *ledger) reconcile(t *testing.T, place string, came []arrival, now map[string]seen, all int) {
	t.Helper()
	duplicated, first := 0, map[string]arrival{}
	byRoom := map[string][]arrival{}
	for _, a := range came {
		if before, again := first[a.ID]; again {
			duplicated++
			if before.envelope != a.envelope || before.number != a.number {
				t.Errorf("%s: event %s came as %+v and as %+v", place, a.ID, before, a)
			}
			continue
		}
		first[a.ID] = a
		byRoom[a.Detail.ExternalMeetingID] = append(byRoom[a.Detail.ExternalMeetingID], a)
	}
	for token := range byRoom {
		if l.rooms[token] == nil {
			t.Errorf("%s: events of meeting %q, which nobody asked for", place, token)
		}
	}
	due, lost := 0, 0
	for token, r := range l.rooms {
		must, possible := r.due(now[token])
		due += len(must)
		got := r.checkOrder(t, place, byRoom[token])
		for o := range got {
			if !must[o] && !possible[o] {
				t.Errorf("%s: %+v of %s cannot have been", place, o, token)
			} else if !must[o] {
				due++
			}
		}
		for o := range must {
			if !got[o] {
				lost++
				t.Errorf("%s: lost: %+v of meeting %s", place, o, token)
			}
		}
		for _, users := range r.batches {
			n := 0
			for _, user := range users {
				if got[occurrence{"AttendeeAdded", user, 1}] {
					n++
				}
			}
			if n != 0 && n != len(users) {
				t.Errorf("%s: %d of %d attendees of one step of meeting %s were added", place, n, len(users), token)
			}
		}
	}
	if len(first) != all {
		t.Errorf("%s: %d events came, to the webhook %d", place, len(first), all)
	}
	t.Logf("%s: events due %d, delivered %d, duplicated %d, lost %d", place, due, len(first), duplicated, lost)
}

// checkOrder checks that a room's events came in the order of their numbers,
// from 1 on without a gap, beginning with its start and ending with its end.
func (r *room) checkOrder(t *testing.T, place string, list []arrival) map[occurrence]bool {
	t.Helper()
	// Of what a queue got in one millisecond it does not say which was first.
	slices.SortStableFunc(list, func(a, b arrival) int {
		if a.moment != b.moment || a.moment == "" {
			return strings.Compare(a.moment, b.moment)
		}
		return a.number - b.number
	})
	got, times := map[occurrence]bool{}, map[occurrence]int{}
	for i, a := range list {
		kind := strings.TrimPrefix(a.Detail.EventType, "chime:")
		if a.number != i+1 {
			t.Errorf("%s: event %d of meeting %s (%s) came as number %d", place, a.number, r.token, kind, i+1)
		}
		if (kind == "MeetingStarted") != (i == 0) || kind == "MeetingEnded" && i != len(list)-1 {
			t.Errorf("%s: %s is event %d of %d of meeting %s", place, kind, i+1, len(list), r.token)
		}
		if r.id != "" && a.Detail.MeetingID != r.id {
			t.Errorf("%s: event %d is of meeting %s, whose id is %s", place, i+1, a.Detail.MeetingID, r.id)
		}
		o := occurrence{kind: kind, user: a.Detail.ExternalUserID}
		times[o]++
		o.nth = times[o]
		got[o] = true
		if kind == "AttendeeDeleted" && !got[occurrence{"AttendeeAdded", o.user, 1}] {
			t.Errorf("%s: %s was deleted before it was added", place, o.user)
		}
	}
	return got
}
