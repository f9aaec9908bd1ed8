package meeting

import "context"

// Transcription is TranscriptionConfiguration: exactly one of the two is set.
type Transcription struct {
	Transcribe *TranscribeSettings
	Medical    *TranscribeMedicalSettings
}

// TranscribeSettings is EngineTranscribeSettings; what the caller left out is "".
// Plurals are lists with commas.
type TranscribeSettings struct {
	LanguageCode              string
	IdentifyLanguage          bool
	LanguageOptions           string
	PreferredLanguage         string
	LanguageModelName         string
	VocabularyName            string
	VocabularyNames           string
	VocabularyFilterName      string
	VocabularyFilterNames     string
	VocabularyFilterMethod    string
	Region                    string
	StabilizePartialResults   bool // EnablePartialResultsStabilization
	PartialResultsStability   string
	ContentIdentificationType string
	ContentRedactionType      string
	PIIEntityTypes            string
}

// TranscribeMedicalSettings is EngineTranscribeMedicalSettings.
type TranscribeMedicalSettings struct {
	LanguageCode              string
	Specialty                 string
	Type                      string
	VocabularyName            string
	Region                    string
	ContentIdentificationType string
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

// StartMeetingTranscription holds the request to the API's rules. There is no
// engine here that could do the work, which is CodeUnprocessable.
func (s *Service) StartMeetingTranscription(ctx context.Context, account, meetingID string, c Transcription) error {
	if err := c.validate(); err != nil {
		return err
	}
	return s.noTranscription(ctx, account, meetingID)
}

// StopMeetingTranscription is CodeUnprocessable, as StartMeetingTranscription.
func (s *Service) StopMeetingTranscription(ctx context.Context, account, meetingID string) error {
	return s.noTranscription(ctx, account, meetingID)
}

func (s *Service) noTranscription(ctx context.Context, account, meetingID string) error {
	if _, err := s.GetMeeting(ctx, account, meetingID); err != nil {
		return err
	}
	return Errorf(CodeUnprocessable, "Transcription is not available: this server has no transcription engine")
}
