// Package observe is what an operator sees of a running server: its log, its
// metrics and its health.
package observe

import (
	"io"
	"log/slog"
)

// NewLogger returns the program's logger. level is debug, info, warn or error,
// format text or json; anything else counts as info and text, since config has
// checked them.
func NewLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // an unknown name leaves info
	opt := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}
