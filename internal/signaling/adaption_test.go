package signaling

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
	"belfry/internal/signaling/signaltest"
)

type adaption = signalpb.SdkServerSideNetworkAdaption

const (
	byDefault = signalpb.SdkServerSideNetworkAdaption_DEFAULT
	byClient  = signalpb.SdkServerSideNetworkAdaption_NONE
	byProbes  = signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING
	byServer  = signalpb.SdkServerSideNetworkAdaption_BANDWIDTH_PROBING_AND_VIDEO_QUALITY_ADAPTION
)

// joinAs joins with a client of that version that asks for and supports these ways
// to adapt; the answer's is 0 when JOIN_ACK has none.
func (w *world) joinAs(name, version string, asks adaption, supports ...adaption) (c *signaltest.Client, got adaption) {
	w.t.Helper()
	c = w.dial(name, signaltest.Options{})
	join := &signalpb.SdkJoinFrame{
		ProtocolVersion: proto.Uint32(2), AudioSessionId: proto.Uint64(1),
		ClientDetails: &signalpb.SdkClientDetails{ClientSource: proto.String("amazon-chime-sdk-js"), ChimeSdkVersion: proto.String(version)},
	}
	if asks != 0 {
		join.ServerSideNetworkAdaption = asks.Enum()
	}
	join.SupportedServerSideNetworkAdaptions = supports
	ack, _, err := c.JoinWith(w.ctx(), join)
	if err != nil {
		w.t.Fatal(err)
	}
	if a := ack.GetJoinack().DefaultServerSideNetworkAdaption; a != nil {
		got = *a
	}
	w.subscribe(c, &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer)})
	p := w.peer(name)
	p.Flow(true)
	p.Events.MediaConnected()
	p.Events.AudioArrived()
	return c, got
}

func TestAdaptionIsAgreedOn(t *testing.T) {
	all := []adaption{byClient, byProbes, byServer}
	for _, tt := range []struct {
		name, version string
		asks          adaption
		supports      []adaption
		answer        adaption
		media         meeting.Adaption
		reads         bool
	}{
		{"an old client", "1.22.0", 0, nil, 0, meeting.AdaptionUnsaid, false},
		{"the usual policy", "3.32.0", byDefault, nil, 0, meeting.AdaptionUnsaid, true},
		{"priorities", "3.32.0", byServer, all, byServer, meeting.AdaptionServer, true},
		{"priorities, client decides", "3.32.0", byClient, all, byClient, meeting.AdaptionClient, true},
		{"priorities, server probes", "3.32.0", byProbes, all, byProbes, meeting.AdaptionProbing, true},
		{"priorities, left open", "3.20.0", byDefault, all, byServer, meeting.AdaptionServer, true},
		{"left open by one who cannot leave it to us", "3.6.0", byDefault, []adaption{byClient, byProbes}, byClient, meeting.AdaptionClient, false},
		{"left open before estimates are read", "3.15.0", byDefault, all, byClient, meeting.AdaptionClient, false},
		{"asks for what it does not support", "3.32.0", byServer, []adaption{byClient}, byClient, meeting.AdaptionClient, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, got := w.joinAs("a", tt.version, tt.asks, tt.supports...)
				if got != tt.answer {
					t.Errorf("JOIN_ACK says %v, want %v", got, tt.answer)
				}
				if s := w.peer("a").Spec; s.Adaption != tt.media || s.ReadsBandwidth != tt.reads {
					t.Errorf("media was told %d and %t, want %d and %t", s.Adaption, s.ReadsBandwidth, tt.media, tt.reads)
				}
			})
		})
	}
}

// pausedIn takes the stream ids that the client was told stand still, by INDEX.
func pausedIn(c *signaltest.Client) (ids []uint32, frames int) {
	time.Sleep(200 * time.Millisecond) // in which news are gathered
	synctest.Wait()
	list := c.Take(signalpb.SdkSignalFrame_INDEX)
	if len(list) > 0 {
		ids = list[len(list)-1].GetIndex().GetPausedAtSourceIds()
	}
	return ids, len(list)
}

func TestWhatDoesNotFitIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		policy, _ := w.joinAs("a", "3.32.0", byServer, byClient, byProbes, byServer)
		plain, _ := w.joinAs("b", "2.31.0", 0)
		sender := w.enter("c", 3)
		w.confs.Last().SetSources(nil,
			meeting.VideoSource{AttendeeID: "id-c", StreamID: 7, GroupID: 6, MaxBitrateKbps: 200, AvgBitrateBps: 100},
			meeting.VideoSource{AttendeeID: "id-c", StreamID: 8, GroupID: 6, MaxBitrateKbps: 900, AvgBitrateBps: 700})
		time.Sleep(time.Second)
		synctest.Wait()
		for _, c := range []*signaltest.Client{policy, plain, sender} {
			c.TakeAll()
		}
		for _, name := range []string{"a", "b"} {
			w.peer(name).Events.VideoPaused([]uint32{6}, true)
		}
		synctest.Wait()
		if got := policy.Take(signalpb.SdkSignalFrame_PAUSE); len(got) != 1 || !slices.Equal(got[0].GetPause().GetGroupIds(), []uint32{6}) {
			t.Errorf("PAUSE frames: %v", got)
		}
		if ids, n := pausedIn(policy); n != 0 {
			t.Errorf("INDEX %v to who was told by PAUSE", ids)
		}
		if ids, _ := pausedIn(plain); !slices.Equal(ids, []uint32{7, 8}) {
			t.Errorf("paused at source: %v", ids)
		}
		if n := len(plain.Take(signalpb.SdkSignalFrame_PAUSE)); n != 0 {
			t.Errorf("%d PAUSE frames to a client that does not heed them", n)
		}
		if ids, n := pausedIn(sender); n != 0 {
			t.Errorf("INDEX %v to another", ids)
		}
		for _, name := range []string{"a", "b"} {
			w.peer(name).Events.VideoPaused([]uint32{6}, false)
			w.peer(name).Events.VideoPaused([]uint32{9}, true) // what comes together is told together
			w.peer(name).Events.VideoPaused([]uint32{9}, false)
		}
		synctest.Wait()
		if got := policy.Take(signalpb.SdkSignalFrame_RESUME); len(got) != 2 || !slices.Equal(got[0].GetPause().GetGroupIds(), []uint32{6}) {
			t.Errorf("RESUME frames: %v", got)
		}
		if ids, n := pausedIn(plain); n != 1 || len(ids) != 0 {
			t.Errorf("%d INDEX frames, the last with %v paused", n, ids)
		}
	})
}

func TestPreferencesReachMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		c, _ := w.joinAs("a", "3.32.0", byServer, byClient, byProbes, byServer)
		w.subscribe(c, &signalpb.SdkSubscribeFrame{
			SdpOffer: proto.String(audioOffer), ReceiveStreamIds: []uint32{0},
			VideoSubscriptionConfiguration: []*signalpb.SdkVideoSubscriptionConfiguration{
				{Mid: proto.String("2"), GroupId: proto.Uint32(6), Priority: proto.Uint32(4294967294), TargetBitrateKbps: proto.Uint32(1500),
					QualityAdaptationPreference: signalpb.SdkVideoSubscriptionConfiguration_MAINTAIN_RESOLUTION.Enum()},
			},
		})
		if calls := w.peer("a").Calls(); !slices.Contains(calls, "prefer 2 4294967294 1500 3") {
			t.Errorf("media was told %q", calls)
		}
		many := make([]*signalpb.SdkVideoSubscriptionConfiguration, maxSwitches+1)
		for i := range many {
			many[i] = &signalpb.SdkVideoSubscriptionConfiguration{Mid: proto.String("2")}
		}
		ack, err := c.Subscribe(w.ctx(), &signalpb.SdkSubscribeFrame{SdpOffer: proto.String(audioOffer), VideoSubscriptionConfiguration: many})
		if err != nil || ack.GetError().GetStatus() == 0 {
			t.Errorf("too many were answered %v, %v", ack, err)
		}
	})
}

func TestTheEstimateIsInBITRATES(t *testing.T) {
	inWorld(t, func(w *world) {
		reads, _ := w.joinAs("a", "3.32.0", byDefault)
		old, _ := w.joinAs("b", "3.10.0", byDefault)
		w.enter("c", 3)
		for _, name := range []string{"a", "b"} {
			w.peer(name).SetBandwidth(meeting.Bandwidth{AvailableKbps: 1234})
		}
		w.confs.Last().SetSources(nil, meeting.VideoSource{AttendeeID: "id-c", StreamID: 7, GroupID: 6, MaxBitrateKbps: 200, AvgBitrateBps: 100_000})
		w.keepAlive(9*time.Second, reads, old)
		for c, want := range map[*signaltest.Client]uint32{reads: 1234, old: 0} {
			got := c.Take(signalpb.SdkSignalFrame_BITRATES)
			if len(got) == 0 {
				t.Fatal("no BITRATES")
			}
			b := got[len(got)-1].GetBitrates()
			if b.GetServerAvailableOutgoingBitrate() != want || len(b.GetBitrates()) != 1 || b.GetBitrates()[0].GetSourceStreamId() != 7 {
				t.Errorf("BITRATES %v, want %d available", b, want)
			}
		}
	})
}
