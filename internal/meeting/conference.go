package meeting

import (
	"net/netip"
	"time"
)

// The contract between signaling, which speaks with clients, and media, which
// moves their packets. Signaling calls down through Conferences, Conference and
// Peer; media calls back through ConferenceEvents and PeerEvents, from its own
// goroutines and never with a lock held that a call down would need. A callback
// must not block.

// Conferences opens the media side of meetings.
type Conferences interface {
	// OpenConference begins the media of a meeting on this node. There is at most one
	// conference per meeting; the caller closes it when the last session is gone.
	OpenConference(spec ConferenceSpec, events ConferenceEvents) (Conference, error)
}

// ConferenceSpec describes the meeting whose media is opened.
type ConferenceSpec struct {
	MeetingID string
	// FirstID is the lowest stream and group id to hand out. Ids grow and are
	// never reused, also not across a restart of the server.
	FirstID uint32
	// Features limit how large the pictures may be; nil stands for the defaults.
	Features *Features
}

// Conference is the live media of one meeting.
type Conference interface {
	// Join adds one connection of an attendee. Nothing flows before its Peer has
	// answered an offer.
	Join(spec PeerSpec, events PeerEvents) (Peer, error)
	// Sources lists the video streams that are being sent now, by group, low
	// layer first.
	Sources() []VideoSource
	// ReceiveCodecs is the set of video codecs that every connected base peer
	// can decode; nil when nobody's offer said so yet.
	ReceiveCodecs() []VideoCodec
	Close()
}

// ConferenceEvents is told of what concerns the whole meeting.
type ConferenceEvents interface {
	// SourcesChanged says that Sources or ReceiveCodecs would answer differently.
	SourcesChanged()
	// Levels lists who is talking now, about every 100 ms while anybody talks,
	// and is called once with an empty slice when the last one stops.
	Levels(talking []AudioLevel)
	// SignalStrength lists the attendees whose network is not good, when that
	// list changes; everybody else is good.
	SignalStrength(weak []SignalStrength)
}

// PeerSpec describes one connection.
type PeerSpec struct {
	// AttendeeID is the full identity, with ContentSuffix for a content share.
	AttendeeID string
	// Muted holds until an offer or SetMuted says otherwise.
	Muted        bool
	Capabilities Capabilities
	Adaption     Adaption
	// ReadsBandwidth says that the client reads its estimate from BITRATES, so that it
	// need not make one itself.
	ReadsBandwidth bool
}

// PeerEvents is told of what concerns one connection.
type PeerEvents interface {
	// MediaConnected says that ICE and DTLS are up, once.
	MediaConnected()
	// AudioArrived says that the first audio packet came, once.
	AudioArrived()
	// MediaClosed says that the client closed DTLS, or that nothing came for so
	// long that the connection counts as dead. The Peer must still be closed.
	MediaClosed(reason string)
	// VideoPaused says that the videos of these groups are not sent to this client
	// because they do not fit, or go on.
	VideoPaused(groupIDs []uint32, paused bool)
	// PictureTooLarge says, once for each publication, that a layer is not
	// forwarded because its pictures are larger than the meeting's features allow.
	PictureTooLarge(width, height uint32, allowed Resolution)
}

// Peer is the media of one connection.
type Peer interface {
	// Negotiate answers one SUBSCRIBE. An offer that cannot be understood is
	// CodeBadRequest and changes nothing.
	Negotiate(Offer) (Answer, error)
	SetMuted(bool)
	SetCapabilities(Capabilities)
	// Become makes the connection that of another attendee, with its capabilities;
	// whether it is a content share does not change. Video that it was sending
	// ends, and begins again with its next offer; its audio goes on.
	Become(attendeeID string, c Capabilities)
	// Pause stops forwarding these received streams, Resume goes on with a key
	// frame. Unknown ids are ignored.
	Pause(streamIDs []uint32)
	Resume(streamIDs []uint32)
	// Switch changes which layer flows on a received section; SSRC and payload
	// type stay.
	Switch(mid string, streamID uint32)
	// Prefer takes what the client says of received sections; those that are not
	// there are ignored.
	Prefer([]VideoPreference)
	// Bandwidth tells how much can be sent to the client.
	Bandwidth() Bandwidth
	// LastReceived is when the last packet of any kind came from the client.
	LastReceived() time.Time
	Close()
}

// MaxReceivedVideos is how many videos one connection may receive at once
// (VideoSubscriptionLimit of JOIN_ACK). Sections of an offer above it are
// answered inactive.
const MaxReceivedVideos = 25

// Offer is the media part of a SUBSCRIBE frame.
type Offer struct {
	SDP   string
	Muted bool // as SetMuted
	// SendVideo has one entry per video layer the client announces, low to high;
	// empty when it sends no video.
	SendVideo []SendVideo
	// Receive is positional over all video sections of the offer: the stream id
	// wanted there, 0 for the camera's section and for inactive ones.
	Receive []uint32
}

// SendVideo announces one layer of a camera or content stream.
type SendVideo struct {
	Label          string
	MaxBitrateKbps uint32 // 0: the layer is switched off
	Framerate      uint32
}

// Answer is the media part of a SUBSCRIBE_ACK frame.
type Answer struct {
	SDP string
	// Allocations has one entry per Offer.SendVideo, in the same order.
	Allocations []Allocation
	// Tracks has one entry per video that will be received.
	Tracks []Track
}

// Allocation gives a sent layer its ids.
type Allocation struct {
	Label             string
	StreamID, GroupID uint32
}

// Track ties a section of the answer to the stream it carries; Label is
// "v_<mid>".
type Track struct {
	StreamID, SSRC uint32
	Label          string
}

// VideoSource is one video layer of one sender.
type VideoSource struct {
	AttendeeID                string
	StreamID, GroupID         uint32
	Label                     string
	Framerate, MaxBitrateKbps uint32
	AvgBitrateBps             uint32 // measured over the last seconds
	Width, Height             uint32 // 0 when not known
	// Stalled says that the sender announced it but nothing arrives.
	Stalled bool
}

// VideoCodec is a codec as the signaling protocol numbers it
// (SdkVideoCodecCapability).
type VideoCodec int

// The codecs that can be named.
const (
	CodecVP8     VideoCodec = 1
	CodecH264CBP VideoCodec = 3 // constrained baseline profile
	CodecVP9     VideoCodec = 8 // profile 0
	CodecAV1     VideoCodec = 11
)

// AudioLevel is how loud an attendee is: Volume is in −dBov, 0 is loudest and
// 127 silence (RFC 6464).
type AudioLevel struct {
	AttendeeID string
	Volume     uint8
}

// SignalStrength is how well an attendee's network does: 0 none, 1 weak, 2 good.
type SignalStrength struct {
	AttendeeID string
	Strength   uint8
}

// Relays hands out TURN credentials.
type Relays interface {
	// Credentials makes short-lived credentials for one attendee. URIs is empty
	// when the client shall go direct. needed says that an attempt without a
	// relay already failed.
	Credentials(attendeeID string, client netip.Addr, needed bool) RelayCredentials
}

// RelayCredentials is what a client presents to the TURN server.
type RelayCredentials struct {
	Username string
	Password Secret
	TTL      time.Duration
	URIs     []string
}

// Bandwidth is what is known of the way to one client.
type Bandwidth struct {
	AvailableKbps uint32   // estimated, 0 while not known
	PausedStreams []uint32 // asked for, and not sent because they do not fit
}

// Adaption is who fits the videos that a connection receives to its bandwidth
// (SdkServerSideNetworkAdaption of JOIN and JOIN_ACK).
type Adaption uint8

const (
	// AdaptionUnsaid is a client that knows of nothing: it asks for what it wants,
	// and the server sees to it that what is sent fits.
	AdaptionUnsaid Adaption = iota
	// AdaptionClient is a client that decides by itself (NONE).
	AdaptionClient
	// AdaptionProbing is one that decides, while the server looks for more bandwidth
	// (BANDWIDTH_PROBING).
	AdaptionProbing
	// AdaptionServer is one that leaves it to the server and is told what is paused
	// (BANDWIDTH_PROBING_AND_VIDEO_QUALITY_ADAPTION).
	AdaptionServer
)

// QualityAdaptation is what a client would rather keep of a video that cannot be
// had in full (SdkVideoQualityAdaptationPreference).
type QualityAdaptation uint8

// The values are those of the signaling protocol; 0 counts as Balanced.
const (
	Balanced           QualityAdaptation = 1
	MaintainFramerate  QualityAdaptation = 2
	MaintainResolution QualityAdaptation = 3
)

// VideoPreference is what a client says of one received video
// (SdkVideoSubscriptionConfiguration).
type VideoPreference struct {
	MID string
	// Priority is higher for what is more important; 0 says nothing.
	Priority          uint32
	TargetBitrateKbps uint32 // what fits its place on the screen; 0 says nothing
	Adaptation        QualityAdaptation
}
