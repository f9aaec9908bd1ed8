package signaling

import (
	"time"
)

// memory is what the server remembers of meetings and attendees that have no
// room or socket now. All of it is bounded in time and number; Server.mu guards
// it.
type memory struct {
	over     map[string]time.Time // meetings that ended lately
	parked   map[string]parked    // by meeting id: what a room left behind
	attempts map[string]attempt   // by full attendee id
	swept    time.Time
}

// parked is what outlives an empty room: stream ids that must not come again and
// data messages that have not expired.
type parked struct {
	nextID   uint32
	messages *messageStore
	created  time.Time // of the meeting
}

// attempt is one client's last try to get media through.
type attempt struct {
	audioSession uint64
	at           time.Time
	// relay says that going direct failed before, so that a relay is offered.
	relay bool
	// pending says that the offer was answered and no media has come yet.
	pending bool
}

const (
	rememberEnded   = time.Hour
	rememberAttempt = time.Hour
	maxRemembered   = 100_000
)

func newMemory() memory {
	return memory{over: map[string]time.Time{}, parked: map[string]parked{}, attempts: map[string]attempt{}}
}

func (m *memory) hasEnded(meetingID string) bool {
	_, ok := m.over[meetingID]
	return ok
}

func (m *memory) ended(meetingID string, now time.Time) {
	delete(m.parked, meetingID)
	m.over[meetingID] = now
	m.sweep(now)
}

// sweep forgets what is too old, once a minute or when there is too much of it.
func (m *memory) sweep(now time.Time) {
	full := len(m.over) > maxRemembered || len(m.attempts) > maxRemembered
	if now.Sub(m.swept) < time.Minute && !full {
		return
	}
	m.swept = now
	for id, at := range m.over {
		if now.Sub(at) > rememberEnded || len(m.over) > maxRemembered {
			delete(m.over, id)
		}
	}
	for id, a := range m.attempts {
		if now.Sub(a.at) > rememberAttempt || len(m.attempts) > maxRemembered {
			delete(m.attempts, id)
		}
	}
	for id, p := range m.parked {
		p.messages.expire(now)
		if p.messages.empty() && firstID(p.created, now) >= p.nextID {
			delete(m.parked, id)
		}
	}
}

// firstID is the lowest id that a room opened now hands out. It grows by 32 a
// second, so that ids are not reused across a restart, which forgets them.
func firstID(created, now time.Time) uint32 {
	seconds := int64(now.Sub(created) / time.Second)
	return uint32(1 + 32*max(seconds, 0))
}

// needsRelay tells whether this client's last try went unanswered by media.
func (m *memory) needsRelay(id string, audioSession uint64, now time.Time) bool {
	a, ok := m.attempts[id]
	return ok && audioSession != 0 && a.audioSession == audioSession && now.Sub(a.at) < rememberAttempt && (a.relay || a.pending)
}

func (m *memory) tried(id string, audioSession uint64, relay bool, now time.Time) {
	if audioSession != 0 {
		m.sweep(now)
		m.attempts[id] = attempt{audioSession: audioSession, at: now, relay: relay, pending: true}
	}
}

func (m *memory) connected(id string, audioSession uint64) {
	a, ok := m.attempts[id]
	if !ok || a.audioSession != audioSession {
		return
	}
	if !a.relay {
		delete(m.attempts, id)
		return
	}
	a.pending = false
	m.attempts[id] = a
}
