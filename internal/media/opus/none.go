//go:build !cgo

package opus

// Available implements Codec.
func (native) Available() bool { return false }

// Version implements Codec.
func (native) Version() string { return "none" }

// NewEncoder implements Codec: it refuses.
func (native) NewEncoder(EncoderConfig) (Encoder, error) { return nil, ErrUnavailable }

// NewDecoder implements Codec: it refuses.
func (native) NewDecoder(int) (Decoder, error) { return nil, ErrUnavailable }

// NewSpeechDecoder implements Codec: it refuses.
func (native) NewSpeechDecoder() (Decoder, error) { return nil, ErrUnavailable }
