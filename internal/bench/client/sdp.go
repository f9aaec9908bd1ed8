package client

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Payload types and extension ids of the offers.
const (
	opusType = 111
	vp8Type  = 96
	rtxType  = 97

	extLevel = 1
	extAbs   = 2
	extTWCC  = 3
	extMID   = 4
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
	c.version++
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
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
		types := fmt.Sprint(opusType)
		if s.Kind == "video" {
			types = fmt.Sprint(vp8Type, " ", rtxType)
		}
		line("m=%s 9 UDP/TLS/RTP/SAVPF %s", s.Kind, types)
		line("c=IN IP4 0.0.0.0")
		line("a=rtcp:9 IN IP4 0.0.0.0")
		line("a=ice-ufrag:%s", c.ufrag)
		line("a=ice-pwd:%s", c.pwd)
		line("a=fingerprint:%s", c.identity.fingerprint)
		line("a=setup:actpass")
		line("a=mid:%s", s.MID)
		if s.Kind == "audio" {
			line("a=extmap:%d urn:ietf:params:rtp-hdrext:ssrc-audio-level", extLevel)
		}
		line("a=extmap:%d http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", extAbs)
		line("a=extmap:%d http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", extTWCC)
		line("a=extmap:%d urn:ietf:params:rtp-hdrext:sdes:mid", extMID)
		line("a=%s", s.Direction)
		sends := strings.HasPrefix(s.Direction, "send")
		if sends {
			line("a=msid:stream-%s track-%s", s.MID, s.MID)
		}
		line("a=rtcp-mux")
		line("a=rtcp-rsize")
		if s.Kind == "audio" {
			line("a=rtpmap:%d opus/48000/2", opusType)
			line("a=rtcp-fb:%d transport-cc", opusType)
			line("a=fmtp:%d minptime=10;useinbandfec=1", opusType)
		} else {
			line("a=rtpmap:%d VP8/90000", vp8Type)
			for _, f := range []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"} {
				line("a=rtcp-fb:%d %s", vp8Type, f)
			}
			line("a=rtpmap:%d rtx/90000", rtxType)
			line("a=fmtp:%d apt=%d", rtxType, vp8Type)
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

// remote is what an answer says of the server's transport.
type remote struct {
	addr        netip.AddrPort
	ufrag, pwd  string
	fingerprint string
	setup       string
}

// readAnswer takes the transport out of an answer.
func readAnswer(text string) (remote, error) {
	var r remote
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
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
		return r, fmt.Errorf("the answer has no IPv4 candidate, or no ICE and DTLS parameters: %.2000q", text)
	}
	return r, nil
}
