package life

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/config"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// What people do is told as it happens: who leaves has left, who is cut off has
// dropped, and neither is told of both.
func TestPresence(t *testing.T) {
	t.Parallel()
	w := listen(t)
	c := inProcess(t, w.url, nil)
	m := create(t, c, "")
	id := *m.MeetingId
	alice, bob := attendee(t, c, m, "alice"), attendee(t, c, m, "bob")
	want := []string{"MeetingStarted", "Added alice", "Added bob"}
	await := func(more ...string) []event {
		t.Helper()
		want = append(want, more...)
		return w.await(t, id, want...)
	}
	await()
	a := join(t, m, alice, false, false)
	await("Authorized alice", "Joined alice Voip")
	a.subscribe(true)
	await("VideoStarted alice")
	a.subscribe(false)
	await("VideoStopped alice")
	share := join(t, m, alice, true, true)
	await("ContentJoined alice* Voip", "ContentVideoStarted alice*")
	share.leave()
	await("ContentVideoStopped alice*", "ContentLeft alice* Voip")

	b := join(t, m, bob, false, true)
	await("Authorized bob", "Joined bob Voip", "VideoStarted bob")
	share = join(t, m, bob, true, true)
	await("ContentJoined bob* Voip", "ContentVideoStarted bob*")
	b.cable.cut.Store(true)
	share.cable.cut.Store(true)
	cut := time.Now()
	// The share may be missed before its attendee or fall with it.
	eventually(t, "bob to drop", func() bool { return len(w.of(id)) >= len(want)+4 })
	var ends []string
	for _, e := range w.of(id)[len(want):] {
		ends = append(ends, e.short())
		t.Logf("%v after the cut: %s", time.UnixMilli(e.Detail.Timestamp).Sub(cut).Round(100*time.Millisecond), e.short())
	}
	for _, must := range []string{"VideoStopped bob", "Dropped bob Voip", "ContentVideoStopped bob*", "ContentDropped bob* Voip"} {
		if strings.Count(strings.Join(ends, ";")+";", must+";") != 1 {
			t.Errorf("after the cut: %q, want one %s", ends, must)
		}
	}
	want = append(want, ends...)
	a.leave()
	await("Left alice Voip")
	again := join(t, m, alice, false, true)
	await("Authorized alice", "Joined alice Voip", "VideoStarted alice")
	if _, err := c.DeleteAttendee(t.Context(), &meetings.DeleteAttendeeInput{MeetingId: &id, AttendeeId: alice.AttendeeId}); err != nil {
		t.Fatal(err)
	}
	await("VideoStopped alice", "Left alice Voip", "Deleted alice")
	again.end()
	carol := attendee(t, c, m, "carol")
	join(t, m, carol, false, false)
	await("Added carol", "Authorized carol", "Joined carol Voip")
	remove(t, c, m)
	await("Left carol Voip", "MeetingEnded")
	remove(t, c, m)
	inTurns(t, w.of(id), true)
	if len(w.bad) > 0 {
		t.Error(w.bad)
	}
}

// People are in a meeting when the server is killed. Who is back in time goes on
// being joined, and who is not has dropped.
func TestKillWithPeople(t *testing.T) {
	t.Parallel()
	w := listen(t)
	p := newProcess(t, w.url)
	p.start()
	c := client(t, p.url)
	m := create(t, c, "")
	id := *m.MeetingId
	alice, bob := attendee(t, c, m, "alice"), attendee(t, c, m, "bob")
	a := join(t, m, alice, false, true)
	w.await(t, id, "MeetingStarted", "Added alice", "Added bob", "Authorized alice", "Joined alice Voip", "VideoStarted alice")
	b := join(t, m, bob, false, true)
	so := []string{"MeetingStarted", "Added alice", "Added bob", "Authorized alice", "Joined alice Voip", "VideoStarted alice",
		"Authorized bob", "Joined bob Voip", "VideoStarted bob"}
	w.await(t, id, so...)
	p.Kill()
	a.end()
	b.end()
	begun := time.Now()
	p.start()
	c = client(t, p.url)
	m = again(t, c, m)
	a = join(t, m, alice, false, true)
	if _, err := a.client.AwaitType(within(t), signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO); err != nil {
		t.Fatal(err)
	}
	back := time.Since(begun)
	eventually(t, "bob to drop", func() bool { return w.has(id, "Dropped bob Voip") })
	if back < 20*time.Second { // else this machine was too slow for alice to be in time
		w.await(t, id, append(so, "Authorized alice", "VideoStopped bob", "Dropped bob Voip")...)
	}
	b = join(t, m, bob, false, false)
	eventually(t, "bob to be back", func() bool { list := w.of(id); return list[len(list)-1].short() == "Joined bob Voip" })
	p.Kill()
	a.end()
	b.end()
	p.start()
	c = client(t, p.url)
	remove(t, c, m)
	eventually(t, "the end of the meeting", func() bool { return w.has(id, "MeetingEnded") })
	inTurns(t, w.of(id), true)
	if len(w.bad) > 0 {
		t.Error(w.bad)
	}
}

// Meetings are made, deleted and grow old while the server is killed again and
// again: each ends once and stays gone.
func TestDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	const rounds = 6
	w := listen(t)
	p := newProcess(t, w.url, "BELFRY_MEETING_MAX_DURATION=1s")
	var mu sync.Mutex
	made, deleted := map[string]bool{}, map[string]bool{}
	for round := range rounds {
		p.start()
		c := client(t, p.url)
		for id := range w.ended() {
			if !gone(t, c, id) {
				t.Errorf("round %d: meeting %s was said to have ended, and is there", round, id)
			}
		}
		for id := range deleted {
			if !gone(t, c, id) {
				t.Errorf("round %d: meeting %s was deleted, and is there", round, id)
			}
		}
		var writers sync.WaitGroup
		for n := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					in := &meetings.CreateMeetingInput{ClientRequestToken: aws.String(fmt.Sprintf("one-%d-%d-%d", round, n, i)),
						ExternalMeetingId: aws.String("life"), MediaRegion: aws.String("us-east-1")}
					out, err := c.CreateMeeting(t.Context(), in)
					if err != nil {
						return // killed
					}
					id := *out.Meeting.MeetingId
					mu.Lock()
					made[id] = true
					mu.Unlock()
					if i%3 == 1 { // a replica, which ends with it
						in.PrimaryMeetingId, in.ClientRequestToken = &id, aws.String(fmt.Sprintf("replica-%d-%d-%d", round, n, i))
						replica, err := c.CreateMeeting(t.Context(), in)
						if err == nil {
							mu.Lock()
							made[*replica.Meeting.MeetingId] = true
							mu.Unlock()
						}
					}
					if i%2 == 0 {
						continue
					}
					if _, err := c.DeleteMeeting(t.Context(), &meetings.DeleteMeetingInput{MeetingId: &id}); err != nil {
						return
					}
					mu.Lock()
					deleted[id] = true
					mu.Unlock()
				}
			})
		}
		before := len(deleted)
		eventually(t, "deletions that are acknowledged", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(deleted) > before+4
		})
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		p.Kill()
		writers.Wait()
	}
	p.start()
	c := client(t, p.url)
	eventually(t, "the end of every meeting", func() bool {
		ended := w.ended()
		for id := range made {
			if ended[id] == 0 {
				return false
			}
		}
		return true
	})
	for id, times := range w.ended() {
		if times != 1 {
			t.Errorf("meeting %s ended %d times", id, times)
		}
		inTurns(t, w.of(id), true)
		if !gone(t, c, id) {
			t.Errorf("meeting %s has ended, and is there", id)
		}
	}
	t.Logf("%d kills; %d meetings made, %d deleted by the API, %d ended in all, each once", rounds, len(made), len(deleted), len(w.ended()))
	if len(deleted) == 0 || len(made) == len(deleted) {
		t.Error("the test proves little")
	}
	if len(w.bad) > 0 {
		t.Error(w.bad)
	}
}

// ended counts the ends of meetings that were told.
func (w *told) ended() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for id, list := range w.got {
		for _, e := range list {
			if strings.HasSuffix(e.Detail.EventType, "MeetingEnded") {
				out[id]++
			}
		}
	}
	return out
}

// A meeting grows old with people in it: they are told, and its replica's too.
func TestEndReachesEverybody(t *testing.T) {
	t.Parallel()
	w := listen(t)
	c := inProcess(t, w.url, func(cfg *config.Config) { cfg.MeetingMaxDuration = 30 * time.Second })
	primary := create(t, c, "")
	replica := create(t, c, *primary.MeetingId)
	var clients []*signaltest.Client
	for i, m := range []*types.Meeting{primary, primary, replica} {
		one, err := signaltest.Dial(within(t), *m.MediaPlacement.SignalingUrl, *attendee(t, c, m, fmt.Sprint("user", i)).JoinToken, signaltest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Close)
		if _, _, err := one.Join(within(t), 1); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, one)
	}
	for _, one := range clients {
		status, err := one.AwaitType(within(t), signalpb.SdkSignalFrame_AUDIO_STATUS)
		if err != nil {
			t.Fatal(err)
		}
		if got := status.GetAudioStatus().GetAudioStatus(); got != 410 {
			t.Errorf("AUDIO_STATUS %d, want 410", got)
		}
		if code, _, err := one.Closed(within(t)); err != nil || code != 4410 {
			t.Errorf("closed with %d, %v, want 4410", code, err)
		}
	}
	for _, m := range []*types.Meeting{primary, replica} {
		eventually(t, "MeetingEnded", func() bool { return w.ended()[*m.MeetingId] == 1 })
		if !gone(t, c, *m.MeetingId) {
			t.Error("the meeting is there still")
		}
	}
}

// crowd fills a meeting: sockets that have joined, and some that have not yet.
func crowd(t testing.TB, c *meetings.Client, joined, early int) (m *types.Meeting, in, waiting []*signaltest.Client) {
	t.Helper()
	m = create(t, c, "")
	var tokens []string
	for n := joined + early; n > 0; {
		batch := &meetings.BatchCreateAttendeeInput{MeetingId: m.MeetingId}
		for ; n > 0 && len(batch.Attendees) < 100; n-- {
			batch.Attendees = append(batch.Attendees, types.CreateAttendeeRequestItem{ExternalUserId: aws.String(fmt.Sprint("user", n))})
		}
		out, err := c.BatchCreateAttendee(t.Context(), batch)
		if err != nil || len(out.Errors) > 0 {
			t.Fatal(err, out)
		}
		for _, a := range out.Attendees {
			tokens = append(tokens, *a.JoinToken)
		}
	}
	for i, token := range tokens {
		one, err := signaltest.Dial(within(t), *m.MediaPlacement.SignalingUrl, token, signaltest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Cut)
		if i >= joined {
			waiting = append(waiting, one)
			continue
		}
		if _, _, err := one.Join(within(t), 1); err != nil {
			t.Fatal(err)
		}
		in = append(in, one)
	}
	return m, in, waiting
}

// await waits until every client of a crowd has been told of the end.
func await(t testing.TB, in, waiting []*signaltest.Client) {
	t.Helper()
	for _, one := range in {
		status, err := one.AwaitType(within(t), signalpb.SdkSignalFrame_AUDIO_STATUS)
		if err != nil {
			t.Fatal(err)
		}
		if got := status.GetAudioStatus().GetAudioStatus(); got != 410 {
			t.Errorf("AUDIO_STATUS %d, want 410", got)
		}
	}
	for _, one := range waiting {
		if code, _, err := one.Closed(within(t)); err != nil || code != 4410 {
			t.Errorf("one before JOIN was closed with %d, %v, want 4410", code, err)
		}
	}
}

func TestDeleteMeetingEndsACrowd(t *testing.T) {
	w := listen(t)
	c := inProcess(t, w.url, nil)
	m, in, waiting := crowd(t, c, 240, 10)
	begun := time.Now()
	remove(t, c, m)
	answered := time.Since(begun)
	await(t, in, waiting)
	t.Logf("DeleteMeeting was answered after %v; 250 clients were told by %v", answered.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	for _, one := range in { // none of them leaves by itself
		if code, _, err := one.Closed(within(t)); err != nil || code != 4410 {
			t.Errorf("closed with %d, %v, want 4410", code, err)
		}
	}
	late, err := signaltest.Dial(within(t), *m.MediaPlacement.SignalingUrl, "bm8gdG9rZW4", signaltest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, err := late.Closed(within(t)); err != nil || code != 4410 {
		t.Errorf("one who comes later was closed with %d, %v, want 4410", code, err)
	}
	eventually(t, "MeetingEnded", func() bool { return w.ended()[*m.MeetingId] == 1 })
}

// BenchmarkDeleteMeeting measures the time from the call until 250 clients on
// real sockets have been told.
func BenchmarkDeleteMeeting(b *testing.B) {
	c := inProcess(b, "http://127.0.0.1:1/nobody", nil)
	for b.Loop() {
		b.StopTimer()
		m, in, waiting := crowd(b, c, 240, 10)
		b.StartTimer()
		remove(b, c, m)
		await(b, in, waiting)
	}
}
