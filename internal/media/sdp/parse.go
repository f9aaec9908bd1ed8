package sdp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseOffer reads an offer with either line end. It is strict about what the
// answer depends on and skips attributes that it does not know. The error
// names the line or the section at fault.
func ParseOffer(text string) (*Offer, error) {
	if len(text) > MaxOffer {
		return nil, fmt.Errorf("offer of %d bytes is longer than %d", len(text), MaxOffer)
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("offer is not UTF-8")
	}
	p := parser{offer: &Offer{}}
	number := 0
	for rest := text; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		number++
		if line == "" {
			continue
		}
		if err := p.line(line, number == 1); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p.offer, nil
}

type parser struct {
	offer   *Offer
	session Transport // what the session level says, for sections that say nothing
	prints  []Fingerprint
	dir     Direction // the session level's default
	rsize   bool

	section    *Section // nil at the session level
	bundleOnly bool
	zeroPort   bool
	ownPrints  []Fingerprint
	simulcast  []string
	feedback   int

	// Attributes of payload types may stand before their rtpmap, and some name
	// a type that the m-line does not have.
	wildcard []string
}

func (p *parser) line(line string, first bool) error {
	if len(line) < 2 || line[1] != '=' {
		return fmt.Errorf("%s is not of the form <type>=<value>", quote(line))
	}
	if strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }) >= 0 {
		return errors.New("control character")
	}
	value := line[2:]
	if first != (line[0] == 'v') {
		return errors.New("an offer begins with v=0")
	}
	switch line[0] {
	case 'v':
		if value != "0" {
			return fmt.Errorf("version %s is not 0", quote(value))
		}
	case 'o':
		p.offer.Origin = value
	case 'm':
		p.endSection()
		return p.media(value)
	case 'a':
		name, val, _ := strings.Cut(value, ":")
		if p.section == nil {
			return p.sessionAttribute(name, val)
		}
		return p.attribute(name, val)
	}
	return nil
}

func (p *parser) media(value string) error {
	if len(p.offer.Sections) == MaxSections {
		return fmt.Errorf("more than %d sections", MaxSections)
	}
	f := strings.Fields(value)
	if len(f) < 4 {
		return fmt.Errorf("m-line %s has fewer than four parts", quote(value))
	}
	if len(f)-3 > maxFormats {
		return fmt.Errorf("m-line has more than %d formats", maxFormats)
	}
	port, _, _ := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port %s is not a number", quote(f[1]))
	}
	for _, x := range f {
		// The answer repeats these even for a section that it rejects.
		if len(x) > maxToken || strings.IndexFunc(x, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			return fmt.Errorf("m-line has the malformed part %s", quote(x))
		}
	}
	s := Section{
		Kind: f[0], Protocol: f[2], Formats: f[3:], Direction: p.dir,
		Transport: p.session, RTCPRsize: p.rsize,
	}
	if s.rtp() {
		for _, x := range s.Formats {
			pt, err := payloadType(x)
			if err != nil {
				return err
			}
			if s.Payload(pt) == nil {
				s.Payloads = append(s.Payloads, Payload{Type: pt})
			}
		}
	}
	p.offer.Sections = append(p.offer.Sections, s)
	p.section = &p.offer.Sections[len(p.offer.Sections)-1]
	p.zeroPort, p.bundleOnly = n == 0, false
	p.ownPrints, p.simulcast, p.feedback, p.wildcard = nil, nil, 0, nil
	return nil
}

// rtp reports whether the section's formats are payload types.
func (s *Section) rtp() bool { return strings.Contains(s.Protocol, "RTP/") }

func (p *parser) sessionAttribute(name, val string) error {
	switch name {
	case "group":
		f := strings.Fields(val)
		if len(f) > 0 && f[0] == "BUNDLE" {
			if len(f)-1 > MaxSections {
				return fmt.Errorf("BUNDLE group has more than %d members", MaxSections)
			}
			p.offer.Bundle = append(p.offer.Bundle[:0], f[1:]...)
		}
	case "extmap-allow-mixed":
		p.offer.ExtMixed = true
	case "rtcp-rsize":
		p.rsize = true
	case "sendrecv", "sendonly", "recvonly", "inactive":
		p.dir = direction(name)
	default:
		return p.transport(&p.session, &p.prints, name, val)
	}
	return nil
}

func (p *parser) transport(t *Transport, prints *[]Fingerprint, name, val string) error {
	switch name {
	case "ice-ufrag":
		if !iceChars(val, 4, 256) {
			return fmt.Errorf("ice-ufrag is not 4 to 256 characters of ICE (RFC 8839)")
		}
		t.Ufrag = val
	case "ice-pwd":
		if !iceChars(val, 22, 256) {
			return fmt.Errorf("ice-pwd is not 22 to 256 characters of ICE (RFC 8839)")
		}
		t.Password = val
	case "setup":
		switch val {
		case "actpass", "active", "passive":
			t.Setup = val
		default:
			return fmt.Errorf("setup %s is not actpass, active or passive", quote(val))
		}
	case "fingerprint":
		f, err := parseFingerprint(val)
		if err != nil {
			return err
		}
		if len(*prints) < 8 {
			*prints = append(*prints, f)
		}
	}
	return nil
}

func (p *parser) attribute(name, val string) error {
	s := p.section
	switch name {
	case "mid":
		if !token(val) {
			return fmt.Errorf("mid %s is not a token of at most %d characters", quote(val), maxToken)
		}
		s.MID = val
	case "bundle-only":
		p.bundleOnly = true
	case "rtcp-mux":
		s.RTCPMux = true
	case "rtcp-rsize":
		s.RTCPRsize = true
	case "sendrecv", "sendonly", "recvonly", "inactive":
		s.Direction = direction(name)
	case "rtpmap":
		return p.rtpmap(val)
	case "fmtp":
		n, params, _ := strings.Cut(val, " ")
		pt, err := payloadType(n)
		if err != nil {
			return err
		}
		if x := s.Payload(pt); x != nil {
			x.Parameters = strings.TrimSpace(params)
		}
	case "rtcp-fb":
		return p.rtcpFeedback(val)
	case "extmap":
		return p.extmap(val)
	case "msid":
		f := strings.Fields(val)
		if len(f) > 0 && s.StreamID == "" {
			s.StreamID = f[0]
			if len(f) > 1 {
				s.TrackID = f[1]
			}
		}
	case "ssrc":
		return p.ssrc(val)
	case "ssrc-group":
		f := strings.Fields(val)
		if len(f) != 3 || f[0] != "FID" {
			return nil // FEC-FR, SIM and groups of other sizes are not used
		}
		var g [2]uint32
		for i := range g {
			v, err := strconv.ParseUint(f[i+1], 10, 32)
			if err != nil {
				return fmt.Errorf("ssrc-group %s: not a number", quote(val))
			}
			g[i] = uint32(v)
		}
		if len(s.FID) == maxSSRCs {
			return fmt.Errorf("more than %d ssrc-groups in a section", maxSSRCs)
		}
		s.FID = append(s.FID, g)
	case "rid":
		f := strings.Fields(val)
		if len(f) < 2 || !token(f[0]) {
			return fmt.Errorf("rid %s is malformed", quote(val))
		}
		if f[1] != "send" {
			return nil
		}
		if len(s.RIDs) == maxRIDs {
			return fmt.Errorf("more than %d rids in a section", maxRIDs)
		}
		if !slices.Contains(s.RIDs, f[0]) {
			s.RIDs = append(s.RIDs, f[0])
		}
	case "simulcast":
		return p.simulcastOrder(val)
	default:
		return p.transport(&s.Transport, &p.ownPrints, name, val)
	}
	return nil
}

func (p *parser) rtpmap(val string) error {
	n, enc, ok := strings.Cut(val, " ")
	pt, err := payloadType(n)
	if err != nil {
		return err
	}
	f := strings.Split(strings.TrimSpace(enc), "/")
	if !ok || len(f) < 2 || len(f) > 3 || f[0] == "" {
		return fmt.Errorf("rtpmap %s is malformed", quote(val))
	}
	rate, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil || rate == 0 {
		return fmt.Errorf("rtpmap %s: clock rate is not a number", quote(val))
	}
	x := p.section.Payload(pt)
	if x == nil {
		return nil
	}
	x.Name, x.ClockRate = f[0], uint32(rate)
	if len(f) == 3 {
		ch, err := strconv.ParseUint(f[2], 10, 8)
		if err != nil {
			return fmt.Errorf("rtpmap %s: channels is not a number", quote(val))
		}
		x.Channels = uint8(ch)
	}
	return nil
}

func (p *parser) rtcpFeedback(val string) error {
	n, what, ok := strings.Cut(val, " ")
	what = strings.TrimSpace(what)
	if !ok || what == "" {
		return fmt.Errorf("rtcp-fb %s is malformed", quote(val))
	}
	if p.feedback++; p.feedback > maxFeedback {
		return fmt.Errorf("more than %d rtcp-fb lines in a section", maxFeedback)
	}
	if n == "*" {
		if len(p.wildcard) == maxWildcard {
			return fmt.Errorf("more than %d rtcp-fb lines for all payload types", maxWildcard)
		}
		p.wildcard = append(p.wildcard, what)
		return nil
	}
	pt, err := payloadType(n)
	if err != nil {
		return err
	}
	if x := p.section.Payload(pt); x != nil {
		x.Feedback = append(x.Feedback, what)
	}
	return nil
}

func (p *parser) extmap(val string) error {
	f := strings.Fields(val)
	if len(f) < 2 {
		return fmt.Errorf("extmap %s is malformed", quote(val))
	}
	num, dir, _ := strings.Cut(f[0], "/")
	id, err := strconv.ParseUint(num, 10, 16)
	if err != nil || id == 0 {
		return fmt.Errorf("extmap %s: the id is not a number from 1", quote(val))
	}
	e := Extension{ID: uint8(id), URI: f[1]}
	switch dir {
	case "", "sendrecv", "sendonly", "recvonly", "inactive":
		e.Direction = direction(dir)
	default:
		return fmt.Errorf("extmap %s: unknown direction", quote(val))
	}
	if id > 255 {
		return nil // 4096 and up are for later assignment (RFC 8285 6)
	}
	s := p.section
	for _, x := range s.Extensions {
		if x.ID == e.ID {
			return fmt.Errorf("extmap id %d is given twice", id)
		}
	}
	if len(s.Extensions) == maxExtensions {
		return fmt.Errorf("more than %d header extensions in a section", maxExtensions)
	}
	s.Extensions = append(s.Extensions, e)
	return nil
}

func (p *parser) ssrc(val string) error {
	n, attr, _ := strings.Cut(val, " ")
	v, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		return fmt.Errorf("ssrc %s is not a number", quote(n))
	}
	s := p.section
	if !slices.Contains(s.SSRCs, uint32(v)) {
		if len(s.SSRCs) == maxSSRCs {
			return fmt.Errorf("more than %d ssrcs in a section", maxSSRCs)
		}
		s.SSRCs = append(s.SSRCs, uint32(v))
	}
	switch name, x, _ := strings.Cut(attr, ":"); name {
	case "cname":
		s.CNAME = x
	case "msid":
		if f := strings.Fields(x); len(f) == 2 && s.StreamID == "" {
			s.StreamID, s.TrackID = f[0], f[1]
		}
	}
	return nil
}

// simulcastOrder reads "send low;mid,alt;~hi recv …" (RFC 8853).
func (p *parser) simulcastOrder(val string) error {
	f := strings.Fields(val)
	for i := 0; i+1 < len(f); i += 2 {
		if f[i] != "send" {
			continue
		}
		p.section.Simulcast = true
		for _, layer := range strings.Split(f[i+1], ";") {
			rid, _, _ := strings.Cut(layer, ",")
			rid = strings.TrimPrefix(rid, "~")
			if !token(rid) {
				return fmt.Errorf("simulcast %s is malformed", quote(val))
			}
			if len(p.simulcast) == maxRIDs {
				return fmt.Errorf("more than %d simulcast layers", maxRIDs)
			}
			if !slices.Contains(p.simulcast, rid) {
				p.simulcast = append(p.simulcast, rid)
			}
		}
	}
	return nil
}

// endSection settles what needs the whole section.
func (p *parser) endSection() {
	s := p.section
	if s == nil {
		return
	}
	s.Rejected = p.zeroPort && !p.bundleOnly
	prints := p.ownPrints
	if len(prints) == 0 {
		prints = p.prints
	}
	s.Transport.Fingerprint = preferred(prints)
	if p.simulcast != nil {
		// The order is a=simulcast's; what has no a=rid line cannot be sent.
		s.RIDs = slices.DeleteFunc(p.simulcast, func(rid string) bool {
			return !slices.Contains(s.RIDs, rid)
		})
	}
	if len(p.wildcard) > 0 {
		for i := range s.Payloads {
			s.Payloads[i].Feedback = append(s.Payloads[i].Feedback, p.wildcard...)
		}
	}
	for i := range s.Payloads {
		staticPayload(&s.Payloads[i])
	}
	p.section = nil
}

func (p *parser) finish() error {
	p.endSection()
	o := p.offer
	if len(o.Sections) == 0 {
		return errors.New("offer has no m-line")
	}
	seen := make(map[string]bool, len(o.Sections))
	found := false
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Rejected {
			continue
		}
		if s.MID == "" {
			return fmt.Errorf("section %d has no mid", i)
		}
		if seen[s.MID] {
			return fmt.Errorf("mid %s is given twice", quote(s.MID))
		}
		seen[s.MID] = true
		if !found {
			found = true
			o.Transport = s.Transport
			switch t := &o.Transport; {
			case t.Ufrag == "":
				return fmt.Errorf("section %s has no ice-ufrag", quote(s.MID))
			case t.Password == "":
				return fmt.Errorf("section %s has no ice-pwd", quote(s.MID))
			case t.Fingerprint.Hash == "":
				return fmt.Errorf("section %s has no fingerprint", quote(s.MID))
			case t.Setup == "":
				t.Setup = "actpass"
			}
		}
	}
	if !found {
		return errors.New("every section of the offer is rejected")
	}
	return nil
}

// Bundled reports whether the section shares the offer's transport: it is a
// member of the BUNDLE group, or the only section in use.
func (o *Offer) Bundled(s *Section) bool {
	if slices.Contains(o.Bundle, s.MID) {
		return true
	}
	for i := range o.Sections {
		if !o.Sections[i].Rejected {
			return o.Sections[i].MID == s.MID
		}
	}
	return false
}

func direction(name string) Direction {
	for i, n := range directionNames {
		if n == name {
			return Direction(i)
		}
	}
	return SendRecv
}

func payloadType(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 127 {
		return 0, fmt.Errorf("payload type %s is not a number from 0 to 127", quote(s))
	}
	return uint8(n), nil
}

// staticPayload names the payload types that need no rtpmap (RFC 3551 6).
func staticPayload(p *Payload) {
	if p.Name != "" {
		return
	}
	switch p.Type {
	case 0:
		p.Name, p.ClockRate = "PCMU", 8000
	case 8:
		p.Name, p.ClockRate = "PCMA", 8000
	case 9:
		p.Name, p.ClockRate = "G722", 8000
	}
}

// parseFingerprint reads "sha-256 AB:CD:…".
func parseFingerprint(val string) (Fingerprint, error) {
	f := strings.Fields(val)
	if len(f) != 2 {
		return Fingerprint{}, fmt.Errorf("fingerprint %s is malformed", quote(val))
	}
	fp := Fingerprint{Hash: strings.ToLower(f[0]), Value: strings.ToUpper(f[1])}
	size, known := hashSizes[fp.Hash]
	if len(fp.Value)%3 != 2 || known && len(fp.Value) != 3*size-1 {
		return Fingerprint{}, fmt.Errorf("fingerprint of %s has the wrong length", quote(f[0]))
	}
	for i := range len(fp.Value) {
		c := fp.Value[i]
		hex := c >= '0' && c <= '9' || c >= 'A' && c <= 'F'
		if i%3 == 2 && c != ':' || i%3 != 2 && !hex {
			return Fingerprint{}, fmt.Errorf("fingerprint %s is not hexadecimal with colons", quote(val))
		}
	}
	return fp, nil
}

var hashSizes = map[string]int{"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}

// preferred is the SHA-256 fingerprint, or else the first.
func preferred(prints []Fingerprint) Fingerprint {
	for _, f := range prints {
		if f.Hash == "sha-256" {
			return f
		}
	}
	if len(prints) > 0 {
		return prints[0]
	}
	return Fingerprint{}
}

func iceChars(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '+' && c != '/' && c != '-' && c != '_' && c != '=' {
			return false
		}
	}
	return true
}

// token is the grammar of RFC 8866 9, with a bound.
func token(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`{|}~", c) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// quote makes a piece of somebody's text fit for an error message.
func quote(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strconv.QuoteToASCII(s)
}
