package signaling

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// everybody is a meeting of n people who are all in the roster.
func everybody(t testing.TB, n int, svc *fakeService, confs *signaltest.Conferences, m *meeting.Meeting, url string, client *http.Client) []*signaltest.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all []*signaltest.Client
	for i := range n {
		a := &meeting.Attendee{ID: fmt.Sprint("id-", i), MeetingID: m.ID, ExternalUserID: fmt.Sprint("ext-", i), Capabilities: meeting.DefaultCapabilities}
		token := fmt.Sprint("tok-", i)
		svc.mu.Lock()
		svc.ids[meeting.Secret(token)] = meeting.Identity{Meeting: m, Attendee: a}
		svc.mu.Unlock()
		c, err := signaltest.Dial(ctx, url+"/control/"+m.ID, token, signaltest.Options{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		if _, _, err := c.Join(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Subscribe(ctx, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)}); err != nil {
			t.Fatal(err)
		}
		peers := confs.Last().Peers(a.ID)
		peers[len(peers)-1].Flow(true)
		peers[len(peers)-1].Events.AudioArrived()
		if _, err := c.AwaitType(ctx, signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// The end of a full meeting is told to everybody at once, and nobody is told
// who else goes.
func TestEndOfAFullMeeting(t *testing.T) {
	inWorld(t, func(w *world) {
		all := everybody(t, 100, w.svc, w.confs, w.meeting, "ws://belfry.test", w.http)
		w.clients = append(w.clients, all...)
		synctest.Wait()
		for _, c := range all {
			c.Take(signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO)
		}
		before := time.Now()
		w.srv.MeetingEnded(meetingID)
		for i, c := range all {
			if got := w.audioStatus(c); got != 410 {
				t.Errorf("client %d: AUDIO_STATUS %d", i, got)
			}
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		for i, c := range all {
			if code := w.closeCode(c); code != 4410 {
				t.Errorf("client %d: closed with %d", i, code)
			}
			if got := c.Take(signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO); len(got) > 0 {
				t.Errorf("client %d was told %d times of others that went", i, len(got))
			}
		}
	})
}

// BenchmarkMeetingEnded is the end of a meeting of 250 people in the roster on
// real sockets, until each has been told.
func BenchmarkMeetingEnded(b *testing.B) {
	svc, confs := &fakeService{ids: map[meeting.Secret]meeting.Identity{}}, &signaltest.Conferences{}
	srv := New(Config{Service: svc, Conferences: confs, Relays: &signaltest.Relays{}, Timings: Timings{End: time.Second}})
	hs := httptest.NewServer(srv)
	defer hs.Close()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		m := &meeting.Meeting{ID: fmt.Sprint("meeting-", n), CreatedAt: time.Now()}
		all := everybody(b, 250, svc, confs, m, hs.URL, hs.Client())
		b.StartTimer()
		srv.MeetingEnded(m.ID)
		for _, c := range all {
			if _, err := c.AwaitType(ctx, signalpb.SdkSignalFrame_AUDIO_STATUS); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		for _, c := range all {
			if _, _, err := c.Closed(ctx); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
	_ = srv.Shutdown(ctx)
}
