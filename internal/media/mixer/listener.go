package mixer

import (
	"slices"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

// ListenerConfig describes a connection that receives audio.
type ListenerConfig struct {
	Sender Sender
	// PayloadType is Opus. REDPayloadType is RFC 2198 around it, 0 when the client
	// does not prefer it: then packets have no redundancy.
	PayloadType, REDPayloadType uint8
	// NoisePayloadType is comfort noise (RFC 3389) of another clock rate than Opus,
	// with which the client can be told to drop what it still holds; 0 for none.
	NoisePayloadType uint8
	SSRC             uint32
	// AbsSendTimeID and TransportSeqID are extension ids, 0 when not negotiated.
	// NextTransportSeq gives the transport-wide number of the connection; nil
	// with TransportSeqID 0.
	AbsSendTimeID, TransportSeqID uint8
	NextTransportSeq              func() uint16
	// Exclude are the source ids that it must not hear: its own and that of its
	// own content share.
	Exclude []string
	// Deaf hears silence alone: a content share's connection, or an attendee
	// that may not receive (AttendeeCapabilities).
	Deaf bool
	// NoContent leaves out the sound of content shares, which is content
	// (AttendeeCapabilities).
	NoContent bool
}

const (
	// lossy is from how many per cent of loss a mix without redundancy carries
	// in-band error correction: it costs sound, and an encoder of its own.
	lossy = 4
	// lossyTime is for how long protection outlasts the loss.
	lossyTime = int64(20e9)
)

// Listener is one connection that receives audio. From AddListener to Close it
// gets 50 packets a second.
type Listener struct {
	m      *Mixer
	cfg    ListenerConfig
	closed bool

	seq  uint16 // of the next packet
	ts   uint32
	sent int64 // samples, on the scale of Mixer.clock

	from *Source // whose packets it is passed; nil when silent or mixed
	mix  *mix    // which mix it gets; nil when silent or passed

	// The numbers of from in those of this listener.
	anchored bool
	epoch    uint32
	seqOff   uint16
	tsOff    uint32
	low      uint64 // the first that was mapped so
	top      uint64 // the highest that was heard

	// A mix is not given to it before it has got past what it was passed.
	waitFor   *Source
	waitAfter uint64
	waits     int
	enc       *coder // whose packets it heard last; nil when not in a mix
	heard     uint64 // how many of them in a row

	// What its network asks for.
	depth    int  // how many older packets ride along, with RED
	lean     bool // there is no room for any
	corrects bool // its mixes have in-band error correction
	lossyAt  int64

	packets, octets uint32
	w               rtp.HeaderWriter
	header          [rtp.MaxHeader]byte
}

// SenderInfo is what an RTCP sender report says of a stream (RFC 3550 6.4.1):
// RTPTime is the timestamp that belongs to the moment of the call.
type SenderInfo struct {
	SSRC, RTPTime, Packets, Octets uint32
}

// AddListener adds a connection that receives; its first packet leaves with the
// next Tick, or with the next packet of a lone talker.
func (m *Mixer) AddListener(cfg ListenerConfig) *Listener {
	cfg.Exclude = slices.Clone(cfg.Exclude)
	// Numbers begin in their lower half: a receiver that lost what came before
	// they wrap could decrypt nothing after (RFC 3711 3.3.1).
	first := uint16(m.cfg.Random()) &^ (1 << 15)
	// One older packet rides along until the client has told what it loses.
	l := &Listener{m: m, cfg: cfg, seq: first, ts: m.cfg.Random(), sent: m.clock, depth: 1, lossyAt: m.now}
	m.listeners = append(m.listeners, l)
	m.dirty = true
	return l
}

// hears reports whether the listener may hear a source.
func (l *Listener) hears(s *Source) bool {
	return !l.cfg.Deaf && !(l.cfg.NoContent && s.cfg.Content) && !slices.Contains(l.cfg.Exclude, s.cfg.ID)
}

// send writes one packet with the given number and timestamp.
func (l *Listener) send(payloadType uint8, seq uint16, ts uint32, payload []byte) {
	l.w.Begin(l.header[:], payloadType, false, seq, ts, l.cfg.SSRC)
	if l.cfg.AbsSendTimeID != 0 {
		l.w.AbsSendTime(l.cfg.AbsSendTimeID, l.m.now)
	}
	if l.cfg.TransportSeqID != 0 && l.cfg.NextTransportSeq != nil {
		l.w.TransportSequence(l.cfg.TransportSeqID, l.cfg.NextTransportSeq())
	}
	l.packets++
	l.octets += uint32(len(payload))
	l.cfg.Sender.SendRTP(l.w.Bytes(), payload)
}

// sendFrame sends 20 ms that follow what was sent before.
func (l *Listener) sendFrame(payloadType uint8, payload []byte) {
	seq, ts := l.seq, l.ts
	l.seq++
	l.ts += frame
	l.sent += frame
	l.send(payloadType, seq, ts, payload)
}

// sendMixed sends the packet that an encoder made last.
func (l *Listener) sendMixed(c *coder) {
	if l.cfg.REDPayloadType == 0 {
		l.sendFrame(l.cfg.PayloadType, c.packet(0))
	} else {
		l.m.stats.RedundantOut++
		l.sendFrame(l.cfg.REDPayloadType, c.redundant(l.cfg.PayloadType, int(min(l.riding(), l.heard))))
	}
	l.heard++
}

// fillSilence sends silence until the stream is no more than patience samples
// behind the clock, at most two packets at a time, and reports whether it sent.
func (l *Listener) fillSilence(patience int64) bool {
	l.rein()
	sent := false
	for n := 0; n < 2 && l.m.clock-l.sent > patience; n++ {
		l.m.stats.Silent++
		l.sendFrame(l.cfg.PayloadType, opus.Silence)
		sent = true
	}
	return sent
}

// comfortNoise is the quietest packet of RFC 3389: −127 dBov, which is silence.
var comfortNoise = []byte{127}

// recall makes the client drop what it was sent and has not played, if it is one
// that does: libwebrtc's jitter buffer is emptied when speech follows comfort noise
// of another clock rate. The silence goes on from where the last packet ended, so
// the decoder fades within a frame, and there is nothing to make up.
func (l *Listener) recall() {
	if l.cfg.NoisePayloadType == 0 {
		return
	}
	l.m.stats.Recalled++
	l.send(l.cfg.NoisePayloadType, l.seq, l.ts, comfortNoise)
	l.seq++
	l.m.stats.Silent++
	l.sendFrame(l.cfg.PayloadType, opus.Silence)
}

// rein keeps the stream near the clock by moving what counts as sent.
func (l *Listener) rein() {
	if d := l.m.clock - l.sent; d > maxLead {
		l.sent = l.m.clock - frame
	} else if -d > 2*maxLead {
		l.sent = l.m.clock
	}
}

// forward passes on one packet of the only talker that is heard. The gaps of
// the talker's numbers stay, so that the listener can conceal what was lost.
func (l *Listener) forward(s *Source, f packet) {
	m := l.m
	if !l.anchored || l.epoch != s.epoch {
		if f.ext <= l.top {
			return
		}
		l.anchored, l.epoch = true, s.epoch
		l.seqOff, l.tsOff = l.seq-uint16(f.ext), l.ts-f.ts
		l.low, l.top = f.ext, f.ext-1
	}
	if f.ext < l.low {
		return
	}
	seq, t := uint16(f.ext)+l.seqOff, f.ts+l.tsOff
	if f.ext <= l.top {
		if back := l.ts - t; back == 0 || back > 64*6*frame {
			m.stats.Dropped++
			return
		}
		m.stats.Passed++
		l.send(l.cfg.PayloadType, seq, t, f.payload)
		return
	}
	if l.sent-m.clock > maxLead {
		// It sends faster than time goes.
		m.stats.Dropped++
		l.anchored = false
		l.top = f.ext
		return
	}
	l.top = f.ext
	l.seq = seq + 1
	l.sent += int64(t + uint32(f.dur) - l.ts)
	l.ts = t + uint32(f.dur)
	m.stats.Passed++
	if l.cfg.REDPayloadType == 0 {
		l.send(l.cfg.PayloadType, seq, t, f.payload)
		return
	}
	// What this listener was not sent, it is not told of.
	m.stats.RedundantOut++
	depth := int(min(l.riding(), f.ext-l.low))
	l.send(l.cfg.REDPayloadType, seq, t, s.redundant(f, l.cfg.PayloadType, depth))
}

// corrected reports whether its mixes shall have in-band error correction.
func (l *Listener) corrected() bool {
	return l.corrects && l.cfg.REDPayloadType == 0 && !l.m.frugal
}

// spareComplexity is the encoders' while the server is full. It takes two thirds of the
// time that the usual one does, and unlike none still sees beats and consonants coming.
const spareComplexity = 1

// complexity is the encoders' now.
func (m *Mixer) complexity() int {
	if m.frugal {
		return min(m.pool.cfg.Complexity, spareComplexity)
	}
	return m.pool.cfg.Complexity
}

// Spare says that the server is full. Mixes are encoded with less effort then and have
// no in-band error correction, which takes an encoder of its own where one talker is
// passed on: what is lost now is lost here, and more work would lose more.
func (m *Mixer) Spare(spare bool) {
	if m.frugal != spare {
		m.frugal, m.dirty = spare, true
	}
}

// SetLoss tells how many per cent of what was sent the listener lost lately. It
// gets more redundancy at once, and less when it has lost little for a while.
func (l *Listener) SetLoss(percent int) {
	depth, corrects := 0, percent >= lossy
	switch {
	case percent >= 8:
		depth = 2
	case percent >= 1:
		depth = 1
	}
	if (depth < l.depth || l.corrects && !corrects) && l.m.now-l.lossyAt < lossyTime {
		return
	}
	l.depth, l.lossyAt = depth, l.m.now
	if corrects != l.corrects {
		l.corrects = corrects
		l.m.dirty = true
	}
}

// SetLean says that the listener's network is full with what it is sent, so that
// packets are lost because there are too many: redundancy would only make it worse.
func (l *Listener) SetLean(lean bool) { l.lean = lean }

// riding is how many older packets go with each, at most.
func (l *Listener) riding() uint64 {
	if l.lean {
		return 0
	}
	return uint64(l.depth)
}

// Configure changes payload types and extension ids after a new negotiation;
// the other members of cfg are not looked at.
func (l *Listener) Configure(cfg ListenerConfig) {
	if l.cfg.PayloadType != cfg.PayloadType || l.cfg.REDPayloadType != cfg.REDPayloadType {
		l.m.dirty = true // it may want another mix now
	}
	l.cfg.PayloadType, l.cfg.REDPayloadType, l.cfg.NoisePayloadType = cfg.PayloadType, cfg.REDPayloadType, cfg.NoisePayloadType
	l.cfg.AbsSendTimeID, l.cfg.TransportSeqID, l.cfg.NextTransportSeq = cfg.AbsSendTimeID, cfg.TransportSeqID, cfg.NextTransportSeq
}

// SetExclude changes which sources it must not hear.
func (l *Listener) SetExclude(ids []string) {
	l.cfg.Exclude = slices.Clone(ids)
	l.m.dirty = true
}

// SetDeaf gives silence from now on, or ends that.
func (l *Listener) SetDeaf(deaf bool) {
	if l.cfg.Deaf != deaf {
		l.cfg.Deaf = deaf
		l.m.dirty = true
	}
}

// SetNoContent leaves out the sound of content shares from now on, or ends that.
func (l *Listener) SetNoContent(without bool) {
	if l.cfg.NoContent != without {
		l.cfg.NoContent = without
		l.m.dirty = true
	}
}

// SenderInfo is for an RTCP sender report that leaves now.
func (l *Listener) SenderInfo(now time.Time) SenderInfo {
	m := l.m
	since := (m.at(now) - m.tickAt) * opus.SampleRate / int64(time.Second)
	return SenderInfo{
		SSRC:    l.cfg.SSRC,
		RTPTime: l.ts - frame - uint32(l.sent-m.clock) + uint32(since),
		Packets: l.packets, Octets: l.octets,
	}
}

// Close ends the stream.
func (l *Listener) Close() {
	if l.closed {
		return
	}
	l.closed = true
	m := l.m
	if i := slices.Index(m.listeners, l); i >= 0 {
		m.listeners = slices.Delete(m.listeners, i, i+1)
	}
	// Nothing may be sent to it any more, not even before the next regroup.
	gone := func(x *Listener) bool { return x == l }
	m.silent = slices.DeleteFunc(m.silent, gone)
	if l.from != nil {
		l.from.pass = slices.DeleteFunc(l.from.pass, gone)
	}
	if l.mix != nil {
		l.mix.listeners = slices.DeleteFunc(l.mix.listeners, gone)
	}
	m.dirty = true
}
