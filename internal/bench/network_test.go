package bench_test

import (
	"bufio"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"belfry/internal/app"
	"belfry/internal/bench"
	"belfry/internal/bench/check"
	"belfry/internal/bench/client"
	"belfry/internal/bench/link"
	"belfry/internal/config"
	"belfry/internal/observe"
	"belfry/test/kit"
)

// repaired is how many lost packets of sound came because a server asked for them.
func repaired(t *testing.T, url string) (n float64) {
	t.Helper()
	answer, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "belfry_media_audio_repaired_total "); ok {
			n, _ = strconv.ParseFloat(value, 64)
		}
	}
	return n
}

// Two people, each behind a link that loses 5 % both ways: what is lost of the picture is
// sent again, on the way to the server and from it. Then a NAT forgets, and a link is cut
// for a while: each time sound and picture come back by themselves.
func TestMeetingOnABadNetwork(t *testing.T) {
	ctx := kit.Within(t)
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.DataDir, cfg.TURN = "127.0.0.1:0", t.TempDir(), "never"
	cfg.AccessKeyID, cfg.SecretAccessKey = "AKIDBENCH", "bench/secret"
	s, err := app.Start(ctx, cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Shutdown(kit.Within(t)); err != nil {
			t.Error(err)
		}
	}()
	room, err := bench.UseBelfry(bench.Endpoint{URL: s.URL(), KeyID: "AKIDBENCH", Secret: "bench/secret"}).
		Open(ctx, bench.Load{Publishers: 1, Viewers: 1, Meetings: 1, VideoRate: 500_000, Audio: true})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := client.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	voice, err := bench.Code()
	if err != nil {
		t.Fatal(err)
	}
	window := check.NewWindow()
	lossy := link.Same(link.Conditions{Loss: 0.05})
	pace := client.NewPace()
	defer pace.Stop()
	var links [2]*link.Relay
	var people [2]*client.Client
	for i := range people {
		config := client.Config{IP: "127.0.0.1", Identity: identity, Windows: func(uint32) *check.Window { return window },
			Via: func(server netip.AddrPort) (netip.AddrPort, error) {
				relay, err := link.NewRelay(uint64(i), lossy, server)
				if err != nil {
					return server, err
				}
				links[i] = relay
				return relay.Addr(), nil
			}}
		wants := bench.Wants{Audio: true, Receive: 1}
		if i == 0 {
			config.VideoRate, config.Window, config.Voice, config.Mends = 500_000, window, voice, true
			wants = bench.Wants{Audio: true, SendKbps: 800}
		}
		member, err := room.Join(ctx, i, config)
		if err != nil {
			t.Fatal(err)
		}
		defer member.Leave()
		people[i] = member.Clients()[0]
		err = member.Negotiate(ctx, wants)
		if links[i] != nil {
			defer links[i].Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		pace.Add(people[i], true)
	}
	talker, listener := people[0], people[1]
	kit.Eventually(t, "sound and a picture", func() bool { return listener.Hears() && listener.Sees() == 1 })
	talker.CameraWindow(true)
	kit.Eventually(t, "packets that were sent again, from the talker and to the listener", func() bool {
		return talker.Result().Stats.Resent >= 10 && listener.Result().Video.Repaired >= 10
	})
	talker.CameraWindow(false)
	kit.Eventually(t, "sound that the talker was asked for again", func() bool { return talker.Result().Stats.Mended > 0 })
	kit.Eventually(t, "such sound at the server", func() bool { return repaired(t, s.URL()) > 0 })
	looked := time.Now()
	kit.Eventually(t, "nearly all packets of the picture", func() bool {
		v := listener.Result().Video
		if v.Expected > 100 && v.Lost()*50 <= v.Expected { // of some 10 % that the links lost
			return true
		}
		if time.Since(looked) > 5*time.Second { // a machine that stood still lost more: look at more
			talker.CameraWindow(true)
			kit.Eventually(t, "more of the picture", func() bool { return listener.Result().Video.Expected > v.Expected+100 })
			talker.CameraWindow(false)
			looked = time.Now()
		}
		return false
	})
	if up, down := links[0].Counts(link.Up), links[1].Counts(link.Down); up.Lost == 0 || down.Lost == 0 {
		t.Errorf("the links lost nothing: %+v, %+v", up, down)
	}
	again := func(after string) {
		t.Helper()
		before := listener.Result().Stats
		kit.Eventually(t, "sound and pictures after "+after, func() bool {
			now := listener.Result().Stats
			return now.AudioPackets > before.AudioPackets+50 && now.VideoPackets > before.VideoPackets+50
		})
	}
	if err := links[1].Move(); err != nil {
		t.Fatal(err)
	}
	again("another address of the listener")
	if err := links[0].Move(); err != nil {
		t.Fatal(err)
	}
	again("another address of the talker")
	links[1].Set(link.Same(link.Conditions{Cut: true}))
	cut := links[1].Counts(link.Down).Cut
	kit.Eventually(t, "packets that the cut took", func() bool { return links[1].Counts(link.Down).Cut > cut+100 })
	links[1].Set(lossy)
	again("a cut")
}
