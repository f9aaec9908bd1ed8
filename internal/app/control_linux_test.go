package app

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"belfry/internal/control"
	"belfry/test/kit"
)

// A data directory may have a longer path than the system allows sockets;
// elsewhere the server says that commands cannot reach it.
func TestCommandsOverALongPath(t *testing.T) {
	cfg := settings(t)
	cfg.DataDir = filepath.Join(cfg.DataDir, strings.Repeat("d", 150))
	s := start(t, cfg, io.Discard)
	k := addKey(t, cfg, control.NewKey{Account: "222222222222"})
	if list := said(t, func(w io.Writer) error { return control.ListKeys(t.Context(), cfg.DataDir, false, w) }); !strings.Contains(list, k.id) {
		t.Errorf("listed:\n%s", list)
	}
	if err := s.Shutdown(kit.Within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(control.Socket(cfg.DataDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
