package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"

	"belfry/internal/bench/check"
	"belfry/internal/bench/client"
	"belfry/internal/bench/process"
)

// Overload is more people than a server can bear, who come into meetings one after
// the other. Who is refused tries again as the browser client does. Later some
// meetings end, and it is seen what comes back.
type Overload struct {
	Load  Load          `json:"load"`  // Meetings is how many there are to come into
	Every time.Duration `json:"every"` // another one comes
	Offer time.Duration `json:"offer"` // for so long they come,
	Stay  time.Duration `json:"stay"`  // then nobody new does,
	Rest  time.Duration `json:"rest"`  // and then Leave of the meetings are over
	Leave float64       `json:"leave"`
	Step  time.Duration `json:"step"` // between two looks
}

// Overloads is the one that is measured: meetings of four of whom three talk and two
// have cameras. Each who talks hears a mix of its own, so that such people cost the
// server several times what they cost the load generator. A small one is for trying.
func Overloads(small bool) Overload {
	l := Load{Name: "overload", Meetings: 150, Publishers: 2, Viewers: 2, Mutual: true, VideoRate: 500_000, Audio: true, Talking: 3}
	o := Overload{Load: l, Every: 200 * time.Millisecond, Offer: 90 * time.Second, Stay: 20 * time.Second, Rest: 70 * time.Second, Leave: 0.5, Step: 5 * time.Second}
	if small {
		o.Load.Meetings = 2
		o.Every, o.Offer, o.Stay, o.Rest, o.Step = 50*time.Millisecond, 2*time.Second, time.Second, time.Second, time.Second
	}
	return o
}

// Moment is what was seen in one step of an Overload.
type Moment struct {
	At       float64 `json:"at"`    // its end, in seconds
	Asked    int     `json:"asked"` // people who came so far
	Inside   int     `json:"inside"`
	Waiting  int     `json:"waiting"` // who were refused and try again
	GaveUp   int     `json:"gave_up"` // so far
	Cut      int     `json:"cut"`     // so far: inside, and thrown out
	Refused  int     `json:"refused"` // attempts in this step that were answered with 503
	Failed   int     `json:"failed"`  // and that failed in another way
	Meetings string  `json:"meeting"` // what a new meeting was answered

	Level    int     `json:"level"`    // of what the server leaves out
	Fullness float64 `json:"fullness"` // as it says itself
	CPU      float64 `json:"core"`
	OwnCPU   float64 `json:"generator_core"`
	LagP99   float64 `json:"generator_lag_p99_ms"`

	// Of those who were inside all the time:
	Watching int     `json:"watching"` // people who watch cameras
	Seeing   int     `json:"seeing"`   // of them, those who were sent any video
	Kbps     float64 `json:"kbps"`     // of video to each of them
	Missing  float64 `json:"missing"`  // per cent of the sound that never came
	Late     float64 `json:"late"`     // per cent of it that came more than 60 ms late
}

// Overloaded is an Overload that was run.
type Overloaded struct {
	Overload
	Machine Machine   `json:"machine"`
	Begun   time.Time `json:"begun"`
	Moments []Moment  `json:"moments"`
	// Errors are those of attempts that failed otherwise than by a refusal, a few.
	Errors []string `json:"errors,omitempty"`
}

// What the browser client does about a connection that it does not get.
const (
	attemptLimit = 15 * time.Second // one attempt
	retryLimit   = 2 * time.Minute  // all of them
	retryFirst   = time.Second      // it waits a random time up to this, doubled each time,
	retryMost    = 5 * time.Second  // up to this
)

// guest is one who is inside.
type guest struct {
	*member
	meeting int
	since   time.Time
	cut     bool

	sound check.Counts
	stats client.Stats
}

// siege is a run of an Overload.
type siege struct {
	Overload
	server Server
	crowd  *crowd
	rooms  []Room
	sounds sounds
	wait   time.Duration // the first before another attempt is up to this

	mu      sync.Mutex
	guests  []*guest
	moment  Moment // the sums
	closed  []bool // meetings that are over
	errors  []string
	waiting int
}

// Run besieges a server, which should leave out what it cannot do.
func (o Overload) Run(ctx context.Context, s Server, say func(string, ...any)) (*Overloaded, error) {
	identity, err := client.NewIdentity()
	if err != nil {
		return nil, err
	}
	out := &Overloaded{Overload: o, Machine: ThisMachine(), Begun: time.Now().UTC()}
	r := &siege{Overload: o, server: s, wait: retryFirst, rooms: make([]Room, o.Load.Meetings), closed: make([]bool, o.Load.Meetings),
		crowd: &crowd{load: o.Load, identity: identity, pace: client.NewPace(), windows: map[uint32]*check.Window{}}}
	for i := range o.Load.Meetings * o.Load.Publishers {
		r.crowd.windows[uint32(i)] = check.NewWindow()
	}
	defer r.crowd.leave()
	if r.sounds, err = newSounds(o.Load); err != nil {
		return nil, err
	}
	if err := each(o.Load.Meetings, parallel, func(m int) (err error) { r.rooms[m], err = s.Open(ctx, o.Load); return err }); err != nil {
		return nil, err
	}
	stop := r.crowd.beat()
	defer stop()

	begun := time.Now()
	coming, quit := context.WithCancel(ctx)
	var people sync.WaitGroup
	defer people.Wait()
	defer quit()
	people.Go(func() { r.offer(coming, begun, &people) })
	total := o.Offer + o.Stay + o.Rest
	left := false
	look, err := r.look(ctx)
	if err != nil {
		return out, err
	}
	for time.Since(begun) < total {
		if err := sleep(ctx, o.Step); err != nil {
			return out, fmt.Errorf("ended: %w", context.Cause(ctx))
		}
		m, err := look(time.Since(begun))
		if err != nil {
			return out, err
		}
		out.Moments = append(out.Moments, m)
		say("%s", m)
		if !left && time.Since(begun) >= o.Offer+o.Stay {
			left = true
			say("%d meetings end", r.end())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Errors = r.errors
	return out, nil
}

// offer has people come, a meeting after the other: first those with cameras.
func (r *siege) offer(ctx context.Context, begun time.Time, people *sync.WaitGroup) {
	l := r.Load
	for i := 0; i < l.Meetings*l.people() && time.Since(begun) < r.Offer; i++ {
		people.Go(func() { r.come(ctx, i/l.people(), i%l.people()) })
		if sleep(ctx, time.Until(begun.Add(time.Duration(i+1)*r.Every))) != nil {
			return
		}
	}
}

// come is one person: it tries to get in as the browser client does, and then stays.
func (r *siege) come(ctx context.Context, m, n int) {
	count := func(what *int, by int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		*what += by
	}
	count(&r.moment.Asked, 1)
	count(&r.waiting, 1)
	defer count(&r.waiting, -1)
	first := time.Now()
	for wait := r.wait; ; wait = min(2*wait, retryMost) {
		g, err := r.enter(ctx, m, n)
		if err == nil {
			count(&r.waiting, -1)
			r.stay(ctx, g, n)
			count(&r.waiting, 1)
			return
		}
		if ctx.Err() != nil || r.over(m) {
			return
		}
		r.fail(err)
		if time.Since(first) > retryLimit {
			count(&r.moment.GaveUp, 1)
			return
		}
		if sleep(ctx, rand.N(wait)) != nil {
			return
		}
	}
}

// fail counts an attempt.
func (r *siege) fail(err error) {
	var refused *refusal
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
		r.moment.Refused++
		return
	}
	r.moment.Failed++
	if len(r.errors) < 10 {
		r.errors = append(r.errors, err.Error())
	}
}

func (r *siege) over(m int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed[m]
}

// wants is what person n asks for where so many cameras are listed.
func (r *siege) wants(n, listed int) Wants {
	w := Wants{Audio: r.Load.Audio, Receive: min(listed, r.Load.Publishers)}
	if n < r.Load.Publishers {
		w.SendKbps = r.Load.VideoRate * 3 / 2 / 1000
	}
	return w
}

// enter is one attempt.
func (r *siege) enter(ctx context.Context, m, n int) (*guest, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	cfg, err := r.crowd.person(m, n, &check.Speech{}, r.sounds)
	if err != nil {
		return nil, err
	}
	cfg.Adapts = true
	in, err := r.rooms[m].Join(ctx, n, cfg)
	if err != nil {
		return nil, err
	}
	w := r.wants(n, listed(in))
	one := &member{Member: in, publishes: n < r.Load.Publishers, receives: w.Receive}
	if err := r.crowd.negotiate(ctx, one, w); err != nil {
		in.Leave()
		return nil, err
	}
	from := client.Now()
	in.Clients()[0].Measure(from, from+int64(time.Hour))
	g := &guest{member: one, meeting: m, since: time.Now()}
	r.crowd.mu.Lock()
	r.crowd.members = append(r.crowd.members, one)
	r.crowd.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests = append(r.guests, g)
	return g, nil
}

// stay has a guest watch each camera that comes.
func (r *siege) stay(ctx context.Context, g *guest, n int) {
	for sleep(ctx, time.Second) == nil && !r.over(g.meeting) {
		if ended(g.Member) {
			r.mu.Lock()
			g.cut = true
			r.moment.Cut++
			r.mu.Unlock()
			return
		}
		w := r.wants(n, listed(g.Member))
		if w.Receive <= g.receives {
			continue
		}
		try, cancel := context.WithTimeout(ctx, attemptLimit)
		err := r.crowd.negotiate(try, g.member, w)
		cancel()
		r.mu.Lock()
		if err == nil {
			g.receives = w.Receive
		}
		r.mu.Unlock()
		if err != nil && ctx.Err() == nil && !r.over(g.meeting) {
			r.fail(err)
		}
	}
}

// end has a share of the meetings end, those that began first, and says how many.
func (r *siege) end() int {
	r.mu.Lock()
	n := 0
	var begun []int // meetings with people
	for _, g := range r.guests {
		if !slices.Contains(begun, g.meeting) {
			begun = append(begun, g.meeting)
		}
	}
	slices.Sort(begun)
	n = int(float64(len(begun)) * r.Leave)
	for _, m := range begun[:n] {
		r.closed[m] = true
	}
	var gone []*guest
	r.guests = slices.DeleteFunc(r.guests, func(g *guest) bool {
		if r.closed[g.meeting] {
			gone = append(gone, g)
		}
		return r.closed[g.meeting]
	})
	r.mu.Unlock()
	for _, g := range gone {
		g.Leave()
	}
	return n
}

// listed is how many cameras of others a person is told of, and ended whether its
// signaling is.
func listed(m Member) int {
	b, ok := m.(*belfryMember)
	if !ok {
		return 0
	}
	b.line.mu.Lock()
	defer b.line.mu.Unlock()
	return len(b.line.index.GetSources())
}

func ended(m Member) bool {
	b, ok := m.(*belfryMember)
	if !ok {
		return false
	}
	b.line.mu.Lock()
	defer b.line.mu.Unlock()
	return b.line.err != nil
}

// look begins to look: the function tells what became of everything since the call before.
func (r *siege) look(ctx context.Context) (func(at time.Duration) (Moment, error), error) {
	used, err := usage(r.server)
	if err != nil {
		return nil, err
	}
	own, _ := process.ReadUsage(selfPID)
	last := time.Now()
	_ = r.crowd.pace.Lag()
	var refused, failed int
	return func(at time.Duration) (Moment, error) {
		now := time.Now()
		u, err := usage(r.server)
		if err != nil {
			return Moment{}, fmt.Errorf("the server is gone: %w", err)
		}
		mine, _ := process.ReadUsage(selfPID)
		seconds := now.Sub(last).Seconds()
		m := r.gather(last, now)
		m.At = at.Seconds()
		m.CPU, m.OwnCPU = (u.CPU-used.CPU).Seconds()/seconds, (mine.CPU-own.CPU).Seconds()/seconds
		lag := r.crowd.pace.Lag()
		m.LagP99 = ms(&lag, 0.99)
		m.Refused, refused = m.Refused-refused, m.Refused
		m.Failed, failed = m.Failed-failed, m.Failed
		used, own, last = u, mine, now
		if b, ok := r.server.(*belfry); ok {
			m.Meetings = b.tryMeeting(ctx)
			m.Level, m.Fullness, err = b.level(ctx)
		}
		return m, err
	}, nil
}

// gather adds up what those got who were inside for the whole step.
func (r *siege) gather(from, to time.Time) Moment {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.moment
	m.Waiting = r.waiting
	seconds := to.Sub(from).Seconds()
	var sound check.Counts
	var video uint64
	people := 0
	for _, g := range r.guests {
		if g.cut {
			continue
		}
		m.Inside++
		got, stats := g.Clients()[0].Got()
		if g.since.Before(from.Add(-time.Second)) { // after the first second its sound runs
			people++
			sound.Received += got.Received - g.sound.Received
			sound.Late += got.Late - g.sound.Late
			if g.receives > 0 {
				m.Watching++
				if stats.VideoPackets > g.stats.VideoPackets {
					m.Seeing++
				}
				video += stats.VideoBytes - g.stats.VideoBytes
			}
		}
		g.sound, g.stats = got, stats
	}
	if want := uint64(50 * seconds * float64(people)); want > 0 {
		m.Missing = share(want-min(want, sound.Received), want)
		m.Late = share(sound.Late, want)
	}
	if m.Watching > 0 {
		m.Kbps = float64(video) * 8 / 1000 / seconds / float64(m.Watching)
	}
	return m
}

// tryMeeting says what is answered to who wants a new meeting, without trying again.
func (s *belfry) tryMeeting(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := s.client.CreateMeeting(ctx, meetingInput(nil), func(o *meetings.Options) { o.RetryMaxAttempts = 1 })
	var answer interface{ HTTPStatusCode() int }
	switch {
	case err == nil:
		return "made"
	case errors.As(err, &answer):
		return strconv.Itoa(answer.HTTPStatusCode())
	}
	return "no answer"
}

// level asks how full the server says that it is.
func (s *belfry) level(ctx context.Context) (level int, fullness float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, fmt.Errorf("read the metrics: %w", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "belfry_capacity_level":
			level = int(v)
		case "belfry_capacity_fullness":
			fullness = v
		}
	}
	return level, fullness, lines.Err()
}
