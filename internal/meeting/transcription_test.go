package meeting_test

import (
	"testing"

	"belfry/internal/meeting"
)

var english = meeting.Transcription{Transcribe: &meeting.TranscribeSettings{LanguageCode: "en-US", PIIEntityTypes: "NAME", ContentRedactionType: "PII"}}

func TestTranscribing(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{Transcription: true})
	m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", MediaRegion: "eu-west-1"})
	wantCode(t, "create", err, "")
	now := func() *meeting.Transcribing {
		t.Helper()
		got, err := h.GetMeeting(ctx, account, m.ID)
		wantCode(t, "get", err, "")
		return got.Transcribing
	}
	report := func(id string, kind meeting.EventType, want bool) {
		t.Helper()
		if _, ok, err := h.ReportTranscription(ctx, m.ID, id, kind, "why"); err != nil || ok != want {
			t.Errorf("%s: %t, %v, want %t", kind, ok, err, want)
		}
	}
	wantCode(t, "start", h.StartMeetingTranscription(ctx, account, m.ID, english), "")
	first := now()
	const text = `{"EngineTranscribeSettings":{"LanguageCode":"en-US","ContentRedactionType":"PII","PiiEntityTypes":"NAME"}}`
	if first == nil || first.Configuration != text || first.Region != "eu-west-1" || first.Status != meeting.TranscribingStarting {
		t.Fatalf("transcribing %+v", first)
	}
	report(first.ID, meeting.EventTranscriptionInterrupted, false) // it has not started
	report(first.ID, meeting.EventTranscriptionResumed, false)
	report(first.ID, meeting.EventTranscriptionStarted, true)
	report(first.ID, meeting.EventTranscriptionStarted, true)
	if n := h.told(meeting.EventTranscriptionStarted); n != 1 {
		t.Errorf("%d events tell that it started", n)
	}
	report(first.ID, meeting.EventTranscriptionInterrupted, true)
	if got := now(); got.Status != meeting.TranscribingInterrupted {
		t.Errorf("status %q", got.Status)
	}
	report(first.ID, meeting.EventTranscriptionResumed, true)

	medical := meeting.Transcription{Medical: &meeting.TranscribeMedicalSettings{LanguageCode: "en-US", Specialty: "UROLOGY", Type: "DICTATION", Region: "us-west-2"}}
	wantCode(t, "start again", h.StartMeetingTranscription(ctx, account, m.ID, medical), "")
	second := now()
	if second.ID == first.ID || second.Region != "us-west-2" || second.Status != meeting.TranscribingStarting ||
		second.Configuration != `{"EngineTranscribeMedicalSettings":{"LanguageCode":"en-US","Specialty":"UROLOGY","Type":"DICTATION","Region":"us-west-2"}}` {
		t.Errorf("transcribing %+v", second)
	}
	report(first.ID, meeting.EventTranscriptionFailed, false) // a late word about another
	report(second.ID, meeting.EventTranscriptionFailed, true)
	if got := now(); got != nil {
		t.Errorf("transcribing %+v after it failed", got)
	}
	report(second.ID, meeting.EventTranscriptionResumed, false)
	wantCode(t, "stop", h.StopMeetingTranscription(ctx, account, m.ID), "")

	replica, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "r", PrimaryMeetingID: m.ID})
	wantCode(t, "replica", err, "")
	wantCode(t, "start in a replica", h.StartMeetingTranscription(ctx, account, replica.ID, english), meeting.CodeUnprocessable)
	wantCode(t, "another account", h.StartMeetingTranscription(ctx, "210987654321", m.ID, english), meeting.CodeNotFound)
	wantCode(t, "both", h.StartMeetingTranscription(ctx, account, m.ID, meeting.Transcription{Transcribe: english.Transcribe, Medical: medical.Medical}), meeting.CodeBadRequest)
}
