package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/media"
	"belfry/internal/observe"
	"belfry/internal/store/jetstream"
	"belfry/internal/turn"
)

func registerStore(r prometheus.Registerer, s *jetstream.Stats) {
	observe.Register(r,
		observe.Figure{Name: "store_changes_total", Help: "Changes of the state that were written.", Value: func() float64 { return float64(s.Changes.Load()) }},
		observe.Figure{Name: "store_appends_total", Help: "Appends to the log that these shared, each with one sync.", Value: func() float64 { return float64(s.Appends.Load()) }},
		observe.Figure{Name: "store_snapshots_total", Help: "Snapshots of the state that were written.", Value: func() float64 { return float64(s.Snapshots.Load()) }},
		observe.Figure{Name: "store_paused_seconds_total", Help: "Time in which changes waited for snapshots to be taken.", Value: func() float64 { return float64(s.Paused.Load()) / 1e9 }},
	)
}

func registerTURN(r prometheus.Registerer, t *turn.Server) {
	observe.Register(r,
		observe.Figure{Name: "turn_allocations", Help: "Relays that are open.", Gauge: true, Value: func() float64 { return float64(t.Stats.Allocations.Load()) }},
		observe.Figure{Name: "turn_refused_total", Help: "Packets and requests to the relay that were malformed, not authentic or too many.", Value: func() float64 { return float64(t.Stats.Refused.Load()) }},
		observe.Figure{Name: "turn_blocked_total", Help: "Packets and permissions for an address that is not our media.", Value: func() float64 { return float64(t.Stats.Blocked.Load()) }},
	)
}

// mediaFigure is one figure of media: its name after "belfry_media_".
type mediaFigure struct {
	name, help string
	gauge      bool
	value      func(*media.Stats) float64
}

var mediaFigures = []mediaFigure{
	{"conferences", "Meetings whose media is open.", true, func(s *media.Stats) float64 { return float64(s.Conferences) }},
	{"peers", "Media connections that are open.", true, func(s *media.Stats) float64 { return float64(s.Peers) }},
	{"connections_up", "Media connections whose keys are agreed on.", true, func(s *media.Stats) float64 { return float64(s.Transport.ConnsConnected.Load()) }},
	{"handshakes_total", "DTLS handshakes that succeeded.", false, func(s *media.Stats) float64 { return float64(s.Transport.HandshakesDone.Load()) }},
	{"handshakes_failed_total", "DTLS handshakes that failed.", false, func(s *media.Stats) float64 { return float64(s.Transport.HandshakesFailed.Load()) }},
	{"idle_timeouts_total", "Connections that ended because nothing came.", false, func(s *media.Stats) float64 { return float64(s.Transport.IdleTimeouts.Load()) }},
	{"path_changes_total", "Connections that moved to another address.", false, func(s *media.Stats) float64 { return float64(s.Transport.PathChanges.Load()) }},
	{"stun_bad_total", "Connectivity checks that were malformed, unknown or not authentic.", false, func(s *media.Stats) float64 {
		t := s.Transport
		return float64(t.ChecksMalformed.Load() + t.ChecksUnknown.Load() + t.ChecksUnauthentic.Load() + t.ChecksTaken.Load())
	}},
	{"dropped_total", "Received packets that were of no kind, from nobody, too early, or malformed.", false, func(s *media.Stats) float64 {
		t := s.Transport
		return float64(t.DroppedGarbage.Load() + t.DroppedStrange.Load() + t.DroppedEarly.Load() + t.DroppedMalformed.Load() +
			t.DroppedStreams.Load() + t.DroppedDTLS.Load())
	}},
	{"unauthentic_total", "Received packets that failed SRTP authentication or were replayed.", false, func(s *media.Stats) float64 {
		return float64(s.Transport.DroppedUnauthentic.Load() + s.Transport.DroppedReplayed.Load())
	}},
	{"rtcp_malformed_total", "RTCP that could not be understood.", false, func(s *media.Stats) float64 { return float64(s.MalformedRTCP) }},
	{"faults_total", "Faults of the server while handling media, each of which cost one connection at most.", false, func(s *media.Stats) float64 { return float64(s.Panics) }},
	{"packets_in_total", "Datagrams received.", false, func(s *media.Stats) float64 { return float64(s.Port.PacketsIn.Load()) }},
	{"packets_out_total", "Datagrams sent.", false, func(s *media.Stats) float64 { return float64(s.Port.PacketsOut.Load()) }},
	{"bytes_in_total", "Bytes received, of UDP payload.", false, func(s *media.Stats) float64 { return float64(s.Port.BytesIn.Load()) }},
	{"bytes_out_total", "Bytes sent, of UDP payload.", false, func(s *media.Stats) float64 { return float64(s.Port.BytesOut.Load()) }},
	{"send_calls_total", "System calls that sent datagrams.", false, func(s *media.Stats) float64 { return float64(s.Port.SendCalls.Load()) }},
	{"send_failed_total", "Datagrams that the kernel refused or had no room for.", false, func(s *media.Stats) float64 {
		return float64(s.Port.SendErrors.Load() + s.Port.SendDrops.Load())
	}},
	{"tcp_connections", "Connections for media over TCP that are open.", true, func(s *media.Stats) float64 { return float64(s.Transport.StreamsOpen.Load()) }},
	{"tcp_accepted_total", "Connections for media over TCP.", false, func(s *media.Stats) float64 { return float64(s.Transport.StreamsAccepted.Load()) }},
	{"tcp_refused_total", "Of them those that ended because they proved nothing in time, were too many before that, or brought what is no frame.", false, func(s *media.Stats) float64 {
		t := s.Transport
		return float64(t.StreamsCrowded.Load() + t.StreamsMute.Load() + t.StreamsNoisy.Load() + t.StreamsMalformed.Load())
	}},
	{"tcp_slow_total", "Of them those that ended because the client did not read.", false, func(s *media.Stats) float64 { return float64(s.Transport.StreamsSlow.Load()) }},
	{"tcp_packets_in_total", "Packets received over TCP.", false, func(s *media.Stats) float64 { return float64(s.Transport.StreamPacketsIn.Load()) }},
	{"tcp_packets_out_total", "Packets sent over TCP.", false, func(s *media.Stats) float64 { return float64(s.Transport.StreamPacketsOut.Load()) }},
	{"tcp_dropped_total", "Packets that were not sent over TCP because the client did not keep up.", false, func(s *media.Stats) float64 { return float64(s.Transport.StreamDropped.Load()) }},
	{"audio_passed_total", "Audio packets sent that were a lone talker's own.", false, func(s *media.Stats) float64 { return float64(s.Audio.Passed) }},
	{"audio_mixed_total", "Audio packets sent that were a mix.", false, func(s *media.Stats) float64 { return float64(s.Audio.Mixed) }},
	{"audio_silent_total", "Audio packets sent that were silence.", false, func(s *media.Stats) float64 { return float64(s.Audio.Silent) }},
	{"audio_recalled_total", "Times that a listener was told to drop what it still held of one who muted.", false, func(s *media.Stats) float64 { return float64(s.Audio.Recalled) }},
	{"audio_decodes_total", "Calls of the decoder.", false, func(s *media.Stats) float64 { return float64(s.Audio.Decodes) }},
	{"audio_encodes_total", "Calls of the encoder.", false, func(s *media.Stats) float64 { return float64(s.Audio.Encodes) }},
	{"audio_redundant_in_total", "Audio packets that came as redundant audio (RFC 2198).", false, func(s *media.Stats) float64 { return float64(s.Audio.RedundantIn) }},
	{"audio_redundant_out_total", "Audio packets sent as redundant audio (RFC 2198).", false, func(s *media.Stats) float64 { return float64(s.Audio.RedundantOut) }},
	{"audio_recovered_total", "Lost audio frames that in-band error correction brought back.", false, func(s *media.Stats) float64 { return float64(s.Audio.Recovered) }},
	{"audio_asked_total", "Lost audio packets that clients were asked to send again, each time counted.", false, func(s *media.Stats) float64 { return float64(s.Audio.Asked) }},
	{"audio_repaired_total", "Lost audio packets that came because a client was asked for them.", false, func(s *media.Stats) float64 { return float64(s.Audio.Repaired) }},
	{"audio_restored_total", "Lost audio packets that came again with a later one (RFC 2198).", false, func(s *media.Stats) float64 { return float64(s.Audio.Restored) }},
	{"audio_concealed_total", "Audio frames that were lost or late and made up.", false, func(s *media.Stats) float64 { return float64(s.Audio.Concealed) }},
	{"audio_refused_total", "Audio packets that were malformed, muted or too many.", false, func(s *media.Stats) float64 { return float64(s.Audio.Dropped) }},
	{"audio_unheard_total", "Audio packets that were dropped on the way to transcription.", false, func(s *media.Stats) float64 { return float64(s.Unheard) }},
	{"video_in_total", "Video packets received.", false, func(s *media.Stats) float64 { return float64(s.Video.PacketsIn) }},
	{"video_out_total", "Video packets forwarded.", false, func(s *media.Stats) float64 { return float64(s.Video.PacketsOut) }},
	{"video_asked_again_total", "Video packets that senders were asked to send again.", false, func(s *media.Stats) float64 { return float64(s.Video.NACKsSent) }},
	{"video_resent_total", "Video packets sent again.", false, func(s *media.Stats) float64 { return float64(s.Video.Resent) }},
	{"video_refused_total", "Video packets and reports that were malformed or of no known stream.", false, func(s *media.Stats) float64 {
		return float64(s.Video.Malformed + s.Video.Unknown)
	}},
	{"video_too_large_total", "Video packets that were not forwarded because the pictures are larger than the meeting's features allow.", false, func(s *media.Stats) float64 {
		return float64(s.Video.TooLarge)
	}},
	{"unasked_total", "Packets of a payload type that was not negotiated, and video of those who may not send it.", false, func(s *media.Stats) float64 { return float64(s.Unasked) }},
	{"video_layer_raised_total", "Received videos that got a better layer because there was room.", false, func(s *media.Stats) float64 { return float64(s.Video.Raised) }},
	{"video_layer_lowered_total", "Received videos that got a lower layer for want of bandwidth.", false, func(s *media.Stats) float64 { return float64(s.Video.Lowered) }},
	{"video_paused_total", "Received videos that were paused because they did not fit.", false, func(s *media.Stats) float64 { return float64(s.Video.Pauses) }},
	{"video_limited", "Received videos that get less than was asked for now, the paused ones included.", true, func(s *media.Stats) float64 { return float64(s.Bandwidth.Limited) }},
	{"video_paused", "Received videos that are paused now because they do not fit.", true, func(s *media.Stats) float64 { return float64(s.Bandwidth.Paused) }},
	{"downlinks", "Clients whose bandwidth is estimated.", true, func(s *media.Stats) float64 { return float64(s.Bandwidth.Known) }},
	{"downlinks_congested", "Of these, those whose network is full now.", true, func(s *media.Stats) float64 { return float64(s.Bandwidth.Congested) }},
	{"downlink_bits_per_second", "The sum of the estimates.", true, func(s *media.Stats) float64 { return float64(s.Bandwidth.Estimate) }},
	{"bandwidth_overuses_total", "Times that an estimate was lowered because queues grew.", false, func(s *media.Stats) float64 { return float64(s.Bandwidth.Overuses) }},
	{"bandwidth_losses_total", "Times that an estimate was lowered because of losses.", false, func(s *media.Stats) float64 { return float64(s.Bandwidth.Losses) }},
	{"bandwidth_probes_total", "Bursts sent to look for more bandwidth.", false, func(s *media.Stats) float64 { return float64(s.Bandwidth.Probes) }},
	{"bandwidth_probes_held_total", "Of these, those that found it.", false, func(s *media.Stats) float64 { return float64(s.Bandwidth.ProbesHeld) }},
	{"padding_total", "Packets of nothing that were sent for that.", false, func(s *media.Stats) float64 { return float64(s.Video.Padding) }},
	{"key_frame_replays_total", "Key frames sent again to who asked for one just after the first time.", false, func(s *media.Stats) float64 { return float64(s.Video.Replays) }},
	{"key_frame_requests_total", "Key frames asked of senders.", false, func(s *media.Stats) float64 { return float64(s.Video.KeyFrameRequests) }},
}

// mediaCollector takes one snapshot for a scrape: the counters lie behind the
// locks of every meeting.
type mediaCollector struct {
	server *media.Server
	descs  []*prometheus.Desc
}

func registerMedia(r prometheus.Registerer, m *media.Server) {
	c := &mediaCollector{server: m}
	for _, f := range mediaFigures {
		c.descs = append(c.descs, prometheus.NewDesc("belfry_media_"+f.name, f.help, nil, nil))
	}
	r.MustRegister(c)
}

// Describe implements prometheus.Collector.
func (c *mediaCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *mediaCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.server.Stats()
	for i, f := range mediaFigures {
		kind := prometheus.CounterValue
		if f.gauge {
			kind = prometheus.GaugeValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[i], kind, f.value(&stats))
	}
}
