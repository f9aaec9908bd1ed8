// Package ingest answers EventIngestionUrl: browser clients from 2.13 on post
// there what happened to them (joined, failed, reconnected …), with their join
// token. The events are counted by name, so that an operator sees how clients
// fare, and kept for a while in files, so that it can be looked up what became
// of one: a Handler takes a post, an Archive keeps what is in it, and Read finds
// it again.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/meeting"
)

// Authenticator proves a join token. meeting.Service is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token meeting.Secret) (meeting.Identity, error)
}

// Bounds of one post and of the event names that are told apart; names beyond
// the bound are counted together, since a client chooses them.
const (
	maxBody  = 256 << 10
	bodyTime = 10 * time.Second
	maxNames = 64
)

var eventName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]{0,63}$`)

// otherName stands for a name that is of no such form, or one too many.
const otherName = "other"

// Handler takes the posts of clients.
type Handler struct {
	auth     Authenticator
	archive  *Archive
	now      func() time.Time
	events   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	departed departed

	mu    sync.Mutex
	names map[string]bool
}

// New returns a Handler that counts in registry and keeps events in archive,
// which is nil when none are to be kept.
func New(auth Authenticator, archive *Archive, registry prometheus.Registerer) *Handler {
	h := &Handler{auth: auth, archive: archive, now: time.Now, names: map[string]bool{}, events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "belfry_client_events_total", Help: "Events that browser clients reported, by name.",
	}, []string{"name"})}
	h.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "belfry_client_events_refused_total", Help: "Posts of client events that were refused, by HTTP status.",
	}, []string{"status"})
	h.departed = departed{now: func() time.Time { return h.now() }, tokens: map[tokenSum]sender{}}
	registry.MustRegister(h.events, h.refused)
	return h
}

// Committed takes a commit of the store: the last events of a client come after
// its attendee or its meeting was deleted, and whose they are must be known
// then. It is for meeting.Store.Watch.
func (h *Handler) Committed(c meeting.Commit) {
	for _, change := range c.Changes {
		if m := change.MeetingDeleted; m != nil {
			h.departed.add(Room{Meeting: m.ID, ExternalMeeting: m.ExternalMeetingID}, change.Attendees...)
		}
		if a := change.AttendeeDeleted; a != nil {
			h.departed.add(Room{Meeting: a.MeetingID}, a)
		}
	}
}

// unknownSender stands for the name of an event of whom nobody knows any more.
const unknownSender = "after_end"

// ServeHTTP implements http.Handler. Every answer has a JSON body, which the
// client parses.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Content-Type", "application/json")
	switch r.Method {
	case http.MethodOptions:
		header.Set("Access-Control-Allow-Methods", "POST")
		header.Set("Access-Control-Allow-Headers", "authorization, content-type")
		header.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
	default:
		header.Set("Allow", "POST, OPTIONS")
		h.refuse(w, http.StatusMethodNotAllowed, "post events here as JSON")
		return
	}
	// Not every writer has deadlines; a server that is reached by a network does,
	// and it lifts this one when the body has been read.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			h.refuse(w, http.StatusRequestEntityTooLarge, "the body is over 256 KiB; post fewer events at once")
			return
		}
		h.refuse(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	e, err := parseEnvelope(body)
	if err != nil {
		h.refuse(w, http.StatusBadRequest, "the body is not the JSON of client events")
		return
	}
	token := e.token(r.Header.Get("Authorization"))
	from, late, err := h.sender(r.Context(), token)
	switch {
	case err == nil:
		h.take(from, late, e, token)
	case meeting.CodeOf(err) == meeting.CodeForbidden && meeting.WellFormedJoinToken(token):
		// It may have been one long ago. A client would gain nothing by a refusal,
		// and whose the events are cannot be proved any more.
		h.events.WithLabelValues(unknownSender).Add(float64(len(e.Events)))
	case meeting.CodeOf(err) != meeting.CodeForbidden:
		h.refuse(w, http.StatusServiceUnavailable, "the join token cannot be looked up now; try again") // as clients do
		return
	default:
		h.refuse(w, http.StatusForbidden, "the join token is not valid: send it as Authorization: Bearer <JoinToken>")
		return
	}
	_, _ = io.WriteString(w, "{}\n")
}

// sender tells whose token it is, or was until a short while ago.
func (h *Handler) sender(ctx context.Context, token meeting.Secret) (from sender, late bool, err error) {
	who, err := h.auth.Authenticate(ctx, token)
	if err == nil {
		return sender{room: Room{Meeting: who.Meeting.ID, ExternalMeeting: who.Meeting.ExternalMeetingID}, id: who.Attendee.ID}, false, nil
	}
	if meeting.CodeOf(err) == meeting.CodeForbidden {
		if from, late = h.departed.find(token); late {
			return from, true, nil
		}
	}
	return sender{}, false, err
}

// take counts the events and has them kept.
func (h *Handler) take(from sender, late bool, e envelope, token meeting.Secret) {
	p, surplus := e.post(token)
	for _, event := range p.Events {
		h.events.WithLabelValues(h.label(event.Name)).Inc()
	}
	if h.archive != nil {
		p.At, p.Attendee, p.Late = h.now().UTC().Truncate(time.Millisecond), from.id, late
		h.archive.Keep(from.room, p, surplus)
	}
}

// label bounds the names that become a metric's label.
func (h *Handler) label(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.names[name] {
		if len(h.names) >= maxNames {
			return otherName
		}
		h.names[name] = true
	}
	return name
}

func (h *Handler) refuse(w http.ResponseWriter, status int, message string) {
	h.refused.WithLabelValues(strconv.Itoa(status)).Inc()
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}
