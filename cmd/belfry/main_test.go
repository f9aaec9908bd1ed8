package main

import (
	"strings"
	"testing"
)

// What is asked for goes to standard output; what was not understood to
// standard error with exit code 2, naming the word.
func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args     string
		code     int
		out, err string // substrings; "" for silence
	}{
		{"", 2, "", "usage: belfry"},
		{"--help", 0, "usage: belfry", ""},
		{"config", 0, "\nlisten: ", ""},
		{"version", 0, "belfry ", ""},
		{"serve -h", 0, "--media-listen", ""},
		{"sevre", 2, "", `"sevre"`},
		{"version now", 2, "", `"now"`},
		{"events", 2, "", "usage: belfry events"},
		{"events replay", 2, "", "usage: belfry events"},
		{"events dead --lisen=x", 2, "", "lisen"},
		{"events replay --target", 2, "", "usage: belfry events"},
		{"events -h", 0, "usage: belfry events", ""},
		{"events --data-dir /nowhere discard all", 1, "", "no server answers on the data directory /nowhere"},
		{"accounts show 123456789012 --help", 0, "usage: belfry accounts", ""},
		{"accounts --data-dir /nowhere show 123456789012", 1, "", "no server answers on the data directory /nowhere"},
		{"accounts show 123456789012 extra", 2, "", "usage: belfry accounts"},
		{"events dead 4711", 2, "", "usage: belfry events"},
		{"events replay all --json", 2, "", "json"},
		{"events replay --target queue --data-dir=/nowhere", 1, "", "no server answers on the data directory /nowhere"},
		{"events discard --meeting=m --data-dir /nowhere", 1, "", "no server answers on the data directory /nowhere"},
		{"events dead --json --data-dir /nowhere --target=a", 1, "", "no server answers on the data directory /nowhere"},
		{"events dead --data-dir=/nowhere", 1, "", "no server answers on the data directory /nowhere"},
		{"accounts", 2, "", "usage: belfry accounts"},
		{"accounts list 123456789012", 2, "", "usage: belfry accounts"},
		{"accounts show", 2, "", "usage: belfry accounts"},
		{"accounts set 123456789012", 2, "", "usage: belfry accounts"},
		{"accounts set 123456789012 max_videos", 2, "", "usage: belfry accounts"},
		{"accounts raise 123456789012", 2, "", "usage: belfry accounts"},
		{"accounts reset 123456789012 --data-dir=/nowhere", 1, "", "no server answers on the data directory /nowhere"},
		{"client-events --since=yesterday", 2, "", "yesterday"},
		{"client-events --name", 2, "", "-name"},
		{"client-events x y", 2, "", "usage: belfry client-events"},
		{"client-events -h", 0, "usage: belfry client-events", ""},
		{"client-events all --json --attendee a --data-dir /nowhere --since 1h", 0, "", ""},
		{"client-events --data-dir=/nowhere", 0, "0 events of 0 meetings", ""},
		{"config --listen=x", 2, "", `"--listen=x"`},
		{"serve --lisen=x", 2, "", "lisen"},
		{"serve --turn=maybe", 2, "", "always, never, auto"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out, errs strings.Builder
			if code := run(t.Context(), strings.Fields(c.args), &out, &errs); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for name, got := range map[string][2]string{"stdout": {out.String(), c.out}, "stderr": {errs.String(), c.err}} {
				if (got[1] == "") != (got[0] == "") || !strings.Contains(got[0], got[1]) {
					t.Errorf("%s is %q, want it to hold %q", name, got[0], got[1])
				}
			}
		})
	}
}
