package signaling

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// prefixServer opens every message of ours; clients send 0x05 or 0x02, and any
// value is accepted.
const prefixServer = 0x02

// encode stamps a frame and makes its message.
func encode(f *signalpb.SdkSignalFrame, now time.Time) []byte {
	ms := uint64(now.UnixMilli())
	f.TimestampMs = &ms
	size := proto.Size(f)
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(append(make([]byte, 0, size+1), prefixServer), f)
	if err != nil {
		// Only a string that is not UTF-8 can do that, and none of ours gets here
		// unchecked; a frame of no meaning is better than half a frame.
		return nil
	}
	return out
}

// decode reads one message. Frames that are only counted are not unpacked: their
// payload may be much bigger in memory than on the wire.
func decode(data []byte) (*signalpb.SdkSignalFrame, error) {
	if len(data) < 2 {
		return nil, meeting.Errorf(meeting.CodeBadRequest, "frame of %d bytes has no content", len(data))
	}
	body := data[1:]
	kind, ok := peekType(body)
	if !ok {
		return nil, meeting.Errorf(meeting.CodeBadRequest, "frame is not a SdkSignalFrame with a type")
	}
	_, known := signalpb.SdkSignalFrame_Type_name[int32(kind)]
	switch {
	case !known, kind == signalpb.SdkSignalFrame_CLIENT_METRIC, kind == signalpb.SdkSignalFrame_MEETING_SESSION_TIMING:
		return &signalpb.SdkSignalFrame{Type: kind.Enum()}, nil
	case kind != signalpb.SdkSignalFrame_SUBSCRIBE:
		if len(data) > maxSmallFrame {
			return nil, meeting.Errorf(meeting.CodeBadRequest, "frame of type %d has %d bytes, %d are allowed", kind, len(data), maxSmallFrame)
		}
	}
	f := &signalpb.SdkSignalFrame{}
	if err := proto.Unmarshal(body, f); err != nil {
		return nil, &meeting.Error{Code: meeting.CodeBadRequest, Message: "frame is not a SdkSignalFrame", Err: err}
	}
	return f, nil
}

// peekType finds the type of a frame without unpacking it.
func peekType(body []byte) (kind signalpb.SdkSignalFrame_Type, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0, false
		}
		body = body[n:]
		if num == 2 && typ == protowire.VarintType {
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return 0, false
			}
			kind, ok = signalpb.SdkSignalFrame_Type(int32(v)), true
			body = body[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(num, typ, body)
		if n < 0 {
			return 0, false
		}
		body = body[n:]
	}
	return kind, ok
}

func envelopeError(status uint32, description string) *signalpb.SdkErrorFrame {
	return &signalpb.SdkErrorFrame{Status: &status, Description: &description}
}

func audioStatus(status uint32) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:        signalpb.SdkSignalFrame_AUDIO_STATUS.Enum(),
		AudioStatus: &signalpb.SdkAudioStatusFrame{AudioStatus: &status},
	}
}

// notification is a line for the client's log.
func notification(level signalpb.SdkNotificationFrame_Level, message string) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:         signalpb.SdkSignalFrame_NOTIFICATION.Enum(),
		Notification: &signalpb.SdkNotificationFrame{Level: &level, Message: &message},
	}
}

// statusOf maps a refusal to the status that clients act on: 4xx ends their
// session, 5xx makes them reconnect.
func statusOf(err error) uint32 {
	switch meeting.CodeOf(err) {
	case meeting.CodeUnauthorized, meeting.CodeForbidden:
		return statusForbidden
	case meeting.CodeLimitExceeded, meeting.CodeConflict:
		return statusConflict
	case meeting.CodeInternal:
		return statusInternal
	case meeting.CodeUnavailable, meeting.CodeThrottled:
		return statusUnavailable
	default:
		return statusBadRequest
	}
}

// handle does what one message asks for. Whatever the message is, it ends no
// more than this session.
func (s *session) handle(ctx context.Context, data []byte) {
	f, err := decode(data)
	if err != nil {
		s.complain("malformed", meeting.MessageOf(err))
		return
	}
	s.srv.metrics.frames.WithLabelValues(typeLabel(f.GetType())).Inc()
	switch f.GetType() {
	case signalpb.SdkSignalFrame_PING_PONG:
		s.handlePing(f.GetPingPong())
		return
	case signalpb.SdkSignalFrame_LEAVE:
		s.handleLeave()
		return
	case signalpb.SdkSignalFrame_CLIENT_METRIC, signalpb.SdkSignalFrame_MEETING_SESSION_TIMING:
		return
	}
	if s.left || s.over() {
		return // on its way out; late frames are normal
	}
	if f.GetType() == signalpb.SdkSignalFrame_JOIN {
		if f.Join == nil {
			s.complain("malformed", "JOIN without its payload")
			return
		}
		s.handleJoin(f.Join)
		return
	}
	if s.member == nil {
		if f.GetType() == signalpb.SdkSignalFrame_SUBSCRIBE {
			s.srv.metrics.bad.WithLabelValues("order").Inc()
			s.answerSubscribeError(f.GetSub().GetDuplex(), meeting.Errorf(meeting.CodeBadRequest, "SUBSCRIBE before JOIN"))
			return
		}
		s.complain("order", fmt.Sprintf("frame of type %d before JOIN", f.GetType()))
		return
	}
	switch f.GetType() {
	case signalpb.SdkSignalFrame_SUBSCRIBE:
		if f.Sub == nil {
			s.complain("malformed", "SUBSCRIBE without its payload")
			return
		}
		s.handleSubscribe(ctx, f.Sub)
	case signalpb.SdkSignalFrame_AUDIO_CONTROL:
		if f.AudioControl == nil || f.AudioControl.Muted == nil {
			s.complain("malformed", "AUDIO_CONTROL without muted")
			return
		}
		s.member.room.setMuted(s.member, f.AudioControl.GetMuted(), true)
	case signalpb.SdkSignalFrame_PAUSE, signalpb.SdkSignalFrame_RESUME:
		if f.Pause == nil {
			s.complain("malformed", "PAUSE or RESUME without its payload")
			return
		}
		s.handlePause(f.GetType() == signalpb.SdkSignalFrame_PAUSE, f.Pause.GetStreamIds())
	case signalpb.SdkSignalFrame_REMOTE_VIDEO_UPDATE:
		if f.RemoteVideoUpdate == nil {
			s.complain("malformed", "REMOTE_VIDEO_UPDATE without its payload")
			return
		}
		s.handleVideoUpdate(f.RemoteVideoUpdate)
	case signalpb.SdkSignalFrame_DATA_MESSAGE:
		if f.DataMessage == nil {
			s.complain("malformed", "DATA_MESSAGE without its payload")
			return
		}
		s.handleDataMessages(f.DataMessage.GetMessages())
	case signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN:
		s.handlePromote(ctx, f.GetPrimaryMeetingJoin())
	case signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE:
		s.member.room.demoteSelf(s.member)
	default:
		s.complain("unknown", fmt.Sprintf("frame of type %d is not one that clients send", f.GetType()))
	}
}

// typeLabel keeps made-up types from becoming metric labels.
func typeLabel(t signalpb.SdkSignalFrame_Type) string {
	if name, ok := signalpb.SdkSignalFrame_Type_name[int32(t)]; ok {
		return name
	}
	return "unknown"
}

// handlePing answers pings at once and takes pongs as proof of what arrived.
func (s *session) handlePing(p *signalpb.SdkPingPongFrame) {
	switch {
	case p == nil:
		s.complain("malformed", "PING_PONG without its payload")
	case p.GetType() == signalpb.SdkPingPongFrame_PING:
		s.sendFrame(&signalpb.SdkSignalFrame{
			Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
			PingPong: &signalpb.SdkPingPongFrame{
				Type:   signalpb.SdkPingPongFrame_PONG.Enum(),
				PingId: proto.Uint32(p.GetPingId()),
			},
		})
	case s.member != nil:
		s.member.room.confirmed(s.member, p.GetPingId())
	}
}

// handleLeave acknowledges first: clients wait for it.
func (s *session) handleLeave() {
	s.sendFrame(&signalpb.SdkSignalFrame{
		Type:     signalpb.SdkSignalFrame_LEAVE_ACK.Enum(),
		LeaveAck: &signalpb.SdkLeaveAckFrame{},
	})
	if s.left {
		return
	}
	s.left = true
	if s.member != nil {
		s.member.room.leave(s.member, s)
	}
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if s.ended {
		s.close(s.ending.code, s.ending.reason)
		return
	}
	// The client closes by itself; this is for one that forgets.
	s.ended = true
	s.timer = time.AfterFunc(s.srv.cfg.Timings.End, func() { s.close(closeNormal, "left") })
}

// controlled slows a client that steers its video without end, since each of
// these frames may cost a sender a key frame. It is false when the session ended.
func (s *session) controlled() bool {
	now := s.srv.now()
	wait := s.controls.ReserveN(now, 1).DelayFrom(now)
	return wait <= 0 || s.pause(wait)
}

// handlePause stops or resumes what this client receives.
func (s *session) handlePause(pause bool, streamIDs []uint32) {
	if len(streamIDs) == 0 {
		return
	}
	if len(streamIDs) > maxReceive {
		s.complain("malformed", fmt.Sprintf("%d stream_ids in one frame, %d are allowed", len(streamIDs), maxReceive))
		return
	}
	if !s.controlled() {
		return
	}
	peer := s.member.room.peerOf(s.member)
	switch {
	case peer == nil:
	case pause:
		peer.Pause(streamIDs)
	default:
		peer.Resume(streamIDs)
	}
}

// handleVideoUpdate switches layers where an entry names a stream, and takes the
// preferences of one that does not.
func (s *session) handleVideoUpdate(u *signalpb.SdkRemoteVideoUpdateFrame) {
	updates := u.GetAddedOrUpdatedVideoSubscriptions()
	if len(updates) > maxSwitches {
		s.complain("malformed", fmt.Sprintf("%d video subscriptions in one frame, %d are allowed", len(updates), maxSwitches))
		return
	}
	if !s.controlled() {
		return
	}
	peer := s.member.room.peerOf(s.member)
	if peer == nil {
		return
	}
	for _, c := range updates {
		if c.GetStreamId() != 0 {
			peer.Switch(c.GetMid(), c.GetStreamId())
		}
	}
	if list := preferences(updates); len(list) > 0 {
		peer.Prefer(list)
	}
}
