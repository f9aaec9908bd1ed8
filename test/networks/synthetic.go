//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"belfry/internal/bench"
	"belfry/internal/bench/check"
	"belfry/internal/bench/client"
	"belfry/internal/bench/judge"
	"belfry/internal/bench/link"
	"belfry/internal/media/opus"
)

// Synthetic clients on the same networks: a talker and ten listeners, each with a link of
// its own before the server's port. They have no browser's adaptive buffers, so what they
// say is about the server and the links.
const (
	syntheticListeners = 10
	syntheticRate      = 500_000          // bits a second of the talker's camera
	syntheticTime      = 10 * time.Second // of rows in which nothing changes
)

// synthetic is what became of a row.
type synthetic struct {
	Network string
	Failed  string

	Share, Worst     float64 // of 20 ms frames that came out as said: of all listeners, and of the one that heard least
	Gaps             int     // of all listeners
	Longest          float64 // ms
	Sound            check.Counts
	Video            check.Counts
	Latency          float64 // of the camera's packets, ms, p95
	Mended, Resent   uint64  // packets of sound and of the camera that the talker sent again
	Dropped, Offered uint64  // packets that the links took, and that they were given
	Arrived          int     // listeners who heard and saw at the end
	from, until      int64
}

// onlyUDP says that nothing of the row is about other ways than UDP, which synthetic
// clients have alone.
func (r row) onlyUDP() bool {
	blocked := func(n net) bool { return n.listener.Up.NoUDP || n.talker.Up.NoUDP }
	return !blocked(r.Start) && !slices.ContainsFunc(r.Steps, func(s step) bool { return s.net != nil && blocked(*s.net) })
}

func (l *lab) runSynthetic(ctx context.Context, r row) synthetic {
	res := synthetic{Network: r.Name}
	if err := l.playSynthetic(ctx, r, &res); err != nil {
		res.Failed = err.Error()
	}
	return res
}

func (l *lab) playSynthetic(ctx context.Context, r row, res *synthetic) error {
	ctx, cancel := context.WithTimeout(ctx, r.Time+time.Minute)
	defer cancel()
	if len(r.Steps) == 0 && l.time == 0 {
		r.Time = syntheticTime
	}
	server, ok := l.servers["belfry"].(*belfry)
	if !ok {
		return fmt.Errorf("there is no server")
	}
	meeting, err := bench.UseBelfry(bench.Endpoint{URL: "http://" + serverIP + ":7100", KeyID: "AKIDNETWORKS", Secret: server.secret}).
		Open(ctx, bench.Load{Meetings: 1, Publishers: 1, Viewers: syntheticListeners, VideoRate: syntheticRate, Audio: true})
	if err != nil {
		return err
	}
	identity, err := client.NewIdentity()
	if err != nil {
		return err
	}
	code, err := bench.Code()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var said []float64 // samples, and when they were said
	window := check.NewWindow()
	pace := client.NewPace()
	defer pace.Stop()
	var people []*client.Client
	var links []*link.Relay
	ears := make([]bench.Playout, syntheticListeners)
	for i := range 1 + syntheticListeners {
		conditions := r.Start.listener
		if i == 0 {
			conditions = r.Start.talker
		}
		cfg := client.Config{IP: "127.0.0.1", Identity: identity, Windows: func(uint32) *check.Window { return window }, Adapts: true,
			Via: func(to netip.AddrPort) (netip.AddrPort, error) {
				relay, err := link.NewRelay(l.seed*1000+uint64(i), conditions, to)
				if err != nil {
					return to, err
				}
				links = append(links, relay)
				return relay.Addr(), nil
			}}
		wants := bench.Wants{Audio: true, Receive: 1}
		if i == 0 {
			wants = bench.Wants{Audio: true, SendKbps: syntheticRate / 1000}
			cfg.VideoRate, cfg.Frames, cfg.Window, cfg.Voice, cfg.Mends = syntheticRate, 15, window, code, true
			cfg.Spoke = func(n int, at int64) {
				mu.Lock()
				defer mu.Unlock()
				// The packet is there when the last of its samples was said.
				said = append(said, float64(n*opus.FrameSamples), float64(at)/1e6-20)
			}
		} else {
			cfg.Hear, cfg.RED = ears[i-1].Hear, true
		}
		member, err := meeting.Join(ctx, i, cfg)
		if err != nil {
			return err
		}
		defer member.Leave()
		people = append(people, member.Clients()[0])
		had := len(links)
		err = member.Negotiate(ctx, wants)
		for _, relay := range links[had:] {
			defer relay.Close()
		}
		if err != nil {
			return err
		}
		pace.Add(people[i], true)
	}
	talker, listeners := people[0], people[1:]
	all := func(ok func(*client.Client) bool) bool {
		return !slices.ContainsFunc(listeners, func(c *client.Client) bool { return !ok(c) })
	}
	for !all(func(c *client.Client) bool { return c.Hears() && c.Sees() > 0 }) {
		if err := sleepUntil(ctx, time.Now().Add(50*time.Millisecond)); err != nil {
			return fmt.Errorf("waiting for sound and pictures: %w", err)
		}
	}
	if err := sleepUntil(ctx, time.Now().Add(2*time.Second)); err != nil { // rates have settled
		return err
	}
	begin := time.Now()
	res.from = client.Now()
	for _, c := range listeners {
		c.Measure(res.from, res.from+int64(r.Time))
	}
	talker.CameraWindow(true)
	for _, s := range r.Steps {
		if err := sleepUntil(ctx, begin.Add(s.at)); err != nil {
			return err
		}
		for i, relay := range links {
			switch {
			case s.net != nil && i == 0:
				relay.Set(s.net.talker)
			case s.net != nil:
				relay.Set(s.net.listener)
			case s.move && i > 0:
				if err := relay.Move(); err != nil {
					return err
				}
			}
		}
	}
	if err := sleepUntil(ctx, begin.Add(r.Time)); err != nil {
		return err
	}
	talker.CameraWindow(false)
	res.until = client.Now()
	var before []client.Stats
	for _, c := range listeners {
		before = append(before, c.Result().Stats)
	}
	if err := sleepUntil(ctx, time.Now().Add(time.Second)); err != nil { // what is on its way arrives
		return err
	}
	for i, c := range listeners {
		if s := c.Result().Stats; s.AudioPackets > before[i].AudioPackets && s.VideoPackets > before[i].VideoPackets {
			res.Arrived++
		}
	}
	for i, relay := range links {
		way := link.Down
		if i == 0 {
			way = link.Up
		}
		n := relay.Counts(way)
		res.Offered += n.In
		res.Dropped += n.Lost + n.Overflowed + n.Cut
	}
	mu.Lock()
	mouth := judge.NewClock(said)
	mu.Unlock()
	return res.judge(mouth, talker, listeners, ears)
}

func (s *synthetic) judge(mouth judge.Clock, talker *client.Client, listeners []*client.Client, ears []bench.Playout) error {
	s.Worst = 1
	stats := talker.Result().Stats
	s.Mended, s.Resent = stats.Mended, stats.Resent
	var latency check.Histogram
	for i, c := range listeners {
		played, err := ears[i].Play()
		if err != nil {
			return err
		}
		h := judge.Hear(mouth, played.Clock, played.PCM, float64(s.from)/1e6, float64(s.until)/1e6-1000)
		s.Share += h.Share / float64(len(listeners))
		s.Worst = min(s.Worst, h.Share)
		s.Gaps += h.Gaps
		s.Longest = max(s.Longest, h.Longest)
		r := c.Result()
		s.Sound.Add(r.Audio)
		s.Video.Add(r.Video)
		latency.Merge(&r.VideoLatency)
	}
	s.Latency = float64(latency.Quantile(0.95)) / 1e6
	return nil
}

// per is a share in per cent.
func per(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// String is the line that is printed when a row is done.
func (s synthetic) String() string {
	if s.Failed != "" {
		return fmt.Sprintf("%-14s synthetic FAILED: %s", s.Network, s.Failed)
	}
	return fmt.Sprintf("%-14s synthetic lost %.1f %% | audio %.1f %% (worst %.1f) gaps %d (%.0f) came %.1f %% late %.1f %% mended %d | video came %.1f %% repaired %.1f %% p95 %.0f ms resent %d | stayed %d of %d",
		s.Network, per(s.Dropped, s.Offered), 100*s.Share, 100*s.Worst, s.Gaps, s.Longest, per(s.Sound.Received, s.Sound.Expected), per(s.Sound.Late, s.Sound.Expected), s.Mended,
		per(s.Video.Received, s.Video.Expected), per(s.Video.Repaired, s.Video.Expected), s.Latency, s.Resent, s.Arrived, syntheticListeners)
}

// syntheticTable is what the page shows of them, empty without any.
func syntheticTable(all []synthetic) string {
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("\nThe same networks, a synthetic talker and %d synthetic listeners at Belfry, each with a link of its own:\n", syntheticListeners)
	line("| Network | links took %% | sound as said %% (worst listener) | gaps > 60 ms of all (longest ms) | packets of sound that came %% | said again | camera's packets that came %% | of them repaired %% | p95 ms | camera's packets sent again | stayed |")
	line("|---|---|---|---|---|---|---|---|---|---|---|")
	for _, s := range all {
		if s.Failed != "" {
			line("| %s | failed: %s ||||||||||", s.Network, strings.ReplaceAll(reason(s.Failed), "|", "/"))
			continue
		}
		line("| %s | %.1f | %.1f (%.1f) | %d (%.0f) | %.1f | %d | %.1f | %.1f | %.0f | %d | %d of %d |", s.Network, per(s.Dropped, s.Offered), 100*s.Share, 100*s.Worst,
			s.Gaps, s.Longest, per(s.Sound.Received, s.Sound.Expected), s.Mended, per(s.Video.Received, s.Video.Expected), per(s.Video.Repaired, s.Video.Received),
			s.Latency, s.Resent, s.Arrived, syntheticListeners)
	}
	return b.String()
}
