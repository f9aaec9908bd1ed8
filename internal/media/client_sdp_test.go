package media

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	pionsdp "github.com/pion/sdp/v3"

	"belfry/internal/meeting"
)

// text is the offer.
func (c *client) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=mozilla-chrome 301792825697284280 %d IN IP4 127.0.0.1", c.version)
	line("s=-")
	line("t=0 0")
	bundle := "a=group:BUNDLE"
	for _, s := range c.sections {
		if !s.rejected {
			bundle += " " + s.mid
		}
	}
	line("%s", bundle)
	line("a=extmap-allow-mixed")
	line("a=msid-semantic: WMS")
	for i, s := range c.sections {
		port := 9
		if s.rejected {
			port = 0
		}
		var formats, maps []string
		codec := func(pt uint8, name string, attributes ...string) {
			formats = append(formats, strconv.Itoa(int(pt)))
			maps = append(maps, fmt.Sprintf("a=rtpmap:%d %s", pt, name))
			for _, a := range attributes {
				what, rest, _ := strings.Cut(a, " ")
				maps = append(maps, fmt.Sprintf("a=%s:%d %s", what, pt, rest))
			}
		}
		if s.kind == "audio" {
			if c.redFirst {
				codec(63, "red/48000/2", fmt.Sprintf("fmtp %d/%d", c.opus, c.opus))
			}
			codec(c.opus, "opus/48000/2", "rtcp-fb transport-cc", "fmtp minptime=10;useinbandfec=1")
			if !c.redFirst {
				codec(63, "red/48000/2", fmt.Sprintf("fmtp %d/%d", c.opus, c.opus))
			}
			codec(9, "G722/8000")
			if c.noise {
				codec(13, "CN/8000")
			}
			codec(126, "telephone-event/8000")
		} else {
			feedback := []string{"rtcp-fb goog-remb", "rtcp-fb transport-cc", "rtcp-fb ccm fir", "rtcp-fb nack", "rtcp-fb nack pli"}
			codecs := s.codecs
			if codecs == nil {
				codecs = []string{"VP8", "H264", "VP9"}
			}
			if slices.Contains(codecs, "VP8") {
				codec(c.vp8, "VP8/90000", feedback...)
				codec(c.vp8+1, "rtx/90000", fmt.Sprintf("fmtp apt=%d", c.vp8))
			}
			if slices.Contains(codecs, "H264") {
				codec(c.h264, "H264/90000", append(feedback, "fmtp level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")...)
				codec(c.h264+1, "rtx/90000", fmt.Sprintf("fmtp apt=%d", c.h264))
			}
			if slices.Contains(codecs, "VP9") {
				codec(98, "VP9/90000", append(feedback, "fmtp profile-id=0")...)
				codec(99, "rtx/90000", "fmtp apt=98")
			}
		}
		line("m=%s %d UDP/TLS/RTP/SAVPF %s", s.kind, port, strings.Join(formats, " "))
		line("c=IN IP4 0.0.0.0")
		line("a=rtcp:9 IN IP4 0.0.0.0")
		if i == 0 {
			line("a=candidate:1382202356 1 udp 2122194687 192.0.2.2 52526 typ host generation 0 network-id 1")
		}
		line("a=ice-ufrag:8upu")
		line("a=ice-pwd:fTm9g8aavwu5wRpb3CfzSlEG")
		line("a=ice-options:trickle")
		line("a=fingerprint:%s", c.fingerprint)
		line("a=setup:actpass")
		line("a=mid:%s", s.mid)
		if s.kind == "audio" {
			if !c.noLevel {
				line("a=extmap:%d urn:ietf:params:rtp-hdrext:ssrc-audio-level", extLevel)
			}
			line("a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")
			line("a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01")
		} else {
			line("a=extmap:14 urn:ietf:params:rtp-hdrext:toffset")
			line("a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")
			line("a=extmap:13 urn:3gpp:video-orientation")
			line("a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01")
			line("a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id")
			line("a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id")
		}
		line("a=extmap:%d urn:ietf:params:rtp-hdrext:sdes:mid", extMID)
		line("a=%s", s.direction)
		sends := !s.rejected && (s.direction == "sendrecv" || s.direction == "sendonly")
		if sends {
			line("a=msid:stream-%s track-%s", s.mid, s.mid)
		}
		line("a=rtcp-mux")
		line("a=rtcp-rsize")
		for _, m := range maps {
			line("%s", m)
		}
		if sends && s.rids != nil {
			for _, rid := range s.rids {
				line("a=rid:%s send", rid)
			}
			line("a=simulcast:send %s", strings.Join(s.rids, ";"))
			continue
		}
		if sends && s.rtx != 0 {
			line("a=ssrc-group:FID %d %d", s.ssrc, s.rtx)
		}
		if sends {
			line("a=ssrc:%d cname:iL05XZNCoqBI0yDU", s.ssrc)
			line("a=ssrc:%d msid:stream-%s track-%s", s.ssrc, s.mid, s.mid)
		}
		if sends && s.rtx != 0 {
			line("a=ssrc:%d cname:iL05XZNCoqBI0yDU", s.rtx)
		}
	}
	return b.String()
}

// The ids of header extensions that tests look at.
const (
	extLevel = 1
	extMID   = 4
)

func (c *client) offer() meeting.Offer {
	o := meeting.Offer{SDP: c.text(), Muted: c.muted, SendVideo: c.sendVideo}
	for _, s := range c.sections {
		if s.kind == "video" {
			o.Receive = append(o.Receive, s.want)
		}
	}
	return o
}

// negotiate sends an offer and reads the answer.
func (c *client) negotiate() {
	c.t.Helper()
	c.version++
	got, err := c.peer.Negotiate(c.offer())
	if err != nil {
		c.t.Fatalf("%s: negotiate: %v", c.id, err)
	}
	c.answer = parseAnswer(c.t, got)
	if len(c.answer.sections) != len(c.sections) {
		c.t.Fatalf("%s: the answer has %d sections, the offer %d", c.id, len(c.answer.sections), len(c.sections))
	}
}

// answer is what an answer says, as another parser reads it.
type answer struct {
	meeting.Answer
	session, version              uint64
	bundle                        []string
	lite                          bool
	ufrag, pwd, fingerprint, role string
	candidates                    []netip.AddrPort
	sections                      []answered
}

type answered struct {
	kind, mid, direction string
	port                 int
	formats              []string
	msid                 string
	ssrcs                []uint32
	lines                *pionsdp.MediaDescription
}

func parseAnswer(t testing.TB, got meeting.Answer) answer {
	t.Helper()
	var d pionsdp.SessionDescription
	if err := d.UnmarshalString(got.SDP); err != nil {
		t.Fatalf("the answer cannot be parsed: %v\n%s", err, got.SDP)
	}
	a := answer{Answer: got, session: d.Origin.SessionID, version: d.Origin.SessionVersion}
	for _, x := range d.Attributes {
		switch x.Key {
		case "group":
			a.bundle = strings.Fields(x.Value)[1:]
		case "ice-lite":
			a.lite = true
		}
	}
	once := func(field *string, value string) {
		if *field != "" && *field != value {
			t.Fatalf("the answer says both %q and %q", *field, value)
		}
		*field = value
	}
	for _, m := range d.MediaDescriptions {
		s := answered{kind: m.MediaName.Media, port: m.MediaName.Port.Value, formats: m.MediaName.Formats, lines: m}
		for _, x := range m.Attributes {
			switch x.Key {
			case "mid":
				s.mid = x.Value
			case "sendrecv", "sendonly", "recvonly", "inactive":
				s.direction = x.Key
			case "msid":
				s.msid = x.Value
			case "ice-ufrag":
				once(&a.ufrag, x.Value)
			case "ice-pwd":
				once(&a.pwd, x.Value)
			case "fingerprint":
				once(&a.fingerprint, x.Value)
			case "setup":
				once(&a.role, x.Value)
			case "ssrc":
				n, _, _ := strings.Cut(x.Value, " ")
				v, err := strconv.ParseUint(n, 10, 32)
				if err != nil {
					t.Fatalf("a=ssrc:%s", x.Value)
				}
				s.ssrcs = append(s.ssrcs, uint32(v))
			case "candidate":
				f := strings.Fields(x.Value)
				if len(f) < 8 || f[2] != "udp" || f[7] != "host" {
					t.Fatalf("a=candidate:%s is no host candidate", x.Value)
				}
				a.candidates = append(a.candidates, netip.MustParseAddrPort(net.JoinHostPort(f[4], f[5])))
			}
		}
		a.sections = append(a.sections, s)
	}
	return a
}

// track is the SSRC of a section's video, and that of its repair.
func (c *client) track(s *section) (ssrc, rtx uint32) {
	c.t.Helper()
	for i := range c.sections {
		if c.sections[i] == s {
			if got := c.answer.sections[i].ssrcs; len(got) == 2 {
				return got[0], got[1]
			}
		}
	}
	c.t.Fatalf("%s: section %s has no SSRCs in the answer", c.id, s.mid)
	return 0, 0
}

// audio is the SSRC of what the client hears.
func (c *client) audio() uint32 { return c.answer.sections[0].ssrcs[0] }
