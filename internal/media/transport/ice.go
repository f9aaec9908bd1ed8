package transport

import (
	"bytes"
	"crypto/hmac"
	"time"
)

func hmacEqual(a, b []byte) bool { return hmac.Equal(a, b) }

// check answers a connectivity check as the lite agent of RFC 8445 does: the
// answer tells the address it came from, and a nominated one becomes the Conn's.
func (l *loop) check(b []byte, from origin, now int64) {
	m, st := &l.stun, &l.mux.stats
	if err := m.parse(b); err != nil {
		st.ChecksMalformed.Add(1)
		return
	}
	switch m.kind {
	case typeRequest:
	case typeIndication:
		return // keeps a NAT open and proves nothing
	default:
		st.ChecksMalformed.Add(1) // we send no requests, so answers are not for us
		return
	}
	if m.username == nil || m.integrityAt == 0 {
		st.ChecksMalformed.Add(1)
		l.refuse(from, 400, "Bad Request")
		return
	}
	local, remote, ok := bytes.Cut(m.username, []byte{':'})
	var c *Conn
	if ok {
		c = l.mux.connNamed(local)
	}
	if c == nil {
		st.ChecksUnknown.Add(1)
		l.refuse(from, 401, "Unauthenticated")
		return
	}

	c.mu.Lock()
	authentic := m.authentic(c.mac, &c.macSum) &&
		(c.remote.Ufrag == "" || string(remote) == c.remote.Ufrag)
	c.mu.Unlock()
	if !authentic {
		st.ChecksUnauthentic.Add(1)
		l.refuse(from, 401, "Unauthenticated")
		return
	}
	if m.unknowns > 0 {
		st.ChecksMalformed.Add(1)
		w := answer(l.out.Reserve(from.addr, maxSTUNAnswer), typeError, m)
		w.errorCode(420, "Unknown Attribute")
		w.unknownAttributes(m.unknown[:m.unknowns])
		l.finish(c, &w, from)
		return
	}
	if m.controlled {
		// A lite agent never controls; told so, the client takes the role and tries
		// again (RFC 8445 7.3.1.1).
		st.RoleConflicts.Add(1)
		w := answer(l.out.Reserve(from.addr, maxSTUNAnswer), typeError, m)
		w.errorCode(487, "Role Conflict")
		l.finish(c, &w, from)
		return
	}
	if !l.mux.bind(c, from, now) {
		st.ChecksTaken.Add(1)
		return
	}
	c.received.Store(now)
	c.selectPath(from, m.useCandidate, now)
	st.ChecksAnswered.Add(1)
	w := answer(l.out.Reserve(from.addr, maxSTUNAnswer), typeSuccess, m)
	w.mappedAddress(from.addr)
	l.finish(c, &w, from)
}

// finish signs an answer with the Conn's password and commits it.
func (l *loop) finish(c *Conn, w *stunWriter, to origin) {
	c.mu.Lock()
	w.integrity(c.mac, &c.macSum)
	c.mu.Unlock()
	n := w.end()
	to.commit(l.out, w.b, n)
}

// refuse sends an error to who could not prove anything, not too often.
func (l *loop) refuse(to origin, code int, reason string) {
	if !l.mux.errorLimit.Allow() {
		l.mux.stats.ErrorsLimited.Add(1)
		return
	}
	w := answer(l.out.Reserve(to.addr, maxSTUNAnswer), typeError, &l.stun)
	w.errorCode(code, reason)
	n := w.end()
	to.commit(l.out, w.b, n)
}

// pathSilence is for how long nothing must have come from the path in use before
// a check from another address moves the Conn without a nomination. Clients check
// the path they use every 2 to 6 seconds (RFC 7675 5.1). mediaSilence is the same
// before media from another address does: while there is media at all, there is
// some many times a second.
const (
	pathSilence  = 8 * time.Second
	mediaSilence = time.Second
)

// selectPath makes where a right check came from the way to send: the first
// one, so that DTLS can begin before the client has nominated, and then those
// that the client nominates. A nomination of another address is the client on
// another network. When a NAT gives it another port the client does not know of
// it and has no reason to nominate again; then the old address falls silent. A
// stream that has ended is silent at once.
func (c *Conn) selectPath(from origin, nominated bool, now int64) {
	for {
		old := c.path.Load()
		if old != nil {
			if old.origin == from {
				old.heard.Store(now)
				return
			}
			if !nominated && !old.silent(now, pathSilence) {
				return
			}
		}
		if c.moveTo(old, from, now) {
			return
		}
	}
}

// moveTo sends another way from now on, unless the path is not old any more.
func (c *Conn) moveTo(old *path, to origin, now int64) bool {
	p := &path{origin: to}
	p.heard.Store(now)
	if !c.path.CompareAndSwap(old, p) {
		return false
	}
	if old == nil {
		close(c.selected)
	} else {
		c.mux.stats.PathChanges.Add(1)
	}
	return true
}
