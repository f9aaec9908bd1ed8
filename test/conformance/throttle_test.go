package conformance

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"belfry/internal/api"
	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// fortyCalls are made by a client as it comes, which tries again what is throttled.
const fortyCalls = `
import boto3, sys, uuid
c = boto3.client(sys.argv[1], endpoint_url=sys.argv[2], region_name="us-east-1", aws_access_key_id=sys.argv[3], aws_secret_access_key=sys.argv[4])
m = c.create_meeting(ClientRequestToken="room-1", ExternalMeetingId="room-1", MediaRegion="us-east-1")["Meeting"]["MeetingId"]
for _ in range(40):
    assert c.get_meeting(MeetingId=m)["Meeting"]["MeetingId"] == m
`

// Python's client gets through more than a burst, in both APIs, at AWS's quotas.
// The server's clock moves on only when it has told a client to wait.
func TestThrottledCallsAreTriedAgain(t *testing.T) {
	for service, path := range map[string]string{olderAPI: "/chime", newerAPI: ""} {
		t.Run(service, func(t *testing.T) {
			store := memory.New()
			defer store.Close()
			var moved, told atomic.Int64
			begun := time.Now()
			meetings := meeting.NewService(store, meeting.ServiceOptions{Quotas: meeting.DefaultQuotas})
			front, err := api.New(api.Options{Meetings: meetings, Keys: ring(t, store), Quotas: meetings.Quotas, Endpoints: api.HostEndpoints("127.0.0.1:1"),
				Now: func() time.Time { return begun.Add(time.Duration(moved.Load())) }})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				front.ServeHTTP(&watched{w, func(status int) {
					if status == http.StatusTooManyRequests {
						told.Add(1)
						moved.Add(int64(time.Second))
					}
				}}, r)
			}))
			defer server.Close()
			out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", fortyCalls, service, server.URL+path, keyID, secret).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, strings.TrimSpace(string(out)))
			}
			if told.Load() == 0 {
				t.Error("nothing was throttled: the test proves nothing")
			}
		})
	}
}

// watched tells of the status of an answer.
type watched struct {
	http.ResponseWriter
	told func(status int)
}

func (w *watched) WriteHeader(status int) {
	w.told(status)
	w.ResponseWriter.WriteHeader(status)
}
