// Package ingest answers EventIngestionUrl: browser clients from 2.13 on post
// there what happened to them (joined, failed, reconnected …), with their join
// token. The events are counted by name, so an operator sees how clients fare.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
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

// Handler takes the posts of clients.
type Handler struct {
	auth    Authenticator
	events  *prometheus.CounterVec
	refused *prometheus.CounterVec

	mu    sync.Mutex
	names map[string]bool
}

// New returns a Handler that counts in registry.
func New(auth Authenticator, registry prometheus.Registerer) *Handler {
	h := &Handler{auth: auth, names: map[string]bool{}, events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "belfry_client_events_total", Help: "Events that browser clients reported, by name.",
	}, []string{"name"})}
	h.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "belfry_client_events_refused_total", Help: "Posts of client events that were refused, by HTTP status.",
	}, []string{"status"})
	registry.MustRegister(h.events, h.refused)
	return h
}

// afterEnd stands for the name of an event whose attendee is gone.
const afterEnd = "after_end"

// post is the body of a client's request.
type post struct {
	// Authorization stands here when the browser posts by sendBeacon, which
	// cannot set a header.
	Authorization string `json:"authorization"`
	Events        []struct {
		Type     string `json:"type"`
		Payloads []struct {
			Name string `json:"name"`
		} `json:"payloads"`
	} `json:"events"`
}

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
	var p post
	if err := json.Unmarshal(body, &p); err != nil {
		h.refuse(w, http.StatusBadRequest, "the body is not the JSON of client events")
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" {
		token = strings.TrimPrefix(p.Authorization, "Bearer ")
	}
	join := meeting.Secret(strings.TrimSuffix(token, meeting.ContentSuffix))
	_, err = h.auth.Authenticate(r.Context(), join)
	switch {
	case err == nil:
	case meeting.CodeOf(err) == meeting.CodeForbidden && meeting.WellFormedJoinToken(join):
		// The last events of a client come after its meeting ended. Whose they are
		// cannot be proved any more, so their names are not counted.
		h.events.WithLabelValues(afterEnd).Add(float64(len(p.Events)))
		_, _ = io.WriteString(w, "{}\n")
		return
	default:
		h.refuse(w, http.StatusForbidden, "the join token is not valid: send it as Authorization: Bearer <JoinToken>")
		return
	}
	for _, event := range p.Events {
		for _, payload := range event.Payloads {
			h.events.WithLabelValues(h.label(payload.Name)).Inc()
		}
	}
	_, _ = io.WriteString(w, "{}\n")
}

// label bounds the names that become a metric's label.
func (h *Handler) label(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.names[name] {
		if !eventName.MatchString(name) || len(h.names) >= maxNames {
			return "other"
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
