package meeting

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Transcription is TranscriptionConfiguration: exactly one of the two is set. Its
// JSON is that of the API.
type Transcription struct {
	Transcribe *TranscribeSettings        `json:"EngineTranscribeSettings,omitempty"`
	Medical    *TranscribeMedicalSettings `json:"EngineTranscribeMedicalSettings,omitempty"`
}

// TranscribeSettings is EngineTranscribeSettings; what the caller left out is "".
// Plurals are lists with commas.
type TranscribeSettings struct {
	LanguageCode              string `json:"LanguageCode,omitempty"`
	IdentifyLanguage          bool   `json:"IdentifyLanguage,omitempty"`
	LanguageOptions           string `json:"LanguageOptions,omitempty"`
	PreferredLanguage         string `json:"PreferredLanguage,omitempty"`
	LanguageModelName         string `json:"LanguageModelName,omitempty"`
	VocabularyName            string `json:"VocabularyName,omitempty"`
	VocabularyNames           string `json:"VocabularyNames,omitempty"`
	VocabularyFilterName      string `json:"VocabularyFilterName,omitempty"`
	VocabularyFilterNames     string `json:"VocabularyFilterNames,omitempty"`
	VocabularyFilterMethod    string `json:"VocabularyFilterMethod,omitempty"`
	Region                    string `json:"Region,omitempty"`
	StabilizePartialResults   bool   `json:"EnablePartialResultsStabilization,omitempty"`
	PartialResultsStability   string `json:"PartialResultsStability,omitempty"`
	ContentIdentificationType string `json:"ContentIdentificationType,omitempty"`
	ContentRedactionType      string `json:"ContentRedactionType,omitempty"`
	PIIEntityTypes            string `json:"PiiEntityTypes,omitempty"`
}

// TranscribeMedicalSettings is EngineTranscribeMedicalSettings.
type TranscribeMedicalSettings struct {
	LanguageCode              string `json:"LanguageCode,omitempty"`
	Specialty                 string `json:"Specialty,omitempty"`
	Type                      string `json:"Type,omitempty"`
	VocabularyName            string `json:"VocabularyName,omitempty"`
	Region                    string `json:"Region,omitempty"`
	ContentIdentificationType string `json:"ContentIdentificationType,omitempty"`
}

// validate holds the configuration to the rules that the API has in prose.
func (c Transcription) validate() error {
	if (c.Transcribe == nil) == (c.Medical == nil) {
		return Errorf(CodeBadRequest, "TranscriptionConfiguration must have either EngineTranscribeSettings or EngineTranscribeMedicalSettings")
	}
	if c.Transcribe == nil {
		return nil
	}
	t := c.Transcribe
	for _, rule := range []struct {
		broken bool
		says   string
	}{
		{t.LanguageCode == "" && !t.IdentifyLanguage, "LanguageCode or IdentifyLanguage must be given"},
		{t.ContentIdentificationType != "" && t.ContentRedactionType != "", "ContentIdentificationType and ContentRedactionType exclude each other"},
		{t.PIIEntityTypes != "" && t.ContentIdentificationType == "" && t.ContentRedactionType == "",
			"PiiEntityTypes needs ContentIdentificationType or ContentRedactionType"},
		{t.LanguageOptions != "" && !t.IdentifyLanguage, "LanguageOptions needs IdentifyLanguage"},
		{t.PreferredLanguage != "" && (t.LanguageOptions == "" || !t.IdentifyLanguage), "PreferredLanguage needs IdentifyLanguage and LanguageOptions"},
		{t.IdentifyLanguage && t.LanguageModelName != "", "IdentifyLanguage and LanguageModelName exclude each other"},
		{t.IdentifyLanguage && t.ContentRedactionType != "", "IdentifyLanguage and ContentRedactionType exclude each other"},
	} {
		if rule.broken {
			return Errorf(CodeBadRequest, "EngineTranscribeSettings: %s", rule.says)
		}
	}
	return nil
}

// Transcribing is the transcription that a meeting was last asked for.
type Transcribing struct {
	ID            string // of this start, so that a late word about another is not taken for it
	Region        string // transcriptionRegion
	Configuration string // TranscriptionConfiguration as JSON text
	Status        TranscribingStatus
	At            time.Time // since when
}

// TranscribingStatus is how far a transcription is.
type TranscribingStatus string

// The statuses of a transcription that has not ended.
const (
	TranscribingStarting    TranscribingStatus = "" // the engine has not taken it yet
	TranscribingStarted     TranscribingStatus = "started"
	TranscribingInterrupted TranscribingStatus = "interrupted" // the engine is away
)

// StartMeetingTranscription asks for the transcription of a meeting, in place of
// the one that it may have. Whether the engine takes it is told by events. A
// server without one answers CodeUnprocessable.
func (s *Service) StartMeetingTranscription(ctx context.Context, account, meetingID string, c Transcription) error {
	if err := c.validate(); err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return &Error{Code: CodeInternal, Message: "TranscriptionConfiguration cannot be written", Err: err}
	}
	now := s.opt.Now()
	return s.transcription(ctx, account, meetingID, func(tx Tx, m *Meeting) {
		changed := *m
		changed.Transcribing = &Transcribing{
			ID: newUUID(), Region: c.region(m.MediaRegion), Configuration: string(text), At: now,
		}
		tx.PutMeeting(&changed)
	})
}

// StopMeetingTranscription ends it. To stop what does not run is no error.
func (s *Service) StopMeetingTranscription(ctx context.Context, account, meetingID string) error {
	now := s.opt.Now()
	return s.transcription(ctx, account, meetingID, func(tx Tx, m *Meeting) {
		if m.Transcribing == nil {
			return
		}
		tellTranscriptionStopped(tx, m, now)
		changed := *m
		changed.Transcribing = nil
		tx.PutMeeting(&changed)
	})
}

func (s *Service) transcription(ctx context.Context, account, meetingID string, change func(Tx, *Meeting)) error {
	if !s.opt.Transcription {
		if _, err := s.GetMeeting(ctx, account, meetingID); err != nil {
			return err
		}
		return Errorf(CodeUnprocessable, "Transcription is not available: this server has no transcription engine")
	}
	return s.store.Update(ctx, func(tx Tx) error {
		m, err := find(tx, account, meetingID)
		if err != nil {
			return err
		}
		if m.PrimaryMeetingID != "" {
			return Errorf(CodeUnprocessable, "Transcription is not available for a replica: its attendees get that of the primary, Meeting <%s>", m.PrimaryMeetingID)
		}
		change(tx, m)
		return nil
	})
}

// region is transcriptionRegion: the one asked for, else that of the media.
func (c Transcription) region(media string) string {
	asked := ""
	if c.Transcribe != nil {
		asked = c.Transcribe.Region
	} else {
		asked = c.Medical.Region
	}
	if asked == "" || asked == "auto" {
		return media
	}
	return asked
}

// tellTranscriptionStopped is for a transcription that ends because somebody
// wants it to, or with its meeting.
func tellTranscriptionStopped(tx Tx, m *Meeting, now time.Time) {
	if t := m.Transcribing; t != nil && t.Status != TranscribingStarting {
		tx.Emit(transcriptionEvent(EventTranscriptionStopped, m, "", now))
	}
}

func transcriptionEvent(kind EventType, m *Meeting, message string, now time.Time) Event {
	e := event(kind, m, nil, now)
	t := m.Transcribing
	e.Transcription = &TranscriptionEvent{Region: t.Region, Configuration: t.Configuration, Message: message}
	return e
}

// ReportTranscription writes what became of the transcription with this id, as
// one of the transcription event types, and the event. It answers since when it
// is so, also when that was written before, and false for a transcription that
// is over or a type that does not follow from the status it has.
func (s *Service) ReportTranscription(ctx context.Context, meetingID, id string, kind EventType, message string) (at time.Time, ok bool, err error) {
	now := s.opt.Now()
	follows := map[EventType][]TranscribingStatus{
		EventTranscriptionStarted:     {TranscribingStarting},
		EventTranscriptionInterrupted: {TranscribingStarted},
		EventTranscriptionResumed:     {TranscribingInterrupted},
		EventTranscriptionFailed:      {TranscribingStarting, TranscribingStarted, TranscribingInterrupted},
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		at, ok = now, false
		m, found := tx.Meeting(meetingID)
		if !found || m.Transcribing == nil || m.Transcribing.ID != id {
			return nil
		}
		changed, t := *m, *m.Transcribing
		changed.Transcribing = &t
		switch kind {
		case EventTranscriptionInterrupted:
			t.Status = TranscribingInterrupted
		case EventTranscriptionFailed:
			changed.Transcribing = nil
		default:
			t.Status = TranscribingStarted
		}
		if changed.Transcribing != nil && t.Status == m.Transcribing.Status {
			at, ok = t.At, true
			return nil
		}
		if ok = slices.Contains(follows[kind], m.Transcribing.Status); ok {
			t.At = now
			tx.Emit(transcriptionEvent(kind, m, message, now))
			tx.PutMeeting(&changed)
		}
		return nil
	})
	return at, ok && err == nil, err
}
