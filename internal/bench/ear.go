package bench

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"belfry/internal/bench/check"
	"belfry/internal/media/opus"
)

const (
	listening = 4    // people of each meeting who listen for the beep
	beepPitch = 3000 // Hz, above all overtones of voice
	beepLevel = 9000
	heardAt   = beepLevel / 5
	slice     = opus.SampleRate / 200 // samples that are looked at together
)

// beep is a second of a tone in Opus packets of 20 ms.
func beep() ([][]byte, error) {
	phase := 0.0
	return speech(50, func() float64 {
		phase += 2 * math.Pi * beepPitch / opus.SampleRate
		return beepLevel * math.Sin(phase)
	})
}

// ear listens for the beep in whatever else is heard, and times it: from the
// sending of its first packet to the arrival of the first packet that has it.
type ear struct {
	speech      *check.Speech
	from, until atomic.Int64

	mu      sync.Mutex
	decoder opus.Decoder // nil when closed
	pcm     []int16
	heard   int64 // the beginning that was last heard
	latency check.Histogram
}

func newEar(s *check.Speech) (*ear, error) {
	d, err := opus.Native().NewDecoder(1)
	if err != nil {
		return nil, fmt.Errorf("prepare an ear: %w", err)
	}
	return &ear{speech: s, decoder: d, pcm: make([]int16, 6*opus.FrameSamples)}, nil
}

func (e *ear) measure(from, until int64) {
	e.until.Store(until)
	e.from.Store(from)
}

func (e *ear) hear(packet []byte, at int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.decoder == nil {
		return
	}
	n, err := e.decoder.Decode(e.pcm, packet)
	if err != nil {
		return
	}
	since := e.speech.Since()
	if since == 0 || since == e.heard || !toned(e.pcm[:n]) {
		return
	}
	e.heard = since
	if from := e.from.Load(); from != 0 && since >= from && at < e.until.Load() {
		e.latency.Add(at - since)
	}
}

// toned reports whether the beep is in the samples, by Goertzel's filter.
func toned(pcm []int16) bool {
	const turn = 2 * math.Pi * beepPitch / opus.SampleRate
	k := 2 * math.Cos(turn)
	for ; len(pcm) >= slice; pcm = pcm[slice:] {
		var a, b float64
		for _, v := range pcm[:slice] {
			a, b = float64(v)+k*a-b, a
		}
		if amplitude := 2 * math.Sqrt(max(0, a*a+b*b-k*a*b)) / slice; amplitude >= heardAt {
			return true
		}
	}
	return false
}

func (e *ear) result(into *check.Histogram) {
	e.mu.Lock()
	defer e.mu.Unlock()
	into.Merge(&e.latency)
}

func (e *ear) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.decoder.Close()
	e.decoder = nil
}
