package screen

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	frames  *prometheus.CounterVec // by what became of them
	refused *prometheus.CounterVec // by reason
	tiles   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_screen_frames_total",
			Help: "Frames of screens shared by old clients: decoded, dropped for want of processor time, or corrupt.",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_screen_refused_total",
			Help: "Screen sockets and shares that were refused: sockets, token, capability, presenters, resolution.",
		}, []string{"reason"}),
		tiles: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_screen_tiles_total", Help: "Tiles of shared screens that were made for viewers of old clients.",
		}),
	}
	registry.MustRegister(m.frames, m.refused, m.tiles,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "belfry_screen_sockets", Help: "Open sockets of the screen sharing of old clients.",
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.sockets)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "belfry_screen_presenters", Help: "Screens that old clients are sharing.",
		}, func() float64 { return float64(s.sharing.Load()) }),
	)
	return m
}
