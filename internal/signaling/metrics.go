package signaling

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of one Server. Labels come from small fixed sets.
type metrics struct {
	sockets    prometheus.Gauge
	meetings   prometheus.Gauge
	joins      *prometheus.CounterVec
	frames     *prometheus.CounterVec
	bad        *prometheus.CounterVec
	closes     *prometheus.CounterVec
	cut        *prometheus.CounterVec
	presence   *prometheus.CounterVec
	data       *prometheus.CounterVec
	quota      *prometheus.CounterVec
	promotions *prometheus.CounterVec
	subscribe  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "belfry", Subsystem: "signaling", Name: name, Help: help,
		}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "signaling", Name: name, Help: help})
	}
	m := &metrics{
		sockets:    gauge("sockets", "Authenticated signaling sockets that are open."),
		meetings:   gauge("meetings", "Meetings with somebody in them on this node."),
		joins:      counter("joins_total", "Attempts to join, by outcome.", "outcome"),
		frames:     counter("frames_total", "Frames received, by type.", "type"),
		bad:        counter("bad_frames_total", "Frames that were refused, by what was wrong.", "reason"),
		closes:     counter("closes_total", "Sockets that the server closed, by close code.", "code"),
		cut:        counter("cut_total", "Sockets that the server cut, by reason.", "reason"),
		presence:   counter("presence_total", "Changes of presence, by kind.", "kind"),
		data:       counter("data_messages_total", "Data messages, by what became of them.", "outcome"),
		promotions: counter("promotions_total", "Attempts of attendees of replicas to be promoted, by outcome.", "outcome"),
		quota:      counter("over_quota_total", "Cameras and content shares refused because a meeting had enough, by quota.", "quota"),
		subscribe: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "belfry", Subsystem: "signaling", Name: "subscribe_seconds",
			Help:    "Time to answer SUBSCRIBE, by outcome.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.sockets, m.meetings, m.joins, m.frames, m.bad, m.closes, m.cut, m.presence, m.data, m.quota, m.promotions, m.subscribe)
	}
	return m
}

func (m *metrics) closed(code int) { m.closes.WithLabelValues(strconv.Itoa(code)).Inc() }
