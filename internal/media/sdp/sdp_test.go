package sdp

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

var update = flag.Bool("update", false, "write the golden answers anew")

// The offers of testdata are Chromium's, changed as the client changes them.
var chromium = []string{
	"audio", "join", "camera", "receive", "removed", "reused", "again", "simulcast", "video-only", "red-data",
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, text string) *Offer {
	t.Helper()
	o, err := ParseOffer(text)
	if err != nil {
		t.Fatalf("ParseOffer: %v", err)
	}
	return o
}

var (
	wantAudio   = []string{ExtAudioLevel, ExtAbsSendTime}
	wantSending = []string{ExtMID, ExtRID, ExtRepairedRID, ExtAbsSendTime, ExtTransportCC, ExtOrientation}
	wantSeen    = []string{ExtMID, ExtAbsSendTime, ExtOrientation}
	accept      = []meeting.VideoCodec{meeting.CodecVP8, meeting.CodecH264CBP}
	feedback    = []string{"transport-cc", "ccm fir", "nack", "nack pli", "goog-remb"}
)

// reply accepts what a server of audio and video would.
func reply(o *Offer) *Answer {
	a := &Answer{
		SessionID: 4711, Version: 3, ExtMixed: o.ExtMixed,
		Transport: Transport{
			Ufrag: "belfryUfrag", Password: "belfryPasswordOf22Chars+",
			Fingerprint: Fingerprint{Hash: "sha-256", Value: strings.TrimSuffix(strings.Repeat("0A:", 32), ":")},
			Setup:       "passive",
		},
		Candidates: []Candidate{
			{Addr: netip.MustParseAddrPort("203.0.113.10:3478")}, {Addr: netip.MustParseAddrPort("[2001:db8::10]:3478")},
		},
	}
	next := uint32(1001)
	for i := range o.Sections {
		s := &o.Sections[i]
		x := s.Answer()
		switch {
		case s.Rejected || !o.Bundled(s):
		case s.Kind == "audio":
			opus := s.Opus()
			if opus == nil {
				break
			}
			p := *opus
			p.Feedback = nil
			x.Rejected, x.Direction = false, s.Direction.Reverse()
			x.Payloads, x.Extensions = []Payload{p}, s.Accept(wantAudio)
			x.StreamID, x.TrackID, x.CNAME, x.SSRCs = "audio", "audio", "belfry", []uint32{next}
			next++
		case s.Kind == "video":
			formats := s.Video(accept)
			if len(formats) == 0 {
				break
			}
			x.Rejected, x.Direction = false, s.Direction.Reverse()
			for _, f := range formats {
				p := f.Payload
				p.Feedback = p.Accept(feedback)
				x.Payloads = append(x.Payloads, p)
				if f.RTX != nil {
					r := *f.RTX
					r.Feedback = nil
					x.Payloads = append(x.Payloads, r)
				}
			}
			if s.Direction == RecvOnly {
				x.Extensions = s.Accept(wantSeen)
				x.StreamID, x.TrackID, x.CNAME = "v_"+s.MID, "track_"+s.MID, "belfry"
				x.SSRCs = []uint32{next, next + 1}
				next += 2
				break
			}
			x.Extensions = s.Accept(wantSending)
			if s.Direction == SendRecv {
				x.StreamID, x.TrackID, x.RIDs = s.StreamID, s.TrackID, s.RIDs
			}
		}
		a.Sections = append(a.Sections, x)
	}
	return a
}

func TestGoldenAnswers(t *testing.T) {
	for _, name := range chromium {
		t.Run(name, func(t *testing.T) {
			got := reply(parse(t, read(t, "chromium-"+name+".sdp"))).Text()
			golden := "answer-" + name + ".sdp"
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", golden), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(read(t, golden), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("answer (-golden +got):\n%s", diff)
			}
		})
	}
}

// split takes the text apart into its session part and its sections, line by line.
func split(text string) [][]string {
	parts := [][]string{nil}
	for _, l := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if strings.HasPrefix(l, "m=") {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], l)
	}
	return parts
}

func find(lines []string, prefix string) (values []string) {
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, prefix); ok {
			values = append(values, v)
		}
	}
	return values
}

// What makes the client lose its connection, its tiles or its codec choice.
func TestAnswersTheClientTakes(t *testing.T) {
	for _, name := range chromium {
		t.Run(name, func(t *testing.T) {
			offer := parse(t, read(t, "chromium-"+name+".sdp"))
			text := reply(offer).Text()

			if n := strings.Count(text, "\n"); n != strings.Count(text, "\r\n") || !strings.HasSuffix(text, "\r\n") {
				t.Error("a line does not end with CRLF")
			}
			parts, offered := split(text), split(read(t, "chromium-"+name+".sdp"))
			session, sections := parts[0], parts[1:]
			if len(sections) != len(offer.Sections) {
				t.Fatalf("%d sections for %d", len(sections), len(offer.Sections))
			}
			if find(session, "a=ice-lite") == nil {
				t.Error("no a=ice-lite")
			}
			bundle := strings.Fields(strings.Join(find(session, "a=group:BUNDLE"), ""))
			var accepted []string
			for i, lines := range sections {
				s := &offer.Sections[i]
				if got := find(lines, "a=mid:"); !cmp.Equal(got, []string{s.MID}) {
					t.Errorf("section %d: mid %q, offered %q", i, got, s.MID)
				}
				m := strings.Fields(strings.TrimPrefix(lines[0], "m="))
				if m[0] != s.Kind || m[2] != s.Protocol {
					t.Errorf("section %d: %q for %s %s", i, lines[0], s.Kind, s.Protocol)
				}
				for _, pt := range m[3:] {
					if !strings.Contains(" "+strings.Join(s.Formats, " ")+" ", " "+pt+" ") {
						t.Errorf("section %d: payload type %s was not offered", i, pt)
					}
				}
				if m[1] == "0" {
					if got := find(lines, "a=ice-ufrag:"); got != nil {
						t.Errorf("section %d is rejected and has a transport", i)
					}
					continue
				}
				accepted = append(accepted, s.MID)
				candidates := find(lines, "a=candidate:")
				if first := len(accepted) == 1; first != (len(candidates) > 0) {
					t.Errorf("section %d has %d candidates; they belong into the first accepted one", i, len(candidates))
				}
				for _, c := range candidates {
					f := strings.Fields(c)
					if len(f) < 8 || f[1] != "1" || f[2] != "udp" || f[6] != "typ" || f[7] != "host" {
						t.Errorf("candidate %q is not a host candidate of component 1", c)
					}
				}
				for attr, want := range map[string]string{
					"a=setup:": "passive", "a=ice-ufrag:": "belfryUfrag", "a=ice-pwd:": "belfryPasswordOf22Chars+",
				} {
					if got := find(lines, attr); !cmp.Equal(got, []string{want}) {
						t.Errorf("section %d: %s %q", i, attr, got)
					}
				}
				if find(lines, "a=rtcp-mux") == nil {
					t.Errorf("section %d: no rtcp-mux", i)
				}
				checkDirection(t, i, s, lines)
				for _, x := range find(lines, "a=extmap:") {
					id, uri, _ := strings.Cut(x, " ")
					id, _, _ = strings.Cut(id, "/")
					if find(offered[i+1], "a=extmap:"+id+" "+uri) == nil {
						t.Errorf("section %d: extension %s was not offered with that id", i, x)
					}
				}
				for _, x := range find(lines, "a=rtcp-fb:") {
					if find(offered[i+1], "a=rtcp-fb:"+x) == nil {
						t.Errorf("section %d: feedback %q was not offered", i, x)
					}
				}
			}
			if !cmp.Equal(bundle, accepted) {
				t.Errorf("BUNDLE %v, accepted sections %v", bundle, accepted)
			}
		})
	}
}

func checkDirection(t *testing.T, i int, s *Section, lines []string) {
	t.Helper()
	has := func(line string) bool { return len(find(lines, line)) > 0 }
	msid := find(lines, "a=msid:")
	switch s.Direction {
	case SendRecv:
		if !has("a=sendrecv") {
			t.Errorf("section %d sends: the client finds it by sendrecv alone", i)
		}
		if s.Kind == "video" && !cmp.Equal(msid, []string{s.StreamID + " " + s.TrackID}) {
			t.Errorf("section %d: msid %q", i, msid)
		}
	case RecvOnly:
		if !has("a=sendonly") || !cmp.Equal(msid, []string{"v_" + s.MID + " track_" + s.MID}) {
			t.Errorf("section %d: a received video needs sendonly and the msid v_%s, has %q", i, s.MID, msid)
		}
		if len(find(lines, "a=ssrc-group:FID ")) != 1 || len(find(lines, "a=ssrc:")) != 2 {
			t.Errorf("section %d: a stream and its repair need two ssrc lines and a group", i)
		}
	case Inactive:
		if !has("a=inactive") {
			t.Errorf("section %d was offered inactive", i)
		}
	}
	if s.Kind == "audio" && !cmp.Equal(msid, []string{"audio audio"}) {
		t.Errorf("section %d: one stream, msid %q", i, msid)
	}
	if s.Kind == "audio" && !has("a=fmtp:111 ") {
		t.Errorf("section %d: the client changes bitrate and stereo in opus's fmtp line alone", i)
	}
}

func TestWhatChromiumOffers(t *testing.T) {
	t.Run("camera", func(t *testing.T) {
		o := parse(t, read(t, "chromium-camera.sdp"))
		if want := "mozilla-chrome "; !strings.HasPrefix(o.Origin, want) {
			t.Errorf("origin %q", o.Origin)
		}
		if !o.ExtMixed || !cmp.Equal(o.Bundle, []string{"0", "1"}) {
			t.Errorf("ExtMixed %v, bundle %v", o.ExtMixed, o.Bundle)
		}
		if o.Transport.Setup != "actpass" || o.Transport.Fingerprint.Hash != "sha-256" || len(o.Transport.Fingerprint.Value) != 95 {
			t.Errorf("transport %+v", o.Transport)
		}
		s := &o.Sections[1]
		if s.Direction != SendRecv || !s.RTCPMux || !s.RTCPRsize || s.StreamID == "" || s.TrackID == "" {
			t.Errorf("camera %+v", s)
		}
		if len(s.SSRCs) != 2 || len(s.FID) != 1 || s.Repair(s.SSRCs[0]) != s.SSRCs[1] || s.CNAME == "" {
			t.Errorf("ssrcs %v, FID %v, cname %q", s.SSRCs, s.FID, s.CNAME)
		}
		if s.Extension(ExtVideoLayers) == 0 || s.Extension(ExtTransportCC) != 3 || s.Extension("urn:x") != 0 {
			t.Errorf("extensions %v", s.Extensions)
		}
		// The order is the client's preference: H.264 was moved before VP8.
		var got []meeting.VideoCodec
		for _, f := range s.Video(append(accept, meeting.CodecVP9, meeting.CodecAV1)) {
			got = append(got, f.Codec)
			if f.RTX == nil {
				t.Errorf("%v has no rtx", f.Codec)
			}
		}
		want := []meeting.VideoCodec{meeting.CodecVP9, meeting.CodecH264CBP, meeting.CodecVP8, meeting.CodecAV1}
		if !cmp.Equal(got, want) {
			t.Errorf("codecs %v, want %v", got, want)
		}
		f := s.Video([]meeting.VideoCodec{meeting.CodecH264CBP})[0]
		if f.Payload.Type != 108 || f.RTX.Type != 109 || f.PacketizationMode != 1 {
			t.Errorf("H.264 constrained baseline is %d with rtx %d", f.Payload.Type, f.RTX.Type)
		}
		if v, _ := f.Payload.Parameter("X-Google-Start-Bitrate"); v != "1000" {
			t.Errorf("fmtp %q", f.Payload.Parameters)
		}
	})
	t.Run("simulcast", func(t *testing.T) {
		s := &parse(t, read(t, "chromium-simulcast.sdp")).Sections[1]
		if want := []string{"low", "mid", "hi"}; !s.Simulcast || !cmp.Equal(s.RIDs, want) {
			t.Errorf("rids %v", s.RIDs)
		}
		if s.Extension(ExtRID) == 0 || s.Extension(ExtRepairedRID) == 0 {
			t.Error("no rid extensions")
		}
	})
	t.Run("only feedback that was offered is accepted", func(t *testing.T) {
		o := parse(t, strings.ReplaceAll(read(t, "chromium-camera.sdp"), "a=rtcp-fb:96 nack pli\r\n", ""))
		got := o.Sections[1].Payload(96).Accept([]string{"nack pli", "ccm fir", "nack", "urn:x"})
		if diff := cmp.Diff([]string{"ccm fir", "nack"}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a removed tile", func(t *testing.T) {
		o := parse(t, read(t, "chromium-removed.sdp"))
		if !o.Sections[2].Rejected || o.Sections[3].Rejected {
			t.Errorf("rejected: %v %v", o.Sections[2].Rejected, o.Sections[3].Rejected)
		}
	})
	t.Run("a reused m-line has a new mid", func(t *testing.T) {
		o := parse(t, read(t, "chromium-reused.sdp"))
		if s := o.Sections[2]; s.Rejected || s.MID != "4" || s.Direction != RecvOnly {
			t.Errorf("%+v", s)
		}
	})
	t.Run("redundant audio first", func(t *testing.T) {
		o := parse(t, read(t, "chromium-red-data.sdp"))
		if s := &o.Sections[0]; s.Payloads[0].Name != "red" || s.Opus().Type != 111 {
			t.Errorf("%+v", s.Payloads)
		}
		if red := o.Sections[0].RED(o.Sections[0].Opus()); red == nil || red.Type != 63 || red.Parameters != "111/111" {
			t.Errorf("RED is %+v", red)
		}
		if s := o.Sections[2]; s.Kind != "application" || s.Payloads != nil || !cmp.Equal(s.Formats, []string{"webrtc-datachannel"}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestREDIsTakenWhenItIsPreferred(t *testing.T) {
	opus := Payload{Type: 111, Name: "opus", ClockRate: 48000, Channels: 2}
	red := func(parameters string) Payload {
		return Payload{Type: 63, Name: "RED", ClockRate: 48000, Channels: 2, Parameters: parameters}
	}
	mono := red("111/111")
	mono.Channels = 0
	slow := red("111/111")
	slow.ClockRate = 8000
	for name, c := range map[string]struct {
		payloads []Payload
		want     uint8
	}{
		"first":                  {[]Payload{red("111/111"), opus}, 63},
		"first, with three":      {[]Payload{red("111/111/111"), opus}, 63},
		"behind Opus":            {[]Payload{opus, red("111/111")}, 0},
		"before Opus, not first": {[]Payload{{Type: 0, Name: "PCMU", ClockRate: 8000}, red("111/111"), opus}, 63},
		"of another codec":       {[]Payload{red("0/0"), opus}, 0},
		"of two codecs":          {[]Payload{red("111/0"), opus}, 0},
		"of what it says not":    {[]Payload{red(""), opus}, 0},
		"of one channel":         {[]Payload{mono, opus}, 0},
		"at another rate":        {[]Payload{slow, opus}, 0},
		"not offered":            {[]Payload{opus}, 0},
	} {
		s := Section{Payloads: c.payloads}
		var got uint8
		if p := s.RED(s.Opus()); p != nil {
			got = p.Type
		}
		if got != c.want {
			t.Errorf("%s: payload type %d, want %d", name, got, c.want)
		}
	}
}

func TestNoise(t *testing.T) {
	opus := Payload{Type: 111, Name: "opus", ClockRate: 48000, Channels: 2}
	for name, c := range map[string]struct {
		payloads []Payload
		want     uint8
	}{
		"static":              {[]Payload{opus, {Type: 13, Name: "CN", ClockRate: 8000}}, 13},
		"behind another":      {[]Payload{opus, {Type: 106, Name: "CN", ClockRate: 32000}, {Type: 13, Name: "cn", ClockRate: 8000}}, 13},
		"at the rate of ours": {[]Payload{opus, {Type: 107, Name: "CN", ClockRate: 48000}}, 0},
		"another codec":       {[]Payload{opus, {Type: 0, Name: "PCMU", ClockRate: 8000}}, 0},
		"not offered":         {[]Payload{opus}, 0},
	} {
		s := Section{Payloads: c.payloads}
		var got uint8
		if p := s.Noise(); p != nil {
			got = p.Type
		}
		if got != c.want {
			t.Errorf("%s: payload type %d, want %d", name, got, c.want)
		}
	}
}

// Ports, SSRCs and ids that belong together stay what they are from one offer
// of a connection to the next.
func TestCameraOffAndOnKeepsItsSSRC(t *testing.T) {
	on := parse(t, read(t, "chromium-camera.sdp")).Sections[1]
	again := parse(t, read(t, "chromium-again.sdp")).Sections[1]
	if diff := cmp.Diff(on.SSRCs, again.SSRCs); diff != "" {
		t.Errorf("SSRCs: %s", diff)
	}
	if diff := cmp.Diff(on.Extensions, again.Extensions); diff != "" {
		t.Errorf("extensions: %s", diff)
	}
}

func TestLineEnds(t *testing.T) {
	for _, name := range chromium {
		crlf := read(t, "chromium-"+name+".sdp")
		want := parse(t, crlf)
		for _, text := range []string{
			strings.ReplaceAll(crlf, "\r\n", "\n"),
			strings.TrimSuffix(crlf, "\r\n"),
			crlf + "\r\n\r\n",
		} {
			if diff := cmp.Diff(want, parse(t, text)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}
