// Package webm takes the frames of a video track out of a WebM stream that
// arrives in slices, as a browser's MediaRecorder makes it: EBML elements of
// known or unknown size (RFC 8794), Matroska's tracks, clusters and blocks.
// Nothing is kept but the piece of an element that is not whole yet, which is
// bounded.
package webm

import (
	"errors"
	"fmt"
)

// ErrCorrupt is what Write answers to bytes that are no WebM; the Reader then
// waits for a new stream. ErrTooLarge: a frame is larger than MaxFrame.
var (
	ErrCorrupt  = errors.New("webm: not a WebM stream")
	ErrTooLarge = errors.New("webm: the frame is larger than allowed")
)

// Elements by their ids with the length marker. Those of containers are entered,
// whatever size they have; what is not listed is skipped.
const (
	idEBML        = 0x1A45DFA3
	idSegment     = 0x18538067
	idCluster     = 0x1F43B675
	idTracks      = 0x1654AE6B
	idTrackEntry  = 0xAE
	idTrackNumber = 0xD7
	idCodecID     = 0x86
	idBlockGroup  = 0xA0
	idBlock       = 0xA1
	idSimpleBlock = 0xA3
)

// maxSmall bounds the elements that are looked at beside blocks.
const maxSmall = 64

// Reader finds the frames of the first track of one codec. The zero value needs
// its two settings. It is not safe for concurrent use.
type Reader struct {
	Codec    string // the track's CodecID, "V_VP8" for VP8
	MaxFrame int    // bytes

	started bool
	pending []byte
	skip    uint64 // bytes of an element that is of no interest

	entry uint64 // the number of the track entry that is being read, 0 before it is known
	codec bool   // that entry has the wanted codec
	track uint64 // the wanted track, 0 before it is known
}

// Write takes the next slice of the stream and calls frame with each whole frame
// in it, which is valid during the call. A slice that begins with the header of
// EBML begins a new stream, whatever came before.
func (r *Reader) Write(slice []byte, frame func([]byte)) error {
	if len(slice) >= 4 && slice[0] == 0x1A && slice[1] == 0x45 && slice[2] == 0xDF && slice[3] == 0xA3 {
		r.reset()
		r.started = true
	}
	if !r.started {
		return fmt.Errorf("%w: a slice came before the beginning", ErrCorrupt)
	}
	err := r.read(slice, frame)
	if err != nil {
		r.reset()
	}
	return err
}

func (r *Reader) reset() {
	*r = Reader{Codec: r.Codec, MaxFrame: r.MaxFrame}
}

// read keeps in pending what is not whole, without copying it again for each of
// many small slices.
func (r *Reader) read(slice []byte, frame func([]byte)) error {
	r.pending = append(r.pending, slice...)
	data := r.pending
	for len(data) > 0 {
		if r.skip > 0 {
			n := min(r.skip, uint64(len(data)))
			r.skip -= n
			data = data[n:]
			continue
		}
		used, err := r.next(data, frame)
		if err != nil {
			return err
		}
		if used == 0 {
			break
		}
		data = data[used:]
	}
	if len(data) < len(r.pending) {
		r.pending = append(r.pending[:0], data...)
	}
	return nil
}

// next takes one element, or the head of one that is entered or skipped, and
// answers how many bytes it took; 0 when there are too few.
func (r *Reader) next(data []byte, frame func([]byte)) (int, error) {
	id, idLength, ok := number(data, 4, true)
	if !ok {
		return 0, ErrCorrupt
	}
	if idLength >= len(data) {
		return 0, nil
	}
	size, sizeLength, ok := number(data[idLength:], 8, false)
	if !ok {
		return 0, ErrCorrupt
	}
	head := idLength + sizeLength
	if head > len(data) {
		return 0, nil
	}
	unknown := size == uint64(1)<<(7*sizeLength)-1
	isBlock := id == idBlock || id == idSimpleBlock
	switch id {
	case idSegment, idCluster, idTracks, idBlockGroup:
		return head, nil
	case idTrackEntry:
		r.entry, r.codec = 0, false
		return head, nil
	case idTrackNumber, idCodecID, idBlock, idSimpleBlock:
	default:
		if unknown {
			return 0, fmt.Errorf("%w: element %x has no size", ErrCorrupt, id)
		}
		r.skip = size
		return head, nil
	}
	switch {
	case unknown || !isBlock && size > maxSmall:
		return 0, fmt.Errorf("%w: element %x has a size of %d", ErrCorrupt, id, size)
	case isBlock && size > uint64(r.MaxFrame):
		return 0, ErrTooLarge
	case uint64(len(data)-head) < size:
		return 0, nil
	}
	end := head + int(size)
	return end, r.element(id, data[head:end], frame)
}

func (r *Reader) element(id uint64, body []byte, frame func([]byte)) error {
	switch id {
	case idTrackNumber:
		for _, b := range body {
			r.entry = r.entry<<8 | uint64(b)
		}
	case idCodecID:
		r.codec = string(body) == r.Codec
	default:
		return r.block(body, frame)
	}
	if r.codec && r.track == 0 {
		r.track = r.entry
	}
	return nil
}

// block reads a block: track, time, flags, and the frame itself.
func (r *Reader) block(body []byte, frame func([]byte)) error {
	track, n, ok := number(body, 8, false)
	if !ok || n == 0 || len(body) < n+3 {
		return fmt.Errorf("%w: a block is too short", ErrCorrupt)
	}
	if body[n+2]&0x06 != 0 {
		return fmt.Errorf("%w: a block of several frames", ErrCorrupt)
	}
	if track == r.track && track != 0 && len(body) > n+3 {
		frame(body[n+3:])
	}
	return nil
}

// number reads a number of variable length (RFC 8794, section 4), with or
// without the bits that tell its length. The length is 0, or more than there
// is, when the bytes do not suffice; not ok when it is over the most allowed.
func number(data []byte, most int, marked bool) (v uint64, length int, ok bool) {
	if len(data) == 0 {
		return 0, 0, true
	}
	length = 1
	for mask := byte(0x80); data[0]&mask == 0; mask >>= 1 {
		if length++; length > most {
			return 0, 0, false
		}
	}
	if len(data) < length {
		return 0, length, true
	}
	v = uint64(data[0])
	if !marked {
		v &= 1<<(8-length) - 1
	}
	for _, b := range data[1:length] {
		v = v<<8 | uint64(b)
	}
	return v, length, true
}
