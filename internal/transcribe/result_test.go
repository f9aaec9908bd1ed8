package transcribe

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

func diff(want, got any) string { return cmp.Diff(want, got) }

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"Hello, world.":        "Hello|,p|world|.p",
		"it's  half-past 3.5 ": "it's|half-past|3.5",
		"what?!":               "what|?!p",
		"…":                    "…p",
	} {
		var got []string
		for _, i := range words(text) {
			if i.Type != "" {
				i.Content += "p"
			}
			got = append(got, i.Content)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q becomes %q, want %s", text, got, want)
		}
	}
}

func TestParseBounds(t *testing.T) {
	many := func(n int, of string) string { return "[" + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + "]" }
	for name, text := range map[string]string{
		"results":      `{"type":"transcript","results":` + many(maxResults+1, "{}") + `}`,
		"alternatives": `{"results":[{"alternatives":` + many(maxAlternatives+1, "{}") + `}]}`,
		"items":        `{"results":[{"alternatives":[{"items":` + many(maxItems+1, "{}") + `}]}]}`,
		"languages":    `{"results":[{"languageIdentification":` + many(maxAlternatives+1, "{}") + `}]}`,
		"array":        `[]`,
		"type":         `{"type":1}`,
		"trailing":     `{} {}`,
	} {
		if in, err := parse([]byte(text)); err == nil {
			t.Errorf("%s: taken as %+v", name, in)
		}
	}
	if got := (incoming{Message: strings.Repeat("é", 1000)}).reason(); len(got) > 300 || !utf8.ValidString(got) {
		t.Errorf("reason of %d bytes", len(got))
	}
}

// What an engine says never panics, and what comes of it is bounded and valid text.
func FuzzEngineMessage(f *testing.F) {
	f.Add([]byte(`{"type":"ready"}`))
	f.Add([]byte(`{"type":"error","message":"no"}`))
	f.Add([]byte(`{"type":"transcript","results":[{"stream":1,"text":"Hello, world.","isPartial":true}]}`))
	f.Add([]byte(`{"type":"transcript","results":[{"attendeeId":"a","resultId":"r","startTime":5,"endTime":-1,"languageIdentification":[{"languageCode":"en","score":1e308}],
		"alternatives":[{"transcript":"x","items":[{"content":"x","type":"punctuation","confidence":2,"stable":false}],"entities":[{"category":"PII"}]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := parse(data)
		if err != nil {
			return
		}
		_ = in.reason()
		s := &stream{number: 1, attendeeID: "a", user: "u", begun: 10, end: 20}
		c := &conn{prefix: "p-", streams: map[string]*stream{"a": s}, numbers: []*stream{s}}
		out := c.transcript(in.Results)
		if len(out) > maxResults {
			t.Fatalf("%d results", len(out))
		}
		for _, r := range out {
			if !strings.HasPrefix(r.ID, "p-") || r.End < r.Start || len(r.Alternatives) == 0 {
				t.Fatalf("result %+v", r)
			}
			for _, a := range r.Alternatives {
				check(t, a)
			}
		}
	})
}

func check(t *testing.T, a meeting.TranscriptAlternative) {
	if len(a.Text) > maxText || !utf8.ValidString(a.Text) || len(a.Items) > maxItems {
		t.Fatalf("a text of %d bytes in %d items", len(a.Text), len(a.Items))
	}
	for _, i := range a.Items {
		if len(i.Content) > maxWord || !utf8.ValidString(i.Content) || i.End < i.Start || i.AttendeeID != "a" {
			t.Fatalf("item %+v", i)
		}
	}
}
