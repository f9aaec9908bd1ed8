package turn

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"belfry/internal/meeting"
)

var (
	newHash = sha256.New
	encode  = base64.RawURLEncoding.EncodeToString
)

// Credentials implements meeting.Relays. The username carries the end of the
// credentials' life and the attendee; the password is a MAC of it, so the
// server keeps nothing. client is not part of it: a client's address changes.
func (s *Server) Credentials(attendeeID string, _ netip.Addr, needed bool) meeting.RelayCredentials {
	attendeeID = strings.TrimSuffix(attendeeID, meeting.ContentSuffix)
	expiry := s.cfg.Now().Add(s.cfg.TTL)
	username := strconv.FormatInt(expiry.Unix(), 10) + ":" + attendeeID
	c := meeting.RelayCredentials{
		Username: username,
		Password: meeting.Secret(s.password(username)),
		TTL:      s.cfg.TTL,
	}
	if s.cfg.Mode == Always || (s.cfg.Mode == Auto && needed) {
		c.URIs = slices.Clone(s.told)
	}
	return c
}

// uri names a server in the form of RFC 7065.
func uri(scheme, host string, port uint16, transport string) string {
	return fmt.Sprintf("%s:%s?transport=%s", scheme, net.JoinHostPort(host, strconv.Itoa(int(port))), transport)
}

func parseUsername(username string) (attendeeID string, expiry time.Time, ok bool) {
	at, attendeeID, found := strings.Cut(username, ":")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if !found || err != nil || attendeeID == "" {
		return "", time.Time{}, false
	}
	return attendeeID, time.Unix(seconds, 0), true
}
