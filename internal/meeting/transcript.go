package meeting

import "time"

// The contract of what transcribes: it hears a meeting by Ears, and tells those
// in it by TranscriptEvents. Both are called from goroutines of their own and
// never with a lock held.

// Ears lets somebody hear who talks in a meeting.
type Ears interface {
	// Listen hands over the speech of a meeting, from now on and whether or not
	// its media is open yet, until stop is called. After that nothing comes.
	Listen(meetingID string, to Listener) (stop func())
}

// Listener is who Ears hand speech to. It is called from one goroutine for each
// meeting, which may be held up: speech is dropped then, and the meeting goes on.
type Listener interface {
	// Speech is a stretch of what one attendee says.
	Speech(Speech)
	// Quiet says that an attendee has stopped talking, or was muted, or has gone.
	Quiet(attendeeID string)
}

// SpeechRate is the samples of a Speech in a second.
const SpeechRate = 16000

// Speech is a stretch of what one attendee says, mono, at SpeechRate. What
// follows later than where it ends has silence before it.
type Speech struct {
	AttendeeID string // with ContentSuffix for the sound of a content share
	At         time.Time
	Samples    []int16 // good until the call returns
}

// TranscriptEvent is what clients are told of a transcription: another status,
// or results (SdkTranscriptEvent).
type TranscriptEvent struct {
	Status                         EventType // one of EventTranscription…; "" for results
	At                             time.Time // of the status
	Region, Configuration, Message string    // of the status

	Results []TranscriptResult
}

// TranscriptResult is one stretch of speech as text (SdkTranscriptResult). Times
// are Unix milliseconds.
type TranscriptResult struct {
	ID           string // the same for all that is said of one stretch
	Partial      bool   // more will be said of it
	Start, End   int64
	LanguageCode string
	Languages    []LanguageScore
	Alternatives []TranscriptAlternative
}

// LanguageScore is how likely a language is, 0 to 1.
type LanguageScore struct {
	Code  string
	Score float64
}

// TranscriptAlternative is one reading of a result, the likeliest first.
type TranscriptAlternative struct {
	Text     string
	Items    []TranscriptItem
	Entities []TranscriptEntity
}

// TranscriptItem is a word or a punctuation mark.
type TranscriptItem struct {
	Content                    string
	Punctuation                bool
	Start, End                 int64
	AttendeeID, ExternalUserID string // who said it
	Confidence                 *float64
	Stable                     *bool // it will not change; nil when the engine does not say
	VocabularyFilterMatch      bool
}

// TranscriptEntity is something that was recognised in the text, such as a name.
type TranscriptEntity struct {
	Category, Type, Content string
	Start, End              int64
	Confidence              float64
}
