package mixer

// redPrimary returns the newest block of a redundant payload (RFC 2198), when
// it is of the given payload type. It never allocates.
func redPrimary(b []byte, payloadType uint8) ([]byte, bool) {
	older := 0 // bytes of the blocks before the primary one
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
		older += int(b[2]&3)<<8 | int(b[3])
		b = b[4:]
	}
	if b[0]&0x7f != payloadType || older > len(b)-1 {
		return nil, false
	}
	return b[1+older:], true
}
