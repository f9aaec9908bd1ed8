package transport

import (
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"net/netip"
)

// STUN as ICE uses it (RFC 8489, RFC 8445): binding requests in, their answers
// out. Reading keeps offsets into the packet and writing fills a given buffer, so
// that checks, which every client sends all the time, allocate nothing.

const (
	stunHeaderLen = 20
	stunCookie    = 0x2112A442
	stunMaxLen    = 1280 // of a request; browsers stay below 200

	typeRequest    = 0x0001 // of method Binding
	typeIndication = 0x0011
	typeSuccess    = 0x0101
	typeError      = 0x0111

	attrUsername          = 0x0006
	attrIntegrity         = 0x0008
	attrErrorCode         = 0x0009
	attrUnknownAttributes = 0x000A
	attrXORMappedAddress  = 0x0020
	attrPriority          = 0x0024
	attrUseCandidate      = 0x0025
	attrFingerprint       = 0x8028
	attrControlled        = 0x8029

	integrityLen   = 20
	fingerprintXOR = 0x5354554e
	maxUnknown     = 8 // unknown attributes told back
)

var (
	errSTUNShort       = errors.New("stun: packet is too short")
	errSTUNHeader      = errors.New("stun: wrong type bits, cookie or length")
	errSTUNAttribute   = errors.New("stun: an attribute runs over the end or has a wrong length")
	errSTUNFingerprint = errors.New("stun: fingerprint is missing, wrong or not last")
)

// stunMessage is a message, parsed in place.
type stunMessage struct {
	raw          []byte
	kind         uint16
	username     []byte
	integrityAt  int // offset of MESSAGE-INTEGRITY, 0 when there is none
	useCandidate bool
	controlled   bool               // the sender believes that we control
	unknown      [maxUnknown]uint16 // attributes that must be understood and are not
	unknowns     int
}

// parse reads a message and checks its FINGERPRINT, which ICE demands (RFC 8445
// 7.1); the integrity is checked apart, when the key is known.
func (m *stunMessage) parse(b []byte) error {
	*m = stunMessage{raw: b}
	if len(b) < stunHeaderLen {
		return errSTUNShort
	}
	if b[0]&0xC0 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie || len(b) > stunMaxLen ||
		len(b)%4 != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeaderLen {
		return errSTUNHeader
	}
	m.kind = binary.BigEndian.Uint16(b)
	for at := stunHeaderLen; at < len(b); {
		// The length is a multiple of four and so is at: four bytes are there.
		kind, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + (n+3)&^3
		if next > len(b) {
			return errSTUNAttribute
		}
		value := b[at+4 : at+4+n]
		if kind == attrFingerprint {
			if n != 4 || next != len(b) || binary.BigEndian.Uint32(value) != crc32.ChecksumIEEE(b[:at])^fingerprintXOR {
				return errSTUNFingerprint
			}
			return nil
		}
		if m.integrityAt == 0 { // what follows it is not covered and ignored (RFC 8489 14.5)
			switch kind {
			case attrUsername:
				m.username = value
			case attrIntegrity:
				if n != integrityLen {
					return errSTUNAttribute
				}
				m.integrityAt = at
			case attrUseCandidate:
				m.useCandidate = true
			case attrControlled:
				m.controlled = true
			case attrPriority:
			default:
				if kind < 0x8000 && m.unknowns < maxUnknown {
					m.unknown[m.unknowns] = kind
					m.unknowns++
				}
			}
		}
		at = next
	}
	return errSTUNFingerprint
}

// authentic checks MESSAGE-INTEGRITY under the key of mac. sum is scratch.
func (m *stunMessage) authentic(mac hash.Hash, sum *[integrityLen]byte) bool {
	if m.integrityAt == 0 {
		return false
	}
	got := m.raw[m.integrityAt+4 : m.integrityAt+4+integrityLen]
	return hmacEqual(stunMAC(mac, m.raw[:m.integrityAt], sum), got)
}

// stunMAC is the HMAC over a message up to MESSAGE-INTEGRITY, whose header says
// that this attribute ends it (RFC 8489 14.5). The two bytes are put into the
// message and back, since other memory for them would have to be allocated.
func stunMAC(mac hash.Hash, b []byte, sum *[integrityLen]byte) []byte {
	old := binary.BigEndian.Uint16(b[2:])
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeaderLen+4+integrityLen))
	mac.Reset()
	mac.Write(b)
	binary.BigEndian.PutUint16(b[2:], old)
	return mac.Sum(sum[:0])
}

// stunWriter writes an answer into b, whose capacity must suffice:
// maxSTUNAnswer bytes do.
type stunWriter struct{ b []byte }

const maxSTUNAnswer = 256

func answer(b []byte, kind uint16, to *stunMessage) stunWriter {
	b = b[:stunHeaderLen]
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint16(b[2:], 0)
	copy(b[4:], to.raw[4:stunHeaderLen]) // cookie and transaction
	return stunWriter{b}
}

// add appends an attribute and gives its value, zeroed, to be filled.
func (w *stunWriter) add(kind uint16, n int) []byte {
	at := len(w.b)
	w.b = w.b[:at+4+(n+3)&^3]
	clear(w.b[at:])
	binary.BigEndian.PutUint16(w.b[at:], kind)
	binary.BigEndian.PutUint16(w.b[at+2:], uint16(n))
	binary.BigEndian.PutUint16(w.b[2:], uint16(len(w.b)-stunHeaderLen))
	return w.b[at+4 : at+4+n]
}

func (w *stunWriter) mappedAddress(a netip.AddrPort) {
	mask := w.b[4:stunHeaderLen]
	var v []byte
	if ip := a.Addr().Unmap(); ip.Is4() {
		v = w.add(attrXORMappedAddress, 8)
		v[1] = 1
		ip4 := ip.As4()
		copy(v[4:], ip4[:])
	} else {
		v = w.add(attrXORMappedAddress, 20)
		v[1] = 2
		ip16 := ip.As16()
		copy(v[4:], ip16[:])
	}
	binary.BigEndian.PutUint16(v[2:], a.Port()^uint16(stunCookie>>16))
	for i := range v[4:] {
		v[4+i] ^= mask[i]
	}
}

func (w *stunWriter) errorCode(code int, reason string) {
	v := w.add(attrErrorCode, 4+len(reason))
	v[2], v[3] = byte(code/100), byte(code%100)
	copy(v[4:], reason)
}

func (w *stunWriter) unknownAttributes(kinds []uint16) {
	v := w.add(attrUnknownAttributes, 2*len(kinds))
	for i, k := range kinds {
		binary.BigEndian.PutUint16(v[2*i:], k)
	}
}

func (w *stunWriter) integrity(mac hash.Hash, sum *[integrityLen]byte) {
	s := stunMAC(mac, w.b, sum)
	copy(w.add(attrIntegrity, integrityLen), s)
}

// end adds the FINGERPRINT and gives the length.
func (w *stunWriter) end() int {
	v := w.add(attrFingerprint, 4)
	binary.BigEndian.PutUint32(v, crc32.ChecksumIEEE(w.b[:len(w.b)-8])^fingerprintXOR)
	return len(w.b)
}
