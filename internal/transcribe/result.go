package transcribe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"belfry/internal/meeting"
)

// Bounds of one message of the engine's. What is more is cut or refused before
// it reaches a client.
const (
	maxResults      = 32
	maxAlternatives = 10
	maxItems        = 2000 // of all alternatives together
	maxText         = 16 << 10
	maxWord         = 256
	maxReason       = 256
)

// incoming is a message of the engine's: ready, error or transcript. Others are
// ignored, so that an engine may say more.
type incoming struct {
	Type    string   `json:"type"`
	Message string   `json:"message"` // of error
	Results []result `json:"results"` // of transcript
}

// result has the members of SdkTranscriptResult as JSON. The stream may be given
// by number or attendee; what is left out is filled in.
type result struct {
	Stream       uint32        `json:"stream"`
	AttendeeID   string        `json:"attendeeId"`
	ResultID     string        `json:"resultId"`
	IsPartial    bool          `json:"isPartial"`
	Text         string        `json:"text"` // instead of alternatives
	StartTime    int64         `json:"startTime"`
	EndTime      int64         `json:"endTime"`
	LanguageCode string        `json:"languageCode"`
	Languages    []language    `json:"languageIdentification"`
	Alternatives []alternative `json:"alternatives"`
}

type language struct {
	LanguageCode string  `json:"languageCode"`
	Score        float64 `json:"score"`
}

type alternative struct {
	Transcript string   `json:"transcript"`
	Items      []item   `json:"items"`
	Entities   []entity `json:"entities"`
}

type item struct {
	Content               string   `json:"content"`
	Type                  string   `json:"type"` // pronunciation or punctuation
	StartTime             int64    `json:"startTime"`
	EndTime               int64    `json:"endTime"`
	Confidence            *float64 `json:"confidence"`
	Stable                *bool    `json:"stable"`
	VocabularyFilterMatch bool     `json:"vocabularyFilterMatch"`
}

type entity struct {
	Category   string  `json:"category"`
	Type       string  `json:"type"`
	Content    string  `json:"content"`
	StartTime  int64   `json:"startTime"`
	EndTime    int64   `json:"endTime"`
	Confidence float64 `json:"confidence"`
}

var errTooMuch = errors.New("more results, alternatives or items than are allowed")

// parse reads a message and holds it to its bounds.
func parse(data []byte) (in incoming, err error) {
	if err := json.Unmarshal(data, &in); err != nil {
		return incoming{}, fmt.Errorf("not a message in JSON: %w", err)
	}
	if len(in.Results) > maxResults {
		return incoming{}, errTooMuch
	}
	items := 0
	for i := range in.Results {
		r := &in.Results[i]
		if len(r.Alternatives) > maxAlternatives || len(r.Languages) > maxAlternatives {
			return incoming{}, errTooMuch
		}
		r.ResultID, r.LanguageCode, r.Text = clip(r.ResultID, maxWord), clip(r.LanguageCode, maxWord), clip(r.Text, maxText)
		for j := range r.Alternatives {
			a := &r.Alternatives[j]
			if items += len(a.Items) + len(a.Entities); items > maxItems {
				return incoming{}, errTooMuch
			}
			a.Transcript = clip(a.Transcript, maxText)
			for k := range a.Items {
				a.Items[k].Content = clip(a.Items[k].Content, maxWord)
			}
			for k := range a.Entities {
				e := &a.Entities[k]
				e.Category, e.Type, e.Content = clip(e.Category, maxWord), clip(e.Type, maxWord), clip(e.Content, maxWord)
			}
		}
		for j := range r.Languages {
			r.Languages[j].LanguageCode = clip(r.Languages[j].LanguageCode, maxWord)
		}
	}
	return in, nil
}

// reason is what an error says.
func (in incoming) reason() string {
	if in.Message == "" {
		return "the transcription engine refuses"
	}
	return "the transcription engine refuses: " + clip(in.Message, maxReason)
}

// clip cuts a text to so many bytes, at the border of a character.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// transcript makes of the engine's results what clients are told. One that is of
// no stream is left out.
func (c *conn) transcript(in []result) (out []meeting.TranscriptResult) {
	for i := range in {
		if r, ok := c.result(&in[i]); ok {
			out = append(out, r)
		}
	}
	return out
}

func (c *conn) result(in *result) (out meeting.TranscriptResult, ok bool) {
	c.mu.Lock()
	s := c.streams[in.AttendeeID]
	if in.AttendeeID == "" && in.Stream > 0 && int64(in.Stream) <= int64(len(c.numbers)) {
		s = c.numbers[in.Stream-1]
	}
	if s == nil {
		c.mu.Unlock()
		return out, false
	}
	begun, end, stretch := s.begun, s.end, s.stretch
	c.mu.Unlock()

	out = meeting.TranscriptResult{
		ID: c.prefix + in.ResultID, Partial: in.IsPartial, Start: either(in.StartTime, begun), LanguageCode: in.LanguageCode,
	}
	if in.ResultID == "" { // one for each stretch that is said
		out.ID = c.prefix + strconv.FormatUint(uint64(s.number), 10) + "-" + strconv.Itoa(stretch)
	}
	out.End = max(either(in.EndTime, end), out.Start)
	for _, l := range in.Languages {
		out.Languages = append(out.Languages, meeting.LanguageScore{Code: l.LanguageCode, Score: finite(l.Score)})
	}
	if len(in.Alternatives) == 0 {
		in.Alternatives = []alternative{{Transcript: in.Text}}
	}
	for _, a := range in.Alternatives {
		out.Alternatives = append(out.Alternatives, a.told(s, out.Start, out.End))
	}
	return out, true
}

// told is an alternative with what it leaves out.
func (a alternative) told(s *stream, start, end int64) meeting.TranscriptAlternative {
	out := meeting.TranscriptAlternative{Text: a.Transcript}
	if len(a.Items) == 0 {
		a.Items = words(a.Transcript)
	}
	for _, i := range a.Items {
		from := either(i.StartTime, start)
		out.Items = append(out.Items, meeting.TranscriptItem{
			Content: i.Content, Punctuation: strings.EqualFold(i.Type, "punctuation"), Start: from, End: max(either(i.EndTime, end), from),
			AttendeeID: s.attendeeID, ExternalUserID: s.user,
			Confidence: i.Confidence, Stable: i.Stable, VocabularyFilterMatch: i.VocabularyFilterMatch,
		})
	}
	for _, e := range a.Entities {
		from := either(e.StartTime, start)
		out.Entities = append(out.Entities, meeting.TranscriptEntity{
			Category: e.Category, Type: e.Type, Content: e.Content, Confidence: finite(e.Confidence),
			Start: from, End: max(either(e.EndTime, end), from),
		})
	}
	return out
}

// words takes a text apart into words and the marks behind them.
func words(text string) (items []item) {
	const marks = ".,!?;:…。、！？"
	for _, word := range strings.Fields(text) {
		bare := strings.TrimRight(word, marks)
		if bare != "" {
			items = append(items, item{Content: clip(bare, maxWord)})
		}
		if mark := word[len(bare):]; mark != "" {
			items = append(items, item{Content: clip(mark, maxWord), Type: "punctuation"})
		}
		if len(items) >= maxItems {
			return items[:maxItems]
		}
	}
	return items
}

// either is a time that the engine gave, or ours.
func either(given, ours int64) int64 {
	if given > 0 {
		return given
	}
	return ours
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
