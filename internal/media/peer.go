package media

import (
	"slices"
	"time"

	"belfry/internal/media/mixer"
	"belfry/internal/media/rtp"
	"belfry/internal/media/sfu"
	"belfry/internal/media/transport"
	"belfry/internal/media/udp"
	"belfry/internal/meeting"
)

// kind is what a payload type of the client carries.
type kind uint8

const (
	kindUnknown kind = iota
	kindAudio
	kindVideo
)

// Peer is one connection of one attendee. It implements meeting.Peer,
// transport.Handler, and the senders and finders that mixer and sfu ask for.
// Everything but conn is guarded by the Bridge's lock.
type Peer struct {
	bridge  *Bridge
	id      string // with meeting.ContentSuffix for a content share
	base    string // without
	content bool
	events  meeting.PeerEvents
	conn    *transport.Conn

	closed, connected, audible bool
	failed                     bool // by a fault of ours; nothing it sends is looked at
	muted                      bool
	capabilities               meeting.Capabilities
	lastPacket                 int64
	transportCC                bool // its received videos may have transport-wide feedback
	follow                     bool // it chooses layers by itself
	whole                      bool // it asks for senders and leaves the layers to us

	// What was negotiated.
	session, version uint64 // of the answers' o= line
	lastSSRC         uint32 // of what the client is sent
	kinds            [128]kind
	source           *mixer.Source
	listener         *mixer.Listener
	hearing          mixer.ListenerConfig // of the listener, also before it exists
	hears            bool                 // the client receives audio
	talks            bool                 // the client sends audio, and so never falls silent
	publication      *sfu.Publication
	feedback         *rtp.TWCCRecorder
	uplink           sfu.Uplink
	downlink         *sfu.Downlink
	receivers        []*receiver
	decodes          []meeting.VideoCodec // nil when its offer said nothing

	quality quality
	rtt     int64 // to the client and back, in ns, smoothed; 0 while not known
}

func newPeer(b *Bridge, spec meeting.PeerSpec, events meeting.PeerEvents) *Peer {
	base, content := cutContent(spec.AttendeeID)
	p := &Peer{
		bridge: b, id: spec.AttendeeID, base: base, content: content, events: events,
		muted: spec.Muted, capabilities: spec.Capabilities,
		session: uint64(newSSRC()), lastSSRC: newSSRC(), lastPacket: transport.Now(),
		transportCC: spec.ReadsBandwidth || spec.Adaption == meeting.AdaptionServer,
		whole:       spec.Adaption == meeting.AdaptionServer,
		follow:      spec.Adaption == meeting.AdaptionClient || spec.Adaption == meeting.AdaptionProbing,
	}
	return p
}

// own are the sources that are its own attendee's, which it must not hear.
func (p *Peer) own() []string { return []string{p.base, p.base + meeting.ContentSuffix} }

// mayTalk, mayHear and maySend say what the attendee's capabilities allow this
// connection; a content share sends by the right to content alone.
func (p *Peer) mayTalk() bool {
	if p.content {
		return p.capabilities.Content.CanSend()
	}
	return p.capabilities.Audio.CanSend()
}

func (p *Peer) mayHear() bool { return !p.content && p.capabilities.Audio.CanReceive() }

func (p *Peer) maySend() bool {
	if p.maxPicture() == (meeting.Resolution{}) {
		return false
	}
	if p.content {
		return p.capabilities.Content.CanSend()
	}
	return p.capabilities.Video.CanSend()
}

// maxPicture is what the meeting's features allow this connection to show.
func (p *Peer) maxPicture() meeting.Resolution {
	if p.content {
		return p.bridge.spec.Features.MaxContent()
	}
	return p.bridge.spec.Features.MaxVideo()
}

// maySee says whether the attendee may receive a stream. One that has ended is
// nobody's and does no harm.
func (p *Peer) maySee(streamID uint32) bool {
	owner, _, ok := p.bridge.router.Stream(streamID)
	if !ok {
		return true
	}
	if _, content := cutContent(owner); content {
		return p.capabilities.Content.CanReceive()
	}
	return p.capabilities.Video.CanReceive()
}

// SendRTP sends a packet to the client, sealed into the batch of who holds the
// Bridge's lock.
func (p *Peer) SendRTP(header, payload []byte) { p.conn.SendRTP(p.bridge.out, header, payload) }

// SendRTCP is SendRTP for a compound packet.
func (p *Peer) SendRTCP(pkt []byte) {
	if p.connected {
		p.conn.SendRTCP(p.bridge.out, pkt)
	}
}

// Connected implements transport.Handler.
func (p *Peer) Connected() {
	p.bridge.do(func(now int64) {
		if p.closed {
			return
		}
		p.connected, p.lastPacket = true, now
		p.startListening()
		for _, r := range p.receivers {
			r.gate(now)
		}
	})
	p.events.MediaConnected()
}

// Closed implements transport.Handler.
func (p *Peer) Closed(reason string) {
	// Until the owner closes the Peer, nothing more is sealed for nobody.
	p.bridge.do(func(now int64) {
		p.connected = false
		for _, r := range p.receivers {
			r.gate(now)
		}
		p.stopListening()
	})
	p.events.MediaClosed(reason)
}

// RTP implements transport.Handler.
func (p *Peer) RTP(packets []*rtp.Packet, out *udp.Batch) {
	b := p.bridge
	b.enter(out)
	p.receive(packets)
	run(b.leave())
}

func (p *Peer) receive(packets []*rtp.Packet) {
	if p.closed || p.failed {
		return
	}
	defer p.survive("RTP")
	b := p.bridge
	b.audio, b.video = b.audio[:0], b.video[:0]
	for _, pkt := range packets {
		switch p.kinds[pkt.PayloadType&0x7F] {
		case kindAudio:
			b.audio = append(b.audio, pkt)
		case kindVideo:
			b.video = append(b.video, pkt)
		default:
			b.unasked++
		}
	}
	now := packets[len(packets)-1].Arrival
	p.lastPacket = now
	if len(b.audio) > 0 && p.source != nil {
		if !p.audible {
			p.audible = true
			b.later = append(b.later, p.events.AudioArrived)
		}
		p.uplink.Beside(b.audio, p.hearing.AbsSendTimeID)
		p.source.Push(b.audio, b.server.clock.time(now))
		p.askAudio(now)
	}
	switch {
	case p.publication != nil && len(b.video) > 0:
		p.publication.Push(b.video, now)
	case p.publication == nil:
		b.unasked += uint64(len(b.video))
	}
}

// askAudio asks the client for sound that was lost.
func (p *Peer) askAudio(now int64) {
	if p.source == nil || p.closed {
		return
	}
	b := p.bridge
	if b.seqs = p.source.Missing(b.seqs[:0], p.rtt, b.server.clock.time(now)); len(b.seqs) > 0 {
		b.rtcp = rtp.AppendNACK(b.rtcp[:0], b.ssrc, p.source.SSRC(), b.seqs)
		p.SendRTCP(b.rtcp)
	}
}

// survive ends this connection, and nothing else, on a fault of ours.
func (p *Peer) survive(what string) {
	if fault := recover(); fault != nil {
		p.bridge.server.caught(what, fault)
		p.failed = true
		p.bridge.later = append(p.bridge.later, func() { p.events.MediaClosed("internal error") })
	}
}

// RTCP implements transport.Handler.
func (p *Peer) RTCP(pkt []byte, out *udp.Batch) {
	b := p.bridge
	b.enter(out)
	p.control(pkt)
	run(b.leave())
}

func (p *Peer) control(pkt []byte) {
	if p.closed || p.failed {
		return
	}
	defer p.survive("RTCP")
	b := p.bridge
	now := b.server.now()
	p.lastPacket = now
	if err := b.router.HandleRTCP(pkt, p, now); err != nil {
		b.server.malformed.Add(1)
	}
	for c := (rtp.RTCP{Data: pkt}); c.Next(); {
		if c.Type != rtp.TypeSR && c.Type != rtp.TypeRR {
			continue
		}
		if info, ok := c.SenderInfo(); ok && p.source != nil && c.Sender == p.source.SSRC() {
			p.source.SenderReport(info.NTP, now)
		}
		for i := 0; ; i++ {
			block, ok := c.Report(i)
			if !ok {
				break
			}
			if p.listener != nil && block.SSRC == p.hearing.SSRC {
				if rtt, ok := block.RoundTrip(rtp.NTP(b.server.clock.time(now).UnixNano())); ok {
					p.tripped(rtt)
				}
				p.quality.downlink(block.FractionLost)
				p.listener.SetLoss(p.quality.downlinkPercent())
			}
		}
	}
}

// tripped takes a round trip to the client, in ns. Sound goes to every client, so
// the reports on it tell.
func (p *Peer) tripped(rtt int64) {
	if p.rtt == 0 {
		p.rtt = max(rtt, 1)
	}
	p.rtt += (rtt - p.rtt) / 8 // RFC 6298
	p.rtt = max(p.rtt, 1)
	if p.publication != nil {
		p.publication.SetRTT(p.rtt)
	}
}

// report sends the reports on audio, in both directions.
func (p *Peer) report(now int64, at time.Time) {
	b := p.bridge
	var blocks []rtp.ReportBlock
	if p.source != nil {
		if block, ok := p.source.ReceiverReport(now); ok {
			p.quality.uplink(block.FractionLost)
			blocks = append(blocks, block)
		}
	}
	pkt := b.rtcp[:0]
	switch {
	case p.listener != nil:
		info := p.listener.SenderInfo(at)
		pkt = rtp.AppendSR(pkt, info.SSRC, rtp.SenderInfo{
			NTP: rtp.NTP(at.UnixNano()), Timestamp: info.RTPTime, Packets: info.Packets, Bytes: info.Octets,
		}, blocks...)
		pkt = rtp.AppendSDES(pkt, info.SSRC, cname)
	case len(blocks) > 0:
		pkt = rtp.AppendRR(pkt, b.ssrc, blocks...)
	default:
		return
	}
	p.SendRTCP(pkt)
	b.rtcp = pkt
}

// PublicationBySSRC implements sfu.Peer.
func (p *Peer) PublicationBySSRC(ssrc uint32) *sfu.Publication {
	if p.publication != nil && p.publication.Owns(ssrc) {
		return p.publication
	}
	return nil
}

// SubscriptionBySSRC implements sfu.Peer.
func (p *Peer) SubscriptionBySSRC(ssrc uint32) *sfu.Subscription {
	for _, r := range p.receivers {
		if r.ssrc == ssrc {
			return r.share.Subscription()
		}
	}
	return nil
}

// Downlink implements sfu.Peer. It is nil while the client has received no video.
func (p *Peer) Downlink() *sfu.Downlink { return p.downlink }

// way is the Downlink, begun with the first received video.
func (p *Peer) way() *sfu.Downlink {
	if p.downlink == nil {
		p.downlink = p.bridge.router.NewDownlink(sfu.DownlinkConfig{
			Follow: p.follow, Whole: p.whole,
			OnPause: func(groupIDs []uint32, paused bool) {
				p.bridge.later = append(p.bridge.later, func() { p.events.VideoPaused(groupIDs, paused) })
			},
			OnNarrow: func(narrow bool) {
				if p.listener != nil {
					p.listener.SetLean(narrow)
				}
			},
		})
	}
	return p.downlink
}

// Prefer implements meeting.Peer.
func (p *Peer) Prefer(preferences []meeting.VideoPreference) {
	p.bridge.do(func(int64) {
		for _, v := range preferences {
			if r := p.receiver(v.MID); r != nil {
				r.share.Prefer(v)
			}
		}
	})
}

// Bandwidth implements meeting.Peer.
func (p *Peer) Bandwidth() (b meeting.Bandwidth) {
	p.bridge.do(func(int64) {
		if p.downlink != nil {
			b.AvailableKbps = uint32(p.downlink.Estimate() / 1000)
			b.PausedStreams = p.downlink.PausedStreams(nil)
		}
	})
	return b
}

// SetMuted implements meeting.Peer.
func (p *Peer) SetMuted(muted bool) {
	p.bridge.do(func(int64) {
		p.muted = muted
		if p.source != nil && !p.closed {
			p.source.SetMuted(muted)
		}
	})
}

// SetCapabilities implements meeting.Peer.
func (p *Peer) SetCapabilities(c meeting.Capabilities) {
	p.bridge.do(func(now int64) { p.setCapabilities(c, now) })
}

func (p *Peer) setCapabilities(c meeting.Capabilities, now int64) {
	p.capabilities = c
	if p.closed {
		return
	}
	if p.source != nil {
		p.source.SetBarred(!p.mayTalk())
	}
	if p.listener != nil {
		p.listener.SetDeaf(!p.mayHear())
		p.listener.SetNoContent(!c.Content.CanReceive())
	}
	if !p.maySend() {
		p.unpublish()
	}
	for _, r := range p.receivers {
		r.gate(now)
	}
}

// Become implements meeting.Peer.
func (p *Peer) Become(attendeeID string, c meeting.Capabilities) {
	p.bridge.do(func(now int64) {
		if attendeeID != p.id {
			p.unpublish() // what is published has the name of who publishes
			p.id = attendeeID
			p.base, _ = cutContent(attendeeID)
			p.hearing.Exclude = p.own()
			if p.source != nil && !p.closed {
				p.source.SetID(p.id)
			}
			if p.listener != nil && !p.closed {
				p.listener.SetExclude(p.hearing.Exclude)
			}
		}
		p.setCapabilities(c, now)
	})
}

// Pause implements meeting.Peer.
func (p *Peer) Pause(streamIDs []uint32) { p.setPaused(streamIDs, true) }

// Resume implements meeting.Peer.
func (p *Peer) Resume(streamIDs []uint32) { p.setPaused(streamIDs, false) }

func (p *Peer) setPaused(streamIDs []uint32, paused bool) {
	p.bridge.do(func(now int64) {
		for _, r := range p.receivers {
			if slices.Contains(streamIDs, r.streamID) {
				r.paused = paused
				r.gate(now)
			}
		}
	})
}

// Switch implements meeting.Peer.
func (p *Peer) Switch(mid string, streamID uint32) {
	p.bridge.do(func(now int64) {
		if r := p.receiver(mid); r != nil {
			r.want(streamID, now)
		}
	})
}

// LastReceived implements meeting.Peer.
func (p *Peer) LastReceived() time.Time { return p.conn.LastReceived() }

// Close implements meeting.Peer.
func (p *Peer) Close() {
	p.bridge.do(func(int64) {
		if p.closed {
			return
		}
		p.closed = true
		p.unpublish()
		for _, r := range p.receivers {
			r.close()
		}
		p.receivers = nil
		if p.downlink != nil {
			p.downlink.Close()
		}
		if p.source != nil {
			p.source.Close()
		}
		if p.listener != nil {
			p.listener.Close()
		}
		p.bridge.remove(p)
	})
	p.conn.Close()
}

func (p *Peer) unpublish() {
	if p.publication != nil {
		p.publication.Close()
		p.publication = nil
	}
}

// newSSRC is for the next stream to the client. They count up, because one that
// has ended must not come again under the same keys.
func (p *Peer) newSSRC() uint32 {
	if p.lastSSRC++; p.lastSSRC == 0 {
		p.lastSSRC++
	}
	return p.lastSSRC
}

// startListening begins the stream of audio, when there is a way to send it.
func (p *Peer) startListening() {
	if p.listener == nil && p.hears && p.connected {
		p.hearing.Deaf, p.hearing.NoContent = !p.mayHear(), !p.capabilities.Content.CanReceive()
		p.listener = p.bridge.mixer.AddListener(p.hearing)
		p.listener.SetLean(p.downlink != nil && p.downlink.Narrow())
	}
}

// stopListening ends it. Another stream has another SSRC: a number that was sent
// once under these keys is not sent again.
func (p *Peer) stopListening() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
		p.conn.EndRTP(p.hearing.SSRC)
		p.hearing.SSRC = 0
	}
}

func (p *Peer) receiver(mid string) *receiver {
	for _, r := range p.receivers {
		if r.mid == mid {
			return r
		}
	}
	return nil
}

// receiver is one received section.
type receiver struct {
	peer      *Peer
	mid       string
	ssrc, rtx uint32
	streamID  uint32 // what the client asked for
	share     *sfu.Share
	paused    bool // by the client
}

// close ends the stream to the client.
func (r *receiver) close() {
	r.share.Close()
	r.peer.conn.EndRTP(r.ssrc)
	r.peer.conn.EndRTP(r.rtx)
}

// gate lets packets through if the client is there, wants them and may have them.
func (r *receiver) gate(now int64) {
	r.share.Gate(!r.peer.connected || r.paused || !r.peer.maySee(r.streamID), now)
}

// want changes what flows. Another layer of what is paused is paused too,
// another sender's stream is not.
func (r *receiver) want(streamID uint32, now int64) {
	if streamID != r.streamID {
		router := r.peer.bridge.router
		_, was, _ := router.Stream(r.streamID)
		_, is, ok := router.Stream(streamID)
		r.streamID, r.paused = streamID, r.paused && ok && was == is
		r.share.Want(streamID, now)
	}
	r.gate(now)
}
