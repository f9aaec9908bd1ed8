// Command belfry-bench puts a media server under load: it plays the people of
// meetings, checks all that they get, and tells what the server spent on it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"belfry/internal/bench"
	"belfry/internal/bench/janus"
	"belfry/internal/bench/netns"
	"belfry/internal/bench/plain"
	"belfry/internal/bench/process"
)

const usage = `usage: belfry-bench <load> [flags]; belfry-bench <load> -h lists them

  video       cameras, and people who watch them all
  audio       one meeting of people who hear each other
  pairs       meetings of two people with microphones and cameras
  join-storm  many people who join at once

and of many loads, which write tables and plots:

  compare     all loads on our server, a plain pion server and Janus, by turns; about an hour, or half of one with -time 6s -warm 3s
  curves      what our server spends as the work grows; about half an hour
  overload    more and more people until it is full, and what it does then; three minutes
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the flags say.
type options struct {
	load     bench.Load
	servers  string
	program  string
	endpoint bench.Endpoint
	runs     int
	json     string
	pin      string
	settings []string // of the server that is started
	server   int      // processors, -1: any
	own      int
}

// run is main with its surroundings as arguments; it returns the exit code: 0, 1
// for a failure, 2 for words that were not understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if args[0] == bench.PlainWord && len(args) == 2 {
		if err := plain.Serve(ctx, args[1]); err != nil {
			fmt.Fprintln(stderr, "belfry-bench:", err)
			return 1
		}
		return 0
	}
	var o options
	var work func() error
	var err error
	if slices.Contains(suites, args[0]) {
		var many suite
		many, err = parseSuite(args, stderr)
		o, work = many.options, func() error { return many.run(ctx, stdout) }
	} else {
		o, err = parse(args, stderr)
		work = func() error { return measure(ctx, o, stdout) }
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "belfry-bench:", err)
		return 2
	}
	if slices.Contains(strings.Split(o.servers, ","), "janus") && !netns.Inside() {
		code, err := netns.Run(ctx)
		if err != nil {
			fmt.Fprintln(stderr, "belfry-bench:", err)
		}
		return code
	}
	if err := o.place(ctx); err != nil {
		fmt.Fprintln(stderr, "belfry-bench:", err)
		return 1
	}
	if err := work(); err != nil {
		fmt.Fprintln(stderr, "belfry-bench:", err)
		return 1
	}
	return 0
}

// place puts this program where it is to run.
func (o options) place(ctx context.Context) error {
	if o.own >= 0 {
		if err := process.PinSelf(o.own); err != nil {
			return err
		}
	}
	if netns.Inside() {
		return netns.Prepare(ctx)
	}
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{load: bench.Load{Meetings: 1, VideoRate: 1_000_000}, server: -1, own: -1}
	l := &o.load
	f := flag.NewFlagSet("belfry-bench "+args[0], flag.ContinueOnError)
	f.SetOutput(stderr)
	var name func() string
	shape := func() {}
	rate := func(text string) (err error) {
		l.VideoRate, err = bits(text)
		return err
	}
	switch args[0] {
	case "video":
		f.IntVar(&l.Publishers, "publishers", 1, "people with a camera on")
		f.IntVar(&l.Viewers, "subscribers", 50, "people who only watch, all cameras")
		f.IntVar(&l.Lossy, "lossy", 0, "how many of the subscribers lose packets; their figures are apart")
		f.Float64Var(&l.Loss, "loss", 0.2, "what share they lose")
		f.BoolVar(&l.Mutual, "mutual", false, "publishers watch one another too")
		f.Func("bitrate", "of each camera, such as 500k or 1M (default 1M)", rate)
		name = func() string {
			return fmt.Sprintf("video %dx%d %s", l.Publishers, l.Publishers+l.Viewers, short(l.VideoRate))
		}
	case "audio":
		l.Audio, l.VideoRate = true, 0
		f.IntVar(&l.Viewers, "people", 50, "people in the meeting")
		f.IntVar(&l.Talking, "talking", 1, "how many of them talk; one alone pauses now and then")
		f.BoolVar(&l.Quiet, "quiet", false, "those who do not talk send nothing, instead of silence as browsers do")
		f.BoolVar(&l.Beep, "beep", false, "one of those who talk beeps, by which the sound is timed")
		f.BoolVar(&l.Turns, "turns", false, "all who talk pause now and then")
		name = func() string { return fmt.Sprintf("audio %d/%d", l.Viewers, l.Talking) }
	case "pairs":
		l.Audio, l.Talking, l.Publishers, l.Mutual, l.VideoRate = true, 1, 2, true, 500_000
		f.IntVar(&l.Meetings, "meetings", 10, "meetings of two people")
		f.Func("bitrate", "of each camera (default 500k)", rate)
		f.DurationVar(&l.Over, "over", 0, "they join evenly over so long, instead of as fast as they can")
		name = func() string { return fmt.Sprintf("pairs %d %s", l.Meetings, short(l.VideoRate)) }
	case "join-storm":
		people, cameras := 250, 0
		f.IntVar(&people, "people", people, "people of each meeting")
		f.IntVar(&cameras, "cameras", 0, "how many of them turn a camera on, which nobody watches")
		f.IntVar(&l.Meetings, "meetings", 1, "meetings")
		f.DurationVar(&l.Over, "over", 0, "they join evenly over so long, instead of at once")
		shape = func() { *l = keep(bench.Storm(l.Meetings, people, cameras), *l) }
		name = func() string { return fmt.Sprintf("storm %dx%d", l.Meetings, l.Publishers+l.Viewers) }
	default:
		return o, fmt.Errorf("there is no load %q\n%s", args[0], usage)
	}
	f.DurationVar(&l.Time, "time", 10*time.Second, "how long to measure")
	f.DurationVar(&l.Warm, "warm", 4*time.Second, "how long to wait before")
	f.StringVar(&o.servers, "servers", "belfry", "which servers, in turns: belfry, pion (no mix of sound), janus")
	f.IntVar(&o.runs, "runs", 1, "runs of each server")
	f.StringVar(&o.program, "belfry", beside("belfry"), "the server's program, which is started for each run")
	f.StringVar(&o.endpoint.URL, "endpoint", "", "a server that runs already, instead")
	f.StringVar(&o.endpoint.KeyID, "access-key-id", os.Getenv("AWS_ACCESS_KEY_ID"), "access key for -endpoint")
	f.IntVar(&o.endpoint.Process, "pid", 0, "the process of -endpoint, whose CPU time is measured")
	f.StringVar(&o.json, "json", "", "a file to write the figures to")
	f.StringVar(&o.pin, "pin", "", "processors for the server and for this program, such as 0,1")
	if err := f.Parse(args[1:]); err != nil {
		return o, err
	}
	shape()
	o.endpoint.Secret = os.Getenv("AWS_SECRET_ACCESS_KEY")
	if f.NArg() > 0 {
		return o, fmt.Errorf("what is %q?", f.Arg(0))
	}
	if err := o.pins(); err != nil {
		return o, err
	}
	if l.Publishers < 0 || l.Viewers < 0 || l.Talking < 0 || l.Publishers+l.Viewers < 1 || l.Meetings < 1 || o.runs < 1 {
		return o, errors.New("a load needs at least one meeting, one person and one run")
	}
	l.Name = name()
	return o, nil
}

// keep is a load with the times of another.
func keep(l, times bench.Load) bench.Load {
	l.Time, l.Warm, l.Over = times.Time, times.Warm, times.Over
	return l
}

// pins reads the processors.
func (o *options) pins() error {
	if o.pin == "" {
		return nil
	}
	if n, err := fmt.Sscanf(o.pin, "%d,%d", &o.server, &o.own); n != 2 || err != nil || o.server < 0 || o.own < 0 {
		return fmt.Errorf("-pin wants two processors, such as 0,1, not %q", o.pin)
	}
	return nil
}

// beside is a program in the directory of this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// bits reads a rate: 500k, 1M or a number.
func bits(text string) (int, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(text+" ", "%g%s", &n, &unit); n <= 0 {
		return 0, fmt.Errorf("%q is no rate: %w", text, err)
	}
	switch unit {
	case "":
	case "k":
		n *= 1e3
	case "M":
		n *= 1e6
	default:
		return 0, fmt.Errorf("%q is no rate: use k or M", text)
	}
	if n < 50e3 || n > 50e6 {
		return 0, errors.New("rates go from 50k to 50M")
	}
	return int(n), nil
}

func short(rate int) string {
	if rate%1_000_000 == 0 {
		return fmt.Sprintf("%dM", rate/1_000_000)
	}
	return fmt.Sprintf("%dk", rate/1000)
}

// measure does the runs, the servers in turns, and reports.
func measure(ctx context.Context, o options, stdout io.Writer) error {
	var rows []bench.Row
	for range o.runs {
		for name := range strings.SplitSeq(o.servers, ",") {
			row, err := once(ctx, o, name)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", o.load.Name, name, err)
			}
			rows = append(rows, row)
		}
	}
	if err := bench.Table(stdout, rows); err != nil {
		return err
	}
	for _, r := range rows {
		people := float64(r.People) * 1e3
		fmt.Fprintf(stdout, "\njoining on %s: p50 %.0f ms, p99 %.0f ms, %.2f ms of CPU each; signaling to each person: %.1f kB (roster %.1f, index %.1f, levels %.1f)", r.Server,
			r.JoinP50, r.JoinP99, r.JoinCPU, float64(r.Signaling.Sum())/people, float64(r.Signaling.Roster)/people, float64(r.Signaling.Index)/people, float64(r.Signaling.Levels)/people)
		if c := r.Counters; c != nil {
			fmt.Fprintf(stdout, "\n%s: %d garbage collections paused it for %.2f ms in all, the longest so far for %.2f ms; %d key frames and %d packets asked of senders, %d packets sent again", r.Server,
				c.Collections, float64(c.Paused)/1e6, float64(c.LongestGC)/1e6, c.KeyFrames, c.AskedAgain, c.Resent)
		}
		if l := r.LossyVideo; l.Expected > 0 {
			fmt.Fprintf(stdout, "\nthe lossy ones: %d packets thrown away, %d of video expected, %d repaired, %d lost", r.Dropped, l.Expected, l.Repaired, l.Lost())
		}
	}
	fmt.Fprintln(stdout)
	if o.json == "" {
		return nil
	}
	f, err := os.Create(o.json)
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	defer f.Close()
	if err := bench.JSON(f, rows); err != nil {
		return err
	}
	return f.Close()
}

func once(ctx context.Context, o options, name string) (bench.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute+o.load.Time+o.load.Warm)
	defer cancel()
	s, err := o.open(ctx, name)
	if err != nil {
		return bench.Row{}, err
	}
	defer s.Close()
	return bench.Run(ctx, name, s, o.load)
}

// open starts a server, or uses the one that runs.
func (o options) open(ctx context.Context, name string) (bench.Server, error) {
	switch {
	case name == "belfry" && o.endpoint.URL != "":
		return bench.UseBelfry(o.endpoint), nil
	case name == "belfry":
		return bench.StartBelfry(ctx, o.program, o.server, o.settings...)
	case name == "pion":
		return bench.StartPlain(ctx, o.server)
	case name == "janus":
		return bench.StartJanus(ctx, janus.Config{IP: netns.Address, CPU: o.server})
	}
	return nil, fmt.Errorf("there is no server %q; there are belfry, pion and janus", name)
}
