package transport

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/media/udp"
)

const (
	// maxQueue bounds the bytes that wait to be written, which are a key frame of a
	// large picture; what is in the writer's hands may be as much again.
	maxQueue = 256 << 10
	// stale is how old what waits may get. After it media is worth less than room
	// for what is newer.
	stale = time.Second
	// slowAfter is for how long a write may take before the client counts as one
	// that does not read.
	slowAfter = 10 * time.Second
	// linger is how long a stream that ends may take over what is queued.
	linger = 200 * time.Millisecond

	earlyBuffer  = frameHeaderLen + maxFrame // while unproved
	streamBuffer = 16 << 10
	keepBuffer   = 32 << 10 // of the queue, while it is empty
)

// stream is one TCP connection.
type stream struct {
	mux     *Mux
	conn    net.Conn
	remote  netip.AddrPort
	owner   atomic.Pointer[Conn] // since a right check; written under Mux.mu
	waiting *list.Element        // in tcpSide.unproved, under its mu
	ended   atomic.Bool          // nothing comes or goes any more

	mu      sync.Mutex
	queue   []byte // frames
	since   int64  // when the first of them came, by Now
	frames  int    // how many they are
	closing bool   // ends when the queue is written
	wake    chan struct{}
}

func newStream(m *Mux, conn net.Conn, remote netip.AddrPort) *stream {
	keepUnsentSmall(conn)
	return &stream{mux: m, conn: conn, remote: remote, wake: make(chan struct{}, 1)}
}

// write queues a packet. It never waits: what there is no room for is dropped.
func (s *stream) write(packet []byte) {
	if len(packet) == 0 {
		return
	}
	now, st := Now(), &s.mux.stats
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		st.StreamDropped.Add(1)
		return
	}
	if len(s.queue) > 0 && now-s.since > int64(stale) {
		st.StreamDropped.Add(uint64(s.frames))
		s.queue, s.frames = s.queue[:0], 0
	}
	if len(s.queue)+frameHeaderLen+len(packet) > maxQueue {
		s.mu.Unlock()
		st.StreamDropped.Add(1)
		return
	}
	if len(s.queue) == 0 {
		s.since = now
	}
	s.queue = appendFrame(s.queue, packet)
	s.frames++
	s.mu.Unlock()
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end closes the connection when what is queued has been written, or soon.
func (s *stream) end() {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		_ = s.conn.SetWriteDeadline(time.Now().Add(linger))
	}
	s.mu.Unlock()
	s.signal()
}

// kill closes the connection at once.
func (s *stream) kill() {
	s.ended.Store(true)
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	_ = s.conn.Close()
	s.signal()
}

// writeLoop empties the queue, all of it with one write.
func (s *stream) writeLoop() {
	defer s.kill()
	var batch []byte
	for range s.wake {
		for {
			s.mu.Lock()
			var frames int
			batch, s.queue = s.queue, batch[:0]
			frames, s.frames = s.frames, 0
			closing := s.closing
			if !closing && len(batch) > 0 {
				_ = s.conn.SetWriteDeadline(time.Now().Add(slowAfter))
			}
			s.mu.Unlock()
			if len(batch) > 0 {
				if _, err := s.conn.Write(batch); err != nil {
					s.mux.stats.StreamDropped.Add(uint64(frames))
					if !closing && errors.Is(err, os.ErrDeadlineExceeded) {
						s.mux.stats.StreamsSlow.Add(1)
					}
					return
				}
				s.mux.stats.StreamPacketsOut.Add(uint64(frames))
				if cap(batch) > keepBuffer {
					batch = nil
				}
				continue
			}
			if closing {
				return
			}
			break
		}
	}
}

// readLoop cuts what comes into packets and has them handled, many at a time.
func (s *stream) readLoop(head []byte) {
	defer s.mux.forgetStream(s)
	defer s.kill()
	st := &s.mux.stats
	buf := make([]byte, max(earlyBuffer, len(head)))
	have := copy(buf, head)
	packets := make([]udp.Packet, 0, udp.InboxSize)
	brought := have
	var renewed int64
	for {
		if have > 0 {
			n, err := s.take(buf[:have], &packets)
			if err != nil {
				st.StreamsMalformed.Add(1)
				return
			}
			have = copy(buf, buf[n:have])
		}
		if now := Now(); s.owner.Load() != nil {
			if len(buf) < streamBuffer {
				buf = append(make([]byte, 0, streamBuffer), buf[:have]...)[:streamBuffer]
			}
			if now-renewed > int64(s.mux.cfg.IdleTimeout)/8 {
				renewed = now
				_ = s.conn.SetReadDeadline(time.Now().Add(s.mux.cfg.IdleTimeout))
			}
		} else if brought > unprovedBytes {
			st.StreamsNoisy.Add(1)
			return
		}
		n, err := s.conn.Read(buf[have:])
		have += n
		brought += n
		if err != nil {
			if s.owner.Load() == nil && errors.Is(err, os.ErrDeadlineExceeded) {
				st.StreamsMute.Add(1)
			}
			return
		}
	}
}

// take handles the whole frames that b begins with, and tells their length.
func (s *stream) take(b []byte, packets *[]udp.Packet) (int, error) {
	rest := b
	for {
		frame, after, err := nextFrame(rest)
		if err != nil {
			return 0, err
		}
		done := len(after) == len(rest)
		rest = after
		if frame != nil {
			*packets = append(*packets, udp.Packet{Data: frame, Addr: s.remote})
		}
		if len(*packets) > 0 && (done || len(*packets) == udp.InboxSize) {
			s.handle(*packets)
			*packets = (*packets)[:0]
		}
		if done {
			return len(b) - len(rest), nil
		}
	}
}

func (s *stream) handle(packets []udp.Packet) {
	l := s.mux.spareLoops.Get().(*loop)
	l.stream = s
	l.handle(packets, Now())
	l.stream = nil
	s.mux.spareLoops.Put(l)
	s.mux.stats.StreamPacketsIn.Add(uint64(len(packets)))
}
