package notify

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// The members of detail beside those that every event has, by type: string but
// where it says otherwise. (Developer guide, meeting events.)
var (
	common       = []string{"version", "eventType", "timestamp number", "meetingId", "externalMeetingId", "mediaRegion"}
	attendee     = []string{"attendeeId", "externalUserId"}
	connection   = []string{"attendeeId", "externalUserId", "networkType"}
	transcribing = []string{"transcriptionRegion", "transcriptionConfiguration"}
	broken       = []string{"transcriptionRegion", "transcriptionConfiguration", "message"}

	membersOf = map[meeting.EventType][]string{
		"chime:MeetingStarted":              nil,
		"chime:MeetingEnded":                nil,
		"chime:AttendeeAdded":               attendee,
		"chime:AttendeeDeleted":             attendee,
		"chime:AttendeeAuthorized":          attendee,
		"chime:AttendeeJoined":              connection,
		"chime:AttendeeLeft":                connection,
		"chime:AttendeeDropped":             connection,
		"chime:AttendeeVideoStarted":        attendee,
		"chime:AttendeeVideoStopped":        attendee,
		"chime:AttendeeContentJoined":       connection,
		"chime:AttendeeContentLeft":         connection,
		"chime:AttendeeContentDropped":      connection,
		"chime:AttendeeContentVideoStarted": attendee,
		"chime:AttendeeContentVideoStopped": attendee,
		"chime:AttendeeCapabilitiesUpdated": {"attendeeId", "externalUserId", "success",
			"attendeeCapabilities.audio", "attendeeCapabilities.video", "attendeeCapabilities.content"},
		"chime:TranscriptionStarted":     transcribing,
		"chime:TranscriptionStopped":     transcribing,
		"chime:TranscriptionResumed":     transcribing,
		"chime:TranscriptionInterrupted": broken,
		"chime:TranscriptionFailed":      broken,
	}
)

// shape lists the members of an object with the types of those that are not
// strings, in order.
func shape(t *testing.T, prefix string, raw []byte) (list []string) {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	for name, value := range object {
		switch value[0] {
		case '"':
			list = append(list, prefix+name)
		case '{':
			list = append(list, shape(t, prefix+name+".", value)...)
		case '[':
			list = append(list, prefix+name+" array")
		case 'n':
			list = append(list, prefix+name+" null")
		default:
			list = append(list, prefix+name+" number")
		}
	}
	slices.Sort(list)
	return list
}

// exact holds an envelope to the table.
func exact(t *testing.T, body []byte) {
	t.Helper()
	var e struct {
		Detail struct {
			EventType         meeting.EventType
			ExternalMeetingID *string
		}
		Resources []string
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	extra, known := membersOf[e.Detail.EventType]
	if !known {
		t.Fatalf("%s is no event type", e.Detail.EventType)
	}
	want := []string{"version", "id", "detail-type", "source", "account", "time", "region", "resources array"}
	for _, name := range append(slices.Clone(common), extra...) {
		if name == "externalMeetingId" && e.Detail.ExternalMeetingID == nil {
			name += " null"
		}
		want = append(want, "detail."+name)
	}
	slices.Sort(want)
	same(t, "members of "+string(e.Detail.EventType), shape(t, "", body), want)
}

func eventOf(e envelope) meeting.Event {
	at := time.UnixMilli(e.Detail.Timestamp)
	d := e.Detail
	out := meeting.Event{ID: e.ID, Type: d.EventType, At: at, Account: e.Account, Region: e.Region,
		MeetingID: d.MeetingID, MediaRegion: d.MediaRegion, AttendeeID: d.AttendeeID, ExternalUserID: d.ExternalUserID, NetworkType: d.NetworkType}
	if d.ExternalMeetingID != nil {
		out.ExternalMeetingID = *d.ExternalMeetingID
	}
	if c := d.Capabilities; c != nil {
		out.Capabilities = &meeting.Capabilities{Audio: c.Audio, Video: c.Video, Content: c.Content}
	}
	if d.TranscriptionRegion != "" {
		out.Transcription = &meeting.TranscriptionEvent{Region: d.TranscriptionRegion, Configuration: d.TranscriptionConfiguration, Message: d.Message}
	}
	return out
}

// TestDocumentedEvents holds the examples of docs/events.md to the table and to
// what Envelope writes, letter by letter.
func TestDocumentedEvents(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("docs/events.md has no examples")
	}
	var whole envelope
	seen := map[meeting.EventType]bool{}
	for i, block := range blocks {
		var e envelope
		into := any(&e)
		if i > 0 { // the first is a whole event, the others are details
			e, into = whole, &e.Detail
			e.Detail = detail{}
		}
		strict := json.NewDecoder(bytes.NewReader(block[1]))
		strict.DisallowUnknownFields()
		if err := strict.Decode(into); err != nil {
			t.Fatalf("%v: %s", err, block[1])
		}
		body, err := Envelope(eventOf(e))
		if err != nil {
			t.Fatal(err)
		}
		exact(t, body)
		if i == 0 {
			whole = e
		} else {
			if seen[e.Detail.EventType] {
				t.Errorf("%s is there twice", e.Detail.EventType)
			}
			seen[e.Detail.EventType] = true
			var parts struct{ Detail json.RawMessage }
			if err := json.Unmarshal(body, &parts); err != nil {
				t.Fatal(err)
			}
			body = parts.Detail
		}
		var want bytes.Buffer
		if err := json.Indent(&want, body, "", "  "); err != nil {
			t.Fatal(err)
		}
		same(t, "example of "+string(e.Detail.EventType), strings.TrimSpace(string(block[1])), want.String())
	}
	same(t, "types with an example", slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(membersOf)))
}

// TestEventsHaveTheirMembers takes a meeting through its life and looks at what
// the rules wrote.
func TestEventsHaveTheirMembers(t *testing.T) {
	for _, external := range []string{"external", ""} {
		ctx, store := t.Context(), memory.New()
		service := meeting.NewService(store, meeting.ServiceOptions{})
		m, err := service.CreateMeeting(ctx, "123456789012", meeting.NewMeeting{ControlRegion: "us-east-1", ClientRequestToken: "t",
			ExternalMeetingID: external, MediaRegion: "eu-central-1", HostID: "the-host", Notifications: meeting.Notifications{SQSQueueARN: queueA}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing to tell
			if _, err := service.CreateAttendee(ctx, m.Account, m.ID, meeting.NewAttendee{ExternalUserID: "user"}); err != nil {
				t.Fatal(err)
			}
		}
		list, _, err := service.ListAttendees(ctx, m.Account, m.ID, meeting.Page{})
		if err != nil || len(list) != 1 {
			t.Fatalf("%d attendees, %v", len(list), err)
		}
		a := list[0]
		if _, err := service.UpdateAttendeeCapabilities(ctx, m.Account, m.ID, a.ID, meeting.Capabilities{Audio: meeting.Send, Video: meeting.Receive, Content: meeting.NoMedia}); err != nil {
			t.Fatal(err)
		}
		presence := []meeting.EventType{meeting.EventAttendeeAuthorized, meeting.EventAttendeeJoined, meeting.EventAttendeeVideoStarted,
			meeting.EventAttendeeVideoStopped, meeting.EventAttendeeContentJoined, meeting.EventAttendeeContentVideoStarted,
			meeting.EventAttendeeContentVideoStopped, meeting.EventAttendeeContentLeft,
			meeting.EventAttendeeContentJoined, meeting.EventAttendeeContentDropped,
			meeting.EventAttendeeLeft, meeting.EventAttendeeJoined, meeting.EventAttendeeDropped}
		for _, typ := range presence {
			one := meeting.Sighting{Type: typ, At: time.Now(), MeetingID: m.ID, AttendeeID: a.ID}
			if typ.Content() {
				one.AttendeeID += meeting.ContentSuffix
			}
			if err := service.Sight(ctx, "", []meeting.Sighting{one}); err != nil {
				t.Fatal(err)
			}
		}
		if err := service.DeleteAttendee(ctx, m.Account, m.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_ = service.DeleteMeeting(ctx, m.Account, m.ID)
		}
		var got []meeting.EventType
		_ = store.View(ctx, func(r meeting.Reader) error {
			for _, e := range r.Events(m.ID, 0, 100) {
				got = append(got, e.Type)
				body, err := Envelope(e)
				if err != nil {
					t.Fatal(err)
				}
				exact(t, body)
				if content := strings.Contains(string(e.Type), "Content"); strings.HasSuffix(e.AttendeeID, "#content") != content {
					t.Errorf("%s is of %q", e.Type, e.AttendeeID)
				}
				if bytes.Contains(body, []byte("the-host")) {
					t.Errorf("the MeetingHostId is in %s", body)
				}
			}
			return nil
		})
		want := append([]meeting.EventType{meeting.EventMeetingStarted, meeting.EventAttendeeAdded, meeting.EventAttendeeCapabilitiesUpdated}, presence...)
		same(t, "events", got, append(want, meeting.EventAttendeeDeleted, meeting.EventMeetingEnded))
	}
}
