package media

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/internal/media/mixer"
	"belfry/internal/media/rtp"
	"belfry/internal/media/sfu"
	"belfry/internal/media/udp"
	"belfry/internal/meeting"
)

// reportInterval is how often audio is reported on by RTCP, and networks judged.
const reportInterval = int64(time.Second)

// cname is the canonical name of everything that is sent (RFC 3550 6.5.1).
const cname = "belfry"

// Bridge is the media of one meeting. It implements meeting.Conference.
type Bridge struct {
	server *Server
	spec   meeting.ConferenceSpec
	events meeting.ConferenceEvents
	log    *slog.Logger
	// For the ticker: how many peers there are, and whether a tick is under way.
	size    atomic.Int64
	ticking atomic.Bool

	mu       sync.Mutex
	closed   bool
	router   *sfu.Router
	mixer    *mixer.Mixer
	peers    []*Peer
	codecs   []meeting.VideoCodec       // what ReceiveCodecs answered last
	said     int                        // base peers whose offer told what they can decode
	decoders map[meeting.VideoCodec]int // and how many of them can decode each
	weak     []meeting.SignalStrength
	ssrc     uint32 // the sender of RTCP that is about no stream of ours
	// unasked counts packets that their sender did not agree on or may not send.
	unasked uint64
	// out takes what is sent; it is set while mu is held, by who holds it.
	out *udp.Batch
	// later holds the callbacks to make when mu is free.
	later      []func()
	changed    bool // SourcesChanged is due
	nextReport int64
	nextTrace  int64
	traced     bool // debug messages are wanted

	// Scratch.
	audio, video []*rtp.Packet
	rtcp         []byte
	seqs         []uint16 // of packets of sound that a client is asked for
}

func newBridge(s *Server, spec meeting.ConferenceSpec, events meeting.ConferenceEvents) *Bridge {
	b := &Bridge{
		server: s, spec: spec, events: events,
		log:  s.log.With("meeting", spec.MeetingID),
		ssrc: newSSRC(), decoders: map[meeting.VideoCodec]int{},
	}
	b.traced = b.log.Enabled(context.Background(), slog.LevelDebug)
	b.router = sfu.New(sfu.Config{
		FirstID: spec.FirstID, SSRC: b.ssrc, Epoch: s.clock.epoch(), CNAME: cname,
		OnChange: func() { b.changed = true },
	})
	b.mixer = mixer.New(mixer.Config{Codec: s.codec, Origin: s.clock.origin})
	return b
}

// Join implements meeting.Conference.
func (b *Bridge) Join(spec meeting.PeerSpec, events meeting.PeerEvents) (meeting.Peer, error) {
	p := newPeer(b, spec, events)
	conn, err := b.server.mux.Open(p)
	if err != nil {
		return nil, &meeting.Error{Code: meeting.CodeUnavailable, Message: "the server is stopping", Err: err}
	}
	p.conn = conn
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.peers = append(b.peers, p)
		b.size.Store(int64(len(b.peers)))
	}
	b.mu.Unlock()
	if closed {
		conn.Close()
		return nil, meeting.Errorf(meeting.CodeUnavailable, "the meeting's media is closed")
	}
	return p, nil
}

// Sources implements meeting.Conference.
func (b *Bridge) Sources() []meeting.VideoSource {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.router.Sources()
}

// ReceiveCodecs implements meeting.Conference.
func (b *Bridge) ReceiveCodecs() []meeting.VideoCodec {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.codecs)
}

// countCodecs adds what a peer said that it can decode, or with −1 takes it back.
// It is kept as counts because a meeting may have thousands who negotiate anew
// with every camera that comes.
func (b *Bridge) countCodecs(p *Peer, by int) {
	if p.content || p.decodes == nil {
		return
	}
	b.said += by
	for _, c := range p.decodes {
		b.decoders[c] += by
	}
}

// refreshCodecs works out anew what every base peer can decode.
func (b *Bridge) refreshCodecs() {
	var common []meeting.VideoCodec
	for c, n := range b.decoders {
		if n > 0 && n == b.said {
			common = append(common, c)
		}
	}
	slices.Sort(common)
	if !slices.Equal(common, b.codecs) {
		b.codecs, b.changed = common, true
	}
}

// Close implements meeting.Conference. Peers that are still there are closed.
func (b *Bridge) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	peers := slices.Clone(b.peers)
	b.mu.Unlock()
	for _, p := range peers {
		p.Close()
	}
	b.mu.Lock()
	b.mixer.Close()
	b.later, b.changed = nil, false
	b.mu.Unlock()
	b.server.forget(b)
}

// enter takes the lock for work that may send into out; leave gives it back and
// returns the callbacks to make.
func (b *Bridge) enter(out *udp.Batch) {
	b.mu.Lock()
	b.out = out
}

func (b *Bridge) leave() []func() {
	b.out = nil
	if b.changed && !b.closed {
		b.changed = false
		b.later = append(b.later, b.events.SourcesChanged)
	}
	calls := b.later
	b.later = nil
	b.mu.Unlock()
	return calls
}

// do runs fn for a call from signaling. The callbacks wait for the tick: the
// caller may hold a lock that they need. A fault in fn is reported as false.
func (b *Bridge) do(fn func(now int64)) (ok bool) {
	out := b.server.batch()
	defer b.server.giveBack(out)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		b.out = nil
		if fault := recover(); fault != nil {
			b.server.caught("call", fault)
		}
	}()
	b.out = out
	fn(b.server.now())
	return true
}

// tick does what is due every 20 ms.
func (b *Bridge) tick(now int64, out *udp.Batch) {
	b.enter(out)
	b.ticked(now)
	run(b.leave())
}

func (b *Bridge) ticked(now int64) {
	if b.closed {
		return
	}
	// A fault in one does not keep the others from their turn.
	b.safely("audio", now, (*Bridge).tickAudio)
	b.safely("video", now, (*Bridge).tickVideo)
	if now >= b.nextReport {
		b.nextReport = now + reportInterval
		b.safely("reports", now, (*Bridge).report)
	}
}

func (b *Bridge) safely(what string, now int64, do func(*Bridge, int64)) {
	defer func() {
		if fault := recover(); fault != nil {
			b.server.caught(what, fault)
		}
	}()
	do(b, now)
}

func (b *Bridge) tickAudio(now int64) {
	at := b.server.clock.time(now)
	b.mixer.Spare(sfu.Limit(b.server.limit.Load()) >= sfu.NoCameras)
	for _, p := range b.peers {
		p.askAudio(now)
	}
	b.mixer.Tick(at)
	if talking, due := b.mixer.Levels(at); due {
		b.router.Speaking(talking)
		levels := slices.Clone(talking)
		b.later = append(b.later, func() { b.events.Levels(levels) })
	}
}

func (b *Bridge) tickVideo(now int64) {
	b.router.Limit(sfu.Limit(b.server.limit.Load()))
	b.router.Tick(now)
	if b.traced && now >= b.nextTrace {
		b.nextTrace = now + traceInterval
		b.router.Trace(b.log)
	}
}

// traceInterval is between two traces of what is known of the clients' networks,
// where debug messages are wanted.
const traceInterval = int64(100 * time.Millisecond)

// report sends audio's reports and judges everybody's network.
func (b *Bridge) report(now int64) {
	at := b.server.clock.time(now)
	var weak []meeting.SignalStrength
	for _, p := range b.peers {
		if !p.connected {
			continue
		}
		p.report(now, at)
		var silent int64
		if p.talks {
			silent = now - p.lastPacket
		}
		if strength := p.quality.strength(silent); strength < strengthGood && !p.content {
			weak = append(weak, meeting.SignalStrength{AttendeeID: p.id, Strength: strength})
		}
	}
	if !slices.Equal(weak, b.weak) {
		b.weak = weak
		b.later = append(b.later, func() { b.events.SignalStrength(weak) })
	}
}

// remove takes a peer out.
func (b *Bridge) remove(p *Peer) {
	if i := slices.Index(b.peers, p); i >= 0 {
		b.peers = slices.Delete(b.peers, i, i+1)
		b.size.Store(int64(len(b.peers)))
		b.countCodecs(p, -1)
		b.refreshCodecs()
	}
}

func run(calls []func()) {
	for _, call := range calls {
		call()
	}
}
