package signaling

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// report has clients send CLIENT_METRIC each second for so long, as the browser
// client does.
func report(d time.Duration, clients ...*signaltest.Client) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Second)
		for _, c := range clients {
			_ = c.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_CLIENT_METRIC.Enum(), ClientMetric: &signalpb.SdkClientMetricFrame{}})
		}
	}
}

// Whose media does not come any more, and whose signaling does, is told to come back.
func TestAstrayMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		var log bytes.Buffer
		w.srv.log = logTo(&log)
		b := w.enter("b", 2)
		a := w.enter("a", 1)
		report(30*time.Second, a, b)
		rosterOf(b)
		w.peer("a").Flow(false)
		report(7*time.Second, a, b)
		if n := w.counter("cut_total", "media_astray"); n != 0 {
			t.Fatal("cut after 7 s")
		}
		report(2*time.Second, a, b)
		if code := w.closeCode(a); code < 4500 || code > 4599 {
			t.Errorf("closed with %d, which the client does not take for a call to come back", code)
		}
		if n := w.counter("cut_total", "media_astray"); n != 1 {
			t.Errorf("counted %v times", n)
		}
		// Nobody sees it go, and with media by another way it stays.
		again := w.enter("a", 1)
		report(30*time.Second, again, b)
		for _, words := range rosterOf(b) {
			if strings.Contains(words, "dropped") {
				t.Errorf("others were told %q", words)
			}
		}
		if n := w.counter("cut_total", "media_astray"); n != 1 {
			t.Errorf("counted %v times", n)
		}
		synctest.Wait()
		if text := log.String(); strings.Count(text, "media stopped") != 1 || strings.Contains(text, "tok-") {
			t.Errorf("log: %s", text)
		}
	})
}

// Who is as silent when it is back is not told again at once.
func TestAstrayMediaOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		told := func(want float64) {
			t.Helper()
			if n := w.counter("cut_total", "media_astray"); n != want {
				t.Errorf("told %v times, want %v", n, want)
			}
		}
		silent := func(a *signaltest.Client, d time.Duration) {
			w.peer("a").Flow(false)
			report(d, a)
		}
		a := w.enter("a", 1)
		silent(a, 10*time.Second)
		told(1)
		w.closeCode(a)
		a = w.enter("a", 1)
		silent(a, 45*time.Second)
		told(1)
		silent(a, 15*time.Second)
		told(2)
	})
}

// A client that takes no notice of a close in mid-call is told in the way it knows.
func TestAstrayMediaOfAnOlderClient(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.joinAs("a", "3.20.0", 0)
		report(10*time.Second, a)
		w.peer("a").Flow(false)
		report(10*time.Second, a)
		if got := w.audioStatus(a); got != 503 {
			t.Errorf("AUDIO_STATUS %d", got)
		}
		if code := w.closeCode(a); code < 4500 || code > 4599 {
			t.Errorf("closed with %d", code)
		}
	})
}

// None of these is media gone astray.
func TestNotAstray(t *testing.T) {
	stop := func(w *world, _ *signaltest.Client) { w.peer("a").Flow(false) }
	checks := func(every time.Duration) func(*world, *signaltest.Client) {
		return func(w *world, c *signaltest.Client) {
			for range 10 {
				w.peer("a").Flow(true)
				w.peer("a").Flow(false)
				report(every, c)
			}
			w.peer("a").Flow(true)
		}
	}
	for _, tt := range []struct {
		name  string
		begin func(w *world) *signaltest.Client
		then  func(w *world, c *signaltest.Client)
	}{
		{"media goes on", nil, func(*world, *signaltest.Client) {}},
		{"no media yet", func(w *world) *signaltest.Client {
			c := w.join("a", 1)
			w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
			return c
		}, func(*world, *signaltest.Client) {}},
		{"no offer", func(w *world) *signaltest.Client { return w.join("a", 1) }, func(*world, *signaltest.Client) {}},
		{"no audio promised", func(w *world) *signaltest.Client {
			c := w.join("a", 1)
			w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(strings.Replace(audioOffer, "a=sendrecv", "a=recvonly", 1))})
			w.peer("a").Flow(true)
			w.peer("a").Events.MediaConnected()
			return c
		}, stop},
		{"another kind of client", func(w *world) *signaltest.Client {
			c := w.dial("a", signaltest.Options{})
			if _, _, err := c.JoinWith(w.ctx(), &signalpb.SdkJoinFrame{}); err != nil {
				t.Fatal(err)
			}
			w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
			w.peer("a").Flow(true)
			w.peer("a").Events.MediaConnected()
			return c
		}, stop},
		{"a full server", func(w *world) *signaltest.Client {
			var full atomic.Bool
			w.srv.cfg.Full = full.Load
			defer full.Store(true)
			return w.enter("a", 1)
		}, stop},
		// The socket is cut too, and is back before the media is.
		{"a cut", nil, func(w *world, c *signaltest.Client) {
			for range 5 {
				stop(w, c)
				time.Sleep(8 * time.Second)
				report(2*time.Second, c)
				w.peer("a").Flow(true)
				report(3*time.Second, c)
			}
		}},
		{"short holes", nil, func(w *world, c *signaltest.Client) {
			for range 10 {
				stop(w, c)
				report(4*time.Second, c)
				w.peer("a").Flow(true)
				time.Sleep(time.Second)
			}
		}},
		// A browser without media, as one whose microphone ended, that checks its path
		// every 2.5 s, one check being lost each time; and one that does every 6 s.
		{"checks alone, some lost", nil, checks(5 * time.Second)},
		{"few checks alone", nil, checks(6 * time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				begin := tt.begin
				if begin == nil {
					begin = func(w *world) *signaltest.Client { return w.enter("a", 1) }
				}
				c := begin(w)
				report(3*time.Second, c)
				tt.then(w, c)
				report(20*time.Second, c)
				if n := w.counter("cut_total", "media_astray"); n != 0 {
					t.Errorf("it was told to come back %v times", n)
				}
			})
		})
	}
}
