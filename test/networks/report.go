//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// String is the line that is printed when a row is done.
func (r result) String() string {
	if r.Failed != "" {
		return fmt.Sprintf("%-14s %-7s load %4.1f  FAILED: %s", r.Network, r.Server, r.Load, r.Failed)
	}
	return fmt.Sprintf("%-14s %-7s load %4.1f  sent %.0f joined %.0f picture %.0f | audio %.1f %% gaps %d (%.0f) %.0f/%.0f ms score %.0f | video %.1f fps freezes %d %.1f s (%.0f) %dp@%.1f %.0f/%.0f ms | lower %.0f back %.0f outage %.0f again %d stayed %v | low %.0f high %.0f%s | %s%s",
		r.Network, r.Server, r.Load, r.Sent, r.Joined, r.Picture, 100*r.Audio.Share, r.Audio.Gaps, r.Audio.Longest, r.Audio.P50, r.Audio.P95, r.Audio.Score,
		r.Video.PerSecond, r.Video.Freezes, r.Video.Frozen/1000, r.Video.Longest, r.Video.Height, r.Video.Reached/1000, r.Video.P50, r.Video.P95,
		r.Lower, r.Back, r.Outage, r.Again, r.Stayed, r.Low, r.High, r.Mute, r.Sizes, r.gaps())
}

// String is empty where nobody muted.
func (m *mute) String() string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf(", mute heard %.0f ms after it (mouth to ear %.0f), %.0f ms of what was said from then on; shown after %s ms", m.Heard, m.Delay, max(m.Said, 0), ms(m.Shown))
}

// gaps tells when the gaps in the sound began, in s from the window's begin.
func (r result) gaps() string {
	if len(r.Audio.When) == 0 {
		return ""
	}
	text := " | gaps at"
	for _, at := range r.Audio.When {
		text += fmt.Sprintf(" %.1f", (at-r.From)/1000)
	}
	return text
}

func ms(v float64) string {
	if v < 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", v)
}

// table is what the page shows.
func table(results []result) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("| Network | Server | sent in full ms | joined ms | first picture ms | sound as said %% | gaps > 60 ms (longest) | mouth to ear ms p50 / p95 | score | pictures/s | freezes > 200 ms (all, longest s) | height, after s | glass to glass ms p50 / p95 | connected anew | stayed | load |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		if r.Failed != "" {
			line("| %s | %s | failed: %s |||||||||||||| %.0f |", r.Network, r.Server, strings.ReplaceAll(reason(r.Failed), "|", "/"), r.Load)
			continue
		}
		a, v := r.Audio, r.Video
		line("| %s | %s | %s | %s | %s | %.1f | %d (%s) | %s / %s | %.0f | %.1f | %d (%.1f, %.1f) | %d, %.1f | %s / %s | %d | %s | %.0f |",
			r.Network, r.Server, ms(r.Sent), ms(r.Joined), ms(r.Picture), 100*a.Share, a.Gaps, ms(a.Longest), ms(a.P50), ms(a.P95), a.Score,
			v.PerSecond, v.Freezes, v.Frozen/1000, v.Longest/1000, v.Height, v.Reached/1000, ms(v.P50), ms(v.P95), r.Again, map[bool]string{true: "yes", false: "no"}[r.Stayed], r.Load)
	}
	line("")
	line("| Network | Server | what | heights seen, from second |")
	line("|---|---|---|---|")
	for _, r := range results {
		if r.Failed != "" {
			continue
		}
		var what []string
		if r.Capped {
			what = append(what, fmt.Sprintf("smaller picture %s ms after the cap, as large as before %s ms after its end", ms(r.Lower), ms(r.Back)))
		}
		if r.Outage > 0 {
			what = append(what, fmt.Sprintf("no sound for %.0f ms", r.Outage))
		}
		if r.Goals {
			what = append(what, fmt.Sprintf("low layer %s ms, high layer %s ms%s", ms(r.Low), ms(r.High), r.Mute))
		}
		line("| %s | %s | %s | %s |", r.Network, r.Server, strings.Join(what, "; "), r.Sizes)
	}
	return b.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line[:min(len(line), 160)]
}

const (
	beginMark = "<!-- measured: begin -->"
	endMark   = "<!-- measured: end -->"
)

// rewrite puts a text between the marks of a page.
func rewrite(file, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %s and %s", file, beginMark, endMark)
	}
	return os.WriteFile(file, []byte(before+beginMark+"\n\n"+text+"\n"+endMark+after), 0o644)
}

// reason is what went wrong without what the page noted on the way, which is for the
// eyes of who looks into it.
func reason(failed string) string {
	what, _, _ := strings.Cut(firstLine(failed), "; it notes:")
	return what
}
