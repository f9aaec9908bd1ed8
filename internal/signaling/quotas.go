package signaling

import (
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// What the quotas of a meeting's account allow: cameras and content shares in a
// room, data messages of a session. They are asked for at each use, so that a
// change holds for what begins after it; what goes on is not ended.

// quotas are those that hold in the room now.
func (r *room) quotas() meeting.Quotas { return r.srv.quotas(r.meeting.Account) }

func (s *Server) quotas(account string) meeting.Quotas {
	if s.cfg.Quotas == nil {
		return meeting.DefaultQuotas
	}
	return s.cfg.Quotas(account)
}

// announced notes whether a connection is about to send video, and gives its
// camera one of the meeting's places if one is free. had says that it had one
// before, noVideo why there shall be no video.
func (r *room) announced(p *participant, video bool) (had bool, noVideo string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.sendsVideo, had = video, p.camera
	switch {
	case !video:
		return had, ""
	case !p.maySend():
		return had, "this attendee may not send video"
	case p.content:
		return had, ""
	case !p.hasCamera() && r.camerasFull():
		r.srv.metrics.quota.WithLabelValues("max_videos").Inc()
		return had, "this meeting has as many videos as it may"
	}
	p.camera = true
	return had, ""
}

// setCamera notes whether a connection sends video, as media has answered.
func (r *room) setCamera(p *participant, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.camera = on && p.maySend() // which may be news
}

// hasCamera tells whether one of the places is this attendee's. Who reconnects
// keeps the place of the connection before until it is present.
func (p *participant) hasCamera() bool { return p.camera || p.prev != nil && p.prev.camera }

// camerasFull tells whether every place is taken. The caller holds mu.
func (r *room) camerasFull() bool {
	n := 0
	for _, p := range r.members {
		if p.hasCamera() {
			n++
		}
	}
	return n >= r.quotas().Videos
}

// mayShare tells whether a content share may become present: one that goes on
// over a new connection, or one that is not too many. The caller holds mu.
func (r *room) mayShare(p *participant) bool {
	if p.shownID() != 0 || r.contentShares(p) < r.quotas().ContentShares {
		return true
	}
	r.srv.metrics.quota.WithLabelValues("max_content_shares").Inc()
	return false
}

// dataPace holds what one client sends to the quota of data messages; it is its
// session's reader's own. The zero value follows no quotas yet.
type dataPace struct {
	rate, burst int           // that the limiters follow
	soft        *rate.Limiter // above it a message comes back to its sender as throttled
	hard        *rate.Limiter // above it the session is closed
}

// The frames that a client may send in a second, and at once, when it may not
// send more data messages than usual, of which there can be one in each.
const frameRate, frameBurst = 600, 12_000

// follow keeps to the quotas as they are now, with frames to fit them.
func (d *dataPace) follow(q meeting.Quotas, frames *rate.Limiter, now time.Time) {
	if d.soft != nil && d.rate == q.DataMessageRate && d.burst == q.DataMessageBurst {
		return
	}
	d.rate, d.burst = q.DataMessageRate, q.DataMessageBurst
	soft, hard := rate.Inf, rate.Inf
	if d.rate > 0 {
		soft = rate.Limit(d.rate)
	} else { // the rest of the server is still protected, as with the most that can be set
		q.DataMessageRate, q.DataMessageBurst = 10_000, 10_000
	}
	hardRate, hardBurst := q.HardDataMessages()
	if d.rate > 0 {
		hard = rate.Limit(hardRate)
	}
	if d.soft == nil {
		d.soft, d.hard = rate.NewLimiter(soft, d.burst), rate.NewLimiter(hard, hardBurst)
	} else {
		d.soft.SetLimitAt(now, soft)
		d.soft.SetBurstAt(now, d.burst)
		d.hard.SetLimitAt(now, hard)
		d.hard.SetBurstAt(now, hardBurst)
	}
	frames.SetLimitAt(now, rate.Limit(max(frameRate, hardRate*6/5)))
	frames.SetBurstAt(now, max(frameBurst, hardBurst*6/5))
}
