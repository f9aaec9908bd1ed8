// Package meeting is Belfry's domain: what a meeting and an attendee are, the
// rules by which they begin, change and end, the events that tell of it, and
// the contracts that storage and media must keep. It imports the standard
// library alone; HTTP, WebSocket, NATS and RTP are other packages' business,
// and they meet in the types of this one.
package meeting

import "time"

// Meeting is one Amazon Chime SDK meeting (API structure Meeting). Values that
// a Store hands out are shared: never modify one, copy it.
type Meeting struct {
	ID                 string // MeetingId: lower-case GUID
	Seq                uint64 // place in the creation order, given by the Store, never reused
	Account            string // the 12-digit account that owns it
	ControlRegion      string // region of the endpoint, part of the ARN
	ClientRequestToken string
	ExternalMeetingID  string // "" when the caller gave none
	HostID             string // MeetingHostId, "" when the caller gave none
	MediaRegion        string
	PrimaryMeetingID   string // "" unless this is a replica
	TenantIDs          []string
	NetworkType        string // MediaPlacementNetworkType, "" when not given
	Features           *Features
	Notifications      Notifications
	Transcribing       *Transcribing // nil: it is not transcribed
	Tags               []Tag
	CreatedAt          time.Time
}

// ARN is the MeetingArn: arn:aws:chime:<control-region>:<account>:meeting/<id>.
func (m *Meeting) ARN() string {
	return "arn:aws:chime:" + m.ControlRegion + ":" + m.Account + ":meeting/" + m.ID
}

// Features is MeetingFeaturesConfiguration, echoed exactly as given: a level
// that the caller left out stays empty.
type Features struct {
	AudioEchoReduction   string // AVAILABLE, UNAVAILABLE or ""
	VideoMaxResolution   string // None, HD, FHD or ""
	ContentMaxResolution string // None, FHD, UHD or ""
	AttendeeMaxCount     int    // 1–250, 0 when not given
}

// Notifications is NotificationsConfiguration: where the meeting's events go.
type Notifications struct {
	SNSTopicARN, SQSQueueARN, LambdaFunctionARN string
	Webhooks                                    []string // URLs of the settings when the meeting began
}

// Tag is one key and value of a meeting or attendee.
type Tag struct{ Key, Value string }

// Attendee is one person's right to join one meeting (API structure Attendee).
// Values that a Store hands out are shared: never modify one, copy it.
type Attendee struct {
	ID             string // AttendeeId: lower-case GUID
	Seq            uint64 // place in the creation order, given by the Store, never reused
	MeetingID      string
	ExternalUserID string
	JoinToken      Secret
	Capabilities   Capabilities
	Tags           []Tag
	CreatedAt      time.Time
}

// Capability says which directions of one medium an attendee may use.
type Capability string

// The values of the API's MediaCapabilities.
const (
	SendReceive Capability = "SendReceive"
	Send        Capability = "Send"
	Receive     Capability = "Receive"
	NoMedia     Capability = "None"
)

// CanSend reports whether the attendee may send this medium.
func (c Capability) CanSend() bool { return c == SendReceive || c == Send }

// CanReceive reports whether the attendee may receive this medium.
func (c Capability) CanReceive() bool { return c == SendReceive || c == Receive }

// Capabilities is AttendeeCapabilities.
type Capabilities struct{ Audio, Video, Content Capability }

// ReceiveOnly is what is left of them without the right to send.
func (c Capabilities) ReceiveOnly() Capabilities {
	mute := func(c Capability) Capability {
		if c.CanReceive() {
			return Receive
		}
		return NoMedia
	}
	return Capabilities{Audio: mute(c.Audio), Video: mute(c.Video), Content: mute(c.Content)}
}

// DefaultCapabilities is what an attendee has when nothing else was asked for.
var DefaultCapabilities = Capabilities{Audio: SendReceive, Video: SendReceive, Content: SendReceive}

// ContentSuffix marks the identity under which an attendee shares content: the
// browser client appends it to AttendeeId and JoinToken alike.
const ContentSuffix = "#content"
