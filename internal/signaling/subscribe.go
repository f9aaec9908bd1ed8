package signaling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// handleSubscribe answers one SUBSCRIBE. The first one opens the connection's
// Peer; clients have at most one unanswered, so it is done in the reader.
func (s *session) handleSubscribe(_ context.Context, f *signalpb.SdkSubscribeFrame) {
	if wait := s.subscribes.ReserveN(s.srv.now(), 1).DelayFrom(s.srv.now()); wait > 0 && !s.pause(wait) {
		return
	}
	start := s.srv.now()
	answer, noVideo, err := s.negotiate(f)
	outcome := "ok"
	if err != nil {
		outcome = string(meeting.CodeOf(err))
	}
	s.srv.metrics.subscribe.WithLabelValues(outcome).Observe(s.srv.now().Sub(start).Seconds())
	if err != nil {
		s.srv.metrics.bad.WithLabelValues("subscribe").Inc()
		s.log.Warn("subscribe refused", "error", err)
		s.answerSubscribeError(f.GetDuplex(), err)
		return
	}
	ack := &signalpb.SdkSubscribeAckFrame{Duplex: f.GetDuplex().Enum()}
	for _, a := range answer.Allocations {
		ack.Allocations = append(ack.Allocations, &signalpb.SdkStreamAllocation{
			TrackLabel: proto.String(a.Label), StreamId: proto.Uint32(a.StreamID), GroupId: proto.Uint32(a.GroupID),
		})
	}
	for _, t := range answer.Tracks {
		ack.Tracks = append(ack.Tracks, &signalpb.SdkTrackMapping{
			StreamId: proto.Uint32(t.StreamID), Ssrc: proto.Uint32(t.SSRC), TrackLabel: proto.String(t.Label),
		})
	}
	if s.deflated {
		ack.CompressedSdpAnswer = s.sdp.deflate(answer.SDP)
	} else {
		ack.SdpAnswer = proto.String(answer.SDP)
	}
	out := &signalpb.SdkSignalFrame{Type: signalpb.SdkSignalFrame_SUBSCRIBE_ACK.Enum(), Suback: ack}
	if noVideo != "" {
		out.Error = envelopeError(statusViewOnly, noVideo)
	}
	s.sendFrame(out)
	if len(answer.Allocations) > 0 && !slices.ContainsFunc(f.GetSendStreams(), isEnabledVideo) {
		s.member.room.repeatIndex(s.member)
	}
}

func isEnabledVideo(d *signalpb.SdkStreamDescriptor) bool {
	return d.GetMediaType() != signalpb.SdkStreamMediaType_AUDIO && d.GetMaxBitrateKbps() > 0
}

// negotiate takes the offer to the Peer. noVideo says why the client, which
// wanted to send video, may not.
func (s *session) negotiate(f *signalpb.SdkSubscribeFrame) (answer meeting.Answer, noVideo string, err error) {
	offer, err := s.offer(f)
	if err != nil {
		return answer, "", err
	}
	r := s.member.room
	peer, err := r.peerFor(s.member, offer)
	if err != nil {
		return answer, "", err
	}
	had, noVideo := r.announced(s.member, len(offer.SendVideo) > 0)
	if noVideo != "" {
		offer.SendVideo = nil
	}
	answer, err = peer.Negotiate(offer)
	if list := preferences(f.GetVideoSubscriptionConfiguration()); err == nil && len(list) > 0 {
		peer.Prefer(list)
	}
	switch {
	case s.content:
	case err == nil:
		r.setCamera(s.member, len(answer.Allocations) > 0)
	case len(offer.SendVideo) > 0: // what was agreed before goes on
		r.setCamera(s.member, had)
	}
	return answer, noVideo, err
}

// offer reads the media part of a SUBSCRIBE.
func (s *session) offer(f *signalpb.SdkSubscribeFrame) (meeting.Offer, error) {
	var o meeting.Offer
	switch {
	case len(f.GetSendStreams()) > maxSendStreams:
		return o, meeting.Errorf(meeting.CodeBadRequest, "send_streams has %d entries, %d are allowed", len(f.GetSendStreams()), maxSendStreams)
	case len(f.GetVideoSubscriptionConfiguration()) > maxSwitches:
		return o, meeting.Errorf(meeting.CodeBadRequest, "video_subscription_configuration has %d entries, %d are allowed", len(f.GetVideoSubscriptionConfiguration()), maxSwitches)
	case len(f.GetReceiveStreamIds()) > maxReceive:
		return o, meeting.Errorf(meeting.CodeBadRequest, "receive_stream_ids has %d entries, %d are allowed", len(f.GetReceiveStreamIds()), maxReceive)
	case slices.ContainsFunc(f.GetSendStreams(), func(d *signalpb.SdkStreamDescriptor) bool { return len(d.GetTrackLabel()) > maxLabel }):
		return o, meeting.Errorf(meeting.CodeBadRequest, "track_label has more than %d bytes", maxLabel)
	case len(f.GetCompressedSdpOffer()) > 0:
		text, err := s.sdp.inflate(f.GetCompressedSdpOffer())
		if err != nil {
			return o, err
		}
		o.SDP = text
	case len(f.GetSdpOffer()) > maxSDP:
		return o, meeting.Errorf(meeting.CodeBadRequest, "sdp_offer has %d bytes, %d are allowed", len(f.GetSdpOffer()), maxSDP)
	case f.GetSdpOffer() == "":
		return o, meeting.Errorf(meeting.CodeBadRequest, "sdp_offer is missing")
	default:
		o.SDP = f.GetSdpOffer()
	}
	s.sdp.offer = o.SDP
	o.Muted = f.GetAudioMuted()
	if f.GetDuplex() != signalpb.SdkStreamServiceType_RX {
		for _, d := range f.GetSendStreams() {
			// Native clients leave the type out, and announce video only.
			if d.GetMediaType() == signalpb.SdkStreamMediaType_VIDEO || d.MediaType == nil {
				o.SendVideo = append(o.SendVideo, meeting.SendVideo{
					Label: d.GetTrackLabel(), MaxBitrateKbps: d.GetMaxBitrateKbps(), Framerate: d.GetFramerate(),
				})
			}
		}
	}
	o.Receive = f.GetReceiveStreamIds()
	// Native clients count the audio section too.
	if s.member.native && len(o.Receive) > 0 && o.Receive[0] == 0 && len(o.Receive) == 1+videoSections(o.SDP) {
		o.Receive = o.Receive[1:]
	}
	return o, nil
}

// answerSubscribeError answers with an envelope error; the payload must be there
// all the same.
func (s *session) answerSubscribeError(duplex signalpb.SdkStreamServiceType, err error) {
	s.sendFrame(&signalpb.SdkSignalFrame{
		Type:   signalpb.SdkSignalFrame_SUBSCRIBE_ACK.Enum(),
		Suback: &signalpb.SdkSubscribeAckFrame{Duplex: duplex.Enum()},
		Error:  envelopeError(statusOf(err), meeting.MessageOf(err)),
	})
}

// videoSections counts the video sections of an offer.
func videoSections(sdp string) int {
	n := strings.Count(sdp, "\nm=video ")
	if strings.HasPrefix(sdp, "m=video ") {
		n++
	}
	return n
}

// sendsAudio tells whether an offer promises audio packets.
func sendsAudio(sdp string) bool {
	audio, sends := false, false
	for line := range strings.SplitSeq(sdp, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.HasPrefix(line, "m=") {
			if audio && sends {
				return true
			}
			audio = strings.HasPrefix(line, "m=audio ") && !strings.HasPrefix(line, "m=audio 0 ")
			sends = true
			continue
		}
		if line == "a=recvonly" || line == "a=inactive" {
			sends = false
		}
	}
	return audio && sends
}

// peerFor returns the Peer of a connection, opening it at the first offer.
func (r *room) peerFor(p *participant, offer meeting.Offer) (meeting.Peer, error) {
	r.setMuted(p, offer.Muted, false)
	r.mu.Lock()
	p.sendsAudio = sendsAudio(offer.SDP)
	peer, tried, gone := p.peer, p.subscribed, p.gone
	p.subscribed = true
	spec := meeting.PeerSpec{AttendeeID: p.id, Muted: p.muted, Capabilities: p.rights(), Adaption: p.adaption, ReadsBandwidth: p.reads}
	r.mu.Unlock()
	switch {
	case gone:
		return nil, meeting.Errorf(meeting.CodeForbidden, "attendee is not in the meeting any more")
	case peer != nil:
		return peer, nil
	case tried:
		// Its media has died; a client comes back with a new connection.
		return nil, meeting.Errorf(meeting.CodeUnavailable, "the media connection is closed")
	}
	r.srv.mu.Lock()
	r.srv.memory.tried(p.ownID, p.audioSession, p.relay, r.srv.now())
	r.srv.mu.Unlock()
	peer, err := r.conf.Join(spec, p)
	if err != nil {
		r.mu.Lock()
		p.subscribed = false
		r.mu.Unlock()
		return nil, err
	}
	r.mu.Lock()
	gone = p.gone
	if !gone {
		p.peer = peer
	}
	if !gone && (p.id != spec.AttendeeID || p.rights() != spec.Capabilities) {
		r.become(p) // in turn with later changes
	}
	muted := p.muted
	r.mu.Unlock()
	if gone {
		peer.Close()
		return nil, meeting.Errorf(meeting.CodeForbidden, "attendee is not in the meeting any more")
	}
	if muted != spec.Muted {
		peer.SetMuted(muted)
	}
	return peer, nil
}

// MediaConnected implements meeting.PeerEvents.
func (p *participant) MediaConnected() {
	p.room.srv.mu.Lock()
	p.room.srv.memory.connected(p.ownID, p.audioSession)
	p.room.srv.mu.Unlock()
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	p.connected = p.room.srv.now()
	if !p.sendsAudio {
		p.room.present(p)
	}
}

// AudioArrived implements meeting.PeerEvents.
func (p *participant) AudioArrived() {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	p.room.present(p)
}

// MediaClosed implements meeting.PeerEvents.
func (p *participant) MediaClosed(reason string) {
	r := p.room
	r.mu.Lock()
	defer r.mu.Unlock()
	peer := p.peer
	if peer == nil {
		return
	}
	p.peer = nil
	p.mediaClosed = r.srv.now()
	r.log.Info("media closed", "attendee", p.id, "reason", reason)
	r.later(peer.Close)
}

// VideoPaused implements meeting.PeerEvents. Clients that leave the choice to the
// server mark the tiles at PAUSE; others know no more of a picture that stands still
// than that its sender's connection is poor, which INDEX says.
func (p *participant) VideoPaused(groupIDs []uint32, paused bool) {
	r := p.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.gone || p.sess == nil {
		return
	}
	if p.policy {
		kind := signalpb.SdkSignalFrame_RESUME
		if paused {
			kind = signalpb.SdkSignalFrame_PAUSE
		}
		p.sess.sendFrame(&signalpb.SdkSignalFrame{Type: kind.Enum(), Pause: &signalpb.SdkPauseResumeFrame{GroupIds: groupIDs}})
		return
	}
	for _, id := range groupIDs {
		if !paused {
			delete(p.unfit, id)
			continue
		}
		if p.unfit == nil {
			p.unfit = map[uint32]struct{}{}
		}
		p.unfit[id] = struct{}{}
	}
	r.oweIndex(p) // all that is paused at one moment, in one list
}

// preferences reads what a client says of the videos that it receives.
func preferences(list []*signalpb.SdkVideoSubscriptionConfiguration) []meeting.VideoPreference {
	var out []meeting.VideoPreference
	for _, c := range list {
		if c.GetPriority() == 0 && c.GetTargetBitrateKbps() == 0 {
			continue // it chooses a layer, and says no more
		}
		out = append(out, meeting.VideoPreference{
			MID: c.GetMid(), Priority: c.GetPriority(), TargetBitrateKbps: c.GetTargetBitrateKbps(),
			Adaptation: meeting.QualityAdaptation(c.GetQualityAdaptationPreference()),
		})
	}
	return out
}

// PictureTooLarge implements meeting.PeerEvents.
func (p *participant) PictureTooLarge(width, height uint32, allowed meeting.Resolution) {
	r := p.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Info("pictures too large", "attendee", p.id, "width", width, "height", height)
	if p.sess == nil {
		return
	}
	size := fmt.Sprintf("of %d×%d pixels", width, height)
	if width == 0 || height == 0 {
		size = "that do not tell their size"
	}
	p.sess.sendFrame(notification(signalpb.SdkNotificationFrame_WARNING,
		fmt.Sprintf("video %s is not shown: the meeting allows %d×%d", size, allowed.Long, allowed.Short)))
}

// lastHeard is when anything last came from a connection whose socket is open.
func (p *participant) lastHeard() time.Time {
	heard := time.Unix(0, p.sess.lastSeen.Load())
	if media := p.lastMedia(); media.After(heard) {
		heard = media
	}
	return heard
}

// lastMedia is when media of this connection last came, zero if it never did.
func (p *participant) lastMedia() time.Time {
	if p.peer != nil {
		return p.peer.LastReceived()
	}
	return p.mediaClosed
}
