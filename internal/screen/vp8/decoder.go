// Package vp8 decodes VP8 video (RFC 6386), whole: key frames and those that
// are predicted from others. It is what turns the recording of a shared screen
// into pictures. It trusts nothing: any bytes give a picture or an error, and
// the size of pictures is bounded by who calls it, before memory is spent.
//
// A frame goes through four steps: header (header.go), per macroblock the modes
// and vectors (modes.go) and the coefficients (residual.go), the prediction that
// they are added to (intra.go, inter.go), and over the whole picture the loop
// filter (filter.go). The tables are in tables.go.
package vp8

import (
	"errors"
	"fmt"
)

// Errors of Decode. After any of them the decoder waits for a key frame.
var (
	ErrCorrupt  = errors.New("vp8: the frame is not whole or not VP8")
	ErrNoKey    = errors.New("vp8: no key frame has come yet")
	ErrTooLarge = errors.New("vp8: the picture is larger than allowed")
)

// Frame is a picture in planes: luma, and two of chroma with half the width and
// height, all in whole macroblocks, of which Width by Height pixels are shown.
// Values are in the range of video, 16 to 235 and 16 to 240.
type Frame struct {
	Width, Height     int
	Y, U, V           []byte
	YStride, UVStride int
}

// plane is one of a frame's, with what its prediction needs of its size.
type plane struct {
	pix           []byte
	stride        int
	width, height int
}

func (f *Frame) planes() [3]plane {
	h := len(f.Y) / f.YStride
	return [3]plane{
		{f.Y, f.YStride, f.YStride, h},
		{f.U, f.UVStride, f.UVStride, h / 2},
		{f.V, f.UVStride, f.UVStride, h / 2},
	}
}

// Decoder keeps what goes from frame to frame. It is not safe for concurrent use.
type Decoder struct {
	// Fits says whether a picture of this size may be decoded; nil allows all.
	Fits func(width, height int) bool

	width, height int // of the pictures, in pixels
	cols, rows    int // in macroblocks

	refs    [4]*Frame // by refLast and so on; nil before the first key frame
	spare   []*Frame  // no longer referred to
	shown   *Frame    // the last that was to be shown
	frame   *Frame    // being decoded
	persist persistent
	saved   probabilities // of before a frame whose own are for it alone
	head    header

	mbs []macroblock // of the frame, with a border above and to the left
	// What was coded above and to the left: per macroblock 4 luma, 2 U, 2 V, 1 Y2.
	above     [][9]uint8
	left      [9]uint8
	aboveMode [][4]uint8 // modes of subblocks, for key frames
	leftMode  [4]uint8

	coefficients [25][16]int32
	scratch      [21 * 16]int32
	block        [21 * 21]byte
}

// References.
const (
	refIntra = iota
	refLast
	refGolden
	refAlt
)

// Decode decodes one frame. It answers the picture that is to be shown, which is
// valid until the next call, or nil when the frame is not for showing.
func (d *Decoder) Decode(data []byte) (*Frame, error) {
	frame, err := d.decode(data)
	if err != nil {
		d.reset()
	}
	return frame, err
}

// reset forgets the frames, so that nothing is predicted from a broken one.
func (d *Decoder) reset() {
	d.refs, d.spare, d.shown, d.frame = [4]*Frame{}, nil, nil, nil
}

func (d *Decoder) decode(data []byte) (*Frame, error) {
	if len(data) == 0 {
		return nil, ErrCorrupt
	}
	first, err := d.begin(data)
	if err != nil {
		return nil, err
	}
	if !d.head.key && d.refs[refLast] == nil {
		return nil, ErrNoKey
	}
	partitions, err := d.readHeader(&first)
	if err != nil {
		return nil, err
	}
	d.frame = d.take()
	clear(d.above)
	clear(d.aboveMode)
	for row := range d.rows {
		d.left, d.leftMode = [9]uint8{}, [4]uint8{}
		tokens := &partitions[row&(len(partitions)-1)]
		for col := range d.cols {
			mb := d.at(col, row)
			d.readModes(&first, mb, col, row)
			d.readResidual(tokens, mb, col)
			if mb.ref == refIntra {
				d.predictIntra(mb, col, row)
			} else {
				d.predictInter(mb, col, row)
			}
		}
	}
	if d.head.filterLevel > 0 {
		d.filter()
	}
	shown := d.frame
	d.refer()
	if !d.head.show {
		return nil, nil
	}
	d.shown = shown
	return shown, nil
}

// begin reads the part of the header that is not coded (section 9.1) and makes
// room for a key frame's size. It answers the first partition.
func (d *Decoder) begin(data []byte) (boolDecoder, error) {
	if len(data) < 3 {
		return boolDecoder{}, ErrCorrupt
	}
	tag := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16
	d.head = header{key: tag&1 == 0, version: int(tag >> 1 & 7), show: tag>>4&1 == 1}
	size := int(tag >> 5)
	data = data[3:]
	if d.head.version > 3 {
		return boolDecoder{}, fmt.Errorf("%w: version %d", ErrCorrupt, d.head.version)
	}
	if d.head.key {
		if len(data) < 7 || data[0] != 0x9d || data[1] != 0x01 || data[2] != 0x2a {
			return boolDecoder{}, ErrCorrupt
		}
		width, height := int(data[3])|int(data[4]&0x3f)<<8, int(data[5])|int(data[6]&0x3f)<<8
		data = data[7:]
		if width == 0 || height == 0 {
			return boolDecoder{}, ErrCorrupt
		}
		if d.Fits != nil && !d.Fits(width, height) {
			return boolDecoder{}, fmt.Errorf("%w: %d by %d", ErrTooLarge, width, height)
		}
		if size > len(data) {
			return boolDecoder{}, ErrCorrupt
		}
		d.resize(width, height)
	}
	if size > len(data) {
		return boolDecoder{}, ErrCorrupt
	}
	d.head.rest = data[size:]
	return newBoolDecoder(data[:size]), nil
}

func (d *Decoder) resize(width, height int) {
	if d.width == width && d.height == height {
		return
	}
	d.reset()
	d.width, d.height = width, height
	d.cols, d.rows = (width+15)/16, (height+15)/16
	d.mbs = make([]macroblock, (d.cols+1)*(d.rows+1))
	d.above = make([][9]uint8, d.cols)
	d.aboveMode = make([][4]uint8, d.cols)
}

// at is the macroblock of a column and row; those of -1 are the border.
func (d *Decoder) at(col, row int) *macroblock {
	return &d.mbs[(row+1)*(d.cols+1)+col+1]
}

// take is a frame to decode into, one that nothing refers to.
func (d *Decoder) take() *Frame {
	for i, f := range d.spare {
		if f != d.shown {
			d.spare = append(d.spare[:i], d.spare[i+1:]...)
			return f
		}
	}
	y := d.cols * d.rows * 256
	pix := make([]byte, y*3/2)
	return &Frame{
		Width: d.width, Height: d.height, YStride: d.cols * 16, UVStride: d.cols * 8,
		Y: pix[:y:y], U: pix[y : y+y/4 : y+y/4], V: pix[y+y/4:],
	}
}

// refer makes the frame the reference that its header says (section 9.7).
func (d *Decoder) refer() {
	old, h := d.refs, &d.head
	switch {
	case h.refresh[refGolden]:
		d.refs[refGolden] = d.frame
	case h.copyTo[refGolden] == 1:
		d.refs[refGolden] = old[refLast]
	case h.copyTo[refGolden] == 2:
		d.refs[refGolden] = old[refAlt]
	}
	switch {
	case h.refresh[refAlt]:
		d.refs[refAlt] = d.frame
	case h.copyTo[refAlt] == 1:
		d.refs[refAlt] = old[refLast]
	case h.copyTo[refAlt] == 2:
		d.refs[refAlt] = old[refGolden]
	}
	if h.refresh[refLast] {
		d.refs[refLast] = d.frame
	}
	if !h.keepProbs {
		d.persist.probabilities = d.saved
	}
	free := func(f *Frame) {
		if f == nil {
			return
		}
		for _, used := range d.refs {
			if used == f {
				return
			}
		}
		for _, spare := range d.spare {
			if spare == f {
				return
			}
		}
		d.spare = append(d.spare, f)
	}
	for _, f := range old {
		free(f)
	}
	free(d.frame)
	d.frame = nil
}
