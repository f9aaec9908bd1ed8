package bench

import (
	"runtime"
	"testing"
	"time"
)

// Everything of the bare work is done and counted; how fast is not looked at.
func TestFloor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the CPU time of a thread needs Linux")
	}
	send, err := bareSend(3, 4, 1050, time.Millisecond, 20*time.Millisecond)
	if err != nil || send <= 0 {
		t.Errorf("sending: %g, %v", send, err)
	}
	receive, err := bareReceive(2)
	if err != nil || receive <= 0 {
		t.Errorf("receiving: %g, %v", receive, err)
	}
	encode, decode, err := bareCodec(3)
	if err != nil || encode <= 0 || decode <= 0 {
		t.Errorf("the codec: %g, %g, %v", encode, decode, err)
	}
}

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
