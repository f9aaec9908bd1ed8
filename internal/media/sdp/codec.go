package sdp

import (
	"slices"
	"strconv"
	"strings"

	"belfry/internal/meeting"
)

// The header extensions that the server knows.
const (
	ExtAudioLevel         = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	ExtMID                = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ExtRID                = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	ExtRepairedRID        = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
	ExtAbsSendTime        = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	ExtTransportCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	ExtOrientation        = "urn:3gpp:video-orientation"
	ExtDependency         = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
	ExtVideoLayers        = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
	ExtTransmissionOffset = "urn:ietf:params:rtp-hdrext:toffset"
)

// VideoFormat is one video codec of a section as the server may accept it.
type VideoFormat struct {
	Codec             meeting.VideoCodec
	Payload           Payload
	RTX               *Payload // its retransmissions (RFC 4588), nil when not offered
	PacketizationMode uint8    // of H.264 (RFC 6184)
}

// videoCodecs is how each codec is told in an offer. A codec more is a line
// more here and one in the list that the caller accepts.
var videoCodecs = []struct {
	codec meeting.VideoCodec
	name  string
	match func(*Payload) bool
}{
	{meeting.CodecVP8, "VP8", func(*Payload) bool { return true }},
	{meeting.CodecH264CBP, "H264", constrainedBaseline},
	{meeting.CodecVP9, "VP9", func(p *Payload) bool { return parameterIs(p, "profile-id", "0") }},
	{meeting.CodecAV1, "AV1", func(p *Payload) bool { return parameterIs(p, "profile", "0") }},
}

// Video lists the codecs of the section that are among accept, in the order of
// the offer, which is the client's preference; each once, with the first
// payload type that fits.
func (s *Section) Video(accept []meeting.VideoCodec) []VideoFormat {
	var out []VideoFormat
	for i := range s.Payloads {
		p := &s.Payloads[i]
		codec := videoCodec(p)
		if codec == 0 || !slices.Contains(accept, codec) ||
			slices.ContainsFunc(out, func(f VideoFormat) bool { return f.Codec == codec }) {
			continue
		}
		f := VideoFormat{Codec: codec, Payload: *p, RTX: s.rtx(p.Type)}
		if codec == meeting.CodecH264CBP {
			f.PacketizationMode = 1
		}
		out = append(out, f)
	}
	return out
}

func videoCodec(p *Payload) meeting.VideoCodec {
	if p.ClockRate != 90000 {
		return 0
	}
	for _, c := range videoCodecs {
		if strings.EqualFold(c.name, p.Name) && c.match(p) {
			return c.codec
		}
	}
	return 0
}

func (s *Section) rtx(apt uint8) *Payload {
	for i := range s.Payloads {
		p := &s.Payloads[i]
		if strings.EqualFold(p.Name, "rtx") && parameterIs(p, "apt", strconv.Itoa(int(apt))) {
			return p
		}
	}
	return nil
}

// parameterIs compares a parameter; one that is absent has the value "0", the
// default of those that are looked at here.
func parameterIs(p *Payload, name, want string) bool {
	v, ok := p.Parameter(name)
	if !ok {
		v = "0"
	}
	return v == want
}

// constrainedBaseline tells H.264 constrained baseline profile with
// packetization-mode 1 (RFC 6184 8.1: profile_idc 42 with constraint_set1).
func constrainedBaseline(p *Payload) bool {
	id, _ := p.Parameter("profile-level-id")
	if len(id) != 6 {
		return false
	}
	n, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		return false
	}
	return n>>16 == 0x42 && n>>8&0x40 != 0 && parameterIs(p, "packetization-mode", "1")
}

// Opus returns the first payload type that is Opus (RFC 7587), nil when there
// is none.
func (s *Section) Opus() *Payload {
	for i := range s.Payloads {
		if p := &s.Payloads[i]; strings.EqualFold(p.Name, "opus") && p.ClockRate == 48000 && p.Channels == 2 {
			return p
		}
	}
	return nil
}

// RED returns the payload type of redundant audio (RFC 2198) that carries this
// Opus payload type and nothing else, if the client prefers it to that; nil when
// it does not.
func (s *Section) RED(opus *Payload) *Payload {
	for i := range s.Payloads {
		p := &s.Payloads[i]
		if p.Type == opus.Type {
			return nil
		}
		if strings.EqualFold(p.Name, "red") && p.ClockRate == opus.ClockRate && p.Channels == opus.Channels && carries(p.Parameters, opus.Type) {
			return p
		}
	}
	return nil
}

// Noise returns the payload type of comfort noise (RFC 3389) at 8 kHz, its static
// one in all offers so far; nil when there is none.
func (s *Section) Noise() *Payload {
	for i := range s.Payloads {
		if p := &s.Payloads[i]; strings.EqualFold(p.Name, "CN") && p.ClockRate == 8000 {
			return p
		}
	}
	return nil
}

// carries reports whether all of a list of payload types, "111/111", are this one.
func carries(list string, payloadType uint8) bool {
	for _, item := range strings.Split(list, "/") {
		if item != strconv.Itoa(int(payloadType)) {
			return false
		}
	}
	return true
}

// Accept lists those of the offered feedback mechanisms that are wanted, in
// the order of wanted.
func (p *Payload) Accept(wanted []string) []string {
	var out []string
	for _, w := range wanted {
		if slices.Contains(p.Feedback, w) {
			out = append(out, w)
		}
	}
	return out
}

// Accept lists those of the section's header extensions that are wanted, with
// the ids of the offer and the direction from the other side.
func (s *Section) Accept(wanted []string) []Extension {
	var out []Extension
	for _, e := range s.Extensions {
		if slices.Contains(wanted, e.URI) && e.Direction != Inactive {
			e.Direction = e.Direction.Reverse()
			out = append(out, e)
		}
	}
	return out
}
