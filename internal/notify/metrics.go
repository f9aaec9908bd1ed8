package notify

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

type metrics struct {
	registry  prometheus.Registerer // nil: none
	sent      *prometheus.CounterVec
	failures  *prometheus.CounterVec
	buried    *prometheus.CounterVec
	dropped   prometheus.Counter
	owner     prometheus.Gauge
	latency   prometheus.Histogram
	collected []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, store meeting.Store) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "events", Name: name, Help: help}, []string{"target"})
	}
	gauge := func(name, help string, fn func(meeting.Reader) int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "events", Name: name, Help: help}, func() (v float64) {
			_ = store.View(context.Background(), func(r meeting.Reader) error { v = float64(fn(r)); return nil })
			return v
		})
	}
	m := &metrics{
		registry: r,
		sent:     counter("delivered_total", "Events that a target took, by kind of target."),
		failures: counter("failures_total", "Tries to deliver an event that failed, by kind of target."),
		buried:   counter("dead_total", "Events that became dead letters, by kind of target."),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "events", Name: "dead_dropped_total",
			Help: "Dead letters that were dropped since there were too many."}),
		owner: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "events", Name: "delivering",
			Help: "1 where this node delivers events, 0 where another one does."}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "belfry", Subsystem: "events", Name: "delivery_seconds",
			Help: "Time from an event to its delivery.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 60, 600, 3600}}),
	}
	m.collected = []prometheus.Collector{m.sent, m.failures, m.buried, m.dropped, m.owner, m.latency,
		gauge("waiting_meetings", "Meetings with events that a target lacks.", func(r meeting.Reader) int { return len(r.Undelivered()) }),
		gauge("dead_letters", "Dead letters that are kept.", meeting.Reader.DeadLetterCount),
	}
	if r != nil {
		r.MustRegister(m.collected...)
	}
	return m
}

func (m *metrics) unregister() {
	if m.registry != nil {
		for _, c := range m.collected {
			m.registry.Unregister(c)
		}
	}
}

func (m *metrics) delivered(kind meeting.TargetKind, took time.Duration) {
	m.sent.WithLabelValues(string(kind)).Inc()
	m.latency.Observe(took.Seconds())
}

func (m *metrics) failed(kind meeting.TargetKind) { m.failures.WithLabelValues(string(kind)).Inc() }
func (m *metrics) dead(kind meeting.TargetKind, n int) {
	m.buried.WithLabelValues(string(kind)).Add(float64(n))
}
