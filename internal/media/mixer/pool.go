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
	encoders [2][]idle[opus.Encoder] // by channels−1
	decoders [2][]idle[opus.Decoder]
	voices   [2][]idle[*voice]
	pcm      []float32
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

// encoder is nil when there is none to be had.
func (p *pool) encoder(channels int) opus.Encoder {
	free := &p.encoders[channels-1]
	if n := len(*free); n > 0 {
		e := (*free)[n-1].what
		*free = (*free)[:n-1]
		e.Reset()
		p.tune(e)
		return e
	}
	cfg := p.cfg
	cfg.Channels = channels
	if channels == 2 {
		cfg.Bitrate += cfg.Bitrate / 2
	}
	e, err := p.codec.NewEncoder(cfg)
	if err != nil {
		p.stats.Failures++
		return nil
	}
	return e
}

func (p *pool) tune(e opus.Encoder) {
	if e != nil {
		e.SetFEC(p.cfg.FEC)
		e.SetPacketLoss(p.cfg.PacketLoss)
	}
}

func (p *pool) putEncoder(e opus.Encoder, channels int, now int64) {
	if e != nil {
		e.SetIndependent(false)
		p.encoders[channels-1] = append(p.encoders[channels-1], idle[opus.Encoder]{e, now})
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
		p.encoders[i] = slices.DeleteFunc(p.encoders[i], func(e idle[opus.Encoder]) bool {
			if e.since < before {
				e.what.Close()
			}
			return e.since < before
		})
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
