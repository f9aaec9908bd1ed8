package mixer

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// TestNothingIsMadeThatNobodyHears counts what is decoded and encoded where
// there is nobody to hear it.
func TestNothingIsMadeThatNobodyHears(t *testing.T) {
	for _, c := range []struct {
		name             string
		talkers          int
		listen           func(r *room)
		decodes, encodes uint64 // each 20 ms
	}{
		{"two without listeners", 2, func(*room) {}, 0, 0},
		{"two and one who may not hear", 2, func(r *room) {
			r.m.AddListener(ListenerConfig{Sender: &ear{r: r, mute: true}, PayloadType: testPT, Deaf: true})
		}, 0, 0},
		{"two who hear each other", 2, func(r *room) { r.listen("0", "0"); r.listen("1", "1") }, 0, 0},
		{"two and one who hears one of them", 2, func(r *room) { r.listen("x", "1") }, 0, 0},
		{"two and ten who hear both", 2, func(r *room) {
			for i := range 10 {
				r.listen(fmt.Sprint("x", i))
			}
		}, 2, 1},
		{"three who hear one another", 3, func(r *room) {
			for i := range 3 {
				id := fmt.Sprint(i)
				r.listen(id, id)
			}
		}, 3, 3},
		{"three, and ten who hear two of them", 3, func(r *room) {
			for i := range 10 {
				r.listen(fmt.Sprint("x", i), "1")
			}
		}, 2, 1},
		{"one and his share, heard by himself", 2, func(r *room) { r.listen("0", "0", "1") }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRoom(t, Config{Codec: traceCodec{new(int)}})
			for i := range c.talkers {
				k := r.speak(fmt.Sprint(i), 0)
				k.talk = func(n int) []byte { return tracePacket(i, n) }
				k.talking = true
			}
			c.listen(r)
			if c.decodes == 0 {
				r.run(3 * time.Second)
				if s := r.m.Stats(); s.Decodes+s.Encodes != 0 {
					t.Errorf("%d decodes and %d encodes, want none", s.Decodes, s.Encodes)
				}
				return
			}
			r.run(6 * time.Second)
			before := r.m.Stats()
			r.run(time.Second)
			s := r.m.Stats()
			if d, e := s.Decodes-before.Decodes, s.Encodes-before.Encodes; d != 50*c.decodes || e != 50*c.encodes {
				t.Errorf("%d decodes and %d encodes in 50 ticks, want %d and %d", d, e, 50*c.decodes, 50*c.encodes)
			}
		})
	}
}

// TestCodecsAreGivenBack counts the encoders and decoders that are open.
func TestCodecsAreGivenBack(t *testing.T) {
	r, open := traceRoom(t, 5)
	r.mics[4].src.Configure(SourceConfig{PayloadType: testPT}) // must be decoded to know its level; it is low
	for range 5 {
		for _, k := range r.mics {
			k.talking = !k.talking
			r.run(300 * time.Millisecond)
		}
	}
	for _, k := range r.mics {
		k.talking = true
	}
	r.run(time.Second)
	// A mix for each of four talkers and one for the fifth; a decoder for each and
	// one that tells a level; and what was put aside a moment ago.
	if *open < 5+4+1 || *open > 25 {
		t.Errorf("%d codecs are open for four talkers", *open)
	}
	for _, k := range r.mics {
		k.talking, k.off = false, true
	}
	r.run(12 * time.Second)
	if *open != 0 {
		t.Errorf("%d codecs are open long after the last word", *open)
	}
	r.mics[1].off, r.mics[1].talking = false, true
	r.mics[2].off, r.mics[2].talking = false, true
	r.run(time.Second)
	r.m.Close()
	if *open != 0 {
		t.Errorf("%d codecs are open after Close", *open)
	}
}

// crowd is a meeting of many of whom some talk, ready to be ticked: next lets
// 20 ms pass, in which every client sends a packet.
func crowd(t testing.TB, people, talkers int) (next func(), m *Mixer) {
	needCodec(t)
	r := newRoom(t, Config{})
	type client struct {
		src     *Source
		packets []rtp.Packet
		run     [1]*rtp.Packet
	}
	hz := []float64{440, 800, 1330, 1990}
	clients := make([]client, people)
	for i := range clients {
		c := &clients[i]
		id := fmt.Sprint("p", i)
		c.src = r.m.AddSource(SourceConfig{ID: id, PayloadType: testPT, AudioLevelID: levelID})
		l := r.m.AddListener(ListenerConfig{Sender: &ear{r: r, mute: true}, PayloadType: testPT, SSRC: uint32(i), Exclude: []string{id, id + meeting.ContentSuffix},
			AbsSendTimeID: 3, TransportSeqID: 4, NextTransportSeq: func() uint16 { return 1 }})
		switch i % 4 {
		case 1:
			l.cfg.REDPayloadType = testRED
		case 2:
			l.cfg.REDPayloadType = testRED
			l.SetLoss(20)
		}
		k := mic{samples: 960, level: 20, ssrc: uint32(i + 1), talking: i < talkers}
		if k.talking {
			k.packets = tonePackets(t, hz[i%len(hz)], voiceAmplitude, 960, speech())
		}
		for range 100 {
			c.packets = append(c.packets, *k.packet())
		}
	}
	now, n := time.Unix(1000, 0), 0
	return func() {
		for i := range clients {
			c := &clients[i]
			p := &c.packets[n%len(c.packets)]
			// The same packets come again with the next numbers.
			p.Seq, p.Timestamp = uint16(n), uint32(n*frame)
			c.run[0] = p
			c.src.Push(c.run[:], now)
		}
		now = now.Add(20 * time.Millisecond)
		n++
		r.m.Tick(now)
		r.m.Levels(now)
	}, r.m
}

// TestNoAllocations is the steady state of the largest meeting.
func TestNoAllocations(t *testing.T) {
	for _, talkers := range []int{0, 1, 3, 7} {
		next, m := crowd(t, 250, talkers)
		for range 150 {
			next()
		}
		if n := testing.AllocsPerRun(100, next); n != 0 {
			t.Errorf("%d of 250 talk: %v allocations in 20 ms", talkers, n)
		}
		s := m.Stats()
		if total := s.Passed + s.Mixed + s.Silent; total < 250*(250-2) {
			t.Errorf("%d of 250 talk: %d packets were sent in 251 ticks", talkers, total)
		}
	}
}

// TestNoAllocationsWhenTalkersChange is a lively meeting of 250.
func TestNoAllocationsWhenTalkersChange(t *testing.T) {
	next, m := crowd(t, 250, 4)
	lively := func() {
		for i := range 4 {
			m.sources[i].SetMuted(true)
			next()
			m.sources[i].SetMuted(false)
			next()
			next()
		}
	}
	for range 20 {
		lively()
	}
	if n := testing.AllocsPerRun(20, lively); n != 0 {
		t.Errorf("%v allocations in twelve ticks with eight changes", n)
	}
}

// cpuTime is what the process used: a busy machine does not add to it.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTick(b *testing.B) {
	for _, people := range []int{50, 250} {
		for _, talkers := range []int{0, 1, 3} {
			b.Run(fmt.Sprintf("people=%d/talkers=%d", people, talkers), func(b *testing.B) {
				next, _ := crowd(b, people, talkers)
				for range 100 {
					next()
				}
				b.ReportAllocs()
				before := cpuTime(b)
				for b.Loop() {
					next()
				}
				b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/float64(people)/1e3, "cpu-µs/person/tick")
			})
		}
	}
}
