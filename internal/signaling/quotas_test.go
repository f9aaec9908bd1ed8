package signaling

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

func videos(n int) func(*meeting.Quotas) {
	return func(q *meeting.Quotas) { q.Videos = n }
}

func cameraOff() *signalpb.SdkSubscribeFrame {
	f := cameraOn()
	f.Duplex = signalpb.SdkStreamServiceType_RX.Enum()
	return f
}

// camera turns a camera on and tells whether media was let have it: what is
// refused is so with the status that makes a client take its own tile away.
func (w *world) camera(name string, c *signaltest.Client) bool {
	w.t.Helper()
	ack, err := c.Subscribe(w.ctx(), cameraOn())
	if err != nil {
		w.t.Fatal(err)
	}
	offers := w.peer(name).Offers()
	sends := len(offers[len(offers)-1].SendVideo) > 0
	if status := ack.GetError().GetStatus(); sends != (status == 0) || !sends && status != 206 {
		w.t.Errorf("%s: media sends: %t, SUBSCRIBE_ACK has error %v", name, sends, ack.GetError())
	}
	if ack.GetSuback().GetSdpAnswer() == "" {
		w.t.Errorf("%s: the rest of the offer was not answered", name)
	}
	return sends
}

// capacity is at_capacity of the last INDEX that came lately, "" for none.
func capacity(c *signaltest.Client) string {
	time.Sleep(time.Second)
	synctest.Wait()
	said := ""
	for _, f := range c.Take(signalpb.SdkSignalFrame_INDEX) {
		said = fmt.Sprint(f.GetIndex().GetAtCapacity())
	}
	return said
}

func TestMoreCamerasThanAMeetingMayHave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(videos(2))
		a, b, c, d := w.enter("a", 1), w.enter("b", 2), w.enter("c", 3), w.enter("d", 4)
		share := w.enter("d#content", 5)
		w.addAttendee("e", meeting.DefaultCapabilities)
		native := w.dial("e", signaltest.Options{Native: true})
		if _, _, err := native.JoinWith(w.ctx(), &signalpb.SdkJoinFrame{ClientDetails: &signalpb.SdkClientDetails{
			ClientSource: proto.String("amazon-chime-sdk-cpp")}}); err != nil {
			t.Fatal(err)
		}
		want := func(what string, got, want any) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		settle(a, b, c, d, native)
		want("the share", w.camera("d#content", share), true)
		want("a", w.camera("a", a), true)
		want("a place is left", capacity(d), "")
		want("b", w.camera("b", b), true)
		want("c", w.camera("c", c), false)
		want("refusals counted", w.counter("over_quota_total", "max_videos"), 1.0)
		want("c hears that it is full", capacity(c), "true")
		want("d too", capacity(d), "true")
		want("not who sends", capacity(a), "")
		want("nor a native client, which would look at nothing else", capacity(native), "")
		want("a again", w.camera("a", a), true)
		if err := c.Ping(w.ctx()); err != nil {
			t.Errorf("c: %v", err)
		}
		w.subscribe(b, cameraOff())
		want("d hears that it is not full any more", capacity(d), "false")
		want("c now", w.camera("c", c), true)
		want("b now", w.camera("b", b), false)
		if err := a.Leave(w.ctx()); err != nil {
			t.Fatal(err)
		}
		want("b after a has left", w.camera("b", b), true)
		caps := meeting.DefaultCapabilities
		caps.Video = meeting.Receive
		w.srv.CapabilitiesChanged(&meeting.Attendee{ID: "id-c", MeetingID: meetingID, Capabilities: caps})
		want("d after c may not any more", w.camera("d", d), true)
		w.setQuotas(videos(1))
		want("b after the quota was lowered", w.camera("b", b), true)
		want("c hears nothing new", capacity(c), "true")
		w.setQuotas(videos(250))
		w.srv.CapabilitiesChanged(w.addAttendee("c", meeting.DefaultCapabilities))
		want("c hears that it was raised", capacity(c), "false")
		want("c", w.camera("c", c), true)
	})
}

// Who comes back has its place, until it is back without a camera.
func TestReconnectingKeepsTheCamerasPlace(t *testing.T) {
	for _, back := range []bool{true, false} {
		inWorld(t, func(w *world) {
			w.setQuotas(videos(1))
			a, b := w.enter("a", 1), w.enter("b", 2)
			if !w.camera("a", a) || w.camera("b", b) {
				t.Fatal("the place is not a's")
			}
			a.Cut()
			again := w.join("a", 1)
			if w.camera("b", b) {
				t.Error("the place was taken while a came back")
			}
			if back {
				if !w.camera("a", again) {
					t.Error("a's camera did not come back")
				}
			} else {
				w.subscribe(again, cameraOff())
				if w.camera("b", b) {
					t.Error("the place was taken before a was there again")
				}
			}
			w.peer("a").Events.AudioArrived()
			if got := w.camera("b", b); got == back {
				t.Errorf("a's camera came back: %t, and b's is on: %t", back, got)
			}
			if back {
				again.Cut()
				w.peer("a").Flow(false)
				w.keepAlive(15*time.Second, b)
				if !w.camera("b", b) {
					t.Error("the place of one who is lost is not free")
				}
			}
		})
	}
}

// An offer that media refuses changes nothing, and one that it answers without
// video takes no place.
func TestRefusedOffersTakeNoPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(videos(1))
		a, b := w.enter("a", 1), w.enter("b", 2)
		w.confs.Last().Refuse(meeting.Errorf(meeting.CodeBadRequest, "no"))
		if f, err := a.Subscribe(w.ctx(), cameraOn()); err != nil || f.GetError().GetStatus() != 400 {
			t.Fatalf("got %v, %v", f, err)
		}
		w.confs.Last().Refuse(nil)
		if !w.camera("b", b) {
			t.Fatal("a refused offer took the place")
		}
		w.confs.Last().Refuse(meeting.Errorf(meeting.CodeBadRequest, "no"))
		if f, err := b.Subscribe(w.ctx(), cameraOn()); err != nil || f.GetError().GetStatus() != 400 {
			t.Fatalf("got %v, %v", f, err)
		}
		w.confs.Last().Refuse(nil)
		if w.camera("a", a) {
			t.Error("a refused offer gave the place away")
		}
	})
}

// However many begin at once, no more get through than there are places.
func TestCamerasAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(videos(3))
		clients := map[string]*signaltest.Client{}
		for i := range 12 {
			name := fmt.Sprint("n", i)
			w.addAttendee(name, meeting.DefaultCapabilities)
			clients[name] = w.enter(name, uint64(i+1))
		}
		for range 5 {
			var wg sync.WaitGroup
			var on atomic.Int32
			for _, c := range clients {
				wg.Go(func() {
					if ack, err := c.Subscribe(w.ctx(), cameraOn()); err != nil {
						t.Error(err)
					} else if len(ack.GetSuback().GetAllocations()) > 0 {
						on.Add(1)
					}
				})
			}
			wg.Wait()
			if n := on.Load(); n != 3 {
				t.Errorf("%d cameras are on, 3 may be", n)
			}
			for _, c := range clients {
				wg.Go(func() {
					if _, err := c.Subscribe(w.ctx(), cameraOff()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
}

func TestContentSharesByQuota(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(func(q *meeting.Quotas) { q.ContentShares = 1 })
		a, b := w.enter("a", 1), w.enter("b", 2)
		first := w.enter("a#content", 3)
		second := w.enter("b#content", 4)
		if status := w.audioStatus(second); status != 409 {
			t.Errorf("the second share was told %d", status)
		}
		if n := w.counter("over_quota_total", "max_content_shares"); n != 1 {
			t.Errorf("counted %v", n)
		}
		w.setQuotas(func(q *meeting.Quotas) { q.ContentShares = 2 })
		second = w.enter("b#content", 5)
		w.setQuotas(func(q *meeting.Quotas) { q.ContentShares = 1 })
		first.Cut()
		rosterOf(b)
		w.enter("a#content", 3) // over a new connection: it goes on
		wantRoster(t, "b", b, "325=id-a#content/ext-a, 323 left")
		w.keepAlive(time.Second, a, b, second)
		c := w.enter("c", 6)
		if status := w.audioStatus(w.enter("c#content", 7)); status != 409 {
			t.Errorf("a share after the quota was lowered was told %d", status)
		}
		w.keepAlive(time.Second, c)
	})
}

func TestDataMessagesByQuota(t *testing.T) {
	inWorld(t, func(w *world) {
		rates := func(rate, burst int) {
			w.setQuotas(func(q *meeting.Quotas) { q.DataMessageRate, q.DataMessageBurst = rate, burst })
		}
		rates(5, 10)
		a, b := w.enter("a", 1), w.enter("b", 2)
		delivered := func(of int) int {
			for range of {
				_ = a.Message("t", "x", 0)
			}
			return len(messages(b))
		}
		want := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d are delivered, want %d", what, got, want)
			}
		}
		want("a burst", delivered(20), 10)
		time.Sleep(time.Second)
		want("a second later", delivered(20), 5)
		rates(50, 100) // in the middle of a session
		want("raised", delivered(1), 0)
		time.Sleep(time.Second)
		want("a second after it was raised", delivered(60), 50)
		rates(0, 200)
		want("without limit", delivered(10_000), 10_000)
		rates(5, 10)
		time.Sleep(30 * time.Second)
		want("limited again", delivered(20), 10)
		// The hard limit of 25 a second and 500 at once: 20 of those are used.
		for range 500 {
			_ = a.Message("t", "x", 0)
		}
		if code := w.closeCode(a); code != 4429 {
			t.Errorf("over the hard limit: closed with %d", code)
		}
	})
}

// Whoever may send many messages may send as many frames.
func TestFramesForManyDataMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(func(q *meeting.Quotas) { q.DataMessageRate, q.DataMessageBurst = 2500, 2500 })
		a, b := w.enter("a", 1), w.enter("b", 2)
		for second := range 8 { // 12 000 at once and 600 a second are usual
			for range 2500 {
				_ = a.Message("t", "x", 0)
			}
			if n := len(messages(b)); n != 2500 {
				t.Fatalf("second %d: %d are delivered", second+1, n)
			}
			time.Sleep(time.Second)
		}
	})
}

// The camera of a promoted attendee of a replica counts as one of the primary's.
func TestCamerasOfPromotedAttendees(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setQuotas(videos(1))
		a, x := w.enter("a", 1), w.enter("x", 2)
		w.promote(x, "b")
		if !w.camera("a", a) || w.camera("x", x) {
			t.Fatal("the place is not a's")
		}
		w.subscribe(a, cameraOff())
		if !w.camera("x", x) || w.camera("a", a) {
			t.Error("the place is not x's")
		}
		if err := x.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE.Enum(),
			PrimaryMeetingLeave: &signalpb.SdkPrimaryMeetingLeaveFrame{}}); err != nil {
			t.Fatal(err)
		}
		if err := x.Ping(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if !w.camera("a", a) {
			t.Error("the place of one who was demoted is not free")
		}
		w.subscribe(a, cameraOff())
		w.promote(x, "b")
		if !w.camera("a", a) {
			t.Error("promoted again, x has a place without having sent video")
		}
	})
}

// With nothing else said, the limits are AWS's.
func TestDefaultQuotas(t *testing.T) {
	s := New(Config{})
	if got := s.quotas("123456789012"); got != meeting.DefaultQuotas || got.Videos != 25 || got.ContentShares != 2 {
		t.Errorf("got %+v", got)
	}
	if rate, burst := meeting.DefaultQuotas.HardDataMessages(); rate != 500 || burst != 10_000 {
		t.Errorf("the hard limit of data messages is %d a second, %d at once", rate, burst)
	}
}
