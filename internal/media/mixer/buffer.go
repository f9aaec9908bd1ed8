package mixer

import "belfry/internal/media/opus"

const (
	ringSize = 32 // packets kept per talker, a power of two
	// A talker that enters a mix brings this many packets from before it was
	// noticed, so that the weak beginning of a word is there; and of what it said
	// since, while it had no place, as many as make this many with those.
	preroll, maxPreroll = 1, 6
	// warmup is how many packets before the first audible one are decoded to
	// give the decoder its state.
	warmup = 10
	// The delay aimed at, between a packet's arrival and its turn, is what the
	// network's jitter asks for, within these bounds. It is up to one tick more.
	minDelay, maxDelay = int64(6e6), int64(200e6)
	// A frame that waited longer than this, or that much longer than it should, is
	// merged into the next at once.
	tooLong, muchTooLong = int64(120e6), int64(60e6)
	// slackWindow is how many frames must all have waited too long before one is
	// merged into the next to lower the delay: a quiet one, if one comes within
	// half as many.
	slackWindow = 50
	// correctTime is how long the delay stays a packet longer after in-band error
	// correction was of use: it lies in the packet that follows the lost one.
	correctTime = int64(10e9)
)

// buffer is the jitter buffer of one source: the last packets by number, and,
// while the source is part of a mix, a decoder that takes them in order.
type buffer struct {
	ring *[ringSize]kept
	done uint64 // highest number kept

	mixing   bool
	wanted   bool // by the mixes of a regroup
	starting bool // nothing was taken since mixing began
	next     uint64
	owed     int // frames made up for packets that were only thought late
	dry      int // frames made up in a row because nothing came
	lastDur  int
	slack    int64 // the least that a frame of this window waited, its jitter left out
	frames   int   // in this window
	shrink   bool  // merge a frame into the next
	// correctUntil is until when the delay shall leave room for error correction.
	correctUntil int64
	voice        *voice
}

// kept is one packet, with a payload of its own.
type kept struct {
	packet
	arrived int64
	quiet   bool // for its talker
}

// voice is a decoder with the room it needs.
type voice struct {
	dec      opus.Decoder
	channels int
	fifo     []float32 // decoded, not yet taken
	cur      []float32 // the frame of this tick
	prev     []float32 // the one before
	spare    []float32
}

func (b *buffer) keep(f packet, quiet bool, now int64) {
	if b.ring == nil {
		b.ring = new([ringSize]kept)
	}
	k := &b.ring[f.ext%ringSize]
	if k.ext > f.ext {
		return
	}
	room := k.payload[:0]
	k.packet, k.arrived, k.quiet = f, now, quiet
	k.payload = append(room, f.payload...)
	b.done = max(b.done, f.ext)
}

// at is the packet with that number, nil when it is not there.
func (b *buffer) at(ext uint64) *kept {
	if b.ring == nil || ext == 0 {
		return nil
	}
	if k := &b.ring[ext%ringSize]; k.ext == ext {
		return k
	}
	return nil
}

// restart makes the packet with that number the first of a new stream.
func (b *buffer) restart(ext uint64) {
	b.forget()
	b.done = ext - 1
	b.next = ext
}

// forget drops what is kept.
func (b *buffer) forget() {
	if b.ring != nil {
		for i := range b.ring {
			b.ring[i].ext = 0
		}
	}
	b.next = b.done + 1
	b.owed = 0
	if b.voice != nil {
		b.voice.fifo = b.voice.fifo[:0]
	}
}

// start begins the source's part in a mix, behind the last packet. One that
// nobody heard yet begins a little earlier than onset, its first word.
func (b *buffer) start(heard bool, onset uint64, now int64) {
	b.mixing, b.starting = true, true
	b.owed, b.dry, b.frames, b.slack = 0, 0, 0, 0
	b.correctUntil, b.shrink = 0, false
	b.next = b.done + 1
	if heard {
		return
	}
	for first := max(onset, b.next-maxPreroll+preroll) - preroll; b.next > first; b.next-- {
		if k := b.at(b.next - 1); k == nil || now-k.arrived > (maxPreroll+2)*tickTime {
			break
		}
	}
}

// stop ends it.
func (b *buffer) stop(p *pool, now int64) {
	b.mixing = false
	p.putVoice(b.voice, now)
	b.voice = nil
}

// ready reports whether the next packet is there and has waited long enough
// for those after it to come in time.
func (b *buffer) ready(now, delay int64) bool {
	k := b.at(b.next)
	return k != nil && (now-k.arrived >= delay || b.done >= b.next+2)
}

// pop makes the 20 ms that are due: voice.cur is it, voice.prev the one before.
// It reports false when the source has nothing to say yet. While a listener
// waits for a certain frame to pass, no other may be merged with it.
func (b *buffer) pop(m *Mixer, now, delay int64, mayMerge bool) bool {
	if b.starting && !b.ready(now, delay) {
		return false
	}
	b.prepare(m)
	v := b.voice
	if v == nil {
		return false
	}
	b.starting = false
	v.cur, v.prev = v.prev, v.cur
	merge := b.pace(m, now, delay) && mayMerge
	b.fill(m, v, now, delay)
	take(v, v.cur)
	if merge && (b.at(b.next) != nil || len(v.fifo) >= frame*v.channels) {
		b.fill(m, v, now, delay)
		take(v, v.spare)
		crossfade(v.cur, v.spare, v.channels)
		m.stats.Skipped++
		b.frames, b.shrink = 0, false
	}
	return true
}

// prepare sees that there is a decoder that suits the stream and knows what
// was heard before.
func (b *buffer) prepare(m *Mixer) {
	channels := 1
	k := b.at(b.next)
	switch {
	case k == nil && b.voice != nil:
		return
	case k != nil && k.stereo:
		channels = 2
	}
	if b.voice != nil && b.voice.channels >= channels {
		return
	}
	m.pool.putVoice(b.voice, m.now)
	b.voice = m.pool.voice(channels)
	v := b.voice
	if v == nil {
		return
	}
	for ext := b.next - warmup; ext < b.next; ext++ {
		if k := b.at(ext); k != nil {
			b.decode(m, v, k.payload)
			b.lastDur = k.dur
		}
	}
	// The last of it stays as the frame before, for an encoder that begins too.
	clear(v.cur)
	if n := frame * channels; len(v.fifo) >= n {
		copy(v.cur, v.fifo[len(v.fifo)-n:])
	}
	v.fifo = v.fifo[:0]
}

// pace keeps the delay near its aim: it jumps when far too much is waiting, and
// reports whether this frame shall be merged with the next.
func (b *buffer) pace(m *Mixer, now, delay int64) (merge bool) {
	if b.done >= b.next && b.done-b.next > ringSize/2 {
		to := b.done - 2
		m.stats.Skipped += to - b.next
		b.next, b.owed = to, 0
		return false
	}
	k := b.at(b.next)
	if k == nil {
		return false
	}
	if b.frames == 0 || now-k.arrived+k.late < b.slack {
		b.slack = now - k.arrived + k.late
	}
	b.frames++
	if now-k.arrived > max(tooLong, delay+muchTooLong) {
		return true
	}
	if b.shrink {
		return k.quiet || b.frames >= slackWindow/2
	}
	if b.frames >= slackWindow {
		if now < b.correctUntil {
			delay += tickTime
		}
		b.frames, b.shrink = 0, b.slack > delay+tickTime+tickTime/4
	}
	return false
}

// fill decodes or makes up packets until a frame can be taken.
func (b *buffer) fill(m *Mixer, v *voice, now, delay int64) {
	for len(v.fifo) < frame*v.channels {
		if k := b.at(b.next); k != nil {
			b.next++
			b.dry, b.owed = 0, 0
			b.lastDur = k.dur
			if !b.decode(m, v, k.payload) {
				b.conceal(m, v, k.dur)
			}
			continue
		}
		if k := b.at(b.next + 1); k != nil && b.owed <= 1 && opus.HasFEC(k.payload) && b.recover(m, v, k) {
			// When it was made up for already, the delay has now grown by it, and the
			// packet that follows the next lost one will be there in time.
			b.next++
			b.dry, b.owed = 0, 0
			b.correctUntil = now + correctTime
			continue
		}
		if b.mayCome(now, delay) {
			b.dry++
			b.owed++
			b.conceal(m, v, frame-len(v.fifo)/v.channels)
			continue
		}
		lost := b.next
		b.next++
		switch {
		case b.done-lost > maxGap && b.owed == 0 && b.at(b.next) == nil:
			b.next = b.oldest(b.next)
		case b.owed > 0:
			b.owed-- // it was made up for when its turn first came
		default:
			b.conceal(m, v, max(b.lastDur, 120))
		}
	}
}

// mayCome reports whether the next packet, which is not there, may only be
// late: nothing came after it, or what did came no longer ago than the delay.
// Then it keeps its turn, and the delay grows.
func (b *buffer) mayCome(now, delay int64) bool {
	if b.done < b.next {
		return true
	}
	for ext := b.next + 1; ext <= b.next+maxGap; ext++ {
		if k := b.at(ext); k != nil {
			ahead := int64(ext-b.next) * int64(max(b.lastDur, 120)) * 1e9 / opus.SampleRate
			return now < k.arrived-k.late-ahead+delay
		}
	}
	return false
}

// oldest is the first number from there on that is kept.
func (b *buffer) oldest(from uint64) uint64 {
	if b.done-from > ringSize {
		from = b.done - ringSize
	}
	for from < b.done && b.at(from) == nil {
		from++
	}
	return from
}

func (b *buffer) decode(m *Mixer, v *voice, payload []byte) bool {
	m.stats.Decodes++
	room := v.fifo[len(v.fifo):cap(v.fifo)]
	n, err := v.dec.DecodeFloat(room, payload)
	if err != nil {
		m.stats.Failures++
		return false
	}
	v.fifo = v.fifo[:len(v.fifo)+n*v.channels]
	return true
}

func (b *buffer) recover(m *Mixer, v *voice, after *kept) bool {
	m.stats.Decodes++
	n := max(b.lastDur, 480)
	room := v.fifo[len(v.fifo) : len(v.fifo)+n*v.channels]
	n, err := v.dec.DecodeFECFloat(room, after.payload)
	if err != nil || n == 0 {
		m.stats.Failures++
		return false
	}
	m.stats.Recovered++
	v.fifo = v.fifo[:len(v.fifo)+n*v.channels]
	return true
}

// conceal makes up that many samples.
func (b *buffer) conceal(m *Mixer, v *voice, samples int) {
	m.stats.Concealed++
	samples = min((samples+119)/120*120, opus.MaxFrameSamples)
	room := v.fifo[len(v.fifo) : len(v.fifo)+samples*v.channels]
	v.fifo = v.fifo[:len(v.fifo)+len(room)]
	if b.dry <= 5 {
		m.stats.Decodes++
		if _, err := v.dec.DecodeFloat(room, nil); err == nil {
			return
		}
		m.stats.Failures++
	}
	clear(room)
}

// take moves one frame from the decoded samples to dst.
func take(v *voice, dst []float32) {
	n := copy(dst, v.fifo[:frame*v.channels])
	rest := copy(v.fifo, v.fifo[n:])
	v.fifo = v.fifo[:rest]
}

// crossfade lets a pass into b over the whole frame, in place.
func crossfade(a, b []float32, channels int) {
	for i := range a {
		w := float32(i/channels) / frame
		a[i] += (b[i] - a[i]) * w
	}
}

// jitterMeter follows by how much packets come later than the earliest ones.
type jitterMeter struct {
	started bool
	ts      uint32
	base    int64 // ns
	first   int64 // arrival
	media   int64 // ns since the first
	peak    int64 // ns, slowly sinking
}

// push returns by how much this packet is late, in ns.
func (j *jitterMeter) push(ts uint32, arrival int64) int64 {
	step := int64(int32(ts-j.ts)) * 1e9 / opus.SampleRate
	if !j.started || step < -1e9 || step > 2e9 {
		j.restart(ts, arrival)
		return 0
	}
	transit := arrival - j.first - j.media - step
	if step > 0 {
		j.ts = ts
		j.media += step
	}
	if transit < j.base {
		j.base = transit
	} else {
		j.base += (transit - j.base) / 512 // clocks drift
	}
	late := transit - j.base
	if late > 1e9 { // the sender paused its clock
		j.restart(ts, arrival)
		return 0
	}
	j.peak -= j.peak / 256
	j.peak = max(j.peak, late)
	return late
}

func (j *jitterMeter) restart(ts uint32, arrival int64) {
	*j = jitterMeter{started: true, ts: ts, first: arrival, peak: j.peak}
}

// delay is how long a packet should wait for its turn.
func (j *jitterMeter) delay() int64 { return max(minDelay, min(j.peak, maxDelay)) }
