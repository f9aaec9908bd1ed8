package bench

import (
	"fmt"
	"time"
)

// Workload is one line of the comparison.
type Workload struct {
	Load   Load   `json:"load"`
	Metric Metric `json:"metric"`
	// Servers are those that can do it.
	Servers []string `json:"servers"`
	// Target is what ours may cost at most, 0: none; for a capacity, at least.
	Target float64 `json:"target"`
	// Fewer is how many times less than each other server ours should cost, 0: not said.
	Fewer float64 `json:"fewer,omitempty"`
	// Grow asks how many people or meetings of this load a server bears, instead of
	// what a fixed load costs: meetings when the load has cameras, else people.
	Grow bool `json:"grow,omitempty"`
	// Same says that the runs of the workload before are looked at again, when they
	// are of the same load.
	Same bool `json:"same,omitempty"`
}

// Metric is what a workload is measured by.
type Metric string

// The metrics.
const (
	PerPacket Metric = "µs of CPU a packet delivered"
	PerPerson Metric = "% of a core a person"
	Sound     Metric = "ms from mouth to ear, p50"
	Memory    Metric = "MB resident"
	Late      Metric = "packets of sound late or lost, %"
	People    Metric = "people on one core"
	Pairs     Metric = "meetings of two on one core"
)

// Of is a row's figure.
func (m Metric) Of(r Row) float64 {
	switch m {
	case PerPacket:
		return r.PerPacket
	case PerPerson:
		return r.PerPerson
	case Sound:
		return r.AudioP50
	case Memory:
		return r.RSS
	case Late:
		if r.Audio.Expected == 0 {
			return 0
		}
		return 100 * float64(r.Audio.Late+r.Audio.Lost()) / float64(r.Audio.Expected)
	case People:
		return float64(r.People)
	case Pairs:
		return float64(r.Load.Meetings)
	}
	return 0
}

const (
	ours  = "belfry"
	plain = "pion"
	jan   = "janus"
)

func video(publishers, viewers, rate int) Load {
	to := viewers
	if viewers == 0 { // one another
		to = publishers
	}
	return Load{Name: fmt.Sprintf("video %d×%d, %s", publishers, to, Rate(rate)), Meetings: 1,
		Publishers: publishers, Viewers: viewers, Mutual: viewers == 0, VideoRate: rate}
}

func audio(people, talking int) Load {
	return Load{Name: fmt.Sprintf("audio %d people, %d talking", people, talking), Meetings: 1, Viewers: people, Audio: true, Talking: talking}
}

func pairs(meetings int) Load {
	return Load{Name: fmt.Sprintf("%d meetings of two", meetings), Meetings: meetings, Publishers: 2, Mutual: true, VideoRate: 500_000, Audio: true, Talking: 1}
}

// Rate writes a rate for people.
func Rate(bits int) string {
	if bits%1_000_000 == 0 {
		return fmt.Sprintf("%d Mbit/s", bits/1_000_000)
	}
	return fmt.Sprintf("%d kbit/s", bits/1000)
}

// Suite is what is compared. A small one is for trying the commands: its figures
// mean nothing.
func Suite(small bool) []Workload {
	if small {
		beep := audio(3, 1)
		beep.Beep = true
		many := audio(0, 2)
		return []Workload{
			{Load: video(1, 3, 300_000), Metric: PerPacket, Servers: []string{ours, plain, jan}, Target: 100, Fewer: 1},
			{Load: video(1, 3, 300_000), Metric: Memory, Servers: []string{ours, plain, jan}, Same: true},
			{Load: beep, Metric: Sound, Servers: []string{ours, jan}, Target: 40},
			{Load: many, Metric: People, Servers: []string{ours, jan}, Target: 4, Grow: true},
			{Load: pairs(0), Metric: Pairs, Servers: []string{ours, plain, jan}, Grow: true},
		}
	}
	pass, mixed := audio(10, 1), audio(10, 3)
	pass.Beep, mixed.Beep = true, true
	pass.Name, mixed.Name = "a sound among 10 people, 1 talking", "a sound among 10 people, 3 talking"
	all, mixers := []string{ours, plain, jan}, []string{ours, jan}
	return []Workload{
		{Load: video(1, 50, 1_000_000), Metric: PerPacket, Servers: all, Target: 6, Fewer: 5},
		{Load: video(1, 100, 1_000_000), Metric: PerPacket, Servers: all, Target: 5.5, Fewer: 5},
		{Load: video(1, 100, 1_000_000), Metric: Memory, Servers: all, Target: 60, Same: true},
		{Load: video(1, 50, 4_000_000), Metric: PerPacket, Servers: all, Target: 3.5, Fewer: 5},
		{Load: video(5, 0, 500_000), Metric: PerPacket, Servers: all, Target: 17},
		{Load: audio(50, 1), Metric: PerPerson, Servers: mixers, Target: 0.10},
		{Load: audio(50, 3), Metric: PerPerson, Servers: mixers, Target: 0.15},
		{Load: audio(100, 1), Metric: PerPerson, Servers: mixers, Target: 0.08},
		{Load: audio(100, 3), Metric: PerPerson, Servers: mixers, Target: 0.10},
		{Load: pass, Metric: Sound, Servers: mixers, Target: 5},
		{Load: mixed, Metric: Sound, Servers: mixers, Target: 40},
		{Load: audio(1000, 3), Metric: Late, Servers: []string{ours}, Target: 0.01},
		{Load: audio(0, 3), Metric: People, Servers: mixers, Target: 1000, Grow: true},
		{Load: pairs(0), Metric: Pairs, Servers: all, Grow: true},
	}
}

// sized is a load with so many people, or meetings where it has cameras.
func sized(l Load, n int) Load {
	if l.Publishers > 0 {
		l.Meetings, l.Name = n, fmt.Sprintf("%d meetings of two", n)
	} else {
		l.Viewers, l.Name = n, fmt.Sprintf("audio %d people, %d talking", n, l.Talking)
	}
	return l
}

// Bears reports whether everybody in a run was served well: less than a percent
// of the sound and video lost or late, and no camera half a second behind. It says
// what was not well, and whether the load generator itself may be the reason.
func Bears(r Row) (well bool, why string) {
	least := 0.9
	if r.Load.Talking == 1 { // who pauses: nothing needs to be sent then
		least = 0.6
	}
	switch {
	case r.Failed != "":
		why = r.Failed
	case share(r.Video.Lost(), r.Video.Expected) > 1:
		why = fmt.Sprintf("%.1f %% of the video lost", share(r.Video.Lost(), r.Video.Expected))
	case share(r.Audio.Lost()+r.Audio.Late, r.Audio.Expected) > 1:
		why = fmt.Sprintf("%.1f %% of the sound lost or late", share(r.Audio.Lost()+r.Audio.Late, r.Audio.Expected))
	case r.Load.Audio && float64(r.Audio.Expected) < least*r.heard():
		why = fmt.Sprintf("%.0f %% of the sound never sent", 100-share(r.Audio.Expected, uint64(r.heard())))
	case r.VideoP99 > 500:
		why = fmt.Sprintf("video %.0f ms behind", r.VideoP99)
	default:
		return true, ""
	}
	if r.OwnCPU > 0.9 || r.LagP99 > 60 {
		why += " (the load generator was late itself)"
	}
	return false, why
}

// collapsed says how much was missing, when a server gave less than half of what it should.
func collapsed(r Row) string {
	if heard := r.heard(); r.Load.Audio && float64(r.Audio.Received) < heard/2 {
		return fmt.Sprintf("it collapses: %.0f %% of the sound is missing", 100-100*float64(r.Audio.Received)/max(heard, 1))
	}
	if r.Video.Received < r.Video.Expected/2 {
		return fmt.Sprintf("it collapses: %.0f %% of the video is missing", share(r.Video.Lost(), r.Video.Expected))
	}
	return ""
}

// heard is how many packets of sound people should have got in all: one stream each.
func (r Row) heard() float64 { return float64(r.People) * r.Load.Time.Seconds() * 50 }

const (
	usualWarm = 4 * time.Second
	usualTime = 10 * time.Second
)
