package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// param is one query parameter, decoded.
type param struct{ name, value string }

// RequestTarget returns path and query as they stood in the request line, which
// is what a signature covers. The parsed URL is no substitute: it may no longer
// tell "%2F" from "/".
func RequestTarget(r *http.Request) (path, query string) {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	if !strings.HasPrefix(target, "/") {
		// The absolute form of RFC 9112, section 3.2.2.
		if _, rest, ok := strings.Cut(target, "://"); ok {
			if i := strings.IndexAny(rest, "/?"); i >= 0 {
				target = rest[i:]
			} else {
				target = "/"
			}
		}
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// canonicalPath encodes the raw path once more, segment by segment: an escape
// on the wire is itself escaped. Nothing is cleaned.
func canonicalPath(raw string) string {
	if raw == "" {
		return "/"
	}
	var b strings.Builder
	escape(&b, raw, true)
	return b.String()
}

// parseQuery decodes each name and value once. An escape that is not one is
// taken literally.
func parseQuery(raw string) []param {
	if raw == "" {
		return nil
	}
	var params []param
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		params = append(params, param{unescape(name), unescape(value)})
	}
	return params
}

// single returns the value of the parameter that has the name, if exactly one has.
func single(params []param, name string) (string, bool) {
	value, n := "", 0
	for _, p := range params {
		if p.name == name {
			value, n = p.value, n+1
		}
	}
	return value, n == 1
}

// canonicalQuery encodes the parameters strictly and sorts them; the signature
// of a presigned URL is not part of what it signs.
func canonicalQuery(params []param) string {
	encoded := make([][2]string, 0, len(params))
	for _, p := range params {
		if p.name == "X-Amz-Signature" {
			continue
		}
		var name, value strings.Builder
		escape(&name, p.name, false)
		escape(&value, p.value, false)
		encoded = append(encoded, [2]string{name.String(), value.String()})
	}
	slices.SortFunc(encoded, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	var b strings.Builder
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[0])
		b.WriteByte('=')
		b.WriteString(p[1])
	}
	return b.String()
}

// canonicalHeaders writes one line for each signed header, in the order signed.
func canonicalHeaders(r *http.Request, signed []string, bodyLength int) string {
	var b strings.Builder
	for _, name := range signed {
		b.WriteString(name)
		b.WriteByte(':')
		for i, value := range headerValues(r, name, bodyLength) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(collapse(value))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// headerValues finds a header also where net/http keeps it outside of r.Header.
func headerValues(r *http.Request, name string, bodyLength int) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "content-length":
		if values := r.Header.Values(name); len(values) > 0 {
			return values
		}
		return []string{strconv.Itoa(bodyLength)}
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return r.Header.Values(name)
}

// collapse trims a header value and makes one space of each run of spaces.
func collapse(value string) string {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "  ") {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == ' ' && value[i-1] == ' ' {
			continue
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// escape percent-encodes every byte but the unreserved ones of RFC 3986,
// section 2.3, and the slash where it separates segments.
func escape(b *strings.Builder, s string, keepSlash bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved(c) || keepSlash && c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
