package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"belfry/internal/bench"
	"belfry/test/kit"
)

// The suites run on a server and write figures, tables and plots. How fast is not
// looked at.
func TestSuites(t *testing.T) {
	endpoint := server(t)
	for words, c := range map[string]struct {
		table, plot string
		rows        func(text []byte) ([]bench.Row, error)
	}{
		"compare -small -servers belfry -runs 1 -only video": {"| video 1×3, 300 kbit/s | MB resident |", "bench-compare.svg", func(text []byte) ([]bench.Row, error) {
			var got bench.Comparison
			err := json.Unmarshal(text, &got)
			return got.Rows, err
		}},
		"curves -small -only join": {"| people | joining", "bench-storm.svg", func(text []byte) ([]bench.Row, error) {
			var got bench.Curves
			err := json.Unmarshal(text, &got)
			if err != nil || len(got.Grown) != 1 || got.Grown[0].Rows[0].Signaling.Roster == 0 {
				return nil, err
			}
			return got.Grown[0].Rows, nil
		}},
		"curves -small -only subscribers": {"| people who watch |", "bench-subscribers.svg", func(text []byte) ([]bench.Row, error) {
			var got bench.Curves
			err := json.Unmarshal(text, &got)
			if err != nil || len(got.Grown) == 0 {
				return nil, err
			}
			return got.Grown[0].Rows, nil
		}},
	} {
		t.Run(words, func(t *testing.T) {
			docs, file := t.TempDir(), filepath.Join(t.TempDir(), "figures.json")
			args := append(strings.Fields(words), "-json", file, "-docs", docs)
			o, err := parseSuite(args, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			o.endpoint = endpoint
			kit.EventuallyNone(t, func() (missing string) { // a machine that stands still bears no load
				var out bytes.Buffer
				if err := o.run(t.Context(), &out); err != nil {
					t.Fatalf("%v\n%s", err, &out)
				}
				if !strings.Contains(out.String(), c.table) {
					t.Errorf("no %q in\n%s", c.table, &out)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				rows, err := c.rows(text)
				if err != nil || len(rows) == 0 {
					t.Fatalf("%v, rows %v", err, rows)
				}
				for _, r := range rows {
					if r.Video.Corrupt+r.Video.Duplicates+r.Refused > 0 {
						t.Errorf("%s: video %+v, %d not decrypted", r.Load.Name, r.Video, r.Refused)
					}
					if r.Failed != "" || r.Video.Received == 0 && !r.Load.AtOnce {
						missing += fmt.Sprintf("a run without trouble: %s: %s, video %+v; ", r.Load.Name, r.Failed, r.Video)
					}
				}
				return missing
			})
			page, err := os.ReadFile(filepath.Join(docs, "performance.md"))
			if err != nil || !strings.Contains(string(page), c.table) || !strings.Contains(string(page), "images/"+c.plot) {
				t.Errorf("%v, the page:\n%s", err, page)
			}
			if svg, err := os.ReadFile(filepath.Join(docs, "images", c.plot)); err != nil || !bytes.Contains(svg, []byte("<svg")) {
				t.Errorf("no plot: %v", err)
			}
		})
	}
}

// A small overload, which overloads nobody: all get in, are sent video and sound, and
// half of the meetings end.
func TestOverload(t *testing.T) {
	docs, file := t.TempDir(), filepath.Join(t.TempDir(), "figures.json")
	o, err := parseSuite([]string{"overload", "-small", "-json", file, "-docs", docs}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	o.endpoint = server(t)
	kit.EventuallyNone(t, func() string { // a machine that stands still brings nobody in
		var out bytes.Buffer
		if err := o.run(t.Context(), &out); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got bench.Overloaded
		if err := json.Unmarshal(text, &got); err != nil || len(got.Moments) == 0 {
			t.Fatalf("%v, %d moments", err, len(got.Moments))
		}
		most, last := bench.Moment{}, got.Moments[len(got.Moments)-1]
		for _, m := range got.Moments {
			if m.Inside >= most.Inside && m.Kbps >= most.Kbps {
				most = m
			}
		}
		if most.Inside == 0 || most.Kbps == 0 || last.Inside >= most.Asked || last.Meetings != "made" {
			return fmt.Sprintf("people with video, of whom half go: %+v, at the end %+v\n%s", most, last, &out)
		}
		return ""
	})
	page, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	if err != nil || !strings.Contains(string(page), "| s | came | inside |") || !strings.Contains(string(page), "images/bench-overload.svg") {
		t.Errorf("%v, the page:\n%s", err, page)
	}
}
