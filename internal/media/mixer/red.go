package mixer

import "encoding/binary"

// Bounds of redundancy (RFC 2198).
const (
	// maxOlder is how many older blocks of a packet are looked at.
	maxOlder = 8
	// maxDepth is how many older packets ride along in one that is sent.
	maxDepth = 2
	// maxRED bounds what is sent: browser clients throw larger ones away.
	maxRED = 1000
	// The fields of a block header.
	maxBlock, maxOffset = 1<<10 - 1, 1<<14 - 1
)

// older is one block of a redundant payload that is not the primary one.
type older struct {
	offset  uint32 // by how many samples it is before the primary one
	payload []byte
}

// red is a redundant payload taken apart.
type red struct {
	older [maxOlder]older // the oldest first, as they come
	n     int
}

// unwrap returns the newest block of a payload, when it is of the given payload
// type, and keeps those of the others that are. It never allocates.
func (r *red) unwrap(b []byte, payloadType uint8) (primary []byte, ok bool) {
	r.n = 0
	heads := b
	size := 0 // bytes of the blocks before the primary one
	for {
		if len(b) == 0 {
			return nil, false
		}
		if b[0]&0x80 == 0 {
			break
		}
		if len(b) < 4 {
			return nil, false
		}
		size += int(b[2]&3)<<8 | int(b[3])
		b = b[4:]
	}
	if b[0]&0x7f != payloadType || size > len(b)-1 {
		return nil, false
	}
	rest := b[1:]
	for ; heads[0]&0x80 != 0; heads = heads[4:] {
		n := int(heads[2]&3)<<8 | int(heads[3])
		if heads[0]&0x7f == payloadType && n > 0 && r.n < maxOlder {
			r.older[r.n] = older{offset: uint32(binary.BigEndian.Uint16(heads[1:]) >> 2), payload: rest[:n]}
			r.n++
		}
		rest = rest[n:]
	}
	return rest, true
}

// wrapped is a payload with redundancy, kept for all listeners that want the same.
type wrapped struct {
	of          uint64 // which packet it is; 0 for none
	payloadType uint8  // of its blocks
	b           []byte
}

// wrapping makes such payloads, for each depth one.
type wrapping [maxDepth + 1]wrapped

// reset forgets them.
func (w *wrapping) reset() {
	for i := range w {
		w[i].of = 0
	}
}

// payload is the primary payload of a packet and up to depth older ones in front
// of it. past returns the one that is so many packets older and by how many
// samples; nil when it is not there. What finds no room is left out.
func (w *wrapping) payload(of uint64, payloadType uint8, primary []byte, depth int, past func(back int) ([]byte, uint32)) []byte {
	x := &w[depth]
	if x.of == of && x.payloadType == payloadType {
		return x.b
	}
	x.of, x.payloadType = of, payloadType
	b := x.b[:0]
	size := 1 + len(primary)
	var use [maxDepth + 1]bool
	for back := 1; back <= depth; back++ { // the newest is the most useful
		old, offset := past(back)
		if len(old) == 0 || len(old) > maxBlock || offset > maxOffset || size+4+len(old) > maxRED {
			continue
		}
		use[back] = true
		size += 4 + len(old)
	}
	for back := depth; back > 0; back-- {
		if use[back] {
			old, offset := past(back)
			b = binary.BigEndian.AppendUint32(b, 1<<31|uint32(payloadType)<<24|offset<<10|uint32(len(old)))
		}
	}
	b = append(b, payloadType)
	for back := depth; back > 0; back-- {
		if use[back] {
			old, _ := past(back)
			b = append(b, old...)
		}
	}
	x.b = append(b, primary...)
	return x.b
}
