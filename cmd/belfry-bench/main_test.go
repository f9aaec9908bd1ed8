package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"belfry/internal/app"
	"belfry/internal/bench"
	"belfry/internal/config"
	"belfry/internal/observe"
	"belfry/test/kit"
)

// server starts a whole server in this process.
func server(t *testing.T) bench.Endpoint {
	t.Helper()
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.TURN = "127.0.0.1:0", t.TempDir(), "never"
	cfg.AccessKeyID, cfg.SecretAccessKey = "AKIDBENCH", "bench/secret"
	cfg.RequestRate, cfg.ActiveMeetings = 0, 0
	s, err := app.Start(t.Context(), cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(kit.Within(t)); err != nil {
			t.Error(err)
		}
	})
	return bench.Endpoint{URL: s.URL(), KeyID: "AKIDBENCH", Secret: "bench/secret", Process: os.Getpid()}
}

// It serves each kind of load for a moment. How fast is not looked at.
func TestLoads(t *testing.T) {
	s := server(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.Secret)
	for _, c := range []struct {
		args         string
		people       int
		video, audio bool
	}{
		{"video -subscribers 2", 3, true, false},
		{"video -publishers 2 -subscribers 0 -mutual -bitrate 300k", 2, true, false},
		{"audio -people 2", 2, false, true},
		{"pairs -meetings 1", 2, true, true},
		{"join-storm -people 2 -meetings 2", 4, false, true},
	} {
		t.Run(c.args, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "figures.json")
			var out, errs bytes.Buffer
			args := append(strings.Fields(c.args), "-endpoint", s.URL, "-access-key-id", s.KeyID,
				"-pid", strconv.Itoa(s.Process), "-time", "1s", "-warm", "0s", "-json", file)
			var r bench.Row
			kit.Eventually(t, "something of each kind", func() bool { // a machine that stands still for this second receives nothing
				if code := run(t.Context(), args, &out, &errs); code != 0 {
					t.Fatalf("exit %d: %s", code, &errs)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var rows []bench.Row
				if err := json.Unmarshal(text, &rows); err != nil || len(rows) == 0 {
					t.Fatalf("%v in %s", err, text)
				}
				r = rows[len(rows)-1]
				return (r.Video.Received > 0 || !c.video) && (r.Audio.Received > 0 || !c.audio)
			})
			if r.People != c.people || r.Video.Received > 0 != c.video || r.Audio.Received > 0 != c.audio {
				t.Errorf("%d people, video %+v, audio %+v", r.People, r.Video, r.Audio)
			}
			if n := r.Video.Corrupt + r.Video.Duplicates + r.Audio.Duplicates + r.Refused; n > 0 {
				t.Errorf("faults: video %+v, audio %+v, %d not decrypted", r.Video, r.Audio, r.Refused)
			}
			if !strings.Contains(out.String(), r.Load.Name) {
				t.Errorf("the table has no %q:\n%s", r.Load.Name, &out)
			}
		})
	}
}

func TestWordsThatAreNotUnderstood(t *testing.T) {
	for _, args := range []string{"", "nonsense", "video -subscribers", "video -bitrate fast", "video -bitrate 3", "video -publishers 0 -subscribers 0",
		"audio -talking -1", "video -pin 0", "video more",
		"compare -runs 0", "compare -servers other", "compare -pin 1", "compare more", "curves -time 0s", "curves -runs 3"} {
		var errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), io.Discard, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, &errs)
		}
	}
}
