package transport

import (
	"encoding/binary"
	"errors"

	"belfry/internal/media/udp"
)

// Frames of RFC 4571: a packet behind its length in two bytes.
const (
	frameHeaderLen = 2
	maxFrame       = udp.MaxReceive // of the packet; WebRTC stays below 1,500
)

var errFrame = errors.New("a frame is longer than any packet of WebRTC")

// IsStream tells by its first byte whether a TCP connection is one that ICE made:
// it begins with the length of a check, which is below 1,024.
func IsStream(first byte) bool { return first <= 3 }

// nextFrame cuts the first packet off what a stream brought. frame is nil while
// its end is missing, and for an empty one when rest is shorter than b.
func nextFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < frameHeaderLen {
		return nil, b, nil
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > maxFrame {
		return nil, b, errFrame
	}
	end := frameHeaderLen + n
	if len(b) < end {
		return nil, b, nil
	}
	if n == 0 {
		return nil, b[end:], nil
	}
	return b[frameHeaderLen:end:end], b[end:], nil
}

// appendFrame puts a packet behind its length.
func appendFrame(to, packet []byte) []byte {
	to = binary.BigEndian.AppendUint16(to, uint16(len(packet)))
	return append(to, packet...)
}
