// Package mixer is the audio of one meeting. Every connection that sends is a
// Source, every one that receives is a Listener, and each listener gets one
// continuous RTP stream of 50 packets a second, whatever the others do:
//
//   - nobody else talks: a constant packet of silence, nothing is encoded;
//   - one of those it may hear talks: that talker's packets are passed on as
//     they arrive, the same bytes to all;
//   - two or more talk: they are decoded once each, summed, and encoded once for
//     each distinct set of talkers, so that the listeners share one encoder and
//     each talker has one that leaves out its own voice.
//
// Who talks is read from the level that clients put into the header (RFC 6464),
// so nothing is decoded that nobody hears. A Mixer is a plain state machine: no
// goroutines, no lock, no clock. Push brings packets as they come, Tick is
// called every 20 ms; packets leave only from within these two. When a listener
// changes between silence, passing and mix, its sequence numbers and timestamps
// go on without a break, and no audio is played twice or left out: a mix begins
// behind the last packet passed, and what lies in the jitter buffer when it ends
// is passed on at once.
package mixer

import (
	"math/rand/v2"
	"slices"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

const (
	frame    = opus.FrameSamples // 20 ms at 48 kHz
	tickTime = int64(20 * time.Millisecond)

	// A talker begins at a level of enterLevel (−dBov, RFC 6464) or louder, and
	// goes on at stayLevel. Both are low: to take noise for speech costs a mix, to
	// take speech for noise costs a word.
	enterLevel, stayLevel = 55, 60

	// maxCatchUp bounds how many late ticks are made good at once.
	maxCatchUp = 3
	// maxLead is how far (in samples) a listener's stream may be ahead of the
	// clock or behind it before the clock gives way.
	maxLead = 10 * frame

	reportEvery = int64(90 * time.Millisecond)
	idleCodec   = int64(5 * time.Second)
)

// Sender is where a listener's packets go; media.Peer is one. header and
// payload may be reused as soon as it returns.
type Sender interface {
	SendRTP(header, payload []byte)
}

// Config is how a Mixer works; the zero value is ready for use.
type Config struct {
	// Codec decodes and encodes; nil: opus.Native(). With one that is not
	// available, of several talkers only one is passed on.
	Codec opus.Codec
	// MaxTalkers is how many are mixed at most, the loudest; 0: 5, at most 15.
	MaxTalkers int
	// Hangover is how long a talker counts as talking after the last loud packet;
	// 0: 400 ms.
	Hangover time.Duration
	// Bitrate of a mono mix in bits a second (a stereo one has half as much
	// again); 0: 48,000. Complexity is the encoder's, 0: 4; from 5 on it looks for
	// the pitch of the one voice, which in a mix are several.
	Bitrate, Complexity int
	// Random gives the first sequence numbers and timestamps; nil: random ones.
	Random func() uint32
	// Origin is the moment at which the clock of rtp.Packet.Arrival was zero, so
	// that abs-send-time runs on one clock for all of a connection's streams;
	// zero: the first call.
	Origin time.Time
}

// Stats counts what a Mixer did since it was made.
type Stats struct {
	Received  uint64 // packets that came
	Decodes   uint64 // calls of a decoder, metering and concealment included
	Encodes   uint64 // calls of an encoder
	Passed    uint64 // packets sent that were a talker's own
	Mixed     uint64 // packets sent that were a mix
	Silent    uint64 // packets sent that were silence
	Recalled  uint64 // times that a listener was told to drop what it still held
	Concealed uint64 // frames that were lost or late and made up
	// RedundantIn and RedundantOut count packets that came and left as RFC 2198.
	RedundantIn, RedundantOut uint64
	Recovered                 uint64 // frames that in-band error correction brought back
	Restored                  uint64 // packets that the redundancy of others brought back (RFC 2198)
	Asked                     uint64 // lost packets that clients were asked for, each time counted
	Repaired                  uint64 // of those, packets that came
	Late                      uint64 // packets that came after their turn, or twice
	Dropped                   uint64 // packets refused: malformed, muted, barred, too many
	Skipped                   uint64 // frames left out to catch up
	Failures                  uint64 // calls of the codec that failed
}

// Mixer is the audio of one meeting. It is not safe for concurrent use.
type Mixer struct {
	cfg       Config
	usable    bool // the codec is there
	sources   []*Source
	listeners []*Listener
	taps      []Tap
	stats     Stats

	started bool
	origin  time.Time // zero of now
	now     int64     // ns
	nextAt  int64     // when the next tick is due
	tickAt  int64     // when the last one was due
	clock   int64     // samples that have become due

	active    []*Source // by slot; nil is free
	dirty     bool      // regroup before anything is sent
	frugal    bool      // no mixes for the sake of error correction
	silent    []*Listener
	mixes     []*mix
	old       []*mix // those before, during regroup
	spare     []*mix // for the next regroup
	pool      pool
	red       red // the packet that is being taken apart
	lastSweep int64

	levels     []meeting.AudioLevel
	reportedAt int64
	reported   bool // the last report had somebody in it
}

// New makes the mixer of a meeting.
func New(cfg Config) *Mixer {
	if cfg.Codec == nil {
		cfg.Codec = opus.Native()
	}
	if cfg.MaxTalkers <= 0 {
		cfg.MaxTalkers = 5
	}
	cfg.MaxTalkers = min(cfg.MaxTalkers, 15)
	if cfg.Hangover <= 0 {
		cfg.Hangover = 400 * time.Millisecond
	}
	if cfg.Bitrate <= 0 {
		cfg.Bitrate = 48000
	}
	if cfg.Complexity <= 0 {
		cfg.Complexity = 4
	}
	if cfg.Random == nil {
		cfg.Random = rand.Uint32
	}
	m := &Mixer{cfg: cfg, usable: cfg.Codec.Available()}
	if !m.usable {
		// Two, so that each of two talkers still hears the other.
		m.cfg.MaxTalkers = min(cfg.MaxTalkers, 2)
	}
	m.active = make([]*Source, m.cfg.MaxTalkers)
	m.pool.codec = cfg.Codec
	m.pool.cfg = opus.EncoderConfig{Application: opus.LowDelay, Bitrate: m.cfg.Bitrate, Complexity: min(m.cfg.Complexity, 10)}
	m.pool.stats = &m.stats
	return m
}

// at moves the mixer's time on; it never goes back.
func (m *Mixer) at(now time.Time) int64 {
	if !m.started {
		m.started = true
		m.origin = m.cfg.Origin
		if m.origin.IsZero() {
			m.origin = now
		}
	}
	m.now = max(m.now, int64(now.Sub(m.origin)))
	return m.now
}

// Tick does what is due every 20 ms: mixes, silence, and the end of talk. It
// keeps count of time itself: a call that is late makes up for a few ticks, one
// that is early does nothing.
func (m *Mixer) Tick(now time.Time) {
	first := !m.started
	t := m.at(now)
	if first || t-m.nextAt > maxCatchUp*tickTime {
		// A longer pause is not made good.
		m.nextAt = t
	}
	for m.nextAt <= t+tickTime/2 {
		m.tickAt = m.nextAt
		m.nextAt += tickTime
		m.tick(t)
	}
	for _, s := range m.sources {
		s.untap()
	}
	if t-m.lastSweep > int64(time.Second) {
		m.lastSweep = t
		m.pool.sweep(t)
		for _, s := range m.sources {
			s.sweep(t)
		}
	}
}

func (m *Mixer) tick(now int64) {
	m.clock += frame
	for _, s := range m.active {
		if s != nil && now-s.lastLoud > int64(m.cfg.Hangover) {
			m.leave(s)
			s.talking = false
		} else if s != nil && s.heldAt != 0 && s.seam(now) {
			m.dirty = true
		}
	}
	if m.dirty {
		m.regroup(now)
	}
	m.mixAll(now)
	for _, s := range m.active {
		if s != nil {
			s.fillPassed(now)
		}
	}
	for _, l := range m.silent {
		l.fillSilence(0)
	}
}

// admit gives a talker a place among those that are heard, if need be that of
// somebody who is quieter or has just stopped.
func (m *Mixer) admit(s *Source, now int64) {
	free, weakest := -1, -1
	for i, a := range m.active {
		switch {
		case a == nil:
			if free < 0 {
				free = i
			}
		case weakest < 0 || a.rank(now) < m.active[weakest].rank(now):
			weakest = i
		}
	}
	if free < 0 {
		if weakest < 0 || s.rank(now) < m.active[weakest].rank(now)+swapMargin {
			return
		}
		m.leave(m.active[weakest])
		free = weakest
	}
	m.active[free] = s
	s.slot = free
	m.dirty = true
}

// leave takes a source's place away; what it is part of is rebuilt by regroup.
func (m *Mixer) leave(s *Source) {
	if s.slot >= 0 {
		m.active[s.slot] = nil
		s.slot = -1
		m.dirty = true
	}
}

// Levels lists who is talking and how loud, in −dBov. due says that a report
// should go out now: about every 100 ms while anybody talks, and once, empty,
// when the last one stopped. The slice is good until the next call.
func (m *Mixer) Levels(now time.Time) (talking []meeting.AudioLevel, due bool) {
	t := m.at(now)
	any := false
	for _, s := range m.sources {
		if s.talking && t-s.lastLoud > int64(m.cfg.Hangover) {
			s.talking = false // it talked without ever having had a place
		}
		any = any || s.talking
	}
	if !any {
		due = m.reported
		m.reported = false
		return nil, due
	}
	if m.reported && t-m.reportedAt < reportEvery {
		return nil, false
	}
	m.levels = m.levels[:0]
	for _, s := range m.sources {
		if !s.talking {
			continue
		}
		v := s.loudest
		s.loudest = 127
		// A connection and the one that replaces it are one attendee.
		if i := slices.IndexFunc(m.levels, func(a meeting.AudioLevel) bool { return a.AttendeeID == s.cfg.ID }); i >= 0 {
			m.levels[i].Volume = min(m.levels[i].Volume, v)
			continue
		}
		m.levels = append(m.levels, meeting.AudioLevel{AttendeeID: s.cfg.ID, Volume: v})
	}
	m.reported, m.reportedAt = true, t
	return m.levels, true
}

// Stats returns the counters.
func (m *Mixer) Stats() Stats { return m.stats }

// Close frees every codec. The Mixer must not be used after it.
func (m *Mixer) Close() {
	for _, s := range m.sources {
		s.release(m.now)
	}
	for _, x := range m.mixes {
		m.pool.putCoder(x.enc, m.now)
		x.enc = nil
	}
	m.sources, m.listeners, m.silent, m.mixes = nil, nil, nil, nil
	m.pool.close()
}
