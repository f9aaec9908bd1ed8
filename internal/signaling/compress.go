package signaling

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"belfry/internal/meeting"
)

// maxDictionary is how much of the text before serves as dictionary, in UTF-16
// code units, as the client counts.
const maxDictionary = 31_744

// compressor packs and unpacks the SDP of one connection: raw DEFLATE (RFC 1951)
// whose preset dictionary is the previous text in the same direction.
type compressor struct {
	offer  string // the last one received
	answer string // the last one sent
}

// inflate unpacks a compressed offer. Clients differ in whether their previous
// offer is the dictionary, so both are tried; the texts are told apart by their
// beginning. The error is a meeting.CodeBadRequest.
func (c *compressor) inflate(packed []byte) (string, error) {
	text, err := inflate(packed, dictionary(c.offer))
	if err == nil && strings.HasPrefix(text, "v=0") {
		return text, nil
	}
	if c.offer != "" {
		if text, err := inflate(packed, nil); err == nil && strings.HasPrefix(text, "v=0") {
			return text, nil
		}
	}
	if err == nil {
		err = meeting.Errorf(meeting.CodeBadRequest, "compressed_sdp_offer does not unpack to an SDP")
	}
	return "", err
}

func inflate(packed []byte, dict []byte) (string, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(packed), dict); err != nil {
		return "", &meeting.Error{Code: meeting.CodeBadRequest, Message: "compressed_sdp_offer is not DEFLATE", Err: err}
	}
	var text strings.Builder
	n, err := io.Copy(&text, io.LimitReader(r, maxSDP+1))
	switch {
	case n > maxSDP:
		return "", meeting.Errorf(meeting.CodeBadRequest, "compressed_sdp_offer unpacks to more than %d bytes", maxSDP)
	case err != nil:
		return "", &meeting.Error{Code: meeting.CodeBadRequest, Message: "compressed_sdp_offer is not DEFLATE", Err: err}
	}
	return text.String(), nil
}

// deflate packs an answer with the previous one as dictionary.
func (c *compressor) deflate(answer string) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	packed := d.pack(answer, dictionary(c.answer))
	c.answer = answer
	return packed
}

// dictionary is the part of the text before that both sides use.
func dictionary(text string) []byte {
	if len(text) <= maxDictionary {
		return []byte(text)
	}
	units := 0
	for i, r := range text {
		if units >= maxDictionary {
			return []byte(text[:i])
		}
		units++
		if r > 0xffff && r != utf8.RuneError {
			units++
		}
	}
	return []byte(text)
}

var (
	inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}
	deflaters = sync.Pool{New: func() any { return newDeflater() }}
)

// deflater is a DEFLATE writer that can be used again with another dictionary,
// which flate.Writer cannot and which would cost a megabyte for every answer.
// It writes the dictionary first and lets nothing of that out: what follows the
// flush refers back to it as it would to a preset one.
type deflater struct {
	w   *flate.Writer
	out gate
}

type gate struct {
	buf  bytes.Buffer
	open bool
}

func (g *gate) Write(p []byte) (int, error) {
	if g.open {
		return g.buf.Write(p)
	}
	return len(p), nil
}

func newDeflater() *deflater {
	d := &deflater{}
	d.w, _ = flate.NewWriter(&d.out, flate.DefaultCompression) // fails for unknown levels only
	return d
}

func (d *deflater) pack(text string, dict []byte) []byte {
	// Writing to memory does not fail.
	d.out.open = false
	d.out.buf.Reset()
	d.w.Reset(&d.out)
	if len(dict) > 0 {
		_, _ = d.w.Write(dict)
		_ = d.w.Flush()
	}
	d.out.open = true
	_, _ = io.WriteString(d.w, text)
	_ = d.w.Close()
	return bytes.Clone(d.out.buf.Bytes())
}
