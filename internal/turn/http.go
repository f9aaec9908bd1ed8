package turn

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// Authenticator proves a join token. meeting.Service is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token meeting.Secret) (meeting.Identity, error)
}

// Bounds of the body of a TURN control request, one meeting id.
const (
	maxControlBody = 4096
	bodyTime       = 10 * time.Second
)

// Control answers TurnControlUrl, which the browser client used up to 1.18
// always and up to 3.16 as a fallback: POST with the join token in the header
// X-Chime-Auth-Token, or GET with it in the query. The relay addresses are
// never left out, since those clients cannot do without, unless the mode is
// Never.
func (s *Server) Control(auth Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		switch r.Method {
		case http.MethodOptions:
			h.Set("Access-Control-Allow-Methods", "POST, GET")
			h.Set("Access-Control-Allow-Headers", "content-type, x-chime-auth-token")
			h.Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		case http.MethodPost, http.MethodGet:
		default:
			h.Set("Allow", "POST, GET, OPTIONS")
			answer(w, http.StatusMethodNotAllowed, map[string]string{"message": "use POST with the header X-Chime-Auth-Token"})
			return
		}
		// Not every writer has deadlines; a server that is reached by a network does,
		// and it lifts this one when the body has been read.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxControlBody))
		identity, err := auth.Authenticate(r.Context(), requestToken(r))
		switch {
		case meeting.CodeOf(err) == meeting.CodeUnavailable:
			answer(w, http.StatusServiceUnavailable, map[string]string{"message": "try again"})
			return
		case err != nil:
			s.Stats.Refused.Add(1)
			answer(w, http.StatusForbidden, map[string]string{"message": "the join token is not valid: X-Chime-Auth-Token must be _aws_wt_session=<JoinToken>"})
			return
		}
		c := s.Credentials(identity.Attendee.ID, remoteAddr(r), true)
		if c.URIs == nil {
			c.URIs = []string{}
		}
		answer(w, http.StatusOK, map[string]any{
			"username": c.Username, "password": c.Password.Reveal(), "ttl": int(c.TTL.Seconds()), "uris": c.URIs,
		})
	})
}

// requestToken finds the join token, without the suffix of a content session.
func requestToken(r *http.Request) meeting.Secret {
	token := strings.TrimPrefix(r.Header.Get("X-Chime-Auth-Token"), "_aws_wt_session=")
	if token == "" {
		token = r.URL.Query().Get("t")
	}
	return meeting.Secret(strings.TrimSuffix(token, meeting.ContentSuffix))
}

func remoteAddr(r *http.Request) netip.Addr {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	addr, _ := netip.ParseAddr(host)
	return addr
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
