package meeting

import "time"

// EventType is the eventType of a meeting event.
type EventType string

// The event types that AWS documents for meetings.
const (
	EventMeetingStarted              EventType = "chime:MeetingStarted"
	EventMeetingEnded                EventType = "chime:MeetingEnded"
	EventAttendeeAdded               EventType = "chime:AttendeeAdded"
	EventAttendeeDeleted             EventType = "chime:AttendeeDeleted"
	EventAttendeeAuthorized          EventType = "chime:AttendeeAuthorized"
	EventAttendeeJoined              EventType = "chime:AttendeeJoined"
	EventAttendeeLeft                EventType = "chime:AttendeeLeft"
	EventAttendeeDropped             EventType = "chime:AttendeeDropped"
	EventAttendeeVideoStarted        EventType = "chime:AttendeeVideoStarted"
	EventAttendeeVideoStopped        EventType = "chime:AttendeeVideoStopped"
	EventAttendeeContentJoined       EventType = "chime:AttendeeContentJoined"
	EventAttendeeContentLeft         EventType = "chime:AttendeeContentLeft"
	EventAttendeeContentDropped      EventType = "chime:AttendeeContentDropped"
	EventAttendeeContentVideoStarted EventType = "chime:AttendeeContentVideoStarted"
	EventAttendeeContentVideoStopped EventType = "chime:AttendeeContentVideoStopped"
	EventAttendeeCapabilitiesUpdated EventType = "chime:AttendeeCapabilitiesUpdated"
	EventTranscriptionStarted        EventType = "chime:TranscriptionStarted"
	EventTranscriptionStopped        EventType = "chime:TranscriptionStopped"
	EventTranscriptionInterrupted    EventType = "chime:TranscriptionInterrupted"
	EventTranscriptionResumed        EventType = "chime:TranscriptionResumed"
	EventTranscriptionFailed         EventType = "chime:TranscriptionFailed"
)

// Content reports whether events of this type are of a content share.
func (t EventType) Content() bool {
	switch t {
	case EventAttendeeContentJoined, EventAttendeeContentLeft, EventAttendeeContentDropped,
		EventAttendeeContentVideoStarted, EventAttendeeContentVideoStopped:
		return true
	}
	return false
}

// Event is one thing that happened in a meeting. It is written in the same
// atomic step as the state that it tells of.
type Event struct {
	ID                string // stable over redelivery
	Number            uint64 // 1, 2, 3 … within the meeting, given by the Store
	Type              EventType
	At                time.Time
	Account           string
	Region            string // the control region
	MeetingID         string
	ExternalMeetingID string
	MediaRegion       string
	AttendeeID        string // "" for events of the meeting itself
	ExternalUserID    string
	NetworkType       string              // "Voip" where the type has it
	Capabilities      *Capabilities       // the new ones, of EventAttendeeCapabilitiesUpdated alone
	Transcription     *TranscriptionEvent // of the transcription types alone
}

// TranscriptionEvent is what a transcription event tells beside its type.
type TranscriptionEvent struct {
	Region        string // transcriptionRegion: where the engine is
	Configuration string // transcriptionConfiguration: the TranscriptionConfiguration as JSON text
	Message       string // why; of EventTranscriptionInterrupted and EventTranscriptionFailed alone
}
