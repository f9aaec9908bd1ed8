package api

import (
	"context"
	"strings"
	"testing"

	"belfry/internal/meeting"
)

// Every member is held to its words, length and pattern. What is right in every
// way is still more than a server without an engine can do.
func TestTranscriptionConstraints(t *testing.T) {
	s := start(t, nil)
	room := s.meeting("")
	const validation, bad, fine = "ValidationException", "BadRequestException", "UnprocessableEntityException"
	engine := func(members string) string {
		return `{"TranscriptionConfiguration":{"EngineTranscribeSettings":{` + members + `}}}`
	}
	medical := func(members string) string {
		return `{"TranscriptionConfiguration":{"EngineTranscribeMedicalSettings":{` + members + `}}}`
	}
	const english, doctor = `"LanguageCode":"en-US"`, `"LanguageCode":"en-US","Specialty":"CARDIOLOGY","Type":"DICTATION"`
	for _, tc := range []struct{ name, prefix, body, want, says string }{
		{"language", "", engine(english), fine, "no transcription engine"},
		{"language, C", asC, engine(english), fine, "no transcription engine"},
		{"everything", "", engine(english + `,"VocabularyFilterMethod":"mask","VocabularyFilterName":"f","VocabularyName":"v","Region":"auto",
			"EnablePartialResultsStabilization":true,"PartialResultsStability":"high","ContentRedactionType":"PII","PiiEntityTypes":"NAME, PIN",
			"LanguageModelName":"a.b_c-d","VocabularyNames":"a,b-c.d_e","VocabularyFilterNames":"a"`), fine, "engine"},
		{"identified", "", engine(`"IdentifyLanguage":true,"LanguageOptions":"en-US,de-DE","PreferredLanguage":"de-DE","ContentIdentificationType":"PII"`), fine, "engine"},
		{"medical", "", medical(doctor + `,"VocabularyName":"v","Region":"eu-west-1","ContentIdentificationType":"PHI"`), fine, "engine"},

		{"no body", "", "", validation, "Value at 'transcriptionConfiguration' failed to satisfy constraint: Member must not be null"},
		{"neither engine", "", `{"TranscriptionConfiguration":{}}`, bad, "either"},
		{"both engines", "", `{"TranscriptionConfiguration":{"EngineTranscribeSettings":{` + english + `},"EngineTranscribeMedicalSettings":{` + doctor + `}}}`, bad, "either"},
		{"no language", "", engine(``), bad, "LanguageCode or IdentifyLanguage"},
		{"language not identified either", "", engine(`"IdentifyLanguage":false`), bad, "LanguageCode or IdentifyLanguage"},
		{"identified and hidden", "", engine(english + `,"ContentIdentificationType":"PII","ContentRedactionType":"PII"`), bad, "exclude each other"},
		{"entities of nothing", "", engine(english + `,"PiiEntityTypes":"NAME"`), bad, "PiiEntityTypes"},
		{"options of nothing", "", engine(english + `,"LanguageOptions":"en-US"`), bad, "LanguageOptions"},
		{"preferred without options", "", engine(`"IdentifyLanguage":true,"PreferredLanguage":"en-US"`), bad, "PreferredLanguage"},
		{"identified with a model", "", engine(`"IdentifyLanguage":true,"LanguageModelName":"m"`), bad, "LanguageModelName"},
		{"identified and redacted", "", engine(`"IdentifyLanguage":true,"ContentRedactionType":"PII"`), bad, "ContentRedactionType"},
		{"unknown language", "", engine(`"LanguageCode":"tlh"`), validation, "Value 'tlh' at 'transcriptionConfiguration.engineTranscribeSettings.languageCode'"},
		{"unknown region", "", engine(english + `,"Region":"mars-1"`), validation, "region'"},
		{"GovCloud, M", asM, engine(english + `,"Region":"us-gov-west-1"`), fine, "engine"},
		{"GovCloud, C", asC, engine(english + `,"Region":"us-gov-west-1"`), validation, "region'"},
		{"unknown method", "", engine(english + `,"VocabularyFilterMethod":"burn"`), validation, "[remove, mask, tag]"},
		{"unknown stability", "", engine(english + `,"PartialResultsStability":"rock"`), validation, "[low, medium, high]"},
		{"entities in lower case", "", engine(english + `,"ContentRedactionType":"PII","PiiEntityTypes":"name"`), validation, "piiEntityTypes'"},
		{"options with a space", "", engine(`"IdentifyLanguage":true,"LanguageOptions":"en-US, de-DE"`), validation, "languageOptions'"},
		{"empty model", "", engine(english + `,"LanguageModelName":""`), validation, "languageModelName'"},
		{"vocabularies with a slash", "", engine(english + `,"VocabularyNames":"a/b"`), validation, "vocabularyNames'"},
		{"long vocabulary", "", engine(english + `,"VocabularyName":"` + strings.Repeat("v", 4097) + `"`), validation, "vocabularyName'"},
		{"a word for a truth", "", engine(`"IdentifyLanguage":"yes"`), "SerializationException", "is not a boolean"},
		{"medical without all", "", medical(english), validation, "2 validation errors"},
		{"medical in German", "", medical(strings.Replace(doctor, "en-US", "de-DE", 1)), validation, "[en-US]"},
		{"medical region", "", medical(doctor + `,"Region":"eu-central-1"`), validation, "region'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := *s
			s.t = t
			status := 400
			if tc.want == fine {
				status = 422
			}
			s.refused(s.do(request{method: "POST", path: tc.prefix + "/meetings/" + room + "/transcription?operation=start", body: tc.body}), status, tc.want, tc.says)
		})
	}
	s.refused(s.do(request{method: "POST", path: "/meetings/" + room + "/transcription?operation=stop"}), 422, fine, "no transcription engine")
	for _, operation := range []string{"start", "stop"} {
		in := request{method: "POST", path: "/meetings/" + unknownGUID + "/transcription?operation=" + operation, body: engine(english)}
		s.refused(s.do(in), 404, "NotFoundException", "Meeting <"+unknownGUID+"> not found")
	}
	s.refused(s.do(request{method: "POST", path: "/meetings/zz/transcription?operation=stop"}), 400, validation, "'meetingId'")
	s.refused(s.do(request{method: "POST", path: "/meetings/" + room + "/transcription"}), 404, "UnknownOperationException", "operation")
}

// transcribes is a domain with an engine.
type transcribes struct {
	Meetings
	started chan meeting.Transcription
}

func (e transcribes) StartMeetingTranscription(_ context.Context, _, _ string, c meeting.Transcription) error {
	e.started <- c
	return nil
}

func (e transcribes) StopMeetingTranscription(context.Context, string, string) error { return nil }

func TestTranscriptionAnswers(t *testing.T) {
	started := make(chan meeting.Transcription, 1)
	s := start(t, func(o *Options) { o.Meetings = transcribes{o.Meetings, started} })
	path := "/meetings/" + s.meeting("") + "/transcription?operation="
	for _, prefix := range []string{asC, asM} {
		a := s.do(request{method: "POST", path: prefix + path + "start",
			body: `{"TranscriptionConfiguration":{"EngineTranscribeSettings":{"LanguageCode":"ja-JP","EnablePartialResultsStabilization":true}}}`})
		if a.status != 200 || a.raw != "" {
			t.Fatalf("start answered %d %s", a.status, a.raw)
		}
		if got := <-started; got.Medical != nil || *got.Transcribe != (meeting.TranscribeSettings{LanguageCode: "ja-JP", StabilizePartialResults: true}) {
			t.Errorf("the configuration is %+v", got)
		}
		if a := s.do(request{method: "POST", path: prefix + path + "stop"}); a.status != 200 || a.raw != "" {
			t.Errorf("stop answered %d %s", a.status, a.raw)
		}
	}
}
