package screen

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
	"belfry/internal/screen/vp8"
	"belfry/internal/screen/webm"
)

const (
	// tileSize is how wide and high a tile is. A client takes up to 256 tiles each
	// way, and no tile of more than 64 KiB.
	tileSize = 128
	maxTile  = 64 << 10
	// quality of JPEG: text stays readable.
	quality = 85
)

// errLost: frames are left out until the next key frame.
var errLost = errors.New("a key frame is awaited")

// picture is a shared screen: what the recording of it last showed, and the
// tiles made of that. Tiles are made when a viewer asks, so that a share that
// nobody looks at costs no more than its decoding.
type picture struct {
	server *Server
	most   meeting.Resolution // of what viewers get
	budget *rate.Limiter      // pixels

	mu      sync.Mutex
	reader  webm.Reader
	decoder vp8.Decoder
	lost    bool
	frame   *vp8.Frame // the decoder's: valid until it decodes the next one
	fresh   bool       // frame is not in the tiles yet

	drawn         [3]layer // what the tiles show
	width, height int      // of drawn
	tiles         []tile   // row by row
	version       uint64   // of the newest
}

type tile struct {
	col, row byte
	version  uint64
	jpeg     []byte // never written to again
}

// layer is one plane of a picture.
type layer struct {
	pix                   []byte
	stride, width, height int
}

func newPicture(s *Server, most meeting.Resolution) *picture {
	return &picture{
		server: s, most: most, budget: rate.NewLimiter(pixelsPerPresenter, 3*pixelsPerPresenter),
		reader: webm.Reader{Codec: "V_VP8", MaxFrame: maxMessage},
		// What is larger than the meeting's content may be is made smaller, as far as this.
		decoder: vp8.Decoder{Fits: func(w, h int) bool { return meeting.UHD.Fits(uint32(w), uint32(h)) }},
	}
}

// record takes a slice of the recording. It reports whether there is something
// new to see; after an error a new beginning of the recording is needed.
func (p *picture) record(slice []byte) (shown bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fault error
	err = p.reader.Write(slice, func(data []byte) {
		frame, err := p.decode(data)
		if err != nil {
			fault = err
		}
		if frame != nil {
			p.frame, p.fresh, shown = frame, true, true
		}
	})
	if err != nil {
		p.server.metrics.frames.WithLabelValues("corrupt").Inc()
		return shown, err
	}
	return shown, fault
}

func (p *picture) decode(data []byte) (*vp8.Frame, error) {
	key := data[0]&1 == 0
	now := time.Now()
	switch cost := p.cost(data, key); {
	case p.lost && !key, !p.budget.AllowN(now, cost), !p.server.budget.AllowN(now, cost):
		p.lost = true
		p.server.metrics.frames.WithLabelValues("dropped").Inc()
		return nil, errLost
	}
	frame, err := p.decoder.Decode(data)
	p.lost = err != nil
	if err != nil {
		p.server.metrics.frames.WithLabelValues("corrupt").Inc()
		p.frame, p.fresh = nil, false
		return nil, err
	}
	p.server.metrics.frames.WithLabelValues("decoded").Inc()
	return frame, nil
}

// cost of a frame in pixels.
func (p *picture) cost(data []byte, key bool) int {
	switch {
	case key && len(data) >= 10:
		size := (int(data[6]) | int(data[7]&0x3f)<<8) * (int(data[8]) | int(data[9]&0x3f)<<8)
		return min(size, pixelsPerPresenter) // what is larger is refused by the decoder
	case p.frame != nil:
		return p.frame.Width * p.frame.Height
	}
	return 1
}

// news is what a viewer lacks.
type news struct {
	tiles         []tile
	version       uint64
	width, height int
}

// since answers the tiles that are newer than a version, 0 for all. It draws the
// newest frame first.
func (p *picture) since(version uint64) news {
	p.server.drawing <- struct{}{}
	defer func() { <-p.server.drawing }()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh {
		p.fresh = false
		p.draw()
	}
	n := news{version: p.version, width: p.width, height: p.height}
	for _, t := range p.tiles {
		if t.version > version {
			n.tiles = append(n.tiles, t)
		}
	}
	return n
}

// draw makes the tiles anew in which the frame differs from what was drawn.
func (p *picture) draw() {
	planes, width, height := p.shrunk()
	if width != p.width || height != p.height {
		p.width, p.height, p.tiles = width, height, nil
		cols, rows := (width+tileSize-1)/tileSize, (height+tileSize-1)/tileSize
		for i := range cols * rows {
			p.tiles = append(p.tiles, tile{col: byte(i % cols), row: byte(i / cols)})
		}
		for i, l := range planes {
			p.drawn[i] = layer{make([]byte, l.width*l.height), l.width, l.width, l.height}
		}
	}
	p.version++
	for i := range p.tiles {
		t := &p.tiles[i]
		changed := t.jpeg == nil
		for j, l := range planes {
			size := tileSize
			if j > 0 {
				size /= 2
			}
			if l.copyTo(&p.drawn[j], int(t.col)*size, int(t.row)*size, size) {
				changed = true
			}
		}
		if changed {
			t.jpeg, t.version = p.encode(int(t.col), int(t.row)), p.version
			p.server.metrics.tiles.Inc()
		}
	}
}

// copyTo copies a square and reports whether that changed anything.
func (l *layer) copyTo(to *layer, x, y, size int) (changed bool) {
	width := min(size, l.width-x)
	for row := y; row < min(y+size, l.height); row++ {
		a, b := l.pix[row*l.stride+x:][:width], to.pix[row*to.stride+x:][:width]
		if !bytes.Equal(a, b) {
			copy(b, a)
			changed = true
		}
	}
	return changed
}

// shrunk are the frame's planes, made smaller by a whole factor when the meeting
// has no content of that size.
func (p *picture) shrunk() (planes [3]layer, width, height int) {
	f := p.frame
	width, height = f.Width, f.Height
	planes = [3]layer{
		{f.Y, f.YStride, width, height},
		{f.U, f.UVStride, (width + 1) / 2, (height + 1) / 2},
		{f.V, f.UVStride, (width + 1) / 2, (height + 1) / 2},
	}
	by := 1
	for !p.most.Fits(uint32(width/by), uint32(height/by)) && by < min(width, height) {
		by++
	}
	if by == 1 {
		return planes, width, height
	}
	width, height = width/by, height/by
	for i, l := range planes {
		w, h := width, height
		if i > 0 {
			w, h = (w+1)/2, (h+1)/2
		}
		planes[i] = l.shrink(by, w, h)
	}
	return planes, width, height
}

// shrink makes one pixel of each square of by times by.
func (l *layer) shrink(by, width, height int) layer {
	small := layer{make([]byte, width*height), width, width, height}
	for y := range height {
		for x := range width {
			sum, n := 0, 0
			for row := y * by; row < min((y+1)*by, l.height); row++ {
				for _, v := range l.pix[row*l.stride+x*by : row*l.stride+min((x+1)*by, l.width)] {
					sum += int(v)
					n++
				}
			}
			small.pix[y*width+x] = byte((sum + n/2) / max(n, 1))
		}
	}
	return small
}

// Values of video run from 16 to 235, of chroma to 240; those of JPEG from 0 to 255.
var fullLuma, fullChroma = func() (luma, chroma [256]byte) {
	for i := range 256 {
		luma[i] = byte(min(max(((i-16)*255+109)/219, 0), 255))
		chroma[i] = byte(min(max((i*255-128*255+128*224+112)/224, 0), 255))
	}
	return luma, chroma
}()

// encode makes the JPEG of a tile; at the right and lower edge of the picture
// its last pixels go on.
func (p *picture) encode(col, row int) []byte {
	img := image.NewYCbCr(image.Rect(0, 0, tileSize, tileSize), image.YCbCrSubsampleRatio420)
	fill := func(dst []byte, l *layer, size int, full *[256]byte) {
		for y := range size {
			line := l.pix[min(row*size+y, l.height-1)*l.stride:][:l.width]
			for x := range size {
				dst[y*size+x] = full[line[min(col*size+x, l.width-1)]]
			}
		}
	}
	fill(img.Y, &p.drawn[0], tileSize, &fullLuma)
	fill(img.Cb, &p.drawn[1], tileSize/2, &fullChroma)
	fill(img.Cr, &p.drawn[2], tileSize/2, &fullChroma)
	var out bytes.Buffer
	for q := quality; ; q /= 2 {
		out.Reset()
		_ = jpeg.Encode(&out, img, &jpeg.Options{Quality: max(q, 1)}) // a Buffer takes all
		if out.Len() <= maxTile || q <= 1 {
			return out.Bytes()
		}
	}
}
