package bwe

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// FuzzEstimator lets a client report anything about what it was sent: the target
// stays within its bounds, and what else is told of the network is possible.
func FuzzEstimator(f *testing.F) {
	// Sixteen packets, then a feedback of which all, and then one of which half arrived.
	all := []byte{0, 15, 0, 16, 0, 0, 1, 0, 0x20, 16, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4}
	half := []byte{0, 15, 0, 14, 0, 0, 2, 1, 0xAA, 0xAA, 4, 4, 4, 4, 4, 4, 4}
	f.Add(append(append([]byte{0, 16, 3, 20, 2, byte(len(all))}, all...), append([]byte{0, 16, 3, 20, 2, byte(len(half))}, half...)...))
	f.Add([]byte{4, 0, 0, 0, 0, 0, 9, 39, 192, 3, 250, 4, 255, 255, 255, 255, 255, 255, 255, 255, 5, 200, 3, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg := Config{Min: 50_000, Max: 30_000_000}
		e := New(cfg)
		now := int64(second)
		next := func() byte {
			if len(in) == 0 {
				return 0
			}
			v := in[0]
			in = in[1:]
			return v
		}
		for steps := 0; len(in) > 0 && steps < 2000; steps++ {
			switch next() % 6 {
			case 0:
				for range next() {
					e.Send(1200, now)
				}
			case 1: // any bytes
				n := min(int(next()), len(in))
				e.Feedback(in[:n], now)
				in = in[n:]
			case 2: // a feedback about packets that were sent lately
				n := min(int(next()), len(in))
				body := bytes.Clone(in[:n])
				in = in[n:]
				if n >= 2 {
					binary.BigEndian.PutUint16(body, uint16(e.Stats().Sent)-uint16(body[1]))
				}
				e.Feedback(body, now)
			case 3:
				now += int64(next()) * 5 * millisecond
			case 4:
				var v [8]byte
				n := copy(v[:], in)
				in = in[n:]
				e.REMB(binary.BigEndian.Uint64(v[:]), now)
			case 5:
				e.Want(int64(next()) * 100_000)
				if n := e.Padding(now); n < 0 || n > 1<<20 {
					t.Fatalf("padding of %d", n)
				}
			}
			if v := e.Target(); v < cfg.Min || v > cfg.Max {
				t.Fatalf("target %d", v)
			}
			if v := e.Loss(); math.IsNaN(v) || v < 0 || v > 1 {
				t.Fatalf("loss %v", v)
			}
			if v := e.QueueDelay(); v < 0 {
				t.Fatalf("queue delay %d", v)
			}
			if v := e.Sending(now); v < 0 {
				t.Fatalf("sending %d", v)
			}
			e.Congested(now)
		}
	})
}
