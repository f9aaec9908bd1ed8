package bwe

import "log/slog"

// LogValue is what the Estimator knows and decided, for a trace: rates in bit/s,
// delays in ms.
func (e *Estimator) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int64("target", e.Target()),
		slog.Int64("sending", e.sentRate.newest()),
		slog.Int64("delivered", e.ackRate.newest()),
		slog.Int64("carried", e.queue.carried()),
		slog.Int64("queue", e.queue.delay/millisecond),
		slog.Int64("least", e.queue.least()/millisecond),
		slog.Float64("lost", e.loss.smooth),
		slog.Float64("inherent", e.loss.inherent),
		slog.Bool("over", e.trend.over),
		slog.Bool("held", e.held),
		slog.Bool("drains", e.drain.since != 0),
		slog.Int64("rtt", e.rtt/millisecond),
		slog.Uint64("sent", e.history.next),
		slog.Uint64("heard", e.newest),
		slog.Int64("want", e.probe.want),
		slog.Uint64("probes", e.stats.Probes),
		slog.Uint64("probes_held", e.stats.ProbesHeld),
	)
}
