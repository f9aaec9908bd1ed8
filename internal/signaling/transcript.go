package signaling

import (
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// transcriptTopic is that of the data messages with SdkTranscriptFrames. Clients
// cannot send on it.
const transcriptTopic = "aws:chime:transcription"

// transcription is the last word on a meeting's transcription.
type transcription struct {
	number uint64 // rises with each, 0 for none
	data   []byte // SdkTranscriptFrame
	goesOn bool   // it has not ended
}

// Transcribed tells those in a meeting of its transcription. It does not block;
// calls for one meeting come one after the other. A status is kept for those who
// join later while the transcription goes on, and for those who come back.
func (s *Server) Transcribed(meetingID string, e meeting.TranscriptEvent) {
	data, err := proto.Marshal(transcriptFrame(e))
	if err != nil {
		s.log.Error("a transcript cannot be encoded", "meeting", meetingID, "error", err)
		return
	}
	s.mu.Lock()
	r := s.live[meetingID]
	var status transcription
	if e.Status != "" && !s.memory.hasEnded(meetingID) {
		s.lastTranscription++
		over := e.Status == meeting.EventTranscriptionStopped || e.Status == meeting.EventTranscriptionFailed
		status = transcription{number: s.lastTranscription, data: data, goesOn: !over}
		s.transcriptions[meetingID] = status
	}
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if status.number > r.transcription.number {
		r.transcription = status
	}
	message := encode(dataFrame([]*signalpb.SdkDataMessagePayload{r.transcriptMessage(data)}), r.srv.now())
	for p := range r.everybody() {
		if p.sess == nil || p.content {
			continue
		}
		p.transcription = max(p.transcription, status.number)
		p.sess.send(message)
	}
}

func (r *room) transcriptMessage(data []byte) *signalpb.SdkDataMessagePayload {
	return &signalpb.SdkDataMessagePayload{
		Topic: proto.String(transcriptTopic), Data: data, IngestTimeNs: proto.Int64(r.messages.stamp(r.srv.now())),
	}
}

// tellTranscription brings somebody who joins up to date: with what goes on, or
// with what has ended while it was away. The caller holds mu.
func (r *room) tellTranscription(p *participant) {
	t := r.transcription
	if p.content || t.number <= p.transcription || !t.goesOn && p.transcription == 0 {
		return
	}
	p.transcription = t.number
	p.sess.sendFrame(dataFrame([]*signalpb.SdkDataMessagePayload{r.transcriptMessage(t.data)}))
}

var transcriptionTypes = map[meeting.EventType]signalpb.SdkTranscriptionStatus_Type{
	meeting.EventTranscriptionStarted:     signalpb.SdkTranscriptionStatus_STARTED,
	meeting.EventTranscriptionInterrupted: signalpb.SdkTranscriptionStatus_INTERRUPTED,
	meeting.EventTranscriptionResumed:     signalpb.SdkTranscriptionStatus_RESUMED,
	meeting.EventTranscriptionStopped:     signalpb.SdkTranscriptionStatus_STOPPED,
	meeting.EventTranscriptionFailed:      signalpb.SdkTranscriptionStatus_FAILED,
}

func transcriptFrame(e meeting.TranscriptEvent) *signalpb.SdkTranscriptFrame {
	out := &signalpb.SdkTranscriptEvent{}
	if e.Status != "" {
		status := &signalpb.SdkTranscriptionStatus{
			Type: transcriptionTypes[e.Status].Enum(), EventTime: proto.Int64(e.At.UnixMilli()),
			TranscriptionRegion: proto.String(e.Region), TranscriptionConfiguration: proto.String(e.Configuration),
		}
		if e.Message != "" {
			status.Message = proto.String(e.Message)
		}
		out.Event = &signalpb.SdkTranscriptEvent_Status{Status: status}
	} else {
		transcript := &signalpb.SdkTranscript{}
		for _, r := range e.Results {
			transcript.Results = append(transcript.Results, transcriptResult(r))
		}
		out.Event = &signalpb.SdkTranscriptEvent_Transcript{Transcript: transcript}
	}
	return &signalpb.SdkTranscriptFrame{Events: []*signalpb.SdkTranscriptEvent{out}}
}

func transcriptResult(r meeting.TranscriptResult) *signalpb.SdkTranscriptResult {
	out := &signalpb.SdkTranscriptResult{
		ResultId: proto.String(r.ID), ChannelId: proto.String("ch_0"), IsPartial: proto.Bool(r.Partial),
		StartTime: proto.Int64(r.Start), EndTime: proto.Int64(r.End),
	}
	if r.LanguageCode != "" {
		out.LanguageCode = proto.String(r.LanguageCode)
	}
	for _, l := range r.Languages {
		out.LanguageIdentification = append(out.LanguageIdentification, &signalpb.SdkTranscriptLanguageWithScore{
			LanguageCode: proto.String(l.Code), Score: proto.Float64(l.Score),
		})
	}
	for _, a := range r.Alternatives {
		alternative := &signalpb.SdkTranscriptAlternative{Transcript: proto.String(a.Text)}
		for _, i := range a.Items {
			alternative.Items = append(alternative.Items, transcriptItem(i))
		}
		for _, e := range a.Entities {
			alternative.Entities = append(alternative.Entities, &signalpb.SdkTranscriptEntity{
				Category: proto.String(e.Category), Type: proto.String(e.Type), Content: proto.String(e.Content),
				StartTime: proto.Int64(e.Start), EndTime: proto.Int64(e.End), Confidence: proto.Float64(e.Confidence),
			})
		}
		out.Alternatives = append(out.Alternatives, alternative)
	}
	return out
}

func transcriptItem(i meeting.TranscriptItem) *signalpb.SdkTranscriptItem {
	out := &signalpb.SdkTranscriptItem{
		Content: proto.String(i.Content), StartTime: proto.Int64(i.Start), EndTime: proto.Int64(i.End),
		SpeakerAttendeeId: proto.String(i.AttendeeID), SpeakerExternalUserId: proto.String(i.ExternalUserID),
		Type: signalpb.SdkTranscriptItem_PRONUNCIATION.Enum(), Confidence: i.Confidence, Stable: i.Stable,
	}
	if i.Punctuation {
		out.Type = signalpb.SdkTranscriptItem_PUNCTUATION.Enum()
	}
	if i.VocabularyFilterMatch {
		out.VocabularyFilterMatch = proto.Bool(true)
	}
	return out
}
