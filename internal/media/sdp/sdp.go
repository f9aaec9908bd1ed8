// Package sdp reads the offers of WebRTC clients and writes the answers. An
// Offer is what ParseOffer understood of the text: the transport that all
// sections share and, for each section, its payload types, header extensions,
// streams and direction. An Answer is what the server decided; its Text is the
// SDP that goes back (RFC 8866, RFC 8829, RFC 9143 for BUNDLE). Both are plain
// values and every function is pure: what is accepted is decided elsewhere,
// with the help of the tables in codec.go.
package sdp

import (
	"net/netip"
	"strings"
)

// The limits of an offer. A browser's is 3 KiB and about 4 KiB for each
// section more.
const (
	MaxOffer    = 256 << 10 // bytes
	MaxSections = 300

	maxFormats    = 128 // payload types of a section
	maxExtensions = 64
	maxSSRCs      = 64
	maxRIDs       = 16
	maxFeedback   = 512
	maxWildcard   = 16 // rtcp-fb lines that count for every payload type of a section
	maxToken      = 64 // bytes of a mid or rid
)

// Direction is who sends on a section, from the side of who wrote the text.
type Direction uint8

// The directions. A section that names none is SendRecv.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

var directionNames = [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}

// String is the attribute's name.
func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return "unknown"
}

// Reverse is the same from the other side.
func (d Direction) Reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// Sends reports whether who wrote the text sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives reports whether who wrote the text wants to receive.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// Fingerprint is the hash of a DTLS certificate (RFC 8122).
type Fingerprint struct {
	Hash  string // lower case: "sha-256"
	Value string // upper-case hexadecimal with colons
}

// String is the attribute's value.
func (f Fingerprint) String() string { return f.Hash + " " + f.Value }

// Transport is what one side of ICE and DTLS says of itself.
type Transport struct {
	Ufrag, Password string
	Fingerprint     Fingerprint
	Setup           string // actpass, active or passive (RFC 5763)
}

// Offer is a client's offer.
type Offer struct {
	Origin string // the o= line's value
	// Transport is that of the first section that is not rejected; in a bundle
	// it holds for all of them.
	Transport Transport
	Bundle    []string // mids
	ExtMixed  bool     // a=extmap-allow-mixed: one- and two-byte header extensions
	Sections  []Section
}

// Section is one m-line and what belongs to it.
type Section struct {
	Kind     string // "audio", "video", "application"
	MID      string
	Protocol string // "UDP/TLS/RTP/SAVPF"
	// Rejected says that the client has stopped it: port 0 without bundle-only.
	Rejected  bool
	Direction Direction
	Transport Transport
	RTCPMux   bool
	RTCPRsize bool // reduced-size RTCP (RFC 5506)

	Formats    []string // of the m-line, as they stand
	Payloads   []Payload
	Extensions []Extension

	StreamID, TrackID string // of a=msid
	SSRCs             []uint32
	FID               [][2]uint32 // SSRC of a stream and that of its retransmissions
	CNAME             string

	// RIDs are the layers that the client sends, in the order of a=simulcast, or
	// of their a=rid lines when there is none. Of alternatives the first counts.
	RIDs      []string
	Simulcast bool
}

// Payload is one payload type.
type Payload struct {
	Type       uint8
	Name       string // of rtpmap: "opus", "VP8"
	ClockRate  uint32
	Channels   uint8  // 0 when not given
	Parameters string // of fmtp, as it stands; "" for none
	Feedback   []string
}

// Extension is one header extension (RFC 8285).
type Extension struct {
	ID        uint8
	URI       string
	Direction Direction // SendRecv when not given
}

// Payload returns the payload type with that number, nil when there is none.
func (s *Section) Payload(pt uint8) *Payload {
	for i := range s.Payloads {
		if s.Payloads[i].Type == pt {
			return &s.Payloads[i]
		}
	}
	return nil
}

// Extension returns the id of a header extension, 0 when it was not offered.
func (s *Section) Extension(uri string) uint8 {
	for _, e := range s.Extensions {
		if e.URI == uri {
			return e.ID
		}
	}
	return 0
}

// Repair returns the SSRC that retransmits for ssrc, 0 when the offer names none.
func (s *Section) Repair(ssrc uint32) uint32 {
	for _, g := range s.FID {
		if g[0] == ssrc {
			return g[1]
		}
	}
	return 0
}

// Parameter returns one value of the fmtp line: "minptime=10;useinbandfec=1".
// Names are compared without regard to case.
func (p *Payload) Parameter(name string) (value string, ok bool) {
	for rest := p.Parameters; rest != ""; {
		var item string
		item, rest, _ = strings.Cut(rest, ";")
		k, v, _ := strings.Cut(strings.TrimSpace(item), "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// Candidate is an address of the server's media; TCP is passive (RFC 6544).
type Candidate struct {
	Addr netip.AddrPort
	TCP  bool
}

// Answer is the server's answer. It has one section for each of the offer, in
// the same order.
type Answer struct {
	SessionID, Version uint64 // of the o= line; the version grows with each answer
	Transport          Transport
	// Candidates are the addresses of the media, best first. They are written as
	// host candidates of component 1 into the first section that is accepted:
	// clients delete other types, and bundled ICE looks only there.
	Candidates []Candidate
	ExtMixed   bool
	Sections   []AnswerSection
}

// AnswerSection is one section of an Answer.
type AnswerSection struct {
	Kind, MID, Protocol string
	Formats             []string // used for a rejected section alone
	Rejected            bool
	Direction           Direction // the server's
	Payloads            []Payload // with the parameters and feedback to write
	Extensions          []Extension
	RTCPRsize           bool

	StreamID, TrackID string   // a=msid, "" for none
	SSRCs             []uint32 // what the server sends: primary, then its retransmissions
	CNAME             string
	RIDs              []string // layers that the server takes
}

// Answer begins the answer to a section: what must be echoed is filled in and
// everything else is rejected.
func (s *Section) Answer() AnswerSection {
	return AnswerSection{
		Kind: s.Kind, MID: s.MID, Protocol: s.Protocol, Formats: s.Formats,
		Rejected: true, Direction: Inactive, RTCPRsize: s.RTCPRsize,
	}
}
