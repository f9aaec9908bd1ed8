package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"belfry/internal/bench/check"
)

// The search finds what is borne within an eighth, in few tries.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5000).Draw(t, "most")
		limit := rapid.IntRange(0, 6000).Draw(t, "limit")
		tries := 0
		got := search(context.Background(), most, func(n int) bool {
			if n < 1 || n > most {
				t.Fatalf("tries %d of at most %d", n, most)
			}
			tries++
			return n <= limit
		})
		want := min(limit, most)
		if got > want || want-got > max(want/8, 1) || tries > 20 {
			t.Fatalf("found %d of %d in %d tries", got, want, tries)
		}
	})
}

func compared(w Workload, spent map[string][]float64) Line {
	var rows []Row
	for name, list := range spent {
		for _, v := range list {
			r := Row{Server: name, Load: w.Load, PerPacket: v}
			if v < 0 {
				r.Failed = "collapsed | with\ntwo lines"
			}
			rows = append(rows, r)
		}
	}
	return Line{Workload: w, Figures: figures(w, rows, nil)}
}

// What a server spends on serving nobody is no figure.
func TestCollapsed(t *testing.T) {
	w := Workload{Load: audio(100, 1), Metric: PerPerson, Servers: []string{jan}}
	w.Load.Time = 10 * time.Second
	r := Row{Server: jan, Load: w.Load, People: 100, PerPerson: 0.8, Audio: check.Counts{Expected: 3000, Received: 2900}}
	if f := figures(w, []Row{r}, nil)[jan]; f.Runs != 0 || !strings.Contains(f.Note, "94 % of the sound") {
		t.Errorf("%+v", f)
	}
	r.Audio = check.Counts{Expected: 49_000, Received: 48_000}
	if f := figures(w, []Row{r}, nil)[jan]; f.Runs != 1 || f.Median != 0.8 {
		t.Errorf("%+v", f)
	}
}

func TestTargets(t *testing.T) {
	w := Workload{Load: Load{Name: "a load"}, Metric: PerPacket, Servers: []string{ours, plain, jan}, Target: 6, Fewer: 5}
	for name, c := range map[string]struct {
		spent map[string][]float64
		want  bool
	}{
		"met":                  {map[string][]float64{ours: {5, 9, 4}, plain: {30, 25, 20}, jan: {31}}, true},
		"too dear":             {map[string][]float64{ours: {5, 9, 7}, plain: {100}, jan: {100}}, false},
		"not cheap enough":     {map[string][]float64{ours: {5}, plain: {24}, jan: {31}}, false},
		"one has none":         {map[string][]float64{ours: {5}, plain: {25}, jan: {-1, -1}}, true},
		"ours has none":        {map[string][]float64{ours: {-1}, plain: {25}, jan: {31}}, false},
		"two that are the mid": {map[string][]float64{ours: {4, 8}, plain: {30}, jan: {30}}, true},
	} {
		if got := compared(w, c.spent).Met(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	grown := Line{Workload: Workload{Metric: People, Servers: []string{ours, jan}, Grow: true, Target: 1000},
		Figures: map[string]Figure{ours: {Median: 1200, Runs: 1}, jan: {Median: 40, Runs: 1}}}
	if !grown.Met() || grown.Times(jan) != 30 {
		t.Errorf("met %v, %v times", grown.Met(), grown.Times(jan))
	}
}

func TestMarkdownOfAComparison(t *testing.T) {
	w := Workload{Load: Load{Name: "a load"}, Metric: PerPacket, Servers: []string{ours, plain, jan}, Target: 6, Fewer: 5}
	c := &Comparison{Runs: 3, Lines: []Line{compared(w, map[string][]float64{ours: {5, 4, 9}, plain: {30, 20, 25.5}, jan: {-1}})}}
	text := c.Markdown()
	for _, want := range []string{
		"| a load | µs of CPU a packet delivered | 5.00 (4.00–9.00) | 25.5 (20.0–30.0) | – | 5.10× | | ≤ 6.00, 5.00 times less than each | met |  |\n",
		"- Janus, a load (µs of CPU a packet delivered): collapsed / with two lines\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	lines := strings.Split(text, "\n")
	if a, b := strings.Count(lines[2], "|"), strings.Count(lines[3], "|"); a != b {
		t.Errorf("the head has %d bars, the rule %d", a, b)
	}
}

func TestBears(t *testing.T) {
	good := Row{People: 2, Load: Load{Audio: true, Time: 10 * time.Second},
		Audio: check.Counts{Expected: 1000, Received: 1000}, Video: check.Counts{Expected: 500, Received: 499}}
	if ok, why := Bears(good); !ok {
		t.Error(why)
	}
	for want, break_ := range map[string]func(r *Row){
		"collapsed":                        func(r *Row) { r.Failed = "collapsed" },
		"2.0 % of the video":               func(r *Row) { r.Video.Received = 490 },
		"1.5 % of the sound":               func(r *Row) { r.Audio.Late = 15 },
		"50 % of the sound never":          func(r *Row) { r.Audio.Expected, r.Audio.Received = 500, 500 },
		"600 ms behind":                    func(r *Row) { r.VideoP99 = 600 },
		"(the load generator was late its": func(r *Row) { r.VideoP99, r.OwnCPU = 600, 0.99 },
	} {
		r := good
		break_(&r)
		if ok, why := Bears(r); ok || !strings.Contains(why, want) {
			t.Errorf("%v, %q, want %q", ok, why, want)
		}
	}
}

// A server that does not start is a figure that is missing, and the others go on.
func TestCompareGoesOn(t *testing.T) {
	w := Workload{Load: video(1, 1, 300_000), Metric: PerPacket, Servers: []string{ours, plain, jan}}
	var asked []string
	saved := 0
	start := func(_ context.Context, name string) (Server, error) {
		asked = append(asked, name)
		return nil, errors.New("no " + name)
	}
	c, err := Compare(t.Context(), []Workload{w, {Load: w.Load, Metric: Memory, Servers: w.Servers, Same: true}}, start,
		Options{Runs: 2, Save: func(*Comparison) { saved++ }})
	if err != nil || len(c.Lines) != 2 || len(c.Rows) != 6 || saved != 2 {
		t.Errorf("%v, %d lines, %d rows, saved %d times", err, len(c.Lines), len(c.Rows), saved)
	}
	if diff := cmp.Diff([]string{ours, plain, jan, plain, jan, ours}, asked); diff != "" {
		t.Errorf("not by turns:\n%s", diff)
	}
	if f := c.Lines[1].Figures[jan]; f.Runs != 0 || f.Note != "no janus" {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := Compare(ctx, []Workload{w}, start, Options{}); err == nil || len(c.Lines) != 0 {
		t.Errorf("an ended comparison: %v, %+v", err, c.Lines)
	}
}

func TestSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	for _, step := range []struct{ name, text string }{{"a", "one\n"}, {"b", "two\n"}, {"a", "three\n"}} {
		if err := section(path, step.name, step.text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "\n\n<!-- begin of belfry-bench a -->\nthree\n<!-- end of belfry-bench a -->\n\n<!-- begin of belfry-bench b -->\ntwo\n<!-- end of belfry-bench b -->\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(path, []byte("<!-- begin of belfry-bench a -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := section(path, "a", "four\n"); err == nil {
		t.Error("a section without an end was replaced")
	}
}
