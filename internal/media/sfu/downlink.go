package sfu

import (
	"slices"

	"belfry/internal/media/bwe"
	"belfry/internal/meeting"
)

// DownlinkConfig says how the videos of one client are chosen.
type DownlinkConfig struct {
	// Follow leaves the choice to the client: what it asks for is what it gets, and
	// the bandwidth is only measured.
	Follow bool
	// Whole says that the client asks for senders, by any stream of theirs, and not for
	// layers: it leaves the layer to us, also where a better one comes later.
	Whole bool
	// OnPause is called, from within a call to the Router, when the videos of these
	// groups were paused because they do not fit, or go on. It must not call back;
	// nil is allowed.
	OnPause func(groupIDs []uint32, paused bool)
	// OnNarrow is called likewise when the way has become so narrow that nothing may
	// be sent on it which is not needed, and when that is over; nil is allowed.
	OnNarrow func(narrow bool)
	Estimate bwe.Config
}

// Downlink is the way to one client: how much it carries, and what goes to which
// of the client's sections. See allocate for the rules.
type Downlink struct {
	r      *Router
	cfg    DownlinkConfig
	est    *bwe.Estimator
	shares []*Share
	closed bool

	due     int64 // when to allocate again
	rate    int64 // the estimate that was last allocated
	changed bool  // something else has changed
	narrow  bool  // as OnNarrow was told
	urgent  bool  // much more is being sent than the way carries
	limited bool  // somebody gets less than was asked for
	pace    pacer
	repairs int64 // bytes that may be sent again now, while the way is full
	order   []*Share
}

// Share is one section of a client's connection: what it asked for, and what it is
// given of that.
type Share struct {
	d    *Downlink
	sub  *Subscription
	wish uint32 // the stream that the client asked for
	pref meeting.VideoPreference
	off  bool // nothing is to be sent, whatever fits

	ladder  []step // what can be had now, from little to much
	at      int    // the step that flows; -1 while nothing has been decided
	group   uint32
	paused  bool  // because it does not fit
	tight   int64 // since when it has not fitted; 0 while it does
	ask     int64 // bit/s: what the sender would have to come down to; 0 for no limit
	raised  int64 // when it last got more
	began   int64 // bit/s of what it got then, before its key frame
	hold    int64 // no more before
	backoff int64
	pick    int
	chosen  pointKey
	open    bool  // chosen without a limit on the layers of the stream
	gap     bool  // nothing for the moment, because too much of it is on the way
	solo    bool  // one stream of one quality, which only its sender can change
	most    int64 // bit/s that the sender said it would send of it
	content bool
	speaks  bool
	low     bool // kept to the least of it, by the Router's limit
	lowered bool // it was, though its client decides
}

// step is a point with what it costs, in bit/s.
type step struct {
	point Point
	bps   int64
}

// NewDownlink begins the way to a client.
func (r *Router) NewDownlink(cfg DownlinkConfig) *Downlink {
	d := &Downlink{r: r, cfg: cfg, est: bwe.New(cfg.Estimate)}
	r.downs = append(r.downs, d)
	return d
}

// Close ends it. The subscriptions are closed by their owners.
func (d *Downlink) Close() {
	if d.closed {
		return
	}
	d.closed = true
	d.pace = pacer{}
	if i := slices.Index(d.r.downs, d); i >= 0 {
		d.r.downs = slices.Delete(d.r.downs, i, i+1)
	}
	d.r.pastBWE.add(d.est.Stats())
}

// Follow changes who chooses.
func (d *Downlink) Follow(follow bool) { d.cfg.Follow, d.changed = follow, true }

// Subscribe is Router.Subscribe for a section of this client.
func (d *Downlink) Subscribe(cfg SubscribeConfig, now int64) *Share {
	s := &Share{d: d, wish: cfg.StreamID, off: cfg.Paused, at: -1}
	s.sub = d.r.subscribe(cfg, d, now)
	s.sub.share = s
	d.shares = append(d.shares, s)
	d.changed = true
	return s
}

// Subscription is what carries it.
func (s *Share) Subscription() *Subscription { return s.sub }

// Paused says that it does not fit, and for that reason is not sent.
func (s *Share) Paused() bool { return s.paused }

// GroupID is that of the publication that was asked for, 0 when it is gone.
func (s *Share) GroupID() uint32 {
	if l := s.d.r.layers[s.wish]; l != nil {
		return l.pub.groupID
	}
	return 0
}

// Close ends the subscription.
func (s *Share) Close() {
	s.sub.Close()
	s.tellPaused(false)
	if i := slices.Index(s.d.shares, s); i >= 0 {
		s.d.shares = slices.Delete(s.d.shares, i, i+1)
	}
	s.d.changed = true
}

// Want is what the client asks for now: the best stream that it wants of one
// sender. Whether that flows, or a lower one of the same sender, depends on what
// fits.
func (s *Share) Want(streamID uint32, now int64) {
	before, after := s.d.r.layers[s.wish], s.d.r.layers[streamID]
	s.wish = streamID
	s.d.changed = true
	same := before != nil && after != nil && before.pub == after.pub
	if !same {
		s.tellPaused(false)
		s.at, s.ask, s.tight, s.hold, s.backoff, s.gap = -1, 0, 0, 0, 0, false
		s.apply(now)
	}
	if same && s.d.cfg.Whole {
		return
	}
	if same && !s.d.cfg.Follow && s.at >= 0 && s.at < len(s.ladder) {
		if l := s.d.r.layers[s.ladder[s.at].point.StreamID]; l != nil && l.pub == after.pub && l.index <= after.index {
			return // it goes on as it is until there is room for more
		}
	}
	if s.low {
		s.at = -1 // the limit is put on what it is now
	}
	s.sub.Switch(streamID, now)
}

// Gate stops what is sent, whatever fits, and lets it go on.
func (s *Share) Gate(off bool, now int64) {
	if s.off == off {
		return
	}
	s.off = off
	s.d.changed = true
	s.apply(now)
}

// Prefer takes the client's preferences.
func (s *Share) Prefer(p meeting.VideoPreference) {
	if s.pref != p {
		s.pref = p
		s.d.changed = true
	}
}

// apply pauses or resumes the subscription.
func (s *Share) apply(now int64) {
	stop := s.off || s.paused || s.gap
	switch {
	case stop == s.sub.paused:
	case stop:
		s.sub.Pause()
	default:
		s.sub.Resume(now)
	}
}

// tellPaused notes, and tells, that the share is paused or not.
func (s *Share) tellPaused(paused bool) {
	if s.paused == paused {
		return
	}
	s.paused = paused
	stats := &s.d.r.stats
	if paused {
		s.group = s.GroupID()
		stats.Pauses++
	} else {
		stats.Resumes++
	}
	if s.d.cfg.OnPause != nil && s.group != 0 {
		s.d.cfg.OnPause([]uint32{s.group}, paused)
	}
}

// Feedback takes the body of a transport-wide feedback of the client.
func (d *Downlink) Feedback(body []byte, now int64) {
	if !d.est.Feedback(body, now) {
		d.r.stats.Malformed++
	}
}

// REMB takes the client's own estimate.
func (d *Downlink) REMB(bps uint64, now int64) { d.est.REMB(bps, now) }

// Estimate is how much may be sent to the client, in bit/s; 0 while nothing is
// known.
func (d *Downlink) Estimate() int64 {
	if !d.est.Known() {
		return 0
	}
	return d.est.Target()
}

// PausedStreams appends the streams that were asked for and are paused because they
// do not fit.
func (d *Downlink) PausedStreams(to []uint32) []uint32 {
	for _, s := range d.shares {
		if s.paused {
			to = append(to, s.wish)
		}
	}
	return to
}

const allocateEvery = 100 * millisecond

// tick allocates when that is due, and sends what a probe needs.
func (d *Downlink) tick(now int64) {
	if len(d.shares) == 0 {
		d.pace = pacer{} // whose it was has ended
		d.tellNarrow(false)
		return
	}
	rate := d.est.Target()
	if d.changed || now >= d.due || rate < d.rate*95/100 {
		d.changed, d.due, d.rate = false, now+allocateEvery, rate
		d.allocate(now)
	}
	queued := d.est.Queued(now)
	d.tellNarrow(d.est.Clogged(now) || d.limited && d.est.Narrow())
	if most := rate / 8 / 4; queued { // what a quarter of a second carries
		d.repairs = min(d.repairs+most*int64(tickEvery)*2/second, most)
	} else {
		d.repairs = most
	}
	d.turn(now)
	if n := d.est.Padding(now); n > 0 {
		left := int64(n)
		if !d.est.Draining(now) {
			left = d.drain(left, now)
		}
		if left > 0 {
			d.pad(int(left))
		}
	}
}

// Narrow is what OnNarrow was told last.
func (d *Downlink) Narrow() bool { return d.narrow }

func (d *Downlink) tellNarrow(narrow bool) {
	if d.narrow == narrow {
		return
	}
	d.narrow = narrow
	if d.cfg.OnNarrow != nil {
		d.cfg.OnNarrow(narrow)
	}
}

// tickEvery is about how often tick is called.
const tickEvery = 20 * millisecond

// mend says whether a packet of so many bytes may be sent again now. A full way is
// not filled further with what was lost because it is full.
func (d *Downlink) mend(size int, now int64) bool {
	if !d.est.Queued(now) {
		return true
	}
	if d.est.Draining(now) && !d.cfg.Follow { // else video goes on, and the queue stays
		return false
	}
	if d.repairs < int64(size) {
		return false
	}
	d.repairs -= int64(size)
	return true
}

// padSize is the most that a packet of padding can hold (RFC 3550 5.1).
const padSize = 255

const padCount = 3 // packets at once, at least

// pad sends so many bytes of padding, as retransmissions of nothing, for which a
// receiver asks no more and which cost a decoder nothing. Little comes in small packets:
// what few tell is chance.
func (d *Downlink) pad(bytes int) {
	most := min(max(bytes/padCount-padHeader, 1), padSize)
	for _, s := range d.shares {
		sub := s.sub
		if sub.cfg.RTX == 0 || sub.cfg.Extensions.TransportCC == 0 || len(sub.cfg.Codecs) == 0 || sub.cfg.Codecs[0].RTX == 0 || sub.closed {
			continue
		}
		for ; bytes > 0; bytes -= most + padHeader {
			n := min(max(bytes-padHeader, 1), most)
			padding := d.r.padding[padSize-n:]
			w := &sub.hdr
			w.TwoByte = sub.twoByte
			w.Begin(d.r.header[:], sub.cfg.Codecs[0].RTX, false, sub.rtx, sub.out.timestamp, sub.cfg.RTX)
			sub.rtx++
			x := &sub.cfg.Extensions
			w.TransportSequence(x.TransportCC, d.est.Send(n+padHeader, d.r.now))
			if x.AbsSendTime != 0 {
				w.AbsSendTime(x.AbsSendTime, d.r.now)
			}
			if x.MID != 0 {
				w.String(x.MID, sub.cfg.MID)
			}
			header := w.Bytes()
			header[0] |= 0x20
			padding[n-1] = byte(n)
			sub.cfg.Down.SendRTP(header, padding)
			d.r.stats.Padding++
		}
		return
	}
}

// padHeader is about what header and seal of such a packet take.
const padHeader = 40

// BandwidthStats sums what the estimators of a Router did and know.
type BandwidthStats struct {
	bwe.Stats
	Known     int   // connections with an estimate
	Estimate  int64 // the sum of these, in bit/s
	Congested int
	Limited   int // sections that get less than was asked for, or nothing
	Paused    int
}

func (b *BandwidthStats) add(s bwe.Stats) {
	b.Feedbacks += s.Feedbacks
	b.Stats.Malformed += s.Malformed
	b.Overuses += s.Overuses
	b.Losses += s.Losses
	b.Probes += s.Probes
	b.ProbesHeld += s.ProbesHeld
	b.Outages += s.Outages
}

// Add sums two.
func (b *BandwidthStats) Add(o BandwidthStats) {
	b.add(o.Stats)
	b.Known += o.Known
	b.Estimate += o.Estimate
	b.Congested += o.Congested
	b.Limited += o.Limited
	b.Paused += o.Paused
}

// Bandwidth returns what is known of the ways to the clients.
func (r *Router) Bandwidth() BandwidthStats {
	b := r.pastBWE
	for _, d := range r.downs {
		b.add(d.est.Stats())
		if d.est.Known() {
			b.Known++
			b.Estimate += d.est.Target()
		}
		if d.est.Congested(r.now) {
			b.Congested++
		}
		for _, s := range d.shares {
			switch {
			case s.paused:
				b.Paused++
				b.Limited++
			case !s.off && s.at >= 0 && (s.at < len(s.ladder)-1 || s.ask != 0 || s.low):
				b.Limited++
			}
		}
	}
	return b
}
