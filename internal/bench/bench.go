// Package bench puts a media server under load and tells what it spent. It plays
// whole meetings: people who join over the real signaling protocol and exchange
// real SRTP, by package client, and checks what arrives, by package check. What
// the server spent is asked of the operating system, since a busy machine changes
// wall time much and CPU time little. The same loads run against other servers,
// for comparison.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"belfry/internal/bench/check"
	"belfry/internal/bench/client"
	"belfry/internal/bench/process"
	"belfry/internal/media/rtp"
)

// Load is what the server is put under. Meetings are alike.
type Load struct {
	Name       string `json:"name"`
	Meetings   int    `json:"meetings"`
	Publishers int    `json:"publishers"` // of each meeting: people with a camera on
	Viewers    int    `json:"viewers"`    // people who only watch all the cameras
	Mutual     bool   `json:"mutual"`     // publishers watch one another too
	VideoRate  int    `json:"video_rate"` // bits a second of each camera
	Audio      bool   `json:"audio"`      // everybody has a microphone and hears
	Talking    int    `json:"talking"`    // how many of each meeting talk; one alone pauses now and then
	Turns      bool   `json:"turns"`      // all who talk pause, each at times of its own
	Beep       bool   `json:"beep"`       // the last who talks beeps, by which sound is timed
	Quiet      bool   `json:"quiet"`      // those who do not talk send no packets
	Watch      int    `json:"watch"`      // of the cameras each person watches so many at most; 0: all, -1: none
	AtOnce     bool   `json:"at_once"`    // all join at the same moment, else a few at a time
	// The first Lossy viewers of each meeting lose so large a share of what they are sent.
	Lossy int     `json:"lossy,omitempty"`
	Loss  float64 `json:"loss,omitempty"`

	Over time.Duration `json:"over,omitempty"` // people come evenly over so long

	Warm time.Duration `json:"warm"` // before the window
	Time time.Duration `json:"time"` // the window
}

func (l Load) people() int { return l.Publishers + l.Viewers }

// receives is how many cameras one person watches.
func (l Load) receives(n int) int {
	others := l.Publishers
	if n < l.Publishers {
		if !l.Mutual {
			return 0
		}
		others--
	}
	if l.Watch != 0 {
		return min(others, max(l.Watch, 0))
	}
	return others
}

func (l Load) lossy(n int) bool { return n >= l.Publishers && n < l.Publishers+l.Lossy }

// Row is the result of one run.
type Row struct {
	Server string `json:"server"`
	Load   Load   `json:"load"`
	People int    `json:"people"`

	CPU         float64 `json:"core"`          // share of a processor
	SystemShare float64 `json:"system_share"`  // of that, in the kernel
	PerPacket   float64 `json:"us_per_packet"` // µs of CPU for each packet that arrived, video and sound
	PerPerson   float64 `json:"percent_per_person"`
	RSS         float64 `json:"rss_mb"`
	PacketsOut  float64 `json:"packets_per_second"`

	// What the lossy ones got is not among the other figures.
	LossyVideo check.Counts `json:"lossy_video"`
	Dropped    uint64       `json:"dropped"` // by the lossy ones themselves

	Video    check.Counts `json:"video"`
	Audio    check.Counts `json:"audio"`
	VideoP50 float64      `json:"video_p50_ms"`
	VideoP99 float64      `json:"video_p99_ms"`
	AudioP50 float64      `json:"audio_p50_ms"`
	AudioP99 float64      `json:"audio_p99_ms"`
	// How far behind the earliest of its stream a packet of sound came.
	BehindP50 float64 `json:"audio_behind_p50_ms"`
	BehindP99 float64 `json:"audio_behind_p99_ms"`

	OwnCPU    float64     `json:"generator_core"` // what the load generator spent itself
	LagP99    float64     `json:"generator_lag_p99_ms"`
	Refused   uint64      `json:"not_decrypted"`
	JoinP50   float64     `json:"join_p50_ms"` // from opening signaling to connected media
	JoinP99   float64     `json:"join_p99_ms"`
	JoinCPU   float64     `json:"join_cpu_ms"`  // CPU for each join
	Signaling SignalBytes `json:"signal_bytes"` // sent to all people together

	Counters *Counters `json:"counters,omitempty"` // of the window, by our server's own metrics

	Failed string `json:"failed,omitempty"` // why there are no figures
}

// crowd is everybody in all meetings of a run.
type crowd struct {
	load     Load
	identity *client.Identity
	pace     *client.Pace
	windows  map[uint32]*check.Window // by sender

	mu      sync.Mutex
	members []*member
	joins   check.Histogram
	ears    []*ear
}

type member struct {
	Member
	publishes bool
	receives  int
	listens   bool // somebody else talks
	lossy     bool
	driven    int // how many of its Clients the pace has
}

// negotiate has a member agree on media, and drives the Clients that are new.
func (c *crowd) negotiate(ctx context.Context, m *member, w Wants) error {
	if err := m.Negotiate(ctx, w); err != nil {
		return err
	}
	for clients := m.Clients(); m.driven < len(clients); m.driven++ {
		c.pace.Add(clients[m.driven], c.load.Audio && m.driven == 0)
	}
	return nil
}

func (m *member) hears() bool {
	return slices.ContainsFunc(m.Clients(), (*client.Client).Hears)
}

func (m *member) sees() (n int) {
	for _, c := range m.Clients() {
		n += c.Sees()
	}
	return n
}

// Run puts a server under a load and measures it.
func Run(ctx context.Context, name string, s Server, l Load) (row Row, err error) {
	if l.Meetings < 1 || l.people() < 1 {
		return row, errors.New("a load needs a meeting and people")
	}
	identity, err := client.NewIdentity()
	if err != nil {
		return row, err
	}
	c := &crowd{load: l, identity: identity, pace: client.NewPace(), windows: map[uint32]*check.Window{}}
	defer c.leave()
	for i := range l.Meetings * l.Publishers {
		c.windows[uint32(i)] = check.NewWindow()
	}
	row = Row{Server: name, Load: l, People: l.Meetings * l.people()}
	before, err := usage(s)
	if err != nil {
		return row, err
	}
	stop := c.beat()
	defer stop()
	speeches, err := c.join(ctx, s)
	if err != nil {
		return row, err
	}
	joined, err := usage(s)
	if err != nil {
		return row, err
	}
	row.JoinCPU = float64(joined.CPU-before.CPU) / 1e6 / float64(row.People)
	row.JoinP50, row.JoinP99 = ms(&c.joins, 0.5), ms(&c.joins, 0.99)
	if err := c.settle(ctx); err != nil {
		return row, err
	}
	for _, sp := range speeches {
		if l.Talking > 1 && !l.Turns && !l.Beep {
			sp.Begin(client.Now())
		}
	}
	if err := sleep(ctx, l.Warm); err != nil {
		return row, err
	}
	return row, c.measure(ctx, s, &row)
}

var selfPID = os.Getpid()

func usage(s Server) (process.Usage, error) {
	if s.PID() == 0 {
		return process.Usage{}, nil
	}
	return process.ReadUsage(s.PID())
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(h *check.Histogram, q float64) float64 { return float64(h.Quantile(q)) / 1e6 }

// parallel is how many people join at a time, and crush at the same moment: more
// would wait for the load generator.
const (
	parallel = 8
	crush    = 256
)

// join brings everybody in: first those with cameras, then those who watch, since
// a viewer needs to know what there is.
func (c *crowd) join(ctx context.Context, s Server) ([]*check.Speech, error) {
	l := c.load
	rooms, speeches := make([]Room, l.Meetings), make([]*check.Speech, l.Meetings)
	err := each(l.Meetings, parallel, func(m int) (err error) {
		speeches[m] = &check.Speech{}
		rooms[m], err = s.Open(ctx, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	sounds, err := newSounds(l)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	here := make([][]*member, l.Meetings) // with cameras
	enter := func(turn, m, n int) error {
		if err := sleep(ctx, time.Until(begun.Add(l.Over*time.Duration(turn)/time.Duration(l.Meetings*l.people())))); err != nil {
			return err
		}
		begin := client.Now()
		cfg, err := c.person(m, n, speeches[m], sounds)
		if err != nil {
			return err
		}
		if at, ok := s.(interface{ LocalIP() string }); ok {
			cfg.IP = at.LocalIP()
		}
		w := Wants{Audio: l.Audio}
		if n < l.Publishers {
			w.SendKbps = l.VideoRate * 3 / 2 / 1000
		} else {
			w.Receive = l.receives(n)
		}
		in, err := rooms[m].Join(ctx, n, cfg)
		if err != nil {
			return fmt.Errorf("person %d of meeting %d: %w", n, m, err)
		}
		one := &member{Member: in, publishes: n < l.Publishers, receives: l.receives(n), listens: l.Talking > 1 || l.Talking == 1 && n > 0, lossy: l.lossy(n)}
		c.mu.Lock()
		c.members = append(c.members, one)
		c.mu.Unlock()
		if err := c.negotiate(ctx, one, w); err != nil {
			return fmt.Errorf("person %d of meeting %d: %w", n, m, err)
		}
		c.mu.Lock()
		c.joins.Add(client.Now() - begin)
		c.mu.Unlock()
		if n >= l.Publishers || !l.Mutual {
			return nil
		}
		// They watch one another from the moment on that the last of a meeting has come.
		c.mu.Lock()
		here[m] = append(here[m], one)
		all := here[m]
		c.mu.Unlock()
		for i := 0; i < len(all) && len(all) == l.Publishers && len(all) > 1; i++ {
			p := all[i]
			if err := c.negotiate(ctx, p, Wants{Audio: l.Audio, SendKbps: l.VideoRate * 3 / 2 / 1000, Receive: p.receives}); err != nil {
				return fmt.Errorf("meeting %d, cameras: %w", m, err)
			}
		}
		return nil
	}
	width := parallel
	if l.AtOnce {
		width = crush
	}
	first := l.Meetings * l.Publishers
	if err := each(first, width, func(i int) error { return enter(i, i/l.Publishers, i%l.Publishers) }); err != nil {
		return nil, err
	}
	return speeches, each(l.Meetings*l.Viewers, width, func(i int) error { return enter(first+i, i/l.Viewers, l.Publishers+i%l.Viewers) })
}

// sounds is what talkers say, in Opus packets.
type sounds struct {
	voices [][][]byte
	beep   [][]byte
}

func newSounds(l Load) (s sounds, err error) {
	s.voices = make([][][]byte, min(l.Talking, 8))
	for i := range s.voices {
		if s.voices[i], err = voice(i); err != nil {
			return s, err
		}
	}
	if l.Beep {
		s.beep, err = beep()
	}
	return s, err
}

// person is what person n of meeting m does.
func (c *crowd) person(m, n int, speech *check.Speech, s sounds) (client.Config, error) {
	l := c.load
	cfg := client.Config{IP: "127.0.0.1", Identity: c.identity, Pace: c.pace, Quiet: l.Quiet, Speech: speech,
		Windows: func(sender uint32) *check.Window { return c.windows[sender] }}
	if n < l.Publishers {
		cfg.VideoRate, cfg.Sender = l.VideoRate, uint32(m*l.Publishers+n)
		cfg.Window = c.windows[cfg.Sender]
	}
	if l.lossy(n) {
		cfg.Loss = l.Loss
	}
	if l.Turns { // there is always some silence
		cfg.Speech = nil
	}
	switch {
	case n < l.Talking && l.Beep && n == l.Talking-1:
		cfg.Voice, cfg.Talk, cfg.Pause = s.beep, time.Second, time.Second
	case n < l.Talking && l.Turns:
		cfg.Voice, cfg.Talk, cfg.Pause = s.voices[n%len(s.voices)], 3*time.Second, time.Second
		cfg.Offset = time.Duration(n) * 730 * time.Millisecond % (cfg.Talk + cfg.Pause)
	case n < l.Talking && l.Talking == 1:
		cfg.Voice, cfg.Talk, cfg.Pause = s.voices[0], 3*time.Second, time.Second
	case n < l.Talking:
		cfg.Voice = s.voices[n%len(s.voices)]
	case l.Beep && n < l.Talking+listening:
		e, err := newEar(speech)
		if err != nil {
			return cfg, err
		}
		cfg.Hear = func(p *rtp.Packet) { e.hear(p.Payload(), p.Arrival) }
		c.mu.Lock()
		c.ears = append(c.ears, e)
		c.mu.Unlock()
	}
	return cfg, nil
}

// each does something n times, so many at once, and returns the first error.
func each(n, width int, do func(i int) error) error {
	var wait sync.WaitGroup
	var once sync.Once
	var failed error
	turns := make(chan struct{}, width)
	for i := range n {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			if err := do(i); err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	wait.Wait()
	return failed
}

// settle waits until everybody gets what it should.
func (c *crowd) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i, m := range c.members {
		for (m.listens && !m.hears()) || m.sees() < m.receives {
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("client %d sees %d of %d cameras, hears: %v: %w", i, m.sees(), m.receives, m.hears(), err)
			}
		}
	}
	return nil
}

// beat has everybody say every ten seconds that it is alive, also those who wait
// for others to join, until the returned function is called.
func (c *crowd) beat() (stop func()) {
	const turns = 10 // a second each
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for turn := 0; ; turn = (turn + 1) % turns {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			c.mu.Lock()
			members := slices.Clone(c.members)
			c.mu.Unlock()
			for i := turn; i < len(members); i += turns {
				members[i].Beat()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func (c *crowd) cameras(begin bool) {
	for _, m := range c.members {
		if m.publishes {
			m.Clients()[0].CameraWindow(begin)
		}
	}
}

// measure opens the window, waits, closes it and adds up.
func (c *crowd) measure(ctx context.Context, s Server, row *Row) error {
	_ = c.pace.Lag()
	own0, err := process.ReadUsage(selfPID)
	if err != nil {
		own0 = process.Usage{}
	}
	counting, _ := s.(interface {
		Counters(context.Context) (Counters, error)
	})
	var counted Counters
	if counting != nil {
		if counted, err = counting.Counters(ctx); err != nil {
			return err
		}
	}
	was, err := usage(s)
	if err != nil {
		return err
	}
	user0, system0 := process.Ticks(s.PID())
	from := client.Now()
	for _, e := range c.ears {
		e.measure(from, from+int64(c.load.Time))
	}
	for _, m := range c.members {
		for _, one := range m.Clients() {
			one.Measure(from, from+int64(c.load.Time))
		}
	}
	c.cameras(true)
	if err := sleep(ctx, c.load.Time); err != nil {
		return err
	}
	c.cameras(false)
	until := client.Now()
	now, err := usage(s)
	if err != nil {
		return fmt.Errorf("the server is gone: %w", err)
	}
	own1, _ := process.ReadUsage(selfPID)
	user1, system1 := process.Ticks(s.PID())
	lag := c.pace.Lag()
	if counting != nil {
		after, err := counting.Counters(ctx)
		if err != nil {
			return err
		}
		after = after.since(counted)
		row.Counters = &after
	}
	if err := sleep(ctx, time.Second); err != nil { // what is on its way arrives
		return err
	}

	var video, audio, behind check.Histogram
	for _, m := range c.members {
		for _, one := range m.Clients() {
			r := one.Result()
			row.Dropped += r.Stats.Dropped
			if m.lossy {
				row.LossyVideo.Add(r.Video)
				continue
			}
			row.Video.Add(r.Video)
			row.Audio.Add(r.Audio)
			video.Merge(&r.VideoLatency)
			audio.Merge(&r.AudioLatency)
			behind.Merge(&r.AudioBehind)
			row.Refused += r.Stats.Refused
		}
		row.Signaling.Add(m.SignalBytes())
	}
	for _, e := range c.ears {
		e.result(&audio)
	}
	seconds := float64(until-from) / 1e9
	packets := float64(row.Video.Received + row.Audio.Received)
	cpu := (now.CPU - was.CPU).Seconds()
	row.CPU = cpu / seconds
	if t := float64(user1 - user0 + system1 - system0); t > 0 {
		row.SystemShare = float64(system1-system0) / t
	}
	if packets > 0 {
		row.PerPacket = cpu * 1e6 / packets
	}
	row.PerPerson = 100 * row.CPU / float64(row.People)
	row.RSS = float64(now.RSS) / 1e6
	row.PacketsOut = packets / seconds
	row.OwnCPU = (own1.CPU - own0.CPU).Seconds() / seconds
	row.LagP99 = ms(&lag, 0.99)
	row.VideoP50, row.VideoP99 = ms(&video, 0.5), ms(&video, 0.99)
	row.AudioP50, row.AudioP99 = ms(&audio, 0.5), ms(&audio, 0.99)
	row.BehindP50, row.BehindP99 = ms(&behind, 0.5), ms(&behind, 0.99)
	return nil
}

// leave ends everybody.
func (c *crowd) leave() {
	c.pace.Stop()
	for _, m := range c.members {
		m.Leave()
	}
	for _, e := range c.ears {
		e.close()
	}
}
