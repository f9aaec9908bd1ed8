package observe

import (
	"net/http"
	"sync/atomic"
)

// Health answers GET /healthz: 200 while the server takes requests, 503 before
// it is ready, once it shuts down, and while a part cannot do its work.
type Health struct {
	ready atomic.Bool

	// Trouble, when set, says why a part cannot do its work, "" when all can. The
	// answer shows it to everybody. It is set before the first request.
	Trouble func() string
	// Full, when set, says why there is no room for more meetings, "" when there is.
	// It makes Ready say no, and is set before the first request.
	Full func() string
}

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
	if h.Trouble != nil {
		if trouble := h.Trouble(); trouble != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(trouble + "\n"))
			return
		}
	}
	_, _ = w.Write([]byte("ok\n"))
}

// Ready answers GET /readyz: as the Health does, and 503 also while there is no
// room for more, so that new meetings are made elsewhere.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	if h.Full != nil && h.ready.Load() {
		if full := h.Full(); full != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(full + "\n"))
			return
		}
	}
	h.ServeHTTP(w, r)
}
