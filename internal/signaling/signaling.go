// Package signaling is the attendee's WebSocket: the control channel that the
// browser client opens at MediaPlacement.SignalingUrl. It authenticates the join
// token, answers JOIN and SUBSCRIBE, keeps the roster (who is here, who is
// muted, who is talking), lists the videos that can be watched, carries data
// messages and tells clients when their session is over.
//
// A [Server] is an http.Handler for /control/{meetingId}. Each socket is one
// session with two goroutines, a reader that handles frames in order and a
// writer behind a bounded queue. The sessions of a meeting meet in a room; a
// room's live state is guarded by one mutex with short sections, and one
// goroutine per room does what takes time or comes round: closing media,
// sending INDEX, letting absent attendees go. Media is reached through the
// contracts of package meeting and calls back through them.
//
// Locks are taken in the order Server.mu, room.mu; a session has none. Nothing
// blocks while one is held: sending to a session puts a frame into its queue,
// and a session whose queue is full is cut.
package signaling

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

// Service is what signaling needs of the control plane.
type Service interface {
	// Authenticate tells whose join token this is; the token comes without
	// meeting.ContentSuffix. Refusals are *meeting.Error; CodeUnavailable and
	// CodeInternal make the client try again, every other code is final.
	Authenticate(ctx context.Context, token meeting.Secret) (meeting.Identity, error)
}

// Events records presence. Calls for one meeting come in order, from one
// goroutine, and hold up that meeting while they last: Presence must not block.
type Events interface {
	Presence(Presence)
}

// Presence is something an attendee did, named as the meeting event that tells
// of it: authorized (at every join), joined, left, dropped, video started and
// stopped, and all but the first of its content share. An attendee of a replica
// does as one of its Meeting what it does in the audience, and as the attendee of
// the primary what it does while promoted.
type Presence struct {
	Type     meeting.EventType
	At       time.Time
	Meeting  *meeting.Meeting
	Attendee *meeting.Attendee
}

// Config is what a Server is made of. Service, Conferences and Relays are
// required.
type Config struct {
	Service     Service
	Conferences meeting.Conferences
	Relays      meeting.Relays

	// MeetingExists tells a refused token of a meeting that is gone (close 4410)
	// from any other (4403). nil: only meetings that MeetingEnded named lately
	// are known to be gone.
	MeetingExists func(ctx context.Context, meetingID string) bool

	// Quotas tells what an account may use now: Videos, ContentShares and the rate
	// of data messages. It is called with locks held and must not block. nil: AWS's
	// defaults.
	Quotas func(account string) meeting.Quotas

	// Admit lets one person in who comes new. Where it is false, the server has no
	// room now, and the person is asked to try again; who is in a meeting may come
	// back unasked. nil: everybody may come.
	Admit func() bool
	// Full reports that the server has more to do than it can. nil: never.
	Full func() bool

	Events  Events                // nil: presence is not recorded
	Logger  *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics
	Now     func() time.Time      // nil: time.Now
	Timings Timings
	Limits  Limits
}

// Limits bound how many sockets there may be. A socket too many is refused
// before its upgrade with 503, to which clients answer with further tries. A
// zero value means the default.
type Limits struct {
	// PerAddress counts all sockets of one client address (of one /64 in IPv6).
	// Behind a proxy that is everybody's, so the default is high: 10 000.
	PerAddress int
	// PerMeeting counts the sockets of one meeting, content shares included.
	// Default 4 000.
	PerMeeting int
	// IndexRate is how many bytes a second one meeting may spend on INDEX before
	// changes of its videos are gathered for longer, up to 2 s. Default 4 MB.
	IndexRate int
}

func (l Limits) withDefaults() Limits {
	if l.PerAddress <= 0 {
		l.PerAddress = 10_000
	}
	if l.PerMeeting <= 0 {
		l.PerMeeting = 4_000
	}
	if l.IndexRate <= 0 {
		l.IndexRate = 4_000_000
	}
	return l
}

// Timings are the waits of signaling. A zero value means the default.
type Timings struct {
	// BeforeJoin is how long an authenticated socket may wait with its JOIN;
	// clients connect ahead of time (signalingOnly). Default 30 min.
	BeforeJoin time.Duration
	// Idle is how long a joined socket may be silent; clients ping every 10 s.
	// Default 40 s.
	Idle time.Duration
	// Grace is how long an attendee is kept after both its socket and its media
	// are gone. Default 12 s.
	Grace time.Duration
	// Silent is how long a connection may send neither media nor signaling before
	// its cable counts as cut; clients ping every 10 s. Default 12 s, or Grace when
	// that is longer.
	Silent time.Duration
	// Astray is how long a client may send no media at all while its signaling
	// comes, before it is told to connect anew. Clients that send no media check
	// their path every 2 to 6 s. Default 8 s.
	Astray time.Duration
	// MaxGrace bounds how long media alone keeps an attendee. Default 90 s.
	MaxGrace time.Duration
	// PresenceFallback is how long after ICE and DTLS an attendee counts as
	// present though no audio came. Default 5 s.
	PresenceFallback time.Duration
	// IndexDelay gathers changes of the video list into one INDEX. Default 120 ms.
	IndexDelay time.Duration
	// RosterDelay gathers changes of the roster into one AUDIO_STREAM_ID_INFO when
	// there are many. Default 150 ms.
	RosterDelay time.Duration
	// Bitrates is the pace of BITRATES frames. Default 4 s.
	Bitrates time.Duration
	// Write bounds one write to a socket. Default 10 s.
	Write time.Duration
	// End is the time between telling a client that its session is over and
	// closing the socket, unless it leaves first. Default 3 s.
	End time.Duration
	// CloseHandshake bounds the WebSocket close handshake. Default 500 ms.
	CloseHandshake time.Duration
	// Tick is the pace of a room's housekeeping. Default 500 ms.
	Tick time.Duration
}

func (t Timings) withDefaults() Timings {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.BeforeJoin, 30*time.Minute)
	set(&t.Idle, 40*time.Second)
	set(&t.Grace, 12*time.Second)
	set(&t.Silent, max(t.Grace, 12*time.Second))
	set(&t.Astray, 8*time.Second)
	set(&t.MaxGrace, 90*time.Second)
	set(&t.PresenceFallback, 5*time.Second)
	set(&t.IndexDelay, 120*time.Millisecond)
	set(&t.RosterDelay, 150*time.Millisecond)
	set(&t.Bitrates, 4*time.Second)
	set(&t.Write, 10*time.Second)
	set(&t.End, 3*time.Second)
	set(&t.CloseHandshake, 500*time.Millisecond)
	set(&t.Tick, 500*time.Millisecond)
	return t
}

// Close codes of the signaling socket. 4403, 4410 and 45xx are known to clients:
// the first two end a join for good, 45xx asks for another try.
const (
	closeNormal      = 1000
	closeBadRequest  = 4400
	closeRefused     = 4403
	closeReplaced    = 4409
	closeEnded       = 4410
	closeTooMany     = 4429
	closeServerError = 4500
	closeRestarting  = 4503
)

// Values of AUDIO_STATUS and of the error in an envelope; clients read both like
// HTTP statuses.
const (
	statusViewOnly    = 206
	statusElsewhere   = 301
	statusBadRequest  = 400
	statusForbidden   = 403
	statusConflict    = 409
	statusEnded       = 410
	statusRemoved     = 411
	statusTooMany     = 429
	statusInternal    = 500
	statusUnavailable = 503
)

// Limits on what a client may make us hold or do.
const (
	maxFrame       = 512 << 10 // one WebSocket message
	maxEarlyFrame  = 64 << 10  // one before JOIN
	maxSmallFrame  = 128 << 10 // any frame but SUBSCRIBE
	maxSDP         = 256 << 10
	maxQueueBytes  = 4 << 20 // waiting for one client
	maxSendStreams = 16
	maxLabel       = 64 // of a stream: it goes to everybody
	maxReceive     = 256
	maxSwitches    = 256 // layer switches in one frame
	maxSockets     = 8   // sockets of one attendee, and as many of its content share
	maxToken       = 1024
)

// RoomInfo sums up one live meeting.
type RoomInfo struct {
	MeetingID string
	Sockets   int // joined, content shares and the audience included
	Attendees int // in the roster, without content shares
	Audience  int // attendees of replicas who are not promoted
	Contents  int // content shares in the roster
}
