package screen

import "encoding/binary"

// Messages of the sharing socket have four bytes before their payload: the type,
// flags, and two zeros.
const (
	keyRequest        = 0x02
	streamStart       = 0x03
	streamEnd         = 0x04
	streamStop        = 0x05
	heartbeatRequest  = 0x06
	heartbeatResponse = 0x07
	webmSlice         = 0x0d
	presenterSwitch   = 0x10

	flagBroadcast = 1
	flagLocal     = 2

	shareHead = 4
)

// Messages of the viewing socket begin with their type. A picture, which begins
// as every JPEG does, belongs to the tile that the delta before it names.
const (
	viewSetup        = 1
	viewDelta        = 2
	viewSync         = 3
	viewEchoRequest  = 4
	viewEchoResponse = 5
	viewNoScreen     = 7
	viewEndScreen    = 8
)

func local(kind byte) []byte { return []byte{kind, flagLocal, 0, 0} }

// about is a message that tells of a presenter: field 1, a string.
func about(kind byte, attendee string) []byte {
	msg := append([]byte{kind, flagBroadcast, 0, 0}, 1<<3|2)
	msg = binary.AppendUvarint(msg, uint64(len(attendee)))
	return append(msg, attendee...)
}

// setup tells a viewer the size of the picture in pixels.
func setup(width, height int) []byte {
	msg := []byte{viewSetup}
	for _, v := range []int{width, height, tileSize} {
		msg = binary.BigEndian.AppendUint32(msg, uint32(v))
	}
	return msg
}
