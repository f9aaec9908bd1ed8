package janus

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// fake speaks the API as Janus 1.1.2 does: it acknowledges what it answers later,
// tells of other things in between, and names errors of its core and of plugins.
func fake(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := r.Context()
	say := func(format string, args ...any) {
		_ = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	handles := 10
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var m struct {
			Janus, Transaction, Plugin string
			Session                    int `json:"session_id"`
			Handle                     int `json:"handle_id"`
			Body                       struct {
				Request, Display string
				Publishers       int
				Streams          []struct{ Feed int }
			}
			JSEP *jsep
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return
		}
		event := func(data, sdp string) {
			say(`{"janus":"ack","session_id":1,"transaction":%q}`, m.Transaction)
			say(`{"janus":"media","session_id":1,"sender":%d,"type":"video","receiving":true}`, m.Handle)
			say(`{"janus":"event","session_id":1,"transaction":%q,"sender":%d,"plugindata":{"plugin":"p","data":%s}%s}`, m.Transaction, m.Handle, data, sdp)
		}
		switch m.Janus + " " + m.Body.Request {
		case "create ":
			say(`{"janus":"success","transaction":%q,"data":{"id":1}}`, m.Transaction)
		case "attach ":
			handles++
			say(`{"janus":"success","session_id":1,"transaction":%q,"data":{"id":%d}}`, m.Transaction, handles)
		case "message create":
			if m.Body.Publishers == 99 {
				return // it crashes
			}
			say(`{"janus":"success","session_id":1,"transaction":%q,"sender":%d,"plugindata":{"data":{"videoroom":"created","room":77}}}`, m.Transaction, m.Handle)
		case "message listparticipants":
			say(`{"janus":"success","session_id":1,"transaction":%q,"plugindata":{"data":{"participants":[{"id":5,"display":"a","publisher":true},{"id":6,"display":"b","publisher":false}]}}}`, m.Transaction)
		case "message joinandconfigure":
			if m.Body.Display == "too many" {
				event(`{"videoroom":"event","error_code":432,"error":"Maximum number of publishers (1) already reached"}`, "")
				break
			}
			event(`{"videoroom":"joined"}`, fmt.Sprintf(`,"jsep":{"type":"answer","sdp":"answer to %s"}`, m.JSEP.SDP))
		case "message join":
			if len(m.Body.Streams) == 0 { // the audio bridge
				event(`{"audiobridge":"joined"}`, "")
				break
			}
			event(`{"videoroom":"attached"}`, fmt.Sprintf(`,"jsep":{"type":"offer","sdp":"offer of %d"}`, m.Body.Streams[0].Feed))
		case "message configure":
			event(`{"audiobridge":"event","result":"ok"}`, "") // without an answer
		case "detach ":
			say(`{"janus":"success","session_id":1,"transaction":%q}`, m.Transaction)
		case "message start":
			say(`{"janus":"error","session_id":1,"transaction":%q,"error":{"code":456,"reason":"Missing mandatory element"}}`, m.Transaction)
		}
	}
}

func TestRequests(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(fake))
	defer h.Close()
	ctx := kit.Within(t)
	s := &Server{}
	var err error
	if s.session, err = open(ctx, strings.Replace(h.URL, "http", "ws", 1)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.video, err = s.attach(ctx, videoRoom); err != nil {
		t.Fatal(err)
	}
	s.audio = s.video
	if room, err := s.VideoRoom(ctx, 3); room != 77 || err != nil {
		t.Errorf("room %d, %v", room, err)
	}
	if feeds, err := s.Feeds(ctx, 77); err != nil || !cmp.Equal(feeds, []Feed{{ID: 5, Name: "a"}}) {
		t.Errorf("feeds %+v, %v", feeds, err)
	}
	p, answer, err := s.Publish(ctx, 77, "a", "mine")
	if err != nil || answer != "answer to mine" || p.Bytes() == 0 {
		t.Errorf("publish: %q, %v", answer, err)
	}
	if _, _, err := s.Publish(ctx, 77, "too many", "mine"); err == nil || !strings.Contains(err.Error(), "(432): Maximum") {
		t.Errorf("one too many: %v", err)
	}
	w, offer, err := s.Subscribe(ctx, 77, []Feed{{ID: 5}})
	if err != nil || offer != "offer of 5" {
		t.Fatalf("subscribe: %q, %v", offer, err)
	}
	if err := w.Answer(ctx, 77, "yes"); err == nil || !strings.Contains(err.Error(), "(456): Missing") {
		t.Errorf("answer: %v", err)
	}
	if _, _, err := s.Speak(ctx, 77, "a", "mine"); err == nil || !strings.Contains(err.Error(), errNoSDP.Error()) {
		t.Errorf("speak: %v", err)
	}
	if err := p.Detach(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.VideoRoom(ctx, 99); err == nil || !strings.Contains(err.Error(), "WebSocket ended") {
		t.Errorf("of a session that ended: %v", err)
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	for want, cfg := range map[string]Config{
		"find Janus":     {Program: "/no/such/janus", IP: "198.18.0.1"},
		"cannot use the": {Program: "true", IP: "127.0.0.1"},
		"ended before":   {Program: "true", IP: "198.18.0.1", CPU: -1},
	} {
		if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
