package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// The measuring itself works: every operation is done, and the table is whole.
// What it measures here is nothing.
func TestSmall(t *testing.T) {
	var out strings.Builder
	b := bench{parent: t.TempDir(), meetings: 2, clients: 3, each: 150 * time.Millisecond, out: &out}
	if err := b.run(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	rows := 0
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "| ") && strings.Count(line, "|") == 10 {
			rows++
		}
	}
	if rows != 13 {
		t.Errorf("the table has %d rows, want 12 and their head:\n%s", rows, &out)
	}
}
