package signaling

import (
	"context"
	"strings"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// A room's audience are the connections of the attendees of its meeting's
// replicas. They are told everything that the members are, and nobody is told of
// them, until a connection is promoted: then it is a member as well, as an
// attendee of the primary.

// hidden tells whether a connection watches only, and nobody knows of it.
func (p *participant) hidden() bool { return p.guest && !p.promoted }

// rights is what a connection may send and receive now.
func (p *participant) rights() meeting.Capabilities {
	if p.hidden() {
		return p.attendee.Capabilities.ReceiveOnly()
	}
	return p.attendee.Capabilities
}

// maySend tells whether it may send the video of its camera, or of its share.
func (p *participant) maySend() bool { return maySend(p.room.meeting, p.rights(), p.content) }

// maySend is by an attendee's capabilities, and by the meeting's features.
func maySend(m *meeting.Meeting, c meeting.Capabilities, content bool) bool {
	if content {
		return c.Content.CanSend() && m.Features.MaxContent() != meeting.Resolution{}
	}
	return c.Video.CanSend() && m.Features.MaxVideo() != meeting.Resolution{}
}

// handlePromote answers PRIMARY_MEETING_JOIN. Every refusal is 403, which tells
// nothing of what was wrong, but for a store that cannot be asked.
func (s *session) handlePromote(ctx context.Context, f *signalpb.SdkPrimaryMeetingJoinFrame) {
	if wait := s.promotions.ReserveN(s.srv.now(), 1).DelayFrom(s.srv.now()); wait > 0 && !s.pause(wait) {
		return
	}
	status, problem := s.promote(ctx, f.GetCredentials())
	ack := &signalpb.SdkSignalFrame{
		Type:                  signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN_ACK.Enum(),
		PrimaryMeetingJoinAck: &signalpb.SdkPrimaryMeetingJoinAckFrame{},
	}
	outcome := "promoted"
	if status != 0 {
		outcome = "refused"
		ack.Error = envelopeError(status, problem)
		s.log.Info("promotion refused", "status", status, "reason", problem)
	}
	s.srv.metrics.promotions.WithLabelValues(outcome).Inc()
	s.sendFrame(ack)
}

// promote does it; a status of 0 is success.
func (s *session) promote(ctx context.Context, c *signalpb.SdkMeetingSessionCredentials) (status uint32, problem string) {
	r := s.member.room
	switch {
	case !s.member.guest || s.content:
		return statusForbidden, "this meeting is not a replica"
	case c.GetJoinToken() == "" || len(c.GetJoinToken()) > maxToken:
		return statusForbidden, "join token missing"
	}
	token := meeting.Secret(c.GetJoinToken())
	id, status, problem := s.authenticate(ctx, token, c.GetAttendeeId())
	if status != 0 {
		return status, problem
	}
	if !r.promote(s.member, id.Attendee) {
		return statusForbidden, "attendee is not in the meeting any more"
	}
	// A change between the look above and the promotion was told to nobody.
	now, status, problem := s.authenticate(ctx, token, c.GetAttendeeId())
	if status != 0 {
		r.demoteSelf(s.member)
		return status, problem
	}
	r.caughtUp(s.member, id.Attendee, now.Attendee)
	r.settle(s)
	s.log.Info("promoted", "primary", r.meeting.ID, "as", now.Attendee.ID)
	return 0, ""
}

// authenticate finds the attendee of the primary that credentials are of.
func (s *session) authenticate(ctx context.Context, token meeting.Secret, attendeeID string) (meeting.Identity, uint32, string) {
	id, err := s.srv.cfg.Service.Authenticate(ctx, token)
	switch code := meeting.CodeOf(err); {
	case code == meeting.CodeUnavailable || code == meeting.CodeInternal || code == meeting.CodeThrottled:
		s.log.Warn("promotion could not be looked into", "error", err)
		return id, statusUnavailable, "try again"
	case err != nil:
		return id, statusForbidden, "attendee unavailable"
	case id.Meeting.ID != s.member.room.meeting.ID:
		return id, statusForbidden, "join token is for another meeting"
	case attendeeID != "" && !strings.EqualFold(attendeeID, id.Attendee.ID):
		return id, statusForbidden, "join token is of another attendee"
	}
	return id, 0, ""
}

// promote makes a connection of the audience take part as an attendee of the
// primary. It is false when the connection is on its way out.
func (r *room) promote(p *participant, a *meeting.Attendee) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.gone || p.sess == nil:
		return false
	case p.promoted && p.id == a.ID:
		return true
	case p.promoted:
		r.stepDown(p, false)
	}
	p.id, p.base, p.attendee, p.promoted = a.ID, a.ID, a, true
	r.makeWay(p)
	r.add(p)
	r.record(p, meeting.EventAttendeeAuthorized, "")
	r.become(p)
	if p.informed {
		r.enterRoster(p)
	}
	r.index.dirty = true
	r.wakeUp()
	return true
}

// caughtUp takes over what an attendee has become since it was looked up, unless
// the room was told of something newer.
func (r *room) caughtUp(p *participant, then, now *meeting.Attendee) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.promoted && p.attendee == then {
		r.setAttendee(p, now)
	}
}

// settle waits until media knows what the room has decided so far: what a client
// offers upon the answer must find it so.
func (r *room) settle(s *session) {
	done := make(chan struct{})
	r.mu.Lock()
	r.later(func() { close(done) })
	r.mu.Unlock()
	select {
	case <-done:
	case <-r.closed:
	case <-s.written:
	}
}

// makeWay ends the connection of another session as the attendee that p is to
// be. Others see no leave, since p takes its place in the roster. The caller
// holds mu.
func (r *room) makeWay(p *participant) {
	old := r.members[p.id]
	if old == nil || old == p {
		return
	}
	r.log.Info("joined from elsewhere", "attendee", p.id)
	if shown := old.shownID(); shown != 0 {
		p.prev = &predecessor{streamID: shown, since: r.srv.now()}
		p.toldMuted = old.toldMuted
		old.streamID = 0
		if old.prev != nil {
			if old.prev.peer != nil {
				r.later(old.prev.peer.Close)
			}
			old.prev = nil
		}
	}
	if old.promoted && !old.content {
		r.demote(old)
		return
	}
	if old.sess != nil {
		old.sess.end(statusElsewhere, closeReplaced, "joined from another device")
	}
	if !old.content {
		r.endShare(old, statusElsewhere, closeReplaced, "joined from another device", false)
	}
	r.remove(old, false)
}

// demote takes a promoted connection back to the audience and tells its client.
// The caller holds mu.
func (r *room) demote(p *participant) {
	r.stepDown(p, false)
	if p.sess != nil {
		p.sess.sendFrame(&signalpb.SdkSignalFrame{
			Type:                signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE.Enum(),
			PrimaryMeetingLeave: &signalpb.SdkPrimaryMeetingLeaveFrame{},
		})
	}
}

// demoteSelf is demote for a client that knows of it.
func (r *room) demoteSelf(p *participant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.promoted && !p.content && !p.gone {
		r.stepDown(p, false)
	}
}

// stepDown takes a promoted connection back to the audience: others see its
// attendee leave, and its share ends. The caller holds mu.
func (r *room) stepDown(p *participant, dropped bool) {
	showed := p.sendsVideo && p.maySend()
	r.withdraw(p, dropped)
	p.id, p.base, p.attendee, p.promoted = p.ownID, p.own.ID, p.own, false
	p.streamID, p.camera = 0, false
	if p.prev != nil {
		if p.prev.peer != nil {
			r.later(p.prev.peer.Close)
		}
		p.prev = nil
	}
	r.become(p)
	if showed && p.sess != nil {
		p.sendsVideo = false
		p.sess.sendFrame(viewOnly("this attendee may not send video any more"))
	}
}

// become tells media who a connection is now. The caller holds mu.
func (r *room) become(p *participant) {
	if peer := p.peer; peer != nil {
		id, rights := p.id, p.rights()
		r.later(func() { peer.Become(id, rights) })
	}
}

// shareAs makes the content share of a promoted attendee that of the attendee it
// was promoted to. It is false when there is none such, or it may not share. The
// caller holds mu.
func (r *room) shareAs(p *participant) bool {
	base := r.audience[p.own.ID]
	if base == nil || !maySend(r.meeting, base.rights(), true) {
		return false
	}
	p.id, p.base, p.attendee, p.promoted = base.id+meeting.ContentSuffix, base.id, base.attendee, true
	return true
}
