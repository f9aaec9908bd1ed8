package link

import "encoding/binary"

// rebinding moves the client's UDP ports by a number, as the server sees them.
type rebinding struct{ by uint16 }

// rewrite changes one IPv4 packet in place. Fragments and what is not UDP stay.
func (r *rebinding) rewrite(p []byte, way Way) {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != 17 {
		return
	}
	head := int(p[0]&15) * 4
	if head < 20 || len(p) < head+8 || binary.BigEndian.Uint16(p[6:])&0x3FFF != 0 {
		return
	}
	udp := p[head:]
	port, by := udp[0:2], r.by
	if way == Down {
		port, by = udp[2:4], -r.by
	}
	was := binary.BigEndian.Uint16(port)
	is := was + by
	binary.BigEndian.PutUint16(port, is)
	// RFC 1624: the checksum changes by as much. None is none.
	if sum := binary.BigEndian.Uint16(udp[6:]); sum != 0 {
		n := uint32(^sum) + uint32(^was) + uint32(is)
		n = n&0xFFFF + n>>16
		n = n&0xFFFF + n>>16
		if sum = ^uint16(n); sum == 0 {
			sum = 0xFFFF
		}
		binary.BigEndian.PutUint16(udp[6:], sum)
	}
}
