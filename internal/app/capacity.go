package app

import (
	"context"

	"belfry/internal/capacity"
	"belfry/internal/media"
	"belfry/internal/observe"
)

// startCapacity has it measured how full the server is, and the media leave out
// what that asks for. Signaling, the service and the health ask by themselves.
func (s *Server) startCapacity(m *media.Server) {
	cfg := capacity.Config{
		Limits:  capacity.Limits{CPU: float64(s.cfg.SheddingCPU) / 100, Late: s.cfg.SheddingLate},
		Changed: func(l capacity.Level) { m.LimitVideo(videoLimit(l)) },
		Logger:  s.logger,
	}
	if s.cfg.Shedding == "on" {
		cpu := capacity.NewCPU()
		cfg.Limits.Processors = cpu.Processors()
		cfg.Meter = func() capacity.Sample {
			return capacity.Sample{CPU: cpu.Share(), Late: m.Lateness(), People: m.People()}
		}
	}
	s.capacity = capacity.NewKeeper(cfg)
	s.health.Full = func() string {
		if s.capacity.Full() {
			return "the server is full"
		}
		return ""
	}
	figure := func(of func(capacity.State) float64) func() float64 {
		return func() float64 { return of(s.capacity.State()) }
	}
	observe.Register(s.registry,
		observe.Figure{Name: "capacity_level", Help: "What is left out because the server is full: 0 nothing, 1 the upper layers of cameras, 2 cameras, 3 also who comes new, 4 also content shares.", Gauge: true,
			Value: figure(func(s capacity.State) float64 { return float64(s.Level) })},
		observe.Figure{Name: "capacity_fullness", Help: "How full the server was in the last second; 1 is full.", Gauge: true,
			Value: figure(func(s capacity.State) float64 { return s.Fullness })},
		observe.Figure{Name: "capacity_cpu_share", Help: "Its share of the processors that it may use, in the last second.", Gauge: true,
			Value: figure(func(s capacity.State) float64 { return s.Sample.CPU })},
		observe.Figure{Name: "capacity_late_seconds", Help: "How late sound was made in the last second, in nine of ten ticks.", Gauge: true,
			Value: figure(func(s capacity.State) float64 { return s.Sample.Late.Seconds() })},
		observe.Figure{Name: "capacity_changes_total", Help: "Changes of the level.", Value: figure(func(s capacity.State) float64 { return float64(s.Changes) })},
	)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.capacity.Run(ctx)
	}()
	s.started("capacity", func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// full and admit are asked while requests are served, and so after startCapacity.
func (s *Server) full() bool  { return s.capacity.Full() }
func (s *Server) admit() bool { return s.capacity.Admit() }

func videoLimit(l capacity.Level) media.VideoLimit {
	switch {
	case l >= capacity.Sound:
		return media.NoVideo
	case l >= capacity.NoCamera:
		return media.NoCameras
	case l >= capacity.Lower:
		return media.LowCameras
	}
	return media.NoLimit
}
