package screen

import (
	"sync"

	"github.com/coder/websocket"

	"belfry/internal/meeting"
)

// room is a meeting's sockets, and the screen that is shared in it.
type room struct {
	server *Server
	id     string

	mu        sync.Mutex
	sockets   map[*socket]struct{}
	presenter *socket       // nil while nobody shares
	picture   *picture      // of the presenter
	changed   chan struct{} // closed and made anew when viewers should look
}

func newRoom(s *Server, id string) *room {
	return &room{server: s, id: id, sockets: map[*socket]struct{}{}, changed: make(chan struct{})}
}

// add takes a socket in. A listener is told at once who presents.
func (r *room) add(k *socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets[k] = struct{}{}
	if r.presenter != nil && !k.viewing {
		k.send(about(streamStart, r.presenter.who.Attendee.ID))
	}
}

// remove takes a socket out, and with a presenter's its share. It reports
// whether the room is empty.
func (r *room) remove(k *socket) (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sockets, k)
	r.end(k)
	return len(r.sockets) == 0
}

// start makes a socket the presenter, and who was it before is told to stop. It
// answers where the recording goes, nil when it goes nowhere.
func (r *room) start(k *socket) *picture {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused := ""
	switch {
	case !k.mayShare():
		refused = "capability"
	case r.presenter == nil && !r.server.startSharing():
		refused = "presenters"
	}
	if refused != "" {
		r.server.metrics.refused.WithLabelValues(refused).Inc()
		k.send(local(streamStop))
		return nil
	}
	kind := byte(streamStart)
	if old := r.presenter; old != nil {
		kind = presenterSwitch
		if old != k {
			old.send(local(streamStop))
		}
	}
	r.presenter, r.picture = k, newPicture(r.server, k.who.Meeting.Features.MaxContent())
	r.tell(k, about(kind, k.who.Attendee.ID))
	r.notify()
	r.server.cfg.Logger.Info("screen share started", "meeting", r.id, "attendee", k.who.Attendee.ID)
	return r.picture
}

// stop ends the share of a socket, if it is the presenter.
func (r *room) stop(k *socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(k)
}

func (r *room) end(k *socket) {
	if r.presenter != k {
		return
	}
	r.presenter, r.picture = nil, nil
	r.server.sharing.Add(-1)
	r.tell(k, about(streamEnd, k.who.Attendee.ID))
	r.notify()
	r.server.cfg.Logger.Info("screen share ended", "meeting", r.id, "attendee", k.who.Attendee.ID)
}

// tell sends a message to all who listen but the one it is about.
func (r *room) tell(but *socket, msg []byte) {
	for k := range r.sockets {
		if k != but && !k.viewing {
			k.send(msg)
		}
	}
}

// notify wakes the viewers.
func (r *room) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// show wakes the viewers for a new picture, if it is still the room's.
func (r *room) show(p *picture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.picture == p {
		r.notify()
	}
}

// presents reports whether a socket is still the presenter.
func (r *room) presents(k *socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.presenter == k
}

// look is what is shared now, nil when nothing is, and what is closed at the next change.
func (r *room) look() (*picture, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.picture, r.changed
}

// capabilities gives an attendee's sockets what it may from now on.
func (r *room) capabilities(a *meeting.Attendee) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.sockets {
		if k.who.Attendee.ID != a.ID {
			continue
		}
		k.content.Store(&a.Capabilities.Content)
		if k == r.presenter && !k.mayShare() {
			k.send(local(streamStop))
			r.end(k)
		}
	}
	r.notify()
}

// endWhere ends the sockets of some; 1000 is final to these clients.
func (r *room) endWhere(reason string, which func(meeting.Identity) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.sockets {
		if which(k.who) {
			r.end(k)
			k.end(websocket.StatusNormalClosure, reason)
		}
	}
}

func (r *room) endAll(code websocket.StatusCode, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.sockets {
		k.end(code, reason)
	}
}
