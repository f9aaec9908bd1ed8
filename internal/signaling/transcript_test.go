package signaling

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// transcripts are what a client was told of transcription since the last call.
func transcripts(t *testing.T, c *signaltest.Client) (out []*signalpb.SdkTranscriptEvent) {
	t.Helper()
	synctest.Wait()
	for _, f := range c.Take(signalpb.SdkSignalFrame_DATA_MESSAGE) {
		for _, m := range f.GetDataMessage().GetMessages() {
			if m.GetTopic() != "aws:chime:transcription" || m.GetIngestTimeNs() == 0 {
				t.Errorf("message %v", m)
			}
			var frame signalpb.SdkTranscriptFrame
			if err := proto.Unmarshal(m.GetData(), &frame); err != nil {
				t.Error(err)
			}
			out = append(out, frame.GetEvents()...)
		}
	}
	return out
}

func TestTranscripts(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.enter("a", 1), w.enter("b", 2)
		share := w.enter("a#content", 3)
		at := time.UnixMilli(1_900_000_000_123)
		started := meeting.TranscriptEvent{Status: meeting.EventTranscriptionStarted, At: at, Region: "eu-west-1", Configuration: "{}"}
		wantStarted := &signalpb.SdkTranscriptEvent{Event: &signalpb.SdkTranscriptEvent_Status{Status: &signalpb.SdkTranscriptionStatus{
			Type: signalpb.SdkTranscriptionStatus_STARTED.Enum(), EventTime: proto.Int64(1_900_000_000_123),
			TranscriptionRegion: proto.String("eu-west-1"), TranscriptionConfiguration: proto.String("{}"),
		}}}
		w.srv.Transcribed(meetingID, started)
		half, yes := 0.5, true
		w.srv.Transcribed(meetingID, meeting.TranscriptEvent{Results: []meeting.TranscriptResult{{
			ID: "r", Partial: true, Start: 5, End: 9, LanguageCode: "en-US", Languages: []meeting.LanguageScore{{Code: "en-US", Score: 0.75}},
			Alternatives: []meeting.TranscriptAlternative{{Text: "Hello.", Items: []meeting.TranscriptItem{
				{Content: "Hello", Start: 5, End: 8, AttendeeID: "id-a", ExternalUserID: "ext-a", Confidence: &half, Stable: &yes, VocabularyFilterMatch: true},
				{Content: ".", Punctuation: true, Start: 8, End: 9, AttendeeID: "id-a", ExternalUserID: "ext-a"},
			}, Entities: []meeting.TranscriptEntity{{Category: "PII", Type: "NAME", Content: "Hello", Start: 5, End: 8, Confidence: 1}}}},
		}}})
		wantResult := &signalpb.SdkTranscriptEvent{Event: &signalpb.SdkTranscriptEvent_Transcript{Transcript: &signalpb.SdkTranscript{
			Results: []*signalpb.SdkTranscriptResult{{
				ResultId: proto.String("r"), ChannelId: proto.String("ch_0"), IsPartial: proto.Bool(true), StartTime: proto.Int64(5), EndTime: proto.Int64(9),
				LanguageCode:           proto.String("en-US"),
				LanguageIdentification: []*signalpb.SdkTranscriptLanguageWithScore{{LanguageCode: proto.String("en-US"), Score: proto.Float64(0.75)}},
				Alternatives: []*signalpb.SdkTranscriptAlternative{{Transcript: proto.String("Hello."), Items: []*signalpb.SdkTranscriptItem{
					{Content: proto.String("Hello"), StartTime: proto.Int64(5), EndTime: proto.Int64(8), Type: signalpb.SdkTranscriptItem_PRONUNCIATION.Enum(),
						SpeakerAttendeeId: proto.String("id-a"), SpeakerExternalUserId: proto.String("ext-a"), Confidence: proto.Float64(0.5),
						Stable: proto.Bool(true), VocabularyFilterMatch: proto.Bool(true)},
					{Content: proto.String("."), StartTime: proto.Int64(8), EndTime: proto.Int64(9), Type: signalpb.SdkTranscriptItem_PUNCTUATION.Enum(),
						SpeakerAttendeeId: proto.String("id-a"), SpeakerExternalUserId: proto.String("ext-a")},
				}, Entities: []*signalpb.SdkTranscriptEntity{{Category: proto.String("PII"), Type: proto.String("NAME"), Content: proto.String("Hello"),
					StartTime: proto.Int64(5), EndTime: proto.Int64(8), Confidence: proto.Float64(1)}}}},
			}},
		}}}
		for name, c := range map[string]*signaltest.Client{"a": a, "b": b} {
			if d := cmp.Diff([]*signalpb.SdkTranscriptEvent{wantStarted, wantResult}, transcripts(t, c), protoTransform); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
		if got := transcripts(t, share); len(got) != 0 {
			t.Errorf("a content share got %v", got)
		}

		// Who joins later is told what goes on, who comes back only what is new.
		late := w.enter("c", 4)
		if d := cmp.Diff([]*signalpb.SdkTranscriptEvent{wantStarted}, transcripts(t, late), protoTransform); d != "" {
			t.Errorf("the latecomer (-want +got):\n%s", d)
		}
		b.Cut()
		b = w.join("b", 2)
		if got := transcripts(t, b); len(got) != 0 {
			t.Errorf("it came back and got %v", got)
		}
		b.Cut()
		synctest.Wait()
		w.srv.Transcribed(meetingID, meeting.TranscriptEvent{Status: meeting.EventTranscriptionFailed, At: at, Message: "why"})
		b = w.join("b", 2)
		got := transcripts(t, b)
		if len(got) != 1 || got[0].GetStatus().GetType() != signalpb.SdkTranscriptionStatus_FAILED || got[0].GetStatus().GetMessage() != "why" {
			t.Errorf("it came back and got %v", got)
		}
		if got := transcripts(t, w.enter("d", 5)); len(got) != 0 {
			t.Errorf("who joins after the end got %v", got)
		}
	})
}

// What goes on is known before anybody is in the meeting, and forgotten with it.
func TestTranscriptionBeforeAnybodyJoins(t *testing.T) {
	inWorld(t, func(w *world) {
		w.srv.Transcribed(meetingID, meeting.TranscriptEvent{Status: meeting.EventTranscriptionStarted})
		w.srv.Transcribed(meetingID, meeting.TranscriptEvent{Results: []meeting.TranscriptResult{{ID: "to nobody"}}})
		if got := transcripts(t, w.enter("a", 1)); len(got) != 1 || got[0].GetStatus().GetType() != signalpb.SdkTranscriptionStatus_STARTED {
			t.Errorf("got %v", got)
		}
		w.srv.MeetingEnded(meetingID)
		w.srv.Transcribed(meetingID, meeting.TranscriptEvent{Status: meeting.EventTranscriptionStopped})
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		if len(w.srv.transcriptions) != 0 {
			t.Error("it is remembered")
		}
	})
}
