package restjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Reader decodes the members of a request and checks them. It gathers what is
// wrong instead of stopping at it: an operation reads every member and then
// asks Err once, before anything is done.
//
//	in := meeting.NewMeeting{
//		ClientRequestToken: r.String("ClientRequestToken", Required, Sensitive, Length(2, 64)),
//	}
//	if err := r.Err(); err != nil { … }
type Reader struct {
	faults *faults
	object Object
	path   string // of the object in the request, "" for the body itself
}

// faults is shared by all readers of one request.
type faults struct {
	wrongType *Error   // the first member with a wrong JSON type
	broken    []string // constraints, in the order read
	more      int      // constraints past what is listed
}

const maxFaults = 20 // what one message lists

// NewReader returns a reader of the body's members.
func NewReader(body Object) Reader { return Reader{faults: &faults{}, object: body} }

// Err is nil when all that was read is well: else a SerializationException for
// the first wrong JSON type, else one ValidationException for all constraints.
func (r Reader) Err() *Error {
	f := r.faults
	if f.wrongType != nil {
		return f.wrongType
	}
	n := len(f.broken) + f.more
	if n == 0 {
		return nil
	}
	noun := "errors"
	if n == 1 {
		noun = "error"
	}
	return &Error{Status: http.StatusBadRequest, Name: "ValidationException",
		Message: fmt.Sprintf("%d validation %s detected: %s", n, noun, strings.Join(f.broken, "; "))}
}

// Has reports whether the member is there and not null.
func (r Reader) Has(name string) bool { return r.object.Has(name) }

// String reads a string, "" when it is absent.
func (r Reader) String(name string, rules ...Rule) string {
	var s string
	ok := r.decode(name, "a string", &s)
	r.check(r.at(name), &subject{absent: !ok, text: s, shown: s, length: runes(s)}, rules)
	return s
}

// Int reads an integer, 0 when it is absent.
func (r Reader) Int(name string, rules ...Rule) int {
	var n int64
	ok := r.decode(name, "an integer", &n)
	r.check(r.at(name), &subject{absent: !ok, shown: strconv.FormatInt(n, 10), number: n}, rules)
	return int(n)
}

// Bool reads a truth value, false when it is absent.
func (r Reader) Bool(name string, rules ...Rule) bool {
	var b bool
	ok := r.decode(name, "a boolean", &b)
	r.check(r.at(name), &subject{absent: !ok, shown: strconv.FormatBool(b)}, rules)
	return b
}

// Object reads a structure; ok is false when it is absent, and its members
// must then not be read.
func (r Reader) Object(name string, rules ...Rule) (inner Reader, ok bool) {
	var o Object
	ok = r.decode(name, "an object", &o)
	r.check(r.at(name), &subject{absent: !ok, hidden: true}, rules)
	return Reader{faults: r.faults, object: o, path: r.at(name)}, ok
}

// Objects reads a list of structures. A list that breaks a rule is not read
// any further: its entries are not returned.
func (r Reader) Objects(name string, rules ...Rule) []Reader {
	var list []Object
	if !r.list(name, rules) || !r.decode(name, "a list of objects", &list) {
		return nil
	}
	readers := make([]Reader, len(list))
	for i, o := range list {
		at := fmt.Sprintf("%s.%d.member", r.at(name), i+1)
		if o == nil {
			r.check(at, &subject{absent: true, hidden: true}, []Rule{Required})
		}
		readers[i] = Reader{faults: r.faults, object: o, path: at}
	}
	return readers
}

// Strings reads a list of strings; each holds for every entry. A list that
// breaks a rule is not read any further.
func (r Reader) Strings(name string, rules, each []Rule) []string {
	var list []*string
	if !r.list(name, rules) || !r.decode(name, "a list of strings", &list) {
		return nil
	}
	var values []string
	for i, s := range list {
		at := fmt.Sprintf("%s.%d.member", r.at(name), i+1)
		if s == nil {
			r.check(at, &subject{absent: true, hidden: true}, []Rule{Required})
			continue
		}
		r.check(at, &subject{text: *s, shown: *s, length: runes(*s)}, each)
		values = append(values, *s)
	}
	return values
}

// list checks the rules of a list before it is decoded. What is no list passes,
// for the decoding to refuse.
func (r Reader) list(name string, rules []Rule) bool {
	raw, ok := r.object[name]
	absent := !ok || isNull(raw)
	if !absent && bytes.TrimSpace(raw)[0] != '[' {
		return true
	}
	return r.check(r.at(name), &subject{absent: absent, hidden: true, length: entries(raw)}, rules)
}

// Label checks a part of the path, which is never absent.
func (r Reader) Label(name, value string, rules ...Rule) string {
	r.check(lowerFirst(name), &subject{text: value, shown: value, length: runes(value)}, rules)
	return value
}

// Query checks a parameter of the query.
func (r Reader) Query(name, value string, present bool, rules ...Rule) string {
	r.check(lowerFirst(name), &subject{absent: !present, text: value, shown: value, length: runes(value)}, rules)
	return value
}

// QueryInt reads an integer from the query, 0 when it is absent.
func (r Reader) QueryInt(name, value string, present bool, rules ...Rule) int {
	var n int64
	if present {
		var err error
		if n, err = strconv.ParseInt(value, 10, 32); err != nil {
			r.wrongType(lowerFirst(name), "an integer")
			return 0
		}
	}
	r.check(lowerFirst(name), &subject{absent: !present, shown: value, number: n}, rules)
	return int(n)
}

// decode fills v with the member and reports whether it is there.
func (r Reader) decode(name, kind string, v any) bool {
	raw, ok := r.object[name]
	if !ok || isNull(raw) {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		r.wrongType(r.at(name), kind)
		return false
	}
	return true
}

func (r Reader) wrongType(at, kind string) {
	if r.faults.wrongType == nil {
		r.faults.wrongType = serialization("The value at '%s' is not %s.", at, kind)
	}
}

// check runs the rules and reports whether all hold.
func (r Reader) check(at string, s *subject, rules []Rule) bool {
	for _, rule := range rules {
		rule(s)
	}
	for _, constraint := range s.broken {
		if len(r.faults.broken) == maxFaults {
			r.faults.more++
			continue
		}
		r.faults.broken = append(r.faults.broken,
			fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: %s", s.show(), at, constraint))
	}
	return len(s.broken) == 0
}

func (r Reader) at(name string) string {
	if r.path == "" {
		return lowerFirst(name)
	}
	return r.path + "." + lowerFirst(name)
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
