package notify

import (
	"encoding/json"
	"fmt"
	"time"

	"belfry/internal/meeting"
)

// envelope is an EventBridge event, in the order of members that AWS writes.
type envelope struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"` // whole seconds, UTC
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     detail   `json:"detail"`
}

// detail is what happened. ExternalMeetingID is null when the meeting has none.
type detail struct {
	Version           string            `json:"version"`
	EventType         meeting.EventType `json:"eventType"`
	Timestamp         int64             `json:"timestamp"` // milliseconds since 1970
	MeetingID         string            `json:"meetingId"`
	ExternalMeetingID *string           `json:"externalMeetingId"`
	MediaRegion       string            `json:"mediaRegion"`
	AttendeeID        string            `json:"attendeeId,omitempty"`
	ExternalUserID    string            `json:"externalUserId,omitempty"`
	NetworkType       string            `json:"networkType,omitempty"`
	Success           string            `json:"success,omitempty"` // "1", of a change of capabilities
	Capabilities      *capabilities     `json:"attendeeCapabilities,omitempty"`

	TranscriptionRegion        string `json:"transcriptionRegion,omitempty"`
	TranscriptionConfiguration string `json:"transcriptionConfiguration,omitempty"` // JSON in a string
	Message                    string `json:"message,omitempty"`
}

type capabilities struct {
	Audio   meeting.Capability `json:"audio"`
	Video   meeting.Capability `json:"video"`
	Content meeting.Capability `json:"content"`
}

// Envelope is the JSON of an event as its targets get it: the same at every
// try.
func Envelope(e meeting.Event) ([]byte, error) {
	d := detail{
		Version: "0", EventType: e.Type, Timestamp: e.At.UnixMilli(),
		MeetingID: e.MeetingID, MediaRegion: e.MediaRegion,
		AttendeeID: e.AttendeeID, ExternalUserID: e.ExternalUserID, NetworkType: e.NetworkType,
	}
	if e.ExternalMeetingID != "" {
		d.ExternalMeetingID = &e.ExternalMeetingID
	}
	if c := e.Capabilities; c != nil {
		d.Success, d.Capabilities = "1", &capabilities{c.Audio, c.Video, c.Content}
	}
	if t := e.Transcription; t != nil {
		d.TranscriptionRegion, d.TranscriptionConfiguration, d.Message = t.Region, t.Configuration, t.Message
	}
	body, err := json.Marshal(envelope{
		Version: "0", ID: e.ID, DetailType: "Chime Meeting State Change", Source: "aws.chime",
		Account: e.Account, Time: e.At.UTC().Format(time.RFC3339), Region: e.Region,
		Resources: []string{}, Detail: d,
	})
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return body, nil
}
