package signaling

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

// Where lists are long and many, changes are gathered for longer, so that a storm of
// cameras costs each person some lists and not one for each camera. A small
// meeting hears of a change at once.
func TestLongListsAreSentSeldom(t *testing.T) {
	for _, tt := range []struct {
		videos, least, most int // frames in ten seconds of changes
	}{
		{2, 60, 100},  // one in 120 ms
		{200, 10, 18}, // 200 videos to 8 people are some 160 kB
	} {
		t.Run(fmt.Sprint(tt.videos), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.srv.cfg.Limits.IndexRate = 200_000
				var people []*signaltest.Client
				for i := range 8 {
					name := fmt.Sprint("p", i)
					w.addAttendee(name, meeting.DefaultCapabilities)
					people = append(people, w.enter(name, uint64(i+1)))
				}
				videos := func(from int) (list []meeting.VideoSource) {
					for i := range tt.videos {
						id := uint32(1000 + from + i)
						list = append(list, meeting.VideoSource{AttendeeID: "id-c", StreamID: id, GroupID: uint32(500 + from), MaxBitrateKbps: 200,
							Label: "a-name-as-long-as-the-id-of-an-attendee-and-its-user-are-in-real-meetings-and-some-more"})
					}
					return list
				}
				w.enter("c", 99)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				for _, c := range people {
					c.TakeAll()
				}
				for i := range 200 { // a change every 50 ms
					w.confs.Last().SetSources(nil, videos(i)...)
					time.Sleep(50 * time.Millisecond)
				}
				synctest.Wait()
				got, bytes := people[0].Take(signalpb.SdkSignalFrame_INDEX), 0
				for _, f := range got {
					bytes += proto.Size(f)
				}
				t.Logf("%d frames of %d bytes", len(got), bytes/max(len(got), 1))
				if len(got) < tt.least || len(got) > tt.most {
					t.Errorf("%d lists in ten seconds, want %d to %d", len(got), tt.least, tt.most)
				}
				// The last change arrives, within two seconds.
				time.Sleep(indexMost)
				synctest.Wait()
				if rest := people[0].Take(signalpb.SdkSignalFrame_INDEX); len(rest) > 0 {
					got = rest
				}
				if last := got[len(got)-1].GetIndex().GetSources(); len(last) != tt.videos || last[0].GetStreamId() != 1199 {
					t.Errorf("the last list has %d videos from %d on", len(last), last[0].GetStreamId())
				}
			})
		})
	}
}
