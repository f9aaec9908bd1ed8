package signaling

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// index is what the room knows of the videos being sent; room.mu guards it.
type index struct {
	dirty   bool
	sources []meeting.VideoSource
	codecs  []meeting.VideoCodec
	sending map[string]bool // attendees with video, for presence
	frames  *indexes        // of the last refresh; what makes them untrue sets dirty
	full    bool            // every place for a camera was taken at the last refresh
	// owed are those who alone have news.
	owed map[*participant]struct{}
	// sent is how many bytes the last INDEX to everybody took, and when that was.
	sent   int
	sentAt time.Time
}

// SourcesChanged implements meeting.ConferenceEvents. Changes are gathered for a
// moment, because an INDEX can cost every receiver a negotiation.
func (r *room) SourcesChanged() {
	r.mu.Lock()
	r.index.dirty = true
	r.mu.Unlock()
	r.wakeUp()
}

func (r *room) indexIsDue() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index.dirty || len(r.index.owed) > 0
}

// indexMost is how long changes of the video list wait at most.
const indexMost = 2 * time.Second

// indexWait is for how long changes are gathered. An INDEX is a whole list, with an
// entry for each video, and goes to everybody: in a large meeting, where each who
// turns a camera on would have all lists sent again, the wait is as long as the
// last ones took by Limits.IndexRate.
func (r *room) indexWait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := time.Duration(float64(r.index.sent) / float64(r.srv.cfg.Limits.IndexRate) * float64(time.Second))
	return max(r.srv.cfg.Timings.IndexDelay, min(took, indexMost)-r.srv.now().Sub(r.index.sentAt))
}

// oweIndex has one connection sent INDEX, with what else comes soon.
func (r *room) oweIndex(p *participant) {
	if r.index.owed == nil {
		r.index.owed = map[*participant]struct{}{}
	}
	r.index.owed[p] = struct{}{}
	r.wakeUp()
}

// refreshIndex asks media for the list and sends it to everyone for whom it
// changed.
func (r *room) refreshIndex() {
	r.mu.Lock()
	dirty, owed := r.index.dirty, r.index.owed
	r.index.dirty, r.index.owed = false, nil
	if !dirty {
		for p := range owed {
			if p.sess != nil && !p.gone {
				r.sendIndex(p, r.currentIndexes())
			}
		}
	}
	r.mu.Unlock()
	if !dirty {
		return
	}
	sources, codecs := r.conf.Sources(), r.conf.ReceiveCodecs()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index.sources, r.index.codecs = sources, codecs
	r.recordVideo()
	r.index.frames = r.newIndexes()
	r.index.full = r.index.frames.full
	sent := 0
	for p := range r.everybody() {
		if p.sess != nil {
			sent += r.sendIndex(p, r.index.frames)
		}
	}
	r.index.sent, r.index.sentAt = sent, r.srv.now()
}

// currentIndexes are the frames for one who comes between refreshes. The caller
// holds mu.
func (r *room) currentIndexes() *indexes {
	if r.index.dirty || r.index.frames == nil {
		return r.newIndexes()
	}
	return r.index.frames
}

// indexes are the INDEX frames of one moment. Receivers that may see the same
// share one, encoded once, and what is not the same for all, because nobody is
// offered its own video, is put together from sources that are encoded once.
type indexes struct {
	present int  // base attendees in the roster
	full    bool // every place for a camera is taken
	sources []encodedSource
	senders map[string]bool // who has one of them, by base attendee id
	made    map[indexView]*encodedIndex
}

// encodedSource is one entry of SdkIndexFrame.sources.
type encodedSource struct {
	base    string // the sender
	content bool
	group   uint32
	stream  uint32
	stalled bool   // nothing arrives of it
	data    []byte // the field, with its tag
	key     []byte // what of it counts as news
}

// indexView is all that makes one receiver's INDEX differ from another's.
type indexView struct {
	participants uint32
	except       string // a base attendee whose own video is left out; "" when it sends none
	atCapacity   bool
	video        bool // may receive cameras
	content      bool // may receive content shares
	// unfit are the groups that are not sent to it because they do not fit, each as
	// groupKey has it.
	unfit string
}

// groupKey is a group as it is found in indexView.unfit.
func groupKey(id uint32) string { return fmt.Sprintf("/%d/", id) }

type encodedIndex struct {
	data []byte // the message
	key  []byte // what is compared to tell whether it is news
}

// newIndexes begins the frames of this moment. The caller holds mu.
func (r *room) newIndexes() *indexes {
	x := &indexes{full: r.camerasFull(), senders: map[string]bool{}, made: map[indexView]*encodedIndex{}}
	for _, p := range r.members {
		if !p.content && p.shownID() != 0 {
			x.present++
		}
	}
	newest := map[string]uint32{}
	for _, v := range r.index.sources {
		newest[v.AttendeeID] = max(newest[v.AttendeeID], v.GroupID)
	}
	for _, v := range r.index.sources {
		sender := r.members[v.AttendeeID]
		if sender == nil || v.GroupID != newest[v.AttendeeID] || v.MaxBitrateKbps == 0 || !sender.mayShow() {
			continue
		}
		x.sources = append(x.sources, encodeSource(v, sender))
		x.senders[sender.base] = true
	}
	return x
}

func encodeSource(v meeting.VideoSource, sender *participant) encodedSource {
	d := &signalpb.SdkStreamDescriptor{
		StreamId:       proto.Uint32(v.StreamID),
		GroupId:        proto.Uint32(v.GroupID),
		Framerate:      proto.Uint32(v.Framerate),
		MaxBitrateKbps: proto.Uint32(v.MaxBitrateKbps),
		TrackLabel:     proto.String(v.Label),
		AttendeeId:     proto.String(v.AttendeeID),
		ExternalUserId: proto.String(sender.attendee.ExternalUserID),
		MediaType:      signalpb.SdkStreamMediaType_VIDEO.Enum(), // absent would read as audio
	}
	if v.Width != 0 && v.Height != 0 {
		d.Width, d.Height = proto.Uint32(v.Width), proto.Uint32(v.Height)
	}
	e := encodedSource{base: sender.base, content: sender.content, group: v.GroupID, stream: v.StreamID, stalled: v.Stalled}
	// Marshal fails for nothing that gets here, as in encode.
	e.key, _ = proto.MarshalOptions{Deterministic: true}.Marshal(d)
	avg := v.AvgBitrateBps
	if avg == 0 && !v.Stalled {
		avg = v.MaxBitrateKbps * 1000 // not measured yet; 0 would read as not sending
	}
	d.AvgBitrateBps = proto.Uint32(avg)
	data, _ := proto.Marshal(d)
	const field = 2 // SdkIndexFrame.sources
	e.data = protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), data)
	return e
}

// sendIndex sends INDEX to one connection if it has news for it, and returns how
// many bytes that took. The caller holds mu.
func (r *room) sendIndex(p *participant, made *indexes) (sent int) {
	caps := p.rights()
	view := indexView{participants: uint32(made.present), atCapacity: !p.maySend()}
	if made.full && !p.content && !p.native && !p.hasCamera() { // native clients look at nothing else then
		view.atCapacity = true
	}
	if !p.content { // shares are watched by the base session
		view.video, view.content = caps.Video.CanReceive(), caps.Content.CanReceive()
		if made.senders[p.base] {
			view.except = p.base
		}
		if !p.hidden() && p.shownID() == 0 {
			view.participants++ // an attendee counts itself from the start
		}
	}
	if len(p.unfit) > 0 {
		for _, id := range slices.Sorted(maps.Keys(p.unfit)) {
			view.unfit += groupKey(id)
		}
	}
	x := made.made[view]
	if x == nil {
		x = made.encode(view, r.index.codecs, r.srv.now())
		made.made[view] = x
	}
	if p.sentIndex != nil && bytes.Equal(p.sentIndex, x.key) {
		return 0
	}
	p.sentIndex = x.key
	p.sess.send(x.data)
	return len(x.data)
}

// repeatIndex sends INDEX to one connection though it has no news. A client
// that announces its camera with no bitrate at all waits for it: 3.4 to 3.14
// choose a bitrate at the next INDEX after the camera is on, and nothing in it
// changes for who is the only one to send.
func (r *room) repeatIndex(p *participant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.sess != nil && p.sentIndex != nil {
		p.sentIndex = nil
		r.sendIndex(p, r.currentIndexes())
	}
}

// manyParticipants is from where on clients do not care how many there are: up
// to two they send one layer of video, above two simulcast or SVC.
const manyParticipants = 3

// encode makes a frame and its key. What changes all the time is not in the key,
// or every join would send an INDEX to everybody: the measured bitrates, which
// BITRATES frames keep up to date, and the size of a big meeting.
func (x *indexes) encode(view indexView, codecs []meeting.VideoCodec, now time.Time) *encodedIndex {
	head := &signalpb.SdkIndexFrame{AtCapacity: proto.Bool(view.atCapacity), NumParticipants: proto.Uint32(view.participants)}
	for _, c := range codecs {
		head.SupportedReceiveCodecIntersection = append(head.SupportedReceiveCodecIntersection, signalpb.SdkVideoCodecCapability(c))
	}
	sees := func(e *encodedSource) bool {
		if e.content {
			return view.content && e.base != view.except
		}
		return view.video && e.base != view.except
	}
	size, keySize := 0, 0
	for i := range x.sources {
		if e := &x.sources[i]; sees(e) {
			size += len(e.data)
			keySize += len(e.key)
			if e.stalled || strings.Contains(view.unfit, groupKey(e.group)) {
				head.PausedAtSourceIds = append(head.PausedAtSourceIds, e.stream)
			}
		}
	}
	rest, _ := proto.Marshal(head)
	head.NumParticipants = proto.Uint32(min(view.participants, manyParticipants))
	key, _ := proto.MarshalOptions{Deterministic: true}.Marshal(head)
	key = slices.Grow(key, keySize)
	// The envelope without its payload, which follows as its last field.
	const field = 8 // SdkSignalFrame.index
	data := slices.Grow(encode(&signalpb.SdkSignalFrame{Type: signalpb.SdkSignalFrame_INDEX.Enum()}, now), size+len(rest)+16)
	data = protowire.AppendVarint(protowire.AppendTag(data, field, protowire.BytesType), uint64(size+len(rest)))
	data = append(data, rest...)
	for i := range x.sources {
		if e := &x.sources[i]; sees(e) {
			data = append(data, e.data...)
			key = append(key, e.key...)
		}
	}
	return &encodedIndex{data: data, key: key}
}

// mayShow tells whether others are offered this sender's video. A content share
// must be in the roster first: until then it may be one too many.
func (p *participant) mayShow() bool {
	if p.content {
		return p.shownID() != 0 && p.maySend()
	}
	return p.maySend()
}

// recordVideo tells whose video has started or stopped.
func (r *room) recordVideo() {
	sending := map[string]bool{}
	for _, v := range r.index.sources {
		// Nobody's video starts before it has joined.
		if p := r.members[v.AttendeeID]; p != nil && v.MaxBitrateKbps != 0 && p.mayShow() && p.shownID() != 0 {
			sending[v.AttendeeID] = true
			if !r.index.sending[v.AttendeeID] {
				r.record(p, meeting.EventAttendeeVideoStarted, meeting.EventAttendeeContentVideoStarted)
			}
		}
	}
	for id := range r.index.sending {
		if p := r.members[id]; p != nil && !sending[id] {
			r.record(p, meeting.EventAttendeeVideoStopped, meeting.EventAttendeeContentVideoStopped)
		}
	}
	r.index.sending = sending
}

// sendBitrates tells base sessions the measured rate of every stream that is
// being sent; one that is missing counts as stopped, so all are listed.
func (r *room) sendBitrates() {
	r.mu.Lock()
	any := len(r.index.sources) > 0
	r.mu.Unlock()
	if !any {
		return
	}
	sources := r.conf.Sources()
	var rates []*signalpb.SdkBitrate
	for _, v := range sources {
		if v.MaxBitrateKbps != 0 && !v.Stalled && v.AvgBitrateBps != 0 {
			rates = append(rates, &signalpb.SdkBitrate{
				SourceStreamId: proto.Uint32(v.StreamID), AvgBitrateBps: proto.Uint32(v.AvgBitrateBps),
			})
		}
	}
	slices.SortFunc(rates, func(a, b *signalpb.SdkBitrate) int {
		return int(int64(a.GetSourceStreamId()) - int64(b.GetSourceStreamId()))
	})
	list, _ := proto.Marshal(&signalpb.SdkBitrateFrame{Bitrates: rates})
	r.mu.Lock()
	defer r.mu.Unlock()
	head := encode(&signalpb.SdkSignalFrame{Type: signalpb.SdkSignalFrame_BITRATES.Enum()}, r.srv.now())
	shared := bitratesFrame(head, list, 0)
	for p := range r.everybody() {
		if p.sess == nil || p.content {
			continue
		}
		if p.reads && p.peer != nil {
			if available := p.peer.Bandwidth().AvailableKbps; available != 0 {
				p.sess.send(bitratesFrame(head, list, available))
				continue
			}
		}
		p.sess.send(shared)
	}
}

// bitratesFrame puts a BITRATES frame together from its envelope and the encoded
// rates, which are the same for all, and what is available to one.
func bitratesFrame(head, rates []byte, availableKbps uint32) []byte {
	const field = 14    // SdkSignalFrame.bitrates
	const available = 2 // SdkBitrateFrame.server_available_outgoing_bitrate
	var own []byte
	if availableKbps != 0 {
		own = protowire.AppendVarint(protowire.AppendTag(nil, available, protowire.VarintType), uint64(availableKbps))
	}
	data := slices.Concat(head, protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(len(rates)+len(own))))
	return append(append(data, rates...), own...)
}
