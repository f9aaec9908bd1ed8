package signaling

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// The roster: AUDIO_STREAM_ID_INFO and AUDIO_METADATA. What an entry means
// depends on which of its members are there, so each kind has its maker.

// joinEntry says that an attendee is here, under this id.
func joinEntry(p *participant, id string) *signalpb.SdkAudioStreamIdInfo {
	return &signalpb.SdkAudioStreamIdInfo{
		AudioStreamId:  proto.Uint32(p.shownID()),
		AttendeeId:     proto.String(id),
		ExternalUserId: proto.String(p.attendee.ExternalUserID),
		Muted:          proto.Bool(p.seemsMuted()),
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
	if p.gone || p.shownID() == 0 || p.seemsMuted() == p.toldMuted {
		return
	}
	if !now && !p.mutes.AllowN(r.srv.now(), 1) {
		return
	}
	p.toldMuted = p.seemsMuted()
	r.broadcastRoster(muteEntry(p))
}

func rosterFrame(entries ...*signalpb.SdkAudioStreamIdInfo) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:              signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO.Enum(),
		AudioStreamIdInfo: &signalpb.SdkAudioStreamIdInfoFrame{Streams: entries},
	}
}

// broadcast sends one frame to every connection that has had the full roster. The
// caller holds mu.
func (r *room) broadcast(f *signalpb.SdkSignalFrame) { r.broadcastExcept(nil, f) }

// broadcastExcept is broadcast to all but one, who may be nil.
func (r *room) broadcastExcept(but *participant, f *signalpb.SdkSignalFrame) {
	var data []byte
	for p := range r.everybody() {
		if p.sess == nil || !p.informed || p == but {
			continue
		}
		if data == nil {
			data = encode(f, r.srv.now())
		}
		p.sess.send(data)
	}
}

func (r *room) broadcastRoster(entries ...*signalpb.SdkAudioStreamIdInfo) {
	r.broadcast(rosterFrame(entries...))
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
	if p.sess != nil {
		p.sess.sendFrame(rosterFrame(r.fullRoster(p)...))
		if states := r.weakStates(); len(states) > 0 {
			p.sess.sendFrame(metadataFrame(states))
		}
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
	entries := []*signalpb.SdkAudioStreamIdInfo{joinEntry(p, p.id)}
	if prev != nil {
		entries = append(entries, leaveEntry(prev.streamID, false))
		if prev.peer != nil {
			r.later(prev.peer.Close)
		}
	} else {
		r.record(p, meeting.EventAttendeeJoined, meeting.EventAttendeeContentJoined)
	}
	var own *participant
	if p.content && p.guest {
		own = r.audience[p.own.ID]
	}
	r.broadcastExcept(own, rosterFrame(entries...))
	if own != nil && own.sess != nil && own.informed {
		entries[0] = joinEntry(p, p.idFor(own))
		own.sess.sendFrame(rosterFrame(entries...))
	}
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
	var states []*signalpb.SdkAudioAttendeeState
	for _, l := range talking {
		p := r.members[l.AttendeeID]
		if p == nil || p.shownID() == 0 || p.seemsMuted() {
			continue
		}
		states = append(states, &signalpb.SdkAudioAttendeeState{
			AudioStreamId: proto.Uint32(p.shownID()),
			Volume:        proto.Uint32(uint32(min(l.Volume, 127))),
		})
	}
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
		// A frame must hold an entry with a strength for others to be reset.
		for id := range before {
			if p := r.members[id]; p != nil && p.shownID() != 0 {
				states = append(states, strengthState(p, strengthGood))
			}
		}
	}
	if len(states) > 0 {
		r.broadcast(metadataFrame(states))
	}
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
		if p := r.members[id]; p != nil && p.shownID() != 0 {
			states = append(states, strengthState(p, strength))
		}
	}
	return states
}
