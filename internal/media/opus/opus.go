// Package opus is the audio codec of the meetings (RFC 6716) behind a small
// interface. Codec makes encoders and decoders; Native returns the one that
// this build has: libopus, linked statically, or, in a build without cgo, one
// that refuses with ErrUnavailable, so that the mixer can still pass packets
// on. Everything runs at 48 kHz. What can be known of a packet without
// decoding it (its duration, whether it is stereo, whether it is the silence
// that a muted microphone sends) is read in plain Go: see Parse.
package opus

import "errors"

const (
	// SampleRate is the rate of all PCM here, in samples a second and channel.
	SampleRate = 48000
	// SpeechRate is the rate of NewSpeechDecoder alone.
	SpeechRate = 16000
	// FrameSamples is 20 ms, the frame that the mixer works in, per channel.
	FrameSamples = SampleRate / 50
	// MaxFrameSamples is the longest packet there is, 120 ms, per channel.
	MaxFrameSamples = SampleRate * 120 / 1000
	// MaxPacket is room enough for any packet that an Encoder here makes.
	MaxPacket = 1276
)

var (
	// ErrUnavailable says that this build has no codec.
	ErrUnavailable = errors.New("opus: built without the codec (needs cgo and libopus)")
	// ErrClosed says that the encoder or decoder was closed.
	ErrClosed = errors.New("opus: used after Close")
	// ErrInvalidPacket says that the bytes are not an Opus packet.
	ErrInvalidPacket = errors.New("opus: invalid packet")
	// ErrArgument says that a buffer or setting has a size or value that cannot be.
	ErrArgument = errors.New("opus: invalid argument")
)

// Application tells the encoder what it is for (opus_encoder_create).
type Application int

// The applications of libopus.
const (
	VoIP     Application = 2048 // speech first
	Audio    Application = 2049 // faithful to the input; also the cheapest for a mix
	LowDelay Application = 2051 // no speech modes, 2.5 ms of look-ahead instead of 6.5
)

// EncoderConfig is how an encoder is made.
type EncoderConfig struct {
	Channels    int         // 1 or 2
	Application Application // 0: Audio
	Bitrate     int         // bits a second, 6000–510000; 0: the codec's own choice
	Complexity  int         // 0–10
	FEC         bool        // in-band error correction, when PacketLoss says that it pays
	PacketLoss  int         // per cent that receivers are expected to lose
	DTX         bool        // very small packets in silence
}

// Encoder turns PCM into packets. It is not safe for concurrent use. Only
// creation allocates.
type Encoder interface {
	// Encode writes one packet of the interleaved samples to dst and returns its
	// size. pcm holds 2.5, 5, 10, 20, 40 or 60 ms.
	Encode(dst []byte, pcm []int16) (int, error)
	// EncodeFloat is Encode for samples of which ±1 is full scale.
	EncodeFloat(dst []byte, pcm []float32) (int, error)
	SetBitrate(bitsPerSecond int) error
	SetComplexity(complexity int) error
	SetFEC(on bool) error
	SetPacketLoss(percent int) error
	SetDTX(on bool) error
	// SetIndependent makes the next packets nearly independent of those before, so
	// that a decoder which did not hear the earlier ones can join.
	SetIndependent(on bool) error
	// Lookahead is by how many samples the output lags the input.
	Lookahead() int
	// Reset forgets the signal and keeps the settings.
	Reset() error
	// Close frees the encoder. Calls after it answer ErrClosed.
	Close()
}

// Decoder turns the packets of one stream into PCM at 48 kHz. It is not safe
// for concurrent use. Only creation allocates.
type Decoder interface {
	// Decode writes the interleaved samples of one packet to pcm and returns how
	// many there are per channel. A nil packet conceals a lost one: pcm is filled,
	// so its length (a multiple of 2.5 ms) says how much.
	Decode(pcm []int16, packet []byte) (int, error)
	// DecodeFloat is Decode with ±1 as full scale; it does not clip.
	DecodeFloat(pcm []float32, packet []byte) (int, error)
	// DecodeFEC fills pcm with the packet that was lost before this one, from the
	// redundancy in this one where it has any and by concealment where not. The
	// packet itself is decoded by a Decode that follows.
	DecodeFEC(pcm []int16, packet []byte) (int, error)
	// DecodeFECFloat is DecodeFEC with ±1 as full scale.
	DecodeFECFloat(pcm []float32, packet []byte) (int, error)
	// Reset forgets the stream.
	Reset() error
	// Close frees the decoder. Calls after it answer ErrClosed.
	Close()
}

// Codec makes encoders and decoders.
type Codec interface {
	NewEncoder(EncoderConfig) (Encoder, error)
	NewDecoder(channels int) (Decoder, error)
	// NewSpeechDecoder makes a decoder to mono at SpeechRate, which is also the
	// rate that its Decode counts samples in.
	NewSpeechDecoder() (Decoder, error)
	// Available reports whether the others can succeed.
	Available() bool
	// Version names the implementation, for logs.
	Version() string
}

// Native is the codec of this build.
func Native() Codec { return native{} }

type native struct{}

func (c EncoderConfig) check() error {
	if c.Channels < 1 || c.Channels > 2 || c.Complexity < 0 || c.Complexity > 10 ||
		c.PacketLoss < 0 || c.PacketLoss > 100 ||
		c.Bitrate != 0 && (c.Bitrate < 6000 || c.Bitrate > 510000) {
		return ErrArgument
	}
	switch c.Application {
	case 0, VoIP, Audio, LowDelay:
		return nil
	}
	return ErrArgument
}
