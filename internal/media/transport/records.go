package transport

import (
	"encoding/binary"

	"github.com/pion/logging"
)

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
	if !plausibleDTLS(b, done) || !c.pipe.Push(append([]byte(nil), b...)) {
		c.mux.stats.DroppedDTLS.Add(1)
		return
	}
	if !done {
		c.received.Store(now) // a handshake under way; later records prove nothing by themselves
	}
}

// writeDTLS sends a datagram of the handshake or an alert.
func (c *Conn) writeDTLS(b []byte) {
	switch p := c.path.Load(); {
	case p == nil:
	case p.stream != nil:
		p.stream.write(b)
	default:
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
