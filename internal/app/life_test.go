package app

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNodeID(t *testing.T) {
	dir := t.TempDir()
	first, err := nodeID(dir)
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	if again, err := nodeID(dir); err != nil || again != first {
		t.Errorf("after a restart the name is %q, %v; it was %q", again, err, first)
	}
	if other, err := nodeID(t.TempDir()); err != nil || other == first {
		t.Errorf("another server's name is %q, %v", other, err)
	}
	if err := os.WriteFile(filepath.Join(dir, nodeFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if made, err := nodeID(dir); err != nil || made == "" || made == first {
		t.Errorf("for an empty file the name is %q, %v", made, err)
	}
	if _, err := nodeID(filepath.Join(dir, "not there")); err == nil {
		t.Error("a name was kept in a directory that is not there")
	}
}
