package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"belfry/internal/meeting"
)

var (
	account = regexp.MustCompile(`^[0-9]{12}$`)
	// region is the form that signatures may name, since it becomes part of ARNs.
	region = regexp.MustCompile(`^[a-z0-9-]{2,64}$`)
)

// Validate says what is wrong with the configuration, naming the key and what
// to write instead.
func (c *Config) Validate() error {
	for key, addr := range map[string]string{"listen": c.Listen, "media_listen": c.MediaListen, "media_tcp_listen": c.MediaTCPListen,
		"turn_listen": c.TURNListen, "turn_tls_listen": c.TURNTLSListen} {
		if addr == "" && key != "listen" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("udp", port)
		}
		if err != nil {
			return fmt.Errorf("%s: %q is not host:port, such as 127.0.0.1:7100", key, addr)
		}
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("public_url: %q is not an http or https URL of a host without a path", c.PublicURL)
		}
	}
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") {
		return fmt.Errorf("access_key_id and secret_access_key belong together: set both or neither")
	}
	for key, both := range map[string]bool{"master_key": c.MasterKey != "" && c.MasterKeyFile != "", "master_key_old": c.MasterKeyOld != "" && c.MasterKeyOldFile != ""} {
		if both {
			return fmt.Errorf("%s and %s_file exclude each other", key, key)
		}
	}
	if !account.MatchString(c.Account) {
		return fmt.Errorf("account: %q is not 12 digits", c.Account)
	}
	if !region.MatchString(c.Region) {
		return fmt.Errorf("region: %q is not a region, such as us-east-1", c.Region)
	}
	for _, r := range c.MediaRegions {
		if !region.MatchString(r) {
			return fmt.Errorf("media_regions: %q is not a region, such as us-east-1", r)
		}
	}
	if len(c.MediaRegions) > 0 && !slices.Contains(c.MediaRegions, c.Region) {
		return fmt.Errorf("region: %q is none of media_regions, which are %s", c.Region, strings.Join(c.MediaRegions, ", "))
	}
	for _, choice := range []struct {
		key, value string
		values     []string
	}{
		{"turn", c.TURN, []string{"always", "never", "auto"}},
		{"page", c.Page, []string{"auto", "on", "off"}},
		{"default_api", c.DefaultAPI, []string{"either", "chime", "chime-sdk-meetings"}},
		{"validation_errors", c.ValidationErrors, []string{"ValidationException", "BadRequestException"}},
		{"signing_regions", c.SigningRegions, []string{"any", "aws"}},
		{"shedding", c.Shedding, []string{"on", "off"}},
		{"event_aws", c.EventAWS, []string{"on", "off"}},
		{"log_level", c.LogLevel, []string{"debug", "info", "warn", "error"}},
		{"log_format", c.LogFormat, []string{"text", "json"}},
	} {
		if !slices.Contains(choice.values, choice.value) {
			return fmt.Errorf("%s: %q is none of %s", choice.key, choice.value, strings.Join(choice.values, ", "))
		}
	}
	if err := c.validateNetworks(); err != nil {
		return err
	}
	for _, hook := range c.EventWebhooks {
		if u, err := url.Parse(hook); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("event_webhooks: there is an item that is not an http or https URL")
		}
	}
	if engine := c.TranscribeEngine.Reveal(); engine != "" {
		if u, err := url.Parse(engine); err != nil || u.Host == "" || (u.Scheme != "ws" && u.Scheme != "wss") || u.Fragment != "" {
			return fmt.Errorf("transcription_engine: it is not a ws or wss URL, such as ws://127.0.0.1:2700")
		}
	}
	if len(c.EventWebhooks) > 0 && c.EventWebhookSecret == "" {
		return fmt.Errorf("event_webhooks needs event_webhook_secret, by which the receiver knows who posts")
	}
	if err := c.Quotas().Check(); err != nil { // its names are those of the settings
		return errors.New(meeting.MessageOf(err))
	}
	if c.SheddingCPU < 10 || c.SheddingCPU > 100 {
		return fmt.Errorf("shedding_cpu: %d is not between 10 and 100", c.SheddingCPU)
	}
	if c.SheddingLate < 5*time.Millisecond || c.SheddingLate > time.Second {
		return fmt.Errorf("shedding_late: %s is not between 5ms and 1s", c.SheddingLate)
	}
	if c.StoreReplicas < 1 || c.StoreReplicas > 5 {
		return fmt.Errorf("store_replicas: %d is not between 1 and 5", c.StoreReplicas)
	}
	if c.ClientEvents != 0 && c.ClientEvents < 500 || c.ClientEvents > 1_000_000 {
		return fmt.Errorf("client_events: %d is neither 0 nor between 500 and 1000000", c.ClientEvents)
	}
	if c.ClientEventsMiB < 1 || c.ClientEventsMiB > 1024 {
		return fmt.Errorf("client_events_mib: %d is not between 1 and 1024", c.ClientEventsMiB)
	}
	if c.ClientEventsTotalMiB < 2*c.ClientEventsMiB {
		return fmt.Errorf("client_events_total_mib: %d is less than two meetings may have (client_events_mib is %d)", c.ClientEventsTotalMiB, c.ClientEventsMiB)
	}
	for key, d := range map[string]time.Duration{"turn_ttl": c.TURNTTL, "clock_skew": c.ClockSkew, "drop_after": c.DropAfter,
		"client_events_age": c.ClientEventsAge} {
		if d <= 0 {
			return fmt.Errorf("%s: %s is not a positive duration", key, d)
		}
	}
	for key, d := range map[string]time.Duration{
		"meeting_idle_timeout": c.MeetingIdleTimeout, "meeting_max_duration": c.MeetingMaxDuration, "meeting_lone_timeout": c.MeetingLoneTimeout,
	} {
		if d < 0 {
			return fmt.Errorf("%s: %s is negative; 0 means never", key, d)
		}
	}
	return nil
}

// validateNetworks looks at the ways of the media.
func (c *Config) validateNetworks() error {
	for _, transport := range c.MediaTransports {
		if transport != "udp" && transport != "tcp" {
			return fmt.Errorf("media_transports: %q is none of udp, tcp", transport)
		}
	}
	udp, tcp := slices.Contains(c.MediaTransports, "udp"), slices.Contains(c.MediaTransports, "tcp")
	switch {
	case !udp && !tcp:
		return fmt.Errorf("media_transports: none is left; udp, tcp are the default")
	case !udp && c.TURN != "never":
		return fmt.Errorf("media_transports: without udp turn must be never, since a relay goes on by UDP")
	case !tcp && c.MediaTCPListen != "":
		return fmt.Errorf("media_tcp_listen: tcp is none of media_transports")
	}
	if _, _, err := c.AdvertisedMedia(); err != nil {
		return err
	}
	switch {
	case c.TURNTLSListen != "" && (c.TURNTLSCert == "" || c.TURNTLSKey == ""):
		return fmt.Errorf("turn_tls_listen needs turn_tls_cert and turn_tls_key")
	case c.TURNTLSListen == "" && c.TURNTLSCert+c.TURNTLSKey+c.TURNTLSAdvertise != "":
		return fmt.Errorf("turn_tls_cert, turn_tls_key and turn_tls_advertise need turn_tls_listen, such as 0.0.0.0:443")
	}
	return nil
}

// AdvertisedMedia reads media_advertise: the addresses that clients are told for
// each transport. Port 0 stands for the one that is listened on.
func (c *Config) AdvertisedMedia() (udp, tcp []netip.AddrPort, err error) {
	for _, item := range c.MediaAdvertise {
		text, transport, both := item, "", true
		if before, after, found := strings.Cut(item, "/"); found {
			text, transport, both = before, after, false
		}
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			var addr netip.Addr
			addr, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
			at = netip.AddrPortFrom(addr, 0)
		}
		if err != nil || at.Addr().IsUnspecified() || at.Addr().Zone() != "" || !both && transport != "udp" && transport != "tcp" {
			return nil, nil, fmt.Errorf("media_advertise: %q is not an IP address, with or without a port, and /udp or /tcp where it is for one of them, such as 203.0.113.10:443/tcp", item)
		}
		if transport != "tcp" {
			udp = append(udp, at)
		}
		if transport != "udp" {
			tcp = append(tcp, at)
		}
	}
	return udp, tcp, nil
}

// OnLoopback reports whether addr (host:port) can be reached from this machine
// alone.
func OnLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
