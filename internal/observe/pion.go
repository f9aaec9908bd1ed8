package observe

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// PionLogs lets the pion libraries log through logger. Their chatter is of use
// only to who looks for a fault in the protocols, so all but errors is debug.
func PionLogs(logger *slog.Logger) logging.LoggerFactory { return pionFactory{logger} }

type pionFactory struct{ logger *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (f pionFactory) NewLogger(scope string) logging.LeveledLogger {
	return pionLogger{f.logger.With("library", "pion/"+scope)}
}

type pionLogger struct{ logger *slog.Logger }

func (l pionLogger) log(level slog.Level, format string, args ...any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, fmt.Sprintf(format, args...))
	}
}

func (l pionLogger) Trace(msg string)               {}
func (l pionLogger) Tracef(format string, a ...any) {}
func (l pionLogger) Debug(msg string)               { l.log(slog.LevelDebug, "%s", msg) }
func (l pionLogger) Debugf(format string, a ...any) { l.log(slog.LevelDebug, format, a...) }
func (l pionLogger) Info(msg string)                { l.log(slog.LevelDebug, "%s", msg) }
func (l pionLogger) Infof(format string, a ...any)  { l.log(slog.LevelDebug, format, a...) }
func (l pionLogger) Warn(msg string)                { l.log(slog.LevelDebug, "%s", msg) }
func (l pionLogger) Warnf(format string, a ...any)  { l.log(slog.LevelDebug, format, a...) }
func (l pionLogger) Error(msg string)               { l.log(slog.LevelError, "%s", msg) }
func (l pionLogger) Errorf(format string, a ...any) { l.log(slog.LevelError, format, a...) }
