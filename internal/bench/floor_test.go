package bench

import "testing"

func TestFloorOfWorkloads(t *testing.T) {
	f := Floor{Frames: map[string]float64{"50 × 4": 4, "50 × 16": 2}, Sound: map[string]float64{"50": 8}, Receive: 2, Encode: 100, Decode: 50}
	for name, c := range map[string]struct {
		w    Workload
		want float64
	}{
		"video":        {Workload{Load: video(1, 50, 1_000_000), Metric: PerPacket}, 4.04},
		"more of it":   {Workload{Load: video(1, 50, 4_000_000), Metric: PerPacket}, 2.04},
		"passed":       {Workload{Load: audio(50, 1), Metric: PerPerson}, 0.05},
		"mixed":        {Workload{Load: audio(50, 3), Metric: PerPerson}, 0.05 + 0.055},
		"not measured": {Workload{Load: audio(10, 3), Metric: PerPerson}, 0},
		"memory":       {Workload{Load: video(1, 50, 1_000_000), Metric: Memory}, 0},
	} {
		if got := f.Of(c.w); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("%s: %g, want %g", name, got, c.want)
		}
	}
}
