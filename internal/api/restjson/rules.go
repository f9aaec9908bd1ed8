package restjson

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule is one constraint of the service model. Rules other than Required hold
// for a member that is absent.
type Rule func(*subject)

// subject is one value under examination.
type subject struct {
	absent bool
	hidden bool   // sensitive, or not a scalar: the value is not repeated
	text   string // of a string
	length int    // characters of a string, entries of a list
	number int64
	shown  string
	broken []string
}

// maxShown is how many bytes of a value an error text repeats.
const maxShown = 128

// show is what an error text says of the value, with a space after it.
func (s *subject) show() string {
	switch {
	case s.hidden:
		return ""
	case s.absent:
		return "null "
	case len(s.shown) > maxShown:
		return "'" + strings.ToValidUTF8(s.shown[:maxShown], "") + "…' "
	}
	return "'" + s.shown + "' "
}

func (s *subject) fail(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

// Required holds when the member is there and not null.
func Required(s *subject) {
	if s.absent {
		s.fail("Member must not be null")
	}
}

// Sensitive keeps the value out of error texts.
func Sensitive(s *subject) { s.hidden = true }

// Any holds always; it stands where a rule is for one API only.
func Any(*subject) {}

// Length bounds the characters of a string or the entries of a list.
func Length(least, most int) Rule {
	return func(s *subject) {
		switch {
		case s.absent:
		case s.length < least:
			s.fail("Member must have length greater than or equal to %d", least)
		case s.length > most:
			s.fail("Member must have length less than or equal to %d", most)
		}
	}
}

// Range bounds a number.
func Range(least, most int64) Rule {
	return func(s *subject) {
		switch {
		case s.absent:
		case s.number < least:
			s.fail("Member must have value greater than or equal to %d", least)
		case s.number > most:
			s.fail("Member must have value less than or equal to %d", most)
		}
	}
}

// Pattern holds when the whole string matches, whatever anchors the expression
// has.
func Pattern(expression string) Rule {
	re := regexp.MustCompile(`\A(?:` + expression + `)\z`)
	return Satisfies(expression, re.MatchString)
}

// Satisfies is Pattern for an expression that Go's regexp cannot express.
func Satisfies(expression string, match func(string) bool) Rule {
	return func(s *subject) {
		if !s.absent && !match(s.text) {
			s.fail("Member must satisfy regular expression pattern: %s", expression)
		}
	}
}

// Enum holds for the listed values.
func Enum(values ...string) Rule {
	return func(s *subject) {
		if !s.absent && !slices.Contains(values, s.text) {
			s.fail("Member must satisfy enum value set: [%s]", strings.Join(values, ", "))
		}
	}
}

func runes(s string) int { return utf8.RuneCountInString(s) }
