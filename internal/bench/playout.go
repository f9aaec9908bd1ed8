package bench

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"belfry/internal/bench/client"
	"belfry/internal/bench/judge"
	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

// PlayoutDelay is by how much a Playout plays behind the packet that came fastest, at
// least.
const PlayoutDelay = 120 * time.Millisecond

// Playout keeps the packets of sound that one listener is sent, and makes of them what
// came out of its loudspeaker: each packet when its turn comes, by a delay that follows
// what packets take, what is not there by then from the redundancy in the next one or by concealment. The zero
// value is ready. Hear may be called while others are being heard.
type Playout struct {
	mu      sync.Mutex
	packets []spoken
	first   uint32 // timestamp
}

type spoken struct {
	at      int64 // samples since the first packet's timestamp
	arrived int64 // ns
	payload []byte
}

// Hear takes a packet, in any order, redundant or not.
func (p *Playout) Hear(pkt *rtp.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	take := func(before uint32, payload []byte) {
		if len(payload) == 0 {
			return
		}
		if len(p.packets) == 0 {
			p.first = pkt.Timestamp
		}
		p.packets = append(p.packets, spoken{rtp.TimestampDiff(pkt.Timestamp-before, p.first), pkt.Arrival, bytes.Clone(payload)})
	}
	if pkt.PayloadType == client.PayloadRED {
		blocks(pkt.Payload(), take)
	} else {
		take(0, pkt.Payload())
	}
}

// blocks takes a redundant payload apart (RFC 2198), the newest block last, each with how
// many samples it is before that. Of what is none it takes nothing.
func blocks(b []byte, take func(before uint32, payload []byte)) {
	var heads []byte
	size := 0
	for len(b) >= 4 && b[0]&0x80 != 0 {
		heads = append(heads, b[:4]...)
		size += int(b[2]&3)<<8 | int(b[3])
		b = b[4:]
	}
	if len(b) == 0 || b[0]&0x80 != 0 || len(b)-1 < size {
		return
	}
	b = b[1:]
	for ; len(heads) > 0; heads = heads[4:] {
		n := int(heads[2]&3)<<8 | int(heads[3])
		take(uint32(heads[1])<<6|uint32(heads[2])>>2, b[:n])
		b = b[n:]
	}
	take(0, b)
}

// Played is what came out: the samples, and when they did, in ms on the clock of
// Packet.Arrival.
type Played struct {
	PCM   []int16
	Clock judge.Clock
}

// longestPlayed bounds what one Playout is good for.
const longestPlayed = 10 * time.Minute

// Play plays all that was heard.
func (p *Playout) Play() (Played, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.packets) == 0 {
		return Played{}, nil
	}
	const perSample = float64(time.Second) / opus.SampleRate
	low, high := int64(0), int64(0)
	for _, s := range p.packets {
		low, high = min(low, s.at), max(high, s.at)
	}
	slots := (high-low)/opus.FrameSamples + 1
	if slots > int64(longestPlayed/(20*time.Millisecond)) {
		return Played{}, fmt.Errorf("the timestamps of what was heard are %d samples apart", high-low)
	}
	row := make([]*spoken, slots+1) // and nothing after the last
	for i := range p.packets {
		s := &p.packets[i]
		if at := &row[(s.at-low+opus.FrameSamples/2)/opus.FrameSamples]; *at == nil || s.arrived < (*at).arrived {
			*at = s
		}
	}
	decoder, err := opus.Native().NewDecoder(1)
	if err != nil {
		return Played{}, fmt.Errorf("prepare a loudspeaker: %w", err)
	}
	defer decoder.Close()
	var out Played
	var times []float64
	pcm := make([]int16, opus.MaxFrameSamples)
	var b buffer
	begun := int64(0)
	for i := range slots {
		said := int64(float64(low+i*opus.FrameSamples) * perSample)
		due := said + b.turn(row, i, func(j int64) int64 { return int64(float64(low+j*opus.FrameSamples) * perSample) })
		there := func(s *spoken) bool { return s != nil && s.arrived <= due }
		clear(pcm)
		switch {
		case there(row[i]):
			_, err = decoder.Decode(pcm, row[i].payload)
		case there(row[i+1]):
			_, err = decoder.DecodeFEC(pcm[:opus.FrameSamples], row[i+1].payload)
		default:
			_, err = decoder.Decode(pcm[:opus.FrameSamples], nil)
		}
		if err != nil {
			clear(pcm) // what cannot be decoded is silence
		}
		if begun == 0 {
			begun = due
		}
		end := begun + int64(float64(len(out.PCM))*perSample)
		if end-due > int64(10*time.Millisecond) {
			continue // the delay went down: something is skipped
		}
		if wait := int(float64(due-end) / perSample); wait > 0 {
			out.PCM = append(out.PCM, make([]int16, wait)...)
		}
		times = append(times, float64(len(out.PCM)), float64(due)/1e6)
		out.PCM = append(out.PCM, pcm[:opus.FrameSamples]...)
	}
	out.Clock = judge.NewClock(times)
	return out, nil
}

// buffer is how far behind a Playout plays: by what the packets of the last two seconds
// took. It goes up at once, and down when that has been too much for two seconds.
type buffer struct {
	offset int64 // from a packet's timestamp to its turn, ns
	calm   int   // slots for which it has been too much
}

const (
	remembered = 100 // slots
	mostDelay  = int64(time.Second)
	slack      = int64(60 * time.Millisecond)
)

// turn returns the offset for slot i, which follows from those before it alone; at the
// beginning, from what comes first.
func (b *buffer) turn(row []*spoken, i int64, timestamp func(slot int64) int64) int64 {
	from, until := max(0, i-remembered), i
	if b.offset == 0 {
		until = min(i+10, int64(len(row)))
	}
	low, high := int64(1<<62), int64(-1<<62)
	for j := from; j < until; j++ {
		if s := row[j]; s != nil && (b.offset == 0 || s.arrived <= timestamp(i)+b.offset) {
			took := s.arrived - timestamp(j)
			low, high = min(low, took), max(high, took)
		}
	}
	if low == 1<<62 {
		return b.offset
	}
	want := min(max(low+int64(PlayoutDelay), high+int64(20*time.Millisecond)), low+mostDelay)
	switch {
	case want > b.offset:
		b.offset, b.calm = want, 0
	case b.offset-want < slack:
		b.calm = 0
	default:
		if b.calm++; b.calm >= remembered {
			b.offset, b.calm = want, 0
		}
	}
	return b.offset
}

// Code is the sound of package judge in Opus packets of 20 ms, to be spoken in a loop.
func Code() ([][]byte, error) {
	pcm, n := judge.Sound(), 0
	return speech(len(pcm)/opus.FrameSamples, func() float64 {
		n++
		return float64(pcm[n-1])
	})
}
