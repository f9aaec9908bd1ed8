package media

import (
	"slices"
	"strings"

	"belfry/internal/media/mixer"
	"belfry/internal/media/rtp"
	"belfry/internal/media/sdp"
	"belfry/internal/media/sfu"
	"belfry/internal/media/transport"
	"belfry/internal/meeting"
)

// What the server takes of an offer, and what it would understand.
var (
	acceptedCodecs = []meeting.VideoCodec{meeting.CodecVP8, meeting.CodecH264CBP, meeting.CodecVP9, meeting.CodecAV1}

	audioExtensions    = []string{sdp.ExtAudioLevel, sdp.ExtAbsSendTime}
	sendingExtensions  = []string{sdp.ExtMID, sdp.ExtRID, sdp.ExtRepairedRID, sdp.ExtAbsSendTime, sdp.ExtTransportCC, sdp.ExtOrientation, sdp.ExtDependency}
	receivedExtensions = []string{sdp.ExtMID, sdp.ExtAbsSendTime, sdp.ExtOrientation, sdp.ExtDependency}

	sendingFeedback = []string{"transport-cc", "ccm fir", "nack", "nack pli", "goog-remb"}
	// Without transport-cc the client estimates by itself and says so by REMB.
	receivedFeedback = []string{"ccm fir", "nack", "nack pli", "goog-remb"}

	// For clients that can be told of the estimate, which is made here then.
	measuredExtensions = append([]string{sdp.ExtTransportCC}, receivedExtensions...)
	measuredFeedback   = append([]string{"transport-cc"}, receivedFeedback...)
)

// Negotiate implements meeting.Peer.
func (p *Peer) Negotiate(o meeting.Offer) (answer meeting.Answer, err error) {
	offer, err := sdp.ParseOffer(o.SDP)
	if err != nil {
		return answer, &meeting.Error{Code: meeting.CodeBadRequest, Message: "sdp_offer: " + err.Error()}
	}
	if err := check(offer); err != nil {
		return answer, err
	}
	if !p.bridge.do(func(now int64) { answer, err = p.negotiate(offer, o, now) }) {
		return meeting.Answer{}, meeting.Errorf(meeting.CodeInternal, "the offer could not be worked through")
	}
	return answer, err
}

// check refuses what would leave the client without a connection.
func check(o *sdp.Offer) error {
	usable := 0
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Rejected || !o.Bundled(s) || (s.Kind != "audio" && s.Kind != "video") {
			continue
		}
		if !s.RTCPMux {
			return meeting.Errorf(meeting.CodeBadRequest, "sdp_offer: section %q needs a=rtcp-mux", s.MID)
		}
		usable++
	}
	if usable == 0 {
		return meeting.Errorf(meeting.CodeBadRequest, "sdp_offer: there is no audio or video section in use")
	}
	return nil
}

func (p *Peer) negotiate(offer *sdp.Offer, o meeting.Offer, now int64) (meeting.Answer, error) {
	if p.closed {
		return meeting.Answer{}, meeting.Errorf(meeting.CodeUnavailable, "the media connection is closed")
	}
	if err := p.conn.SetRemote(transport.Parameters{
		Ufrag: offer.Transport.Ufrag, Pwd: offer.Transport.Password,
		Fingerprint: offer.Transport.Fingerprint.String(), Setup: offer.Transport.Setup,
	}); err != nil {
		return meeting.Answer{}, meeting.Errorf(meeting.CodeBadRequest, "sdp_offer: %v", err)
	}
	local := p.conn.Local()
	p.version++
	answer := sdp.Answer{
		SessionID: p.session, Version: p.version,
		Transport:  sdp.Transport{Ufrag: local.Ufrag, Password: local.Pwd, Fingerprint: fingerprint(local.Fingerprint), Setup: local.Setup},
		Candidates: candidates(local.Candidates),
		ExtMixed:   offer.ExtMixed,
	}
	n := negotiation{peer: p, offer: o, now: now}
	for i := range offer.Sections {
		s := &offer.Sections[i]
		a := s.Answer()
		usable := !s.Rejected && offer.Bundled(s)
		switch s.Kind {
		case "audio":
			if usable && !n.audio {
				n.answerAudio(s, &a)
			}
		case "video":
			n.position++
			if usable {
				n.answerVideo(s, &a)
			}
		}
		answer.Sections = append(answer.Sections, a)
	}
	n.finish()
	return meeting.Answer{SDP: answer.Text(), Allocations: n.allocations, Tracks: n.tracks}, nil
}

func fingerprint(value string) sdp.Fingerprint {
	hash, digest, _ := strings.Cut(value, " ")
	return sdp.Fingerprint{Hash: hash, Value: digest}
}

// negotiation works through the sections of one offer.
type negotiation struct {
	peer     *Peer
	offer    meeting.Offer
	now      int64
	audio    bool // the audio section is done
	sending  bool // the camera's section is done
	position int  // of the video section, from 1

	allocations []meeting.Allocation
	tracks      []meeting.Track
	kept        []*receiver
	decodes     []meeting.VideoCodec
	saidVideo   bool
	kinds       [128]kind
}

func (n *negotiation) answerAudio(s *sdp.Section, a *sdp.AnswerSection) {
	p := n.peer
	opus := s.Opus()
	if opus == nil {
		return // stays rejected
	}
	n.audio = true
	a.Rejected = false
	a.Direction = s.Direction.Reverse()
	a.StreamID, a.TrackID, a.CNAME = "audio", "audio", cname
	payload := *opus
	payload.Feedback = nil
	a.Payloads = []sdp.Payload{payload}
	a.Extensions = s.Accept(audioExtensions)
	n.kinds[opus.Type&0x7F] = kindAudio
	var redType uint8
	if red := s.RED(opus); red != nil {
		// First in the answer too: that is what makes the client send it.
		a.Payloads = []sdp.Payload{*red, payload}
		a.Payloads[0].Feedback = nil
		redType = red.Type
		n.kinds[redType&0x7F] = kindAudio
	}
	var noiseType uint8
	if noise := s.Noise(); noise != nil {
		a.Payloads = append(a.Payloads, *noise)
		noiseType = noise.Type
	}

	if p.hearing.SSRC == 0 {
		p.hearing.SSRC = p.newSSRC()
	}
	p.hearing = mixer.ListenerConfig{
		Sender: p, PayloadType: opus.Type, REDPayloadType: redType, NoisePayloadType: noiseType, SSRC: p.hearing.SSRC,
		AbsSendTimeID: s.Extension(sdp.ExtAbsSendTime),
		Exclude:       p.own(),
	}
	p.hears, p.talks = s.Direction.Receives(), s.Direction.Sends()
	switch {
	case !p.hears:
		p.stopListening()
	case p.listener == nil:
		p.startListening()
	default:
		p.listener.Configure(p.hearing)
	}
	if p.hears {
		a.SSRCs = []uint32{p.hearing.SSRC}
	}

	talks := mixer.SourceConfig{
		ID: p.id, Content: p.content, PayloadType: opus.Type, REDPayloadType: redType, AudioLevelID: s.Extension(sdp.ExtAudioLevel),
		Muted: n.offer.Muted, Barred: !p.mayTalk(),
	}
	p.muted = talks.Muted
	if p.source == nil {
		p.source = p.bridge.mixer.AddSource(talks)
		return
	}
	p.source.Configure(talks)
	p.source.SetMuted(talks.Muted)
}

func (n *negotiation) answerVideo(s *sdp.Section, a *sdp.AnswerSection) {
	p := n.peer
	formats := s.Video(acceptedCodecs)
	n.noteCodecs(formats)
	if len(formats) == 0 {
		return // stays rejected
	}
	a.Rejected = false
	a.Direction = sdp.Inactive
	var wanted uint32
	if n.position <= len(n.offer.Receive) {
		wanted = n.offer.Receive[n.position-1]
	}
	switch {
	case s.Direction.Receives() && wanted != 0:
		if p.measured(formats) && s.Extension(sdp.ExtTransportCC) != 0 {
			a.Payloads = payloads(formats, measuredFeedback)
			a.Extensions = s.Accept(measuredExtensions)
		} else {
			a.Payloads = payloads(formats, receivedFeedback)
			a.Extensions = s.Accept(receivedExtensions)
		}
		n.answerReceived(s, a, formats, wanted)
	case s.Direction.Sends() && !n.sending && len(n.offer.SendVideo) > 0 && p.maySend():
		n.sending = true
		a.Payloads = payloads(formats, sendingFeedback)
		a.Extensions = s.Accept(sendingExtensions)
		n.answerSending(s, a, formats)
	default:
		a.Payloads = payloads(formats, sendingFeedback)
		a.Extensions = s.Accept(sendingExtensions)
	}
}

// noteCodecs gathers what the client can decode: its sections list what it has.
func (n *negotiation) noteCodecs(formats []sdp.VideoFormat) {
	n.saidVideo = true
	for _, f := range formats {
		if !slices.Contains(n.decodes, f.Codec) {
			n.decodes = append(n.decodes, f.Codec)
		}
	}
}

func (n *negotiation) answerSending(s *sdp.Section, a *sdp.AnswerSection, formats []sdp.VideoFormat) {
	p := n.peer
	// The client finds its camera by this direction, and drops codec choice
	// when it is the exact recvonly.
	a.Direction = sdp.SendRecv
	a.StreamID, a.TrackID = s.StreamID, s.TrackID
	for _, f := range formats {
		n.kinds[f.Payload.Type&0x7F] = kindVideo
		if f.RTX != nil {
			n.kinds[f.RTX.Type&0x7F] = kindVideo
		}
	}
	cfg := sfu.PublishConfig{
		AttendeeID: p.id, Up: p, Layers: n.layers(s), Codecs: codecs(formats), Extensions: extensions(a.Extensions),
		NACK: has(a.Payloads, "nack"), REMB: has(a.Payloads, "goog-remb"), Uplink: &p.uplink, MaxPicture: p.maxPicture(),
	}
	cfg.OnTooLarge = func(width, height uint32) {
		p.bridge.later = append(p.bridge.later, func() { p.events.PictureTooLarge(width, height, cfg.MaxPicture) })
	}
	if cfg.Extensions.TransportCC != 0 && has(a.Payloads, "transport-cc") {
		if p.feedback == nil {
			p.feedback = new(rtp.TWCCRecorder)
		}
		cfg.TransportCC = p.feedback
	}
	if len(cfg.Layers) > 1 {
		a.RIDs = s.RIDs[:len(cfg.Layers)]
	}
	if p.publication == nil || !p.publication.Update(cfg, n.now) {
		p.unpublish()
		p.publication = p.bridge.router.Publish(cfg)
		p.publication.SetRTT(p.rtt)
	}
	ids := p.publication.StreamIDs()
	for i, v := range n.offer.SendVideo {
		n.allocations = append(n.allocations, meeting.Allocation{
			Label: v.Label, StreamID: ids[min(i, len(ids)-1)], GroupID: p.publication.GroupID(),
		})
	}
}

// layers ties the announced layers to the section's: by position, since the
// announcement names no RID.
func (n *negotiation) layers(s *sdp.Section) []sfu.Layer {
	list := make([]sfu.Layer, max(1, min(len(s.RIDs), len(n.offer.SendVideo))))
	for i := range list {
		v := n.offer.SendVideo[i]
		list[i] = sfu.Layer{Label: v.Label, MaxBitrateKbps: v.MaxBitrateKbps, Framerate: v.Framerate}
		if len(s.RIDs) > 0 {
			list[i].RID = s.RIDs[i]
		}
	}
	if len(s.RIDs) == 0 && len(s.SSRCs) > 0 {
		list[0].SSRC = s.SSRCs[0]
		if len(s.FID) > 0 {
			list[0].SSRC = s.FID[0][0]
		}
		list[0].RTX = s.Repair(list[0].SSRC)
	}
	return list
}

// measured says that what the client receives is estimated here. A packet that is
// sent again must have a new number for that, so it takes a stream of repairs.
func (p *Peer) measured(formats []sdp.VideoFormat) bool {
	return p.transportCC && !slices.ContainsFunc(formats, func(f sdp.VideoFormat) bool {
		return f.RTX == nil || !slices.Contains(f.Payload.Feedback, "transport-cc")
	})
}

func (n *negotiation) answerReceived(s *sdp.Section, a *sdp.AnswerSection, formats []sdp.VideoFormat, wanted uint32) {
	p := n.peer
	if !p.maySee(wanted) || len(n.kept) == meeting.MaxReceivedVideos {
		return // stays inactive, and without a track
	}
	cs, x, nack := codecs(formats), extensions(a.Extensions), has(a.Payloads, "nack")
	r := p.receiver(s.MID)
	if r == nil {
		r = &receiver{peer: p, mid: s.MID, ssrc: p.newSSRC(), streamID: wanted}
		if slices.ContainsFunc(formats, func(f sdp.VideoFormat) bool { return f.RTX != nil }) {
			r.rtx = p.newSSRC()
		}
		r.share = p.way().Subscribe(sfu.SubscribeConfig{
			MID: s.MID, Down: p, SSRC: r.ssrc, RTX: r.rtx, Codecs: cs, Extensions: x, NACK: nack, StreamID: wanted, Paused: true,
		}, n.now)
		r.gate(n.now)
		p.receivers = append(p.receivers, r)
	} else {
		r.share.Subscription().Update(cs, x, nack, n.now)
		r.want(wanted, n.now)
	}
	n.kept = append(n.kept, r)
	a.Direction = sdp.SendOnly
	label := "v_" + s.MID // the client ties the track to its section by this name
	a.StreamID, a.TrackID, a.CNAME = label, "track_"+s.MID, cname
	a.SSRCs = []uint32{r.ssrc}
	if r.rtx != 0 {
		a.SSRCs = append(a.SSRCs, r.rtx)
	}
	n.tracks = append(n.tracks, meeting.Track{StreamID: wanted, SSRC: r.ssrc, Label: label})
}

// finish ends what this offer does not mention any more.
func (n *negotiation) finish() {
	p := n.peer
	if !n.audio {
		p.hears, p.talks = false, false
		p.stopListening()
		if p.source != nil {
			p.source.Close()
			p.source = nil
		}
	}
	if !n.sending {
		p.unpublish()
	}
	p.receivers = slices.DeleteFunc(p.receivers, func(r *receiver) bool {
		if slices.Contains(n.kept, r) {
			return false
		}
		r.close()
		return true
	})
	p.kinds = n.kinds
	if n.saidVideo {
		p.bridge.countCodecs(p, -1)
		if p.decodes = n.decodes; p.decodes == nil {
			p.decodes = []meeting.VideoCodec{}
		}
		p.bridge.countCodecs(p, 1)
		p.bridge.refreshCodecs()
	}
}

// payloads lists what is accepted of each format: itself and its repair.
func payloads(formats []sdp.VideoFormat, feedback []string) []sdp.Payload {
	var list []sdp.Payload
	for _, f := range formats {
		p := f.Payload
		p.Feedback = p.Accept(feedback)
		list = append(list, p)
		if f.RTX != nil {
			r := *f.RTX
			r.Feedback = nil
			list = append(list, r)
		}
	}
	return list
}

func has(payloads []sdp.Payload, feedback string) bool {
	return slices.ContainsFunc(payloads, func(p sdp.Payload) bool { return slices.Contains(p.Feedback, feedback) })
}

func codecs(formats []sdp.VideoFormat) []sfu.Codec {
	list := make([]sfu.Codec, len(formats))
	for i, f := range formats {
		list[i] = sfu.Codec{Codec: f.Codec, PayloadType: f.Payload.Type, PacketizationMode: f.PacketizationMode}
		if f.RTX != nil {
			list[i].RTX = f.RTX.Type
		}
	}
	return list
}

func extensions(list []sdp.Extension) sfu.Extensions {
	var x sfu.Extensions
	for _, e := range list {
		switch e.URI {
		case sdp.ExtMID:
			x.MID = e.ID
		case sdp.ExtRID:
			x.RID = e.ID
		case sdp.ExtRepairedRID:
			x.RepairedRID = e.ID
		case sdp.ExtAbsSendTime:
			x.AbsSendTime = e.ID
		case sdp.ExtTransportCC:
			x.TransportCC = e.ID
		case sdp.ExtOrientation:
			x.Orientation = e.ID
		case sdp.ExtDependency:
			x.DependencyDescriptor = e.ID
		}
	}
	return x
}

func cutContent(attendeeID string) (base string, content bool) {
	return strings.CutSuffix(attendeeID, meeting.ContentSuffix)
}

func candidates(list []transport.Candidate) []sdp.Candidate {
	out := make([]sdp.Candidate, len(list))
	for i, c := range list {
		out[i] = sdp.Candidate(c)
	}
	return out
}
