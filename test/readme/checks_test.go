package readme

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The list of checks names tests that there are, and a row without a test is none.
func TestListedChecksExist(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	list, _, _ := strings.Cut(string(raw), "## Decided")
	sources := map[string]string{} // of a package's tests, by its last name
	name := regexp.MustCompile("`([a-z0-9]+)\\.(Test[A-Za-z0-9]+)`")
	rows := 0
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| What is checked") {
			continue
		}
		rows++
		named := name.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test shows this: %s", line)
		}
		for _, m := range named {
			if sources[m[1]] == "" {
				sources[m[1]] = testsOf(t, m[1])
			}
			if !strings.Contains(sources[m[1]], "func "+m[2]+"(") {
				t.Errorf("there is no test %s.%s", m[1], m[2])
			}
		}
	}
	if rows < 80 {
		t.Errorf("the list has %d rows: they were not found", rows)
	}
}

// testsOf reads the tests of the package that has this name.
func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"internal/" + pkg, "internal/*/" + pkg, "test/" + pkg} {
		files, err := filepath.Glob(filepath.Join("..", "..", pattern, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(raw)
		}
	}
	return all.String() + "."
}
