package mixer

import "slices"

// Tap is handed the packets of those who talk, undecoded, and must not block.
// What it does not take at once is lost to it; the meeting does not wait.
type Tap interface {
	// Packet is the next of a source that talks; payload is good until the call
	// returns. A packet that comes late is left out.
	Packet(s *Source, p TapPacket)
	// Quiet says that the source has stopped talking.
	Quiet(s *Source)
	// Closed says that nothing more comes of the source, which was quiet before.
	Closed(s *Source)
}

// TapPacket is one Opus packet.
type TapPacket struct {
	Timestamp uint32
	Samples   int    // its duration at 48 kHz
	Epoch     uint32 // goes up where timestamps jump
	At        int64  // when it came, in ns on the clock of rtp.Packet.Arrival
	Payload   []byte
}

// AddTap begins to hand over; RemoveTap ends it.
func (m *Mixer) AddTap(t Tap) { m.taps = append(m.taps, t) }

// RemoveTap ends what AddTap began, without a last word.
func (m *Mixer) RemoveTap(t Tap) {
	m.taps = slices.DeleteFunc(m.taps, func(x Tap) bool { return x == t })
}

// ID is the attendee, with meeting.ContentSuffix for a content share.
func (s *Source) ID() string { return s.cfg.ID }

// tap hands a packet over if the source talks.
func (s *Source) tap(ts uint32, samples int, now int64, payload []byte) {
	if len(s.m.taps) == 0 || !s.talking {
		return
	}
	s.tapped = true
	p := TapPacket{Timestamp: ts, Samples: samples, Epoch: s.epoch, At: now, Payload: payload}
	for _, t := range s.m.taps {
		t.Packet(s, p)
	}
}

// untap says that the source has stopped talking, if that is so and was not said.
func (s *Source) untap() {
	if !s.tapped || s.talking {
		return
	}
	s.tapped = false
	for _, t := range s.m.taps {
		t.Quiet(s)
	}
}
