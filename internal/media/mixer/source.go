package mixer

import (
	"math"
	"slices"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

const (
	// maxPayload bounds what is kept and passed on: more does not fit a datagram.
	maxPayload = 1500
	// maxGap is the longest run of lost packets that a listener is shown as lost;
	// over a longer one its numbers close up.
	maxGap = 12
	// quietTime is how long a talker may be silent before somebody else, not much
	// louder, may take its place.
	quietTime = int64(150 * time.Millisecond)
	// swapMargin is by how many dB one must be louder to take another's place.
	swapMargin = 6
)

// SourceConfig describes a connection that sends audio.
type SourceConfig struct {
	// ID is the attendee, with meeting.ContentSuffix for a content share. It is
	// what Listeners exclude and Levels lists; a connection and the one that
	// replaces it may share it.
	ID      string
	Content bool // the sound of a content share
	// PayloadType is Opus. REDPayloadType is RFC 2198 around it, 0 when not negotiated.
	PayloadType, REDPayloadType uint8
	// AudioLevelID is the extension id of RFC 6464, 0 when not negotiated: then
	// what is not silence must be decoded to know its level.
	AudioLevelID uint8
	Muted        bool // nothing it sends is heard
	Barred       bool // it may not send (AttendeeCapabilities)
}

// Source is one connection that sends audio.
type Source struct {
	m      *Mixer
	cfg    SourceConfig
	closed bool

	rx      rtp.Receiver
	ssrc    uint32
	started bool
	base    uint64 // added to rx's extended numbers, so that they rise over a change of SSRC
	fresh   bool   // the next packet begins anew
	top     uint64 // highest extended number, and its packet's timestamp and duration
	topTS   uint32
	topDur  int
	seen    uint64 // bit n: top−n came
	epoch   uint32 // goes up where numbers or timestamps jump
	began   uint64 // the first number of the epoch
	arrived int64  // when the last usable packet came
	jitter  jitterMeter

	talking  bool
	tapped   bool   // the taps have a packet of it since it was quiet
	onset    uint64 // the packet that it began to talk with
	lastLoud int64
	loudness float32 // 127 − level, at once up and slowly down
	loudest  uint8   // level since the last report
	quiet    bool    // the last packet was, for this talker
	speech   bool    // the last with sound was coded by a speech mode
	meter    opus.Decoder

	slot int         // among Mixer.active, −1 for none
	pass []*Listener // who is sent the packets as they come
	// passed says, during a regroup, that somebody was.
	passed bool
	// A mix of this one alone goes on from heldAt to a good moment to pass it on.
	held    bool
	heldAt  int64
	buf     buffer
	red     wrapping // its packets with older ones, for listeners that prefer it
	repairs repairs
}

// AddSource adds a connection that sends.
func (m *Mixer) AddSource(cfg SourceConfig) *Source {
	s := &Source{m: m, cfg: cfg, slot: -1, fresh: true, loudest: 127}
	s.rx.ClockRate = opus.SampleRate
	m.sources = append(m.sources, s)
	return s
}

// Push takes packets of this source in the order in which they came. One that
// is heard alone is sent to its listeners before Push returns.
func (s *Source) Push(run []*rtp.Packet, now time.Time) {
	if s.closed {
		return
	}
	t := s.m.at(now)
	for _, p := range run {
		s.push(p, t)
	}
}

func (s *Source) push(p *rtp.Packet, now int64) {
	m := s.m
	m.stats.Received++
	payload := p.Payload()
	m.red.n = 0
	if s.cfg.REDPayloadType != 0 && p.PayloadType == s.cfg.REDPayloadType {
		var ok bool
		if payload, ok = m.red.unwrap(payload, s.cfg.PayloadType); !ok {
			m.stats.Dropped++
			return
		}
		m.stats.RedundantIn++
	} else if p.PayloadType != s.cfg.PayloadType {
		m.stats.Dropped++
		return
	}
	arrival := p.Arrival
	if arrival == 0 {
		arrival = now
	}
	if s.started && p.SSRC != s.ssrc {
		s.rx, s.repairs = rtp.Receiver{ClockRate: opus.SampleRate}, repairs{}
		s.base = s.top + 1<<17
		s.fresh = true
	}
	s.started, s.ssrc = true, p.SSRC
	ext, order := s.rx.Push(p.Seq, p.Timestamp, arrival)
	ext += s.base
	switch order {
	case rtp.Jumped:
		m.stats.Dropped++
		return
	case rtp.Restarted:
		s.fresh = true
	}
	if s.cfg.Muted || s.cfg.Barred {
		m.stats.Dropped++
		return
	}
	info, err := opus.Parse(payload)
	if err != nil || len(payload) > maxPayload {
		m.stats.Dropped++
		return
	}
	if s.fresh {
		s.repairs.list = nil
		// What came before belongs to what nobody heard.
		s.jitter.started, m.red.n = false, 0
		s.buf.restart(ext)
	} else if s.known(ext) {
		m.stats.Late++
		return
	}
	s.arrived = now
	f := packet{ext: ext, ts: p.Timestamp, dur: info.Samples(), stereo: info.Stereo, speech: info.SILK(), payload: payload}
	f.late = s.jitter.push(f.ts, arrival)
	if s.fresh || ext > s.top {
		s.listen(p, ext, info, payload, now)
	}
	// Grouping comes before keeping: a mix or a passing that begins now begins
	// with this packet, or what it brings back.
	if m.dirty {
		m.regroup(now)
	}
	for _, o := range m.red.older[:m.red.n] {
		s.restore(o, f, now)
	}
	s.take(f, now)
}

// packet is one packet of a source.
type packet struct {
	ext     uint64
	ts      uint32
	dur     int
	stereo  bool
	speech  bool  // coded by a speech mode of Opus
	late    int64 // by how much, in ns, it came later than the earliest ones do
	payload []byte
}

// restore takes a packet that was lost and came with a later one. Numbers are not
// told of such; what does not fit the time line is left out.
func (s *Source) restore(o older, in packet, now int64) {
	info, err := opus.Parse(o.payload)
	if err != nil || o.offset == 0 || o.offset%uint32(info.Samples()) != 0 {
		return
	}
	dur := info.Samples()
	back := uint64(o.offset) / uint64(dur)
	f := packet{ext: in.ext - back, ts: in.ts - o.offset, dur: dur, stereo: info.Stereo, speech: info.SILK(), payload: o.payload}
	if back >= ringSize || s.known(f.ext) || f.ext < s.began || f.ts != s.topTS+uint32(f.ext-s.top)*uint32(s.topDur) {
		return
	}
	// That late it came, and so long the next that is lost must be waited for.
	f.late = in.late + int64(o.offset)*int64(time.Second)/opus.SampleRate
	s.jitter.peak = max(s.jitter.peak, f.late)
	s.m.stats.Restored++
	s.take(f, now)
}

// take keeps a packet and passes it on.
func (s *Source) take(f packet, now int64) {
	m := s.m
	late := s.order(f, now)
	s.repairs.came(f.ext, late, &m.stats)
	if !late {
		s.tap(f.ts, f.dur, now, f.payload)
	}
	s.buf.keep(f, s.quiet, now)
	if s.buf.mixing && f.ext < s.buf.next {
		m.stats.Late++
	}
	for _, l := range s.pass {
		l.forward(s, f)
	}
}

// redundant is a packet with up to depth of those before it, as they came.
func (s *Source) redundant(f packet, payloadType uint8, depth int) []byte {
	return s.red.payload(f.ext, payloadType, f.payload, depth, func(back int) ([]byte, uint32) {
		if k := s.buf.at(f.ext - uint64(back)); k != nil {
			return k.payload, f.ts - k.ts
		}
		return nil, 0
	})
}

// known reports whether a packet came already or is too old to matter.
func (s *Source) known(ext uint64) bool {
	if ext > s.top {
		return false
	}
	gap := s.top - ext
	return gap > 63 || s.seen>>gap&1 != 0
}

// order places a packet, which is not known, among those before it, and reports
// whether it is late.
func (s *Source) order(f packet, now int64) (late bool) {
	switch {
	case s.fresh:
		s.fresh = false
		s.epoch++
		s.seen, s.began = 1, f.ext
	case f.ext > s.top:
		gap := f.ext - s.top
		if gap > maxGap || f.ts != s.topTS+uint32(gap)*uint32(s.topDur) {
			s.epoch++
			s.began = f.ext
		} else if gap > 1 {
			s.miss(s.top+1, f.ext-1, now)
		}
		s.seen = s.seen<<min(gap, 64) | 1
	default:
		s.seen |= 1 << (s.top - f.ext)
		return true
	}
	s.top, s.topTS, s.topDur = f.ext, f.ts, f.dur
	return false
}

// listen measures a packet and decides whether the source talks.
func (s *Source) listen(p *rtp.Packet, ext uint64, info opus.Info, payload []byte, now int64) {
	level := uint8(127)
	if !info.Silent {
		s.speech = info.SILK()
		if v, _, ok := p.AudioLevel(s.cfg.AudioLevelID); ok {
			level = v
		} else {
			level = s.measure(info, payload)
		}
	}
	loud := float32(127 - level)
	s.quiet = loud < s.loudness-10
	if loud > s.loudness {
		s.loudness = loud
	} else {
		s.loudness += (loud - s.loudness) / 16
	}
	s.loudest = min(s.loudest, level)
	if level > stayLevel || !s.talking && level > enterLevel {
		return
	}
	if !s.talking {
		s.onset = ext
	}
	s.talking, s.lastLoud = true, now
	if s.slot < 0 {
		s.m.admit(s, now)
	}
}

// measure is the level of a packet whose header does not tell it.
func (s *Source) measure(info opus.Info, payload []byte) uint8 {
	m := s.m
	if !m.usable {
		// Speech takes more than 12 kbit/s, the noise of a quiet room less.
		if len(payload)*frame > 30*info.Samples() {
			return 40
		}
		return 127
	}
	if s.meter == nil {
		if s.meter = m.pool.decoder(1); s.meter == nil {
			return 40
		}
	}
	pcm := m.pool.scratch()
	m.stats.Decodes++
	n, err := s.meter.DecodeFloat(pcm, payload)
	if err != nil || n == 0 {
		m.stats.Failures++
		return 127
	}
	return level(pcm[:n])
}

// level is the RFC 6464 level of samples of which ±1 is full scale.
func level(pcm []float32) uint8 {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return 127
	}
	db := -10 * math.Log10(sum/float64(len(pcm)))
	return uint8(max(0, min(127, math.Round(db))))
}

// rank orders talkers for the places there are.
func (s *Source) rank(now int64) float32 {
	if now-s.lastLoud > quietTime {
		return 0
	}
	return s.loudness
}

// fillPassed gives silence to those who are passed a talker that stopped
// sending, as one with DTX does or one whose network is cut.
func (s *Source) fillPassed(now int64) {
	quiet := now-s.arrived > 3*tickTime+min(s.jitter.peak, maxDelay)
	for _, l := range s.pass {
		// Clocks differ by some parts in a million; the listener's gives way.
		if lead := l.sent - s.m.clock; lead > 0 {
			l.sent--
		} else if lead < 0 {
			l.sent++
		}
		if quiet && l.fillSilence(2*frame) {
			l.anchored = false
		}
	}
}

// Configure changes payload types and extension id after a new negotiation; ID,
// Muted and Barred of cfg are not looked at.
func (s *Source) Configure(cfg SourceConfig) {
	s.cfg.PayloadType, s.cfg.REDPayloadType, s.cfg.AudioLevelID = cfg.PayloadType, cfg.REDPayloadType, cfg.AudioLevelID
}

// SetID makes it another attendee's from now on; what the one before was saying
// has ended.
func (s *Source) SetID(id string) {
	s.end()
	for _, t := range s.m.taps {
		t.Closed(s)
	}
	s.cfg.ID = id
	s.m.dirty = true
}

// SetMuted takes the source out of what is heard, or back in, at once.
func (s *Source) SetMuted(muted bool) {
	s.cfg.Muted = muted
	s.hush()
}

// SetBarred is SetMuted for the right to send.
func (s *Source) SetBarred(barred bool) {
	s.cfg.Barred = barred
	s.hush()
}

func (s *Source) hush() {
	if s.cfg.Muted || s.cfg.Barred {
		s.recall()
		s.end()
	}
}

// recall takes back what listeners have in their buffers, of those who hear this
// one alone: another's words, which would be lost with it, are heard to their end.
func (s *Source) recall() {
	if s.slot < 0 {
		return
	}
	for _, l := range s.m.listeners {
		if s.m.heardBy(l) == 1<<s.slot {
			l.recall()
		}
	}
}

// end ends what it says now.
func (s *Source) end() {
	s.talking, s.fresh, s.loudness, s.loudest = false, true, 0, 127
	s.untap()
	s.m.leave(s)
	s.buf.forget()
	s.putMeter(s.m.now)
}

// SenderReport notes the client's RTCP sender report (its NTP time and arrival
// in ns), for the delay that ReceiverReport tells.
func (s *Source) SenderReport(ntp uint64, arrival int64) { s.rx.SenderReport(ntp, arrival) }

// ReceiverReport makes the block of an RTCP receiver report (RFC 3550 6.4.2)
// and begins a new interval; now is in ns on the clock of rtp.Packet.Arrival.
// ok is false before the first packet.
func (s *Source) ReceiverReport(now int64) (block rtp.ReportBlock, ok bool) {
	if !s.started {
		return rtp.ReportBlock{}, false
	}
	return s.rx.Report(s.ssrc, now), true
}

// SSRC is that of the last packet, 0 before the first.
func (s *Source) SSRC() uint32 { return s.ssrc }

// Close takes the source out of the meeting.
func (s *Source) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.talking = false
	s.untap()
	for _, t := range s.m.taps {
		t.Closed(s)
	}
	s.m.leave(s)
	s.putMeter(s.m.now)
	s.buf.forget()
	if i := slices.Index(s.m.sources, s); i >= 0 {
		s.m.sources = slices.Delete(s.m.sources, i, i+1)
	}
}

// sweep gives back what was not used for a while.
func (s *Source) sweep(now int64) {
	if now-s.arrived > idleCodec || now-s.lastLoud > idleCodec && s.cfg.AudioLevelID != 0 {
		s.putMeter(now)
	}
	if s.repairs.list != nil && s.repairs.list.Len() == 0 {
		s.repairs.list = nil
	}
	if now-s.arrived > idleCodec && s.slot < 0 && !s.buf.mixing {
		s.buf.ring = nil
	}
}

func (s *Source) putMeter(now int64) {
	s.m.pool.putDecoder(s.meter, 1, now)
	s.meter = nil
}

func (s *Source) release(now int64) {
	s.putMeter(now)
	s.buf.stop(&s.m.pool, now)
}
