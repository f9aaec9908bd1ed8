package media

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	pionrtp "github.com/pion/rtp"
)

const redType = 63

// redPacket is RFC 2198 with one older block.
func redPacket(opus uint8, older, primary []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1<<31|uint32(opus)<<24|960<<10|uint32(len(older)))
	return append(append(append(b, opus), older...), primary...)
}

// TestRedundantAudio: two clients prefer redundancy and one does not. What the
// talker loses comes again with the next packet and reaches both, and the one
// that prefers it gets redundancy of its own.
func TestRedundantAudio(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	enter := func(id string, red bool) *client {
		c := r.enter(id)
		c.redFirst = red
		c.negotiate()
		c.connect()
		return c
	}
	a, b, c := enter("a", true), enter("b", true), enter("c", false)
	for _, x := range []struct {
		who  *client
		want []string
	}{{a, []string{"63", "111"}}, {b, []string{"63", "111"}}, {c, []string{"111"}}} {
		if got := x.who.answer.sections[0].formats; !slices.Equal(got, x.want) {
			t.Errorf("%s is answered %v, want %v", x.who.id, got, x.want)
		}
	}

	say := spoken("a")
	ssrc := a.sections[0].ssrc
	sent := 0
	packet := func() {
		p := &pionrtp.Packet{
			Header:  pionrtp.Header{Version: 2, PayloadType: redType, SequenceNumber: a.next(ssrc), Timestamp: 960 * uint32(sent), SSRC: ssrc},
			Payload: redPacket(a.opus, say(max(0, sent-1)), say(sent)),
		}
		_ = p.SetExtension(extLevel, []byte{20})
		if sent%5 != 3 {
			a.send(p)
		}
		sent++
	}
	// Before numbers are compared the stream runs, and nobody is held up.
	heard := func(who *client, opusType uint8) (packets map[uint32][]byte, red int) {
		packets = map[uint32][]byte{}
		for _, p := range who.got(who.audio()) {
			payload := p.Payload
			if p.PayloadType == redType {
				red++
				for payload[0]&0x80 != 0 {
					n := int(payload[2]&3)<<8 | int(payload[3])
					if payload[0]&0x7f != opusType {
						t.Fatalf("a block has payload type %d", payload[0]&0x7f)
					}
					// The block is the first behind the headers, where there is one only.
					offset := uint32(binary.BigEndian.Uint16(payload[1:]) >> 2)
					if was, ok := packets[p.Timestamp-offset]; ok && payload[4]&0x80 == 0 && !bytes.Equal(was, payload[5:5+n]) {
						t.Fatalf("%q came again as %q", was, payload[5:5+n])
					}
					rest := payload[4:]
					payload = skipOlder(rest, n)
				}
				payload = payload[1:]
			} else if p.PayloadType != opusType {
				t.Fatalf("%s: payload type %d", who.id, p.PayloadType)
			}
			packets[p.Timestamp] = payload
		}
		return packets, red
	}
	count := func(packets map[uint32][]byte) int {
		all := map[string]bool{}
		for _, p := range packets {
			if bytes.Contains(p, []byte("said by a,")) {
				all[string(p)] = true
			}
		}
		return len(all)
	}
	stop := every(20*time.Millisecond, packet)
	t.Cleanup(stop)
	eventually(t, "what was brought back, at both", func() bool {
		pb, red := heard(b, b.opus)
		pc, _ := heard(c, c.opus)
		return red >= 50 && count(pb) >= 60 && count(pc) >= 60 && r.server.Stats().Audio.Restored >= 10
	})
	stop()
	for _, p := range c.got(c.audio()) {
		if p.PayloadType != c.opus {
			t.Fatalf("c, who does not prefer it, got payload type %d", p.PayloadType)
		}
	}
	// Nobody misses what was brought back: numbers have no holes.
	packets := c.got(c.audio())
	slices.SortStableFunc(packets, func(p, q *pionrtp.Packet) int { return int(int16(p.SequenceNumber - q.SequenceNumber)) })
	for i := 1; i < len(packets); i++ {
		if d := packets[i].SequenceNumber - packets[i-1].SequenceNumber; d != 1 && i < len(packets)-2 {
			t.Fatalf("number %d is followed by %d", packets[i-1].SequenceNumber, packets[i].SequenceNumber)
		}
	}
}

// skipOlder is a redundant payload behind its first header, without the block of
// n bytes that belongs to it.
func skipOlder(rest []byte, n int) []byte {
	heads := 0
	for rest[heads]&0x80 != 0 {
		heads += 4
	}
	heads++
	return append(append([]byte(nil), rest[:heads]...), rest[heads+n:]...)
}
