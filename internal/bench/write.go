package bench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"belfry/internal/bench/chart"
)

// called is what people call the servers.
var called = map[string]string{ours: "Belfry", plain: "plain pion", jan: "Janus"}

// Markdown is the table of a comparison, ours first, and what the others cost as
// multiples of it.
func (c *Comparison) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. Medians of %d runs by turns (lowest–highest).\n\n", c.Machine.describe(c.Begun.Format("2006-01-02")), c.Runs)
	others := []string{plain, jan}
	fmt.Fprint(&b, "| workload | measured | Belfry |")
	for _, name := range others {
		fmt.Fprintf(&b, " %s |", called[name])
	}
	for _, name := range others {
		fmt.Fprintf(&b, " %s to Belfry |", called[name])
	}
	fmt.Fprint(&b, " target | | bare work |\n|---|---|---|---|---|---|---|---|---|---|\n")
	var notes []string
	for _, l := range c.Lines {
		what := l.Load.Name
		if l.Grow {
			what = "as many as it bears"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", what, l.Metric, l.Figures[ours])
		for _, name := range others {
			fmt.Fprintf(&b, " %s |", l.Figures[name])
		}
		for _, name := range others {
			if t := l.Times(name); t > 0 {
				fmt.Fprintf(&b, " %s× |", number(t))
			} else {
				fmt.Fprint(&b, " |")
			}
		}
		floor := ""
		if c.Floor != nil && c.Floor.Of(l.Workload) > 0 {
			floor = number(c.Floor.Of(l.Workload))
		}
		fmt.Fprintf(&b, " %s | %s | %s |\n", l.target(), l.verdict(), floor)
		for _, name := range l.Servers {
			if f := l.Figures[name]; f.Note != "" && !l.Same {
				notes = append(notes, fmt.Sprintf("%s, %s (%s): %s", called[name], l.Load.Name, l.Metric, strings.Join(strings.Fields(f.Note), " ")))
			}
		}
	}
	if len(notes) > 0 {
		fmt.Fprint(&b, "\nWhere a server has no figure, or ended:\n\n")
		for _, n := range notes {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(n, "|", "/"))
		}
	}
	return b.String()
}

func (l Line) target() string {
	var parts []string
	switch {
	case l.Target == 0:
	case l.Grow:
		parts = append(parts, "≥ "+number(l.Target))
	default:
		parts = append(parts, "≤ "+number(l.Target))
	}
	if l.Fewer > 0 {
		parts = append(parts, number(l.Fewer)+" times less than each")
	}
	return strings.Join(parts, ", ")
}

func (l Line) verdict() string {
	switch {
	case l.Target == 0 && l.Fewer == 0:
		return ""
	case l.Met():
		return "met"
	}
	return "**missed**"
}

// String is the median and the range, or a dash.
func (f Figure) String() string {
	switch {
	case f.Runs == 0:
		return "–"
	case f.Low == f.High:
		return number(f.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(f.Median), number(f.Low), number(f.High))
}

// number writes three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0 || a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func (m Machine) describe(day string) string {
	s := fmt.Sprintf("%s, %d processors (%s), Linux %s, %s, %s", day, m.Cores, m.Processor, m.Kernel, m.System, m.Go)
	if m.Janus != "" {
		s += ", Janus " + m.Janus
	}
	return s + "; load when it began: " + m.Load
}

// Plot draws a comparison as bars.
func (c *Comparison) Plot() ([]byte, error) {
	var groups []chart.Group
	for _, l := range c.Lines {
		g := chart.Group{Title: l.Load.Name, Y: string(l.Metric)}
		if l.Grow {
			g.Title = "as many as it bears"
		}
		for _, name := range l.Servers {
			f := l.Figures[name]
			b := chart.Bar{Name: called[name], Color: slices.Index([]string{ours, plain, jan}, name), Value: f.Median, Low: f.Low, High: f.High}
			if f.Runs == 0 {
				b.Value = math.NaN()
			}
			g.Bars = append(g.Bars, b)
		}
		groups = append(groups, g)
	}
	return chart.Bars(groups)
}

// Markdown is the growths' figures as tables with their plots, which lie in images.
func (c *Curves) Markdown(images string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n", c.Machine.describe(c.Begun.Format("2006-01-02")))
	for _, g := range c.Grown {
		fmt.Fprintf(&b, "\n### %s\n\n![%s](%s/%s)\n\n", title(g.Title), g.Title, images, g.file())
		head, row := "% of a core | MB | µs a packet | video p50 / p99 ms | sound behind p50 / p99 ms | lost or late % | generator % of a core", loadRow
		if g.storm {
			head, row = "joining p50 / p99 ms | ms of CPU a join | kB of signaling each | of it roster | index | MB", stormRow
		}
		columns := strings.Count(head, "|") + 1
		fmt.Fprintf(&b, "| %s | %s |\n|%s\n", g.Axis, head, strings.Repeat("---|", columns+1))
		for i, r := range g.Rows {
			cells := row(r)
			if r.Failed != "" {
				cells = strings.ReplaceAll(strings.Join(strings.Fields(fmt.Sprintf("%.200s", r.Failed)), " "), "|", "/") + strings.Repeat(" |", columns-1)
			}
			fmt.Fprintf(&b, "| %d | %s |\n", g.Steps[i], cells)
		}
	}
	return b.String()
}

func loadRow(r Row) string {
	return fmt.Sprintf("%s | %.0f | %s | %s / %s | %s / %s | %s | %.0f", number(100*r.CPU), r.RSS, number(r.PerPacket),
		number(r.VideoP50), number(r.VideoP99), number(r.BehindP50), number(r.BehindP99),
		number(share(r.Video.Lost()+r.Audio.Lost()+r.Audio.Late, r.Video.Expected+r.Audio.Expected)), 100*r.OwnCPU)
}

func stormRow(r Row) string {
	each := func(n uint64) string { return number(float64(n) / 1e3 / float64(r.People)) }
	return fmt.Sprintf("%.0f / %.0f | %s | %s | %s | %s | %.0f", r.JoinP50, r.JoinP99, number(r.JoinCPU),
		each(r.Signaling.Sum()), each(r.Signaling.Roster), each(r.Signaling.Index), r.RSS)
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (g Grown) file() string { return "bench-" + g.Name + ".svg" }

// Write puts a comparison into a directory of documentation: its table into
// performance.md, its plot into images.
func (c *Comparison) Write(docs string) error {
	svg, err := c.Plot()
	if err != nil {
		return err
	}
	if err := image(docs, "bench-compare.svg", svg); err != nil {
		return err
	}
	return section(filepath.Join(docs, "performance.md"), "compare", c.Markdown()+"\n![the same as bars](images/bench-compare.svg)\n")
}

// Write puts curves into a directory of documentation.
func (c *Curves) Write(docs string) error {
	for _, g := range c.Grown {
		svg, err := g.Plot()
		if err != nil {
			return err
		}
		if err := image(docs, g.file(), svg); err != nil {
			return err
		}
	}
	return section(filepath.Join(docs, "performance.md"), "curves", c.Markdown("images"))
}

func image(docs, name string, svg []byte) error {
	if err := os.MkdirAll(filepath.Join(docs, "images"), 0o755); err != nil {
		return fmt.Errorf("write a plot: %w", err)
	}
	if err := os.WriteFile(filepath.Join(docs, "images", name), svg, 0o644); err != nil {
		return fmt.Errorf("write a plot: %w", err)
	}
	return nil
}

// section replaces what is between a file's marks of a name, and adds them at its
// end when they are not there.
func section(path, name, text string) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read the page: %w", err)
	}
	begin, end := "<!-- begin of belfry-bench "+name+" -->\n", "<!-- end of belfry-bench "+name+" -->\n"
	before, rest, found := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	switch {
	case !found:
		before = strings.TrimRight(before, "\n") + "\n\n"
	case !closed:
		return fmt.Errorf("%s has %q without %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
