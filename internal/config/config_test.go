package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

func load(t *testing.T, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	return Load(args, func(name string) string {
		if name == "HOME" {
			return "/home/user"
		}
		return env[name]
	}, io.Discard)
}

func TestSampleFileHoldsEverySetting(t *testing.T) {
	path := filepath.Join("..", "..", "belfry.sample.yml")
	if os.Getenv("UPDATE_SAMPLE") != "" {
		if err := os.WriteFile(path, []byte(Sample()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Sample(), string(have)); diff != "" {
		t.Errorf("belfry.sample.yml is not what the settings say (UPDATE_SAMPLE=1 go test ./internal/config writes it):\n%s", diff)
	}
	c, err := load(t, nil, "--config", path)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.DataDir = "/home/user/.local/share/belfry"
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("the sample file changes the defaults:\n%s", diff)
	}
}

func TestEverySettingHasFlagEnvironmentAndKey(t *testing.T) {
	c := Default()
	for i, s := range settings(&c) {
		if s.key == "" || s.help == "" {
			t.Fatalf("field %s has no key or no help", reflect.TypeOf(c).Field(i).Name)
		}
		// Every way in is tried with a value that differs from the default.
		value := map[string]string{
			"public_url": "http://h", "account": "000000000001", "turn": "never", "page": "off", "region": "eu-west-1",
			"shedding": "off", "shedding_cpu": "77", "shedding_late": "42ms", "client_events": "500", "client_events_mib": "2", "client_events_total_mib": "99",
			"store_replicas": "3", "log_level": "debug", "log_format": "json", "event_aws": "on", "default_api": "chime", "validation_errors": "BadRequestException", "signing_regions": "aws", "media_regions": "us-east-1,lab", "event_webhooks": "https://h/x",
			"transcription_engine": "wss://h/x", "event_endpoints": "arn:aws:sqs:us-east-1:*=http://h:1", "media_advertise": "192.0.2.1,192.0.2.2:7/udp", "media_transports": "udp",
		}[s.key]
		switch {
		case value != "":
		case s.value.Type() == reflect.TypeFor[time.Duration]():
			value = "42s"
		case s.value.Kind() == reflect.Int:
			value = "7"
		default:
			value = "192.0.2.1:1"
		}
		company := map[string][]string{
			"access_key_id": {"secret_access_key"}, "secret_access_key": {"access_key_id"}, "event_webhooks": {"event_webhook_secret"},
			"turn_tls_listen": {"turn_tls_cert", "turn_tls_key"}, "turn_tls_advertise": {"turn_tls_listen", "turn_tls_cert", "turn_tls_key"},
			"turn_tls_cert": {"turn_tls_listen", "turn_tls_key"}, "turn_tls_key": {"turn_tls_listen", "turn_tls_cert"},
		}
		file := filepath.Join(t.TempDir(), "c.yml")
		text := s.key + ": \"" + value + "\"\n"
		env := map[string]string{s.env(): value}
		args := []string{"--" + s.flag(), value}
		for _, other := range company[s.key] {
			text += other + ": x:1\n"
			env["BELFRY_"+strings.ToUpper(other)] = "x:1"
			args = append(args, "--"+strings.ReplaceAll(other, "_", "-"), "x:1")
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ways := map[string]func() (Config, error){
			"file":        func() (Config, error) { return load(t, nil, "--config", file) },
			"environment": func() (Config, error) { return load(t, env) },
			"flag":        func() (Config, error) { return load(t, nil, args...) },
		}
		for way, fn := range ways {
			got, err := fn()
			if err != nil {
				t.Errorf("%s by %s: %v", s.key, way, err)
				continue
			}
			if have := settings(&got)[i].text(); have != value {
				t.Errorf("%s by %s: got %q, want %q", s.key, way, have, value)
			}
			if s.value.Kind() == reflect.Int && s.key != "store_replicas" && s.key != "shedding_cpu" && !strings.HasPrefix(s.key, "client_events") { // they are the quotas, of the same names
				if k, err := meeting.FindQuota(s.key); err != nil || k.Of(got.Quotas()) != 7 {
					t.Errorf("%s by %s: the quota is %d, error %v", s.key, way, k.Of(got.Quotas()), err)
				}
			}
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:1\nregion: eu-west-1\nlog_level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, map[string]string{"BELFRY_CONFIG": file, "BELFRY_LISTEN": "127.0.0.1:2", "BELFRY_REGION": "eu-west-2"}, "--listen", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3" || c.Region != "eu-west-2" || c.LogLevel != "debug" {
		t.Errorf("got listen %q region %q log_level %q", c.Listen, c.Region, c.LogLevel)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		f, err := os.CreateTemp(dir, "*.yml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"unknown flag":   {args: []string{"--lissten", "x"}, want: "lissten"},
		"stray argument": {args: []string{"now"}, want: `"now"`},
		"unknown key":    {args: []string{"--config", write("lisen: x\n")}, want: `"lisen" is not a setting`},
		"broken file":    {args: []string{"--config", write("listen: [\n")}, want: "[1:9]"},
		"missing file":   {args: []string{"--config", filepath.Join(dir, "none")}, want: "no such file"},
		"bad address":    {env: map[string]string{"BELFRY_LISTEN": "7100"}, want: "listen: \"7100\" is not host:port"},
		"half a key":     {env: map[string]string{"BELFRY_ACCESS_KEY_ID": "a"}, want: "belong together"},
		"bad choice":     {args: []string{"--turn", "maybe"}, want: "always, never, auto"},
		"bad number":     {args: []string{"--max-attendees", "many"}, want: "whole number"},
		"no such quota":  {args: []string{"--max-attendees", "251"}, want: "max_attendees: 251 is not between 1 and 250"},
		"below none":     {args: []string{"--request-rate", "-1"}, want: "request_rate: -1 is not between 1 and 100000, or 0 for no limit"},
		"bad duration":   {args: []string{"--clock-skew", "15"}, want: "duration"},
		"bad account":    {args: []string{"--account", "1"}, want: "12 digits"},
		"bad port":       {args: []string{"--listen", "127.0.0.1:70000"}, want: "listen: \"127.0.0.1:70000\" is not host:port"},
		"bad region":     {args: []string{"--region", "US East"}, want: "region: \"US East\" is not a region"},
		"no region":      {args: []string{"--config", write("region: \"\"\n")}, want: "is not a region"},
		"bad label":      {args: []string{"--media-regions", "us-east-1,Lab 1"}, want: "media_regions: \"Lab 1\" is not a region"},
		"other regions":  {args: []string{"--media-regions", "eu-west-1,lab"}, want: "region: \"us-east-1\" is none of media_regions, which are eu-west-1, lab"},
		"a map":          {args: []string{"--config", write("secret_access_key: {a: b}\n")}, want: "secret_access_key: expected one value"},
		"a list":         {args: []string{"--config", write("listen: [a, b]\n")}, want: "listen: expected one value, got a list"},
		"a list of maps": {args: []string{"--config", write("media_advertise: [{a: b}]\n")}, want: "media_advertise: expected one value or a list"},
		"twice":          {args: []string{"--config", write("listen: a:1\nlisten: b:1\n")}, want: "already defined"},
		"bad webhook":    {args: []string{"--event-webhooks", "ftp://h"}, want: "event_webhooks"},
		"open webhook":   {args: []string{"--event-webhooks", "http://h"}, want: "needs event_webhook_secret"},
		"few events":     {args: []string{"--client-events", "499"}, want: "neither 0 nor between 500 and"},
		"no room":        {args: []string{"--client-events-mib", "0"}, want: "client_events_mib: 0 is not between 1 and"},
		"little room":    {args: []string{"--client-events-total-mib", "15"}, want: "less than two meetings may have"},
		"no age":         {args: []string{"--client-events-age", "0s"}, want: "client_events_age: 0s is not a positive"},
		"url with path":  {args: []string{"--public-url", "https://h/x"}, want: "without a path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.env, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// What looks like a number to YAML reaches the setting as it was written.
func TestFileValuesAreTakenAsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yml")
	text := "account: 012345670123\naccess_key_id: 0x1F\nsecret_access_key: 1e5\npage: off\nmax_attendees: 7\n" +
		"turn_listen:\nmedia_advertise: [192.0.2.1, \"192.0.2.2:5\"]\npublic_url: |-\n  https://h\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, nil, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.DataDir = c.DataDir
	want.Account, want.AccessKeyID, want.SecretAccessKey = "012345670123", "0x1F", "1e5"
	want.Page, want.MaxAttendees, want.PublicURL = "off", 7, "https://h"
	want.MediaAdvertise = []string{"192.0.2.1", "192.0.2.2:5"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	var usage strings.Builder
	env := map[string]string{
		"BELFRY_STORE_URL": "nats://user:hunter2@h:4222", "BELFRY_ACCESS_KEY_ID": "id", "BELFRY_SECRET_ACCESS_KEY": "hunter2",
	}
	c, err := load(t, env)
	if err != nil {
		t.Fatal(err)
	}
	if c.StoreURL.Reveal() != env["BELFRY_STORE_URL"] {
		t.Error("store_url is not taken as it was written")
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load([]string{"-h"}, func(name string) string { return env[name] }, &usage)
	if !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), string(asJSON), usage.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("a secret is in %s", text)
		}
	}
}

func TestUnknownEnv(t *testing.T) {
	got := UnknownEnv([]string{"PATH=/bin", "BELFRY_LISTEN=x", "BELFRY_LISSTEN=x", "BELFRY_CONFIG=y"})
	if diff := cmp.Diff([]string{"BELFRY_LISSTEN"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	_, err := Load([]string{"-h"}, func(string) string { return "" }, &out)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "BELFRY_MEDIA_LISTEN") {
		t.Errorf("got %v and %q", err, out.String())
	}
}

func TestAdvertisedMedia(t *testing.T) {
	for _, tt := range []struct {
		items    string
		udp, tcp string // the lists in brackets; both empty: an error
	}{
		{"203.0.113.10", "[203.0.113.10:0]", "[203.0.113.10:0]"},
		{"203.0.113.10:40000", "[203.0.113.10:40000]", "[203.0.113.10:40000]"},
		{"203.0.113.10:40000/udp,203.0.113.10:443/tcp", "[203.0.113.10:40000]", "[203.0.113.10:443]"},
		{"203.0.113.10/tcp", "[]", "[203.0.113.10:0]"},
		{"192.168.1.5,2001:db8::10,[2001:db8::11],[2001:db8::12]:7/udp",
			"[192.168.1.5:0 [2001:db8::10]:0 [2001:db8::11]:0 [2001:db8::12]:7]", "[192.168.1.5:0 [2001:db8::10]:0 [2001:db8::11]:0]"},
		{"meet.example.org", "", ""},
		{"203.0.113.10/sctp", "", ""},
		{"203.0.113.10/", "", ""},
		{"0.0.0.0", "", ""},
		{"[::]:7100", "", ""},
		{"fe80::1%eth0", "", ""},
		{"203.0.113.10:70000", "", ""},
	} {
		c := Default()
		c.MediaAdvertise = strings.Split(tt.items, ",")
		udp, tcp, err := c.AdvertisedMedia()
		if tt.udp == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "media_advertise: ") {
				t.Errorf("%s: %v", tt.items, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(udp) != tt.udp || fmt.Sprint(tcp) != tt.tcp {
			t.Errorf("%s: %v and %v, %v", tt.items, udp, tcp, err)
		}
	}
}

func TestNetworksAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"media_transports: \"quic\"":       func(c *Config) { c.MediaTransports = []string{"udp", "quic"} },
		"media_transports: none":           func(c *Config) { c.MediaTransports = nil },
		"turn must be never":               func(c *Config) { c.MediaTransports = []string{"tcp"} },
		"media_tcp_listen: tcp is none":    func(c *Config) { c.MediaTransports, c.MediaTCPListen = []string{"udp"}, ":1" },
		"media_tcp_listen: \"x\"":          func(c *Config) { c.MediaTCPListen = "x" },
		"turn_tls_listen: \"443\"":         func(c *Config) { c.TURNTLSListen = "443" },
		"needs turn_tls_cert":              func(c *Config) { c.TURNTLSListen, c.TURNTLSCert = ":443", "cert" },
		"need turn_tls_listen":             func(c *Config) { c.TURNTLSKey = "key" },
		"media_advertise: \"example.org\"": func(c *Config) { c.MediaAdvertise = []string{"example.org"} },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c := Default()
	c.MediaTransports, c.TURN = []string{"tcp"}, "never"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSheddingIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"shedding: \"auto\"": func(c *Config) { c.Shedding = "auto" },
		"shedding_cpu: 9":    func(c *Config) { c.SheddingCPU = 9 },
		"shedding_cpu: 101":  func(c *Config) { c.SheddingCPU = 101 },
		"shedding_late: 4ms": func(c *Config) { c.SheddingLate = 4 * time.Millisecond },
		"shedding_late: 2s":  func(c *Config) { c.SheddingLate = 2 * time.Second },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
