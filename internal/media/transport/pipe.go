package transport

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/logging"
)

// pipeDepth bounds the DTLS datagrams that wait for a Conn's handshake; a flight
// of a browser is a handful.
const pipeDepth = 32

// pipe is the net.PacketConn that DTLS runs on: the Mux pushes the Conn's
// datagrams in, and what is written goes to the Conn's address of the moment.
type pipe struct {
	in     chan []byte
	write  func([]byte)
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{} // closed when the read deadline has passed
}

func newPipe(write func([]byte)) *pipe {
	return &pipe{
		in:     make(chan []byte, pipeDepth),
		write:  write,
		closed: make(chan struct{}),
		late:   make(chan struct{}),
	}
}

// push queues a datagram, which it keeps. It says false when the queue is full.
func (p *pipe) push(b []byte) bool {
	select {
	case p.in <- b:
		return true
	default:
		return false
	}
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	late := p.late
	p.mu.Unlock()
	select { // a passed deadline and a close come before what is queued
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-late:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case d := <-p.in:
		return copy(b, d), pipeAddr{}, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-late:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	p.write(b) // what does not arrive is sent again by DTLS
	return len(b), nil
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipe) LocalAddr() net.Addr { return pipeAddr{} }

func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline changes nothing: writes do not wait.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fired := false
	if p.timer != nil {
		fired = !p.timer.Stop()
		p.timer = nil
	}
	select {
	case <-p.late:
		fired = true
	default:
	}
	if fired {
		// Closed, or about to be by the timer that could not be stopped.
		p.late = make(chan struct{})
	}
	if t.IsZero() {
		return nil
	}
	late := p.late
	if d := time.Until(t); d > 0 {
		p.timer = time.AfterFunc(d, func() { close(late) })
	} else {
		close(late)
	}
	return nil
}

// pipeAddr stands for the peer, whose address may change.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "udp" }
func (pipeAddr) String() string  { return "peer" }

// Content types of DTLS records (RFC 5246 6.2.1).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23

	recordHeaderLen = 13
)

// plausibleDTLS says whether a datagram consists of records that a client could
// have sent. What is not encrypted proves nothing about who sent it, and the DTLS
// library answers some nonsense with a fatal alert, so that anybody who forged a
// client's address could end its connection: such records stop here. Once the
// handshake is done only repeated flights of it still come in clear.
func plausibleDTLS(b []byte, done bool) bool {
	for len(b) > 0 {
		if len(b) < recordHeaderLen || b[1] != 0xFE || b[2] != 0xFD && b[2] != 0xFF {
			return false
		}
		kind, epoch := b[0], binary.BigEndian.Uint16(b[3:])
		n := int(binary.BigEndian.Uint16(b[11:]))
		if n == 0 || len(b) < recordHeaderLen+n {
			return false
		}
		body := b[recordHeaderLen:][:n]
		switch kind {
		case recordHandshake:
		case recordChangeCipherSpec:
			if epoch == 0 && (n != 1 || body[0] != 1) {
				return false
			}
		case recordAlert:
			if epoch == 0 && (done || n != 2) {
				return false
			}
		case recordApplicationData:
			if epoch == 0 {
				return false
			}
		default:
			return false
		}
		b = b[recordHeaderLen+n:]
	}
	return true
}

// pushDTLS queues a copy of a datagram for the Conn's handshake.
func (c *Conn) pushDTLS(b []byte, now int64) {
	done := c.out.Load() != nil
	if !plausibleDTLS(b, done) || !c.pipe.push(append([]byte(nil), b...)) {
		c.mux.stats.DroppedDTLS.Add(1)
		return
	}
	if !done {
		c.received.Store(now) // a handshake under way; later records prove nothing by themselves
	}
}

// writeDTLS sends a datagram of the handshake or an alert.
func (c *Conn) writeDTLS(b []byte) {
	if p := c.path.Load(); p != nil {
		_ = c.socket.WriteTo(b, p.addr) // counted by the port
	}
}

// quiet keeps the DTLS library from writing to the standard error: what it has
// to say comes back as an error.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger { return quiet{} }

func (quiet) Trace(string)          {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Debug(string)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(string)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(string)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(string)          {}
func (quiet) Errorf(string, ...any) {}
