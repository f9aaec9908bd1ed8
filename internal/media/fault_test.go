package media

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"belfry/internal/media/mixer"
	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
	"belfry/test/kit"
)

// brittle is a codec whose decoders have a fault.
type brittle struct{ opus.Codec }

type broken struct{ opus.Decoder }

func (b brittle) NewDecoder(channels int) (opus.Decoder, error) {
	d, err := b.Codec.NewDecoder(channels)
	return broken{d}, err
}

func (broken) DecodeFloat([]float32, []byte) (int, error)    { panic("a fault in the decoder") }
func (broken) DecodeFECFloat([]float32, []byte) (int, error) { panic("a fault in the decoder") }

func TestFaultEndsOnePeer(t *testing.T) {
	t.Parallel()
	if !opus.Native().Available() {
		t.Skip("this build has no codec")
	}
	r := newRoom(t, Config{Codec: brittle{opus.Native()}})
	// The level of a is not in its headers, so its packets are decoded on arrival.
	a := r.enter("a")
	a.noLevel = true
	a.negotiate()
	a.connect()
	b, c := r.published("b"), r.join("c")
	a.talk(20, spoken("a"))
	if reason := a.mediaClosed(); reason != "internal error" {
		t.Errorf("the reason is %q", reason)
	}
	stop := b.talk(20, spoken("b"))
	hears(t, c, "b", true)
	ssrc, _ := c.track(watches(t, c, b))
	flows(t, b, c, ssrc)
	stop()
	if n := len(a.events.closed); n != 0 {
		t.Errorf("MediaClosed came %d times more", n)
	}
	if n := r.server.Stats().Panics; n != 1 {
		t.Errorf("%d panics", n)
	}
	a.peer.Close()
	a.ended()
}

// A fault in the tick's audio costs the audio, not what else the tick does.
func TestFaultOfAudioLeavesVideo(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, c := r.published("a"), r.join("c")
	bridge := r.conf.(*Bridge)
	set := func(m *mixer.Mixer) (was *mixer.Mixer) {
		bridge.mu.Lock()
		defer bridge.mu.Unlock()
		was, bridge.mixer = bridge.mixer, m
		return was
	}
	whole := set(nil)
	t.Cleanup(func() { set(whole) })
	eventually(t, "a fault", func() bool { return r.server.panics.Load() > 0 })
	ssrc, _ := c.track(watches(t, c, a))
	// The reports and the repetition of NACKs are the tick's.
	n := len(a.control())
	eventually(t, "three reports to a", func() bool {
		a.film(false)
		reports := 0
		for _, p := range a.control()[n:] {
			if rr, ok := p.(*rtcp.ReceiverReport); ok && len(rr.Reports) > 0 && rr.Reports[0].SSRC == a.sections[1].ssrc {
				reports++
			}
		}
		return reports >= 3
	})
	flows(t, a, c, ssrc)
}

func TestGarbageRTCP(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	a.talk(20, spoken("a"))
	flows(t, a, b, ssrc)
	id := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	malformed := [][]byte{
		join([]byte{0x80, 201, 0xff, 0xff}, id(1)),                                   // longer than it is
		join([]byte{0x80, 201, 0, 1}, id(1), []byte{0x40, 1, 2, 3}),                  // version 1 follows
		join([]byte{0x81, 205, 0, 9}, id(1), id(ssrc), id(1)),                        // a NACK cut short
		join([]byte{0x80, 201, 0, 1}, id(1), []byte{0x81, 206, 0, 4}, id(1), id(7)),  // a PLI cut short
		join([]byte{0x80, 201, 0, 1}, id(1), []byte{0x80}),                           // a byte too many
		join([]byte{0x80, 200, 0, 200}, id(a.sections[1].ssrc), make([]byte, 3*4+2)), // a sender report
	}
	for i, pkt := range malformed {
		before := r.server.Stats().MalformedRTCP
		b.sendRTCP(pkt)
		eventually(t, fmt.Sprintf("malformed packet %d in the count", i), func() bool { return r.server.Stats().MalformedRTCP == before+1 })
	}
	// What can be read and makes no sense.
	for _, p := range []rtcp.Packet{
		&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: []rtcp.NackPair{{PacketID: 9, LostPackets: 0xffff}, {PacketID: 40000, LostPackets: 0xffff}}},
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: ssrc, FractionLost: 255, TotalLost: 0xffffff, LastSenderReport: 1, Delay: 0xffffffff, Jitter: 0xffffffff}}},
		&rtcp.SenderReport{SSRC: a.sections[1].ssrc, NTPTime: 1, RTPTime: 2},
		&rtcp.Goodbye{Sources: []uint32{ssrc}},
		&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1e18, SSRCs: []uint32{ssrc}},
		&rtcp.SliceLossIndication{MediaSSRC: ssrc, SLI: []rtcp.SLIEntry{{}}},
	} {
		b.feedback(p)
		a.feedback(p)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		pkt := make([]byte, 8+4*random.IntN(20))
		for i := range pkt {
			pkt[i] = byte(random.Uint32())
		}
		pkt[0] = 0x80 | pkt[0]&0x3f
		pkt[1] = 200 + pkt[1]%8
		binary.BigEndian.PutUint32(pkt[len(pkt)-4:], ssrc)
		b.sendRTCP(pkt)
	}
	flows(t, a, b, ssrc)
	hears(t, b, "a", true)
	if n := r.server.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
	if b.bad > 0 {
		t.Errorf("b could not decrypt %d packets", b.bad)
	}
}

// Bytes that are no Opus or VP8, in good packets.
func TestGarbagePayloads(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Config{})
	a, b := r.published("a"), r.join("b")
	ssrc, _ := b.track(watches(t, b, a))
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		junk := make([]byte, random.IntN(60))
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		a.say(junk, uint8(random.Uint32()))
		p := a.frame(false)
		p.Payload = junk
		p.PayloadType = []uint8{96, 97, 108, 109, 111, 13}[random.IntN(6)]
		a.send(p)
	}
	flows(t, a, b, ssrc)
	a.talk(20, spoken("a"))
	hears(t, b, "a", true)
	if n := r.server.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}

// goroutines counts them by what started them, and those that the server's
// code started.
func goroutines() (all, ours map[string]int) {
	buf := make([]byte, 16<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all, ours = make(map[string]int), make(map[string]int)
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		_, by, _ := strings.Cut(g, "created by ")
		by, _, _ = strings.Cut(by, " in goroutine")
		all[by]++
		if strings.HasPrefix(by, "belfry/") && !strings.Contains(by, "(*client)") {
			ours[by]++
		}
	}
	return all, ours
}

func TestNoGoroutinePerSubscriber(t *testing.T) {
	r := newRoom(t, Config{})
	a := r.published("a")
	_, before := goroutines()
	const viewers = 30
	var people []*client
	for i := range viewers {
		people = append(people, r.join(fmt.Sprint("viewer ", i)))
	}
	var connected, started map[string]int
	kit.EventuallyNone(t, func() (more string) { // those of the handshakes end
		connected, started = goroutines()
		for by, n := range started {
			if n -= before[by]; n > 0 && (n != viewers || by != "belfry/internal/media/transport.(*Mux).Open") {
				more += fmt.Sprintf("the end of %d goroutines by %s, for %d peers; ", n, by, viewers)
			}
		}
		return more
	})
	var ssrcs []uint32
	for _, c := range people {
		c.receive(a.answer.Allocations[0].StreamID)
		s := c.receive(a.answer.Allocations[0].StreamID)
		ssrc, _ := c.track(s)
		ssrcs = append(ssrcs, ssrc)
	}
	for i, c := range people {
		flows(t, a, c, ssrcs[i])
	}
	for _, c := range people {
		// The first number of a stream must not be near its wrap: a client that
		// loses what comes before it could not decrypt anything after (RFC 3711 3.3.1).
		if first := c.got(c.audio())[0].SequenceNumber; first >= 1<<15+1000 {
			t.Errorf("%s's audio begins at %d", c.id, first)
		}
	}
	a.say(spoken("a")(0), 20)
	kit.EventuallyNone(t, func() (more string) {
		after, _ := goroutines()
		for by, n := range after {
			// DTLS starts one for each read of its own.
			if n > connected[by] && !strings.HasPrefix(by, "github.com/pion/") {
				more += fmt.Sprintf("the end of %d more goroutines by %s, after the subscriptions; ", n-connected[by], by)
			}
		}
		return more
	})
}

// viewed is a publisher and one real connection that receives its video n
// times, whose client has gone so that nothing else runs.
func viewed(t testing.TB, r *room, n int) (a *client) {
	a = r.published("a")
	b := r.join("b")
	for range n {
		b.sections = append(b.sections, &section{mid: fmt.Sprint(len(b.sections)), kind: "video", direction: "recvonly", want: a.answer.Allocations[0].StreamID})
	}
	b.negotiate()
	ssrc, _ := b.track(b.sections[n+1])
	eventually(t, "the picture at b", func() bool {
		a.film(true)
		time.Sleep(5 * time.Millisecond)
		return b.count(ssrc) > 0
	})
	b.leave()
	a.leave()
	return a
}

// push gives the server a run of a's packets as the port does after
// decryption; the returned function does so with the packets that follow.
func push(r *room, a *client, size int) func() {
	peer := a.peer.(*Peer)
	out := r.server.batch()
	run := make([]*rtp.Packet, size)
	raw := make([][]byte, size)
	f := a.frame(false)
	f.Payload = append(f.Payload, make([]byte, 1000)...)
	for i := range run {
		run[i] = new(rtp.Packet)
		raw[i], _ = f.Marshal()
	}
	seq := f.SequenceNumber
	return func() {
		for i, p := range run {
			seq++
			binary.BigEndian.PutUint16(raw[i][2:], seq)
			if err := p.Parse(raw[i]); err != nil {
				panic(err)
			}
			p.Arrival = r.server.now()
		}
		peer.RTP(run, out)
		_ = out.Flush()
	}
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	r := newRoom(t, Config{})
	const viewers, size = 20, 8
	next := push(r, viewed(t, r, viewers), size)
	for range 300 { // until the caches are full
		next()
	}
	before := r.server.Stats()
	sealed := before.Transport.RTPOut.Load()
	const runs = 200
	if got := testing.AllocsPerRun(runs, next); got != 0 {
		t.Errorf("%v allocations for %d packets to %d viewers", got, size, viewers)
	}
	after := r.server.Stats()
	if got, want := after.Video.PacketsOut-before.Video.PacketsOut, uint64((runs+1)*viewers*size); got != want {
		t.Errorf("%d packets were forwarded, not %d", got, want)
	}
	if got := after.Transport.RTPOut.Load() - sealed; got < (runs+1)*viewers*size {
		t.Errorf("%d packets were sealed", got)
	}
}

func BenchmarkForward(b *testing.B) {
	r := newRoom(b, Config{})
	next := push(r, viewed(b, r, 20), 8)
	b.ReportAllocs()
	for b.Loop() {
		next()
	}
}
