package signaling

import (
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// room is the live state of one meeting. It is made by the first JOIN and ends
// when the last attendee has gone and nobody is entering.
//
// Its state is guarded by mu, held shortly; nothing that blocks is called under
// it. What may take time goes through later to the room's own goroutine, which
// also keeps the clock: INDEX, BITRATES, changes of the roster that wait, and who
// has been away too long.
type room struct {
	srv     *Server
	log     *slog.Logger
	meeting *meeting.Meeting
	conf    meeting.Conference // set before opened is closed, never changed
	opened  chan struct{}
	openErr error
	closed  chan struct{} // the room is gone and its media is closed
	wake    chan struct{} // capacity 1

	// Guarded by Server.mu.
	entering int      // sessions between enter and leaveEntrance
	closing  bool     // not to be entered any more
	replicas []string // the replicas by which it was entered

	mu        sync.Mutex
	members   map[string]*participant // by full attendee id: the newest connection of each
	audience  map[string]*participant // those of replicas, promoted or not, by their own full id
	nextID    uint32
	work      []func()
	index     index
	changes   rosterChanges
	weak      map[string]uint8     // signal strength by full attendee id, of those not good
	loud      []meeting.AudioLevel // the last Levels
	talking   bool                 // what was told of it was not empty
	messages  *messageStore
	strayed   map[string]time.Time // by full attendee id: when it was told last to come back with its media
	abandoned bool

	rosterPace    *rate.Limiter
	transcription transcription
}

// participant is one connection of one attendee, or of its content share, in a
// room. room.mu guards all but the first group.
type participant struct {
	room         *room
	home         *meeting.Meeting // whose attendee opened the socket: the room's, or a replica of it
	guest        bool             // it is a replica
	ownID        string           // of who opened the socket, with content suffix
	content      bool
	audioSession uint64 // 0: the client did not say
	native       bool
	browser      bool // a client that comes back when it is told to
	relay        bool // was offered a relay because going direct had failed

	own         *meeting.Attendee // who opened the socket
	attendee    *meeting.Attendee // who it is here: own, or who it was promoted to
	id          string            // of attendee, with content suffix
	base        string            // without
	promoted    bool              // a guest that takes part; any other is hidden
	informed    bool              // it has had the full roster
	known       int               // of the room's roster changes, how many it had in its roster
	counted     bool              // a hidden one: its replica was told that it has joined
	sess        *session          // nil when the socket is gone
	socketLost  time.Time
	peer        meeting.Peer
	camera      bool // has one of the meeting's places for video
	subscribed  bool
	sendsAudio  bool
	sendsVideo  bool      // its last offer announced a camera
	connected   time.Time // ICE and DTLS
	mediaClosed time.Time
	alone       time.Time // since when signaling has come without media; zero while both come
	muted       bool      // as the client says
	toldMuted   bool      // what others were told last
	mutes       *rate.Limiter
	streamID    uint32 // in the roster; 0 while not present
	gone        bool
	orphaned    time.Time    // content share: since when its base is not here
	prev        *predecessor // the connection that this one replaced, until it is present
	adaption    meeting.Adaption
	reads       bool                // it reads its bandwidth from BITRATES
	policy      bool                // its downlink policy hears PAUSE and RESUME
	unfit       map[uint32]struct{} // groups that are not sent to it because they do not fit
	sentIndex   []byte              // the key of the last INDEX; shared, never modified
	pings       pings
	// transcription is the number of the last word on it that was sent.
	transcription uint64
	confirmedNs   int64 // data messages up to this ingest time have arrived
}

// predecessor is what remains of a replaced connection: others still see it in
// the roster until the new one is present, so that nobody sees a leave.
type predecessor struct {
	streamID uint32
	peer     meeting.Peer
	camera   bool
	since    time.Time
}

// predecessorMedia is how long the media of a replaced connection is kept, so
// that its video does not vanish before the new one's is there.
const predecessorMedia = 15 * time.Second

func newRoom(s *Server, m *meeting.Meeting, nextID uint32, messages *messageStore) *room {
	if messages == nil {
		messages = &messageStore{}
	}
	return &room{
		srv:      s,
		log:      s.log.With("meeting", m.ID),
		meeting:  m,
		opened:   make(chan struct{}),
		closed:   make(chan struct{}),
		wake:     make(chan struct{}, 1),
		members:  map[string]*participant{},
		audience: map[string]*participant{},
		nextID:   nextID,
		weak:     map[string]uint8{},
		strayed:  map[string]time.Time{},
		messages: messages,

		rosterPace: rate.NewLimiter(rate.Every(s.cfg.Timings.RosterDelay), rosterBurst),
	}
}

// open opens the meeting's media and starts the room's goroutine.
func (r *room) open() error {
	spec := meeting.ConferenceSpec{
		MeetingID: r.meeting.ID, FirstID: firstID(r.meeting.CreatedAt, r.srv.now()), Features: r.meeting.Features,
	}
	r.conf, r.openErr = r.srv.cfg.Conferences.OpenConference(spec, r)
	if r.openErr != nil {
		r.srv.mu.Lock()
		r.srv.forget(r)
		r.park()
		r.srv.mu.Unlock()
		close(r.opened)
		close(r.closed)
		r.srv.rooms.Done()
		return r.openErr
	}
	r.srv.metrics.meetings.Inc()
	r.log.Info("meeting opened", "first_id", spec.FirstID)
	close(r.opened)
	go r.run()
	return nil
}

// run is the room's goroutine.
func (r *room) run() {
	defer r.srv.rooms.Done()
	tick := time.NewTicker(r.srv.cfg.Timings.Tick)
	defer tick.Stop()
	bitrates := time.NewTicker(r.srv.cfg.Timings.Bitrates)
	defer bitrates.Stop()
	index := time.NewTimer(time.Hour)
	defer index.Stop()
	roster := time.NewTimer(time.Hour)
	defer roster.Stop()
	armed, rosterArmed := false, false
	for {
		select {
		case <-r.wake:
		case <-tick.C:
			r.tick()
		case <-bitrates.C:
			r.sendBitrates()
		case <-index.C:
			armed = false
			r.refreshIndex()
		case <-roster.C:
			rosterArmed = false
			r.mu.Lock()
			r.tellRoster()
			r.mu.Unlock()
		}
		r.catchUp()
		if r.tryClose() {
			return
		}
		if !armed && r.indexIsDue() {
			armed = true
			index.Reset(r.indexWait())
		}
		if !rosterArmed {
			r.mu.Lock()
			in, waiting := r.rosterWaits()
			r.mu.Unlock()
			if waiting {
				rosterArmed = true
				roster.Reset(in)
			}
		}
	}
}

// later has the room's goroutine call fn. The caller holds mu.
func (r *room) later(fn func()) {
	r.work = append(r.work, fn)
	r.wakeUp()
}

func (r *room) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// catchUp does what was put off, in order.
func (r *room) catchUp() {
	for {
		r.mu.Lock()
		work := r.work
		r.work = nil
		r.mu.Unlock()
		if len(work) == 0 {
			return
		}
		for _, fn := range work {
			fn()
		}
	}
}

// tryClose ends the room when nobody is in it nor about to be.
func (r *room) tryClose() bool {
	r.srv.mu.Lock()
	r.mu.Lock()
	idle := r.entering == 0 && (len(r.members)+len(r.audience) == 0 || r.abandoned) && len(r.work) == 0
	if idle {
		r.closing = true
	}
	var members []*participant // only of an abandoned room
	if idle {
		members = slices.Collect(r.everybody())
		r.members, r.audience = map[string]*participant{}, map[string]*participant{}
	}
	r.mu.Unlock()
	r.srv.mu.Unlock()
	if !idle {
		return false
	}
	for _, p := range members {
		r.mu.Lock()
		p.gone = true
		peers := p.takePeers()
		r.mu.Unlock()
		for _, peer := range peers {
			peer.Close()
		}
	}
	r.conf.Close()
	r.catchUp()
	r.srv.metrics.meetings.Dec()
	r.log.Info("meeting closed")
	r.srv.mu.Lock()
	r.srv.forget(r)
	r.park()
	r.srv.mu.Unlock()
	close(r.closed)
	return true
}

// park leaves with the server what must outlive the room. The caller holds
// Server.mu.
func (r *room) park() {
	m := &r.srv.memory
	if m.hasEnded(r.meeting.ID) {
		return
	}
	now := r.srv.now()
	m.sweep(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	m.parked[r.meeting.ID] = parked{nextID: r.nextID, messages: r.messages, created: r.meeting.CreatedAt}
}

// abandon makes the room end though attendees may still be waited for. The
// caller holds Server.mu.
func (r *room) abandon() {
	r.mu.Lock()
	r.abandoned = true
	r.mu.Unlock()
	r.wakeUp()
}

// takePeers takes what media a connection has, for the caller to close.
func (p *participant) takePeers() []meeting.Peer {
	var out []meeting.Peer
	if p.peer != nil {
		out = append(out, p.peer)
		p.peer = nil
	}
	if p.prev != nil && p.prev.peer != nil {
		out = append(out, p.prev.peer)
		p.prev.peer = nil
	}
	return out
}

func (r *room) peerOf(p *participant) meeting.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.peer
}

// relays tells whether an attendee who is here was offered a relay.
func (r *room) relays(attendeeID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.members[attendeeID]
	if p == nil {
		p = r.audience[attendeeID]
	}
	return p != nil && p.relay
}

// everybody is each connection in the room once. The caller holds mu and takes
// nobody out meanwhile but the one at hand.
func (r *room) everybody() iter.Seq[*participant] {
	return func(yield func(*participant) bool) {
		for _, p := range r.members {
			if !yield(p) {
				return
			}
		}
		for _, p := range r.audience {
			if r.members[p.id] != p && !yield(p) {
				return
			}
		}
	}
}

// join puts a connection into the room and sends what it starts with: the given
// JOIN_ACK, INDEX and the data messages it has missed. It is false when it has no
// place there: it is the content share of one who is not promoted.
func (r *room) join(p *participant, ack []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.own = p.sess.attendee.Load() // what changes from here on, the room is told
	p.id, p.base, p.attendee = p.ownID, p.own.ID, p.own
	if p.guest && p.content && !r.shareAs(p) {
		return false
	}
	switch old := r.bySocket(p); {
	case old != nil:
		r.replace(old, p)
	case !p.hidden():
		r.makeWay(p)
	}
	if !p.content {
		r.record(p, meeting.EventAttendeeAuthorized, "")
	}
	r.add(p)
	p.sess.joined.Store(true)
	p.sess.send(ack)
	r.sendIndex(p, r.currentIndexes())
	r.replay(p)
	r.tellTranscription(p)
	return true
}

// add puts a connection where it is found.
func (r *room) add(p *participant) {
	if p.guest {
		r.audience[p.ownID] = p
	}
	if !p.hidden() {
		r.members[p.id] = p
	}
}

// bySocket is the connection that was opened by the same attendee, nil for none.
func (r *room) bySocket(p *participant) *participant {
	if p.guest {
		return r.audience[p.ownID]
	}
	if old := r.members[p.id]; old != nil && !old.guest {
		return old
	}
	return nil
}

// replace makes way for a new connection of an attendee that is here already.
func (r *room) replace(old, p *participant) {
	now := r.srv.now()
	same := p.audioSession != 0 && p.audioSession == old.audioSession
	if old.promoted && !old.content {
		r.stepDown(old, false) // a client that comes back has demoted itself
	}
	old.gone = true
	r.messages.remember(old)
	switch {
	case old.streamID != 0:
		p.prev = &predecessor{streamID: old.streamID, peer: old.peer, camera: old.hasCamera(), since: now}
		if old.prev != nil && old.prev.peer != nil {
			r.later(old.prev.peer.Close)
		}
	case old.prev != nil:
		p.prev = old.prev
		if old.peer != nil {
			r.later(old.peer.Close)
		}
	case old.peer != nil:
		r.later(old.peer.Close)
	}
	old.peer, old.prev = nil, nil
	p.muted, p.toldMuted = old.muted, old.toldMuted // until it says otherwise
	p.counted = old.counted
	if same {
		p.transcription = old.transcription
	}
	if !same && p.prev != nil && p.prev.peer != nil {
		r.later(p.prev.peer.Close)
		p.prev.peer = nil
	}
	if !same && !p.content && p.audioSession != 0 && old.audioSession != 0 {
		// Certainly another device: what the first one shared ends with its stay.
		r.endShare(p, statusElsewhere, closeReplaced, "joined from another device", false)
	}
	if old.sess == nil {
		return
	}
	if same {
		old.sess.close(closeNormal, "reconnected")
	} else {
		r.log.Info("joined from elsewhere", "attendee", p.id)
		old.sess.end(statusElsewhere, closeReplaced, "joined from another device")
	}
	old.sess = nil
}

// leave takes a connection out because its client said so.
func (r *room) leave(p *participant, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.sess == s {
		r.remove(p, false)
	}
}

// drop takes a connection out without a word.
func (r *room) drop(p *participant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(p, false)
}

// socketLost starts the grace time of a connection whose socket is gone.
func (r *room) socketLost(p *participant, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.gone || p.sess != s {
		return
	}
	p.sess = nil
	p.socketLost = r.srv.now()
	if p.promoted && !p.content {
		r.stepDown(p, true) // its client has to be promoted again
	}
	if p.shownID() == 0 && !p.counted && p.peer == nil {
		r.remove(p, false) // nobody has seen it
	}
}

// removeAttendee takes out an attendee and its content share. Who was promoted to
// it goes back to the audience.
func (r *room) removeAttendee(attendeeID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.members[attendeeID]; p != nil && p.promoted {
		r.demote(p)
	}
	for _, id := range []string{attendeeID, attendeeID + meeting.ContentSuffix} {
		for _, p := range []*participant{r.members[id], r.audience[id]} {
			if p != nil {
				r.remove(p, false)
			}
		}
	}
}

// removeMeeting takes out everybody who came by a meeting: by the room's own, or
// by one replica of it.
func (r *room) removeMeeting(meetingID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	going := func(p *participant) bool { return meetingID == r.meeting.ID || p.home.ID == meetingID }
	for p := range r.everybody() {
		if going(p) {
			p.sess = nil // who has heard of the end need not hear who else goes
		}
	}
	for p := range r.everybody() {
		if going(p) {
			r.remove(p, false)
		}
	}
}

// remove takes a connection out of the room: its media is closed, and if others
// saw it they see it leave. A base attendee takes its content share along. The
// caller holds mu.
func (r *room) remove(p *participant, dropped bool) {
	if p.gone || r.members[p.id] != p && r.audience[p.ownID] != p {
		return
	}
	if p.promoted && !p.content {
		r.stepDown(p, dropped)
	}
	p.gone = true
	r.messages.remember(p)
	if p.guest {
		delete(r.audience, p.ownID)
	}
	for _, peer := range p.takePeers() {
		r.later(peer.Close)
	}
	if p.hidden() {
		if p.counted {
			r.recordLeave(p, dropped)
		}
		r.wakeUp()
		return
	}
	r.withdraw(p, dropped)
}

// withdraw takes a connection out of what others see. The caller holds mu.
func (r *room) withdraw(p *participant, dropped bool) {
	delete(r.members, p.id)
	delete(r.weak, p.id)
	if r.index.sending[p.id] {
		delete(r.index.sending, p.id)
		r.record(p, meeting.EventAttendeeVideoStopped, meeting.EventAttendeeContentVideoStopped)
	}
	if shown := p.shownID(); shown != 0 {
		r.change(rosterChange{entry: leaveEntry(shown, dropped)})
		r.recordLeave(p, dropped)
	}
	r.index.dirty = true
	r.wakeUp()
	if !p.content {
		r.endShare(p, statusRemoved, closeRefused, "the attendee has left", dropped)
	}
	r.tellRoster()
}

// endShare ends the content share of a base attendee, if there is one. The
// caller holds mu.
func (r *room) endShare(p *participant, status uint32, code int, reason string, dropped bool) {
	c := r.members[p.base+meeting.ContentSuffix]
	if c == nil {
		return
	}
	if c.sess != nil {
		c.sess.end(status, code, reason)
	}
	r.remove(c, dropped)
}

// record tells of presence; which of the two types depends on whose it is. The
// caller holds mu.
func (r *room) record(p *participant, base, content meeting.EventType) {
	kind, home := base, r.meeting
	if p.content {
		kind = content
	}
	if p.hidden() {
		home = p.home
	}
	r.tell(kind, home, p.attendee)
}

func (r *room) recordLeave(p *participant, dropped bool) {
	if dropped {
		r.record(p, meeting.EventAttendeeDropped, meeting.EventAttendeeContentDropped)
	} else {
		r.record(p, meeting.EventAttendeeLeft, meeting.EventAttendeeContentLeft)
	}
}

// tell has the event of an attendee of a meeting recorded. The caller holds mu.
func (r *room) tell(kind meeting.EventType, home *meeting.Meeting, a *meeting.Attendee) {
	r.srv.metrics.presence.WithLabelValues(string(kind)).Inc()
	if r.srv.cfg.Events == nil {
		return
	}
	ev := Presence{Type: kind, At: r.srv.now(), Meeting: home, Attendee: a}
	r.later(func() { r.srv.cfg.Events.Presence(ev) })
}

// tick looks after what only time changes.
func (r *room) tick() {
	t := r.srv.cfg.Timings
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.srv.now()
	r.messages.expire(now)
	maps.DeleteFunc(r.strayed, func(_ string, at time.Time) bool { return now.Sub(at) >= strayPause })
	if r.camerasFull() != r.index.full { // by the quota too
		r.index.dirty = true
	}
	for p := range r.everybody() {
		if p.prev != nil && p.prev.peer != nil && now.Sub(p.prev.since) >= predecessorMedia {
			r.later(p.prev.peer.Close)
			p.prev.peer = nil
		}
		if !p.connected.IsZero() && !p.informed && now.Sub(p.connected) >= t.PresenceFallback {
			r.present(p)
		}
		r.tellMute(p, false)
		switch {
		case p.gone:
		case p.sess == nil:
			alive := p.socketLost
			if media := p.lastMedia(); media.After(alive) {
				alive = media
			}
			if now.Sub(alive) >= t.Grace || now.Sub(p.socketLost) >= t.MaxGrace {
				r.remove(p, true)
			}
		case (p.shownID() != 0 || p.informed) && now.Sub(p.lastHeard()) >= t.Silent:
			p.sess.close(closeServerError, "nothing came for too long")
			r.remove(p, true)
		case !p.mediaClosed.IsZero() && now.Sub(p.mediaClosed) >= t.MaxGrace:
			// It pings but never came back with media.
			p.sess.close(closeServerError, "the media connection is gone")
			r.remove(p, true)
		case r.astray(p, now):
			r.log.Info("media stopped while signaling goes on, asking the client to connect anew",
				"attendee", p.id, "after", now.Sub(p.lastMedia()).Round(time.Millisecond))
			r.srv.metrics.cut.WithLabelValues("media_astray").Inc()
			p.sess.comeBack("no media comes from this client any more")
			r.strayed[p.id] = now
		case p.content && r.members[p.base] == nil:
			// After a restart the content share may be back before its base.
			if p.orphaned.IsZero() {
				p.orphaned = now
			} else if now.Sub(p.orphaned) >= t.Grace {
				p.sess.end(statusRemoved, closeRefused, "the attendee is not in the meeting")
				r.remove(p, false)
			}
		default:
			p.orphaned = time.Time{}
		}
	}
}

// strayPause is for how long who was told to come back is not told again: if it is as
// silent on its new connection, that was not why.
const strayPause = time.Minute

// astray tells whether the media of a client got lost on its way while the client is
// there: a firewall or a VPN that lets UDP through no more. The client would notice
// after 25 s. Nothing must have come, no media, report or check, though it promised
// audio, of which some comes at all times; and signaling must have come for half that
// time after the last media, since after a cut either may be back first. The caller
// holds mu.
func (r *room) astray(p *participant, now time.Time) bool {
	limit := r.srv.cfg.Timings.Astray
	media, seen := p.lastMedia(), time.Unix(0, p.sess.lastSeen.Load())
	if !p.browser || p.peer == nil || p.connected.IsZero() || !p.sendsAudio || seen.Sub(media) < limit/4 {
		p.alone = time.Time{}
		return false
	}
	if p.alone.IsZero() {
		p.alone = seen
	}
	if _, told := r.strayed[p.id]; told || now.Sub(media) < limit || seen.Sub(p.alone) < limit/2 {
		return false
	}
	// To come back costs the server more than to stay, and a full one may be why
	// nothing is heard.
	return r.srv.cfg.Full == nil || !r.srv.cfg.Full()
}

// capabilitiesChanged applies new capabilities to an attendee's connections.
func (r *room) capabilitiesChanged(a *meeting.Attendee) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range []string{a.ID, a.ID + meeting.ContentSuffix} {
		if p := r.audience[id]; p != nil {
			p.own = a
			if p.hidden() {
				r.setAttendee(p, a)
			}
		}
		if p := r.members[id]; p != nil {
			r.setAttendee(p, a)
		}
	}
	r.wakeUp()
}

// setAttendee applies what an attendee is now to one connection of it. The caller
// holds mu.
func (r *room) setAttendee(p *participant, a *meeting.Attendee) {
	before := p.rights()
	p.attendee = a
	now := p.rights()
	if before == now {
		return // something else has changed
	}
	if peer := p.peer; peer != nil {
		r.later(func() { peer.SetCapabilities(now) })
	}
	if p.content && !now.Content.CanSend() {
		if p.sess != nil {
			p.sess.end(statusForbidden, closeRefused, "this attendee may not share content any more")
		}
		r.remove(p, false)
		return
	}
	r.tellMute(p, true)
	if !now.Video.CanSend() {
		p.camera = false
	}
	if !p.content && before.Video.CanSend() && !now.Video.CanSend() && p.sess != nil {
		p.sess.sendFrame(viewOnly("this attendee may not send video any more"))
	}
	switch {
	case !p.hidden():
		r.index.dirty = true
	case p.sess != nil:
		r.sendIndex(p, r.currentIndexes())
	}
}

// viewOnly takes a client's camera off. The error may ride on any frame; this one
// says nothing else.
func viewOnly(why string) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:          signalpb.SdkSignalFrame_AUDIO_METADATA.Enum(),
		AudioMetadata: &signalpb.SdkAudioMetadataFrame{},
		Error:         envelopeError(statusViewOnly, why),
	}
}

func (r *room) info() RoomInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := RoomInfo{MeetingID: r.meeting.ID}
	for p := range r.everybody() {
		if p.sess != nil {
			out.Sockets++
		}
		switch {
		case p.hidden():
			out.Audience++
		case p.shownID() == 0:
		case p.content:
			out.Contents++
		default:
			out.Attendees++
		}
	}
	return out
}
