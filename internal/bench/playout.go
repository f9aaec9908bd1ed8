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

// PlayoutDelay is by how much a Playout plays behind the packet that came fastest.
const PlayoutDelay = 120 * time.Millisecond

// Playout keeps the packets of sound that one listener is sent, and makes of them what
// came out of its loudspeaker: each packet PlayoutDelay behind the fastest one, what is
// not there by then from the redundancy in the next one or by concealment. The zero
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
	low, high, fastest := int64(0), int64(0), int64(1<<62)
	for _, s := range p.packets {
		low, high = min(low, s.at), max(high, s.at)
		fastest = min(fastest, s.arrived-int64(float64(s.at)*perSample))
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
	out := Played{PCM: make([]int16, 0, slots*opus.FrameSamples)}
	times := make([]float64, 0, 2*slots)
	pcm := make([]int16, opus.MaxFrameSamples)
	for i := range slots {
		due := fastest + int64(float64(low+i*opus.FrameSamples)*perSample) + int64(PlayoutDelay)
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
		times = append(times, float64(len(out.PCM)), float64(due)/1e6)
		out.PCM = append(out.PCM, pcm[:opus.FrameSamples]...)
	}
	out.Clock = judge.NewClock(times)
	return out, nil
}

// Code is the sound of package judge in Opus packets of 20 ms, to be spoken in a loop.
func Code() ([][]byte, error) {
	pcm, n := judge.Sound(), 0
	return speech(len(pcm)/opus.FrameSamples, func() float64 {
		n++
		return float64(pcm[n-1])
	})
}
