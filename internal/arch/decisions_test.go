package arch

import (
	"path/filepath"
	"strings"
	"testing"
)

// Decisions are numbered, each by a number of its own.
func TestDecisionsAreNumbered(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "decisions", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal("no decisions were found", err)
	}
	known := map[string]string{}
	for _, page := range pages {
		number, _, found := strings.Cut(filepath.Base(page), "-")
		if len(number) != 4 || !found {
			t.Errorf("%s does not begin with a number of four digits", page)
		}
		if other := known[number]; other != "" {
			t.Errorf("%s and %s have one number", other, page)
		}
		known[number] = page
	}
}
