package signaling

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// The roster: AUDIO_STREAM_ID_INFO and AUDIO_METADATA. What an entry means
// depends on which of its members are there, so each kind has its maker.

// joinEntry says that an attendee is here, under this id. It tells the mute that
// others were told: what has changed since will be told to all.
func joinEntry(p *participant, id string) *signalpb.SdkAudioStreamIdInfo {
	return &signalpb.SdkAudioStreamIdInfo{
		AudioStreamId:  proto.Uint32(p.shownID()),
		AttendeeId:     proto.String(id),
		ExternalUserId: proto.String(p.attendee.ExternalUserID),
		Muted:          proto.Bool(p.toldMuted),
	}
}

// idFor is the id under which a viewer knows p: that of its attendee here. But the
// client of a promoted attendee takes its own share for started, and shows it, when
// it finds the id that it opened the share with.
func (p *participant) idFor(viewer *participant) string {
	if p.guest && p.content && viewer.own.ID == p.own.ID {
		return p.ownID
	}
	return p.id
}

// muteEntry says that an attendee is muted or not.
func muteEntry(p *participant) *signalpb.SdkAudioStreamIdInfo {
	return &signalpb.SdkAudioStreamIdInfo{
		AudioStreamId: proto.Uint32(p.shownID()),
		Muted:         proto.Bool(p.seemsMuted()),
	}
}

// leaveEntry says that an attendee has gone; muted must be absent.
func leaveEntry(streamID uint32, dropped bool) *signalpb.SdkAudioStreamIdInfo {
	e := &signalpb.SdkAudioStreamIdInfo{AudioStreamId: proto.Uint32(streamID)}
	if dropped {
		e.Dropped = proto.Bool(true)
	}
	return e
}

// shownID is the id under which others know this attendee now, 0 for none.
func (p *participant) shownID() uint32 {
	if p.streamID == 0 && p.prev != nil {
		return p.prev.streamID
	}
	return p.streamID
}

// seemsMuted is what others are told: who may not speak is muted. The sound of a
// content share is content.
func (p *participant) seemsMuted() bool {
	caps := p.rights()
	if p.content {
		return p.muted || !caps.Content.CanSend()
	}
	return p.muted || !caps.Audio.CanSend()
}

// The pace at which one attendee's mute is told to all the others. One that
// changes faster is told about by the next tick, as it is then.
const muteRate, muteBurst = 5, 10

// tellMute tells everybody when somebody's mute is not what they were told
// last. The caller holds mu.
func (r *room) tellMute(p *participant, now bool) {
	if p.gone || p.shownID() == 0 || p.seemsMuted() == p.toldMuted || r.changes.muted[p] {
		return
	}
	if !now && !p.mutes.AllowN(r.srv.now(), 1) {
		return
	}
	if r.changes.muted == nil {
		r.changes.muted = map[*participant]bool{}
	}
	r.changes.muted[p] = true
	r.tellRoster()
}

func rosterFrame(entries ...*signalpb.SdkAudioStreamIdInfo) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:              signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO.Enum(),
		AudioStreamIdInfo: &signalpb.SdkAudioStreamIdInfoFrame{Streams: entries},
	}
}

// rosterChanges are what has happened to the roster and has not been told yet;
// room.mu guards them. In quiet times a change is told at once. When rosterBurst
// frames were sent in a short time, what follows is gathered for RosterDelay and
// goes into one frame, which is encoded once for all who know the same. So many
// who come at once cost each of those who are here a few frames.
type rosterChanges struct {
	entries []rosterChange
	muted   map[*participant]bool // whose mute has changed, perhaps back again
	untold  uint32                // the first stream id that entries bring; 0 for none
}

// rosterBurst is how many changes that come one by one are told one by one: a
// small meeting sees no delay.
const rosterBurst = 8

// rosterChange is one entry, and what one viewer is told instead.
type rosterChange struct {
	entry    *signalpb.SdkAudioStreamIdInfo
	viewer   *participant // nil: it is the same for all
	forOwner *signalpb.SdkAudioStreamIdInfo
}

// entryFor is what a viewer is told of a change.
func (c rosterChange) entryFor(viewer *participant) *signalpb.SdkAudioStreamIdInfo {
	if c.viewer != nil && c.viewer == viewer {
		return c.forOwner
	}
	return c.entry
}

// change notes a change of the roster, for tellRoster to tell. The caller holds mu.
func (r *room) change(c rosterChange) {
	if c.entry.AttendeeId != nil && r.changes.untold == 0 {
		r.changes.untold = c.entry.GetAudioStreamId()
	}
	r.changes.entries = append(r.changes.entries, c)
}

// tellRoster tells the changes, now or by the room's goroutine when much was told
// a moment ago. The caller holds mu.
func (r *room) tellRoster() {
	switch {
	case len(r.changes.entries)+len(r.changes.muted) == 0:
	case r.rosterPace.AllowN(r.srv.now(), 1):
		r.flushRoster()
	default:
		r.wakeUp()
	}
}

// rosterWaits tells whether changes wait, and in how long they are to be told. The
// caller holds mu.
func (r *room) rosterWaits() (in time.Duration, waiting bool) {
	delay := r.srv.cfg.Timings.RosterDelay
	in = time.Duration((1 - r.rosterPace.TokensAt(r.srv.now())) * float64(delay))
	return min(max(in, time.Millisecond), delay), len(r.changes.entries)+len(r.changes.muted) > 0
}

// flushRoster tells every connection that has had the full roster what it does
// not know yet. The caller holds mu.
func (r *room) flushRoster() {
	muted := slices.SortedFunc(maps.Keys(r.changes.muted), func(a, b *participant) int {
		return cmp.Compare(a.shownID(), b.shownID())
	})
	for _, p := range muted {
		if !p.gone && p.shownID() != 0 && p.seemsMuted() != p.toldMuted {
			p.toldMuted = p.seemsMuted()
			r.change(rosterChange{entry: muteEntry(p)})
		}
	}
	changes, joined := r.changes.entries, r.changes.untold != 0
	r.changes = rosterChanges{}
	if len(changes) == 0 {
		return
	}
	now := r.srv.now()
	own := map[*participant]bool{}
	for _, c := range changes {
		if c.viewer != nil {
			own[c.viewer] = true
		}
	}
	var same []byte // for those who know nothing of it and are nobody's owner
	for p := range r.everybody() {
		known := p.known
		p.known = 0
		switch {
		case p.sess == nil, !p.informed, known == len(changes):
		case known > 0 || own[p]:
			p.sess.send(encode(rosterFrame(entriesFor(p, changes[known:])...), now))
		default:
			if same == nil {
				same = encode(rosterFrame(entriesFor(nil, changes)...), now)
			}
			p.sess.send(same)
		}
	}
	if joined {
		r.broadcast(metadataFrame(r.meters()))
	}
}

func entriesFor(viewer *participant, changes []rosterChange) []*signalpb.SdkAudioStreamIdInfo {
	entries := make([]*signalpb.SdkAudioStreamIdInfo, len(changes))
	for i, c := range changes {
		entries[i] = c.entryFor(viewer)
	}
	return entries
}

// broadcast sends one frame to every connection that has had the full roster. The
// caller holds mu.
func (r *room) broadcast(f *signalpb.SdkSignalFrame) {
	var data []byte
	for p := range r.everybody() {
		if p.sess == nil || !p.informed {
			continue
		}
		if data == nil {
			data = encode(f, r.srv.now())
		}
		p.sess.send(data)
	}
}

// present begins the stay of a connection whose media has come: it gets the whole
// list, and everybody else its entry, unless it is hidden. The caller holds mu.
func (r *room) present(p *participant) {
	if p.gone || p.informed {
		return
	}
	if p.content && !r.mayShare(p) {
		r.log.Info("content share refused", "attendee", p.id)
		if p.sess != nil {
			p.sess.end(statusConflict, closeReplaced, "too many content shares")
		}
		r.remove(p, false)
		return
	}
	if p.guest && !p.content && !p.counted {
		p.counted = true
		r.tell(meeting.EventAttendeeJoined, p.home, p.own)
	}
	if !p.hidden() {
		r.enterRoster(p)
	}
	p.informed = true
	p.known = len(r.changes.entries)
	if p.sess != nil {
		p.sess.sendFrame(rosterFrame(r.fullRoster(p)...))
		p.sess.sendFrame(metadataFrame(r.meters()))
	}
}

// enterRoster puts a connection into the roster and tells everybody who has had
// it. When it replaces another connection of the attendee, its entry comes before
// the leave of the old one, which clients then take for no leave at all. The
// caller holds mu.
func (r *room) enterRoster(p *participant) {
	prev := p.prev
	p.streamID, p.prev = r.nextID, nil
	p.toldMuted = p.seemsMuted()
	r.nextID++
	join := rosterChange{entry: joinEntry(p, p.id)}
	if p.content && p.guest {
		if own := r.audience[p.own.ID]; own != nil {
			join.viewer, join.forOwner = own, joinEntry(p, p.idFor(own))
		}
	}
	r.change(join)
	if prev != nil {
		r.change(rosterChange{entry: leaveEntry(prev.streamID, false)})
		if prev.peer != nil {
			r.later(prev.peer.Close)
		}
	} else {
		r.record(p, meeting.EventAttendeeJoined, meeting.EventAttendeeContentJoined)
	}
	r.tellRoster()
	r.index.dirty = true
	r.wakeUp()
}

// contentShares counts the content shares in the roster, other than p's own.
func (r *room) contentShares(p *participant) int {
	n := 0
	for _, other := range r.members {
		if other != p && other.content && other.shownID() != 0 {
			n++
		}
	}
	return n
}

// fullRoster lists everybody for a viewer, oldest first.
func (r *room) fullRoster(viewer *participant) []*signalpb.SdkAudioStreamIdInfo {
	var entries []*signalpb.SdkAudioStreamIdInfo
	for _, p := range r.members {
		if p.shownID() != 0 {
			entries = append(entries, joinEntry(p, p.idFor(viewer)))
		}
	}
	slices.SortFunc(entries, func(a, b *signalpb.SdkAudioStreamIdInfo) int {
		return int(int64(a.GetAudioStreamId()) - int64(b.GetAudioStreamId()))
	})
	return entries
}

// setMuted takes over what the client says of itself and tells everybody, the
// client included. tellMedia is false where an offer carries it along.
func (r *room) setMuted(p *participant, muted, tellMedia bool) {
	r.mu.Lock()
	changed := p.muted != muted
	p.muted = muted
	peer := p.peer
	r.tellMute(p, false)
	r.mu.Unlock()
	// Called by the connection's reader alone, so the last state wins.
	if tellMedia && changed && peer != nil {
		peer.SetMuted(muted)
	}
}

func metadataFrame(states []*signalpb.SdkAudioAttendeeState) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:          signalpb.SdkSignalFrame_AUDIO_METADATA.Enum(),
		AudioMetadata: &signalpb.SdkAudioMetadataFrame{AttendeeStates: states},
	}
}

// Levels implements meeting.ConferenceEvents. All talkers are in one frame,
// because clients take whoever is not listed for silent; nobody is one entry
// that matches no attendee.
func (r *room) Levels(talking []meeting.AudioLevel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loud = append(r.loud[:0], talking...)
	states := r.loudStates()
	if len(states) == 0 {
		if !r.talking {
			return
		}
		states = []*signalpb.SdkAudioAttendeeState{{AudioStreamId: proto.Uint32(0), Volume: proto.Uint32(0)}}
		r.talking = false
	} else {
		r.talking = true
	}
	r.broadcast(metadataFrame(states))
}

// loudStates lists those who talk and are known to talk. The caller holds mu.
func (r *room) loudStates() []*signalpb.SdkAudioAttendeeState {
	var states []*signalpb.SdkAudioAttendeeState
	for _, l := range r.loud {
		p := r.members[l.AttendeeID]
		if p == nil || p.shownID() == 0 || p.seemsMuted() || r.isUntold(p) {
			continue
		}
		states = append(states, &signalpb.SdkAudioAttendeeState{
			AudioStreamId: proto.Uint32(p.shownID()),
			Volume:        proto.Uint32(uint32(min(l.Volume, 127))),
		})
	}
	return states
}

// isUntold tells whether others do not know the stream id of an attendee yet; what
// is said of such an id they drop. The caller holds mu.
func (r *room) isUntold(p *participant) bool {
	return r.changes.untold != 0 && p.shownID() >= r.changes.untold
}

// SignalStrength implements meeting.ConferenceEvents.
func (r *room) SignalStrength(weak []meeting.SignalStrength) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.weak
	r.weak = make(map[string]uint8, len(weak))
	for _, w := range weak {
		if w.Strength < strengthGood && r.members[w.AttendeeID] != nil {
			r.weak[w.AttendeeID] = w.Strength
		}
	}
	if maps.Equal(before, r.weak) {
		return // one of the audience, of whom nobody knows
	}
	states := r.weakStates()
	if len(states) == 0 {
		states = []*signalpb.SdkAudioAttendeeState{allGood()}
	}
	r.broadcast(metadataFrame(states))
}

// meters lists all volumes and signal strengths as they are now, so that nothing
// else remains in a client. Clients keep what they knew of an attendee while it is
// away, and while they are: so everybody is told again when somebody comes. The
// caller holds mu.
func (r *room) meters() []*signalpb.SdkAudioAttendeeState {
	loud, rest := r.loudStates(), allGood()
	r.talking = r.talking || len(loud) > 0
	rest.Volume = proto.Uint32(0)
	return slices.Concat(loud, r.weakStates(), []*signalpb.SdkAudioAttendeeState{rest})
}

// allGood is an entry of nobody. That it has a strength resets everybody whom the
// frame does not list.
func allGood() *signalpb.SdkAudioAttendeeState {
	return &signalpb.SdkAudioAttendeeState{AudioStreamId: proto.Uint32(0), SignalStrength: proto.Uint32(strengthGood)}
}

const strengthGood = 2

func strengthState(p *participant, strength uint8) *signalpb.SdkAudioAttendeeState {
	return &signalpb.SdkAudioAttendeeState{
		AudioStreamId:  proto.Uint32(p.shownID()),
		SignalStrength: proto.Uint32(uint32(strength)),
	}
}

// weakStates lists those whose network is not good.
func (r *room) weakStates() []*signalpb.SdkAudioAttendeeState {
	var states []*signalpb.SdkAudioAttendeeState
	for id, strength := range r.weak {
		if p := r.members[id]; p != nil && p.shownID() != 0 && !r.isUntold(p) {
			states = append(states, strengthState(p, strength))
		}
	}
	return states
}
