package bench

import (
	"fmt"
	"path/filepath"
	"strings"

	"belfry/internal/bench/chart"
)

// levels are the names of Moment.Level, as the server's documentation has them.
var levels = []string{"free", "lower", "no-camera", "full", "sound"}

func (m Moment) left() string {
	if m.Level < 0 || m.Level >= len(levels) {
		return fmt.Sprint(m.Level)
	}
	return levels[m.Level]
}

// String is a line for who watches the run.
func (m Moment) String() string {
	return fmt.Sprintf("%3.0f s: %d asked, %d inside, %d waiting, %d refused, %d failed, %d cut; %s (%.2f full), core %.0f %%, meeting %s; video %d/%d, %.0f kbit/s; sound missing %.2f %%, late %.2f %%; generator %.0f %%, %.1f ms",
		m.At, m.Asked, m.Inside, m.Waiting, m.Refused, m.Failed, m.Cut, m.left(), m.Fullness, 100*m.CPU, m.Meetings, m.Seeing, m.Watching, m.Kbps, m.Missing, m.Late, 100*m.OwnCPU, m.LagP99)
}

// Markdown is the run as a table, with its plot, which lies in images.
func (o *Overloaded) Markdown(images string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\n![a server past its end](%s/bench-overload.svg)\n\n", o.Machine.describe(o.Begun.Format("2006-01-02")), images)
	fmt.Fprint(&b, "| s | came | inside | try again | refused (503) | failed | thrown out | what is left out | core % | a new meeting | who watch are sent video | kbit/s each | sound missing % | sound late % | generator % of a core, ms late |\n|"+strings.Repeat("---|", 15)+"\n")
	for _, m := range o.Moments {
		fmt.Fprintf(&b, "| %.0f | %d | %d | %d | %d | %d | %d | %s | %.0f | %s | %d of %d | %.0f | %s | %s | %.0f, %.0f |\n",
			m.At, m.Asked, m.Inside, m.Waiting, m.Refused, m.Failed, m.Cut, m.left(), 100*m.CPU, m.Meetings, m.Seeing, m.Watching, m.Kbps, number(m.Missing), number(m.Late), 100*m.OwnCPU, m.LagP99)
	}
	for _, e := range o.Errors {
		fmt.Fprintf(&b, "\n- failed: %.200s", strings.Join(strings.Fields(e), " "))
	}
	return b.String()
}

// Plot draws it over time.
func (o *Overloaded) Plot() ([]byte, error) {
	curve := func(name string, of func(Moment) float64) chart.Curve {
		c := chart.Curve{Name: name}
		for _, m := range o.Moments {
			c.Points = append(c.Points, chart.Point{X: m.At, Y: of(m)})
		}
		return c
	}
	return chart.Curves([]chart.Panel{
		{Title: "people", X: "s", Y: "people", Curves: []chart.Curve{curve("came", func(m Moment) float64 { return float64(m.Asked) }),
			curve("inside", func(m Moment) float64 { return float64(m.Inside) }), curve("try again", func(m Moment) float64 { return float64(m.Waiting) })}},
		{Title: "CPU", X: "s", Y: "% of a core", Mark: "a whole core", Height: 100, Curves: []chart.Curve{curve("server", func(m Moment) float64 { return 100 * m.CPU }),
			curve("generator", func(m Moment) float64 { return 100 * m.OwnCPU })}},
		{Title: "video to each who watches", X: "s", Y: "kbit/s", Curves: []chart.Curve{curve("", func(m Moment) float64 { return m.Kbps })}},
		{Title: "sound of those inside", X: "s", Y: "% of packets", Curves: []chart.Curve{curve("missing", func(m Moment) float64 { return m.Missing }),
			curve("60 ms late", func(m Moment) float64 { return m.Late })}},
		{Title: "what is left out (0 nothing, 4 all video)", X: "s", Y: "level", Curves: []chart.Curve{curve("", func(m Moment) float64 { return float64(m.Level) })}},
	})
}

// Write puts it into a directory of documentation.
func (o *Overloaded) Write(docs string) error {
	svg, err := o.Plot()
	if err != nil {
		return err
	}
	if err := image(docs, "bench-overload.svg", svg); err != nil {
		return err
	}
	return section(filepath.Join(docs, "performance.md"), "overload", o.Markdown("images")+"\n")
}
