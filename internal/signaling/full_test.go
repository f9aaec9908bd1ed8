package signaling

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signaltest"
)

// A full server asks who comes new to try again, and lets those back in who are in
// a meeting.
func TestFullServer(t *testing.T) {
	inWorld(t, func(w *world) {
		var full atomic.Bool
		var crowded atomic.Bool // there is no room for who comes new, though the server is not full
		w.srv.cfg.Admit = func() bool { return !full.Load() && !crowded.Load() }
		w.srv.cfg.Full = full.Load
		dial := func(name string) error {
			at := meetingID
			if name == "x" || name == "y" {
				at = replicaID
			}
			c, err := signaltest.Dial(w.ctx(), "ws://belfry.test/control/"+at, "tok-"+name, signaltest.Options{HTTPClient: w.http})
			if err == nil {
				w.clients = append(w.clients, c)
			}
			return err
		}
		refused := func(names ...string) {
			t.Helper()
			for _, name := range names {
				if err := dial(name); err == nil || !strings.Contains(err.Error(), "HTTP 503") {
					t.Errorf("%s was not asked to try again: %v", name, err)
				}
			}
		}
		a := w.enter("a", 1)
		x := w.enter("x", 2)
		full.Store(true)
		refused("b", "y", "a"+meeting.ContentSuffix)
		if n := w.counter("joins_total", "full"); n != 3 {
			t.Errorf("%v refusals were counted", n)
		}
		// Another try changes nothing for who is not to come at all.
		if c := w.dial("nobody", signaltest.Options{}); w.closeCode(c) != closeRefused {
			t.Error("a bad token was not refused for good")
		}

		// Those inside come back: at once, and when their socket has been away.
		w.enter("a", 1)
		x.Cut()
		time.Sleep(3 * time.Second)
		w.enter("x", 2)
		a.Cut()

		full.Store(false)
		crowded.Store(true)
		refused("b", "b"+meeting.ContentSuffix)
		w.enter("a"+meeting.ContentSuffix, 4)
		crowded.Store(false)
		w.enter("b", 3)
		w.enter("a"+meeting.ContentSuffix, 4)
		full.Store(true)
		w.enter("a"+meeting.ContentSuffix, 4)
		refused("c")
		synctest.Wait()
	})
}
