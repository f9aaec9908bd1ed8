package bench

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"belfry/internal/bench/process"
	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

// Floor is what the bare work costs on this machine, with nothing around it: one
// thread that writes headers, seals and sends at the pace of a meeting, and
// reads and opens. µs of CPU.
type Floor struct {
	Frames  map[string]float64 `json:"frames"`  // a packet sealed and sent, by how many people × packets at a time
	Sound   map[string]float64 `json:"sound"`   // the same of 100 bytes each 20 ms, by people
	Receive float64            `json:"receive"` // a packet read and opened, many at a time
	Encode  float64            `json:"encode"`  // 20 ms of a mix
	Decode  float64            `json:"decode"`  // 20 ms of a voice
}

// MeasureFloor takes about 20 s.
func MeasureFloor() (f Floor, err error) {
	f.Frames, f.Sound = map[string]float64{}, map[string]float64{}
	for _, c := range []struct{ people, packets int }{{50, 4}, {100, 4}, {50, 16}} {
		if f.Frames[frames(c.people, c.packets)], err = bareSend(c.people, c.packets, 1050, time.Second/30, 2*time.Second); err != nil {
			return f, err
		}
	}
	for _, people := range []int{50, 100, 1000} {
		if f.Sound[fmt.Sprint(people)], err = bareSend(people, 1, 100, 20*time.Millisecond, 2*time.Second); err != nil {
			return f, err
		}
	}
	if f.Receive, err = bareReceive(200); err != nil {
		return f, err
	}
	f.Encode, f.Decode, err = bareCodec(200)
	return f, err
}

func frames(people, packets int) string { return fmt.Sprintf("%d × %d", people, packets) }

// Of is the floor of a workload in its metric; 0: none was measured.
func (f Floor) Of(w Workload) float64 {
	l := w.Load
	switch {
	case w.Metric == PerPacket && l.Publishers == 1:
		packets := (l.VideoRate/8/30 + 525) / 1050
		out := f.Frames[frames(l.Viewers, packets)]
		if out == 0 {
			return 0
		}
		return out + f.Receive/float64(l.Viewers)
	case w.Metric == PerPerson:
		out := f.Sound[fmt.Sprint(l.Viewers)]
		if out == 0 {
			return 0
		}
		mixing := 0.0
		if l.Talking > 1 { // each talker is decoded, and hears a mix without itself
			mixing = float64(l.Talking)*f.Decode + float64(l.Talking+1)*f.Encode
		}
		const each = 50 * 1e-6 * 100 // of µs each 20 ms, % of a core
		return each * (out + f.Receive + mixing/float64(l.Viewers))
	}
	return 0
}

// sealed is one receiver of bare packets.
type sealed struct {
	port    *udp.Port
	to      netip.AddrPort
	context *srtp.Context
	keys    [28]byte
	seq     uint16
}

func newSealed() (*sealed, error) {
	s := &sealed{}
	_, _ = rand.Read(s.keys[:])
	var err error
	if s.context, err = srtp.NewContext(srtp.AES_128_GCM, s.keys[:16], s.keys[16:]); err != nil {
		return nil, err
	}
	if s.port, err = udp.Listen("127.0.0.1:0", 1); err != nil {
		return nil, err
	}
	s.to = s.port.Addr()
	return s, nil
}

// put writes a packet into a batch.
func (s *sealed) put(out *udp.Batch, header, payload []byte) {
	s.seq++
	var w rtp.HeaderWriter
	w.Begin(header, 96, false, s.seq, 0, 4711)
	w.TransportSequence(3, s.seq)
	if n, err := s.context.SealRTP(out.Reserve(s.to, len(w.Bytes())+len(payload)+s.context.Overhead()), w.Bytes(), payload); err == nil {
		out.Commit(n)
	}
}

func many(n int) (list []*sealed, closing func(), err error) {
	var readers sync.WaitGroup
	closing = func() {
		for _, s := range list {
			_ = s.port.Close()
		}
		readers.Wait()
	}
	for range n {
		s, err := newSealed()
		if err != nil {
			closing()
			return nil, nil, err
		}
		list = append(list, s)
		readers.Go(func() {
			inbox := udp.NewInbox()
			for {
				if _, err := s.port.Sockets[0].Read(inbox); err != nil {
					return
				}
			}
		})
	}
	return list, closing, nil
}

// bareSend sends so many packets to each at a time, each time after every.
func bareSend(people, packets, size int, every, during time.Duration) (float64, error) {
	list, closing, err := many(people)
	if err != nil {
		return 0, err
	}
	defer closing()
	own, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		return 0, err
	}
	defer own.Close()
	out := own.Sockets[0].NewBatch()
	header, payload := make([]byte, rtp.MaxHeader), make([]byte, size)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := process.ThreadCPU()
	if err != nil {
		return 0, err
	}
	sent := 0
	for next, end := time.Now(), time.Now().Add(during); next.Before(end); next = next.Add(every) {
		time.Sleep(time.Until(next))
		for _, s := range list {
			for range packets {
				s.put(out, header, payload)
				sent++
			}
		}
		if err := out.Flush(); err != nil {
			return 0, fmt.Errorf("send bare packets: %w", err)
		}
	}
	after, err := process.ThreadCPU()
	if err != nil {
		return 0, err
	}
	return float64((after - before).Nanoseconds()) / 1e3 / float64(sent), nil
}

// bareReceive reads and opens what lies in a socket's buffer, some packets at a time.
func bareReceive(rounds int) (float64, error) {
	s, err := newSealed()
	if err != nil {
		return 0, err
	}
	defer s.port.Close()
	own, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		return 0, err
	}
	defer own.Close()
	open, err := srtp.NewContext(srtp.AES_128_GCM, s.keys[:16], s.keys[16:])
	if err != nil {
		return 0, err
	}
	out, inbox := own.Sockets[0].NewBatch(), udp.NewInbox()
	header, payload := make([]byte, rtp.MaxHeader), make([]byte, 100)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var spent time.Duration
	var p rtp.Packet
	read := 0
	for range rounds {
		for range 32 {
			s.put(out, header, payload)
		}
		if err := out.Flush(); err != nil {
			return 0, fmt.Errorf("send bare packets: %w", err)
		}
		before, err := process.ThreadCPU()
		if err != nil {
			return 0, err
		}
		n, err := s.port.Sockets[0].Read(inbox)
		if err != nil {
			return 0, fmt.Errorf("read bare packets: %w", err)
		}
		for i := range inbox.Packets[:n] {
			b := inbox.Packets[i].Data
			if err := p.ParseHeader(b); err != nil {
				return 0, fmt.Errorf("read bare packets: %w", err)
			}
			if _, err := open.OpenRTP(b, p.HeaderLen); err != nil {
				return 0, fmt.Errorf("open bare packets: %w", err)
			}
		}
		after, err := process.ThreadCPU()
		if err != nil {
			return 0, err
		}
		spent += after - before
		read += n
	}
	return float64(spent.Nanoseconds()) / 1e3 / float64(read), nil
}

// bareCodec encodes as the mixer does and decodes voices.
func bareCodec(rounds int) (encode, decode float64, err error) {
	words, err := voice(0)
	if err != nil {
		return 0, 0, err
	}
	d, err := opus.Native().NewDecoder(1)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	e, err := opus.Native().NewEncoder(opus.EncoderConfig{Channels: 1, Application: opus.LowDelay, Bitrate: 32000, Complexity: 5})
	if err != nil {
		return 0, 0, err
	}
	defer e.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pcm, out := make([]int16, opus.FrameSamples), make([]byte, opus.MaxPacket)
	var spent [2]time.Duration
	for i := range rounds {
		begin, err := process.ThreadCPU()
		if err != nil {
			return 0, 0, err
		}
		if _, err := d.Decode(pcm, words[i%len(words)]); err != nil {
			return 0, 0, err
		}
		middle, err := process.ThreadCPU()
		if err != nil {
			return 0, 0, err
		}
		if _, err := e.Encode(out, pcm); err != nil {
			return 0, 0, err
		}
		end, err := process.ThreadCPU()
		if err != nil {
			return 0, 0, err
		}
		spent[0] += end - middle
		spent[1] += middle - begin
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(rounds) }
	return us(spent[0]), us(spent[1]), nil
}
