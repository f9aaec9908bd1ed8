// Package guard keeps the cost of media from growing unseen. It counts what the
// whole server does under a load: allocations, system calls, runs of the codec,
// bytes of signaling. It looks at no time, so it says the same on any machine.
// The bounds are several times what is counted today, and several times less than
// what a slip would cost, such as an allocation for each packet.
package guard

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"belfry/internal/app"
	"belfry/internal/bench"
	"belfry/internal/config"
	"belfry/internal/observe"
	"belfry/test/kit"
)

const (
	// serving is the variable of a process that is to be the server; it names the
	// data directory.
	serving = "BELFRY_GUARD_SERVER"
	keyID   = "AKIDGUARD"
	secret  = "guard/secret"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serving); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kit.Main(m)
}

// serve is the server until the standard input ends.
func serve(dir string) error {
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.TURN = "127.0.0.1:0", dir, "never"
	cfg.AccessKeyID, cfg.SecretAccessKey = keyID, secret
	cfg.RequestRate, cfg.ActiveMeetings = 0, 0
	s, err := app.Start(context.Background(), cfg, observe.NewLogger(os.Stderr, "warn", "text"))
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// run has a server of its own, in a process of its own, bear a load.
func run(t *testing.T, l bench.Load) bench.Row {
	t.Helper()
	p := kit.Start(t, serving+"="+t.TempDir())
	l.Meetings = 1
	server := bench.UseBelfry(bench.Endpoint{URL: p.Said, KeyID: keyID, Secret: secret})
	var row bench.Row
	kit.EventuallyNone(t, func() string { // a machine that stands still bears no load
		var err error
		if row, err = bench.Run(kit.Within(t), "belfry", server, l); err != nil {
			return "a run without trouble: " + err.Error()
		}
		if c := row.Counters; c == nil || c.Sent == 0 && l.Time > 0 {
			return fmt.Sprintf("anything counted: %+v", c)
		}
		return ""
	})
	c := row.Counters
	if n := row.Video.Corrupt + row.Video.Duplicates + row.Audio.Duplicates + row.Refused + c.Faults; n > 0 {
		t.Errorf("faults: video %+v, audio %+v, %d refused, %d caught", row.Video, row.Audio, row.Refused, c.Faults)
	}
	t.Logf("%+v", *c)
	return row
}

// atMost fails when more was counted than a share of the packets and a rest.
func atMost(t *testing.T, what string, n, sent uint64, share float64, rest uint64) {
	t.Helper()
	if bound := share*float64(sent) + float64(rest); float64(n) > bound {
		t.Errorf("%d %s for %d packets, at most %.0f are expected", n, what, sent, bound)
	}
}

// idle is how many allocations may be made in a window beside the packets: two
// looks at the metrics, signaling, reports.
func idle(r bench.Row) uint64 {
	seconds := 1.0
	if r.PacketsOut > 0 {
		seconds = float64(r.Video.Received+r.Audio.Received) / r.PacketsOut
	}
	return 6000 + uint64(1000*seconds)
}

func TestForwardingCosts(t *testing.T) {
	r := run(t, bench.Load{Name: "video", Publishers: 1, Viewers: 20, VideoRate: 3_000_000, Time: 3 * time.Second})
	c := r.Counters
	atMost(t, "allocations", c.Allocations, c.Sent, 0.1, idle(r))
	atMost(t, "sending system calls", c.SendCalls, c.Sent, 0.15, 100)
}

func TestMixingCosts(t *testing.T) {
	const people, talking = 20, 3
	r := run(t, bench.Load{Name: "sound", Viewers: people, Audio: true, Talking: talking, Time: 3 * time.Second})
	c := r.Counters
	// One mix for all who listen, and one for each who talks, to `people` packets.
	atMost(t, "encodes", c.Encodes, c.Sent, 1.3*(talking+1)/people, 20)
	atMost(t, "decodes", c.Decodes, c.Sent, 1.3*talking/people, 20)
	atMost(t, "sending system calls", c.SendCalls, c.Sent, 0.4, 100)
}

// Who joins is told to each of the others once, and not with all who are there.
func TestJoiningCosts(t *testing.T) {
	const people = 40
	r := run(t, bench.Storm(1, people, 0))
	if each := r.Signaling.Roster / people; each < 20*people || each > 150*people+2000 {
		t.Errorf("each of %d people was sent %d bytes of roster", people, each)
	}
	r = run(t, bench.Storm(1, people, people/2))
	if each := r.Signaling.Index / people; each < 20*people/2 || each > 150*people/2*12 {
		t.Errorf("each of %d people was sent %d bytes of INDEX, for %d cameras", people, each, people/2)
	}
}

// One who loses every fifth packet has them sent again to itself. It costs the sender
// no packets and no key frames, and the others nothing.
func TestALossyOneCostsItself(t *testing.T) {
	const viewers, seconds = 100, 4
	r := run(t, bench.Load{Name: "lossy", Publishers: 1, Viewers: viewers, Lossy: 1, Loss: 0.2, VideoRate: 500_000, Time: seconds * time.Second})
	c := r.Counters
	t.Logf("the lossy one %+v, %d thrown away; others %+v", r.LossyVideo, r.Dropped, r.Video)
	if r.Dropped == 0 || r.LossyVideo.Repaired == 0 {
		t.Errorf("%d packets were thrown away, %d repaired", r.Dropped, r.LossyVideo.Repaired)
	}
	// Others have packets sent again only where their machine lost some itself.
	others := r.Video.Repaired + r.Video.Lost()
	if c.Resent > 3*r.Dropped+2*others+50 {
		t.Errorf("%d packets were sent again for %d that one lost and %d of the others", c.Resent, r.Dropped, others)
	}
	if c.AskedAgain > r.Dropped/2+others+5 {
		t.Errorf("%d packets were asked of the sender", c.AskedAgain)
	}
	if c.KeyFrames > 10*seconds {
		t.Errorf("%d key frames were asked of the sender in %d s", c.KeyFrames, seconds)
	}
	atMost(t, "allocations", c.Allocations, c.Sent, 0.2, idle(r))
}
