package mixer

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"belfry/internal/media/opus"
	"belfry/internal/media/rtp"
)

const (
	testPT, testRED, levelID = 111, 63, 1
	voiceAmplitude           = 0.2
)

// tones holds two seconds of packets for each frequency, made once.
var tones = struct {
	sync.Mutex
	m map[string][][]byte
}{m: map[string][][]byte{}}

func needCodec(t testing.TB) {
	t.Helper()
	if !opus.Native().Available() {
		t.Skip("built without the codec")
	}
}

// tonePackets encodes a sine as packets of the given length.
func tonePackets(t testing.TB, hz, amplitude float64, samples int, cfg opus.EncoderConfig) [][]byte {
	t.Helper()
	tones.Lock()
	defer tones.Unlock()
	key := fmt.Sprint(hz, amplitude, samples, cfg)
	if p := tones.m[key]; p != nil {
		return p
	}
	tones.m[key] = encode(t, samples, cfg, func(at float64) float64 { return amplitude * math.Sin(2*math.Pi*hz*at) })
	return tones.m[key]
}

// wordPackets is a tone with something above it that comes and goes as
// syllables do: the encoder takes it for speech and adds error correction,
// which it does not to a tone alone.
func wordPackets(t testing.TB, hz float64) [][]byte {
	t.Helper()
	return packetsOf(t, speech(), words(hz, 2))
}

// words is the sound of it.
func words(hz float64, seconds int) []float32 {
	pcm := make([]float32, seconds*opus.SampleRate)
	for i := range pcm {
		at := float64(i) / opus.SampleRate
		v := voiceAmplitude * math.Sin(2*math.Pi*hz*at)
		if math.Mod(at, 0.17) < 0.13 {
			v += 0.25 * math.Sin(2*math.Pi*(2500+3000*math.Mod(at, 0.17))*at)
		}
		pcm[i] = float32(v)
	}
	return pcm
}

// encode makes two seconds of packets of a signal by time.
func encode(t testing.TB, samples int, cfg opus.EncoderConfig, signal func(at float64) float64) [][]byte {
	t.Helper()
	e, err := opus.Native().NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	pcm := make([]float32, samples*cfg.Channels)
	var out [][]byte
	for n := 0; n < 2*opus.SampleRate; {
		for i := range samples {
			v := float32(signal(float64(n) / opus.SampleRate))
			for c := range cfg.Channels {
				pcm[i*cfg.Channels+c] = v
			}
			n++
		}
		buf := make([]byte, opus.MaxPacket)
		k, err := e.EncodeFloat(buf, pcm)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, buf[:k])
	}
	return out
}

func speech() opus.EncoderConfig {
	return opus.EncoderConfig{Channels: 1, Application: opus.VoIP, Bitrate: 32000, Complexity: 5, FEC: true, PacketLoss: 10}
}

// room drives a mixer in steps of a millisecond.
type room struct {
	t     testing.TB
	m     *Mixer
	begin time.Time
	ms    int
	mics  []*mic
	ears  map[string]*ear
	order []string
	held  bool // nobody calls Tick
}

func newRoom(t testing.TB, cfg Config) *room {
	t.Helper()
	r := &room{t: t, m: New(cfg), begin: time.Unix(1000, 0), ears: map[string]*ear{}}
	t.Cleanup(func() { r.m.Close() })
	return r
}

func (r *room) now() time.Time { return r.begin.Add(time.Duration(r.ms) * time.Millisecond) }

// mic is a client's sending half.
type mic struct {
	r       *room
	src     *Source
	packets [][]byte                    // nil: it can only be silent
	samples int                         // of a packet
	talk    func(n int) []byte          // instead of packets: what it says as its nth
	wrap    func(payload []byte) []byte // with redundancy
	said    int                         // how many packets it talked
	talking bool
	off     bool // sends nothing at all
	phase   int
	level   int   // −1: no extension
	levels  []int // of each of packets, instead
	seq     uint16
	ts      uint32
	ssrc    uint32
	n       int
	// edit may drop or delay what is sent: it returns the delay in ms, < 0 for lost.
	edit  func(n int) int
	queue []queued
	drift float64     // of its clock, in parts
	twice func() bool // whether a packet comes again
	due   float64     // ms, of the next packet
}

type queued struct {
	at  int
	pkt *rtp.Packet
}

// ear is a client's receiving half.
type ear struct {
	r    *room
	l    *Listener
	mute bool // forget what comes, for benchmarks and allocation tests
	got  []heard
	n    int
}

type heard struct {
	ms      int
	seq     uint16
	ts      uint32
	pt      uint8
	ssrc    uint32
	payload []byte
	red     bool
	older   []older // what came with it
}

func (e *ear) SendRTP(header, payload []byte) {
	e.n++
	if e.mute {
		return
	}
	raw := append(append([]byte(nil), header...), payload...)
	var p rtp.Packet
	if err := p.Parse(raw); err != nil {
		e.r.t.Fatalf("the mixer sent %x: %v", raw, err)
	}
	h := heard{ms: e.r.ms, seq: p.Seq, ts: p.Timestamp, pt: p.PayloadType, ssrc: p.SSRC, payload: p.Payload()}
	if e.l.cfg.REDPayloadType != 0 && h.pt == testRED {
		var x red
		var ok bool
		if h.payload, ok = x.unwrap(p.Payload(), testPT); !ok || len(p.Payload()) > maxRED && x.n > 0 {
			e.r.t.Fatalf("the mixer sent %x as redundant", raw)
		}
		h.pt, h.red, h.older = testPT, true, append([]older(nil), x.older[:x.n]...)
	}
	e.got = append(e.got, h)
}

// join adds an attendee with both halves; hz 0 has nothing to say.
func (r *room) join(id string, hz float64) (*mic, *ear) {
	return r.speak(id, hz), r.listen(id, id)
}

func (r *room) listen(id string, exclude ...string) *ear {
	e := &ear{r: r}
	e.l = r.m.AddListener(ListenerConfig{Sender: e, PayloadType: testPT, SSRC: uint32(1000 + len(r.order)), Exclude: exclude})
	r.ears[id] = e
	r.order = append(r.order, id)
	return e
}

// listenRED is listen for one that prefers redundancy.
func (r *room) listenRED(id string, exclude ...string) *ear {
	e := r.listen(id, exclude...)
	e.l.cfg.REDPayloadType = testRED
	return e
}

func (r *room) speak(id string, hz float64) *mic {
	k := &mic{r: r, samples: 960, level: 20, phase: 3 + 4*len(r.mics)%17, ssrc: uint32(len(r.mics) + 1), seq: uint16(65500 + 5*len(r.mics)), ts: 0xffffff00}
	k.src = r.m.AddSource(SourceConfig{ID: id, PayloadType: testPT, REDPayloadType: testRED, AudioLevelID: levelID})
	if hz > 0 {
		k.packets = tonePackets(r.t, hz, voiceAmplitude, 960, speech())
	}
	r.mics = append(r.mics, k)
	return k
}

// packet builds the next packet of a mic.
func (k *mic) packet() *rtp.Packet {
	payload, level := opus.Silence, 127
	if k.talking {
		level = k.level
		if k.talk != nil {
			payload = k.talk(k.said)
		} else {
			payload = k.packets[k.n%len(k.packets)]
			if k.levels != nil {
				level = k.levels[k.n%len(k.levels)]
			}
		}
		k.said++
	}
	pt := uint8(testPT)
	if k.wrap != nil {
		pt, payload = testRED, k.wrap(payload)
	}
	p := makePacket(pt, k.seq, k.ts, k.ssrc, k.level >= 0, level, payload)
	k.seq++
	k.ts += uint32(k.samples)
	k.n++
	return p
}

func makePacket(pt uint8, seq uint16, ts, ssrc uint32, withLevel bool, level int, payload []byte) *rtp.Packet {
	var w rtp.HeaderWriter
	head := make([]byte, rtp.MaxHeader)
	w.Begin(head, pt, false, seq, ts, ssrc)
	if withLevel {
		w.AudioLevel(levelID, uint8(level), level < 60)
	}
	p := new(rtp.Packet)
	if err := p.Parse(append(w.Bytes(), payload...)); err != nil {
		panic(err)
	}
	return p
}

// run lets time pass.
func (r *room) run(d time.Duration) {
	for end := r.ms + int(d/time.Millisecond); r.ms < end; r.ms++ {
		for _, k := range r.mics {
			every := float64(k.samples) / 48
			if k.due == 0 {
				k.due = float64(k.phase)
			}
			for ; k.due < float64(r.ms); k.due += every { // it was away
			}
			if k.due < float64(r.ms+1) {
				k.due += every * (1 + k.drift)
				if !k.off {
					k.send()
				}
			}
			rest := k.queue[:0]
			for _, q := range k.queue {
				if q.at <= r.ms {
					k.src.Push([]*rtp.Packet{q.pkt}, r.now())
				} else {
					rest = append(rest, q)
				}
			}
			k.queue = rest
		}
		if r.ms%20 == 0 && !r.held {
			r.m.Tick(r.now())
		}
	}
}

// send sends the next packet into the network.
func (k *mic) send() {
	p, delay := k.packet(), 0
	if k.edit != nil {
		delay = k.edit(k.n - 1)
	}
	if delay < 0 {
		return
	}
	k.queue = append(k.queue, queued{k.r.ms + delay, p})
	if k.twice != nil && k.twice() {
		k.queue = append(k.queue, queued{k.r.ms + delay + 3, p})
	}
}

// pcm decodes what came between two moments (the decoder hears all of it).
func (e *ear) pcm(from, to int) []float32 {
	e.r.t.Helper()
	d, err := opus.Native().NewDecoder(1)
	if err != nil {
		e.r.t.Fatal(err)
	}
	defer d.Close()
	var out []float32
	buf := make([]float32, opus.MaxFrameSamples)
	for i, h := range e.got {
		if i > 0 {
			gap := int(int16(h.seq-e.got[i-1].seq)) - 1
			for g := gap; g > 0 && gap < 10; g-- {
				if n, err := d.DecodeFloat(buf[:960], nil); err == nil && h.ms >= from && h.ms < to {
					out = append(out, buf[:n]...)
				}
			}
		}
		n, err := d.DecodeFloat(buf, h.payload)
		if err != nil {
			e.r.t.Fatalf("packet %d does not decode: %v", i, err)
		}
		if h.ms >= from && h.ms < to {
			out = append(out, buf[:n]...)
		}
	}
	return out
}

// amplitude is how strong a frequency is in pcm, by Goertzel's sum over 100 ms
// pieces, so that phase jumps between them do not cancel.
func amplitude(pcm []float32, hz float64) float64 {
	const piece = opus.SampleRate / 10
	w := 2 * math.Pi * hz / opus.SampleRate
	var sum float64
	pieces := 0
	for at := 0; at+piece <= len(pcm); at += piece {
		var re, im float64
		for i, v := range pcm[at : at+piece] {
			re += float64(v) * math.Cos(w*float64(i))
			im += float64(v) * math.Sin(w*float64(i))
		}
		sum += 2 * math.Hypot(re, im) / piece
		pieces++
	}
	if pieces == 0 {
		return 0
	}
	return sum / float64(pieces)
}

// hears checks which of the tones an ear heard between two moments.
func (r *room) hears(id string, from, to int, want ...float64) {
	r.t.Helper()
	pcm := r.ears[id].pcm(from, to)
	for _, hz := range allTones {
		a := amplitude(pcm, hz)
		wanted := false
		for _, w := range want {
			wanted = wanted || w == hz
		}
		if wanted && (a < voiceAmplitude*0.7 || a > voiceAmplitude*1.3) {
			r.t.Errorf("%s hears %v Hz with amplitude %.3f, want %.3f", id, hz, a, voiceAmplitude)
		}
		if !wanted && a > voiceAmplitude*0.06 {
			r.t.Errorf("%s hears %v Hz with amplitude %.3f, want nothing", id, hz, a)
		}
	}
}

var allTones = []float64{440, 800, 1330, 1990}

// continuous checks the numbers of a stream: each one step further, timestamps
// by the packet's duration. gaps allows lost and reordered packets that a
// passed talker had.
func (e *ear) continuous(t testing.TB, gaps bool) {
	t.Helper()
	for i := 1; i < len(e.got); i++ {
		a, b := e.got[i-1], e.got[i]
		in, err := opus.Parse(a.payload)
		if err != nil {
			t.Fatalf("packet %d: %v", i-1, err)
		}
		dseq, dts := b.seq-a.seq, b.ts-a.ts
		if gaps {
			if int16(dseq) == 0 || int32(dts) != int32(int16(dseq))*960 || int16(dseq) > maxGap || int16(dseq) < -maxGap {
				t.Fatalf("at %d ms: sequence number moves by %d, timestamp by %d", b.ms, int16(dseq), int32(dts))
			}
		} else if dseq != 1 || dts != uint32(in.Samples()) {
			t.Fatalf("at %d ms: sequence number moves by %d, timestamp by %d", b.ms, int16(dseq), int32(dts))
		}
		if a.ssrc != b.ssrc || a.pt != b.pt {
			t.Fatalf("at %d ms: SSRC or payload type changes", b.ms)
		}
	}
}

func (e *ear) between(from, to int) (out []heard) {
	for _, h := range e.got {
		if h.ms >= from && h.ms < to {
			out = append(out, h)
		}
	}
	return out
}

// redPacket wraps a payload with one older block (RFC 2198).
func redPacket(older, primary []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1<<31|testPT<<24|960<<10|uint32(len(older)))
	return append(append(append(b, testPT), older...), primary...)
}
