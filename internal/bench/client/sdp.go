package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// numbers are the payload types and extension ids of a connection. Who offers
// chooses them; 0 is what it does not have.
type numbers struct {
	opus, vp8, rtx        uint8
	level, abs, twcc, mid uint8
}

// ours are those of our offers.
var ours = numbers{opus: 111, vp8: 96, rtx: 97, level: 1, abs: 2, twcc: 3, mid: 4}

// PayloadRED is the payload type of redundant sound (RFC 2198), of who has Config.RED.
const PayloadRED = 63

// Of the extensions of an SDP.
const (
	levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	absURI   = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	twccURI  = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	midURI   = "urn:ietf:params:rtp-hdrext:sdes:mid"
)

// Section is one media section of the offer.
type Section struct {
	Kind      string // "audio" or "video"
	MID       string
	Direction string // "sendrecv", "sendonly", "recvonly" or "inactive"
}

// Offer writes an offer with these sections, as a browser would. A section that
// sends is the Client's microphone or camera.
func (c *Client) Offer(sections []Section) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.describe(sections, "actpass")
}

// Answer answers the server's offer: sections that it sends are received, and
// nothing is sent. Connect goes on from there, with the same offer.
func (c *Client) Answer(offer string) (string, error) {
	if _, err := readRemote(offer); err != nil {
		return "", err
	}
	sections, n, err := readOffer(offer)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.numbers, c.answers = n, true
	return c.describe(sections, "active"), nil
}

// describe writes the SDP.
func (c *Client) describe(sections []Section, setup string) string {
	c.version++
	n := c.numbers
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	extension := func(id uint8, uri string) {
		if id > 0 {
			line("a=extmap:%d %s", id, uri)
		}
	}
	line("v=0")
	line("o=- 4611731400430051336 %d IN IP4 127.0.0.1", c.version)
	line("s=-")
	line("t=0 0")
	bundle := "a=group:BUNDLE"
	for _, s := range sections {
		bundle += " " + s.MID
	}
	line("%s", bundle)
	line("a=extmap-allow-mixed")
	line("a=msid-semantic: WMS")
	for _, s := range sections {
		types := fmt.Sprint(n.opus)
		red := c.cfg.RED && s.Kind == "audio"
		if red {
			types = fmt.Sprint(PayloadRED, " ", n.opus) // which comes first is preferred
		}
		if s.Kind == "video" {
			types = fmt.Sprint(n.vp8)
			if n.rtx > 0 {
				types += fmt.Sprint(" ", n.rtx)
			}
		}
		line("m=%s 9 UDP/TLS/RTP/SAVPF %s", s.Kind, types)
		line("c=IN IP4 0.0.0.0")
		line("a=rtcp:9 IN IP4 0.0.0.0")
		local := c.wire.local()
		line("a=candidate:1 1 udp 2130706431 %s %d typ host", local.Addr(), local.Port())
		line("a=end-of-candidates")
		line("a=ice-ufrag:%s", c.ufrag)
		line("a=ice-pwd:%s", c.pwd)
		line("a=fingerprint:%s", c.identity.fingerprint)
		line("a=setup:%s", setup)
		line("a=mid:%s", s.MID)
		if s.Kind == "audio" {
			extension(n.level, levelURI)
		}
		extension(n.abs, absURI)
		extension(n.twcc, twccURI)
		extension(n.mid, midURI)
		line("a=%s", s.Direction)
		sends := strings.HasPrefix(s.Direction, "send")
		if sends {
			line("a=msid:stream-%s track-%s", s.MID, s.MID)
		}
		line("a=rtcp-mux")
		line("a=rtcp-rsize")
		if s.Kind == "audio" {
			line("a=rtpmap:%d opus/48000/2", n.opus)
			line("a=rtcp-fb:%d transport-cc", n.opus)
			line("a=fmtp:%d minptime=10;useinbandfec=1", n.opus)
			if red {
				line("a=rtpmap:%d red/48000/2", PayloadRED)
				line("a=fmtp:%d %d/%d", PayloadRED, n.opus, n.opus)
			}
		} else {
			line("a=rtpmap:%d VP8/90000", n.vp8)
			for _, f := range []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"} {
				line("a=rtcp-fb:%d %s", n.vp8, f)
			}
			if n.rtx > 0 {
				line("a=rtpmap:%d rtx/90000", n.rtx)
				line("a=fmtp:%d apt=%d", n.rtx, n.vp8)
			}
		}
		if !sends {
			continue
		}
		ssrc := c.audio.ssrc
		if s.Kind == "video" {
			ssrc = c.video.ssrc
			c.video.mid = s.MID
			line("a=ssrc-group:FID %d %d", ssrc, c.video.rtx)
			line("a=ssrc:%d cname:load", c.video.rtx)
		}
		line("a=ssrc:%d cname:load", ssrc)
		line("a=ssrc:%d msid:stream-%s track-%s", ssrc, s.MID, s.MID)
	}
	return b.String()
}

// readOffer takes the sections and numbers out of a server's offer of Opus and VP8.
func readOffer(text string) (sections []Section, n numbers, err error) {
	extensions := map[string]*uint8{levelURI: &n.level, absURI: &n.abs, twccURI: &n.twcc, midURI: &n.mid}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if media, ok := strings.CutPrefix(line, "m="); ok {
			kind, _, _ := strings.Cut(media, " ")
			if kind != "audio" && kind != "video" {
				return nil, n, fmt.Errorf("the offer has a section of %q", kind)
			}
			sections = append(sections, Section{Kind: kind, Direction: "recvonly"})
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		number, what, _ := strings.Cut(value, " ")
		switch name {
		case "mid", "inactive", "recvonly":
			if len(sections) == 0 {
				break
			}
			if s := &sections[len(sections)-1]; name == "mid" {
				s.MID = value
			} else {
				s.Direction = "inactive"
			}
		case "rtpmap", "extmap":
			number, _, _ = strings.Cut(number, "/") // an extension's direction
			id, err := strconv.ParseUint(number, 10, 8)
			if err != nil {
				return nil, n, fmt.Errorf("the offer has %q", line)
			}
			to := extensions[what]
			switch codec := strings.ToLower(what); {
			case name == "extmap":
			case codec == "opus/48000/2":
				to = &n.opus
			case codec == "vp8/90000":
				to = &n.vp8
			case codec == "rtx/90000":
				to = &n.rtx
			}
			if to != nil && *to == 0 {
				*to = uint8(id)
			}
		}
	}
	for _, s := range sections {
		if s.Kind == "audio" && n.opus == 0 || s.Kind == "video" && n.vp8 == 0 {
			return nil, n, fmt.Errorf("the offer has no codec for its %s that is known here", s.Kind)
		}
	}
	if len(sections) == 0 {
		return nil, n, errors.New("the offer has no sections")
	}
	return sections, n, nil
}

// remote is what the server's SDP says of its transport.
type remote struct {
	addr        netip.AddrPort
	ufrag, pwd  string
	fingerprint string
	setup       string
	lite        bool // it does not check by itself
	controls    bool // it is the controlling side of ICE
}

// readRemote takes the transport out of an offer or an answer.
func readRemote(text string) (remote, error) {
	var r remote
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "a=ice-lite":
			r.lite = true
		case "a=ice-ufrag":
			r.ufrag = value
		case "a=ice-pwd":
			r.pwd = value
		case "a=fingerprint":
			r.fingerprint = value
		case "a=setup":
			r.setup = value
		case "a=candidate":
			f := strings.Fields(value)
			if len(f) < 8 || !strings.EqualFold(f[2], "udp") || r.addr.IsValid() {
				continue
			}
			ip, err := netip.ParseAddr(f[4])
			port, err2 := strconv.ParseUint(f[5], 10, 16)
			if err == nil && err2 == nil && ip.Is4() {
				r.addr = netip.AddrPortFrom(ip, uint16(port))
			}
		}
	}
	if !r.addr.IsValid() || r.ufrag == "" || r.pwd == "" || r.fingerprint == "" || r.setup == "" {
		return r, fmt.Errorf("the server's SDP has no IPv4 candidate, or no ICE and DTLS parameters: %.2000q", text)
	}
	return r, nil
}
