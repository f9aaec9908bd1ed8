package capacity

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Period is how often a Keeper takes a sample.
const Period = time.Second

// Config is what a Keeper is made of.
type Config struct {
	Limits Limits
	// Meter takes the sample of the time since it was called last. nil: nothing is
	// measured, and the level changes by Hold alone.
	Meter func() Sample
	// Changed is told each new level, one after the other; it must not call back.
	// nil is allowed.
	Changed func(Level)
	Logger  *slog.Logger // nil: no log
}

// State is what a Keeper knows.
type State struct {
	Level    Level
	Since    time.Time // when it became that
	Held     bool      // by Hold
	Measured bool      // there is a meter
	Sample   Sample    // the last one
	Fullness float64   // of it; 1 is full
	Changes  uint64    // of the level
}

// Keeper keeps the level. Its methods may be called from anywhere.
type Keeper struct {
	cfg Config

	mu     sync.Mutex
	judge  Judge
	state  State
	places int  // of those who come new, until the next sample
	came   int  // since the last one
	turned bool // somebody was told to try again since the last one
}

// NewKeeper returns a Keeper at Free; Run measures.
func NewKeeper(cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, judge: Judge{Limits: cfg.Limits}, state: State{Since: time.Now(), Measured: cfg.Meter != nil},
		places: (&Judge{Limits: cfg.Limits}).places(Sample{}, 0)}
}

// Run takes samples until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	if k.cfg.Meter == nil {
		return
	}
	clock := time.NewTicker(Period)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			k.take(k.cfg.Meter())
		}
	}
}

func (k *Keeper) take(s Sample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Turned, k.turned = k.turned, false
	k.state.Sample, k.state.Fullness = s, k.cfg.Limits.Fullness(s)
	level := k.judge.Take(s)
	k.places, k.came = k.judge.places(s, k.came), 0
	if !k.state.Held {
		k.become(level)
	}
}

// Hold keeps a level, whatever is measured, until Release.
func (k *Keeper) Hold(l Level) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.Held = true
	k.become(l)
}

// Release ends Hold.
func (k *Keeper) Release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.Held = false
	k.become(k.judge.Level())
}

// become makes a level the one. The caller holds mu.
func (k *Keeper) become(l Level) {
	was := k.state.Level
	if l == was {
		return
	}
	k.state.Level, k.state.Since = l, time.Now()
	k.state.Changes++
	what, log := "the server leaves out less again", k.cfg.Logger.Info
	if l > was {
		what, log = "the server is full and leaves out more", k.cfg.Logger.Warn
	}
	log(what, "capacity", l.String(), "before", was.String(), "held", k.state.Held,
		"cpu", round(k.state.Sample.CPU), "late", k.state.Sample.Late.Round(time.Millisecond), "fullness", round(k.state.Fullness))
	if k.cfg.Changed != nil {
		k.cfg.Changed(l)
	}
}

func round(x float64) float64 { return float64(int(x*100+0.5)) / 100 }

// State is what it knows now.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// Full reports whether there is no room for new meetings, and for nobody who comes new.
func (k *Keeper) Full() bool { return k.State().Level >= Full }

// Admit lets one person in who comes new, or is false: it is to be told to try again.
func (k *Keeper) Admit() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Level >= Full || k.state.Measured && !k.state.Held && k.places == 0 {
		k.turned = true
		return false
	}
	k.places, k.came = max(k.places-1, 0), k.came+1
	return true
}
