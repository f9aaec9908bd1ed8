package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

// wellFormed reads all of an SVG.
func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("no XML: %v", err)
		}
	}
}

func TestCurves(t *testing.T) {
	svg, err := Curves([]Panel{
		{Title: "CPU", X: "people", Y: "% of a core", Mark: "a whole core", Height: 100, Curves: []Curve{{Points: []Point{{10, 4}, {100, 38}, {1000, 99}}}}},
		{Title: "Latency", X: "people", Y: "ms", Curves: []Curve{{"p50", []Point{{10, 1}, {1000, 3}}}, {"p99", []Point{{10, 2}, {1000, 9}}}}},
		{Title: "Nothing <yet>", X: "people", Y: "MB", Curves: []Curve{{Points: []Point{{1, 0}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	for _, want := range []string{"a whole core", "p99", "Nothing &lt;yet&gt;", "% of a core"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if path := os.Getenv("CHART_OUT"); path != "" {
		_ = os.WriteFile(path, svg, 0o600)
	}
	if _, err := Curves(nil); err == nil {
		t.Error("nothing was drawn")
	}
	if _, err := Curves([]Panel{{Curves: []Curve{{Points: []Point{{math.NaN(), 1}}}}}}); err == nil {
		t.Error("a figure that is none was drawn")
	}
}

func TestBars(t *testing.T) {
	svg, err := Bars([]Group{
		{"video 1×50", "µs a packet", []Bar{{"ours", 0, 5, 4.5, 5.5}, {"pion", 1, 25, 22, 27}, {"Janus", 2, 31, 30, 33}}},
		{"100 people", "% of a core", []Bar{{"ours", 0, 0.08, 0.08, 0.08}, {"Janus", 2, math.NaN(), 0, 0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	for _, want := range []string{"video 1×50", "Janus", "0.08", "31"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is missing", want)
		}
	}
}
