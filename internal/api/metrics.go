package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts and times requests. Labels take few values: an operation that
// is not known is "unknown", whatever the path was.
type metrics struct {
	requests  *prometheus.CounterVec
	throttled *prometheus.CounterVec
	duration  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_api_requests_total",
			Help: "Requests to the AWS APIs, by operation, API and class of status.",
		}, []string{"operation", "api", "status"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_api_throttled_total",
			Help: "Requests refused because their account makes too many for the operation.",
		}, []string{"operation"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "belfry_api_request_duration_seconds",
			Help:    "Time from the last header of a request to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // to about 4 s
		}, []string{"operation"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.throttled, m.duration} {
		if err := reg.Register(c); err != nil {
			return metrics{}, fmt.Errorf("registering the API's metrics: %w", err)
		}
	}
	return m, nil
}

func (m metrics) observe(c *call, status int, took time.Duration) {
	operation := c.operation
	if operation == "" {
		operation = "unknown"
	}
	m.requests.WithLabelValues(operation, c.identity.label(), fmt.Sprintf("%dxx", status/100)).Inc()
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
}
