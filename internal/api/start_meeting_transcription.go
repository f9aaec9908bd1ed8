package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
)

// startMeetingTranscription is StartMeetingTranscription.
var startMeetingTranscription = &operation{
	name:    "StartMeetingTranscription",
	method:  http.MethodPost,
	path:    "/meetings/{MeetingId}/transcription",
	marker:  "start",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		id, in := c.meetingID(), c.transcription()
		if err := c.check(); err != nil {
			return nil, err
		}
		return nil, c.meetings().StartMeetingTranscription(ctx, c.account, id, in)
	},
}

var (
	transcribeLanguage = restjson.Enum("en-US", "en-GB", "es-US", "fr-CA", "fr-FR", "en-AU", "it-IT", "de-DE", "pt-BR",
		"ja-JP", "ko-KR", "zh-CN", "th-TH", "hi-IN")
	transcribeRegions = []string{"us-east-2", "us-east-1", "us-west-2", "ap-northeast-2", "ap-southeast-2", "ap-northeast-1",
		"ca-central-1", "eu-central-1", "eu-west-1", "eu-west-2", "sa-east-1", "auto"}
	transcribeRegion     = restjson.Enum(append(transcribeRegions[:len(transcribeRegions):len(transcribeRegions)], "us-gov-west-1")...)
	transcribeRegion2018 = restjson.Enum(transcribeRegions...)

	languageModelName = restjson.Pattern(`^[0-9a-zA-Z._-]+`)
	languageOptions   = restjson.Pattern(`^[a-zA-Z-,]+`)
	piiEntityTypes    = restjson.Pattern(`^[A-Z_, ]+`)
	vocabularyNames   = restjson.Pattern(`^[a-zA-Z0-9,-._]+`) // ",-." is a range of three
	anyName           = restjson.Length(0, 4096)
)

// transcription reads TranscriptionConfiguration.
func (c *call) transcription() meeting.Transcription {
	var out meeting.Transcription
	in, ok := c.in.Object("TranscriptionConfiguration", restjson.Required)
	if !ok {
		return out
	}
	if r, ok := in.Object("EngineTranscribeSettings"); ok {
		region := transcribeRegion
		if c.identity.is(Chime2018) {
			region = transcribeRegion2018
		}
		out.Transcribe = &meeting.TranscribeSettings{
			LanguageCode:              r.String("LanguageCode", transcribeLanguage),
			IdentifyLanguage:          r.Bool("IdentifyLanguage"),
			LanguageOptions:           r.String("LanguageOptions", restjson.Length(1, 200), languageOptions),
			PreferredLanguage:         r.String("PreferredLanguage", transcribeLanguage),
			LanguageModelName:         r.String("LanguageModelName", restjson.Length(1, 200), languageModelName),
			VocabularyName:            r.String("VocabularyName", anyName),
			VocabularyNames:           r.String("VocabularyNames", restjson.Length(1, 3000), vocabularyNames),
			VocabularyFilterName:      r.String("VocabularyFilterName", anyName),
			VocabularyFilterNames:     r.String("VocabularyFilterNames", restjson.Length(1, 3000), vocabularyNames),
			VocabularyFilterMethod:    r.String("VocabularyFilterMethod", restjson.Enum("remove", "mask", "tag")),
			Region:                    r.String("Region", region),
			StabilizePartialResults:   r.Bool("EnablePartialResultsStabilization"),
			PartialResultsStability:   r.String("PartialResultsStability", restjson.Enum("low", "medium", "high")),
			ContentIdentificationType: r.String("ContentIdentificationType", restjson.Enum("PII")),
			ContentRedactionType:      r.String("ContentRedactionType", restjson.Enum("PII")),
			PIIEntityTypes:            r.String("PiiEntityTypes", restjson.Length(1, 300), piiEntityTypes),
		}
	}
	if r, ok := in.Object("EngineTranscribeMedicalSettings"); ok {
		out.Medical = &meeting.TranscribeMedicalSettings{
			LanguageCode:              r.String("LanguageCode", restjson.Required, restjson.Enum("en-US")),
			Specialty:                 r.String("Specialty", restjson.Required, restjson.Enum("PRIMARYCARE", "CARDIOLOGY", "NEUROLOGY", "ONCOLOGY", "RADIOLOGY", "UROLOGY")),
			Type:                      r.String("Type", restjson.Required, restjson.Enum("CONVERSATION", "DICTATION")),
			VocabularyName:            r.String("VocabularyName", anyName),
			Region:                    r.String("Region", restjson.Enum("us-east-1", "us-east-2", "us-west-2", "ap-southeast-2", "ca-central-1", "eu-west-1", "auto")),
			ContentIdentificationType: r.String("ContentIdentificationType", restjson.Enum("PHI")),
		}
	}
	return out
}
