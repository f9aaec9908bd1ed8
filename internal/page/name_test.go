package page

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// allowed is the pattern of ExternalUserId in the API's model.
var allowed = regexp.MustCompile(`^[-_&@+=,(){}\[\]/«».:|'"#a-zA-Z0-9À-ÿ\s]*$`)

// nameOf reads an ExternalUserId as the page does.
func nameOf(t *testing.T, id string) string {
	t.Helper()
	name := id[:strings.LastIndex(id, "#")]
	coded, ok := strings.CutPrefix(name, encodedMark)
	if !ok {
		return name
	}
	data, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil || !utf8.Valid(data) {
		t.Fatalf("%q carries %q, %v", id, data, err)
	}
	return string(data)
}

func TestExternalUserID(t *testing.T) {
	for typed, want := range map[string]string{
		"Ana":                       "Ana",
		"  Ana \t Lima ":            "Ana Lima",
		"Zoë":                       "Zoë",
		"Jürgen (Köln)":             "Jürgen (Köln)",
		"Łukasz":                    "Łukasz",
		"Мария":                     "Мария",
		"山田 太郎":                     "山田 太郎",
		"Ana 🌻":                     "Ana 🌻",
		"Ana#1":                     "Ana#1",
		"aws:chime":                 "aws:chime",
		"=b.QQ":                     "=b.QQ",
		"\u202eanA\u202c":           "anA",
		strings.Repeat("x", 40):     strings.Repeat("x", 40),
		strings.Repeat("山", 40):     strings.Repeat("山", 13), // what fits
		"👩\u200d👧":                  "👩\u200d👧",
		"<img src=x onerror=go()>#": "<img src=x onerror=go()>#",
	} {
		id, err := externalUserID(typed)
		if err != nil {
			t.Errorf("%q: %v", typed, err)
			continue
		}
		if got := nameOf(t, id); got != want {
			t.Errorf("%q became %q, want %q", typed, got, want)
		}
		if !allowed.MatchString(id) || utf8.RuneCountInString(id) > maxUserID || strings.HasPrefix(strings.ToLower(id), "aws:") {
			t.Errorf("%q became the ExternalUserId %q, which the API refuses", typed, id)
		}
	}
	first, _ := externalUserID("Ana")
	second, _ := externalUserID("Ana")
	if first == second {
		t.Errorf("two people named Ana are both %q", first)
	}
	if _, err := externalUserID("A\xff"); err == nil {
		t.Error("a name that is not UTF-8 passed")
	}
}

func FuzzExternalUserID(f *testing.F) {
	for _, seed := range []string{"Ana", "Łukasz", "=b.", "aws:x", "#", "\u202e", "👩\u200d👧", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		id, err := externalUserID(typed)
		if err != nil {
			return
		}
		if !allowed.MatchString(id) || utf8.RuneCountInString(id) > maxUserID || len(id) <= suffixLen || strings.HasPrefix(strings.ToLower(id), "aws:") {
			t.Errorf("%q became the ExternalUserId %q", typed, id)
		}
		if nameOf(t, id) == "" {
			t.Errorf("%q became no name", typed)
		}
	})
}
