package transcribe

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	sessions prometheus.Gauge
	audio    *prometheus.CounterVec // by outcome
	results  *prometheus.CounterVec // by outcome
	ends     *prometheus.CounterVec // of connections, by why
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "belfry_transcription_connections", Help: "Meetings that the transcription engine is connected for."}),
		audio: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_transcription_audio_total", Help: "Stretches of speech for the transcription engine: sent, or dropped because it did not keep up."}, []string{"outcome"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_transcription_messages_total", Help: "Messages of the transcription engine: delivered, or refused."}, []string{"outcome"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_transcription_ends_total", Help: "Connections to the transcription engine that ended or did not come about: lost, refused, or closed by us."}, []string{"reason"}),
	}
	if r != nil {
		r.MustRegister(m.sessions, m.audio, m.results, m.ends)
	}
	return m
}
