package bench

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// metrics is what a server says that counted n of everything.
func metrics(n string) string {
	var c Counters
	lines := slices.Sorted(maps.Keys(c.names()))
	return "# HELP x y\n" + strings.Join(lines, " "+n+"\n") + " " + n + "\nother_total{a=\"b c\"} 3\n"
}

func TestReadCounters(t *testing.T) {
	before, err := readCounters(strings.NewReader(metrics("5")))
	if err != nil {
		t.Fatal(err)
	}
	after, err := readCounters(strings.NewReader(metrics("1.2e+03")))
	if err != nil {
		t.Fatal(err)
	}
	const n = 1195
	want := Counters{n, n, n, n, n, n, n, n, n, n, n, n * 1e9, 1200 * 1e9}
	if diff := cmp.Diff(want, after.since(before)); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", metrics("-1"), metrics("NaN"), metrics("many"), strings.Replace(metrics("1"), "go_memstats_mallocs_total", "x", 1)} {
		if _, err := readCounters(strings.NewReader(text)); err == nil {
			t.Errorf("%.60q is taken", text)
		}
	}
}

func FuzzReadCounters(f *testing.F) {
	f.Add(metrics("7"))
	f.Fuzz(func(_ *testing.T, text string) { _, _ = readCounters(strings.NewReader(text)) })
}
