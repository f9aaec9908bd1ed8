package jetstream

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The engine cuts a log off where it finds it damaged, which looks like a log
// that never went further. So a store that is closed in good order notes where
// it was, beside the streams, and the next start compares.
func (s *Store) noteFile() string { return filepath.Join(s.cfg.Dir, "sequence") }

func (s *Store) noteSequence() {
	next := s.noteFile() + ".new"
	err := os.WriteFile(next, fmt.Appendf(nil, "%d\n", s.applied), 0o600)
	if err == nil {
		err = os.Rename(next, s.noteFile())
	}
	if err != nil {
		s.log.Warn("store could not note its sequence", "error", err)
	}
}

// notedSequence is 0 when nothing, or nothing that can be read, was noted.
func (s *Store) notedSequence() uint64 {
	if !s.engine.embedded() {
		return 0
	}
	data, err := os.ReadFile(s.noteFile())
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
