// Package restjson is the wire form of AWS's rest-json protocol, seen from the
// server: it takes the JSON body of a request apart member by member, checks
// each against the constraints of the service model while it does so, and
// writes answers and errors as SDKs expect them. It knows no operation.
package restjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep objects and lists may nest in a request.
const MaxDepth = 32

// Object is a JSON object whose members are still to be decoded. Names are
// matched exactly; of a name that comes twice, the last counts.
type Object map[string]json.RawMessage

// Parse reads a request body. An empty body is an empty object. What is not a
// JSON object in UTF-8, or nests too deep, is a SerializationException.
func Parse(body []byte) (Object, *Error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return Object{}, nil
	}
	if !utf8.Valid(body) {
		return nil, serialization("The request body is not UTF-8.")
	}
	if depth(body) > MaxDepth {
		return nil, serialization("The request body nests deeper than %d levels.", MaxDepth)
	}
	if at := loneSurrogate(body); at >= 0 {
		return nil, serialization("The request body has half of a surrogate pair at byte %d.", at)
	}
	var o Object
	if err := json.Unmarshal(body, &o); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, serialization("The request body is not JSON: %v at byte %d.", syntax, syntax.Offset)
		}
		return nil, serialization("The request body is not a JSON object.")
	}
	if o == nil { // the literal null
		return nil, serialization("The request body is not a JSON object.")
	}
	return o, nil
}

// Has reports whether the member is there and not null.
func (o Object) Has(name string) bool {
	raw, ok := o[name]
	return ok && !isNull(raw)
}

// HasWithin reports whether the member is an object, or a list of objects, in
// which one has the inner member. It is for looking ahead: what does not fit
// is simply not found.
func (o Object) HasWithin(name, inner string) bool {
	raw, ok := o[name]
	if !ok {
		return false
	}
	var one Object
	if json.Unmarshal(raw, &one) == nil {
		return one.Has(inner)
	}
	var many []Object
	if entries(raw) > maxAhead || json.Unmarshal(raw, &many) != nil {
		return false
	}
	for _, o := range many {
		if o.Has(inner) {
			return true
		}
	}
	return false
}

// maxAhead is how long a list may be to be looked at ahead of reading it; no
// operation takes more.
const maxAhead = 1000

// entries is how many entries the list has, 0 when it is none. Counting costs no
// memory, where decoding a list that is too long would cost many times its text.
func entries(list json.RawMessage) int {
	list = bytes.TrimSpace(list)
	if len(list) < 2 || list[0] != '[' || len(bytes.TrimSpace(list[1:len(list)-1])) == 0 {
		return 0
	}
	n, depth, inString := 1, 0, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 1:
			n++
		}
	}
	return n
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// depth is how deep brackets nest outside of strings, right for what is JSON
// and harmless for what is not.
func depth(b []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if now++; now > deepest {
				deepest = now
			}
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// loneSurrogate returns where an escape for half of a surrogate pair stands
// without its other half, -1 for nowhere. The decoder would put the same
// replacement for each, so that two ids could become one.
func loneSurrogate(b []byte) int {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		r := escaped(b[i:])
		switch {
		case r < 0:
			i++ // a short escape
		case utf16.IsSurrogate(r):
			if utf16.DecodeRune(r, escaped(b[min(i+6, len(b)):])) == utf8.RuneError {
				return i
			}
			i += 11
		default:
			i += 5
		}
	}
	return -1
}

// escaped reads "\uXXXX" at the start of b, -1 when there is none.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
