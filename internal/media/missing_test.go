package media

import (
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
)

// TestLostAudioIsAskedFor: what a talker's network loses is asked for, and when it
// comes it reaches the listener under the number that was kept for it.
func TestLostAudioIsAskedFor(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	enter := func(id string) *client {
		c := r.enter(id)
		c.negotiate()
		c.connect()
		return c
	}
	a, b := enter("a"), enter("b")
	say := spoken("a")
	ssrc := a.sections[0].ssrc
	kept := map[uint16]*pionrtp.Packet{}
	var mu sync.Mutex
	again := map[string]bool{} // what was sent only when it was asked for
	sent := 0
	stop := every(20*time.Millisecond, func() {
		p := &pionrtp.Packet{
			Header:  pionrtp.Header{Version: 2, PayloadType: a.opus, SequenceNumber: a.next(ssrc), Timestamp: 960 * uint32(sent), SSRC: ssrc},
			Payload: say(sent),
		}
		_ = p.SetExtension(extLevel, []byte{20})
		if sent%10 == 5 {
			kept[p.SequenceNumber] = p
		} else {
			a.send(p)
		}
		sent++
		for _, pkt := range a.control() {
			n, ok := pkt.(*rtcp.TransportLayerNack)
			if !ok || n.MediaSSRC != ssrc {
				continue
			}
			for _, pair := range n.Nacks {
				for _, seq := range pair.PacketList() {
					if p := kept[seq]; p != nil {
						delete(kept, seq)
						a.send(p)
						mu.Lock()
						again[string(p.Payload)] = true
						mu.Unlock()
					}
				}
			}
		}
	})
	t.Cleanup(stop)
	eventually(t, "what was asked for, at the listener", func() bool {
		mu.Lock()
		defer mu.Unlock()
		came := 0
		for _, p := range b.got(b.audio()) {
			if again[string(p.Payload)] {
				came++
			}
		}
		s := r.server.Stats().Audio
		return came >= 5 && s.Asked >= 5 && s.Repaired >= 5
	})
}
