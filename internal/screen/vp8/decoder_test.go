package vp8

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The clips in testdata are made by libvpx's encoder of moving test pictures,
// and the sums by its decoder, over all shown pictures as planes of Y, U and V.
var clips = map[string]string{
	"small.ivf":     "c1a5c4a3ffbdc6a2a67275587ebefc14",
	"altref.ivf":    "d76eb57c0083928d75320e6d10c939d8", // hidden frames, several partitions of coefficients
	"resilient.ivf": "aa37aa82a7f43822ca57b2fc771cd53a", // probabilities for one frame, strong filter
	"screen.ivf":    "c5f5e0acef02dc0b45e1cc096b82ffa7", // segments, as for a shared screen
	"odd-size.ivf":  "f85e54b15a2e8b3953f4f1ca650bd423", // 150 by 106, vectors that point far out
	"version1.ivf":  "7fbfaeaae608c245aa859102d62cc387",
	"version2.ivf":  "3baf692d1872e0fcbb61a874a14232c5",
	"version3.ivf":  "a5e5776c57c869eb56d64451617880a0", // whole pixels in chroma
}

// frames are those of an IVF file: a header of 32 bytes, then a size, a time and
// the data of each.
func frames(t testing.TB, name string) (list [][]byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for data = data[32:]; len(data) > 12; {
		size := int(binary.LittleEndian.Uint32(data))
		list = append(list, data[12:12+size])
		data = data[12+size:]
	}
	return list
}

func TestDecodesToTheSamePixels(t *testing.T) {
	for name, want := range clips {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			sum := md5.New()
			for i, data := range frames(t, name) {
				f, err := d.Decode(data)
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if f == nil {
					continue
				}
				for y := range f.Height {
					sum.Write(f.Y[y*f.YStride:][:f.Width])
				}
				for _, plane := range [][]byte{f.U, f.V} {
					for y := range (f.Height + 1) / 2 {
						sum.Write(plane[y*f.UVStride:][:(f.Width+1)/2])
					}
				}
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != want {
				t.Errorf("the pictures' sum is %s, want %s", got, want)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	clip := frames(t, "screen.ivf")
	key := clip[0]
	small := &Decoder{Fits: func(width, height int) bool { return width <= 175 }}
	for name, c := range map[string]struct {
		d    *Decoder
		data []byte
		want error
	}{
		"nothing":                 {new(Decoder), nil, ErrCorrupt},
		"no start code":           {new(Decoder), append([]byte{key[0], key[1], key[2], 1}, key[4:]...), ErrCorrupt},
		"a cut header":            {new(Decoder), key[:9], ErrCorrupt},
		"a cut first partition":   {new(Decoder), key[:40], ErrCorrupt},
		"a change to no picture":  {new(Decoder), clip[1], ErrNoKey},
		"a picture over the size": {small, key, ErrTooLarge},
	} {
		if _, err := c.d.Decode(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// After a broken frame nothing is predicted from what was there.
func TestWaitsForAKeyFrameAfterAFault(t *testing.T) {
	clip := frames(t, "screen.ivf")
	var d Decoder
	for i, step := range []struct {
		data []byte
		want error
	}{{clip[0], nil}, {clip[1], nil}, {clip[2][:2], ErrCorrupt}, {clip[3], ErrNoKey}, {clip[0], nil}} {
		if _, err := d.Decode(step.data); !errors.Is(err, step.want) {
			t.Errorf("step %d: got %v, want %v", i, err, step.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	list := frames(f, "small.ivf") // of 40 by 24 pixels, so that there are many tries
	for i := range len(list) - 2 {
		f.Add(list[0], list[i+1], list[i+2])
	}
	f.Fuzz(func(_ *testing.T, a, b, c []byte) {
		d := Decoder{Fits: func(width, height int) bool { return width*height <= 1<<12 }}
		for _, data := range [][]byte{a, b, c} {
			_, _ = d.Decode(data)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	clip := frames(b, "screen.ivf")
	var d Decoder
	for i := 0; b.Loop(); i++ {
		if _, err := d.Decode(clip[i%len(clip)]); err != nil {
			b.Fatal(err)
		}
	}
}
