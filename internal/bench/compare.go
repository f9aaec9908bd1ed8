package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"belfry/internal/bench/process"
)

// Start starts the server of a name, new for each run.
type Start func(ctx context.Context, name string) (Server, error)

// Comparison is the figures of a suite, on different servers by turns.
type Comparison struct {
	Machine Machine   `json:"machine"`
	Begun   time.Time `json:"begun"`
	Runs    int       `json:"runs"` // of each workload on each server
	Floor   *Floor    `json:"floor,omitempty"`
	Lines   []Line    `json:"lines"`
	Rows    []Row     `json:"rows"` // all of them, in their order
}

// Line is what a workload came to.
type Line struct {
	Workload
	Figures map[string]Figure `json:"figures"` // by server
}

// Figure is the median of a server's runs and their range.
type Figure struct {
	Median, Low, High float64
	Runs              int    `json:",omitempty"`
	Note              string `json:",omitempty"` // why there is none, or what ended the growth
}

// Options are how a comparison is run.
type Options struct {
	Runs       int // of each workload on each server; 0: 3
	Time, Warm time.Duration
	Limit      time.Duration        // of one run, joining included; 0: 3 minutes
	Most       int                  // a growing load ends there; 0: 4000
	Say        func(string, ...any) // told what happens; may be nil
	Floor      bool                 // measure the bare work first
	Save       func(*Comparison)    // given what there is after each workload; may be nil
}

func (o *Options) fill() {
	if o.Runs == 0 {
		o.Runs = 3
	}
	if o.Time == 0 {
		o.Time, o.Warm = usualTime, usualWarm
	}
	if o.Limit == 0 {
		o.Limit = 3 * time.Minute
	}
	if o.Most == 0 {
		o.Most = 4000
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.Save == nil {
		o.Save = func(*Comparison) {}
	}
}

// Compare runs a suite. A run that fails is a figure without runs, and a note; it
// ends early only with ctx, and then gives what there is.
func Compare(ctx context.Context, suite []Workload, start Start, o Options) (*Comparison, error) {
	o.fill()
	c := &Comparison{Machine: ThisMachine(), Begun: time.Now().UTC(), Runs: o.Runs}
	if o.Floor {
		f, err := MeasureFloor()
		if err != nil {
			return c, err
		}
		c.Floor = &f
		o.Say("the bare work: %+v", f)
	}
	var last []Row
	for i, w := range suite {
		var rows []Row
		notes := map[string]string{}
		switch {
		case w.Same && len(last) > 0 && last[0].Load.Name == w.Load.Name:
			rows = last
		case w.Grow:
			rows = c.grow(ctx, w, start, o, notes)
		default:
			for run := range o.Runs {
				for _, name := range turn(w.Servers, run) {
					r := once(ctx, name, start, w.Load, o)
					c.Rows = append(c.Rows, r)
					rows = append(rows, r)
					o.Say("%d/%d %s on %s: %s", i+1, len(suite), w.Load.Name, name, told(w.Metric, r))
				}
			}
		}
		if ctx.Err() != nil {
			o.Save(c)
			return c, fmt.Errorf("ended after %d of %d workloads: %w", i, len(suite), context.Cause(ctx))
		}
		last = rows
		c.Lines = append(c.Lines, Line{Workload: w, Figures: figures(w, rows, notes)})
		o.Save(c)
	}
	return c, nil
}

// turn has each run begin with another server.
func turn(servers []string, run int) []string {
	run %= len(servers)
	return slices.Concat(servers[run:], servers[:run])
}

func told(m Metric, r Row) string {
	if r.Failed != "" {
		return r.Failed
	}
	return fmt.Sprintf("%.3g %s", m.Of(r), m)
}

// once is one run with a server of its own; what fails is said in the row.
func once(ctx context.Context, name string, start Start, l Load, o Options) Row {
	l.Time, l.Warm = o.Time, o.Warm
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	failed := Row{Server: name, Load: l}
	before, _ := process.ReadUsage(selfPID)
	begun := time.Now()
	s, err := start(ctx, name)
	if err != nil {
		failed.Failed = err.Error()
		return failed
	}
	defer s.Close()
	r, err := Run(ctx, name, s, l)
	if err != nil {
		failed.Failed = err.Error()
		if after, e := process.ReadUsage(selfPID); e == nil {
			failed.OwnCPU = (after.CPU - before.CPU).Seconds() / time.Since(begun).Seconds()
		}
		return failed
	}
	return r
}

// growLimit is how long a run of a growing load may take, with the joining and without
// the times that were asked for.
const growLimit = 45 * time.Second

// grow finds how much of a load each server bears: it doubles until it does not,
// and then halves the distance a few times. What was found is run again until it
// was borne in most of the runs, or less is tried.
func (c *Comparison) grow(ctx context.Context, w Workload, start Start, o Options, notes map[string]string) (found []Row) {
	// Who is served well is so soon: what takes long is past the end.
	o.Limit = min(o.Limit, growLimit+o.Warm+o.Time)
	for _, name := range w.Servers {
		with := map[int]string{} // what a load that was borne took
		try := func(n int) (Row, bool) {
			r := once(ctx, name, start, sized(w.Load, n), o)
			c.Rows = append(c.Rows, r)
			well, why := Bears(r)
			if !well {
				notes[name] = fmt.Sprintf("at %d: %.200s", n, why)
				o.Say("%s on %s: not %d: %s", w.Metric, name, n, why)
				return r, false
			}
			o.Say("%s on %s: %d, with %.0f %% of a core (the load generator %.0f %%)", w.Metric, name, n, 100*r.CPU, 100*r.OwnCPU)
			with[n] = fmt.Sprintf("%.0f %% of the server's core and %.0f %% of the load generator's", 100*r.CPU, 100*r.OwnCPU)
			return r, true
		}
		n := search(ctx, o.Most, func(n int) bool { _, ok := try(n); return ok })
		for ; n > 0 && ctx.Err() == nil; n = n * 9 / 10 {
			var good []Row
			for range o.Runs - 1 { // it was borne once
				if r, ok := try(n); ok {
					good = append(good, r)
				}
			}
			if len(good) >= o.Runs/2 {
				l := sized(w.Load, n)
				found = append(found, Row{Server: name, Load: l, People: l.Meetings * l.people()})
				notes[name] = strings.TrimPrefix(fmt.Sprintf("%s; %d took %s", notes[name], n, with[n]), "; ")
				break
			}
		}
	}
	return found
}

// search finds the greatest number up to most, within an eighth, that is borne.
func search(ctx context.Context, most int, borne func(n int) bool) int {
	good, bad := 0, 0
	for n := min(8, most); ctx.Err() == nil; n = min(2*n, most) {
		if !borne(n) {
			bad = n
			break
		}
		if good = n; n == most {
			return n
		}
	}
	for bad-good > max(good/8, 1) && ctx.Err() == nil {
		if n := (good + bad) / 2; borne(n) {
			good = n
		} else {
			bad = n
		}
	}
	return good
}

func figures(w Workload, rows []Row, notes map[string]string) map[string]Figure {
	figures := map[string]Figure{}
	for _, name := range w.Servers {
		var list []float64
		f := Figure{Note: notes[name]}
		for _, r := range rows {
			switch {
			case r.Server != name:
			case r.Failed != "":
				f.Note = fmt.Sprintf("%.200s", r.Failed)
			case w.Metric == Sound && r.AudioP50 == 0:
				f.Note = "no sound that can be timed was heard"
			case collapsed(r) != "":
				f.Note = collapsed(r)
			default:
				list = append(list, w.Metric.Of(r))
			}
		}
		if f.Runs = len(list); f.Runs > 0 {
			slices.Sort(list)
			f.Median, f.Low, f.High = middle(list), list[0], list[len(list)-1]
		}
		figures[name] = f
	}
	return figures
}

// middle is the median of a sorted list.
func middle(list []float64) float64 {
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// Times is how many times ours costs, or for a capacity has less than, another
// server's; 0: one has no figure.
func (l Line) Times(server string) float64 {
	a, b := l.Figures[ours], l.Figures[server]
	if a.Runs == 0 || b.Runs == 0 || a.Median == 0 || b.Median == 0 {
		return 0
	}
	if l.Grow {
		return a.Median / b.Median
	}
	return b.Median / a.Median
}

// Met reports whether the target is.
func (l Line) Met() bool {
	f := l.Figures[ours]
	if f.Runs == 0 || l.Grow && f.Median < l.Target || !l.Grow && l.Target > 0 && f.Median > l.Target {
		return false
	}
	for _, name := range l.Servers {
		if t := l.Times(name); name != ours && t > 0 && t < l.Fewer {
			return false
		}
	}
	return true
}
