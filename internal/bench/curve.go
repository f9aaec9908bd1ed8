package bench

import (
	"context"
	"fmt"
	"time"

	"belfry/internal/bench/chart"
)

// Growth is a series of loads that grow, on our server.
type Growth struct {
	Name  string `json:"name"` // of its plot's file
	Title string `json:"title"`
	Axis  string `json:"axis"` // what grows
	Steps []int  `json:"steps"`
	storm bool   // it is the joining that is looked at
	load  func(n int) Load
}

// Growths are those that are drawn. Small ones are for trying the commands.
func Growths(small bool) []Growth {
	list := []Growth{
		{Name: "subscribers", Title: "one camera of 1 Mbit/s, watched by more and more", Axis: "people who watch", Steps: []int{10, 50, 100, 250, 500, 750, 1000},
			load: func(n int) Load { return video(1, n, 1_000_000) }},
		{Name: "meetings", Title: "meetings of two, with sound and cameras of 500 kbit/s", Axis: "meetings", Steps: []int{1, 10, 25, 50, 100, 200, 350, 500}, load: pairs},
		{Name: "publishers", Title: "one meeting in which all have a camera (150 kbit/s) and watch up to 25", Axis: "people with a camera", Steps: []int{1, 2, 5, 10, 20, 35, 49},
			load: func(n int) Load {
				l := video(n, 0, 150_000)
				if n == 1 { // somebody has to watch
					l.Viewers = 1
				}
				l.Watch = 25
				return l
			}},
		{Name: "talkers", Title: "one meeting of 250, in which more and more talk by turns", Axis: "people who talk", Steps: []int{2, 5, 10, 25, 50, 100, 250},
			load: func(n int) Load {
				l := audio(max(250, n), n)
				l.Turns = true
				return l
			}},
		{Name: "storm", Title: "all join one meeting at once, every other with a camera", Axis: "people", Steps: []int{25, 50, 100, 175, 250}, storm: true,
			load: func(n int) Load { return Storm(1, n, n/2) }},
		{Name: "storms", Title: "meetings of two that all begin at once", Axis: "meetings", Steps: []int{10, 100, 300, 1000}, storm: true,
			load: func(n int) Load { return Storm(n, 2, 0) }},
	}
	if small {
		for i := range list {
			list[i].Steps = list[i].Steps[:2]
		}
		list[0].Steps, list[1].Steps = []int{2, 3}, []int{1, 2}
		list[4].Steps, list[5].Steps = []int{2, 4}, []int{1, 2}
		list[3].load = func(n int) Load {
			l := audio(6, n)
			l.Turns = true
			return l
		}
	}
	return list
}

// Storm is people who all join at the same moment. Some turn a camera on, which
// nobody watches.
func Storm(meetings, people, cameras int) Load {
	return Load{Name: fmt.Sprintf("storm %d×%d", meetings, people), Meetings: meetings, Publishers: cameras, Viewers: people - cameras,
		VideoRate: 150_000, Audio: true, Watch: -1, AtOnce: true}
}

// Grown is a Growth that was run.
type Grown struct {
	Growth
	Rows []Row `json:"rows"` // one for each step
}

// Curves are growths that were run.
type Curves struct {
	Machine Machine   `json:"machine"`
	Begun   time.Time `json:"begun"`
	Grown   []Grown   `json:"grown"`
}

// Grow runs growths on a server that start starts anew for each step. A step that
// fails is noted and the next one tried, since what lies past the end is of
// interest too.
func Grow(ctx context.Context, list []Growth, start Start, o Options) (*Curves, error) {
	o.fill()
	c := &Curves{Machine: ThisMachine(), Begun: time.Now().UTC()}
	for _, g := range list {
		done := Grown{Growth: g}
		for _, n := range g.Steps {
			r := once(ctx, ours, start, g.load(n), o)
			if ctx.Err() != nil {
				return c, fmt.Errorf("ended at %d %s: %w", n, g.Axis, context.Cause(ctx))
			}
			done.Rows = append(done.Rows, r)
			if r.Failed != "" {
				o.Say("%d %s: %s", n, g.Axis, r.Failed)
			} else if g.storm {
				o.Say("%d %s: p99 %.0f ms to join, %.1f kB of signaling each", n, g.Axis, r.JoinP99, float64(r.Signaling.Sum())/1e3/float64(r.People))
			} else {
				o.Say("%d %s: %.0f %% of a core, %.0f MB", n, g.Axis, 100*r.CPU, r.RSS)
			}
		}
		c.Grown = append(c.Grown, done)
	}
	return c, nil
}

// Plot draws one.
func (g Grown) Plot() ([]byte, error) {
	curve := func(name string, of func(Row) float64) chart.Curve {
		c := chart.Curve{Name: name}
		for i, r := range g.Rows {
			if r.Failed == "" {
				c.Points = append(c.Points, chart.Point{X: float64(g.Steps[i]), Y: of(r)})
			}
		}
		return c
	}
	one := func(of func(Row) float64) []chart.Curve { return []chart.Curve{curve("", of)} }
	if g.storm {
		perPerson := func(of func(SignalBytes) uint64) func(Row) float64 {
			return func(r Row) float64 { return float64(of(r.Signaling)) / 1e3 / float64(r.People) }
		}
		return chart.Curves([]chart.Panel{
			{Title: "time to join", X: g.Axis, Y: "ms", Curves: []chart.Curve{curve("p50", func(r Row) float64 { return r.JoinP50 }), curve("p99", func(r Row) float64 { return r.JoinP99 })}},
			{Title: "CPU", X: g.Axis, Y: "ms a join", Curves: one(func(r Row) float64 { return r.JoinCPU })},
			{Title: "signaling to each person", X: g.Axis, Y: "kB", Curves: []chart.Curve{
				curve("all", perPerson(SignalBytes.Sum)), curve("roster", perPerson(func(b SignalBytes) uint64 { return b.Roster })),
				curve("index", perPerson(func(b SignalBytes) uint64 { return b.Index }))}},
			{Title: "memory", X: g.Axis, Y: "MB resident", Curves: one(func(r Row) float64 { return r.RSS })},
		})
	}
	late := func(r Row) float64 {
		return share(r.Video.Lost()+r.Audio.Lost()+r.Audio.Late, r.Video.Expected+r.Audio.Expected)
	}
	panels := []chart.Panel{
		{Title: "CPU", X: g.Axis, Y: "% of a core", Curves: one(func(r Row) float64 { return 100 * r.CPU }), Mark: "a whole core", Height: 100},
		{Title: "memory", X: g.Axis, Y: "MB resident", Curves: one(func(r Row) float64 { return r.RSS })},
		{Title: "lost, or sound 60 ms late", X: g.Axis, Y: "% of packets", Curves: one(late)},
	}
	if g.load(2).Publishers > 0 {
		panels = append(panels, chart.Panel{Title: "video from sender to receiver", X: g.Axis, Y: "ms", Curves: []chart.Curve{
			curve("p50", func(r Row) float64 { return r.VideoP50 }), curve("p99", func(r Row) float64 { return r.VideoP99 })}})
	} else {
		panels = append(panels, chart.Panel{Title: "sound behind the earliest of its stream", X: g.Axis, Y: "ms", Curves: []chart.Curve{
			curve("p50", func(r Row) float64 { return r.BehindP50 }), curve("p99", func(r Row) float64 { return r.BehindP99 })}})
	}
	return chart.Curves(panels)
}

func share(n, of uint64) float64 { return 100 * float64(n) / float64(max(of, 1)) }
