package observe

import (
	"net/http"
	"sync/atomic"
)

// Health answers GET /healthz: 200 while the server takes requests, 503 before
// it is ready and once it shuts down.
type Health struct{ ready atomic.Bool }

// SetReady changes the answer.
func (h *Health) SetReady(ready bool) { h.ready.Store(ready) }

// ServeHTTP implements http.Handler.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !h.ready.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("not ready\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
