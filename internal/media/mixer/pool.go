package mixer

import (
	"slices"

	"belfry/internal/media/opus"
)

// pool keeps codecs that are not in use for a few seconds: talkers change
// often, and making a codec costs more than resetting one.
type pool struct {
	codec    opus.Codec
	cfg      opus.EncoderConfig
	stats    *Stats
	coders   [2][2][]idle[*coder] // by channels−1, with and without correction
	decoders [2][]idle[opus.Decoder]
	voices   [2][]idle[*voice]
	pcm      []float32
}

// coder is an encoder with the last packets that it made, of which some go out
// again as redundancy.
type coder struct {
	enc      opus.Encoder
	channels int
	effort   int    // the encoder's complexity
	corrects bool   // its packets carry in-band error correction
	made     uint64 // how many it made since it was reset
	packets  [maxDepth + 1][opus.MaxPacket]byte
	sizes    [maxDepth + 1]int
	red      wrapping
}

// strive sets the encoder's complexity.
func (c *coder) strive(complexity int) {
	if c.effort != complexity && c.enc.SetComplexity(complexity) == nil {
		c.effort = complexity
	}
}

// encode makes the next packet; false when that fails.
func (c *coder) encode(pcm []float32) bool {
	at := (c.made + 1) % uint64(len(c.packets))
	n, err := c.enc.EncodeFloat(c.packets[at][:], pcm)
	if err != nil || n == 0 {
		return false
	}
	c.sizes[at] = n
	c.made++
	return true
}

// packet is the last that was made, or one before it.
func (c *coder) packet(back int) []byte {
	at := (c.made - uint64(back)) % uint64(len(c.packets))
	return c.packets[at][:c.sizes[at]]
}

// redundant is the last packet with up to depth of those before it.
func (c *coder) redundant(payloadType uint8, depth int) []byte {
	return c.red.payload(c.made, payloadType, c.packet(0), depth, func(back int) ([]byte, uint32) {
		return c.packet(back), uint32(back) * frame
	})
}

type idle[T any] struct {
	what  T
	since int64
}

// scratch is room for one decoded mono packet.
func (p *pool) scratch() []float32 {
	if p.pcm == nil {
		p.pcm = make([]float32, opus.MaxFrameSamples)
	}
	return p.pcm
}

// coder is nil when there is none to be had.
func (p *pool) coder(channels int, corrects bool) *coder {
	free := p.idle(channels, corrects)
	if n := len(*free); n > 0 {
		c := (*free)[n-1].what
		*free = (*free)[:n-1]
		c.enc.Reset()
		c.made = 0
		c.red.reset()
		return c
	}
	cfg := p.cfg
	cfg.Channels = channels
	if channels == 2 {
		cfg.Bitrate += cfg.Bitrate / 2
	}
	if corrects {
		// Correction is a matter of the speech modes, which come with more delay. The
		// loss is what makes the encoder choose them.
		cfg.Application, cfg.FEC, cfg.PacketLoss = opus.Audio, true, 20
	}
	e, err := p.codec.NewEncoder(cfg)
	if err != nil {
		p.stats.Failures++
		return nil
	}
	return &coder{enc: e, channels: channels, corrects: corrects, effort: cfg.Complexity}
}

func (p *pool) idle(channels int, corrects bool) *[]idle[*coder] {
	if corrects {
		return &p.coders[channels-1][1]
	}
	return &p.coders[channels-1][0]
}

func (p *pool) putCoder(c *coder, now int64) {
	if c != nil {
		c.enc.SetIndependent(false)
		free := p.idle(c.channels, c.corrects)
		*free = append(*free, idle[*coder]{c, now})
	}
}

// decoder is nil when there is none to be had.
func (p *pool) decoder(channels int) opus.Decoder {
	free := &p.decoders[channels-1]
	if n := len(*free); n > 0 {
		d := (*free)[n-1].what
		*free = (*free)[:n-1]
		d.Reset()
		return d
	}
	d, err := p.codec.NewDecoder(channels)
	if err != nil {
		p.stats.Failures++
		return nil
	}
	return d
}

func (p *pool) putDecoder(d opus.Decoder, channels int, now int64) {
	if d != nil {
		p.decoders[channels-1] = append(p.decoders[channels-1], idle[opus.Decoder]{d, now})
	}
}

// voice is nil when there is none to be had.
func (p *pool) voice(channels int) *voice {
	free := &p.voices[channels-1]
	if n := len(*free); n > 0 {
		v := (*free)[n-1].what
		*free = (*free)[:n-1]
		v.dec.Reset()
		v.fifo = v.fifo[:0]
		clear(v.cur)
		clear(v.prev)
		return v
	}
	dec := p.decoder(channels)
	if dec == nil {
		return nil
	}
	// Less than a frame may be left when a packet of the longest kind comes.
	pcm := make([]float32, (opus.MaxFrameSamples*2+frame)*channels)
	n := frame * channels
	return &voice{dec: dec, channels: channels, fifo: pcm[:0],
		cur: make([]float32, n), prev: make([]float32, n), spare: make([]float32, n)}
}

func (p *pool) putVoice(v *voice, now int64) {
	if v != nil {
		p.voices[v.channels-1] = append(p.voices[v.channels-1], idle[*voice]{v, now})
	}
}

// sweep frees what was idle for some seconds.
func (p *pool) sweep(now int64) { p.free(now - idleCodec) }

func (p *pool) close() { p.free(1<<63 - 1) }

func (p *pool) free(before int64) {
	for i := range 2 {
		for j := range 2 {
			p.coders[i][j] = slices.DeleteFunc(p.coders[i][j], func(c idle[*coder]) bool {
				if c.since < before {
					c.what.enc.Close()
				}
				return c.since < before
			})
		}
		p.decoders[i] = slices.DeleteFunc(p.decoders[i], func(d idle[opus.Decoder]) bool {
			if d.since < before {
				d.what.Close()
			}
			return d.since < before
		})
		p.voices[i] = slices.DeleteFunc(p.voices[i], func(v idle[*voice]) bool {
			if v.since < before {
				v.what.dec.Close()
			}
			return v.since < before
		})
	}
}
