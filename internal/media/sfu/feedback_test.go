package sfu

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"

	"belfry/internal/media/rtp"
)

// A sender is told when its packets reached the machine, not when they were read: what
// is read together, and late, did not come together.
func TestFeedbackTellsWhenPacketsCame(t *testing.T) {
	recorder := new(rtp.TWCCRecorder)
	r := New(Config{CNAME: "c", Epoch: 1_900_000_000 * second})
	pub := r.Publish(PublishConfig{AttendeeID: "a", Layers: []Layer{single}, Codecs: upCodecs, Extensions: upExtensions, TransportCC: recorder})
	now := int64(10 * second)
	packets := (&encoder{ssrc: 11}).frame(true, 4, now)
	for i, late := range []int64{9 * millisecond, 5 * millisecond, 2 * millisecond} {
		packets[i].Received = now - late
	} // of the last it is not known: it came when it was read
	pub.Push(packets, now)
	var told rtcp.TransportLayerCC
	if err := told.Unmarshal(recorder.AppendFeedback(nil, 1, 2)); err != nil {
		t.Fatal(err)
	}
	var apart []time.Duration
	for _, d := range told.RecvDeltas[1:] {
		apart = append(apart, time.Duration(d.Delta)*time.Microsecond)
	}
	if diff := cmp.Diff([]time.Duration{4 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond}, apart); diff != "" {
		t.Error(diff)
	}
}
