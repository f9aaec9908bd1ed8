// Package arch holds the arrows between packages that ARCHITECTURE.md draws, and
// the decisions to their numbers.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed lists, for each package, which of our packages its code may import.
// An entry ending in /... covers what lies below, a longer entry wins. Tests
// may import more.
var allowed = map[string][]string{
	"cmd/belfry":                  {"internal/app", "internal/control", "internal/config", "internal/observe"},
	"cmd/belfry-bench":            {"internal/bench/..."},
	"internal/account":            {"internal/meeting"},
	"internal/api/...":            {"internal/meeting", "internal/account", "internal/sigv4", "internal/api/..."},
	"internal/app":                {"internal/..."},
	"internal/bench":              {"internal/bench/...", "internal/media/opus", "internal/media/rtp", "internal/media/srtp", "internal/media/udp", "internal/signaling/signalpb"},
	"internal/bench/check":        {},
	"internal/bench/chart":        {},
	"internal/bench/janus":        {"internal/bench/process"},
	"internal/bench/netns":        {},
	"internal/bench/process":      {},
	"internal/bench/plain":        {},
	"internal/bench/client":       {"internal/bench/check", "internal/media/pipe", "internal/media/rtp", "internal/media/srtp", "internal/media/udp"},
	"internal/bench/judge":        {},
	"internal/bench/link":         {},
	"internal/capacity":           {},
	"internal/config":             {"internal/meeting"},
	"internal/control":            {"internal/account", "internal/capacity", "internal/ingest", "internal/meeting", "internal/notify"},
	"internal/ingest":             {"internal/meeting"},
	"internal/life":               {"internal/meeting"},
	"internal/media":              {"internal/meeting", "internal/media/..."},
	"internal/media/bwe":          {"internal/media/rtp"},
	"internal/media/mixer":        {"internal/meeting", "internal/media/rtp", "internal/media/opus"},
	"internal/media/opus":         {},
	"internal/media/pipe":         {},
	"internal/media/rtp":          {},
	"internal/media/sdp":          {"internal/meeting"},
	"internal/media/sfu":          {"internal/meeting", "internal/media/bwe", "internal/media/rtp"},
	"internal/media/srtp":         {},
	"internal/media/transport":    {"internal/media/pipe", "internal/media/udp", "internal/media/srtp", "internal/media/rtp"},
	"internal/media/metronome":    {},
	"internal/media/udp":          {"internal/media/metronome"},
	"internal/meeting":            {},
	"internal/notify":             {"internal/meeting"},
	"internal/observe":            {},
	"internal/page":               {"internal/meeting"},
	"internal/screen":             {"internal/meeting", "internal/screen/..."},
	"internal/screen/vp8":         {},
	"internal/screen/webm":        {},
	"internal/seal":               {},
	"internal/signaling":          {"internal/meeting", "internal/signaling/signalpb"},
	"internal/signaling/signalpb": {},
	"internal/sigv4":              {"internal/account", "internal/meeting"},
	"internal/store/...":          {"internal/meeting", "internal/seal", "internal/store/..."},
	"internal/transcribe":         {"internal/meeting"},
	"internal/turn":               {"internal/meeting"},
}

// testHelpers are packages that only tests import, so they may import anything.
var testHelpers = []string{"internal/signaling/signaltest", "internal/store/storetest"}

const module = "belfry/"

func TestImportsFollowTheMap(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if slices.Contains(testHelpers, pkg) || strings.HasPrefix(pkg, "test/") {
			return nil
		}
		seen++
		may, known := rule(pkg)
		if !known {
			t.Errorf("%s: the package is not on the map; add it here and in ARCHITECTURE.md", path)
			return nil
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if pkg == "internal/meeting" && strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("%s imports %s: the domain imports the standard library alone", path, imported)
			}
			ours, found := strings.CutPrefix(imported, module)
			if found && !matches(may, ours) {
				t.Errorf("%s may not import %s", path, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("looked at %d files: the walk missed the tree", seen)
	}
}

func rule(pkg string) ([]string, bool) {
	if may, ok := allowed[pkg]; ok {
		return may, true
	}
	for dir := pkg; dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
		if may, ok := allowed[dir+"/..."]; ok {
			return may, true
		}
	}
	return nil, false
}

func matches(may []string, pkg string) bool {
	return slices.ContainsFunc(may, func(pattern string) bool {
		prefix, below := strings.CutSuffix(pattern, "/...")
		return pkg == pattern || below && (pkg == prefix || strings.HasPrefix(pkg, prefix+"/"))
	})
}
