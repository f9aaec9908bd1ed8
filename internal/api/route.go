package api

import (
	"net/http"
	"net/url"
	"strings"

	"belfry/internal/api/restjson"
	"belfry/internal/sigv4"
)

// target is where a request is aimed at, taken from the raw request line.
type target struct {
	prefix   string   // "chime", "chime-sdk-meetings", "console" or ""
	segments []string // decoded once, after splitting; ["meetings", ""] for "/meetings/"
	query    url.Values
}

// targetOf splits the raw path before it decodes the segments, so that an
// encoded slash stays inside its segment, and cleans nothing.
func targetOf(r *http.Request) target {
	raw, query := sigv4.RequestTarget(r)
	segments := strings.Split(strings.TrimPrefix(raw, "/"), "/")
	for i, s := range segments {
		if decoded, err := url.PathUnescape(s); err == nil {
			segments[i] = decoded
		}
	}
	t := target{segments: segments}
	if _, ok := prefixes[segments[0]]; ok {
		t.prefix, t.segments = segments[0], segments[1:]
	}
	// What cannot be decoded is left out: a parameter that matters is then absent.
	t.query, _ = url.ParseQuery(query)
	return t
}

// route is one path shape and the operations that share it.
type route struct {
	pattern []string // a label is written "{MeetingId}"
	ops     []*operation
}

// newRoutes gathers operations by path. Shapes with a literal where another
// has a label come first: "attendees/capabilities" before "attendees/{AttendeeId}".
func newRoutes(lists ...[]*operation) []route {
	var routes []route
	for _, ops := range lists {
	next:
		for _, op := range ops {
			pattern := strings.Split(strings.TrimPrefix(op.path, "/"), "/")
			for i := range routes {
				if equalSegments(routes[i].pattern, pattern) {
					routes[i].ops = append(routes[i].ops, op)
					continue next
				}
			}
			at := 0
			for at < len(routes) && !before(pattern, routes[at].pattern) {
				at++
			}
			routes = append(routes[:at], append([]route{{pattern, []*operation{op}}}, routes[at:]...)...)
		}
	}
	return routes
}

// find returns the operation and the labels of its path, or the refusal.
func find(routes []route, method string, t target) (*operation, map[string]string, *restjson.Error) {
	for _, rt := range routes {
		labels, ok := match(rt.pattern, t.segments)
		if !ok {
			continue
		}
		known := false
		for _, op := range rt.ops {
			if op.method != method {
				continue
			}
			known = true
			if op.marker == t.query.Get("operation") && t.query.Has("operation") == (op.marker != "") {
				return op, labels, nil
			}
		}
		if known {
			return nil, nil, restjson.UnknownOperation("There is no such operation on this path: check the query parameter 'operation'.")
		}
		return nil, nil, restjson.UnknownOperation("The method %s is not supported on this path.", shortMethod(method))
	}
	return nil, nil, restjson.UnknownOperation("There is no operation on this path.")
}

func match(pattern, segments []string) (map[string]string, bool) {
	if len(pattern) != len(segments) {
		return nil, false
	}
	labels := map[string]string{}
	for i, p := range pattern {
		switch {
		case isLabel(p):
			labels[p[1:len(p)-1]] = segments[i]
		case p != segments[i]:
			return nil, false
		}
	}
	return labels, true
}

func isLabel(segment string) bool { return strings.HasPrefix(segment, "{") }

// before orders path shapes: at the first difference, a literal before a label.
func before(a, b []string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if la, lb := isLabel(a[i]), isLabel(b[i]); la != lb {
			return lb
		}
	}
	return false
}

func equalSegments(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func shortMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "of this request"
}
