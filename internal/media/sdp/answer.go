package sdp

import (
	"strconv"
	"strings"
)

// Text writes the answer. Lines end with CRLF: clients take others for one
// single line.
func (a *Answer) Text() string {
	w := writer{b: make([]byte, 0, 512+1024*len(a.Sections))}
	w.line("v=0")
	w.line("o=- ", strconv.FormatUint(a.SessionID, 10), " ", strconv.FormatUint(a.Version, 10), " IN IP4 127.0.0.1")
	w.line("s=-")
	w.line("t=0 0")
	var bundle strings.Builder
	for i := range a.Sections {
		if s := &a.Sections[i]; !s.Rejected {
			bundle.WriteString(" " + s.MID)
		}
	}
	if bundle.Len() > 0 {
		w.line("a=group:BUNDLE", bundle.String())
	}
	if a.ExtMixed {
		w.line("a=extmap-allow-mixed")
	}
	w.line("a=msid-semantic: WMS *")
	w.line("a=ice-lite")
	candidates := a.Candidates
	for i := range a.Sections {
		s := &a.Sections[i]
		if s.Rejected {
			w.rejected(s)
			continue
		}
		w.section(a, s, candidates)
		candidates = nil
	}
	return string(w.b)
}

type writer struct{ b []byte }

func (w *writer) line(parts ...string) {
	for _, p := range parts {
		w.b = append(w.b, p...)
	}
	w.b = append(w.b, '\r', '\n')
}

func (w *writer) rejected(s *AnswerSection) {
	w.line("m=", s.Kind, " 0 ", s.Protocol, " ", strings.Join(s.Formats, " "))
	w.line("c=IN IP4 0.0.0.0")
	if s.MID != "" {
		w.line("a=mid:", s.MID)
	}
	w.line("a=inactive")
}

func (w *writer) section(a *Answer, s *AnswerSection, candidates []Candidate) {
	port, family, host := "9", "IP4", "0.0.0.0"
	if len(candidates) > 0 && !candidates[0].TCP { // that of the section is UDP's (RFC 8839 4.2.1.2)
		c := candidates[0].Addr
		port, host = strconv.Itoa(int(c.Port())), c.Addr().Unmap().String()
		if c.Addr().Unmap().Is6() {
			family = "IP6"
		}
	}
	var formats strings.Builder
	for i := range s.Payloads {
		formats.WriteString(" " + strconv.Itoa(int(s.Payloads[i].Type)))
	}
	w.line("m=", s.Kind, " ", port, " ", s.Protocol, formats.String())
	w.line("c=IN ", family, " ", host)
	for i, c := range candidates {
		// RFC 8445 5.1.2.1: type preference 126 of a host candidate, then the
		// order given, then component 1. Of TCP (RFC 6544 4.2): 90, so that it is for
		// those alone whom UDP does not reach, then 4 for passive, then the order.
		protocol, passive, priority := "udp", "", 126<<24|(65535-i)<<8|255
		if c.TCP {
			protocol, passive, priority = "tcp", " tcptype passive", 90<<24|(4<<13|max(8191-i, 0))<<8|255
		}
		w.line("a=candidate:", strconv.Itoa(i+1), " 1 ", protocol, " ", strconv.Itoa(priority), " ",
			c.Addr.Addr().Unmap().String(), " ", strconv.Itoa(int(c.Addr.Port())), " typ host", passive, " generation 0")
	}
	if len(candidates) > 0 {
		w.line("a=end-of-candidates")
	}
	w.line("a=ice-ufrag:", a.Transport.Ufrag)
	w.line("a=ice-pwd:", a.Transport.Password)
	w.line("a=fingerprint:", a.Transport.Fingerprint.String())
	w.line("a=setup:", a.Transport.Setup)
	w.line("a=mid:", s.MID)
	for _, e := range s.Extensions {
		id := strconv.Itoa(int(e.ID))
		if e.Direction != SendRecv {
			id += "/" + e.Direction.String()
		}
		w.line("a=extmap:", id, " ", e.URI)
	}
	w.line("a=", s.Direction.String())
	if s.StreamID != "" {
		w.line("a=msid:", s.StreamID, " ", s.TrackID)
	}
	w.line("a=rtcp-mux")
	if s.RTCPRsize {
		w.line("a=rtcp-rsize")
	}
	for i := range s.Payloads {
		w.payload(&s.Payloads[i])
	}
	for _, rid := range s.RIDs {
		w.line("a=rid:", rid, " recv")
	}
	if len(s.RIDs) > 0 {
		w.line("a=simulcast:recv ", strings.Join(s.RIDs, ";"))
	}
	if len(s.SSRCs) == 2 {
		w.line("a=ssrc-group:FID ", ssrc(s.SSRCs[0]), " ", ssrc(s.SSRCs[1]))
	}
	for _, x := range s.SSRCs {
		w.line("a=ssrc:", ssrc(x), " cname:", s.CNAME)
	}
}

func (w *writer) payload(p *Payload) {
	pt := strconv.Itoa(int(p.Type))
	enc := p.Name + "/" + strconv.FormatUint(uint64(p.ClockRate), 10)
	if p.Channels > 0 {
		enc += "/" + strconv.Itoa(int(p.Channels))
	}
	w.line("a=rtpmap:", pt, " ", enc)
	for _, f := range p.Feedback {
		w.line("a=rtcp-fb:", pt, " ", f)
	}
	if p.Parameters != "" {
		w.line("a=fmtp:", pt, " ", p.Parameters)
	}
}

func ssrc(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
