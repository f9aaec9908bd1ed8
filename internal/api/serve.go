package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"belfry/internal/api/restjson"
)

// ServeHTTP implements http.Handler. It answers every request, whatever its
// path, in the form that SDKs can read, and writes one line of log for it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{handler: h, request: r, identity: unknownAPI}
	requestID := uuid.NewString()
	// SDKs set their clock by this after a refused signature, so it has to be the
	// one that signatures are judged by.
	w.Header().Set("Date", h.opt.Now().UTC().Format(http.TimeFormat))

	if r.ContentLength != 0 {
		// Not every writer has deadlines; a server that is reached by a network does.
		// The server lifts this one when the body has been read.
		_ = http.NewResponseController(w).SetReadDeadline(start.Add(h.opt.BodyTime))
	}

	status, body, err := h.recovering(c, r, requestID)
	var failure *restjson.Error
	if err != nil {
		failure = h.failure(c, err)
		status = failure.Status
		restjson.WriteError(w, requestID, failure)
	} else {
		restjson.Write(w, requestID, status, body)
	}

	took := time.Since(start)
	h.metrics.observe(c, status, took)
	h.log(r.Context(), c, requestID, status, took, failure)
}

// recovering turns a panic into a fault, with its stack in the log.
func (h *Handler) recovering(c *call, r *http.Request, requestID string) (status int, body any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		h.opt.Log.ErrorContext(r.Context(), "panic while serving a request",
			"request", requestID, "operation", c.operation, "stack", string(debug.Stack()))
		// The value may hold what the caller sent; its type is enough beside the stack.
		err = fmt.Errorf("panic of type %T", p)
	}()
	return h.answer(c, r)
}

// log writes the line of a request. It holds nothing that the caller chose
// freely: no external ids, no tokens, no ARNs, no error texts but those of
// our own faults.
func (h *Handler) log(ctx context.Context, c *call, requestID string, status int, took time.Duration, failure *restjson.Error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("request", requestID),
		slog.String("operation", c.operation),
		slog.String("api", c.identity.label()),
		slog.String("account", c.account),
		slog.Int("status", status),
		slog.Duration("took", took),
	}
	if id := c.labels["MeetingId"]; isGUID(id) {
		attrs = append(attrs, slog.String("meeting", id))
	}
	if id := c.labels["AttendeeId"]; isGUID(id) {
		attrs = append(attrs, slog.String("attendee", id))
	}
	if failure != nil {
		attrs = append(attrs, slog.String("error", failure.Name))
		if failure.Status >= 500 {
			level = slog.LevelError
			if failure.Cause != nil && !errors.Is(failure.Cause, context.Canceled) {
				attrs = append(attrs, slog.String("cause", failure.Cause.Error()))
			}
		}
	}
	h.opt.Log.LogAttrs(ctx, level, "api request", attrs...)
}
