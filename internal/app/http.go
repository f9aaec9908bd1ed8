package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"belfry/internal/api"
	"belfry/internal/api/restjson"
)

// router hands each request to who answers it. It is not an http.ServeMux,
// which would rewrite odd paths before a signature over them can be checked:
// what no other part owns is the API's, as it came.
type router struct {
	log                                                             *slog.Logger
	api, control, turn, ingest, share, view, health, ready, metrics http.Handler
	page                                                            http.Handler // nil when it is off

	// base is the context of every request; a socket that no other component
	// ends is ended by it.
	base    context.Context
	end     context.CancelFunc
	serving sync.WaitGroup

	mu      sync.Mutex
	stopped bool
}

func newRouter(log *slog.Logger) *router {
	r := &router{log: log}
	r.base, r.end = context.WithCancel(context.Background())
	return r
}

// begin counts a request, under the lock so that stop never waits for a group
// that grows.
func (r *router) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.serving.Add(1)
	}
	return !r.stopped
}

// stop ends the requests that are still being served and waits for them.
func (r *router) stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serving.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ServeHTTP implements http.Handler. The API writes its own line of log, since
// it knows what was asked; for every other part it is written here.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.begin() {
		restjson.WriteError(w, uuid.NewString(), &restjson.Error{Status: http.StatusServiceUnavailable,
			Name: "ServiceUnavailableException", Code: "ServiceUnavailable", Message: "The server is stopping", RetryAfter: 1})
		return
	}
	defer r.serving.Done()
	handler, part := r.owner(req)
	if part == "api" {
		handler.ServeHTTP(w, req)
		return
	}
	r.logged(handler, part, w, req)
}

// owner returns who answers the request, and its name in the log.
func (r *router) owner(req *http.Request) (handler http.Handler, part string) {
	path := req.URL.Path
	switch {
	case strings.HasPrefix(path, "/control/"):
		return r.control, "signaling"
	case path == "/v2/turn_sessions":
		return r.turn, "turn"
	case path == "/v1/client-events":
		return r.ingest, "client events"
	case strings.HasPrefix(path, "/v2/screen/"):
		return r.share, "screen share"
	case path == "/ws/connect":
		return r.view, "screen view"
	case path == "/healthz":
		return r.health, "health"
	case path == "/readyz":
		return r.ready, "health"
	case path == "/metrics":
		return r.metrics, "metrics"
	case r.page != nil && (path == "/" || path == "/meet" || strings.HasPrefix(path, "/meet/")):
		return r.page, "page"
	}
	return r.api, "api"
}

// logged serves a request and writes its line, for a socket when it has ended.
// Path and query are not in it: join tokens and names of rooms can be.
func (r *router) logged(handler http.Handler, part string, w http.ResponseWriter, req *http.Request) {
	begun, id := time.Now(), uuid.NewString()
	w.Header().Set("X-Amzn-RequestId", id)
	watched := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	level := slog.LevelInfo
	if part == "health" || part == "metrics" { // asked every few seconds by machines
		level = slog.LevelDebug
	}
	defer func() {
		fault := recover()
		if fault != nil && fault != http.ErrAbortHandler {
			// The value may hold what the caller sent; its type is enough beside the stack.
			r.log.Error("panic while serving a request", "request", id, "part", part,
				"fault", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
			watched.status = http.StatusInternalServerError
		}
		r.log.Log(req.Context(), level, "http request", "request", id, "part", part, "status", watched.status, "took", time.Since(begun))
		if fault != nil {
			panic(http.ErrAbortHandler) // ends the connection; what of the answer has left cannot be taken back
		}
	}()
	handler.ServeHTTP(watched, req)
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController, and with it the upgrade to a socket,
// reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// defaultAPI is the setting default_api.
func defaultAPI(setting string) api.API {
	if setting == "either" {
		return ""
	}
	return api.API(setting)
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
