package signaling

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// handleJoin answers JOIN with JOIN_ACK and INDEX, in that order: clients stop
// listening for the first at the second.
func (s *session) handleJoin(f *signalpb.SdkJoinFrame) {
	if s.member != nil {
		s.complain("order", "JOIN a second time")
		return
	}
	if s.content && s.primary == nil && !maySend(s.meeting, s.attendee.Load().Capabilities, true) {
		s.srv.metrics.joins.WithLabelValues("forbidden").Inc()
		s.joinRefused(statusForbidden, "this attendee may not share content")
		return
	}
	r, err := s.srv.enter(s.meeting, s.primary)
	if err != nil {
		s.srv.metrics.joins.WithLabelValues("unavailable").Inc()
		s.log.Error("meeting cannot be opened", "error", err)
		s.joinRefused(statusUnavailable, "the meeting's media cannot be opened")
		return
	}
	s.deflated = f.GetWantsCompressedSdp()
	s.deaf.Store(!heedsClose(f.GetClientDetails()))
	p := &participant{
		room:         r,
		home:         s.meeting,
		guest:        s.primary != nil,
		ownID:        s.id,
		content:      s.content,
		audioSession: f.GetAudioSessionId(),
		sess:         s,
		mutes:        rate.NewLimiter(muteRate, muteBurst),
		native:       f.GetClientDetails().GetClientSource() == "amazon-chime-sdk-cpp",
	}
	p.adaption, p.reads, p.policy = adaptionOf(f)
	_, _, p.browser = browserVersion(f.GetClientDetails())
	s.srv.mu.Lock()
	p.relay = s.srv.memory.needsRelay(s.id, p.audioSession, s.srv.now())
	s.srv.mu.Unlock()
	p.relay = p.relay || p.content && r.relays(s.attendeeID)
	turn := s.srv.cfg.Relays.Credentials(s.id, s.addr, p.relay)
	s.member = p
	ack := &signalpb.SdkSignalFrame{
		Type: signalpb.SdkSignalFrame_JOIN_ACK.Enum(),
		Joinack: &signalpb.SdkJoinAckFrame{
			TurnCredentials: &signalpb.SdkTurnCredentials{
				Username: proto.String(turn.Username),
				Password: proto.String(turn.Password.Reveal()),
				Ttl:      proto.Uint32(uint32(max(turn.TTL/time.Second, 0))),
				Uris:     turn.URIs,
			},
			VideoSubscriptionLimit: proto.Uint32(meeting.MaxReceivedVideos),
			WantsCompressedSdp:     proto.Bool(true),
		},
	}
	if p.policy {
		ack.Joinack.DefaultServerSideNetworkAdaption = signaled(p.adaption).Enum()
	}
	if !r.join(p, encode(ack, s.srv.now())) {
		s.member = nil
		s.srv.leaveEntrance(r)
		s.srv.metrics.joins.WithLabelValues("forbidden").Inc()
		s.joinRefused(statusForbidden, "an attendee of a replica shares content only while it is promoted and may")
		return
	}
	s.srv.leaveEntrance(r)
	// The right to share may have gone since it was looked at.
	if s.content && s.primary == nil && !maySend(s.meeting, s.attendee.Load().Capabilities, true) {
		s.end(statusForbidden, closeRefused, "this attendee may not share content any more")
	}
	// A deletion that came before the room knew this session has marked it.
	if s.over() {
		r.drop(p)
		return
	}
	s.srv.metrics.joins.WithLabelValues("joined").Inc()
	d := f.GetClientDetails()
	s.log.Info("joined", "client", clip(d.GetClientSource()), "version", clip(d.GetChimeSdkVersion()),
		"platform", clip(d.GetPlatformName()), "platform_version", clip(d.GetPlatformVersion()), "relay", len(turn.URIs) > 0)
}

// heedsClose tells whether a client answers a 45xx close in mid-call by
// reconnecting: the browser client does from 3.27 on, and 3.17 and 3.18 did.
func heedsClose(d *signalpb.SdkClientDetails) bool {
	major, minor, ok := browserVersion(d)
	return ok && (major > 3 || major == 3 && (minor >= 27 || minor == 17 || minor == 18))
}

// browserVersion is that of the browser client; ok is false for any other.
func browserVersion(d *signalpb.SdkClientDetails) (major, minor int, ok bool) {
	parts := strings.SplitN(d.GetChimeSdkVersion(), ".", 3)
	if d.GetClientSource() != "amazon-chime-sdk-js" || len(parts) < 2 {
		return 0, 0, false
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	return major, minor, errMajor == nil && errMinor == nil
}

// adaptionOf tells who fits videos to the bandwidth of a client. One whose policy
// can leave it to the server says which ways it supports, and gets the one that it
// asks for; where it leaves the choice open, the server does it. reads says that it
// takes the server's estimate from BITRATES, as the browser client does from 3.16
// on, policy that it named ways at all.
func adaptionOf(f *signalpb.SdkJoinFrame) (a meeting.Adaption, reads, policy bool) {
	major, minor, ok := browserVersion(f.GetClientDetails())
	reads = ok && (major > 3 || major == 3 && minor >= 16)
	supported := f.GetSupportedServerSideNetworkAdaptions()
	if len(supported) == 0 {
		return meeting.AdaptionUnsaid, reads, false
	}
	asked := f.GetServerSideNetworkAdaption()
	if asked == signalpb.SdkServerSideNetworkAdaption_DEFAULT && reads {
		asked = signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING_AND_VIDEO_QUALITY_ADAPTION
	}
	switch {
	case !slices.Contains(supported, asked):
	case asked == signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING:
		return meeting.AdaptionProbing, reads, true
	case asked == signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING_AND_VIDEO_QUALITY_ADAPTION:
		return meeting.AdaptionServer, reads, true
	}
	return meeting.AdaptionClient, reads, true
}

func signaled(a meeting.Adaption) signalpb.SdkServerSideNetworkAdaption {
	switch a {
	case meeting.AdaptionServer:
		return signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING_AND_VIDEO_QUALITY_ADAPTION
	case meeting.AdaptionProbing:
		return signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING
	}
	return signalpb.SdkServerSideNetworkAdaption_NONE
}

// joinRefused answers JOIN with an error. The payload is there because clients
// take a JOIN_ACK without one for a broken server.
func (s *session) joinRefused(status uint32, description string) {
	s.sendFrame(&signalpb.SdkSignalFrame{
		Type:    signalpb.SdkSignalFrame_JOIN_ACK.Enum(),
		Joinack: &signalpb.SdkJoinAckFrame{},
		Error:   envelopeError(status, description),
	})
}

// clip bounds what a client can make us log.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}

// enter returns the open room of a meeting, which for a replica is that of its
// primary, opening it when there is none. The room stays until leaveEntrance.
func (s *Server) enter(m, primary *meeting.Meeting) (*room, error) {
	replica := ""
	if primary != nil {
		m, replica = primary, m.ID
	}
	for {
		s.mu.Lock()
		r := s.live[m.ID]
		if r == nil {
			now := s.now()
			left := s.memory.parked[m.ID]
			delete(s.memory.parked, m.ID)
			r = newRoom(s, m, max(firstID(m.CreatedAt, now), left.nextID), left.messages)
			r.entering = 1
			r.transcription = s.transcriptions[m.ID]
			s.live[m.ID] = r
			s.know(replica, r)
			s.rooms.Add(1)
			s.mu.Unlock()
			return r, r.open()
		}
		if !r.closing {
			r.entering++
			s.know(replica, r)
			s.mu.Unlock()
			<-r.opened
			return r, r.openErr
		}
		s.mu.Unlock()
		<-r.closed
	}
}

// know notes by which replica a room is entered. The caller holds mu.
func (s *Server) know(replica string, r *room) {
	if replica != "" && s.replicas[replica] != r {
		s.replicas[replica] = r
		r.replicas = append(r.replicas, replica)
	}
}

// forget takes out a room that is closed. The caller holds mu.
func (s *Server) forget(r *room) {
	delete(s.live, r.meeting.ID)
	for _, id := range r.replicas {
		delete(s.replicas, id)
	}
}

// leaveEntrance ends what enter began: from here on the room lives by those in it.
func (s *Server) leaveEntrance(r *room) {
	s.mu.Lock()
	r.entering--
	s.mu.Unlock()
	r.wakeUp()
}
