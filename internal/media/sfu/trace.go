package sfu

import (
	"fmt"
	"log/slog"
	"strings"
)

// LogValue is what is known of the way and what each section is given, for a trace.
func (d *Downlink) LogValue() slog.Value {
	var b strings.Builder
	for _, s := range d.shares {
		fmt.Fprintf(&b, "[%s at=%d paused=%t gap=%t flows=%d target=%d", s.sub.MID(), s.at, s.paused, s.gap, s.sub.Flowing(), s.sub.StreamID())
		if p, ok := s.sub.FlowingPoint(); ok {
			fmt.Fprintf(&b, " layers=%d.%d", p.Spatial, p.Temporal)
		}
		b.WriteString(" steps")
		for _, st := range s.ladder {
			fmt.Fprintf(&b, " %d:%d.%d=%d", st.point.StreamID, st.point.Spatial, st.point.Temporal, st.bps/1000)
		}
		if l := s.d.r.layers[s.wish]; l != nil {
			for _, l := range l.pub.layers {
				fmt.Fprintf(&b, " %d:key=%d", l.streamID, l.keyBytes/1000)
			}
		}
		b.WriteByte(']')
	}
	stats := &d.r.stats
	return slog.GroupValue(
		slog.Any("estimate", d.est),
		slog.Bool("congested", d.est.Congested(d.r.now)), slog.Bool("narrow", d.narrow), slog.Int64("waiting", d.pace.bytes),
		slog.String("shares", b.String()),
		slog.Uint64("nacked", stats.NACKsHandled), slog.Uint64("resent", stats.Resent),
		slog.Uint64("padding", stats.Padding), slog.Uint64("key_frames_asked", stats.KeyFrameRequests),
	)
}

// Trace logs what is known of each client's way.
func (r *Router) Trace(log *slog.Logger) {
	for _, d := range r.downs {
		if len(d.shares) > 0 {
			log.Debug("downlink", "at", r.now/millisecond, "way", d)
		}
	}
}
