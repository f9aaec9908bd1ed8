package signaltest

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"belfry/internal/meeting"
)

// Conferences is a fake of the media side. It answers every offer and lets the
// test play what media would report.
type Conferences struct {
	Now func() time.Time // nil: time.Now

	mu     sync.Mutex
	opened []*Conference
	fail   error
}

var _ meeting.Conferences = (*Conferences)(nil)

// FailWith makes the next OpenConference calls fail; nil ends that.
func (c *Conferences) FailWith(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// OpenConference implements meeting.Conferences.
func (c *Conferences) OpenConference(spec meeting.ConferenceSpec, events meeting.ConferenceEvents) (meeting.Conference, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return nil, c.fail
	}
	for _, other := range c.opened {
		if other.Spec.MeetingID == spec.MeetingID && !other.Closed() {
			return nil, fmt.Errorf("meeting %s is open already", spec.MeetingID)
		}
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	conf := &Conference{Spec: spec, Events: events, now: now}
	c.opened = append(c.opened, conf)
	return conf, nil
}

// All lists every conference ever opened, closed ones included.
func (c *Conferences) All() []*Conference {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.opened)
}

// Last is the conference opened last, nil if there was none.
func (c *Conferences) Last() *Conference {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.opened) == 0 {
		return nil
	}
	return c.opened[len(c.opened)-1]
}

// Conference is one fake conference.
type Conference struct {
	Spec   meeting.ConferenceSpec
	Events meeting.ConferenceEvents
	now    func() time.Time

	mu      sync.Mutex
	peers   []*Peer
	sources []meeting.VideoSource
	codecs  []meeting.VideoCodec
	closed  bool
	refuse  error
}

// Refuse makes Negotiate fail from now on; nil ends that.
func (c *Conference) Refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = err
}

// Join implements meeting.Conference.
func (c *Conference) Join(spec meeting.PeerSpec, events meeting.PeerEvents) (meeting.Peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, meeting.Errorf(meeting.CodeUnavailable, "conference is closed")
	}
	p := &Peer{Spec: spec, Events: events, conf: c, muted: spec.Muted, caps: spec.Capabilities}
	c.peers = append(c.peers, p)
	return p, nil
}

// Sources implements meeting.Conference.
func (c *Conference) Sources() []meeting.VideoSource {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sources)
}

// ReceiveCodecs implements meeting.Conference.
func (c *Conference) ReceiveCodecs() []meeting.VideoCodec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.codecs)
}

// SetSources replaces what Sources and ReceiveCodecs answer and reports it.
func (c *Conference) SetSources(codecs []meeting.VideoCodec, sources ...meeting.VideoSource) {
	c.mu.Lock()
	c.sources, c.codecs = sources, codecs
	c.mu.Unlock()
	c.Events.SourcesChanged()
}

// Close implements meeting.Conference.
func (c *Conference) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Closed reports whether Close was called.
func (c *Conference) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Peers lists the connections of one attendee, in the order they were made.
func (c *Conference) Peers(attendeeID string) []*Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Peer
	for _, p := range c.peers {
		if p.Spec.AttendeeID == attendeeID {
			out = append(out, p)
		}
	}
	return out
}

// Peer is one fake connection. Events is where the test plays what its media
// does.
type Peer struct {
	Spec   meeting.PeerSpec
	Events meeting.PeerEvents
	conf   *Conference

	mu       sync.Mutex
	offers   []meeting.Offer
	calls    []string
	muted    bool
	caps     meeting.Capabilities
	flowing  bool
	received time.Time
	closed   bool

	bandwidth meeting.Bandwidth
}

// FakeAnswer is the answer to every offer, followed by the number of the offer.
const FakeAnswer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=x-number:"

// Negotiate implements meeting.Peer.
func (p *Peer) Negotiate(o meeting.Offer) (meeting.Answer, error) {
	p.conf.mu.Lock()
	err := p.conf.refuse
	p.conf.mu.Unlock()
	if err != nil {
		return meeting.Answer{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offers = append(p.offers, o)
	a := meeting.Answer{SDP: fmt.Sprintf("%s%d\r\n", FakeAnswer, len(p.offers))}
	for i, v := range o.SendVideo {
		a.Allocations = append(a.Allocations, meeting.Allocation{Label: v.Label, StreamID: uint32(100 + i), GroupID: 50})
	}
	for i, id := range o.Receive {
		if id != 0 {
			a.Tracks = append(a.Tracks, meeting.Track{StreamID: id, SSRC: 2000 + id, Label: fmt.Sprintf("v_%d", i+1)})
		}
	}
	return a, nil
}

// SetMuted implements meeting.Peer.
func (p *Peer) SetMuted(m bool) { p.note("muted %t", m); p.mu.Lock(); p.muted = m; p.mu.Unlock() }

// SetCapabilities implements meeting.Peer.
func (p *Peer) SetCapabilities(c meeting.Capabilities) {
	p.note("capabilities %v", c)
	p.mu.Lock()
	p.caps = c
	p.mu.Unlock()
}

// Become implements meeting.Peer.
func (p *Peer) Become(attendeeID string, c meeting.Capabilities) {
	p.note("become %s %v", attendeeID, c)
	p.mu.Lock()
	p.caps = c
	p.mu.Unlock()
}

// Pause implements meeting.Peer.
func (p *Peer) Pause(ids []uint32) { p.note("pause %v", ids) }

// Resume implements meeting.Peer.
func (p *Peer) Resume(ids []uint32) { p.note("resume %v", ids) }

// Switch implements meeting.Peer.
func (p *Peer) Switch(mid string, id uint32) { p.note("switch %s %d", mid, id) }

// Prefer implements meeting.Peer.
func (p *Peer) Prefer(list []meeting.VideoPreference) {
	for _, v := range list {
		p.note("prefer %s %d %d %d", v.MID, v.Priority, v.TargetBitrateKbps, v.Adaptation)
	}
}

// Bandwidth implements meeting.Peer.
func (p *Peer) Bandwidth() meeting.Bandwidth {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bandwidth
}

// SetBandwidth is what Bandwidth answers from here on.
func (p *Peer) SetBandwidth(b meeting.Bandwidth) {
	p.mu.Lock()
	p.bandwidth = b
	p.mu.Unlock()
}

// LastReceived implements meeting.Peer.
func (p *Peer) LastReceived() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing {
		return p.conf.now()
	}
	return p.received
}

// Flow makes media flow, or stop.
func (p *Peer) Flow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing && !on {
		p.received = p.conf.now()
	}
	p.flowing = on
}

// Close implements meeting.Peer.
func (p *Peer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// Closed reports whether Close was called.
func (p *Peer) Closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Offers lists the offers that came.
func (p *Peer) Offers() []meeting.Offer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.offers)
}

// Calls lists the other calls that came, in words.
func (p *Peer) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *Peer) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
}

// Relays is a fake of the TURN side that remembers what it was asked.
type Relays struct {
	URIs []string // handed out when a relay is needed

	mu    sync.Mutex
	asked []RelayRequest
}

// RelayRequest is one call of Credentials.
type RelayRequest struct {
	AttendeeID string
	Client     netip.Addr
	Needed     bool
}

// Credentials implements meeting.Relays.
func (r *Relays) Credentials(attendeeID string, client netip.Addr, needed bool) meeting.RelayCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, RelayRequest{attendeeID, client, needed})
	out := meeting.RelayCredentials{Username: "u-" + attendeeID, Password: "p", TTL: time.Hour}
	if needed {
		out.URIs = r.URIs
	}
	return out
}

// Asked lists the calls of Credentials.
func (r *Relays) Asked() []RelayRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}
