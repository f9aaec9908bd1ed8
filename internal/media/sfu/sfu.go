// Package sfu forwards the video of one meeting. A Publication is what one
// attendee sends: one camera or content stream in one or more layers. A
// Subscription is one received section of one client: it carries one layer at
// a time under an SSRC and payload types that never change, and moves to
// another layer at a key frame so that the receiver's decoder sees a single
// unbroken stream. Around that the Router repairs losses on both sides,
// gathers key frame requests, reports reception and keeps the list of sources.
//
// Everything here is plain state. Nothing is safe for concurrent use, nothing
// starts a goroutine, and time is an argument: nanoseconds on a monotonic
// clock, the same one that sets rtp.Packet.Arrival. The caller serialises.
package sfu

import (
	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// Sender sends to one client. Both may be called with memory that is reused,
// and whose bytes change, as soon as they return.
type Sender interface {
	SendRTP(header, payload []byte)
	SendRTCP(pkt []byte)
}

// Config is what a Router needs from outside.
type Config struct {
	// FirstID is the lowest stream or group id to hand out; 0 means 1.
	FirstID uint32
	// OnChange is called, from within a call to the Router, when Sources would
	// name other streams or another state of them. It must not call back; nil is
	// allowed. Measured bit rates do not count as a change.
	OnChange func()
	// SSRC is the sender of the RTCP that goes up to publishers; 0 means 1.
	SSRC uint32
	// Epoch is the Unix time in nanoseconds when the clock of the time arguments
	// was 0. Sender reports use it.
	Epoch int64
	// CNAME goes into the sender reports of every subscription (RFC 3550 6.5.1).
	CNAME string
}

// Codec is one payload type of one section.
type Codec struct {
	Codec       meeting.VideoCodec
	PayloadType uint8
	RTX         uint8 // payload type of its retransmissions (RFC 4588), 0 for none
	// PacketizationMode is that of H.264 (RFC 6184); a receiver that takes 1
	// also takes what a sender of 0 sends.
	PacketizationMode uint8
}

// Extensions are the ids of header extensions that were negotiated on a
// section; 0 stands for not negotiated.
type Extensions struct {
	MID, RID, RepairedRID uint8
	AbsSendTime           uint8
	TransportCC           uint8
	Orientation           uint8 // copied from publisher to subscriber when both have it
	DependencyDescriptor  uint8 // likewise
}

// Stats counts what a Router did since it began.
type Stats struct {
	PacketsIn, PacketsOut   uint64
	Unknown                 uint64 // packets that belong to no layer
	Malformed               uint64 // packets and RTCP that could not be understood
	Duplicate               uint64
	Replays                 uint64 // key frames that were sent again to who asked just after the first time
	NACKsSent, NACKsHandled uint64 // packet numbers asked for upstream and by subscribers
	Resent                  uint64
	KeyFrameRequests        uint64 // PLIs sent upstream
	TooLarge                uint64 // packets of pictures larger than allowed, not forwarded
	Padding                 uint64 // packets sent to probe for bandwidth
	Raised, Lowered         uint64 // changes to a better or lower layer for the bandwidth's sake
	Pauses, Resumes         uint64 // of videos that did not fit
}

// Router is the video of one meeting.
type Router struct {
	cfg    Config
	nextID uint32
	pubs   []*Publication // by group id
	layers map[uint32]*layer
	subs   []*Subscription
	stats  Stats

	// Scratch of the forward path, here so that it is allocated once.
	items     []item
	packet    rtp.Packet
	header    [320]byte
	dep       [rtp.MaxDependency]byte
	again     item
	structure rtp.DependencyStructure
	rtcp      []byte
	seqs      []uint16

	now     int64 // of the call from outside that is being served
	downs   []*Downlink
	points  []Point
	padding [padSize]byte
	pastBWE BandwidthStats // of downlinks that are closed
	speaker string         // base attendee id of who talks, or did last
	voices  map[string]float64
	limit   Limit
}

// New returns an empty Router.
func New(cfg Config) *Router {
	if cfg.FirstID == 0 {
		cfg.FirstID = 1
	}
	if cfg.SSRC == 0 {
		cfg.SSRC = 1
	}
	return &Router{
		cfg:    cfg,
		nextID: cfg.FirstID,
		layers: make(map[uint32]*layer),
		rtcp:   make([]byte, 0, 1200),
	}
}

// NextID is the lowest id that was not handed out yet.
func (r *Router) NextID() uint32 { return r.nextID }

// Stats returns the counters.
func (r *Router) Stats() Stats { return r.stats }

func (r *Router) newID() uint32 {
	id := r.nextID
	r.nextID++
	return id
}

func (r *Router) changed() {
	if r.cfg.OnChange != nil {
		r.cfg.OnChange()
	}
}

// Sources lists the layers that are being sent, by group, low layer first. A
// layer appears with its first packet. A publication of which nothing arrives
// any more stays with Stalled set; a layer that is quiet while others of its
// publication flow is left out, and its subscriptions get another layer.
func (r *Router) Sources() []meeting.VideoSource {
	var out []meeting.VideoSource
	for _, p := range r.pubs {
		for _, l := range p.layers {
			if !l.listed {
				continue
			}
			out = append(out, meeting.VideoSource{
				AttendeeID:     p.cfg.AttendeeID,
				StreamID:       l.streamID,
				GroupID:        p.groupID,
				Label:          l.cfg.Label,
				Framerate:      l.cfg.Framerate,
				MaxBitrateKbps: l.cfg.MaxBitrateKbps,
				AvgBitrateBps:  l.rate.bps(),
				Width:          l.width,
				Height:         l.height,
				Stalled:        p.stalled,
			})
		}
	}
	return out
}

// Stream tells whose stream this is; ok is false when it does not exist or has
// ended.
func (r *Router) Stream(id uint32) (attendeeID string, groupID uint32, ok bool) {
	l := r.layers[id]
	if l == nil {
		return "", 0, false
	}
	return l.pub.cfg.AttendeeID, l.pub.groupID, true
}

// Tick does what time brings: receiver and sender reports, transport-wide
// feedback, repeated NACKs and key frame requests, stall detection and layer
// fallback. Call it about every 20 ms.
func (r *Router) Tick(now int64) {
	r.now = now
	for _, d := range r.downs {
		d.tick(now)
	}
	for _, p := range r.pubs {
		p.tick(now)
	}
	for _, s := range r.subs {
		s.tick(now)
	}
}
