package page

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"belfry/internal/meeting"
)

const (
	maxNameLetters = 40
	maxUserID      = 64 // of ExternalUserId
	suffixLen      = 9  // "#" and eight letters
	// encodedMark opens a name that ExternalUserId cannot carry as it is.
	encodedMark = "=b."
)

// plainName is what ExternalUserId allows, less "#", which ends the name here.
var plainName = regexp.MustCompile(`^[-_&@+=,(){}\[\]/«».:|'"a-zA-Z0-9À-ÿ ]+$`)

// externalUserID makes the ExternalUserId of a person: the name, "#", and a few
// random letters so that two people of one name are two attendees. A name in a
// script that ExternalUserId does not allow travels as base64url of its UTF-8
// behind encodedMark; the page reads both. Too long a name is cut.
func externalUserID(typed string) (string, error) {
	name := strings.Join(strings.Fields(strings.Map(visible, typed)), " ")
	if name == "" || !utf8.ValidString(typed) {
		return "", meeting.Errorf(meeting.CodeBadRequest, "Tell the others your name: 1 to %d letters.", maxNameLetters)
	}
	if utf8.RuneCountInString(name) > maxNameLetters {
		return "", meeting.Errorf(meeting.CodeBadRequest, "That name is too long: at most %d letters.", maxNameLetters)
	}
	if plainName.MatchString(name) && !strings.HasPrefix(name, encodedMark) && !strings.HasPrefix(strings.ToLower(name), "aws:") {
		return name + suffix(), nil
	}
	room := base64.RawURLEncoding.DecodedLen(maxUserID - suffixLen - len(encodedMark))
	for len(name) > room {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return encodedMark + base64.RawURLEncoding.EncodeToString([]byte(name)) + suffix(), nil
}

// visible drops what cannot be seen, such as controls and marks that turn the
// direction of the text around the name. The joiner stays: names and pictures
// of several scripts are written with it.
func visible(r rune) rune {
	switch {
	case r == '\u200d' || r == '\u200c':
		return r
	case unicode.IsSpace(r):
		return ' '
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs):
		return -1
	}
	return r
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func suffix() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return "#" + lowerBase32.EncodeToString(b[:])
}
