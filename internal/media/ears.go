package media

import (
	"slices"
	"sync"

	"belfry/internal/media/mixer"
	"belfry/internal/media/opus"
	"belfry/internal/meeting"
)

// What an ear may have waiting, and how it cuts speech.
const (
	earQueue   = 1024                    // packets: some seconds of several talkers
	earStretch = meeting.SpeechRate / 10 // 100 ms are handed over together
	earConceal = 3 * opus.FrameSamples   // the longest loss that is made up
)

// Listen implements meeting.Ears. Packets of those who talk are copied while the
// meeting's lock is held; decoding is done by a goroutine of the ear's own.
func (s *Server) Listen(meetingID string, to meeting.Listener) (stop func()) {
	e := &ear{server: s, to: to, wake: make(chan struct{}, 1), voices: map[*mixer.Source]*voice{}}
	s.mu.Lock()
	s.ears[meetingID] = append(s.ears[meetingID], e)
	b := s.bridges[meetingID]
	s.mu.Unlock()
	if b != nil {
		b.listen(e)
	}
	e.work.Go(e.run)
	var once sync.Once
	return func() {
		once.Do(func() {
			s.mu.Lock()
			s.ears[meetingID] = slices.DeleteFunc(s.ears[meetingID], func(x *ear) bool { return x == e })
			if len(s.ears[meetingID]) == 0 {
				delete(s.ears, meetingID)
			}
			b := s.bridges[meetingID]
			s.mu.Unlock()
			if b != nil {
				b.mu.Lock()
				b.mixer.RemoveTap(e)
				b.mu.Unlock()
			}
			e.put(heard{kind: heardEnd})
			e.work.Wait()
		})
	}
}

// listen lets an ear hear the meeting, once.
func (b *Bridge) listen(e *ear) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.mixer.RemoveTap(e)
		b.mixer.AddTap(e)
	}
}

// ear hears one meeting for one listener. It implements mixer.Tap.
type ear struct {
	server *Server
	to     meeting.Listener
	work   sync.WaitGroup
	wake   chan struct{}

	mu    sync.Mutex // taken while Bridge.mu is held, and nothing under it
	queue []heard

	// Of the goroutine.
	voices map[*mixer.Source]*voice
}

type heardKind uint8

const (
	heardPacket heardKind = iota
	heardQuiet
	heardClosed
	heardEnd
)

// heard is one thing that an ear was told.
type heard struct {
	kind   heardKind
	source *mixer.Source
	id     string // who the source is of at the time
	packet mixer.TapPacket
}

// Packet implements mixer.Tap.
func (e *ear) Packet(s *mixer.Source, p mixer.TapPacket) {
	p.Payload = slices.Clone(p.Payload)
	e.put(heard{source: s, id: s.ID(), packet: p})
}

// Quiet implements mixer.Tap.
func (e *ear) Quiet(s *mixer.Source) { e.put(heard{kind: heardQuiet, source: s}) }

// Closed implements mixer.Tap.
func (e *ear) Closed(s *mixer.Source) { e.put(heard{kind: heardClosed, source: s}) }

// put queues; packets too many are dropped, what ends them is not.
func (e *ear) put(h heard) {
	e.mu.Lock()
	full := h.kind == heardPacket && len(e.queue) >= earQueue
	if !full {
		e.queue = append(e.queue, h)
	}
	e.mu.Unlock()
	if full {
		e.server.unheard.Add(1)
		return
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *ear) run() {
	defer func() {
		for _, v := range e.voices {
			v.close()
		}
	}()
	var batch []heard
	for range e.wake {
		e.mu.Lock()
		batch, e.queue = e.queue, batch[:0]
		e.mu.Unlock()
		for i := range batch {
			if batch[i].kind == heardEnd {
				return
			}
			e.hear(&batch[i])
		}
		clear(batch)
	}
}

func (e *ear) hear(h *heard) {
	defer func() {
		if fault := recover(); fault != nil {
			e.server.caught("speech", fault)
		}
	}()
	v := e.voices[h.source]
	switch h.kind {
	case heardPacket:
		if v == nil {
			v = &voice{id: h.id}
			e.voices[h.source] = v
		}
		v.packet(e, &h.packet)
	case heardQuiet:
		if v != nil {
			v.quiet(e)
		}
	case heardClosed:
		if v != nil {
			v.close()
			delete(e.voices, h.source)
		}
	}
}

// voice is what one source says.
type voice struct {
	id     string
	dec    opus.Decoder
	speaks bool
	epoch  uint32
	next   uint32 // timestamp of the packet that comes next
	at     int64  // when what pcm begins with was said, ns
	pcm    []int16
}

func (v *voice) packet(e *ear, p *mixer.TapPacket) {
	if v.dec == nil {
		dec, err := e.server.codec.NewSpeechDecoder()
		if err != nil {
			e.server.unheard.Add(1)
			return
		}
		v.dec = dec
	}
	lost := int32(p.Timestamp - v.next)
	switch {
	case v.speaks && p.Epoch == v.epoch && lost == 0:
	case v.speaks && p.Epoch == v.epoch && lost > 0 && lost <= earConceal:
		v.decode(e, nil, int(lost))
	default:
		// A gap: time goes on by the clock, though never back: packets may have come
		// in a heap.
		v.flush(e)
		v.at = max(v.at, p.At-int64(p.Samples)*1e9/opus.SampleRate)
	}
	v.speaks, v.epoch, v.next = true, p.Epoch, p.Timestamp+uint32(p.Samples)
	v.decode(e, p.Payload, opus.MaxFrameSamples)
	if len(v.pcm) >= earStretch {
		v.flush(e)
	}
}

// decode adds one packet, or what stands in for one that was lost; samples are
// at 48 kHz.
func (v *voice) decode(e *ear, payload []byte, samples int) {
	n := len(v.pcm)
	room := samples / (opus.SampleRate / opus.SpeechRate)
	v.pcm = slices.Grow(v.pcm, room)
	got, err := v.dec.Decode(v.pcm[n:n+room], payload)
	if err != nil {
		e.server.unheard.Add(1)
		return
	}
	v.pcm = v.pcm[:n+got]
}

// flush hands over what there is.
func (v *voice) flush(e *ear) {
	if len(v.pcm) == 0 {
		return
	}
	e.to.Speech(meeting.Speech{AttendeeID: v.id, At: e.server.clock.time(v.at), Samples: v.pcm})
	v.at += int64(len(v.pcm)) * 1e9 / opus.SpeechRate
	v.pcm = v.pcm[:0]
}

func (v *voice) quiet(e *ear) {
	if !v.speaks {
		return
	}
	v.speaks = false
	v.flush(e)
	e.to.Quiet(v.id)
}

func (v *voice) close() {
	if v.dec != nil {
		v.dec.Close()
		v.dec = nil
	}
}
