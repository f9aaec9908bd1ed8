package client

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"

	"belfry/internal/bench/check"
	"belfry/internal/media/rtp"
	"belfry/internal/media/udp"
)

// Config is what a Client does.
type Config struct {
	IP       string    // local address of its socket
	Identity *Identity // may be shared
	Pace     *Pace     // which reads for it, by a socket that is shared where that can be; nil: it has a socket and a goroutine of its own

	VideoRate int                               // bits a second of its camera; 0: it has none
	Frames    int                               // a second; 0: 30
	Voice     [][]byte                          // Opus packets that it speaks in a loop; nil: it is silent
	Talk      time.Duration                     // it speaks for so long,
	Pause     time.Duration                     // and pauses for so long, before and between; 0: it never does
	Offset    time.Duration                     // the first pause is longer by so much
	Loss      float64                           // of the packets of media that come, so large a share is thrown away
	Adapts    bool                              // its camera keeps to what the server asks for (REMB); else to VideoRate
	Quiet     bool                              // while silent it sends nothing; else the packets of a muted browser
	Speech    *check.Speech                     // told when a Client with pauses speaks; read by those who hear; may be nil
	Hear      func(p *rtp.Packet)               // given the packets of sound as they arrive; may be nil
	Spoke     func(n int, at int64)             // told of the n-th packet of the voice when it goes out; may be nil
	RED       bool                              // takes redundant sound and prefers it; Hear is given it as it came
	Mends     bool                              // sends sound again that the server asks for, as browsers do
	Window    *check.Window                     // of its own video
	Windows   func(sender uint32) *check.Window // of the others' video, by what their stamps say
	Sender    uint32                            // what its own stamps say

	// Via tells where to send instead of to the server, such as a link before it; may be nil.
	Via func(server netip.AddrPort) (netip.AddrPort, error)
}

// Client is one participant's media.
type Client struct {
	endpoint
	cfg     Config
	version int
	answers bool // the server made the offer
	up      atomic.Bool

	mu      sync.Mutex // everything below
	numbers numbers
	header  rtp.HeaderWriter
	scratch *scratch // of its Pace, which is alone in using it, or its own
	kept    rtp.Packet
	blocks  []rtp.ReportBlock
	audio   audioOut
	video   videoOut
	hears   check.Audio
	sees    map[uint32]*check.Video // by sender
	saw     *check.Video            // the last of them, and
	last    uint32                  // its sender
	in      []*stream
	twcc    rtp.TWCCRecorder
	stats   Stats
	pace    schedule
	pkt     rtp.Packet
	seqs    []uint16
}

// Stats is what a Client counted of its own work.
type Stats struct {
	VideoPackets, AudioPackets uint64 // received, with repairs and padding
	VideoBytes                 uint64 // of them, whole packets
	Padding                    uint64 // packets without a payload
	FeedbackSent               uint64 // RTCP packets
	KeyFrames, Resent          uint64
	Refused                    uint64 // packets that did not decrypt
	Dropped                    uint64 // by Config.Loss
	Mended                     uint64 // packets of sound sent again
}

// New opens the socket of a Client, or finds it a place on one.
func New(cfg Config) (*Client, error) {
	if cfg.Frames == 0 {
		cfg.Frames = 30
	}
	c := &Client{cfg: cfg, numbers: ours, sees: map[uint32]*check.Video{}}
	c.audio.ssrc, c.video.ssrc, c.video.rtx = ssrc(), ssrc(), ssrc()
	c.audio.seq, c.video.seq = uint16(rand.Uint32()>>17), uint16(rand.Uint32()>>17)
	if cfg.Pause == 0 { // who does is the only one that talks, and hears silence
		c.hears.Speech = cfg.Speech
	}
	if cfg.VideoRate > 0 {
		// A little more than the second for which packets are kept: each byte more is one that no processor's cache has.
		c.video.cache = rtp.NewCache(512, max(1<<16, cfg.VideoRate/8*5/4), 1e9)
	}
	if cfg.Mends {
		c.audio.cache = rtp.NewCache(64, 1<<14, 1e9)
	}
	if cfg.Pace != nil {
		w, err := cfg.Pace.trunks.seat(cfg.IP, c)
		if err != nil {
			return nil, fmt.Errorf("open a socket: %w", err)
		}
		if w != nil {
			c.scratch = &cfg.Pace.scratch
			c.open(w, cfg.Identity)
			return c, nil
		}
	}
	s, err := openSocket(cfg.IP)
	if err != nil {
		return nil, err
	}
	c.scratch = &scratch{}
	c.open(s, cfg.Identity)
	c.readers.Go(func() { c.read(s) })
	return c, nil
}

func ssrc() uint32 { return rand.Uint32()&0x7FFFFFFF | 1 }

// Connect takes the server's answer, or the offer that Answer answered, once, and
// comes back when media can flow.
func (c *Client) Connect(ctx context.Context, answer string) error {
	if c.up.Load() {
		return nil // a later answer changes nothing of the transport
	}
	r, err := readRemote(answer)
	if err != nil {
		return err
	}
	if c.cfg.Via != nil {
		if r.addr, err = c.cfg.Via(r.addr); err != nil {
			return err
		}
	}
	r.controls = c.answers && !r.lite // who offers does, unless it is lite (RFC 8445 6.1.1)
	if c.cfg.Pace != nil {
		defer c.cfg.Pace.hasten()()
	}
	if err := c.connect(ctx, r); err != nil {
		return err
	}
	c.up.Store(true)
	return nil
}

// Close ends it.
func (c *Client) Close() {
	c.up.Store(false)
	c.close()
}

// Measure begins a window for what is heard and, if it has a camera, sent.
func (c *Client) Measure(from, until int64) {
	c.hears.Until.Store(until)
	c.hears.From.Store(from)
}

// CameraWindow begins the window of the own video (true) or ends it.
func (c *Client) CameraWindow(begin bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begin {
		c.cfg.Window.First.Store(c.video.number)
	} else {
		c.cfg.Window.Last.Store(c.video.number)
	}
}

// Result is what arrived: the counts of video and of sound, and how long each took.
type Result struct {
	Video, Audio               check.Counts
	VideoLatency, AudioLatency check.Histogram
	AudioBehind                check.Histogram
	Senders                    int // whose video came
	Stats                      Stats
}

// Result reports what was counted so far.
func (c *Client) Result() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Result{Audio: c.hears.Counts, Senders: len(c.sees), Stats: c.stats}
	r.Stats.Refused = c.rejected.Load()
	r.AudioLatency.Merge(&c.hears.Latency)
	r.AudioBehind.Merge(&c.hears.Behind)
	for _, v := range c.sees {
		r.Video.Add(v.Result())
		r.VideoLatency.Merge(&v.Latency)
	}
	return r
}

// Hears reports whether sound came, and Sees how many cameras.
func (c *Client) Hears() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats.AudioPackets > 0
}

// Sees is how many senders' video came.
func (c *Client) Sees() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sees)
}

// Got is what came so far: of sound what was counted since Measure, and the rest of
// the work. It is cheap, unlike Result.
func (c *Client) Got() (sound check.Counts, stats Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hears.Counts, c.stats
}

// read is the goroutine that takes what comes.
func (c *Client) read(s *socket) {
	inbox := udp.NewInbox()
	for {
		n, err := s.Read(inbox)
		if err != nil {
			return
		}
		now := Now()
		c.mu.Lock()
		for i := range inbox.Packets[:n] {
			c.datagram(inbox.Packets[i].Data, inbox.Packets[i].Addr, now)
		}
		c.wire.flush()
		c.mu.Unlock()
	}
}

func (c *Client) datagram(b []byte, from netip.AddrPort, now int64) {
	switch {
	case len(b) < 12:
	case b[0] < 4:
		m := &stun.Message{Raw: b}
		switch {
		case m.Decode() != nil:
		case m.Type == stun.BindingSuccess:
			c.once.Do(func() { close(c.checked) })
		case m.Type == stun.BindingRequest:
			c.confirm(m, from)
		}
	case b[0] < 64:
		c.pipe.Push(bytes.Clone(b)) // a full one drops it: DTLS sends again
	case b[0] >= 128 && b[0] < 192:
		in := c.endpoint.in.Load()
		if in == nil {
			return
		}
		if b[1] >= 192 && b[1] < 224 {
			if plain, err := in.OpenRTCP(b); err != nil {
				c.rejected.Add(1)
			} else {
				c.control(plain, now)
			}
			return
		}
		if c.cfg.Loss > 0 && rand.Float64() < c.cfg.Loss {
			c.stats.Dropped++
			return
		}
		if err := c.pkt.ParseHeader(b); err != nil {
			c.rejected.Add(1)
			return
		}
		plain, err := in.OpenRTP(b, c.pkt.HeaderLen)
		if err != nil || c.pkt.Parse(plain) != nil {
			c.rejected.Add(1)
			return
		}
		c.pkt.Arrival = now
		c.packet(&c.pkt)
	}
}

// stream is one SSRC that comes in.
type stream struct {
	ssrc     uint32
	video    bool
	receiver rtp.Receiver
	missing  rtp.NackList
	gap      int64 // when the last packets were skipped
	overtook int64 // for how long such were on their way yet, lately, in ns
	bytes    int
}

// overtakes bounds how long packets that others overtook are waited for, in ns.
const overtakes = 100e6

func (c *Client) stream(p *rtp.Packet) *stream {
	for _, s := range c.in {
		if s.ssrc == p.SSRC {
			return s
		}
	}
	s := &stream{ssrc: p.SSRC, video: p.PayloadType != c.numbers.opus && !(c.cfg.RED && p.PayloadType == PayloadRED)}
	s.receiver.ClockRate = 90000
	if !s.video {
		s.receiver.ClockRate = 48000
	}
	c.in = append(c.in, s)
	return s
}

func (c *Client) packet(p *rtp.Packet) {
	if seq, ok := p.TransportSequence(c.numbers.twcc); ok && c.numbers.twcc > 0 {
		c.twcc.Record(seq, p.Arrival)
	}
	s := c.stream(p)
	s.bytes += len(p.Raw)
	if !s.video {
		c.stats.AudioPackets++
		s.receiver.Push(p.Seq, p.Timestamp, p.Arrival)
		c.hears.Push(p.Seq, p.Timestamp, len(p.Payload()), p.Arrival)
		if c.cfg.Hear != nil {
			c.cfg.Hear(p)
		}
		return
	}
	c.stats.VideoPackets++
	c.stats.VideoBytes += uint64(len(p.Raw))
	payload := p.Payload()
	repaired := p.PayloadType == c.numbers.rtx
	if repaired {
		if len(payload) < 2 {
			c.stats.Padding++
			return
		}
		number := uint16(payload[0])<<8 | uint16(payload[1])
		payload = payload[2:]
		for _, o := range c.in { // one of few
			if o.video && o != s && o.missing.Received(o.receiver.Max()+uint64(int64(int16(number-uint16(o.receiver.Max()))))) {
				break
			}
		}
	} else {
		before := s.receiver.Max()
		ext, arrival := s.receiver.Push(p.Seq, p.Timestamp, p.Arrival)
		switch {
		case arrival == rtp.Late:
			if s.missing.Received(ext) {
				s.overtook = min(max(s.overtook, p.Arrival-s.gap), overtakes)
			}
		case arrival == rtp.InOrder && before != 0 && ext > before+1:
			s.gap = p.Arrival
			if !s.missing.Gap(before+1, ext-1, p.Arrival+s.overtook) {
				c.wantKeyFrame(s)
			}
		}
		s.overtook -= s.overtook / 512
	}
	if len(payload) == 0 {
		c.stats.Padding++
		return
	}
	sender, number, at, ok := check.ReadStamp(payload)
	v := c.saw
	if v == nil || sender != c.last {
		v = c.sees[sender]
	}
	if v == nil && ok {
		if w := c.cfg.Windows(sender); w != nil {
			v = &check.Video{Window: w}
			c.sees[sender] = v
		}
	}
	if v == nil || !ok {
		for _, v := range c.sees { // some sender's
			v.Counts.Corrupt++
			break
		}
		return
	}
	c.saw, c.last = v, sender
	v.Push(number, at, p.Arrival, repaired)
}
