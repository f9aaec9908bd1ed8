package transport

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"

	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

func record(kind byte, epoch byte, body ...byte) []byte {
	return append([]byte{kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestPlausibleDTLS(t *testing.T) {
	for _, tt := range []struct {
		name                string
		b                   []byte
		handshaking, opened bool
	}{
		{"handshake", record(22, 0, 1, 2, 3), true, true}, // a repeated flight
		{"encrypted handshake", record(22, 1, 1, 2, 3), true, true},
		{"change cipher spec", record(20, 0, 1), true, true},
		{"two records", append(record(20, 0, 1), record(22, 1, 1, 2, 3)...), true, true},
		{"encrypted alert", record(21, 1, 1, 2, 3), true, true},
		{"alert in clear", record(21, 0, 2, 40), true, false},
		{"encrypted data", record(23, 1, 1), true, true},

		{"data in clear", record(23, 0, 1), false, false},
		{"long change cipher spec", record(20, 0, 1, 1), false, false},
		{"other change cipher spec", record(20, 0, 2), false, false},
		{"long alert", record(21, 0, 2, 40, 0), false, false},
		{"data in clear behind a handshake", append(record(22, 0, 1), record(23, 0, 1)...), false, false},
		{"empty record", record(22, 0), false, false},
		{"cut record", record(22, 0, 1, 2, 3)[:15], false, false},
		{"cut header", record(22, 0, 1, 2, 3)[:12], false, false},
		{"something behind", append(record(22, 0, 1), 22), false, false},
		{"another version", append([]byte{22, 3, 3}, record(22, 0, 1)[3:]...), false, false},
		{"connection ID", record(25, 1, 1, 2, 3), false, false},
	} {
		if got := plausibleDTLS(tt.b, false); got != tt.handshaking {
			t.Errorf("%s during the handshake: %v", tt.name, got)
		}
		if got := plausibleDTLS(tt.b, true); got != tt.opened {
			t.Errorf("%s afterwards: %v", tt.name, got)
		}
	}
}

// Records that a forger of the client's address can make end no connection, on
// neither side.
func TestForgedRecords(t *testing.T) {
	for _, setup := range []string{SetupActive, SetupPassive} {
		t.Run(setup, func(t *testing.T) {
			m := newMux(t, Config{})
			c, r := open(t, m)
			cl := newClient(t, m, c, setup)
			cl.connect(r)
			cl.exchange(c, r, 0)
			for i, b := range [][]byte{
				record(21, 0, 2, 40), record(21, 0, 1, 0), record(21, 0, 9), record(23, 0, 1, 2, 3),
				record(20, 0, 7), record(24, 0, 1), record(22, 0, 1, 2, 3), record(22, 0, make([]byte, 40)...),
				record(22, 0, 1, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 5), record(22, 1, make([]byte, 40)...),
				record(21, 1, make([]byte, 26)...), record(23, 1, 5), record(20, 0, 1), {22}, {20, 1, 2, 3},
			} {
				if len(b) > 10 {
					b[9], b[10] = 0x20, byte(i) // a sequence number that was not seen
				}
				cl.hand(m, b)
				cl.exchange(c, r, uint16(i+1))
			}
			if len(cl.dtlsDone) > 0 || len(r.closed) > 0 {
				t.Fatal("a forged record ended the connection")
			}
			cl.dtls.Close()
			if reason := await(t, r.closed, "Closed"); reason != errPeerClosed.Error() {
				t.Errorf("closed because of %q", reason)
			}
		})
	}
}

func FuzzPlausibleDTLS(f *testing.F) {
	f.Add(record(22, 0, 1, 2, 3), false)
	f.Add(append(record(20, 0, 1), record(22, 1, 1, 2, 3)...), true)
	f.Add(record(23, 0, 1), true)
	f.Fuzz(func(t *testing.T, b []byte, done bool) {
		ok := plausibleDTLS(b, done)
		if !ok || len(b) == 0 {
			return
		}
		records, err := recordlayer.UnpackDatagram(b)
		if err != nil {
			t.Fatalf("plausible, but it cannot be read: %v", err)
		}
		for _, r := range records {
			var h recordlayer.Header
			if err := h.Unmarshal(r); err != nil {
				t.Fatalf("plausible, but a header cannot be read: %v", err)
			}
			if h.Epoch != 0 || r[0] == 22 {
				continue
			}
			if err := new(recordlayer.RecordLayer).Unmarshal(r); err != nil {
				t.Errorf("a plain record is plausible and gets a fatal alert: %v", err)
			}
		}
	})
}

func FuzzFingerprint(f *testing.F) {
	_, print, err := makeCertificate(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(print)
	f.Add("SHA-512 " + strings.Repeat("aa:", 63) + "aa")
	f.Add("sha-256 ")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseFingerprint(s)
		if err != nil {
			return
		}
		if len(p.sum) != p.hash.Size() {
			t.Errorf("%d bytes", len(p.sum))
		}
		name := strings.Fields(s)[0]
		again, err := parseFingerprint(name + " " + colons(p.sum))
		if err != nil || !again.equal(p) {
			t.Errorf("%q is not what it was when written again: %v", s, err)
		}
	})
}

// FuzzDatagram gives a connected Conn anything, as it is and as the content of an
// authentic packet.
func FuzzDatagram(f *testing.F) {
	m := newMux(f, Config{})
	p := srtp.AES_128_GCM
	c := newConn(m, nil, "server", "0123456789012345678901")
	h := &quietHandler{conn: c}
	c.handler = h
	from := sink(f)
	m.byUfrag["server"], m.byAddr[from] = c, c
	c.path.Store(&path{origin: origin{addr: from}})
	go c.run()
	l := newLoop(m, m.port.Sockets[0])

	f.Add(rtpPacket(1, 1, "payload"), true)
	f.Add(report, true)
	f.Add(append([]byte{0xB0}, rtpPacket(1, 1, "padding\x03")[1:]...), true)
	f.Add(record(22, 0, 1, 2, 3), false)
	f.Add([]byte{0x80}, false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if len(b) > udp.MaxReceive-32 {
			return
		}
		key, salt := make([]byte, p.KeyLen()), make([]byte, p.SaltLen())
		theirs, err := srtp.NewContext(p, key, salt)
		if err != nil {
			t.Fatal(err)
		}
		in, _ := srtp.NewContext(p, key, salt)
		out, _ := srtp.NewContext(p, key, salt)
		c.in = in
		c.out.Store(out)
		accepted := m.stats.RTPIn.Load() + m.stats.RTCPIn.Load()
		sealed := make([]byte, len(b)+32)
		n := 0
		if seal && len(b) >= 20 && b[0]>>6 == 2 {
			if b[1] >= 192 && b[1] <= 223 {
				n, _ = theirs.SealRTCP(sealed, b)
			} else {
				// As much of it is header as a reader will take for it.
				header := min(len(b), 12+4*int(b[0]&15))
				if b[0]&0x10 != 0 && len(b) >= header+4 {
					header = min(len(b), header+4+4*(int(b[header+2])<<8|int(b[header+3])))
				}
				n, _ = theirs.SealRTP(sealed, b[:header], b[header:])
			}
		}
		if n > 0 {
			l.handle([]udp.Packet{{Data: sealed[:n:n], Addr: from}}, Now())
		} else {
			l.handle([]udp.Packet{{Data: b, Addr: from}}, Now())
			if m.stats.RTPIn.Load()+m.stats.RTCPIn.Load() != accepted {
				t.Error("what is not authentic was taken")
			}
		}
		for buf := make([]byte, 2048); c.pipe.Waiting() > 0; {
			if _, _, err := c.pipe.ReadFrom(buf); err != nil {
				t.Fatal(err)
			}
		}
	})
}
