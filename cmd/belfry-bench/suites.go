package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"belfry/internal/bench"
)

// suite is what the flags of compare and curves say.
type suite struct {
	options
	word  string
	bench bench.Options
	over  bench.Overload
	small bool
	only  string
	docs  string
	limit time.Duration
}

// suites are the commands that run many loads and write what came out.
var suites = []string{"compare", "curves", "overload"}

func parseSuite(args []string, stderr io.Writer) (suite, error) {
	o := suite{options: options{server: -1, own: -1}, word: args[0]}
	f := flag.NewFlagSet("belfry-bench "+o.word, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.small, "small", false, "a small suite for a moment, to try the command; its figures mean nothing")
	f.StringVar(&o.docs, "docs", "", "a directory of documentation to write tables and plots into, such as docs")
	f.StringVar(&o.json, "json", "", "a file to write the figures to, anew after each workload")
	f.StringVar(&o.program, "belfry", beside("belfry"), "the server's program, which is started for each run")
	f.StringVar(&o.pin, "pin", "", "processors for the server and for this program, such as 0,1")
	if o.word == "overload" {
		o.servers, o.settings = "belfry", []string{"BELFRY_SHEDDING=on"}
		f.IntVar(&o.over.Load.Meetings, "meetings", 150, "how many meetings there are to come into")
		f.IntVar(&o.over.Load.Talking, "talking", 3, "how many of four talk at a time; few make it harder for the load generator than for the server")
		f.DurationVar(&o.over.Every, "every", 200*time.Millisecond, "another one comes")
		f.DurationVar(&o.limit, "limit", 10*time.Minute, "end after so long, with what there is")
	} else {
		f.DurationVar(&o.bench.Time, "time", 10*time.Second, "how long to measure in each run")
		f.DurationVar(&o.bench.Warm, "warm", 4*time.Second, "how long to wait before")
		f.StringVar(&o.only, "only", "", "only what has these words in its name")
	}
	switch o.word {
	case "compare":
		f.IntVar(&o.bench.Runs, "runs", 3, "runs of each workload on each server, by turns")
		f.StringVar(&o.servers, "servers", "belfry,pion,janus", "which servers")
		f.BoolVar(&o.bench.Floor, "floor", runtime.GOOS == "linux", "measure the bare work first: headers, seals, sends, codec, with nothing around them")
		f.DurationVar(&o.limit, "limit", 3*time.Hour, "end after so long, with what there is")
	case "curves":
		o.servers = "belfry"
		f.DurationVar(&o.limit, "limit", time.Hour, "end after so long, with what there is")
	}
	if err := f.Parse(args[1:]); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("what is %q?", f.Arg(0))
	}
	if o.word == "overload" {
		asked := o.over
		o.over = bench.Overloads(o.small)
		if !o.small {
			o.over.Load.Meetings, o.over.Load.Talking, o.over.Every = asked.Load.Meetings, asked.Load.Talking, asked.Every
		}
		if asked.Load.Meetings < 1 || asked.Every <= 0 || asked.Load.Talking < 1 || asked.Load.Talking > o.over.Load.Publishers+o.over.Load.Viewers {
			return o, errors.New("an overload needs meetings, one to four who talk and a time above 0")
		}
		o.bench.Time = time.Second // it has its own
	}
	if o.small {
		o.bench.Time, o.bench.Warm, o.bench.Most, o.bench.Floor = min(o.bench.Time, time.Second), 0, 4, false
	}
	for name := range strings.SplitSeq(o.servers, ",") {
		if !slices.Contains([]string{"belfry", "pion", "janus"}, name) {
			return o, fmt.Errorf("there is no server %q; there are belfry, pion and janus", name)
		}
	}
	if o.bench.Time <= 0 || o.bench.Warm < 0 || o.limit <= 0 || o.word == "compare" && o.bench.Runs < 1 {
		return o, errors.New("times are above 0, and there is one run at least")
	}
	err := o.pins()
	return o, err
}

// run does what the words say and writes what came out, also when it ended early.
func (o suite) run(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("the limit of %v is over", o.limit))
	defer cancel()
	start := func(ctx context.Context, name string) (bench.Server, error) { return o.open(ctx, name) }
	begun := time.Now()
	o.bench.Say = func(format string, args ...any) {
		fmt.Fprintf(stdout, "%6.0f s  "+format+"\n", append([]any{time.Since(begun).Seconds()}, args...)...)
	}
	if o.word == "overload" {
		s, err := o.open(ctx, "belfry")
		if err != nil {
			return err
		}
		defer s.Close()
		c, failed := o.over.Run(ctx, s, o.bench.Say)
		if c == nil {
			return failed
		}
		fmt.Fprintln(stdout, "\n"+c.Markdown("images"))
		return errors.Join(failed, o.save(c), o.write(len(c.Moments), c))
	}
	if o.word == "curves" {
		list := slices.DeleteFunc(bench.Growths(o.small), func(g bench.Growth) bool { return !strings.Contains(g.Name+" "+g.Title, o.only) })
		o.bench.Save = nil
		c, failed := bench.Grow(ctx, list, start, o.bench)
		fmt.Fprintln(stdout, "\n"+c.Markdown("images"))
		return errors.Join(failed, o.save(c), o.write(len(c.Grown), c))
	}
	list := bench.Suite(o.small)
	for i := range list {
		list[i].Servers = slices.DeleteFunc(list[i].Servers, func(name string) bool { return !slices.Contains(strings.Split(o.servers, ","), name) })
	}
	list = slices.DeleteFunc(list, func(w bench.Workload) bool {
		return len(w.Servers) == 0 || !strings.Contains(w.Load.Name+", "+string(w.Metric), o.only)
	})
	var unsaved error
	o.bench.Save = func(c *bench.Comparison) { unsaved = o.save(c) }
	c, failed := bench.Compare(ctx, list, start, o.bench)
	fmt.Fprintln(stdout, "\n"+c.Markdown())
	return errors.Join(failed, unsaved, o.write(len(c.Lines), c))
}

func (o suite) write(lines int, result interface{ Write(docs string) error }) error {
	if o.docs == "" || lines == 0 { // what was there before is better than nothing
		return nil
	}
	return result.Write(o.docs)
}

func (o suite) save(result any) error {
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	if err := os.WriteFile(o.json, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
