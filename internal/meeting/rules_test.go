package meeting_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"belfry/internal/meeting"
)

func TestFeatures(t *testing.T) {
	for name, c := range map[string]struct {
		in   *meeting.Features
		want meeting.Code
	}{
		"none":                   {nil, ""},
		"empty":                  {&meeting.Features{}, ""},
		"all plain":              {&meeting.Features{AudioEchoReduction: "AVAILABLE", VideoMaxResolution: "HD", ContentMaxResolution: "FHD", AttendeeMaxCount: 250}, ""},
		"echo unknown":           {&meeting.Features{AudioEchoReduction: "available"}, meeting.CodeBadRequest},
		"video unknown":          {&meeting.Features{VideoMaxResolution: "UHD"}, meeting.CodeBadRequest},
		"content unknown":        {&meeting.Features{ContentMaxResolution: "HD"}, meeting.CodeBadRequest},
		"count negative":         {&meeting.Features{AttendeeMaxCount: -1}, meeting.CodeBadRequest},
		"count too high":         {&meeting.Features{AttendeeMaxCount: 251}, meeting.CodeBadRequest},
		"full HD without count":  {&meeting.Features{VideoMaxResolution: "FHD"}, meeting.CodeBadRequest},
		"full HD with 26":        {&meeting.Features{VideoMaxResolution: "FHD", AttendeeMaxCount: 26}, meeting.CodeBadRequest},
		"full HD with 25":        {&meeting.Features{VideoMaxResolution: "FHD", AttendeeMaxCount: 25}, ""},
		"ultra HD content":       {&meeting.Features{ContentMaxResolution: "UHD", AttendeeMaxCount: 25}, ""},
		"ultra HD without count": {&meeting.Features{ContentMaxResolution: "UHD"}, meeting.CodeBadRequest},
	} {
		h := newHouse(t, meeting.ServiceOptions{})
		_, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", Features: c.in})
		wantCode(t, name, err, c.want)
	}
}

func TestCapabilities(t *testing.T) {
	both := func(audio, video, content meeting.Capability) *meeting.Capabilities {
		return &meeting.Capabilities{Audio: audio, Video: video, Content: content}
	}
	const sr, snd, rcv, no = meeting.SendReceive, meeting.Send, meeting.Receive, meeting.NoMedia
	noVideo, noContent := &meeting.Features{VideoMaxResolution: "None"}, &meeting.Features{ContentMaxResolution: "None"}
	neither := &meeting.Features{VideoMaxResolution: "None", ContentMaxResolution: "None"}
	for name, c := range map[string]struct {
		features *meeting.Features
		ask      *meeting.Capabilities
		want     *meeting.Capabilities // nil: CodeBadRequest
	}{
		"default":                           {nil, nil, both(sr, sr, sr)},
		"default without video":             {noVideo, nil, both(sr, rcv, sr)},
		"default without content":           {noContent, nil, both(sr, sr, no)},
		"default without both":              {neither, nil, both(sr, no, no)},
		"asked for":                         {nil, both(snd, rcv, no), both(snd, rcv, no)},
		"content received without video":    {nil, both(sr, no, rcv), nil},
		"content sent without video":        {nil, both(sr, no, snd), both(sr, no, snd)},
		"content received, video sent only": {nil, both(sr, snd, sr), nil},
		"video in a meeting without":        {noVideo, both(sr, rcv, no), nil},
		"content in a meeting without":      {noContent, both(sr, sr, snd), nil},
		"unknown":                           {nil, both("Both", sr, sr), nil},
		"missing":                           {nil, both(sr, "", sr), nil},
	} {
		h := newHouse(t, meeting.ServiceOptions{})
		m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", Features: c.features})
		if err != nil {
			t.Fatal(err)
		}
		a, err := h.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: "ann", Capabilities: c.ask})
		if c.want == nil {
			wantCode(t, name, err, meeting.CodeBadRequest)
			continue
		}
		if err != nil || a.Capabilities != *c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, a, err, *c.want)
		}
	}
}

func TestMediaRegion(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{DefaultMediaRegion: "eu-central-1", MediaRegions: []string{"eu-central-1", "here"}})
	for in, want := range map[string]string{"": "eu-central-1", "here": "here", "us-east-1": "", "HERE": ""} {
		m, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "t" + in, MediaRegion: in})
		if want == "" {
			wantCode(t, in, err, meeting.CodeBadRequest)
		} else if err != nil || m.MediaRegion != want {
			t.Errorf("%q: %+v, %v, want %q", in, m, err, want)
		}
	}
}

func TestAttendeeCap(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{Quotas: meeting.Quotas{Attendees: 2}})
	m := h.meeting(t, "m")
	h.attendee(t, m.ID, "1")
	h.attendee(t, m.ID, "2")
	_, err := h.CreateAttendee(ctx, account, m.ID, meeting.NewAttendee{ExternalUserID: "3"})
	wantCode(t, "the third of two", err, meeting.CodeLimitExceeded)
}

func TestValidateExternalID(t *testing.T) {
	for value, ok := range map[string]bool{
		"plain-_&@+=,(){}[]/«».:|'\"#":   true,
		"white \t\n space":               true,
		"àÿ÷×":                           true,
		"aws":                            true,
		"aws:":                           false,
		"AwS:anything":                   false,
		"star*":                          false,
		"日本":                             false,
		"\xff":                           false,
		"nul\x00":                        false,
		strings.Repeat("long enough", 9): true,
	} {
		err := meeting.ValidateExternalID("ExternalUserId", value)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", value, err, ok)
		}
		if err != nil && (meeting.CodeOf(err) != meeting.CodeBadRequest || !strings.Contains(err.Error(), "ExternalUserId")) {
			t.Errorf("%q: %v does not name the member", value, err)
		}
	}
	h := newHouse(t, meeting.ServiceOptions{})
	_, err := h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", ExternalMeetingID: "aws:x", StrictIDs: true})
	wantCode(t, "strict", err, meeting.CodeBadRequest)
	_, err = h.CreateMeeting(ctx, account, meeting.NewMeeting{ClientRequestToken: "m", ExternalMeetingID: "aws:x"})
	wantCode(t, "not strict", err, "")
}

// TestSecretsDoNotShow prints an attendee in every usual way.
func TestSecretsDoNotShow(t *testing.T) {
	h := newHouse(t, meeting.ServiceOptions{})
	a := h.attendee(t, h.meeting(t, "m").ID, "ann")
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "token", a.JoinToken, "attendee", a)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", a.JoinToken, "attendee", a)
	asJSON, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"%v": fmt.Sprint(a.JoinToken), "%+v": fmt.Sprintf("%+v", *a), "%#v": fmt.Sprintf("%#v", *a),
		"%q": fmt.Sprintf("%q", a.JoinToken), "%s": fmt.Sprintf("%s.", a.JoinToken),
		"JSON": string(asJSON), "log": logged.String(),
	} {
		if strings.Contains(text, a.JoinToken.Reveal()) {
			t.Errorf("%s shows the token", name)
		}
		if !strings.Contains(text, "redacted") {
			t.Errorf("%s does not say that something is left out: %s", name, text)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("the disk is full")
	err := fmt.Errorf("create meeting: %w", &meeting.Error{Code: meeting.CodeUnavailable, Message: "try again", Err: cause})
	if meeting.CodeOf(err) != meeting.CodeUnavailable || meeting.MessageOf(err) != "try again" || !errors.Is(err, cause) {
		t.Errorf("%q %q", meeting.CodeOf(err), meeting.MessageOf(err))
	}
	if meeting.CodeOf(cause) != meeting.CodeInternal || meeting.MessageOf(cause) != "internal error" || meeting.CodeOf(nil) != "" {
		t.Errorf("%q %q", meeting.CodeOf(cause), meeting.MessageOf(cause))
	}
}

func TestResolutions(t *testing.T) {
	var unset *meeting.Features
	if unset.MaxVideo() != meeting.HD || unset.MaxContent() != meeting.FHD {
		t.Errorf("without features %v and %v", unset.MaxVideo(), unset.MaxContent())
	}
	for value, want := range map[string]meeting.Resolution{"": meeting.HD, "None": {}, "HD": meeting.HD, "FHD": meeting.FHD} {
		if got := (&meeting.Features{VideoMaxResolution: value}).MaxVideo(); got != want {
			t.Errorf("video %q is %v, want %v", value, got, want)
		}
	}
	for value, want := range map[string]meeting.Resolution{"": meeting.FHD, "None": {}, "FHD": meeting.FHD, "UHD": meeting.UHD} {
		if got := (&meeting.Features{ContentMaxResolution: value}).MaxContent(); got != want {
			t.Errorf("content %q is %v, want %v", value, got, want)
		}
	}
	for _, tt := range []struct {
		limit         meeting.Resolution
		width, height uint32
		fits          bool
	}{
		{meeting.HD, 1280, 720, true},
		{meeting.HD, 720, 1280, true},
		{meeting.HD, 1280, 721, false},
		{meeting.HD, 1281, 720, false},
		{meeting.HD, 960, 960, false},
		{meeting.FHD, 1920, 1080, true},
		{meeting.FHD, 1920, 1088, true},
		{meeting.FHD, 1088, 1920, true},
		{meeting.FHD, 1920, 1089, false},
		{meeting.UHD, 3840, 2160, true},
		{meeting.UHD, 4096, 2160, false},
		{meeting.Resolution{}, 16, 16, false},
	} {
		if got := tt.limit.Fits(tt.width, tt.height); got != tt.fits {
			t.Errorf("%d×%d fits %v: %t", tt.width, tt.height, tt.limit, got)
		}
	}
}
