package observe

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns the registry of one server, with the process's and Go's
// own figures in it. Nothing is registered globally, so that several servers
// fit in one process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// MetricsHandler serves the registry to Prometheus.
func MetricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})
}

// Figure is one value that a component counts by itself, without knowing of
// Prometheus: packets are counted on paths where a registry has no place.
type Figure struct {
	Name, Help string
	Gauge      bool // else a counter
	Value      func() float64
}

// Register adds figures to the registry under the prefix belfry_.
func Register(r prometheus.Registerer, figures ...Figure) {
	for _, f := range figures {
		if f.Gauge {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_" + f.Name, Help: f.Help}, f.Value))
			continue
		}
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "belfry_" + f.Name, Help: f.Help}, f.Value))
	}
}
