// Package config holds every setting of Belfry in one struct. A setting has a
// key in the configuration file, a flag (--key with dashes) and an environment
// variable (BELFRY_KEY), all made from its struct tag, so none can be
// forgotten. A flag wins over the environment, the environment over the file,
// the file over the default. An unknown key is an error.
package config

import (
	"time"

	"belfry/internal/meeting"
)

// Config is all settings. belfry.sample.yml shows each with its default.
type Config struct {
	Listen             string         `key:"listen" help:"host:port for the API, signaling, TURN control, event ingestion and pages"`
	PublicURL          string         `key:"public_url" help:"the URL under which clients reach this server, such as https://meet.example.org; empty: from the Host header of each request"`
	DataDir            string         `key:"data_dir" help:"directory of the embedded store and the generated key pair; empty: belfry in the user's data directory"`
	AccessKeyID        string         `key:"access_key_id" help:"access key that AWS clients sign with; empty: a generated one, kept in the data directory"`
	SecretAccessKey    meeting.Secret `key:"secret_access_key" help:"secret of that access key"`
	MasterKey          meeting.Secret `key:"master_key" help:"32 random bytes in base64 or hex, under which the store and the generated key pair are sealed; empty: they are not. openssl rand -base64 32 makes one"`
	MasterKeyFile      string         `key:"master_key_file" help:"a file that holds the master key, instead of master_key"`
	MasterKeyOld       meeting.Secret `key:"master_key_old" help:"the master key so far, for the one start at which master_key becomes another, or none"`
	MasterKeyOldFile   string         `key:"master_key_old_file" help:"a file that holds it, instead of master_key_old"`
	Account            string         `key:"account" help:"12-digit account of that access key, as it stands in ARNs"`
	Region             string         `key:"region" help:"MediaRegion of meetings whose caller names none, and the region of ARNs when the signature names none"`
	MediaRegions       []string       `key:"media_regions" help:"MediaRegions that meetings may have, region among them; empty: those that AWS has. They are labels: the media is here"`
	MediaListen        string         `key:"media_listen" help:"host:port (UDP) for all media; empty: as listen"`
	MediaTCPListen     string         `key:"media_tcp_listen" help:"host:port (TCP) for media of clients that UDP does not reach; empty: the number of media_listen, which it shares with listen where they are the same"`
	MediaTransports    []string       `key:"media_transports" help:"how clients may send media: udp, tcp"`
	MediaAdvertise     []string       `key:"media_advertise" help:"IP addresses that clients send media to, when they differ from media_listen: 203.0.113.10, with another port as 203.0.113.10:40000, for one transport alone as 203.0.113.10:443/tcp"`
	TURN               string         `key:"turn" help:"when clients are given TURN addresses: always, never, or auto (only after a direct attempt failed)"`
	TURNListen         string         `key:"turn_listen" help:"host:port (UDP and TCP) of the TURN server; empty: the host of listen and port 3478"`
	TURNAdvertise      string         `key:"turn_advertise" help:"host or host:port of the TURN server as clients reach it; empty: turn_listen"`
	TURNTLSListen      string         `key:"turn_tls_listen" help:"host:port (TCP) of the TURN server over TLS, such as 0.0.0.0:443; empty: none"`
	TURNTLSCert        string         `key:"turn_tls_cert" help:"file with the certificate for it and those between it and the root, in PEM; read anew when it changes"`
	TURNTLSKey         string         `key:"turn_tls_key" help:"file with the key of that certificate, in PEM"`
	TURNTLSAdvertise   string         `key:"turn_tls_advertise" help:"host or host:port under which clients reach it, a name of the certificate; empty: the certificate's first"`
	TURNTTL            time.Duration  `key:"turn_ttl" help:"how long TURN credentials live; sessions need them for their whole length"`
	StoreURL           meeting.Secret `key:"store_url" help:"an outside NATS cluster with JetStream, such as nats://a:4222,nats://b:4222; empty: the embedded store"`
	StoreReplicas      int            `key:"store_replicas" help:"copies that an outside cluster keeps of the state"`
	Page               string         `key:"page" help:"the meeting page at /meet/: on, off, or auto (on when listen is on loopback and there is no public_url, since the page lets anyone who reaches it create meetings)"`
	RequestRate        int            `key:"request_rate" help:"requests a second that one account may make for each operation of the API; more is refused with 429, which SDKs try again. 0: no limit"`
	RequestBurst       int            `key:"request_burst" help:"how many such requests may come at once"`
	ActiveMeetings     int            `key:"active_meetings" help:"meetings that one account may have at a time; 0: no limit. Accounts can have quotas of their own: belfry accounts"`
	MaxAttendees       int            `key:"max_attendees" help:"attendees of one meeting, 1-250"`
	MaxVideos          int            `key:"max_videos" help:"cameras that may be on in one meeting, 1-250"`
	MaxContentShares   int            `key:"max_content_shares" help:"content shares that may go on in one meeting"`
	MaxReplicas        int            `key:"max_replicas" help:"replicas of one primary meeting, 1-40"`
	DataMessageRate    int            `key:"data_message_rate" help:"data messages a second that one client may send; more comes back to it as throttled, and at five times as many it is cut. 0: no limit"`
	DataMessageBurst   int            `key:"data_message_burst" help:"how many data messages may come at once"`
	DefaultAPI         string         `key:"default_api" help:"what a request means that does not tell its API: chime, chime-sdk-meetings, or either (refused only where both would refuse it)"`
	ValidationErrors   string         `key:"validation_errors" help:"the error for a value outside its bounds: ValidationException, which AWS sends, or BadRequestException, which SDKs have a class for"`
	SigningRegions     string         `key:"signing_regions" help:"regions that requests may be signed for: any, or aws (us-east-1 for the older API, for the newer one those where AWS has it)"`
	ClockSkew          time.Duration  `key:"clock_skew" help:"how far the date of a signed request may be off"`
	DropAfter          time.Duration  `key:"drop_after" help:"how long an attendee whose signaling and media are gone is kept before others see it drop"`
	MeetingIdleTimeout time.Duration  `key:"meeting_idle_timeout" help:"a meeting without an attendee for so long ends; replicas do not; 0: never"`
	MeetingMaxDuration time.Duration  `key:"meeting_max_duration" help:"a meeting that is so old ends; 0: never"`
	MeetingLoneTimeout time.Duration  `key:"meeting_lone_timeout" help:"a meeting with fewer than two attendees for so long ends, as AWS had it until 2021 with 30m; 0: never"`
	Shedding           string         `key:"shedding" help:"whether a server that is full leaves out video and asks who comes new to try again: on or off"`
	SheddingCPU        int            `key:"shedding_cpu" help:"per cent of the processors it may use from which on the server counts as full, 10-100"`
	SheddingLate       time.Duration  `key:"shedding_late" help:"how late the sound of a meeting may be made before the server counts as full"`
	EventEndpoints     []string       `key:"event_endpoints" help:"where queues, topics and functions are, as ARN=URL; an ARN may end in *. Others: AWS_ENDPOINT_URL_SQS, _SNS or _LAMBDA, AWS_ENDPOINT_URL"`
	EventAWS           string         `key:"event_aws" help:"whether queues, topics and functions without an endpoint are looked for at AWS itself: on or off"`
	EventWebhooks      []string       `key:"event_webhooks" help:"http or https URLs that the events of all new meetings are posted to"`
	EventWebhookSecret meeting.Secret `key:"event_webhook_secret" help:"key of the HMAC-SHA256 that signs what is posted to event_webhooks"`
	TranscribeEngine   meeting.Secret `key:"transcription_engine" help:"ws or wss URL of the program that transcribes meetings, see docs/transcription.md; empty: StartMeetingTranscription is refused"`
	LogLevel           string         `key:"log_level" help:"debug, info, warn or error"`
	LogFormat          string         `key:"log_format" help:"text or json"`

	ClientEvents         int           `key:"client_events" help:"how many events that browser clients report of themselves are kept of one meeting, the newest: 500 or more, or 0 for none"`
	ClientEventsMiB      int           `key:"client_events_mib" help:"MiB of them that are kept of one meeting"`
	ClientEventsTotalMiB int           `key:"client_events_total_mib" help:"MiB of them that are kept of all meetings; those that were silent for longest make room"`
	ClientEventsAge      time.Duration `key:"client_events_age" help:"how long after a meeting's last event its events are kept"`
}

// Default is the configuration of a server that was told nothing.
func Default() Config {
	q := meeting.DefaultQuotas
	return Config{
		Listen:           "127.0.0.1:7100",
		Account:          "123456789012", // AWS's in examples, and what emulators of SQS and SNS answer for
		Region:           "us-east-1",
		MediaTransports:  []string{"udp", "tcp"},
		TURN:             "auto",
		TURNTTL:          25 * time.Hour,
		StoreReplicas:    1,
		Page:             "auto",
		RequestRate:      q.RequestRate,
		RequestBurst:     q.RequestBurst,
		ActiveMeetings:   q.ActiveMeetings,
		MaxAttendees:     q.Attendees,
		MaxVideos:        q.Videos,
		MaxContentShares: q.ContentShares,
		MaxReplicas:      q.Replicas,
		DataMessageRate:  q.DataMessageRate,
		DataMessageBurst: q.DataMessageBurst,
		DefaultAPI:       "either",
		ValidationErrors: "ValidationException",
		SigningRegions:   "any",
		ClockSkew:        15 * time.Minute,
		DropAfter:        12 * time.Second,
		Shedding:         "on",
		SheddingCPU:      90,
		SheddingLate:     20 * time.Millisecond,
		EventAWS:         "off",
		LogLevel:         "info",
		LogFormat:        "text",

		MeetingIdleTimeout: 5 * time.Minute,
		MeetingMaxDuration: 24 * time.Hour,

		ClientEvents:         10_000,
		ClientEventsMiB:      8,
		ClientEventsTotalMiB: 256,
		ClientEventsAge:      7 * 24 * time.Hour,
	}
}

// Quotas is what the settings give an account that has no quotas of its own.
func (c *Config) Quotas() meeting.Quotas {
	return meeting.Quotas{
		RequestRate: c.RequestRate, RequestBurst: c.RequestBurst,
		ActiveMeetings: c.ActiveMeetings, Attendees: c.MaxAttendees, Videos: c.MaxVideos, ContentShares: c.MaxContentShares, Replicas: c.MaxReplicas,
		DataMessageRate: c.DataMessageRate, DataMessageBurst: c.DataMessageBurst,
	}
}
