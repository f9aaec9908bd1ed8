package webm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// element is one with a size of one byte, or of unknown size when body is nil.
func element(id []byte, body []byte) []byte {
	if body == nil {
		return append(id, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
	}
	return append(append(id, 0x80|byte(len(body))), body...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func header() []byte { return element([]byte{0x1A, 0x45, 0xDF, 0xA3}, []byte{0x42, 0x86, 0x81, 1}) }

func track(number byte, codec string) []byte {
	return element([]byte{0xAE}, join(element([]byte{0xD7}, []byte{number}), element([]byte{0x73, 0xC5}, []byte{9}),
		element([]byte{0x86}, []byte(codec))))
}

func simpleBlock(number byte, data string) []byte {
	return element([]byte{0xA3}, append([]byte{0x80 | number, 0, 0, 0x80}, data...))
}

// stream is one as browsers make it: segment and clusters of unknown size.
func stream() []byte {
	return join(header(), element([]byte{0x18, 0x53, 0x80, 0x67}, nil),
		element([]byte{0x16, 0x54, 0xAE, 0x6B}, join(track(1, "A_OPUS"), track(2, "V_VP8"))),
		element([]byte{0x1F, 0x43, 0xB6, 0x75}, nil), element([]byte{0xE7}, []byte{0}),
		simpleBlock(2, "one"), simpleBlock(1, "sound"),
		element([]byte{0x1F, 0x43, 0xB6, 0x75}, nil), simpleBlock(2, "two"),
		element([]byte{0xA0}, element([]byte{0xA1}, append([]byte{0x82, 0, 0, 0}, "three"...))))
}

func TestFramesComeOutHoweverTheStreamIsCut(t *testing.T) {
	whole := stream()
	for _, size := range []int{1, 2, 3, 7, 20, len(whole)} {
		r := Reader{Codec: "V_VP8", MaxFrame: 100}
		var got []string
		for range 2 { // the second time a new stream begins in the same reader
			first := max(size, 4)
			slices := [][]byte{whole[:min(first, len(whole))]}
			for rest := whole[len(slices[0]):]; len(rest) > 0; {
				n := min(size, len(rest))
				slices = append(slices, rest[:n])
				rest = rest[n:]
			}
			for _, slice := range slices {
				if err := r.Write(slice, func(f []byte) { got = append(got, string(f)) }); err != nil {
					t.Fatalf("slices of %d: %v", size, err)
				}
			}
		}
		if diff := cmp.Diff([]string{"one", "two", "three", "one", "two", "three"}, got); diff != "" {
			t.Errorf("slices of %d: %s", size, diff)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"no beginning":         {simpleBlock(1, "x"), ErrCorrupt},
		"no element":           {join(header(), []byte{0, 0, 0, 0}), ErrCorrupt},
		"a large frame":        {join(header(), []byte{0xA3, 0x40, 0x65}), ErrTooLarge},
		"a frame without size": {join(header(), element([]byte{0xA3}, nil)), ErrCorrupt},
		"a short block":        {join(header(), element([]byte{0xA3}, []byte{0x81, 0})), ErrCorrupt},
		"a laced block":        {join(header(), element([]byte{0xA3}, []byte{0x81, 0, 0, 0x02, 1, 1})), ErrCorrupt},
		"a long codec":         {join(header(), []byte{0x86, 0x41, 0x00}), ErrCorrupt},
		"skipped without end":  {join(header(), element([]byte{0xEC}, nil)), ErrCorrupt},
	} {
		r := Reader{Codec: "V_VP8", MaxFrame: 100}
		if err := r.Write(c.data, func([]byte) { t.Errorf("%s: there was a frame", name) }); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err := r.Write(simpleBlock(1, "x"), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: it did not wait for a new stream: %v", name, err)
		}
	}
}

func FuzzWrite(f *testing.F) {
	f.Add(stream(), 5)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		r := Reader{Codec: "V_VP8", MaxFrame: 1000}
		check := func(frame []byte) {
			if len(frame) == 0 || len(frame) > 1000 {
				t.Errorf("a frame of %d bytes", len(frame))
			}
		}
		cut = min(max(cut, 0), len(data))
		_ = r.Write(data[:cut], check)
		_ = r.Write(data[cut:], check)
		if len(r.pending) > 1000+20+len(data) {
			t.Errorf("%d bytes are kept", len(r.pending))
		}
	})
}
