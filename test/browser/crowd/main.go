// Command crowd is the many in a meeting that a browser is one of: people with
// signaling and media of their own, without a browser each. The browser tests start
// it and speak with it by lines of JSON:
//
//	→ {"seed": 1, "people": [{"url": …, "token": …, "id": …}], "cameras": 3, "tones": [440, 1000]}
//	← {"here": 249}            everybody has joined
//	→ {"steps": 120}           so many times somebody comes, goes, vanishes or mutes
//	← {"present": {id: muted}, "cameras": [id], "talking": {id: 440}}   who is there now
//
// It stays until its input ends.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/bench/client"
	"belfry/internal/media/opus"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

func run() error {
	identity, err := client.NewIdentity()
	if err != nil {
		return err
	}
	c := &crowd{identity: identity, pace: client.NewPace()}
	defer c.end()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)

	if !in.Scan() {
		return fmt.Errorf("read who is to come: %w", cmp.Or(in.Err(), context.Canceled))
	}
	if err := json.Unmarshal(in.Bytes(), &c.script); err != nil {
		return fmt.Errorf("read who is to come: %w", err)
	}
	if err := c.gather(); err != nil {
		return err
	}
	stop := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { c.ping(stop) })
	defer pings.Wait()
	defer close(stop)
	if err := out.Encode(map[string]int{"here": len(c.people)}); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(c.script.Seed, 0))
	for in.Scan() {
		var ask struct {
			Steps int `json:"steps"`
		}
		if err := json.Unmarshal(in.Bytes(), &ask); err != nil {
			return fmt.Errorf("read what to do: %w", err)
		}
		for range ask.Steps {
			if err := c.step(random); err != nil {
				return err
			}
		}
		if err := out.Encode(c.truth()); err != nil {
			return err
		}
	}
	return in.Err()
}

// crowd is everybody who may be in the meeting. The first ones have the cameras, the
// last ones talk without end: each says one of the tones.
type crowd struct {
	identity *client.Identity
	pace     *client.Pace
	people   []*person
	script   struct {
		Seed    uint64 `json:"seed"`
		People  []pass `json:"people"`
		Cameras int    `json:"cameras"`
		Tones   []int  `json:"tones"` // in Hz
	}
}

// pass is what somebody joins with.
type pass struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	ID    string `json:"id"`
}

type person struct {
	pass
	films bool
	tone  int // 0: it does not talk
	voice [][]byte
	muted bool
	line  atomic.Pointer[signaltest.Client] // nil when away
	media *client.Client
}

// gather has everybody come, some at a time.
func (c *crowd) gather() error {
	n := len(c.script.People)
	for i, at := range c.script.People {
		p := &person{pass: at, films: i < c.script.Cameras}
		if k := i - n + len(c.script.Tones); k >= 0 {
			p.tone = c.script.Tones[k]
			var err error
			if p.voice, err = tone(p.tone); err != nil {
				return err
			}
		}
		c.people = append(c.people, p)
	}
	next := make(chan *person)
	errs := make(chan error, n)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for p := range next {
				if err := c.enter(p); err != nil {
					errs <- err
				}
			}
		})
	}
	for _, p := range c.people {
		next <- p
	}
	close(next)
	workers.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (c *crowd) enter(p *person) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	line, err := signaltest.Dial(ctx, p.URL, p.Token, signaltest.Options{})
	if err != nil {
		return fmt.Errorf("%s: %w", p.ID, err)
	}
	if _, _, err := line.Join(ctx, rand.Uint64()>>11|1); err != nil {
		return fmt.Errorf("%s: join: %w", p.ID, err)
	}
	cfg := client.Config{IP: "127.0.0.1", Identity: c.identity, Quiet: true, Voice: p.voice}
	sections := []client.Section{{Kind: "audio", MID: "0", Direction: "sendrecv"}}
	sub := &signalpb.SdkSubscribeFrame{Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), AudioMuted: proto.Bool(p.muted)}
	if p.films {
		cfg.VideoRate, cfg.Frames = 50_000, 5
		sections = append(sections, client.Section{Kind: "video", MID: "1", Direction: "sendonly"})
		sub.SendStreams = []*signalpb.SdkStreamDescriptor{{MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(),
			TrackLabel: proto.String("camera"), MaxBitrateKbps: proto.Uint32(100), Framerate: proto.Uint32(5)}}
	}
	media, err := client.New(cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", p.ID, err)
	}
	sub.SdpOffer = proto.String(media.Offer(sections))
	ack, err := line.Subscribe(ctx, sub)
	if err == nil {
		err = media.Connect(ctx, ack.GetSuback().GetSdpAnswer())
	}
	if err != nil {
		media.Close()
		return fmt.Errorf("%s: subscribe: %w", p.ID, err)
	}
	c.pace.Add(media, true)
	p.media = media
	p.line.Store(line)
	return nil
}

// ping keeps those who are there alive.
func (c *crowd) ping(stop <-chan struct{}) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for id := uint32(1); ; id++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for _, p := range c.people {
			if line := p.line.Load(); line != nil {
				_ = line.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
					PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: proto.Uint32(id)}})
				line.TakeAll()
			}
		}
	}
}

// step has somebody do something.
func (c *crowd) step(random *rand.Rand) error {
	p := c.people[random.IntN(len(c.people))]
	line := p.line.Load()
	if line == nil {
		return c.enter(p)
	}
	switch what := random.IntN(10); {
	case what < 5:
		p.muted = !p.muted
		return line.Mute(p.muted)
	case what < 8: // it leaves
		p.line.Store(nil)
		if err := line.Send(&signaltest.Frame{Type: signalpb.SdkSignalFrame_LEAVE.Enum(), Leave: &signalpb.SdkLeaveFrame{}}); err != nil {
			return fmt.Errorf("%s: leave: %w", p.ID, err)
		}
		line.Close()
		p.media.Close()
	default: // it vanishes
		p.line.Store(nil)
		line.Cut()
		p.media.Close()
	}
	return nil
}

// truth is what everybody in the meeting should be told in the end.
func (c *crowd) truth() any {
	var t struct {
		Present map[string]bool `json:"present"`
		Cameras []string        `json:"cameras"`
		Talking map[string]int  `json:"talking"`
	}
	t.Present, t.Talking = map[string]bool{}, map[string]int{}
	for _, p := range c.people {
		if p.line.Load() == nil {
			continue
		}
		t.Present[p.ID] = p.muted
		if p.films {
			t.Cameras = append(t.Cameras, p.ID)
		}
		if p.tone > 0 && !p.muted {
			t.Talking[p.ID] = p.tone
		}
	}
	slices.Sort(t.Cameras)
	return t
}

// tone is a second of a sine, which can be said over and over.
func tone(hz int) ([][]byte, error) {
	enc, err := opus.Native().NewEncoder(opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: 32_000, Complexity: 5})
	if err != nil {
		return nil, fmt.Errorf("prepare a tone: %w", err)
	}
	defer enc.Close()
	pcm, out := make([]int16, opus.FrameSamples), make([]byte, opus.MaxPacket)
	var packets [][]byte
	for at := 0; at < opus.SampleRate; {
		for i := range pcm {
			pcm[i] = int16(5000 * math.Sin(2*math.Pi*float64(hz)*float64(at)/opus.SampleRate))
			at++
		}
		n, err := enc.Encode(out, pcm)
		if err != nil {
			return nil, fmt.Errorf("prepare a tone: %w", err)
		}
		packets = append(packets, append([]byte(nil), out[:n]...))
	}
	return packets, nil
}

func (c *crowd) end() {
	c.pace.Stop()
	for _, p := range c.people {
		if line := p.line.Load(); line != nil {
			line.Cut()
			p.media.Close()
		}
	}
}
