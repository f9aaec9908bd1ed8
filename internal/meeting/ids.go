package meeting

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// A join token is the unpadded base64 of an AttendeeId, a colon and a UUIDv4.
// Text of hex digits, hyphens and a colon never encodes to '+' or '/', so the
// token is also a legal WebSocket subprotocol (RFC 6455 section 4.1).
const (
	guidLen      = 36
	joinTokenRaw = guidLen + 1 + guidLen
)

// JoinTokenLen is the length of every join token, in characters.
const JoinTokenLen = 98

// newGUID makes 128 random bits in the layout of a GUID, lower-case, as AWS
// makes its attendee ids: the version and variant digits are random too.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return formatGUID(b)
}

// newUUID makes a random UUID (RFC 9562 section 5.4), lower-case.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return formatGUID(b)
}

func formatGUID(b [16]byte) string {
	var out [guidLen]byte
	hex.Encode(out[0:8], b[0:4])
	out[8] = '-'
	hex.Encode(out[9:13], b[4:6])
	out[13] = '-'
	hex.Encode(out[14:18], b[6:8])
	out[18] = '-'
	hex.Encode(out[19:23], b[8:10])
	out[23] = '-'
	hex.Encode(out[24:36], b[10:16])
	return string(out[:])
}

func newJoinToken(attendeeID string) Secret {
	return Secret(base64.RawStdEncoding.EncodeToString([]byte(attendeeID + ":" + newUUID())))
}

// attendeeOf reads the AttendeeId out of a join token. It proves nothing: the
// token must still be compared with the one that was given out.
func attendeeOf(token Secret) (attendeeID string, ok bool) {
	if len(token) != JoinTokenLen {
		return "", false
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(token.Reveal())
	if err != nil || len(raw) != joinTokenRaw || raw[guidLen] != ':' {
		return "", false
	}
	return strings.ToLower(string(raw[:guidLen])), true
}

// WellFormedJoinToken tells whether a value could be a join token that was given
// out once. It lets nobody in; it tells a latecomer from a fault.
func WellFormedJoinToken(token Secret) bool {
	_, ok := attendeeOf(token)
	return ok
}

func (s Secret) equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(other)) == 1
}
