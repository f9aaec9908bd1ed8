//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"belfry/internal/bench/judge"
	"belfry/internal/bench/link"
)

var sound = judge.Sound()

// result is one row at one server.
type result struct {
	Network string  `json:"network"`
	Server  string  `json:"server"`
	From    float64 `json:"from"` // when the window began, in ms on the machine's clock
	Load    float64 `json:"load"` // of the machine, while it was measured
	Failed  string  `json:"failed,omitempty"`

	Sent    float64     `json:"sent_ms"`    // from the talker's camera until it sends the full size; negative: it did not
	Joined  float64     `json:"joined_ms"`  // from the listener's start until its session runs
	Picture float64     `json:"picture_ms"` // and until the first picture
	Audio   judge.Heard `json:"audio"`
	Video   judge.Seen  `json:"video"`
	Lower   float64     `json:"lower_ms"`    // from the cap until a smaller picture; negative: none came
	Back    float64     `json:"back_ms"`     // from its end until one as large as before
	Outage  float64     `json:"outage_ms"`   // without any sound after a cut or a change of address
	Again   int         `json:"connections"` // that were made anew, by either
	Stayed  bool        `json:"stayed"`      // sound and pictures came at the end
	Mute    *mute       `json:"mute,omitempty"`
	Low     float64     `json:"low_ms"` // from the wish for the low layer until its first picture
	High    float64     `json:"high_ms"`
	Capped  bool        `json:"capped"`
	Goals   bool        `json:"goals"`
	Sizes   string      `json:"sizes"` // the heights that were seen, and from when on, in s from the window's begin
}

type event struct {
	At     float64 `json:"at"`
	Name   string  `json:"name"`
	Detail string  `json:"detail"`
}

type noted struct {
	Times  []float64         `json:"times"`
	PCM    string            `json:"pcm"`
	Frames []float64         `json:"frames"`
	Events []event           `json:"events"`
	Stats  []json.RawMessage `json:"stats"`
}

func now() float64 { return judge.Milliseconds(time.Now()) }

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run measures a row at a server.
func (l *lab) run(ctx context.Context, r row, name string) (res result, err error) {
	res = result{Network: r.Name, Server: name, Sent: -1, Joined: -1, Picture: -1, Lower: -1, Back: -1, Low: -1, High: -1, Goals: r.Goals}
	ctx, cancel := context.WithTimeout(ctx, r.Time+90*time.Second)
	defer cancel()
	people := []*seat{l.talker, l.listener}
	var cables [2]*link.Cable
	for i, p := range people {
		p.address = addresses(i, 2)
		_ = p.net.IP("address flush dev tun0") // of a row that failed
		conditions := []link.Both{r.Start.talker, r.Start.listener}[i]
		if cables[i], err = link.Connect(p.name, l.seed*1000+uint64(10*i), conditions, l.router, p.net, p.address); err != nil {
			return res, err
		}
		defer cables[i].Close()
	}
	set := func(n net) {
		cables[0].Set(n.talker)
		cables[1].Set(n.listener)
	}
	room, err := l.servers[name].open(ctx, r)
	if room.end != nil {
		defer room.end()
	}
	if err != nil {
		return res, err
	}
	width, height := l.width, l.height
	if r.Full {
		width, height = 1920, 1080
	}
	page := fmt.Sprint(name, " ", r.Name)
	call := func(who int, what string, arg, value any) error {
		short, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := people[who].browser.call(short, page, what, arg, value); err != nil {
			return fmt.Errorf("the %s: %w; it notes: %s", people[who].name, err, people[who].browser.notes(ctx, page))
		}
		return nil
	}
	for i, p := range people {
		if err := call(i, "open", nil, nil); err != nil {
			return res, err
		}
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = p.browser.call(end, page, "leave", nil, nil)
			_ = p.browser.call(end, page, "close", nil, nil)
		}()
	}
	hurry(l.nice)
	if err := call(0, "join", room.join[0], nil); err != nil {
		return res, err
	}
	if err := call(0, "film", map[string]int{"width": width, "height": height, "rate": l.rate}, nil); err != nil {
		return res, err
	}
	filmed := now()
	if err := call(0, "speak", true, nil); err != nil {
		return res, err
	}
	// large waits for the full size, for so long at least and at most.
	large := func(who int, what string, least, most time.Duration) (reached bool, err error) {
		begun := time.Now()
		for size := 0; ; {
			if err := call(who, what, nil, &size); err != nil {
				return false, err
			}
			if reached = reached || size >= height; reached && res.Sent < 0 {
				res.Sent = now() - filmed
			}
			if took := time.Since(begun); took >= most || reached && took >= least {
				return reached, nil
			}
			if err := sleepUntil(ctx, time.Now().Add(200*time.Millisecond)); err != nil {
				return false, err
			}
		}
	}
	if _, err := large(0, "sending", 2*time.Second, 10*time.Second); err != nil { // the talker's own rate has grown
		return res, err
	}
	if l.raw != "" {
		watching, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { l.watch(watching, name); close(done) }()
		defer func() { stop(); <-done }()
	}
	if err := call(1, "join", room.join[1], &res.Joined); err != nil {
		return res, err
	}
	if err := call(1, "listen", nil, nil); err != nil {
		return res, err
	}
	if _, err := large(1, "height", 3*time.Second, 8*time.Second); err != nil { // jitter buffers and rates have settled
		return res, err
	}
	begin := time.Now()
	from := now()
	var capAt, freeAt, brokeAt float64
	for _, s := range r.Steps {
		if err := sleepUntil(ctx, begin.Add(s.at)); err != nil {
			return res, err
		}
		switch {
		case s.net != nil:
			set(*s.net)
		case s.capRate > 0:
			cables[1].Rebind(7)
		case s.move:
			if err := l.listener.move(addresses(1, 3)); err != nil {
				return res, err
			}
		}
		switch {
		case s.capped:
			capAt = now()
		case s.uncap:
			freeAt = now()
		case brokeAt == 0:
			brokeAt = now()
		}
	}
	if err := sleepUntil(ctx, begin.Add(r.Time)); err != nil {
		return res, err
	}
	until := now()
	res.Load = load()
	var muted []float64
	var low, high float64
	if r.Goals {
		if muted, low, high, err = goals(ctx, call); err != nil {
			return res, err
		}
	}
	if err := sleepUntil(ctx, time.Now().Add(time.Second)); err != nil { // what is on its way arrives
		return res, err
	}
	var said, heard noted
	if err := call(0, "said", nil, &said); err != nil {
		return res, err
	}
	if err := call(1, "noted", nil, &heard); err != nil {
		return res, err
	}
	return res, l.judge(&res, r, said, heard, moments{from, until, capAt, freeAt, brokeAt, muted, low, high})
}

// moments of a run, in ms.
type moments struct {
	from, until, capAt, freeAt, brokeAt float64
	muted                               []float64
	low, high                           float64
}

// watch keeps what the server says of its estimates each second, until ctx ends.
func (l *lab) watch(ctx context.Context, name string) {
	l.metrics = nil
	for ctx.Err() == nil {
		lines := []string{fmt.Sprintf("%.0f", now())}
		if s, ok := l.servers[name].(*belfry); ok {
			lines = append(lines, s.metrics(ctx, "bandwidth", "downlink", "fit", "pause", "key_frame", "audio")...)
		}
		l.metrics = append(l.metrics, lines)
		_ = sleepUntil(ctx, time.Now().Add(time.Second))
	}
}

// mutes is how often the talker mutes: the middle of so many times is told.
const mutes = 7

// goals has the listener want the low layer and then the high one, and the talker mute.
func goals(ctx context.Context, call func(int, string, any, any) error) (muted []float64, low, high float64, err error) {
	do := func(who int, what string, arg any, wait time.Duration) (at float64) {
		if err == nil {
			err = call(who, what, arg, &at)
		}
		if err == nil {
			err = sleepUntil(ctx, time.Now().Add(wait))
		}
		return at
	}
	low = do(1, "want", "low", 3*time.Second)
	high = do(1, "want", "high", 4*time.Second)
	for range mutes {
		muted = append(muted, do(0, "mute", true, time.Second))
		do(0, "mute", false, 1500*time.Millisecond)
	}
	return muted, low, high, err
}

// mute is what became of the talker's mutes, the middle of each in ms.
type mute struct {
	Heard float64 `json:"heard_ms"` // from the mute until nothing more was heard
	Said  float64 `json:"said_ms"`  // how long the talker was heard that spoke on; negative: it was cut off before the mute
	Delay float64 `json:"delay_ms"` // from mouth to ear, just before
	Shown float64 `json:"shown_ms"` // until the listener's client knew; negative: it never did
}

func muteOf(mouth, ear judge.Clock, pcm []int16, muted []float64, events []event) *mute {
	var heard, said, delay, shown []float64
	for _, at := range muted {
		h := judge.Hear(mouth, ear, pcm, at-700, at+900)
		if h.Last > 0 {
			heard, said, delay = append(heard, h.Last-at), append(said, h.Said-at), append(delay, h.P50)
		}
		if i := slices.IndexFunc(events, func(e event) bool { return e.Name == "muted" && e.Detail == "true" && e.At >= at }); i >= 0 {
			shown = append(shown, events[i].At-at)
		}
	}
	middle := func(all []float64) float64 {
		if len(all) == 0 {
			return -1
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return &mute{middle(heard), middle(said), middle(delay), middle(shown)}
}

// move gives the person's machine another address.
func (s *seat) move(to link.Addresses) error {
	for _, words := range []string{
		fmt.Sprintf("address delete %v/24 dev tun0", s.address.Client),
		fmt.Sprintf("address add %v/24 dev tun0", to.Client),
		fmt.Sprintf("route replace default dev tun0 src %v", to.Client),
	} {
		if err := s.net.IP(words); err != nil {
			return err
		}
	}
	s.address = to
	return nil
}

func (l *lab) judge(res *result, r row, said, heard noted, m moments) error {
	if l.raw != "" {
		file := filepath.Join(l.raw, strings.ReplaceAll(r.Name+"-"+res.Server+".json", " ", "-"))
		data, err := json.Marshal(map[string]any{"said": said, "heard": heard, "metrics": slices.Clone(l.metrics), "moments": fmt.Sprintf("%+v", m)})
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
	}
	bytes, err := base64.StdEncoding.DecodeString(heard.PCM)
	if err != nil {
		return fmt.Errorf("what was heard: %w", err)
	}
	pcm := make([]int16, len(bytes)/2)
	for i := range pcm {
		pcm[i] = int16(bytes[2*i]) | int16(bytes[2*i+1])<<8
	}
	mouth, ear := judge.NewClock(said.Times), judge.NewClock(heard.Times)
	res.Audio = judge.Hear(mouth, ear, pcm, m.from, m.until-1000)
	var pictures []judge.Picture
	for i := 0; i+3 < len(heard.Frames); i += 4 {
		f := heard.Frames[i:]
		pictures = append(pictures, judge.Picture{At: f[0], Stamp: f[1], Width: int(f[2]), Height: int(f[3])})
	}
	res.Video = judge.See(pictures, m.from, m.until)
	if i := slices.IndexFunc(heard.Events, func(e event) bool { return e.Name == "join" }); i >= 0 {
		res.Picture = judge.FirstOf(pictures, heard.Events[i].At, func(judge.Picture) bool { return true })
	}
	res.From = m.from
	res.Sizes = sizes(pictures, m.from)
	before := 0
	for _, p := range pictures {
		if m.capAt > 0 && p.At < m.capAt {
			before = p.Height
		}
	}
	if res.Capped = m.capAt > 0; res.Capped {
		res.Lower = judge.FirstOf(pictures, m.capAt, func(p judge.Picture) bool { return p.Height < before })
		if m.freeAt > 0 && res.Lower >= 0 {
			res.Back = judge.FirstOf(pictures, m.freeAt, func(p judge.Picture) bool { return p.Height >= before })
		}
	}
	if m.brokeAt > 0 {
		res.Outage = res.Audio.Longest
	}
	for _, events := range [][]event{said.Events, heard.Events} {
		for _, e := range events {
			if e.Name == "connecting" && e.Detail == "true" || e.Name == "stop" {
				res.Again++
			}
		}
	}
	atEnd := judge.Hear(mouth, ear, pcm, m.until-3500, m.until-1000)
	res.Stayed = atEnd.Share > 0.2 && judge.FirstOf(pictures, m.until-3500, func(p judge.Picture) bool { return p.At < m.until+1000 }) >= 0
	if r.Goals {
		large, small := func(p judge.Picture) bool { return p.Height > l.height/2 }, func(p judge.Picture) bool { return p.Height <= l.height/2 }
		res.Low, res.High = judge.FirstOf(pictures, m.low, small), judge.FirstOf(pictures, m.high, large)
		res.Mute = muteOf(mouth, ear, pcm, m.muted, heard.Events)
	}
	return nil
}

// sizes tells the heights of pictures and when each began, in s from a time.
func sizes(all []judge.Picture, from float64) string {
	var parts []string
	last := 0
	for _, p := range all {
		if p.Height != last {
			parts = append(parts, fmt.Sprintf("%d@%.1f", p.Height, (p.At-from)/1000))
			last = p.Height
		}
	}
	return strings.Join(parts, " ")
}

func load() float64 {
	var one float64
	text, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(text), &one)
	return one
}
