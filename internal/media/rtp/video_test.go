package rtp

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pion/rtp/codecs"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var ignoreOffsets = cmpopts.IgnoreUnexported(VideoHeader{})

func TestParseVP8(t *testing.T) {
	tests := map[string]struct {
		payload string
		want    VideoHeader
		bad     bool
	}{
		"no extension, key frame":  {payload: "10 50 01 00 9d012a 8002 6801", want: VideoHeader{Start: true, KeyFrame: true, Width: 640, Height: 360, CodedWidth: 640, CodedHeight: 360}},
		"scaling bits are no size": {payload: "10 50 01 00 9d012a 8042 6881", want: VideoHeader{Start: true, KeyFrame: true, Width: 640, Height: 360, CodedWidth: 640, CodedHeight: 360}},
		"inter frame":              {payload: "10 51 01 00", want: VideoHeader{Start: true}},
		"middle of a key frame":    {payload: "00 50 01 00", want: VideoHeader{}},
		"second partition":         {payload: "11 50 01 00", want: VideoHeader{}},
		"picture of 7 bits":        {payload: "90 80 7f 51", want: VideoHeader{Start: true, PictureID: 127, PictureIDBits: 7}},
		"picture of 15 bits":       {payload: "90 80 ffff 51", want: VideoHeader{Start: true, PictureID: 0x7fff, PictureIDBits: 15}},
		"all of it": {payload: "90 e0 8123 07 80 50 01 00 9d012a 8002 6801",
			want: VideoHeader{Start: true, KeyFrame: true, Width: 640, Height: 360, CodedWidth: 640, CodedHeight: 360, PictureID: 0x123, PictureIDBits: 15, HasTL0PicIdx: true, TL0PicIdx: 7, Temporal: 2}},
		"layer sync":                     {payload: "90 20 60 51", want: VideoHeader{Start: true, Temporal: 1, Sync: true}},
		"key frame too short for a size": {payload: "10 50", want: VideoHeader{Start: true, KeyFrame: true}},
		"empty":                          {payload: "", bad: true},
		"descriptor alone":               {payload: "10", bad: true},
		"no X":                           {payload: "90", bad: true},
		"no picture":                     {payload: "90 80", bad: true},
		"half a picture":                 {payload: "90 80 80", bad: true},
		"no TL0":                         {payload: "90 c0 01", bad: true},
		"no TID":                         {payload: "90 e0 01 02", bad: true},
		"nothing after the descriptor":   {payload: "90 e0 01 02 40", bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h VideoHeader
			if ok := ParseVP8(unhex(t, tt.payload), &h); ok == tt.bad {
				t.Fatalf("ParseVP8 says %v", ok)
			}
			if d := cmp.Diff(tt.want, h, ignoreOffsets); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if tt.bad && h != (VideoHeader{}) {
				t.Errorf("refused, but the header is not empty: %+v", h)
			}
		})
	}
}

func TestPatch(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{"90 e0 8123 07 80 51", "90 e0 fffe ff 80 51"},
		{"90 80 12 51", "90 80 7e 51"},
		{"90 40 12 51", "90 40 ff 51"},
		{"10 51", "10 51"},
	} {
		b := unhex(t, tt.in)
		var h VideoHeader
		if !ParseVP8(b, &h) {
			t.Fatalf("%s is refused", tt.in)
		}
		h.Patch(b, 0x7FFE, 255)
		if !bytes.Equal(b, unhex(t, tt.out)) {
			t.Errorf("%s became %x, want %s", tt.in, b, tt.out)
		}
	}
}

func TestParseH264(t *testing.T) {
	// 1280×720 constrained baseline, and 1920×1080 high with cropping.
	const hd = "6742c01fd9005005bb011000000300100000030320f1832480"
	const fhd = "67640028acd940780227e5c044000003000400000300c83c60c658"
	tests := map[string]struct {
		payload string
		want    VideoHeader
		bad     bool
	}{
		"SPS":                  {payload: hd, want: VideoHeader{KeyFrame: true, Width: 1280, Height: 720, CodedWidth: 1280, CodedHeight: 720}},
		"SPS with cropping":    {payload: fhd, want: VideoHeader{KeyFrame: true, Width: 1920, Height: 1080, CodedWidth: 1920, CodedHeight: 1088}},
		"SPS cut short":        {payload: "6742c0", want: VideoHeader{KeyFrame: true}},
		"PPS":                  {payload: "68ce3c80"},
		"IDR":                  {payload: "6588", want: VideoHeader{IDR: true}},
		"slice":                {payload: "419a"},
		"STAP-A":               {payload: "78 0019" + hd + "0004 68ce3c80 0002 6588", want: VideoHeader{KeyFrame: true, IDR: true, Width: 1280, Height: 720, CodedWidth: 1280, CodedHeight: 720}},
		"STAP-A without SPS":   {payload: "78 0004 68ce3c80"},
		"FU-A start of IDR":    {payload: "7c 85 88", want: VideoHeader{IDR: true}},
		"FU-A middle of IDR":   {payload: "7c 05 88"},
		"FU-A start of slice":  {payload: "5c 81 9a"},
		"empty":                {bad: true},
		"forbidden bit":        {payload: "e588", bad: true},
		"STAP-A cut":           {payload: "78 0019 67", bad: true},
		"STAP-A of empty unit": {payload: "78 0000 00", bad: true},
		"FU-A cut":             {payload: "7c", bad: true},
		"type 30":              {payload: "7e 00", bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h VideoHeader
			if ok := ParseH264(unhex(t, tt.payload), &h); ok == tt.bad {
				t.Fatalf("ParseH264 says %v", ok)
			}
			if tt.bad {
				return
			}
			if d := cmp.Diff(tt.want, h, ignoreOffsets); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestParseVP9(t *testing.T) {
	tests := map[string]struct {
		payload string
		want    VideoHeader
		bad     bool
	}{
		"key frame with size": {payload: "8a 8123 18 0280 0168 00 82 49",
			want: VideoHeader{Start: true, KeyFrame: true, PictureID: 0x123, PictureIDBits: 15, Width: 640, Height: 360, CodedWidth: 640, CodedHeight: 360}},
		"inter frame":            {payload: "c8 8123 86", want: VideoHeader{Start: true, InterPicture: true, PictureID: 0x123, PictureIDBits: 15}},
		"key frame, middle":      {payload: "80 8123 86", want: VideoHeader{PictureID: 0x123, PictureIDBits: 15}},
		"layers, not flexible":   {payload: "a8 7f 40 09 86", want: VideoHeader{Start: true, KeyFrame: true, PictureID: 127, PictureIDBits: 7, Temporal: 2, HasTL0PicIdx: true, TL0PicIdx: 9}},
		"upper layer is no key":  {payload: "a8 7f 02 09 86", want: VideoHeader{Start: true, PictureID: 127, PictureIDBits: 7, Spatial: 1, HasTL0PicIdx: true, TL0PicIdx: 9}},
		"flexible, two pictures": {payload: "f8 7f 00 03 04 86", want: VideoHeader{Start: true, InterPicture: true, PictureID: 127, PictureIDBits: 7}},
		"end of a layer's frame": {payload: "e4 7f 53 09 86", want: VideoHeader{End: true, InterPicture: true, Sync: true, InterLayer: true, Temporal: 2, Spatial: 1,
			PictureID: 127, PictureIDBits: 7, HasTL0PicIdx: true, TL0PicIdx: 9}},
		"flexible, four":   {payload: "f8 7f 00 03 03 03 04 86", bad: true},
		"empty":            {bad: true},
		"descriptor alone": {payload: "88 7f", bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h VideoHeader
			b := unhex(t, tt.payload)
			if ok := ParseVP9(b, &h); ok == tt.bad {
				t.Fatalf("ParseVP9 says %v", ok)
			}
			if tt.bad {
				return
			}
			if d := cmp.Diff(tt.want, h, ignoreOffsets); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			var ref codecs.VP9Packet
			if _, err := ref.Unmarshal(b); err != nil {
				t.Fatalf("the reference does not take it: %v", err)
			}
			if ref.PictureID != h.PictureID || ref.TID != h.Temporal || ref.SID != h.Spatial || ref.TL0PICIDX != h.TL0PicIdx {
				t.Errorf("the reference reads %+v", ref)
			}
		})
	}
}

func TestParseAV1(t *testing.T) {
	for payload, want := range map[string]bool{"18 0a0b": true, "10 32": false, "90 32": false} {
		var h VideoHeader
		if !ParseAV1(unhex(t, payload), &h) || h.KeyFrame != want {
			t.Errorf("%s: key frame %v, want %v", payload, h.KeyFrame, want)
		}
	}
	for _, payload := range []string{"", "18", "98 00"} {
		var h VideoHeader
		if ParseAV1(unhex(t, payload), &h) {
			t.Errorf("%q is taken", payload)
		}
	}
}

// What Chromium's encoders write, 1920×1080 unless it says otherwise.
const (
	vp8Key     = "70b7019d012a800738040a870885"
	vp8Inter   = "b106002a11c0001800186ff40c17"
	vp9Key     = "824983425077f043764638241c196818"
	vp9Inter   = "860040921cfc5d0180030070b027"
	av1Header  = "00000042abbfc374068808680c20"
	av1HD      = "0000002d4cffb3c01a2021a03080" // 1280×720
	h264Set    = "6742c0288c8d403c0113f2cdc0434041e1108d40"
	h264Params = "68ce3c80"
)

func TestCodedSizes(t *testing.T) {
	fhd := VideoHeader{Width: 1920, Height: 1080, CodedWidth: 1920, CodedHeight: 1080}
	hd := VideoHeader{Width: 1280, Height: 720, CodedWidth: 1280, CodedHeight: 720}
	aligned := VideoHeader{Width: 1920, Height: 1080, CodedWidth: 1920, CodedHeight: 1088}
	none := VideoHeader{}
	for name, tt := range map[string]struct {
		parse   func([]byte, *VideoHeader) bool
		payload string
		want    VideoHeader
	}{
		"VP8 key frame":                {ParseVP8, "10" + vp8Key, fhd},
		"VP8 inter frame":              {ParseVP8, "10" + vp8Inter, none},
		"VP8 without its start code":   {ParseVP8, "10 70b701 9d012b 80073804", none},
		"VP9 key frame":                {ParseVP9, "88 7f" + vp9Key, fhd},
		"VP9 inter frame":              {ParseVP9, "c8 7f" + vp9Inter, none},
		"VP9 inter frame with a size":  {ParseVP9, "c8 7f 870000000efe086e", fhd},
		"VP9 intra frame, not shown":   {ParseVP9, "c8 7f 85a4c1a10003bf821b80", fhd},
		"VP9 frame shown again":        {ParseVP9, "c8 7f 88 00", none},
		"VP9 header cut short":         {ParseVP9, "88 7f 8249834250", none},
		"VP9 of profile 1":             {ParseVP9, "88 7f a24983422c0efe086e", fhd},
		"VP9 middle of a frame":        {ParseVP9, "80 7f" + vp9Key, none},
		"AV1 sequence":                 {ParseAV1, "18 08" + av1Header, fhd},
		"AV1 sequence with its length": {ParseAV1, "18 0a0e" + av1Header, fhd},
		"AV1 with an extension":        {ParseAV1, "18 0c00" + av1HD, hd},
		"AV1 after others":             {ParseAV1, "08 02 1200 0f 08" + av1HD + "02 3210", hd},
		"AV1 last of two":              {ParseAV1, "28 02 3210 08" + av1Header, fhd},
		"AV1 without N":                {ParseAV1, "10 08" + av1Header, fhd},
		"AV1 continuation":             {ParseAV1, "90 08" + av1Header, none},
		"AV1 cut short":                {ParseAV1, "18 0800000042", none},
		"AV1 with a false length":      {ParseAV1, "08 7f 08" + av1Header, none},
		"H.264 sequence":               {ParseH264, h264Set, aligned},
		"H.264 the larger of two":      {ParseH264, "78 0014" + h264Set + "0004" + h264Params + "0019 6742c01fd9005005bb011000000300100000030320f1832480", aligned},
		"H.264 too wide to be true":    {ParseH264, "6742c01f 8d 00000000800000 28 0000", none},
	} {
		t.Run(name, func(t *testing.T) {
			var h VideoHeader
			if !tt.parse(unhex(t, tt.payload), &h) {
				t.Fatal("it is refused")
			}
			got := VideoHeader{Width: h.Width, Height: h.Height, CodedWidth: h.CodedWidth, CodedHeight: h.CodedHeight}
			if got != tt.want {
				t.Errorf("the size is %+v, want %+v", got, tt.want)
			}
		})
	}
	var h VideoHeader
	for _, payload := range [][]byte{unhex(t, "88 7f"+vp9Key), unhex(t, "18 0a0e"+av1Header), unhex(t, h264Set)} {
		for _, parse := range []func([]byte, *VideoHeader) bool{ParseVP8, ParseVP9, ParseAV1, ParseH264} {
			if n := testing.AllocsPerRun(100, func() { parse(payload, &h) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
	}
}

func FuzzVideoHeaders(f *testing.F) {
	f.Add(unhex(f, "90 e0 8123 07 80 50 01 00 9d012a 8002 6801"))
	f.Add(unhex(f, "78 0019 6742c01fd9005005bb011000000300100000030320f1832480 0004 68ce3c80"))
	f.Add(unhex(f, "67640028acd940780227e5c044000003000400000300c83c60c658"))
	f.Add(unhex(f, "8a 8123 18 0280 0168 00 82 49"))
	f.Add(unhex(f, "18 0a0b"))
	f.Add(unhex(f, "88 7f"+vp9Key))
	f.Add(unhex(f, "c8 7f"+vp9Inter))
	f.Add(unhex(f, "18 0a0e"+av1Header))
	f.Add(unhex(f, "28 02 3210 08"+av1HD))
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, parse := range []func([]byte, *VideoHeader) bool{ParseVP8, ParseVP9, ParseH264, ParseAV1} {
			var h, again VideoHeader
			if !parse(b, &h) {
				continue
			}
			if max(h.Width, h.Height, h.CodedWidth, h.CodedHeight) > 1<<16 || h.Width > h.CodedWidth || h.Height > h.CodedHeight {
				t.Fatalf("parser %d: %d×%d", i, h.Width, h.Height)
			}
			c := bytes.Clone(b)
			h.Patch(c, 0x5A5A, 0x5A)
			if !parse(c, &again) {
				t.Fatalf("parser %d refuses what it patched", i)
			}
			want := h
			want.PictureID = 0x5A5A & (1<<h.PictureIDBits - 1)
			if h.HasTL0PicIdx {
				want.TL0PicIdx = 0x5A
			}
			if want != again {
				t.Fatalf("parser %d: patched %+v, read %+v", i, want, again)
			}
			h.Patch(c, h.PictureID, h.TL0PicIdx)
			if !bytes.Equal(b, c) {
				t.Fatalf("parser %d: patching back gives %x of %x", i, c, b)
			}
		}
	})
}
