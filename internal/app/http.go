package app

import (
	"net/http"
	"net/url"
	"strings"

	"belfry/internal/api"
)

// router hands each request to who answers it. It is not an http.ServeMux,
// which would rewrite odd paths before a signature over them can be checked:
// what no other part owns is the API's, as it came.
type router struct {
	api, control, turn, ingest, share, view, health, metrics http.Handler
	page                                                     http.Handler // nil when it is off
}

// ServeHTTP implements http.Handler.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.owner(req).ServeHTTP(w, req)
}

func (r *router) owner(req *http.Request) http.Handler {
	path := req.URL.Path
	switch {
	case strings.HasPrefix(path, "/control/"):
		return r.control
	case path == "/v2/turn_sessions":
		return r.turn
	case path == "/v1/client-events":
		return r.ingest
	case strings.HasPrefix(path, "/v2/screen/"):
		return r.share
	case path == "/ws/connect":
		return r.view
	case path == "/healthz":
		return r.health
	case path == "/metrics":
		return r.metrics
	case r.page != nil && (path == "/" || path == "/meet" || strings.HasPrefix(path, "/meet/")):
		return r.page
	}
	return r.api
}

// endpoints says where clients reach the server: where the operator says, else
// where the request came to.
func endpoints(publicURL, audioHost string) func(*http.Request) api.Endpoints {
	if publicURL == "" {
		return api.HostEndpoints(audioHost)
	}
	base := strings.TrimSuffix(publicURL, "/")
	return api.FixedEndpoints(api.Endpoints{HTTP: base, WS: "ws" + strings.TrimPrefix(base, "http"), AudioHost: audioHost})
}

// origins is where else than its own origin the page connects to.
func origins(publicURL string) []string {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" {
		return nil
	}
	return []string{u.Scheme + "://" + u.Host}
}
