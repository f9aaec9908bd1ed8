package turn

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzUsername lets a client claim anything to be its TURN username.
func FuzzUsername(f *testing.F) {
	f.Add("1893456000:attendee")
	f.Add("1893456000:attendee#content")
	f.Add(":x")
	f.Add("9223372036854775808:x")
	f.Fuzz(func(t *testing.T, username string) {
		id, expiry, ok := parseUsername(username)
		if !ok {
			return
		}
		at, rest, _ := strings.Cut(username, ":")
		if id == "" || id != rest {
			t.Fatalf("%q is of %q", username, id)
		}
		if seconds, err := strconv.ParseInt(at, 10, 64); err != nil || expiry.Unix() != seconds {
			t.Fatalf("%q is good until %v", username, expiry)
		}
	})
}
