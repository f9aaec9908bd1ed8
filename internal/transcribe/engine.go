package transcribe

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"belfry/internal/meeting"
)

// Bounds of what an engine can make us hold or do.
const (
	maxMessage  = 256 << 10 // one of the engine's
	queueLength = 128       // messages that wait for it: some seconds of speech
	maxStreams  = 4096      // on one connection
	resultRate  = 50        // messages with results a second; more have to wait
	resultBurst = 200
)

// conn is one connection to the engine.
type conn struct {
	s       *session
	ws      *websocket.Conn
	prefix  string
	out     chan message
	results *rate.Limiter

	mu      sync.Mutex
	streams map[string]*stream // by attendee
	numbers []*stream          // by number
}

// message is something to send.
type message struct {
	kind websocket.MessageType
	data []byte
}

// stream is what one attendee says.
type stream struct {
	number     uint32
	attendeeID string
	user       string // ExternalUserId
	begun, end int64  // of the stretch that is being said, Unix ms
	quiet      bool
	stretch    int // number of it
}

// hello is the first message.
type hello struct {
	Type              string          `json:"type"` // start
	Version           int             `json:"version"`
	MeetingID         string          `json:"meetingId"`
	ExternalMeetingID string          `json:"externalMeetingId,omitempty"`
	Configuration     json.RawMessage `json:"configuration"`
	Audio             audioFormat     `json:"audio"`
}

type audioFormat struct {
	Encoding   string `json:"encoding"`
	SampleRate int    `json:"sampleRate"`
	Channels   int    `json:"channels"`
}

// about is a message about one stream.
type about struct {
	Type           string `json:"type"` // stream or quiet
	Stream         uint32 `json:"stream"`
	AttendeeID     string `json:"attendeeId,omitempty"`
	ExternalUserID string `json:"externalUserId,omitempty"`
}

// connect brings a connection up to the engine's ready.
func (s *session) connect() (*conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.t.cfg.Timings.Answer)
	defer cancel()
	ws, answer, err := websocket.Dial(ctx, s.t.cfg.Engine.Reveal(), nil)
	if err != nil {
		// Not the error itself: it may hold the URL.
		if answer == nil {
			return nil, errors.New("no connection")
		}
		if refuses(answer.StatusCode) {
			return nil, refusal{fmt.Sprintf("the transcription engine answered with the HTTP status %d", answer.StatusCode)}
		}
		return nil, fmt.Errorf("HTTP status %d", answer.StatusCode)
	}
	ws.SetReadLimit(maxMessage)
	first, err := json.Marshal(hello{
		Type: "start", Version: 1, MeetingID: s.meeting.ID, ExternalMeetingID: s.meeting.ExternalMeetingID,
		Configuration: json.RawMessage(s.config),
		Audio:         audioFormat{Encoding: "s16le", SampleRate: meeting.SpeechRate, Channels: 1},
	})
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, first)
	}
	for ready := false; err == nil && !ready; {
		ready, err = awaitReady(ctx, ws)
	}
	if err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	return &conn{
		s: s, ws: ws, prefix: s.resultPrefix(), out: make(chan message, queueLength), streams: map[string]*stream{},
		results: rate.NewLimiter(resultRate, resultBurst),
	}, nil
}

// refuses tells an HTTP status that another try will not change.
func refuses(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

func awaitReady(ctx context.Context, ws *websocket.Conn) (bool, error) {
	kind, data, err := ws.Read(ctx)
	if err != nil {
		return false, ended(err)
	}
	if kind != websocket.MessageText {
		return false, nil
	}
	in, err := parse(data)
	switch {
	case err != nil:
		return false, fmt.Errorf("instead of ready came what cannot be understood: %w", err)
	case in.Type == "error":
		return false, refusal{in.reason()}
	}
	return in.Type == "ready", nil
}

// ended turns the end of a connection into a refusal if the engine means one.
func ended(err error) error {
	var closed websocket.CloseError
	if errors.As(err, &closed) && closed.Code == websocket.StatusPolicyViolation {
		return refusal{clip("the transcription engine refuses: "+closed.Reason, maxReason)}
	}
	return err
}

// run has the meeting's speech sent and the results delivered, until the
// connection or ctx ends.
func (c *conn) run(ctx context.Context) error {
	c.s.t.metrics.sessions.Inc()
	defer c.s.t.metrics.sessions.Dec()
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var work sync.WaitGroup
	work.Go(func() { cancel(c.read(running)) })
	work.Go(func() { cancel(c.write(running)) })
	stop := c.s.t.cfg.Ears.Listen(c.s.meeting.ID, c)
	select {
	case <-ctx.Done():
		stop()
		c.bye()
		cancel(ctx.Err())
	case <-running.Done():
		stop()
	}
	err := context.Cause(running)
	_ = c.ws.CloseNow()
	work.Wait()
	return err
}

// bye tells the engine that this is the end, as far as it listens.
func (c *conn) bye() {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_ = c.ws.Write(ctx, websocket.MessageText, []byte(`{"type":"stop"}`))
}

func (c *conn) write(ctx context.Context) error {
	ping := time.NewTicker(c.s.t.cfg.Timings.Ping)
	defer ping.Stop()
	bounded := func(fn func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, c.s.t.cfg.Timings.Answer)
		defer cancel()
		return fn(ctx)
	}
	for {
		var err error
		select {
		case m := <-c.out:
			err = bounded(func(ctx context.Context) error { return c.ws.Write(ctx, m.kind, m.data) })
			if err == nil && m.kind == websocket.MessageBinary {
				c.s.t.metrics.audio.WithLabelValues("sent").Inc()
			}
		case <-ping.C:
			err = bounded(c.ws.Ping)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) read(ctx context.Context) error {
	for {
		kind, data, err := c.ws.Read(ctx)
		if err != nil {
			return ended(err)
		}
		outcome := "refused"
		if kind == websocket.MessageText {
			in, err := parse(data)
			switch {
			case err != nil:
			case in.Type == "error":
				return refusal{in.reason()}
			case in.Type == "transcript":
				if err := c.results.Wait(ctx); err != nil {
					return err
				}
				if results := c.transcript(in.Results); len(results) > 0 {
					outcome = "delivered"
					c.s.t.cfg.Audience.Transcribed(c.s.meeting.ID, meeting.TranscriptEvent{Results: results})
				}
			default:
				outcome = "ignored"
			}
		}
		c.s.t.metrics.results.WithLabelValues(outcome).Inc()
	}
}

// put queues a message unless too many wait.
func (c *conn) put(m message) bool {
	select {
	case c.out <- m:
		return true
	default:
		return false
	}
}

func (c *conn) tell(a about) bool {
	data, err := json.Marshal(a)
	return err == nil && c.put(message{websocket.MessageText, data})
}

// speechHeader is what stands before the samples: stream and time.
const speechHeader = 4 + 8

// Speech implements meeting.Listener.
func (c *conn) Speech(p meeting.Speech) {
	s := c.stream(p.AttendeeID)
	if s == nil {
		c.s.t.metrics.audio.WithLabelValues("dropped").Inc()
		return
	}
	at := p.At.UnixMilli()
	data := make([]byte, speechHeader+2*len(p.Samples))
	binary.LittleEndian.PutUint32(data, s.number)
	binary.LittleEndian.PutUint64(data[4:], uint64(at))
	for i, v := range p.Samples {
		binary.LittleEndian.PutUint16(data[speechHeader+2*i:], uint16(v))
	}
	c.mu.Lock()
	if s.quiet {
		s.quiet, s.begun = false, at
		s.stretch++
	}
	s.end = at + int64(len(p.Samples))*1000/meeting.SpeechRate
	c.mu.Unlock()
	if !c.put(message{websocket.MessageBinary, data}) {
		c.s.t.metrics.audio.WithLabelValues("dropped").Inc()
	}
}

// stream is the attendee's, which the engine is told of before its first speech;
// nil when it cannot be told now.
func (c *conn) stream(attendeeID string) *stream {
	c.mu.Lock()
	s, n := c.streams[attendeeID], len(c.numbers)
	c.mu.Unlock()
	if s != nil || n >= maxStreams {
		return s
	}
	s = &stream{number: uint32(n + 1), attendeeID: attendeeID, user: c.s.externalUserID(attendeeID), quiet: true}
	if !c.tell(about{Type: "stream", Stream: s.number, AttendeeID: s.attendeeID, ExternalUserID: s.user}) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[attendeeID] = s
	c.numbers = append(c.numbers, s)
	return s
}

// Quiet implements meeting.Listener.
func (c *conn) Quiet(attendeeID string) {
	c.mu.Lock()
	s := c.streams[attendeeID]
	if s != nil {
		s.quiet = true
	}
	c.mu.Unlock()
	if s != nil {
		c.tell(about{Type: "quiet", Stream: s.number})
	}
}

// base is the attendee whose content share this may be.
func base(attendeeID string) string { return strings.TrimSuffix(attendeeID, meeting.ContentSuffix) }
