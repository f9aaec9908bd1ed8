// Package chart draws the figures of the bench as SVG: curves over a growing
// amount of work, and bars that compare servers.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Panel is one plot.
type Panel struct {
	Title  string
	X, Y   string // the axes, with units
	Curves []Curve
	Mark   string  // names Height, "" for none
	Height float64 // a level that is drawn across, such as a full core
}

// Curve is one line through points.
type Curve struct {
	Name   string // "" when it is the only one
	Points []Point
}

// Point is one measurement.
type Point struct{ X, Y float64 }

var palette = []color.Color{
	color.RGBA{0x1B, 0x6C, 0xA8, 0xFF}, color.RGBA{0xD9, 0x5F, 0x02, 0xFF}, color.RGBA{0x2A, 0x8C, 0x4A, 0xFF}, color.RGBA{0x7A, 0x3E, 0x9D, 0xFF},
}

const (
	panelWide = 11 * vg.Centimeter
	panelHigh = 7 * vg.Centimeter
)

// Curves draws panels, two beside each other.
func Curves(panels []Panel) ([]byte, error) {
	var plots []*plot.Plot
	for _, panel := range panels {
		p := blank(panel.Title, panel.Y)
		p.X.Label.Text = panel.X
		last := 0.0
		for i, c := range panel.Curves {
			points := make(plotter.XYs, len(c.Points))
			for k, at := range c.Points {
				points[k] = plotter.XY(at)
				last = max(last, at.X)
			}
			line, dots, err := plotter.NewLinePoints(points)
			if err != nil {
				return nil, fmt.Errorf("draw %q: %w", panel.Title, err)
			}
			line.Color, dots.Color = palette[i%len(palette)], palette[i%len(palette)]
			line.Width, dots.Radius = vg.Points(1.5), vg.Points(2)
			dots.Shape = draw.CircleGlyph{}
			p.Add(line, dots)
			if c.Name != "" {
				p.Legend.Add(c.Name, line, dots)
			}
		}
		if panel.Mark != "" {
			line, err := plotter.NewLine(plotter.XYs{{X: 0, Y: panel.Height}, {X: last, Y: panel.Height}})
			if err != nil {
				return nil, fmt.Errorf("draw %q: %w", panel.Title, err)
			}
			line.Color, line.Dashes = color.Gray{0x90}, []vg.Length{vg.Points(4), vg.Points(3)}
			p.Add(line)
			p.Legend.Add(panel.Mark, line)
		}
		p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 1.12*p.Y.Max
		if p.Y.Max <= 0 {
			p.Y.Max = 1
		}
		plots = append(plots, p)
	}
	return tile(plots)
}

// Group is a set of bars beside each other, one for each server.
type Group struct {
	Title string
	Y     string
	Bars  []Bar
}

// Bar is one server's figure; NaN where it has none.
type Bar struct {
	Name      string
	Color     int // the same number is the same color in all groups
	Value     float64
	Low, High float64
}

// Bars draws groups, each with a scale of its own.
func Bars(groups []Group) ([]byte, error) {
	var plots []*plot.Plot
	for _, g := range groups {
		p := blank(g.Title, g.Y)
		var names []string
		for i, b := range g.Bars {
			label := b.Name + "\n–"
			if !math.IsNaN(b.Value) {
				label = b.Name + "\n" + strconv.FormatFloat(b.Value, 'g', 3, 64)
				bar, err := plotter.NewBarChart(plotter.Values{b.Value}, vg.Points(38))
				if err != nil {
					return nil, fmt.Errorf("draw %q: %w", g.Title, err)
				}
				bar.XMin, bar.Color, bar.LineStyle.Width = float64(i), palette[b.Color%len(palette)], 0
				p.Add(bar)
				if b.High > b.Low {
					span, err := plotter.NewLine(plotter.XYs{{X: float64(i), Y: b.Low}, {X: float64(i), Y: b.High}})
					if err != nil {
						return nil, fmt.Errorf("draw %q: %w", g.Title, err)
					}
					p.Add(span)
				}
			}
			names = append(names, label)
		}
		p.NominalX(names...)
		p.X.Min, p.X.Max, p.Y.Min = -0.6, float64(len(g.Bars))-0.4, 0
		if p.Y.Max <= 0 {
			p.Y.Max = 1
		}
		plots = append(plots, p)
	}
	return tile(plots)
}

func blank(title, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.Y.Label.Text = title, y
	p.Title.TextStyle.Font.Size = vg.Points(11)
	p.Title.Padding = vg.Points(4)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = vg.Points(9), vg.Points(8)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	p.Add(plotter.NewGrid())
	return p
}

// tile puts plots on one canvas, two a row.
func tile(plots []*plot.Plot) ([]byte, error) {
	if len(plots) == 0 {
		return nil, fmt.Errorf("there is nothing to draw")
	}
	columns := min(2, len(plots))
	rows := (len(plots) + columns - 1) / columns
	canvas := vgsvg.New(panelWide*vg.Length(columns), panelHigh*vg.Length(rows))
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Points(12), PadY: vg.Points(12),
		PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(10)}
	for i, p := range plots {
		p.Draw(tiles.At(whole, i%columns, i/columns))
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("write the plot: %w", err)
	}
	return slices.Clip(b.Bytes()), nil
}
