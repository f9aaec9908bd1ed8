package sfu

import (
	"cmp"
	"slices"
	"strings"

	"belfry/internal/meeting"
)

// How one client's bandwidth is shared out.
//
// Sections come in an order: by the priority that the client gave, and where it
// gave none or the same, a content share before cameras, who speaks before who
// does not, and the older before the newer. In that order, those of one priority
// first get the least that can be had of each, and then more, step by step, up to
// the size that the client has on its screen; only then comes the next priority. A
// content share comes before cameras in whole.
//
// What flows is kept as long as it nearly fits. More is given only with room to
// spare, and not again soon after it turned out to be too much: each such time
// doubles the wait. What does not fit at all is paused, but not for a moment's
// trouble; and a stream of which there is one quality only is not paused if its
// sender can come down to what fits, which it is asked for when nobody who watches
// it can take more (REMB).
const (
	keepShare  = 90  // per cent of a step's cost that must be there to go on with it
	raiseShare = 108 // per cent of the cost of a higher one
	raiseAgain = second
	holdFirst  = 5 * second // after a step up that was too much
	holdMost   = 60 * second
	pauseAfter = 1500 * millisecond
	obeyWithin = 3 * second // for a sender that was asked to come down
	leastVideo = 60_000     // bit/s that a picture is worth anything at
	largest    = 1500       // kbit/s of TargetBitrateKbps from which on size is no limit
	fullSize   = 200_000    // bit/s added to what is wanted so that probes find a little more
	overAfter  = 2 * second // a step up shows within so long whether it is too much
	longestKey = second     // that what is too much at a key frame may wait
)

// allocate decides for every section what it gets.
func (d *Downlink) allocate(now int64) {
	d.order = d.order[:0]
	var wanted int64
	for _, s := range d.shares {
		l := d.r.layers[s.wish]
		if s.off || l == nil || s.sub.closed {
			if l == nil && s.paused {
				s.tellPaused(false)
			}
			s.ask = 0
			continue
		}
		s.look(l)
		if len(s.ladder) == 0 || s.limited(now) {
			continue
		}
		if d.cfg.Follow {
			for _, p := range d.r.points {
				s.most = max(s.most, int64(p.Bps))
			}
			wanted += s.most
		}
		d.order = append(d.order, s)
	}
	if d.cfg.Follow || !d.est.Known() {
		d.limited = d.cfg.Follow
		for _, s := range d.order {
			s.ask = 0
			if s.paused {
				s.tellPaused(false)
				s.apply(now)
			}
			if (s.at >= 0 || d.cfg.Whole) && !d.cfg.Follow && !s.low {
				s.take(len(s.ladder)-1, now)
			}
			s.settleLow(now)
			s.askLow()
		}
		if d.cfg.Follow {
			d.est.Want(wanted + wanted/4 + fullSize)
		}
		return
	}
	slices.SortStableFunc(d.order, precedence)
	budget := d.est.Target()
	congested := d.est.Congested(now)
	d.urgent = congested && budget < d.est.Sending(now)*6/10
	var used, all int64
	limited := false
	for _, s := range d.order {
		all += max(s.ladder[len(s.ladder)-1].bps, s.most)
	}
	// unmet notes that a step did not fit. Then all that there is to give is looked for:
	// probes go up in steps of their own.
	unmet := func() { limited = true }
	for rest := d.order; len(rest) > 0; {
		class := rest[:classLength(rest)]
		rest = rest[len(class):]
		var others int64 // what the least of those who come after takes
		for _, s := range class {
			others += s.ladder[0].bps
		}
		for i, s := range class {
			others -= s.ladder[0].bps
			left := budget - used
			used += s.least(left, max(left/int64(len(class)-i), left-others), congested, now, unmet)
		}
		for more := true; more; {
			more = false
			for _, s := range class {
				for s.pick >= 0 && s.pick+1 < len(s.ladder) {
					cost := s.ladder[s.pick+1].bps - s.ladder[s.pick].bps
					if !s.fits(s.pick+1, used-s.ladder[s.pick].bps, budget, congested, now) {
						unmet()
						break
					}
					used += cost
					s.pick++
					if more = true; !s.speaks {
						break // a step for each in turn
					}
				}
			}
		}
	}
	for _, s := range d.order {
		s.settle(congested, d.urgent, now)
		s.askLow()
	}
	var want int64
	if d.limited = limited; limited {
		want = all*raiseShare/100 + all/10
	}
	d.est.Want(want)
}

// precedence orders shares as allocate says.
func precedence(a, b *Share) int {
	return cmp.Or(
		cmp.Compare(b.pref.Priority, a.pref.Priority),
		compareBool(b.content, a.content),
		compareBool(b.speaks, a.speaks),
		cmp.Compare(a.wish, b.wish),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// classLength is how many at the beginning are of the same importance.
func classLength(list []*Share) int {
	for i, s := range list {
		if s.pref.Priority != list[0].pref.Priority || s.content != list[0].content {
			return i
		}
	}
	return len(list)
}

// look notes what can be had of a sender now: the steps from little to much, none
// above what the client asked for or has room for on its screen.
func (s *Share) look(wish *layer) {
	pub := wish.pub
	var was Point
	if s.at >= 0 && s.at < len(s.ladder) {
		was = s.ladder[s.at].point
	}
	had := s.at >= 0
	base, content := strings.CutSuffix(pub.cfg.AttendeeID, meeting.ContentSuffix)
	s.content, s.speaks = content, base == s.d.r.speaker
	s.d.r.points = pub.Points(s.d.r.points[:0])
	s.ladder = s.ladder[:0]
	for _, p := range s.d.r.points {
		l := s.d.r.layers[p.StreamID]
		if l == nil || l.index > wish.index && !s.d.cfg.Whole {
			continue
		}
		s.ladder = append(s.ladder, step{p, int64(p.Bps)})
	}
	s.climb()
	limit := int64(s.pref.TargetBitrateKbps)
	for n := len(s.ladder); limit > 0 && limit < largest && n > 1 && s.ladder[n-1].bps > limit*1100; n-- {
		s.ladder = s.ladder[:n-1]
	}
	s.solo, s.most = false, 0
	if enabled := pub.enabled(); enabled == 1 && len(s.ladder) == 1 && pub.cfg.REMB {
		s.solo = true
		s.ladder[0].bps = int64(wish.rate.recent())
		s.most = int64(wish.cfg.MaxBitrateKbps) * 1000
		if limit > 0 && limit < largest {
			s.most = min(s.most, max(limit*1100, leastVideo))
		}
	}
	if !had {
		return
	}
	s.at = -1
	if n := len(s.ladder); s.open && n > 0 && s.ladder[n-1].point.StreamID == was.StreamID {
		s.at = n - 1
		return
	}
	for i, st := range s.ladder {
		if st.point.StreamID == was.StreamID && st.point.Spatial <= was.Spatial && st.point.Temporal <= was.Temporal {
			s.at = i
		}
	}
	if s.at < 0 && len(s.ladder) > 0 {
		s.at = 0
		if l := s.d.r.layers[was.StreamID]; l == nil || s.d.r.layers[s.ladder[0].point.StreamID].index <= l.index {
			s.at = len(s.ladder) - 1 // what flowed went away: look afresh
		}
	}
}

func (p *Publication) enabled() int {
	n := 0
	for _, l := range p.layers {
		if l.enabled() {
			n++
		}
	}
	return n
}

// climb leaves a ladder of the points: each step costs more than the one below,
// and is no worse in size, and in frame rate no worse or, where the picture is larger
// for it, by one layer, which halves it. Which points are steps depends on what the
// client would rather keep.
func (s *Share) climb() {
	if len(s.ladder) < 2 {
		return
	}
	quality := func(p Point) int { return int(s.d.r.layers[p.StreamID].index)*256 + int(p.Spatial) }
	topQuality, topTemporal := 0, uint8(0)
	for _, st := range s.ladder {
		topQuality = max(topQuality, quality(st.point))
		topTemporal = max(topTemporal, st.point.Temporal)
	}
	switch s.pref.Adaptation {
	case meeting.MaintainFramerate:
		s.ladder = slices.DeleteFunc(s.ladder, func(st step) bool {
			return st.point.Temporal < topTemporal && quality(st.point) > quality(s.ladder[0].point)
		})
	case meeting.MaintainResolution:
		s.ladder = slices.DeleteFunc(s.ladder, func(st step) bool {
			return st.point.Temporal > 0 && quality(st.point) < topQuality
		})
	}
	slices.SortStableFunc(s.ladder, func(a, b step) int { return cmp.Compare(a.bps, b.bps) })
	kept := s.ladder[:1]
	for _, st := range s.ladder[1:] {
		last := kept[len(kept)-1]
		frames := int(st.point.Temporal) - int(last.point.Temporal)
		if quality(st.point) > quality(last.point) {
			frames++
		}
		if quality(st.point) >= quality(last.point) && frames >= 0 && st.bps > last.bps {
			kept = append(kept, st)
		}
	}
	s.ladder = kept
}

// fits says whether step i may be taken when used is spent otherwise.
func (s *Share) fits(i int, used, budget int64, congested bool, now int64) bool {
	bps := s.ladder[i].bps
	if s.at < 0 && !s.paused {
		return used+bps <= budget // it is new
	}
	if i <= s.at && !s.paused && !s.gap {
		if i == s.at && s.raised != 0 && now-s.raised < overAfter {
			if s.d.urgent && i > 0 {
				return false // it is too much right away
			}
			bps = min(bps, s.began) // what it began with is no part of what it costs
		}
		return used+bps*keepShare/100 <= budget
	}
	return !congested && now >= s.hold && used+bps*raiseShare/100 <= budget && s.enters(i, budget-used)
}

// enters says that step i can begin, with so much to spare, without the picture
// standing for long: it does so with a key frame, at which senders send more than their
// bit rate for a while, and what is too much has to wait.
func (s *Share) enters(i int, room int64) bool {
	l := s.d.r.layers[s.ladder[i].point.StreamID]
	if l == nil || l == s.sub.cur && s.sub.live || !s.d.est.Constrained() {
		return true
	}
	more := int64(l.keyBytes)*8 - int64(l.rate.bps())*burstTime/second
	return room > 0 && max(more, 0)*second/room <= longestKey
}

// least takes the lowest step, and returns what of the budget that takes. Of what is
// left, part is for who can come down to it.
func (s *Share) least(left, part int64, congested bool, now int64, unmet func()) int64 {
	s.pick = 0
	bps := s.ladder[0].bps
	s.ask = 0
	if s.solo {
		if may := part * 95 / 100; may < s.most && s.d.est.Constrained() {
			s.ask = max(may, leastVideo)
			unmet()
		}
		over := int64(20) // per cent that its sender may still come down
		if s.paused {
			over = 5
		}
		if bps <= part*(100+over)/100 && (!s.paused || !congested && now >= s.hold && part > leastVideo) {
			s.tight, s.gap = 0, false
			return min(bps, max(left, 0))
		}
	}
	if s.fits(0, 0, left, congested, now) {
		s.tight, s.gap = 0, false
		return bps
	}
	unmet()
	if s.tight == 0 {
		s.tight = now
	}
	s.gap = s.gap || s.d.urgent && !s.solo && s.d.est.Queued(now) // before it is called paused
	switch {
	case s.paused:
		s.pick = -1
		return 0
	case now-s.tight < pauseAfter || !s.d.est.Constrained():
	case s.solo && now-s.tight < obeyWithin && s.d.r.layers[s.wish].pub.up.told != 0:
	case left >= bps/2 && s == s.d.order[0] && !s.gap && !s.d.est.Narrow():
		// Better too much of one than nothing at all; but not if the sound pays for it, nor
		// where a queue has filled with it: then that it is missing is told.
	default:
		s.pick = -1
		return 0
	}
	return min(bps, max(left, 0))
}

// settle makes what was decided so.
func (s *Share) settle(congested, urgent bool, now int64) {
	if s.pick < 0 {
		if !s.paused {
			s.back(congested, now)
			s.gap = false
			s.tellPaused(true)
			s.apply(now)
			s.d.purge(s.sub)
		}
		return
	}
	if s.paused {
		s.tellPaused(false)
		s.at, s.gap = -1, false
		s.take(s.pick, now)
		s.raised, s.began = now, s.ladder[s.pick].bps
		s.apply(now)
		return
	}
	switch {
	case s.at < 0:
	case s.pick > s.at:
		s.d.r.stats.Raised++
		s.raised, s.hold = now, now+raiseAgain
		s.began = s.ladder[s.pick].bps
	case s.pick < s.at:
		s.d.r.stats.Lowered++
		s.back(congested, now)
		s.raised = 0
	}
	flows := s.sub.Flowing()
	s.take(s.pick, now)
	if urgent && s.solo && s.ask != 0 && flows != 0 && !s.gap {
		s.gap = true // until its sender has come down
	}
	s.apply(now)
	if s.gap && flows != 0 {
		s.d.purge(s.sub)
	}
	if urgent && flows != 0 && s.ladder[s.pick].point.StreamID != flows {
		// What flows cannot be afforded until the key frame of the other comes.
		s.d.purge(s.sub)
		s.sub.interrupt(now)
	}
}

// back notes that less is given than before: for how long no more is tried.
func (s *Share) back(congested bool, now int64) {
	switch {
	case !congested: // it makes room for another
		s.hold = now + raiseAgain
		return
	case s.raised != 0 && now-s.raised < holdFirst+s.backoff:
		s.backoff = min(max(2*s.backoff, holdFirst), holdMost) // it had been too much
	default:
		s.backoff = raiseAgain
	}
	s.hold = now + s.backoff
}

// take makes a step what flows.
func (s *Share) take(i int, now int64) {
	open := i == len(s.ladder)-1 && s.unlimited() && !s.low
	if i == s.at && s.sub.StreamID() == s.ladder[i].point.StreamID && s.open == open && (open || s.chosen == s.ladder[i].point.key()) {
		return
	}
	s.at, s.open = i, open
	s.chosen = s.ladder[i].point.key()
	p := s.ladder[i].point
	if open {
		p.Spatial, p.Temporal = All, All
	}
	s.sub.Choose(p, now)
}

// unlimited says that nothing keeps the layers within the best stream down.
func (s *Share) unlimited() bool {
	return s.pref.TargetBitrateKbps == 0 || s.pref.TargetBitrateKbps >= largest
}

// pointKey is what makes two points the same.
type pointKey struct {
	stream            uint32
	spatial, temporal uint8
}

func (p Point) key() pointKey { return pointKey{p.StreamID, p.Spatial, p.Temporal} }

// Speaking tells who talks, loudest first or in any order, about every 100 ms while
// anybody does: base attendee ids. Who talks longest becomes the speaker; a word
// from somebody else changes nothing.
func (r *Router) Speaking(talking []meeting.AudioLevel) {
	if r.voices == nil {
		r.voices = map[string]float64{}
	}
	for id, v := range r.voices {
		if v *= 0.93; v < 0.01 {
			delete(r.voices, id)
		} else {
			r.voices[id] = v
		}
	}
	best := ""
	for _, t := range talking {
		r.voices[t.AttendeeID] += 0.07
		if v := r.voices[t.AttendeeID]; best == "" || v > r.voices[best] {
			best = t.AttendeeID
		}
	}
	if best != "" && best != r.speaker && r.voices[best] > r.voices[r.speaker]+0.2 {
		r.speaker = best
		for _, d := range r.downs {
			d.changed = true
		}
	}
}

// asked is what the sender of the only layer shall come down to, in bit/s, because
// nobody who watches it can take more; 0 when it may send what it likes.
func (p *Publication) asked() int64 {
	if p.enabled() != 1 {
		return 0
	}
	var most int64
	for _, l := range p.layers {
		for _, s := range l.subs {
			switch {
			case s.share == nil:
				return 0
			case s.share.off:
			case s.share.ask == 0:
				return 0
			default:
				most = max(most, s.share.ask)
			}
		}
	}
	return most
}
