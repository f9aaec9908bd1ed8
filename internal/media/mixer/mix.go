package mixer

import (
	"math/bits"
	"time"

	"belfry/internal/media/opus"
)

// holdTicks is how long a listener may wait for the mix to get past what was
// passed to it.
const holdTicks = 8

// mix is what all listeners get who hear the same talkers, and whose networks are
// alike. It is of two or more, or of one that cannot be passed on at this moment.
type mix struct {
	mask      uint16 // slots of Mixer.active
	corrects  bool   // with in-band error correction
	srcs      []*Source
	listeners []*Listener
	index     int   // in Mixer.old, while regrouping
	votes     []int // how many listeners came from each of Mixer.old
	regrouped bool  // nothing was made since regroup
	isDue     bool

	enc         *coder
	independent bool // the next packet shall not lean on those before
	limiter     limiter
	sum         []float32
}

func (x *mix) has(s *Source) bool {
	for _, o := range x.srcs {
		if o == s {
			return true
		}
	}
	return false
}

// regroup decides anew what each listener gets, after a talker came or went or
// a listener changed. It allocates only when there are more mixes or listeners
// than ever before.
func (m *Mixer) regroup(now int64) {
	m.dirty = false
	m.old = append(m.old[:0], m.mixes...)
	m.mixes = m.mixes[:0]
	for i, x := range m.old {
		x.index = i
		for _, s := range x.srcs {
			s.buf.wanted = false
		}
	}
	for _, s := range m.active {
		if s != nil {
			s.passed = len(s.pass) > 0
			s.held = false
		}
	}
	for _, l := range m.listeners {
		if l.from != nil {
			l.from.pass = l.from.pass[:0]
		}
	}
	m.silent = m.silent[:0]
	for _, l := range m.listeners {
		mask := m.heardBy(l)
		switch bits.OnesCount16(mask) {
		case 0:
			if l.from != nil && l.sent-m.clock > 2*frame {
				// The clock lost ticks, and the talker's went on. Silence follows at once what
				// was passed: kept back until the clock is there, all of it would be late.
				l.sent = m.clock
			}
			l.from, l.mix, l.waitFor, l.enc = nil, nil, nil, nil
			m.silent = append(m.silent, l)
		case 1:
			s := m.active[bits.TrailingZeros16(mask)]
			if m.usable && (l.mix != nil && s.hold(now) || l.corrected() && s.speech) {
				m.mixTo(l, mask, now)
				break
			}
			l.passTo(s)
			s.pass = append(s.pass, l)
		default:
			m.mixTo(l, mask, now)
		}
	}
	for _, s := range m.active {
		if s != nil && !s.held {
			s.heldAt = 0
		}
	}
	m.inherit()
	for _, x := range m.old {
		m.pool.putCoder(x.enc, now)
		for _, s := range x.srcs {
			if s.buf.mixing && !s.buf.wanted {
				s.buf.stop(&m.pool, now)
			}
		}
		clear(x.srcs)
		clear(x.listeners)
		*x = mix{srcs: x.srcs[:0], listeners: x.listeners[:0], votes: x.votes[:0], sum: x.sum}
		m.spare = append(m.spare, x)
	}
}

// heardBy is the set of talkers that a listener hears.
func (m *Mixer) heardBy(l *Listener) (mask uint16) {
	for i, s := range m.active {
		if s != nil && l.hears(s) {
			mask |= 1 << i
		}
	}
	if !m.usable && mask&(mask-1) != 0 {
		// Nobody can mix: it stays with the one it hears.
		if l.from != nil && l.from.slot >= 0 && mask>>l.from.slot&1 != 0 {
			return 1 << l.from.slot
		}
		return mask & -mask
	}
	return mask
}

// For how long a mix goes on with one talker, at the longest, until there is a
// good moment to pass on what it says: speech and what is coded as music.
const holdSpeech, holdMusic = int64(time.Second), int64(300 * time.Millisecond)

// hold reports whether listeners who hear this source alone from now on go on
// with a mix of it for now.
func (s *Source) hold(now int64) bool {
	if s.seam(now) {
		return false
	}
	s.held = true
	if s.heldAt == 0 {
		s.heldAt = now
	}
	return true
}

// seam reports whether a listener can be passed this source from the packet on
// that is due next. Codecs lean on what they were told before: begun in the middle
// of a vowel, speech falls into a hole for a frame or two; begun between two
// syllables it does not.
func (s *Source) seam(now int64) bool {
	held := int64(0)
	if s.heldAt != 0 {
		held = now - s.heldAt
	}
	switch k := s.buf.at(s.buf.next); {
	case !s.buf.mixing || held > holdSpeech:
		return true
	case k != nil:
		return k.quiet || !k.speech && held > holdMusic
	default:
		return now-s.arrived > 3*tickTime
	}
}

// passTo lets the listener have a talker's packets as they come. What was
// waiting for its turn in a mix until now is sent first.
func (l *Listener) passTo(s *Source) {
	was, from := l.mix, l.from
	l.mix, l.from, l.enc = nil, s, nil
	if from == s {
		return
	}
	l.anchored, l.top = false, 0
	if was != nil && was.has(s) && s.buf.mixing {
		first := s.buf.next
		if l.waitFor == s {
			first = max(first, l.waitAfter+1)
		}
		l.top = first - 1
		for ext := first; ext <= s.buf.done; ext++ {
			if k := s.buf.at(ext); k != nil {
				l.forward(s, k.packet)
			}
		}
	}
	l.waitFor = nil
}

// mixTo lets the listener have the mix of these talkers.
func (m *Mixer) mixTo(l *Listener, mask uint16, now int64) {
	var x *mix
	corrects := l.corrected()
	for _, o := range m.mixes {
		if o.mask == mask && o.corrects == corrects {
			x = o
		}
	}
	if x == nil {
		x = m.addMix(mask, corrects, now)
	}
	if l.from != nil && x.has(l.from) {
		// What was passed to it must not come again in the mix.
		l.waitFor, l.waitAfter, l.waits = l.from, l.from.buf.done, 0
	}
	if l.mix != nil {
		x.votes[l.mix.index]++
	}
	l.from, l.mix = nil, x
	x.listeners = append(x.listeners, l)
}

func (m *Mixer) addMix(mask uint16, corrects bool, now int64) *mix {
	var x *mix
	if n := len(m.spare); n > 0 {
		x = m.spare[n-1]
		m.spare = m.spare[:n-1]
	} else {
		x = &mix{}
	}
	m.mixes = append(m.mixes, x)
	x.mask, x.corrects, x.regrouped = mask, corrects, true
	for rest := mask; rest != 0; rest &= rest - 1 {
		s := m.active[bits.TrailingZeros16(rest)]
		x.srcs = append(x.srcs, s)
		if !s.buf.mixing {
			s.buf.start(s.passed, s.onset, now)
		}
		s.buf.wanted = true
	}
	for range m.old {
		x.votes = append(x.votes, 0)
	}
	return x
}

// inherit gives each mix the encoder whose packets most of its listeners heard
// until now, so that for them the stream goes on.
func (m *Mixer) inherit() {
	for {
		var heir *mix
		from, most := 0, 0
		for _, x := range m.mixes {
			if x.enc != nil {
				continue
			}
			for i, v := range x.votes {
				if v > most && m.old[i].enc != nil && m.old[i].corrects == x.corrects {
					heir, from, most = x, i, v
				}
			}
		}
		if heir == nil {
			return
		}
		o := m.old[from]
		heir.enc, heir.limiter = o.enc, o.limiter
		o.enc = nil
	}
}

// waiting reports whether a listener is still ahead of its mix: the packets
// that it was passed left as they came, while a mix waits for jitter.
func (l *Listener) waiting(now int64) bool {
	s := l.waitFor
	if s == nil {
		return false
	}
	b := &s.buf
	switch {
	case !b.mixing || l.waits >= holdTicks || !l.mix.has(s):
	case b.starting && b.next > b.done && now-s.arrived > s.jitter.delay()+2*tickTime:
		// It stopped sending.
	case b.starting && !b.ready(now, s.jitter.delay()):
		l.waits++
		return true
	case b.next <= l.waitAfter, b.next == l.waitAfter+1 && b.voice != nil && len(b.voice.fifo) > 0:
		l.waits++
		return true
	}
	l.waitFor = nil
	return false
}

// mixAll makes and sends what is due of every mix: of those that have a
// listener who is not waiting. A talker who is new to the mixes begins when
// nobody who shall hear it waits any more, so that they all hear its first word.
func (m *Mixer) mixAll(now int64) {
	var need, has, blocked, awaited uint16
	for _, x := range m.mixes {
		x.isDue = false
		for _, l := range x.listeners {
			if l.waiting(now) {
				blocked |= x.mask &^ (1 << l.waitFor.slot)
				awaited |= 1 << l.waitFor.slot
			} else {
				x.isDue = true
			}
		}
		if x.isDue {
			need |= x.mask
		}
	}
	for i, s := range m.active {
		if s == nil || need>>i&1 == 0 || s.buf.starting && blocked>>i&1 != 0 {
			continue
		}
		if s.buf.pop(m, now, s.jitter.delay(), awaited>>i&1 == 0) {
			has |= 1 << i
		}
	}
	for _, x := range m.mixes {
		if x.isDue {
			x.send(m, has, now)
		}
	}
}

func (x *mix) send(m *Mixer, has uint16, now int64) {
	sound := false
	// Before anybody has begun there is silence.
	if (x.enc != nil || x.mask&has != 0) && x.encoder(m, has, now) {
		for _, l := range x.listeners {
			if l.waitFor == nil && l.enc != x.enc {
				l.enc, l.heard = x.enc, 0
				x.independent = true
			}
		}
		x.add(m, has, false)
		x.limiter.apply(x.sum, x.enc.channels)
		sound = x.encode(m)
	}
	for _, l := range x.listeners {
		if l.waitFor != nil {
			continue
		}
		l.rein()
		m.stats.Mixed++
		if sound {
			l.sendMixed(x.enc)
		} else {
			l.heard = 0
			l.sendFrame(l.cfg.PayloadType, opus.Silence)
		}
	}
}

// encoder sees that there is one with the channels that the talkers need. A new
// one is led through the frame before, so that it begins in the middle of
// sound, and its first packet does not lean on what nobody heard.
func (x *mix) encoder(m *Mixer, has uint16, now int64) bool {
	channels := 1
	for i, s := range m.active {
		if has>>i&1 != 0 && x.mask>>i&1 != 0 && s.buf.voice.channels == 2 {
			channels = 2
		}
	}
	// A stereo mix stays one while its talkers stay: every change is a new encoder.
	if x.enc != nil && (x.enc.channels == channels || x.enc.channels > channels && !x.regrouped) {
		x.regrouped = false
		return true
	}
	x.regrouped = false
	m.pool.putCoder(x.enc, now)
	x.enc = m.pool.coder(channels, x.corrects)
	if x.enc == nil {
		return false
	}
	x.add(m, has, true)
	x.encode(m)
	x.independent = true
	return true
}

// add sums the talkers' frames, of this tick or of the one before.
func (x *mix) add(m *Mixer, has uint16, before bool) {
	n := frame * x.enc.channels
	if cap(x.sum) < n {
		x.sum = make([]float32, n)
	}
	x.sum = x.sum[:n]
	clear(x.sum)
	for i, s := range m.active {
		if has&x.mask>>i&1 == 0 {
			continue
		}
		v := s.buf.voice
		pcm := v.cur
		if before {
			pcm = v.prev
		}
		switch {
		case v.channels == x.enc.channels:
			for j, p := range pcm {
				x.sum[j] += p
			}
		case x.enc.channels == 2:
			for j, p := range pcm {
				x.sum[2*j] += p
				x.sum[2*j+1] += p
			}
		default:
			for j := range x.sum {
				x.sum[j] += (pcm[2*j] + pcm[2*j+1]) / 2
			}
		}
	}
}

func (x *mix) encode(m *Mixer) bool {
	m.stats.Encodes++
	if x.independent {
		x.enc.enc.SetIndependent(true)
	}
	x.enc.strive(m.complexity())
	ok := x.enc.encode(x.sum)
	if x.independent {
		x.independent = false
		x.enc.enc.SetIndependent(false)
	}
	if !ok {
		m.stats.Failures++
	}
	return ok
}

// limiter turns the volume down only as far and as long as the sum would clip.
type limiter struct{ cut float32 } // 1 − gain

const (
	ceiling = 0.97
	attack  = 96   // samples over which it turns down
	release = 0.05 // of the cut that goes in a frame
)

func (l *limiter) apply(pcm []float32, channels int) {
	var peak float32
	for _, v := range pcm {
		peak = max(peak, v, -v)
	}
	from := 1 - l.cut
	to := min(1, from+l.cut*release)
	if l.cut < 1e-3 {
		to = 1
	}
	over := frame
	if peak*to > ceiling {
		to = ceiling / peak
		if to < from {
			over = attack
		}
	}
	l.cut = 1 - to
	if from == 1 && to == 1 {
		return
	}
	step := (to - from) / float32(over)
	for i := range pcm {
		g := to
		if n := i / channels; n < over {
			g = from + step*float32(n)
		}
		// While the gain is on its way down a peak can still be above it.
		pcm[i] = max(-1, min(1, pcm[i]*g))
	}
}
