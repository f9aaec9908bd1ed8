package media

import (
	"belfry/internal/media/mixer"
	"belfry/internal/media/sfu"
	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
)

// Stats counts what a Server has done since it was started.
type Stats struct {
	Conferences, Peers int // open now
	MalformedRTCP      uint64
	Panics             uint64 // faults of ours that were caught
	// Unasked counts packets of a payload type that was not negotiated, and video
	// of those who may not send it.
	Unasked   uint64
	Unheard   uint64 // audio packets for transcription that were dropped
	Audio     mixer.Stats
	Video     sfu.Stats
	Bandwidth sfu.BandwidthStats
	Transport *transport.Stats
	Port      *udp.Stats
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.past
	for _, b := range s.bridges {
		total.Conferences++
		total.add(b.counts())
	}
	total.MalformedRTCP, total.Panics = s.malformed.Load(), s.panics.Load()
	total.Unheard = s.unheard.Load()
	total.Transport, total.Port = s.mux.Stats(), s.mux.PortStats()
	return total
}

func (b *Bridge) counts() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Peers: len(b.peers), Unasked: b.unasked, Audio: b.mixer.Stats(), Video: b.router.Stats(), Bandwidth: b.router.Bandwidth()}
}

// add sums what both have counted.
func (s *Stats) add(o Stats) {
	s.Peers += o.Peers
	s.Unasked += o.Unasked
	a, v := &s.Audio, &s.Video
	a.Received += o.Audio.Received
	a.Decodes += o.Audio.Decodes
	a.Encodes += o.Audio.Encodes
	a.Passed += o.Audio.Passed
	a.Mixed += o.Audio.Mixed
	a.Silent += o.Audio.Silent
	a.Recalled += o.Audio.Recalled
	a.Concealed += o.Audio.Concealed
	a.RedundantIn += o.Audio.RedundantIn
	a.RedundantOut += o.Audio.RedundantOut
	a.Recovered += o.Audio.Recovered
	a.Restored += o.Audio.Restored
	a.Asked += o.Audio.Asked
	a.Repaired += o.Audio.Repaired
	a.Late += o.Audio.Late
	a.Dropped += o.Audio.Dropped
	a.Skipped += o.Audio.Skipped
	a.Failures += o.Audio.Failures
	v.PacketsIn += o.Video.PacketsIn
	v.PacketsOut += o.Video.PacketsOut
	v.Unknown += o.Video.Unknown
	v.Malformed += o.Video.Malformed
	v.Duplicate += o.Video.Duplicate
	v.NACKsSent += o.Video.NACKsSent
	v.NACKsHandled += o.Video.NACKsHandled
	v.Resent += o.Video.Resent
	v.KeyFrameRequests += o.Video.KeyFrameRequests
	v.Replays += o.Video.Replays
	v.TooLarge += o.Video.TooLarge
	v.Padding += o.Video.Padding
	v.Raised += o.Video.Raised
	v.Lowered += o.Video.Lowered
	v.Pauses += o.Video.Pauses
	v.Resumes += o.Video.Resumes
	s.Bandwidth.Add(o.Bandwidth)
}
