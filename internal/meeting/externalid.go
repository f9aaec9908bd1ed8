package meeting

import (
	"strings"
	"unicode/utf8"
)

// ValidateExternalID holds an ExternalMeetingId or ExternalUserId to what the
// API of 2021-07-15 says of it in prose: its characters, and that the prefix
// "aws:" is reserved in any letter case. member is named in the refusal, which
// is CodeBadRequest; the value is not, because it may tell of a person.
func ValidateExternalID(member, value string) error {
	if len(value) >= 4 && strings.EqualFold(value[:4], "aws:") {
		return Errorf(CodeBadRequest, "%s: the prefix aws: is reserved", member)
	}
	if !utf8.ValidString(value) || strings.IndexFunc(value, notInExternalID) >= 0 {
		return Errorf(CodeBadRequest, "%s: only letters, digits, white space and -_&@+=,(){}[]/«».:|'\"# are allowed", member)
	}
	return nil
}

func notInExternalID(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	case 'À' <= r && r <= 'ÿ': // the multiplication and division signs too
		return false
	}
	return !strings.ContainsRune("-_&@+=,(){}[]/«».:|'\"# \t\n\v\f\r", r)
}
