package capacity

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

var limits = Limits{CPU: 0.9, Late: 20 * time.Millisecond}

func TestFullness(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		sample Sample
		want   float64
	}{
		{Sample{}, 0},
		{Sample{CPU: 0.45, Late: ms}, 0.5},
		{Sample{CPU: 0.9, Late: ms}, 1},
		{Sample{CPU: 0.45, Late: 20 * ms}, 1},
		{Sample{CPU: 0.45, Late: 60 * ms}, 3},
		{Sample{CPU: 0.09, Late: time.Second}, 0.1}, // it is others who hold it up
	} {
		if got := limits.Fullness(tt.sample); got < tt.want-0.01 || got > tt.want+0.01 {
			t.Errorf("%+v: %v full, want %v", tt.sample, got, tt.want)
		}
	}
}

var (
	busy = Sample{CPU: 1}
	calm = Sample{CPU: 0.1}
	half = Sample{CPU: 0.8} // neither
)

func take(j *Judge, s Sample, n int) (levels []Level) {
	for range n {
		levels = append(levels, j.Take(s))
	}
	return levels
}

func TestStepByStep(t *testing.T) {
	j := Judge{Limits: limits}
	// A moment's trouble changes nothing.
	for range 5 {
		take(&j, busy, upAfter-1)
		take(&j, half, 1)
	}
	if j.Level() != Free {
		t.Fatalf("it is %v after moments", j.Level())
	}
	if got := take(&j, busy, 15); !slices.Equal(got, []Level{0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4}) {
		t.Errorf("up: %v", got)
	}
	// Between the bounds it stays.
	if got := take(&j, half, 1000); slices.ContainsFunc(got, func(l Level) bool { return l != Sound }) {
		t.Error("it did not stay")
	}
	if got := take(&j, calm, 40); got[8] != 4 || got[9] != 3 || got[19] != 2 || got[29] != 1 || got[39] != 0 {
		t.Errorf("down: %v", got)
	}
}

// What a step leaves out can be all that made it full. Then it comes back later
// and later, and does not flap.
func TestWhatIsGivenBackTooEarly(t *testing.T) {
	j := Judge{Limits: limits}
	changes, last := 0, Free
	run := func(n int) {
		for range n {
			s := busy
			if j.Level() >= Lower {
				s = calm
			}
			if j.Take(s); j.Level() != last {
				changes, last = changes+1, j.Level()
			}
		}
	}
	run(3600)
	if changes > 60 {
		t.Errorf("the level changed %d times in an hour", changes)
	}
	changes = 0
	run(3600)
	if changes > 2*3600/downMost+2 {
		t.Errorf("then %d times", changes)
	}
	// When that is over, the next time begins as the first did.
	take(&j, calm, 2000)
	take(&j, busy, upAfter)
	if got := take(&j, calm, downAfter); got[downAfter-1] != Free {
		t.Errorf("after a long calm: %v", got)
	}
}

func TestJudgeHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := Judge{Limits: limits}
		calmFor, was := 0, Free
		for range rapid.IntRange(1, 500).Draw(t, "n") {
			s := rapid.SampledFrom([]Sample{busy, half, calm, {CPU: 0.5, Late: time.Second}}).Draw(t, "sample")
			level := j.Take(s)
			if limits.Fullness(s) >= 1 {
				calmFor = 0
			} else if limits.Fullness(s) < room {
				calmFor++
			}
			if level < Free || level > Sound || level > was+1 || level < was-1 {
				t.Fatalf("from %v to %v", was, level)
			}
			if level > was && limits.Fullness(s) < 1 || level < was && calmFor < downAfter {
				t.Fatalf("from %v to %v with %+v, calm for %d", was, level, s, calmFor)
			}
			was = level
		}
	})
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var told []Level
		var sample atomic.Pointer[Sample]
		sample.Store(&busy)
		k := NewKeeper(Config{Limits: limits, Meter: func() Sample { return *sample.Load() }, Changed: func(l Level) { told = append(told, l) },
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		wait(8*Period + Period/2)
		if k.Full() || k.State().Level != NoCamera {
			t.Errorf("%+v", k.State())
		}
		wait(100 * Period)
		if s := k.State(); !k.Full() || s.Level != Sound || s.Fullness < 1 || !s.Measured || s.Held || s.Changes != 4 {
			t.Errorf("%+v", s)
		}
		// Held, it does not move; after that it is what was measured meanwhile.
		k.Hold(Full)
		sample.Store(&calm)
		wait(100 * Period)
		if s := k.State(); s.Level != Full || !s.Held {
			t.Errorf("%+v", s)
		}
		k.Release()
		if s := k.State(); s.Level != Free || s.Held || time.Since(s.Since) > 0 {
			t.Errorf("%+v", s)
		}
		if want := []Level{Lower, NoCamera, Full, Sound, Full, Free}; !cmp.Equal(told, want) {
			t.Errorf("told %v", told)
		}
		// A line for each change, and none for anything else.
		if lines := strings.Count(log.String(), "\n"); lines != 6 || strings.Count(log.String(), "level=WARN") != 4 {
			t.Errorf("%d lines:\n%s", lines, log.String())
		}
		if !strings.Contains(log.String(), "capacity=full before=no-camera held=false cpu=1 late=0s fullness=1.11") {
			t.Errorf("the log lacks the figures:\n%s", log.String())
		}
		cancel()
		<-done
	})
}

// No more come in within a second than there is room for, by what those inside cost.
func TestPlaces(t *testing.T) {
	for name, tt := range map[string]struct {
		sample Sample
		at     Level
		over   int
		want   int
	}{
		"nobody there":                     {Sample{}, Free, 0, 2000},
		"some, who cost little":            {Sample{CPU: 0.09, People: 100}, Free, 0, 900},
		"so few that they say nothing":     {Sample{CPU: 0.09, People: 10}, Free, 0, 1800},
		"more than half full":              {Sample{CPU: 0.54, People: 120}, Free, 0, 20},
		"nearly full":                      {Sample{CPU: 0.899, People: 200}, Free, 0, 1},
		"full for a moment":                {Sample{CPU: 0.9, People: 200}, Free, 1, 4},
		"late for a moment":                {Sample{CPU: 0.5, Late: 20 * time.Millisecond, People: 200}, Free, 1, 5},
		"full, and those inside cost much": {Sample{CPU: 0.9, People: 20}, Free, 1, 0},
		"full":                             {Sample{CPU: 0.9, People: 200}, Free, 2, 0},
		"late":                             {Sample{CPU: 0.5, Late: 20 * time.Millisecond, People: 200}, Lower, 0, 0},
		"cameras are small":                {Sample{CPU: 0.72, People: 200}, Lower, 0, 6},
		"and must not be paused":           {Sample{CPU: 0.8, People: 200}, Lower, 0, 0},
		"they do not":                      {Sample{CPU: 0.81, People: 225}, NoCamera, 0, 0},
		"and there is room for some":       {Sample{CPU: 0.54, People: 200}, NoCamera, 0, 4},
		"not for who comes new":            {Sample{CPU: 0.1, People: 200}, Full, 0, 0},
		"an idle machine of other people":  {Sample{CPU: 0, People: 1000}, Free, 0, 20000},
	} {
		j := Judge{Limits: Limits{CPU: 0.9, Late: 20 * time.Millisecond, Processors: 2}, level: tt.at, over: tt.over}
		if got := j.places(tt.sample, 0); got < tt.want*9/10 || got > tt.want+tt.want/10+1 || (got == 0) != (tt.want == 0) {
			t.Errorf("%s: %d, want about %d", name, got, tt.want)
		}
	}
}

// Cameras are made smaller for who stands before the door, before it is full for others.
func TestWhoWaitsHasCamerasMadeSmaller(t *testing.T) {
	near, waiting := Sample{CPU: 0.83}, Sample{CPU: 0.83, Turned: true}
	j := Judge{Limits: limits}
	if got := take(&j, near, 10); got[9] != Free {
		t.Errorf("nobody waits: %v", got)
	}
	if got := take(&j, Sample{CPU: 0.7, Turned: true}, 10); got[9] != Free {
		t.Errorf("there is room: %v", got)
	}
	if got := take(&j, waiting, 10); got[2] != Lower || got[9] != Lower {
		t.Errorf("some wait: %v", got)
	}
	k := NewKeeper(Config{Limits: limits, Meter: func() Sample { return Sample{} }})
	for range 3 {
		k.take(Sample{CPU: 0.83, People: 300})
		for k.Admit() {
		}
	}
	if k.take(Sample{CPU: 0.83, People: 300}); k.State().Level != Lower {
		t.Errorf("it is %v", k.State().Level)
	}
}

// Who comes may have cameras made smaller, and not paused, though some seconds are fuller
// than others.
func TestWhoComesPausesNoCamera(t *testing.T) {
	k := NewKeeper(Config{Limits: limits, Meter: func() Sample { return Sample{} }})
	inside, waiting, lowered := 100, 0, 0
	for i := range 600 {
		each, other := 0.0045, 0.0
		if k.State().Level == Lower {
			each, lowered = 0.0037, lowered+1
		}
		if i%10 >= 6 {
			other = 0.07
		}
		if k.take(Sample{CPU: each*float64(inside) + other, People: inside}); k.State().Level > Lower {
			t.Fatalf("second %d: it is %v with %d people", i, k.State().Level, inside)
		}
		for waiting += 5; waiting > 0 && k.Admit(); waiting-- {
			inside++
		}
	}
	if lowered == 0 || inside < 190 {
		t.Errorf("%d came in, cameras were small for %d s", inside, lowered)
	}
}

// crowd is a server on which each person costs so much, a moment after it came in.
type crowd struct {
	inside, seen int
	each         float64
}

func (c *crowd) sample() Sample {
	cpu := min(c.each*float64(c.seen), 1)
	c.seen = c.inside
	s := Sample{CPU: cpu, People: c.inside}
	if over := c.each * float64(c.seen); over > 0.95 {
		s.Late = time.Duration(over * 30 * float64(time.Millisecond))
	}
	return s
}

// However many ask at once, and whatever they cost, no more get in than can be served,
// and those who fit do in some seconds.
func TestAdmitKeepsRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crowd{each: rapid.Float64Range(0.0005, 0.01).Draw(t, "each")}
		there := rapid.IntRange(few, 60).Draw(t, "there")
		c.inside, c.seen = there, there
		k := NewKeeper(Config{Limits: limits, Meter: func() Sample { return Sample{} }})
		asking := rapid.IntRange(0, 3000).Draw(t, "asking")
		k.take(c.sample())
		for range 40 {
			for range asking {
				if k.Admit() {
					c.inside++
					asking--
				}
			}
			k.take(c.sample())
		}
		load := c.each * float64(c.inside)
		if load > 0.98 && c.inside > there {
			t.Fatalf("%d people are inside, who ask for %.2f of the processors", c.inside, load)
		}
		if asking > 0 && load < 0.6 {
			t.Fatalf("%d wait while the %d inside take %.2f", asking, c.inside, load)
		}
	})
}

func TestAdmit(t *testing.T) {
	k := NewKeeper(Config{Limits: limits, Meter: func() Sample { return Sample{} }})
	admit := func(want int) {
		t.Helper()
		got := 0
		for range 5000 {
			if k.Admit() {
				got++
			}
		}
		if got != want {
			t.Errorf("%d came in, want %d", got, want)
		}
	}
	k.take(Sample{CPU: 0.72, People: 160})
	admit(10)
	admit(0)
	k.take(Sample{CPU: 0.72, People: 170}) // the ten do not show yet
	admit(7)
	k.Hold(Full)
	admit(0)
	k.Hold(Sound)
	admit(0)
	k.Hold(NoCamera)
	admit(5000)
	k.Release()
	admit(0)
}

func TestKeeperWithoutAMeter(t *testing.T) {
	k := NewKeeper(Config{Limits: limits})
	k.Run(t.Context()) // returns at once
	for range 5000 {
		if !k.Admit() {
			t.Fatal("one was sent away")
		}
	}
	k.Hold(Sound)
	if s := k.State(); s.Level != Sound || s.Measured {
		t.Errorf("%+v", s)
	}
	if k.Admit() {
		t.Error("one came in")
	}
	k.Release()
	if k.State().Level != Free {
		t.Error("it is not free again")
	}
}

func TestNames(t *testing.T) {
	for _, l := range Levels() {
		if got, err := Parse(l.String()); got != l || err != nil {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if _, err := Parse("overflowing"); err == nil || !strings.Contains(err.Error(), "no-camera") {
		t.Errorf("%v", err)
	}
}

func TestProcessors(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	const list = "proc/self/cgroup"
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  float64
	}{
		"no groups":     {fstest.MapFS{}, 4},
		"old groups":    {fstest.MapFS{list: file("4:cpu:/a\n")}, 4},
		"none is set":   {fstest.MapFS{list: file("0::/a\n"), "sys/fs/cgroup/a/cpu.max": file("max 100000\n")}, 4},
		"a part":        {fstest.MapFS{list: file("0::/a/b\n"), "sys/fs/cgroup/a/b/cpu.max": file("150000 100000\n")}, 1.5},
		"further out":   {fstest.MapFS{list: file("0::/a/b\n"), "sys/fs/cgroup/a/b/cpu.max": file("max 100000\n"), "sys/fs/cgroup/a/cpu.max": file("50000 100000\n")}, 0.5},
		"in a box":      {fstest.MapFS{list: file("0::/\n"), "sys/fs/cgroup/cpu.max": file("200000 100000\n")}, 2},
		"more than all": {fstest.MapFS{list: file("0::/\n"), "sys/fs/cgroup/cpu.max": file("900000 100000\n")}, 4},
		"nonsense":      {fstest.MapFS{list: file("0::/\n"), "sys/fs/cgroup/cpu.max": file("-1 0\n")}, 4},
	} {
		if got := processors(tt.files, 4); got != tt.want {
			t.Errorf("%s: %v processors, want %v", name, got, tt.want)
		}
	}
}

func TestCPU(t *testing.T) {
	c := NewCPU()
	// Its own work is seen; how much of it depends on the machine.
	kit.Eventually(t, "a share of the processors", func() bool {
		for x := 0; x < 1e6; x++ {
			_ = x * x
		}
		share := c.Share()
		if share < 0 || share > 2 {
			t.Fatalf("a share of %v", share)
		}
		return share > 0
	})
}
