package api

import (
	"net/http"
	"strings"

	"belfry/internal/meeting"
)

// Endpoints is where clients reach the server, as MediaPlacement tells them.
type Endpoints struct {
	HTTP      string // base URL without a trailing slash, such as https://meet.example.org
	WS        string // the same for sockets, such as wss://meet.example.org
	AudioHost string // host:port of the media; clients show it, and find the real address in the answer to their offer
}

// FixedEndpoints answers the same to everyone.
func FixedEndpoints(e Endpoints) func(*http.Request) Endpoints {
	e.HTTP, e.WS = strings.TrimSuffix(e.HTTP, "/"), strings.TrimSuffix(e.WS, "/")
	return func(*http.Request) Endpoints { return e }
}

// HostEndpoints answers with the host and port that the request was sent to,
// for a server that is reached directly. audioHost is as in Endpoints.
func HostEndpoints(audioHost string) func(*http.Request) Endpoints {
	return func(r *http.Request) Endpoints {
		if r.TLS != nil {
			return Endpoints{HTTP: "https://" + r.Host, WS: "wss://" + r.Host, AudioHost: audioHost}
		}
		return Endpoints{HTTP: "http://" + r.Host, WS: "ws://" + r.Host, AudioHost: audioHost}
	}
}

// placementBody is the API's MediaPlacement. Of these the browser client reads
// AudioHostUrl, SignalingUrl, TurnControlUrl and EventIngestionUrl; the others
// are for launch clients, which expect them to be there.
type placementBody struct {
	AudioHostUrl      string
	AudioFallbackUrl  string
	SignalingUrl      string
	TurnControlUrl    string
	ScreenDataUrl     string
	ScreenViewingUrl  string
	ScreenSharingUrl  string
	EventIngestionUrl string
}

// placementOf is where the meeting is reached. SignalingUrl has no query: the
// client appends its own with a question mark.
func placementOf(m *meeting.Meeting, e Endpoints) placementBody {
	screen := e.WS + "/v2/screen/" + m.ID
	return placementBody{
		AudioHostUrl:      e.AudioHost,
		AudioFallbackUrl:  e.WS + "/calls/" + m.ID,
		SignalingUrl:      e.WS + "/control/" + m.ID,
		TurnControlUrl:    e.HTTP + "/v2/turn_sessions",
		ScreenDataUrl:     screen,
		ScreenViewingUrl:  e.WS + "/ws/connect?passcode=null&viewer_uuid=null&X-BitHub-Call-Id=" + m.ID,
		ScreenSharingUrl:  screen,
		EventIngestionUrl: e.HTTP + "/v1/client-events",
	}
}
