package sfu

import (
	"belfry/internal/media/rtp"
	"belfry/internal/meeting"
)

// limit is the highest spatial and temporal layer that is wanted.
type limit struct{ spatial, temporal uint8 }

var unlimited = limit{All, All}

// sieve decides which frames of a stream pass: those of the layers up to a limit,
// which moves only where a decoder can follow. VP9 tells each frame's layers in its
// payload, and so does VP8 from senders without the dependency descriptor. Of all
// others that descriptor tells which frames a decode target needs: Chromium that
// sends it leaves layers and picture ids out of the payload of VP8. It also does of VP9
// whose spatial layers lean on one another at key frames alone (_KEY): there a
// receiver is sent one spatial layer between key frames, and goes to another, up or
// down, with a key frame.
type sieve struct {
	want              limit
	spatial, temporal uint8 // what passes; All for everything

	target     uint8  // the decode target in force
	next       uint8  // and the one that is wanted
	apart      bool   // the highest target does without frames of lower ones
	active     uint32 // the targets that the sender went on with when they were worked out
	structures uint32 // the layer's count of structures when they were worked out
}

// reset begins with a key frame.
func (f *sieve) reset(want limit) {
	*f = sieve{want: want, spatial: want.spatial, temporal: want.temporal}
}

// open reports that everything passes and will.
func (f *sieve) open() bool {
	return f.spatial == All && f.temporal == All && f.want == unlimited && !f.apart
}

// choose sets another limit for the stream that flows.
func (f *sieve) choose(want limit, l *layer) {
	if f.want == want {
		return
	}
	f.want = want
	if l.targeted() {
		f.next = l.structure.Target(want.spatial, want.temporal)
	}
}

// waits tell whether what is wanted and sent does not pass yet. A lower spatial layer
// is waited for where it is no part of the higher one.
func (f *sieve) waits(l *layer) (spatial, temporal bool) {
	s, t := l.highest()
	spatial, temporal = min(f.want.spatial, s) > f.spatial, min(f.want.temporal, t) > f.temporal
	if st := l.structure; l.targeted() && f.structures == l.structures && f.target != f.next {
		spatial = spatial || st.TargetSpatial[f.next] != f.spatial && st.Within[f.target]>>f.next&1 == 0
	}
	return spatial, temporal
}

// pass takes the next packet in order and moves on. fresh says that it is the first
// of its picture.
func (f *sieve) pass(it *item, fresh bool) bool {
	if it.targeted() {
		return f.passTarget(it, fresh)
	}
	h := &it.h
	switch {
	case it.key:
		f.spatial, f.temporal = f.want.spatial, f.want.temporal
	case h.Start && h.Spatial == 0:
		// A higher spatial layer waits for a key frame, though VP9 may let it in
		// earlier: the layer below was told to end its picture.
		f.spatial, f.temporal = min(f.spatial, f.want.spatial), min(f.temporal, f.want.temporal)
		f.raiseTemporal(it)
	}
	return h.Spatial <= f.spatial && h.Temporal <= f.temporal
}

// raiseTemporal goes on to a higher temporal layer where a frame says that it does
// without what was not sent.
func (f *sieve) raiseTemporal(it *item) {
	h := &it.h
	switch {
	case f.temporal >= f.want.temporal || !h.Sync:
	case h.Temporal == f.temporal+1:
		f.temporal++
	case h.Temporal <= f.temporal && it.codec.codec == meeting.CodecVP9:
		f.temporal = f.want.temporal // all that follow do (RFC 9628 4.2, U)
	}
}

// passTarget is pass by the dependency descriptor.
func (f *sieve) passTarget(it *item, fresh bool) bool {
	st, d := it.layer.structure, &it.dep
	switch {
	case f.structures != it.structures: // with a key frame, or everything has passed
		f.structures, f.active, f.apart = it.structures, d.Active, d.Apart
		f.next = st.Target(f.want.spatial, f.want.temporal)
		f.target = f.next
		if f.want == unlimited && !f.apart {
			f.spatial, f.temporal = All, All
		} else if it.key || f.spatial != All || f.temporal != All {
			f.reach(st)
		}
	case f.active != d.Active:
		f.active = d.Active
		f.next = st.Target(f.want.spatial, f.want.temporal)
	}
	if f.spatial == All && f.temporal == All {
		if f.want == unlimited && !f.apart || !fresh {
			return true
		}
		f.reach(st) // everything passed so far, so whatever is wanted can follow
	}
	if d.Start && f.target != f.next && f.reachable(st, d, fresh) {
		f.reach(st)
	}
	return d.Present>>f.target&1 == 1
}

// reachable says that the wanted target can be gone on to with this frame: it is a part
// of the one in force, and no picture is cut in two, or it has the same spatial
// layer and the frame says that it can be joined here. Of a higher spatial layer such a
// mark means nothing to who does not have the frame before in that layer.
func (f *sieve) reachable(st *rtp.DependencyStructure, d *rtp.Dependency, fresh bool) bool {
	return fresh && st.Within[f.target]>>f.next&1 == 1 || st.TargetSpatial[f.next] == f.spatial && d.Switch>>f.next&1 == 1
}

// reach goes on to the wanted target.
func (f *sieve) reach(st *rtp.DependencyStructure) {
	f.target, f.spatial, f.temporal = f.next, st.TargetSpatial[f.next], st.TargetTemporal[f.next]
}

// above reports whether a packet that comes late is of a layer above what passes.
func (f *sieve) above(it *item) bool {
	if it.targeted() {
		return !f.open() && it.dep.Present>>f.target&1 == 0
	}
	return it.h.Spatial > f.spatial || it.h.Temporal > f.temporal
}

// targeted says that the packet's layers are told by its dependency descriptor.
func (it *item) targeted() bool { return it.dep.Known && byTargets(it.codec.codec, it.dep.Apart) }

// byTargets says whether a stream of the codec, with such a structure, goes by decode
// targets.
func byTargets(codec meeting.VideoCodec, apart bool) bool {
	return codec != meeting.CodecVP9 || apart
}

// targeted says that the layer has decode targets to choose from.
func (l *layer) targeted() bool {
	return l.structure != nil && l.structure.Targets > 0 && l.codec != nil && byTargets(l.codec.codec, l.structure.Apart)
}
