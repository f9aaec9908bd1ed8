package sfu

import "belfry/internal/meeting"

// limit is the highest spatial and temporal layer that is wanted.
type limit struct{ spatial, temporal uint8 }

var unlimited = limit{All, All}

// sieve decides which frames of a stream pass: those of the layers up to a limit,
// which moves only where a decoder can follow. VP9 tells each frame's layers in its
// payload, and so does VP8 from senders without the dependency descriptor. Of all
// others that descriptor tells which frames a decode target needs: Chromium that
// sends it leaves layers and picture ids out of the payload of VP8.
type sieve struct {
	want              limit
	spatial, temporal uint8 // what passes; All for everything

	target     uint8  // the decode target in force
	next       uint8  // and the one that is wanted
	structures uint32 // the layer's count of structures when they were worked out
}

// reset begins with a key frame.
func (f *sieve) reset(want limit) {
	*f = sieve{want: want, spatial: want.spatial, temporal: want.temporal}
}

// open reports that everything passes and will.
func (f *sieve) open() bool {
	return f.spatial == All && f.temporal == All && f.want == unlimited
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

// waits tell whether what is wanted and sent does not pass yet.
func (f *sieve) waits(l *layer) (spatial, temporal bool) {
	s, t := l.highest()
	return min(f.want.spatial, s) > f.spatial, min(f.want.temporal, t) > f.temporal
}

// pass takes the next packet in order and moves on.
func (f *sieve) pass(it *item) bool {
	if it.dep.Known && it.codec.targets() {
		return f.passTarget(it)
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
func (f *sieve) passTarget(it *item) bool {
	st, d := it.layer.structure, &it.dep
	if f.structures != it.structures {
		f.structures = it.structures
		f.next = st.Target(f.want.spatial, f.want.temporal)
		f.target = f.next // with a key frame
		if f.want == unlimited {
			f.spatial, f.temporal = All, All
		} else {
			f.spatial, f.temporal = st.TargetSpatial[f.target], st.TargetTemporal[f.target]
		}
	}
	if f.spatial == All && f.temporal == All {
		if f.want == unlimited {
			return true
		}
		// Everything passed so far, so whatever is wanted can follow.
		f.target, f.spatial, f.temporal = f.next, st.TargetSpatial[f.next], st.TargetTemporal[f.next]
	}
	if d.Start && f.target != f.next && (d.Switch>>f.next&1 == 1 || st.Within[f.target]>>f.next&1 == 1) {
		f.target, f.spatial, f.temporal = f.next, st.TargetSpatial[f.next], st.TargetTemporal[f.next]
	}
	return d.Present>>f.target&1 == 1
}

// above reports whether a packet that comes late is of a layer above what passes.
func (f *sieve) above(it *item) bool {
	if it.dep.Known && it.codec.targets() {
		return !f.open() && it.dep.Present>>f.target&1 == 0
	}
	return it.h.Spatial > f.spatial || it.h.Temporal > f.temporal
}

// targets says that the codec's layers are told by the dependency descriptor, where
// that comes.
func (c *codecEntry) targets() bool { return c.codec != meeting.CodecVP9 }

// targeted says that the layer has decode targets to choose from.
func (l *layer) targeted() bool {
	return l.structure != nil && l.structure.Targets > 0 && l.codec != nil && l.codec.targets()
}
