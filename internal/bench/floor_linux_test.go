package bench

import (
	"testing"
	"time"
)

// Everything of the bare work is done and counted; how fast is not looked at.
func TestFloor(t *testing.T) {
	send, err := bareSend(3, 4, 1050, time.Millisecond, 20*time.Millisecond)
	if err != nil || send <= 0 {
		t.Errorf("sending: %g, %v", send, err)
	}
	receive, err := bareReceive(2)
	if err != nil || receive <= 0 {
		t.Errorf("receiving: %g, %v", receive, err)
	}
	encode, decode, err := bareCodec(3)
	if err != nil || encode <= 0 || decode <= 0 {
		t.Errorf("the codec: %g, %g, %v", encode, decode, err)
	}
}
