package meeting

import "log/slog"

const redacted = "[redacted]"

// Secret is a value that must not reach a log, a metric, an error text or a
// page: a join token, a secret access key, a TURN password. It prints as
// "[redacted]" however it is formatted, logged or marshalled; Reveal is the
// one way out, so every use can be found by name.
type Secret string

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler, and so covers JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
