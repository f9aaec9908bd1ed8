//go:build cgo

package opus

/*
#cgo linux LDFLAGS: -l:libopus.a -lm
#cgo darwin LDFLAGS: -lopus
#cgo noescape opus_encode
#cgo nocallback opus_encode
#cgo noescape opus_encode_float
#cgo nocallback opus_encode_float
#cgo noescape opus_decode
#cgo nocallback opus_decode
#cgo noescape opus_decode_float
#cgo nocallback opus_decode_float
#include <opus/opus.h>

// opus_encoder_ctl is variadic, which cgo cannot call.
static int enc_set(OpusEncoder *e, int request, opus_int32 v) { return opus_encoder_ctl(e, request, v); }
static int enc_get(OpusEncoder *e, int request, opus_int32 *v) { return opus_encoder_ctl(e, request, v); }
static int enc_reset(OpusEncoder *e) { return opus_encoder_ctl(e, OPUS_RESET_STATE); }
static int dec_reset(OpusDecoder *d) { return opus_decoder_ctl(d, OPUS_RESET_STATE); }
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Available implements Codec.
func (native) Available() bool { return true }

// Version implements Codec.
func (native) Version() string { return C.GoString(C.opus_get_version_string()) }

// NewEncoder implements Codec.
func (native) NewEncoder(cfg EncoderConfig) (Encoder, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Application == 0 {
		cfg.Application = Audio
	}
	var code C.int
	e := C.opus_encoder_create(SampleRate, C.int(cfg.Channels), C.int(cfg.Application), &code)
	if code != C.OPUS_OK || e == nil {
		return nil, failed("making an encoder", code)
	}
	enc := &encoder{e: e, channels: cfg.Channels}
	bitrate := cfg.Bitrate
	if bitrate == 0 {
		bitrate = C.OPUS_AUTO
	}
	for _, s := range []struct{ request, value int }{
		{C.OPUS_SET_BITRATE_REQUEST, bitrate},
		{C.OPUS_SET_COMPLEXITY_REQUEST, cfg.Complexity},
		{C.OPUS_SET_INBAND_FEC_REQUEST, number(cfg.FEC)},
		{C.OPUS_SET_PACKET_LOSS_PERC_REQUEST, cfg.PacketLoss},
		{C.OPUS_SET_DTX_REQUEST, number(cfg.DTX)},
	} {
		if err := enc.set(s.request, s.value); err != nil {
			enc.Close()
			return nil, err
		}
	}
	return enc, nil
}

// NewDecoder implements Codec.
func (native) NewDecoder(channels int) (Decoder, error) {
	if channels < 1 || channels > 2 {
		return nil, ErrArgument
	}
	return newDecoder(SampleRate, channels)
}

// NewSpeechDecoder implements Codec.
func (native) NewSpeechDecoder() (Decoder, error) { return newDecoder(SpeechRate, 1) }

func newDecoder(rate, channels int) (Decoder, error) {
	var code C.int
	d := C.opus_decoder_create(C.opus_int32(rate), C.int(channels), &code)
	if code != C.OPUS_OK || d == nil {
		return nil, failed("making a decoder", code)
	}
	return &decoder{d: d, channels: channels}, nil
}

type encoder struct {
	e        *C.OpusEncoder
	channels int
}

func (e *encoder) Encode(dst []byte, pcm []int16) (int, error) {
	if e.e == nil {
		return 0, ErrClosed
	}
	if len(dst) == 0 || len(pcm) == 0 || len(pcm)%e.channels != 0 {
		return 0, ErrArgument
	}
	n := C.opus_encode(e.e, (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)/e.channels),
		(*C.uchar)(unsafe.Pointer(&dst[0])), C.opus_int32(len(dst)))
	if n < 0 {
		return 0, failed("encoding", C.int(n))
	}
	return int(n), nil
}

func (e *encoder) EncodeFloat(dst []byte, pcm []float32) (int, error) {
	if e.e == nil {
		return 0, ErrClosed
	}
	if len(dst) == 0 || len(pcm) == 0 || len(pcm)%e.channels != 0 {
		return 0, ErrArgument
	}
	n := C.opus_encode_float(e.e, (*C.float)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)/e.channels),
		(*C.uchar)(unsafe.Pointer(&dst[0])), C.opus_int32(len(dst)))
	if n < 0 {
		return 0, failed("encoding", C.int(n))
	}
	return int(n), nil
}

func (e *encoder) set(request, value int) error {
	if e.e == nil {
		return ErrClosed
	}
	if code := C.enc_set(e.e, C.int(request), C.opus_int32(value)); code != C.OPUS_OK {
		return failed("setting an encoder option", code)
	}
	return nil
}

func (e *encoder) SetBitrate(b int) error    { return e.set(C.OPUS_SET_BITRATE_REQUEST, b) }
func (e *encoder) SetComplexity(c int) error { return e.set(C.OPUS_SET_COMPLEXITY_REQUEST, c) }
func (e *encoder) SetFEC(on bool) error      { return e.set(C.OPUS_SET_INBAND_FEC_REQUEST, number(on)) }
func (e *encoder) SetPacketLoss(p int) error { return e.set(C.OPUS_SET_PACKET_LOSS_PERC_REQUEST, p) }
func (e *encoder) SetDTX(on bool) error      { return e.set(C.OPUS_SET_DTX_REQUEST, number(on)) }
func (e *encoder) SetIndependent(on bool) error {
	return e.set(C.OPUS_SET_PREDICTION_DISABLED_REQUEST, number(on))
}

func (e *encoder) Lookahead() int {
	if e.e == nil {
		return 0
	}
	var v C.opus_int32
	C.enc_get(e.e, C.OPUS_GET_LOOKAHEAD_REQUEST, &v)
	return int(v)
}

func (e *encoder) Reset() error {
	if e.e == nil {
		return ErrClosed
	}
	if code := C.enc_reset(e.e); code != C.OPUS_OK {
		return failed("resetting an encoder", code)
	}
	return nil
}

func (e *encoder) Close() {
	if e.e != nil {
		C.opus_encoder_destroy(e.e)
		e.e = nil
	}
}

type decoder struct {
	d        *C.OpusDecoder
	channels int
}

func (d *decoder) Decode(pcm []int16, packet []byte) (int, error) { return d.decode(pcm, packet, 0) }

func (d *decoder) DecodeFloat(pcm []float32, packet []byte) (int, error) {
	return d.decodeFloat(pcm, packet, 0)
}

func (d *decoder) DecodeFEC(pcm []int16, packet []byte) (int, error) {
	if len(packet) == 0 {
		return 0, ErrInvalidPacket
	}
	return d.decode(pcm, packet, 1)
}

func (d *decoder) DecodeFECFloat(pcm []float32, packet []byte) (int, error) {
	if len(packet) == 0 {
		return 0, ErrInvalidPacket
	}
	return d.decodeFloat(pcm, packet, 1)
}

func (d *decoder) room(pcm int, packet []byte) (samples C.int, data *C.uchar, err error) {
	if d.d == nil {
		return 0, nil, ErrClosed
	}
	if pcm == 0 || pcm%d.channels != 0 {
		return 0, nil, ErrArgument
	}
	if packet != nil {
		// libopus takes an empty packet for a lost one; here that must be said with nil.
		if len(packet) == 0 {
			return 0, nil, ErrInvalidPacket
		}
		data = (*C.uchar)(unsafe.Pointer(&packet[0]))
	}
	return C.int(pcm / d.channels), data, nil
}

func (d *decoder) decode(pcm []int16, packet []byte, fec C.int) (int, error) {
	samples, data, err := d.room(len(pcm), packet)
	if err != nil {
		return 0, err
	}
	n := C.opus_decode(d.d, data, C.opus_int32(len(packet)), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), samples, fec)
	if n < 0 {
		return 0, failed("decoding", n)
	}
	return int(n), nil
}

func (d *decoder) decodeFloat(pcm []float32, packet []byte, fec C.int) (int, error) {
	samples, data, err := d.room(len(pcm), packet)
	if err != nil {
		return 0, err
	}
	n := C.opus_decode_float(d.d, data, C.opus_int32(len(packet)), (*C.float)(unsafe.Pointer(&pcm[0])), samples, fec)
	if n < 0 {
		return 0, failed("decoding", n)
	}
	return int(n), nil
}

func (d *decoder) Reset() error {
	if d.d == nil {
		return ErrClosed
	}
	if code := C.dec_reset(d.d); code != C.OPUS_OK {
		return failed("resetting a decoder", code)
	}
	return nil
}

func (d *decoder) Close() {
	if d.d != nil {
		C.opus_decoder_destroy(d.d)
		d.d = nil
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// failed makes the error of a libopus return code.
func failed(doing string, code C.int) error {
	switch code {
	case C.OPUS_INVALID_PACKET:
		return ErrInvalidPacket
	case C.OPUS_BAD_ARG, C.OPUS_BUFFER_TOO_SMALL:
		return ErrArgument
	}
	return fmt.Errorf("opus: %s: %s", doing, C.GoString(C.opus_strerror(code)))
}
