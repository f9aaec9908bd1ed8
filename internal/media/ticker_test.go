package media

import (
	"sync"
	"testing"
	"time"

	"belfry/internal/media/mixer"
	"belfry/internal/media/sfu"
	"belfry/internal/media/udp"
	"belfry/internal/meeting"
)

// TestTickerSpreadsItsWork holds one bridge up: the others go on meanwhile, and
// each once a tick.
func TestTickerSpreadsItsWork(t *testing.T) {
	port, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	s := &Server{clock: newClock()}
	tick, err := startTicker(port.Sockets[0].NewBatch, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer tick.stop()
	bridges := make([]*Bridge, 20)
	for i := range bridges {
		b := &Bridge{server: s, spec: meeting.ConferenceSpec{}, mixer: mixer.New(mixer.Config{}), router: sfu.New(sfu.Config{OnChange: func() {}})}
		b.nextReport = 1 << 62
		b.size.Store(int64(i))
		// A listener's packets are what shows that it was ticked.
		b.mixer.AddListener(mixer.ListenerConfig{Sender: nowhere{}, PayloadType: 111, SSRC: 1})
		bridges[i] = b
		tick.add(b)
	}
	sent := func(b *Bridge) uint64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.mixer.Stats().Silent
	}
	held := bridges[7]
	held.mu.Lock()
	var free sync.Once
	release := func() { free.Do(held.mu.Unlock) }
	defer release()
	begun := time.Now()
	for i, b := range bridges {
		if b != held {
			eventually(t, "ticks beside one that is held up", func() bool { return sent(b) >= 10 })
		}
		if i == len(bridges)-1 {
			release()
		}
	}
	eventually(t, "ticks of the one that was held up", func() bool { return sent(held) >= 10 })
	most := uint64(time.Since(begun)/tickInterval) + 5
	for i, b := range bridges {
		if n := sent(b); n > most {
			t.Errorf("bridge %d was ticked %d times in %d ticks", i, n, most)
		}
	}
	tick.remove(bridges[3])
	last := uint64(0)
	eventually(t, "the end of a bridge's ticks", func() bool {
		now := sent(bridges[3])
		ended := now == last
		last = now
		time.Sleep(2 * tickInterval)
		return ended
	})
	// Those with the most people come first.
	tick.sort()
	tick.mu.Lock()
	defer tick.mu.Unlock()
	for i := 1; i < len(tick.bridges); i++ {
		if tick.bridges[i].size.Load() > tick.bridges[i-1].size.Load() {
			t.Errorf("a bridge of %d comes after one of %d", tick.bridges[i].size.Load(), tick.bridges[i-1].size.Load())
		}
	}
}

// nowhere is where packets go that nobody looks at.
type nowhere struct{}

func (nowhere) SendRTP(_, _ []byte) {}
