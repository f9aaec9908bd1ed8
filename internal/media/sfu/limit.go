package sfu

// Limit is how much video is left out because the server has no more to give,
// whatever the clients' networks carry. Each does what those before it do.
type Limit uint8

// The limits.
const (
	NoLimit    Limit = iota
	LowCameras       // of each camera the least that can be had
	NoCameras        // cameras are paused
	NoVideo          // content shares too
)

// lowCamera is what a camera of one quality is asked to come down to under a limit,
// in bit/s.
const lowCamera = 150_000

// Limit sets it, for all clients.
func (r *Router) Limit(l Limit) {
	if r.limit == l {
		return
	}
	r.limit = l
	for _, d := range r.downs {
		d.changed = true
	}
}

// limited does to a share what the limit says, once its ladder is known. out is
// whether nothing of it is sent.
func (s *Share) limited(now int64) (out bool) {
	limit := s.d.r.limit
	s.low = limit >= LowCameras && !s.content
	if limit == NoVideo || limit == NoCameras && !s.content {
		s.ask, s.gap = 0, false
		s.askLow() // what comes in costs too
		s.tellPaused(true)
		s.apply(now)
		return true
	}
	if s.low {
		s.ladder = s.ladder[:1]
		s.at = min(s.at, 0)
	}
	return false
}

// settleLow keeps to the limit what is not decided by bandwidth, and gives it back
// after that.
func (s *Share) settleLow(now int64) {
	switch {
	case s.low:
		s.take(0, now)
		s.lowered = true
	case s.lowered:
		s.lowered, s.at = false, -1
		s.sub.Switch(s.wish, now)
	}
}

// askLow asks the sender of one quality to come down for the limit's sake.
func (s *Share) askLow() {
	if s.low && s.solo && (s.ask == 0 || s.ask > lowCamera) {
		s.ask = lowCamera
	}
}
