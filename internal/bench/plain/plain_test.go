package plain_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"belfry/internal/bench"
	"belfry/internal/bench/plain"
)

// Everybody sees everybody else, undamaged. How fast is not looked at.
func TestForwards(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := plain.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := httptest.NewServer(s)
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var row bench.Row
	for row.Video.Received == 0 { // a machine that stands still for this second receives nothing
		if row, err = bench.Run(ctx, "plain", bench.UsePlain(h.URL, 0), bench.Load{Meetings: 1, Publishers: 2, Viewers: 1, Mutual: true, VideoRate: 300_000, Time: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if row.Video.Corrupt+row.Video.Duplicates+row.Refused > 0 {
		t.Errorf("video %+v, %d not decrypted", row.Video, row.Refused)
	}
}

func TestRefusesWhatIsNoOffer(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := plain.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/?room=a&person=b", strings.NewReader("hello")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("got %d", w.Code)
	}
}
